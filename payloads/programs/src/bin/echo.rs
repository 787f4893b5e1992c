//! Answers every line of console input, until the end of input or `quit`.

#![no_std]
#![no_main]

use rt::{Errno, line::Lossy};

rt::entry!(main);

fn main() -> Result<(), Errno> {
    rt::println!("say something; quit ends");
    let mut buffer = [0; 256];
    while let Some(line) = rt::read_line(&mut buffer)? {
        if line == b"quit" {
            break;
        }
        rt::println!("you said: {}", Lossy(line));
    }
    rt::println!("goodbye");
    Ok(())
}
