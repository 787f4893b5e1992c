//! The isolation fuzzer in short, and that it finds what it looks for.

use abi::{Errno, Hostcall};
use capability::{Decoded, Permissions};
use tests::fuzz::{Campaign, Finding, Kind, Layout, Scanned, Setup, Tally};
use tests::{Board, Platform, artifacts, on_machine};
use tools::Architecture;

on_machine!(
    no_random_program_gets_out_of_its_cvm,
    a_capability_too_many_is_found_in_a_register,
    a_store_to_a_neighbour_is_found_and_reduced,
    a_secret_that_is_read_is_found,
    a_tag_out_of_nowhere_is_found,
    a_write_to_a_neighbour_is_found,
    a_write_to_the_text_of_the_monitor_is_found,
    a_lost_register_of_a_neighbour_is_found,
    authority_over_everything_is_found_in_the_monitor,
    more_than_a_purecap_program_was_given_is_found,
    what_a_server_keeps_of_a_call_is_found,
    what_a_handler_keeps_of_a_call_is_found,
    what_an_accomplice_keeps_of_a_call_is_found,
    a_buffer_that_is_kept_although_it_was_taken_back_is_found,
    what_a_function_has_of_its_caller_is_found,
    what_a_handler_keeps_when_it_defers_its_call_is_found,
    programs_with_threads_make_and_end_them_and_wake_each_other,
    programs_that_serve_defer_and_answer_their_calls,
    outside_of_local_areas_no_tag_reaches_beyond_its_family_at_any_instant,
    a_foreign_tag_outside_of_a_local_area_is_found,
    a_tag_that_the_ledger_does_not_count_is_found,
    a_monitor_that_does_not_look_into_local_areas_is_found,
    a_monitor_that_does_not_look_into_registers_is_found,
    a_monitor_that_takes_nothing_back_is_found,
    a_monitor_that_leaves_what_was_lent_is_found,
    a_switcher_that_passes_all_permissions_is_found,
    a_case_does_the_same_every_time,
);

/// A third of the instructions that CI runs.
const SHORT: u64 = 3_400_000;
/// Instructions of each kind of image at least.
const LEAST: u64 = 50_000;
/// Instructions with a scan for tags every few hundred.
const SCANNED: u64 = 60_000;
/// A register that no hostcall and no convention changes, and that programs like to use.
const REGISTER: u8 = 19;

fn hybrid(platform: Platform) -> Setup {
    Setup::boot(platform, Kind::Hybrid)
}

fn no_random_program_gets_out_of_its_cvm(platform: Platform) {
    for (index, (kind, share)) in Kind::ALL.iter().enumerate() {
        let instructions = (SHORT / 1000 * share).max(LEAST);
        let mut campaign = Campaign::new(Setup::boot(platform, *kind), 20 + index as u64, 0);
        if let Err(finding) = campaign.run(instructions) {
            panic!("{finding}");
        }
        let tally = &campaign.tally;
        assert!(
            tally.coverage.len() > 50 && tally.faults > 100,
            "programs that do next to nothing: {tally:?}"
        );
    }
}

/// What the fuzzer finds on a board with this bug.
fn find(mut setup: Setup, bug: impl Fn(&mut Board, &Layout) + 'static) -> Finding {
    setup.plant(bug);
    let found = Campaign::new(setup, 7, 0).run(2_000_000);
    *found.expect_err("the bug is not found")
}

fn expect(finding: &Finding, violation: &str, longest: usize) {
    assert!(
        finding.violations.iter().any(|found| found.starts_with(violation)),
        "{violation:?} is not in {finding}"
    );
    assert!(finding.case.words.len() <= longest, "not reduced: {finding}");
    assert!(
        finding.to_string().contains("scripts/fuzz isolation --arch"),
        "{finding}"
    );
}

/// A capability over the memory of the victim.
fn victim(layout: &Layout) -> Decoded {
    let memory = &layout.neighbours[0].memory;
    let own = layout.subject.authority[0];
    Decoded {
        address: memory.start,
        base: memory.start,
        top: memory.end.into(),
        ..own
    }
}

fn a_capability_too_many_is_found_in_a_register(platform: Platform) {
    let finding = find(hybrid(platform), |board, layout| {
        board.plant_in_register(0, REGISTER, &victim(layout));
    });
    expect(&finding, "register c19 of fuzz holds", 1);
}

