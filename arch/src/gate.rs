//! Gates: what the monitor writes for the switcher, and what it makes of a thread that it finds in it. How the switcher enters,
//! leaves and keeps registers is each ISA's own (`switcher`); gates, seats and records are the same everywhere.

use crate::isa::switcher as own;
use crate::{Derivation, DeriveError, Frame, Register, Settled, Slot, Start, user};
use capability::Permissions;

pub use own::{PAGES, RECORD, SEAL, TOKEN, enter, leave, make_token, switcher_permissions};

/// A gate: the first free seat; what the function runs with; the rest is the ISA's.
pub const GATE: u64 = 128;
/// What of it is nobody's while its cVM does not live: without it, a call cannot begin.
pub const GATE_AUTHORITY: u64 = 64;
pub(crate) const FREE: u64 = 0;
pub(crate) const DATA: u64 = 16;
pub(crate) const THREAD: u64 = 32;
pub(crate) const ENTRY: u64 = 48;

/// A seat: the next free one, what is the stack pointer on it and in the spare register, and its gate.
pub const SEAT_SIZE: u64 = 64;
pub(crate) const NEXT: u64 = 0;
pub(crate) const STACK: u64 = 16;
pub(crate) const SPARE: u64 = 32;
pub(crate) const GATE_OF_SEAT: u64 = 48;

/// Calls that a thread can be in the middle of.
pub const DEPTH: u64 = 8;
/// Bytes of an instruction of the switcher.
const INSTRUCTION: u64 = 4;

/// Bytes of a switcher's code, and offsets in it: for gates without and with vector registers. The assembler writes them.
#[repr(C)]
pub(crate) struct Places {
    pub(crate) size: u32,
    pub(crate) ways: [Way; 2],
}

#[repr(C)]
pub(crate) struct Way {
    pub(crate) entry: u32,
    /// The first instruction of a call that changes something.
    pub(crate) call: u32,
    /// Where functions return to.
    pub(crate) again: u32,
    /// The first instruction of a return that changes something.
    pub(crate) back: u32,
    /// Where a caller goes on.
    pub(crate) leave: u32,
}

/// Where in its page the switcher leaves for a caller.
pub(crate) fn way_out() -> u64 {
    own::switcher().1.ways[0].leave.into()
}

/// The switcher's code.
pub fn code() -> &'static [u8] {
    let (start, places) = own::switcher();
    // SAFETY: so many bytes of code are there, and stay as they are.
    unsafe { core::slice::from_raw_parts(start, places.size as usize) }
}

/// What the switcher reaches its records, gates and seats with.
pub(crate) fn board_permissions() -> Permissions {
    crate::monitor_data_permissions() - Permissions::GLOBAL
}

/// Stores a capability over `length` bytes at `what` to `at`.
pub(crate) fn point(board: &Slot, at: u64, what: u64, length: u64) {
    let made = own::made();
    let request = Derivation::over(what..what + length, board_permissions());
    let stored = made.derive(board, &request).is_ok() && user::store_capability(made, board, at).is_ok();
    made.clear();
    assert!(stored, "a gate's link cannot be stored");
}

pub(crate) fn erase(board: &Slot, at: u64, length: u64) {
    let erased = user::zero(board, at, length as usize);
    assert!(erased.is_ok(), "a gate's record cannot be cleared");
}

pub(crate) fn store(board: &Slot, at: u64, what: &Slot) {
    let stored = user::store_capability(what, board, at);
    assert!(stored.is_ok(), "a gate's record cannot be written");
}

pub(crate) fn word(board: &Slot, at: u64) -> u64 {
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
    let made = own::made();
    erase(board, at, GATE_AUTHORITY);
    if let Some(data) = start.data {
        store(board, at + DATA, data);
    }
    made.set(start.thread);
    store(board, at + THREAD, made);
    own::make_entry(made, start)?;
    store(board, at + ENTRY, made);
    made.clear();
    Ok(())
}

