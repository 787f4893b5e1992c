//! Gates: functions of other cVMs, called without the monitor, and functions of this cVM that others call. A thread of the
//! caller goes on in the function, with the authority of the function's cVM, and comes back with its result.
//!
//! What is passed as a slice or a buffer arrives as a capability over exactly that, for data only. It is not gone when the call is
//! over, as what a served call lends is: the other cVM can keep it, in its registers and its local area, until this cVM ends.

use core::fmt::{self, Debug, Formatter};
use core::marker::PhantomData;

use abi::Hostcall;

use crate::buffer::{Places, local_authority};
use crate::capability::Slot;
use crate::{Buffer, Errno, arch};

/// Arguments of a call.
pub(crate) const ARGUMENTS: usize = 6;
/// Places of the local area that a token takes: a pair on CHERI-RISC-V, one capability on Morello.
const TOKEN: usize = if cfg!(target_arch = "riscv64") { 2 } else { 1 };

/// A gate of another cVM, as `calls:` in the manifest names it.
pub struct Gate {
    places: Places,
}

/// What is passed by a gate.
pub enum Argument<'a> {
    /// An integer.
    Integer(u64),
    /// Memory of this cVM, to be read.
    Read(&'a [u8]),
    /// Memory of this cVM, to be read and written.
    Write(&'a mut [u8]),
    /// A buffer, with what this cVM may do with it.
    Buffer(&'a Buffer),
}

impl From<u64> for Argument<'_> {
    fn from(value: u64) -> Self {
        Argument::Integer(value)
    }
}

impl<'a> From<&'a [u8]> for Argument<'a> {
    fn from(value: &'a [u8]) -> Self {
        Argument::Read(value)
    }
}

impl<'a> From<&'a mut [u8]> for Argument<'a> {
    fn from(value: &'a mut [u8]) -> Self {
        Argument::Write(value)
    }
}

impl<'a> From<&'a Buffer> for Argument<'a> {
    fn from(value: &'a Buffer) -> Self {
        Argument::Buffer(value)
    }
}

impl Gate {
    /// Finds the gate `cVM.function`. Waits until that cVM serves.
    ///
    /// # Errors
    /// As [`Hostcall::Gate`]; `ENOMEM` when the local area has no room for the token, which takes one place on Morello and two on
    /// CHERI-RISC-V.
    pub fn open(name: &str) -> Result<Gate, Errno> {
        let gate = Gate {
            places: Places::take(TOKEN as u32)?,
        };
        loop {
            let call = (Hostcall::Gate as u64, [name.as_ptr().addr() as u64, name.len() as u64]);
            let slots = gate.token();
            let first = arch::hostcall_for_token(call, local_authority(), slots);
            if gate.places.slot(0).shape().tagged {
                return Ok(gate);
            }
            // 0: it has waited until the gates opened.
            if let Some(errno) = Errno::from_result(first) {
                return Err(errno);
            }
        }
    }

    /// Calls the function with up to six arguments; its result.
    ///
    /// # Errors
    /// What the function returns as one. Besides: `EAGAIN` when as many are in it as it can have at a time, or its cVM does not serve
    /// yet; `ENOMEM` when this thread is in the middle of too many calls; `ECONNRESET` when the function's cVM has ended meanwhile;
    /// `ETIMEDOUT` when the call budget is used up; `ECONNREFUSED` when the function's cVM has ended for good; `EINVAL`, and nothing was
    /// called, when no capability covers just the bytes of an argument: beyond some KiB begin and end must be multiples of 8, or more.
    ///
    /// # Panics
    /// With more than six arguments.
    pub fn call(&self, arguments: &mut [Argument<'_>]) -> Result<u64, Errno> {
        let slots = [const { Slot::null() }; ARGUMENTS];
        let mut sources = [0; ARGUMENTS];
        for (source, slot) in sources.iter_mut().zip(&slots) {
            *source = slot.address();
        }
        for (index, argument) in arguments.iter_mut().enumerate() {
            let slot = &slots[index];
            match argument {
                Argument::Integer(value) => slot.set(*value),
                // There is nothing to point to.
                Argument::Read([]) | Argument::Write([]) => slot.set(0),
                Argument::Read(bytes) => slot.derive(bytes.as_ptr(), bytes.len(), false)?,
                Argument::Write(bytes) => slot.derive(bytes.as_mut_ptr(), bytes.len(), true)?,
                // Foreign, and at home in the local area only.
                Argument::Buffer(buffer) => sources[index] = buffer.slot().address(),
            }
        }
        let result = arch::call_gate(self.token(), &sources);
        Errno::from_result(result).map_or(Ok(result), Err)
    }

    /// Where code and data of the token lie; on Morello it is one capability.
    fn token(&self) -> [u64; 2] {
        [0, TOKEN - 1].map(|index| self.places.slot(index).address())
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        for index in 0..TOKEN {
            self.places.slot(index).clear();
        }
    }
}

impl Debug for Gate {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Gate").finish_non_exhaustive()
    }
}

