//! Devices that cVMs drive: what may go into a queue, and what becomes of what comes out.

use super::build::{Value, Value::*, archive, manifest, program};
use super::stored;
use super::{dispatch, finish_loading, running_cvm, thread};
use crate::accomplice::{Accomplice, Piece};
use crate::authority::ledger::{Ledger, pool};
use crate::authority::pool::Pool;
use crate::cvm::id::CvmId;
use crate::cvm::thread::State;
use crate::cvm::{End, Life};
use crate::hostcall::Next;
use crate::run::device::probe;
use crate::run::monitor::Monitor;
use crate::start::load;
use abi::hostcall::{BUFFER_ALL, BUFFER_READ, BUFFER_WRITE, SEGMENT_BYTES_LIMIT, SEGMENT_WRITTEN, WAIT_FOREVER};
use abi::{Errno, FaultKind, Hostcall};
use arch::{Derivation, Platform, Register, Slot, VirtioSlot, stand_in};
use capability::{Decoded, Permissions};

const POOL_START: u64 = 0x8040_0000;
const POOL_END: u64 = 0x8080_0000;
const BLOCK: u32 = 2;
const LEGACY: u32 = 1;
const MODERN: u32 = 2;
/// The interrupt of the slot that has the device.
const INTERRUPT: u32 = 8;
const WRITTEN: u64 = SEGMENT_WRITTEN;

/// A platform with two slots, of which the first one is the lower.
fn platform() -> Platform {
    let mut platform = Platform::default();
    for (number, interrupt) in [(0, 7), (1, INTERRUPT)] {
        let base = 0x1000_0000 + 0x1000 * number as u64;
        platform.virtio[number] = Some(VirtioSlot { base, interrupt });
    }
    platform
}

type Extra<'a> = [(&'a str, Value<'a>)];

/// A monitor whose first cVM drives `block0`, with these properties, and whose second one drives nothing.
fn boot(version: u32, extra: &Extra<'_>) -> (Box<Monitor>, Accomplice) {
    let device = Accomplice::attach(1, BLOCK, version);
    let mut driver = vec![
        ("label", Text("driver")),
        ("runtime", Text("program")),
        ("devices", Texts(&["block0"])),
        ("restart-policy", Text("on-fault")),
        ("restart-limit", Cell(9)),
        ("heap", Cells(0x10000)),
    ];
    driver.extend(extra.iter().map(|(key, value)| match value {
        Cell(cell) => (*key, Cell(*cell)),
        Cells(cells) => (*key, Cells(*cells)),
        _ => panic!("a number"),
    }));
    let other = [("label", Text("other")), ("runtime", Text("program"))];
    let bytes = archive(&[
        ("manifest.dtb", &manifest("intravisor,manifest-1", &[&driver, &other])),
        ("program", &program()),
    ]);
    let mut ledger = Ledger::new(arch::root());
    let found = probe(&mut ledger, &platform());
    ledger.open_pool(POOL_START..POOL_END).unwrap();
    let mut monitor = load(stored(&bytes), ledger, Pool::new(POOL_START..POOL_END), 10_000_000).unwrap();
    monitor.give_devices(&found).unwrap();
    monitor.start_waiting(arch::timer::now(), usize::MAX);
    finish_loading(&mut monitor);
    (monitor, device)
}

/// The driver, or the cVM of this number, makes a hostcall: both results, or the error; none when it waits.
fn call_as(
    monitor: &mut Monitor,
    cvm: usize,
    hostcall: Hostcall,
    arguments: [u64; 4],
) -> Option<Result<(u64, u64), Errno>> {
    let mut frame = monitor.next();
    while running_cvm(monitor) != cvm {
        frame.set_hostcall(Hostcall::Yield as u64, [0; 6]);
        dispatch(monitor, frame);
        frame = monitor.next();
    }
    let [a, b, c, d] = arguments;
    frame.set_hostcall(hostcall as u64, [a, b, c, d, 0, 0]);
    if dispatch(monitor, frame) == Next::Switch {
        return None;
    }
    let (first, second) = (frame.argument(0), frame.argument(1));
    Some(Errno::from_result(first).map_or(Ok((first, second)), Err))
}

fn call(monitor: &mut Monitor, hostcall: Hostcall, arguments: [u64; 4]) -> Result<(u64, u64), Errno> {
    call_as(monitor, 0, hostcall, arguments).expect("an answer at once")
}

