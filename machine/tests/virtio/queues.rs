//! Rings: in order and out of it, what interrupts, and every way to write nonsense into one.

use machine::virtio::{Block, Entropy, Version};

use crate::boards::{ALL, Kind};
use crate::driver::{DRIVER_OK, Driver, EVENT_INDEX, FEATURES_OK, INDIRECT, NEXT, WRITE, register};

fn entropy(board: (Kind, Version), features: u64) -> Driver {
    Driver::new(board, Entropy::seeded(1), 1, features)
}

#[test]
fn every_size_of_a_queue_works_and_its_indices_wrap() {
    for board in ALL {
        for size in [1, 2, 16, 256] {
            let mut driver = Driver::cold(board, Entropy::seeded(1));
            driver.start(1, size, 0);
            let buffer = driver.buffer(0);
            for round in 0..3u16 {
                for entry in 0..size {
                    driver.chain(0, entry, &[(buffer + 16 * u64::from(entry), 3, true)]);
                    driver.offer(0, entry);
                }
                driver.notify(0);
                let expected: Vec<_> = (0..size).map(|entry| (entry.into(), 3)).collect();
                assert_eq!(driver.take(0), expected, "round {round} of {size}");
            }
        }
    }
}

#[test]
fn an_index_wraps_at_the_end_of_its_sixteen_bits() {
    let mut driver = entropy(ALL[0], 0);
    let buffer = driver.buffer(0);
    driver.chain(0, 0, &[(buffer, 1, true)]);
    for _ in 0..0x1_0003 / 8 + 1 {
        for _ in 0..8 {
            driver.offer(0, 0);
        }
        driver.notify(0);
        assert_eq!(driver.take(0).len(), 8);
    }
}

#[test]
fn a_driver_that_wants_no_interrupt_gets_none() {
    for board in ALL {
        let mut driver = entropy(board, 0);
        let buffer = driver.buffer(0);
        let flags = driver.rings[0].available;
        assert!(driver.submit(0, &[(buffer, 1, true)]).is_some());
        assert_eq!(driver.interrupted(), 1);
        driver.poke(flags, &1u16.to_le_bytes());
        assert!(driver.submit(0, &[(buffer, 1, true)]).is_some());
        assert_eq!(driver.interrupted(), 0);
        driver.poke(flags, &0u16.to_le_bytes());
        driver.notify(0);
        assert_eq!(driver.interrupted(), 0, "nothing new was given back");
    }
}

#[test]
fn with_event_indices_the_driver_says_at_which_entry_it_wants_an_interrupt() {
    for board in ALL {
        let mut driver = entropy(board, EVENT_INDEX);
        let buffer = driver.buffer(0);
        let ring = driver.rings[0].clone();
        let used_event = ring.available + 4 + 2 * u64::from(ring.size);
        let available_event = ring.used + 4 + 8 * u64::from(ring.size);
        driver.poke(used_event, &2u16.to_le_bytes());
        // This flag has no meaning with event indices.
        driver.poke(ring.available, &1u16.to_le_bytes());
        for (entry, interrupt) in [(1, 0), (2, 0), (3, 1), (4, 0)] {
            assert!(driver.submit(0, &[(buffer, 1, true)]).is_some());
            assert_eq!(driver.interrupted(), interrupt, "entry {entry}");
            assert_eq!(driver.half(available_event), entry);
        }
    }
}

#[test]
fn an_interrupt_stays_until_it_is_acknowledged() {
    for board in ALL {
        let mut driver = entropy(board, 0);
        let (buffer, slot) = (driver.buffer(0), driver.slot);
        driver.submit(0, &[(buffer, 1, true)]);
        driver.write(register::ACKNOWLEDGE, 2);
        assert!(driver.guest.slot_pending(slot), "that was another reason");
        driver.write(register::ACKNOWLEDGE, 1);
        assert!(!driver.guest.slot_pending(slot));
        driver.submit(0, &[(buffer, 1, true)]);
        assert!(driver.guest.slot_pending(slot));
        driver.write(register::STATUS, 0);
        assert!(!driver.guest.slot_pending(slot), "a reset takes it back");
    }
}

/// Sets a queue of 8 up, lets `spoil` loose on it, notifies, and returns the problem of the device.
fn spoilt(board: (Kind, Version), spoil: impl FnOnce(&mut Driver)) -> String {
    let mut driver = Driver::new(board, Block::new(vec![1; 4096]), 1, 0);
    let buffer = driver.buffer(0);
    driver.chain(
        0,
        0,
        &[
            (buffer, 16, false),
            (buffer + 0x100, 512, true),
            (buffer + 0x400, 1, true),
        ],
    );
    spoil(&mut driver);
    driver.notify(0);
    assert_eq!(driver.take(0), []);
    assert_eq!(driver.peek(buffer + 0x100, 512), [0; 512], "nothing is written");
    let problem = driver.needs_reset();
    driver.start(1, 8, 0);
    let good = [
        (buffer, 16, false),
        (buffer + 0x100, 512, true),
        (buffer + 0x400, 1, true),
    ];
    assert_eq!(driver.submit(0, &good), Some(513), "as good as new");
    assert_eq!(driver.interrupted(), 1);
    problem
}

