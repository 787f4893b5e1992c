//! The device and what it has in flight: one request a client at a time.

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use rt::alloc::boxed::Box;
use rt::alloc::vec;
use rt::alloc::vec::Vec;
use rt::device::{Device, Piece, Requests};
use rt::disk::driven::{self, DONE, HEAD, NO_STATUS, QUEUE};
use rt::disk::share::{DATA, Request, Server};
use rt::disk::{FLUSH, READ, SECTOR};
use rt::{Buffer, Errno, Instant, hostcall};

use disk_server::range::Range;

/// How long a device may take for a request.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a request is given to a device that fails meanwhile.
const TRIES: u32 = 3;

/// Of the memory of a request: where its status is, and whose it is, which the device does not see.
const STATUS: usize = HEAD;
const CLIENT: usize = HEAD + 1;
const BYTES: usize = HEAD + 2;

/// States of a client: nothing of its is in flight; something is; and its thread sleeps until it is not.
const IDLE: u32 = 0;
const BUSY: u32 = 1;
const AWAITED: u32 = 2;

/// A client.
pub(crate) struct Client {
    pub(crate) name: &'static str,
    pub(crate) range: Range,
    pub(crate) side: Server<Buffer>,
    state: AtomicU32,
}

impl Client {
    pub(crate) fn new(name: &'static str, range: Range, side: Server<Buffer>) -> Client {
        Client {
            name,
            range,
            side,
            state: AtomicU32::new(IDLE),
        }
    }

    /// Its request is answered; whoever cannot be told has ended.
    fn answer(&self, request: &Request, outcome: Result<(), Errno>) {
        if let Err(errno) = self.side.answer(request, outcome) {
            rt::println!("{}: cannot be answered: {errno:?}", self.name);
        }
        if self.state.swap(IDLE, Ordering::AcqRel) == AWAITED {
            // Its thread looks again whatever this says.
            let _ = hostcall::wake(&self.state, 1);
        }
    }

    /// Whether its request is still in flight.
    pub(crate) fn is_busy(&self) -> bool {
        self.state.load(Ordering::Acquire) != IDLE
    }

    /// Waits until its request was answered.
    pub(crate) fn wait(&self) -> Result<(), Errno> {
        // What fails here was answered meanwhile, or is awaited already.
        let _ = self
            .state
            .compare_exchange(BUSY, AWAITED, Ordering::AcqRel, Ordering::Acquire);
        while self.is_busy() {
            match hostcall::wait(&self.state, AWAITED, None) {
                Ok(()) | Err(Errno::EAGAIN) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

/// A request in flight.
struct Job {
    request: Request,
    /// Its first sector on the disk.
    sector: u64,
    tries: u32,
    since: Instant,
}

/// The device.
pub(crate) struct Driver {
    device: Device,
    requests: Requests,
    /// By client.
    jobs: Vec<Option<Job>>,
    /// Memory for requests.
    spare: Vec<Box<[u8]>>,
}

impl Driver {
    pub(crate) fn new(device: Device, clients: usize) -> Result<Driver, Errno> {
        Ok(Driver {
            device,
            requests: Requests::with_pieces(QUEUE)?,
            jobs: (0..clients).map(|_| None).collect(),
            spare: (0..clients).map(|_| vec![0; BYTES].into()).collect(),
        })
    }

    /// Whether the device has something to do.
    pub(crate) fn is_busy(&self) -> bool {
        self.requests.in_flight() > 0
    }

    /// Begins a client's request, at this sector of the disk; what is finished by then is answered.
    pub(crate) fn begin(
        &mut self,
        clients: &[Client],
        index: usize,
        request: Request,
        sector: u64,
    ) -> Result<(), Errno> {
        if request.kind == FLUSH && !driven::has_cache(&self.device) {
            clients[index].answer(&request, Ok(()));
            return Ok(());
        }
        clients[index].state.store(BUSY, Ordering::Release);
        self.jobs[index] = Some(Job {
            request,
            sector,
            tries: 0,
            since: Instant::now(),
        });
        self.submit(clients, index)?;
        self.take(clients)
    }

    /// Gives a client's job to the device. Fails when the device cannot be used any more.
    fn submit(&mut self, clients: &[Client], index: usize) -> Result<(), Errno> {
        let Some(job) = &mut self.jobs[index] else {
            return Ok(());
        };
        job.tries += 1;
        let Request { kind, count, .. } = job.request;
        // There is one for each client.
        let mut memory = self.spare.pop().unwrap_or_else(|| vec![0; BYTES].into());
        memory[..HEAD].copy_from_slice(&driven::head(kind, job.sector));
        memory[STATUS] = NO_STATUS;
        memory[CLIENT] = index as u8;
        let piece = Piece {
            buffer: clients[index].side.memory(),
            offset: DATA,
            length: u64::from(count) * SECTOR as u64,
            written: kind == READ,
        };
        let piece = (kind != FLUSH).then_some(piece);
        match self.requests.give_request(&self.device, memory, (HEAD, 1), piece) {
            Ok(()) => Ok(()),
            Err((memory, Errno::EIO)) => {
                self.spare.push(memory);
                self.recover(clients)
            }
            Err((memory, errno)) => {
                self.spare.push(memory);
                self.finish(clients, index, Err(errno));
                Ok(())
            }
        }
    }

    fn finish(&mut self, clients: &[Client], index: usize, outcome: Result<(), Errno>) {
        if let Some(job) = self.jobs[index].take() {
            clients[index].answer(&job.request, outcome);
        }
    }

    /// Answers what the device has finished, and begins anew with one that has failed, or does not finish.
    pub(crate) fn take(&mut self, clients: &[Client]) -> Result<(), Errno> {
        loop {
            match self.requests.take(&self.device) {
                Ok((memory, written)) => {
                    let (status, index) = (memory[STATUS], usize::from(memory[CLIENT]));
                    self.spare.push(memory);
                    let expected = match self.jobs.get(index) {
                        Some(Some(job)) if job.request.kind == READ => job.request.count as usize * SECTOR + 1,
                        Some(Some(_)) => 0,
                        _ => return Err(Errno::EIO),
                    };
                    let done = status == DONE && written >= expected;
                    self.finish(clients, index, if done { Ok(()) } else { Err(Errno::EIO) });
                }
                Err(Errno::EAGAIN) => break,
                Err(_) => self.recover(clients)?,
            }
        }
        let mut jobs = self.jobs.iter().flatten();
        if jobs.any(|job| job.since.elapsed() > PATIENCE) {
            rt::println!("the device does not answer");
            return self.recover(clients);
        }
        Ok(())
    }

    /// Starts the device anew, and gives it again what it had not finished: a request that is done twice does no harm. Fails when
    /// it refuses: it may still use memory then, which nobody else may get.
    fn recover(&mut self, clients: &[Client]) -> Result<(), Errno> {
        self.device.restart()?;
        self.spare.extend(self.requests.abandoned());
        for index in 0..clients.len() {
            match &mut self.jobs[index] {
                Some(job) if job.tries < TRIES => {
                    job.since = Instant::now();
                    self.submit(clients, index)?;
                }
                Some(_) => self.finish(clients, index, Err(Errno::EIO)),
                None => {}
            }
        }
        Ok(())
    }
}
