//! What the system call layer is built on, in a cVM.

use core::fmt::{self, Write as _};
use core::ptr;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

use abi::hostcall::{REGISTERS, START};
use abi::manifest::DeviceKind;
use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use library_os::network::{Network, Settings};
use library_os::{Archive, Error, Input, MOUNT, Outcome, Page, Platform, Roles, Start, System, Who, Window};
use rt::alloc::boxed::Box;
use rt::alloc::vec::Vec;
use rt::device::Device;
use rt::line::Input as Read;
use rt::sync::Mutex;
use rt::{Answer, Buffer, Call, Errno, Token};

use crate::card::Card;
use crate::disk;
use crate::machine;

rt::entry!(main);
rt::handler!(handle);

static SYSTEM: Mutex<Option<System>> = Mutex::new(None);
/// The network card. Whoever needs both has the system first.
static CARD: Mutex<Option<Card>> = Mutex::new(None);
/// Nanoseconds between 1970 and the start of the machine.
static EPOCH: AtomicU64 = AtomicU64::new(0);
/// The generator of random numbers.
static RANDOM: Mutex<Option<ChaCha20Rng>> = Mutex::new(None);
/// When something is to happen by the clock, and how often that has changed.
static TICK: AtomicU64 = AtomicU64::new(u64::MAX);
static TICKS: AtomicU32 = AtomicU32::new(0);
/// Whether a program wants to hear of the console's input.
static INPUT: AtomicU32 = AtomicU32::new(NOT_EXPECTED);
const NOT_EXPECTED: u32 = 0;
const EXPECTED: u32 = 1;
/// How long a source of random bytes may take.
const ENTROPY_PATIENCE: Duration = Duration::from_secs(5);

/// How long nobody looks at the clocks of connections, at most.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often what was written to a disk is committed that nobody has asked to be.
const AGE: Duration = Duration::from_secs(5);
/// Bytes of the stacks of threads that wait: for frames, for the console, for the time to commit.
const STACK: usize = 32 * 1024;

fn main() -> Result<(), Errno> {
    let files = rt::var("FILES").and_then(|text| text.parse().ok()).unwrap_or(0);
    let archive: Box<dyn Archive> = match rt::var("ROOT") {
        Some(name) => Box::new(Root(Buffer::capfile(name)?)),
        None => Box::new(Vec::new()),
    };
    // Where nothing tells the time of day, the machine starts in 1970.
    let epoch = rt::hostcall::wall_clock().map_or(0, |now| now.saturating_sub(rt::hostcall::counted_clock()));
    EPOCH.store(epoch, Ordering::Relaxed);
    *RANDOM.lock() = Some(generator()?);
    let mut system = System::new(archive, files, rt::var("LOG") == Some("debug"));
    if let Some(file) = rt::var("FIRST") {
        system.set_first(file);
    }
    let has_network = attach(&mut system)?;
    let has_disk = mount(&mut system)?;
    *SYSTEM.lock() = Some(system);
    if has_network {
        let waits = rt::thread::Builder::new().stack_size(STACK);
        waits.spawn(wait_for_frames)?;
    }
    rt::thread::Builder::new().stack_size(STACK).spawn(read_console)?;
    rt::thread::Builder::new().stack_size(STACK).spawn(wait_for_timers)?;
    if has_disk {
        let commits = rt::thread::Builder::new().stack_size(STACK);
        commits.spawn(commit_now_and_then)?;
    }
    rt::hostcall::serve()
}

/// Attaches the network that the manifest gives, if it does.
fn attach(system: &mut System) -> Result<bool, Errno> {
    let Some(mut card) = Card::open()? else {
        return Ok(false);
    };
    let (address, gateway) = rt::net::address().map_err(|problem| {
        rt::println!("linux: {problem:?} of the environment is none");
        Errno::EINVAL
    })?;
    let settings = Settings {
        card: card.address(),
        host: (address.address().octets(), address.prefix_len()),
        gateway: gateway.octets(),
        seed: RANDOM.lock().as_mut().map_or(0, |random| random.next_u64()),
    };
    system.attach(Network::new(&settings, &mut card, rt::hostcall::counted_clock()));
    *CARD.lock() = Some(card);
    Ok(true)
}

