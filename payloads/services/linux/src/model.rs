//! The system call layer on the host, for tests and fuzzers: two programs with memory of their own, and a platform that knows
//! what belongs to whom. It panics when something is touched that the calling program may not touch, when what a thread waits
//! for is answered twice, and when something is left of programs that have ended.

use crate::network::{Network, Settings};
use crate::{Error, Outcome, Platform, Result, Start, System, Who, Window};
use abi::start::{MAGIC, StartHeader};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// Where programs see their memory, and how large it is.
pub const SEEN: u64 = 0x10_0000;
/// See [`SEEN`].
pub const SIZE: u64 = 0x8000;
/// Memory that calls can map.
pub const HEAP: u64 = SEEN + 0x4000;
/// Memory that nothing else uses.
pub const DATA: u64 = SEEN + 0x2000;
/// Where the platform has the memory of each: far from each other.
pub const NEAR: [u64; 2] = [0x7000_0000, 0x9000_0000];

/// Most threads of a program.
const THREADS: u16 = 4;
/// Where each has its start block, and its stack of as many bytes.
const BLOCK: u64 = 0x800;
const STACK: u64 = 0x1000;
/// Bytes that files may take.
const FILES: u64 = 64 * 1024;

/// A platform whose memory has an end on both sides.
#[derive(Debug)]
struct Mock {
    memory: [Vec<u8>; 2],
    now: u64,
    /// Which program makes a call, and its threads and those of the other one.
    calling: usize,
    threads: [BTreeSet<u16>; 2],
    /// What waits, and until when.
    waiting: BTreeMap<u64, Option<u64>>,
    next_token: u64,
}

impl Mock {
    fn range(address: u64, length: usize) -> (usize, Range<usize>) {
        let program = usize::from(address >= NEAR[1]);
        let start = address.checked_sub(NEAR[program]);
        let start = start.expect("an access below a program's memory") as usize;
        assert!(start + length <= SIZE as usize, "an access beyond a program's memory");
        (program, start..start + length)
    }
}

impl Platform for Mock {
    fn load(&self, address: u64, to: &mut [u8]) {
        let (program, range) = Mock::range(address, to.len());
        to.copy_from_slice(&self.memory[program][range]);
    }

    fn store(&mut self, address: u64, from: &[u8]) {
        let (program, range) = Mock::range(address, from.len());
        self.memory[program][range].copy_from_slice(from);
    }

    fn zero(&mut self, address: u64, length: u64) {
        let (program, range) = Mock::range(address, length as usize);
        self.memory[program][range].fill(0);
    }

    fn clock(&self) -> u64 {
        self.now
    }

    fn epoch(&self) -> u64 {
        1_700_000_000_000_000_000
    }

    fn machine(&self) -> &'static str {
        "model"
    }

    fn write(&mut self, _bytes: &[u8]) {}

    fn read(&mut self, buffer: &mut [u8]) -> usize {
        buffer[0] = b'\n';
        1
    }

    fn random(&mut self, bytes: &mut [u8]) {
        bytes.fill(4);
    }

    fn clone(&mut self, _stack: u64, _thread_pointer: Option<u64>) -> Result<u16> {
        let threads = &mut self.threads[self.calling];
        let free = (1..THREADS).find(|place| !threads.contains(place));
        let place = free.ok_or(Error::EAGAIN)?;
        threads.insert(place);
        Ok(place)
    }

    fn answer(&mut self, token: u64, _value: u64) -> bool {
        self.waiting.remove(&token).is_some()
    }

    fn wait_on(&mut self, token: u64, nanoseconds: u64, _late: u64) -> bool {
        let until = (nanoseconds != 0).then(|| self.now.saturating_add(nanoseconds));
        match self.waiting.get_mut(&token) {
            Some(waits) => {
                *waits = until;
                true
            }
            None => false,
        }
    }

    fn log(&mut self, _who: Who, line: fmt::Arguments<'_>) {
        // Formatting it is what could go wrong.
        assert!(!line.to_string().is_empty());
    }
}

/// This machine's card and address.
pub const CARD: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// See [`CARD`].
pub const HOST: [u8; 4] = [10, 0, 2, 15];
/// Most bytes of a frame.
const FRAME: usize = 1514;

/// A card that has received what it was told, and looks at no checksum; what it is to send is only counted.
#[derive(Debug, Default)]
struct Card {
    received: VecDeque<Vec<u8>>,
    sent: u64,
}

impl Device for Card {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Sending<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Received(frame), Sending(&mut self.sent)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        capabilities.checksum = ChecksumCapabilities::ignored();
        capabilities
    }
}

/// A frame that has come.
#[derive(Debug)]
struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        look(&self.0)
    }
}

/// Room for a frame to send.
#[derive(Debug)]
struct Sending<'a>(&'a mut u64);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        assert!(length <= FRAME, "a frame of {length} bytes");
        *self.0 += 1;
        write(&mut vec![0; length])
    }
}

/// A library OS with two programs.
#[derive(Debug)]
pub struct Model {
    system: System,
    mock: Mock,
    card: Card,
    /// What the call of each thread waits for.
    tokens: BTreeMap<Who, u64>,
}

impl Default for Model {
    fn default() -> Model {
        Model::new()
    }
}

impl Model {
    /// Both have begun.
    pub fn new() -> Model {
        let mut model = Model {
            system: System::new(Vec::new(), FILES, true),
            mock: Mock {
                memory: [vec![0; SIZE as usize], vec![0; SIZE as usize]],
                now: 1,
                calling: 0,
                threads: [BTreeSet::new(), BTreeSet::new()],
                waiting: BTreeMap::new(),
                next_token: 1,
            },
            card: Card::default(),
            tokens: BTreeMap::new(),
        };
        let settings = Settings {
            card: CARD,
            host: (HOST, 24),
            gateway: [10, 0, 2, 2],
            seed: 1,
        };
        model.system.attach(Network::new(&settings, &mut model.card, 1));
        model.begin(0);
        model.begin(1);
        model
    }

