//! The state of the running monitor, and what happens to whole cVMs: starting, ending, restarting, the summary.

use crate::authority::capfile::Capfile;
use crate::authority::ledger::Ledger;
use crate::cvm::{Cvm, End, Life};
use crate::report::console::say;
use crate::run::call::Service;
use crate::run::thread::{Scheduler, State};
use abi::manifest::RestartPolicy;
use alloc::boxed::Box;
use alloc::vec::Vec;
use arch::Frame;
use spin::Mutex;

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// Fastest timer, in ticks a second, with which nanoseconds are told without overflow.
pub(crate) const FREQUENCY_LIMIT: u64 = u64::MAX / SECOND;

/// A cVM that is started again rests for this many times as long as the monitor has dealt with its end, the report above
/// all, so that a storm of faults leaves most of the processor to the others.
const RESTART_REST: u64 = 8;

/// Everything that a trap handler works on. Lock order: this, then the console.
pub(crate) static MONITOR: Mutex<Option<Box<Monitor>>> = Mutex::new(None);

/// The running monitor.
pub(crate) struct Monitor {
    pub(crate) scheduler: Scheduler,
    /// cVM n has thread n as its main thread.
    pub(crate) cvms: Vec<Cvm>,
    /// What the cVMs that serve others are doing, by the number of the cVM.
    pub(crate) services: Vec<Option<Box<Service>>>,
    /// Ticks that a served hostcall may take, by the number of the cVM that makes it.
    pub(crate) budgets: Vec<u64>,
    pub(crate) capfiles: Vec<Capfile>,
    pub(crate) ledger: Ledger,
    /// Ticks of the timer in a second.
    pub(crate) frequency: u64,
    /// Tick at which the monitor started.
    pub(crate) boot: u64,
    /// Console input that nobody has read yet.
    pub(crate) input: heapless::Deque<u8, 1024>,
    /// The first cVM that still waits for an earlier one; all before it have been started.
    pub(crate) next_start: usize,
}

impl Monitor {
    /// Nanoseconds as ticks, rounded up. Whole seconds and the rest apart, so that 64 bits are enough: the frequency is at
    /// most [`FREQUENCY_LIMIT`].
    pub(crate) fn ticks(&self, nanoseconds: u64) -> u64 {
        let seconds = (nanoseconds / SECOND).saturating_mul(self.frequency);
        seconds.saturating_add((nanoseconds % SECOND * self.frequency).div_ceil(SECOND))
    }

    /// Ticks as nanoseconds.
    pub(crate) fn nanoseconds(&self, ticks: u64) -> u64 {
        let seconds = (ticks / self.frequency).wrapping_mul(SECOND);
        seconds.wrapping_add(ticks % self.frequency * SECOND / self.frequency)
    }

    /// Starts the cVMs whose turn has come: those before the first one that others wait for.
    pub(crate) fn start_waiting(&mut self, now: u64) {
        while self.next_start < self.cvms.len() {
            if let Some(before) = self.next_start.checked_sub(1) {
                let previous = &self.cvms[before];
                let ended = matches!(previous.life, Life::Ended(_));
                let waited = match previous.spec.wait {
                    ..=-1 => true,
                    0 => ended,
                    seconds => ended || now >= self.wait_end(before, seconds),
                };
                if !waited {
                    return;
                }
            }
            let id = self.next_start;
            self.next_start += 1;
            self.start(id, now);
        }
    }

    fn wait_end(&self, id: usize, seconds: i32) -> u64 {
        let started = self.cvms[id].first_started.unwrap_or(self.boot);
        started.saturating_add(self.ticks(SECOND.saturating_mul(seconds.unsigned_abs().into())))
    }

    fn start(&mut self, id: usize, now: u64) {
        let cvm = &mut self.cvms[id];
        match cvm.begin(&self.ledger, now) {
            Ok(()) => self.scheduler.wake(id),
            Err(error) => {
                say!(Error, "{}: cannot start: {error}", cvm.spec.name);
                cvm.life = Life::Ended(End::Failed);
                self.server_ended(id, None);
                self.client_ended(id);
            }
        }
    }

    /// A cVM's life is over: its threads stop, their registers are forgotten, calls that it made or served are undone, its
    /// restart policy decides what follows. `now` is when the monitor began to deal with it.
    pub(crate) fn end(&mut self, id: usize, end: End, now: u64) {
        let served = self.finish_call(id, now);
        self.withdraw(id, now);
        self.scheduler.stop(id, now);
        self.scheduler.threads[id].frame.clear();
        let delay = self.ticks(self.cvms[id].spec.restart_delay);
        let cvm = &mut self.cvms[id];
        cvm.leave();
        cvm.lines.finish(&cvm.spec.name);
        if let End::Faulted(kind) = end {
            cvm.last_fault = Some(kind);
        }
        let wanted = match cvm.spec.restart {
            RestartPolicy::Never => false,
            RestartPolicy::OnFault => matches!(end, End::Faulted(_)),
            RestartPolicy::Always => end != End::Failed,
        };
        if wanted && cvm.restarts < cvm.spec.restart_limit {
            cvm.restarts += 1;
            let spent = arch::timer::now().saturating_sub(now);
            cvm.life = Life::Restarting {
                at: now.saturating_add(delay.max(spent.saturating_mul(RESTART_REST))),
                ended: end,
            };
            say!(
                Info,
                "{}: restart {} of {}",
                cvm.spec.name,
                cvm.restarts,
                cvm.spec.restart_limit
            );
        } else {
            cvm.life = Life::Ended(end);
            cvm.authority.clear();
        }
        self.server_ended(id, served);
        self.client_ended(id);
        self.due(now);
    }