fn started(version: u32) -> (Box<Monitor>, Accomplice) {
    let (mut monitor, device) = boot(version, &[]);
    call(&mut monitor, Hostcall::DeviceStart, [0, u64::MAX, 0, 0]).unwrap();
    (monitor, device)
}

/// Where the driver keeps the records, and the memory for the device.
fn records(monitor: &Monitor) -> u64 {
    monitor.cvms[0].memory().start
}

fn memory(monitor: &Monitor) -> u64 {
    records(monitor) + 0x1000
}

/// Submits what these records say: pointer, length, flags.
fn submit(monitor: &mut Monitor, segments: &[[u64; 3]]) -> Result<u64, Errno> {
    let at = records(monitor);
    for (place, [pointer, length, flags]) in (at..).step_by(32).zip(segments) {
        let words = [*pointer, 0, *length, *flags];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        arch::user::copy_out(&bytes, &monitor.cvms[0].authority.data, place).unwrap();
    }
    let arguments = [0, 0, at, segments.len() as u64];
    call(monitor, Hostcall::DeviceSubmit, arguments).map(|(id, _)| id)
}

fn take(monitor: &mut Monitor) -> Result<(u64, u64), Errno> {
    call(monitor, Hostcall::DeviceTake, [0, 0, 0, 0])
}

#[test]
fn a_device_is_found_once_by_kind_and_highest_slot_and_entered_in_the_ledger() {
    let mut ledger = Ledger::new(arch::root());
    let _devices = [
        Accomplice::attach(0, BLOCK, LEGACY),
        Accomplice::attach(1, BLOCK, MODERN),
    ];
    assert_eq!(probe(&mut ledger, &platform()).len(), 2);
    assert_eq!(ledger.len(), 3, "the root and two windows");
    // A console, an empty slot, a version to come: none is kept, nor the authority over their windows.
    for (kind, version) in [(3, LEGACY), (0, LEGACY), (BLOCK, 3)] {
        let mut ledger = Ledger::new(arch::root());
        let _devices = [
            Accomplice::attach(0, kind, version),
            Accomplice::attach(1, kind, version),
        ];
        assert!(probe(&mut ledger, &platform()).is_empty());
        assert_eq!(ledger.len(), 1);
    }
}

