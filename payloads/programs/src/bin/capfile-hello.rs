//! Reads the capfile `test1` through the capability that the monitor gives, and prints its first 32 bytes.

#![no_std]
#![no_main]

use rt::{Buffer, Errno, hostcall};

rt::entry!(main);

fn main() -> Result<(), Errno> {
    rt::println!("hello world, let's read cap 'test1'");
    let file = Buffer::capfile("test1")?;
    let mut text = [0; 32];
    file.read(0, &mut text)?;
    // A text shorter than the capfile ends with a zero byte.
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    hostcall::write_all(abi::hostcall::STREAM_OUTPUT, text)
}
