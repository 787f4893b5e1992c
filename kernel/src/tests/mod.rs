//! Unit tests of the kernel on the host's stand-in.

mod archive;
mod buffer;
mod build;
mod console;
mod cvm;
mod device;
mod elf;
mod gate;
mod layout;
mod manifest;
mod measure;
mod monitor;
mod placement;
mod platform;
mod pool;
mod purecap;
mod raw;
mod service;
mod start;
mod symbols;
mod thread;
mod threads;
mod tree;

use crate::authority::ledger::Ledger;
use crate::authority::pool::{Pool, Room};
use crate::cvm::id::{CvmId, ThreadId};
use crate::elf::File;
use crate::hostcall::{self, Next};
use crate::run::monitor::Monitor;
use crate::run::shortcut::Usual;
use abi::Hostcall;
use arch::{Frame, user};
use std::cell::Cell;

std::thread_local! {
    /// Where the next file goes, above all memory that tests use.
    static NEXT_FILE: Cell<u64> = const { Cell::new(1 << 40) };
}

/// Puts bytes where the monitor can read them, with nothing readable behind.
fn stored(bytes: &[u8]) -> File {
    let start = NEXT_FILE.get();
    let end = start + bytes.len() as u64;
    NEXT_FILE.set(end.next_multiple_of(16) + 16);
    user::copy_out(bytes, arch::root(), start).unwrap();
    File::new(arch::root(), &(start..end))
}

/// The memory of the tests' cVMs.
fn opened(ledger: &mut Ledger) -> Pool {
    let range = cvm::POOL_START..cvm::POOL_END;
    Pool::open(Room::new(range.clone()), &[range], ledger).unwrap()
}

fn bytes_of(file: File) -> Vec<u8> {
    file.bytes()
}

/// The thread with this number: main threads have that of their cVM, handlers follow.
fn thread(monitor: &Monitor, number: usize) -> ThreadId {
    let mains = monitor.cvms.iter().map(|cvm| cvm.main());
    let handlers = monitor.cvms.iter().flat_map(|cvm| cvm.handlers());
    mains.chain(handlers).nth(number).unwrap()
}

fn number(monitor: &Monitor, id: ThreadId) -> usize {
    (0..).find(|number| thread(monitor, *number) == id).unwrap()
}

/// The number of the running thread.
fn running(monitor: &Monitor) -> usize {
    number(monitor, monitor.scheduler.current().unwrap())
}

/// The cVM of the running thread.
fn running_cvm(monitor: &Monitor) -> usize {
    monitor.scheduler[monitor.scheduler.current().unwrap()].cvm.index()
}

/// The cVM that a thread serves.
fn served_by(monitor: &Monitor, number: usize) -> Option<usize> {
    monitor.served_by(thread(monitor, number)).map(CvmId::index)
}

fn frame(monitor: &Monitor, number: usize) -> &'static Frame {
    monitor.scheduler[thread(monitor, number)].frame
}

/// The running thread's hostcall.
fn dispatch(monitor: &mut Monitor, frame: &'static Frame) -> Next {
    let thread = monitor.scheduler.current().unwrap();
    let cvm = monitor.scheduler[thread].cvm.index();
    let short = monitor.cvms[cvm].short;
    short.count();
    let number = frame.number();
    let usual = match short.is_direct(number) {
        true if number == Hostcall::Wait as u64 => hostcall::sync::usual_wait(monitor, frame),
        true if number == Hostcall::Wake as u64 => hostcall::sync::usual_wake(monitor, frame),
        _ => Usual::Not,
    };
    match hostcall::complete(monitor, usual) {
        Some(to) if std::ptr::eq(to, frame) => return Next::Return,
        Some(_) => return Next::Switch,
        None => {}
    }
    let usual = hostcall::usual(monitor, frame, short);
    if hostcall::complete(monitor, usual).is_some() {
        monitor.write_down();
        return Next::Switch;
    }
    if hostcall::device::usual(monitor, frame, short) {
        return Next::Return;
    }
    hostcall::dispatch(monitor, thread, frame)
}

/// Carries out every load that has begun; nobody runs meanwhile.
fn finish_loading(monitor: &mut Monitor) {
    for index in 0..monitor.cvms.len() {
        while monitor.cvms[index].loading.is_some() {
            monitor.load_step(CvmId::new(index)).unwrap();
        }
    }
}
