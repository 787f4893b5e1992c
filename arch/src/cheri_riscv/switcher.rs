//! The switcher, and how it keeps a thread's record: what of gates (`arch::gate`) is the ISA's own.

use super::float;
use super::frame::Frame;
use super::slot::Slot;
use super::variant;
use crate::gate::{
    DATA, DEPTH, ENTRY, FREE, GATE, GATE_OF_SEAT, NEXT, Places, SPARE, STACK, THREAD, board_permissions, erase, point,
    store, way_out, word,
};
use crate::types::{Derivation, DeriveError, Start};
use capability::Permissions;
use core::arch::{asm, global_asm};

global_asm!(
    ".pushsection .rodata.intravisor_switcher, \"a\"",
    ".option push",
    ".option norvc",
    ".option norelax",
    ".option arch, +a, +f, +d, +zicsr",
    instruction_macros!(),
    include_str!("instructions.S"),
    include_str!("gate.S"),
    ".option pop",
    ".popsection",
    top = const TOP,
    below = const BELOW,
    above = const ABOVE,
    free = const FREE,
    next = const NEXT,
    stack = const STACK,
    spare = const SPARE,
    gate = const GATE_OF_SEAT,
    g_ddc = const DATA,
    g_tp = const THREAD,
    g_entry = const ENTRY,
    g_return = const RETURN,
    g_return_data = const RETURN_DATA,
    a_seat = const SEAT,
    a_seen = const SEEN,
    a_pc = const SAVED_PC,
    a_sp = const SAVED_STACK,
    a_tp = const SAVED_THREAD,
    a_ddc = const SAVED_DATA,
    a_gp = const SAVED_GLOBAL,
    a_saved = const SAVED,
    data = const LOAD_STORE,
);

unsafe extern "C" {
    static intravisor_switcher_v9: u8;
    static intravisor_switcher_v9_places: Places;
    static intravisor_switcher_v8: u8;
    static intravisor_switcher_v8_places: Places;
}

/// Permissions to load and to store, as CGetPerm numbers them.
const LOAD_STORE: u64 = 1 << 2 | 1 << 3;

/// The switcher's pages: its code, and behind it the place of the record of the thread that runs.
pub const PAGES: u64 = 2 * CURRENT;
const CURRENT: u64 = 4096;
/// The first of the object types that tokens and ways back are sealed with, one each, which needs a key, and how many they are.
/// Nothing else is sealed with them.
pub const SEAL: Option<(u64, u64)> = Some((TOKEN_TYPE, 2));
const TOKEN_TYPE: u64 = 0x66;
const RETURN_TYPE: u64 = 0x67;
/// Slots of a token.
pub const TOKEN: usize = 2;

/// The sealed pair that a gate's function returns by.
const RETURN: u64 = 64;
const RETURN_DATA: u64 = 80;

/// A thread's record: which activation it is in, and the activations, the first of which stands for the thread's own cVM.
pub const RECORD: u64 = LEAD + (DEPTH + 1) * ACTIVATION;
const TOP: u64 = 0;
const LEAD: u64 = 64;
/// What is the top without a call, and the activation of the first one.
pub(crate) const BOTTOM: u64 = LEAD;
pub(crate) const FIRST: u64 = LEAD + ACTIVATION;
/// An activation: its neighbours, its seat, the monitor's mark, and the caller's registers.
pub(crate) const ACTIVATION: u64 = 384;
const BELOW: u64 = 0;
const ABOVE: u64 = 16;
pub(crate) const SEAT: u64 = 32;
pub(crate) const SEEN: u64 = 48;
pub(crate) const REGISTERS: u64 = SAVED_PC;
const SAVED_PC: u64 = 64;
const SAVED_STACK: u64 = 80;
const SAVED_THREAD: u64 = 96;
const SAVED_DATA: u64 = 112;
const SAVED: u64 = 128;
const SAVED_GLOBAL: u64 = 320;
/// The callee-saved registers, in their order from there on.
const CALLEE_SAVED: [usize; 12] = [8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27];

/// The start of the switcher's code.
pub(crate) fn switcher() -> (*const u8, &'static Places) {
    // SAFETY: the assembler writes both tables, and nobody else does.
    unsafe {
        if variant::relocates() {
            (&raw const intravisor_switcher_v8, &intravisor_switcher_v8_places)
        } else {
            (&raw const intravisor_switcher_v9, &intravisor_switcher_v9_places)
        }
    }
}

/// What the switcher executes with. It is local, like whatever leads into it.
pub fn switcher_permissions() -> Permissions {
    crate::code_permissions() - Permissions::GLOBAL
}

/// Where capabilities are made before they are stored.
pub(crate) fn made() -> &'static Slot {
    static MADE: Slot = Slot::null();
    &MADE
}

/// Makes what the switcher enters a gate's function by.
pub(crate) fn make_entry(to: &Slot, start: &Start<'_>) -> Result<(), DeriveError> {
    let bounds = start.code.decoded();
    let request = Derivation::like(&bounds).at(start.entry);
    match start.data {
        Some(_) => to.derive(start.code, &request),
        None => to.derive_entry(start.code, &request),
    }
}

