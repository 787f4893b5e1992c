//! Random system calls of programs with random memory, against a platform that knows what belongs to whom: nothing outside of
//! a program's memory is ever touched, nothing panics, and what a thread waits for is answered at most once.

use std::collections::BTreeSet;
use std::fmt;

use abi::start::{MAGIC, StartHeader};
use library_os::{Error, Outcome, Platform, Start, System, Who, Window};
use proptest::prelude::*;

/// Where programs see their memory, how large it is, and where the platform has it: far from each other.
const SEEN: u64 = 0x10_0000;
const SIZE: u64 = 0x8000;
const NEAR: [u64; 2] = [0x7000_0000, 0x9000_0000];
const HEAP: u64 = SEEN + 0x4000;

/// A platform whose memory has an end on both sides: whatever reaches beyond panics.
struct Mock {
    memory: [Vec<u8>; 2],
    now: u64,
    cloned: u16,
    /// Tokens of calls that wait.
    waiting: BTreeSet<u64>,
    next_token: u64,
}

impl Mock {
    fn range(&self, address: u64, length: usize) -> (usize, std::ops::Range<usize>) {
        let program = usize::from(address >= NEAR[1]);
        let start = address.checked_sub(NEAR[program]).expect("below the program's memory") as usize;
        assert!(start + length <= SIZE as usize, "beyond the program's memory");
        (program, start..start + length)
    }
}

impl Platform for Mock {
    fn load(&self, address: u64, to: &mut [u8]) {
        let (program, range) = self.range(address, to.len());
        to.copy_from_slice(&self.memory[program][range]);
    }

    fn store(&mut self, address: u64, from: &[u8]) {
        let (program, range) = self.range(address, from.len());
        self.memory[program][range].copy_from_slice(from);
    }

    fn zero(&mut self, address: u64, length: u64) {
        let (program, range) = self.range(address, length as usize);
        self.memory[program][range].fill(0);
    }

    fn clock(&self) -> u64 {
        self.now
    }

    fn epoch(&self) -> u64 {
        1_700_000_000_000_000_000
    }

    fn machine(&self) -> &'static str {
        "mock"
    }

    fn write(&mut self, _bytes: &[u8]) {}

    fn read(&mut self, buffer: &mut [u8]) -> usize {
        buffer[0] = b'\n';
        1
    }

    fn random(&mut self, bytes: &mut [u8]) {
        bytes.fill(4);
    }

    fn clone(&mut self, _stack: u64, _thread_pointer: Option<u64>) -> Result<u16, Error> {
        if self.cloned == 8 {
            return Err(Error::EAGAIN);
        }
        self.cloned += 1;
        Ok(self.cloned)
    }

    fn answer(&mut self, token: u64, _value: u64) -> bool {
        self.waiting.remove(&token)
    }

    fn wait_on(&mut self, token: u64, _nanoseconds: u64, _late: u64) -> bool {
        self.waiting.contains(&token)
    }

    fn log(&mut self, _who: Who, line: fmt::Arguments<'_>) {
        let _ = line.to_string();
    }
}

/// Two programs that have begun.
fn begun() -> (System, Mock) {
    let mut system = System::new(Vec::new(), 64 * 1024, true);
    let mut mock = Mock {
        memory: [vec![0; SIZE as usize], vec![0; SIZE as usize]],
        now: 1,
        cloned: 0,
        waiting: BTreeSet::new(),
        next_token: 1,
    };
    let header = StartHeader {
        magic: MAGIC,
        version: 1,
        size: StartHeader::SIZE as u32 + 8,
        argument_count: 1,
        arguments: StartHeader::SIZE as u32,
        heap: HEAP,
        heap_size: SIZE - (HEAP - SEEN),
        stack: SEEN + 0x1000,
        stack_size: 0x1000,
        ..StartHeader::default()
    };
    for (client, near) in NEAR.into_iter().enumerate() {
        let memory = &mut mock.memory[client];
        memory[..6].copy_from_slice(b"\x7fELF\x02\x01");
        memory[32] = 64;
        memory[54] = 56;
        memory[56] = 2;
        memory[0x800..0x800 + StartHeader::SIZE].copy_from_slice(&header.to_bytes());
        memory[0x800 + StartHeader::SIZE..][..5].copy_from_slice(b"name\0");
        let who = Who {
            client: client as u32,
            thread: 0,
        };
        let start = Start {
            window: Window::new(SEEN, SIZE, near).unwrap(),
            block: SEEN + 0x800,
            bias: SEEN,
        };
        let begun = system.begin(&mut mock, who, &start);
        assert!(
            matches!(begun, Outcome::Begin(stack) if (SEEN + 0x1000..SEEN + 0x2000).contains(&stack)),
            "{begun:?}"
        );
    }
    (system, mock)
}

/// What programs pass: small numbers, addresses of their own, the edges of everything.
fn argument() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 0_u64..12,
        6 => SEEN + 0x2000..SEEN + 0x2400,
        3 => HEAP..SEEN + SIZE,
        2 => (0_u64..SIZE / 4096).prop_map(|page| HEAP + page * 4096),
        1 => SEEN + SIZE - 16..SEEN + SIZE + 16,
        1 => SEEN - 16..SEEN + 16,
        1 => prop::sample::select(vec![u64::MAX, 1 << 63, i64::MAX as u64, 1 << 32, 4096, 0x8000, NEAR[0], NEAR[1], -100_i64 as u64]),
        1 => any::<u64>(),
    ]
}

/// A system call; small numbers are the ones that exist.
fn call() -> impl Strategy<Value = (u8, u64, [u64; 6])> {
    let number = prop_oneof![9 => 0_u64..460, 1 => any::<u64>()];
    (
        0_u8..4,
        number,
        [argument(), argument(), argument(), argument(), argument(), argument()],
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nothing_outside_of_a_programs_memory_is_touched(
        calls in prop::collection::vec(call(), 1..300),
        texts in prop::collection::vec(prop::sample::select(vec!["/tmp/a", "b", "/dev/zero", "..", "/tmp", "", "/dev/null"]), 8),
        noise in prop::collection::vec(any::<u8>(), 256),
    ) {
        let (mut system, mut mock) = begun();
        for memory in &mut mock.memory {
            for (index, text) in texts.iter().enumerate() {
                memory[0x2000 + 32 * index..][..text.len()].copy_from_slice(text.as_bytes());
            }
            memory[0x2200..0x2300].copy_from_slice(&noise);
        }
        let mut gone = [false; 2];
        let mut waits: [Option<u64>; 4] = [None; 4];
        for (who, number, arguments) in calls {
            mock.now += 1000;
            let (client, thread) = (usize::from(who % 2), u16::from(who / 2));
            // Who waits makes no calls; a thread that was not made does not exist.
            if gone[client] || waits[usize::from(who)].is_some_and(|token| mock.waiting.contains(&token)) {
                continue;
            }
            let caller = Who { client: client as u32, thread };
            match system.call(&mut mock, caller, number, arguments) {
                Outcome::Wait { .. } => {
                    let token = mock.next_token;
                    mock.next_token += 1;
                    mock.waiting.insert(token);
                    waits[usize::from(who)] = Some(token);
                    system.waits(caller, token);
                }
                Outcome::EndProgram(_) => gone[client] = true,
                _ => waits[usize::from(who)] = None,
            }
        }
    }
}