/// What becomes of cVMs that name devices so, on a machine with these.
fn given(cvms: &[&[&str]], platform: &Platform) -> Result<Vec<(u64, u64)>, String> {
    let names = ["a", "b"];
    let nodes: Vec<Vec<(&str, Value<'_>)>> = names
        .iter()
        .zip(cvms)
        .map(|(name, devices)| {
            vec![
                ("label", Text(name)),
                ("runtime", Text("program")),
                ("devices", Texts(devices)),
            ]
        })
        .collect();
    let nodes: Vec<&[_]> = nodes.iter().map(Vec::as_slice).collect();
    let bytes = archive(&[
        ("manifest.dtb", &manifest("intravisor,manifest-1", &nodes)),
        ("program", &program()),
    ]);
    let mut ledger = Ledger::new(arch::root());
    let found = probe(&mut ledger, platform);
    ledger.open_pool(POOL_START..POOL_END).unwrap();
    let mut monitor =
        load(stored(&bytes), ledger, Pool::new(POOL_START..POOL_END), 10_000_000).map_err(|error| error.to_string())?;
    monitor.give_devices(&found)?;
    Ok(monitor
        .devices
        .iter()
        .map(|device| device.configuration(0, 1).unwrap())
        .collect())
}

/// A disk in a slot that calls itself so.
fn named(slot: usize, version: u32, serial: &str) -> Accomplice {
    let device = Accomplice::attach(slot, BLOCK, version);
    let mut text = [0; 20];
    text[..serial.len()].copy_from_slice(serial.as_bytes());
    device.registers().serial = Some(text);
    device
}

#[test]
fn a_machine_without_the_device_is_refused_by_name() {
    let _device = named(1, MODERN, "data");
    for name in ["net0", "block1", "block@date", "block@data2", "net@00:01:02:03:04:05"] {
        let problem = format!("cVM a: devices = \"{name}\": the machine has no such device");
        assert_eq!(given(&[&[name]], &platform()), Err(problem));
    }
}

#[test]
fn a_disk_is_found_by_its_serial_number_and_a_card_by_its_address_and_neither_runs_then() {
    let longest = "A-serial_of.20-bytes";
    for version in [LEGACY, MODERN] {
        let disks = [named(0, version, longest), named(1, version, "data")];
        for (name, at) in [("block@data", 1), (&*format!("block@{longest}"), 0)] {
            assert_eq!(given(&[&[name]], &platform()).map(|all| all.len()), Ok(1), "{name}");
            let other = format!("block{}", 1 - at);
            assert!(
                given(&[&[name, &other]], &platform()).unwrap_err().contains("is also"),
                "{name} is not {other}"
            );
            let other = format!("block{at}");
            assert_eq!(
                given(&[&[name, &other]], &platform()).map(|all| all.len()),
                Ok(2),
                "{name} is {other}"
            );
        }
        assert!(
            disks.iter().all(|disk| disk.registers().status == 0),
            "one was not reset"
        );
        let card = Accomplice::attach(0, 1, version);
        assert_eq!(
            given(&[&["net@00:01:02:03:04:05"]], &platform()).map(|all| all.len()),
            Ok(1)
        );
        card.registers().features &= !(1 << 5);
        assert!(
            given(&[&["net@00:01:02:03:04:05"]], &platform()).is_err(),
            "it has no address"
        );
    }
}

#[test]
fn a_device_has_one_driver_whatever_names_it_has() {
    let _devices = [named(0, LEGACY, "old"), named(1, MODERN, "data")];
    let problem = |cvm, name, other| {
        Err(format!(
            "cVM {cvm}: devices = \"{name}\": it is also {other}, expected one driver of a device"
        ))
    };
    let rows: [(&[&[&str]], _); 3] = [
        (
            &[&["block0"], &["block@data"]],
            problem("b", "block@data", "block0 of cVM a"),
        ),
        (
            &[&["block@old"], &["block1"]],
            problem("b", "block1", "block@old of cVM a"),
        ),
        (
            &[&["block@data", "block0"]],
            problem("a", "block0", "block@data of cVM a"),
        ),
    ];
    for (cvms, refused) in rows {
        assert_eq!(given(cvms, &platform()).map(|_| ()), refused);
    }
}

#[test]
fn a_name_that_two_devices_have_is_nobodys() {
    let _devices = [named(0, LEGACY, "data"), named(1, MODERN, "data")];
    let problem = "cVM a: devices = \"block@data\": the machine has several such devices";
    assert_eq!(given(&[&["block@data"]], &platform()), Err(problem.into()));
}

#[test]
fn a_disk_that_does_not_say_who_it_is_has_no_such_name_and_keeps_its_others() {
    // One that never answers, and one that is not reset any more.
    let devices = [Accomplice::attach(0, BLOCK, LEGACY), named(1, MODERN, "data")];
    devices[1].registers().endless = true;
    let refused = given(&[&["block1"], &["block@data"]], &platform());
    let problem = "cVM b: devices = \"block@data\": the machine has no such device";
    assert_eq!(refused, Err(problem.into()));
}

#[test]
fn only_the_driver_reaches_the_device() {
    let (mut monitor, _device) = boot(MODERN, &[]);
    for hostcall in [
        Hostcall::DeviceInfo,
        Hostcall::DeviceConfig,
        Hostcall::DeviceStart,
        Hostcall::DeviceTake,
        Hostcall::DeviceWait,
        Hostcall::DeviceReset,
    ] {
        let stranger = call_as(&mut monitor, 1, hostcall, [0, 0, 1, 0]);
        assert_eq!(stranger, Some(Err(Errno::ENOENT)), "{hostcall:?}");
        for number in [1, u64::MAX] {
            assert_eq!(
                call(&mut monitor, hostcall, [number, 0, 1, 0]),
                Err(Errno::ENOENT),
                "{hostcall:?}"
            );
        }
    }
    let at = records(&monitor);
    let stranger = call_as(&mut monitor, 1, Hostcall::DeviceSubmit, [0, 0, at, 1]);
    assert_eq!(stranger, Some(Err(Errno::ENOENT)));
}

#[test]
fn features_are_those_of_the_kind_and_queues_are_set_up_in_both_versions() {
    for (version, features) in [(LEGACY, 0xff | 1 << 27), (MODERN, 0xff | 1 << 27 | 1 << 32)] {
        let (mut monitor, device) = boot(version, &[]);
        let info = call(&mut monitor, Hostcall::DeviceInfo, [0, 0, 0, 0]);
        assert_eq!(info, Ok((0x1_3f00_00ff, u64::from(BLOCK | version << 8))));
        let started = call(&mut monitor, Hostcall::DeviceStart, [0, u64::MAX, 0, 0]);
        assert_eq!(started, Ok((features, 2)), "no event indices, no indirect descriptors");
        assert_eq!(device.registers().agreed, features);
        assert_eq!(device.registers().status & 4, 4, "it is started");
        let at = memory(&monitor);
        assert_eq!(submit(&mut monitor, &[[at, 16, 0], [at + 16, 512, WRITTEN]]), Ok(0));
        let pieces: Vec<Piece> = vec![(at, 16, false), (at + 16, 512, true)];
        assert_eq!(device.requests(0), [(0, pieces)]);
        assert_eq!(device.registers().notified, [0]);
        assert_eq!(take(&mut monitor), Err(Errno::EAGAIN));
        device.finish(0, 0, 512);
        assert_eq!(take(&mut monitor), Ok((0, 512)));
        device.set_flags(0, 1);
        submit(&mut monitor, &[[at, 1, 0]]).unwrap();
        assert_eq!(device.registers().notified, [0], "it wants no notification");
    }
}

#[test]
fn a_device_that_refuses_the_features_is_not_started() {
    let (mut monitor, device) = boot(MODERN, &[]);
    device.registers().refused = 8;
    assert_eq!(call(&mut monitor, Hostcall::DeviceStart, [0, 0, 0, 0]), Err(Errno::EIO));
    assert_eq!(submit(&mut monitor, &[[0, 1, 0]]), Err(Errno::EFAULT));
    let at = memory(&monitor);
    assert_eq!(submit(&mut monitor, &[[at, 1, 0]]), Err(Errno::EIO));
    assert_eq!(take(&mut monitor), Err(Errno::EIO));
    assert_eq!(device.registers().status, 0);
}

#[test]
fn configuration_is_read_within_its_space() {
    let (mut monitor, _device) = boot(MODERN, &[]);
    let mut read = |offset, width| call(&mut monitor, Hostcall::DeviceConfig, [0, offset, width, 0]);
    assert_eq!(read(3, 1), Ok((3, 7)));
    assert_eq!(read(252, 4), Ok((252 * 0x0101_0101, 7)));
    for (offset, width) in [(256, 1), (256, 4), (2, 4), (0, 2), (0, 0), (0, 8), (u64::MAX, 1)] {
        assert_eq!(read(offset, width), Err(Errno::EINVAL), "{offset} {width}");
    }
}

#[test]
fn a_device_is_given_what_its_driver_reaches_and_not_a_byte_more() {
    let (mut monitor, device) = started(MODERN);
    let range = monitor.cvms[0].memory();
    let other = monitor.cvms[1].memory();
    for (address, length, flags, expected) in [
        (range.end - 1, 1, WRITTEN, None),
        (range.end - 1, 2, WRITTEN, Some(Errno::EFAULT)),
        (range.start - 1, 1, 0, Some(Errno::EFAULT)),
        (range.end, 1, 0, Some(Errno::EFAULT)),
        (other.start, 1, 0, Some(Errno::EFAULT)),
        (u64::MAX, 1, 0, Some(Errno::EFAULT)),
        (u64::MAX, 2, WRITTEN, Some(Errno::EFAULT)),
        (range.start, 0, 0, Some(Errno::EINVAL)),
        (range.start, SEGMENT_BYTES_LIMIT + 1, 0, Some(Errno::EINVAL)),
        (range.start, u64::MAX, 0, Some(Errno::EINVAL)),
        (range.start, 1 << 32 | 1, 0, Some(Errno::EINVAL)),
        (range.start, 1, 2, Some(Errno::EINVAL)),
        (range.start, 1, 1 << 32, Some(Errno::EINVAL)),
    ] {
        let result = submit(&mut monitor, &[[address, length, flags]]);
        assert_eq!(result.err(), expected, "{address:#x} {length:#x} {flags:#x}");
    }
    assert_eq!(device.requests(0).len(), 1, "nothing else was made available");
    let at = memory(&monitor);
    let mixed = submit(&mut monitor, &[[at, 1, WRITTEN], [at, 1, 0]]);
    assert_eq!(mixed, Err(Errno::EINVAL), "what it reads comes first");
    // One wrong piece among right ones.
    assert_eq!(
        submit(&mut monitor, &[[at, 1, 0], [other.start, 1, 0]]),
        Err(Errno::EFAULT)
    );
    for count in [0, 17, u64::MAX] {
        let at = records(&monitor);
        let result = call(&mut monitor, Hostcall::DeviceSubmit, [0, 0, at, count]);
        assert_eq!(result, Err(Errno::EINVAL), "{count} pieces");
    }
    for (queue, at, expected) in [
        (2, records(&monitor), Errno::ENOENT),
        (u64::MAX, records(&monitor), Errno::ENOENT),
        (0, records(&monitor) + 8, Errno::EINVAL),
        (0, range.end - 16, Errno::EFAULT),
        (0, other.start, Errno::EFAULT),
        (0, u64::MAX - 15, Errno::EFAULT),
    ] {
        arch::user::copy_out(&at.to_le_bytes(), &monitor.cvms[0].authority.data, records(&monitor)).unwrap();
        let result = call(&mut monitor, Hostcall::DeviceSubmit, [0, queue, at, 1]);
        assert_eq!(result, Err(expected), "queue {queue}, records at {at:#x}");
    }
    assert!(device.requests(0).is_empty());
}

#[test]
fn text_that_cvms_cannot_write_is_not_written_by_a_device() {
    let (mut monitor, _device) = started(MODERN);
    let at = memory(&monitor);
    stand_in::make_read_only(at + 0x1000..at + 0x2000);
    assert!(submit(&mut monitor, &[[at, 0x1000, WRITTEN]]).is_ok());
    assert!(submit(&mut monitor, &[[at + 0x2000, 1, WRITTEN]]).is_ok());
    assert!(
        submit(&mut monitor, &[[at + 0x1000, 1, 0]]).is_ok(),
        "reading is allowed"
    );
    assert_eq!(submit(&mut monitor, &[[at, 0x1001, WRITTEN]]), Err(Errno::EFAULT));
    assert_eq!(submit(&mut monitor, &[[at + 0x1fff, 1, WRITTEN]]), Err(Errno::EFAULT));
}

#[test]
fn a_capability_counts_as_it_is() {
    let (mut monitor, device) = started(MODERN);
    let (at, records) = (memory(&monitor), records(&monitor));
    let (load, store, global) = (Permissions::LOAD, Permissions::STORE, Permissions::GLOBAL);
    let mut with = |permissions: Permissions, address: u64, flags: u64, seal: bool| {
        let slot = Slot::null();
        let data = &monitor.cvms[0].authority.data;
        let request = Derivation {
            base: at,
            length: 64,
            permissions,
            address,
        };
        if seal {
            let code = &monitor.cvms[0].authority.code;
            let Decoded {
                base, top, permissions, ..
            } = code.decoded();
            let length = (top - u128::from(base)) as u64;
            slot.derive_entry(
                code,
                &Derivation {
                    base,
                    length,
                    permissions,
                    address: base,
                },
            )
            .unwrap();
        } else {
            slot.derive(data, &request).unwrap();
        }
        arch::user::store_capability(&slot, &monitor.cvms[0].authority.data, records).ok();
        let words: Vec<u8> = [64, flags].iter().flat_map(|word: &u64| word.to_le_bytes()).collect();
        arch::user::copy_out(&words, &monitor.cvms[0].authority.data, records + 16).unwrap();
        call(&mut monitor, Hostcall::DeviceSubmit, [0, 0, records, 1]).err()
    };
    assert_eq!(with(global | load, at, 0, false), None);
    assert_eq!(with(global | store, at, WRITTEN, false), None);
    assert_eq!(
        with(global | load, at, WRITTEN, false),
        Some(Errno::EFAULT),
        "read only"
    );
    assert_eq!(with(global | store, at, 0, false), Some(Errno::EFAULT), "write only");
    assert_eq!(
        with(global | load, at + 1, 0, false),
        Some(Errno::EFAULT),
        "a byte beyond"
    );
    assert_eq!(with(global, at, 0, true), Some(Errno::EFAULT), "sealed");
    assert_eq!(device.requests(0).len(), 2);
}

#[test]
fn a_local_capability_is_not_given_away() {
    let (mut monitor, device) = started(MODERN);
    let (at, records) = (memory(&monitor), records(&monitor));
    // From its registers, where a handler has what is lent to it, records are read through what is local; only what they
    // name counts.
    let frame = monitor.next();
    let slot = Slot::null();
    slot.lend(&monitor.cvms[0].authority.data, records, 0x1000, false)
        .unwrap();
    let words: Vec<u8> = [at, 0, 64, 0]
        .iter()
        .flat_map(|word: &u64| word.to_le_bytes())
        .collect();
    arch::user::copy_out(&words, &monitor.cvms[0].authority.data, records).unwrap();
    frame.set_hostcall(Hostcall::DeviceSubmit as u64, [0, 0, 0, 1, 0, 0]);
    frame.set_argument(2, Register::Capability(&slot));
    assert!(dispatch(&mut monitor, frame) == Next::Return);
    assert_eq!(
        Errno::from_result(frame.argument(0)),
        Some(Errno::EFAULT),
        "it loads no capabilities"
    );
    // A local capability in the records: nothing of the driver's own memory takes one, but a service stack does.
    slot.lend(&monitor.cvms[0].authority.data, at, 64, false).unwrap();
    let place = Slot::null();
    let request = Derivation {
        base: records,
        length: 0x1000,
        permissions: arch::service_stack_permissions(),
        address: records,
    };
    place.derive(pool(POOL_START), &request).unwrap();
    arch::user::store_capability(&slot, &place, records).unwrap();
    let result = call(&mut monitor, Hostcall::DeviceSubmit, [0, 0, records, 1]);
    assert_eq!(result, Err(Errno::EFAULT));
    assert!(device.requests(0).is_empty());
}

#[test]
fn as_much_is_in_flight_as_there_are_descriptors_and_each_comes_back_once() {
    let (mut monitor, device) = started(LEGACY);
    let at = memory(&monitor);
    let eight: Vec<[u64; 3]> = (0..8).map(|index| [at + index * 64, 64, WRITTEN]).collect();
    for round in 0..3 {
        let ids: Vec<u64> = (0..16).map(|_| submit(&mut monitor, &eight).unwrap()).collect();
        assert_eq!(submit(&mut monitor, &[[at, 1, 0]]), Err(Errno::EAGAIN), "round {round}");
        let requests = device.requests(0);
        let mut seen: Vec<u64> = requests.iter().map(|(id, _)| u64::from(*id)).collect();
        assert_eq!(seen, ids);
        assert!(requests.iter().all(|(_, pieces)| pieces.len() == 8));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 16, "no id twice");
        // In another order than they were made.
        for id in ids.iter().rev() {
            device.finish(0, *id as u32, 8 * 64);
        }
        let taken: Vec<u64> = ids.iter().map(|_| take(&mut monitor).unwrap().0).collect();
        assert!(taken.iter().eq(ids.iter().rev()));
        assert_eq!(take(&mut monitor), Err(Errno::EAGAIN));
    }
}

