//! The boards' ways to be disturbed, behind one face, and what to look at afterwards.

use capability::Decoded;
use machine::{Stop, morello, riscv};
use tests::Board;
use tests::report::{LedgerEntry, ledger};

/// RAM of the boards: little to copy for a snapshot, but more than 16 MiB, the multiple of which the device tree lies at on
/// CHERI-RISC-V.
pub(crate) const MEMORY: u64 = 20 << 20;

/// A moment to go back to.
pub(crate) enum Snapshot {
    CheriRiscv(Box<riscv::Snapshot>),
    Morello(Box<morello::Snapshot>),
}

/// Takes a snapshot, which replaces an earlier one.
pub(crate) fn snapshot(board: &mut Board) -> Snapshot {
    match board {
        Board::CheriRiscv(board) => Snapshot::CheriRiscv(Box::new(board.snapshot())),
        Board::Morello(board) => Snapshot::Morello(Box::new(board.snapshot())),
    }
}

/// Goes back to the latest snapshot.
pub(crate) fn restore(board: &mut Board, snapshot: &Snapshot) {
    match (board, snapshot) {
        (Board::CheriRiscv(board), Snapshot::CheriRiscv(snapshot)) => board.restore(snapshot),
        (Board::Morello(board), Snapshot::Morello(snapshot)) => board.restore(snapshot),
        _ => panic!("a snapshot of another board"),
    }
}

/// Runs, at least one instruction, until the first core is in a cVM (`user`) or in the monitor; returns the number of
/// instructions, those that trapped included.
///
/// # Panics
/// The run ends otherwise, or this takes more than `limit` instructions.
pub(crate) fn run_into(board: &mut Board, user: bool, limit: u64) -> u64 {
    let mut count = 0;
    let stop = match board {
        Board::CheriRiscv(board) => {
            let mut condition = |board: &riscv::Board| {
                count += 1;
                (board.privilege(0) == riscv::Privilege::User) == user
            };
            board.run(riscv::Until {
                condition: Some(&mut condition),
                ..riscv::Until::exit(limit)
            })
        }
        Board::Morello(board) => {
            let mut condition = |board: &morello::Board| {
                count += 1;
                (board.exception_level(0) == 0) == user
            };
            board.run(morello::Until {
                condition: Some(&mut condition),
                ..morello::Until::exit(limit)
            })
        }
    };
    assert_eq!(stop, Stop::Condition, "{}", board.console().text());
    count
}

/// Runs until the first core waits for an interrupt.
///
/// # Panics
/// It does not within `limit` instructions.
pub(crate) fn run_into_wait(board: &mut Board, limit: u64) {
    for _ in 0..limit {
        let waits = match board {
            Board::CheriRiscv(board) => board.is_waiting(0),
            Board::Morello(board) => board.is_waiting(0),
        };
        if waits {
            return;
        }
        assert_eq!(board.run(1), Stop::Limit, "{}", board.console().text());
    }
    panic!("the monitor does not wait\n{}", board.console().text());
}

/// The timer fires as soon as the first core lets it.
pub(crate) fn fire_timer(board: &mut Board) {
    match board {
        Board::CheriRiscv(board) => board.fire_timer(0),
        Board::Morello(board) => board.fire_timer(0),
    }
}

/// What the timer of the first core is set to never fires.
pub(crate) fn lose_timer_interrupt(board: &mut Board) {
    match board {
        Board::CheriRiscv(board) => board.lose_timer_interrupt(0),
        Board::Morello(board) => board.lose_timer_interrupt(0),
    }
}

/// The timer of the first core does not fire for so many nanoseconds.
pub(crate) fn hold_timer_interrupt(board: &mut Board, nanoseconds: u64) {
    let until = board.time() + nanoseconds;
    match board {
        Board::CheriRiscv(board) => board.hold_timer_interrupt(0, until),
        Board::Morello(board) => board.hold_timer_interrupt(0, until),
    }
}

/// The function that begins with the next instruction returns this at once.
pub(crate) fn return_at_once(board: &mut Board, result: u64) {
    match board {
        Board::CheriRiscv(board) => board.return_at_once(0, result),
        Board::Morello(board) => board.return_at_once(0, result),
    }
}

/// What the register holds that a hostcall's number is passed in (a7; x8).
pub(crate) fn hostcall_number(board: &Board) -> u64 {
    match board {
        Board::CheriRiscv(board) => board.register(0, 17).decode().address,
        Board::Morello(board) => board.register(0, 8).decode().address,
    }
}

