//! The generic timer (DDI 0487 D11): five timers against one counter. Time is counted in executed instructions.

/// Counter frequency of QEMU's `virt` in Hz.
pub(super) const FREQUENCY: u64 = 62_500_000;
/// Instructions a second: each takes a nanosecond.
const INSTRUCTIONS: u64 = 1_000_000_000;

/// One of the timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    Physical,
    Virtual,
    Hypervisor,
    HypervisorVirtual,
    Secure,
}

/// A timer's view: TVAL, CTL or CVAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Value,
    Control,
    Compare,
}

const ENABLE: u64 = 1;
const MASKED: u64 = 2;
const CONDITION: u64 = 4;

impl Timer {
    /// All of them, with the private interrupt each one raises.
    pub(super) const ALL: [(Timer, usize); 5] = [
        (Timer::Physical, 30),
        (Timer::Virtual, 27),
        (Timer::Hypervisor, 26),
        (Timer::HypervisorVirtual, 28),
        (Timer::Secure, 29),
    ];

    /// The timer and view that a system register encoding (bits 20 to 5) names.
    pub(super) fn from_encoding(encoding: u16) -> Option<(Timer, View)> {
        let (op0, op1, crn) = (encoding >> 14, encoding >> 11 & 7, encoding >> 7 & 15);
        let (crm, op2) = (encoding >> 3 & 15, encoding & 7);
        if op0 != 3 || crn != 14 {
            return None;
        }
        let timer = match (op1, crm) {
            (3, 2) => Timer::Physical,
            (3, 3) => Timer::Virtual,
            (4, 2) => Timer::Hypervisor,
            (4, 3) => Timer::HypervisorVirtual,
            (7, 2) => Timer::Secure,
            _ => return None,
        };
        let view = match op2 {
            0 => View::Value,
            1 => View::Control,
            2 => View::Compare,
            _ => return None,
        };
        Some((timer, view))
    }
}

/// The timers of one core.
#[derive(Clone, Debug)]
pub(super) struct Timers {
    /// Instructions to a tick of the counter.
    instructions_per_tick: u64,
    compare: [u64; 5],
    control: [u64; 5],
    /// CNTKCTL_EL1.
    pub(super) kernel_control: u64,
    /// CNTHCTL_EL2.
    pub(super) hypervisor_control: u64,
    /// CNTVOFF_EL2, in ticks.
    pub(super) virtual_offset: u64,
    /// Timers that fire no more until they are set again: a test wants it so.
    lost: [bool; 5],
    /// None of them fires before this time on the clock of instructions: a test wants it so.
    held_until: u64,
}

impl Timers {
    /// Timers in their reset state; the counter's frequency in Hz divides a thousand million.
    pub(super) fn new(frequency: u64) -> Self {
        Timers {
            instructions_per_tick: INSTRUCTIONS / frequency,
            compare: [0; 5],
            control: [0; 5],
            kernel_control: 0,
            hypervisor_control: 0,
            virtual_offset: 0,
            lost: [false; 5],
            held_until: 0,
        }
    }

    /// The counter's frequency in Hz.
    pub(super) fn frequency(&self) -> u64 {
        INSTRUCTIONS / self.instructions_per_tick
    }

    /// The physical count at `now`.
    pub(super) fn physical_count(&self, now: u64) -> u64 {
        now / self.instructions_per_tick
    }

    /// The virtual count at `now`.
    pub(super) fn virtual_count(&self, now: u64) -> u64 {
        self.physical_count(now).wrapping_sub(self.virtual_offset)
    }

    fn count(&self, timer: Timer, now: u64) -> u64 {
        if timer == Timer::Virtual {
            self.virtual_count(now)
        } else {
            self.physical_count(now)
        }
    }

