//! Sends messages of 64 bytes over a stream, for measuring.
//!
//! Argument: `sender`, which makes the buffer and sends, between two null hostcalls in a row and a sleep, to cVM 1; `receiver`, which waits for
//! each and makes a null hostcall when it has it; or `both`, which sends and receives for itself, a null hostcall between.

#![no_std]
#![no_main]

use core::time::Duration;

use rt::abi::hostcall::{BUFFER_READ, BUFFER_WRITE};
use rt::stream::{Reader, Writer};
use rt::{Buffer, Errno, hostcall};

rt::entry!(main);

const BYTES: usize = 64;
const ROUNDS: usize = 8;
const SOON: Duration = Duration::from_millis(1);
const RIGHTS: u64 = BUFFER_READ | BUFFER_WRITE;
const RECEIVER: u64 = 1;

#[repr(align(16))]
struct Message([u8; BYTES]);

fn main() -> Result<(), Errno> {
    let mut message = Message([7; BYTES]);
    if rt::args().nth(1) == Some("receiver") {
        // The first buffer of the sender, when it is there and granted.
        let buffer = loop {
            match Buffer::map(0, RIGHTS) {
                Err(Errno::ENOENT | Errno::EPERM) => rt::sleep(SOON)?,
                buffer => break buffer?,
            }
        };
        let mut reader = Reader::new(buffer)?;
        while reader.receive(&mut message.0, None)?.is_some() {
            hostcall::null()?;
        }
        return Ok(());
    }
    let number = hostcall::buffer_create(4096)?;
    let mut writer = Writer::new(Buffer::map(number, RIGHTS)?)?;
    if rt::args().nth(1) == Some("both") {
        let mut reader = Reader::new(Buffer::map(number, RIGHTS)?)?;
        for _ in 0..ROUNDS {
            hostcall::null()?;
            hostcall::null()?;
            writer.try_send(&message.0)?;
            hostcall::null()?;
            reader.try_receive(&mut message.0)?;
        }
        return hostcall::null();
    }
    hostcall::buffer_grant(number, RECEIVER, RIGHTS)?;
    for _ in 0..ROUNDS {
        rt::sleep(4 * SOON)?;
        hostcall::null()?;
        hostcall::null()?;
        writer.send(&message.0, None)?;
    }
    Ok(())
}
