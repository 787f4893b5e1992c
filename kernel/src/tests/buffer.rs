//! Local areas and buffers: who gets what, and that all of it is taken back.

use super::build::Value::*;
use super::cvm::POOL_START;
use super::service::{Node, call, monitor_with};
use super::stored;
use super::{dispatch, frame, running, thread};
use crate::authority::ledger::pool;
use crate::cvm::id::CvmId;
use crate::cvm::thread::State;
use crate::cvm::{End, Life};
use crate::run::monitor::Monitor;
use abi::hostcall::{BUFFER_ALL, BUFFER_READ, BUFFER_WRITE, BUFFERS, WAIT_FOREVER};
use abi::{Errno, FaultKind, Hostcall};
use arch::{Register, Slot, stand_in, user};
use capability::{Decoded, Permissions};

const LOCAL: &[(&str, u64)] = &[("local", 4), ("buffer-quota", 0x4000)];
const BOTH: u64 = BUFFER_READ | BUFFER_WRITE;

fn errno(result: u64) -> Option<Errno> {
    Errno::from_result(result)
}

/// A monitor with these cVMs and the buffer `shared` of cVM `a`, which `b` reads and `a` writes.
fn monitor(cvms: &[Node<'_>]) -> Box<Monitor> {
    let shared = [
        ("label", Text("shared")),
        ("size", Cells(100)),
        ("owner", Text("a")),
        ("readers", Text("b")),
        ("writers", Text("a")),
    ];
    monitor_with(cvms, &[&shared])
}

/// Three cVMs: `a` owns, `b` may read, `c` may nothing.
fn three() -> Box<Monitor> {
    monitor(&[
        ("a", "monitor", LOCAL),
        ("b", "monitor", LOCAL),
        ("c", "monitor", LOCAL),
    ])
}

/// Lets the main thread of a cVM make a hostcall; the others give way.
fn ask(monitor: &mut Monitor, number: usize, hostcall: Hostcall, arguments: [u64; 6]) -> u64 {
    for _ in 0..64 {
        monitor.next();
        if running(monitor) == number {
            return call(monitor, hostcall, arguments).1;
        }
        call(monitor, Hostcall::Yield, [0; 6]);
    }
    panic!("thread {number} never runs")
}

fn map(monitor: &mut Monitor, number: usize, buffer: u64, rights: u64) -> Result<Decoded, Errno> {
    let result = ask(monitor, number, Hostcall::BufferMap, [buffer, rights, 0, 0, 0, 0]);
    let got = frame(monitor, number).argument_slot(0).decoded();
    if got.tag {
        return Ok(got);
    }
    Err(errno(result).unwrap())
}

fn create(monitor: &mut Monitor, number: usize, bytes: u64) -> u64 {
    ask(monitor, number, Hostcall::BufferCreate, [bytes, 0, 0, 0, 0, 0])
}

/// Every capability over a range in registers and local areas.
fn held(monitor: &Monitor, memory: &Decoded) -> usize {
    (0..monitor.cvms.len()).map(|cvm| held_by(monitor, cvm, memory)).sum()
}

fn held_by(monitor: &Monitor, cvm: usize, memory: &Decoded) -> usize {
    let reaches = |what: &Decoded| what.tag && what.base < memory.top as u64 && what.top > u128::from(memory.base);
    let cvm = &monitor.cvms[cvm];
    let threads = cvm.all_threads().map(|id| monitor.scheduler[id].frame);
    let frames = threads.flat_map(|frame| frame.slots());
    let mut count = frames.filter(|slot| reaches(&slot.decoded())).count();
    static SEEN: Slot = Slot::null();
    for area in cvm.local_areas() {
        for granule in area.step_by(16) {
            user::load_capability(&SEEN, pool(POOL_START), granule).unwrap();
            count += usize::from(reaches(&SEEN.decoded()));
        }
    }
    count
}

/// Puts what is in argument 0 of a cVM's main thread into its local area, at every place.
fn keep(monitor: &Monitor, number: usize) {
    let slot = frame(monitor, number).argument_slot(0);
    let cvm = &monitor.cvms[number];
    for granule in cvm.local_areas().last().unwrap().step_by(16) {
        user::store_capability(slot, &cvm.authority.local, granule).unwrap();
        assert!(
            user::store_capability(slot, &cvm.authority.data, granule).is_err(),
            "by DDC"
        );
    }
}

#[test]
fn the_start_block_holds_the_capability_over_the_local_area() {
    let monitor = three();
    let cvm = &monitor.cvms[1];
    let area = cvm.local_areas().next().unwrap();
    let header: &[u8; abi::start::StartHeader::SIZE] = cvm.block.first_chunk().unwrap();
    let header = abi::start::StartHeader::from_bytes(header).unwrap();
    assert_eq!((header.local, header.local_size), (area.start, 64));
    let block = cvm.memory().start + cvm.layout.start_block.start;
    let slot = Slot::null();
    user::load_capability(&slot, &cvm.authority.data, block + header.local_slot).unwrap();
    let what = slot.decoded();
    assert_eq!(
        (what.tag, what.base, what.top),
        (true, area.start, u128::from(area.end))
    );
    assert_eq!(what.permissions, arch::service_stack_permissions());
    let stranger = super::service::monitor(&[("a", "monitor", &[])]);
    assert_eq!(stranger.cvms[0].local_areas().count(), 0);
    assert!(!stranger.cvms[0].authority.local.tag());
}

#[test]
fn a_buffer_is_mapped_with_the_least_of_what_is_asked_and_allowed() {
    let mut monitor = three();
    let name = super::service::heap(&monitor, 1);
    user::copy_out(b"shared", pool(POOL_START), name).unwrap();
    let number = ask(&mut monitor, 1, Hostcall::BufferFind, [name, 6, 0, 0, 0, 0]);
    assert_eq!((number, frame(&monitor, 1).argument(1)), (0, 100));
    let got = map(&mut monitor, 1, number, BOTH).unwrap();
    assert_eq!(got.permissions, Permissions::LOAD, "local, and for data only");
    assert_eq!(
        (got.top - u128::from(got.base), frame(&monitor, 1).argument(1)),
        (100, 100)
    );
    assert_eq!(stand_in::memory(got.base, 100), [0; 100]);
    assert_eq!(
        map(&mut monitor, 0, number, BOTH).unwrap().permissions,
        Permissions::STORE
    );
    for (cvm, rights, expected) in [
        (1, BUFFER_WRITE, Errno::EPERM),
        (0, BUFFER_READ, Errno::EPERM),
        (2, BOTH, Errno::EPERM),
        (1, 0, Errno::EINVAL),
        (1, 4, Errno::EINVAL),
        (1, u64::MAX, Errno::EINVAL),
    ] {
        assert_eq!(
            map(&mut monitor, cvm, number, rights).err(),
            Some(expected),
            "{cvm} {rights}"
        );
    }
    for unknown in [2, 1 << 16, 0xffff, u64::MAX, 1 << 32] {
        assert_eq!(
            map(&mut monitor, 1, unknown, BOTH).err(),
            Some(Errno::ENOENT),
            "{unknown:#x}"
        );
    }
    // Whom it does not concern does not learn that it is there.
    let foreign = super::service::heap(&monitor, 2);
    user::copy_out(b"shared", pool(POOL_START), foreign).unwrap();
    let found = ask(&mut monitor, 2, Hostcall::BufferFind, [foreign, 6, 0, 0, 0, 0]);
    assert_eq!(errno(found), Some(Errno::ENOENT));
}

#[test]
fn only_the_owner_grants_revokes_and_destroys() {
    let mut monitor = three();
    let number = create(&mut monitor, 0, 64);
    assert_eq!(errno(number), None);
    for cvm in [1, 2] {
        for hostcall in [Hostcall::BufferGrant, Hostcall::BufferRevoke, Hostcall::BufferDestroy] {
            let result = ask(&mut monitor, cvm, hostcall, [number, cvm as u64, BOTH, 0, 0, 0]);
            assert_eq!(errno(result), Some(Errno::EPERM), "{hostcall:?}");
        }
    }
    assert_eq!(map(&mut monitor, 2, number, BOTH).err(), Some(Errno::EPERM));
    for (cvm, rights) in [(3, BOTH), (u64::MAX, BOTH), (2, 0), (2, 8)] {
        let result = ask(&mut monitor, 0, Hostcall::BufferGrant, [number, cvm, rights, 0, 0, 0]);
        assert_eq!(errno(result), Some(Errno::EINVAL), "{cvm} {rights}");
    }
    for cvm in [0, 3, u64::MAX - 1] {
        let result = ask(&mut monitor, 0, Hostcall::BufferRevoke, [number, cvm, 0, 0, 0, 0]);
        assert_eq!(errno(result), Some(Errno::EINVAL), "{cvm}");
    }
    assert_eq!(
        ask(
            &mut monitor,
            0,
            Hostcall::BufferGrant,
            [number, 2, BUFFER_READ, 0, 0, 0]
        ),
        0
    );
    assert_eq!(
        map(&mut monitor, 2, number, BOTH).unwrap().permissions,
        Permissions::LOAD
    );
    let shared = ask(&mut monitor, 0, Hostcall::BufferDestroy, [0; 6]);
    assert_eq!(errno(shared), Some(Errno::EPERM), "the manifest's stays");
}

#[test]
fn a_revocation_takes_it_from_registers_local_areas_and_all_threads() {
    for all in [false, true] {
        let mut monitor = monitor(&[
            ("a", "monitor", LOCAL),
            ("b", "monitor", &[("local", 4), ("threads", 3)]),
            ("c", "monitor", LOCAL),
        ]);
        let number = create(&mut monitor, 0, 0x1000);
        for cvm in [1, 2] {
            ask(&mut monitor, 0, Hostcall::BufferGrant, [number, cvm, BOTH, 0, 0, 0]);
        }
        let own = map(&mut monitor, 0, number, BOTH).unwrap();
        keep(&monitor, 0);
        let argument = Slot::null();
        for cvm in [2, 1] {
            map(&mut monitor, cvm, number, BOTH).unwrap();
            keep(&monitor, cvm);
            argument.copy_from(frame(&monitor, cvm).argument_slot(0));
        }
        // A thread that has never run has it in its registers, too.
        let entry = monitor.cvms[1].memory().start + monitor.cvms[1].layout.program.start;
        while running_main(&mut monitor) != 1 {
            call(&mut monitor, Hostcall::Yield, [0; 6]);
        }
        let creator = frame(&monitor, 1);
        creator.set_hostcall(Hostcall::ThreadCreate as u64, [entry, 0, 0, 0, 3, 0]);
        for index in [1, 3] {
            creator.set_argument(index, Register::Capability(&argument));
        }
        assert!(dispatch(&mut monitor, creator) == crate::hostcall::Next::Return);
        assert_eq!(held_by(&monitor, 1, &own), 4 + 2 + 2);
        let whom = if all { BUFFER_ALL } else { 1 };
        let revoked = ask_main(&mut monitor, 0, Hostcall::BufferRevoke, [number, whom, 0, 0, 0, 0]);
        assert_eq!(revoked, 0);
        assert_eq!(held_by(&monitor, 1, &own), 0);
        assert_eq!(held_by(&monitor, 0, &own), 4, "the owner's");
        assert_eq!(held_by(&monitor, 2, &own) >= 4, !all);
        assert_eq!(map_main(&mut monitor, 1, number), Some(Errno::EPERM));
        assert_eq!(map_main(&mut monitor, 2, number), all.then_some(Errno::EPERM));
        assert_eq!(map_main(&mut monitor, 0, number), None);
    }
}

/// The cVM whose main thread runs, when it is one.
fn running_main(monitor: &mut Monitor) -> usize {
    monitor.next();
    let id = monitor.scheduler.current().unwrap();
    let thread = &monitor.scheduler[id];
    if thread.place == 0 {
        thread.cvm.index()
    } else {
        usize::MAX
    }
}

fn ask_main(monitor: &mut Monitor, cvm: usize, hostcall: Hostcall, arguments: [u64; 6]) -> u64 {
    for _ in 0..64 {
        let found = running_main(monitor) == cvm;
        let frame = monitor.next();
        let what = if found { hostcall } else { Hostcall::Yield };
        frame.set_hostcall(what as u64, arguments);
        dispatch(monitor, frame);
        if found {
            return frame.argument(0);
        }
    }
    panic!("cVM {cvm} never runs")
}

fn map_main(monitor: &mut Monitor, cvm: usize, number: u64) -> Option<Errno> {
    let result = ask_main(monitor, cvm, Hostcall::BufferMap, [number, BOTH, 0, 0, 0, 0]);
    let mapped = monitor.scheduler[monitor.cvms[cvm].main()].frame.argument_slot(0).tag();
    if mapped { None } else { errno(result) }
}

#[test]
fn what_waits_by_a_revoked_buffer_ends_with_an_error_and_wakes_nobody() {
    let mut monitor = three();
    let number = create(&mut monitor, 0, 64);
    ask(&mut monitor, 0, Hostcall::BufferGrant, [number, 1, BOTH, 0, 0, 0]);
    let own = map(&mut monitor, 0, number, BOTH).unwrap();
    map(&mut monitor, 1, number, BOTH).unwrap();
    keep(&monitor, 1);
    let slot = Slot::null();
    slot.copy_from(frame(&monitor, 1).argument_slot(0));
    while running_main(&mut monitor) != 1 {
        call(&mut monitor, Hostcall::Yield, [0; 6]);
    }
    let waiter = frame(&monitor, 1);
    waiter.set_hostcall(Hostcall::Wait as u64, [0, 0, WAIT_FOREVER, 0, 0, 0]);
    waiter.set_argument(0, Register::Capability(&slot));
    dispatch(&mut monitor, waiter);
    let id = thread(&monitor, 1);
    assert_eq!(monitor.scheduler[id].state, State::Waiting);
    assert_eq!(ask(&mut monitor, 0, Hostcall::BufferRevoke, [number, 1, 0, 0, 0, 0]), 0);
    assert_eq!(monitor.scheduler[id].state, State::Ready);
    assert_eq!(errno(waiter.argument(0)), Some(Errno::EFAULT));
    assert_eq!(monitor.scheduler.wake_waiters(own.base, 1), 0);
    assert_eq!(held(&monitor, &own), 0);
}

#[test]
fn a_wait_that_has_nothing_to_do_with_it_goes_on() {
    let mut monitor = three();
    let number = create(&mut monitor, 0, 64);
    ask(&mut monitor, 0, Hostcall::BufferGrant, [number, 1, BOTH, 0, 0, 0]);
    map(&mut monitor, 1, number, BOTH).unwrap();
    keep(&monitor, 1);
    let word = super::service::heap(&monitor, 1);
    ask(&mut monitor, 1, Hostcall::Wait, [word, 0, WAIT_FOREVER, 0, 0, 0]);
    assert_eq!(
        ask(
            &mut monitor,
            0,
            Hostcall::BufferRevoke,
            [number, BUFFER_ALL, 0, 0, 0, 0]
        ),
        0
    );
    assert_eq!(monitor.scheduler[thread(&monitor, 1)].state, State::Waiting);
}

#[test]
fn what_was_lent_of_it_to_a_server_is_taken_and_the_call_undone() {
    let cvms: [Node<'_>; 3] = [
        ("s", "monitor", &[("local", 4)]),
        ("a", "monitor", LOCAL),
        ("b", "s", LOCAL),
    ];
    let mut monitor = monitor(&cvms);
    ask(&mut monitor, 0, Hostcall::Serve, [0; 6]);
    let number = create(&mut monitor, 1, 64);
    let grant = ask(&mut monitor, 1, Hostcall::BufferGrant, [number, 2, BOTH, 0, 0, 0]);
    assert_eq!(grant, 0);
    // The server passes the map on to the monitor.
    let lend = |monitor: &mut Monitor, hostcall: Hostcall, arguments, slot: Option<&Slot>| {
        while running_main(monitor) != 2 {
            call(monitor, Hostcall::Yield, [0; 6]);
        }
        let client = frame(monitor, 2);
        client.set_hostcall(hostcall as u64, arguments);
        if let Some(slot) = slot {
            client.set_argument(1, Register::Capability(slot));
        }
        dispatch(monitor, client);
        monitor.next();
        assert_eq!(super::served_by(monitor, 3), Some(2));
    };
    lend(&mut monitor, Hostcall::BufferMap, [number, BOTH, 0, 0, 0, 0], None);
    call(&mut monitor, Hostcall::Delegate, [0; 6]);
    let slot = Slot::null();
    slot.copy_from(frame(&monitor, 2).argument_slot(0));
    let memory = slot.decoded();
    assert!(memory.tag);
    lend(&mut monitor, Hostcall::Write, [1, 0, 64, 0, 0, 0], Some(&slot));
    // The handler keeps it wherever it can.
    let handler = frame(&monitor, 3);
    assert!(handler.argument_slot(1).tag());
    for area in monitor.cvms[0].local_areas() {
        user::store_capability(handler.argument_slot(1), pool(POOL_START), area.start).unwrap();
    }
    monitor.scheduler.release(arch::timer::now());
    assert_eq!(ask(&mut monitor, 1, Hostcall::BufferRevoke, [number, 2, 0, 0, 0, 0]), 0);
    assert_eq!(held(&monitor, &memory), 0);
    assert_eq!(errno(frame(&monitor, 2).argument(0)), Some(Errno::ECONNRESET));
    assert_eq!(super::served_by(&monitor, 3), None);
}

#[test]
fn a_handler_can_take_from_its_own_caller() {
    let cvms: [Node<'_>; 2] = [("sa", "monitor", LOCAL), ("b", "sa", LOCAL)];
    let mut monitor = monitor_with(&cvms, &[]);
    let number = create(&mut monitor, 0, 64);
    ask(&mut monitor, 0, Hostcall::BufferGrant, [number, 1, BOTH, 0, 0, 0]);
    ask(&mut monitor, 0, Hostcall::Serve, [0; 6]);
    call(&mut monitor, Hostcall::BufferMap, [number, BOTH, 0, 0, 0, 0]);
    monitor.next();
    call(&mut monitor, Hostcall::Delegate, [0; 6]);
    let slot = Slot::null();
    slot.copy_from(frame(&monitor, 1).argument_slot(0));
    assert!(slot.tag());
    let client = monitor.next();
    client.set_hostcall(Hostcall::Write as u64, [1, 0, 64, 0, 0, 0]);
    client.set_argument(1, Register::Capability(&slot));
    dispatch(&mut monitor, client);
    monitor.next();
    assert_eq!(super::served_by(&monitor, 2), Some(1));
    let handler = monitor.next();
    handler.set_hostcall(Hostcall::BufferRevoke as u64, [number, 1, 0, 0, 0, 0]);
    assert!(dispatch(&mut monitor, handler) == crate::hostcall::Next::Switch);
    assert_eq!(held(&monitor, &slot.decoded()), 0);
    monitor.next();
    assert_eq!(running(&monitor), 1);
    assert_eq!(errno(frame(&monitor, 1).argument(0)), Some(Errno::ECONNRESET));
}

#[test]
fn what_ends_takes_its_buffers_along_and_what_it_holds() {
    let mut monitor = three();
    let number = create(&mut monitor, 0, 64);
    ask(&mut monitor, 0, Hostcall::BufferGrant, [number, 1, BOTH, 0, 0, 0]);
    let memory = map(&mut monitor, 1, number, BOTH).unwrap();
    keep(&monitor, 1);
    let shared = map(&mut monitor, 1, 0, BUFFER_READ).unwrap();
    monitor.end(CvmId::new(0), End::Exited(0), arch::timer::now());
    assert_eq!(held(&monitor, &memory), 0);
    assert_eq!(map(&mut monitor, 1, number, BOTH).err(), Some(Errno::ENOENT));
    assert_eq!(map(&mut monitor, 1, 0, BUFFER_READ).unwrap().base, shared.base);
    keep(&monitor, 1);
    monitor.end(CvmId::new(1), End::Faulted(FaultKind::Tag), arch::timer::now());
    assert_eq!(monitor.cvms[1].life, Life::Ended(End::Faulted(FaultKind::Tag)));
    assert_eq!(held(&monitor, &shared), 0);
}

#[test]
fn what_was_destroyed_is_used_again_as_zeros_under_another_number() {
    let mut monitor = three();
    let first = create(&mut monitor, 0, 0x4000);
    assert_eq!(
        errno(create(&mut monitor, 0, 1)),
        Some(Errno::ENOMEM),
        "the quota is full"
    );
    let memory = map(&mut monitor, 0, first, BOTH).unwrap();
    keep(&monitor, 0);
    user::copy_out(b"secret", pool(POOL_START), memory.base).unwrap();
    assert_eq!(ask(&mut monitor, 0, Hostcall::BufferDestroy, [first, 0, 0, 0, 0, 0]), 0);
    assert_eq!(held(&monitor, &memory), 0);
    let sizes = [100, 0x1000, 1, 0x1000];
    let numbers = sizes.map(|size| create(&mut monitor, 0, size));
    assert!(
        numbers
            .iter()
            .all(|number| errno(*number).is_none() && *number != first)
    );
    let places = numbers.map(|number| map(&mut monitor, 0, number, BOTH).unwrap());
    for (index, place) in places.iter().enumerate() {
        assert_eq!(
            stand_in::memory(place.base, sizes[index] as usize),
            vec![0; sizes[index] as usize]
        );
        let apart = |other: &Decoded| other.top <= u128::from(place.base) || place.top <= u128::from(other.base);
        assert!(
            places
                .iter()
                .enumerate()
                .all(|(other, what)| other == index || apart(what))
        );
    }
    assert_eq!(
        ask(&mut monitor, 0, Hostcall::BufferDestroy, [numbers[1], 0, 0, 0, 0, 0]),
        0
    );
    let again = create(&mut monitor, 0, 0x1000);
    assert_eq!(
        map(&mut monitor, 0, again, BOTH).unwrap().base,
        places[1].base,
        "the hole is filled"
    );
    for size in [0, (1 << 20) + 1, u64::MAX] {
        assert_eq!(errno(create(&mut monitor, 0, size)), Some(Errno::EINVAL));
    }
    let more: Vec<u64> = (0..BUFFERS).map(|_| create(&mut monitor, 0, 1)).collect();
    let made = more.iter().filter(|number| errno(**number).is_none()).count();
    assert_eq!(made, BUFFERS - 4);
    assert_eq!(errno(more[BUFFERS - 1]), Some(Errno::ENOMEM));
    let none = monitor_with(&[("a", "monitor", &[])], &[]);
    let mut none = none;
    assert_eq!(errno(create(&mut none, 0, 1)), Some(Errno::ENOMEM), "no quota");
}

#[test]
fn a_revocation_is_bounded_by_refusing_one_holder_too_many() {
    let many = [("threads", 64), ("local", 4)];
    let names: Vec<String> = (0..8).map(|index| format!("h{index}")).collect();
    let mut cvms: Vec<Node<'_>> = vec![("a", "monitor", LOCAL)];
    cvms.extend(names.iter().map(|name| (name.as_str(), "monitor", &many[..])));
    let mut monitor = monitor_with(&cvms, &[]);
    let number = create(&mut monitor, 0, 64);
    let mut refused = 0;
    for cvm in 1..cvms.len() {
        ask_main(
            &mut monitor,
            0,
            Hostcall::BufferGrant,
            [number, cvm as u64, BOTH, 0, 0, 0],
        );
        match map_main(&mut monitor, cvm, number) {
            None => assert_eq!(refused, 0),
            other => {
                assert_eq!(other, Some(Errno::EAGAIN));
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 4);
    assert_eq!(
        ask_main(&mut monitor, 0, Hostcall::BufferDestroy, [number, 0, 0, 0, 0, 0]),
        0
    );
}

#[test]
fn wrong_buffers_in_a_manifest_are_named() {
    use super::build::{archive, manifest_with, program};
    use crate::plan::archive::Archive;
    use crate::plan::manifest::read;
    let node = [("label", Text("a")), ("runtime", Text("program"))];
    let refused = |buffers: &[&[(&str, super::build::Value<'_>)]]| {
        let tree = manifest_with("intravisor,manifest-1", &[&node], buffers);
        let bytes = archive(&[("manifest.dtb", &tree), ("program", &program())]);
        read(&Archive::check(stored(&bytes)).unwrap())
            .err()
            .map(|error| format!("{error}"))
    };
    let good: &[(&str, super::build::Value<'_>)] = &[("label", Text("x")), ("size", Cells(1)), ("owner", Text("a"))];
    assert_eq!(refused(&[good]), None);
    assert_eq!(
        refused(&[good, good]).unwrap(),
        "manifest.dtb: buffer x: name is also that of buffer number 0"
    );
    for (key, value, expected) in [
        ("size", Cells(0), "size = 0: expected 1 to 1073741824"),
        ("size", Cells(1 << 31), "size = 2147483648: expected 1 to 1073741824"),
        ("size", Cell(1), "size: expected 8 bytes"),
        ("owner", Text("b"), "owner = \"b\": expected the name of a cVM"),
        (
            "readers",
            Texts(&["a", "b"]),
            "readers = \"b\": expected the name of a cVM",
        ),
        (
            "writers",
            Text("monitor"),
            "writers = \"monitor\": expected the name of a cVM",
        ),
        ("colour", Text("red"), "unknown key \"colour\""),
    ] {
        let mut node = vec![("label", Text("x"))];
        if key != "size" {
            node.push(("size", Cells(1)));
        }
        node.push((key, value));
        let message = refused(&[&node]).unwrap();
        let what = if key == "colour" { "buffer number 0" } else { "buffer x" };
        assert_eq!(message, format!("manifest.dtb: {what}: {expected}"));
    }
    assert_eq!(
        refused(&[&[("label", Text("x"))]]).unwrap(),
        "manifest.dtb: buffer x: size is missing"
    );
}
