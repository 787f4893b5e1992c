//! Register frames: where a thread's registers are while it does not run. The trap entry fills them by capability
//! stores; their layout is what the assembly gets its offsets from.

use super::float::{self, FloatState};
use super::slot::{Kind, Slot};
use super::variant;
use crate::types::{Derivation, DeriveError, Register, Start};
use crate::user;
use abi::hostcall::REGISTERS;
use alloc::boxed::Box;
use capability::{Decoded, Permissions, Seal};
use core::arch::asm;
use core::cell::Cell;
use core::mem::{offset_of, size_of};
use core::ops::Range;

/// Privilege mode bits of `mstatus` that tell where a trap came from (MPP); 0 = U-mode.
const STATUS_MPP: u64 = 3 << 11;
/// In [`Frame::MODE`], and so the sign: the bit of `mstatus` that cannot be written (SD).
const FRESH: u64 = 1 << 63;
/// Number of the argument registers' first one (`a0`).
const ARGUMENT: usize = 10;
/// Number of the register with the hostcall number (`a7`).
const NUMBER: usize = 17;
/// Number of the stack pointer.
const STACK: usize = 2;
/// Number of the thread pointer.
const THREAD: usize = 4;
/// Number of the frame pointer (`s0`).
const FRAME: usize = 8;

/// The whole register state of one thread.
#[repr(C, align(16))]
pub struct Frame {
    /// Index 0 = PCC, 1 to 31 = c1 to c31.
    registers: [Slot; 32],
    ddc: Slot,
    /// Authority over this frame, for MScratchC while the thread runs.
    own: Slot,
    /// What a handler begins every call with: program counter, DDC, stack pointer, thread pointer, spare register.
    prepared: [Slot; 5],
    /// `mstatus` to go on with: U-mode, floating point open or closed. With [`FRESH`] besides, the thread begins with what is
    /// prepared, and the arguments; with [`float::SAVED`], its floating-point registers come first.
    mode: Cell<u64>,
    cause: Cell<u64>,
    value: Cell<u64>,
    /// mstatus of a trap that was no hostcall.
    status: Cell<u64>,
    /// This frame as the monitor's pointers count.
    pointer: Cell<u64>,
    float: FloatState,
}

// SAFETY: frames are touched by one hart, with interrupts off.
unsafe impl Sync for Frame {}

unsafe extern "C" {
    fn intravisor_reaching(first: *const u64, behind: *const u64, start: u64, end: u64, take: bool) -> u64;
}

impl Frame {
    pub(super) const PCC: usize = offset_of!(Frame, registers);
    pub(super) const DDC: usize = offset_of!(Frame, ddc);
    pub(super) const OWN: usize = offset_of!(Frame, own);
    pub(super) const MODE: usize = offset_of!(Frame, mode);
    pub(super) const FRESH_PCC: usize = offset_of!(Frame, prepared);
    pub(super) const FRESH_DDC: usize = Frame::FRESH_PCC + size_of::<Slot>();
    pub(super) const FRESH_STACK: usize = Frame::FRESH_PCC + 2 * size_of::<Slot>();
    pub(super) const FRESH_THREAD: usize = Frame::FRESH_PCC + 3 * size_of::<Slot>();
    pub(super) const FRESH_SPARE: usize = Frame::FRESH_PCC + 4 * size_of::<Slot>();
    pub(super) const CAUSE: usize = offset_of!(Frame, cause);
    pub(super) const VALUE: usize = offset_of!(Frame, value);
    pub(super) const STATUS: usize = offset_of!(Frame, status);
    pub(super) const POINTER: usize = offset_of!(Frame, pointer);

    pub(crate) const fn empty() -> Frame {
        Frame {
            registers: [const { Slot::null() }; 32],
            ddc: Slot::null(),
            own: Slot::null(),
            prepared: [const { Slot::null() }; 5],
            mode: Cell::new(0),
            cause: Cell::new(0),
            value: Cell::new(0),
            status: Cell::new(0),
            pointer: Cell::new(0),
            float: FloatState::zero(),
        }
    }

    /// A frame for a thread of a cVM. `monitor_data` is the monitor's data capability, from which the frame's own authority
    /// (bounds: this frame) is derived.
    ///
    /// # Errors
    /// When the capability over the frame cannot be derived.
    pub fn boxed(monitor_data: &Slot) -> Result<Box<Frame>, DeriveError> {
        let frame = Box::new(Frame::empty());
        frame.attach(monitor_data)?;
        Ok(frame)
    }