#[test]
fn a_malformed_queue_is_a_device_that_needs_a_reset() {
    type Spoil = fn(&mut Driver);
    let cases: [(Spoil, &str); 14] = [
        (|driver| driver.offer(0, 8), "descriptor 8 in a queue of 8"),
        (
            |driver| {
                let index = driver.rings[0].available + 2;
                driver.poke(index, &9u16.to_le_bytes());
            },
            "available index is 9 after 0; expected at most 8 more",
        ),
        (
            |driver| {
                let buffer = driver.buffer(0);
                driver.describe(0, 1, buffer, 512, WRITE | NEXT, 0xffff);
                driver.offer(0, 0);
            },
            "descriptor 65535 in a queue of 8",
        ),
        (
            |driver| {
                let buffer = driver.buffer(0);
                driver.describe(0, 2, buffer, 1, WRITE | NEXT, 2);
                driver.offer(0, 0);
            },
            "the chain from descriptor 0 does not end",
        ),
        (
            |driver| {
                let buffer = driver.buffer(0);
                driver.describe(0, 0, buffer, 16, INDIRECT, 0);
                driver.offer(0, 0);
            },
            "descriptor 0 is indirect, which was not offered",
        ),
        (
            |driver| {
                let buffer = driver.buffer(0);
                driver.describe(0, 1, buffer, 0, WRITE | NEXT, 2);
                driver.offer(0, 0);
            },
            "descriptor 1 has length 0",
        ),
        (
            |driver| {
                let buffer = driver.buffer(0);
                driver.describe(0, 2, buffer, 1, 0, 0);
                driver.offer(0, 0);
            },
            "descriptor 2 is to be read, but stands behind one to be written",
        ),
        (
            |driver| {
                driver.describe(0, 1, 0x1000, 512, WRITE | NEXT, 2);
                driver.offer(0, 0);
            },
            "descriptor 1: 0x200 bytes at 0x1000 are not RAM",
        ),
        (
            |driver| {
                let memory = driver.guest.memory();
                let end = memory.base() + memory.size() as u64;
                driver.describe(0, 1, end - 511, 512, WRITE | NEXT, 2);
                driver.offer(0, 0);
            },
            "are not RAM",
        ),
        (
            |driver| {
                driver.describe(0, 1, u64::MAX - 100, 512, WRITE | NEXT, 2);
                driver.offer(0, 0);
            },
            "0x200 bytes at 0xffffffffffffff9b are not RAM",
        ),
        (
            |driver| {
                let buffer = driver.buffer(0);
                driver.describe(0, 1, buffer, u32::MAX, WRITE | NEXT, 2);
                driver.offer(0, 0);
            },
            "0xffffffff bytes",
        ),
        (
            |driver| {
                let buffer = driver.buffer(0);
                driver.chain(0, 0, &[(buffer, 15, false), (buffer, 1, true)]);
                driver.offer(0, 0);
            },
            "request at descriptor 0: 15 bytes to read; expected at least 16",
        ),
        (
            |driver| {
                let buffer = driver.buffer(0);
                driver.chain(0, 0, &[(buffer, 16, false)]);
                driver.offer(0, 0);
            },
            "request at descriptor 0: 0 bytes to write; expected at least 1",
        ),
        (
            |driver| {
                let buffer = driver.buffer(0);
                driver.chain(0, 0, &[(buffer, 1, true)]);
                driver.offer(0, 0);
            },
            "request at descriptor 0: 0 bytes to read; expected at least 16",
        ),
    ];
    for board in ALL {
        for (spoil, message) in cases {
            let problem = spoilt(board, spoil);
            assert!(problem.contains(message), "{problem} (expected {message})");
        }
    }
}

#[test]
fn a_request_of_four_gigabytes_is_malformed() {
    for board in ALL {
        let mut driver = Driver::cold(board, Entropy::seeded(1));
        driver.start(1, 256, 0);
        let memory = driver.guest.memory();
        let (base, size) = (memory.base(), memory.size() as u32);
        // 32 MiB each.
        let buffers = vec![(base, size, true); 256];
        driver.chain(0, 0, &buffers);
        driver.offer(0, 0);
        driver.notify(0);
        assert_eq!(driver.needs_reset(), "request at descriptor 0 has 4 GiB or more");
    }
}

#[test]
fn requests_before_the_malformed_one_are_served() {
    for board in ALL {
        let mut driver = entropy(board, 0);
        let buffer = driver.buffer(0);
        driver.chain(0, 0, &[(buffer, 8, true)]);
        driver.offer(0, 0);
        driver.offer(0, 9);
        driver.notify(0);
        assert_eq!(driver.take(0), [(0, 8)]);
        assert_ne!(driver.peek(buffer, 8), [0; 8]);
        assert_eq!(driver.needs_reset(), "descriptor 9 in a queue of 8");
    }
}