/// Mounts the disk that the manifest gives, if it does.
fn mount(system: &mut System) -> Result<bool, Errno> {
    let disk = match (rt::var(rt::disk::VARIABLE), device(DeviceKind::Block)) {
        (Some(_), _) => rt::disk::Disk::open()?,
        (None, Some(place)) => rt::disk::Disk::start(place)?,
        (None, None) => return Ok(false),
    };
    let host = Host { call: None };
    match system.mount(&host, disk::new(disk)) {
        Ok(repaired) => {
            if repaired {
                rt::println!("linux: /{MOUNT}: it was not ended in order, and is in order now");
            }
            if system.is_read_only() {
                rt::println!("linux: /{MOUNT}: its files can only be read");
            }
            Ok(true)
        }
        Err(problem) => {
            rt::println!("linux: the disk for /{MOUNT} cannot be used:");
            rt::println!("linux: {problem}");
            Err(Errno::EIO)
        }
    }
}

/// Tells programs what comes from the console, from when one of them wants to hear of it: until then it may be for others.
fn read_console() {
    let mut line = [0; rt::console::LINE_LIMIT];
    loop {
        while INPUT.load(Ordering::Acquire) != EXPECTED {
            match rt::hostcall::wait(&INPUT, NOT_EXPECTED, None) {
                Ok(()) | Err(Errno::EAGAIN) => {}
                Err(_) => return,
            }
        }
        // Room for the end of the line, which is left out.
        let (last, room) = (line.len() - 1, line.len() - 1);
        let input = match rt::console::read_input(&mut line[..room]) {
            Ok(Read::Line(length)) => {
                line[length.min(last)] = b'\n';
                Input::Line(&line[..=length.min(last)])
            }
            Ok(Read::Interrupt) => Input::Interrupt,
            Ok(Read::End) | Err(_) => {
                // There may be more, but only who asks again wants it.
                INPUT.store(NOT_EXPECTED, Ordering::Release);
                Input::End
            }
        };
        if let Some(system) = SYSTEM.lock().as_mut() {
            let mut host = Host { call: None };
            system.input(&mut host, input);
            if system.has_news() {
                exchange(system, &mut host);
            }
        }
    }
}

/// Lets happen what is to happen at a time.
fn wait_for_timers() {
    loop {
        let seen = TICKS.load(Ordering::Acquire);
        let until = TICK.load(Ordering::Acquire);
        let left = until.saturating_sub(rt::hostcall::counted_clock());
        if left > 0 {
            let timeout = (until != u64::MAX).then(|| Duration::from_nanos(left));
            match rt::hostcall::wait(&TICKS, seen, timeout) {
                Ok(()) | Err(Errno::EAGAIN | Errno::ETIMEDOUT) => continue,
                Err(_) => return,
            }
        }
        if let Some(system) = SYSTEM.lock().as_mut() {
            let mut host = Host { call: None };
            let next = system.tick(&mut host);
            TICK.store(next.unwrap_or(u64::MAX), Ordering::Release);
            if system.has_news() {
                exchange(system, &mut host);
            }
        }
    }
}

/// Commits what programs have written and nobody has asked to be committed: what a program leaves that ends by a fault, too.
fn commit_now_and_then() {
    loop {
        if rt::sleep(AGE).is_err() {
            return;
        }
        if let Some(system) = SYSTEM.lock().as_mut()
            && let Err(error) = system.commit(&Host { call: None })
        {
            rt::println!("linux: /{MOUNT}: the disk has failed: {error:?}");
            return;
        }
    }
}

/// The place of the first device of a kind.
pub(crate) fn device(kind: DeviceKind) -> Option<usize> {
    let kinds = (0_u64..).map_while(|place| rt::hostcall::device_info(place).ok());
    kinds
        .map(|(_, identity)| identity & 0xff)
        .position(|found| found == kind as u64)
}

/// Lets programs go on that have waited for frames, as long as the card works.
fn wait_for_frames() {
    loop {
        let mut system = SYSTEM.lock();
        let delay = system
            .as_mut()
            .and_then(|system| exchange(system, &mut Host { call: None }));
        let longest = PATIENCE.min(delay.unwrap_or(PATIENCE));
        // Before anybody else takes frames: who watches is woken by the next one.
        let watch = CARD.lock().as_mut().map(|card| card.watch(longest));
        drop(system);
        let waited = watch.unwrap_or(Err(Errno::ENOENT)).and_then(|watch| watch.wait());
        if let Err(errno) = waited {
            rt::println!("linux: the network card has failed: {errno:?}");
            return;
        }
    }
}

/// Lets frames come and go; how long there is nothing to do without one.
fn exchange(system: &mut System, host: &mut Host<'_>) -> Option<Duration> {
    let mut card = CARD.lock();
    let delay = system.exchange(host, card.as_mut()?)?;
    Some(Duration::from_nanos(delay))
}