fn a_store_to_a_neighbour_is_found_and_reduced(platform: Platform) {
    let mut setup = hybrid(platform);
    // The capability itself is allowed here, so that it takes a program to do harm.
    let allowed = victim(&setup.layout);
    setup.layout.subject.authority.push(allowed);
    let finding = find(setup, move |board, _| {
        board.plant_in_register(0, REGISTER, &allowed);
    });
    expect(&finding, "memory of victim at ", 4);
    assert!(!finding.case.words.is_empty(), "it takes a store: {finding}");
}

fn a_secret_that_is_read_is_found(platform: Platform) {
    let mut setup = hybrid(platform);
    let mut allowed = victim(&setup.layout);
    allowed.permissions = Permissions::GLOBAL | Permissions::LOAD;
    setup.layout.subject.authority.push(allowed);
    let finding = find(setup, move |board, layout| {
        let memory = layout.neighbours[0].memory.clone();
        let mut words = memory.step_by(8).filter(|address| {
            let bytes = board.memory().bytes((address - platform.ram()) as usize, 8);
            layout.is_secret(u64::from_le_bytes(bytes.try_into().unwrap()))
        });
        let secret = Decoded {
            address: words.next().expect("the victim has secrets"),
            ..allowed
        };
        board.plant_in_register(0, REGISTER, &secret);
    });
    assert!(
        finding.violations.iter().any(|found| found.contains("secret")),
        "{finding}"
    );
    assert!((1..=6).contains(&finding.case.words.len()), "{finding}");
}

fn a_tag_out_of_nowhere_is_found(platform: Platform) {
    let finding = find(hybrid(platform), |board, layout| {
        // The bits of a capability, which is no capability before its tag is set.
        let place = layout.subject.memory.end - 64;
        board.plant(place, &victim(layout));
        let offset = board.memory().offset(place, 16).unwrap();
        board.memory_mut().set_tag(offset, false);
        board.memory_mut().set_tag(offset, true);
    });
    expect(&finding, "memory of fuzz at ", 1);
}

fn a_write_to_a_neighbour_is_found(platform: Platform) {
    let finding = find(hybrid(platform), |board, layout| {
        board.write_memory(layout.neighbours[1].memory.end - 1, &[0]);
    });
    expect(&finding, "memory of watcher at ", 1);
}

fn a_write_to_the_text_of_the_monitor_is_found(platform: Platform) {
    let finding = find(hybrid(platform), move |board, _| {
        let text = platform.monitor() + 64;
        let old = board.memory().bytes((text - platform.ram()) as usize, 1)[0];
        board.write_memory(text, &[old]);
    });
    expect(&finding, "text or constants of the monitor at ", 1);
}

fn a_lost_register_of_a_neighbour_is_found(platform: Platform) {
    let finding = find(hybrid(platform), |board, layout| {
        for address in layout.neighbours[0].frames[0].clone().step_by(16) {
            let offset = board.memory().offset(address, 16).unwrap();
            board.memory_mut().set_tag(offset, false);
        }
    });
    expect(&finding, "saved register of victim at ", 1);
    let lost = "victim has lost its program counter or its memory";
    assert!(finding.violations.iter().any(|found| found == lost), "{finding}");
}

fn authority_over_everything_is_found_in_the_monitor(platform: Platform) {
    let finding = find(hybrid(platform), |board, layout| {
        let root = board.root();
        board.plant(layout.neighbours[0].frames[0].start, &root);
    });
    expect(&finding, "memory at ", 1);
    expect(&finding, "saved register of victim at ", 1);
}

fn more_than_a_purecap_program_was_given_is_found(platform: Platform) {
    let finding = find(Setup::boot(platform, Kind::Purecap), |board, layout| {
        let memory = layout.subject.memory.clone();
        let whole = Decoded {
            base: memory.start,
            top: memory.end.into(),
            address: memory.start,
            permissions: Permissions::GLOBAL | Permissions::LOAD,
            ..victim(layout)
        };
        board.plant_in_register(0, REGISTER, &whole);
    });
    expect(&finding, "register c19 of fuzz holds", 1);
}

fn what_a_server_keeps_of_a_call_is_found(platform: Platform) {
    let finding = find(Setup::boot(platform, Kind::Served), |board, layout| {
        let server = layout.neighbours.last().unwrap();
        let memory = layout.subject.memory.clone();
        let lent = Decoded {
            base: memory.start,
            top: (memory.start + 64).into(),
            address: memory.start,
            permissions: Permissions::LOAD | Permissions::STORE,
            ..victim(layout)
        };
        board.plant(server.service_stack.end - 32, &lent);
    });
    expect(&finding, "service stack of server at ", 8);
}

