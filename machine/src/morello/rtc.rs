//! The PL031 real-time clock (DDI 0224): seconds of Unix time, and a match register that interrupts.

use crate::clock::SECOND;

const IDENTIFICATION: [u8; 8] = [0x31, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// The registers.
mod register {
    pub(super) const DATA: u64 = 0x00;
    pub(super) const MATCH: u64 = 0x04;
    pub(super) const LOAD: u64 = 0x08;
    pub(super) const CONTROL: u64 = 0x0c;
    pub(super) const MASK: u64 = 0x10;
    pub(super) const RAW_STATUS: u64 = 0x14;
    pub(super) const MASKED_STATUS: u64 = 0x18;
    pub(super) const CLEAR: u64 = 0x1c;
}

/// The clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rtc {
    /// What it showed at the virtual time 0, in seconds of Unix time and the part of a second that had passed.
    start: u32,
    fraction: u64,
    matching: u32,
    load: u32,
    enabled: bool,
    raised: bool,
    /// The virtual time at which the match register is reached.
    due: Option<u64>,
}

impl Rtc {
    /// A clock that shows `start`, in nanoseconds of Unix time.
    pub(super) fn new(start: u64) -> Self {
        Self {
            start: (start / SECOND) as u32,
            fraction: start % SECOND,
            matching: 0,
            load: 0,
            enabled: false,
            raised: false,
            due: None,
        }
    }

    /// Whether it differs from `other` in nothing but that time has passed.
    pub(super) fn same_settings(&self, other: &Rtc) -> bool {
        (self.start, self.matching, self.enabled) == (other.start, other.matching, other.enabled)
    }

    fn time(&self, now: u64) -> u32 {
        self.start.wrapping_add(((now + self.fraction) / SECOND) as u32)
    }

    /// Sets the time at which the clock will show what the match register says; it is reached already if it shows it now.
    fn set_due(&mut self, now: u64) {
        let seconds = u64::from(self.matching.wrapping_sub(self.time(now)));
        let begun = (now + self.fraction) / SECOND;
        self.due = Some(((begun + seconds) * SECOND).saturating_sub(self.fraction).max(now));
    }

    /// The virtual time of the next match.
    pub(super) fn next_event(&self) -> Option<u64> {
        self.due
    }

    /// Raises the interrupt if the match register is reached; the level of the interrupt line.
    pub(super) fn interrupt(&mut self, now: u64) -> bool {
        if self.due.is_some_and(|due| due <= now) {
            (self.due, self.raised) = (None, true);
        }
        self.raised && self.enabled
    }

    /// Reads a register.
    pub(super) fn read(&self, offset: u64, now: u64) -> u64 {
        let value = match offset {
            register::DATA => self.time(now),
            register::MATCH => self.matching,
            register::LOAD => self.load,
            // Always on.
            register::CONTROL => 1,
            register::MASK => self.enabled.into(),
            register::RAW_STATUS => self.raised.into(),
            register::MASKED_STATUS => (self.raised && self.enabled).into(),
            0xfe0..0x1000 => IDENTIFICATION[(offset - 0xfe0) as usize / 4].into(),
            _ => 0,
        };
        value.into()
    }

    /// Writes a register.
    pub(super) fn write(&mut self, offset: u64, value: u64, now: u64) {
        let value = value as u32;
        match offset {
            register::MATCH => {
                self.matching = value;
                self.set_due(now);
            }
            register::LOAD => {
                self.load = value;
                self.start = self.start.wrapping_add(value.wrapping_sub(self.time(now)));
                self.set_due(now);
            }
            register::MASK => self.enabled = value & 1 == 1,
            register::CLEAR => self.raised = false,
            _ => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_seconds_from_its_start() {
        let rtc = Rtc::new(1000 * SECOND + SECOND / 2);
        assert_eq!(rtc.read(register::DATA, 0), 1000);
        assert_eq!(rtc.read(register::DATA, SECOND / 2 - 1), 1000);
        assert_eq!(rtc.read(register::DATA, SECOND / 2), 1001);
        assert_eq!((rtc.read(0xfe0, 0), rtc.read(0xff0, 0)), (0x31, 0x0d));
    }

    #[test]
    fn a_match_interrupts_until_it_is_cleared() {
        let mut rtc = Rtc::new(1000 * SECOND + SECOND / 2);
        rtc.write(register::MASK, 1, 0);
        rtc.write(register::MATCH, 1002, 0);
        let due = 3 * SECOND / 2;
        assert_eq!(rtc.next_event(), Some(due));
        assert!(!rtc.interrupt(due - 1) && rtc.interrupt(due));
        assert_eq!(
            (rtc.read(register::DATA, due), rtc.read(register::MASKED_STATUS, due)),
            (1002, 1)
        );
        rtc.write(register::CLEAR, 1, due);
        assert!(!rtc.interrupt(due));
    }

    #[test]
    fn a_time_that_was_loaded_goes_on_from_there() {
        let mut rtc = Rtc::new(1000 * SECOND);
        rtc.write(register::LOAD, 5, 3 * SECOND);
        assert_eq!(rtc.read(register::DATA, 5 * SECOND), 7);
        assert_eq!(rtc.read(register::LOAD, 5 * SECOND), 5);
        rtc.write(register::MASK, 1, 5 * SECOND);
        rtc.write(register::MATCH, 7, 5 * SECOND);
        assert!(rtc.interrupt(5 * SECOND), "a match with the present time is one");
    }
}
