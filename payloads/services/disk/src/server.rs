//! The server: a thread for each client, which sleeps until that asks for something, and one that waits for the device.

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use rt::abi::hostcall::{BUFFER_READ, BUFFER_WRITE};
use rt::alloc::boxed::Box;
use rt::alloc::vec::Vec;
use rt::disk::driven::{self, QUEUE};
use rt::disk::share::Server;
use rt::sync::Mutex;
use rt::{Buffer, Errno, hostcall, thread};

use disk_server::range::{Problem, Range, Share, Task};

use crate::driver::{Client, Driver};

rt::entry!(main);

/// The device's place in the manifest entry.
const PLACE: usize = 0;
/// Bytes of stack of a client's thread.
const STACK: usize = 8 * 1024;
/// How long the device is waited for until somebody looks at it.
const LOOK: Duration = Duration::from_secs(5);

struct Shared {
    driver: Mutex<Driver>,
    clients: Vec<Client>,
    /// Not 0 when the device has something to do that nobody else waits for.
    work: AtomicU32,
}

impl Shared {
    /// Serves a client until its buffer is gone.
    fn serve(&self, index: usize) -> Result<(), Errno> {
        let client = &self.clients[index];
        let room = client.side.room()?;
        loop {
            let request = client.side.next()?;
            match client.range.check((request.kind, request.sector, request.count), room) {
                Ok(Task::Device(sector)) => {
                    let mut driver = self.driver.lock();
                    self.survive(driver.begin(&self.clients, index, request, sector));
                    let wakes = driver.is_busy() && self.work.swap(1, Ordering::AcqRel) == 0;
                    drop(driver);
                    if wakes {
                        hostcall::wake(&self.work, 1)?;
                    }
                    client.wait()?;
                }
                Ok(Task::Nothing) => client.side.answer(&request, Ok(()))?,
                Err(errno) => client.side.answer(&request, Err(errno))?,
            }
        }
    }

    /// Without its device the driver is of no use, and the device may still use memory: only the monitor can deal with it.
    fn survive(&self, outcome: Result<(), Errno>) {
        if let Err(errno) = outcome {
            rt::println!("the device refuses to start again: {errno:?}");
            rt::exit(1);
        }
    }

    /// Waits for the device while it has something to do.
    fn wait(&self) -> Result<(), Errno> {
        loop {
            while self.work.load(Ordering::Acquire) == 0 {
                match hostcall::wait(&self.work, 0, None) {
                    Ok(()) | Err(Errno::EAGAIN) => {}
                    Err(errno) => return Err(errno),
                }
            }
            // What has gone wrong is found below.
            match hostcall::device_wait(PLACE as u64, 1 << QUEUE, Some(LOOK)) {
                Ok(()) | Err(Errno::ETIMEDOUT | Errno::EIO) => {}
                Err(errno) => return Err(errno),
            }
            let mut driver = self.driver.lock();
            self.survive(driver.take(&self.clients));
            self.work.store(driver.is_busy().into(), Ordering::Release);
        }
    }
}

fn complain(argument: &str, problem: Problem) -> Errno {
    rt::println!("{argument}: {problem}");
    Errno::EINVAL
}

fn main() -> Result<(), Errno> {
    let (device, sectors) = driven::start(PLACE)?;
    let mut ranges: Vec<(&'static str, Range)> = Vec::new();
    for argument in rt::args().skip(1) {
        let share = Share::parse(argument, sectors).map_err(|problem| complain(argument, problem))?;
        if ranges.iter().any(|(_, range)| range.conflicts(&share.range)) {
            return Err(complain(argument, Problem::Overlap));
        }
        ranges.push((share.client, share.range));
    }
    let mut clients = Vec::new();
    for (name, range) in ranges {
        let buffer = Buffer::open(&rt::alloc::format!("{name}.disk"), BUFFER_READ | BUFFER_WRITE)?;
        let read_only = range.is_read_only() || driven::is_read_only(&device);
        let side = Server::new(buffer, range.blocks(), read_only)?;
        clients.push(Client::new(name, range, side));
    }
    let shared: &'static Shared = Box::leak(Box::new(Shared {
        driver: Mutex::new(Driver::new(device, clients.len())?),
        clients,
        work: AtomicU32::new(0),
    }));
    for index in 0..shared.clients.len() {
        let serve = move || {
            if let Err(errno) = shared.serve(index) {
                rt::println!("{}: not served any more: {errno:?}", shared.clients[index].name);
            }
        };
        thread::Builder::new().stack_size(STACK).spawn(serve)?;
    }
    shared.wait()
}