/// The ledger as the console shows it so far.
pub(crate) fn entries(board: &Board) -> Vec<LedgerEntry> {
    let console = board.console().text();
    let lines: Vec<&str> = console
        .split("\r\n")
        .filter_map(|line| line.strip_prefix("[monitor] "))
        .collect();
    ledger(&lines)
}

/// Whose memory an address is in, by the ledger.
fn owner(entries: &[LedgerEntry], address: u64) -> Option<&str> {
    let cvms = entries
        .iter()
        .filter_map(|entry| Some((entry.name.strip_suffix(" data")?, &entry.what)));
    let around = cvms.filter(|(name, what)| *name != "monitor" && what.in_bounds(address, 1));
    around.min_by_key(|(_, what)| what.length()).map(|(name, _)| name)
}

/// Whether an entry of the ledger that belongs to a cVM covers a capability.
fn belongs_to(entries: &[LedgerEntry], cvm: &str, held: &Decoded) -> bool {
    let own = |entry: &&LedgerEntry| entry.name.strip_prefix(cvm).is_some_and(|rest| rest.starts_with(' '));
    entries.iter().filter(own).any(|entry| held.is_subset_of(&entry.what))
}

/// Every capability in the memory of a cVM, or in a register while a cVM runs, that is more than the ledger gives that cVM,
/// and every one anywhere that is more than the ledger gives anybody. To be called when the cVMs have been started.
pub(crate) fn violations(board: &Board) -> Vec<String> {
    let entries = entries(board);
    let pools: Vec<_> = entries.iter().filter(|entry| entry.name == "cVM pool").collect();
    assert!(!pools.is_empty(), "no pool\n{}", board.console().text());
    let mut found = Vec::new();
    for (address, held) in board.tagged_memory() {
        if !pools.iter().any(|pool| pool.what.in_bounds(address, 1)) {
            if !entries[1..].iter().any(|entry| held.is_subset_of(&entry.what)) {
                found.push(format!("{held} at {address:#x} of the monitor"));
            }
            continue;
        }
        // What the switcher works on: itself, and what waits there for the way back.
        if let Some(gates) = entries.iter().find(|entry| entry.name == "gates")
            && gates.what.in_bounds(address, 1)
        {
            let of_cvms = |entry: &LedgerEntry| owner(&entries, entry.what.base).is_some();
            let whose = |entry: &&LedgerEntry| held.is_subset_of(&entry.what) && of_cvms(entry);
            let inside = gates.what.base <= held.base && held.top <= gates.what.top;
            if !inside && !entries.iter().any(|entry| whose(&entry)) {
                found.push(format!("{held} at {address:#x} of the switcher"));
            }
            continue;
        }
        match owner(&entries, address) {
            Some(cvm) if belongs_to(&entries, cvm, &held) => {}
            Some(cvm) => found.push(format!("{held} at {address:#x} of {cvm}")),
            None => found.push(format!("{held} at {address:#x} of nobody")),
        }
    }
    if board.in_user_mode(0) {
        let running = owner(&entries, board.pc(0)).expect("a cVM runs in its own memory");
        let registers = board.tagged_registers(0).into_iter();
        for (register, held) in registers.filter(|(register, _)| !board.is_privileged(register)) {
            if !belongs_to(&entries, running, &held) {
                found.push(format!("{held} in {register} of {running}"));
            }
        }
    }
    found
}

/// Asserts that there are no [`violations`].
pub(crate) fn assert_confined(board: &Board, what: &str) {
    assert_eq!(
        violations(board),
        Vec::<String>::new(),
        "{what}\n{}",
        board.console().text()
    );
}

/// Every capability that the switcher works on and that is not over that itself.
pub(crate) fn held_by_gates(board: &Board) -> Vec<String> {
    let entries = entries(board);
    let gates = entries
        .iter()
        .find(|entry| entry.name == "gates")
        .expect("an entry of the gates");
    let memory = board.tagged_memory().into_iter();
    let there = memory.filter(|(address, held)| {
        let inside = gates.what.base <= held.base && held.top <= gates.what.top;
        gates.what.in_bounds(*address, 16) && !inside
    });
    there.map(|(address, held)| format!("{held} at {address:#x}")).collect()
}

/// Offset in the RAM of the first granule in a cVM's memory that holds `mark`.
pub(crate) fn find(board: &Board, cvm: &str, mark: &[u8; 16]) -> usize {
    let entries = entries(board);
    let name = format!("{cvm} data");
    let memory = entries
        .iter()
        .find(|entry| entry.name == name)
        .expect("an entry of the cVM")
        .what;
    let start = (memory.base - board.memory().base()) as usize;
    let mut places = (start..start + memory.length() as usize).step_by(16);
    places
        .find(|offset| board.memory().bytes(*offset, 16) == mark)
        .expect("the mark")
}
