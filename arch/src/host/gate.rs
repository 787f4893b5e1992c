//! Gates of the stand-in: the records are as on CHERI-RISC-V, but for the registers; who calls is the test.

use super::frame::Frame;
use super::slot::Slot;
use super::user;
use crate::types::{Derivation, DeriveError, Register, Settled, Start};
use capability::Permissions;

/// The switcher's pages.
pub const PAGES: u64 = 2 * CURRENT;
const CURRENT: u64 = 4096;
/// The object type that tokens are sealed with.
pub const SEAL: Option<(u64, u64)> = Some((0x66, 2));
/// Slots of a token.
pub const TOKEN: usize = 2;

/// A gate: the first free seat.
pub const GATE: u64 = 128;
/// What of it is nobody's while its cVM does not live: without it, a call cannot begin.
pub const GATE_AUTHORITY: u64 = 64;
const FREE: u64 = 0;

/// A seat: the next free one, and its gate.
pub const SEAT_SIZE: u64 = 64;
const NEXT: u64 = 0;
const GATE_OF_SEAT: u64 = 48;

/// Calls that a thread can be in the middle of.
pub const DEPTH: u64 = 8;
/// A thread's record: which activation it is in, and the activations.
pub const RECORD: u64 = LEAD + (DEPTH + 1) * ACTIVATION;
const TOP: u64 = 0;
const LEAD: u64 = 64;
const ACTIVATION: u64 = 128;
const SEAT: u64 = 0;
const SEEN: u64 = 16;
const SAVED_PC: u64 = 32;
const SAVED_STACK: u64 = 48;
const SAVED_THREAD: u64 = 64;
const SAVED_DATA: u64 = 80;

/// There is no code.
pub fn code() -> &'static [u8] {
    &[0; 16]
}

/// What the switcher would execute with.
pub fn switcher_permissions() -> Permissions {
    super::code_permissions()
}

fn board_permissions() -> Permissions {
    super::monitor_data_permissions() - Permissions::GLOBAL
}

/// Stores a capability over `length` bytes at `what` to `at`.
fn point(board: &Slot, at: u64, what: u64, length: u64) {
    static MADE: Slot = Slot::null();
    let request = Derivation {
        base: what,
        length,
        permissions: board_permissions(),
        address: what,
    };
    let stored = MADE.derive(board, &request).is_ok() && user::store_capability(&MADE, board, at).is_ok();
    MADE.clear();
    assert!(stored, "a gate's link cannot be stored");
}

fn erase(board: &Slot, at: u64, length: u64) {
    let erased = user::zero(board, at, length as usize);
    assert!(erased.is_ok(), "a gate's record cannot be cleared");
}

fn store(board: &Slot, at: u64, what: &Slot) {
    let stored = user::store_capability(what, board, at);
    assert!(stored.is_ok(), "a gate's record cannot be written");
}

fn word(board: &Slot, at: u64) -> u64 {
    let mut bytes = [0; 8];
    let read = user::copy_in(&mut bytes, board, at);
    assert!(read.is_ok(), "a gate's record cannot be read");
    u64::from_le_bytes(bytes)
}

/// Clears a gate.
///
/// # Errors
/// None here.
pub fn make_gate(board: &Slot, at: u64, _start: &Start<'_>) -> Result<(), DeriveError> {
    erase(board, at, GATE_AUTHORITY);
    Ok(())
}

/// Makes something to hold in a token's place.
///
/// # Errors
/// When it cannot be derived.
pub fn make_token(
    token: &[Slot; TOKEN],
    board: &Slot,
    at: u64,
    _switcher: (&Slot, bool),
    _key: &Slot,
) -> Result<(), DeriveError> {
    let request = Derivation {
        base: at,
        length: GATE,
        permissions: Permissions::LOAD,
        address: at,
    };
    token.iter().try_for_each(|slot| slot.derive(board, &request))
}

/// Writes a seat. It is free, and nobody's next one.
pub fn make_seat(board: &Slot, at: u64, gate: u64, _stack: Register<'_>, _spare: Option<&Slot>) {
    erase(board, at, SEAT_SIZE);
    point(board, at + GATE_OF_SEAT, gate, GATE);
}

