//! Streams over memory of the host, which a hostile peer can change.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::memory::Memory;
use super::{BYTES, CLOSED, EVENTS, POSITION, Part, READER, Reader, Shared, WAITS, WRITER, Writer};
use crate::Errno;

fn pair(size: usize) -> (Memory, Writer<Memory>, Reader<Memory>) {
    let memory = Memory::new(size);
    let (writer, reader) = (Writer::new(memory.clone()), Reader::new(memory.clone()));
    (memory, writer.unwrap(), reader.unwrap())
}

#[test]
fn bytes_come_in_order_through_a_stream_that_is_smaller_than_they_are() {
    let (_, mut writer, mut reader) = pair(BYTES as usize + 64);
    let sent: Vec<u8> = (0..100_000_u32).map(|index| (index * 7 / 3) as u8).collect();
    let expected = sent.clone();
    let sender = thread::spawn(move || {
        for chunk in sent.chunks(37) {
            writer.write(chunk, None).unwrap();
        }
    });
    let (mut got, mut chunk) = (Vec::new(), [0; 53]);
    loop {
        let length = reader.read(&mut chunk, None).unwrap();
        if length == 0 {
            break;
        }
        got.extend_from_slice(&chunk[..length]);
    }
    sender.join().unwrap();
    assert!(got == expected);
}

#[test]
fn messages_come_whole_and_the_end_comes_after_the_last_one() {
    let (_, mut writer, mut reader) = pair(BYTES as usize + 128);
    let sender = thread::spawn(move || {
        for length in 0..=124_usize {
            writer.send(&vec![length as u8; length], None).unwrap();
        }
        assert_eq!(writer.send(&[0; 125], None), Err(Errno::E2BIG));
    });
    let mut bytes = [0; 124];
    for length in 0..=124_usize {
        assert_eq!(reader.receive(&mut bytes, None), Ok(Some(length)));
        assert!(bytes[..length].iter().all(|byte| *byte == length as u8));
    }
    assert_eq!(reader.receive(&mut bytes, None), Ok(None));
    sender.join().unwrap();
}

#[test]
fn nothing_is_waited_for_that_was_not_asked_for() {
    let (_, mut writer, mut reader) = pair(BYTES as usize + 16);
    let short = Some(Duration::from_millis(5));
    assert_eq!(reader.try_read(&mut [0; 4]), Err(Errno::EAGAIN));
    assert_eq!(reader.read(&mut [0; 4], short), Err(Errno::ETIMEDOUT));
    assert_eq!(reader.receive(&mut [0; 4], short), Err(Errno::ETIMEDOUT));
    assert_eq!(writer.try_write(&[1; 20]), Ok(16));
    assert_eq!(writer.try_write(&[1]), Err(Errno::EAGAIN));
    assert_eq!(writer.try_write(&[]), Ok(0));
    assert_eq!(writer.write(&[1], short), Err(Errno::ETIMEDOUT));
    assert_eq!(writer.send(&[1], short), Err(Errno::ETIMEDOUT));
    drop(reader);
    assert_eq!(writer.try_write(&[1]), Err(Errno::ECONNRESET));
    assert_eq!(writer.send(&[1], None), Err(Errno::ECONNRESET));
}

#[test]
fn a_message_that_does_not_fit_stays() {
    let (_, mut writer, mut reader) = pair(BYTES as usize + 64);
    writer.send(b"seven b", None).unwrap();
    assert_eq!(reader.receive(&mut [0; 6], None), Err(Errno::E2BIG));
    let mut bytes = [0; 7];
    assert_eq!(reader.receive(&mut bytes, None), Ok(Some(7)));
    assert_eq!(&bytes, b"seven b");
}

#[test]
fn a_buffer_that_is_too_small_is_refused() {
    for size in [0, 1, 64, BYTES as usize] {
        let memory = Memory::new(size.max(128));
        let small = size <= BYTES as usize;
        assert_eq!(Writer::new(memory).is_err(), small, "{size}");
    }
}

