//! Where the cVMs lie relative to each other, and the capabilities that each of them has: derived again here, from the
//! rules, so that the monitor's ledger has something to agree with.

use std::ops::Range;

use abi::hostcall::Family;
use abi::manifest::CALLBACK_MONITOR;
use capability::Permissions;
use serde::Serialize;

use super::float::float;
use super::layout::{Layout, Machine, data_start};
use super::{Buffer, Cvm, Memory, Part, Planned};
use crate::Architecture;
use crate::elf::Facts;
use crate::elf::purecap::{CAP_RELOC_CONSTANT, CAP_RELOC_FUNCTION, FRAGMENT_DATA, FRAGMENT_FUNCTION, Wanted};

/// A capability of a cVM.
#[derive(Clone, Debug, Serialize)]
pub struct Capability {
    /// Its name; those from the start on have it in the monitor's ledger, too.
    pub name: String,
    /// Where it is, or how the cVM gets it.
    pub held: &'static str,
    /// First offset from the start of the cVM's memory; of a buffer, from its own start.
    pub start: u64,
    /// End of its bounds, counted likewise.
    pub end: u64,
    /// The address that `start` stands for, when the cVM has a fixed place.
    pub address: Option<u64>,
    /// Letters of the printed form: `r`ead, `w`rite, e`x`ecute, `R`/`W` capabilities, `L` local ones, `G`lobal, `I`nvoke,
    /// `M`utable load.
    pub permissions: String,
    /// The permissions.
    #[serde(skip)]
    pub(super) rights: Permissions,
    /// Whose memory `start` and `end` count in.
    #[serde(skip)]
    pub(super) kind: Kind,
}

/// What kind of capability it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The cVM holds it from its start on, or from a hostcall on, over its own memory and that of cVMs within.
    Own,
    /// The monitor keeps it and uses it for the cVM.
    Kept,
    /// Over a buffer, local.
    Buffer,
}

/// Number of capabilities that the relocations of a purecap program make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Made {
    /// Sentries into its text.
    pub functions: usize,
    /// Capabilities over writable objects.
    pub writable: usize,
    /// Capabilities over constants.
    pub constants: usize,
}

/// The permissions that cVMs get, by architecture.
struct Rights {
    data: Permissions,
    code: Permissions,
    read_only: Permissions,
}

fn rights(arch: Architecture) -> Rights {
    let load = Permissions::GLOBAL | Permissions::LOAD | Permissions::LOAD_CAPABILITY;
    let load = match arch {
        Architecture::CheriRiscv => load,
        Architecture::Morello => load | Permissions::MUTABLE_LOAD,
    };
    Rights {
        data: load | Permissions::STORE | Permissions::STORE_CAPABILITY | Permissions::INVOKE,
        code: load | Permissions::EXECUTE | Permissions::INVOKE,
        read_only: load,
    }
}

