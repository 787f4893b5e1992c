//! Uses a part of a device, for measuring: `disk` reads its blocks, `net` sends frames to a far end that sends them back. On the embedded
//! machine an instruction takes a nanosecond, so that the time is the number of instructions.

#![no_std]
#![no_main]

use rt::alloc::vec;
use rt::disk::{Disk, SECTOR};
use rt::net::{FRAME, Port};
use rt::{Errno, Instant};

rt::entry!(main);

const ROUNDS: u32 = 100;
/// Bytes of a frame.
const BYTES: usize = 1400;
/// Somebody behind the card.
const FAR: [u8; 6] = [0x02, 0, 0, 0, 0, 0x42];

/// Does something some times and says how long that takes each time.
fn measure(what: &str, mut act: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    // Once before, so that everything is where it stays.
    act()?;
    let start = Instant::now();
    for _ in 0..ROUNDS {
        act()?;
    }
    rt::println!("{what}: {}", (start.elapsed() / ROUNDS).as_nanos());
    Ok(())
}

fn main() -> Result<(), Errno> {
    if rt::args().nth(1) == Some("disk") {
        let mut disk = Disk::open()?;
        let mut bytes = vec![0; 64 * SECTOR];
        measure("one block", || disk.read(3, &mut bytes[..SECTOR]))?;
        return measure("64 blocks", || disk.read(3, &mut bytes));
    }
    let mut port = Port::open()?;
    let mut frame = [7; BYTES];
    frame[..6].copy_from_slice(&FAR);
    frame[6..12].copy_from_slice(&port.address());
    let mut answer = [0; FRAME];
    measure("a frame", || {
        port.send(&frame)?;
        loop {
            match port.receive(&mut answer) {
                Ok(BYTES) => return Ok(()),
                Ok(_) => return Err(Errno::EIO),
                Err(Errno::EAGAIN) => port.wait(None)?,
                Err(errno) => return Err(errno),
            }
        }
    })
}
