//! The registers of a slot, and when a device has to keep still.

use machine::virtio::{Block, Entropy, Version};

use crate::boards::{ALL, Guest};
use crate::driver::{DRIVER_OK, Driver, FEATURES_OK, VERSION_1, register};

#[test]
fn empty_slots_say_so() {
    for (kind, version) in ALL {
        let mut guest = Guest::new(kind, version);
        for slot in 0..guest.slots() {
            let base = guest.slot(slot);
            assert_eq!(guest.load(base + register::MAGIC), 0x7472_6976);
            assert_eq!(
                guest.load(base + register::VERSION),
                1 + u32::from(version == Version::Modern)
            );
            assert_eq!(guest.load(base + register::VENDOR), 0x554d_4551);
            assert_eq!(guest.load(base + register::DEVICE), 0);
            guest.store(base + register::STATUS, 15);
            assert_eq!(guest.load(base + register::STATUS), 0);
        }
    }
}

#[test]
fn slots_are_filled_from_the_highest_one_down() {
    for (kind, version) in ALL {
        let mut guest = Guest::new(kind, version);
        let last = guest.slots() - 1;
        assert_eq!(guest.attach(Block::new(vec![0; 512])).unwrap(), last);
        for slot in (0..last).rev() {
            assert_eq!(guest.attach(Entropy::seeded(1)).unwrap(), slot);
        }
        let full = guest.attach(Entropy::seeded(1)).unwrap_err().to_string();
        assert_eq!(full, format!("all {} virtio slots of the board are taken", last + 1));
        for slot in 0..=last {
            let device = guest.slot(slot) + register::DEVICE;
            assert_eq!(guest.load(device), if slot == last { 2 } else { 4 });
        }
    }
}

#[test]
fn each_version_has_its_own_registers() {
    for board in ALL {
        let modern = board.1 == Version::Modern;
        let mut driver = Driver::cold(board, Entropy::seeded(1));
        assert_eq!(driver.features() & VERSION_1 != 0, modern);
        assert_eq!(driver.features() & 1 << 28, 0, "no indirect descriptors");
        driver.set_up(0, 4);
        assert_eq!(driver.read(register::QUEUE_READY), u32::from(modern));
        assert_eq!(driver.read(register::QUEUE_PAGE) != 0, !modern);
        assert_eq!(driver.read(register::QUEUE_MAX), 256);
        driver.write(register::QUEUE_SELECT, 1);
        assert_eq!(driver.read(register::QUEUE_MAX), 0, "there is one queue");
        let shared_memory = driver.read(0xb0);
        assert_eq!(shared_memory, if modern { u32::MAX } else { 0 });
        driver.write(register::DEVICE_FEATURES_SELECT, 2);
        assert_eq!(driver.read(register::DEVICE_FEATURES), 0);
    }
}

#[test]
fn features_that_were_not_offered_are_refused() {
    for board in ALL {
        let mut driver = Driver::cold(board, Entropy::seeded(1));
        let offered = driver.features();
        if board.1 == Version::Legacy {
            driver.set_features(u64::MAX);
            driver.write(register::STATUS, DRIVER_OK);
            continue;
        }
        for features in [offered | 1 << 28, offered & !VERSION_1] {
            driver.write(register::STATUS, 0);
            driver.set_features(features);
            driver.write(register::STATUS, 3 | FEATURES_OK);
            assert_eq!(driver.read(register::STATUS), 3);
        }
        driver.set_features(VERSION_1);
        driver.write(register::STATUS, 3 | FEATURES_OK);
        assert_eq!(driver.read(register::STATUS), 3 | FEATURES_OK);
        driver.set_features(u64::MAX);
        driver.write(register::STATUS, 3 | FEATURES_OK | DRIVER_OK);
        assert_eq!(
            driver.read(register::STATUS),
            3 | FEATURES_OK | DRIVER_OK,
            "agreed is agreed"
        );
    }
}

#[test]
fn nothing_is_done_before_the_driver_is_ready_and_everything_after() {
    for board in ALL {
        let mut driver = Driver::cold(board, Entropy::seeded(1));
        driver.write(register::STATUS, 3);
        driver.write(register::PAGE_SIZE, 0x1000);
        driver.set_features(driver_features(&driver));
        driver.set_up(0, 4);
        let buffer = driver.buffer(0);
        driver.chain(0, 0, &[(buffer, 16, true)]);
        driver.offer(0, 0);
        driver.notify(0);
        driver.guest.pass(1_000_000);
        assert_eq!((driver.take(0), driver.interrupted()), (vec![], 0));
        let agreed = match board.1 {
            Version::Legacy => 3,
            Version::Modern => 3 | FEATURES_OK,
        };
        driver.write(register::STATUS, agreed);
        driver.write(register::STATUS, agreed | DRIVER_OK);
        assert_eq!((driver.take(0), driver.interrupted()), (vec![(0, 16)], 1));
    }
}

