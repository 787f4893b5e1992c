//! What the fuzz targets call: the readers of somebody else's data, and a monitor that runs on the host's stand-in. What
//! must hold of every input is asserted here; only a bug of the monitor panics.

pub mod devices;

use crate::authority::ledger::Ledger;
use crate::authority::pool::{Pool, Room};
use crate::cvm::Life;
use crate::cvm::id::{CvmId, ThreadId};
use crate::cvm::thread::State;
use crate::elf::{File, Program};
use crate::hostcall::{Next, complete, dispatch, usual};
use crate::plan::archive::Archive;
use crate::plan::tree::{DEPTH_LIMIT, Token, Tokens};
use crate::plan::{manifest, platform, tree};
use crate::run::monitor::Monitor;
use crate::start::load;
use abi::hostcall::{BUFFER_READ, BUFFER_WRITE};
use abi::{Errno, Hostcall};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arch::{Derivation, Frame, Register, Slot, stand_in, user};
use capability::{Decoded, Permissions};
use core::ops::Range;

/// The memory that cVMs are made of.
pub const POOL_RANGE: Range<u64> = 0x8040_0000..0x8080_0000;
/// Ticks of the timer in a second.
const FREQUENCY: u64 = 10_000_000;
/// What the stand-in's memory holds where nobody has written.
const UNTOUCHED: u8 = 0xaa;
/// Bytes in front of and behind a cVM's memory that must stay untouched.
const GUARD: u64 = 256;

/// Where an archive or a program lies, below all else.
const FILE: u64 = 0x1000_0000;

/// Puts bytes where the monitor reads them; the file that was there is gone.
fn placed(bytes: &[u8]) -> File {
    let written = user::copy_out(bytes, arch::root(), FILE);
    written.unwrap_or_else(|error| panic!("{error:?}"));
    File::new(arch::root(), &(FILE..FILE + bytes.len() as u64))
}

/// The regular files of an archive, when the monitor reads it.
pub fn archive(bytes: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let archive = Archive::check(placed(bytes)).ok()?;
    let members = archive.members().iter().map(|member| {
        let data = member.data.bytes();
        assert_eq!(
            archive.find(&member.name).map(|file| file.bytes()).as_ref(),
            Some(&data),
            "{:?}",
            member.name
        );
        (member.name.clone(), data)
    });
    Some(members.collect())
}

/// What the monitor makes of an archive's manifest: a line a cVM and buffer, with all that counts of it, and the bytes of
/// the cVM's program or those that the buffer begins with.
///
/// # Errors
/// Why the monitor refuses archive or manifest.
pub fn plan(archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let archive = Archive::check(placed(archive)).map_err(|error| format!("{error}"))?;
    let plan = manifest::read(&archive).map_err(|error| format!("{error}"))?;
    let name = |id: Option<usize>| id.map(|id| plan.cvms[id].name.as_str());
    let cvms = plan.cvms.iter().map(|cvm| {
        let strings = (&cvm.name, &cvm.runtime, &cvm.args, &cvm.env);
        let memory = (cvm.isolation_base, cvm.isolation_size, cvm.numbers());
        let restart = (cvm.restart.name(), cvm.restart_limit, cvm.restart_delay, cvm.wait);
        let others = (name(cvm.server), name(cvm.within), &cvm.devices);
        let allowed = Hostcall::ALL.map(|hostcall| cvm.allows(hostcall));
        let line = format!("{strings:?} {memory:?} {restart:?} {others:?} {allowed:?}");
        (line, archive.find(&cvm.runtime).map_or(Vec::new(), |file| file.bytes()))
    });
    let buffers = plan.buffers.iter().map(|buffer| {
        let may = [&buffer.readers, &buffer.writers].map(|set| {
            let cvms = plan.cvms.iter().enumerate();
            let members = cvms.filter(|(id, _)| set.contains(*id));
            members.map(|(_, cvm)| cvm.name.as_str()).collect::<Vec<_>>()
        });
        let line = format!("{:?} {} {:?} {may:?}", buffer.name, buffer.size, name(buffer.owner));
        let data = buffer.data.as_ref().and_then(|member| archive.find(member));
        (line, data.map_or(Vec::new(), |file| file.bytes()))
    });
    Ok(cvms.chain(buffers).collect())
}

/// Whether the monitor accepts a program.
///
/// # Errors
/// Why it does not.
pub fn elf(bytes: &[u8]) -> Result<(), String> {
    let file = placed(bytes);
    let mut program = Program::check(file).map_err(|error| format!("{error}"))?;
    for segment in &program.segments {
        assert!(bytes.get(segment.file.clone()).is_some(), "{segment:?}");
        assert!(segment.file.len() as u64 <= segment.memory_size, "{segment:?}");
        assert!(!(segment.writable && segment.executable), "{segment:?}");
    }
    let mut number = 0;
    while let Some(relocation) = program.purecap.then(|| program.relocation(file, number)).flatten() {
        relocation.unwrap_or_else(|error| panic!("checked, but {error}"));
        number += 1;
    }
    // Only of a cVM that serves others is a handler asked for.
    let _ = program.find_handler(file).map_err(|error| format!("{error}"));
    Ok(())
}

