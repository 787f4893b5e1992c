//! Network cards: frames through queues, and the headers before them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use machine::net::{Interest, Wire};
use machine::virtio::{Network, Version};

use crate::boards::{ALL, Kind};
use crate::driver::{Driver, VERSION_1, register};

pub(crate) const RECEIVE: usize = 0;
pub(crate) const TRANSMIT: usize = 1;
pub(crate) const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// The far end of a cable in the hands of a test.
#[derive(Clone, Default)]
pub(crate) struct Cable {
    pub(crate) from_guest: Arc<Mutex<VecDeque<Vec<u8>>>>,
    pub(crate) to_guest: Arc<Mutex<VecDeque<Vec<u8>>>>,
}

impl Wire for Cable {
    fn send(&mut self, frame: &[u8], _now: u64) {
        self.from_guest.lock().unwrap().push_back(frame.to_vec());
    }

    fn receive(&mut self, _now: u64) -> Option<Vec<u8>> {
        self.to_guest.lock().unwrap().pop_front()
    }

    fn next_event(&mut self, _now: u64) -> Option<u64> {
        None
    }

    fn interests(&self) -> Vec<Interest<'_>> {
        Vec::new()
    }
}

fn header(version: Version) -> u32 {
    match version {
        Version::Legacy => 10,
        Version::Modern => 12,
    }
}

fn card(board: (Kind, Version)) -> (Driver, Cable) {
    let cable = Cable::default();
    let driver = Driver::new(board, Network::new(MAC, cable.clone()), 2, 0);
    (driver, cable)
}

#[test]
fn the_configuration_has_the_address_and_the_link_is_up() {
    for board in ALL {
        let (mut driver, _) = card(board);
        assert_eq!(driver.read(register::DEVICE), 1);
        let words = [0, 4].map(|offset| driver.read(register::CONFIGURATION + offset).to_le_bytes());
        assert_eq!(words.concat(), [&MAC[..], &[1, 0]].concat());
        assert_eq!(
            driver.features() & !VERSION_1,
            1 << 5 | 1 << 16 | 1 << 29 | legacy_layout(board.1)
        );
    }
}

fn legacy_layout(version: Version) -> u64 {
    match version {
        Version::Legacy => 1 << 27,
        Version::Modern => 0,
    }
}

#[test]
fn what_is_sent_goes_over_the_wire_without_its_header() {
    for board in ALL {
        let (mut driver, cable) = card(board);
        let (buffer, header) = (driver.buffer(0), header(board.1));
        let frame: Vec<u8> = (0..200).collect();
        driver.poke(buffer + u64::from(header), &frame);
        assert_eq!(driver.submit(TRANSMIT, &[(buffer, header + 200, false)]), Some(0));
        assert_eq!(driver.interrupted(), 1);
        let pieces = [
            (buffer, 3, false),
            (buffer + 3, header + 7, false),
            (buffer + 10 + u64::from(header), 190, false),
        ];
        driver.chain(TRANSMIT, 0, &pieces);
        driver.offer(TRANSMIT, 0);
        driver.notify(TRANSMIT);
        assert_eq!(driver.take(TRANSMIT), [(0, 0)]);
        let sent: Vec<_> = cable.from_guest.lock().unwrap().drain(..).collect();
        assert_eq!(sent, [frame.clone(), frame]);
    }
}

#[test]
fn frames_go_into_the_buffers_in_their_order_and_the_rest_waits_for_room() {
    for board in ALL {
        let (mut driver, cable) = card(board);
        let (buffer, header) = (driver.buffer(0), header(board.1) as usize);
        cable
            .to_guest
            .lock()
            .unwrap()
            .extend([vec![1; 60], vec![2; 1514], vec![3; 61]]);
        driver.guest.pass(100_000);
        assert_eq!((driver.take(RECEIVE), driver.interrupted()), (vec![], 0));
        for number in 0..2 {
            let place = buffer + 0x1000 * u64::from(number);
            driver.poke(place, &[0xee; 1600]);
            driver.chain(RECEIVE, 2 * number, &[(place, 100, true), (place + 100, 1500, true)]);
            driver.offer(RECEIVE, 2 * number);
        }
        driver.notify(RECEIVE);
        let lengths = [header + 60, header + 1514].map(|length| length as u32);
        assert_eq!(driver.take(RECEIVE), [(0, lengths[0]), (2, lengths[1])]);
        assert_eq!(driver.interrupted(), 1);
        let mut expected = vec![0; header];
        if board.1 == Version::Modern {
            expected[10] = 1;
        }
        expected.extend([1; 60]);
        expected.push(0xee);
        assert_eq!(driver.peek(buffer, header + 61), expected);
        assert_eq!(driver.peek(buffer + 0x1000 + header as u64, 1514), [2; 1514]);
        driver.offer(RECEIVE, 0);
        driver.notify(RECEIVE);
        assert_eq!(driver.take(RECEIVE), [(0, header as u32 + 61)]);
    }
}