    /// The monitor starts a program, for the first time or again.
    pub fn begin(&mut self, client: usize) {
        self.stop(client);
        let header = StartHeader {
            magic: MAGIC,
            version: 1,
            size: StartHeader::SIZE as u32 + 8,
            argument_count: 1,
            arguments: StartHeader::SIZE as u32,
            heap: HEAP,
            heap_size: SIZE - (HEAP - SEEN),
            stack: SEEN + STACK,
            stack_size: STACK,
            ..StartHeader::default()
        };
        let memory = &mut self.mock.memory[client];
        memory.fill(0);
        memory[..6].copy_from_slice(b"\x7fELF\x02\x01");
        // Two program headers of 56 bytes, behind the ELF header.
        (memory[32], memory[54], memory[56]) = (64, 56, 2);
        let block = &mut memory[BLOCK as usize..];
        block[..StartHeader::SIZE].copy_from_slice(&header.to_bytes());
        block[StartHeader::SIZE..][..5].copy_from_slice(b"name\0");
        let window = Window::new(SEEN, SIZE, NEAR[client]).expect("addresses far from the last one");
        let start = Start {
            window,
            block: SEEN + BLOCK,
            bias: SEEN,
        };
        self.mock.threads[client].insert(0);
        let who = Who {
            client: client as u32,
            thread: 0,
        };
        match self.system.begin(&mut self.mock, who, &start) {
            Outcome::Begin(stack) => assert!((SEEN + STACK..SEEN + 2 * STACK).contains(&stack)),
            other => panic!("a program that is in order does not start: {other:?}"),
        }
    }

    /// A program is there no more, and its calls wait for nothing; its library OS is not told.
    fn stop(&mut self, client: usize) {
        self.mock.threads[client].clear();
        let waiting = &mut self.mock.waiting;
        self.tokens.retain(|who, token| {
            let other = who.client as usize != client;
            if !other {
                waiting.remove(token);
            }
            other
        });
    }

    /// A program writes to its own memory, as far as that is there.
    pub fn poke(&mut self, client: usize, offset: u64, bytes: &[u8]) {
        let at = (offset % SIZE) as usize;
        let end = (at + bytes.len()).min(SIZE as usize);
        self.mock.memory[client][at..end].copy_from_slice(&bytes[..end - at]);
    }

    /// A frame comes to the card.
    pub fn frame(&mut self, bytes: &[u8]) {
        self.card.received.push_back(bytes[..bytes.len().min(FRAME)].to_vec());
        self.system.exchange(&mut self.mock, &mut self.card);
        self.check();
    }

    fn check(&self) {
        if let Err(wrong) = self.system.check(FILES) {
            panic!("the files: {wrong}");
        }
    }

    /// Time passes: what waits for it waits no more.
    pub fn pass(&mut self, nanoseconds: u64) {
        let now = self.mock.now.saturating_add(nanoseconds);
        self.mock.now = now;
        self.mock
            .waiting
            .retain(|_, until| until.is_none_or(|until| until > now));
    }

    /// A thread makes a system call, unless it waits or is not there.
    pub fn call(&mut self, who: Who, number: u64, arguments: [u64; 6]) {
        let client = who.client as usize;
        let waits = |token: &u64| self.mock.waiting.contains_key(token);
        if !self.mock.threads[client].contains(&who.thread) || self.tokens.get(&who).is_some_and(waits) {
            return;
        }
        self.tokens.remove(&who);
        self.mock.calling = client;
        // Who computes finds its memory as it has left it, whatever others do.
        let other = 1 - client;
        let rests = !self
            .tokens
            .iter()
            .any(|(who, token)| who.client as usize == other && waits(token));
        let before = rests.then(|| self.mock.memory[other].clone());
        let outcome = self.system.call(&mut self.mock, who, number, arguments);
        if let Some(before) = before {
            assert!(
                before == self.mock.memory[other],
                "a call wrote to another program's memory"
            );
        }
        self.check();
        match outcome {
            Outcome::Wait { nanoseconds, .. } => {
                let token = self.mock.next_token;
                self.mock.next_token += 1;
                let until = (nanoseconds != 0).then(|| self.mock.now.saturating_add(nanoseconds));
                self.mock.waiting.insert(token, until);
                self.tokens.insert(who, token);
                self.system.waits(who, token);
            }
            Outcome::EndThread => {
                assert_ne!(who.thread, 0, "a main thread's end is its program's");
                self.mock.threads[client].remove(&who.thread);
            }
            Outcome::EndProgram(status) => {
                assert!((0..256).contains(&status), "status {status}");
                self.stop(client);
            }
            Outcome::Value(_) => {}
            Outcome::Begin(_) => panic!("a call begins a program"),
        }
        if self.system.has_news() {
            self.system.exchange(&mut self.mock, &mut self.card);
        }
    }

    /// Both programs exit; nothing of them may be left but their files.
    pub fn finish(mut self) {
        for client in 0..2 {
            // Whoever does not wait can exit; where all do, the monitor starts it again.
            if self.mock.threads[client].is_empty() {
                continue;
            }
            self.begin(client);
            let who = Who {
                client: client as u32,
                thread: 0,
            };
            self.call(who, linux_raw_sys::general::__NR_exit_group.into(), [0; 6]);
        }
        if let Err(left) = self.system.is_at_rest() {
            panic!("left of programs that have ended: {left}");
        }
    }
}
