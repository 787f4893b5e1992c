//! The system call layer on the host, for tests and fuzzers: two programs with memory of their own, two cVMs for processes, and a
//! platform that knows what belongs to whom. It panics when something is touched that the calling program may not touch, when what a thread waits
//! for is answered twice, and when something is left of programs that have ended.

use crate::network::{Network, Settings};
use crate::{Error, Outcome, Page, Platform, Result, Roles, Start, System, Who, Window};
use abi::hostcall::{RAW_TEXT, REGISTERS};
use abi::start::{MAGIC, StartHeader};
use alloc::boxed::Box;
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
pub const SIZE: u64 = 0x9000;
/// Memory that calls can map.
pub const HEAP: u64 = SEEN + 0x5000;
/// Memory that nothing else uses.
pub const DATA: u64 = SEEN + 0x3000;
/// Where the platform has the memory of each: far from each other.
pub const NEAR: [u64; CLIENTS] = [0x7000_0000, 0x9000_0000, 0xb000_0000, 0xd000_0000];
/// Programs, and cVMs for processes behind them.
pub const CLIENTS: usize = 4;
const PROGRAMS: usize = 2;
/// Where a cVM for processes has the place for a program.
const PLACE: u64 = 0x4000;
/// A program that can be executed.
pub const FILE: &str = "/bin/it";

/// Most threads of a program.
const THREADS: u16 = 4;
/// Where each has its program, behind a page of text, its start block and its stack of so many bytes.
const PROGRAM: u64 = RAW_TEXT;
const BLOCK: u64 = PROGRAM + 0x800;
const STACK: u64 = 0x2000;
const STACK_SIZE: u64 = 0x1000;
/// Bytes that files may take.
const FILES: u64 = 64 * 1024;

/// A platform whose memory has an end on both sides.
#[derive(Debug)]
struct Mock {
    memory: [Vec<u8>; CLIENTS],
    now: u64,
    /// When `tick` is to be called.
    tick_at: Option<u64>,
    /// Who makes a call, and the threads of all.
    calling: Who,
    threads: [BTreeSet<u16>; CLIENTS],
    /// What waits, who and until when.
    waiting: BTreeMap<u64, (Who, Option<u64>)>,
    next_token: u64,
    registers: BTreeMap<Who, [u64; REGISTERS]>,
    /// Pages that are text: nobody writes them.
    text: [BTreeSet<u64>; CLIENTS],
}

impl Mock {
    fn range(address: u64, length: usize) -> (usize, Range<usize>) {
        let program = NEAR.iter().rposition(|near| *near <= address);
        let program = program.expect("an access below all programs' memory");
        let start = address.checked_sub(NEAR[program]);
        let start = start.expect("an access below a program's memory") as usize;
        assert!(start + length <= SIZE as usize, "an access beyond a program's memory");
        (program, start..start + length)
    }

    fn writable(&self, address: u64, length: usize) -> (usize, Range<usize>) {
        let (program, range) = Mock::range(address, length);
        let mut pages = range.start as u64 / 4096..(range.end as u64).div_ceil(4096);
        assert!(
            length == 0 || !pages.any(|page| self.text[program].contains(&page)),
            "a write to text"
        );
        (program, range)
    }

    /// Whose registers are meant.
    fn held(&self, token: Option<u64>) -> Result<Who> {
        match token {
            None => Ok(self.calling),
            Some(token) => self.waiting.get(&token).map(|(who, _)| *who).ok_or(Error::ESRCH),
        }
    }

    fn wait(&mut self, who: Who, until: Option<u64>) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.waiting.insert(token, (who, until));
        token
    }

    fn waits(&self, who: Who) -> bool {
        self.waiting.values().any(|(waits, _)| *waits == who)
    }

    /// A thread is there no more.
    fn gone(&mut self, who: Who) {
        self.threads[who.client as usize].remove(&who.thread);
        self.waiting.retain(|_, (waits, _)| *waits != who);
        self.registers.remove(&who);
    }

    /// The registers of all threads of a program.
    fn registers_of(&self, client: usize) -> Vec<[u64; REGISTERS]> {
        let own = self.registers.iter().filter(|(who, _)| who.client as usize == client);
        own.map(|(_, words)| *words).collect()
    }

    /// A cVM is there no more.
    fn ended(&mut self, client: usize) {
        for thread in core::mem::take(&mut self.threads[client]) {
            self.gone(Who {
                client: client as u32,
                thread,
            });
        }
    }
}

