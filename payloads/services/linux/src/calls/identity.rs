//! In whose name the program runs.

use super::Context;
use crate::credentials::Numbers;
use crate::{Error, Platform, Result};
use alloc::vec::Vec;

/// Most further groups of a program.
const GROUPS: u64 = 65536;

/// Whether users or groups are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Users,
    Groups,
}

impl<P: Platform> Context<'_, P> {
    /// The numbers that are meant, and whether they can become what the program likes.
    fn numbers(&mut self, of: Of) -> (&mut Numbers, bool) {
        let own = &mut self.program.credentials;
        let free = own.is_root();
        match of {
            Of::Users => (&mut own.user, free),
            Of::Groups => (&mut own.group, free),
        }
    }

    /// Who wants to send it signals sees whose it is.
    fn tell_others(&mut self) -> Result<()> {
        self.shared.processes.get_mut(self.program.id)?.user = self.program.credentials.user;
        Ok(())
    }

    /// `setuid` and `setgid`.
    pub(super) fn set_number(&mut self, of: Of, number: u64) -> Result {
        let (numbers, free) = self.numbers(of);
        numbers.set(number as u32, free)?;
        self.tell_others()?;
        Ok(0)
    }

    /// `setreuid` and `setregid`.
    pub(super) fn set_two_numbers(&mut self, of: Of, real: u64, effective: u64) -> Result {
        let (numbers, free) = self.numbers(of);
        numbers.set_two(real as u32, effective as u32, free)?;
        self.tell_others()?;
        Ok(0)
    }

    /// `setresuid` and `setresgid`.
    pub(super) fn set_three_numbers(&mut self, of: Of, wanted: [u64; 3]) -> Result {
        let (numbers, free) = self.numbers(of);
        numbers.set_three(wanted.map(|number| number as u32), free)?;
        self.tell_others()?;
        Ok(0)
    }

    /// `getresuid` and `getresgid`.
    pub(super) fn three_numbers(&mut self, of: Of, addresses: [u64; 3]) -> Result {
        let numbers = *self.numbers(of).0;
        for (address, number) in addresses
            .into_iter()
            .zip([numbers.real, numbers.effective, numbers.saved])
        {
            self.put(address, &number.to_ne_bytes())?;
        }
        Ok(0)
    }

    /// `setfsuid` and `setfsgid`: files are used by the effective number; which that is.
    pub(super) fn number_for_files(&mut self, of: Of) -> Result {
        Ok(self.numbers(of).0.effective.into())
    }

    /// `getgroups`.
    pub(super) fn groups(&mut self, room: u64, address: u64) -> Result {
        let groups = &self.program.credentials.groups;
        let count = groups.len() as u64;
        let room = room as u32 as i32;
        if room < 0 || room != 0 && (room as u64) < count {
            return Err(Error::EINVAL);
        }
        if room != 0 {
            let bytes: Vec<u8> = groups.iter().flat_map(|group| group.to_ne_bytes()).collect();
            self.put(address, &bytes)?;
        }
        Ok(count)
    }

    /// `setgroups`.
    pub(super) fn set_groups(&mut self, count: u64, address: u64) -> Result {
        if !self.program.credentials.is_root() {
            return Err(Error::EPERM);
        }
        if count > GROUPS {
            return Err(Error::EINVAL);
        }
        self.program.window.check(address, count * 4)?;
        let mut groups = Vec::new();
        for index in 0..count {
            groups.push(self.program.window.half(self.platform, address + index * 4)?);
        }
        self.program.credentials.groups = groups;
        Ok(0)
    }
}