/// Gives a gate its free seats: one behind the other, `None` closes it.
pub fn set_free(board: &Slot, gate: u64, seat: Option<u64>) {
    link(board, gate + FREE, seat);
}

/// Says which free seat comes behind one.
pub fn set_next(board: &Slot, seat: u64, next: Option<u64>) {
    link(board, seat + NEXT, next);
}

fn link(board: &Slot, at: u64, seat: Option<u64>) {
    match seat {
        Some(seat) => point(board, at, seat, SEAT_SIZE),
        None => erase(board, at, 16),
    }
}

/// A gate's first free seat, 0 = none.
pub fn free(board: &Slot, gate: u64) -> u64 {
    word(board, gate + FREE)
}

/// Writes a thread's record, and makes the authority over it.
///
/// # Errors
/// When that cannot be derived.
pub fn make_record(board: &Slot, at: u64, record: &Slot) -> Result<(), DeriveError> {
    erase(board, at, RECORD);
    point(board, at + TOP, at + LEAD, ACTIVATION);
    let request = Derivation {
        base: at,
        length: RECORD,
        permissions: board_permissions(),
        address: at,
    };
    record.derive(board, &request)
}

/// Before a thread with a record runs.
pub fn enter(board: &Slot, switcher: &Slot, record: &Slot) {
    store(board, base(switcher) + CURRENT, record);
}

/// After a thread with a record has run.
pub fn leave(board: &Slot, switcher: &Slot, _record: &Slot) {
    erase(board, base(switcher) + CURRENT, 16);
}

fn base(slot: &Slot) -> u64 {
    slot.decoded().base
}

/// How many calls a thread is in the middle of.
pub fn level(board: &Slot, record: &Slot) -> u64 {
    (word(board, base(record) + TOP) - base(record) - LEAD) / ACTIVATION
}

/// Leaves the calls above this level.
pub fn set_level(board: &Slot, record: &Slot, level: u64) {
    let at = base(record);
    point(board, at + TOP, at + LEAD + level * ACTIVATION, ACTIVATION);
}

fn activation(record: &Slot, level: u64) -> u64 {
    base(record) + LEAD + level * ACTIVATION
}

/// The seat that a call runs on.
pub fn seat(board: &Slot, record: &Slot, level: u64) -> u64 {
    word(board, activation(record, level) + SEAT)
}

/// Whether the monitor has marked a call; it has now.
pub fn mark(board: &Slot, record: &Slot, level: u64) -> bool {
    let at = activation(record, level) + SEEN;
    let marked = word(board, at) != 0;
    let written = user::copy_out(&1_u64.to_le_bytes(), board, at);
    assert!(written.is_ok(), "a gate's record cannot be written");
    marked
}

/// The registers of the caller of a call, in memory: where they begin and how many bytes they are.
pub fn saved(record: &Slot, level: u64) -> (u64, u64) {
    (activation(record, level) + SAVED_PC, ACTIVATION - SAVED_PC)
}

/// Nobody traps in the switcher here.
pub fn settle(_board: &Slot, _switcher: &Slot, _record: &Slot, _frame: &Frame, _fault: bool) -> Settled {
    Settled::Elsewhere
}

impl Frame {
    /// The gate that the thread wants to call: argument 0, here.
    pub fn gate_wanted(&self) -> u64 {
        self.argument(0)
    }

    /// The thread's call has not begun, and goes back to its caller with this result.
    pub fn refuse_gate(&self, _switcher: &Slot, result: u64) {
        self.set_result(result);
    }

    /// The thread is back at the caller of a call, whatever it was doing in it, with this result.
    pub fn unwind_gate(&self, board: &Slot, _switcher: &Slot, record: &Slot, level: u64, result: u64) {
        let at = activation(record, level);
        self.forget();
        for (offset, slot) in [SAVED_PC, SAVED_STACK, SAVED_THREAD, SAVED_DATA]
            .into_iter()
            .zip(self.saved())
        {
            let loaded = user::load_capability(slot, board, at + offset);
            assert!(loaded.is_ok(), "a gate's record cannot be read");
        }
        self.set_result(result);
    }
}
