//! Purecap cVMs: what they are given at their start, and that nothing of it reaches one byte further.

use abi::FaultKind;
use abi::manifest::RestartPolicy;
use capability::{Decoded, Permissions, Seal};
use machine::Stop;
use tests::report::{Fault, capability};
use tests::{Board, Outcome, Platform, Scenario, cvm, on_every_platform, on_machine};
use tools::Architecture;
use tools::manifest::{CvmSpec, Restart};

use crate::authority::Auditor;

on_every_platform!(
    one_byte_beyond_every_place_is_refused,
    a_constant_place_cannot_be_written,
    code_and_its_slots_cannot_be_written,
    no_authority_comes_from_integers_or_sealed_capabilities,
    a_function_pointer_works,
    a_program_gets_what_it_asked_for_and_no_more,
    hostcalls_take_no_pointer_without_authority,
    a_restarted_program_finds_nothing_of_its_earlier_life,
    neighbours_of_a_purecap_rogue_do_not_notice,
);

on_machine!(
    the_first_instruction_finds_the_promised_registers_and_no_other,
    all_authority_in_memory_is_over_single_objects,
);

const PROGRAM: &str = "purecap-checks";
/// Exit code of a deed that went unpunished.
const UNPUNISHED: &str = "exited 66";
const HEAP: u64 = 64 << 10;
const STACK: u64 = 32 << 10;

/// A cVM for a command of the program.
fn doing(deed: &str) -> CvmSpec {
    CvmSpec {
        heap: HEAP,
        stack: STACK,
        ..cvm(deed, PROGRAM, &[deed])
    }
}

fn boot(platform: Platform, deeds: &[&str]) -> Outcome {
    let cvms: Vec<_> = deeds.iter().map(|deed| doing(deed)).collect();
    Scenario::new(cvms).boot(platform)
}

/// How the registers of the assembler layer are called: callee-saved 0, temporary 0, argument 0.
struct Registers {
    saved: &'static str,
    temporary: &'static str,
    argument: &'static str,
}

fn registers(platform: Platform) -> Registers {
    match platform.arch() {
        Architecture::CheriRiscv => Registers {
            saved: "cs0",
            temporary: "ct0",
            argument: "ca0",
        },
        Architecture::Morello => Registers {
            saved: "c19",
            temporary: "c9",
            argument: "c0",
        },
    }
}

/// The one fault of a cVM, after which it was stopped.
fn fault(outcome: &Outcome, deed: &str) -> Fault {
    let mut faults = outcome.faults().into_iter().filter(|fault| fault.cvm == deed);
    let (Some(fault), None) = (faults.next(), faults.next()) else {
        panic!("{deed}: one fault expected\n{outcome}")
    };
    let state = outcome.row(deed).state;
    assert_eq!(state, format!("killed: {}", fault.kind.name()), "{deed}: {outcome}");
    fault
}

/// The capability that a report says has refused.
fn refusing(outcome: &Outcome, fault: &Fault) -> Decoded {
    let register = fault.register.as_deref().unwrap_or_default();
    let start = format!("authority {register} = ");
    let text = fault.details.iter().find_map(|line| line.strip_prefix(&start));
    text.and_then(capability)
        .unwrap_or_else(|| panic!("{}: no authority in its report\n{outcome}", fault.cvm))
}

/// Asserts kind, access and register of a report.
fn assert_fault(outcome: &Outcome, deed: &str, kind: FaultKind, access: &str, register: &str) -> Fault {
    let fault = fault(outcome, deed);
    let found = (fault.kind, fault.access.as_deref(), fault.register.as_deref());
    assert_eq!(found, (kind, Some(access), Some(register)), "{deed}: {outcome}");
    fault
}

/// Bounds of a ledger entry.
fn entry(outcome: &Outcome, name: &str) -> (u64, u128) {
    let entries = outcome.ledger();
    let found = entries.iter().find(|entry| entry.name == name);
    let what = found.unwrap_or_else(|| panic!("no {name}\n{outcome}")).what;
    (what.base, what.top)
}

