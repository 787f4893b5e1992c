//! Sharing between the threads of a cVM: locks, conditions, things done once, channels. All are made of words of memory and
//! of the hostcalls `wait` and `wake`; while nobody has to wait, no hostcall is made.
//!
//! They look like the standard library's, but for poisoning: a panic ends the whole cVM, so there is none.

mod channel;
mod condvar;
mod mutex;
mod once;

pub use channel::{Receiver, RecvTimeoutError, SendError, Sender, TryRecvError, TrySendError, channel};
pub use condvar::Condvar;
pub use mutex::{Mutex, MutexGuard};
pub use once::OnceLock;

#[cfg(test)]
mod tests;