/// Makes what a gate is called by, and what its function returns by, sealed with the key.
///
/// # Errors
/// When something cannot be derived.
pub fn make_token(
    token: &[Slot; TOKEN],
    board: &Slot,
    at: u64,
    (code, vector): (&Slot, bool),
    key: &Slot,
) -> Result<(), DeriveError> {
    static BACK: [Slot; 2] = [const { Slot::null() }; 2];
    let page = code.base();
    let way = &switcher().1.ways[usize::from(vector)];
    let board_permissions = board_permissions() | Permissions::INVOKE;
    // The data of the way back means nothing.
    let back = Permissions::LOAD | Permissions::INVOKE;
    for ([to, data], entry, permissions, kind) in [
        (token, u64::from(way.entry), board_permissions, TOKEN_TYPE),
        (&BACK, u64::from(way.again), back, RETURN_TYPE),
    ] {
        let data_request = Derivation::over(at..at + GATE, permissions);
        let code_request = Derivation::over(page..page + PAGES, switcher_permissions()).at(page + entry);
        data.derive(board, &data_request)?;
        to.derive_as(code, &code_request, super::slot::Kind::Purecap)?;
        for slot in [to, data] {
            seal(slot, key, kind)?;
        }
    }
    let [code, data] = &BACK;
    store(board, at + RETURN, code);
    store(board, at + RETURN_DATA, data);
    BACK.iter().for_each(Slot::clear);
    Ok(())
}

/// Seals what is in a slot, tagged and unsealed, with an object type of the key's.
fn seal(slot: &Slot, key: &Slot, kind: u64) -> Result<(), DeriveError> {
    // SAFETY: both slots are alive, aligned and tagged, the key permits to seal with this type; the registers are cleared.
    unsafe {
        asm!(
            instruction!(LC "x6", 0, "{slot}"),
            instruction!(LC "x7", 0, "{key}"),
            instruction!(CSetAddr "x7", "x7", "{kind}"),
            instruction!(CSeal "x6", "x6", "x7"),
            instruction!(SC "x6", 0, "{slot}"),
            "li x6, 0",
            "li x7, 0",
            slot = in(reg) slot.pointer(),
            key = in(reg) key.pointer(),
            kind = in(reg) kind,
            out("x6") _,
            out("x7") _,
            options(nostack),
        );
    }
    if slot.tag() { Ok(()) } else { Err(DeriveError::Sealed) }
}

/// What of a record the switcher goes by.
pub(crate) fn make_links(board: &Slot, at: u64) {
    for level in 0..=DEPTH {
        let place = at + LEAD + level * ACTIVATION;
        if level > 0 {
            point(board, place + BELOW, place - ACTIVATION, ACTIVATION);
        }
        if level < DEPTH {
            point(board, place + ABOVE, place + ACTIVATION, ACTIVATION);
        }
    }
    point(board, at + TOP, at + LEAD, ACTIVATION);
}

/// The address of the activation that the thread is in.
pub(crate) fn top(board: &Slot, record: &Slot) -> u64 {
    word(board, record.base() + TOP)
}

/// The thread is in another one.
pub(crate) fn set_top(board: &Slot, record: &Slot, top: u64) {
    point(board, record.base() + TOP, top, ACTIVATION);
}

/// Before a thread with a record runs: the switcher finds it.
pub fn enter(board: &Slot, switcher: &Slot, record: &Slot) {
    store(board, switcher.base() + CURRENT, record);
}

/// After a thread with a record has run: the switcher works for nobody.
pub fn leave(board: &Slot, switcher: &Slot, _record: &Slot) {
    erase(board, switcher.base() + CURRENT, 16);
}

/// The registers that are the switcher's own; c31 last, which holds the gate from the entry on.
const SCRATCH: [usize; 7] = [5, 6, 7, 28, 29, 30, 31];

/// Clears what the switcher has used before a call begins; the gate is kept for another try.
pub(crate) fn clear_scratch(frame: &Frame, gate: bool) {
    for register in &SCRATCH[..SCRATCH.len() - usize::from(!gate)] {
        frame.register(*register).clear();
    }
}

/// The gate that a call, which has not begun, wants.
pub(crate) fn wanted(frame: &Frame) -> u64 {
    frame.register(31).integer()
}

/// The registers that a caller finds again, and where they are in an activation.
pub(crate) fn kept(frame: &Frame) -> impl Iterator<Item = (&Slot, u64)> {
    let saved = CALLEE_SAVED.into_iter().zip((SAVED..).step_by(16));
    let named = [(1, SAVED_PC), (2, SAVED_STACK), (3, SAVED_GLOBAL), (4, SAVED_THREAD)];
    let registers = saved
        .chain(named)
        .map(|(register, offset)| (frame.register(register), offset));
    registers.chain([(frame.data(), SAVED_DATA)])
}

/// The thread goes on in the switcher, where it leaves for a caller, without what the function has left in vector registers.
pub(crate) fn resume_in(frame: &Frame, page: &Slot) {
    float::forget(frame);
    let request =
        Derivation::over(page.base()..page.base() + PAGES, switcher_permissions()).at(page.base() + way_out());
    let made = frame.code().derive_as(page, &request, super::slot::Kind::Purecap);
    assert!(made.is_ok(), "the switcher cannot be returned to");
}