/// Reads a platform's device tree as a boot does.
pub fn tree(bytes: &[u8]) {
    let _ = tree::used_size(bytes);
    let Ok(mut tokens) = Tokens::new(bytes) else { return };
    let mut depth = 0;
    while let Ok(Some(token)) = tokens.next() {
        match token {
            Token::Begin(_) => depth += 1,
            Token::Property(name, value) => assert!(name.len() + value.len() <= bytes.len()),
            Token::End => depth -= 1,
        }
        assert!((0..=DEPTH_LIMIT).contains(&depth));
    }
    if let Ok(board) = platform::read(bytes) {
        let _ = arch::timer::frequency(&board.platform);
    }
}

/// What a cVM passes to a hostcall.
#[derive(Clone, Copy, Debug)]
pub enum Argument {
    /// A number.
    Integer(u64),
    /// A capability that the cVM makes of its data capability, if it has one that allows it: base, length, address and
    /// permissions, whose letters are those of the printed form.
    Capability(u64, u64, u64, Permissions),
}

/// Something that happens to a running monitor.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The running cVM makes a hostcall.
    Hostcall(u64, [Argument; 6]),
    /// Ticks of the timer pass.
    Time(u32),
    /// A key of the console.
    Key(u8),
}

/// Boots an archive on the stand-in and lets it do these steps. Returns how many hostcalls the monitor served; none when
/// it refused the archive or could not load it.
///
/// # Panics
/// The monitor did what it must never do.
pub fn boot(archive: &[u8], steps: &[Step]) -> Option<usize> {
    // Memory, console and time of the stand-in belong to a thread: every run gets fresh ones.
    std::thread::scope(|scope| scope.spawn(|| run(archive, steps)).join()).unwrap_or_else(|_| panic!("see above"))
}

fn opened(ledger: &mut Ledger) -> Pool {
    let opened = Pool::open(Room::new(POOL_RANGE), &[POOL_RANGE], ledger);
    opened.unwrap_or_else(|error| panic!("{error}"))
}

fn run(archive: &[u8], steps: &[Step]) -> Option<usize> {
    let mut ledger = Ledger::new(arch::root());
    let pool = opened(&mut ledger);
    let mut monitor = load(placed(archive), ledger, pool, FREQUENCY).ok()?;
    monitor.start_waiting(arch::timer::now(), usize::MAX);
    let mut served = 0;
    finish_loading(&mut monitor)?;
    check(&monitor);
    for step in steps {
        match *step {
            Step::Hostcall(number, arguments) => {
                if !hostcall(&mut monitor, number, arguments) {
                    break;
                }
                served += 1;
            }
            Step::Time(ticks) => {
                stand_in::advance(ticks.into());
                monitor.due(arch::timer::now());
            }
            Step::Key(key) => {
                stand_in::type_input(&[key]);
                monitor.service_devices();
            }
        }
        check(&monitor);
    }
    check_memory(&monitor);
    Some(served)
}

/// Carries out every load that has begun; nobody runs meanwhile. None when a capability that a program asks for cannot be
/// made.
fn finish_loading(monitor: &mut Monitor) -> Option<()> {
    for index in 0..monitor.cvms.len() {
        while monitor.cvms[index].loading.is_some() {
            monitor.load_step(CvmId::new(index)).ok()?;
        }
    }
    Some(())
}

/// Lets the next cVM make a hostcall; false when there is none any more.
fn hostcall(monitor: &mut Monitor, number: u64, arguments: [Argument; 6]) -> bool {
    if !monitor
        .scheduler
        .threads
        .iter()
        .any(|thread| thread.state == State::Ready)
    {
        // Somebody may wait for a key.
        stand_in::type_input(b"\n");
        monitor.service_devices();
    }
    let stays = |state| matches!(state, State::Reading | State::Serving | State::Stopped);
    let comes_back = |life| matches!(life, Life::Restarting { .. });
    if monitor.scheduler.threads.iter().all(|thread| stays(thread.state))
        && !monitor.cvms.iter().any(|cvm| comes_back(cvm.life))
    {
        return false;
    }
    let frame = monitor.next();
    let thread = monitor.scheduler.current().expect("somebody runs");
    frame.set_hostcall(number, [0; 6]);
    for (index, argument) in arguments.into_iter().enumerate() {
        pass(frame, index, argument);
    }
    let cvm = monitor.scheduler[thread].cvm.index();
    let short = monitor.cvms[cvm].short;
    short.count();
    let usual = usual(monitor, frame, short);
    if complete(monitor, usual).is_some() {
        monitor.write_down();
    } else if dispatch(monitor, thread, frame) == Next::Return {
        let result = frame.argument(0);
        let negative = result as i64;
        assert!(
            !(-4095..0).contains(&negative) || Errno::from_result(result).is_some(),
            "hostcall {number} returned the unknown error {negative}"
        );
    }
    true
}

