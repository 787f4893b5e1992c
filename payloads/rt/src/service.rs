//! Serving the hostcalls of other cVMs.

use abi::Hostcall;
use abi::hostcall::{END_CVM, END_THREAD, KEEP_STACK, KEEP_THREAD_POINTER, REGISTERS};
use abi::hostcall::{WAIT_ON, WITH_SECOND, WITH_STACK};

use crate::{Errno, arch, capability::Slot, hostcall};

/// Arguments of a hostcall.
const ARGUMENTS: usize = 6;

/// What `syscall_handler` leaves on the service stack, in the order of its stores.
#[repr(C)]
struct Frame {
    arguments: [Slot; ARGUMENTS],
    caller: u64,
    number: u64,
}

/// A hostcall of another cVM, while this one serves it. Capabilities among its arguments are lent: they reach the caller's
/// memory, and are gone when the call has been answered.
pub struct Call {
    frame: &'static Frame,
}

/// A hostcall of another cVM that is answered later, by any thread. Dropped, it is not answered: its caller gets `ETIMEDOUT` when
/// its budget is used up.
#[derive(Debug, PartialEq, Eq)]
pub struct Token(u64);

impl Token {
    /// Answers the call.
    ///
    /// # Errors
    /// `ENOENT` when nobody waits for it any more: the budget is used up, or the client has ended.
    ///
    /// # Panics
    /// With [`Answer::Delegate`] or [`Answer::Deferred`], which only a handler can give.
    pub fn answer(self, answer: impl Into<Answer>) -> Result<(), Errno> {
        let Some(words) = answer.into().words() else {
            panic!("a deferred call can only be answered");
        };
        hostcall::answer(self.0, words)
    }

    /// Lets the call of a raw client wait on, for so many nanoseconds from now (0 = for ever), and then get `late`.
    ///
    /// # Errors
    /// `ENOENT` when nobody waits for it any more.
    pub fn wait_on(&self, nanoseconds: u64, late: u64) -> Result<(), Errno> {
        hostcall::answer(self.0, [late, nanoseconds, WAIT_ON])
    }

    /// Stops a thread of a raw client where it computes: from now on it waits, as if it had made a call that was deferred.
    ///
    /// # Errors
    /// `ESRCH` when there is no such thread; `EAGAIN` when it makes a call.
    pub fn seize(client: u64, place: u16) -> Result<Token, Errno> {
        hostcall::seize(client, place).map(Token)
    }

    /// The integer registers of a raw client's thread that waits: see [`abi::hostcall::REGISTERS`].
    ///
    /// # Errors
    /// `ENOENT` when it does not wait any more.
    pub fn registers(&self) -> Result<[u64; REGISTERS], Errno> {
        hostcall::registers(self.0)
    }

    /// Sets them.
    ///
    /// # Errors
    /// `ENOENT`; `EFAULT` for a program counter beyond what it can execute.
    pub fn set_registers(&self, words: &[u64; REGISTERS]) -> Result<(), Errno> {
        hostcall::set_registers(self.0, words)
    }

    /// The number that stands for the call, for who keeps it in a table.
    pub fn into_number(self) -> u64 {
        self.0
    }

    /// The token of a number that [`Token::into_number`] gave. Any other answers nothing.
    pub fn from_number(number: u64) -> Token {
        Token(number)
    }
}

/// How a served call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The caller gets this result; the register of the second value keeps its contents.
    Value(u64),
    /// The caller gets both values.
    Values(u64, u64),
    /// The caller gets a negated error number.
    Error(Errno),
    /// A raw client gets this result and this stack pointer.
    Stack(u64, u64),
    /// The calling thread of a raw client ends; the main thread's end is its cVM's, with this exit code.
    EndThread(i32),
    /// The raw client ends with this exit code.
    End(i32),
    /// This cVM's own server, or the monitor, serves the call as if this one did not exist.
    Delegate,
    /// The call is answered by the token that [`Call::defer`] gave.
    Deferred,
}

impl Answer {
    /// Value, second value, and how the call ends, when it ends by an answer.
    #[inline]
    fn words(self) -> Option<[u64; 3]> {
        Some(match self {
            Answer::Value(value) => [value, 0, 0],
            Answer::Values(value, second) => [value, second, WITH_SECOND],
            Answer::Error(errno) => [errno.to_result(), 0, 0],
            Answer::Stack(value, pointer) => [value, pointer, WITH_STACK],
            Answer::EndThread(code) => [code as u64, 0, END_THREAD],
            Answer::End(code) => [code as u64, 0, END_CVM],
            Answer::Delegate | Answer::Deferred => return None,
        })
    }
}

impl From<Result<u64, Errno>> for Answer {
    fn from(result: Result<u64, Errno>) -> Self {
        result.map_or_else(Answer::Error, Answer::Value)
    }
}

impl Call {
    /// Number of the cVM that made the call.
    pub fn caller(&self) -> u64 {
        self.frame.caller & u64::from(u32::MAX)
    }

    /// Place of the calling thread among those of a raw client, 0 = its main thread.
    pub fn thread(&self) -> u16 {
        (self.frame.caller >> 32) as u16
    }

    /// Number of the hostcall, known or not.
    pub fn number(&self) -> u64 {
        self.frame.number
    }

    /// The hostcall, if the number is known.
    pub fn hostcall(&self) -> Option<Hostcall> {
        Hostcall::from_number(self.frame.number)
    }

    /// Argument `index` (0 to 5) as an integer: its value, or the address that a capability points to.
    pub fn argument(&self, index: usize) -> u64 {
        self.frame.arguments[index].value()
    }