fn one_byte_beyond_every_place_is_refused(platform: Platform) {
    let places = ["stack", "local", "global", "constant", "heap", "tls", "start"];
    let verbs = [("read", "read"), ("write", "write"), ("below", "read")];
    let pairs = verbs.into_iter().flat_map(|verb| places.map(|place| (verb, place)));
    let constant = |verb: &str, place: &str| verb == "write" && ["constant", "start"].contains(&place);
    let pairs: Vec<_> = pairs.filter(|((verb, _), place)| !constant(verb, place)).collect();
    let deeds: Vec<String> = pairs
        .iter()
        .map(|((verb, _), place)| format!("{verb}-{place}"))
        .collect();
    let outcome = boot(platform, &deeds.iter().map(String::as_str).collect::<Vec<_>>());
    outcome.assert_status(1);
    for (((verb, access), place), deed) in pairs.iter().zip(&deeds) {
        let fault = assert_fault(&outcome, deed, FaultKind::Bounds, access, registers(platform).saved);
        assert_eq!(outcome.of(deed), ["inside"], "{deed}: {outcome}");
        let refusing = refusing(&outcome, &fault);
        let (base, top) = (refusing.base, refusing.top);
        let beyond = if *verb == "below" { base - 1 } else { top as u64 };
        assert_eq!(fault.address, Some(beyond), "{deed}: {outcome}");
        let length = match *place {
            "local" => Some(33),
            "global" => Some(100),
            "constant" => Some("constant".len() as u64),
            "heap" => Some(HEAP),
            "stack" => Some(STACK),
            _ => None,
        };
        if let Some(length) = length {
            assert_eq!(top - u128::from(base), u128::from(length), "{deed}: {outcome}");
        }
        let part = match *place {
            "stack" => "stack",
            "tls" => "tls",
            "start" => "start block",
            _ => continue,
        };
        assert_eq!(
            (base, top),
            entry(&outcome, &format!("{deed} {part}")),
            "{deed}: {outcome}"
        );
    }
}

fn a_constant_place_cannot_be_written(platform: Platform) {
    let deeds = ["write-constant", "write-start"];
    let outcome = boot(platform, &deeds);
    for deed in deeds {
        let fault = assert_fault(
            &outcome,
            deed,
            FaultKind::Permission,
            "write",
            registers(platform).saved,
        );
        let refusing = refusing(&outcome, &fault);
        assert_eq!(fault.address, Some(refusing.top as u64 - 1), "{deed}: {outcome}");
        assert!(!refusing.permissions.contains(Permissions::STORE), "{deed}: {outcome}");
        assert!(outcome.of(deed).is_empty(), "{deed}: {outcome}");
    }
}

fn code_and_its_slots_cannot_be_written(platform: Platform) {
    let deeds = ["pcc-store", "write-slots", "write-code", "execute-data"];
    let outcome = boot(platform, &deeds);
    let Registers {
        temporary, argument, ..
    } = registers(platform);
    for deed in ["pcc-store", "write-slots"] {
        let fault = assert_fault(&outcome, deed, FaultKind::Permission, "write", temporary);
        let (base, top) = entry(&outcome, &format!("{deed} code"));
        let refusing = refusing(&outcome, &fault);
        assert_eq!((refusing.base, refusing.top), (base, top), "{deed}: PCC\n{outcome}");
        let inside = |address| address >= base && u128::from(address) < top;
        assert!(fault.address.is_some_and(inside), "{deed}: {outcome}");
    }
    // Out of bounds, when the capability has survived an address so far away from its object.
    let far = fault(&outcome, "write-code");
    let kind = match refusing(&outcome, &far).tag {
        true => FaultKind::Bounds,
        false => FaultKind::Tag,
    };
    assert_fault(&outcome, "write-code", kind, "write", argument);
    let refused = match platform.arch() {
        Architecture::CheriRiscv => argument,
        Architecture::Morello => "pcc",
    };
    let fault = assert_fault(&outcome, "execute-data", FaultKind::Permission, "execute", refused);
    let refusing = refusing(&outcome, &fault);
    assert!(!refusing.permissions.contains(Permissions::EXECUTE), "{outcome}");
    for deed in deeds {
        assert!(outcome.of(deed).is_empty(), "{deed}: {outcome}");
    }
}

fn no_authority_comes_from_integers_or_sealed_capabilities(platform: Platform) {
    let outcome = boot(platform, &["open-function", "forged-load", "integer-load"]);
    let Registers {
        temporary, argument, ..
    } = registers(platform);
    let fault = assert_fault(&outcome, "open-function", FaultKind::Seal, "read", argument);
    assert_eq!(refusing(&outcome, &fault).seal, Seal::Sentry, "{outcome}");
    let fault = assert_fault(&outcome, "forged-load", FaultKind::Tag, "read", argument);
    assert!(!refusing(&outcome, &fault).tag, "{outcome}");
    let fault = assert_fault(&outcome, "integer-load", FaultKind::Tag, "read", temporary);
    assert!(!refusing(&outcome, &fault).tag, "{outcome}");
}

