//! Both sides over memory of the host.

use std::sync::Mutex;
use std::thread;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::{ANSWER, Client, DATA, KIND, REQUEST, Request, STATUS, Server};
use crate::Errno;
use crate::disk::{FLUSH, READ, SECTOR, WRITE};
use crate::stream::Shared as _;
use crate::stream::memory::Memory;

/// Sectors for which the buffer has room.
const ROOM: usize = 3;
const SIZE: usize = DATA as usize + ROOM * SECTOR + 100;
/// Sectors of the disk.
const SECTORS: usize = 16;

/// Does what is asked for on a disk that is a vector.
fn serve(server: &Server<Memory>, disk: &Mutex<Vec<u8>>, request: &Request) -> Result<(), Errno> {
    let mut disk = disk.lock().unwrap();
    let (sector, count) = (request.sector as usize, request.count as usize);
    let range = sector * SECTOR..(sector + count) * SECTOR;
    match request.kind {
        READ => server.memory().copy_out(DATA, &disk[range]),
        WRITE => server.memory().copy_in(DATA, &mut disk[range]),
        FLUSH => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

/// What ends the server's thread.
fn stop(memory: &Memory) {
    memory.store(KIND, 99).unwrap();
    memory.store(REQUEST, 77).unwrap();
    memory.wake(REQUEST).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_written_is_read_whatever_server_or_client_begins_anew(
        steps in prop::collection::vec((0_usize..3, 0..SECTORS, 1_usize..8, any::<u8>()), 1..40),
        server_ends in prop::collection::vec(any::<bool>(), 40),
    ) {
        let memory = Memory::new(SIZE);
        let disk = Mutex::new(vec![0; SECTORS * SECTOR]);
        thread::scope(|scope| {
            scope.spawn(|| {
                for ends in server_ends.iter().cycle() {
                    let server = Server::new(memory.clone(), SECTORS as u64, false).unwrap();
                    loop {
                        let request = server.next().unwrap();
                        if request.kind == 99 {
                            return;
                        }
                        let outcome = serve(&server, &disk, &request);
                        // It ends when it has done what it was asked for, and before it can say so.
                        if *ends {
                            break;
                        }
                        server.answer(&request, outcome).unwrap();
                        if request.kind == FLUSH {
                            break;
                        }
                    }
                }
            });
            let mut model = vec![0; SECTORS * SECTOR];
            let mut client = Client::new(memory.clone()).unwrap();
            for (kind, sector, count, byte) in steps {
                let count = count.min(SECTORS - sector);
                let range = sector * SECTOR..(sector + count) * SECTOR;
                match kind {
                    0 => {
                        model[range.clone()].fill(byte);
                        client.write(sector as u64, &model[range]).unwrap();
                    }
                    1 => {
                        let mut bytes = vec![1; count * SECTOR];
                        client.read(sector as u64, &mut bytes).unwrap();
                        assert_eq!(bytes, model[range]);
                    }
                    _ => {
                        client.flush().unwrap();
                        client = Client::new(memory.clone()).unwrap();
                    }
                }
            }
            stop(&memory);
        });
    }

    #[test]
    fn a_server_looks_once_whatever_its_client_writes(
        words in prop::collection::vec((0_u64..32, any::<u32>()), 0..20),
        number in 1_u32..,
    ) {
        let memory = Memory::new(SIZE);
        let server = Server::new(memory.clone(), 5, true).unwrap();
        for (index, word) in words {
            memory.store(index * 4, word).unwrap();
        }
        memory.store(REQUEST, number).unwrap();
        let request = server.next().unwrap();
        let said = memory.load(KIND).unwrap();
        memory.store(KIND, !said).unwrap();
        prop_assert_eq!(request.kind, said);
        server.answer(&request, Err(Errno::EINVAL)).unwrap();
        prop_assert_eq!(memory.load(ANSWER).unwrap(), number);
        prop_assert_eq!(memory.load(STATUS).unwrap(), Errno::EINVAL as u32);
    }
}

#[test]
fn a_client_that_begins_anew_waits_for_what_the_one_before_asked_for() {
    let memory = Memory::new(SIZE);
    let server = Server::new(memory.clone(), 4, true).unwrap();
    // A client that ended while it waited.
    memory.store(KIND, READ).unwrap();
    memory.store(REQUEST, 1).unwrap();
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut client = Client::new(memory.clone()).unwrap();
            assert_eq!((client.sectors(), client.is_read_only()), (4, true));
            client.write(0, &[7; SECTOR])
        });
        let first = server.next().unwrap();
        // The device still writes: whatever comes first is overwritten by it.
        thread::yield_now();
        server.memory().copy_out(DATA, &[1; SECTOR]).unwrap();
        server.answer(&first, Ok(())).unwrap();
        let second = server.next().unwrap();
        assert_eq!((second.kind, second.count), (WRITE, 1));
        let mut bytes = [0; SECTOR];
        server.memory().copy_in(DATA, &mut bytes).unwrap();
        assert_eq!(bytes, [7; SECTOR]);
        server.answer(&second, Err(Errno::EPERM)).unwrap();
        assert_eq!(client.join().unwrap(), Err(Errno::EPERM));
    });
}

#[test]
fn buffers_without_room_for_a_sector_are_refused() {
    for size in [0, DATA as usize, DATA as usize + SECTOR - 1] {
        assert_eq!(Client::new(Memory::new(size)).err(), Some(Errno::EINVAL));
        assert_eq!(Server::new(Memory::new(size), 1, false).err(), Some(Errno::EINVAL));
    }
}
