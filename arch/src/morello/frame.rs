//! Register frames: where a thread's registers are while it does not run. The trap entry fills them by capability
//! stores; their layout is what the assembly gets its offsets from.

use super::float::{self, FloatState};
use super::slot::Slot;
use super::trap::Handler;
use crate::types::{Derivation, DeriveError, Register, Start};
use alloc::boxed::Box;
use capability::Decoded;
use core::cell::Cell;
use core::mem::offset_of;

/// SPSR_EL1: the program was in C64 state.
const STATUS_C64: u64 = 1 << 26;
/// What of SPSR_EL1 a cVM keeps: condition flags and C64. The rest is 0: EL0, AArch64, no interrupt masked.
pub(super) const STATUS_MASK: u64 = 0xf000_0000 | STATUS_C64;
/// Number of arguments that a program can be started with.
const ARGUMENTS: usize = 8;
/// Number of the register with the hostcall number.
const NUMBER: usize = 8;
/// Number of the spare register.
const SPARE: usize = 9;
/// Number of the frame pointer.
const FRAME: usize = 29;

/// The whole register state of one thread. A cVM runs Restricted: its stack pointer, DDC and thread pointer are those of
/// the Restricted bank. Those of the Executive bank are kept, too, and NULL: no cVM can reach them.
#[repr(C, align(16))]
pub struct Frame {
    /// SPSR_EL1.
    status: Cell<u64>,
    /// ESR_EL1, or what stands for it, and FAR_EL1.
    cause: Cell<u64>,
    address: Cell<u64>,
    /// Top of the stack on which a trap out of this frame is handled, and what handles it.
    stack: Cell<u64>,
    handler: Cell<Option<Handler>>,
    /// The monitor's own frame: the stack pointer of what faulted.
    interrupted_sp: Cell<u64>,
    /// c0 to c30.
    registers: [Slot; 31],
    /// CELR_EL1.
    pcc: Slot,
    rcsp: Slot,
    rddc: Slot,
    csp: Slot,
    ddc: Slot,
    ctpidr: Slot,
    rctpidr: Slot,
    ctpidrro: Slot,
    cid: Slot,
    /// The code capability that the thread was started with, to look at.
    start_code: Cell<Option<Decoded>>,
    float: FloatState,
}

// SAFETY: frames are touched by one processor, with interrupts masked.
unsafe impl Sync for Frame {}

impl Frame {
    pub(super) const REGISTERS: usize = offset_of!(Frame, registers);
    pub(super) const RCSP: usize = offset_of!(Frame, rcsp);
    pub(super) const RDDC: usize = offset_of!(Frame, rddc);
    pub(super) const CSP: usize = offset_of!(Frame, csp);
    pub(super) const CTPIDR: usize = offset_of!(Frame, ctpidr);
    pub(super) const CTPIDRRO: usize = offset_of!(Frame, ctpidrro);
    pub(super) const STATUS: usize = offset_of!(Frame, status);
    pub(super) const CAUSE: usize = offset_of!(Frame, cause);
    pub(super) const STACK: usize = offset_of!(Frame, stack);
    pub(super) const INTERRUPTED_SP: usize = offset_of!(Frame, interrupted_sp);

    pub(super) const fn empty() -> Frame {
        Frame {
            registers: [const { Slot::null() }; 31],
            pcc: Slot::null(),
            rcsp: Slot::null(),
            rddc: Slot::null(),
            csp: Slot::null(),
            ddc: Slot::null(),
            ctpidr: Slot::null(),
            rctpidr: Slot::null(),
            ctpidrro: Slot::null(),
            cid: Slot::null(),
            status: Cell::new(0),
            cause: Cell::new(0),
            address: Cell::new(0),
            stack: Cell::new(0),
            handler: Cell::new(None),
            interrupted_sp: Cell::new(0),
            start_code: Cell::new(None),
            float: FloatState::zero(),
        }
    }