/// Gives every cVM within another its offset, and every outer one the size of its region; the innermost first.
///
/// # Errors
/// Number of the cVM, and what does not fit.
pub(super) fn place(machine: Machine, cvms: &mut [Planned<'_>]) -> Result<(), (usize, String)> {
    let depth = |index: usize| {
        let way = std::iter::successors(cvms[index].outer, |at| cvms[*at].outer);
        way.count()
    };
    let depths: Vec<usize> = (0..cvms.len()).map(depth).collect();
    let mut order: Vec<usize> = (0..cvms.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(depths[*index]));
    for outer in order {
        let inner: Vec<usize> = (0..cvms.len())
            .filter(|index| cvms[*index].outer == Some(outer))
            .collect();
        if !inner.is_empty() {
            arrange(machine, cvms, outer, &inner).map_err(|problem| (outer, problem))?;
        }
    }
    Ok(())
}

fn arrange(machine: Machine, cvms: &mut [Planned<'_>], outer: usize, inner: &[usize]) -> Result<(), String> {
    let base = cvms[outer].spec.isolation_base;
    let origin = base.unwrap_or(0);
    let given = cvms[outer].spec.isolation_size;
    let limit = given.unwrap_or(1 << 40);
    let own = 0..cvms[outer].layout.size;
    let mut used = Vec::from([own]);
    let mut alignment = cvms[outer].alignment;
    let (fixed, free): (Vec<usize>, Vec<usize>) = inner
        .iter()
        .partition(|index| cvms[**index].spec.isolation_base.is_some());
    for index in fixed.into_iter().chain(free) {
        let Planned {
            region, alignment: own, ..
        } = cvms[index];
        let start = match cvms[index].spec.isolation_base {
            Some(at) if base.is_some() => at.checked_sub(origin).ok_or("an inner cVM lies before it")?,
            Some(_) => return Err("an inner cVM has a base, it has none".to_owned()),
            None => lowest(&used, origin, region, own),
        };
        let range = start..start + region;
        if range.end > limit
            || used
                .iter()
                .any(|other| other.start < range.end && range.start < other.end)
        {
            return Err(format!("no room in its region for {}", cvms[index].spec.name));
        }
        used.push(range);
        cvms[index].offset = start;
        alignment = alignment.max(own);
    }
    let top = used.iter().map(|range| range.end).max().unwrap_or(0);
    let (region, needed) = machine.region(given.unwrap_or(top))?;
    cvms[outer].region = region;
    cvms[outer].alignment = alignment.max(needed);
    Ok(())
}

/// The lowest offset of a free range whose address is a multiple of `alignment`.
fn lowest(used: &[Range<u64>], origin: u64, size: u64, alignment: u64) -> u64 {
    let aligned = |offset: u64| (origin + offset).next_multiple_of(alignment) - origin;
    let mut candidates: Vec<u64> = used.iter().map(|range| aligned(range.end)).collect();
    candidates.sort_unstable();
    let free = |start: &u64| {
        used.iter()
            .all(|other| start + size <= other.start || *start >= other.end)
    };
    candidates.into_iter().find(free).unwrap_or(0)
}

/// Describes cVM number `index`. Its servers have an end: the plan was judged.
pub(super) fn describe_cvm(machine: Machine, cvms: &[Planned<'_>], index: usize, buffers: &[Buffer]) -> Cvm {
    let Planned {
        spec,
        facts,
        layout,
        region,
        alignment,
        ..
    } = &cvms[index];
    let named = |name: &str| cvms.iter().find(|other| other.spec.name == name);
    let mut calls_through = Vec::new();
    let mut server = spec.callback_out.as_str();
    while server != CALLBACK_MONITOR {
        calls_through.push(server.to_owned());
        server = named(server).map_or(CALLBACK_MONITOR, |cvm| &cvm.spec.callback_out);
    }
    calls_through.push(CALLBACK_MONITOR.to_owned());
    let (space, offset) = space(cvms, index);
    let base = spec
        .isolation_base
        .or_else(|| Some(cvms[space].spec.isolation_base? + offset));
    let serves: Vec<String> = cvms
        .iter()
        .filter(|other| other.spec.callback_out == spec.name)
        .map(|other| other.spec.name.clone())
        .collect();
    Cvm {
        name: spec.name.clone(),
        runtime: spec.runtime.clone(),
        purecap: facts.purecap(),
        memory: Memory {
            base,
            size: layout.size,
            alignment: *alignment,
            region: *region,
            space: cvms[space].spec.name.clone(),
            offset,
            parts: parts(layout),
        },
        capabilities: capabilities(machine, &cvms[index], base, buffers),
        made: made(facts),
        calls: spec.callback_out.clone(),
        call_budget: (spec.is_served() || !spec.calls.is_empty()).then_some(spec.call_budget),
        calls_through,
        serves,
        hostcalls: Family::ALL
            .into_iter()
            .filter(|family| spec.allows(*family))
            .map(Family::name)
            .collect(),
        within: spec.within.clone(),
        float: float(machine.arch, cvms, index),
        devices: spec.devices.clone(),
        gates: spec.gates.clone(),
        gate_calls: spec.calls.clone(),
    }
}

/// Number of the outermost cVM around one, and the distance from its start.
fn space(cvms: &[Planned<'_>], index: usize) -> (usize, u64) {
    let (mut at, mut offset) = (index, 0);
    while let Some(outer) = cvms[at].outer {
        offset += cvms[at].offset;
        at = outer;
    }
    (at, offset)
}

fn parts(layout: &Layout) -> Vec<Part> {
    let mut parts: Vec<Part> = [
        ("service stack", &layout.service_stack),
        ("stack", &layout.stack),
        ("program", &layout.program),
        ("tls", &layout.tls),
        ("start block", &layout.start_block),
        ("local area", &layout.local),
        ("gate stacks", &layout.gate_stacks),
        ("heap", &layout.heap),
    ]
    .into_iter()
    .chain(layout.text.iter().map(|text| ("text", text)))
    .filter(|(_, range)| !range.is_empty())
    .map(|(name, range)| Part {
        name,
        start: range.start,
        end: range.end,
    })
    .collect();
    parts.sort_by_key(|part| (part.start, std::cmp::Reverse(part.end)));
    parts
}

fn capabilities(machine: Machine, cvm: &Planned<'_>, base: Option<u64>, buffers: &[Buffer]) -> Vec<Capability> {
    let Rights { data, code, read_only } = rights(machine.arch);
    let (spec, layout, purecap) = (cvm.spec, &cvm.layout, cvm.facts.purecap());
    let mut found = Vec::new();
    let mut add = |name: &str, held, kind, range: Range<u64>, rights: Permissions| {
        if range.is_empty() {
            return;
        }
        found.push(Capability {
            name: format!("{} {name}", spec.name),
            held,
            address: base.filter(|_| kind != Kind::Buffer).map(|base| base + range.start),
            start: range.start,
            end: range.end,
            permissions: rights.to_string(),
            rights,
            kind,
        });
    };
    if purecap {
        add("memory", "the monitor, to load it", Kind::Kept, 0..cvm.region, data);
    } else {
        let start = data_start(machine, layout, cvm.region);
        add("data", "DDC", Kind::Own, start..cvm.region, data);
    }
    add("code", "PCC", Kind::Own, layout.code.clone(), code);
    if purecap {
        add("stack", "stack pointer", Kind::Own, layout.stack.clone(), data);
        add(
            "start block",
            "first argument",
            Kind::Own,
            layout.start_block.clone(),
            read_only,
        );
        add("tls", "thread pointer", Kind::Own, layout.tls.clone(), data);
    }
    let local = data | Permissions::STORE_LOCAL;
    add(
        "service stack",
        "handler's stack",
        Kind::Own,
        layout.service_stack.clone(),
        local,
    );
    add("local area", "start block", Kind::Own, layout.local.clone(), local);
    add(
        "gate stacks",
        "stacks of its gates",
        Kind::Own,
        layout.gate_stacks.clone(),
        local,
    );
    if spec.allows(Family::Memory) {
        add("heap", "hostcall heap", Kind::Own, layout.heap.clone(), data);
    }
    let by = match (spec.allows(Family::Capfile), spec.allows(Family::Buffer)) {
        (true, true) => Some("hostcall capfile or buffer_map"),
        (true, false) => Some("hostcall capfile"),
        (false, true) => Some("hostcall buffer_map"),
        (false, false) => None,
    };
    if let Some(by) = by {
        for buffer in buffers {
            let mut rights = Permissions::empty();
            rights.set(Permissions::LOAD, buffer.readers.contains(&spec.name));
            rights.set(Permissions::STORE, buffer.writers.contains(&spec.name));
            if !rights.is_empty() {
                let name = format!("buffer {}", buffer.name);
                add(&name, by, Kind::Buffer, 0..buffer.covered, rights);
            }
        }
    }
    if spec.buffer_quota > 0 && spec.allows(Family::Buffer) {
        let rights = Permissions::LOAD | Permissions::STORE;
        let covered = machine
            .exact(spec.buffer_quota)
            .map_or(spec.buffer_quota, |(length, _)| length);
        add(
            "buffers",
            "hostcalls buffer_create, buffer_map",
            Kind::Buffer,
            0..covered,
            rights,
        );
    }
    found
}

/// What the relocations of a purecap program make. They have been checked.
fn made(facts: &Facts) -> Made {
    let mut made = Made::default();
    for relocation in &facts.purecap_relocations {
        match &relocation.wanted {
            Wanted::Word | Wanted::Unknown { .. } => {}
            Wanted::Symbol { symbol, .. } => {
                let Some(symbol) = symbol.as_ref().filter(|symbol| symbol.defined) else {
                    continue;
                };
                if symbol.kind == object::elf::STT_FUNC {
                    made.functions += 1;
                } else if facts.may_write(symbol.value, symbol.size) {
                    made.writable += 1;
                } else {
                    made.constants += 1;
                }
            }
            Wanted::Fragment { content, .. } => match content.map(|(_, what)| (what >> 56) as u8) {
                Some(FRAGMENT_FUNCTION) => made.functions += 1,
                Some(FRAGMENT_DATA) => made.writable += 1,
                _ => made.constants += 1,
            },
            Wanted::Entry { object: 0, .. } => {}
            Wanted::Entry { permissions, .. } => match *permissions {
                function if function & CAP_RELOC_FUNCTION != 0 => made.functions += 1,
                CAP_RELOC_CONSTANT => made.constants += 1,
                _ => made.writable += 1,
            },
        }
    }
    made
}
