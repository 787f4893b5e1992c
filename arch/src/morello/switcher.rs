//! The switcher, and how it keeps a thread's record: what of gates (`arch::gate`) is the ISA's own.

use super::float;
use super::frame::Frame;
use super::slot::Slot;
use crate::gate::{DATA, DEPTH, ENTRY, FREE, GATE, GATE_OF_SEAT, NEXT, Places, SPARE, point, store, way_out};
use crate::types::{Derivation, DeriveError, Start};
use capability::Permissions;
use core::arch::{asm, global_asm};

global_asm!(
    ".pushsection .rodata.intravisor_switcher, \"a\"",
    instruction_macros!(),
    include_str!("instructions.S"),
    include_str!("gate.S"),
    ".popsection",
    free = const FREE,
    next = const NEXT,
    spare = const SPARE,
    gate = const GATE_OF_SEAT,
    g_ddc = const DATA,
    g_entry = const ENTRY,
    zeros = const ZEROS,
    activation = const ACTIVATION,
    a_pc = const SAVED_PC,
    a_ddc = const SAVED_DATA,
    a_seat = const SEAT,
    all_but_data = const ALL_BUT_DATA,
);

unsafe extern "C" {
    static intravisor_switcher: u8;
    static intravisor_switcher_places: Places;
}

/// The permissions that CLRPERM takes, all but Load and Store.
const ALL_BUT_DATA: u64 = 0xffff;

/// The switcher's page.
pub const PAGES: u64 = 4096;
/// No key: tokens are capabilities to load a pair and branch (LPB), which only who reaches the pair can make.
pub const SEAL: Option<(u64, u64)> = None;
/// Slots of a token.
pub const TOKEN: usize = 1;

/// Zeros in a gate, and the pair that its token names.
const ZEROS: u64 = 64;
const PAIR: u64 = 96;

/// A thread's record: its activations.
pub const RECORD: u64 = DEPTH * ACTIVATION;
/// What is the top without a call, and the activation of the first one.
pub(crate) const BOTTOM: u64 = 0;
pub(crate) const FIRST: u64 = 0;
/// An activation: the caller's registers, its seat, the monitor's mark.
pub(crate) const ACTIVATION: u64 = 256;
pub(crate) const REGISTERS: u64 = 0;
const SAVED_PC: u64 = 160;
const SAVED_STACK: u64 = 176;
const SAVED_DATA: u64 = 192;
const SAVED_THREAD: u64 = 208;
pub(crate) const SEAT: u64 = 224;
pub(crate) const SEEN: u64 = 240;
/// The first of the callee-saved registers, which an activation begins with, and how many they are.
const FIRST_SAVED: usize = 19;
const CALLEE_SAVED: usize = 10;

/// The start of the switcher's code.
pub(crate) fn switcher() -> (*const u8, &'static Places) {
    // SAFETY: the assembler writes the table, and nobody else does.
    unsafe { (&raw const intravisor_switcher, &intravisor_switcher_places) }
}

/// What the switcher executes with. It is local, like whatever leads into it.
pub fn switcher_permissions() -> Permissions {
    Permissions::EXECUTE | Permissions::EXECUTIVE
}

/// Where capabilities are made before they are stored.
pub(crate) fn made() -> &'static Slot {
    static MADE: Slot = Slot::null();
    &MADE
}

/// Makes what the switcher enters a gate's function by.
pub(crate) fn make_entry(to: &Slot, start: &Start<'_>) -> Result<(), DeriveError> {
    let bounds = start.code.decoded();
    // A purecap function is C64, whatever its address says.
    let c64 = u64::from(start.data.is_none()) | start.entry & 1;
    let request = Derivation::like(&bounds).at(start.entry & !1 | c64);
    to.derive_entry(start.code, &request)
}