fn a_function_pointer_works(platform: Platform) {
    let outcome = boot(platform, &["function-pointer"]);
    outcome.assert_status(0);
    assert_eq!(outcome.of("function-pointer"), ["called"], "{outcome}");
}

/// The number behind a text that a cVM printed.
fn told(outcome: &Outcome, cvm: &str, text: &str) -> i64 {
    let start = format!("{text} ");
    let found = outcome
        .of(cvm)
        .into_iter()
        .find_map(|line| line.strip_prefix(&start)?.parse().ok());
    found.unwrap_or_else(|| panic!("{cvm} does not tell {text}\n{outcome}"))
}

fn a_program_gets_what_it_asked_for_and_no_more(platform: Platform) {
    let outcome = boot(platform, &["authority"]);
    outcome.assert_status(0);
    let told = |text: &str| told(&outcome, "authority", text);
    let length = |name: &str| {
        let (base, top) = entry(&outcome, name);
        (top - u128::from(base)) as i64
    };
    assert_eq!(told("default tag"), 0, "{outcome}");
    assert_eq!(told("code length"), length("authority code"), "{outcome}");
    assert_eq!(told("stack length"), STACK as i64, "{outcome}");
    assert_eq!(told("stack above the top"), 0, "{outcome}");
    assert_eq!(told("start block length"), length("authority start block"), "{outcome}");
    assert_eq!((told("global length"), told("middle offset")), (100, 40), "{outcome}");
    assert_eq!(told("constant length"), 8, "{outcome}");
    assert_eq!(told("tls length"), length("authority tls"), "{outcome}");
    assert_eq!(
        (told("tls first byte"), told("tls last byte")),
        (i64::from(b't'), 0),
        "{outcome}"
    );
    assert_eq!(told("heap length"), HEAP as i64, "{outcome}");
    // Without a heap there is no capability over one.
    let poor = CvmSpec {
        heap: 0,
        ..doing("authority")
    };
    let outcome = Scenario::new([poor]).boot(platform);
    outcome.assert_status(0);
    assert_eq!(self::told(&outcome, "authority", "heap result"), -12, "{outcome}");
}

fn hostcalls_take_no_pointer_without_authority(platform: Platform) {
    let outcome = boot(platform, &["hostcalls"]);
    outcome.assert_status(0);
    let refused = [
        "write from an integer address:",
        "write from an untagged capability:",
        "write from a sealed capability:",
        "write one byte beyond:",
        "write from an execute-only capability:",
        "write from a store-only capability:",
        "info to a constant:",
        "info one byte beyond:",
        "read to a read-only capability:",
        "info to a function:",
        "info to the code:",
        "info to null:",
    ];
    let expected = refused.map(|text| format!("{text} -14"));
    let mut expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    // The control: the last one is allowed, and what it writes is the only thing that was written.
    expected.extend(["inside", "write of the whole object: 7"]);
    assert_eq!(outcome.of("hostcalls"), expected, "{outcome}");
}

fn a_restarted_program_finds_nothing_of_its_earlier_life(platform: Platform) {
    let stale = CvmSpec {
        restart: Restart {
            policy: RestartPolicy::OnFault,
            limit: 1,
            delay: 0,
        },
        ..doing("stale")
    };
    let outcome = Scenario::new([stale]).boot(platform);
    outcome.assert_status(0);
    assert_eq!(outcome.of("stale"), ["left behind: 3", "found again: 0"], "{outcome}");
    let kinds: Vec<_> = outcome.faults().iter().map(|fault| fault.kind).collect();
    assert_eq!(kinds, [FaultKind::Illegal], "{outcome}");
    assert_eq!(outcome.row("stale").restarts, 1, "{outcome}");
}

fn neighbours_of_a_purecap_rogue_do_not_notice(platform: Platform) {
    let deeds = ["read-heap", "pcc-store", "execute-data", "forged-load"];
    let rogues = deeds.map(doing);
    let good = [
        doing("function-pointer"),
        cvm("hello", "hello", &[]),
        cvm("clock", "clock", &["5", "2"]),
    ];
    let outcome = Scenario::new(good.into_iter().chain(rogues).collect::<Vec<_>>()).boot(platform);
    outcome.assert_status(1);
    for name in ["function-pointer", "hello", "clock"] {
        assert_eq!(outcome.row(name).state, "exited 0", "{name}: {outcome}");
    }
    assert_eq!(outcome.of("clock").len(), 5, "{outcome}");
    assert_eq!(outcome.faults().len(), deeds.len(), "{outcome}");
    assert!(outcome.summary().iter().all(|row| row.state != UNPUNISHED), "{outcome}");
}

