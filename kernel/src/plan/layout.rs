//! Where things lie in a cVM's memory. Pure arithmetic, checked against overflow.
//!
//! A position-independent program: the stacks lowest, so that an overflow leaves the cVM's bounds and faults; then the
//! program, the TLS block, the start block, the local area, the stacks of gates, the heap. A program linked at fixed addresses keeps them; the rest follows
//! behind it. The first page stays empty where the cVM's addresses start at 0 and nothing is linked there. What gets a capability of its own gets
//! bounds that this can express: local area, heap and the stack of a handler always, the other parts in a purecap cVM.

use crate::authority::sweep::LINE;
use crate::elf::{PAGE, Program};
use core::fmt;
use core::ops::Range;

/// Offsets from the start of the cVM's memory, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) stack: Range<u64>,
    /// The stack of the handler; empty in a cVM that serves nobody.
    pub(crate) service_stack: Range<u64>,
    /// What to add to a linked address for its offset.
    pub(crate) bias: u64,
    /// The program, and what keeps a purecap one apart from its neighbours.
    pub(crate) program: Range<u64>,
    /// The program's [`code`](Program::code); in a purecap program with bounds that can be represented.
    pub(crate) code: Range<u64>,
    /// From the thread pointer on.
    pub(crate) tls: Range<u64>,
    /// Where the TLS image begins.
    pub(crate) tls_image: u64,
    pub(crate) start_block: Range<u64>,
    /// What takes local capabilities, besides the stacks of handlers and of gates.
    pub(crate) local: Range<u64>,
    /// The stacks that its gates run on, one behind the other.
    pub(crate) gate_stacks: Range<u64>,
    pub(crate) heap: Range<u64>,
    /// Bytes of the whole cVM, a multiple of the page size.
    pub(crate) size: u64,
}

impl Layout {
    /// Where the first part begins.
    pub(crate) fn first(&self) -> u64 {
        let stacks = [&self.stack, &self.service_stack]
            .into_iter()
            .filter(|part| !part.is_empty());
        stacks.map(|part| part.start).fold(self.program.start, u64::min)
    }
}

/// What a cVM's memory must hold, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Request {
    /// Address of the memory as the cVM will see it, needed for programs linked at fixed addresses only.
    pub(crate) base: Option<u64>,
    /// Bytes before all parts of a position-independent program.
    pub(crate) guard: u64,
    pub(crate) start_block: u64,
    pub(crate) stack: u64,
    /// The stack of the handler, where there is one.
    pub(crate) service_stack: Option<u64>,
    /// Bytes for local capabilities.
    pub(crate) local: u64,
    /// Bytes of the stacks of its gates, whole pages each.
    pub(crate) gate_stacks: u64,
    pub(crate) heap: u64,
    /// Bytes right below a position-independent hybrid program that its PCC covers: text to come.
    pub(crate) text: u64,
    /// The whole, when it is given.
    pub(crate) size: Option<u64>,
}

/// Why a cVM does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayoutError {
    /// The parts together exceed the address space.
    TooLarge,
    /// The isolation's size is too small.
    Isolation { needed: u64, given: u64 },
    /// A program linked at fixed addresses does not lie in the isolation.
    Fixed { start: u64, end: u64, base: u64 },
    /// A program linked at fixed addresses without an isolation base.
    NoBase,
    /// No bounds cover the code of a purecap program and nothing that is writable.
    Code { start: u64, end: u64, alignment: u64 },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            LayoutError::TooLarge => write!(
                f,
                "program, heap and stack together, or the isolation size, exceed 2^40 bytes"
            ),
            LayoutError::Isolation { needed, given } => {
                write!(
                    f,
                    "isolation size {given:#x}, but program, heap and stack need {needed:#x} bytes"
                )
            }
            LayoutError::Fixed { start, end, base } => {
                write!(
                    f,
                    "linked at {start:#x}-{end:#x}, outside of the isolation that starts at {base:#x}"
                )
            }
            LayoutError::NoBase => write!(f, "linked at fixed addresses: isolation base is needed"),
            LayoutError::Code { start, end, alignment } => {
                write!(
                    f,
                    "text, constants and RELRO {start:#x}-{end:#x} have no bounds of their own beside writable data: \
                     expected start and end at multiples of {alignment:#x}"
                )
            }
        }
    }
}

