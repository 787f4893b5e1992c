//! A cVM that does what it may not do is stopped with a report that says what it was, and nobody else notices.

use abi::FaultKind;
use tests::code::Assembler;
use tests::code::assembler::Register::Scratch;
use tests::{Outcome, Platform, Scenario, cvm, on_every_platform};
use tools::Architecture;
use tools::manifest::CvmSpec;
use tools::run::Isa;

on_every_platform!(
    a_null_pointer_with_a_small_offset_faults,
    a_read_outside_the_own_memory_is_stopped,
    a_write_outside_the_own_memory_is_stopped,
    a_jump_outside_the_own_code_is_stopped,
    a_forbidden_instruction_is_stopped,
    no_capability_can_be_made_greater,
    legal_ways_to_fail_are_no_faults,
    a_report_says_what_was_tried_where,
);

/// Where the victim of the rogues lies, from the start of the RAM.
const VICTIM: u64 = 0x0400_0000;
/// Exit code of a rogue whose deed went unpunished.
const UNPUNISHED: i32 = 66;

/// Boots one rogue for each deed and some cVMs that do nothing wrong, and asserts that these did not notice.
fn boot_rogues(platform: Platform, deeds: &[&str]) -> Outcome {
    let rogues = deeds.iter().map(|deed| {
        let address = format!("{:#x}", platform.ram() + VICTIM);
        let detail = if deed.ends_with("-other") {
            vec![*deed, &address]
        } else {
            vec![*deed]
        };
        cvm(deed, "rogue", &detail)
    });
    let victim = CvmSpec {
        isolation_base: Some(platform.ram() + VICTIM),
        heap: 64 << 10,
        ..cvm("victim", "heap", &[])
    };
    let bystanders = [victim, cvm("bystander", "clock", &["5", "2"])];
    let outcome = Scenario::new(bystanders.into_iter().chain(rogues).collect::<Vec<_>>()).boot(platform);
    assert_eq!(outcome.row("victim").state, "exited 0", "{outcome}");
    assert_eq!(outcome.row("bystander").state, "exited 0", "{outcome}");
    assert_eq!(
        outcome
            .of("victim")
            .iter()
            .filter(|line| line.starts_with("ok "))
            .count(),
        3,
        "{outcome}"
    );
    assert_eq!(outcome.of("bystander").len(), 5, "{outcome}");
    outcome.assert_status(1);
    outcome
}

/// Asserts that the rogue of `deed` was killed for `kind`, once, and got no further than to its announcement.
fn assert_killed(outcome: &Outcome, deed: &str, kind: FaultKind) {
    let faults: Vec<_> = outcome.faults().into_iter().filter(|fault| fault.cvm == deed).collect();
    let kinds: Vec<_> = faults.iter().map(|fault| fault.kind).collect();
    assert_eq!(kinds, [kind], "{deed}: {outcome}");
    assert_eq!(
        outcome.of(deed),
        [format!("rogue: about to {deed}")],
        "{deed}: {outcome}"
    );
    assert_eq!(
        outcome.row(deed).state,
        format!("killed: {}", kind.name()),
        "{deed}: {outcome}"
    );
}

/// Asserts that `deed` is the cVM's own business on this platform.
fn assert_harmless(outcome: &Outcome, deed: &str) {
    assert_eq!(
        outcome.row(deed).state,
        format!("exited {UNPUNISHED}"),
        "{deed}: {outcome}"
    );
}

/// One deed for each target of `verb`; all must be refused by the capability `register`.
fn assert_bounds(platform: Platform, verb: &str, access: &str, register: &str) -> Outcome {
    let targets = ["below", "above", "null", "monitor", "device", "other"];
    let deeds = targets.map(|target| format!("{verb}-{target}"));
    let outcome = boot_rogues(platform, &deeds.each_ref().map(String::as_str));
    for (deed, target) in deeds.iter().zip(targets) {
        // Where addresses count from 0, the code capability begins there.
        if (verb, target, platform.relocates()) == ("jump", "null", true) {
            continue;
        }
        assert_killed(&outcome, deed, FaultKind::Bounds);
        let fault = outcome.faults().into_iter().find(|fault| fault.cvm == *deed).unwrap();
        assert_eq!(fault.access.as_deref(), Some(access), "{deed}: {outcome}");
        assert_eq!(fault.register.as_deref(), Some(register), "{deed}: {outcome}");
        let address = match target {
            "null" if platform.relocates() => {
                let name = format!("{deed} data");
                let entry = outcome.ledger().into_iter().find(|entry| entry.name == name);
                entry.map(|entry| entry.what.address)
            }
            "null" => Some(0),
            "monitor" => Some(platform.monitor()),
            "device" => Some(platform.device()),
            "other" => Some(platform.ram() + VICTIM),
            _ => fault.address,
        };
        assert_eq!(fault.address, address, "{deed}: {outcome}");
    }
    outcome
}

fn a_read_outside_the_own_memory_is_stopped(platform: Platform) {
    assert_bounds(platform, "read", "read", "ddc");
}

fn a_write_outside_the_own_memory_is_stopped(platform: Platform) {
    assert_bounds(platform, "write", "write", "ddc");
}

fn a_jump_outside_the_own_code_is_stopped(platform: Platform) {
    let outcome = assert_bounds(platform, "jump", "execute", "pcc");
    if platform.relocates() {
        // Its first page, which is zero.
        assert_killed(&outcome, "jump-null", FaultKind::Illegal);
    }
}