#[test]
fn a_hostile_peer_makes_errors_and_no_access_outside() {
    let (memory, mut writer, mut reader) = pair(BYTES as usize + 64);
    for position in [65, 1 << 31, u32::MAX, 1 << 20] {
        memory.store(WRITER + POSITION, position).unwrap();
        assert_eq!(reader.try_read(&mut [0; 100]), Err(Errno::EIO));
        assert_eq!(reader.receive(&mut [0; 100], None), Err(Errno::EIO));
    }
    // A message that ends behind what was written.
    memory.store(WRITER + POSITION, 12).unwrap();
    for length in [9, 64, u32::MAX, 1 << 31] {
        memory.store(BYTES, length).unwrap();
        assert_eq!(reader.receive(&mut [0; 100], None), Err(Errno::EIO), "{length}");
    }
    memory.store(WRITER + POSITION, 3).unwrap();
    memory.store(WRITER + CLOSED, 1).unwrap();
    assert_eq!(reader.receive(&mut [0; 100], None), Err(Errno::EIO), "half a length");
    for position in [1, 1 << 31, u32::MAX - 64] {
        memory.store(READER + POSITION, position).unwrap();
        assert_eq!(writer.try_write(&[0; 100]), Err(Errno::EIO));
        assert_eq!(writer.send(&[0; 10], None), Err(Errno::EIO));
    }
}

#[test]
fn a_peer_that_wakes_for_nothing_does_not_make_a_timeout_longer() {
    let (memory, mut writer, mut reader) = pair(BYTES as usize + 64);
    let over = Arc::new(AtomicBool::new(false));
    let peer = thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let mut word = 0_u32;
            while !over.load(Ordering::Relaxed) {
                word = word.wrapping_add(1);
                for side in [WRITER, READER] {
                    memory.store(side + EVENTS, word).unwrap();
                    memory.wake(side + EVENTS).unwrap();
                }
            }
        }
    });
    let soon = Some(Duration::from_millis(20));
    assert_eq!(reader.read(&mut [0; 8], soon), Err(Errno::ETIMEDOUT));
    assert_eq!(reader.receive(&mut [0; 8], soon), Err(Errno::ETIMEDOUT));
    writer.write(&[0; 64], None).unwrap();
    assert_eq!(writer.write(&[0; 64], soon), Err(Errno::ETIMEDOUT));
    over.store(true, Ordering::Relaxed);
    peer.join().unwrap();
}

proptest! {
    /// Whatever the other side stores, and whenever, both ends stay in the buffer.
    #[test]
    fn both_ends_survive_any_peer(
        size in 132_usize..400,
        steps in prop::collection::vec((0_usize..6, any::<u32>(), 0_usize..150), 1..60),
    ) {
        let (memory, mut writer, mut reader) = pair(size);
        let mut bytes = [0; 150];
        let soon = Some(Duration::ZERO);
        for (step, word, length) in steps {
            match step {
                0 => drop(writer.try_write(&bytes[..length])),
                1 => drop(reader.try_read(&mut bytes[..length])),
                2 => drop(writer.send(&bytes[..length], soon)),
                3 => drop(reader.receive(&mut bytes[..length], soon)),
                _ => {
                    let places = [WRITER, WRITER + WAITS, WRITER + CLOSED, READER, READER + WAITS, READER + CLOSED, BYTES];
                    memory.store(places[word as usize % places.len()], word.rotate_left(length as u32)).ok();
                }
            }
        }
    }

    /// An honest pair is a queue.
    #[test]
    fn an_honest_pair_is_a_queue(steps in prop::collection::vec((any::<bool>(), 0_usize..90), 1..200)) {
        let (_, mut writer, mut reader) = pair(BYTES as usize + 64);
        let (mut queue, mut next) = (VecDeque::new(), 0_u8);
        for (write, length) in steps {
            if write {
                let bytes: Vec<u8> = (0..length).map(|index| next.wrapping_add(index as u8)).collect();
                let written = writer.try_write(&bytes).unwrap_or(0);
                prop_assert_eq!(written, length.min(64 - queue.len()));
                queue.extend(&bytes[..written]);
                next = next.wrapping_add(written as u8);
            } else {
                let mut bytes = vec![0; length];
                let read = reader.try_read(&mut bytes).unwrap_or(0);
                prop_assert_eq!(read, length.min(queue.len()));
                let expected: Vec<u8> = queue.drain(..read).collect();
                prop_assert_eq!(&bytes[..read], &expected[..]);
            }
        }
    }
}