/// The address in every general register of the running cVM, tag or not, by number, stack pointer included.
fn general_registers(board: &Board) -> Vec<(u8, u64)> {
    match board {
        Board::CheriRiscv(board) => (1..32)
            .map(|number| (number, board.register(0, number).address()))
            .collect(),
        Board::Morello(board) => (0..31)
            .map(|number| (number, board.register(0, number).address()))
            .collect(),
    }
}

fn the_first_instruction_finds_the_promised_registers_and_no_other(platform: Platform) {
    let mut running = Scenario::new([doing("authority"), cvm("hello", "hello", &[])]).on_board(platform);
    running.until("cVMs started");
    let auditor = Auditor::new(&running.board);
    let code = *auditor.entry("authority code");
    let stop = running
        .board
        .run_into_user_mode(100_000_000, |address| code.in_bounds(address, 4));
    assert_eq!(stop, Stop::Condition, "{}", running.board.console().text());
    let board = &running.board;
    let (pcc, stack, thread, block, size, after) = match platform.arch() {
        Architecture::CheriRiscv => ("pcc", "c2", "c4", "c10", 11, [2, 4, 10, 11].as_slice()),
        Architecture::Morello => ("PCC", "RCSP_EL0", "RCTPIDR_EL0", "C0", 1, [0, 1].as_slice()),
    };
    let mut found: Vec<_> = board.tagged_registers(0).into_iter().collect();
    found.retain(|(register, _)| !board.is_privileged(register));
    let mut names: Vec<&str> = found.iter().map(|(register, _)| register.as_str()).collect();
    let mut expected = [pcc, stack, thread, block];
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected, "{found:#?}");
    let register = |name: &str| found.iter().find(|(register, _)| register == name).unwrap().1;
    for (name, part) in [(stack, "stack"), (thread, "tls"), (block, "start block")] {
        let expected = *auditor.entry(&format!("authority {part}"));
        assert_eq!(register(name), expected, "{part}");
    }
    assert_eq!(
        u128::from(register(stack).address),
        register(stack).top,
        "an empty stack"
    );
    assert!(
        !register(block).permissions.contains(Permissions::STORE),
        "{}",
        register(block)
    );
    let pcc = register(pcc);
    assert_eq!(
        (pcc.base, pcc.top, pcc.permissions, pcc.seal),
        (code.base, code.top, code.permissions, Seal::Unsealed)
    );
    let local = |what: &Decoded| what.permissions.contains(Permissions::STORE_LOCAL);
    assert!(!found.iter().any(|(_, what)| local(what)), "{found:#?}");
    // Nothing else, tag or not, but the size of the start block.
    for (number, value) in general_registers(board) {
        match number {
            _ if number == size => assert!(u128::from(value) <= register(block).top - u128::from(register(block).base)),
            _ if after.contains(&number) => {}
            _ => assert_eq!(value, 0, "register {number}"),
        }
    }
}

fn all_authority_in_memory_is_over_single_objects(platform: Platform) {
    let mut running = Scenario::new([doing("authority")]).on_board(platform);
    running.until("cVMs started");
    let auditor = Auditor::new(&running.board);
    let (memory, code) = (*auditor.entry("authority memory"), *auditor.entry("authority code"));
    let stop = running
        .board
        .run_into_user_mode(100_000_000, |address| code.in_bounds(address, 4));
    assert_eq!(stop, Stop::Condition, "{}", running.board.console().text());
    let tagged: Vec<_> = running.board.tagged_memory().into_iter().collect();
    let own: Vec<_> = tagged
        .iter()
        .filter(|(address, _)| memory.in_bounds(*address, 16))
        .collect();
    // Many texts, objects and functions, or this test would see nothing.
    assert!(own.len() > 50, "{}", own.len());
    for (address, what) in own {
        let place = format!("{what} at {address:#x}");
        assert!(code.in_bounds(*address, 16), "slots lie in RELRO: {place}");
        assert!(what.is_subset_of(&memory) || what.is_subset_of(&code), "{place}");
        if what.permissions.contains(Permissions::EXECUTE) {
            assert_eq!(what.seal, Seal::Sentry, "{place}");
            assert_eq!((what.base, what.top), (code.base, code.top), "{place}");
        } else {
            assert!(what.length() <= 128, "{place}");
            assert_eq!(what.seal, Seal::Unsealed, "{place}");
            let in_code = code.in_bounds(what.base, 1);
            assert_eq!(what.permissions.contains(Permissions::STORE), !in_code, "{place}");
        }
    }
}