/// Hands out ranges, one behind the other.
struct Cursor {
    end: u64,
    /// Whether every part needs bounds of its own.
    purecap: bool,
}

impl Cursor {
    fn place(&mut self, length: u64, alignment: u64) -> Result<Range<u64>, LayoutError> {
        let start = self.end.checked_next_multiple_of(alignment);
        let start = start.ok_or(LayoutError::TooLarge)?;
        self.end = start
            .checked_add(length)
            .filter(|end| *end <= 1 << 40)
            .ok_or(LayoutError::TooLarge)?;
        Ok(start..self.end)
    }

    /// A range with bounds that can be represented.
    fn place_exact(&mut self, length: u64, alignment: u64) -> Result<Range<u64>, LayoutError> {
        if length > 1 << 40 {
            return Err(LayoutError::TooLarge);
        }
        let (length, needed) = arch::representable(length);
        self.place(length, alignment.max(needed))
    }

    /// A range that a purecap program gets a capability for.
    fn place_part(&mut self, length: u64, alignment: u64) -> Result<Range<u64>, LayoutError> {
        if self.purecap {
            self.place_exact(length, alignment)
        } else {
            self.place(length, alignment)
        }
    }

    fn place_stacks(&mut self, stack: u64, service: Option<u64>) -> Result<[Range<u64>; 2], LayoutError> {
        let pages = |size: u64| size.checked_next_multiple_of(PAGE).ok_or(LayoutError::TooLarge);
        // Lowest, so that it overflows first: nobody else's is below. It is idle while the main thread runs.
        let service = match service {
            Some(size) => self.place_exact(pages(size.max(1))?, PAGE)?,
            None => 0..0,
        };
        Ok([self.place_part(pages(stack)?, PAGE)?, service])
    }
}

/// Linked addresses that the program takes, and where PCC begins and ends among them.
struct Code {
    /// Bytes that PCC begins before the code.
    before: u64,
    /// End of PCC.
    end: u64,
    alignment: u64,
}

/// Widens the code of a purecap program to bounds that can be represented, without anything writable.
fn code_bounds(program: &Program) -> Result<Code, LayoutError> {
    let Range { start, end } = program.code;
    let (mut below, mut above) = (None, u64::MAX);
    for (_, part) in program.writable() {
        if part.end <= start {
            below = below.max(Some(part.end));
        } else if part.start >= end {
            above = above.min(part.start);
        }
    }
    let room = below.map_or(u64::MAX, |below| start - below);
    // How far linked addresses tell what those in memory are multiples of.
    let unit = if program.relocatable {
        program.alignment
    } else {
        u64::MAX
    };
    // Outwards from the start; or when something writable follows at once, the end is aligned instead, and the room is
    // taken before the start. Every round widens.
    let mut needed = PAGE;
    for from_end in [false, true] {
        let (mut before, mut top) = (0, end);
        loop {
            let (length, alignment) = arch::representable(before + (top - start));
            needed = alignment;
            let known = alignment.min(unit);
            let next = if from_end {
                let top = end.next_multiple_of(known);
                (before.max(length.saturating_sub(top - start)), top)
            } else {
                let before = start % known;
                (before, top.max(start - before + length))
            };
            if next.0 > room || next.1 > above {
                break;
            }
            if next == (before, top) {
                return Ok(Code {
                    before,
                    end: top,
                    alignment,
                });
            }
            (before, top) = next;
        }
        if !program.relocatable {
            break;
        }
    }
    let alignment = needed;
    Err(LayoutError::Code { start, end, alignment })
}

