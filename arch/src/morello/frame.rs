//! Register frames: where a thread's registers are while it does not run. The trap entry fills them by capability
//! stores; their layout is what the assembly gets its offsets from.

use super::float::{self, FloatState};
use super::slot::Slot;
use crate::types::{Derivation, DeriveError, Register, Start};
use crate::user;
use abi::hostcall::REGISTERS;
use alloc::boxed::Box;
use capability::{Decoded, Permissions, Seal};
use core::arch::asm;
use core::cell::Cell;
use core::mem::offset_of;
use core::ops::Range;

/// SPSR_EL1: the program was in C64 state.
const STATUS_C64: u64 = 1 << 26;
/// SPSR_EL1: the condition flags.
const STATUS_FLAGS: u64 = 0xf000_0000;
/// What of SPSR_EL1 a cVM keeps: condition flags and C64, and bit 27, which means nothing. The rest is 0: EL0, AArch64, no
/// interrupt masked.
pub(super) const STATUS_MASK: u64 = 0xfc00_0000;
/// Number of arguments that a program can be started with.
const ARGUMENTS: usize = 8;
/// Number of the register with the hostcall number.
const NUMBER: usize = 8;
/// Number of the frame pointer.
const FRAME: usize = 29;

/// The whole register state of one thread. A cVM runs Restricted: its stack pointer, DDC and thread pointer are those of
/// the Restricted bank. Those of the Executive bank are NULL for ever: no cVM can reach them.
#[repr(C, align(16))]
pub struct Frame {
    /// SPSR_EL1.
    status: Cell<u64>,
    /// 1 = begins with what is prepared, and the arguments, when it is resumed.
    fresh: Cell<u64>,
    /// ESR_EL1, or what stands for it, and FAR_EL1.
    cause: Cell<u64>,
    address: Cell<u64>,
    /// SPSR_EL1 of what is prepared.
    prepared_status: Cell<u64>,
    /// The monitor's own frame: the stack pointer of what faulted.
    interrupted_sp: Cell<u64>,
    /// c0 to c30.
    registers: [Slot; 31],
    /// CELR_EL1.
    pcc: Slot,
    rcsp: Slot,
    rddc: Slot,
    rctpidr: Slot,
    ctpidrro: Slot,
    cid: Slot,
    /// What a handler begins every call with: program counter, DDC, stack pointer, thread pointer, c9.
    prepared: [Slot; 5],
    /// The code capability that the thread was started with, to look at.
    start_code: Cell<Option<Decoded>>,
    float: FloatState,
}

// SAFETY: frames are touched by one processor, with interrupts masked.
unsafe impl Sync for Frame {}

unsafe extern "C" {
    fn intravisor_frame_pass();
    fn intravisor_frame_forget(slots: *mut u64);
    fn intravisor_reaching(first: *const u64, behind: *const u64, start: u64, end: u64, take: bool) -> u64;
}

impl Frame {
    pub(super) const REGISTERS: usize = offset_of!(Frame, registers);
    pub(super) const RCSP: usize = offset_of!(Frame, rcsp);
    pub(super) const RDDC: usize = offset_of!(Frame, rddc);
    pub(super) const RCTPIDR: usize = offset_of!(Frame, rctpidr);
    pub(super) const CID: usize = offset_of!(Frame, cid);
    pub(super) const PREPARED: usize = offset_of!(Frame, prepared);
    pub(super) const PREPARED_STATUS: usize = offset_of!(Frame, prepared_status);
    pub(super) const STATUS: usize = offset_of!(Frame, status);
    pub(super) const FRESH: usize = offset_of!(Frame, fresh);
    pub(super) const CAUSE: usize = offset_of!(Frame, cause);
    pub(super) const INTERRUPTED_SP: usize = offset_of!(Frame, interrupted_sp);

    pub(crate) const fn empty() -> Frame {
        Frame {
            status: Cell::new(0),
            fresh: Cell::new(0),
            cause: Cell::new(0),
            address: Cell::new(0),
            prepared_status: Cell::new(0),
            interrupted_sp: Cell::new(0),
            registers: [const { Slot::null() }; 31],
            pcc: Slot::null(),
            rcsp: Slot::null(),
            rddc: Slot::null(),
            rctpidr: Slot::null(),
            ctpidrro: Slot::null(),
            cid: Slot::null(),
            prepared: [const { Slot::null() }; 5],
            start_code: Cell::new(None),
            float: FloatState::zero(),
        }
    }

    /// A frame for a thread of a cVM. The trap entry reaches it through the monitor's DDC.
    ///
    /// # Errors
    /// None on this architecture.
    pub fn boxed(_monitor_data: &Slot) -> Result<Box<Frame>, DeriveError> {
        Ok(Box::new(Frame::empty()))
    }

