//! Register frames of the stand-in: the registers that the kernel looks at, and ways for a test to set them.

use super::Handler;
use super::slot::Slot;
use crate::types::{Derivation, DeriveError, Trap};
use alloc::boxed::Box;
use capability::Decoded;
use std::sync::{Mutex, PoisonError};

const ARGUMENTS: usize = 6;

/// The register state of one thread.
pub struct Frame {
    code: Slot,
    data: Slot,
    number: Slot,
    arguments: [Slot; ARGUMENTS],
    stack: Slot,
    thread_pointer: Slot,
    trap: Mutex<Trap>,
}

impl Frame {
    /// A frame for a thread of a cVM.
    ///
    /// # Errors
    /// None on the host.
    pub fn boxed(_monitor_data: &Slot, _handler: Handler) -> Result<Box<Frame>, DeriveError> {
        Ok(Box::new(Frame {
            code: Slot::null(),
            data: Slot::null(),
            number: Slot::null(),
            arguments: [const { Slot::null() }; ARGUMENTS],
            stack: Slot::null(),
            thread_pointer: Slot::null(),
            trap: Mutex::new(Trap::Hostcall),
        }))
    }

    /// Prepares the start of a hybrid program.
    ///
    /// # Errors
    /// When `entry` is outside of `code`.
    pub fn start(
        &self,
        code: &Slot,
        data: &Slot,
        entry: u64,
        stack: u64,
        thread_pointer: u64,
        arguments: [u64; 2],
    ) -> Result<(), DeriveError> {
        self.clear();
        let bounds = code.decoded();
        let length = (bounds.top - u128::from(bounds.base)) as u64;
        let request = Derivation {
            base: bounds.base,
            length,
            permissions: bounds.permissions,
            address: entry,
        };
        self.code.derive(code, &request)?;
        self.data.copy_from(data);
        self.stack.set_integer(stack);
        self.thread_pointer.set_integer(thread_pointer);
        self.arguments[0].set_integer(arguments[0]);
        self.arguments[1].set_integer(arguments[1]);
        Ok(())
    }

    /// Forgets every register.
    pub fn clear(&self) {
        self.registers_iter().for_each(|(_, slot)| slot.clear());
    }

    /// For a test: what the program asks for with its next hostcall.
    pub fn set_hostcall(&self, number: u64, arguments: [u64; ARGUMENTS]) {
        self.number.set_integer(number);
        for (slot, value) in self.arguments.iter().zip(arguments) {
            slot.set_integer(value);
        }
    }

    /// For a test: why the processor will have left the program.
    pub fn set_trap(&self, trap: Trap) {
        *self.trap.lock().unwrap_or_else(PoisonError::into_inner) = trap;
    }

    /// Why the processor left the program that this frame belongs to.
    pub fn trap(&self) -> Trap {
        *self.trap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of the hostcall.
    pub fn number(&self) -> u64 {
        self.number.decoded().address
    }

    /// Hostcall argument 0 to 5 as an integer.
    pub fn argument(&self, index: usize) -> u64 {
        self.arguments[index].decoded().address
    }

    /// Sets the first result register.
    pub fn set_result(&self, value: u64) {
        self.arguments[0].set_integer(value);
    }

    /// The capability through which the program's integer addresses go.
    pub fn data(&self) -> &Slot {
        &self.data
    }

    /// The program counter.
    pub fn code(&self) -> &Slot {
        &self.code
    }

    /// Absolute address of the next instruction.
    pub fn pc(&self) -> u64 {
        self.code.decoded().address
    }

    /// The stand-in has no frame pointer.
    pub fn frame_pointer(&self) -> u64 {
        0
    }

    fn registers_iter(&self) -> impl Iterator<Item = (&'static str, &Slot)> {
        let arguments = ["a0", "a1", "a2", "a3", "a4", "a5"].into_iter().zip(&self.arguments);
        let others = [("pc", &self.code), ("data", &self.data), ("number", &self.number)];
        let others = others
            .into_iter()
            .chain([("stack", &self.stack), ("thread", &self.thread_pointer)]);
        others.chain(arguments)
    }

    /// Name and contents of every register that can hold a capability.
    pub fn registers(&self) -> impl Iterator<Item = (&'static str, Decoded)> + '_ {
        self.registers_iter().map(|(name, slot)| (name, slot.decoded()))
    }
}
