//! Gates: the switcher, what it works on, and what the monitor makes of a thread that it finds in it.

use super::frame::Frame;
use super::slot::Slot;
use super::{user, variant};
use crate::types::{Derivation, DeriveError, Register, Settled, Start};
use capability::Permissions;
use core::arch::{asm, global_asm};

global_asm!(
    ".pushsection .rodata.intravisor_switcher, \"a\"",
    ".option push",
    ".option norvc",
    ".option arch, +a, +f, +d, +zicsr",
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
    static intravisor_switcher_v9_end: u8;
    static intravisor_switcher_v9_plain_entry: u8;
    static intravisor_switcher_v9_plain_call: u8;
    static intravisor_switcher_v9_plain_return: u8;
    static intravisor_switcher_v9_plain_back: u8;
    static intravisor_switcher_v9_plain_leave: u8;
    static intravisor_switcher_v9_vector_entry: u8;
    static intravisor_switcher_v9_vector_call: u8;
    static intravisor_switcher_v9_vector_return: u8;
    static intravisor_switcher_v9_vector_back: u8;
    static intravisor_switcher_v9_vector_leave: u8;
    static intravisor_switcher_v8: u8;
    static intravisor_switcher_v8_end: u8;
    static intravisor_switcher_v8_plain_entry: u8;
    static intravisor_switcher_v8_plain_call: u8;
    static intravisor_switcher_v8_plain_return: u8;
    static intravisor_switcher_v8_plain_back: u8;
    static intravisor_switcher_v8_plain_leave: u8;
    static intravisor_switcher_v8_vector_entry: u8;
    static intravisor_switcher_v8_vector_call: u8;
    static intravisor_switcher_v8_vector_return: u8;
    static intravisor_switcher_v8_vector_back: u8;
    static intravisor_switcher_v8_vector_leave: u8;
}

/// Permissions to load and to store, as CGetPerm numbers them.
const LOAD_STORE: u64 = 1 << 2 | 1 << 3;
/// Bytes of an instruction.
const INSTRUCTION: u64 = 4;

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

/// A gate: the first free seat; what the function runs with; the sealed pair that it returns by.
pub const GATE: u64 = 128;
/// What of it is nobody's while its cVM does not live: without it, a call cannot begin.
pub const GATE_AUTHORITY: u64 = 64;
const FREE: u64 = 0;
const DATA: u64 = 16;
const THREAD: u64 = 32;
const ENTRY: u64 = 48;
const RETURN: u64 = 64;
const RETURN_DATA: u64 = 80;

/// A seat: the next free one, what is the stack pointer on it and in the spare register, and its gate.
pub const SEAT_SIZE: u64 = 64;
const NEXT: u64 = 0;
const STACK: u64 = 16;
const SPARE: u64 = 32;
const GATE_OF_SEAT: u64 = 48;

/// Calls that a thread can be in the middle of.
pub const DEPTH: u64 = 8;
/// A thread's record: which activation it is in, and the activations, the first of which stands for the thread's own cVM.
pub const RECORD: u64 = LEAD + (DEPTH + 1) * ACTIVATION;
const TOP: u64 = 0;
const LEAD: u64 = 64;
/// An activation: its neighbours, its seat, the monitor's mark, and the caller's registers.
const ACTIVATION: u64 = 384;
const BELOW: u64 = 0;
const ABOVE: u64 = 16;
const SEAT: u64 = 32;
const SEEN: u64 = 48;
const SAVED_PC: u64 = 64;
const SAVED_STACK: u64 = 80;
const SAVED_THREAD: u64 = 96;
const SAVED_DATA: u64 = 112;
const SAVED: u64 = 128;
const SAVED_GLOBAL: u64 = 320;
/// The callee-saved registers, in their order from there on.
const CALLEE_SAVED: [usize; 12] = [8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27];

/// Offsets in the switcher's code.
struct Places {
    entry: u64,
    /// The first instruction of a call that changes something.
    call: u64,
    /// Where functions return to.
    again: u64,
    /// The first instruction of a return that changes something.
    back: u64,
    leave: u64,
}

/// The switcher's code, for gates without and with vector registers.
struct Switcher {
    code: &'static [u8],
    ways: [Places; 2],
}

