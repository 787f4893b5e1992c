//! cVMs that serve the hostcalls of others: what arrives, what comes back, what is lent and that nothing of it stays.

use abi::manifest::RestartPolicy;
use capability::Permissions;
use machine::Stop;
use tests::{Board, Platform, Scenario, cvm, on_every_platform, on_machine};
use tools::manifest::{CvmSpec, Restart};

use crate::authority::Auditor;

on_every_platform!(
    two_pure_prints_what_the_original_does,
    an_inner_cvm_is_served_by_its_outer_one,
    a_capfile_is_read_through_its_capability,
);

on_machine!(nothing_lent_stays_after_ten_thousand_random_call_sequences,);

fn two_pure_prints_what_the_original_does(platform: Platform) {
    let outcome = Scenario::example(platform, "two-pure").boot(platform);
    outcome.assert_status(0);
    assert_eq!(
        outcome.of("first"),
        ["hello first(syscall-handler)", "hello second"],
        "{outcome}"
    );
    assert_eq!(outcome.of("second"), Vec::<&str>::new(), "{outcome}");
    let entries = outcome.ledger();
    assert!(
        entries
            .iter()
            .all(|entry| !entry.name.ends_with(" data") || entry.name == "monitor data"),
        "no DDC for purecap cVMs: {outcome}"
    );
    assert!(outcome.monitor().contains(&"2 of 2 cVMs started"), "{outcome}");
}

fn an_inner_cvm_is_served_by_its_outer_one(platform: Platform) {
    let outcome = Scenario::example(platform, "two-layers").boot(platform);
    outcome.assert_status(0);
    assert_eq!(
        outcome.of("outer"),
        ["hello outer layer", "hello world from inner"],
        "{outcome}"
    );
    let entries = outcome.ledger();
    let entry = |name: &str| {
        let found = entries.iter().find(|entry| entry.name == name);
        found.unwrap_or_else(|| panic!("no {name}\n{outcome}"))
    };
    let (outer, inner) = (entry("outer data"), entry("inner data"));
    assert!(inner.what.is_subset_of(&outer.what), "{outcome}");
    assert!(!outer.what.is_subset_of(&inner.what), "{outcome}");
}

fn a_capfile_is_read_through_its_capability(platform: Platform) {
    let outcome = Scenario::example(platform, "hello-world").boot(platform);
    outcome.assert_status(0);
    assert_eq!(
        outcome.of("hello"),
        ["hello world, let's read cap 'test1'", "Hello world"],
        "{outcome}"
    );
}

/// Random sequences of calls, and instructions in each at least: a few calls, or a part of a restart of the server.
const SEQUENCES: usize = 10_000;
const STEP: u64 = 10_007;

fn nothing_lent_stays_after_ten_thousand_random_call_sequences(platform: Platform) {
    let caller = CvmSpec {
        callback_out: "server".into(),
        call_budget: 50_000,
        ..cvm("client", "dice-client", &[])
    };
    let server = CvmSpec {
        restart: Restart {
            policy: RestartPolicy::Always,
            limit: u32::MAX,
            delay: 0,
        },
        ..cvm("server", "dice-server", &[])
    };
    let mut scenario = Scenario::new([server, caller]);
    scenario.memory = 32 << 20;
    // The same places in a run without the ledger on the console, because that would have every fault there, too.
    let mut talking = scenario.on_board(platform);
    talking.until("cVMs started");
    let auditor = Auditor::new(&talking.board);
    let client = *auditor.entry("client code");
    let mut running = scenario.append("log=error").on_board(platform);
    for sequence in 0..SEQUENCES {
        // While the client runs, the handler does not.
        let stop = match running.board.run(STEP) {
            Stop::Limit => {
                let mut at_client = |address| client.in_bounds(address, 4);
                running.board.run_into_user_mode(10_000_000, &mut at_client)
            }
            other => other,
        };
        assert_eq!(
            stop,
            Stop::Condition,
            "sequence {sequence}: {}",
            running.board.console().text()
        );
        let found = what_stayed(&running.board, &auditor);
        assert_eq!(found, Vec::<String>::new(), "after sequence {sequence}");
    }
    let console = running.board.console().text();
    assert!(
        !console.contains("[server] a capability of an earlier call"),
        "{console}"
    );
}

/// While the client runs and its server's handler does not: capabilities that should not be where they are, in words.
pub(crate) fn what_stayed(board: &Board, auditor: &Auditor) -> Vec<String> {
    let mut found = Vec::new();
    for (address, what) in board.tagged_memory() {
        let owner = ["client", "server"].into_iter().find(|name| {
            let memory = auditor.entry(&format!("{name} memory"));
            memory.in_bounds(address, 16)
        });
        let place = format!("{what} at {address:#x} of {}", owner.unwrap_or("the monitor"));
        if !what.permissions.contains(Permissions::GLOBAL) {
            found.push(format!("lent: {place}"));
        }
        if owner.is_some_and(|owner| !auditor.belongs_to(&what, owner)) {
            found.push(format!("another's: {place}"));
        }
    }
    for (register, what) in board.tagged_registers(0) {
        if !board.is_privileged(&register) && !auditor.belongs_to(&what, "client") {
            found.push(format!("another's: {what} in {register}"));
        }
    }
    found
}
