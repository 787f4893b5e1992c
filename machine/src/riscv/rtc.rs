//! The Goldfish real-time clock: nanoseconds of Unix time, and one alarm.

/// The registers.
mod register {
    pub(super) const TIME_LOW: u64 = 0x00;
    pub(super) const TIME_HIGH: u64 = 0x04;
    pub(super) const ALARM_LOW: u64 = 0x08;
    pub(super) const ALARM_HIGH: u64 = 0x0c;
    pub(super) const INTERRUPT_ENABLE: u64 = 0x10;
    pub(super) const CLEAR_ALARM: u64 = 0x14;
    pub(super) const ALARM_STATUS: u64 = 0x18;
    pub(super) const CLEAR_INTERRUPT: u64 = 0x1c;
}

/// The clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rtc {
    /// What it showed at the virtual time 0.
    start: u64,
    /// The high half as it was when the low half was read.
    high: u32,
    alarm: u64,
    armed: bool,
    pending: bool,
    enabled: bool,
}

fn with_low(old: u64, value: u32) -> u64 {
    old & !u64::from(u32::MAX) | u64::from(value)
}

fn with_high(old: u64, value: u32) -> u64 {
    old & u64::from(u32::MAX) | u64::from(value) << 32
}

impl Rtc {
    pub(super) fn new(start: u64) -> Self {
        Rtc {
            start,
            high: 0,
            alarm: 0,
            armed: false,
            pending: false,
            enabled: false,
        }
    }

    /// Whether it differs from `other` in nothing but that time has passed.
    pub(super) fn same_settings(&self, other: &Rtc) -> bool {
        (self.start, self.alarm, self.enabled) == (other.start, other.alarm, other.enabled)
    }

    fn time(&self, now: u64) -> u64 {
        self.start.wrapping_add(now)
    }

    /// The virtual time at which the alarm goes off.
    pub(super) fn next_event(&self) -> Option<u64> {
        self.armed.then(|| self.alarm.wrapping_sub(self.start))
    }

    /// Lets the alarm go off if it is time; the level of the interrupt line.
    pub(super) fn line(&mut self, now: u64) -> bool {
        if self.armed && self.alarm <= self.time(now) {
            (self.armed, self.pending) = (false, true);
        }
        self.pending && self.enabled
    }

    /// Reads a register of four bytes.
    pub(super) fn read(&mut self, offset: u64, now: u64) -> u32 {
        match offset {
            register::TIME_LOW => {
                let time = self.time(now);
                self.high = (time >> 32) as u32;
                time as u32
            }
            register::TIME_HIGH => self.high,
            register::ALARM_LOW => self.alarm as u32,
            register::ALARM_HIGH => (self.alarm >> 32) as u32,
            register::INTERRUPT_ENABLE => self.enabled.into(),
            register::ALARM_STATUS => self.armed.into(),
            _ => 0,
        }
    }

    /// Writes a register of four bytes.
    pub(super) fn write(&mut self, offset: u64, value: u32, now: u64) {
        let time = self.time(now);
        match offset {
            register::TIME_LOW => self.start = with_low(time, value).wrapping_sub(now),
            register::TIME_HIGH => self.start = with_high(time, value).wrapping_sub(now),
            // The low half arms, so a driver writes the high half first.
            register::ALARM_LOW => (self.alarm, self.armed) = (with_low(self.alarm, value), true),
            register::ALARM_HIGH => self.alarm = with_high(self.alarm, value),
            register::INTERRUPT_ENABLE => self.enabled = value & 1 == 1,
            register::CLEAR_ALARM => self.armed = false,
            register::CLEAR_INTERRUPT => self.pending = false,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0x1_ffff_fff0;

    #[test]
    fn the_high_half_belongs_to_the_low_half_that_was_read() {
        let mut rtc = Rtc::new(START);
        assert_eq!(rtc.read(register::TIME_LOW, 0), 0xffff_fff0);
        assert_eq!(rtc.read(register::TIME_HIGH, 100), 1);
        assert_eq!(rtc.read(register::TIME_LOW, 100), 84);
        assert_eq!(rtc.read(register::TIME_HIGH, 100), 2);
    }

    #[test]
    fn a_time_that_was_set_goes_on_from_there() {
        let mut rtc = Rtc::new(START);
        rtc.write(register::TIME_HIGH, 7, 50);
        rtc.write(register::TIME_LOW, 9, 50);
        assert_eq!(rtc.read(register::TIME_LOW, 60), 19);
        assert_eq!(rtc.read(register::TIME_HIGH, 60), 7);
    }

    #[test]
    fn an_alarm_interrupts_until_it_is_cleared() {
        let mut rtc = Rtc::new(START);
        rtc.write(register::INTERRUPT_ENABLE, 1, 0);
        rtc.write(register::ALARM_HIGH, 2, 0);
        rtc.write(register::ALARM_LOW, 0, 0);
        assert_eq!(rtc.next_event(), Some(16));
        assert_eq!((rtc.line(15), rtc.read(register::ALARM_STATUS, 15)), (false, 1));
        assert_eq!((rtc.line(16), rtc.read(register::ALARM_STATUS, 16)), (true, 0));
        rtc.write(register::INTERRUPT_ENABLE, 0, 17);
        assert!(!rtc.line(17));
        rtc.write(register::INTERRUPT_ENABLE, 1, 18);
        rtc.write(register::CLEAR_INTERRUPT, 1, 18);
        assert!(!rtc.line(18) && rtc.next_event().is_none());
        rtc.write(register::ALARM_LOW, 5, 30);
        assert!(rtc.line(30), "an alarm in the past goes off at once");
        rtc.write(register::CLEAR_INTERRUPT, 1, 30);
        rtc.write(register::ALARM_LOW, 0xffff, 30);
        rtc.write(register::CLEAR_ALARM, 1, 31);
        assert!(!rtc.line(1 << 20), "an alarm that was cleared does not go off");
    }
}