    /// Prepares the start of a program: every register NULL but the program counter, DDC, the stack pointer and the
    /// thread pointer. It starts in C64 state when it is purecap or bit 0 of its entry is set.
    ///
    /// # Errors
    /// When the entry is outside of the code.
    pub fn start(&self, start: &Start<'_>) -> Result<(), DeriveError> {
        self.clear();
        self.status.set(self.begin(start, &self.pcc, &self.rddc)?);
        self.rcsp.set(start.stack);
        self.rctpidr.set(start.thread);
        Ok(())
    }

    /// Prepares what a handler starts every call with, `spare` in c9; see [`Frame::renew`].
    ///
    /// # Errors
    /// When the entry is outside of the code.
    pub fn prepare(&self, start: &Start<'_>, spare: Option<&Slot>) -> Result<(), DeriveError> {
        self.clear();
        let [pcc, ddc, stack, thread, prepared_spare] = &self.prepared;
        self.prepared_status.set(self.begin(start, pcc, ddc)?);
        stack.set(start.stack);
        thread.set(start.thread);
        if let Some(spare) = spare {
            prepared_spare.copy_from(spare);
        }
        Ok(())
    }

    /// Makes program counter and DDC; returns SPSR_EL1.
    fn begin(&self, start: &Start<'_>, pcc: &Slot, ddc: &Slot) -> Result<u64, DeriveError> {
        let bounds = start.code.decoded();
        pcc.derive(
            start.code,
            &Derivation {
                base: bounds.base,
                length: (bounds.top - u128::from(bounds.base)) as u64,
                permissions: bounds.permissions,
                address: start.entry & !1,
            },
        )?;
        self.start_code.set(Some(pcc.decoded()));
        if let Some(data) = start.data {
            ddc.copy_from(data);
        }
        let c64 = start.data.is_none() || start.entry & 1 == 1;
        Ok(if c64 { STATUS_C64 } else { 0 })
    }

    /// The next time that it is resumed, the handler begins with what was prepared and with the arguments that are set from
    /// now on; all other registers are NULL, the vector registers 0.
    #[inline]
    pub fn renew(&self) {
        self.fresh.set(1);
        float::forget(self);
    }

    /// Prepares a thread that `creator` asks for: entry, stack pointer, thread pointer and argument are its hostcall arguments
    /// 0 to 3, as they are. An integer entry is a jump of the creator's, a capability is what the thread executes with; a
    /// sentry has to lie within the creator's PCC, as ERET does not unseal it. Bit 0 of the entry: C64.
    ///
    /// # Errors
    /// When the entry cannot be executed.
    pub fn spawn(&self, creator: &Frame) -> Result<(), DeriveError> {
        self.clear();
        let [entry, stack, thread, argument] = [0, 1, 2, 3].map(|index| creator.argument_slot(index));
        let address = entry.integer();
        let what = entry.decoded();
        if !what.tag || what.seal == Seal::Sentry {
            self.pcc.copy_from(creator.code());
        } else {
            self.pcc.copy_from(entry);
        }
        if what.tag && what.seal == Seal::Sentry {
            let request = Derivation {
                base: what.base,
                length: (what.top - u128::from(what.base)) as u64,
                permissions: what.permissions,
                address: address & !1,
            };
            self.pcc.derive(creator.code(), &request)?;
        } else {
            self.pcc.set_address(address & !1);
        }
        let code = self.pcc.decoded();
        let usable = code.tag && !code.seal.is_sealed() && code.permissions.contains(Permissions::EXECUTE);
        if !usable || !code.in_bounds(code.address, 4) {
            self.pcc.clear();
            return Err(DeriveError::Permissions);
        }
        self.start_code.set(Some(code));
        self.status.set(if address & 1 == 1 { STATUS_C64 } else { 0 });
        self.rddc.copy_from(&creator.rddc);
        self.rcsp.copy_from(stack);
        self.rctpidr.copy_from(thread);
        self.registers[0].copy_from(argument);
        Ok(())
    }

    /// Makes this thread's registers those of another thread, which made a hostcall.
    pub fn copy_from(&self, from: &Frame) {
        self.clear();
        for (to, from) in self.slots().zip(from.slots()) {
            to.copy_from(from);
        }
        self.status.set(from.status.get());
        self.start_code.set(from.start_code.get());
        float::copy(self, from);
    }

    /// Lets the thread use floating point registers, as all do.
    pub fn allow_float(&self) {}

    /// Closes floating point registers to the thread, for ever.
    pub fn close_float(&self) {
        float::close(self);
    }