    /// Whether argument `index` is a capability to memory of the caller.
    pub fn is_lent(&self, index: usize) -> bool {
        self.frame.arguments[index].shape().usable
    }

    /// Copies caller's memory through the capability that is argument `index`, from `offset` bytes behind its address on.
    ///
    /// # Errors
    /// `EFAULT` when the capability does not cover that or does not allow to load, or the argument is none.
    pub fn read(&self, index: usize, offset: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        let slot = &self.frame.arguments[index];
        slot.read(self.start(slot)?.checked_add(offset).ok_or(Errno::EFAULT)?, bytes)
    }

    /// Copies `bytes` to the caller's memory through the capability that is argument `index`, to `offset` bytes behind its
    /// address.
    ///
    /// # Errors
    /// `EFAULT` when the capability does not cover that or does not allow to store, or the argument is none.
    pub fn write(&self, index: usize, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let slot = &self.frame.arguments[index];
        slot.write(self.start(slot)?.checked_add(offset).ok_or(Errno::EFAULT)?, bytes)
    }

    /// Lets the call be answered later, by [`Token::answer`]; the handler then returns [`Answer::Deferred`], and the server can
    /// take the next call. What was lent is gone: copy it before.
    ///
    /// # Errors
    /// `EPERM` for a call that was deferred already.
    pub fn defer(&self) -> Result<Token, Errno> {
        hostcall::defer(0, 0).map(Token)
    }

    /// As [`Call::defer`]; when nobody has answered after so many nanoseconds, the caller gets `late`. 0 nanoseconds: as long as
    /// the call's budget lasts.
    ///
    /// # Errors
    /// As [`Call::defer`].
    pub fn defer_for(&self, nanoseconds: u64, late: u64) -> Result<Token, Errno> {
        hostcall::defer(nanoseconds, late).map(Token)
    }

    /// The integer registers of the calling thread of a raw client: see [`abi::hostcall::REGISTERS`].
    ///
    /// # Errors
    /// `ENOENT` when the client is not raw.
    pub fn registers(&self) -> Result<[u64; REGISTERS], Errno> {
        hostcall::registers(0)
    }

    /// Sets them; the result is set besides, when the call is answered.
    ///
    /// # Errors
    /// `ENOENT`; `EFAULT` for a program counter beyond what it can execute.
    pub fn set_registers(&self, words: &[u64; REGISTERS]) -> Result<(), Errno> {
        hostcall::set_registers(0, words)
    }

    /// Starts another thread of the calling raw client, with the caller's registers but for stack pointer and thread pointer, where
    /// they are given, and result; returns its place.
    ///
    /// # Errors
    /// `EPERM` when the client is not raw; `EAGAIN` when it has as many threads as its manifest allows.
    pub fn clone_caller(&self, stack: Option<u64>, thread_pointer: Option<u64>, result: u64) -> Result<u16, Errno> {
        let kept = |given: Option<u64>, bit| if given.is_none() { bit } else { 0 };
        let keep = kept(stack, KEEP_STACK) | kept(thread_pointer, KEEP_THREAD_POINTER);
        hostcall::clone(
            stack.unwrap_or_default(),
            thread_pointer.unwrap_or_default(),
            result,
            keep,
        )
    }

    /// Distance from a capability's base to the address it points to.
    fn start(&self, slot: &Slot) -> Result<u64, Errno> {
        slot.value().checked_sub(slot.shape().base).ok_or(Errno::EFAULT)
    }

    /// Makes the same hostcall as this cVM's own, with the arguments as they came, capabilities as capabilities; returns both
    /// result registers.
    pub fn pass_on(&self) -> (u64, u64) {
        arch::pass_on(self.frame.number, &self.frame.arguments)
    }
}

/// Makes a function the cVM's handler for the hostcalls that it serves: `fn(&rt::Call) -> rt::Answer`. The main program then
/// calls [`hostcall::serve`](crate::hostcall::serve). The handler runs on a service stack, and shares statics with the main
/// program, which rests meanwhile, with the cVM's other threads, and with the other handlers when the manifest gives it
/// several. It has no thread-local storage of its own.
#[macro_export]
macro_rules! handler {
    ($function:path) => {
        unsafe extern "C" fn cvm_handler_entry(frame: *const u8) -> ! {
            // SAFETY: `syscall_handler` alone comes here, with the frame that it has made.
            unsafe { $crate::handle(frame, $function) }
        }
        $crate::export_handler!();
    };
}

/// Where `syscall_handler` goes when it has saved the arguments.
///
/// # Safety
/// Called by `syscall_handler` alone, with its frame at the top of the service stack.
#[doc(hidden)]
pub unsafe fn handle(frame: *const u8, handler: fn(&Call) -> Answer) -> ! {
    // SAFETY: the frame lies above the stack pointer until the call ends, which this function does not survive.
    let frame = unsafe { &*frame.cast::<Frame>() };
    let answer = handler(&Call { frame });
    crate::console::flush_at_exit();
    // By far the most.
    if let Answer::Value(value) = answer {
        arch::hostcall(Hostcall::Reply as u64, [value, 0, 0, 0, 0, 0]);
    }
    let number = if matches!(answer, Answer::Delegate) {
        Hostcall::Delegate
    } else {
        Hostcall::Reply
    };
    // Nobody gets the values of a reply to a deferred call.
    let [value, second, how] = answer.words().unwrap_or_default();
    arch::hostcall(number as u64, [value, second, how, 0, 0, 0]);
    // Both do not return: the monitor would not keep its word.
    crate::exit(i32::from(u8::MAX))
}
