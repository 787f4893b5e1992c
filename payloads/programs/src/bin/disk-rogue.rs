//! A hostile client of a disk: asks for what is not its own, in every way that its buffer allows. It exits with 0 when it got
//! nothing; what it says then is how many requests were refused.
//!
//! Arguments: the first of its blocks on the disk, `read` or `write` for what it may do there, and the ways that it tries; all without.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use rt::abi::hostcall::{BUFFER_ALL, BUFFER_READ, BUFFER_WRITE};
use rt::alloc::sync::Arc;
use rt::disk::{FLUSH, READ, VARIABLE, WRITE};
use rt::{Buffer, Errno, hostcall, thread};

rt::entry!(main);

/// Where the words of the buffer are: of a request, of its answer, and the data.
const REQUEST: u64 = 0;
const KIND: u64 = 4;
const SECTOR: u64 = 8;
const COUNT: u64 = 16;
const ANSWER: u64 = 64;
const STATUS: u64 = 68;
const BLOCKS: u64 = 72;
const STATE: u64 = 80;
const DATA: u64 = 512;

/// What the data area holds before a request.
const UNTOUCHED: u8 = 0x5a;
/// How often the words are changed while a request is looked at, and how often anything is.
const RACES: u32 = 500;
const STORMS: u32 = 3000;

/// Its side of the buffer.
struct Rogue {
    buffer: Buffer,
    number: u32,
    refused: u32,
}

