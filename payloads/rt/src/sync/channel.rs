//! Bounded channels: any number of senders, one receiver, in order.

use crate::alloc::collections::VecDeque;
use crate::alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

use super::{Condvar, Mutex};
use crate::sys;

struct State<T> {
    queue: VecDeque<T>,
    capacity: usize,
    senders: usize,
    receiver: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Something came, or the last sender is gone.
    filled: Condvar,
    /// Something was taken, or the receiver is gone.
    emptied: Condvar,
}

/// The receiver is gone: what could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendError<T>(pub T);

/// Why something was not sent at once, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// The channel is full.
    Full(T),
    /// The receiver is gone.
    Disconnected(T),
}

/// Why there is nothing to receive at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// Nothing is there now.
    Empty,
    /// Nothing is there, and all senders are gone.
    Disconnected,
}

/// Why nothing was received in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvTimeoutError {
    /// Nothing came within the time.
    Timeout,
    /// Nothing is there, and all senders are gone.
    Disconnected,
}

/// A channel with room for `capacity` values, at least one.
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let capacity = capacity.max(1);
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            queue: VecDeque::with_capacity(capacity),
            capacity,
            senders: 1,
            receiver: true,
        }),
        filled: Condvar::new(),
        emptied: Condvar::new(),
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// The end of a channel that values go into.
pub struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// Sends a value, waiting while the channel is full.
    ///
    /// # Errors
    /// The value, when the receiver is gone.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        let full = |state: &mut State<T>| state.receiver && state.queue.len() >= state.capacity;
        let mut state = self.0.emptied.wait_while(self.0.state.lock(), full);
        if !state.receiver {
            return Err(SendError(value));
        }
        state.queue.push_back(value);
        drop(state);
        self.0.filled.notify_one();
        Ok(())
    }

    /// Sends a value if there is room for it now.
    ///
    /// # Errors
    /// The value, when there is none, or nobody to receive it.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut state = self.0.state.lock();
        if !state.receiver {
            return Err(TrySendError::Disconnected(value));
        }
        if state.queue.len() >= state.capacity {
            return Err(TrySendError::Full(value));
        }
        state.queue.push_back(value);
        drop(state);
        self.0.filled.notify_one();
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.0.state.lock().senders += 1;
        Sender(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.senders -= 1;
        if state.senders == 0 {
            drop(state);
            self.0.filled.notify_all();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

/// The end of a channel that values come out of.
pub struct Receiver<T>(Arc<Shared<T>>);

impl<T> Receiver<T> {
    /// Waits for a value; `None` when all senders are gone and everything was received.
    pub fn recv(&self) -> Option<T> {
        let nothing = |state: &mut State<T>| state.queue.is_empty() && state.senders > 0;
        let mut state = self.0.filled.wait_while(self.0.state.lock(), nothing);
        let value = state.queue.pop_front();
        drop(state);
        self.0.emptied.notify_one();
        value
    }

    /// A value, if one is there now.
    ///
    /// # Errors
    /// [`TryRecvError`].
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut state = self.0.state.lock();
        let Some(value) = state.queue.pop_front() else {
            return Err(match state.senders {
                0 => TryRecvError::Disconnected,
                _ => TryRecvError::Empty,
            });
        };
        drop(state);
        self.0.emptied.notify_one();
        Ok(value)
    }

    /// Waits for a value, for `timeout` at the longest.
    ///
    /// # Errors
    /// [`RecvTimeoutError`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let end = sys::now().saturating_add(timeout);
        let mut state = self.0.state.lock();
        while state.queue.is_empty() && state.senders > 0 {
            let Some(left) = end.checked_sub(sys::now()).filter(|left| !left.is_zero()) else {
                break;
            };
            state = self.0.filled.wait_timeout(state, left);
        }
        let value = state.queue.pop_front();
        let disconnected = state.senders == 0;
        drop(state);
        match value {
            Some(value) => {
                self.0.emptied.notify_one();
                Ok(value)
            }
            None if disconnected => Err(RecvTimeoutError::Disconnected),
            None => Err(RecvTimeoutError::Timeout),
        }
    }

    /// All values until the senders are gone.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        core::iter::from_fn(|| self.recv())
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.receiver = false;
        // What nobody receives any more is dropped without the lock.
        let left = core::mem::take(&mut state.queue);
        drop(state);
        self.0.emptied.notify_all();
        drop(left);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}
