//! A checked program becomes the memory of a cVM: zeroed, copied, relocated, with its start block and TLS. All writes go
//! through the cVM's own data capability.

use crate::elf::Program;
use crate::layout::Layout;
use crate::manifest::CvmSpec;
use abi::start::{MAGIC, StartHeader, VERSION};
use alloc::vec::Vec;
use arch::{Refused, Slot, user};
use core::ops::Range;

/// Where a cVM's memory lies and how the cVM sees it.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Physical address of the cVM's memory.
    pub(crate) base: u64,
    /// The same address as the cVM sees it.
    pub(crate) seen: u64,
}

/// The start block of a cVM; its size does not depend on the layout.
pub(crate) fn start_block(id: usize, spec: &CvmSpec, layout: Option<&Layout>, place: Place) -> Vec<u8> {
    let mut strings = Vec::new();
    let mut push = |text: &str| {
        let offset = StartHeader::SIZE + strings.len();
        strings.extend_from_slice(text.as_bytes());
        strings.push(0);
        offset as u32
    };
    let name = push(&spec.name);
    let arguments = push(&spec.runtime);
    for argument in &spec.args {
        push(argument);
    }
    let environment = spec.env.iter().map(|entry| push(entry)).reduce(u32::min).unwrap_or(0);
    let seen = |range: &Range<u64>| (place.seen + range.start, range.end - range.start);
    let (heap, heap_size) = layout.map_or((0, 0), |layout| seen(&layout.heap));
    let (stack, stack_size) = layout.map_or((0, 0), |layout| seen(&layout.stack));
    let header = StartHeader {
        magic: MAGIC,
        version: VERSION,
        size: (StartHeader::SIZE + strings.len()) as u32,
        id: id as u32,
        name,
        argument_count: 1 + spec.args.len() as u32,
        arguments,
        environment_count: spec.env.len() as u32,
        environment,
        base: place.seen,
        memory_size: layout.map_or(0, |layout| layout.size),
        heap,
        heap_size,
        stack,
        stack_size,
    };
    let mut block = Vec::from(header.to_bytes());
    block.append(&mut strings);
    block
}

/// Fills the memory of a cVM: fresh, as after every start.
///
/// # Errors
/// [`Refused`] when `data` does not cover the layout, which [`layout::plan`](crate::layout::plan) excludes.
pub(crate) fn load(
    elf: &[u8],
    program: &Program,
    layout: &Layout,
    block: &[u8],
    data: &Slot,
    place: Place,
) -> Result<(), Refused> {
    user::zero(data, place.base, layout.size as usize)?;
    let origin = place.base.wrapping_add(layout.bias);
    for segment in &program.segments {
        user::copy_out(&elf[segment.file.clone()], data, origin.wrapping_add(segment.address))?;
    }
    if let Some(tls) = &program.tls {
        user::copy_out(
            &elf[tls.file.clone()],
            data,
            place.base + layout.tls.start + arch::TLS_OFFSET,
        )?;
    }
    let seen_bias = place.seen.wrapping_add(layout.bias);
    for relocation in program.relocations(elf) {
        let value = relocation.addend.wrapping_add(seen_bias);
        user::copy_out(&value.to_le_bytes(), data, origin.wrapping_add(relocation.address))?;
    }
    user::copy_out(block, data, place.base + layout.start_block.start)
}