#[test]
fn a_stream_without_an_end_goes_on_with_whoever_comes() {
    let memory = Memory::new(BYTES as usize + 64);
    let writer = || Writer::new(memory.clone()).unwrap().endless();
    let reader = || Reader::new(memory.clone()).unwrap().endless();
    let (mut to, mut from) = (writer(), reader());
    let mut bytes = [0; 64];
    assert_eq!(from.try_receive(&mut bytes), Err(Errno::EAGAIN));
    to.try_send(b"one").unwrap();
    drop(to);
    assert_eq!(from.try_receive(&mut bytes), Ok(Some(3)));
    assert_eq!(from.try_receive(&mut bytes), Err(Errno::EAGAIN), "nobody has closed it");
    drop(from);
    let mut to = writer();
    to.try_send(&[7; 50]).unwrap();
    assert_eq!(to.fill(), Ok((54, 10)));
    assert_eq!(to.try_send(&[7; 7]), Err(Errno::EAGAIN));
    assert_eq!(to.try_send(&[7; 61]), Err(Errno::E2BIG));
    assert_eq!(to.wait_for_room(11, Some(Duration::ZERO)), Err(Errno::ETIMEDOUT));
    let mut from = reader();
    from.wait(None).unwrap();
    assert_eq!(from.try_receive(&mut bytes), Ok(Some(50)));
    // A position that cannot be is an error until one of the two begins anew.
    memory.store(WRITER + POSITION, 5000).unwrap();
    assert_eq!(from.try_receive(&mut bytes), Err(Errno::EIO));
    from.empty().unwrap();
    assert_eq!(from.try_receive(&mut bytes), Err(Errno::EAGAIN));
    assert_eq!(to.try_send(b"x"), Err(Errno::EIO));
    to.empty().unwrap();
    to.try_send(b"x").unwrap();
}

#[test]
fn a_part_of_memory_is_all_that_a_stream_reaches() {
    let memory = Memory::new(1024);
    assert_eq!(Part::new(&memory, 64, 961).err(), Some(Errno::EINVAL));
    assert_eq!(Part::new(&memory, 32, 64).err(), Some(Errno::EINVAL));
    assert_eq!(Part::new(&memory, u64::MAX - 63, 64).err(), Some(Errno::EINVAL));
    let part = Part::new(&memory, 256, 256).unwrap();
    assert_eq!((part.size(), part.store(252, 7)), (256, Ok(())));
    assert_eq!(memory.load(508), Ok(7));
    assert_eq!(part.load(256), Err(Errno::EFAULT));
    assert_eq!(part.copy_out(250, &[1; 7]), Err(Errno::EFAULT));
    assert_eq!(part.copy_in(u64::MAX, &mut [0; 2]), Err(Errno::EFAULT));
    assert_eq!(part.wait(254, 0, None).err(), Some(Errno::EFAULT));
    let (mut to, mut from) = (
        Writer::new(Part::new(&memory, 0, 256).unwrap()).unwrap(),
        Reader::new(Part::new(&memory, 0, 256).unwrap()).unwrap(),
    );
    to.try_send(&[9; 124]).unwrap();
    let mut bytes = [0; 128];
    assert_eq!(from.try_receive(&mut bytes), Ok(Some(124)));
    assert_eq!(memory.load(256), Ok(0), "nothing behind the part was written");
}

#[test]
fn who_watches_misses_nothing_that_the_reader_has_not_read() {
    let (_, mut writer, mut reader) = pair(BYTES as usize + 64);
    let short = Some(Duration::from_millis(5));
    let watch = reader.watch().unwrap().expect("nothing is there");
    assert_eq!(watch.wait(short), Err(Errno::ETIMEDOUT));
    assert_eq!(writer.try_send(b"frame"), Ok(()));
    assert_eq!(watch.wait(None), Ok(()), "it was woken before it waits");
    assert!(reader.watch().unwrap().is_none(), "something is there");
    // Somebody else reads what it was woken for, while the reader waits in another thread.
    let mut bytes = [0; 8];
    for round in 0..200_u8 {
        while reader.try_receive(&mut bytes).is_ok() {}
        let watch = reader.watch().unwrap().expect("all is read");
        let waits = thread::spawn(move || watch.wait(None));
        assert_eq!(writer.try_send(&[round]), Ok(()));
        assert_eq!(reader.try_receive(&mut bytes), Ok(Some(1)));
        assert_eq!((waits.join().unwrap(), bytes[0]), (Ok(()), round));
    }
    drop(writer);
    assert!(reader.watch().unwrap().is_none(), "nothing more comes");
}