/// Plans a cVM's memory.
///
/// # Errors
/// [`LayoutError`] when the parts do not fit.
pub(crate) fn plan(program: &Program, request: &Request) -> Result<Layout, LayoutError> {
    let mut cursor = Cursor {
        end: 0,
        purecap: program.purecap,
    };
    // What the program takes, in linked addresses relative to its extent.
    let extent = &program.extent;
    let lead = program.code.start - extent.start;
    let code = if program.purecap {
        code_bounds(program)?
    } else {
        let text = if program.relocatable { request.text } else { 0 };
        Code {
            before: if text > 0 { lead + text } else { 0 },
            end: program.code.end,
            alignment: PAGE,
        }
    };
    let before = code.before.saturating_sub(lead).next_multiple_of(PAGE);
    let length = before + extent.end.max(code.end) - extent.start;
    let (stacks, taken) = if program.relocatable {
        cursor.end = request.guard;
        let stacks = cursor.place_stacks(request.stack.max(1), request.service_stack)?;
        // Either the bias is to be aligned, or by more the start of PCC, which lies behind the start of what is taken.
        let (unit, aligned) = if code.alignment > program.alignment {
            (code.alignment, (before + lead - code.before).wrapping_neg())
        } else {
            (program.alignment, extent.start.wrapping_sub(before))
        };
        cursor.end += aligned.wrapping_sub(cursor.end) & (unit - 1);
        let mut taken = cursor.place(length, PAGE)?;
        // What follows begins in the program's last page, behind its data.
        let used = program.segments.iter().map(|part| part.address + part.memory_size);
        let used = used.fold(program.text.end.max(code.end), u64::max);
        taken.end -= extent.end.max(code.end).saturating_sub(used);
        cursor.end = taken.end;
        (stacks, taken)
    } else {
        let base = request.base.ok_or(LayoutError::NoBase)?;
        let outside = LayoutError::Fixed {
            start: extent.start - before,
            end: extent.start - before + length,
            base,
        };
        let start = (extent.start - before).checked_sub(base).ok_or(outside)?;
        if request.size.is_some_and(|size| start.saturating_add(length) > size) {
            return Err(outside);
        }
        cursor.place(start, PAGE)?;
        let taken = cursor.place(length, PAGE)?;
        (cursor.place_stacks(request.stack, request.service_stack)?, taken)
    };
    let bias = (taken.start + before).wrapping_sub(extent.start);
    let [stack, service_stack] = stacks;
    // ELF for the Arm 64-bit architecture: the image begins behind the thread control block, as its alignment demands.
    let (tls_image, tls_size, tls_alignment) = program.tls.as_ref().map_or((0, 0, 16), |tls| {
        let image = arch::TLS_OFFSET[usize::from(program.purecap)].next_multiple_of(tls.alignment);
        (image, image + tls.memory_size, tls.alignment.max(16))
    });
    let tls = cursor.place_part(tls_size, tls_alignment)?;
    let start_block = cursor.place_part(request.start_block, abi::start::ALIGNMENT as u64)?;
    let local = match request.local.next_multiple_of(LINE) {
        0 => 0..0,
        size => cursor.place_exact(size, LINE)?,
    };
    let gate_stacks = match request.gate_stacks {
        0 => 0..0,
        size => cursor.place_exact(size, PAGE)?,
    };
    let heap = cursor.place_exact(request.heap, 16)?;
    let needed = cursor.place(0, PAGE)?.end;
    let size = match request.size {
        None => needed,
        Some(given) if given > 1 << 40 => return Err(LayoutError::TooLarge),
        Some(given) if given >= needed => given,
        Some(given) => return Err(LayoutError::Isolation { needed, given }),
    };
    let offset = |linked: u64| linked.wrapping_add(bias);
    Ok(Layout {
        stack,
        service_stack,
        bias,
        program: taken,
        code: offset(program.code.start) - code.before..offset(code.end),
        tls_image: tls.start + tls_image,
        tls,
        start_block,
        local,
        gate_stacks,
        heap,
        size,
    })
}
