//! Which memory each cVM gets: programs are checked, layouts planned, and regions taken from the pool. The region of a
//! cVM is its own memory, and behind it the regions of the cVMs within; its capabilities may cover it all. Everything is
//! found out before any cVM starts, and every refusal names the cVM and what was expected.

use crate::authority::pool::Pool;
use crate::authority::sweep::GRANULE;
use crate::cvm::Cvm;
use crate::cvm::loader::{self, Home};
use crate::elf::{ElfError, File, PAGE, Program};
use crate::plan::layout::{self, Layout, LayoutError, Request};
use crate::plan::manifest::CvmSpec;
use crate::plan::ordered;
use crate::plan::refusal::{Problem, Refusal, Whole};
use abi::hostcall::RAW_TEXT;
use abi::manifest as names;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

/// Largest region, in bytes.
const REGION_LIMIT: u64 = 1 << 40;

/// A cVM whose program is checked and planned.
struct Planned {
    elf: File,
    program: &'static Program,
    /// Where the functions of its gates are, as linked.
    gates: Vec<u64>,
    layout: Layout,
    /// What its capabilities cover, in bytes.
    size: u64,
    /// Alignment of the region's base.
    alignment: u64,
    /// Offset in the region of the cVM that it is within.
    offset: u64,
    /// How many cVMs it is within.
    depth: usize,
}

/// What is wrong with a cVM's program.
#[cold]
#[inline(never)]
fn wrong(spec: &CvmSpec, error: ElfError) -> Refusal {
    spec.entry().refused(Problem::Elf(spec.runtime.clone(), error))
}

/// Why a cVM's memory cannot be as it has to be.
#[cold]
#[inline(never)]
fn misfit(spec: &CvmSpec, error: LayoutError) -> Refusal {
    spec.entry().refused(Problem::Layout(spec.runtime.clone(), error))
}

/// Checks and plans all cVMs, and takes their memory from the pool. cVMs of one program share its bytes and what was found in
/// them.
///
/// # Errors
/// [`Refusal`] names the cVM, the key and what was expected.
pub(crate) fn place_all(
    specs: Vec<CvmSpec>,
    elf_of: impl Fn(&str) -> File,
    pool: &mut Pool,
) -> Result<Vec<Cvm>, Refusal> {
    let roles = Roles::of(&specs);
    let mut planned: Vec<Planned> = Vec::with_capacity(specs.len());
    for id in 0..specs.len() {
        let cvm = plan(id, &specs, &roles, &planned, &elf_of)?;
        planned.push(cvm);
    }
    let bases = take_all(&specs, &roles, &mut planned, pool)?;
    let memory = planned
        .iter()
        .zip(&bases)
        .map(|(cvm, base)| *base..base + cvm.layout.size);
    let memory: Vec<Range<u64>> = memory.collect();
    let order = ordered(memory.len(), &|a, b| memory[a].start.cmp(&memory[b].start));
    let homes: Vec<Home> = order.iter().map(|id| Home::new(memory[*id].clone())).collect();
    // As long as the monitor runs: those of a cVM and of all within it lie together.
    let homes: &'static [Home] = homes.leak();
    let mut cvms = Vec::with_capacity(specs.len());
    for (id, (spec, cvm)) in specs.into_iter().zip(planned).enumerate() {
        let bounds = bases[id]..bases[id] + cvm.size;
        let before = |address: u64| homes.partition_point(|home| home.memory.start < address);
        let homes = &homes[before(bounds.start)..before(bounds.end)];
        let mut placed = Cvm::new(id, spec, cvm.elf, cvm.program, cvm.layout, bounds, homes);
        placed.gates = cvm.gates;
        cvms.push(placed);
    }
    Ok(cvms)
}

/// What each cVM is to the others, found in few passes: there may be many.
struct Roles {
    /// Whether it serves another one.
    serves: Vec<bool>,
    /// Whether another one is within it.
    outer: Vec<bool>,
    /// The first cVM with the same program.
    same: Vec<usize>,
}