/// Makes what a gate is called by.
///
/// # Errors
/// When something cannot be derived.
pub fn make_token(
    token: &[Slot; TOKEN],
    board: &Slot,
    at: u64,
    (code, vector): (&Slot, bool),
    _key: &Slot,
) -> Result<(), DeriveError> {
    let (made, [token]) = (made(), token);
    point(board, at + PAIR, at, GATE);
    // C64 from its first instruction.
    let page = code.decoded().base;
    let entry = Derivation::over(page..page + PAGES, switcher_permissions())
        .at((page + u64::from(switcher().1.ways[usize::from(vector)].entry)) | 1);
    made.derive_entry(code, &entry)?;
    store(board, at + PAIR + 16, made);
    made.clear();
    let request = Derivation::over(
        at + PAIR..at + PAIR + 32,
        Permissions::LOAD | Permissions::LOAD_CAPABILITY | Permissions::MUTABLE_LOAD | Permissions::INVOKE,
    );
    token.derive(board, &request)?;
    // SAFETY: the slot is alive and aligned; the register is cleared.
    unsafe {
        asm!(
            instruction!(LDR_C 9, 0, 10),
            instruction!(SEAL_LPB 9, 9),
            instruction!(STR_C 9, 0, 10),
            "mov x9, xzr",
            in("x10") token.pointer(),
            out("x9") _,
            options(nostack),
        );
    }
    if token.tag() { Ok(()) } else { Err(DeriveError::Sealed) }
}

/// The switcher goes by the address of the record's capability alone.
pub(crate) fn make_links(_board: &Slot, _at: u64) {}

/// Where the next activation begins.
pub(crate) fn top(_board: &Slot, record: &Slot) -> u64 {
    record.integer()
}

/// It begins elsewhere.
pub(crate) fn set_top(_board: &Slot, record: &Slot, top: u64) {
    record.set_address(top);
}

/// Before a thread with a record runs: the switcher finds it.
pub fn enter(_board: &Slot, _switcher: &Slot, record: &Slot) {
    // SAFETY: CSP_EL0 is the switcher's; the register is cleared.
    unsafe {
        asm!(
            instruction!(LDR_C 9, 0, 10),
            instruction!(MSR_CSP_EL0 9),
            "mov x9, xzr",
            in("x10") record.pointer(),
            out("x9") _,
            options(nostack),
        );
    }
}

/// After a thread with a record has run: the switcher works for nobody.
pub fn leave(_board: &Slot, _switcher: &Slot, record: &Slot) {
    // SAFETY: CSP_EL0 is the switcher's; the register is cleared.
    unsafe {
        asm!(
            instruction!(MRS_CSP_EL0 9),
            instruction!(STR_C 9, 0, 10),
            "mov x9, xzr",
            instruction!(MSR_CSP_EL0 31),
            in("x10") record.pointer(),
            out("x9") _,
            options(nostack),
        );
    }
}

/// The registers that the switcher has used before a call begins; c29 last, which holds the gate from the entry on.
const SCRATCH: [usize; 7] = [9, 10, 11, 12, 13, 14, 29];

/// Clears what the switcher has used before a call begins; the gate is kept for another try.
pub(crate) fn clear_scratch(frame: &Frame, gate: bool) {
    for register in &SCRATCH[..SCRATCH.len() - usize::from(!gate)] {
        frame.register(*register).clear();
    }
}

/// The gate that a call, which has not begun, wants.
pub(crate) fn wanted(frame: &Frame) -> u64 {
    frame.register(29).integer()
}

/// The registers that a caller finds again, and where they are in an activation.
pub(crate) fn kept(frame: &Frame) -> impl Iterator<Item = (&Slot, u64)> {
    let saved = (FIRST_SAVED..FIRST_SAVED + CALLEE_SAVED).map(|register| frame.register(register));
    let [stack, data, thread] = frame.restricted();
    saved.zip((0..).step_by(16)).chain([
        (frame.register(30), SAVED_PC),
        (stack, SAVED_STACK),
        (data, SAVED_DATA),
        (thread, SAVED_THREAD),
    ])
}

/// The thread goes on in the switcher, where it leaves for a caller, without what the function has left in vector registers.
pub(crate) fn resume_in(frame: &Frame, page: &Slot) {
    float::forget(frame);
    frame.code().copy_from(page);
    frame.set_pc(page.decoded().base + way_out());
    frame.set_capability_mode();
}
