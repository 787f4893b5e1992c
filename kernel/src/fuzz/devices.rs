//! A driver and a device that both do anything, with the monitor's queues between them.

use super::{FREQUENCY, finish_loading, hostcall_of};
use crate::accomplice::Accomplice;
use crate::authority::ledger::Ledger;
use crate::cvm::id::CvmId;
use crate::cvm::{End, Life};
use crate::hostcall::device::usual;
use crate::run::device::probe;
use crate::run::hart;
use crate::start::load;
use abi::hostcall::SEGMENT_WRITTEN;
use abi::{Errno, FaultKind, Hostcall};
use alloc::vec::Vec;
use arch::{Platform, VirtioSlot, stand_in};
use std::collections::BTreeMap;

/// Something that the driver, or the device, does.
#[derive(Clone, Debug)]
pub enum Move {
    /// The driver starts the device with these features.
    Start(u64),
    /// The driver submits to a queue: pointers, counted from the start of its memory, lengths and flags; and the way through the
    /// monitor.
    Submit(u64, Vec<[u64; 3]>, Way),
    /// The driver takes from a queue.
    Take(u64, Way),
    /// The driver looks whether there is something in these queues.
    Look(u64),
    /// The driver resets the device.
    Reset,
    /// The driver faults, and is started again.
    End,
    /// The device says that it has finished this in a queue.
    Finish(usize, u32, u32),
    /// The device says how much it has finished in a queue.
    Index(usize, u16),
    /// The device says this of its queue, its status and its interrupt.
    Say(usize, u16, u32, u32),
}

/// A way through the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// That of every hostcall.
    Long,
    /// The one for drivers that nobody serves, which goes on as the other where it cannot end.
    Short,
}

/// The slot's interrupt.
const INTERRUPT: u32 = 3;
const BLOCK: u32 = 2;

/// Boots an archive, whose first cVM drives `block0` and always comes back, and lets it and the device make these moves.
///
/// # Panics
/// The monitor gave the device what is not its driver's, or the driver what it did not wait for.
pub fn drive(archive: &[u8], version: u32, moves: &[Move]) {
    // Memory and devices of the stand-in belong to a thread.
    let played = std::thread::scope(|scope| scope.spawn(|| play(archive, version, moves)).join());
    played.unwrap_or_else(|_| panic!("see above"));
}

fn play(archive: &[u8], version: u32, moves: &[Move]) {
    let device = Accomplice::attach(0, BLOCK, version);
    let mut platform = Platform::default();
    platform.virtio[0] = Some(VirtioSlot {
        base: 0x1000_0000,
        interrupt: INTERRUPT,
    });
    let mut ledger = Ledger::new(arch::root());
    let found = probe(&mut ledger, &platform);
    let pool = super::opened(&mut ledger);
    let loaded = load(super::placed(archive), ledger, pool, FREQUENCY);
    let mut monitor = loaded.unwrap_or_else(|error| panic!("{error}"));
    let given = monitor.give_devices(&found);
    given.unwrap_or_else(|error| panic!("{error}"));
    monitor.start_waiting(arch::timer::now(), usize::MAX);
    finish_loading(&mut monitor);
    let memory = monitor.cvms[0].memory();
    // What is in flight, as the driver knows it: queue and id, and the bytes that the device may write.
    let mut in_flight: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for step in moves {
        let mut call_by = |way, hostcall: Hostcall, arguments: [u64; 4]| {
            if way == Way::Short {
                let frame = monitor.next();
                let [a, b, c, d] = arguments;
                frame.set_hostcall(hostcall as u64, [a, b, c, d, 0, 0]);
                if usual(&mut monitor, frame, hart::running()) {
                    let (first, second) = (frame.argument(0), frame.argument(1));
                    return Errno::from_result(first).map_or(Ok((first, second)), Err);
                }
            }
            hostcall_of(&mut monitor, hostcall, arguments)
        };
        let mut call = |hostcall, arguments| call_by(Way::Long, hostcall, arguments);
        match step {
            Move::Start(features) => {
                call(Hostcall::DeviceStart, [0, *features, 0, 0]).ok();
                in_flight.clear();
            }
            Move::Submit(queue, segments, way) => {
                let words = segments
                    .iter()
                    .flat_map(|[pointer, length, flags]| [memory.start.wrapping_add(*pointer), 0, *length, *flags]);
                let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
                stand_in::write(memory.start, &bytes);
                let arguments = [0, *queue, memory.start, segments.len() as u64];
                let result = call_by(*way, Hostcall::DeviceSubmit, arguments);
                if let Ok((id, _)) = result {
                    let writable = segments.iter().filter(|[_, _, flags]| *flags == SEGMENT_WRITTEN);
                    let writable = writable.map(|[_, length, _]| length).sum();
                    let before = in_flight.insert((*queue, id), writable);
                    assert_eq!(before, None, "request {id} is in flight twice");
                    for (head, pieces) in device.requests(*queue as usize) {
                        assert_eq!(u64::from(head), id);
                        assert_eq!(pieces.len(), segments.len());
                        for (address, length, _) in pieces {
                            let end = address + u64::from(length);
                            assert!(
                                length > 0 && memory.start <= address && end <= memory.end,
                                "{address:#x}-{end:#x} is not the driver's: {memory:x?}"
                            );
                        }
                    }
                }
            }
            Move::Take(queue, way) => match call_by(*way, Hostcall::DeviceTake, [0, *queue, 0, 0]) {
                Ok((id, length)) => {
                    let writable = in_flight.remove(&(*queue, id));
                    let writable = writable.unwrap_or_else(|| panic!("request {id} was not in flight"));
                    assert!(length <= writable, "{length} bytes, of {writable}");
                }
                // The device broke the rules: it was reset.
                Err(Errno::EIO) => in_flight.clear(),
                Err(_) => {}
            },
            Move::Look(queues) => {
                if call(Hostcall::DeviceWait, [0, *queues, 0, 0]) == Err(Errno::EIO) {
                    in_flight.clear();
                }
            }
            Move::Reset => {
                call(Hostcall::DeviceReset, [0, 0, 0, 0]).ok();
                in_flight.clear();
            }
            Move::End => {
                monitor.end(CvmId::new(0), End::Faulted(FaultKind::Bounds), arch::timer::now());
                assert_eq!(device.registers().status & 4, 0, "it still runs");
                in_flight.clear();
                if let Life::Restarting { at, .. } = monitor.cvms[0].life {
                    stand_in::advance(at.saturating_sub(arch::timer::now()));
                    monitor.due(arch::timer::now());
                }
                finish_loading(&mut monitor);
            }
            Move::Finish(queue, id, written) if device.is_set_up(*queue) => device.finish(*queue, *id, *written),
            Move::Index(queue, index) if device.is_set_up(*queue) => device.set_finished(*queue, *index),
            Move::Say(queue, flags, status, interrupt) => {
                if device.is_set_up(*queue) {
                    device.set_flags(*queue, *flags);
                }
                device.registers().status |= status & 0x40;
                device.registers().interrupt = interrupt & 3;
                stand_in::interrupt(INTERRUPT);
                monitor.service_devices();
            }
            Move::Finish(..) | Move::Index(..) => {}
        }
    }
}
