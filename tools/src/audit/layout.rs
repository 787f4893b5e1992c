//! Where things lie in a cVM's memory, computed from the image alone by the rules that `docs/how-it-works.md` gives. It is
//! not the monitor's code: that the two agree is what makes the audit worth something.

use std::ops::Range;

use abi::hostcall::RAW_TEXT;
use abi::start::{ALIGNMENT, StartHeader};
use object::elf;

use crate::Architecture;
use crate::elf::{Facts, PAGE};
use crate::manifest::CvmSpec;
use crate::run::Isa;

/// Farthest address and largest size that are looked at: beyond any machine this runs on.
const ADDRESS_LIMIT: u64 = 1 << 40;

/// Bytes that a thread control block has before the TLS image: two pointers on Morello.
const fn thread_control_block(arch: Architecture, purecap: bool) -> u64 {
    match (arch, purecap) {
        (Architecture::CheriRiscv, _) => 0,
        (Architecture::Morello, false) => 16,
        (Architecture::Morello, true) => 32,
    }
}

/// For which machine the audit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The architecture.
    pub arch: Architecture,
    /// The version of CHERI-RISC-V; of no meaning on Morello.
    pub isa: Isa,
}

impl Machine {
    /// Whether hybrid code counts its addresses from the start of its cVM.
    pub fn relocates(self) -> bool {
        self.arch == Architecture::CheriRiscv && self.isa == Isa::V8
    }

    /// The smallest bounds that can be said exactly for so many bytes, and their alignment.
    pub(super) fn exact(self, length: u64) -> Result<(u64, u64), String> {
        self.arch
            .representable(length)
            .ok_or_else(|| format!("no capability has bounds of {length:#x} bytes"))
    }

    /// Bytes and alignment of memory that shares no page and has bounds that can be said exactly.
    pub(super) fn region(self, size: u64) -> Result<(u64, u64), String> {
        let (size, alignment) = self.exact(size)?;
        Ok((size.next_multiple_of(PAGE), alignment.max(PAGE)))
    }
}

/// Parts of a cVM's memory, as offsets from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Stack of the main thread.
    pub stack: Range<u64>,
    /// Stack of the handler; empty in a cVM that serves nobody.
    pub service_stack: Range<u64>,
    /// The program with its data.
    pub program: Range<u64>,
    /// What the code capability covers.
    pub code: Range<u64>,
    /// The pages of each executable segment.
    pub text: Vec<Range<u64>>,
    /// Thread-local storage.
    pub tls: Range<u64>,
    /// The start block.
    pub start_block: Range<u64>,
    /// The local area; empty when it has none.
    pub local: Range<u64>,
    /// The stacks that its gates run on; empty when it has none.
    pub gate_stacks: Range<u64>,
    /// The heap.
    pub heap: Range<u64>,
    /// Bytes of the whole.
    pub size: u64,
    /// What the address of the whole is a multiple of.
    pub alignment: u64,
}

/// Places parts one behind the other.
struct Places {
    machine: Machine,
    end: u64,
}

impl Places {
    fn take(&mut self, length: u64, alignment: u64) -> Result<Range<u64>, String> {
        let start = self.end.checked_next_multiple_of(alignment);
        let end = start.and_then(|start| start.checked_add(length));
        let (Some(start), Some(end)) = (start, end.filter(|end| *end <= ADDRESS_LIMIT)) else {
            return Err("program, heap and stack exceed 2^40 bytes".to_owned());
        };
        self.end = end;
        Ok(start..end)
    }

    /// A part with bounds of its own when `exact`.
    fn part(&mut self, length: u64, alignment: u64, exact: bool) -> Result<Range<u64>, String> {
        if !exact {
            return self.take(length, alignment);
        }
        let (length, needed) = self.machine.exact(length)?;
        self.take(length, alignment.max(needed))
    }

