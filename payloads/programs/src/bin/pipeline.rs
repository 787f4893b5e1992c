//! A stage of a pipeline over buffers of the manifest: `source` makes messages, `filter` takes them, in capitals, on as bytes, `sink`
//! prints what arrives.
//!
//! Arguments: the stage, then how many messages (`source`). The buffers are `first`, from source to filter, and `second`, from
//! filter to sink. The exit code is 0 when the stream came to its end.

#![no_std]
#![no_main]

use core::fmt::Write;

use rt::abi::hostcall::{BUFFER_READ, BUFFER_WRITE};
use rt::alloc::string::String;
use rt::stream::{Reader, Writer};
use rt::{Buffer, Errno};

rt::entry!(main);

/// Bytes of a message at most.
const MESSAGE: usize = 64;

fn main() -> Result<i32, Errno> {
    let mut arguments = rt::args().skip(1);
    match arguments.next() {
        Some("source") => source(
            arguments
                .next()
                .and_then(|text| text.parse().ok())
                .ok_or(Errno::EINVAL)?,
        ),
        Some("filter") => filter(),
        Some("sink") => sink(),
        _ => Err(Errno::EINVAL),
    }
}

fn open(name: &str) -> Result<Buffer, Errno> {
    Buffer::open(name, BUFFER_READ | BUFFER_WRITE)
}

fn source(messages: u32) -> Result<i32, Errno> {
    let mut stream = Writer::new(open("first")?)?;
    for number in 1..=messages {
        let mut message = String::new();
        let _ = writeln!(message, "message {number} of {messages}");
        stream.send(message.as_bytes(), None)?;
    }
    Ok(0)
}

fn filter() -> Result<i32, Errno> {
    let (mut from, mut to) = (Reader::new(open("first")?)?, Writer::new(open("second")?)?);
    let mut message = [0; MESSAGE];
    while let Some(length) = from.receive(&mut message, None)? {
        message[..length].make_ascii_uppercase();
        to.write(&message[..length], None)?;
    }
    Ok(0)
}

fn sink() -> Result<i32, Errno> {
    let mut stream = Reader::new(open("second")?)?;
    let mut bytes = [0; 10];
    loop {
        let length = stream.read(&mut bytes, None)?;
        if length == 0 {
            rt::println!("the end");
            return Ok(0);
        }
        rt::print!("{}", core::str::from_utf8(&bytes[..length]).unwrap_or("?"));
    }
}