impl Platform for Mock {
    fn wake_at(&mut self, until: Option<u64>) {
        self.tick_at = until;
    }

    fn load(&self, address: u64, to: &mut [u8]) {
        let (program, range) = Mock::range(address, to.len());
        to.copy_from_slice(&self.memory[program][range]);
    }

    fn store(&mut self, address: u64, from: &[u8]) {
        let (program, range) = self.writable(address, from.len());
        self.memory[program][range].copy_from_slice(from);
    }

    fn zero(&mut self, address: u64, length: u64) {
        let (program, range) = self.writable(address, length as usize);
        self.memory[program][range].fill(0);
    }

    fn clock(&self) -> u64 {
        self.now
    }

    fn counter(&self) -> [u64; 2] {
        [1_000_000_000, 0]
    }

    fn page(&self) -> Page {
        Page {
            image: &[0x13; 64],
            data: 32,
            handlers: [0, 4],
        }
    }

    fn epoch(&self) -> u64 {
        1_700_000_000_000_000_000
    }

    fn machine(&self) -> &'static str {
        "model"
    }

    fn write(&mut self, _bytes: &[u8]) {}

    fn expect_input(&mut self) {}

    fn random(&mut self, bytes: &mut [u8]) {
        bytes.fill(4);
    }

    fn clone(&mut self, stack: Option<u64>, _thread_pointer: Option<u64>) -> Result<u16> {
        let client = self.calling.client;
        let threads = &mut self.threads[client as usize];
        let free = (1..THREADS).find(|place| !threads.contains(place));
        let thread = free.ok_or(Error::EAGAIN)?;
        threads.insert(thread);
        let mut words = self.registers[&self.calling];
        words[Roles::RISCV.stack] = stack.unwrap_or(words[Roles::RISCV.stack]);
        self.registers.insert(Who { client, thread }, words);
        Ok(thread)
    }

    fn roles(&self) -> Roles {
        Roles::RISCV
    }

    fn registers(&self, token: Option<u64>) -> Result<[u64; REGISTERS]> {
        Ok(self.registers[&self.held(token)?])
    }

    fn set_registers(&mut self, token: Option<u64>, words: &[u64; REGISTERS]) -> Result<()> {
        let who = self.held(token)?;
        if !(SEEN..SEEN + SIZE).contains(&words[Roles::RISCV.counter]) {
            return Err(Error::EFAULT);
        }
        self.registers.insert(who, *words);
        Ok(())
    }

    fn seize(&mut self, who: Who) -> Result<u64> {
        if !self.threads[who.client as usize].contains(&who.thread) {
            return Err(Error::ESRCH);
        }
        if who == self.calling || self.waits(who) {
            return Err(Error::EAGAIN);
        }
        Ok(self.wait(who, None))
    }

    fn text(&mut self, client: u32, address: u64, length: u64, executable: bool) -> Result<()> {
        assert!(address.is_multiple_of(4096) && length.is_multiple_of(4096) && length > 0);
        let part = address..address + length;
        let page = SEEN..SEEN + RAW_TEXT;
        let place = SEEN + PLACE..SEEN + PLACE + 0x1000;
        assert!(
            part == page || place.start <= part.start && part.end <= place.end,
            "text beyond the place for it"
        );
        for page in (address - SEEN) / 4096..(address - SEEN + length) / 4096 {
            if executable {
                self.text[client as usize].insert(page);
            } else {
                self.text[client as usize].remove(&page);
            }
        }
        Ok(())
    }

    fn end(&mut self, token: u64, status: Option<i32>) {
        let Some((who, _)) = self.waiting.get(&token).copied() else {
            return;
        };
        match status {
            None => {
                assert_ne!(who.thread, 0, "a main thread's end is its cVM's");
                self.gone(who);
            }
            Some(_) => self.ended(who.client as usize),
        }
    }

    fn answer(&mut self, token: u64, _value: u64) -> bool {
        self.waiting.remove(&token).is_some()
    }

    fn wait_on(&mut self, token: u64, nanoseconds: u64, _late: u64) -> bool {
        let until = (nanoseconds != 0).then(|| self.now.saturating_add(nanoseconds));
        match self.waiting.get_mut(&token) {
            Some((_, waits)) => {
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
}

/// The bytes of a program's file: an ELF header, one segment, and nothing in it; or what is a place for others, with a segment of
/// so many bytes at that address.
fn elf(place: Option<[u64; 2]>) -> Vec<u8> {
    let mut bytes = vec![0; 64 + 2 * 56];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[16..20].copy_from_slice(&[3, 0, 243, 0]);
    // Entry, where program headers are, how large they are, how many.
    bytes[24..32].copy_from_slice(&64_u64.to_le_bytes());
    (bytes[32], bytes[54], bytes[56]) = (64, 56, 2);
    let mut header = |index: usize, flags: u32, [address, size]: [u64; 2]| {
        let words = [u64::from(flags) << 32 | 1, 0, address, address, size, size, 4096];
        let bytes = &mut bytes[64 + index * 56..][..56];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    };
    header(0, 5, [0, 64 + 2 * 56]);
    if let Some(place) = place {
        header(1, 6, place);
    } else {
        bytes[56] = 1;
    }
    bytes
}

/// An archive with one file.
fn archive(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut archive = vec![0; 512];
    archive[..name.len()].copy_from_slice(name.as_bytes());
    archive[100..107].copy_from_slice(b"0000755");
    archive[124..135].copy_from_slice(alloc::format!("{:011o}", bytes.len()).as_bytes());
    archive[136..147].copy_from_slice(b"00000000001");
    archive[156] = b'0';
    archive[257..262].copy_from_slice(b"ustar");
    archive.extend_from_slice(bytes);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
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
            system: System::new(Box::new(archive(&FILE[1..], &elf(None))), FILES, true),
            mock: Mock {
                memory: core::array::from_fn(|_| vec![0; SIZE as usize]),
                now: 1,
                tick_at: None,
                calling: Who { client: 0, thread: 0 },
                threads: Default::default(),
                waiting: BTreeMap::new(),
                next_token: 1,
                registers: BTreeMap::new(),
                text: Default::default(),
            },
            card: Card::default(),
        };
        model.system.set_first(FILE);
        let settings = Settings {
            card: CARD,
            host: (HOST, 24),
            gateway: [10, 0, 2, 2],
            seed: 1,
        };
        model.system.attach(Network::new(&settings, &mut model.card, 1));
        (0..CLIENTS).for_each(|client| model.begin(client));
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
            stack_size: STACK_SIZE,
            ..StartHeader::default()
        };
        let slot = client >= PROGRAMS;
        self.mock.text[client].clear();
        let memory = &mut self.mock.memory[client];
        memory.fill(0);
        let bytes = elf(slot.then_some([PLACE - PROGRAM, 0x1000]));
        memory[PROGRAM as usize..][..bytes.len()].copy_from_slice(&bytes);
        let block = &mut memory[BLOCK as usize..];
        block[..StartHeader::SIZE].copy_from_slice(&header.to_bytes());
        let name = if slot { b"linux-process\0".as_slice() } else { b"name\0" };
        block[StartHeader::SIZE..][..name.len()].copy_from_slice(name);
        let window = Window::new(SEEN, SIZE, NEAR[client]).expect("addresses far from the last one");
        let start = Start {
            window,
            block: SEEN + BLOCK,
            bias: SEEN + PROGRAM,
        };
        self.mock.threads[client].insert(0);
        let who = Who {
            client: client as u32,
            thread: 0,
        };
        self.mock.registers.insert(who, [SEEN; REGISTERS]);
        self.mock.calling = who;
        let outcome = self.system.begin(&mut self.mock, who, &start);
        match outcome {
            Outcome::Begin(stack) if !slot => assert!((SEEN + STACK..SEEN + STACK + STACK_SIZE).contains(&stack)),
            Outcome::Wait { .. } | Outcome::EndProgram(_) if slot => self.conclude(who, outcome),
            other => panic!("a program that is in order does not start: {other:?}"),
        }
    }

    /// A program is there no more, and its calls wait for nothing; its library OS is not told.
    fn stop(&mut self, client: usize) {
        self.mock.ended(client);
    }

    /// What the monitor does with the end of a call.
    fn conclude(&mut self, who: Who, outcome: Outcome) {
        match outcome {
            Outcome::Wait { nanoseconds, .. } => {
                let until = (nanoseconds != 0).then(|| self.mock.now.saturating_add(nanoseconds));
                let token = self.mock.wait(who, until);
                self.system.waits(&mut self.mock, who, token);
            }
            Outcome::EndThread => {
                assert_ne!(who.thread, 0, "a main thread's end is its program's");
                self.mock.gone(who);
            }
            Outcome::EndProgram(status) => {
                assert!((0..256).contains(&status), "status {status}");
                self.stop(who.client as usize);
            }
            Outcome::Value(_) => {}
            Outcome::Begin(_) | Outcome::Killed(_) => panic!("a call ends as {outcome:?}"),
        }
    }

    /// A program writes to its own memory, as far as that is there.
    pub fn poke(&mut self, client: usize, offset: u64, bytes: &[u8]) {
        let at = (offset % SIZE) as usize;
        if self.mock.text[client].contains(&(at as u64 / 4096)) {
            return;
        }
        let end = (at + bytes.len()).min(SIZE as usize);
        self.mock.memory[client][at..end].copy_from_slice(&bytes[..end - at]);
    }

    /// A frame comes to the card.
    pub fn frame(&mut self, bytes: &[u8]) {
        self.card.received.push_back(bytes[..bytes.len().min(FRAME)].to_vec());
        self.system.exchange(&mut self.mock, &mut self.card);
        self.check();
    }

    /// Something comes from the console.
    pub fn input(&mut self, input: crate::Input<'_>) {
        self.system.input(&mut self.mock, input);
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
            .retain(|_, (_, until)| until.is_none_or(|until| until > now));
    }

    /// A thread makes a system call, unless it waits or is not there.
    pub fn call(&mut self, who: Who, number: u64, arguments: [u64; 6]) {
        if !self.mock.threads[who.client as usize].contains(&who.thread) || self.mock.waits(who) {
            return;
        }
        self.mock.calling = who;
        // Who computes finds its memory as it has left it, whatever others do: but for the frames of its handlers.
        let others = (0..PROGRAMS).filter(|other| *other != who.client as usize);
        let resting = others.filter(|other| !self.mock.waiting.values().any(|(who, _)| who.client as usize == *other));
        let before: Vec<_> = resting
            .map(|other| (other, self.mock.memory[other].clone(), self.mock.registers_of(other)))
            .collect();
        let outcome = self.system.call(&mut self.mock, who, number, arguments);
        for (other, before, registers) in before {
            assert!(
                before == self.mock.memory[other] || registers != self.mock.registers_of(other),
                "a call wrote to another program's memory"
            );
        }
        self.check();
        self.conclude(who, outcome);
        if self.system.has_news() {
            self.system.exchange(&mut self.mock, &mut self.card);
        }
    }

    /// Whether a program has been executed in this cVM.
    pub fn executes(&self, client: usize) -> bool {
        self.mock.text[client].contains(&(PLACE / 4096))
    }

    /// All programs exit; nothing of them may be left but their files.
    pub fn finish(mut self) {
        // The first one takes all others with it that are in cVMs for processes: those begin again and see.
        for client in (0..CLIENTS).rev() {
            // Where all threads wait, the monitor starts it again.
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
