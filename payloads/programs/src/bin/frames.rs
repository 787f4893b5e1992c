//! Shares a buffer and takes it back: `owner` makes one, grants it to the cVM of the given number, and revokes it when that one
//! has answered; `reader` reads it until then.
//!
//! Arguments: `owner NUMBER` or `reader NUMBER`, the number of the other cVM. The exit code is 0 when each step went as it must.

#![no_std]
#![no_main]

use core::time::Duration;

use rt::abi::hostcall::{BUFFER_READ, BUFFER_WRITE};
use rt::{Buffer, Errno, hostcall, sleep};

rt::entry!(main);

/// Words at the start of the buffer: the frame's number, and that of the frame which was read last.
const WRITTEN: u64 = 0;
const READ: u64 = 4;
/// Where the picture is, and its bytes.
const PICTURE: u64 = 64;
const SIZE: usize = 64;
const FRAMES: u32 = 5;

fn main() -> Result<i32, Errno> {
    let mut arguments = rt::args().skip(1);
    let role = arguments.next().ok_or(Errno::EINVAL)?;
    let other = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .ok_or(Errno::EINVAL)?;
    match role {
        "owner" => owner(other),
        "reader" => reader(other),
        _ => Err(Errno::EINVAL),
    }
}

fn word(buffer: &Buffer, offset: u64) -> Result<u32, Errno> {
    let mut bytes = [0; 4];
    buffer.read(offset, &mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

/// Waits while a word of the buffer holds this.
fn wait_while(buffer: &Buffer, offset: u64, held: u32) -> Result<(), Errno> {
    while word(buffer, offset)? == held {
        match buffer.wait(offset, held, None) {
            Ok(()) | Err(Errno::EAGAIN) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn owner(reader: u64) -> Result<i32, Errno> {
    let number = hostcall::buffer_create(4096)?;
    let buffer = Buffer::map(number, BUFFER_READ | BUFFER_WRITE)?;
    hostcall::buffer_grant(number, reader, BUFFER_READ | BUFFER_WRITE)?;
    for frame in 1..=FRAMES {
        buffer.write(PICTURE, &[b'0' + frame as u8; SIZE])?;
        buffer.write(WRITTEN, &frame.to_le_bytes())?;
        buffer.wake(WRITTEN, 1)?;
        wait_while(&buffer, READ, frame - 1)?;
    }
    // The reader waits for the next frame now, or will; it gets an error instead.
    hostcall::buffer_revoke(number, reader)?;
    rt::println!("revoked after {FRAMES} frames");
    buffer.write(PICTURE, b"nobody else sees this")?;
    let mapped = Buffer::map(number, BUFFER_READ).map(|buffer| buffer.is_mapped());
    hostcall::buffer_destroy(number)?;
    Ok(i32::from(mapped != Ok(true) || buffer.is_mapped()))
}

fn reader(_owner: u64) -> Result<i32, Errno> {
    // The first buffer that the other one makes; it is there and granted when it is.
    let buffer = loop {
        match Buffer::map(0, BUFFER_READ | BUFFER_WRITE) {
            Err(Errno::ENOENT | Errno::EPERM) => sleep(Duration::from_millis(1))?,
            mapped => break mapped?,
        }
    };
    let mut read = 0;
    let ended = loop {
        if let Err(errno) = wait_while(&buffer, WRITTEN, read) {
            break errno;
        }
        read = word(&buffer, WRITTEN)?;
        let mut picture = [0; SIZE];
        buffer.read(PICTURE, &mut picture)?;
        let whole = picture.iter().all(|byte| *byte == b'0' + read as u8);
        rt::println!("frame {read}, {}", if whole { "whole" } else { "torn" });
        buffer.write(READ, &read.to_le_bytes())?;
        buffer.wake(READ, 1)?;
    };
    rt::println!("the buffer is gone: {ended:?}");
    let gone = !buffer.is_mapped() && buffer.read(0, &mut [0]) == Err(Errno::EFAULT);
    Ok(i32::from(read != FRAMES || ended != Errno::EFAULT || !gone))
}
