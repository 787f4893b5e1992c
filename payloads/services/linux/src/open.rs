//! Descriptors, and what they stand for.

use crate::{Error, Result};
use alloc::vec::Vec;

/// Most descriptors of a program.
const LIMIT: usize = 1024;

/// What a descriptor stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    /// The console.
    Console,
    /// `/dev/null`.
    Null,
    /// `/dev/zero`.
    Zero,
    /// `/dev/urandom`.
    Random,
}

/// The descriptors of a program.
#[derive(Debug)]
pub(crate) struct Descriptors(Vec<Option<Open>>);

impl Descriptors {
    /// Standard input, output and error.
    pub(crate) fn standard() -> Descriptors {
        Descriptors([const { Some(Open::Console) }; 3].into())
    }

    /// What a descriptor stands for.
    pub(crate) fn get(&self, descriptor: u64) -> Result<&Open> {
        let slot = self.0.get(descriptor as u32 as usize).and_then(Option::as_ref);
        slot.ok_or(Error::EBADF)
    }

    /// The lowest free descriptor, from `least` on, for this.
    pub(crate) fn add(&mut self, open: Open, least: usize) -> Result<u64> {
        let taken = self.0.iter().skip(least);
        let place = least + taken.take_while(|slot| slot.is_some()).count();
        if place >= LIMIT {
            return Err(Error::EMFILE);
        }
        if place >= self.0.len() {
            self.0.resize(place + 1, None);
        }
        self.0[place] = Some(open);
        Ok(place as u64)
    }

    /// Closes one.
    pub(crate) fn close(&mut self, descriptor: u64) -> Result<Open> {
        let slot = self.0.get_mut(descriptor as u32 as usize).and_then(Option::take);
        slot.ok_or(Error::EBADF)
    }
}