/// The generator of random numbers: from a device where there is one; else from the time, different from run to run where time
/// is, and no secret.
fn generator() -> Result<ChaCha20Rng, Errno> {
    let Some(place) = device(DeviceKind::Entropy) else {
        let time = rt::hostcall::counted_clock() ^ rt::hostcall::wall_clock().unwrap_or(0);
        return Ok(ChaCha20Rng::seed_from_u64(time));
    };
    let mut device = Device::start(place, DeviceKind::Entropy, 0)?;
    let mut seed = [0; 32];
    let mut left = &mut seed[..];
    // A device may give fewer than it is asked for.
    while !left.is_empty() {
        let given = device.transfer(0, &[], &mut [left], Some(ENTROPY_PATIENCE))?;
        left = left.get_mut(given..).ok_or(Errno::EIO)?;
    }
    Ok(ChaCha20Rng::from_seed(seed))
}

/// The archive in a buffer that nobody writes, read where it lies.
#[derive(Debug)]
struct Root(Buffer);

impl Archive for Root {
    fn size(&self) -> usize {
        self.0.size() as usize
    }

    fn read(&self, offset: usize, to: &mut [u8]) -> library_os::Result<()> {
        self.0.read(offset as u64, to).map_err(|_| Error::EIO)
    }
}

fn handle(call: &Call) -> Answer {
    let who = Who {
        client: call.caller() as u32,
        thread: call.thread(),
    };
    let mut system = SYSTEM.lock();
    let Some(system) = system.as_mut() else {
        return Answer::Error(Errno::ENOSYS);
    };
    let mut host = Host { call: Some(call) };
    let first = [call.argument(0), call.argument(1)];
    if let Some(value) = system.quick(&mut host, who, call.number(), first) {
        return Answer::Value(value);
    }
    serve(system, &mut host, who, call)
}

/// Serves a call that needs more than to be looked at.
#[inline(never)]
fn serve(system: &mut System, host: &mut Host<'_>, who: Who, call: &Call) -> Answer {
    let arguments = [0, 1, 2, 3, 4, 5].map(|index| call.argument(index));
    let outcome = if call.number() == START {
        begin(system, host, who, arguments)
    } else {
        system.call(host, who, call.number(), arguments)
    };
    let answer = conclude(system, host, call, who, outcome);
    if system.has_news() {
        exchange(system, host);
    }
    answer
}

fn conclude(system: &mut System, host: &mut Host<'_>, call: &Call, who: Who, outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Value(value) => Answer::Value(value),
        Outcome::Begin(pointer) => Answer::Stack(0, pointer),
        Outcome::EndThread => Answer::EndThread(0),
        Outcome::EndProgram(status) => Answer::End(status),
        // What a signal has ended is over in another way by now.
        Outcome::Killed(_) => Answer::Error(Errno::ENOSYS),
        Outcome::Wait { nanoseconds, late } => match call.defer_for(nanoseconds, late) {
            Ok(token) => {
                system.waits(host, who, token.into_number());
                Answer::Deferred
            }
            Err(errno) => Answer::Error(errno),
        },
    }
}

/// The monitor's call before a program's first instruction; nobody else's calls have its number.
fn begin(system: &mut System, host: &mut Host<'_>, who: Who, [seen, size, near, block, bias, _]: [u64; 6]) -> Outcome {
    let window = Window::new(seen, size, near).filter(|_| near != 0);
    match window {
        Some(window) => system.begin(host, who, &Start { window, block, bias }),
        None => {
            host.log(
                who,
                format_args!("cannot start: its memory does not lie within this cVM"),
            );
            Outcome::EndProgram(126)
        }
    }
}

/// The cVM around the programs.
struct Host<'a> {
    /// The call that is served, if it is one.
    call: Option<&'a Call>,
}

