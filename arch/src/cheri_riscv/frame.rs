//! Register frames: where a thread's registers are while it does not run. The trap entry fills them by capability
//! stores; their layout is what the assembly gets its offsets from.

use super::slot::{Kind, Slot};
use super::trap::Handler;
use super::{user, variant};
use crate::types::{Derivation, DeriveError, Register, Start};
use alloc::boxed::Box;
use capability::Decoded;
use core::cell::Cell;
use core::mem::{offset_of, size_of};

/// Privilege mode bits of `mstatus` that tell where a trap came from (MPP); 0 = U-mode.
const STATUS_MPP: u64 = 3 << 11;
/// Number of the argument registers' first one (`a0`).
const ARGUMENT: usize = 10;
/// Number of the register with the hostcall number (`a7`).
const NUMBER: usize = 17;
/// Number of the stack pointer.
const STACK: usize = 2;
/// Number of the thread pointer.
const THREAD: usize = 4;
/// Number of the register in which a hybrid handler finds the capability over its service stack (`t0`).
const SPARE: usize = 5;
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
    /// Authority over the monitor's own frame, for MScratchC while the monitor runs.
    nested: Slot,
    cause: Cell<u64>,
    value: Cell<u64>,
    status: Cell<u64>,
    /// This frame as the monitor's pointers count.
    pointer: Cell<u64>,
    /// Top of the stack on which a trap out of this frame is handled.
    stack: Cell<u64>,
    /// What handles it.
    handler: Cell<Option<Handler>>,
}

// SAFETY: frames are touched by one hart, with interrupts off.
unsafe impl Sync for Frame {}

impl Frame {
    pub(super) const PCC: usize = offset_of!(Frame, registers);
    pub(super) const DDC: usize = offset_of!(Frame, ddc);
    pub(super) const OWN: usize = offset_of!(Frame, own);
    pub(super) const NESTED: usize = offset_of!(Frame, nested);
    pub(super) const CAUSE: usize = offset_of!(Frame, cause);
    pub(super) const VALUE: usize = offset_of!(Frame, value);
    pub(super) const STATUS: usize = offset_of!(Frame, status);
    pub(super) const POINTER: usize = offset_of!(Frame, pointer);
    pub(super) const STACK: usize = offset_of!(Frame, stack);
    pub(super) const HANDLER: usize = offset_of!(Frame, handler);

    pub(super) const fn empty() -> Frame {
        Frame {
            registers: [const { Slot::null() }; 32],
            ddc: Slot::null(),
            own: Slot::null(),
            nested: Slot::null(),
            cause: Cell::new(0),
            value: Cell::new(0),
            status: Cell::new(0),
            pointer: Cell::new(0),
            stack: Cell::new(0),
            handler: Cell::new(None),
        }
    }

    /// A frame for a thread of a cVM, whose traps `handler` handles. `monitor_data` is the monitor's data capability, from which the frame's own
    /// authority (bounds: this frame) is derived.
    ///
    /// # Errors
    /// When the capability over the frame cannot be derived.
    pub fn boxed(monitor_data: &Slot, handler: Handler) -> Result<Box<Frame>, DeriveError> {
        let frame = Box::new(Frame::empty());
        frame.attach(monitor_data, super::stack_top(), handler)?;
        Ok(frame)
    }

    /// Gives a pinned frame its own authority, and the handler of traps out of it with the stack that it runs on.
    pub(super) fn attach(&self, monitor_data: &Slot, stack: u64, handler: Handler) -> Result<(), DeriveError> {
        let base = variant::physical(self);
        self.own.derive(
            monitor_data,
            &Derivation {
                base,
                length: size_of::<Frame>() as u64,
                permissions: super::slot::monitor_data_permissions(),
                address: base,
            },
        )?;
        self.nested.copy_from(&super::MONITOR_FRAME.own);
        self.pointer.set(self as *const Frame as u64);
        self.stack.set(stack);
        self.handler.set(Some(handler));
        Ok(())
    }

    /// For the monitor's own frame: a fault while a fault of the monitor is handled is saved here as well.
    pub(super) fn set_nested_to_own(&self) {
        self.nested.copy_from(&self.own);
    }

