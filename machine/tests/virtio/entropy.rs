//! Random bytes.

use machine::virtio::Entropy;

use crate::boards::ALL;
use crate::driver::{Driver, register};

fn bytes(driver: &mut Driver, length: u32) -> Vec<u8> {
    let buffer = driver.buffer(0);
    driver.poke(buffer, &vec![0; length as usize]);
    let given = driver.submit(0, &[(buffer, length, true)]).expect("an answer");
    driver.peek(buffer, given as usize)
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let mut all = Vec::new();
    for board in ALL {
        let mut driver = Driver::new(board, Entropy::seeded(5), 1, 0);
        assert_eq!(
            (driver.read(register::DEVICE), driver.read(register::CONFIGURATION)),
            (4, 0)
        );
        let first = bytes(&mut driver, 33);
        assert_ne!(first, bytes(&mut driver, 33), "bytes do not come twice");
        all.push(first);
        let other = bytes(&mut Driver::new(board, Entropy::seeded(6), 1, 0), 33);
        assert_ne!(other, all[0]);
    }
    assert!(all.iter().all(|bytes| *bytes == all[0]));
}

#[test]
fn the_host_gives_other_bytes_every_time() {
    let get = || bytes(&mut Driver::new(ALL[0], Entropy::host().unwrap(), 1, 0), 32);
    assert_ne!(get(), get());
}

#[test]
fn a_request_gets_64_kib_at_most_and_one_without_room_is_malformed() {
    for board in ALL {
        let mut driver = Driver::new(board, Entropy::seeded(5), 1, 0);
        assert_eq!(bytes(&mut driver, 0x2_0000).len(), 0x1_0000);
        let buffer = driver.buffer(0);
        assert_eq!(driver.peek(buffer + 0x1_0000, 64), [0; 64]);
        driver.chain(0, 0, &[(buffer, 4, false)]);
        driver.offer(0, 0);
        driver.notify(0);
        assert!(driver.needs_reset().ends_with("0 bytes to write; expected at least 1"));
    }
}