#[test]
fn a_frame_comes_without_a_notification_when_there_is_room() {
    for board in ALL {
        let (mut driver, cable) = card(board);
        let buffer = driver.buffer(0);
        driver.chain(RECEIVE, 0, &[(buffer, 1600, true)]);
        driver.offer(RECEIVE, 0);
        driver.notify(RECEIVE);
        assert_eq!(driver.interrupted(), 0);
        cable.to_guest.lock().unwrap().push_back(vec![9; 64]);
        driver.guest.pass(100_000);
        assert_eq!(driver.interrupted(), 1);
        assert_eq!(driver.take(RECEIVE), [(0, header(board.1) + 64)]);
    }
}

#[test]
fn a_frame_that_does_not_fit_is_lost_and_the_buffer_is_not() {
    for board in ALL {
        let (mut driver, cable) = card(board);
        let buffer = driver.buffer(0);
        cable.to_guest.lock().unwrap().extend([vec![1; 200], vec![2; 100]]);
        driver.chain(RECEIVE, 0, &[(buffer, header(board.1) + 100, true)]);
        driver.offer(RECEIVE, 0);
        driver.notify(RECEIVE);
        assert_eq!(driver.take(RECEIVE), [(0, header(board.1) + 100)]);
        assert_eq!(driver.peek(buffer + u64::from(header(board.1)), 100), [2; 100]);
        // More than any wire carries.
        assert_eq!(driver.submit(TRANSMIT, &[(buffer, 0x2_0000, false)]), Some(0));
        assert!(cable.from_guest.lock().unwrap().is_empty());
    }
}

#[test]
fn a_buffer_without_room_for_the_header_is_malformed() {
    for board in ALL {
        let least = header(board.1);
        let (mut driver, cable) = card(board);
        let buffer = driver.buffer(0);
        driver.chain(TRANSMIT, 0, &[(buffer, least - 1, false)]);
        driver.offer(TRANSMIT, 0);
        driver.notify(TRANSMIT);
        let expected = format!(
            "request at descriptor 0: {} bytes to read; expected at least {least}",
            least - 1
        );
        assert_eq!(driver.needs_reset(), expected);
        driver.start(2, 8, 0);
        cable.to_guest.lock().unwrap().push_back(vec![1; 60]);
        driver.chain(RECEIVE, 0, &[(buffer, least - 1, true)]);
        driver.offer(RECEIVE, 0);
        driver.notify(RECEIVE);
        let expected = format!(
            "request at descriptor 0: {} bytes to write; expected at least {least}",
            least - 1
        );
        assert_eq!(driver.needs_reset(), expected);
    }
}

#[test]
fn what_a_card_writes_has_no_tags() {
    for board in ALL {
        let (mut driver, cable) = card(board);
        let buffer = driver.buffer(0);
        for place in [buffer, buffer + 0x40, buffer + 0x80] {
            let memory = driver.guest.memory_mut();
            let offset = memory.offset(place, 16).expect("RAM");
            memory.set_tag(offset, true);
        }
        cable.to_guest.lock().unwrap().push_back(vec![1; 60]);
        driver.chain(RECEIVE, 0, &[(buffer, 1600, true)]);
        driver.offer(RECEIVE, 0);
        driver.notify(RECEIVE);
        assert_eq!(driver.guest.memory().tagged().collect::<Vec<_>>(), [buffer + 0x80]);
    }
}

#[test]
fn a_reset_forgets_the_frame_that_had_no_room() {
    for board in ALL {
        let (mut driver, cable) = card(board);
        cable.to_guest.lock().unwrap().push_back(vec![1; 60]);
        driver.guest.pass(100_000);
        assert!(cable.to_guest.lock().unwrap().is_empty());
        driver.start(2, 8, 0);
        let buffer = driver.buffer(0);
        driver.chain(RECEIVE, 0, &[(buffer, 1600, true)]);
        driver.offer(RECEIVE, 0);
        driver.notify(RECEIVE);
        assert_eq!(driver.take(RECEIVE), []);
    }
}
