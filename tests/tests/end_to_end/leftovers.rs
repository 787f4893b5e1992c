//! What was in memory before anybody ran is in no memory that a cVM gets: neither byte nor tag, however it gets it.

use std::ops::Range;

use machine::Stop;
use tests::report::{LedgerEntry, ledger};
use tests::{Board, Platform, Scenario, cvm, on_machine};
use tools::manifest::CvmSpec;

on_machine!(no_byte_is_older_than_the_life_of_who_can_read_it);

/// What all of the memory holds at reset, tagged, but for image, device tree and initrd.
const OLD: [u8; 16] = *b"older than life!";
const INSTRUCTIONS: u64 = 2_000_000_000;

/// Fills the memory with what could be left over; returns how many granules.
fn soil(board: &mut Board, kept: &[Range<u64>]) -> usize {
    let memory = board.memory();
    let (base, size) = (memory.base(), memory.size());
    // The device tree, where the boot loader has put it.
    let trees = (0..size)
        .step_by(8)
        .filter(|offset| memory.bytes(*offset, 4) == [0xd0, 0x0d, 0xfe, 0xed]);
    let mut kept: Vec<Range<u64>> = kept.to_vec();
    kept.extend(trees.map(|offset| {
        let length = u32::from_be_bytes(memory.read(offset + 4));
        base + offset as u64..base + offset as u64 + u64::from(length)
    }));
    let mut count = 0;
    let memory = board.memory_mut();
    for offset in (0..size).step_by(16) {
        let address = base + offset as u64;
        if kept
            .iter()
            .all(|range| address + 16 <= range.start || address >= range.end)
        {
            memory.write(offset, OLD);
            memory.set_tag(offset, true);
            count += 1;
        }
    }
    count
}

fn entries(board: &Board) -> Vec<LedgerEntry> {
    let console = board.console().text();
    let lines: Vec<&str> = console
        .split("\r\n")
        .filter_map(|line| line.strip_prefix("[monitor] "))
        .collect();
    ledger(&lines)
}

fn no_byte_is_older_than_the_life_of_who_can_read_it(platform: Platform) {
    let sized = CvmSpec {
        isolation_size: Some(0x12_3000),
        ..cvm("sized", "hello", &[])
    };
    let heap = CvmSpec {
        heap: 0x30_0008,
        ..cvm("heap", "hello", &[])
    };
    let outer = CvmSpec {
        isolation_size: Some(0x40_0000),
        ..cvm("outer", "outer", &[])
    };
    let within = |name: &str| CvmSpec {
        within: Some("outer".to_owned()),
        callback_out: "outer".to_owned(),
        isolation_size: Some(0x2_3000),
        ..cvm(name, "hello", &[])
    };
    let cvms = [
        sized,
        heap,
        outer,
        within("inner"),
        within("second"),
        cvm("pure", "purecap-checks", &["authority"]),
    ];
    let names: Vec<String> = cvms.iter().map(|cvm| cvm.name.clone()).collect();
    let scenario = Scenario::new(cvms);
    let image = platform.monitor()..platform.monitor() + scenario.image(platform).len() as u64;
    let mut running = scenario.on_board(platform);
    let board = &mut running.board;
    let soiled = soil(board, &[image]);
    assert!(soiled > 7_000_000, "{soiled} granules");
    let mut seen: Vec<(String, Range<u64>)> = Vec::new();
    let mut wrong = Vec::new();
    let stop = loop {
        let known = |address: u64| seen.iter().any(|(_, code)| code.contains(&address));
        match board.run_into_user_mode(INSTRUCTIONS, |address| !known(address)) {
            Stop::Condition => {}
            stop => break stop,
        }
        let (entries, pc) = (entries(board), board.pc(0));
        // The innermost one is entered last.
        let found = entries
            .iter()
            .rfind(|entry| entry.name.ends_with(" code") && entry.what.in_bounds(pc, 1));
        let code = found.unwrap_or_else(|| panic!("{pc:#x} is nobody's code\n{}", board.console().text()));
        let name = code.name.trim_end_matches(" code").to_owned();
        for entry in entries
            .iter()
            .filter(|entry| entry.name.starts_with(&format!("{name} ")))
        {
            let start = (entry.what.base - board.memory().base()) as usize;
            let places = (start..start + entry.what.length() as usize).step_by(16);
            let old = places.filter(|offset| board.memory().bytes(*offset, 16) == OLD);
            let count = old.count();
            if count > 0 {
                wrong.push(format!("{}: {count} granules are older than {name}", entry.name));
            }
        }
        seen.push((name, code.what.base..code.what.base + code.what.length() as u64));
    };
    let console = board.console().text();
    assert_eq!(stop, Stop::Exit(0), "{console}");
    let ran: Vec<&String> = seen.iter().map(|(name, _)| name).collect();
    assert!(
        names.iter().all(|name| ran.contains(&name)),
        "only {ran:?} ran\n{console}"
    );
    assert!(wrong.is_empty(), "{}\n{console}", wrong.join("\n"));
}
