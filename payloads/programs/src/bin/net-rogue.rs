//! A hostile cVM on the port of a switch: floods, lies about who it is, listens, and writes anything into its buffer. It exits with
//! 0 when it got nothing; what it says then is how much it has tried.
//!
//! Arguments: the way that it tries, and the numbers of the ports of two stations that talk to each other.

#![no_std]
#![no_main]

use core::time::Duration;

use rt::abi::hostcall::{BUFFER_ALL, BUFFER_READ, BUFFER_WRITE};
use rt::net::{FRAME, Port, VARIABLE};
use rt::{Buffer, Errno, Instant, hostcall};

rt::entry!(main);

/// For experiments (IEEE 802): the stations' own, and another that they ignore.
const TYPE: [u8; 2] = [0x88, 0xb5];
const OTHER_TYPE: [u8; 2] = [0x88, 0xb6];
const HEADER: usize = 14;
/// The stations' kinds of frames: what comes from a rogue in its own name, and what must not come.
const FLOOD: u8 = b'F';
const SPOOF: u8 = b'X';

const FRAMES: u32 = 3000;
/// How long it listens.
const LISTENS: Duration = Duration::from_millis(500);

type Address = [u8; 6];
const ALL: Address = [0xff; 6];

struct Rogue {
    port: Port,
    frame: [u8; FRAME],
    stations: [Address; 2],
    tried: u32,
}

impl Rogue {
    fn send(&mut self, (to, from): (Address, Address), name: [u8; 2], kind: u8, length: usize) -> Result<(), Errno> {
        let frame = &mut self.frame[..length];
        frame.fill(self.tried as u8);
        frame[..6].copy_from_slice(&to);
        frame[6..12].copy_from_slice(&from);
        frame[12..HEADER].copy_from_slice(&name);
        frame[HEADER] = kind;
        frame[HEADER + 1..HEADER + 5].copy_from_slice(&self.tried.to_le_bytes());
        self.tried += 1;
        loop {
            match self.port.send(&self.frame[..length]) {
                Err(Errno::EAGAIN) => self.port.wait_for_room(None)?,
                sent => return sent,
            }
        }
    }

    /// Looks at all that comes for a while: nothing that is for one of the others.
    fn listen(&mut self) -> Result<(), Errno> {
        let start = Instant::now();
        let mut bytes = [0; FRAME];
        while let Some(left) = LISTENS.checked_sub(start.elapsed()) {
            match self.port.receive(&mut bytes) {
                Ok(_) if bytes[0] & 1 == 0 && bytes[..6] != self.port.address() => {
                    rt::println!("heard: {:?}", &bytes[..HEADER + 5]);
                    return Err(Errno::EPERM);
                }
                Ok(_) => self.tried += 1,
                Err(Errno::EAGAIN) => match self.port.wait(Some(left)) {
                    Ok(()) | Err(Errno::ETIMEDOUT) => {}
                    Err(errno) => return Err(errno),
                },
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// As much as it can to one of them, in its own name.
    fn flood(&mut self) -> Result<(), Errno> {
        let to = self.stations[0];
        (0..FRAMES).try_for_each(|_| self.send((to, self.port.address()), TYPE, FLOOD, FRAME))
    }

    /// As much as it can to everybody.
    fn broadcast(&mut self) -> Result<(), Errno> {
        (0..FRAMES).try_for_each(|_| self.send((ALL, self.port.address()), OTHER_TYPE, FLOOD, FRAME))
    }

    /// In the name of the other station, of the card, of nobody, of a group, of a port that is not there, and nearly in its own.
    fn spoof(&mut self) -> Result<(), Errno> {
        let [to, other] = self.stations;
        let own = self.port.address();
        let with = |at: usize, byte: u8| {
            let mut address = own;
            address[at] = byte;
            address
        };
        let card = [own[0] & !2, 0x54, own[2], own[3], own[4], own[5]];
        let names = [
            other,
            to,
            card,
            ALL,
            [0; 6],
            with(0, own[0] | 1),
            with(1, 0xbf),
            with(5, own[5] ^ 1),
        ];
        for round in 0..FRAMES as usize {
            self.send((to, names[round % names.len()]), TYPE, SPOOF, 60 + round % 1000)?;
        }
        Ok(())
    }

    /// Fills whatever remembers addresses, with those of the stations among them; then listens whether frames come here now.
    fn learn(&mut self) -> Result<(), Errno> {
        let [a, b] = self.stations;
        let own = self.port.address();
        for number in 0..FRAMES {
            let [_, x, y, z] = number.to_be_bytes();
            let from = match number % 3 {
                0 => a,
                1 => b,
                _ => [2, 9, x, y, z, 1],
            };
            self.send(([2, 8, x, y, z, 1], from), OTHER_TYPE, SPOOF, 60)?;
            self.send((own, from), OTHER_TYPE, SPOOF, 60)?;
        }
        self.listen()
    }

    /// Anything in its buffer, most of it where the positions and lengths are.
    fn storm(&mut self) -> Result<(), Errno> {
        let buffer = Buffer::open(rt::var(VARIABLE).ok_or(Errno::ENOENT)?, BUFFER_READ | BUFFER_WRITE)?;
        let mut state = 0x2545_f491_u32;
        for _ in 0..FRAMES {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let offset = u64::from(state >> 4) % (buffer.size() / 4) * 4;
            let offset = if state & 3 == 0 { offset } else { offset % 512 };
            buffer.write(offset, &(state >> (state % 32)).to_le_bytes())?;
            buffer.wake(offset, 1)?;
            self.tried += 1;
        }
        Ok(())
    }

    /// The buffer stays where it is, and another's is not to be had.
    fn buffers(&mut self) -> Result<(), Errno> {
        let (number, _) = hostcall::buffer_find(rt::var(VARIABLE).ok_or(Errno::ENOENT)?)?;
        let refused = [
            hostcall::buffer_revoke(number, BUFFER_ALL),
            hostcall::buffer_revoke(number, 0),
            hostcall::buffer_grant(number, 0, BUFFER_READ),
            hostcall::buffer_destroy(number),
        ];
        if refused.iter().any(|refused| *refused != Err(Errno::EPERM)) {
            rt::println!("the buffer is mine to give: {refused:?}");
            return Err(Errno::EPERM);
        }
        if Buffer::open("victim.net", BUFFER_READ).err() != Some(Errno::ENOENT) {
            rt::println!("the victim's buffer is mine, too");
            return Err(Errno::EPERM);
        }
        self.tried += refused.len() as u32 + 1;
        Ok(())
    }
}

fn main() -> Result<(), Errno> {
    let port = Port::open()?;
    let station = |at: usize| {
        let number: u8 = rt::args()
            .nth(at)
            .and_then(|text| text.parse().ok())
            .ok_or(Errno::EINVAL)?;
        let mut address = port.address();
        // As the switch gives them.
        address[1] = 0x80 | number;
        Ok(address)
    };
    let stations = [station(2)?, station(3)?];
    let mut rogue = Rogue {
        frame: [0; FRAME],
        stations,
        tried: 0,
        port,
    };
    match rt::args().nth(1) {
        Some("flood") => rogue.flood(),
        Some("broadcast") => rogue.broadcast(),
        Some("spoof") => rogue.spoof(),
        Some("learn") => rogue.learn(),
        Some("listen") => rogue.listen(),
        Some("storm") => rogue.storm(),
        Some("buffers") => rogue.buffers(),
        _ => Err(Errno::EINVAL),
    }?;
    rt::println!("{} tries", rogue.tried);
    Ok(())
}