fn switcher() -> Switcher {
    let of = |[start, end]: [*const u8; 2], ways: [[*const u8; 5]; 2]| {
        let offset = |place: *const u8| place as u64 - start as u64;
        Switcher {
            // SAFETY: the symbols enclose bytes that stay as they are.
            code: unsafe { core::slice::from_raw_parts(start, offset(end) as usize) },
            ways: ways.map(|way| {
                let [entry, call, again, back, leave] = way.map(offset);
                Places {
                    entry,
                    call,
                    again,
                    back,
                    leave,
                }
            }),
        }
    };
    if variant::relocates() {
        of(
            [&raw const intravisor_switcher_v8, &raw const intravisor_switcher_v8_end],
            [
                [
                    &raw const intravisor_switcher_v8_plain_entry,
                    &raw const intravisor_switcher_v8_plain_call,
                    &raw const intravisor_switcher_v8_plain_return,
                    &raw const intravisor_switcher_v8_plain_back,
                    &raw const intravisor_switcher_v8_plain_leave,
                ],
                [
                    &raw const intravisor_switcher_v8_vector_entry,
                    &raw const intravisor_switcher_v8_vector_call,
                    &raw const intravisor_switcher_v8_vector_return,
                    &raw const intravisor_switcher_v8_vector_back,
                    &raw const intravisor_switcher_v8_vector_leave,
                ],
            ],
        )
    } else {
        of(
            [&raw const intravisor_switcher_v9, &raw const intravisor_switcher_v9_end],
            [
                [
                    &raw const intravisor_switcher_v9_plain_entry,
                    &raw const intravisor_switcher_v9_plain_call,
                    &raw const intravisor_switcher_v9_plain_return,
                    &raw const intravisor_switcher_v9_plain_back,
                    &raw const intravisor_switcher_v9_plain_leave,
                ],
                [
                    &raw const intravisor_switcher_v9_vector_entry,
                    &raw const intravisor_switcher_v9_vector_call,
                    &raw const intravisor_switcher_v9_vector_return,
                    &raw const intravisor_switcher_v9_vector_back,
                    &raw const intravisor_switcher_v9_vector_leave,
                ],
            ],
        )
    }
}

/// The switcher's code.
pub fn code() -> &'static [u8] {
    switcher().code
}

/// What the switcher executes with. It is local, like whatever leads into it.
pub fn switcher_permissions() -> Permissions {
    super::code_permissions() - Permissions::GLOBAL
}

/// What the switcher reaches its records, gates and seats with.
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