#[test]
fn lengths_that_cannot_be_are_cut_and_ids_that_cannot_be_end_it() {
    let (mut monitor, device) = started(MODERN);
    let at = memory(&monitor);
    let restart = |monitor: &mut Monitor| {
        call(monitor, Hostcall::DeviceStart, [0, 0, 0, 0]).unwrap();
        submit(monitor, &[[at, 16, 0], [at, 32, WRITTEN]]).unwrap()
    };
    let id = restart(&mut monitor);
    device.finish(0, id as u32, u32::MAX);
    assert_eq!(take(&mut monitor), Ok((id, 32)));
    for wrong in [1, 2, 127, 128, 0x10000, u32::MAX] {
        let id = restart(&mut monitor);
        assert_eq!(id, 0);
        let resets = device.registers().resets;
        device.finish(0, wrong, 0);
        assert_eq!(take(&mut monitor), Err(Errno::EIO), "id {wrong}");
        assert_eq!(device.registers().resets, resets + 1, "id {wrong}: it was reset");
        assert_eq!(take(&mut monitor), Err(Errno::EIO));
        assert_eq!(submit(&mut monitor, &[[at, 1, 0]]), Err(Errno::EIO));
    }
    // Twice the same, and more than there are.
    let id = restart(&mut monitor);
    submit(&mut monitor, &[[at, 1, 0]]).unwrap();
    device.finish(0, id as u32, 0);
    device.finish(0, id as u32, 0);
    assert_eq!(take(&mut monitor), Ok((id, 0)));
    assert_eq!(take(&mut monitor), Err(Errno::EIO));
    for index in [2, 0x8000, u16::MAX] {
        restart(&mut monitor);
        device.set_finished(0, index);
        assert_eq!(take(&mut monitor), Err(Errno::EIO), "index {index}");
    }
    // All is free again: nothing got lost.
    restart(&mut monitor);
    for _ in 0..126 {
        submit(&mut monitor, &[[at, 1, 0]]).unwrap();
    }
    assert_eq!(submit(&mut monitor, &[[at, 1, 0]]), Err(Errno::EAGAIN));
}

