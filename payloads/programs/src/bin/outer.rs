//! The outer one of two layers: greets, then serves the hostcalls of the inner one. It passes what the inner one writes on to
//! the monitor, lets it read the clock and its own facts, and refuses all else.

#![no_std]
#![no_main]

use abi::{Errno, Hostcall, hostcall::Family};
use rt::{Answer, Call};

rt::entry!(main);
rt::handler!(serve);

fn main() -> Result<(), Errno> {
    rt::println!("hello outer layer");
    rt::hostcall::serve()
}

fn serve(call: &Call) -> Answer {
    match call.hostcall() {
        Some(Hostcall::Write) => {
            let (written, _) = call.pass_on();
            Answer::Value(written)
        }
        Some(hostcall) if [Family::Process, Family::Time].contains(&hostcall.family()) => Answer::Delegate,
        _ => {
            rt::println!("unknown hostcall {} of cVM {}", call.number(), call.caller());
            Answer::Error(Errno::ENOSYS)
        }
    }
}
