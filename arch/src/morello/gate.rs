//! Gates: the switcher, what it works on, and what the monitor makes of a thread that it finds in it.

use super::frame::Frame;
use super::slot::Slot;
use super::user;
use crate::types::{Derivation, DeriveError, Register, Settled, Start};
use capability::Permissions;
use core::arch::{asm, global_asm};

global_asm!(
    ".pushsection .rodata.intravisor_switcher, \"a\"",
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
    static intravisor_switcher_end: u8;
    static intravisor_switcher_plain_entry: u8;
    static intravisor_switcher_plain_call: u8;
    static intravisor_switcher_plain_return: u8;
    static intravisor_switcher_plain_back: u8;
    static intravisor_switcher_plain_leave: u8;
    static intravisor_switcher_vector_entry: u8;
    static intravisor_switcher_vector_call: u8;
    static intravisor_switcher_vector_return: u8;
    static intravisor_switcher_vector_back: u8;
    static intravisor_switcher_vector_leave: u8;
}

/// The permissions that CLRPERM takes, all but Load and Store.
const ALL_BUT_DATA: u64 = 0xffff;
/// Bytes of an instruction.
const INSTRUCTION: u64 = 4;

/// The switcher's page.
pub const PAGES: u64 = 4096;
/// No key: tokens are capabilities to load a pair and branch (LPB), which only who reaches the pair can make.
pub const SEAL: Option<(u64, u64)> = None;
/// Slots of a token.
pub const TOKEN: usize = 1;

/// A gate: the first free seat; what the function runs with; zeros; the pair that its token names.
pub const GATE: u64 = 128;
/// What of it is nobody's while its cVM does not live: without it, a call cannot begin.
pub const GATE_AUTHORITY: u64 = 64;
const FREE: u64 = 0;
const DATA: u64 = 16;
const THREAD: u64 = 32;
const ENTRY: u64 = 48;
const ZEROS: u64 = 64;
const PAIR: u64 = 96;

/// A seat: the next free one, what is the stack pointer on it and in the spare register, and its gate.
pub const SEAT_SIZE: u64 = 64;
const NEXT: u64 = 0;
const STACK: u64 = 16;
const SPARE: u64 = 32;
const GATE_OF_SEAT: u64 = 48;

/// Calls that a thread can be in the middle of.
pub const DEPTH: u64 = 8;
/// A thread's record: its activations.
pub const RECORD: u64 = DEPTH * ACTIVATION;
/// An activation: the caller's registers, its seat, the monitor's mark.
const ACTIVATION: u64 = 256;
const SAVED_PC: u64 = 160;
const SAVED_STACK: u64 = 176;
const SAVED_DATA: u64 = 192;
const SAVED_THREAD: u64 = 208;
const SEAT: u64 = 224;
const SEEN: u64 = 240;
/// The first of the callee-saved registers, which an activation begins with, and how many they are.
const FIRST_SAVED: usize = 19;
const CALLEE_SAVED: usize = 10;

/// Offset of a place in the switcher.
fn offset(place: *const u8) -> u64 {
    place as u64 - &raw const intravisor_switcher as u64
}

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

/// Those for gates without and with vector registers.
fn ways() -> [Places; 2] {
    [
        [
            &raw const intravisor_switcher_plain_entry,
            &raw const intravisor_switcher_plain_call,
            &raw const intravisor_switcher_plain_return,
            &raw const intravisor_switcher_plain_back,
            &raw const intravisor_switcher_plain_leave,
        ],
        [
            &raw const intravisor_switcher_vector_entry,
            &raw const intravisor_switcher_vector_call,
            &raw const intravisor_switcher_vector_return,
            &raw const intravisor_switcher_vector_back,
            &raw const intravisor_switcher_vector_leave,
        ],
    ]
    .map(|way: [*const u8; 5]| {
        let [entry, call, again, back, leave] = way.map(offset);
        Places {
            entry,
            call,
            again,
            back,
            leave,
        }
    })
}

/// The switcher's code.
pub fn code() -> &'static [u8] {
    let length = offset(&raw const intravisor_switcher_end) as usize;
    // SAFETY: the symbols enclose bytes that stay as they are.
    unsafe { core::slice::from_raw_parts(&raw const intravisor_switcher, length) }
}

/// What the switcher executes with. It is local, like whatever leads into it.
pub fn switcher_permissions() -> Permissions {
    Permissions::EXECUTE | Permissions::EXECUTIVE
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
    // A purecap function is C64, whatever its address says.
    let c64 = u64::from(start.data.is_none()) | start.entry & 1;
    let request = Derivation {
        base: bounds.base,
        length: (bounds.top - u128::from(bounds.base)) as u64,
        permissions: bounds.permissions,
        address: start.entry & !1 | c64,
    };
    MADE.derive_entry(start.code, &request)?;
    store(board, at + ENTRY, &MADE);
    MADE.clear();
    Ok(())
}