#[test]
fn a_queue_that_cannot_be_is_found_out_when_the_driver_is_ready() {
    for board in ALL {
        let modern = board.1 == Version::Modern;
        let cases: &[(u64, u64, &str)] = if modern {
            &[
                (
                    register::QUEUE_SIZE,
                    3,
                    "queue size is 3; expected a power of two up to 256",
                ),
                (register::QUEUE_SIZE, 512, "queue size is 512; expected"),
                (register::QUEUE_SIZE, 0, "queue size is 0; expected"),
                (register::QUEUE_SIZE, 0x1_0008, "queue size is 65544; expected"),
                (
                    register::QUEUE_DESCRIPTORS,
                    8,
                    "descriptor table at 0x8: expected 0x80 bytes of RAM, aligned to 16",
                ),
                (
                    register::QUEUE_AVAILABLE,
                    0x8000_0001,
                    "available ring at 0x80000001: expected 0x16 bytes",
                ),
                (
                    register::QUEUE_USED,
                    0x4000_0002,
                    "used ring at 0x40000002: expected 0x46 bytes",
                ),
            ]
        } else {
            &[
                (
                    register::QUEUE_SIZE,
                    3,
                    "queue size is 3; expected a power of two up to 256",
                ),
                (
                    register::QUEUE_ALIGNMENT,
                    3,
                    "queue alignment is 0x3; expected a power of two",
                ),
                (
                    register::QUEUE_ALIGNMENT,
                    0,
                    "queue alignment is 0x0; expected a power of two",
                ),
                (
                    register::QUEUE_PAGE,
                    1,
                    "descriptor table at 0x1000: expected 0x80 bytes of RAM, aligned to 16",
                ),
                (
                    register::QUEUE_PAGE,
                    0xffff_ffff,
                    "descriptor table at 0xffffffff000: expected",
                ),
                (register::QUEUE_ALIGNMENT, 1 << 31, "used ring at"),
            ]
        };
        for (place, value, message) in cases {
            let mut driver = Driver::cold(board, Entropy::seeded(1));
            driver.write(register::STATUS, 3);
            driver.set_features(if modern { 1 << 32 } else { 0 });
            driver.write(register::PAGE_SIZE, 0x1000);
            driver.set_up(0, 8);
            if modern {
                // A queue that is ready does not move.
                driver.write_wide(*place, *value);
                driver.write(register::QUEUE_READY, 0);
                driver.write_wide(*place, *value);
                driver.write(register::QUEUE_READY, 1);
                driver.write(register::STATUS, 3 | FEATURES_OK);
                driver.write(register::STATUS, 3 | FEATURES_OK | DRIVER_OK);
            } else {
                let page = driver.read(register::QUEUE_PAGE);
                driver.write(register::QUEUE_PAGE, 0);
                driver.write(register::PAGE_SIZE, 0x1000);
                for (register, usual) in [
                    (register::QUEUE_SIZE, 8),
                    (register::QUEUE_ALIGNMENT, 0x1000),
                    (register::QUEUE_PAGE, page),
                ] {
                    driver.write(register, if register == *place { *value as u32 } else { usual });
                }
                driver.write(register::STATUS, 3 | DRIVER_OK);
            }
            let problem = driver.needs_reset();
            assert!(problem.contains(message), "{problem} (expected {message})");
        }
    }
}

#[test]
fn a_notification_of_a_queue_that_is_not_ready_or_not_there_does_nothing() {
    for board in ALL {
        let mut driver = Driver::new(board, Entropy::seeded(1), 0, 0);
        for queue in [0, 1, 7, u32::MAX] {
            driver.write(register::NOTIFY, queue);
            assert_eq!(driver.interrupted(), 0);
        }
    }
}

#[test]
fn what_a_device_writes_has_no_tags() {
    for board in ALL {
        let mut driver = Driver::new(board, Block::new(vec![0x11; 4096]), 1, 0);
        let buffer = driver.buffer(0);
        let ring = driver.rings[0].clone();
        let granules = |driver: &Driver| -> Vec<u64> { driver.guest.memory().tagged().collect() };
        // Around the data and in it, at the status, and on the used ring.
        let places = [0xf0, 0x100, 0x2f0, 0x300, 0x400, 0x410].map(|offset| buffer + offset);
        for place in places.into_iter().chain([ring.used, ring.descriptors]) {
            let memory = driver.guest.memory_mut();
            let offset = memory.offset(place, 16).expect("RAM");
            memory.set_tag(offset, true);
        }
        let read = [
            (buffer, 16, false),
            (buffer + 0x108, 512, true),
            (buffer + 0x400, 1, true),
        ];
        driver.submit(0, &read);
        let left: Vec<_> = granules(&driver);
        let mut expected = vec![buffer + 0xf0, buffer + 0x410];
        expected.sort_unstable();
        assert_eq!(
            left, expected,
            "0x108..0x308, 0x400, the used ring; the driver wrote the table"
        );
    }
}
