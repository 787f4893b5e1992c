//! A server in Rust. It reads what its clients write through the lent capability and prints it in capitals; who reads gets `lent`.
//! It tries one byte beyond each buffer, and a store to one that is only to be loaded, and tells when it can: with a hybrid client it
//! never can, a purecap one may lend a capability that is wider than the call needs. Everything else is delegated.

#![no_std]
#![no_main]

use abi::{Errno, Hostcall, hostcall::TRANSFER_LIMIT};
use rt::{Answer, Call};

rt::entry!(main);
rt::handler!(serve);

fn main() -> Result<(), Errno> {
    rt::hostcall::serve()
}

fn serve(call: &Call) -> Answer {
    match call.hostcall() {
        Some(Hostcall::Write) => shout(call).into(),
        Some(Hostcall::Read) => lend(call).into(),
        _ => Answer::Delegate,
    }
}

fn shout(call: &Call) -> Result<u64, Errno> {
    let length = call.argument(2).min(TRANSFER_LIMIT as u64);
    for at in 0..length {
        let mut byte = [0];
        call.read(1, at, &mut byte)?;
        rt::print!("{}", byte[0].to_ascii_uppercase() as char);
    }
    complain("load beyond the buffer", call.read(1, length, &mut [0]));
    complain("store to the buffer", call.write(1, 0, b"!"));
    rt::console::flush()?;
    Ok(length)
}

fn lend(call: &Call) -> Result<u64, Errno> {
    const TEXT: &[u8] = b"lent";
    let length = call.argument(2).min(TRANSFER_LIMIT as u64);
    let text = &TEXT[..TEXT.len().min(length as usize)];
    call.write(1, 0, text)?;
    complain("store beyond the buffer", call.write(1, length, b"!"));
    Ok(text.len() as u64)
}

/// Tells of an access that the call does not need.
fn complain(what: &str, access: Result<(), Errno>) {
    if access != Err(Errno::EFAULT) {
        rt::println!("{what}: {access:?}");
    }
}
