//! What it costs to load a cVM, and to have one.
//!
//! Loading is measured by restarts: a program whose first instruction is illegal is started again and again, and only
//! the loader's share of that grows with the program. The differences between programs are the cost of their parts.

use abi::manifest::RestartPolicy;
use object::elf::{DT_RELA, DT_RELAENT, DT_RELASZ, PF_R};
use tests::artifacts::built;
use tests::report::ledger;
use tools::Architecture;
use tools::elf::Facts;
use tools::elf::synthesis::{CapReloc, Elf, Fragment, Load, Purecap, Rela};
use tools::manifest::{CvmSpec, Restart};

use crate::Result;
use crate::counts::{first_instruction, next_stay};
use crate::measurement::{Bar, Measurement};
use crate::packing::{Setup, cvm};
use crate::platform::{Cause, Platform};

const LOADING: &str = "Loading a cVM (instructions)";
const MEMORY: &str = "Memory for a cVM beyond what its YAML asks (bytes)";
/// Most bytes of a cVM beyond what its YAML asks.
const BAR: u64 = 4 * 1024;
/// Bytes of zeroed data in [`Elf::program`].
const SMALL: u64 = 4 * 1024;
/// Bytes of data in the large programs.
const LARGE: u64 = 256 * 1024;
/// Relocations of the relocated program.
const RELOCATIONS: u64 = 500;
/// Bytes of a relocation, `Elf64_Rela`.
const RELOCATION: u64 = 24;

/// Instruction that no ISA here knows: all bits zero.
const ILLEGAL: [u8; 8] = [0; 8];

/// A program that faults at once, with `size` bytes of data, of which the first `data.len()` come from the file.
fn program(platform: &dyn Platform, size: u64, data: &[u8]) -> Elf {
    let mut elf = Elf::program(platform.arch(), &ILLEGAL);
    elf.loads[1].memory_size = size;
    elf.loads[1].data = data.to_vec();
    elf
}

/// The small program with a table of relocations, of which `used` are to be applied.
fn relocated(platform: &dyn Platform, used: u64) -> Elf {
    const TABLE: u64 = 0x4000;
    let mut elf = program(platform, SMALL, &[]);
    let place = elf.loads[1].address;
    let entry = |index: u64| {
        let words = [place + 8 * index, platform.relative_relocation().into(), 0];
        words.map(u64::to_le_bytes).concat()
    };
    let table: Vec<u8> = (0..RELOCATIONS).flat_map(entry).collect();
    elf.loads.push(Load::new(TABLE, &table, PF_R));
    let dynamic = (TABLE + table.len() as u64).next_multiple_of(4096);
    let entries = [
        (DT_RELA, TABLE),
        (DT_RELASZ, used * RELOCATION),
        (DT_RELAENT, RELOCATION),
    ];
    elf.with_dynamic(dynamic, &entries)
}

/// A purecap program that faults at once, with a slot for each of these relocations, of the kind that compilers make most of:
/// `__cap_relocs`, or `R_MORELLO_RELATIVE`. Each gives a capability over one word of its data.
fn capabilities(platform: &dyn Platform, used: usize) -> Elf {
    const R_MORELLO_RELATIVE: u32 = 0xe803;
    const READ_WRITE: u8 = 2;
    let mut program = Purecap::new(platform.arch(), &ILLEGAL);
    program.slots = RELOCATIONS as usize;
    let (data, word) = (program.data_address(), 8);
    for number in 0..used {
        let (location, object) = (program.slot(number), data + word * (number as u64 % 64));
        match platform.arch() {
            Architecture::CheriRiscv => program.cap_relocs.push(CapReloc {
                location,
                object,
                offset: 0,
                size: word,
                permissions: 0,
            }),
            Architecture::Morello => {
                program.relocations.push(Rela {
                    location,
                    kind: R_MORELLO_RELATIVE,
                    symbol: 0,
                    addend: 0,
                });
                program.fragments.push(Fragment {
                    location,
                    start: object,
                    length: word,
                    permissions: READ_WRITE,
                });
            }
        }
    }
    program.to_elf()
}

fn setup(platform: &dyn Platform, elf: &Elf) -> Result<Setup> {
    let spec = CvmSpec {
        restart: Restart {
            policy: RestartPolicy::OnFault,
            limit: 10,
            delay: 0,
        },
        ..CvmSpec::new("loaded", "loaded")
    };
    // Errors only: printing is not loading.
    let programs = [("loaded".to_owned(), elf.to_bytes())];
    Ok(Setup::new(platform.arch(), &[spec], &programs)?.append("log=error"))
}

/// Instructions from the fault of a program to its first instruction in the next life.
fn restart(platform: &dyn Platform, elf: &Elf) -> Result<u64> {
    let mut machine = setup(platform, elf)?.board(platform)?;
    first_instruction(&mut *machine)?;
    // The first restarts may extend tables of the monitor.
    let mut stays = Vec::new();
    for _ in 0..5 {
        let stay = next_stay(&mut *machine, &|_| false)?;
        if stay.cause != Some(Cause::Fault) {
            return Err(format!("a restart by {:?}, expected by a fault", stay.cause).into());
        }
        stays.push(stay.instructions);
    }
    stays.into_iter().min().ok_or_else(|| "no restart".into())
}

fn per_kib(more: u64, less: u64, bytes: u64) -> f64 {
    (more as f64 - less as f64) / (bytes as f64 / 1024.0)
}

