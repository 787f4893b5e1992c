//! The parts of the monitor: what of it isolation rests on, what only availability.

/// What goes wrong when a part is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// A cVM can come to read, write, run or keep what is not its own.
    Isolation,
    /// Something stops, is late, or is said wrong; nobody holds more than before.
    Availability,
}

/// Files of the monitor, by the beginning of their path.
pub(super) struct Part {
    pub(super) path: &'static str,
    pub(super) class: Class,
    /// What it can do wrong.
    pub(super) harm: &'static str,
}

const fn isolation(path: &'static str, harm: &'static str) -> Part {
    Part {
        path,
        class: Class::Isolation,
        harm,
    }
}

const fn availability(path: &'static str, harm: &'static str) -> Part {
    Part {
        path,
        class: Class::Availability,
        harm,
    }
}

/// A file belongs to the part with the longest path that it begins with. Whole rooms are named, so that a new file is in one;
/// what is in doubt is isolation.
pub(super) const PARTS: [Part; 31] = [
    isolation(
        "abi/src",
        "a number that monitor and tool understand differently: another range than was planned",
    ),
    availability("abi/src/error.rs", "another error number"),
    availability("abi/src/fault.rs", "a fault called by another name"),
    availability("abi/src/start.rs", "a program is told wrong things about itself"),
    isolation(
        "capability/src",
        "bounds wider than planned: a capability reaches into a neighbour",
    ),
    availability("capability/src/decoded.rs", "a capability printed wrong"),
    availability("capability/src/error.rs", "a refusal explained wrong"),
    isolation(
        "arch/src",
        "facts about the machine confused: the kernel derives or opens something else",
    ),
    isolation(
        "arch/src/cheri_riscv",
        "registers, capabilities or PMP: authority of the monitor or of another cVM left to a cVM",
    ),
    isolation(
        "arch/src/morello",
        "registers, capabilities or page tables: authority of the monitor or of another cVM left to a cVM",
    ),
    availability("arch/src/cheri_riscv/fault.rs", "a fault reported wrong"),
    availability("arch/src/morello/fault.rs", "a fault reported wrong"),
    isolation("boot/src", "the root, or authority of an upper level, is left behind"),
    isolation(
        "boot/src/efi.rs",
        "firmware's memory given to cVMs, or the image entered with a wrong device tree",
    ),
    isolation(
        "kernel/src",
        "firmware's or the monitor's memory given to cVMs, the root destroyed too late",
    ),
    isolation(
        "kernel/src/authority",
        "a capability derived too wide, or missing in the ledger",
    ),
    isolation(
        "kernel/src/cvm",
        "memory older than its cVM, a wrong capability at its start, one cVM's record taken for another's",
    ),
    availability("kernel/src/cvm/queue.rs", "a thread lost, or run out of turn"),
    isolation(
        "kernel/src/hostcall",
        "a hostcall served for another than its caller, or with other authority than the caller's",
    ),
    availability("kernel/src/hostcall/time.rs", "a wrong time, a sleep that does not end"),
    isolation(
        "kernel/src/plan",
        "memory of two cVMs overlaps, a server or a capfile is another than the manifest says",
    ),
    availability(
        "kernel/src/plan/archive.rs",
        "a program missing, or another file's bytes run in a cVM of their own",
    ),
    isolation(
        "kernel/src/elf",
        "nothing beyond the program's own memory, of which its capabilities are derived; within it a purecap program's objects reach each other",
    ),
    availability("kernel/src/elf/error.rs", "a refusal explained wrong"),
    availability("kernel/src/elf/section.rs", "names for a backtrace missing"),
    isolation("kernel/src/heap.rs", "the memory of one table given to another"),
    availability("kernel/src/report", "a label, a report or a backtrace that is wrong"),
    isolation(
        "kernel/src/measure.rs",
        "another digest than the program's; it reads the monitor's memory",
    ),
    isolation(
        "kernel/src/run",
        "a thread runs with another's frame, something lent is kept",
    ),
    availability("kernel/src/run/tree.rs", "a wake-up lost or too late"),
    availability("kernel/src/run/wait.rs", "a wake-up lost, or one that nobody asked for"),
];

/// The part that a file is of, by its path from the root of the work tree.
pub(super) fn part_of(path: &str) -> Option<&'static Part> {
    let fits = PARTS.iter().filter(|part| path.starts_with(part.path));
    fits.max_by_key(|part| part.path.len())
}

/// What is in the work tree and need not be right for a cVM to be confined.
pub(super) const OUTSIDE: [(&str, &str); 5] = [
    (
        "`tools`",
        "packs, runs and audits images. The monitor checks again all that it checks; an audit that errs misleads whoever reads it",
    ),
    (
        "`payloads`",
        "programs of cVMs and their runtime: what is wrong in one is that program's",
    ),
    (
        "`machine`",
        "an emulator: stands for the processor where an image runs on it, and is trusted there as a processor is",
    ),
    ("`arch/src/host`, tests", "not in the image"),
    ("`scripts`, `fuzz`, `tests`", "not in the image"),
];