impl Rogue {
    fn word(&self, offset: u64) -> Result<u32, Errno> {
        let mut bytes = [0; 4];
        self.buffer.read(offset, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn set(&self, offset: u64, word: u32) -> Result<(), Errno> {
        self.buffer.write(offset, &word.to_le_bytes())
    }

    /// Makes a request and returns what the driver says.
    fn ask(&mut self, kind: u32, sector: u64, count: u32) -> Result<u32, Errno> {
        self.set(KIND, kind)?;
        self.buffer.write(SECTOR, &sector.to_le_bytes())?;
        self.set(COUNT, count)?;
        self.number = self.number.wrapping_add(1);
        self.set(REQUEST, self.number)?;
        self.buffer.wake(REQUEST, 1)?;
        self.answered()?;
        self.word(STATUS)
    }

    fn answered(&self) -> Result<(), Errno> {
        loop {
            let answer = self.word(ANSWER)?;
            if answer == self.number {
                return Ok(());
            }
            match self.buffer.wait(ANSWER, answer, Some(Duration::from_secs(20))) {
                Ok(()) | Err(Errno::EAGAIN) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// A request that must be refused with this error, and change nothing.
    fn must_refuse(&mut self, (kind, sector, count): (u32, u64, u32), errno: Errno) -> Result<(), Errno> {
        self.buffer.write(DATA, &[UNTOUCHED; 4096])?;
        let status = self.ask(kind, sector, count)?;
        let mut bytes = [0; 4096];
        self.buffer.read(DATA, &mut bytes)?;
        if status != errno as u32 || bytes.iter().any(|byte| *byte != UNTOUCHED) {
            rt::println!("kind {kind}, {count} sectors from {sector:#x}: {status}, expected {errno:?}");
            return Err(Errno::EPERM);
        }
        self.refused += 1;
        Ok(())
    }
}

/// Beyond the end by one, by a few, by more than its buffer holds; and so far that sums of 64 bits begin anew, to the disk's own
/// numbers, and before the start.
fn beyond(rogue: &mut Rogue, me: &Me) -> Result<(), Errno> {
    let (blocks, start) = (me.blocks, me.start);
    let beyond = [
        (blocks, 1),
        (blocks - 1, 2),
        (blocks, 0),
        (0, blocks as u32 + 1),
        (0, me.room + 1),
        (0, u32::MAX),
        (u64::MAX, 1),
        (u64::MAX, 2),
        (start.wrapping_neg(), 1),
        (start.wrapping_neg().wrapping_sub(1), 1),
        (u64::MAX - start, 2),
        (1 << 55, 1),
        (1 << 63, 1),
        (u64::MAX / 512, 1),
    ];
    for (sector, count) in beyond {
        rogue.must_refuse((READ, sector, count), Errno::EINVAL)?;
        let refusal = if me.writes { Errno::EINVAL } else { Errno::EPERM };
        rogue.must_refuse((WRITE, sector, count), refusal)?;
    }
    Ok(())
}

/// Writing without being allowed to.
fn write(rogue: &mut Rogue, me: &Me) -> Result<(), Errno> {
    if me.writes {
        return Ok(());
    }
    (0..me.blocks).try_for_each(|sector| rogue.must_refuse((WRITE, sector, 1), Errno::EPERM))
}

/// What a device knows and a client may not ask for: names, discarding, erasing, and numbers that mean nothing.
fn commands(rogue: &mut Rogue, _: &Me) -> Result<(), Errno> {
    for kind in [2, 5, 8, 10, 11, 13, 14, 0x100, u32::MAX] {
        rogue.must_refuse((kind, 0, 1), Errno::EINVAL)?;
    }
    if rogue.ask(FLUSH, u64::MAX, u32::MAX)? != 0 || rogue.ask(READ, 0, 1)? != 0 {
        return Err(Errno::EIO);
    }
    Ok(())
}

/// The buffer stays where it is, and another's is not to be had.
fn buffers(rogue: &mut Rogue, me: &Me) -> Result<(), Errno> {
    let refused = [
        hostcall::buffer_revoke(me.number, BUFFER_ALL),
        hostcall::buffer_revoke(me.number, 0),
        hostcall::buffer_grant(me.number, 0, BUFFER_READ),
        hostcall::buffer_destroy(me.number),
    ];
    if refused.iter().any(|refused| *refused != Err(Errno::EPERM)) {
        rt::println!("the buffer is mine to give: {refused:?}");
        return Err(Errno::EPERM);
    }
    if Buffer::open("victim.disk", BUFFER_READ).err() != Some(Errno::ENOENT) {
        rt::println!("the victim's buffer is mine, too");
        return Err(Errno::EPERM);
    }
    rogue.refused += refused.len() as u32 + 1;
    Ok(())
}

/// The sector changes while the driver looks at it.
fn race(rogue: &mut Rogue, me: &Me) -> Result<(), Errno> {
    let other = Buffer::open(me.name, BUFFER_READ | BUFFER_WRITE)?;
    let done = Arc::new(AtomicBool::new(false));
    let (blocks, stop) = (me.blocks, Arc::clone(&done));
    let racer = thread::spawn(move || {
        let mut sector = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            // An odd number, so that it is one or the other when the driver looks.
            for _ in 0..99 {
                sector ^= blocks;
                let _ = other.write(SECTOR, &sector.to_le_bytes());
            }
            rt::yield_now();
        }
    })?;
    for _ in 0..RACES {
        rogue.buffer.write(DATA, &[UNTOUCHED; 512])?;
        let status = rogue.ask(READ, 0, 1)?;
        let mut bytes = [0; 512];
        rogue.buffer.read(DATA, &mut bytes)?;
        // Its own sectors are zero.
        let expected = if status == 0 { 0 } else { UNTOUCHED };
        if bytes.iter().any(|byte| *byte != expected) {
            rt::println!("a race was won: {status}, {:?}", &bytes[..32]);
            return Err(Errno::EPERM);
        }
        rogue.refused += u32::from(status != 0);
    }
    done.store(true, Ordering::Relaxed);
    racer.join();
    Ok(())
}

/// Anything at all in every word, whatever comes of it.
fn storm(rogue: &mut Rogue, _: &Me) -> Result<(), Errno> {
    let mut state = 0x2545_f491_u32;
    for _ in 0..STORMS {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let offset = u64::from(state >> 8) % 128 / 4 * 4;
        // No writes: what it writes to its own blocks would be right.
        let word = if offset == KIND {
            state % 64 * 2
        } else {
            state >> (state % 32)
        };
        rogue.set(offset, word)?;
        rogue.buffer.wake(REQUEST, 1)?;
    }
    Ok(())
}

/// What it is.
struct Me {
    name: &'static str,
    number: u64,
    start: u64,
    blocks: u64,
    /// Blocks that its buffer holds.
    room: u32,
    writes: bool,
}

type Way = fn(&mut Rogue, &Me) -> Result<(), Errno>;

const WAYS: [(&str, Way); 6] = [
    ("beyond", beyond),
    ("write", write),
    ("commands", commands),
    ("buffers", buffers),
    ("race", race),
    ("storm", storm),
];

fn main() -> Result<(), Errno> {
    let start = rt::args().nth(1).and_then(|text| text.parse().ok());
    let name = rt::var(VARIABLE).ok_or(Errno::ENOENT)?;
    let (number, size) = hostcall::buffer_find(name)?;
    let mut rogue = Rogue {
        number: 0,
        buffer: Buffer::open(name, BUFFER_READ | BUFFER_WRITE)?,
        refused: 0,
    };
    while rogue.word(STATE)? == 0 {
        let _ = rogue.buffer.wait(STATE, 0, None);
    }
    let me = Me {
        name,
        number,
        start: start.ok_or(Errno::EINVAL)?,
        blocks: rogue.word(BLOCKS)?.into(),
        room: ((size - DATA) / 512) as u32,
        writes: rt::args().nth(2) == Some("write"),
    };
    let chosen = |way: &str| rt::args().count() < 4 || rt::args().skip(3).any(|chosen| chosen == way);
    for (_, way) in WAYS.into_iter().filter(|(name, _)| chosen(name)) {
        way(&mut rogue, &me)?;
    }
    rt::println!("{} requests refused", rogue.refused);
    Ok(())
}