    /// A frame for a thread of a cVM, and what handles the traps out of it. The trap entry reaches it through the
    /// monitor's DDC.
    ///
    /// # Errors
    /// None on this architecture.
    pub fn boxed(_monitor_data: &Slot, handler: Handler) -> Result<Box<Frame>, DeriveError> {
        let frame = Box::new(Frame::empty());
        frame.attach(super::stack_top(), handler);
        Ok(frame)
    }

    /// Sets the stack that traps out of this frame are handled on, and what handles them.
    pub(super) fn attach(&self, stack: u64, handler: Handler) {
        self.stack.set(stack);
        self.handler.set(Some(handler));
    }

    /// Prepares the start of a program: every register NULL but the program counter, DDC, the stack pointer and the
    /// thread pointer. It starts in C64 state when it is purecap or bit 0 of its entry is set.
    ///
    /// # Errors
    /// When the entry is outside of the code.
    pub fn start(&self, start: &Start<'_>) -> Result<(), DeriveError> {
        self.clear();
        let bounds = start.code.decoded();
        self.pcc.derive(
            start.code,
            &Derivation {
                base: bounds.base,
                length: (bounds.top - u128::from(bounds.base)) as u64,
                permissions: bounds.permissions,
                address: start.entry & !1,
            },
        )?;
        self.start_code.set(Some(self.pcc.decoded()));
        if start.data.is_none() || start.entry & 1 == 1 {
            self.status.set(STATUS_C64);
        }
        if let Some(data) = start.data {
            self.rddc.copy_from(data);
        }
        self.rcsp.set(start.stack);
        self.rctpidr.set(start.thread);
        Ok(())
    }

    /// Sets argument register 0 to 7.
    pub fn set_argument(&self, index: usize, value: Register<'_>) {
        assert!(index < ARGUMENTS, "there is no argument register {index}");
        self.registers[index].set(value);
    }

    /// Sets the register that a hostcall's number is passed in.
    pub fn set_number(&self, number: u64) {
        self.registers[NUMBER].set_integer(number);
    }

    /// Puts a capability into c9, which plays no role in a call.
    pub fn set_spare(&self, capability: &Slot) {
        self.registers[SPARE].copy_from(capability);
    }

    /// Forgets every register, so that no authority and no data stay behind.
    pub fn clear(&self) {
        self.slots().for_each(|(_, slot)| slot.clear());
        self.status.set(0);
        self.cause.set(0);
        self.address.set(0);
        self.start_code.set(None);
        float::forget(self);
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
        let argument = &self.registers[index];
        let authority = if argument.tag() { argument } else { &self.rddc };
        (authority, argument.integer())
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
    pub(super) fn set_pc(&self, address: u64) {
        self.pcc.set_address(address);
    }

    pub(super) fn cause(&self) -> u64 {
        self.cause.get()
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

    /// For the monitor's own frame, when a copy was refused: the monitor's registers hold integers, and besides them what is
    /// left of a cVM's capabilities, the refused one and those that nothing has overwritten since the trap. The integers
    /// stay, no capability does.
    pub(super) fn forget_capabilities(&self) {
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

    fn slots(&self) -> impl Iterator<Item = (&'static str, &Slot)> {
        let special = [
            ("csp", &self.rcsp),
            ("ddc", &self.rddc),
            ("ctpidr", &self.rctpidr),
            ("ctpidrro", &self.ctpidrro),
            ("cid", &self.cid),
            ("executive csp", &self.csp),
            ("executive ddc", &self.ddc),
            ("executive ctpidr", &self.ctpidr),
        ];
        core::iter::once(("pcc", &self.pcc))
            .chain(REGISTER_NAMES.into_iter().zip(&self.registers))
            .chain(special)
    }

    /// Name and contents of every register that can hold a capability, for reports and sweeps.
    pub fn registers(&self) -> impl Iterator<Item = (&'static str, Decoded)> + '_ {
        self.slots().map(|(name, slot)| (name, slot.decoded()))
    }
}

/// Names of the general registers.
const REGISTER_NAMES: [&str; 31] = [
    "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11", "c12", "c13", "c14", "c15", "c16", "c17",
    "c18", "c19", "c20", "c21", "c22", "c23", "c24", "c25", "c26", "c27", "c28", "c29", "c30",
];