/// Costs of loading.
///
/// # Errors
/// The monitor does not do what is measured.
pub(crate) fn measure(platform: &dyn Platform) -> Result<Vec<Measurement>> {
    let small = program(platform, SMALL, &[]);
    let zeroed = program(platform, LARGE, &[]);
    let copied = program(platform, LARGE, &vec![0x55; LARGE as usize]);
    let costs = [&small, &zeroed, &copied].map(|elf| restart(platform, elf));
    let [small_cost, zeroed_cost, copied_cost] = costs;
    let (small_cost, zeroed_cost, copied_cost) = (small_cost?, zeroed_cost?, copied_cost?);
    let [few, many] = [1, RELOCATIONS].map(|used| restart(platform, &relocated(platform, used)));
    let relocation = (many? as f64 - few? as f64) / (RELOCATIONS - 1) as f64;
    let [few, many] = [1, RELOCATIONS].map(|used| restart(platform, &capabilities(platform, used as usize)));
    let capability = (many? as f64 - few? as f64) / (RELOCATIONS - 1) as f64;
    let boots = [&zeroed, &copied].map(|elf| first_instruction(&mut *setup(platform, elf)?.board(platform)?));
    let [zeroed_boot, copied_boot] = boots;
    let from_reset = per_kib(copied_boot?, zeroed_boot?, LARGE);
    let row = |label, value| Measurement::rate(LOADING, label, value);
    Ok(vec![
        row("zeroing, per KiB", per_kib(zeroed_cost, small_cost, LARGE - SMALL)).bar(Bar::at_most(80)),
        row(
            "copying from the ELF file, per KiB",
            per_kib(copied_cost, zeroed_cost, LARGE),
        )
        .bar(Bar::at_most(200)),
        row("relocating, per relocation", relocation),
        row("  of a purecap program, per capability", capability),
        row("from reset, per KiB of ELF file in the archive", from_reset),
        Measurement::count(
            LOADING,
            "restart of a small program after a fault, no report",
            small_cost,
        ),
    ])
}

/// What the monitor prints at log=debug until the first cVM runs.
fn boot_log(platform: &dyn Platform, cvms: &[CvmSpec], programs: &[(String, Vec<u8>)]) -> Result<String> {
    let setup = Setup::new(platform.arch(), cvms, programs)?.append("log=debug");
    let mut machine = setup.board(platform)?;
    first_instruction(&mut *machine)?;
    Ok(machine.console())
}

/// What a cVM takes beyond heap, stack and its program.
///
/// # Errors
/// The monitor does not say what it uses.
pub(crate) fn measure_memory(platform: &dyn Platform) -> Result<Vec<Measurement>> {
    /// cVMs of the smaller of the two boots that are compared.
    const CVMS: u64 = 32;
    let same = |count: u64| {
        let cvms: Vec<CvmSpec> = (0..count)
            .map(|number| cvm(&format!("cvm{number:03}"), "hello", &[]))
            .collect();
        boot_log(platform, &cvms, &[])
    };
    let program = built(platform.arch()).program("hello");
    let different = |count: u64| {
        let names: Vec<String> = (0..count).map(|number| format!("own{number:03}")).collect();
        let cvms: Vec<CvmSpec> = (names.iter().enumerate())
            .map(|(number, runtime)| cvm(&format!("cvm{number:03}"), runtime, &[]))
            .collect();
        let programs: Vec<_> = names.iter().map(|name| (name.clone(), program.clone())).collect();
        boot_log(platform, &cvms, &programs)
    };
    let growth =
        |few: &str, many: &str| -> Result<u64> { Ok(heap_in_use(many)?.saturating_sub(heap_in_use(few)?) / CVMS) };
    let few = same(CVMS)?;
    let heap = growth(&few, &same(2 * CVMS)?)?;
    let with_program = growth(&different(CVMS)?, &different(2 * CVMS)?)?;
    let copies = (with_program as f64 - heap as f64) / program.len() as f64;

    let lines: Vec<&str> = few.lines().filter_map(|line| line.strip_prefix("[monitor] ")).collect();
    let entries = ledger(&lines);
    let entry = entries.iter().find(|entry| entry.name == "cvm000 data");
    let what = entry
        .ok_or_else(|| format!("no memory of cvm000 in the ledger:\n{few}"))?
        .what;
    let spec = CvmSpec::new("cvm000", "hello");
    let asked = spec.heap + spec.stack + Facts::read(&program)?.memory_size();
    let region = (what.top - u128::from(what.base)) as u64;
    let rounding = region.checked_sub(asked);
    let rounding = rounding.ok_or_else(|| format!("cvm000 has {region:#x} bytes, its YAML asks {asked:#x}"))?;
    Ok(vec![
        Measurement::count(MEMORY, "start block and rounding in its own memory", rounding),
        Measurement::count(MEMORY, "monitor's heap: frame, record, names, ledger", heap),
        Measurement::count(MEMORY, "sum", rounding + heap).bar(Bar::at_most(BAR)),
        Measurement::rate(MEMORY, "monitor's heap per byte of ELF file in the archive", copies),
    ])
}

fn heap_in_use(console: &str) -> Result<u64> {
    const ENDING: &str = " bytes of the monitor's heap in use";
    let line = console.lines().find_map(|line| line.strip_suffix(ENDING));
    let number = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    number.ok_or_else(|| format!("no line \"…{ENDING}\" on the console:\n{console}").into())
}
