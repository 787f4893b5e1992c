//! Which memory each cVM gets: programs are checked, layouts planned, and regions taken from the pool. The region of a
//! cVM is its own memory, and behind it the regions of the cVMs within; its capabilities may cover it all. Everything is
//! found out before any cVM starts, and every refusal names the cVM and what was expected.

use crate::cvm::Cvm;
use crate::elf::{PAGE, Program};
use crate::layout::{self, Layout, Request};
use crate::loader::{self, Place};
use crate::manifest::CvmSpec;
use crate::pool::Pool;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// Largest region, in bytes.
const REGION_LIMIT: u64 = 1 << 40;

/// A cVM whose program is checked and planned.
struct Planned {
    elf: &'static [u8],
    program: Program,
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

/// Checks and plans all cVMs, and takes their memory from the pool. cVMs of one program share its bytes.
///
/// # Errors
/// A message that names the cVM, the key and what was expected.
pub(crate) fn place_all(
    specs: Vec<CvmSpec>,
    elf_of: impl Fn(&str) -> &'static [u8],
    pool: &mut Pool,
) -> Result<Vec<Cvm>, String> {
    let mut planned: Vec<Planned> = Vec::with_capacity(specs.len());
    for id in 0..specs.len() {
        let cvm = plan(id, &specs, &planned, &elf_of);
        planned.push(cvm.map_err(|error| format!("cVM {}: {error}", specs[id].name))?);
    }
    let mut order: Vec<usize> = (0..specs.len()).collect();
    order.sort_by_key(|id| planned[*id].depth);
    // The innermost first: a region is as large as those within need.
    for id in order.iter().rev() {
        let within: Vec<usize> = (0..specs.len())
            .filter(|inner| specs[*inner].within == Some(*id))
            .collect();
        if !within.is_empty() {
            arrange(*id, &within, &specs, &mut planned)?;
        }
    }
    let bases = take(&order, &specs, &planned, pool)?;
    let cvms = specs.into_iter().zip(planned).zip(bases).enumerate();
    Ok(cvms
        .map(|(id, ((spec, cvm), base))| Cvm::new(id, spec, cvm.elf, cvm.program, cvm.layout, base..base + cvm.size))
        .collect())
}

/// Bytes and alignment of a region whose bounds can be represented and that shares no page.
fn region(size: u64) -> (u64, u64) {
    let (size, alignment) = arch::representable(size);
    (size.next_multiple_of(PAGE), alignment.max(PAGE))
}

/// Checks the program of a cVM and plans its memory, as if no cVM were within.
fn plan(
    id: usize,
    specs: &[CvmSpec],
    before: &[Planned],
    elf_of: &impl Fn(&str) -> &'static [u8],
) -> Result<Planned, String> {
    let spec = &specs[id];
    let wrong = |error: &dyn core::fmt::Display| format!("{}: {error}", spec.runtime);
    let known = specs[..id].iter().position(|other| other.runtime == spec.runtime);
    let (elf, mut program) = match known {
        Some(other) => (before[other].elf, before[other].program.clone()),
        None => {
            let elf = elf_of(&spec.runtime);
            (elf, Program::check(elf).map_err(|error| wrong(&error))?)
        }
    };
    let serves = specs.iter().any(|other| other.server == Some(id));
    if serves && program.handler.is_none() {
        program.find_handler(elf).map_err(|error| wrong(&error))?;
    }
    let outer = specs.iter().any(|other| other.within == Some(id));
    if outer && program.purecap {
        return Err(wrong(
            &"a purecap program: expected a hybrid one, for others are within",
        ));
    }
    let unplaced = Place { base: 0, seen: 0 };
    let request = Request {
        // Where the processor relocates, the addresses of a hybrid cVM start at 0 wherever it lies.
        base: if arch::relocates() && !program.purecap {
            Some(0)
        } else {
            spec.isolation_base
        },
        start_block: loader::start_block(id, spec, None, unplaced).len() as u64,
        stack: spec.stack,
        service_stack: serves.then_some(spec.service_stack),
        heap: spec.heap,
        // The isolation of a cVM that others are within is the region of them all.
        size: spec.isolation_size.filter(|_| !outer),
    };
    let layout = layout::plan(&program, &request).map_err(|error| wrong(&error))?;
    let (size, alignment) = region(layout.size);
    Ok(Planned {
        elf,
        program,
        layout: Layout { size, ..layout },
        size,
        alignment,
        offset: 0,
        depth: depth(id, specs)?,
    })
}

/// How many cVMs a cVM is within.
fn depth(id: usize, specs: &[CvmSpec]) -> Result<usize, String> {
    let mut outer = specs[id].within;
    for depth in 0..specs.len() {
        let Some(next) = outer else { return Ok(depth) };
        let Some(spec) = specs.get(next) else {
            return Err(format!("within: there is no cVM number {next}"));
        };
        outer = spec.within;
    }
    Err(String::from("within leads back to cVMs on its own way"))
}

/// Gives the cVMs within another one their places in its region, and the region its size.
fn arrange(id: usize, within: &[usize], specs: &[CvmSpec], planned: &mut [Planned]) -> Result<(), String> {
    let outer = &specs[id];
    let given = outer.isolation_size.filter(|size| *size <= REGION_LIMIT);
    if given.is_none() && outer.isolation_size.is_some() {
        let (name, error) = (&outer.name, layout::LayoutError::TooLarge);
        return Err(format!("cVM {name}: {}: {error}", outer.runtime));
    }
    // Without a base, places are found as if the region began at 0: its base will be aligned as all within need it.
    let start = outer.isolation_base.unwrap_or(0);
    let end = start.saturating_add(given.unwrap_or(REGION_LIMIT));
    let mut room = Pool::new(start..end);
    let own = planned[id].size;
    let too_small = |what: &str| {
        let (name, size) = (&outer.name, end - start);
        format!("cVM {name}: isolation size {size:#x}, but {what}")
    };
    if !room.take(start, own) {
        return Err(too_small(&format!("program, heap and stack need {own:#x} bytes")));
    }
    let (mut top, mut alignment) = (start + own, planned[id].alignment);
    let (based, free): (Vec<usize>, Vec<usize>) =
        within.iter().partition(|inner| specs[**inner].isolation_base.is_some());
    for inner in based.into_iter().chain(free) {
        let Planned {
            size, alignment: own, ..
        } = planned[inner];
        let name = &specs[inner].name;
        let base = match specs[inner].isolation_base {
            None => room
                .allocate(size, own)
                .ok_or_else(|| too_small(&format!("cVM {name} within needs {size:#x} bytes more")))?,
            Some(base) if outer.isolation_base.is_none() => {
                let outer = &outer.name;
                return Err(format!(
                    "cVM {name}: isolation base {base:#x}: expected one of cVM {outer} too, which it is within"
                ));
            }
            Some(base) => {
                aligned(base, size, own).map_err(|error| format!("cVM {name}: {error}"))?;
                if !room.take(base, size) {
                    let outer = &outer.name;
                    return Err(format!(
                        "cVM {name}: isolation base {base:#x}, size {size:#x}: expected free memory in the region of cVM \
                         {outer}, {start:#x}-{end:#x}, behind its own {:#x} bytes",
                        planned[id].size
                    ));
                }
                base
            }
        };
        planned[inner].offset = base - start;
        top = top.max(base + size);
        alignment = alignment.max(own);
    }
    let (size, needed) = region(given.unwrap_or(top - start));
    planned[id].size = size;
    planned[id].alignment = alignment.max(needed);
    Ok(())
}

fn aligned(base: u64, size: u64, alignment: u64) -> Result<(), String> {
    if base.is_multiple_of(alignment) {
        Ok(())
    } else {
        Err(format!(
            "isolation base {base:#x}: expected a multiple of {alignment:#x} for {size:#x} bytes"
        ))
    }
}

/// Takes the regions from the pool, those with a given base before those that may lie anywhere; the bases by number.
fn take(order: &[usize], specs: &[CvmSpec], planned: &[Planned], pool: &mut Pool) -> Result<Vec<u64>, String> {
    let mut bases = vec![0; specs.len()];
    let (based, free): (Vec<usize>, Vec<usize>) = order.iter().partition(|id| specs[**id].isolation_base.is_some());
    for id in based.into_iter().filter(|id| specs[*id].within.is_none()) {
        let Some(base) = specs[id].isolation_base else { continue };
        let Planned { size, alignment, .. } = planned[id];
        let name = &specs[id].name;
        aligned(base, size, alignment).map_err(|error| format!("cVM {name}: {error}"))?;
        if !pool.take(base, size) {
            return Err(format!(
                "cVM {name}: isolation base {base:#x}, size {size:#x}: that memory does not exist or is in use"
            ));
        }
        bases[id] = base;
    }
    for id in free.into_iter().filter(|id| specs[*id].within.is_none()) {
        let Planned { size, alignment, .. } = planned[id];
        let base = pool.allocate(size, alignment).ok_or_else(|| {
            let (name, free) = (&specs[id].name, pool.free_bytes());
            format!("cVM {name}: needs {size:#x} bytes of memory, {free:#x} are free")
        })?;
        bases[id] = base;
    }
    // Outer ones come first in the order.
    for id in order {
        if let Some(outer) = specs[*id].within {
            bases[*id] = bases[outer] + planned[*id].offset;
        }
    }
    Ok(bases)
}