    /// The integers in its registers, as `abi::hostcall::REGISTERS` has them.
    pub fn integers(&self) -> [u64; REGISTERS] {
        let flags = self.status.get() & STATUS_FLAGS;
        let slots = self.registers.iter().chain([&self.rcsp, &self.pcc]);
        let mut words = slots.map(Slot::integer).chain([flags]);
        core::array::from_fn(|_| words.next().unwrap_or_default())
    }

    /// Sets its registers, as `abi::hostcall::REGISTERS` has them, to integers.
    ///
    /// # Errors
    /// When it could not go on there: nothing has changed then.
    pub fn set_integers(&self, words: &[u64; REGISTERS]) -> Result<(), DeriveError> {
        let [.., stack, pc, flags] = *words;
        if !self.code().decoded().in_bounds(pc, 4) {
            return Err(DeriveError::OutOfBounds);
        }
        self.set_pc(pc);
        for (register, word) in self.registers.iter().zip(words) {
            register.set_integer(*word);
        }
        self.rcsp.set_integer(stack);
        self.status
            .set(self.status.get() & !STATUS_FLAGS | flags & STATUS_FLAGS);
        Ok(())
    }

    /// Sets the stack pointer.
    pub fn set_stack(&self, value: u64) {
        self.rcsp.set_integer(value);
    }

    /// Sets the thread pointer.
    pub fn set_thread_pointer(&self, value: u64) {
        self.rctpidr.set_integer(value);
    }

    /// Sets argument register 0 to 7.
    pub fn set_argument(&self, index: usize, value: Register<'_>) {
        assert!(index < ARGUMENTS, "there is no argument register {index}");
        self.registers[index].set(value);
    }

    /// Sets arguments 0 to 5 to those of another frame, without a tag; whether there was a capability among them.
    #[inline]
    pub fn pass(&self, from: &Frame) -> bool {
        let tags: u64;
        // SAFETY: copies six live, aligned slots; the function changes the registers that are named and no others.
        unsafe {
            asm!(
                "bl {pass}",
                pass = sym intravisor_frame_pass,
                inout("x0") from.registers[0].pointer() => tags,
                in("x1") self.registers[0].pointer(),
                out("x2") _,
                out("x9") _,
                out("x10") _,
                out("x11") _,
                out("x12") _,
                out("x13") _,
                out("x14") _,
                out("x30") _,
                options(nostack),
            );
        }
        tags != 0
    }

    /// Sets the register that a hostcall's number is passed in.
    pub fn set_number(&self, number: u64) {
        self.registers[NUMBER].set_integer(number);
    }

    /// Forgets every register, and what was prepared, so that no authority and no data stay behind.
    pub fn clear(&self) {
        self.forget();
        self.prepared.iter().for_each(Slot::clear);
        for word in [
            &self.status,
            &self.fresh,
            &self.cause,
            &self.address,
            &self.prepared_status,
        ] {
            word.set(0);
        }
        self.start_code.set(None);
        float::forget(self);
    }

    /// Forgets every register, but not what was prepared, and no vector register.
    pub fn forget(&self) {
        // SAFETY: the slots from c0 to CID_EL0 follow each other, alive and aligned.
        unsafe { intravisor_frame_forget(self.registers[0].pointer()) }
    }

    /// Number of the hostcall.
    #[inline]
    pub fn number(&self) -> u64 {
        self.registers[NUMBER].integer()
    }

    /// Hostcall argument 0 to 5 as an integer.
    #[inline]
    pub fn argument(&self, index: usize) -> u64 {
        self.registers[index].integer()
    }

    /// Hostcall argument 0 to 5 as it is.
    #[inline]
    pub fn argument_slot(&self, index: usize) -> &Slot {
        &self.registers[index]
    }

    /// Hostcall argument 0 to 5 as a pointer: the capability that it goes through, and its absolute address. An argument
    /// with a tag is a capability and goes through itself, an integer goes through DDC.
    pub fn pointer(&self, index: usize) -> (&Slot, u64) {
        user::through(&self.registers[index], &self.rddc)
    }

    /// Sets the first result register.
    #[inline]
    pub fn set_result(&self, value: u64) {
        self.registers[0].set_integer(value);
    }

    /// Sets the first result register to a capability.
    pub fn set_result_capability(&self, value: &Slot) {
        self.registers[0].copy_from(value);
    }

    /// Sets the second result register.
    pub fn set_second(&self, value: u64) {
        self.registers[1].set_integer(value);
    }

    /// The capability through which the program's integer addresses go.
    #[inline]
    pub fn data(&self) -> &Slot {
        &self.rddc
    }

