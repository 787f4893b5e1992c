//! The life of cVMs: starting, hostcalls, ending, restarting.

use super::build::{Value, Value::*, archive, manifest, program};
use super::{dispatch, finish_loading, frame, running_cvm, stored, thread};
use crate::authority::ledger::Ledger;
use crate::authority::pool::Pool;
use crate::cvm::id::CvmId;
use crate::cvm::thread::State;
use crate::cvm::{End, Life};
use crate::hostcall::Next;
use crate::run::monitor::Monitor;
use crate::start::load;
use abi::hostcall::{CvmInfo, READ_NONBLOCKING, SLEEP_LIMIT};
use abi::start::StartHeader;
use abi::{Errno, FaultKind, Hostcall};
use arch::stand_in;

const POOL_START: u64 = 0x8040_0000;
const POOL_END: u64 = 0x8080_0000;
const TICKS_A_MILLISECOND: u64 = 10_000;

/// A monitor with these cVMs, the first ones started as their `wait` says.
fn monitor(cvms: &[&[(&str, Value<'_>)]]) -> Box<Monitor> {
    let names: Vec<String> = (0..cvms.len()).map(|index| format!("cvm{index}")).collect();
    let cvms: Vec<Vec<(&str, Value<'_>)>> = cvms
        .iter()
        .zip(&names)
        .map(|(properties, name)| {
            let mut all = vec![("label", Text(name)), ("runtime", Text("program"))];
            all.extend(properties.iter().map(|(key, value)| (*key, copy(value))));
            all
        })
        .collect();
    let cvms: Vec<&[(&str, Value<'_>)]> = cvms.iter().map(Vec::as_slice).collect();
    let bytes = archive(&[
        ("manifest.dtb", &manifest("intravisor,manifest-1", &cvms)),
        ("program", &program()),
    ]);
    let mut ledger = Ledger::new(arch::root());
    ledger.open_pool(POOL_START..POOL_END).unwrap();
    let mut monitor = load(stored(&bytes), ledger, Pool::new(POOL_START..POOL_END), 10_000_000).unwrap();
    monitor.start_waiting(arch::timer::now(), usize::MAX);
    finish_loading(&mut monitor);
    monitor
}

fn copy<'a>(value: &Value<'a>) -> Value<'a> {
    match value {
        Text(text) => Text(text),
        Texts(texts) => Texts(texts),
        Cell(cell) => Cell(*cell),
        Cells(cells) => Cells(*cells),
        Bytes(bytes) => Bytes(bytes),
    }
}

/// Lets the next thread run and make a hostcall; returns its cVM, what the monitor does next, and the result register.
fn call(monitor: &mut Monitor, hostcall: Hostcall, arguments: [u64; 6]) -> (usize, Next, u64) {
    let frame = monitor.next();
    let id = running_cvm(monitor);
    frame.set_hostcall(hostcall as u64, arguments);
    (id, dispatch(monitor, frame), frame.argument(0))
}

fn errno(result: u64) -> Option<Errno> {
    Errno::from_result(result)
}

#[test]
fn a_cvm_starts_with_its_program_its_start_block_and_its_two_capabilities() {
    let monitor = monitor(&[&[("args", Texts(&["x"])), ("env", Texts(&["A=b"])), ("heap", Cells(4096))]]);
    let cvm = &monitor.cvms[0];
    let memory = cvm.memory();
    assert_eq!(memory.start, POOL_START);
    let data = frame(&monitor, 0).data().decoded();
    assert!(
        data.tag && (data.base, data.top) == (memory.start, u128::from(memory.end)),
        "{data}"
    );
    assert_eq!(data.permissions, arch::data_permissions());
    let code = frame(&monitor, 0).code().decoded();
    let text = memory.start + cvm.layout.program.start;
    assert!(
        code.tag && (code.base, code.top) == (text, u128::from(text) + 0x1000),
        "{code}"
    );
    assert_eq!((code.permissions, code.address), (arch::code_permissions(), text + 4));
    assert_eq!(stand_in::memory(text, 0x20), [0x13; 0x20]);
    let relocated = u64::from_le_bytes(stand_in::memory(text + 0x1008, 8).try_into().unwrap());
    assert_eq!(relocated, text + 0x10);
    let block = stand_in::memory(frame(&monitor, 0).argument(0), frame(&monitor, 0).argument(1) as usize);
    let header = StartHeader::from_bytes(block[..StartHeader::SIZE].try_into().unwrap()).unwrap();
    assert_eq!(
        (header.counter_frequency, header.counter_start),
        (monitor.frequency, monitor.boot)
    );
    assert_eq!(
        (header.base, header.memory_size),
        (memory.start, memory.end - memory.start)
    );
    assert_eq!(
        (header.argument_count, header.environment_count, header.heap_size),
        (2, 1, 4096)
    );
    assert_eq!(&block[header.name as usize..], b"cvm0\0program\0x\0A=b\0");
    let end = header.heap + header.heap_size;
    assert!(
        stand_in::memory(header.heap, 4096).iter().all(|byte| *byte == 0),
        "a zeroed heap"
    );
    assert!(end <= memory.end);
}

#[test]
fn unknown_hostcalls_have_no_effect() {
    let mut monitor = monitor(&[&[]]);
    for number in [Hostcall::ALL.len() as u64, 100, u64::from(u32::MAX) + 1, u64::MAX] {
        let frame = monitor.next();
        frame.set_hostcall(number, [1; 6]);
        assert!(dispatch(&mut monitor, frame) == Next::Return);
        assert_eq!(errno(frame.argument(0)), Some(Errno::ENOSYS));
    }
}

#[test]
fn bad_buffers_are_refused_without_a_fault() {
    let mut monitor = monitor(&[&[]]);
    let memory = monitor.cvms[0].memory();
    for (pointer, length, expected) in [
        (0, 1, Errno::EFAULT),
        (memory.end - 1, 2, Errno::EFAULT),
        (memory.start - 1, 2, Errno::EFAULT),
        (u64::MAX, 2, Errno::EFAULT),
        (memory.start, u64::MAX, Errno::EINVAL),
        (memory.start, 1 << 63, Errno::EINVAL),
    ] {
        let arguments = |stream| [stream, pointer, length, READ_NONBLOCKING, 0, 0];
        for (hostcall, stream) in [(Hostcall::Write, 1), (Hostcall::Read, 0)] {
            let (_, next, result) = call(&mut monitor, hostcall, arguments(stream));
            assert!(next == Next::Return);
            assert_eq!(errno(result), Some(expected), "{hostcall:?} {pointer:#x} {length:#x}");
        }
    }
    for hostcall in [Hostcall::Arguments, Hostcall::Info] {
        for (pointer, length, expected) in [(0, 1, Errno::EFAULT), (memory.start, 1 << 63, Errno::EINVAL)] {
            let (_, _, result) = call(&mut monitor, hostcall, [pointer, length, 0, 0, 0, 0]);
            assert_eq!(errno(result), Some(expected), "{hostcall:?}");
        }
    }
}

#[test]
fn zero_lengths_touch_nothing() {
    let mut monitor = monitor(&[&[]]);
    assert_eq!(call(&mut monitor, Hostcall::Write, [1, 0, 0, 0, 0, 0]).2, 0);
    assert_eq!(call(&mut monitor, Hostcall::Read, [0, 0, 0, 0, 0, 0]).2, 0);
    assert_eq!(
        call(&mut monitor, Hostcall::Info, [0, 0, 0, 0, 0, 0]).2,
        CvmInfo::SIZE as u64
    );
}

#[test]
fn one_write_takes_no_more_than_its_limits() {
    let mut monitor = monitor(&[&[("heap", Cells(16384))]]);
    let buffer = monitor.cvms[0].memory().start;
    arch::user::copy_out(&[b'\r'; 5000], &monitor.cvms[0].authority.data, buffer).unwrap();
    assert_eq!(
        call(&mut monitor, Hostcall::Write, [1, buffer, 5000, 0, 0, 0]).2,
        4096,
        "nothing that is printed"
    );
    arch::user::copy_out(&[b'\n'; 4096], &monitor.cvms[0].authority.data, buffer).unwrap();
    stand_in::take_output();
    let taken = call(&mut monitor, Hostcall::Write, [1, buffer, 4096, 0, 0, 0]).2;
    let line = "[cvm0] \r\n".len() as u64;
    assert_eq!(taken, 512_u64.div_ceil(line), "the labels count");
    assert_eq!(stand_in::take_output().len() as u64, taken * line);
    assert_eq!(
        errno(call(&mut monitor, Hostcall::Write, [0, buffer, 1, 0, 0, 0]).2),
        Some(Errno::EBADF)
    );
    assert_eq!(
        errno(call(&mut monitor, Hostcall::Read, [1, buffer, 1, 0, 0, 0]).2),
        Some(Errno::EBADF)
    );
    assert_eq!(
        errno(call(&mut monitor, Hostcall::Read, [0, buffer, 1, 2, 0, 0]).2),
        Some(Errno::EINVAL)
    );
}

#[test]
fn a_sleeper_wakes_not_before_its_time() {
    let mut monitor = monitor(&[&[]]);
    let before = arch::timer::now();
    assert!(call(&mut monitor, Hostcall::Nanosleep, [1_000_000, 0, 0, 0, 0, 0]).1 == Next::Switch);
    monitor.next();
    assert!(arch::timer::now() > before + TICKS_A_MILLISECOND);
    let (_, next, result) = call(&mut monitor, Hostcall::Nanosleep, [SLEEP_LIMIT + 1, 0, 0, 0, 0, 0]);
    assert!(next == Next::Return && errno(result) == Some(Errno::EINVAL));
}

#[test]
fn input_wakes_the_first_reader_and_ctrl_d_ends_it() {
    let mut monitor = monitor(&[&[], &[]]);
    let buffers = [0, 1].map(|id| monitor.cvms[id].memory().start);
    for buffer in buffers {
        assert!(call(&mut monitor, Hostcall::Read, [0, buffer, 100, 0, 0, 0]).1 == Next::Switch);
    }
    stand_in::type_input(b"hi\n");
    monitor.service_devices();
    assert_eq!(monitor.scheduler[thread(&monitor, 0)].state, State::Ready);
    assert_eq!(monitor.scheduler[thread(&monitor, 1)].state, State::Reading);
    assert_eq!(frame(&monitor, 0).argument(0), 3);
    assert_eq!(stand_in::memory(buffers[0], 3), b"hi\n");
    stand_in::type_input(b"\x04");
    monitor.service_devices();
    assert_eq!(frame(&monitor, 1).argument(0), 0, "end of input");
    let nothing = call(&mut monitor, Hostcall::Read, [0, buffers[0], 1, READ_NONBLOCKING, 0, 0]);
    assert_eq!(errno(nothing.2), Some(Errno::EAGAIN));
}

#[test]
fn an_ended_cvm_leaves_no_authority_in_its_registers() {
    let mut monitor = monitor(&[&[], &[]]);
    assert!(call(&mut monitor, Hostcall::Exit, [7, 0, 0, 0, 0, 0]).1 == Next::Switch);
    assert_eq!(monitor.cvms[0].life, Life::Ended(End::Exited(7)));
    assert!(frame(&monitor, 0).registers().all(|(_, what)| !what.tag));
    monitor.next();
    assert_eq!(running_cvm(&monitor), 1, "the other goes on");
}

#[test]
fn policies_restart_within_limit_and_after_delay() {
    let limited = |policy| {
        [
            ("restart-policy", Text(policy)),
            ("restart-limit", Cell(2)),
            ("restart-delay", Cells(1_000_000)),
        ]
    };
    for (policy, end, restarts) in [
        ("never", End::Faulted(FaultKind::Bounds), 0),
        ("on-fault", End::Exited(1), 0),
        ("on-fault", End::Faulted(FaultKind::Bounds), 2),
        ("always", End::Exited(0), 2),
    ] {
        let mut monitor = monitor(&[&limited(policy), &[]]);
        let memory = monitor.cvms[0].memory();
        for restart in 1..=restarts {
            arch::user::copy_out(b"left over", &monitor.cvms[0].authority.data, memory.start).unwrap();
            let now = arch::timer::now();
            monitor.end(CvmId::new(0), end, now);
            assert_eq!(
                monitor.cvms[0].life,
                Life::Restarting {
                    at: now + TICKS_A_MILLISECOND,
                    ended: end
                }
            );
            monitor.due(now + TICKS_A_MILLISECOND - 1);
            assert_ne!(
                monitor.cvms[0].life,
                Life::Alive,
                "{policy}: not before the delay is over"
            );
            monitor.due(now + TICKS_A_MILLISECOND);
            finish_loading(&mut monitor);
            assert_eq!(
                (monitor.cvms[0].life, monitor.cvms[0].restarts),
                (Life::Alive, restart),
                "{policy}"
            );
            assert_eq!(stand_in::memory(memory.start, 9), [0; 9], "fresh memory");
        }
        monitor.end(CvmId::new(0), end, arch::timer::now());
        assert_eq!(monitor.cvms[0].life, Life::Ended(end), "{policy}");
    }
}

#[test]
fn wait_holds_back_those_behind() {
    let mut monitor = monitor(&[&[("wait", Cell(0))], &[("wait", Cell(1))], &[]]);
    let alive = |monitor: &Monitor| {
        monitor
            .cvms
            .iter()
            .map(|cvm| cvm.life == Life::Alive)
            .collect::<Vec<_>>()
    };
    assert_eq!(alive(&monitor), [true, false, false]);
    let now = arch::timer::now();
    monitor.end(CvmId::new(0), End::Exited(0), now);
    assert_eq!(alive(&monitor), [false, true, false]);
    monitor.due(now + 1000 * TICKS_A_MILLISECOND - 1);
    assert_eq!(alive(&monitor), [false, true, false]);
    monitor.due(now + 1000 * TICKS_A_MILLISECOND);
    assert_eq!(alive(&monitor), [false, true, true]);
}

#[test]
fn programs_that_do_not_fit_are_refused_by_key() {
    let refusal = |extra: (&str, Value<'_>)| {
        let properties = [("label", Text("a")), ("runtime", Text("program")), extra];
        let bytes = archive(&[
            ("manifest.dtb", &manifest("intravisor,manifest-1", &[&properties])),
            ("program", &program()),
        ]);
        let ledger = Ledger::new(arch::root());
        let loaded = load(stored(&bytes), ledger, Pool::new(POOL_START..POOL_END), 10_000_000);
        loaded.err().unwrap().to_string()
    };
    assert_eq!(
        refusal(("heap", Cells(1 << 30))),
        "cVM a: needs 0x40200000 bytes of memory, 0x400000 are free"
    );
    assert_eq!(
        refusal(("heap", Cells(1 << 40))),
        "cVM a: program: program, heap and stack together, or the isolation size, exceed 2^40 bytes"
    );
    assert_eq!(
        refusal(("isolation-size", Cells(0x1000))),
        "cVM a: program: isolation size 0x1000, but program, heap and stack need 0x7000 bytes"
    );
    assert_eq!(
        refusal(("isolation-base", Cells(0x8000_0000))),
        "cVM a: isolation base 0x80000000, size 0x7000: that memory does not exist or is in use"
    );
}

#[test]
fn a_load_gives_way_to_a_greater_priority() {
    let large = [
        ("isolation-size", Cells(1 << 17)),
        ("restart-policy", Text("on-fault")),
        ("restart-limit", Cell(1)),
    ];
    let mut monitor = monitor(&[&large, &[("priority", Cell(7))]]);
    assert!(call(&mut monitor, Hostcall::Nanosleep, [100, 0, 0, 0, 0, 0]) == (1, Next::Switch, 0));
    let now = arch::timer::now();
    monitor.end(CvmId::new(0), End::Faulted(FaultKind::Bounds), now);
    monitor.due(now);
    assert!(monitor.cvms[0].loading.is_some());
    // The sleeper wakes in the middle of the load, which then has not come to its end.
    stand_in::advance(10);
    monitor.next();
    assert_eq!(running_cvm(&monitor), 1);
    assert!(monitor.cvms[0].loading.is_some());
}

#[test]
fn a_restarting_cvm_does_not_postpone_who_waits_for_it() {
    let restarting = [
        ("wait", Cell(1)),
        ("restart-policy", Text("always")),
        ("restart-limit", Cell(9)),
    ];
    let mut monitor = monitor(&[&restarting, &[]]);
    let begun = arch::timer::now();
    for part in 1..4 {
        let now = begun + part * 250 * TICKS_A_MILLISECOND;
        monitor.end(CvmId::new(0), End::Exited(0), now);
        monitor.due(now + 1);
        assert_eq!(monitor.cvms[1].life, Life::Waiting);
    }
    monitor.due(begun + 1000 * TICKS_A_MILLISECOND);
    assert_eq!(monitor.cvms[1].life, Life::Alive);
}

#[test]
fn input_that_nobody_reads_stays_in_the_device() {
    let mut monitor = monitor(&[&[("heap", Cells(4096))]]);
    let sent: Vec<u8> = (0..3000).map(|index| b'a' + (index % 26) as u8).collect();
    stand_in::type_input(&sent);
    monitor.service_devices();
    assert!(monitor.input.is_full());
    let buffer = monitor.cvms[0].memory().start;
    let mut received = Vec::new();
    while received.len() < sent.len() {
        let (_, _, count) = call(&mut monitor, Hostcall::Read, [0, buffer, 4096, 0, 0, 0]);
        received.extend(stand_in::memory(buffer, count as usize));
    }
    assert_eq!(received, sent, "nothing is lost");
}
