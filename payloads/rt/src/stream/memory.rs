//! Memory of the host in place of a buffer, which a hostile peer can change.

use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::time::{Duration, Instant};
use std::vec;
use std::vec::Vec;

use super::Shared;
use crate::Errno;

#[derive(Clone)]
pub(crate) struct Memory(Arc<(Mutex<Vec<u8>>, Condvar)>);

impl Memory {
    pub(crate) fn new(size: usize) -> Memory {
        Memory(Arc::new((Mutex::new(vec![0; size]), Condvar::new())))
    }

    pub(crate) fn at<T>(&self, offset: u64, length: usize, what: impl FnOnce(&mut [u8]) -> T) -> Result<T, Errno> {
        let mut bytes = self.0.0.lock().unwrap();
        let range = offset as usize..offset as usize + length;
        // A real buffer faults or refuses: no test may ever get here.
        let part = bytes.get_mut(range).expect("an access outside of the buffer");
        Ok(what(part))
    }
}

impl Shared for Memory {
    fn size(&self) -> u64 {
        self.0.0.lock().unwrap().len() as u64
    }

    fn load(&self, offset: u64) -> Result<u32, Errno> {
        assert_eq!(offset % 4, 0);
        self.at(offset, 4, |bytes| u32::from_le_bytes(bytes.try_into().unwrap()))
    }

    fn store(&self, offset: u64, word: u32) -> Result<(), Errno> {
        self.at(offset, 4, |bytes| bytes.copy_from_slice(&word.to_le_bytes()))
    }

    fn copy_in(&self, offset: u64, to: &mut [u8]) -> Result<(), Errno> {
        self.at(offset, to.len(), |bytes| to.copy_from_slice(bytes))
    }

    fn copy_out(&self, offset: u64, from: &[u8]) -> Result<(), Errno> {
        self.at(offset, from.len(), |bytes| bytes.copy_from_slice(from))
    }

    fn wait(&self, offset: u64, expected: u32, timeout: Option<Duration>) -> Result<(), Errno> {
        let (bytes, woken) = &*self.0;
        let bytes = bytes.lock().unwrap();
        let changed = |bytes: &[u8]| bytes[offset as usize..offset as usize + 4] != expected.to_le_bytes();
        if changed(&bytes) {
            return Err(Errno::EAGAIN);
        }
        let Some(timeout) = timeout else {
            // In many short waits: one long one would also be over when the machine has stood still meanwhile.
            let mut bytes = bytes;
            for _ in 0..400 {
                let (still, result) = woken.wait_timeout(bytes, Duration::from_millis(50)).unwrap();
                if !result.timed_out() || changed(&still) {
                    return Ok(());
                }
                bytes = still;
            }
            panic!("nobody wakes");
        };
        let (_bytes, result) = woken.wait_timeout(bytes, timeout).unwrap();
        if result.timed_out() {
            Err(Errno::ETIMEDOUT)
        } else {
            Ok(())
        }
    }

    fn wake(&self, _offset: u64) -> Result<(), Errno> {
        self.0.1.notify_all();
        Ok(())
    }

    fn now(&self) -> Duration {
        static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
        BEGAN.elapsed()
    }
}
