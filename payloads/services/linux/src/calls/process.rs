//! The program itself.

use super::Context;
use super::time::SECOND;
use crate::layout::encode;
use crate::{Error, Platform, Result};
use linux_raw_sys::general as sys;
use linux_raw_sys::general::{__kernel_old_timeval, rusage};
use linux_raw_sys::system::new_utsname;

impl<P: Platform> Context<'_, P> {
    /// `umask`.
    pub(super) fn set_mask(&mut self, mask: u64) -> Result {
        Ok(core::mem::replace(&mut self.program.mask, mask as u32 & 0o777).into())
    }

    /// `uname`.
    pub(super) fn system_name(&mut self, address: u64) -> Result {
        const FIELD: usize = size_of::<new_utsname>() / 6;
        let machine = self.platform.machine();
        let texts = [
            "Linux",
            "intravisor",
            "6.1.0",
            "library OS of the Intravisor",
            machine,
            "(none)",
        ];
        let mut bytes = [0; size_of::<new_utsname>()];
        for (field, text) in bytes.chunks_exact_mut(FIELD).zip(texts) {
            field[..text.len()].copy_from_slice(text.as_bytes());
        }
        self.put(address, &bytes)?;
        Ok(0)
    }

    /// `getrandom`.
    pub(super) fn get_random(&mut self, address: u64, length: u64, _flags: u64) -> Result {
        let mut bytes = [0; 256];
        let length = length.min(bytes.len() as u64);
        let bytes = &mut bytes[..length as usize];
        self.platform.random(bytes);
        self.put(address, bytes)?;
        Ok(length)
    }

    /// `getrusage`: the time since the program has begun is its own.
    pub(super) fn usage(&mut self, who: u64, address: u64) -> Result {
        const SELF: i32 = 0;
        const THREAD: i32 = 1;
        if !matches!(who as i32, SELF | THREAD | -1) {
            return Err(Error::EINVAL);
        }
        let mut bytes = [0; size_of::<rusage>()];
        if who as i32 >= SELF {
            let spent = self.now(sys::CLOCK_PROCESS_CPUTIME_ID.into())?;
            let time = encode!(__kernel_old_timeval {
                tv_sec: (spent / SECOND) as i64,
                tv_usec: (spent % SECOND / 1000) as i64,
            });
            bytes[..time.len()].copy_from_slice(&time);
        }
        self.put(address, &bytes)?;
        Ok(0)
    }

    /// `prlimit64`: no limit but that of descriptors, which can be lowered.
    pub(super) fn limits(&mut self, resource: u64, new: u64, address: u64) -> Result {
        let files = resource as u32 == sys::RLIMIT_NOFILE;
        let before = if files {
            self.program.descriptors.limit
        } else {
            (u64::MAX, u64::MAX)
        };
        if new != 0 {
            let (soft, hard) = (
                self.program.window.word(self.platform, new)?,
                self.program.window.word(self.platform, new.wrapping_add(8))?,
            );
            if soft > hard {
                return Err(Error::EINVAL);
            }
            if hard > before.1 {
                return Err(Error::EPERM);
            }
            if files {
                self.program.descriptors.limit = (soft, hard);
            }
        }
        if address != 0 {
            let bytes = encode!(sys::rlimit64 {
                rlim_cur: before.0,
                rlim_max: before.1,
            });
            self.put(address, &bytes)?;
        }
        Ok(0)
    }
}
