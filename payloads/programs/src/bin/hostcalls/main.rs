//! Makes every hostcall with good and bad arguments and prints one line a check; the exit code is the number of failures.
//!
//! It expects that nobody types while it runs. A bad pointer must be found before a call waits for input.

#![no_std]
#![no_main]

mod registers;

use core::{fmt::Display, time::Duration};

use abi::{
    Errno, Hostcall,
    hostcall::{CvmInfo, READ_NONBLOCKING, SLEEP_LIMIT, STREAM_ERROR, STREAM_INPUT, STREAM_OUTPUT, TRANSFER_LIMIT},
};
use rt::{Instant, hostcall};

rt::entry!(main);

/// What a check wants to see in the first result register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Value(u64),
    Error(Errno),
}

use Wanted::{Error, Value};

/// Counts what went well and what did not.
#[derive(Default)]
struct Checks {
    passed: i32,
    failed: i32,
}

impl Checks {
    fn that(&mut self, name: impl Display, holds: bool) {
        if holds {
            self.passed += 1;
            rt::println!("ok {name}");
        } else {
            self.failed += 1;
            rt::println!("FAILED {name}");
        }
    }

    /// Makes a hostcall and compares the first result; the second result register must keep its contents.
    fn call<const COUNT: usize>(&mut self, name: impl Display, number: u64, values: [u64; COUNT], wanted: Wanted) {
        let mut arguments = [0x1111, 0x2222, 0x3333, 0x4444, 0x5555, 0x6666];
        arguments[..COUNT].copy_from_slice(&values);
        // SAFETY: the checks pass buffers of their own, or pointers at which the monitor must not write.
        let (first, second) = unsafe { hostcall::raw(number, arguments) };
        let got = match hostcall::result(first) {
            Ok(value) => Value(value),
            Err(errno) => Error(errno),
        };
        let holds = got == wanted && second == arguments[1];
        if !holds {
            rt::println!(
                "{name}: got {got:?} and {second:#x}, wanted {wanted:?} and {:#x}",
                arguments[1]
            );
        }
        self.that(name, holds);
    }
}

/// Lengths that no buffer can have.
const ABSURD: [(&str, u64); 2] = [("above-isize-max", 1 << 63), ("u64-max", u64::MAX)];

