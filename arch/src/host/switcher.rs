//! What of gates (`arch::gate`) is the stand-in's own: records are as on CHERI-RISC-V, but for the registers; a test has a
//! thread call and return.

use super::frame::Frame;
use super::slot::Slot;
use crate::gate::{
    DATA, DEPTH, ENTRY, GATE, GATE_OF_SEAT, NEXT, Places, SEAT_SIZE, STACK, THREAD, Way, erase, free, level, point,
    set_free, set_next, store, word,
};
use crate::types::{Derivation, DeriveError, Start};
use crate::user;
use capability::Permissions;

/// The switcher's pages.
pub const PAGES: u64 = 2 * CURRENT;
const CURRENT: u64 = 4096;
/// The object type that tokens are sealed with.
pub const SEAL: Option<(u64, u64)> = Some((0x66, 2));
/// Slots of a token.
pub const TOKEN: usize = 2;

/// A thread's record: which activation it is in, and the activations.
pub const RECORD: u64 = LEAD + (DEPTH + 1) * ACTIVATION;
const TOP: u64 = 0;
const LEAD: u64 = 64;
/// What is the top without a call, and the activation of the first one.
pub(crate) const BOTTOM: u64 = LEAD;
pub(crate) const FIRST: u64 = LEAD + ACTIVATION;
pub(crate) const ACTIVATION: u64 = 128;
pub(crate) const SEAT: u64 = 0;
pub(crate) const SEEN: u64 = 16;
pub(crate) const REGISTERS: u64 = SAVED_PC;
const SAVED_PC: u64 = 64;
const SAVED_STACK: u64 = 80;
const SAVED_THREAD: u64 = 96;
const SAVED_DATA: u64 = 112;

/// There is no code, but zeros in its place.
pub(crate) fn switcher() -> (*const u8, &'static Places) {
    static CODE: [u8; 16] = [0; 16];
    static PLACES: Places = Places {
        size: CODE.len() as u32,
        ways: [const {
            Way {
                entry: 0,
                call: 0,
                again: 0,
                back: 0,
                leave: 0,
            }
        }; 2],
    };
    (CODE.as_ptr(), &PLACES)
}

/// What the switcher would execute with.
pub fn switcher_permissions() -> Permissions {
    crate::code_permissions()
}

/// Where capabilities are made before they are stored: a test's own.
pub(crate) fn made() -> &'static Slot {
    std::thread_local! {
        static MADE: &'static Slot = Box::leak(Box::new(Slot::null()));
    }
    MADE.with(|made| *made)
}

/// Makes what the switcher would enter a gate's function by.
pub(crate) fn make_entry(to: &Slot, start: &Start<'_>) -> Result<(), DeriveError> {
    let bounds = start.code.decoded();
    let request = Derivation::like(&bounds).at(start.entry);
    to.derive_entry(start.code, &request)
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
    let request = Derivation::over(at..at + GATE, Permissions::LOAD);
    token.iter().try_for_each(|slot| slot.derive(board, &request))
}

/// What of a record the switcher would go by.
pub(crate) fn make_links(board: &Slot, at: u64) {
    point(board, at + TOP, at + LEAD, ACTIVATION);
}

/// The address of the activation that the thread is in.
pub(crate) fn top(board: &Slot, record: &Slot) -> u64 {
    word(board, record.decoded().base + TOP)
}

/// The thread is in another one.
pub(crate) fn set_top(board: &Slot, record: &Slot, top: u64) {
    point(board, record.decoded().base + TOP, top, ACTIVATION);
}

/// Before a thread with a record runs.
pub fn enter(board: &Slot, switcher: &Slot, record: &Slot) {
    store(board, switcher.decoded().base + CURRENT, record);
}

/// After a thread with a record has run.
pub fn leave(board: &Slot, switcher: &Slot, _record: &Slot) {
    erase(board, switcher.decoded().base + CURRENT, 16);
}

/// The switcher has used nothing.
pub(crate) fn clear_scratch(_frame: &Frame, _gate: bool) {}

/// The gate that a call, which has not begun, wants: argument 0, here.
pub(crate) fn wanted(frame: &Frame) -> u64 {
    frame.argument(0)
}

/// The registers that a caller finds again, and where they are in an activation.
pub(crate) fn kept(frame: &Frame) -> impl Iterator<Item = (&Slot, u64)> {
    frame
        .saved()
        .into_iter()
        .zip([SAVED_PC, SAVED_STACK, SAVED_THREAD, SAVED_DATA])
}

/// The thread goes on where its caller was.
pub(crate) fn resume_in(_frame: &Frame, _page: &Slot) {}

/// For a test: what the switcher does when a thread calls a gate. Whether the call has begun.
pub fn call_gate(board: &Slot, record: &Slot, frame: &Frame, gate: u64) -> bool {
    let seat = free(board, gate);
    if seat == 0 || level(board, record) == DEPTH {
        return false;
    }
    let next = word(board, seat + NEXT);
    set_free(board, gate, (next != 0).then_some(next));
    let at = top(board, record) + ACTIVATION;
    point(board, at + SEAT, seat, SEAT_SIZE);
    erase(board, at + SEEN, 16);
    kept(frame).for_each(|(slot, offset)| store(board, at + offset, slot));
    set_top(board, record, at);
    let [code, stack, thread, data] = frame.saved();
    for (register, from) in [
        (code, gate + ENTRY),
        (stack, seat + STACK),
        (thread, gate + THREAD),
        (data, gate + DATA),
    ] {
        load(board, register, from);
    }
    true
}

/// For a test: what the switcher does when a gate's function returns.
pub fn return_from_gate(board: &Slot, record: &Slot, frame: &Frame) {
    let at = top(board, record);
    let seat = word(board, at + SEAT);
    let gate = word(board, seat + GATE_OF_SEAT);
    let next = free(board, gate);
    set_next(board, seat, (next != 0).then_some(next));
    set_free(board, gate, Some(seat));
    kept(frame).for_each(|(slot, offset)| load(board, slot, at + offset));
    set_top(board, record, at - ACTIVATION);
}

fn load(board: &Slot, register: &Slot, from: u64) {
    let loaded = user::load_capability(register, board, from);
    assert!(loaded.is_ok(), "what the switcher works on can be read");
}
