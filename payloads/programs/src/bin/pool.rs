//! A server that answers late: its handlers take calls and hand them to worker threads.
//!
//! Served: hostcall 100 with a number returns its square after the time that the second argument says, in milliseconds; everything
//! else goes on to the monitor. Argument: number of workers (default 2); `threads` in the manifest must be one more.

#![no_std]
#![no_main]

use core::time::Duration;

use rt::sync::{Mutex, OnceLock, Receiver, Sender, channel};
use rt::{Answer, Call, Errno, Token, thread};

rt::entry!(main);
rt::handler!(handle);

/// Number of the hostcall that is served here.
const SQUARE: u64 = 100;

struct Job {
    token: Token,
    value: u64,
    delay: Duration,
}

static JOBS: OnceLock<(Sender<Job>, Mutex<Receiver<Job>>)> = OnceLock::new();

fn jobs() -> &'static (Sender<Job>, Mutex<Receiver<Job>>) {
    JOBS.get_or_init(|| {
        let (sender, receiver) = channel(8);
        (sender, Mutex::new(receiver))
    })
}

fn main() -> Result<(), Errno> {
    let workers = rt::args()
        .nth(1)
        .map_or(Ok(2), |text| text.parse::<u32>().map_err(|_| Errno::EINVAL))?;
    for _ in 0..workers {
        drop(thread::spawn(work)?);
    }
    rt::println!("{workers} workers wait");
    rt::hostcall::serve()
}

fn work() {
    loop {
        // The lock is given back before the work is done.
        let Some(job) = ({ jobs().1.lock().recv() }) else {
            return;
        };
        // A client that has not the patience, or is gone, does not matter to the others.
        let slept = rt::sleep(job.delay);
        let _ = job.token.answer(slept.map(|()| job.value * job.value));
    }
}

fn handle(call: &Call) -> Answer {
    if call.number() != SQUARE {
        return Answer::Delegate;
    }
    let (value, delay) = (call.argument(0), Duration::from_millis(call.argument(1)));
    if value > u64::from(u32::MAX) {
        return Answer::Error(Errno::EINVAL);
    }
    match call.defer() {
        Ok(token) => match jobs().0.send(Job { token, value, delay }) {
            Ok(()) => Answer::Deferred,
            Err(_) => Answer::Error(Errno::EIO),
        },
        Err(errno) => Answer::Error(errno),
    }
}
