//! Where things lie in a cVM's memory. Pure arithmetic, checked against overflow.
//!
//! A position-independent program: the stack lowest, so that an overflow leaves the cVM's bounds and faults; then the
//! program, the TLS block, the start block, the heap. A program linked at fixed addresses keeps them; the rest follows
//! behind it. The first page stays empty where the cVM's addresses start at 0.

use crate::elf::{PAGE, Program};
use core::fmt;
use core::ops::Range;

/// Offsets from the start of the cVM's memory, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) stack: Range<u64>,
    /// What to add to a linked address for its offset.
    pub(crate) bias: u64,
    pub(crate) program: Range<u64>,
    pub(crate) tls: Range<u64>,
    pub(crate) start_block: Range<u64>,
    pub(crate) heap: Range<u64>,
    /// Bytes of the whole cVM, a multiple of the page size.
    pub(crate) size: u64,
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
        }
    }
}

/// Plans a cVM's memory. `base` is the address of its memory as the cVM will see it, needed for programs linked at fixed
/// addresses only; `start_block` and the other sizes are in bytes.
///
/// # Errors
/// [`LayoutError`] when the parts do not fit.
pub(crate) fn plan(
    program: &Program,
    base: Option<u64>,
    start_block: u64,
    stack: u64,
    heap: u64,
    size: Option<u64>,
) -> Result<Layout, LayoutError> {
    let mut end = 0_u64;
    let mut place = |length: u64, alignment: u64| -> Result<Range<u64>, LayoutError> {
        let start = end.checked_next_multiple_of(alignment).ok_or(LayoutError::TooLarge)?;
        end = start
            .checked_add(length)
            .filter(|end| *end <= 1 << 40)
            .ok_or(LayoutError::TooLarge)?;
        Ok(start..end)
    };
    let stack_size = stack.checked_next_multiple_of(PAGE).ok_or(LayoutError::TooLarge)?;
    let extent = &program.extent;
    let (stack, program_range) = if program.relocatable {
        // The stack fills at least the first page: address 0 of a relocated cVM is its far end.
        let stack = place(stack_size.max(PAGE), PAGE)?;
        (stack, place(extent.end - extent.start, PAGE)?)
    } else {
        let base = base.ok_or(LayoutError::NoBase)?;
        let outside = LayoutError::Fixed {
            start: extent.start,
            end: extent.end,
            base,
        };
        let start = extent.start.checked_sub(base).ok_or(outside)?;
        if size.is_some_and(|size| extent.end - base > size) {
            return Err(outside);
        }
        place(start, PAGE)?;
        let program = place(extent.end - extent.start, PAGE)?;
        (place(stack_size, PAGE)?, program)
    };
    let (tls_size, tls_alignment) = program.tls.as_ref().map_or((0, 16), |tls| {
        (tls.memory_size + arch::TLS_OFFSET, tls.alignment.max(16))
    });
    let tls = place(tls_size, tls_alignment)?;
    let start_block = place(start_block, abi::start::ALIGNMENT as u64)?;
    let heap = place(heap, 16)?;
    let needed = place(0, PAGE)?.end;
    let size = match size {
        None => needed,
        Some(given) if given > 1 << 40 => return Err(LayoutError::TooLarge),
        Some(given) if given >= needed => given,
        Some(given) => return Err(LayoutError::Isolation { needed, given }),
    };
    Ok(Layout {
        bias: program_range.start.wrapping_sub(extent.start),
        stack,
        program: program_range,
        tls,
        start_block,
        heap,
        size,
    })
}