    /// Gives a pinned frame its own authority.
    pub(super) fn attach(&self, monitor_data: &Slot) -> Result<(), DeriveError> {
        let base = variant::physical(self);
        self.pointer.set(self as *const Frame as u64);
        self.own.derive(
            monitor_data,
            &Derivation::over(
                base..base + size_of::<Frame>() as u64,
                crate::monitor_data_permissions(),
            ),
        )
    }

    /// Authority over this frame.
    pub(super) fn own(&self) -> &Slot {
        &self.own
    }

    /// Prepares the start of a program: every register NULL but the program counter, DDC, the stack pointer and the
    /// thread pointer. Without a data capability the program starts in capability mode.
    ///
    /// # Errors
    /// When the entry is outside of the code's bounds.
    pub fn start(&self, start: &Start<'_>) -> Result<(), DeriveError> {
        self.clear();
        begin(start, &self.registers[0], &self.ddc)?;
        self.registers[STACK].set(start.stack);
        self.registers[THREAD].set(start.thread);
        Ok(())
    }

    /// Prepares what a handler starts every call with, `spare` in t0; see [`Frame::renew`].
    ///
    /// # Errors
    /// When the entry is outside of the code's bounds.
    pub fn prepare(&self, start: &Start<'_>, spare: Option<&Slot>) -> Result<(), DeriveError> {
        self.clear();
        let [pcc, ddc, stack, thread, prepared_spare] = &self.prepared;
        begin(start, pcc, ddc)?;
        stack.set(start.stack);
        thread.set(start.thread);
        if let Some(spare) = spare {
            prepared_spare.copy_from(spare);
        }
        Ok(())
    }

    /// The next time that it is resumed, the handler begins with what was prepared and with the arguments that are set from
    /// now on; all other registers are NULL.
    #[inline]
    pub fn renew(&self) {
        float::forget(self);
        self.mode.set(FRESH);
    }

    /// Prepares a thread that `creator` asks for: entry, stack pointer, thread pointer and argument are its hostcall arguments
    /// 0 to 3, as they are. An integer entry is a jump of the creator's, a capability is what the thread executes with.
    ///
    /// # Errors
    /// When the entry cannot be executed.
    pub fn spawn(&self, creator: &Frame) -> Result<(), DeriveError> {
        self.clear();
        let [entry, stack, thread, argument] = [0, 1, 2, 3].map(|index| creator.argument_slot(index));
        let pcc = &self.registers[0];
        if entry.tag() {
            pcc.copy_from(entry);
        } else {
            pcc.copy_from(creator.code());
            self.set_pc(creator.origin().wrapping_add(entry.integer()));
        }
        // A sentry is one with its address in bounds; what else is sealed cannot be jumped to.
        let what = pcc.decoded();
        let sealed = what.seal.is_sealed() && what.seal != Seal::Sentry;
        if !what.tag || sealed || !what.permissions.contains(Permissions::EXECUTE) || !what.in_bounds(what.address, 2) {
            pcc.clear();
            return Err(DeriveError::Permissions);
        }
        self.ddc.copy_from(creator.data());
        self.registers[STACK].copy_from(stack);
        self.registers[THREAD].copy_from(thread);
        self.registers[ARGUMENT].copy_from(argument);
        Ok(())
    }

    /// Makes this thread's registers those of another thread, which made a hostcall.
    pub fn copy_from(&self, from: &Frame) {
        self.clear();
        for (to, from) in self.slots().zip(from.slots()) {
            to.copy_from(from);
        }
        float::copy(self, from);
    }

    /// Closes floating point registers to the thread, for ever: as long as nobody allows them.
    pub fn close_float(&self) {}

    /// Lets the thread use floating point registers from now on.
    pub fn allow_float(&self) {
        float::allow(self);
    }

    /// The integers in its registers, as `abi::hostcall::REGISTERS` has them.
    pub fn integers(&self) -> [u64; REGISTERS] {
        let mut words = [0; REGISTERS];
        for (word, register) in words.iter_mut().zip(&self.registers) {
            *word = register.integer();
        }
        words[0] = words[0].wrapping_sub(self.origin());
        words
    }