fn driver_features(driver: &Driver) -> u64 {
    match driver.version {
        Version::Legacy => 0,
        Version::Modern => VERSION_1,
    }
}

#[test]
fn a_modern_driver_that_has_not_agreed_on_features_gets_nothing() {
    for board in ALL.into_iter().filter(|(_, version)| *version == Version::Modern) {
        let mut driver = Driver::cold(board, Entropy::seeded(1));
        driver.write(register::STATUS, 3);
        driver.set_up(0, 4);
        driver.write(register::STATUS, 3 | DRIVER_OK);
        let buffer = driver.buffer(0);
        assert_eq!(driver.submit(0, &[(buffer, 16, true)]), None);
    }
}

#[test]
fn a_reset_ends_what_is_in_flight() {
    for board in ALL {
        let mut driver = Driver::new(board, Block::new(vec![7; 1024]).with_latency(5_000), 1, 0);
        let header = driver.buffer(0);
        let data = driver.buffer(0x1000);
        let read = [(header, 16, false), (data, 512, true), (data + 512, 1, true)];
        driver.poke(data + 512, &[0xee]);
        assert_eq!(driver.submit(0, &read), None, "in flight");
        driver.write(register::STATUS, 0);
        driver.guest.pass(10_000);
        assert_eq!(driver.peek(data, 513), [&[0; 512][..], &[0xee]].concat());
        driver.start(1, 8, 0);
        assert_eq!(driver.submit(0, &read), None);
        driver.guest.pass(10_000);
        assert_eq!(driver.take(0), [(0, 513)]);
        assert_eq!(driver.peek(data, 513), [&[7; 512][..], &[0]].concat());
        assert_eq!(driver.interrupted(), 1);
    }
}

#[test]
fn a_request_takes_as_long_as_the_latency_says_and_a_waiting_guest_sleeps_so_long() {
    for board in ALL {
        let mut driver = Driver::new(board, Block::new(vec![7; 1024]).with_latency(5_000), 1, 0);
        let header = driver.buffer(0);
        let data = driver.buffer(0x1000);
        driver.submit(0, &[(header, 16, false), (data, 512, true), (data + 512, 1, true)]);
        let begun = driver.guest.time();
        assert_eq!(driver.guest.wait(), machine::Stop::Idle, "nobody enabled the interrupt");
        assert_eq!(driver.take(0), [(0, 513)]);
        let passed = driver.guest.time() - begun;
        assert!((4_900..=5_000).contains(&passed), "{passed}");
    }
}

#[test]
fn a_board_that_is_reset_keeps_its_devices_but_nothing_of_their_drivers() {
    for board in ALL {
        let mut driver = Driver::new(board, Block::new(vec![7; 1024]), 1, 0);
        driver.guest.reset();
        assert_eq!(driver.read(register::DEVICE), 2);
        assert_eq!(driver.read(register::STATUS), 0);
        assert_eq!(driver.read(register::CONFIGURATION), 2);
        driver.start(1, 8, 0);
    }
}

#[test]
fn a_snapshot_has_what_drivers_set_up_and_where_random_bytes_stand() {
    for board in ALL {
        let mut driver = Driver::new(board, Entropy::seeded(3), 1, 0);
        let buffer = driver.buffer(0);
        assert_eq!(driver.submit(0, &[(buffer, 16, true)]), Some(16));
        let (slot, mut first) = (driver.slot, Vec::new());
        let rings = driver.rings.clone();
        for _ in 0..2 {
            let mut bytes = Vec::new();
            let mut inner = driver;
            let guest = &mut inner.guest;
            let again = rings.clone();
            guest.and_back(|guest| {
                let taken = std::mem::replace(guest, Guest::new(board.0, board.1));
                let mut driver = Driver {
                    guest: taken,
                    version: board.1,
                    slot,
                    rings: again,
                };
                driver.submit(0, &[(buffer, 16, true)]);
                bytes = driver.peek(buffer, 16);
                driver.write(register::STATUS, 0);
                *guest = driver.guest;
            });
            driver = inner;
            assert_eq!(driver.read(register::STATUS) & DRIVER_OK, DRIVER_OK);
            if first.is_empty() {
                first.clone_from(&bytes);
            }
            assert_eq!(bytes, first);
        }
        assert_ne!(first, [0; 16]);
    }
}