#[test]
fn the_end_of_a_driver_resets_its_device_before_its_memory_is_used_again() {
    let (mut monitor, device) = started(MODERN);
    let at = memory(&monitor);
    for end in [End::Faulted(FaultKind::Bounds), End::Exited(0)] {
        submit(&mut monitor, &[[at, 16, WRITTEN]]).unwrap();
        let resets = device.registers().resets;
        monitor.end(CvmId::new(0), end, arch::timer::now());
        assert_eq!(device.registers().resets, resets + 1, "{end:?}");
        assert_eq!(device.registers().status, 0, "{end:?}");
        if let Life::Restarting { at, .. } = monitor.cvms[0].life {
            stand_in::advance(at.saturating_sub(arch::timer::now()));
            monitor.due(arch::timer::now());
        }
        if monitor.cvms[0].life == Life::Alive {
            finish_loading(&mut monitor);
            assert_eq!(take(&mut monitor), Err(Errno::EIO), "the next life starts it itself");
            call(&mut monitor, Hostcall::DeviceStart, [0, 0, 0, 0]).unwrap();
        }
    }
    assert_eq!(monitor.cvms[0].life, Life::Ended(End::Exited(0)));
}

#[test]
fn a_buffer_is_not_given_back_while_a_device_uses_it() {
    let (mut monitor, device) = boot(MODERN, &[("local", Cell(4)), ("buffer-quota", Cells(0x1000))]);
    call(&mut monitor, Hostcall::DeviceStart, [0, 0, 0, 0]).unwrap();
    let (number, _) = call(&mut monitor, Hostcall::BufferCreate, [0x1000, 0, 0, 0]).unwrap();
    let area = monitor.cvms[0].local_areas().next().unwrap().start;
    // A segment that names the buffer by its capability, in the local area.
    let submit = |monitor: &mut Monitor, rights| {
        call(monitor, Hostcall::BufferMap, [number, rights, 0, 0]).ok();
        let mapped = super::frame(monitor, 0).argument_slot(0);
        arch::user::store_capability(mapped, pool(POOL_START), area).unwrap();
        let words: Vec<u8> = [64, WRITTEN].iter().flat_map(|word| word.to_le_bytes()).collect();
        arch::user::copy_out(&words, pool(POOL_START), area + 16).unwrap();
        call(monitor, Hostcall::DeviceSubmit, [0, 0, area, 1])
    };
    assert_eq!(submit(&mut monitor, BUFFER_READ), Err(Errno::EFAULT), "to be written");
    let (id, _) = submit(&mut monitor, BUFFER_READ | BUFFER_WRITE).unwrap();
    let revoke = |monitor: &mut Monitor| call(monitor, Hostcall::BufferRevoke, [number, BUFFER_ALL, 0, 0]);
    assert_eq!(revoke(&mut monitor).map(|_| ()), Err(Errno::EAGAIN));
    device.finish(0, id as u32, 64);
    take(&mut monitor).unwrap();
    assert_eq!(revoke(&mut monitor).map(|_| ()), Ok(()));
    let (id, _) = submit(&mut monitor, BUFFER_READ | BUFFER_WRITE).unwrap();
    call(&mut monitor, Hostcall::BufferDestroy, [number, 0, 0, 0]).unwrap();
    let create = |monitor: &mut Monitor| call(monitor, Hostcall::BufferCreate, [0x1000, 0, 0, 0]).map(|_| ());
    assert_eq!(
        create(&mut monitor),
        Err(Errno::ENOMEM),
        "the device may still write it"
    );
    device.finish(0, id as u32, 64);
    take(&mut monitor).unwrap();
    assert_eq!(create(&mut monitor), Ok(()));
}