    /// Does what the time has come for: sleepers wake, cVMs start and start again.
    pub(crate) fn due(&mut self, now: u64) {
        self.scheduler.wake_sleepers(now);
        self.end_late_calls(now);
        for id in 0..self.cvms.len() {
            if matches!(self.cvms[id].life, Life::Restarting { at, .. } if at <= now) {
                self.start(id, now);
            }
        }
        self.start_waiting(now);
    }

    /// The next tick at which [`Monitor::due`] has something to do or the slice ends.
    fn deadline(&self) -> Option<u64> {
        let restarts = self.cvms.iter().filter_map(|cvm| match cvm.life {
            Life::Restarting { at, .. } => Some(at),
            _ => None,
        });
        let waiting = self
            .next_start
            .checked_sub(1)
            .filter(|_| self.next_start < self.cvms.len());
        let waiting = waiting.and_then(|before| match self.cvms[before].spec.wait {
            ..=0 => None,
            seconds => Some(self.wait_end(before, seconds)),
        });
        self.scheduler
            .deadline()
            .into_iter()
            .chain(restarts)
            .chain(waiting)
            .min()
    }

    /// Chooses who runs next, waiting for something to happen when nobody can. Ends the run when no cVM is left.
    pub(crate) fn next(&mut self) -> &'static Frame {
        loop {
            let now = arch::timer::now();
            if let Some(frame) = self.scheduler.dispatch(now) {
                if self.prepare(frame) {
                    continue;
                }
                arch::timer::set_deadline(self.deadline());
                return frame;
            }
            if self.cvms.iter().all(|cvm| matches!(cvm.life, Life::Ended(_))) {
                self.finish(now);
            }
            arch::timer::set_deadline(self.deadline());
            arch::interrupts::wait();
            self.service_devices();
            self.due(arch::timer::now());
        }
    }

    /// What comes before the current thread runs: the end of its cVM, when a server has answered its exit; a step of its
    /// load in its time, when it is not loaded yet, then what has become due meanwhile.
    fn prepare(&mut self, frame: &'static Frame) -> bool {
        let (Some(thread), Some(id)) = (self.scheduler.current(), self.current()) else {
            return false;
        };
        if let Some(code) = self.scheduler.threads[thread].exiting.take() {
            self.end(id, End::Exited(code), arch::timer::now());
            return true;
        }
        if self.cvms[id].loading.is_none() {
            return false;
        }
        if let Err(error) = self.cvms[id].load(frame) {
            say!(Error, "{}: cannot start: {error}", self.cvms[id].spec.name);
            self.cvms[id].loading = None;
            self.end(id, End::Failed, arch::timer::now());
        }
        self.service_devices();
        let now = arch::timer::now();
        self.due(now);
        if self.scheduler.preempted(now) {
            self.scheduler.release(now);
        }
        true
    }

    /// Takes what devices have to say: console input, which wakes who waits for it.
    pub(crate) fn service_devices(&mut self) {
        let input = &mut self.input;
        arch::interrupts::service(|| {
            while !input.is_full() {
                match arch::console::get() {
                    // There is room: this cannot fail.
                    Some(byte) => drop(input.push_back(byte)),
                    None => return,
                }
            }
            // What does not fit stays in the device until somebody has read: `take_input` lets it interrupt again.
            arch::console::set_interrupt(false);
        });
        crate::hostcall::serve_readers(self);
    }

    /// The next byte of console input, without taking it.
    pub(crate) fn peek_input(&self) -> Option<u8> {
        self.input.front().copied()
    }

    /// Takes a byte of console input.
    pub(crate) fn take_input(&mut self) {
        if self.input.is_full() {
            arch::console::set_interrupt(true);
        }
        self.input.pop_front();
    }

    /// Prints what became of every cVM and powers off.
    fn finish(&self, now: u64) -> ! {
        say!(Info, "all cVMs have ended");
        say!(
            Info,
            "{:<16} {:<28} {:>8} {:>12} {:>9}",
            "name",
            "state",
            "restarts",
            "time us",
            "hostcalls"
        );
        for cvm in &self.cvms {
            let state = match cvm.life {
                Life::Ended(End::Exited(code)) => alloc::format!("exited {code}"),
                Life::Ended(End::Faulted(kind)) => alloc::format!("killed: {}", kind.name()),
                _ => alloc::string::String::from("not started"),
            };
            let time = self.nanoseconds(self.scheduler.run_time(cvm.id, now)) / 1000;
            say!(
                Info,
                "{:<16} {state:<28} {:>8} {time:>12} {:>9}",
                cvm.spec.name,
                cvm.restarts,
                cvm.hostcalls
            );
        }
        let success = self.cvms.iter().all(|cvm| cvm.life == Life::Ended(End::Exited(0)));
        say!(Info, "power off, status {}", u8::from(!success));
        arch::power_off(success)
    }

    /// The running cVM. The identity of a caller is this record of the monitor, nothing that the caller holds.
    #[inline]
    pub(crate) fn current(&self) -> Option<usize> {
        self.scheduler
            .current()
            .map(|thread| self.scheduler.threads[thread].cvm)
    }

    /// Blocks the running thread.
    pub(crate) fn block(&mut self, state: State) {
        self.scheduler.block(state, arch::timer::now());
    }
}