    /// Stack and service stack; the latter lies lowest.
    fn stacks(&mut self, stack: u64, service: Option<u64>, purecap: bool) -> Result<[Range<u64>; 2], String> {
        let service = match service {
            Some(size) => self.part(pages(size.max(1))?, PAGE, true)?,
            None => 0..0,
        };
        Ok([self.part(pages(stack)?, PAGE, purecap)?, service])
    }
}

fn pages(size: u64) -> Result<u64, String> {
    let whole = size.checked_next_multiple_of(PAGE);
    whole.ok_or_else(|| format!("{size:#x} bytes exceed the address space"))
}

/// Bytes of the start block.
fn start_block(spec: &CvmSpec) -> u64 {
    let texts = [&spec.name, &spec.runtime]
        .into_iter()
        .chain(&spec.args)
        .chain(&spec.env);
    let end = StartHeader::SIZE as u64 + texts.map(|text| text.len() as u64 + 1).sum::<u64>();
    // The capability over the local area lies behind the strings.
    if spec.local > 0 {
        end.next_multiple_of(16) + 16
    } else {
        end
    }
}

/// Lays out a cVM. `serves`: other cVMs' hostcalls arrive at it. `outer`: others lie within it.
///
/// # Errors
/// What does not fit.
pub fn lay_out(machine: Machine, spec: &CvmSpec, facts: &Facts, serves: bool, outer: bool) -> Result<Layout, String> {
    let purecap = facts.purecap();
    let far = |value: &u64| *value > ADDRESS_LIMIT;
    if let Some(value) = spec.isolation_base.filter(far).or(spec.isolation_size.filter(far)) {
        return Err(format!("isolation {value:#x}: expected at most {ADDRESS_LIMIT:#x}"));
    }
    let mut places = Places { machine, end: 0 };
    let (first, last) = facts.span().ok_or("no segment to load")?;
    let text: Vec<Range<u64>> = facts
        .segments
        .iter()
        .filter(|segment| segment.executable() && segment.memory_size > 0)
        .map(|segment| segment.address / PAGE * PAGE..(segment.address + segment.memory_size).next_multiple_of(PAGE))
        .collect();
    let whole_text = text.iter().map(|range| range.start).min()..text.iter().map(|range| range.end).max();
    let (Some(start), Some(text_end)) = (whole_text.start, whole_text.end) else {
        return Err("no executable segment".to_owned());
    };
    // The code, and what its capability covers beyond it.
    let (start, before, end, alignment) = if purecap {
        let bounds = facts.code_bounds(machine.arch);
        let bounds = bounds.map_err(|alignment| format!("no code bounds: expected multiples of {alignment:#x}"))?;
        let start = facts.code_range().map_or(start, |code| code.start);
        (start, bounds.before, bounds.end, bounds.alignment)
    } else if spec.raw != 0 && facts.kind != elf::ET_EXEC {
        (start, start - first + RAW_TEXT, text_end, PAGE)
    } else {
        (start, 0, text_end, PAGE)
    };
    let lead = start - first;
    let extra = before.saturating_sub(lead).next_multiple_of(PAGE);
    let length = extra + last.max(end) - first;
    let service = serves.then_some(spec.service_stack.saturating_mul(spec.handlers.into()));
    let (stacks, program) = if facts.kind == elf::ET_EXEC {
        let base = if machine.relocates() && !purecap {
            0
        } else {
            spec.isolation_base
                .ok_or("linked at fixed addresses, without isolation.base")?
        };
        let offset = first.checked_sub(extra).and_then(|at| at.checked_sub(base));
        let offset = offset.ok_or("linked below the memory that it is given")?;
        places.take(offset, PAGE)?;
        let program = places.take(length, PAGE)?;
        (places.stacks(spec.stack, service, purecap)?, program)
    } else {
        // Where addresses start at 0, the first page is nobody's.
        places.end = if machine.relocates() && !purecap { PAGE } else { 0 };
        let stacks = places.stacks(spec.stack.max(1), service, purecap)?;
        // The distance from linked addresses is to be a multiple of what the program is aligned to; or, when that needs
        // more, the start of the code's bounds, which lies this far behind the start of the program.
        let lead = extra + lead - before;
        let (unit, from) = if alignment > facts.alignment() {
            (alignment, lead)
        } else {
            (facts.alignment(), extra.wrapping_sub(first))
        };
        let beyond = places.end.wrapping_add(from) % unit;
        places.end += (unit - beyond) % unit;
        let mut program = places.take(length, PAGE)?;
        // Behind the data there is room in the last page, unless code or what its capability covers takes it.
        program.end -= last.max(end) - facts.end().max(text_end).max(end);
        places.end = program.end;
        (stacks, program)
    };
    let offset = |linked: u64| linked - first + program.start + extra;
    let [stack, service_stack] = stacks;
    let (tls_size, tls_alignment) = facts.tls.as_ref().map_or((0, 16), |tls| {
        let image = thread_control_block(machine.arch, purecap).next_multiple_of(tls.alignment.max(1));
        (image + tls.memory_size, tls.alignment.max(16))
    });
    let tls = places.part(tls_size, tls_alignment, purecap)?;
    let start_block = places.part(start_block(spec), ALIGNMENT as u64, purecap)?;
    let local = match spec.local {
        0 => 0..0,
        count => places.part((u64::from(count) * 16).next_multiple_of(64), 64, true)?,
    };
    let gate_stacks = match abi::manifest::gate_stacks(spec.gates.iter().map(String::as_str)) {
        0 => 0..0,
        size => places.part(size, PAGE, true)?,
    };
    let heap = places.part(spec.heap, 16, true)?;
    let needed = places.take(0, PAGE)?.end;
    let given = spec.isolation_size.filter(|_| !outer);
    let (size, region_alignment) = machine.region(given.unwrap_or(needed))?;
    if size < needed {
        return Err(format!("isolation size {size:#x}, but {needed:#x} bytes are needed"));
    }
    let mut layout = Layout {
        stack,
        service_stack,
        code: offset(start) - before..offset(end),
        text: text
            .iter()
            .map(|range| offset(range.start)..offset(range.end))
            .collect(),
        program,
        tls,
        start_block,
        local,
        gate_stacks,
        heap,
        size,
        alignment: region_alignment.max(facts.alignment()),
    };
    if !purecap {
        layout.code = hybrid_code(machine, &layout)?;
    }
    Ok(layout)
}

