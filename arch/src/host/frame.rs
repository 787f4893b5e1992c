//! Register frames of the stand-in: the registers that the kernel looks at, and ways for a test to set them.

use super::slot::Slot;
use crate::types::{Derivation, DeriveError, Register, Start, Trap};
use crate::user;
use abi::hostcall::REGISTERS;
use alloc::boxed::Box;
use capability::{Decoded, Permissions, Seal};
use core::ops::Range;

/// Registers that arguments are passed in.
const ARGUMENTS: usize = 8;
/// Arguments of a hostcall.
const HOSTCALL_ARGUMENTS: usize = 6;

/// The register state of one thread.
pub struct Frame {
    code: Slot,
    data: Slot,
    number: Slot,
    arguments: [Slot; ARGUMENTS],
    stack: Slot,
    thread_pointer: Slot,
    spare: Slot,
    /// What a handler begins every call with: program counter, data, stack, thread pointer, spare register.
    prepared: [Slot; 5],
}

impl Frame {
    /// A frame for a thread of a cVM.
    ///
    /// # Errors
    /// None on the host.
    pub fn boxed(_monitor_data: &Slot) -> Result<Box<Frame>, DeriveError> {
        Ok(Box::new(Frame {
            code: Slot::null(),
            data: Slot::null(),
            number: Slot::null(),
            arguments: [const { Slot::null() }; ARGUMENTS],
            stack: Slot::null(),
            thread_pointer: Slot::null(),
            spare: Slot::null(),
            prepared: [const { Slot::null() }; 5],
        }))
    }

    /// Prepares the start of a program.
    ///
    /// # Errors
    /// When the entry is outside of the code's bounds.
    pub fn start(&self, start: &Start<'_>) -> Result<(), DeriveError> {
        self.clear();
        begin(start, &self.code, &self.data)?;
        self.stack.set(start.stack);
        self.thread_pointer.set(start.thread);
        Ok(())
    }

    /// Prepares what a handler starts every call with.
    ///
    /// # Errors
    /// When the entry is outside of the code's bounds.
    pub fn prepare(&self, start: &Start<'_>, spare: Option<&Slot>) -> Result<(), DeriveError> {
        self.clear();
        let [code, data, stack, thread, prepared_spare] = &self.prepared;
        begin(start, code, data)?;
        stack.set(start.stack);
        thread.set(start.thread);
        if let Some(spare) = spare {
            prepared_spare.copy_from(spare);
        }
        Ok(())
    }

    /// The handler begins with what was prepared and with the arguments that are set from now on.
    pub fn renew(&self) {
        self.forget();
        let registers = [&self.code, &self.data, &self.stack, &self.thread_pointer, &self.spare];
        for (register, prepared) in registers.into_iter().zip(&self.prepared) {
            register.copy_from(prepared);
        }
    }

    /// Prepares a thread that `creator` asks for with its hostcall arguments 0 to 3.
    ///
    /// # Errors
    /// When the entry cannot be executed.
    pub fn spawn(&self, creator: &Frame) -> Result<(), DeriveError> {
        self.clear();
        let [entry, stack, thread, argument] = [0, 1, 2, 3].map(|index| creator.argument_slot(index));
        if entry.tag() {
            self.code.copy_from(entry);
        } else {
            self.code.copy_from(&creator.code);
            self.code.set_address(entry.integer());
        }
        let code = self.code.decoded();
        let sealed = code.seal.is_sealed() && code.seal != Seal::Sentry;
        if !code.tag || sealed || !code.permissions.contains(Permissions::EXECUTE) || !code.in_bounds(code.address, 2) {
            self.code.clear();
            return Err(DeriveError::Permissions);
        }
        self.data.copy_from(&creator.data);
        self.stack.copy_from(stack);
        self.thread_pointer.copy_from(thread);
        self.arguments[0].copy_from(argument);
        Ok(())
    }

    /// Makes this thread's registers those of another thread, which made a hostcall.
    pub fn copy_from(&self, from: &Frame) {
        self.clear();
        for (to, from) in self.slots().zip(from.slots()) {
            to.copy_from(from);
        }
    }

    /// Program counter, stack pointer, thread pointer and data: what a gate saves.
    pub(super) fn saved(&self) -> [&Slot; 4] {
        [&self.code, &self.stack, &self.thread_pointer, &self.data]
    }

    /// The integers in its registers: program counter, stack pointer, thread pointer, arguments.
    pub fn integers(&self) -> [u64; REGISTERS] {
        let mut words = self.saved_integers().map(Slot::integer);
        core::array::from_fn(|_| words.next().unwrap_or_default())
    }

    /// Sets them.
    ///
    /// # Errors
    /// When it could not go on there: nothing has changed then.
    pub fn set_integers(&self, words: &[u64; REGISTERS]) -> Result<(), DeriveError> {
        if !self.code.decoded().in_bounds(words[0], 2) {
            return Err(DeriveError::OutOfBounds);
        }
        self.code.set_address(words[0]);
        for (register, word) in self.saved_integers().zip(words).skip(1) {
            register.set_integer(*word);
        }
        Ok(())
    }

    fn saved_integers(&self) -> impl Iterator<Item = &Slot> {
        [&self.code, &self.stack, &self.thread_pointer]
            .into_iter()
            .chain(&self.arguments)
    }

