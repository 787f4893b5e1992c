//! How long a core stays in the monitor without a look at what has become due: from a trap out of a program to the return
//! into one, to the next reading of the clock, or to the instruction that waits for an interrupt; and from there on.

/// A stay in the monitor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stay {
    /// Instructions without a look at the clock.
    pub instructions: u64,
    /// Address in the program at which it was trapped.
    pub from: u64,
}

/// The stays of one core. Nothing is a stay before the first program has run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stays {
    /// Since when, on the core's clock, and from where.
    current: Option<(u64, u64)>,
    /// From where, while it waits for an interrupt.
    waiting: Option<u64>,
    longest: Stay,
}

impl Stays {
    /// A trap out of a program.
    pub(crate) fn enter(&mut self, now: u64, from: u64) {
        self.current = Some((now, from));
    }

    /// A reading of the clock.
    pub(crate) fn look(&mut self, now: u64) {
        if let Some((_, from)) = self.current {
            self.leave(now);
            self.enter(now, from);
        }
    }

    /// A return into a program.
    pub(crate) fn leave(&mut self, now: u64) {
        if let Some((since, from)) = self.current.take() {
            let instructions = now - since;
            if instructions > self.longest.instructions {
                self.longest = Stay { instructions, from };
            }
        }
    }

    /// Nothing to do until an interrupt comes.
    pub(crate) fn wait(&mut self, now: u64) {
        self.waiting = self.current.map(|(_, from)| from);
        self.leave(now);
    }

    /// The interrupt has come.
    pub(crate) fn resume(&mut self, now: u64) {
        if let Some(from) = self.waiting.take() {
            self.enter(now, from);
        }
    }

    /// The longest one that has ended.
    pub(crate) fn longest(&self) -> Stay {
        self.longest
    }
}
