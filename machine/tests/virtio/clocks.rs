//! The real-time clocks through their registers, and their interrupts as the interrupt controller sees them.

use machine::Stop;
use machine::virtio::Version;

use crate::boards::{Guest, Kind, START};

#[test]
fn the_goldfish_clock_tells_the_time_and_rings() {
    let mut guest = Guest::new(Kind::CheriRiscv, Version::Legacy);
    let clock = guest.clock();
    let low = guest.load(clock);
    let time = u64::from(guest.load(clock + 4)) << 32 | u64::from(low);
    assert!((START..START + 1000).contains(&time), "{time}");
    let alarm = time + 50_000;
    guest.store(clock + 0x10, 1);
    guest.store(clock + 0x0c, (alarm >> 32) as u32);
    guest.store(clock + 0x08, alarm as u32);
    assert_eq!(guest.load(clock + 0x18), 1);
    guest.pass(40_000);
    assert!(!guest.clock_pending());
    guest.pass(10_000);
    assert!(guest.clock_pending());
    guest.store(clock + 0x1c, 1);
    assert!(!guest.clock_pending());
}

#[test]
fn the_pl031_tells_the_time_and_rings() {
    let mut guest = Guest::new(Kind::Morello, Version::Legacy);
    let clock = guest.clock();
    assert_eq!(guest.load(clock), 1_000_000_000);
    assert_eq!(guest.load(clock + 0xfe0), 0x31);
    guest.store(clock + 0x10, 1);
    guest.store(clock + 4, 1_000_000_002);
    guest.pass(1_900_000_000);
    assert!(!guest.clock_pending());
    guest.pass(100_000_000);
    assert!(guest.clock_pending());
    assert_eq!((guest.load(clock), guest.load(clock + 0x18)), (1_000_000_002, 1));
    guest.store(clock + 0x1c, 1);
    assert!(!guest.clock_pending());
}

#[test]
fn a_guest_that_waits_sleeps_until_the_alarm() {
    for (kind, alarm) in [(Kind::CheriRiscv, 8), (Kind::Morello, 4)] {
        let mut guest = Guest::new(kind, Version::Legacy);
        let clock = guest.clock();
        let second = START / 1_000_000_000 + 3;
        if kind == Kind::CheriRiscv {
            let time = second * 1_000_000_000;
            guest.store(clock + 0x0c, (time >> 32) as u32);
            guest.store(clock + alarm, time as u32);
        } else {
            guest.store(clock + alarm, second as u32);
        }
        assert_eq!(guest.wait(), Stop::Idle, "nobody enabled the interrupt");
        assert_eq!(guest.time(), 3_000_000_000);
    }
}

#[test]
fn a_clock_that_was_set_is_back_at_its_start_after_a_reset_and_a_snapshot() {
    let mut guest = Guest::new(Kind::Morello, Version::Legacy);
    let clock = guest.clock();
    guest.and_back(|guest| guest.store(clock + 8, 77));
    assert_eq!(guest.load(clock), 1_000_000_000);
    guest.store(clock + 8, 77);
    assert_eq!(guest.load(clock), 77);
    guest.reset();
    assert_eq!(guest.load(clock), 1_000_000_000);
}