/// PCC of hybrid code: its text, or from the start of the cVM to the end of the text where addresses count from there;
/// widened to bounds that can be said exactly, to the whole cVM at most.
fn hybrid_code(machine: Machine, layout: &Layout) -> Result<Range<u64>, String> {
    let Range { mut start, end } = layout.code.clone();
    if machine.relocates() {
        start = 0;
    }
    loop {
        let (length, alignment) = machine.exact(end - start)?;
        let below = start % alignment;
        if below == 0 && start + length <= layout.size {
            return Ok(start..start + length);
        }
        if below == 0 {
            return Ok(0..layout.size);
        }
        start -= below;
    }
}

/// Where the data capability of hybrid code begins in a region of this size: behind the first page where a null pointer would
/// be an address in it, if nothing lies there and bounds can say so.
pub(super) fn data_start(machine: Machine, layout: &Layout, region: u64) -> u64 {
    let parts = [&layout.stack, &layout.service_stack, &layout.program];
    let first = parts
        .iter()
        .filter(|part| !part.is_empty())
        .map(|part| part.start)
        .min();
    let exact = machine
        .exact(region - PAGE)
        .is_ok_and(|(length, alignment)| length == region - PAGE && alignment <= PAGE);
    if machine.relocates() && first >= Some(PAGE) && exact {
        PAGE
    } else {
        0
    }
}