fn a_forbidden_instruction_is_stopped(platform: Platform) {
    let expected = [
        ("illegal", FaultKind::Illegal),
        ("breakpoint", FaultKind::Breakpoint),
        ("csr-read", FaultKind::Privilege),
        ("csr-write", FaultKind::Privilege),
        ("trap-return", FaultKind::Privilege),
        ("misaligned", FaultKind::Misaligned),
        ("stack-overflow", FaultKind::Bounds),
    ];
    let outcome = boot_rogues(platform, &expected.map(|(deed, _)| deed));
    for (deed, kind) in expected {
        assert_killed(&outcome, deed, kind);
    }
    // The reference emulators for CHERI-RISC-V have it open all the same.
    if platform.is_machine() || platform.arch() == Architecture::Morello {
        let outcome = boot_rogues(platform, &["counter-read"]);
        assert_eq!(outcome.faults().len(), 1, "{outcome}");
        assert_killed(&outcome, "counter-read", FaultKind::Privilege);
    }
    let overflow = "bytes below its stack: a stack overflow, by all appearances";
    let named = outcome.monitor().into_iter().filter(|line| line.ends_with(overflow));
    assert_eq!(named.count(), 1, "{outcome}");
}

fn no_capability_can_be_made_greater(platform: Platform) {
    let outcome = boot_rogues(platform, &["ddc-widen", "forge", "execute-data", "write-text"]);
    // ISAv8 refuses at once to set greater bounds; ISAv9 makes the result worthless.
    let widen = if platform.relocates() {
        FaultKind::Bounds
    } else {
        FaultKind::Tag
    };
    assert_killed(&outcome, "ddc-widen", widen);
    assert_killed(&outcome, "forge", FaultKind::Tag);
    // ISAv8 counts code from the start of the memory, so its PCC holds the stack, too.
    if platform.relocates() {
        assert_harmless(&outcome, "execute-data");
    } else {
        assert_killed(&outcome, "execute-data", FaultKind::Bounds);
    }
    // DDC holds the own text; where there are page tables, they keep it from being written.
    match platform.arch() {
        Architecture::CheriRiscv => assert_harmless(&outcome, "write-text"),
        Architecture::Morello => assert_killed(&outcome, "write-text", FaultKind::Access),
    }
}

fn legal_ways_to_fail_are_no_faults(platform: Platform) {
    let cvms = [
        cvm("panics", "rogue", &["panic"]),
        cvm("exits", "rogue", &["exit", "7"]),
        cvm("minus", "rogue", &["exit", "-1"]),
    ];
    let outcome = Scenario::new(cvms).boot(platform);
    outcome.assert_status(1);
    assert_eq!(outcome.faults(), [], "{outcome}");
    assert_eq!(outcome.row("exits").state, "exited 7", "{outcome}");
    assert_eq!(outcome.row("minus").state, "exited -1", "{outcome}");
    assert_eq!(outcome.row("panics").state, "exited 101", "{outcome}");
    assert!(
        outcome.of("panics").iter().any(|line| line.contains("as asked")),
        "{outcome}"
    );
}

fn a_report_says_what_was_tried_where(platform: Platform) {
    let outcome = Scenario::new([cvm("rogue", "rogue", &["write-monitor"])]).boot(platform);
    let faults = outcome.faults();
    let [fault] = faults.as_slice() else {
        panic!("one fault expected\n{outcome}")
    };
    let has = |start: &str| fault.details.iter().any(|line| line.starts_with(start));
    assert!(has("instruction 0x"), "{outcome}");
    let ddc = outcome
        .ledger()
        .into_iter()
        .find(|entry| entry.name == "rogue data")
        .unwrap();
    assert!(has(&format!("authority ddc = {}", ddc.what)), "{outcome}");
    let raw = match platform.arch() {
        Architecture::CheriRiscv => "mcause = 0x1c, mtval = 0x",
        Architecture::Morello => "esr_el1 = 0x",
    };
    assert!(has(raw), "{outcome}");
    // The ELF has symbols, so the way to the instruction is told by names.
    let callers: Vec<_> = fault
        .details
        .iter()
        .filter(|line| line.starts_with("called from "))
        .collect();
    assert!(callers.iter().any(|line| line.contains("cvm_main+0x")), "{outcome}");
    assert!(callers.iter().any(|line| line.contains("rt_start+0x")), "{outcome}");
}

fn a_null_pointer_with_a_small_offset_faults(platform: Platform) {
    let null = Scratch(0);
    for offset in [0, 16, 2040] {
        let mut code = Assembler::new(platform.arch());
        code.set(null, 0).store(null, null, offset).exit(0);
        let program = code.elf(&[]).to_bytes();
        let boot = |heap| {
            let spec = CvmSpec {
                heap,
                ..cvm("careless", "careless", &[])
            };
            Scenario::new([spec]).member("careless", program.clone()).boot(platform)
        };
        let outcome = boot(0);
        outcome.assert_status(1);
        let faults = outcome.faults();
        let [fault] = faults.as_slice() else {
            panic!("one fault expected\n{outcome}")
        };
        assert_eq!(fault.kind, FaultKind::Bounds, "{outcome}");
        // Where addresses start at 0, the bounds of the data begin behind the first page, and the report says what this was.
        let relocates = platform.isa() == Isa::V8 && platform.arch() == Architecture::CheriRiscv;
        let named = format!("{offset} bytes behind address 0: a null pointer, by all appearances");
        assert_eq!(fault.details.contains(&named), relocates, "{outcome}");
        // There, bounds cannot leave the first page of a large cVM out: what is written is nobody's.
        let large = boot(16 << 20);
        assert_eq!(large.faults().is_empty(), relocates, "{large}");
    }
}