/// Writes a seat. It is free, and nobody's next one.
pub fn make_seat(board: &Slot, at: u64, gate: u64, stack: Register<'_>, spare: Option<&Slot>) {
    let made = own::made();
    erase(board, at, SEAT_SIZE);
    made.set(stack);
    store(board, at + STACK, made);
    made.clear();
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
    own::make_links(board, at);
    let request = Derivation::over(at..at + RECORD, board_permissions());
    record.derive(board, &request)
}

/// How many calls a thread is in the middle of.
pub fn level(board: &Slot, record: &Slot) -> u64 {
    (own::top(board, record) - base(record) - own::BOTTOM) / own::ACTIVATION
}

/// Leaves the calls above this level.
pub fn set_level(board: &Slot, record: &Slot, level: u64) {
    own::set_top(board, record, base(record) + own::BOTTOM + level * own::ACTIVATION);
}

fn base(slot: &Slot) -> u64 {
    slot.decoded().base
}

/// The activation of a call, counted from 1.
fn activation(record: &Slot, level: u64) -> u64 {
    base(record) + own::FIRST + (level - 1) * own::ACTIVATION
}

/// The seat that a call runs on.
pub fn seat(board: &Slot, record: &Slot, level: u64) -> u64 {
    word(board, activation(record, level) + own::SEAT)
}

/// Whether the monitor has marked a call; it has now.
pub fn mark(board: &Slot, record: &Slot, level: u64) -> bool {
    let at = activation(record, level) + own::SEEN;
    let marked = word(board, at) != 0;
    let written = user::copy_out(&1_u64.to_le_bytes(), board, at);
    assert!(written.is_ok(), "a gate's record cannot be written");
    marked
}

/// The registers of the caller of a call, in memory: where they begin and how many bytes they are.
pub fn saved(record: &Slot, level: u64) -> (u64, u64) {
    (
        activation(record, level) + own::REGISTERS,
        own::ACTIVATION - own::REGISTERS,
    )
}

/// Deals with a thread that has trapped in the switcher: it begins again, or what it has begun is completed. `fault`: it cannot go
/// on.
pub fn settle(board: &Slot, switcher: &Slot, record: &Slot, frame: &Frame, fault: bool) -> Settled {
    let (page, pcc) = (base(switcher), frame.code().decoded());
    let at = frame.pc().wrapping_sub(page);
    let (_, places) = own::switcher();
    if at >= places.size.into() || !pcc.tag || pcc.base != page {
        return Settled::Elsewhere;
    }
    // The second of the two instructions that change something: the thread acts for somebody else.
    let complete = |top: u64| {
        own::set_top(board, record, top);
        frame.set_pc(page + at + INSTRUCTION);
    };
    for way in &places.ways {
        let [entry, call, again, back] = [way.entry, way.call, way.again, way.back].map(u64::from);
        if (entry..=call).contains(&at) {
            if fault {
                return Settled::Refused;
            }
            own::clear_scratch(frame, false);
            frame.set_pc(page + entry);
        } else if at == call + INSTRUCTION {
            complete(own::top(board, record) + own::ACTIVATION);
        } else if (again..=back).contains(&at) {
            if !fault {
                frame.set_pc(page + again);
            }
        } else if at == back + INSTRUCTION {
            complete(own::top(board, record) - own::ACTIVATION);
        }
    }
    Settled::Inside
}

impl Frame {
    /// The gate that the thread, whose call has not begun, wants to call.
    pub fn gate_wanted(&self) -> u64 {
        own::wanted(self)
    }

    /// The thread's call has not begun, and goes back to its caller with this result.
    pub fn refuse_gate(&self, switcher: &Slot, result: u64) {
        own::clear_scratch(self, true);
        self.set_result(result);
        self.set_pc(base(switcher) + way_out());
    }

    /// The thread is back at the caller of a call, whatever it was doing in it, with this result.
    pub fn unwind_gate(&self, board: &Slot, switcher: &Slot, record: &Slot, level: u64, result: u64) {
        let at = activation(record, level);
        self.forget();
        for (slot, offset) in own::kept(self) {
            let loaded = user::load_capability(slot, board, at + offset);
            assert!(loaded.is_ok(), "a gate's record cannot be read");
        }
        self.set_result(result);
        own::resume_in(self, switcher);
    }
}