    /// Sets its registers, as `abi::hostcall::REGISTERS` has them, to integers.
    ///
    /// # Errors
    /// When it could not go on there: nothing has changed then.
    pub fn set_integers(&self, words: &[u64; REGISTERS]) -> Result<(), DeriveError> {
        let pc = words[0].wrapping_add(self.origin());
        if !self.code().decoded().in_bounds(pc, 2) {
            return Err(DeriveError::OutOfBounds);
        }
        self.set_pc(pc);
        for (register, word) in self.registers.iter().zip(words).skip(1) {
            register.set_integer(*word);
        }
        Ok(())
    }

    /// What its program counts instructions from.
    fn origin(&self) -> u64 {
        if variant::relocates() { self.code().base() } else { 0 }
    }

    /// Sets the stack pointer.
    pub fn set_stack(&self, value: u64) {
        self.registers[STACK].set_integer(value);
    }

    /// Sets the thread pointer.
    pub fn set_thread_pointer(&self, value: u64) {
        self.registers[THREAD].set_integer(value);
    }

    /// Forgets every register, and what was prepared, so that no authority stays behind.
    pub fn clear(&self) {
        self.forget();
        self.prepared.iter().for_each(Slot::clear);
        for word in [&self.mode, &self.cause, &self.value, &self.status] {
            word.set(0);
        }
        float::forget(self);
    }

    /// Forgets every register, but not what was prepared.
    pub fn forget(&self) {
        // SAFETY: stores NULL to the live, aligned slots from PCC to DDC.
        unsafe {
            asm!(
                ".irp register, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32",
                instruction!(SC "x0", "(16 * \\register)", "{slots}"),
                ".endr",
                slots = in(reg) self.registers[0].pointer(),
                options(nostack),
            );
        }
    }

    /// Sets arguments 0 to 5 to those of another frame, without a tag; whether there was a capability among them.
    #[inline]
    pub fn pass(&self, from: &Frame) -> bool {
        let tags: u64;
        // SAFETY: copies live, aligned slots; the register is cleared.
        unsafe {
            asm!(
                "li {tags}, 0",
                ".irp argument, 0, 1, 2, 3, 4, 5",
                instruction!(LC "x6", "(16 * \\argument)", "{from}"),
                instruction!(CGetTag "{tag}", "x6"),
                "or {tags}, {tags}, {tag}",
                instruction!(CClearTag "x6", "x6"),
                instruction!(SC "x6", "(16 * \\argument)", "{to}"),
                ".endr",
                "li x6, 0",
                from = in(reg) from.registers[ARGUMENT].pointer(),
                to = in(reg) self.registers[ARGUMENT].pointer(),
                tag = out(reg) _,
                tags = out(reg) tags,
                out("x6") _,
                options(nostack),
            );
        }
        tags != 0
    }

    fn integer(&self, register: usize) -> u64 {
        self.registers[register].integer()
    }

    /// Number of the hostcall.
    #[inline]
    pub fn number(&self) -> u64 {
        self.integer(NUMBER)
    }

    /// Hostcall argument 0 to 5 as an integer.
    #[inline]
    pub fn argument(&self, index: usize) -> u64 {
        self.integer(ARGUMENT + index)
    }

    /// Hostcall argument 0 to 5 as it was passed.
    pub fn argument_slot(&self, index: usize) -> &Slot {
        &self.registers[ARGUMENT + index]
    }

    /// Hostcall argument 0 to 5 as a pointer: the capability that authorises the access (the argument itself when it is
    /// one, otherwise DDC), and the absolute address.
    #[inline]
    pub fn pointer(&self, index: usize) -> (&Slot, u64) {
        user::through(&self.registers[ARGUMENT + index], &self.ddc)
    }

    /// Sets argument register 0 to 7. Number 7 is the register of the hostcall number, too.
    pub fn set_argument(&self, index: usize, value: Register<'_>) {
        self.registers[ARGUMENT + index].set(value);
    }

    /// Sets the register with the hostcall number.
    pub fn set_number(&self, value: u64) {
        self.registers[NUMBER].set_integer(value);
    }

    /// Sets the first result register.
    #[inline]
    pub fn set_result(&self, value: u64) {
        self.registers[ARGUMENT].set_integer(value);
    }

    /// Sets the first result register to a capability.
    pub fn set_result_capability(&self, capability: &Slot) {
        self.registers[ARGUMENT].copy_from(capability);
    }

    /// Sets the second result register.
    pub fn set_second(&self, value: u64) {
        self.registers[ARGUMENT + 1].set_integer(value);
    }

    /// The capability through which the program's integer addresses go.
    #[inline]
    pub fn data(&self) -> &Slot {
        &self.ddc
    }