fn what_a_handler_keeps_of_a_call_is_found(platform: Platform) {
    let finding = find(Setup::boot(platform, Kind::Serving), |board, layout| {
        let client = layout.neighbours.last().unwrap();
        let lent = Decoded {
            base: client.lends.start,
            top: client.lends.end.into(),
            address: client.lends.start,
            permissions: Permissions::LOAD | Permissions::STORE,
            ..victim(layout)
        };
        // Where no end of a call clears anything: among the registers of the thread that rests.
        board.plant(layout.subject.frames[0].start + 16 * 20, &lent);
    });
    expect(&finding, "saved register of fuzz at ", 12);
}

fn what_an_accomplice_keeps_of_a_call_is_found(platform: Platform) {
    let finding = find(Setup::boot(platform, Kind::Family), |board, layout| {
        let client = layout.neighbours.last().unwrap();
        let accomplice = layout.neighbours.iter().find(|owner| owner.within).unwrap();
        let lent = Decoded {
            base: client.lends.start,
            top: client.lends.end.into(),
            address: client.lends.start,
            permissions: Permissions::GLOBAL | Permissions::LOAD | Permissions::STORE,
            ..victim(layout)
        };
        // What is lent is local; nobody looks for anything else.
        board.plant(accomplice.frames[0].start + 16 * 20, &lent);
    });
    expect(&finding, "saved register of accomplice at ", 12);
}

fn a_buffer_that_is_kept_although_it_was_taken_back_is_found(platform: Platform) {
    let finding = find(Setup::boot(platform, Kind::Calling), |board, layout| {
        // Behind the switcher's code, where no revocation looks.
        board.plant(layout.gates.start + 4096 - 64, &shared(layout));
    });
    // The moment has to be met: hardly anything can be taken out.
    expect(&finding, "callee at ", 80);
}

fn what_a_function_has_of_its_caller_is_found(platform: Platform) {
    let finding = find(Setup::boot(platform, Kind::Called), |board, layout| {
        let caller = layout.neighbours.iter().find(|owner| owner.name == "caller").unwrap();
        board.plant_in_register(0, REGISTER, &caller.authority[0]);
    });
    expect(&finding, "register c19 of fuzz holds", 1);
}

fn what_a_handler_keeps_when_it_defers_its_call_is_found(platform: Platform) {
    // As if there was a place more on the stacks of handlers, where no end of a call clears anything.
    let mut setup = Setup::boot(platform, Kind::Deferring);
    let client = setup.layout.neighbours.last().unwrap().lends.clone();
    let subject = &mut setup.layout.subject;
    let place = subject.memory.end - 64;
    assert_eq!(subject.handlers.len(), 3, "{:x?}", subject.handlers);
    subject.passed.push(client.clone());
    subject.areas.push(place..place + 16);
    for (_, area) in &mut subject.handlers {
        *area = place..place + 16;
    }
    let finding = find(setup, move |board, layout| {
        let lent = Decoded {
            base: client.start,
            top: client.end.into(),
            address: client.start,
            permissions: Permissions::LOAD | Permissions::STORE,
            ..victim(layout)
        };
        board.plant(place, &lent);
    });
    expect(&finding, "the stack of a handler that has deferred its call holds", 12);
}

/// What programs of such a set-up have done, a while long.
fn reached(platform: Platform, kind: Kind) -> Tally {
    let mut campaign = Campaign::new(Setup::boot(platform, kind), 5, 0);
    if let Err(finding) = campaign.run(600_000) {
        panic!("{finding}");
    }
    campaign.tally
}

fn programs_with_threads_make_and_end_them_and_wake_each_other(platform: Platform) {
    let tally = reached(platform, Kind::Threads);
    for (cvm, call, error) in [
        ("fuzz", Hostcall::ThreadCreate, None),
        ("fuzz", Hostcall::ThreadCreate, Some(Errno::EAGAIN)),
        ("fuzz", Hostcall::ThreadCreate, Some(Errno::EPERM)),
        ("fuzz", Hostcall::ThreadEnd, None),
        ("fuzz", Hostcall::ThreadEnd, Some(Errno::ESRCH)),
        ("fuzz", Hostcall::ThreadPriority, None),
        ("fuzz", Hostcall::Wait, None),
        ("fuzz", Hostcall::Wait, Some(Errno::EAGAIN)),
        ("fuzz", Hostcall::Wait, Some(Errno::ETIMEDOUT)),
        ("fuzz", Hostcall::Wake, None),
        ("peer", Hostcall::Wait, None),
    ] {
        assert!(tally.back(cvm, call, error) > 10, "{cvm}, {call:?}, {error:?}: {tally}");
    }
    assert!(tally.made[&(Hostcall::ThreadExit as u64)] > 10, "{tally}");
    assert!(tally.woken > 10 && tally.threads.len() == 4, "{tally}");
}

