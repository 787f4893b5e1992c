//! Threads in one cVM: workers that share a queue, a lock and a condition, each with a value of its own.
//!
//! Arguments: number of workers (default 3), numbers to square (default 100). `threads` in the manifest must be one more than
//! the workers. Exit code 1 when a sum is wrong.

#![no_std]
#![no_main]

use core::cell::Cell;

use rt::alloc::sync::Arc;
use rt::alloc::vec::Vec;
use rt::sync::{Condvar, Mutex, channel};
use rt::{Errno, thread};

rt::entry!(main);

rt::thread_local! {
    /// How many numbers this thread has squared.
    static DONE: Cell<u64> = Cell::new(0);
}

fn main() -> Result<i32, Errno> {
    let mut numbers = rt::args()
        .skip(1)
        .map(|text| text.parse::<u64>().map_err(|_| Errno::EINVAL));
    let workers = numbers.next().unwrap_or(Ok(3))?;
    let count = numbers.next().unwrap_or(Ok(100))?;

    let (sender, receiver) = channel::<u64>(4);
    let receiver = Arc::new(Mutex::new(receiver));
    let sum = Arc::new((Mutex::new(0_u64), Condvar::new()));
    let mut handles = Vec::new();
    for number in 1..=workers {
        let (receiver, sum) = (Arc::clone(&receiver), Arc::clone(&sum));
        handles.push(thread::spawn(move || {
            loop {
                // The lock is given back before the number is worked on.
                let Some(value) = ({ receiver.lock().recv() }) else {
                    break;
                };
                *sum.0.lock() += value * value;
                sum.1.notify_all();
                DONE.with(|done| done.set(done.get() + 1));
            }
            (number, thread::current(), DONE.with(Cell::get))
        })?);
    }
    for value in 1..=count {
        sender.send(value).map_err(|_| Errno::EIO)?;
    }
    let wanted = (1..=count).map(|value| value * value).sum::<u64>();
    let (lock, changed) = &*sum;
    drop(changed.wait_while(lock.lock(), |sum| *sum < wanted));
    drop(sender);

    let mut done = 0;
    for handle in handles {
        let id = handle.id();
        let (number, own, squared) = handle.join();
        if id != own {
            rt::println!("worker {number} was told that it is thread {own}, not {id}");
            return Ok(1);
        }
        done += squared;
    }
    let untouched = DONE.with(Cell::get);

    // Threads that borrow from here.
    let mut halves = [0; 2];
    let (low, high) = halves.split_at_mut(1);
    let mut failed = Ok(());
    thread::scope(|scope| {
        failed = scope
            .spawn(|| low[0] = (1..=count / 2).sum::<u64>())
            .and_then(|()| scope.spawn(|| high[0] = (count / 2 + 1..=count).sum::<u64>()));
    });
    failed?;

    let sum = *lock.lock();
    rt::println!(
        "{workers} workers squared {done} numbers, sum {sum}; two halves {}",
        halves[0] + halves[1]
    );
    Ok(i32::from(
        (done, untouched, sum, halves[0] + halves[1]) != (count, 0, wanted, count * (count + 1) / 2),
    ))
}