impl Platform for Host<'_> {
    fn wake_at(&mut self, until: Option<u64>) {
        TICK.store(until.unwrap_or(u64::MAX), Ordering::Release);
        TICKS.fetch_add(1, Ordering::AcqRel);
        // Who does not wait looks again anyway.
        let _ = rt::hostcall::wake(&TICKS, 1);
    }

    fn load(&self, address: u64, to: &mut [u8]) {
        let from = ptr::with_exposed_provenance::<u8>(address as usize);
        // SAFETY: `Window` has checked that this is the program's memory, which the monitor has put within this cVM's and
        // which no reference of this program leads to. Where it has not, the processor ends this cVM.
        unsafe { ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) }
    }

    fn store(&mut self, address: u64, from: &[u8]) {
        let to = ptr::with_exposed_provenance_mut::<u8>(address as usize);
        // SAFETY: as above.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) }
    }

    fn zero(&mut self, address: u64, length: u64) {
        let to = ptr::with_exposed_provenance_mut::<u8>(address as usize);
        // SAFETY: as above.
        unsafe { rt::zero(to, length as usize) }
    }

    #[inline]
    fn clock(&self) -> u64 {
        rt::hostcall::counted_clock()
    }

    fn counter(&self) -> [u64; 2] {
        let header = rt::start_block().header();
        [header.counter_frequency, header.counter_start]
    }

    fn page(&self) -> Page {
        machine::page()
    }

    fn epoch(&self) -> u64 {
        EPOCH.load(Ordering::Relaxed)
    }

    fn machine(&self) -> &'static str {
        rt::MACHINE
    }

    fn write(&mut self, bytes: &[u8]) {
        // Who writes to the console does not learn that it is gone.
        let _ = rt::hostcall::write_all(abi::hostcall::STREAM_OUTPUT, bytes);
    }

    fn expect_input(&mut self) {
        // The thread that reads may wait already: what is written since then is a prompt, too.
        let _ = rt::hostcall::read(abi::hostcall::STREAM_INPUT, &mut []);
        if INPUT.swap(EXPECTED, Ordering::AcqRel) != EXPECTED {
            // Who does not wait looks again anyway.
            let _ = rt::hostcall::wake(&INPUT, 1);
        }
    }

    fn random(&mut self, bytes: &mut [u8]) {
        if let Some(random) = RANDOM.lock().as_mut() {
            random.fill_bytes(bytes);
        }
    }

    fn clone(&mut self, stack: Option<u64>, thread_pointer: Option<u64>) -> Result<u16, Error> {
        let call = self.call.ok_or(Error::EAGAIN)?;
        let cloned = call.clone_caller(stack, thread_pointer, 0);
        cloned.map_err(|_| Error::EAGAIN)
    }

    fn roles(&self) -> Roles {
        if rt::MACHINE == "aarch64" {
            Roles::ARM
        } else {
            Roles::RISCV
        }
    }

    fn registers(&self, token: Option<u64>) -> Result<[u64; REGISTERS], Error> {
        let words = match (token, self.call) {
            (Some(token), _) => Token::from_number(token).registers(),
            (None, Some(call)) => call.registers(),
            (None, None) => return Err(Error::ESRCH),
        };
        words.map_err(|_| Error::ESRCH)
    }

    fn set_registers(&mut self, token: Option<u64>, words: &[u64; REGISTERS]) -> Result<(), Error> {
        let set = match (token, self.call) {
            (Some(token), _) => Token::from_number(token).set_registers(words),
            (None, Some(call)) => call.set_registers(words),
            (None, None) => return Err(Error::ESRCH),
        };
        set.map_err(|errno| match errno {
            Errno::EFAULT => Error::EFAULT,
            _ => Error::ESRCH,
        })
    }

    fn seize(&mut self, who: Who) -> Result<u64, Error> {
        let seized = Token::seize(who.client.into(), who.thread);
        seized.map(Token::into_number).map_err(|errno| match errno {
            Errno::EAGAIN => Error::EAGAIN,
            _ => Error::ESRCH,
        })
    }

    fn text(&mut self, client: u32, address: u64, length: u64, executable: bool) -> Result<(), Error> {
        rt::hostcall::text(client.into(), address, length, executable).map_err(|_| Error::EFAULT)
    }

    fn end(&mut self, token: u64, status: Option<i32>) {
        let end = status.map_or(Answer::EndThread(0), Answer::End);
        // Who waits no more has ended, with its cVM.
        let _ = Token::from_number(token).answer(end);
    }

    fn answer(&mut self, token: u64, value: u64) -> bool {
        Token::from_number(token).answer(Answer::Value(value)).is_ok()
    }

    fn wait_on(&mut self, token: u64, nanoseconds: u64, late: u64) -> bool {
        Token::from_number(token).wait_on(nanoseconds, late).is_ok()
    }

    fn log(&mut self, who: Who, line: fmt::Arguments<'_>) {
        let mut text = rt::alloc::string::String::new();
        // A text takes whatever fits into memory.
        let _ = writeln!(text, "linux: {}.{}: {line}", who.client, who.thread);
        self.write(text.as_bytes());
    }
}