fn programs_that_serve_defer_and_answer_their_calls(platform: Platform) {
    let tally = reached(platform, Kind::Deferring);
    for (cvm, call, error) in [
        ("fuzz", Hostcall::Defer, None),
        ("fuzz", Hostcall::Defer, Some(Errno::EPERM)),
        ("fuzz", Hostcall::Answer, None),
        ("fuzz", Hostcall::Answer, Some(Errno::ENOENT)),
    ] {
        assert!(tally.back(cvm, call, error) > 10, "{cvm}, {call:?}, {error:?}: {tally}");
    }
    for error in [None, Some(Errno::ETIMEDOUT), Some(Errno::ECONNRESET)] {
        let clients = ["first", "second", "third"].into_iter();
        let back = clients
            .map(|client| tally.back(client, Hostcall::Read, error))
            .sum::<u64>();
        assert!(back > 10, "{error:?}: {tally}");
    }
    for call in [Hostcall::Reply, Hostcall::Delegate] {
        assert!(tally.made[&(call as u64)] > 10, "{call:?}: {tally}");
    }
    // The main thread rests all the time.
    assert!(tally.threads.len() >= 4, "{tally}");
}

fn outside_of_local_areas_no_tag_reaches_beyond_its_family_at_any_instant(platform: Platform) {
    // Those in which something is lent, mapped or passed.
    let mut seen = Scanned::default();
    for kind in [
        Kind::Served,
        Kind::Family,
        Kind::Sharing,
        Kind::Calling,
        Kind::Called,
        Kind::Threads,
        Kind::Deferring,
    ] {
        let mut campaign = Campaign::new(Setup::boot(platform, kind), 31, 0).scanning();
        if let Err(finding) = campaign.run(SCANNED) {
            panic!("{finding}");
        }
        let scanned = campaign.scanned.as_ref().unwrap();
        assert!(scanned.scans > 100, "{kind}: {scanned:?}");
        seen.foreign += scanned.foreign;
        seen.buffers += scanned.buffers;
        seen.passed += scanned.passed;
    }
    assert!(seen.foreign > 100 && seen.buffers > 10 && seen.passed > 0, "{seen:?}");
}

/// A capability over what `fuzz` shares with a neighbour.
fn shared(layout: &Layout) -> Decoded {
    let buffer = &layout.buffers[0];
    Decoded {
        base: buffer.start,
        top: (buffer.start + 256).into(),
        address: buffer.start,
        permissions: Permissions::LOAD | Permissions::STORE,
        ..victim(layout)
    }
}

/// What scans find on a board with this bug.
fn scan(mut setup: Setup, bug: impl Fn(&mut Board, &Layout) + 'static) -> Finding {
    setup.plant(bug);
    let found = Campaign::new(setup, 7, 0).scanning().run(SCANNED);
    *found.expect_err("the bug is not found")
}

fn a_foreign_tag_outside_of_a_local_area_is_found(platform: Platform) {
    let finding = scan(Setup::boot(platform, Kind::Sharing), |board, layout| {
        board.plant(layout.neighbours[1].memory.end - 64, &shared(layout));
    });
    expect(&finding, "scan: watcher holds", 80);
}

fn a_tag_that_the_ledger_does_not_count_is_found(platform: Platform) {
    // As if the scan saw something that the monitor does not: a place more that it takes for a local area.
    let mut setup = Setup::boot(platform, Kind::Sharing);
    let place = setup.layout.subject.memory.end - 256;
    setup.layout.subject.areas.push(place..place + 16);
    let finding = scan(setup, move |board, layout| board.plant(place, &shared(layout)));
    let uncounted = |found: &String| found.starts_with("scan: ") && found.contains("the monitor says");
    assert!(finding.violations.iter().any(uncounted), "{finding}");
}

