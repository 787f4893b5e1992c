//! A client of `pool`: threads that each wait for an answer, the one that asked first longest.
//!
//! Argument: number of threads (default 2). The answers must be right, and come in the reverse order: exit code 1 otherwise.

#![no_std]
#![no_main]

use rt::alloc::vec::Vec;
use rt::sync::Mutex;
use rt::{Errno, hostcall, thread};

rt::entry!(main);

/// The hostcall of `pool`.
const SQUARE: u64 = 100;
/// Milliseconds between two answers.
const STEP: u64 = 10;

fn main() -> Result<i32, Errno> {
    let threads = rt::args()
        .nth(1)
        .map_or(Ok(2), |text| text.parse::<u64>().map_err(|_| Errno::EINVAL))?;
    let order = Mutex::new(Vec::new());
    let mut started = Ok(());
    thread::scope(|scope| {
        for number in 1..=threads {
            let order = &order;
            let asked = move || {
                let delay = (threads - number + 1) * STEP;
                // SAFETY: the call names no memory.
                let (answer, _) = unsafe { hostcall::raw(SQUARE, [number, delay, 0, 0, 0, 0]) };
                order.lock().push((number, hostcall::result(answer)));
            };
            started = started.and_then(|()| scope.spawn(asked));
        }
    });
    started?;
    let order = order.into_inner();
    for (number, answer) in &order {
        rt::println!("{number} squared is {answer:?}");
    }
    let right = order
        .iter()
        .map(|(number, answer)| (*number, *answer))
        .eq((1..=threads).rev().map(|number| (number, Ok(number * number))));
    Ok(i32::from(!right))
}