#[test]
fn a_driver_is_not_started_again_while_its_device_does_not_stop() {
    let (mut monitor, device) = started(MODERN);
    device.registers().endless = true;
    assert_eq!(call(&mut monitor, Hostcall::DeviceReset, [0, 0, 0, 0]), Err(Errno::EIO));
    assert_eq!(take(&mut monitor), Err(Errno::EIO));
    let end = End::Faulted(FaultKind::Bounds);
    monitor.end(CvmId::new(0), end, arch::timer::now());
    assert_eq!(monitor.cvms[0].life, Life::Ended(end));
    assert_eq!(monitor.cvms[1].life, Life::Alive);
}

#[test]
fn who_waits_wakes_by_the_interrupt_once_and_by_the_timeout() {
    let (mut monitor, device) = started(MODERN);
    let at = memory(&monitor);
    let id = submit(&mut monitor, &[[at, 16, WRITTEN]]).unwrap();
    let wait = |monitor: &mut Monitor, timeout| call_as(monitor, 0, Hostcall::DeviceWait, [0, 1, timeout, 0]);
    assert_eq!(wait(&mut monitor, 0), Some(Err(Errno::ETIMEDOUT)));
    assert_eq!(wait(&mut monitor, 1 << 63), Some(Err(Errno::EINVAL)));
    assert_eq!(wait(&mut monitor, WAIT_FOREVER), None);
    let driver = thread(&monitor, 0);
    assert_eq!(monitor.scheduler[driver].state, State::Waiting);
    device.finish(0, id as u32, 16);
    device.registers().interrupt = 1;
    stand_in::interrupt(INTERRUPT);
    monitor.service_devices();
    assert_eq!(monitor.scheduler[driver].state, State::Ready);
    assert_eq!(device.registers().interrupt, 0, "its cause was taken away");
    // Whatever it does, it is not heard before somebody waits again.
    stand_in::interrupt(INTERRUPT);
    device.registers().interrupt = 1;
    monitor.service_devices();
    assert_eq!(device.registers().interrupt, 1);
    assert_eq!(
        wait(&mut monitor, WAIT_FOREVER),
        Some(Ok((0, 1))),
        "there is something to take"
    );
    assert_eq!(take(&mut monitor), Ok((id, 16)));
    assert_eq!(wait(&mut monitor, 1000), None);
    stand_in::advance(11);
    monitor.due(arch::timer::now());
    assert_eq!(monitor.scheduler[driver].state, State::Ready);
    assert_eq!(
        Errno::from_result(monitor.scheduler[driver].frame.argument(0)),
        Some(Errno::ETIMEDOUT)
    );
}

