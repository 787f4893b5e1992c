//! Memory in several regions: cVMs lie in all of them, and nobody reaches what is between.

use abi::FaultKind;
use abi::manifest::RestartPolicy;
use capability::Decoded;
use machine::Stop;
use std::ops::Range;
use std::slice;
use tests::{Board, Ending, Platform, Running, Scenario, code, cvm, on_machine, qemu};
use tools::manifest::{CvmSpec, Restart};

use crate::authority::Auditor;
use crate::reserved::{Tree, tree};
use crate::service::what_stayed;

on_machine!(
    what_does_not_fit_into_the_first_region_lies_in_the_second,
    calls_and_restarts_go_from_region_to_region,
    what_lies_between_is_closed_by_the_second_line_of_defence,
    more_regions_than_there_are_pools_for_are_told,
);

const MEBIBYTE: u64 = 1 << 20;
/// Bytes of each of two regions, the second of which begins at this distance from the first.
const SIZE: u64 = 48 * MEBIBYTE;
const DISTANCE: u64 = 64 * MEBIBYTE;

fn first(platform: Platform) -> Range<u64> {
    platform.ram()..platform.ram() + SIZE
}

fn second(platform: Platform) -> Range<u64> {
    platform.ram() + DISTANCE..platform.ram() + DISTANCE + SIZE
}

/// Makes of the node whose name begins like this one that nobody knows.
fn forget(tree: &mut Tree, name: &[u8]) {
    let place = tree.nodes.windows(name.len()).position(|bytes| bytes == name);
    let place = place.unwrap_or_else(|| panic!("no node {}", name.escape_ascii()));
    tree.nodes[place] = b'x';
}

/// Adds a node for memory, in these regions.
fn add_memory(tree: &mut Tree, regions: &[Range<u64>]) {
    let mut node = 1_u32.to_be_bytes().to_vec();
    node.extend(format!("memory@{:012x}\0", regions[0].start).bytes());
    node.resize(node.len().next_multiple_of(4), 0);
    node.extend(tree.property("device_type", b"memory\0"));
    let words = regions
        .iter()
        .flat_map(|region| [region.start, region.end - region.start]);
    node.extend(tree.property("reg", &words.flat_map(u64::to_be_bytes).collect::<Vec<_>>()));
    node.extend(2_u32.to_be_bytes());
    let end = tree.nodes.len() - 8;
    tree.nodes.splice(end..end, node);
}

/// How a tree tells of several regions.
#[derive(Clone, Copy, Debug)]
enum Way {
    Nodes,
    Entries,
}

/// Has the tree tell of the two regions.
fn add_two(tree: &mut Tree, platform: Platform, way: Way) {
    let regions = [second(platform), first(platform)];
    match way {
        Way::Nodes => regions
            .into_iter()
            .for_each(|region| add_memory(tree, slice::from_ref(&region))),
        Way::Entries => add_memory(tree, &regions),
    }
}

/// The scenario on a board with two regions.
fn on_two(scenario: &Scenario, platform: Platform, way: Way) -> Running {
    let mut running = scenario.on_board(platform);
    let (address, mut changed) = tree(&running.board);
    forget(&mut changed, b"memory@");
    add_two(&mut changed, platform, way);
    running.board.write_memory(address, &changed.to_bytes());
    running
}

/// Two cVMs, the second of which is larger than what the first and the monitor leave of a region.
fn large() -> Scenario {
    Scenario::new([("one", 16), ("two", 32)].map(|(name, heap)| CvmSpec {
        heap: heap * MEBIBYTE,
        ..cvm(name, "hello", &[])
    }))
}

/// Everything that anybody holds, but what has come to nothing with the root.
fn held(board: &Board) -> Vec<Decoded> {
    let registers = board.tagged_registers(0).into_iter().map(|(_, what)| what);
    board
        .tagged_memory()
        .into_iter()
        .map(|(_, what)| what)
        .chain(registers)
        .collect()
}