    /// Sets the stack pointer.
    pub fn set_stack(&self, value: u64) {
        self.stack.set_integer(value);
    }

    /// Sets the thread pointer.
    pub fn set_thread_pointer(&self, value: u64) {
        self.thread_pointer.set_integer(value);
    }

    /// Forgets every register, and what was prepared.
    pub fn clear(&self) {
        self.forget();
        self.prepared.iter().for_each(Slot::clear);
    }

    /// Forgets every register, but not what was prepared.
    pub fn forget(&self) {
        self.slots().for_each(Slot::clear);
    }

    /// Sets arguments 0 to 5 to those of another frame, without a tag; whether there was a capability among them.
    pub fn pass(&self, from: &Frame) -> bool {
        let pairs = self.arguments.iter().zip(&from.arguments).take(HOSTCALL_ARGUMENTS);
        pairs.fold(false, |tagged, (to, from)| {
            to.set_integer(from.integer());
            tagged | from.tag()
        })
    }

    /// For a test: what the program asks for with its next hostcall.
    pub fn set_hostcall(&self, number: u64, arguments: [u64; HOSTCALL_ARGUMENTS]) {
        self.number.set_integer(number);
        for (slot, value) in self.arguments.iter().zip(arguments) {
            slot.set_integer(value);
        }
    }

    /// Nothing: no trap ever comes on the host.
    pub fn trap(&self) -> Trap {
        Trap::Settled
    }

    /// Number of the hostcall.
    pub fn number(&self) -> u64 {
        self.number.decoded().address
    }

    /// Hostcall argument 0 to 5 as an integer.
    pub fn argument(&self, index: usize) -> u64 {
        self.arguments[index].decoded().address
    }

    /// Hostcall argument 0 to 5 as it was passed.
    pub fn argument_slot(&self, index: usize) -> &Slot {
        &self.arguments[index]
    }

    /// Hostcall argument 0 to 5 as a pointer: the capability that authorises the access, and the absolute address.
    pub fn pointer(&self, index: usize) -> (&Slot, u64) {
        user::through(&self.arguments[index], &self.data)
    }

    /// Lets the thread use floating point registers, of which the stand-in has none.
    pub fn allow_float(&self) {}

    /// There are none here.
    pub fn close_float(&self) {}

    /// Sets argument register 0 to 7.
    pub fn set_argument(&self, index: usize, value: Register<'_>) {
        self.arguments[index].set(value);
    }

    /// Sets the register with the hostcall number.
    pub fn set_number(&self, value: u64) {
        self.number.set_integer(value);
    }

    /// Sets the first result register.
    pub fn set_result(&self, value: u64) {
        self.arguments[0].set_integer(value);
    }

    /// Sets the first result register to a capability.
    pub fn set_result_capability(&self, capability: &Slot) {
        self.arguments[0].copy_from(capability);
    }

    /// Sets the second result register.
    pub fn set_second(&self, value: u64) {
        self.arguments[1].set_integer(value);
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

    /// Moves the program counter within the bounds of its capability: nobody is in the switcher here.
    pub(crate) fn set_pc(&self, _address: u64) {}

    /// The stand-in has no frame pointer.
    pub fn frame_pointer(&self) -> u64 {
        0
    }

    fn registers_iter(&self) -> impl Iterator<Item = (&'static str, &Slot)> {
        let arguments = ["a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7"]
            .into_iter()
            .zip(&self.arguments);
        let others = [("pc", &self.code), ("data", &self.data), ("number", &self.number)];
        let others = others.into_iter().chain([
            ("stack", &self.stack),
            ("thread", &self.thread_pointer),
            ("spare", &self.spare),
        ]);
        others.chain(arguments)
    }

    /// The slots by which hostcall arguments and integer pointers reach memory, as [`Frame::reaching`] numbers them.
    pub const AUTHORITIES: u64 = 0x3f << 6 | 1 << 1;

    /// Which of [`Frame::slots`], a bit each, hold a capability whose bounds reach a range; with `take` they are cleared.
    pub fn reaching(&self, range: &Range<u64>, take: bool) -> u64 {
        let found = |(index, slot): (usize, &Slot)| {
            let reaches = slot.reaches(range);
            if reaches && take {
                slot.clear();
            }
            u64::from(reaches) << index
        };
        self.slots().enumerate().map(found).sum()
    }

    /// Every slot that holds a register of the program.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.registers_iter().map(|(_, slot)| slot)
    }

    /// Name and contents of every register that can hold a capability.
    pub fn registers(&self) -> impl Iterator<Item = (&'static str, Decoded)> + '_ {
        self.registers_iter().map(|(name, slot)| (name, slot.decoded()))
    }
}

/// Makes the program counter, and the data capability where the program has one.
fn begin(start: &Start<'_>, code: &Slot, data: &Slot) -> Result<(), DeriveError> {
    let bounds = start.code.decoded();
    let request = Derivation {
        base: bounds.base,
        length: (bounds.top - u128::from(bounds.base)) as u64,
        permissions: bounds.permissions,
        address: start.entry,
    };
    match start.data {
        Some(from) => {
            code.derive(start.code, &request)?;
            data.copy_from(from);
        }
        None => code.derive_purecap(start.code, &request)?,
    }
    Ok(())
}