/// The running cVM makes a hostcall that does not wait: both results, or the error.
fn hostcall_of(monitor: &mut Monitor, hostcall: Hostcall, [a, b, c, d]: [u64; 4]) -> Result<(u64, u64), Errno> {
    let frame = monitor.next();
    let thread = monitor.scheduler.current().expect("somebody runs");
    frame.set_hostcall(hostcall as u64, [a, b, c, d, 0, 0]);
    assert!(dispatch(monitor, thread, frame) == Next::Return, "{hostcall:?} waits");
    let (first, second) = (frame.argument(0), frame.argument(1));
    Errno::from_result(first).map_or(Ok((first, second)), Err)
}

/// Puts an argument into its register.
fn pass(frame: &Frame, index: usize, argument: Argument) {
    match argument {
        Argument::Integer(value) => frame.set_argument(index, Register::Integer(value)),
        Argument::Capability(base, length, address, permissions) => {
            let slot = Slot::null();
            let request = Derivation {
                base,
                length,
                permissions: permissions & frame.data().decoded().permissions,
                address,
            };
            match slot.derive(frame.data(), &request) {
                Ok(()) => frame.set_argument(index, Register::Capability(&slot)),
                Err(_) => frame.set_argument(index, Register::Integer(address)),
            }
        }
    }
}

fn covers(range: &Range<u64>, what: &Decoded) -> bool {
    what.base >= range.start && what.top <= u128::from(range.end)
}

/// Whether a cVM may hold a capability: over its own memory and that of the cVMs within, or a local one over a buffer.
fn may_hold(monitor: &Monitor, cvm: usize, what: &Decoded) -> bool {
    let mut rights = Permissions::empty();
    let buffers = monitor.buffers.concerning(cvm).map(|index| monitor.buffers.get(index));
    for buffer in buffers.filter(|buffer| covers(&buffer.memory, what)) {
        rights.set(Permissions::LOAD, buffer.may(cvm) & BUFFER_READ != 0);
        rights.set(Permissions::STORE, buffer.may(cvm) & BUFFER_WRITE != 0);
    }
    covers(&monitor.cvms[cvm].bounds, what) || (!rights.is_empty() && rights.contains(what.permissions))
}

/// Whether what a handler holds was lent to it: local, and from whom its call came, however far.
fn may_borrow(monitor: &Monitor, thread: ThreadId, what: &Decoded) -> bool {
    let client = monitor.served_by(thread).map(CvmId::index);
    client.is_some() && !what.permissions.contains(Permissions::GLOBAL) && {
        let clients =
            |server: usize| (0..monitor.cvms.len()).filter(move |id| monitor.cvms[*id].spec.server == Some(server));
        let mut found: Vec<usize> = client.into_iter().collect();
        let mut next = 0;
        while let Some(client) = found.get(next).copied() {
            found.extend(clients(client));
            next += 1;
        }
        found.into_iter().any(|id| may_hold(monitor, id, what))
    }
}

/// Whatever a cVM holds in registers is its own or lent to it.
fn check(monitor: &Monitor) {
    for (number, thread) in monitor.scheduler.threads.iter().enumerate() {
        let cvm = &monitor.cvms[thread.cvm.index()];
        for (register, what) in thread.frame.registers().filter(|(_, what)| what.tag) {
            let allowed =
                may_hold(monitor, thread.cvm.index(), &what) || may_borrow(monitor, ThreadId::new(number), &what);
            assert!(
                allowed,
                "{}: {register} holds {what}, its memory is {:x?}",
                cvm.spec.name, cvm.bounds
            );
        }
    }
}

/// Whatever a cVM has in memory is its own, memory that is nobody's was never written, and no two cVMs share any but as
/// one lies within the other.
fn check_memory(monitor: &Monitor) {
    for (id, cvm) in monitor.cvms.iter().enumerate() {
        let memory = cvm.memory();
        let name = &cvm.spec.name;
        assert!(
            memory.start >= POOL_RANGE.start && memory.end <= POOL_RANGE.end,
            "{name}: {memory:x?}"
        );
        for address in memory.clone().step_by(16) {
            let Some(what) = stand_in::capability(address) else {
                continue;
            };
            assert!(
                may_hold(monitor, id, &what),
                "{name}: {what} at {address:#x}, its memory is {:x?}",
                cvm.bounds
            );
        }
        for (_, other) in monitor.cvms.iter().enumerate().filter(|(other, _)| *other != id) {
            let other = other.memory();
            assert!(
                other.end <= memory.start || memory.end <= other.start,
                "{name}: {memory:x?} and {other:x?}"
            );
        }
        for guard in [memory.start - GUARD..memory.start, memory.end..memory.end + GUARD] {
            let apart = |other: &Range<u64>| guard.end <= other.start || other.end <= guard.start;
            let cvms = monitor.cvms.iter().map(|other| other.memory());
            let files = monitor.buffers.regions.iter().map(|region| &region.memory);
            let files = files.map(|memory| memory.start..memory.end.next_multiple_of(crate::elf::PAGE));
            let bytes = stand_in::memory(guard.start, GUARD as usize);
            assert!(
                !cvms.chain(files).all(|other| apart(&other)) || bytes.iter().all(|byte| *byte == UNTOUCHED),
                "{name}: {guard:x?} was written"
            );
        }
    }
}