/// Pointers that the cVM has no authority for, with room for `length` bytes before the address space ends.
fn bad_pointers() -> [(&'static str, u64); 5] {
    let header = rt::start_block().header();
    let top = header.base.wrapping_add(header.memory_size);
    [
        ("below-the-memory", header.base.wrapping_sub(16)),
        ("above-the-memory", top),
        ("across-the-top", top.wrapping_sub(4)),
        ("across-the-end-of-addresses", u64::MAX - 3),
        ("far-away", top.wrapping_add(1 << 40)),
    ]
}

fn address(bytes: &[u8]) -> u64 {
    bytes.as_ptr().addr() as u64
}

fn main() -> i32 {
    let mut checks = Checks::default();
    numbers(&mut checks);
    write(&mut checks);
    read(&mut checks);
    time(&mut checks);
    arguments(&mut checks);
    info(&mut checks);
    rt::println!("{} checks passed, {} failed", checks.passed, checks.failed);
    checks.failed
}

fn numbers(checks: &mut Checks) {
    checks.call("null", Hostcall::Null as u64, [], Value(0));
    checks.call("yield", Hostcall::Yield as u64, [], Value(0));
    checks.that("registers-survive", registers::survive(Hostcall::Null as u64));
    checks.that("registers-survive-an-error", registers::survive(u64::MAX));
    checks.that("registers-survive-a-switch", registers::survive(Hostcall::Yield as u64));
    for (name, number) in [
        ("unknown-next", Hostcall::ALL.len() as u64),
        ("unknown-1000", 1000),
        ("unknown-null-plus-2^32", 1 << 32),
        ("unknown-i64-min", 1 << 63),
        ("unknown-u64-max", u64::MAX),
    ] {
        checks.call(name, number, [], Error(Errno::ENOSYS));
    }
}

fn write(checks: &mut Checks) {
    let number = Hostcall::Write as u64;
    let text = b"written to the output\n";
    let length = text.len() as u64;
    checks.call(
        "write-output",
        number,
        [STREAM_OUTPUT, address(text), length],
        Value(length),
    );
    checks.call(
        "write-error",
        number,
        [STREAM_ERROR, address(text), length],
        Value(length),
    );
    checks.call("write-nothing", number, [STREAM_OUTPUT, address(text), 0], Value(0));
    for (name, stream) in [
        ("write-to-the-input", STREAM_INPUT),
        ("write-to-stream-3", 3),
        ("write-to-stream-1-plus-2^32", STREAM_OUTPUT | 1 << 32),
        ("write-to-stream-u64-max", u64::MAX),
    ] {
        checks.call(name, number, [stream, address(text), length], Error(Errno::EBADF));
    }
    // Lines of dots, one byte longer than what one call takes.
    let mut long = [b'.'; TRANSFER_LIMIT + 1];
    long.iter_mut().skip(63).step_by(64).for_each(|byte| *byte = b'\n');
    let taken = rt::hostcall::write(STREAM_OUTPUT, &long);
    let whole_lines = taken.is_ok_and(|taken| (1..=TRANSFER_LIMIT).contains(&taken) && taken.is_multiple_of(64));
    checks.that("write-more-than-the-limit", whole_lines);
    for (name, length) in ABSURD {
        checks.call(
            format_args!("write-{name}"),
            number,
            [STREAM_OUTPUT, address(text), length],
            Error(Errno::EINVAL),
        );
    }
    // The straddling pointer would print what lies at the top of the memory: it is left to the calls that copy out.
    for (name, pointer) in bad_pointers().into_iter().filter(|(name, _)| *name != "across-the-top") {
        checks.call(
            format_args!("write-{name}"),
            number,
            [STREAM_OUTPUT, pointer, 8],
            Error(Errno::EFAULT),
        );
    }
    let (name, pointer) = bad_pointers()[0];
    checks.call(
        format_args!("write-the-longest-{name}"),
        number,
        [STREAM_OUTPUT, pointer, isize::MAX as u64],
        Error(Errno::EFAULT),
    );
}

fn read(checks: &mut Checks) {
    let number = Hostcall::Read as u64;
    let buffer = [0; 16];
    for (name, stream) in [
        ("read-from-the-output", STREAM_OUTPUT),
        ("read-from-stream-3", 3),
        ("read-from-stream-2^32", 1 << 32),
    ] {
        checks.call(
            name,
            number,
            [stream, address(&buffer), 16, READ_NONBLOCKING],
            Error(Errno::EBADF),
        );
    }
    for (name, flags) in [("read-flag-2", 2), ("read-flags-3", 3), ("read-flag-2^63", 1 << 63)] {
        checks.call(
            name,
            number,
            [STREAM_INPUT, address(&buffer), 16, flags],
            Error(Errno::EINVAL),
        );
    }
    for (name, length) in ABSURD {
        checks.call(
            format_args!("read-{name}"),
            number,
            [STREAM_INPUT, address(&buffer), length, READ_NONBLOCKING],
            Error(Errno::EINVAL),
        );
    }
    for (name, pointer) in bad_pointers() {
        checks.call(
            format_args!("read-{name}"),
            number,
            [STREAM_INPUT, pointer, 8, READ_NONBLOCKING],
            Error(Errno::EFAULT),
        );
    }
    // Without input there is nothing, or, when the console was closed, the end.
    let got = hostcall::try_read(STREAM_INPUT, &mut [0; 16]);
    checks.that(
        "read-without-input-does-not-wait",
        matches!(got, Err(Errno::EAGAIN) | Ok(0)),
    );
}

fn time(checks: &mut Checks) {
    let number = Hostcall::Nanosleep as u64;
    checks.call("sleep-zero", number, [0], Value(0));
    checks.call("sleep-above-the-limit", number, [SLEEP_LIMIT + 1], Error(Errno::EINVAL));
    checks.call("sleep-u64-max", number, [u64::MAX], Error(Errno::EINVAL));
    let start = Instant::now();
    checks.call("sleep-one-nanosecond", number, [1], Value(0));
    checks.that("a-nanosecond-is-rounded-up", start.elapsed() >= Duration::from_nanos(1));
    let start = Instant::now();
    checks.call("sleep-two-milliseconds", number, [2_000_000], Value(0));
    checks.that("a-sleep-is-not-too-short", start.elapsed() >= Duration::from_millis(2));
    checks.that("the-clock-never-goes-back", {
        let mut last = Instant::now();
        (0..100).all(|_| {
            let now = Instant::now();
            let forward = now >= last;
            last = now;
            forward
        })
    });
    checks.that("the-counter-tells-the-same-time", {
        let before = rt::hostcall::clock();
        let between = rt::hostcall::counted_clock();
        (before..=rt::hostcall::clock()).contains(&between)
    });
}

fn arguments(checks: &mut Checks) {
    let number = Hostcall::Arguments as u64;
    let block = rt::start_block().bytes();
    let size = block.len() as u64;
    checks.call("arguments-size", number, [0, 0], Value(size));
    let mut copy = [0xaa; 1024];
    checks.call(
        "arguments-all",
        number,
        [address(&copy), copy.len() as u64],
        Value(size),
    );
    // `call` hands out an address only, so the compiler has to be told that the bytes may have changed.
    let copied = core::hint::black_box(&copy);
    checks.that(
        "arguments-copies-the-start-block",
        copied.get(..block.len()) == Some(block),
    );
    checks.that(
        "arguments-copies-no-more",
        copied.iter().skip(block.len()).all(|byte| *byte == 0xaa),
    );
    copy.fill(0x55);
    checks.that(
        "arguments-part-tells-the-size",
        hostcall::arguments(&mut copy[..24]) == Ok(block.len()),
    );
    checks.that(
        "arguments-part-copies-the-part",
        copy[..24] == block[..24] && copy[24] == 0x55,
    );
    copy_out(checks, "arguments", number);
}

fn info(checks: &mut Checks) {
    let number = Hostcall::Info as u64;
    checks.call("info-size", number, [0, 0], Value(CvmInfo::SIZE as u64));
    let header = rt::start_block().header();
    let (Ok(before), Ok(after)) = (rt::info(), rt::info()) else {
        checks.that("info", false);
        return;
    };
    checks.that("info-knows-the-cvm", before.id == header.id);
    checks.that(
        "info-knows-the-memory",
        (before.base, before.size) == (header.base, header.memory_size),
    );
    checks.that("info-counts-hostcalls", after.hostcalls == before.hostcalls + 1);
    checks.that(
        "info-counts-time",
        before.run_time > 0 && after.run_time >= before.run_time,
    );
    checks.that("info-first-life", (before.restarts, before.last_fault) == (0, 0));
    copy_out(checks, "info", number);
}

/// Checks for a call whose arguments are a pointer to write at and a length.
fn copy_out(checks: &mut Checks, call: &str, number: u64) {
    let buffer = [0; 16];
    for (name, length) in ABSURD {
        checks.call(
            format_args!("{call}-{name}"),
            number,
            [address(&buffer), length],
            Error(Errno::EINVAL),
        );
    }
    for (name, pointer) in bad_pointers() {
        // The bytes below the top may be transferred before the one above it is refused, and they are in use.
        let top = (name == "across-the-top").then(|| core::ptr::with_exposed_provenance_mut::<u32>(pointer as usize));
        // SAFETY: the last four bytes of the own memory, aligned; nobody else uses them between here and the write.
        let kept = top.map(|top| unsafe { top.read_volatile() });
        // SAFETY: what the monitor writes at the top is put back.
        let (first, _) = unsafe { hostcall::raw(number, [pointer, 8, 0, 0, 0, 0]) };
        if let (Some(top), Some(kept)) = (top, kept) {
            // SAFETY: as above.
            unsafe { top.write_volatile(kept) }
        }
        checks.that(
            format_args!("{call}-{name}"),
            hostcall::result(first) == Err(Errno::EFAULT),
        );
    }
}
