//! Copies to a buffer, and writes and reads a stream over another one, for measuring.
//!
//! Each round begins with two null hostcalls in a row; a third stands behind the copy, a fourth behind the write, the next round's first
//! behind the read.

#![no_std]
#![no_main]

use rt::abi::hostcall::{BUFFER_READ, BUFFER_WRITE};
use rt::stream::{Reader, Writer};
use rt::{Buffer, Errno, hostcall};

rt::entry!(main);

/// Bytes that are copied at a time.
const BYTES: usize = 4096;
const ROUNDS: usize = 8;

#[repr(align(16))]
struct Chunk([u8; BYTES]);

fn main() -> Result<(), Errno> {
    let map = |number| Buffer::map(number, BUFFER_READ | BUFFER_WRITE);
    let buffer = map(hostcall::buffer_create(BYTES as u64)?)?;
    let stream = hostcall::buffer_create(4 * BYTES as u64)?;
    let (mut writer, mut reader) = (Writer::new(map(stream)?)?, Reader::new(map(stream)?)?);
    let mut chunk = Chunk([7; BYTES]);
    for _ in 0..ROUNDS {
        hostcall::null()?;
        hostcall::null()?;
        buffer.write(0, &chunk.0)?;
        hostcall::null()?;
        writer.try_write(&chunk.0)?;
        hostcall::null()?;
        reader.try_read(&mut chunk.0)?;
    }
    hostcall::null()?;
    Ok(())
}
