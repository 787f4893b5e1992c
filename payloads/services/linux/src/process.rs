//! Whose child a program is, and which of them have ended.

use crate::credentials::Numbers;
use crate::{Error, Result};
use alloc::collections::BTreeMap;

/// Numbers of programs are below this, so that those of their threads stand above.
const LIMIT: u32 = crate::program::THREADS;

/// What of a process there is as long as its parent has not waited for it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) parent: u32,
    pub(crate) group: u32,
    pub(crate) session: u32,
    /// How it has ended, as `wait` tells it.
    pub(crate) ended: Option<u32>,
    /// Whether it has executed a program of its own.
    pub(crate) executed: bool,
    /// The numbers of its user.
    pub(crate) user: Numbers,
}

/// Whom a `wait` is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    Anybody,
    One(u32),
    Group(u32),
}

/// All processes, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    all: BTreeMap<u32, Process>,
    last: u32,
    /// The group that the console's Ctrl-C is for.
    pub(crate) foreground: u32,
}

impl Processes {
    /// A new process; its number is `wanted`, or the next one that is free.
    pub(crate) fn add(&mut self, wanted: Option<u32>, parent: u32) -> Result<u32> {
        let taken =
            |number: &u32| self.all.contains_key(number) || self.all.values().any(|process| process.group == *number);
        let next = (self.last + 1..LIMIT).chain(2..LIMIT).find(|number| !taken(number));
        let number = wanted.filter(|number| !taken(number)).or(next).ok_or(Error::EAGAIN)?;
        if wanted.is_none() {
            self.last = number;
        }
        let (group, session) = self
            .all
            .get(&parent)
            .map_or((number, number), |parent| (parent.group, parent.session));
        let process = Process {
            parent,
            group,
            session,
            ended: None,
            executed: false,
            user: self.all.get(&parent).map_or(Numbers::default(), |parent| parent.user),
        };
        self.all.insert(number, process);
        Ok(number)
    }

    /// One that there is, ended or not.
    pub(crate) fn get(&self, number: u32) -> Result<&Process> {
        self.all.get(&number).ok_or(Error::ESRCH)
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Result<&mut Process> {
        self.all.get_mut(&number).ok_or(Error::ESRCH)
    }

    /// The numbers of a group.
    pub(crate) fn of_group(&self, group: u32) -> impl Iterator<Item = u32> + '_ {
        let members = self.all.iter().filter(move |(_, process)| process.group == group);
        members.map(|(number, _)| *number)
    }

    /// All that have not ended.
    pub(crate) fn living(&self) -> impl Iterator<Item = u32> + '_ {
        let living = self.all.iter().filter(|(_, process)| process.ended.is_none());
        living.map(|(number, _)| *number)
    }

    /// A process has ended; its parent, if that waits for it some day. Its own children have nobody who would.
    pub(crate) fn end(&mut self, number: u32, status: u32, forgotten: bool) -> Option<u32> {
        self.all
            .retain(|_, process| process.parent != number || process.ended.is_none());
        for process in self.all.values_mut().filter(|process| process.parent == number) {
            process.parent = 0;
        }
        let parent = self.all.get(&number)?.parent;
        let waits = self.all.get(&parent).is_some_and(|parent| parent.ended.is_none());
        if !waits || forgotten {
            self.all.remove(&number);
            return waits.then_some(parent);
        }
        self.all.get_mut(&number)?.ended = Some(status);
        Some(parent)
    }

    /// A child of a process that has ended and that is meant: its number and how; with `take` nobody waits for it any more.
    ///
    /// # Errors
    /// `ECHILD` when none that is meant will ever end.
    pub(crate) fn ended(&mut self, parent: u32, whom: Whom, take: bool) -> Result<Option<(u32, u32)>> {
        let meant = |number: u32, process: &Process| match whom {
            Whom::Anybody => true,
            Whom::One(wanted) => number == wanted,
            Whom::Group(group) => process.group == group,
        };
        let mut children = self
            .all
            .iter()
            .filter(|(number, process)| process.parent == parent && meant(**number, process))
            .peekable();
        if children.peek().is_none() {
            return Err(Error::ECHILD);
        }
        let found = children.find_map(|(number, process)| Some((*number, process.ended?)));
        if let Some((number, _)) = found
            && take
        {
            self.all.remove(&number);
        }
        Ok(found)
    }

    /// How many there are.
    #[cfg(not(target_os = "none"))]
    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_waits_for_its_own_children_once() {
        let mut processes = Processes::default();
        let shell = processes.add(Some(1), 0).unwrap();
        let (one, two) = (processes.add(None, shell).unwrap(), processes.add(None, shell).unwrap());
        let grandchild = processes.add(None, one).unwrap();
        assert_eq!(processes.ended(shell, Whom::Anybody, true), Ok(None));
        assert_eq!(processes.ended(shell, Whom::One(grandchild), true), Err(Error::ECHILD));
        assert_eq!(processes.end(grandchild, 7, false), Some(one));
        assert_eq!(processes.end(one, 256, false), Some(shell));
        assert_eq!(
            processes.get(grandchild).err(),
            Some(Error::ESRCH),
            "nobody is left who would wait"
        );
        assert_eq!(processes.ended(shell, Whom::One(two), true), Ok(None));
        assert_eq!(processes.ended(shell, Whom::Anybody, false), Ok(Some((one, 256))));
        assert_eq!(processes.ended(shell, Whom::Group(shell), true), Ok(Some((one, 256))));
        assert_eq!(
            processes.end(two, 9, true),
            Some(shell),
            "it is told, and has nothing to wait for"
        );
        assert_eq!(processes.ended(shell, Whom::Anybody, true), Err(Error::ECHILD));
        assert_eq!(processes.end(shell, 0, false), None);
        assert_eq!(processes.count(), 0);
    }

    #[test]
    fn numbers_come_back_late_and_never_twice() {
        let mut processes = Processes::default();
        let first = processes.add(None, 0).unwrap();
        processes.end(first, 0, false);
        assert_ne!(processes.add(None, 0).unwrap(), first);
        let mut given = 1;
        while processes.add(None, 0).is_ok() {
            given += 1;
        }
        assert_eq!(given, LIMIT as usize - 2);
    }
}