/// What a function has been called with, on its stack, in the order in which its entry stores it.
#[doc(hidden)]
#[repr(C)]
pub struct Frame {
    arguments: [Slot; ARGUMENTS],
    back: [Slot; 2],
}

/// Memory that the caller of a function has passed to it. A function that is to outlive its call with it is none of Rust's: the
/// capability is cleared with the stack of the next call at the latest.
pub struct Foreign<'a> {
    slot: &'a Slot,
    _call: PhantomData<&'a ()>,
}

impl Foreign<'_> {
    /// Its bytes; 0 when the caller has passed none.
    pub fn size(&self) -> u64 {
        let shape = self.slot.shape();
        if shape.usable { shape.length } else { 0 }
    }

    /// Copies the bytes from `offset` on to `bytes`.
    ///
    /// # Errors
    /// `EFAULT` when the caller has not passed so many, or not to be read.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        self.slot.read(offset, bytes)
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Errors
    /// `EFAULT` when the caller has not passed so many, or not to be written.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.slot.write(offset, bytes)
    }
}

/// What a function can be called with.
#[doc(hidden)]
pub trait FromPassed<'a> {
    /// The argument with this number.
    fn from_passed(frame: &'a Frame, index: usize) -> Self;
}

impl FromPassed<'_> for u64 {
    fn from_passed(frame: &Frame, index: usize) -> u64 {
        frame.arguments[index].value()
    }
}

impl<'a> FromPassed<'a> for Foreign<'a> {
    fn from_passed(frame: &'a Frame, index: usize) -> Foreign<'a> {
        Foreign {
            slot: &frame.arguments[index],
            _call: PhantomData,
        }
    }
}

/// On the side of the cVM that offers it, makes a function a gate:
///
/// ```ignore
/// rt::gate! {
///     fn mean(values: rt::Foreign<'_>) -> Result<u64, Errno> { … }
/// }
/// ```
///
/// Its parameters, up to six, are `u64` or [`Foreign`]; it returns a `Result<u64, Errno>`. The manifest's `gates:` names it, and
/// `main` opens the gates by [`hostcall::serve`](crate::hostcall::serve). It runs on a stack of its own in a thread of its caller's,
/// at the same time as `main`, the cVM's threads and other callers. It may be stopped anywhere, when its caller's budget is used up or
/// its caller ends: locks that it holds stay locked. It has the thread-local storage of the main thread.
///
/// On the side of the caller, a type with one method, by which the gate is called with arguments of these types:
///
/// ```ignore
/// rt::gate!(struct Mean = "calculator.mean": fn(values: &[u8]));
/// let mean = Mean::open()?.call(&values)?;
/// ```
///
/// There the parameters are `u64`, `&[u8]`, `&mut [u8]` and `&Buffer`.
#[macro_export]
macro_rules! gate {
    ($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $result:ty $body:block) => {
        $(#[$doc])*
        unsafe extern "C" fn $name(frame: *const u8) -> u64 {
            fn function($($argument: $type),*) -> $result $body

            // SAFETY: the entry alone comes here, with the frame that it has made and that lies above the stack pointer until this
            // returns.
            let frame = unsafe { &*frame.cast::<$crate::GateFrame>() };
            let mut numbers = 0..;
            let mut next = || numbers.next().unwrap_or(0);
            let result: Result<u64, $crate::Errno> =
                function($(<$type as $crate::FromPassed<'_>>::from_passed(frame, next())),*);
            result.unwrap_or_else($crate::Errno::to_result)
        }
        $crate::export_gate!($name, $name);
    };
    ($(#[$doc:meta])* $visible:vis struct $stub:ident = $gate:literal: fn($($argument:ident: $type:ty),* $(,)?)) => {
        $(#[$doc])*
        #[derive(Debug)]
        $visible struct $stub($crate::Gate);

        impl $stub {
            /// Finds the gate.
            ///
            /// # Errors
            /// As [`rt::Gate::open`]($crate::Gate::open).
            $visible fn open() -> Result<$stub, $crate::Errno> {
                $crate::Gate::open($gate).map($stub)
            }

            /// Calls it.
            ///
            /// # Errors
            /// As [`rt::Gate::call`]($crate::Gate::call).
            $visible fn call(&self, $($argument: $type),*) -> Result<u64, $crate::Errno> {
                self.0.call(&mut [$($crate::Argument::from($argument)),*])
            }
        }
    };
}