/// Writes what a gate's function runs with.
///
/// # Errors
/// When the function's address cannot be represented.
pub fn make_gate(board: &Slot, at: u64, start: &Start<'_>) -> Result<(), DeriveError> {
    static MADE: Slot = Slot::null();
    erase(board, at, GATE_AUTHORITY);
    if let Some(data) = start.data {
        store(board, at + DATA, data);
    }
    MADE.set(start.thread);
    store(board, at + THREAD, &MADE);
    let bounds = start.code.decoded();
    let request = Derivation {
        base: bounds.base,
        length: (bounds.top - u128::from(bounds.base)) as u64,
        permissions: bounds.permissions,
        address: start.entry,
    };
    match start.data {
        Some(_) => MADE.derive(start.code, &request)?,
        None => MADE.derive_entry(start.code, &request)?,
    }
    store(board, at + ENTRY, &MADE);
    MADE.clear();
    Ok(())
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
    let way = &switcher().ways[usize::from(vector)];
    let board_permissions = board_permissions() | Permissions::INVOKE;
    // The data of the way back means nothing.
    let back = Permissions::LOAD | Permissions::INVOKE;
    for ([to, data], entry, permissions, kind) in [
        (token, way.entry, board_permissions, TOKEN_TYPE),
        (&BACK, way.again, back, RETURN_TYPE),
    ] {
        let data_request = Derivation {
            base: at,
            length: GATE,
            permissions,
            address: at,
        };
        let code_request = Derivation {
            base: page,
            length: PAGES,
            permissions: switcher_permissions(),
            address: page + entry,
        };
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
            ".insn i 0x0f, 2, x6, 0({slot})",              // LC c6, 0(slot)
            ".insn i 0x0f, 2, x7, 0({key})",               // LC c7, 0(key)
            ".insn r 0x5b, 0, 0x10, x7, x7, {kind}",       // CSetAddr
            ".insn r 0x5b, 0, 0x0b, x6, x6, x7",           // CSeal
            ".insn s 0x23, 4, x6, 0({slot})",              // SC c6, 0(slot)
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

/// Writes a seat. It is free, and nobody's next one.
pub fn make_seat(board: &Slot, at: u64, gate: u64, stack: Register<'_>, spare: Option<&Slot>) {
    static MADE: Slot = Slot::null();
    erase(board, at, SEAT_SIZE);
    MADE.set(stack);
    store(board, at + STACK, &MADE);
    MADE.clear();
    if let Some(spare) = spare {
        store(board, at + SPARE, spare);
    }
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
    let request = Derivation {
        base: at,
        length: RECORD,
        permissions: board_permissions(),
        address: at,
    };
    record.derive(board, &request)
}

/// Before a thread with a record runs: the switcher finds it.
pub fn enter(board: &Slot, switcher: &Slot, record: &Slot) {
    store(board, switcher.base() + CURRENT, record);
}

/// After a thread with a record has run: the switcher works for nobody.
pub fn leave(board: &Slot, switcher: &Slot, _record: &Slot) {
    erase(board, switcher.base() + CURRENT, 16);
}

/// How many calls a thread is in the middle of.
pub fn level(board: &Slot, record: &Slot) -> u64 {
    let at = record.base();
    (word(board, at + TOP) - at - LEAD) / ACTIVATION
}

/// Leaves the calls above this level.
pub fn set_level(board: &Slot, record: &Slot, level: u64) {
    let at = record.base();
    point(board, at + TOP, at + LEAD + level * ACTIVATION, ACTIVATION);
}

/// The activation of a call, counted from 1.
fn activation(record: &Slot, level: u64) -> u64 {
    record.base() + LEAD + level * ACTIVATION
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

/// Deals with a thread that has trapped in the switcher: it begins again, or what it has begun is completed. `fault`: it cannot go
/// on.
pub fn settle(board: &Slot, switcher: &Slot, record: &Slot, frame: &Frame, fault: bool) -> Settled {
    let page = switcher.base();
    let pcc = frame.code();
    let offset = frame.pc().wrapping_sub(page);
    if offset >= code().len() as u64 || !pcc.tag() || pcc.base() != page {
        return Settled::Elsewhere;
    }
    let at = record.base();
    for way in self::switcher().ways {
        if (way.entry..=way.call).contains(&offset) {
            if fault {
                return Settled::Refused;
            }
            clear_scratch(frame, &SCRATCH[..6]);
            frame.set_pc(page + way.entry);
        } else if offset == way.call + INSTRUCTION {
            store(board, at + TOP, frame.register(29));
            frame.set_pc(page + offset + INSTRUCTION);
        } else if (way.again..=way.back).contains(&offset) {
            if !fault {
                frame.set_pc(page + way.again);
            }
        } else if offset == way.back + INSTRUCTION {
            store(board, at + TOP, frame.register(6));
            frame.set_pc(page + offset + INSTRUCTION);
        }
    }
    Settled::Inside
}

/// The registers that are the switcher's own; c31 last, which holds the gate from the entry on.
const SCRATCH: [usize; 7] = [5, 6, 7, 28, 29, 30, 31];

fn clear_scratch(frame: &Frame, registers: &[usize]) {
    for register in registers {
        frame.register(*register).clear();
    }
}

fn switcher_leave() -> u64 {
    switcher().ways[0].leave
}

impl Frame {
    /// The gate that the thread, whose call has not begun, wants to call.
    pub fn gate_wanted(&self) -> u64 {
        self.register(31).integer()
    }

    /// The thread's call has not begun, and goes back to its caller with this result.
    pub fn refuse_gate(&self, switcher: &Slot, result: u64) {
        clear_scratch(self, &SCRATCH);
        self.set_result(result);
        self.set_pc(switcher.base() + switcher_leave());
    }

    /// The thread is back at the caller of a call, whatever it was doing in it, with this result.
    pub fn unwind_gate(&self, board: &Slot, switcher: &Slot, record: &Slot, level: u64, result: u64) {
        let at = activation(record, level);
        self.forget();
        let load = |slot: &Slot, offset: u64| {
            let loaded = user::load_capability(slot, board, at + offset);
            assert!(loaded.is_ok(), "a gate's record cannot be read");
        };
        for (index, register) in CALLEE_SAVED.into_iter().enumerate() {
            load(self.register(register), SAVED + index as u64 * 16);
        }
        load(self.register(1), SAVED_PC);
        load(self.register(2), SAVED_STACK);
        load(self.register(3), SAVED_GLOBAL);
        load(self.register(4), SAVED_THREAD);
        load(self.data(), SAVED_DATA);
        self.set_result(result);
        let request = Derivation {
            base: switcher.base(),
            length: PAGES,
            permissions: switcher_permissions(),
            address: switcher.base() + switcher_leave(),
        };
        let made = self.code().derive_as(switcher, &request, super::slot::Kind::Purecap);
        assert!(made.is_ok(), "the switcher cannot be returned to");
    }
}