#[test]
fn a_device_that_needs_a_reset_gets_it_and_its_driver_learns_so() {
    let (mut monitor, device) = started(MODERN);
    assert_eq!(
        call_as(&mut monitor, 0, Hostcall::DeviceWait, [0, 1, WAIT_FOREVER, 0]),
        None
    );
    device.registers().status |= 64;
    device.registers().interrupt = 2;
    stand_in::interrupt(INTERRUPT);
    monitor.service_devices();
    assert_eq!(device.registers().status, 0);
    let driver = thread(&monitor, 0);
    assert_eq!(monitor.scheduler[driver].state, State::Ready);
    let again = call_as(&mut monitor, 0, Hostcall::DeviceWait, [0, 1, WAIT_FOREVER, 0]);
    assert_eq!(again, Some(Err(Errno::EIO)));
}

#[test]
fn what_one_thread_waits_for_is_not_taken_away_by_another_ones_wait() {
    let (mut monitor, device) = boot(MODERN, &[("threads", Cell(2))]);
    call(&mut monitor, Hostcall::DeviceStart, [0, 0, 0, 0]).unwrap();
    let frame = monitor.next();
    let entry = monitor.cvms[0].memory().start + 0x5000;
    let code = monitor.cvms[0].authority.code.decoded().base;
    frame.set_hostcall(Hostcall::ThreadCreate as u64, [code, entry, 0, 0, 3, 0]);
    assert!(dispatch(&mut monitor, frame) == Next::Return);
    assert_eq!(Errno::from_result(frame.argument(0)), None);
    // The first one of the driver's threads waits for queue 0, the second one for queue 1, when the device has raised its line
    // for the first, and the monitor has not heard it yet.
    assert_eq!(
        call_as(&mut monitor, 0, Hostcall::DeviceWait, [0, 1, WAIT_FOREVER, 0]),
        None
    );
    let first = thread(&monitor, 0);
    assert_eq!(monitor.scheduler[first].state, State::Waiting);
    device.registers().interrupt = 1;
    assert_eq!(
        call_as(&mut monitor, 0, Hostcall::DeviceWait, [0, 2, WAIT_FOREVER, 0]),
        None
    );
    assert_eq!(monitor.scheduler[first].state, State::Ready);
}