/// Makes what a gate is called by.
///
/// # Errors
/// When something cannot be derived.
pub fn make_token(
    token: &[Slot; TOKEN],
    board: &Slot,
    at: u64,
    (switcher, vector): (&Slot, bool),
    _key: &Slot,
) -> Result<(), DeriveError> {
    static MADE: Slot = Slot::null();
    let [token] = token;
    point(board, at + PAIR, at, GATE);
    // C64 from its first instruction.
    let page = switcher.decoded().base;
    let entry = Derivation {
        base: page,
        length: PAGES,
        permissions: switcher_permissions(),
        address: (page + ways()[usize::from(vector)].entry) | 1,
    };
    MADE.derive_entry(switcher, &entry)?;
    store(board, at + PAIR + 16, &MADE);
    MADE.clear();
    let request = Derivation {
        base: at + PAIR,
        length: 32,
        permissions: Permissions::LOAD | Permissions::LOAD_CAPABILITY | Permissions::MUTABLE_LOAD | Permissions::INVOKE,
        address: at + PAIR,
    };
    token.derive(board, &request)?;
    // SAFETY: the slot is alive and aligned; the register is cleared.
    unsafe {
        asm!(
            ".inst 0xc2400149",     // LDR c9, [x10]
            ".inst 0xc2c35129",     // SEAL c9, c9, lpb
            ".inst 0xc2000149",     // STR c9, [x10]
            "mov x9, xzr",
            in("x10") token.pointer(),
            out("x9") _,
            options(nostack),
        );
    }
    if token.tag() { Ok(()) } else { Err(DeriveError::Sealed) }
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
    let request = Derivation {
        base: at,
        length: RECORD,
        permissions: board_permissions(),
        address: at,
    };
    record.derive(board, &request)
}

/// Before a thread with a record runs: the switcher finds it.
pub fn enter(_board: &Slot, _switcher: &Slot, record: &Slot) {
    // SAFETY: CSP_EL0 is the switcher's; the register is cleared.
    unsafe {
        asm!(
            ".inst 0xc2400149",     // LDR c9, [x10]
            ".inst 0xc2884109",     // MSR CSP_EL0, c9
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
            ".inst 0xc2984109",     // MRS c9, CSP_EL0
            ".inst 0xc2000149",     // STR c9, [x10]
            "mov x9, xzr",
            ".inst 0xc288411f",     // MSR CSP_EL0, czr
            in("x10") record.pointer(),
            out("x9") _,
            options(nostack),
        );
    }
}

fn base(record: &Slot) -> u64 {
    record.decoded().base
}

/// How many calls a thread is in the middle of.
pub fn level(_board: &Slot, record: &Slot) -> u64 {
    (record.integer() - base(record)) / ACTIVATION
}

/// Leaves the calls above this level.
pub fn set_level(_board: &Slot, record: &Slot, level: u64) {
    record.set_address(base(record) + level * ACTIVATION);
}

/// The activation of a call, counted from 1.
fn activation(record: &Slot, level: u64) -> u64 {
    base(record) + (level - 1) * ACTIVATION
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
    (activation(record, level), ACTIVATION)
}

/// Deals with a thread that has trapped in the switcher: it begins again, or what it has begun is completed. `fault`: it cannot go
/// on.
pub fn settle(_board: &Slot, switcher: &Slot, record: &Slot, frame: &Frame, fault: bool) -> Settled {
    let page = switcher.decoded().base;
    let at = frame.pc().wrapping_sub(page);
    let pcc = frame.code().decoded();
    if at >= code().len() as u64 || !pcc.tag || pcc.base != page {
        return Settled::Elsewhere;
    }
    for way in ways() {
        if (way.entry..=way.call).contains(&at) {
            if fault {
                return Settled::Refused;
            }
            frame.clear_scratch(&SCRATCH[..6]);
            frame.set_pc(page + way.entry);
        } else if at == way.call + INSTRUCTION {
            record.set_address(record.integer() + ACTIVATION);
            frame.set_pc(page + at + INSTRUCTION);
        } else if (way.again..=way.back).contains(&at) {
            if !fault {
                frame.set_pc(page + way.again);
            }
        } else if at == way.back + INSTRUCTION {
            record.set_address(record.integer() - ACTIVATION);
            frame.set_pc(page + at + INSTRUCTION);
        }
    }
    Settled::Inside
}

/// The registers that the switcher has used before a call begins; c29 last, which holds the gate from the entry on.
const SCRATCH: [usize; 7] = [9, 10, 11, 12, 13, 14, 29];

impl Frame {
    fn clear_scratch(&self, registers: &[usize]) {
        for register in registers {
            self.register(*register).clear();
        }
    }

    /// The gate that the thread, whose call has not begun, wants to call.
    pub fn gate_wanted(&self) -> u64 {
        self.register(29).integer()
    }

    /// The thread's call has not begun, and goes back to its caller with this result.
    pub fn refuse_gate(&self, switcher: &Slot, result: u64) {
        self.clear_scratch(&SCRATCH);
        self.set_result(result);
        self.set_pc(switcher.decoded().base + ways()[0].leave);
    }

    /// The thread is back at the caller of a call, whatever it was doing in it, with this result.
    pub fn unwind_gate(&self, board: &Slot, switcher: &Slot, record: &Slot, level: u64, result: u64) {
        let at = activation(record, level);
        self.forget();
        let load = |slot: &Slot, offset: u64| {
            let loaded = user::load_capability(slot, board, at + offset);
            assert!(loaded.is_ok(), "a gate's record cannot be read");
        };
        for index in 0..CALLEE_SAVED {
            load(self.register(FIRST_SAVED + index), index as u64 * 16);
        }
        load(self.register(30), SAVED_PC);
        let [stack, data, thread] = self.restricted();
        load(stack, SAVED_STACK);
        load(data, SAVED_DATA);
        load(thread, SAVED_THREAD);
        self.set_result(result);
        self.code().copy_from(switcher);
        self.set_pc(switcher.decoded().base + ways()[0].leave);
        self.set_capability_mode();
    }
}
