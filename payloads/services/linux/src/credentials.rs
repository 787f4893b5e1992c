//! In whose name a program runs, and what that lets it do with files. Who may do anything is user 0, as all programs begin.

use crate::tree::Facts;
use crate::{Error, Result};
use alloc::vec::Vec;
use linux_raw_sys::general as sys;

/// Rights to a file, as the bits of a triple of permissions.
pub(crate) const READ: u32 = 4;
pub(crate) const WRITE: u32 = 2;
pub(crate) const EXECUTE: u32 = 1;

/// A number that stands for no change.
pub(crate) const SAME: u32 = u32::MAX;

/// The three numbers that a program has of users, or of groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) real: u32,
    pub(crate) effective: u32,
    pub(crate) saved: u32,
}

impl Numbers {
    fn has(&self, number: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&number)
    }

    /// `setuid`.
    pub(crate) fn set(&mut self, number: u32, free: bool) -> Result<()> {
        if number == SAME {
            return Err(Error::EINVAL);
        }
        if free {
            (self.real, self.saved) = (number, number);
        } else if number != self.real && number != self.saved {
            return Err(Error::EPERM);
        }
        self.effective = number;
        Ok(())
    }

    /// `setreuid`.
    pub(crate) fn set_two(&mut self, real: u32, effective: u32, free: bool) -> Result<()> {
        let old = *self;
        if !free
            && (real != SAME && real != old.real && real != old.effective || effective != SAME && !old.has(effective))
        {
            return Err(Error::EPERM);
        }
        if real != SAME {
            self.real = real;
        }
        if effective != SAME {
            self.effective = effective;
        }
        if real != SAME || effective != SAME && effective != old.real {
            self.saved = self.effective;
        }
        Ok(())
    }

    /// `setresuid`.
    pub(crate) fn set_three(&mut self, wanted: [u32; 3], free: bool) -> Result<()> {
        if !free && wanted.iter().any(|number| *number != SAME && !self.has(*number)) {
            return Err(Error::EPERM);
        }
        let numbers = [&mut self.real, &mut self.effective, &mut self.saved];
        for (number, wanted) in numbers.into_iter().zip(wanted) {
            if wanted != SAME {
                *number = wanted;
            }
        }
        Ok(())
    }
}

/// In whose name a program runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    pub(crate) user: Numbers,
    pub(crate) group: Numbers,
    /// Further groups.
    pub(crate) groups: Vec<u32>,
}

impl Credentials {
    /// Whether it may do anything.
    #[inline]
    pub(crate) fn is_root(&self) -> bool {
        self.user.effective == 0
    }

    pub(crate) fn is_in(&self, group: u32) -> bool {
        self.group.effective == group || self.groups.contains(&group)
    }

    /// Whether it has these rights to a file.
    ///
    /// # Errors
    /// `EACCES` when it has not.
    pub(crate) fn may(&self, facts: &Facts, rights: u32) -> Result<()> {
        if self.is_root() {
            // Nobody executes what nobody is to.
            let file = facts.mode & sys::S_IFMT == sys::S_IFREG;
            let none = file && rights & EXECUTE != 0 && facts.mode & 0o111 == 0;
            return if none { Err(Error::EACCES) } else { Ok(()) };
        }
        let [user, group] = facts.owner;
        let has = if user == self.user.effective {
            facts.mode >> 6
        } else if self.is_in(group) {
            facts.mode >> 3
        } else {
            facts.mode
        };
        if has & rights == rights {
            Ok(())
        } else {
            Err(Error::EACCES)
        }
    }

    /// Whether it can say what others may do with a file.
    ///
    /// # Errors
    /// `EPERM` when it cannot.
    pub(crate) fn owns(&self, facts: &Facts) -> Result<()> {
        if self.is_root() || facts.owner[0] == self.user.effective {
            Ok(())
        } else {
            Err(Error::EPERM)
        }
    }

    /// The same, by the numbers that it began with.
    pub(crate) fn real(&self) -> Credentials {
        let as_real = |numbers: Numbers| Numbers {
            effective: numbers.real,
            ..numbers
        };
        Credentials {
            user: as_real(self.user),
            group: as_real(self.group),
            groups: self.groups.clone(),
        }
    }

    /// Whether it may send signals to a program of another one.
    pub(crate) fn may_signal(&self, other: &Numbers) -> bool {
        let theirs = [other.real, other.saved];
        self.is_root() || theirs.contains(&self.user.real) || theirs.contains(&self.user.effective)
    }
}