    /// The program counter.
    pub fn code(&self) -> &Slot {
        &self.registers[0]
    }

    /// Absolute address of the next instruction.
    pub fn pc(&self) -> u64 {
        self.integer(0)
    }

    /// The program's frame pointer, an integer as the program sees addresses; 0 in capability mode, in which frames are
    /// linked by capabilities.
    pub fn frame_pointer(&self) -> u64 {
        if self.code().capability_mode() {
            0
        } else {
            self.integer(FRAME)
        }
    }

    /// Moves the program counter within the bounds of its capability.
    pub(crate) fn set_pc(&self, address: u64) {
        let slot = self.registers[0].pointer();
        // SAFETY: the slot is alive; the capability is unsealed (it was PCC) and the register is cleared.
        unsafe {
            core::arch::asm!(
                instruction!(LC "x6", 0, "{slot}"),
                instruction!(CSetAddr "x6", "x6", "{address}"),
                instruction!(SC "x6", 0, "{slot}"),
                "li x6, 0",
                slot = in(reg) slot,
                address = in(reg) address,
                out("x6") _,
                options(nostack),
            );
        }
    }

    pub(super) fn float(&self) -> &FloatState {
        &self.float
    }

    /// How it goes on with floating point: closed (0), [`float::OPEN`], or [`float::SAVED`].
    pub(super) fn set_float(&self, mode: u64) {
        self.mode.set(mode);
    }

    pub(super) fn cause(&self) -> u64 {
        self.cause.get()
    }

    pub(super) fn value(&self) -> u64 {
        self.value.get()
    }

    pub(super) fn is_of_monitor(&self) -> bool {
        self.status.get() & STATUS_MPP != 0
    }

    /// For the monitor's own frame, when a copy was refused: the monitor's registers hold integers, and besides them what is
    /// left of a cVM's capabilities, the refused one and those that nothing has overwritten since the trap. The integers
    /// stay, no capability does.
    pub(crate) fn forget_capabilities(&self) {
        for register in 1..self.registers.len() {
            self.registers[register].set_integer(self.integer(register));
        }
    }

    pub(super) fn register(&self, number: usize) -> &Slot {
        &self.registers[number]
    }

    /// The slots by which hostcall arguments and integer pointers reach memory, as [`Frame::reaching`] numbers them.
    pub const AUTHORITIES: u64 = 0x3f << ARGUMENT | 1 << 32;

    /// Which of [`Frame::slots`], a bit each, hold a capability whose bounds reach a range; with `take` they are cleared.
    pub fn reaching(&self, range: &Range<u64>, take: bool) -> u64 {
        let (first, last) = (self.registers[0].pointer(), self.ddc.pointer());
        // SAFETY: works on the live, aligned slots from the first to the last, which follow each other.
        unsafe { intravisor_reaching(first, last.wrapping_add(2), range.start, range.end, take) }
    }

    /// Every slot that holds a register of the program.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.registers.iter().chain(core::iter::once(&self.ddc))
    }

    /// Name and contents of every register that can hold a capability, for reports.
    pub fn registers(&self) -> impl Iterator<Item = (&'static str, Decoded)> + '_ {
        REGISTER_NAMES
            .iter()
            .copied()
            .zip(self.registers.iter().map(Slot::decoded))
            .chain(core::iter::once(("ddc", self.ddc.decoded())))
    }
}

/// Makes the program counter, and DDC where the program has one.
fn begin(start: &Start<'_>, pcc: &Slot, ddc: &Slot) -> Result<(), DeriveError> {
    let bounds = start.code.decoded();
    let request = Derivation::like(&bounds).at(start.entry);
    match start.data {
        Some(data) => {
            pcc.derive_as(start.code, &request, Kind::Hybrid)?;
            ddc.copy_from(data);
        }
        None => pcc.derive_as(start.code, &request, Kind::Purecap)?,
    }
    Ok(())
}

/// Names of the registers of a frame, index 0 = the program counter.
pub(super) const REGISTER_NAMES: [&str; 32] = [
    "pcc", "cra", "csp", "cgp", "ctp", "ct0", "ct1", "ct2", "cs0", "cs1", "ca0", "ca1", "ca2", "ca3", "ca4", "ca5",
    "ca6", "ca7", "cs2", "cs3", "cs4", "cs5", "cs6", "cs7", "cs8", "cs9", "cs10", "cs11", "ct3", "ct4", "ct5", "ct6",
];