    /// Prepares the start of a program: every register NULL but the program counter, DDC, the stack pointer and the
    /// thread pointer. Without a data capability the program starts in capability mode.
    ///
    /// # Errors
    /// When the entry is outside of the code's bounds.
    pub fn start(&self, start: &Start<'_>) -> Result<(), DeriveError> {
        self.clear();
        let bounds = start.code.decoded();
        let request = Derivation {
            base: bounds.base,
            length: (bounds.top - u128::from(bounds.base)) as u64,
            permissions: bounds.permissions,
            address: start.entry,
        };
        match start.data {
            Some(data) => {
                self.registers[0].derive_as(start.code, &request, Kind::Hybrid)?;
                self.ddc.copy_from(data);
            }
            None => self.registers[0].derive_as(start.code, &request, Kind::Purecap)?,
        }
        self.set(STACK, start.stack);
        self.set(THREAD, start.thread);
        self.status.set(0);
        self.cause.set(0);
        self.value.set(0);
        Ok(())
    }

    /// Forgets every register, so that no authority stays behind.
    pub fn clear(&self) {
        for register in &self.registers {
            register.clear();
        }
        self.ddc.clear();
    }

    fn integer(&self, register: usize) -> u64 {
        // SAFETY: the slot is alive and aligned; integers are the low word of a register.
        unsafe { self.registers[register].pointer().read() }
    }

    fn set(&self, register: usize, value: Register<'_>) {
        match value {
            Register::Integer(value) => self.registers[register].set_integer(value),
            Register::Capability(capability) => self.registers[register].copy_from(capability),
        }
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
        let argument = &self.registers[ARGUMENT + index];
        let address = self.integer(ARGUMENT + index);
        if argument.tag() {
            (argument, address)
        } else {
            (&self.ddc, user::absolute(&self.ddc, address))
        }
    }

    /// Sets argument register 0 to 7. Number 7 is the register of the hostcall number, too.
    pub fn set_argument(&self, index: usize, value: Register<'_>) {
        self.set(ARGUMENT + index, value);
    }

    /// Sets the register with the hostcall number.
    pub fn set_number(&self, value: u64) {
        self.registers[NUMBER].set_integer(value);
    }

    /// Sets the register in which a hybrid handler finds the capability over its service stack: its DDC does not let
    /// it store local capabilities.
    pub fn set_spare(&self, capability: &Slot) {
        self.registers[SPARE].copy_from(capability);
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
        if self.code().decoded().capability_mode {
            0
        } else {
            self.integer(FRAME)
        }
    }

    /// Moves the program counter within the bounds of its capability.
    pub(super) fn set_pc(&self, address: u64) {
        let slot = self.registers[0].pointer();
        // SAFETY: the slot is alive; the capability is unsealed (it was PCC) and the register is cleared.
        unsafe {
            core::arch::asm!(
                ".insn i 0x0f, 2, x6, 0({slot})",              // LC c6, 0(slot)
                ".insn r 0x5b, 0, 0x10, x6, x6, {address}",    // CSetAddr
                ".insn s 0x23, 4, x6, 0({slot})",              // SC c6, 0(slot)
                "li x6, 0",
                slot = in(reg) slot,
                address = in(reg) address,
                out("x6") _,
                options(nostack),
            );
        }
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
    pub(super) fn forget_capabilities(&self) {
        for register in 1..self.registers.len() {
            self.registers[register].set_integer(self.integer(register));
        }
    }

    pub(super) fn register(&self, number: usize) -> &Slot {
        &self.registers[number]
    }

    /// Name and contents of every register that can hold a capability, for reports and sweeps.
    pub fn registers(&self) -> impl Iterator<Item = (&'static str, Decoded)> + '_ {
        REGISTER_NAMES
            .iter()
            .copied()
            .zip(self.registers.iter().map(Slot::decoded))
            .chain(core::iter::once(("ddc", self.ddc.decoded())))
    }
}

/// Names of the registers of a frame, index 0 = the program counter.
pub(super) const REGISTER_NAMES: [&str; 32] = [
    "pcc", "cra", "csp", "cgp", "ctp", "ct0", "ct1", "ct2", "cs0", "cs1", "ca0", "ca1", "ca2", "ca3", "ca4", "ca5",
    "ca6", "ca7", "cs2", "cs3", "cs4", "cs5", "cs6", "cs7", "cs8", "cs9", "cs10", "cs11", "ct3", "ct4", "ct5", "ct6",
];