impl Roles {
    fn of(specs: &[CvmSpec]) -> Roles {
        let order = ordered(specs.len(), &|a, b| specs[a].runtime.cmp(&specs[b].runtime));
        let mut roles = Roles {
            serves: vec![false; specs.len()],
            outer: vec![false; specs.len()],
            same: vec![0; specs.len()],
        };
        let mut first = 0;
        for id in order {
            if specs[first].runtime != specs[id].runtime {
                first = id;
            }
            roles.same[id] = first;
        }
        for spec in specs {
            for (other, is) in [(spec.server, &mut roles.serves), (spec.within, &mut roles.outer)] {
                if let Some(is) = other.and_then(|other| is.get_mut(other)) {
                    *is = true;
                }
            }
        }
        roles
    }
}

/// Bytes and alignment of a region whose bounds can be represented and that shares no page.
fn region(size: u64) -> (u64, u64) {
    let (size, alignment) = arch::representable(size);
    (size.next_multiple_of(PAGE), alignment.max(PAGE))
}

/// Checks the program of a cVM and plans its memory, as if no cVM were within.
#[inline(never)]
fn plan(
    id: usize,
    specs: &[CvmSpec],
    roles: &Roles,
    before: &[Planned],
    elf_of: &impl Fn(&str) -> File,
) -> Result<Planned, Refusal> {
    let spec = &specs[id];
    let (serves, outer) = (roles.serves[id], roles.outer[id]);
    let same = before.get(roles.same[id]);
    let elf = same.map_or_else(|| elf_of(&spec.runtime), |other| other.elf);
    let known = same.map(|other| other.program);
    let program = match known.filter(|program| !serves || program.handler.is_some()) {
        Some(program) => program,
        None => {
            let mut program = Program::check(elf).map_err(|error| wrong(spec, error))?;
            if serves {
                program.find_handler(elf).map_err(|error| wrong(spec, error))?;
            }
            // It is needed as long as the monitor runs.
            Box::leak(Box::new(program))
        }
    };
    let mut gates = Vec::with_capacity(spec.gates.len());
    for gate in &spec.gates {
        let found = program
            .find_function(elf, &gate.function)
            .map_err(|error| wrong(spec, error))?;
        let missing = || spec.lacks(names::GATES, spec, &gate.function);
        gates.push(found.ok_or_else(missing)?);
    }
    if outer && program.purecap {
        let expected = "a hybrid program: other cVMs are within this one";
        return Err(spec.entry().text(names::RUNTIME, &spec.runtime, expected));
    }
    // Where the processor relocates, the addresses of a hybrid cVM start at 0 wherever it lies.
    let relocated = arch::relocates() && !program.purecap;
    let request = Request {
        base: if relocated { Some(0) } else { spec.isolation_base },
        guard: if relocated { PAGE } else { 0 },
        start_block: loader::start_block_size(spec),
        stack: spec.stack,
        service_stack: serves.then_some(spec.service_stack.saturating_mul(spec.handlers.into())),
        local: u64::from(spec.local) * GRANULE,
        gate_stacks: spec.gates.iter().map(|gate| gate.stack * u64::from(gate.callers)).sum(),
        heap: spec.heap,
        text: if spec.raw == 0 { 0 } else { RAW_TEXT },
        // The isolation of a cVM that others are within is the region of them all.
        size: spec.isolation_size.filter(|_| !outer),
    };
    let layout = layout::plan(program, &request).map_err(|error| misfit(spec, error))?;
    let (size, needed) = region(layout.size);
    let alignment = needed.max(program.alignment);
    Ok(Planned {
        elf,
        program,
        gates,
        layout: Layout { size, ..layout },
        size,
        alignment,
        offset: 0,
        depth: depth(id, specs)?,
    })
}

/// How many cVMs a cVM is within.
fn depth(id: usize, specs: &[CvmSpec]) -> Result<usize, Refusal> {
    let mut outer = specs[id].within;
    for depth in 0..specs.len() {
        let Some(spec) = outer.and_then(|outer| specs.get(outer)) else {
            return Ok(depth);
        };
        outer = spec.within;
    }
    Err(specs[id].entry().refused(Problem::Circle(names::WITHIN)))
}