    /// Reads a timer register.
    pub(super) fn read(&self, timer: Timer, view: View, now: u64) -> u64 {
        let index = timer as usize;
        match view {
            View::Compare => self.compare[index],
            View::Value => self.compare[index].wrapping_sub(self.count(timer, now)) as u32 as u64,
            View::Control => self.control[index] | if self.expired(timer, now) { CONDITION } else { 0 },
        }
    }

    /// Writes a timer register.
    pub(super) fn write(&mut self, timer: Timer, view: View, value: u64, now: u64) {
        let index = timer as usize;
        self.lost[index] = false;
        match view {
            View::Compare => self.compare[index] = value,
            View::Value => self.compare[index] = self.count(timer, now).wrapping_add_signed(value as i32 as i64),
            View::Control => self.control[index] = value & (ENABLE | MASKED),
        }
    }

    fn expired(&self, timer: Timer, now: u64) -> bool {
        let index = timer as usize;
        self.control[index] & ENABLE != 0 && self.count(timer, now) >= self.compare[index]
    }

    /// Whether the timer asserts its interrupt at `now`.
    pub(super) fn asserted(&self, timer: Timer, now: u64) -> bool {
        let wanted = self.control[timer as usize] & MASKED == 0 && !self.lost[timer as usize];
        wanted && self.expired(timer, now) && now >= self.held_until
    }

    /// What the timers are set to fires no more.
    pub(super) fn lose(&mut self) {
        self.lost = [true; 5];
    }

    /// None of the timers fires before `time`.
    pub(super) fn hold(&mut self, time: u64) {
        self.held_until = time;
    }

    /// Sets the timers that are on to `now`.
    pub(super) fn fire(&mut self, now: u64) {
        for (timer, _) in Timer::ALL {
            if self.control[timer as usize] & ENABLE != 0 {
                self.compare[timer as usize] = self.count(timer, now);
            }
        }
    }

    /// When the next of the enabled timers expires, on the clock of instructions; `None` if none will.
    pub(super) fn next_event(&self, now: u64) -> Option<u64> {
        Timer::ALL
            .iter()
            .filter(|(timer, _)| {
                let index = *timer as usize;
                self.control[index] & (ENABLE | MASKED) == ENABLE && !self.lost[index] && !self.asserted(*timer, now)
            })
            .filter_map(|(timer, _)| {
                let remaining = self.compare[*timer as usize].saturating_sub(self.count(*timer, now));
                let event = (self.physical_count(now))
                    .checked_add(remaining)?
                    .checked_mul(self.instructions_per_tick)?;
                Some(event.max(self.held_until))
            })
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_expires_at_its_compare_value_and_not_before() {
        let mut timers = Timers::new(FREQUENCY);
        timers.write(Timer::Virtual, View::Value, 10, 160);
        timers.write(Timer::Virtual, View::Control, 1, 160);
        assert_eq!(timers.read(Timer::Virtual, View::Compare, 160), 20);
        assert_eq!(timers.next_event(160), Some(320));
        assert!(!timers.asserted(Timer::Virtual, 319));
        assert!(timers.asserted(Timer::Virtual, 320));
        assert_eq!(timers.read(Timer::Virtual, View::Control, 320), 5);
        timers.write(Timer::Virtual, View::Control, 3, 320);
        assert!(!timers.asserted(Timer::Virtual, 320));
    }

    #[test]
    fn a_compare_value_at_the_end_of_time_never_fires() {
        let mut timers = Timers::new(FREQUENCY);
        timers.write(Timer::Physical, View::Compare, u64::MAX, 0);
        timers.write(Timer::Physical, View::Control, 1, 0);
        assert_eq!(timers.next_event(1000), None);
        assert!(!timers.asserted(Timer::Physical, 1000));
    }

    #[test]
    fn the_virtual_count_lags_by_its_offset() {
        let timers = Timers {
            virtual_offset: 3,
            ..Timers::new(FREQUENCY)
        };
        assert_eq!((timers.physical_count(160), timers.virtual_count(160)), (10, 7));
    }
}