    /// The program counter.
    pub fn code(&self) -> &Slot {
        &self.pcc
    }

    /// Absolute address of the next instruction.
    pub fn pc(&self) -> u64 {
        self.pcc.integer()
    }

    /// The program's frame pointer: its address, where it is a capability.
    pub fn frame_pointer(&self) -> u64 {
        self.registers[FRAME].integer()
    }

    /// Moves the program counter within the bounds of its capability.
    pub(crate) fn set_pc(&self, address: u64) {
        self.pcc.set_address(address);
    }

    pub(super) fn cause(&self) -> u64 {
        self.cause.get()
    }

    /// Takes note of FAR_EL1, before a refused copy of the monitor overwrites it.
    pub(super) fn note_fault_address(&self) {
        let address: u64;
        // SAFETY: reads a register.
        unsafe { asm!("mrs {address}, far_el1", address = out(reg) address, options(nostack, nomem)) };
        self.address.set(address);
    }

    pub(super) fn fault_address(&self) -> u64 {
        self.address.get()
    }

    pub(super) fn status(&self) -> u64 {
        self.status.get()
    }

    /// Whether the program was in C64 state, in which a base register is a capability.
    pub(super) fn capability_mode(&self) -> bool {
        self.status.get() & STATUS_C64 != 0
    }

    /// A general register.
    pub(super) fn register(&self, number: usize) -> &Slot {
        &self.registers[number]
    }

    /// Stack pointer, DDC and thread pointer.
    pub(super) fn restricted(&self) -> [&Slot; 3] {
        [&self.rcsp, &self.rddc, &self.rctpidr]
    }

    /// The program counter is one of C64 code.
    pub(super) fn set_capability_mode(&self) {
        self.status.set(STATUS_C64);
    }

    /// For the monitor's own frame, when a copy was refused: the monitor's registers hold integers, and besides them what is
    /// left of a cVM's capabilities, the refused one and those that nothing has overwritten since the trap. The integers
    /// stay, no capability does.
    pub(crate) fn forget_capabilities(&self) {
        for register in &self.registers {
            register.set_integer(register.integer());
        }
    }

    /// The code capability that the thread was started with: a far jump leaves an untagged PCC with bounds that mean
    /// nothing.
    pub(super) fn start_code(&self) -> Option<Decoded> {
        self.start_code.get()
    }

    pub(super) fn float(&self) -> &FloatState {
        &self.float
    }

    /// Name and slot of a register as a base of loads and stores has its number: 31 is the stack pointer.
    pub(super) fn base_register(&self, number: usize) -> (&'static str, &Slot) {
        match self.registers.get(number) {
            Some(slot) => (REGISTER_NAMES[number], slot),
            None => ("csp", &self.rcsp),
        }
    }

    fn named(&self) -> impl Iterator<Item = (&'static str, &Slot)> {
        let special = [
            ("csp", &self.rcsp),
            ("ddc", &self.rddc),
            ("ctpidr", &self.rctpidr),
            ("ctpidrro", &self.ctpidrro),
            ("cid", &self.cid),
        ];
        core::iter::once(("pcc", &self.pcc))
            .chain(REGISTER_NAMES.into_iter().zip(&self.registers))
            .chain(special)
    }

    /// The slots by which hostcall arguments and integer pointers reach memory, as [`Frame::reaching`] numbers them.
    pub const AUTHORITIES: u64 = 0x3f | 1 << 33;

    /// Which of [`Frame::slots`], a bit each, hold a capability whose bounds reach a range; with `take` they are cleared.
    pub fn reaching(&self, range: &Range<u64>, take: bool) -> u64 {
        let (first, last) = (self.registers[0].pointer(), self.cid.pointer());
        // SAFETY: works on the live, aligned slots from the first to the last, which follow each other.
        unsafe { intravisor_reaching(first, last.wrapping_add(2), range.start, range.end, take) }
    }

    /// Every slot that holds a register of the program.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        let special = [
            &self.pcc,
            &self.rcsp,
            &self.rddc,
            &self.rctpidr,
            &self.ctpidrro,
            &self.cid,
        ];
        self.registers.iter().chain(special)
    }

    /// Name and contents of every register that can hold a capability, for reports.
    pub fn registers(&self) -> impl Iterator<Item = (&'static str, Decoded)> + '_ {
        self.named().map(|(name, slot)| (name, slot.decoded()))
    }
}

/// Names of the general registers.
const REGISTER_NAMES: [&str; 31] = [
    "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11", "c12", "c13", "c14", "c15", "c16", "c17",
    "c18", "c19", "c20", "c21", "c22", "c23", "c24", "c25", "c26", "c27", "c28", "c29", "c30",
];
