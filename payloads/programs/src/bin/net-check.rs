//! A cVM on the port of a switch that talks to others like it: it finds so many of them, sends them frames, waits for their echoes, and
//! looks at everything that comes. Whatever is not for it, or not from whom it says, is an error.
//!
//! Arguments: how many others there are, how many frames to send, and `rogue` for one that does what it should not: it floods the first
//! one that it finds, in its own name and in those of others, and writes anything into its buffer.

#![no_std]
#![no_main]

use core::time::Duration;

use rt::abi::hostcall::{BUFFER_READ, BUFFER_WRITE};
use rt::alloc::vec::Vec;
use rt::net::{FRAME, Port, VARIABLE};
use rt::{Buffer, Errno, Instant};

rt::entry!(main);

/// For experiments (IEEE 802).
const TYPE: [u8; 2] = [0x88, 0xb5];
const HEADER: usize = 14;
/// Bytes of a frame of ours in front of its pattern: kind, and number.
const HEAD: usize = HEADER + 5;

/// Kinds: who is there; a frame; its echo; what comes from a rogue, in its own name; and in another's.
const HELLO: u8 = b'H';
const DATA: u8 = b'D';
const ECHO: u8 = b'E';
const FLOOD: u8 = b'F';
const SPOOF: u8 = b'X';

/// How long an echo may take, and how long everything is quiet at the end.
const PATIENCE: Duration = Duration::from_secs(2);
const QUIET: Duration = Duration::from_millis(300);

type Address = [u8; 6];

struct Station {
    port: Port,
    others: Vec<Address>,
    /// The number of the echo that has come last.
    echo: u32,
    flooded: u64,
}

/// Makes a frame of so many bytes and returns it.
fn make(bytes: &mut [u8; FRAME], (to, from): (Address, Address), kind: u8, number: u32, length: usize) -> &[u8] {
    let frame = &mut bytes[..length];
    frame.fill(number as u8);
    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&from);
    frame[12..HEADER].copy_from_slice(&TYPE);
    frame[HEADER] = kind;
    frame[HEADER + 1..HEAD].copy_from_slice(&number.to_le_bytes());
    frame
}

impl Station {
    fn send(&mut self, to: Address, kind: u8, number: u32, length: usize) -> Result<(), Errno> {
        let mut bytes = [0; FRAME];
        let frame = make(&mut bytes, (to, self.port.address()), kind, number, length);
        loop {
            match self.port.send(frame) {
                Err(Errno::EAGAIN) => self.port.wait_for_room(None)?,
                sent => return sent,
            }
        }
    }

    /// Looks at what comes until something is true, for so long; whether it has become true.
    fn look(&mut self, limit: Duration, mut until: impl FnMut(&Station) -> bool) -> Result<bool, Errno> {
        let start = Instant::now();
        let mut bytes = [0; FRAME];
        loop {
            match self.port.receive(&mut bytes) {
                Ok(length) => self.take(&bytes[..length])?,
                Err(Errno::EAGAIN) if until(self) => return Ok(true),
                Err(Errno::EAGAIN) => {
                    let Some(left) = limit.checked_sub(start.elapsed()) else {
                        return Ok(false);
                    };
                    match self.port.wait(Some(left)) {
                        Ok(()) | Err(Errno::ETIMEDOUT) => {}
                        Err(errno) => return Err(errno),
                    }
                }
                Err(errno) => return Err(errno),
            }
        }
    }

    fn take(&mut self, frame: &[u8]) -> Result<(), Errno> {
        let address = |at: usize| [0, 1, 2, 3, 4, 5].map(|byte: usize| frame[at + byte]);
        if frame.len() < HEAD || frame[12..HEADER] != TYPE {
            // From the outside: the network's own.
            return Ok(());
        }
        let (to, from, kind) = (address(0), address(6), frame[HEADER]);
        let number = u32::from_le_bytes([frame[15], frame[16], frame[17], frame[18]]);
        let mine = to == self.port.address() || (to == [0xff; 6] && kind == HELLO);
        let whole = frame[HEAD..].iter().all(|byte| *byte == number as u8);
        if !mine || !whole || kind == SPOOF || from == self.port.address() {
            rt::println!("not for me: {:?}", &frame[..HEAD]);
            return Err(Errno::EPERM);
        }
        match kind {
            HELLO if !self.others.contains(&from) => {
                self.others.push(from);
                // It may have come later than what was said here.
                self.send([0xff; 6], HELLO, 0, 60)?;
            }
            DATA => self.send(from, ECHO, number, frame.len())?,
            ECHO => self.echo = number,
            FLOOD => self.flooded += 1,
            _ => {}
        }
        Ok(())
    }
}

fn misbehave(station: &mut Station) -> Result<(), Errno> {
    let (victim, another, own) = (station.others[0], station.others[1], station.port.address());
    let mut bytes = [0; FRAME];
    for number in 0..4000 {
        let kind = if number % 4 == 0 { SPOOF } else { FLOOD };
        let from = if kind == SPOOF { another } else { own };
        let frame = make(&mut bytes, (victim, from), kind, number, FRAME);
        loop {
            match station.port.send(frame) {
                Err(Errno::EAGAIN) => station.port.wait_for_room(None)?,
                Err(errno) => return Err(errno),
                Ok(()) => break,
            }
        }
    }
    let buffer = Buffer::open(rt::var(VARIABLE).ok_or(Errno::ENOENT)?, BUFFER_READ | BUFFER_WRITE)?;
    let mut state = 0x2545_f491_u32;
    for _ in 0..3000 {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let offset = u64::from(state >> 4) % (buffer.size() / 4) * 4;
        // Most of it where the positions and lengths are.
        let offset = if state & 3 == 0 { offset } else { offset % 512 };
        buffer.write(offset, &(state >> (state % 32)).to_le_bytes())?;
        buffer.wake(offset, 1)?;
    }
    rt::println!("done");
    Ok(())
}

fn main() -> Result<(), Errno> {
    let argument = |at: usize| {
        rt::args()
            .nth(at)
            .and_then(|text| text.parse().ok())
            .ok_or(Errno::EINVAL)
    };
    let (others, frames): (usize, usize) = (argument(1)?, argument(2)?);
    let mut station = Station {
        port: Port::open()?,
        others: Vec::new(),
        echo: 0,
        flooded: 0,
    };
    while station.others.len() < others {
        station.send([0xff; 6], HELLO, 0, 60)?;
        station.look(Duration::from_millis(5), |station| station.others.len() == others)?;
    }
    if rt::args().nth(3) == Some("rogue") {
        return misbehave(&mut station);
    }
    let (mut echoed, mut lost) = (0, 0);
    for number in 1..=frames as u32 {
        let to = station.others[number as usize % others];
        let length = HEAD + number as usize * 97 % (FRAME - HEAD + 1);
        station.send(to, DATA, number, length)?;
        if station.look(PATIENCE, |station| station.echo == number)? {
            echoed += 1;
        } else {
            lost += 1;
        }
    }
    rt::println!("{echoed} echoes, {lost} lost");
    // The others may not be done yet.
    let mut before = u32::MAX;
    while station.look(QUIET, |_| false)? || station.echo != before {
        before = station.echo;
    }
    rt::println!("{} frames of a flood", station.flooded);
    Ok(())
}
