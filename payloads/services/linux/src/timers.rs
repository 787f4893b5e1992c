//! What is to happen at a time: signals of timers. Timers that are open files are looked at by who reads them or waits for them.

use crate::open::{Opens, What};
use crate::program::{Sent, Told};
use crate::system::Shared;
use alloc::vec::Vec;

/// Why a signal comes: a timer has sent it.
const FROM_TIMER: i32 = -2;
/// Most timers of all programs together.
pub(crate) const MOST: usize = 256;

/// When something happens: the next time by the platform's clock, and how long after that again, 0 = never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct When {
    pub(crate) next: Option<u64>,
    pub(crate) interval: u64,
}

impl When {
    /// How often it has happened by now; from then on it happens later.
    pub(crate) fn pass(&mut self, now: u64) -> u64 {
        let Some(next) = self.next.filter(|next| *next <= now) else {
            return 0;
        };
        let Some(more) = (now - next).checked_div(self.interval) else {
            self.next = None;
            return 1;
        };
        self.next = next.checked_add((more + 1).saturating_mul(self.interval));
        more + 1
    }
}

/// What a timer is of its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One of those that every program has, by its number (`setitimer`).
    Given(u32),
    /// One that it has made, by its number, and what it says of a signal: for which thread, and its value.
    Made {
        number: u32,
        thread: Option<u16>,
        value: u64,
    },
}

/// A timer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timer {
    /// The process.
    pub(crate) owner: u32,
    pub(crate) kind: Kind,
    /// What it sends; 0 = nothing.
    pub(crate) signal: u32,
    /// The clock that it is set by.
    pub(crate) clock: u32,
    pub(crate) when: When,
    /// How often it has gone off without a signal of its own when the last one came.
    pub(crate) missed: u64,
}

/// All timers.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    all: Vec<Timer>,
    /// Something has changed about when the next one is due.
    pub(crate) changed: bool,
}

impl Timers {
    pub(crate) fn find(&mut self, owner: u32, wanted: impl Fn(&Kind) -> bool) -> Option<&mut Timer> {
        self.all
            .iter_mut()
            .find(|timer| timer.owner == owner && wanted(&timer.kind))
    }

    /// Adds one; whether there was room.
    pub(crate) fn add(&mut self, timer: Timer) -> bool {
        let room = self.all.len() < MOST;
        if room {
            self.all.push(timer);
        }
        room
    }

    /// The lowest number that no timer has which this process has made.
    pub(crate) fn free(&self, owner: u32) -> u32 {
        let taken = |wanted: &u32| {
            let has = |timer: &Timer| {
                timer.owner == owner && matches!(timer.kind, Kind::Made { number, .. } if number == *wanted)
            };
            self.all.iter().any(has)
        };
        (0..).find(|number| !taken(number)).unwrap_or_default()
    }

    /// Removes one that was made; whether it was there.
    pub(crate) fn remove(&mut self, owner: u32, wanted: u32) -> bool {
        let before = self.all.len();
        self.all.retain(|timer| {
            timer.owner != owner || !matches!(timer.kind, Kind::Made { number, .. } if number == wanted)
        });
        self.all.len() < before
    }

    /// Removes those that a process has made: it executes another program.
    pub(crate) fn end_made(&mut self, owner: u32) {
        self.all
            .retain(|timer| timer.owner != owner || matches!(timer.kind, Kind::Given(_)));
    }

    /// Removes those of a process.
    pub(crate) fn end(&mut self, owner: u32) {
        self.all.retain(|timer| timer.owner != owner);
    }

    /// The signals of those that have gone off by now.
    pub(crate) fn due(&mut self, now: u64) -> Vec<(u32, Sent)> {
        let mut sent = Vec::new();
        for timer in &mut self.all {
            let times = timer.when.pass(now);
            if times == 0 || timer.signal == 0 {
                continue;
            }
            timer.missed = times - 1;
            let (thread, told) = match timer.kind {
                Kind::Given(_) => (None, Told::default()),
                Kind::Made { number, thread, value } => {
                    let told = Told {
                        code: FROM_TIMER,
                        from: [number, u32::try_from(timer.missed).unwrap_or(u32::MAX)],
                        value,
                    };
                    (thread, told)
                }
            };
            let signal = timer.signal;
            sent.push((timer.owner, Sent { signal, thread, told }));
        }
        sent
    }

    fn next(&self) -> Option<u64> {
        self.all.iter().filter_map(|timer| timer.when.next).min()
    }
}

/// When the next timer that is an open file goes off; those that have are seen by who looks.
fn next_open(opens: &Opens, now: u64) -> Option<u64> {
    let timers = opens.iter().filter_map(|(_, opened)| match &opened.what {
        What::Timer(timer) => {
            let mut when = timer.when;
            when.pass(now);
            when.next
        }
        _ => None,
    });
    timers.min()
}

impl Shared {
    /// When something is to happen next.
    pub(crate) fn next_tick(&self, now: u64) -> Option<u64> {
        let (signals, files) = (self.timers.next(), next_open(&self.opens, now));
        signals.into_iter().chain(files).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_goes_off_once_or_as_often_as_its_interval_has_passed() {
        let mut once = When {
            next: Some(10),
            interval: 0,
        };
        assert_eq!((once.pass(9), once.pass(10), once.pass(11)), (0, 1, 0));
        let mut often = When {
            next: Some(10),
            interval: 5,
        };
        assert_eq!((often.pass(24), often.next), (3, Some(25)));
        assert_eq!((often.pass(25), often.next), (1, Some(30)));
        let mut long = When {
            next: Some(1),
            interval: u64::MAX,
        };
        assert_eq!((long.pass(u64::MAX), long.next), (1, None), "never again");
    }

    #[test]
    fn each_process_has_its_own_numbers() {
        let mut timers = Timers::default();
        let made = |owner, number| Timer {
            owner,
            kind: Kind::Made {
                number,
                thread: None,
                value: 7,
            },
            signal: 14,
            clock: 1,
            when: When {
                next: Some(100),
                interval: 10,
            },
            missed: 0,
        };
        assert!(timers.add(made(1, 0)) && timers.add(made(1, 1)) && timers.add(made(2, 0)));
        assert_eq!((timers.free(1), timers.free(2), timers.free(3)), (2, 1, 0));
        assert!(timers.remove(1, 0) && !timers.remove(1, 0));
        assert_eq!(timers.free(1), 0);
        let sent = timers.due(125);
        assert_eq!(sent.iter().map(|(owner, _)| *owner).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(
            sent[0].1.told.from,
            [1, 2],
            "its number, and how often it went off in vain"
        );
        assert_eq!(timers.next(), Some(130));
        timers.end(1);
        timers.end_made(2);
        assert_eq!(timers.next(), None);
    }
}