/// A board whose monitor has a function, the one whose mangled name contains all these, that does nothing and returns 0.
fn without(platform: Platform, kind: Kind, function: &[&str]) -> Setup {
    let returns = match platform.arch() {
        Architecture::CheriRiscv => [0x0000_0513, 0x0000_8067], // li a0, 0; ret
        Architecture::Morello => [0xaa1f_03e0, 0xd65f_03c0],    // mov x0, xzr; ret
    };
    let mut setup = Setup::boot(platform, kind);
    setup.change_code(artifacts::monitor_function(platform, function), &returns);
    setup
}

/// Asserts that scans find a monitor with this bug, and say so.
fn scan_finds(setup: Setup, says: &str) {
    let found = Campaign::new(setup, 7, 0).scanning().run(8 * SCANNED);
    let finding = *found.expect_err("the bug is not found");
    assert!(finding.violations.iter().any(|found| found.contains(says)), "{finding}");
}

fn a_monitor_that_does_not_look_into_local_areas_is_found(platform: Platform) {
    let broken = || without(platform, Kind::Sharing, &["sweep", "4area17h"]);
    scan_finds(broken(), "the monitor says");
    let found = Campaign::new(broken(), 7, 0).run(2_000_000);
    let finding = *found.expect_err("what is kept is not found");
    assert!(
        finding.violations.iter().any(|found| found.contains("still holds")),
        "{finding}"
    );
}

fn a_monitor_that_does_not_look_into_registers_is_found(platform: Platform) {
    let broken = || without(platform, Kind::Sharing, &["intravisor_reaching"]);
    scan_finds(broken(), "the monitor says");
    let found = Campaign::new(broken(), 7, 0).run(2_000_000);
    let finding = *found.expect_err("what is kept is not found");
    assert!(
        finding.violations.iter().any(|found| found.contains("still holds")),
        "{finding}"
    );
}

fn a_monitor_that_takes_nothing_back_is_found(platform: Platform) {
    let broken = without(platform, Kind::Calling, &["take_from_linked"]);
    let found = Campaign::new(broken, 7, 0).run(2_000_000);
    let finding = *found.expect_err("what is kept is not found");
    assert!(
        finding.violations.iter().any(|found| found.contains("still holds")),
        "{finding}"
    );
}

fn a_monitor_that_leaves_what_was_lent_is_found(platform: Platform) {
    let broken = without(platform, Kind::Serving, &["recall", "Monitor", "6recall17h"]);
    let found = Campaign::new(broken, 7, 0).run(2_000_000);
    let finding = *found.expect_err("what is kept is not found");
    assert!(
        finding.violations.iter().any(|found| found.contains("holds")),
        "{finding}"
    );
}

/// What a gate passes would be global, and good for more than data.
fn a_switcher_that_passes_all_permissions_is_found(platform: Platform) {
    let mut setup = Setup::boot(platform, Kind::Calling);
    let code = setup.layout.gates.start - 4096..setup.layout.gates.end;
    let (narrows, nothing) = match platform.arch() {
        // CAndPerm ca0 to ca5, themselves; nop
        Architecture::CheriRiscv => (0x1a00_005b_u32, 0x0000_0013),
        // CLRPERM c0 to c5, themselves; nop
        Architecture::Morello => (0xc2c0_a000, 0xd503_201f),
    };
    let is_one = |word: u32| match platform.arch() {
        Architecture::CheriRiscv => {
            let (to, from) = (word >> 7 & 31, word >> 15 & 31);
            word & 0xfe00_707f == narrows && to == from && (10..16).contains(&to)
        }
        Architecture::Morello => {
            let (to, from) = (word & 31, word >> 5 & 31);
            word & 0xffe0_fc00 == narrows && to == from && to < 6
        }
    };
    let places = setup.find_code(code, is_one);
    assert!(places.len() >= 6, "{places:x?}");
    for place in places {
        setup.change_code(place, &[nothing]);
    }
    scan_finds(setup, "holds ");
}

fn a_case_does_the_same_every_time(platform: Platform) {
    let run = || {
        let mut campaign = Campaign::new(hybrid(platform), 99, 0);
        for number in [3, 4, 5, 3, 4, 5] {
            campaign.run_case(number).unwrap_or_else(|finding| panic!("{finding}"));
        }
        let tally = &campaign.tally;
        (tally.instructions, tally.whole, tally.runs)
    };
    let (first, second) = (run(), run());
    assert_eq!(first, second);
    assert_eq!(
        (first.0 % 2, first.2 % 2),
        (0, 0),
        "the second round is like the first one"
    );
}