/// Sizes the regions from the innermost outwards and takes them from the pool; returns their bases.
#[inline(never)]
fn take_all(specs: &[CvmSpec], roles: &Roles, planned: &mut [Planned], pool: &mut Pool) -> Result<Vec<u64>, Refusal> {
    let deepest = planned.iter().map(|cvm| cvm.depth).max().unwrap_or(0);
    for depth in (0..deepest).rev() {
        for id in 0..specs.len() {
            if planned[id].depth == depth && roles.outer[id] {
                arrange(id, specs, planned)?;
            }
        }
    }
    take_within(None, specs, planned, pool, &Whole(None))?;
    let mut bases = vec![0; specs.len()];
    for depth in 0..=deepest {
        for id in 0..specs.len() {
            if planned[id].depth == depth {
                bases[id] = specs[id].within.map_or(0, |outer| bases[outer]) + planned[id].offset;
            }
        }
    }
    Ok(bases)
}

/// Gives the cVMs within another one their places in its region, and the region its size.
fn arrange(id: usize, specs: &[CvmSpec], planned: &mut [Planned]) -> Result<(), Refusal> {
    let spec = &specs[id];
    if spec.isolation_size.is_some_and(|size| size > REGION_LIMIT) {
        return Err(misfit(spec, LayoutError::TooLarge));
    }
    if spec.isolation_base.is_none() {
        let mut inner = specs.iter().filter(|inner| inner.within == Some(id));
        if let Some(inner) = inner.find(|inner| inner.isolation_base.is_some()) {
            return Err(inner
                .entry()
                .text(names::WITHIN, &spec.name, "a cVM with an isolation base, too"));
        }
    }
    // Without a base, places are found as if the region began at 0: its base will be aligned as all within need it.
    let start = spec.isolation_base.unwrap_or(0);
    let end = start.saturating_add(spec.isolation_size.unwrap_or(REGION_LIMIT));
    let Planned { size: own, .. } = planned[id];
    let mut room = Pool::new(start..end);
    if !room.take(start, own) {
        let (needed, given) = (own, end - start);
        return Err(misfit(spec, LayoutError::Isolation { needed, given }));
    }
    let whole = Whole(Some((spec.name.clone(), start..end)));
    take_within(Some(id), specs, planned, &mut room, &whole)?;
    let (mut top, mut alignment) = (start + own, planned[id].alignment);
    for (inner, spec) in planned.iter_mut().zip(specs) {
        if spec.within == Some(id) {
            top = top.max(inner.offset + inner.size);
            alignment = alignment.max(inner.alignment);
            inner.offset -= start;
        }
    }
    let (size, needed) = region(spec.isolation_size.unwrap_or(top - start));
    planned[id].size = size;
    // With a base, what lies within has been aligned where it is.
    planned[id].alignment = if spec.isolation_base.is_some() { PAGE } else { alignment }.max(needed);
    Ok(())
}

/// Takes the regions of the cVMs within one, or of those within none, from `pool`: first those with a given base, then
/// those that may lie anywhere. Their bases become their offsets.
fn take_within(
    outer: Option<usize>,
    specs: &[CvmSpec],
    planned: &mut [Planned],
    pool: &mut Pool,
    whole: &Whole,
) -> Result<(), Refusal> {
    for given in [true, false] {
        for (spec, cvm) in specs.iter().zip(planned.iter_mut()) {
            if spec.within != outer || spec.isolation_base.is_some() != given {
                continue;
            }
            let (size, alignment) = (cvm.size, cvm.alignment);
            cvm.offset = match spec.isolation_base {
                Some(base) if !base.is_multiple_of(alignment) => {
                    return Err(spec.entry().refused(Problem::Unaligned(base, alignment, size)));
                }
                Some(base) if !pool.take(base, size) => {
                    return Err(spec.entry().refused(Problem::Taken(base, size, whole.clone())));
                }
                Some(base) => base,
                None => pool.allocate(size, alignment).ok_or_else(|| {
                    let problem = Problem::Memory(size, pool.free_bytes(), whole.clone());
                    spec.entry().refused(problem)
                })?,
            };
        }
    }
    Ok(())
}