fn what_does_not_fit_into_the_first_region_lies_in_the_second(platform: Platform) {
    for way in [Way::Nodes, Way::Entries] {
        let mut running = on_two(&large(), platform, way);
        let stop = running.board.run_into_user_mode(1_000_000_000, |_| true);
        assert_eq!(stop, Stop::Condition, "{}", running.board.console().text());
        // Nothing reaches into what is between, or beyond.
        let (first, second) = (first(platform), second(platform));
        let inside = |what: &Decoded, region: &Range<u64>| what.base >= region.start && what.top <= region.end.into();
        let end = platform.ram() + 128 * MEBIBYTE;
        let mut seen = [0; 2];
        for what in held(&running.board) {
            if what.top <= platform.ram().into() || what.base >= end {
                continue;
            }
            let where_ = [&first, &second].map(|region| inside(&what, region));
            assert!(
                where_[0] != where_[1],
                "{what} is in one region\n{}",
                running.board.console().text()
            );
            seen[usize::from(where_[1])] += 1;
        }
        assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
        let outcome = running.finish();
        outcome.assert_status(0);
        let entries = outcome.ledger();
        let pools: Vec<_> = entries.iter().filter(|entry| entry.name == "cVM pool").collect();
        let [lower, upper] = pools[..] else {
            panic!("two pools: {outcome}")
        };
        assert!(
            inside(&lower.what, &first) && inside(&upper.what, &second),
            "{way:?}: {outcome}"
        );
        for (name, pool) in [("one", lower), ("two", upper)] {
            let parts = entries
                .iter()
                .filter(|entry| entry.name.starts_with(&format!("{name} ")));
            let parts: Vec<_> = parts.collect();
            assert_eq!(parts.len(), 2, "{outcome}");
            for part in parts {
                assert_eq!(part.parent, Some(pool.index), "{way:?}, {}: {outcome}", part.name);
                assert!(part.what.is_subset_of(&pool.what), "{way:?}, {}: {outcome}", part.name);
            }
            let greeting = format!("hello from {name}");
            assert_eq!(outcome.of(name).first(), Some(&greeting.as_str()), "{outcome}");
        }
        let memory = format!(", {} KiB of memory", 2 * SIZE / 1024);
        assert!(
            outcome.monitor().iter().any(|line| line.ends_with(&memory)),
            "{outcome}"
        );
    }
}

fn calls_and_restarts_go_from_region_to_region(platform: Platform) {
    /// Instructions between two looks, and how many.
    const STEP: u64 = 10_007;
    const LOOKS: usize = 400;
    let always = Restart {
        policy: RestartPolicy::Always,
        limit: u32::MAX,
        delay: 0,
    };
    let client = CvmSpec {
        callback_out: "server".into(),
        call_budget: 50_000,
        ..cvm("client", "dice-client", &[])
    };
    let server = CvmSpec {
        restart: always,
        isolation_base: Some(second(platform).start + 4 * MEBIBYTE),
        ..cvm("server", "dice-server", &[])
    };
    let scenario = Scenario::new([server, client]);
    let mut talking = on_two(&scenario, platform, Way::Nodes);
    talking.until("cVMs started");
    let auditor = Auditor::new(&talking.board);
    let (client, server) = (*auditor.entry("client code"), *auditor.entry("server code"));
    assert!(first(platform).contains(&client.base) && second(platform).contains(&server.base));
    let mut lives = 0;
    for look in 0..LOOKS {
        let stop = match talking.board.run(STEP) {
            Stop::Limit => {
                let mut at_client = |address| client.in_bounds(address, 4);
                talking.board.run_into_user_mode(10_000_000, &mut at_client)
            }
            other => other,
        };
        let console = talking.board.console().text();
        assert_eq!(stop, Stop::Condition, "look {look}: {console}");
        assert_eq!(
            what_stayed(&talking.board, &auditor),
            Vec::<String>::new(),
            "look {look}"
        );
        lives = console.matches("[monitor] server: restart ").count();
    }
    assert!(lives > 3, "the server was restarted {lives} times");
}

fn what_lies_between_is_closed_by_the_second_line_of_defence(platform: Platform) {
    let scenario =
        Scenario::new([cvm("reader", "reader", &[])]).member("reader", code::reader(platform.arch()).to_bytes());
    let outcome = on_two(&scenario, platform, Way::Entries).finish();
    let pools: Vec<_> = outcome
        .ledger()
        .into_iter()
        .filter(|entry| entry.name == "cVM pool")
        .collect();
    let top = |index: usize| pools[index].what.top as u64;
    for address in [
        pools[0].what.base - 16,
        top(0),
        first(platform).end,
        second(platform).start - 16,
        top(1),
    ] {
        let mut running = on_two(&scenario, platform, Way::Entries);
        assert_eq!(running.board.run_into_user_mode(100_000_000, |_| true), Stop::Condition);
        // What the reader could reach if a capability went wrong.
        let root = Decoded {
            address,
            ..running.board.root()
        };
        running.board.plant_in_register(0, code::READER_REGISTER, &root);
        let outcome = running.finish();
        let faults = outcome.faults();
        let [fault] = faults.as_slice() else {
            panic!("{address:#x}: one fault expected\n{outcome}")
        };
        assert_eq!(
            (fault.kind, fault.address),
            (FaultKind::Access, Some(address)),
            "{outcome}"
        );
    }
}

fn more_regions_than_there_are_pools_for_are_told(platform: Platform) {
    let mut running = Scenario::new([cvm("hello", "hello", &[])]).on_board(platform);
    let (address, mut changed) = tree(&running.board);
    for number in 1..=4 {
        let region = number << 36..(number << 36) + number * MEBIBYTE;
        add_memory(&mut changed, slice::from_ref(&region));
    }
    running.board.write_memory(address, &changed.to_bytes());
    let outcome = running.finish();
    outcome.assert_status(0);
    let pools = outcome.ledger().iter().filter(|entry| entry.name == "cVM pool").count();
    assert_eq!(pools, 4, "{outcome}");
    let message = "warn: 1024 KiB of memory are not used: there are more than 4 regions, or it lies too high";
    assert!(outcome.monitor().contains(&message), "{outcome}");
}

/// Boots on QEMU with a device tree of two regions. (Morello's replaces the nodes for memory in whatever tree it is given; there,
/// it is the firmware that leaves several regions.)
fn boot_on_qemu(platform: Platform) {
    let mut changed = Tree::parse(&qemu::device_tree(platform, "virt", 128));
    forget(&mut changed, b"memory@");
    // The emulator adds this one itself.
    forget(&mut changed, b"fw-cfg@");
    add_two(&mut changed, platform, Way::Nodes);
    let (ending, console) = large().device_tree(changed.to_bytes()).console_of_qemu(platform);
    assert_eq!(ending, Ending::Exit(0), "{console}");
    assert_eq!(console.matches(" cVM pool: ").count(), 2, "{console}");
    let lies_in_the_second = format!(" two data: {:#x} ", second(platform).start);
    assert!(console.contains(&lies_in_the_second), "{console}");
    assert!(console.contains("[two] hello from two\r\n"), "{console}");
}

#[test]
#[cfg_attr(
    not(qemu_riscv64cheri),
    ignore = "qemu-system-riscv64cheri is not on PATH and INTRAVISOR_QEMU_RISCV64CHERI is not set"
)]
fn qemu_of_ctsrd_has_two_regions() {
    boot_on_qemu(Platform::QemuV9);
    boot_on_qemu(Platform::QemuV8);
}

#[test]
#[cfg_attr(
    not(qemu_riscv64xcheri),
    ignore = "qemu-system-riscv64xcheri is not on PATH and INTRAVISOR_QEMU_RISCV64XCHERI is not set"
)]
fn qemu_of_the_alliance_has_two_regions() {
    boot_on_qemu(Platform::QemuXcheri);
}
