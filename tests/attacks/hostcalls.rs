//! Hostcalls with arguments that lie.

use abi::Errno::{EBADF, EFAULT, EINVAL, ENOENT, ENOMEM, ENOSYS, EPERM};
use abi::Hostcall::{self, Arguments, Capfile, Delegate, Heap, Holding, Info, Nanosleep, Read, Reply, Serve, Write};
use abi::hostcall::{READ_NONBLOCKING, SLEEP_LIMIT};
use tests::code::assembler::Register::{self, Argument, Scratch};
use tests::code::attack::Attacker;

use crate::catalogue::Fate::{Error, Nothing, Value};
use crate::catalogue::{Attack, Group, either, everywhere, program};

pub(crate) const GROUP: Group = Group {
    title: "Arguments of hostcalls",
    promise: "2, 4: the monitor uses the caller's authority only, and bad arguments are an error of the caller",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);
/// Bytes of the record of `info`.
const INFO: i32 = size_of::<abi::hostcall::CvmInfo>() as i32;

const ATTACKS: &[Attack] = &[
    program(
        "write-from-victim",
        "have the monitor print the victim's secret",
        everywhere(Error(EFAULT)),
        |a| {
            let secret = a.secret();
            call_at(a, Write, secret, 64);
        },
    ),
    program(
        "write-from-monitor",
        "have the monitor print its own text",
        everywhere(Error(EFAULT)),
        |a| {
            let monitor = a.platform.monitor();
            call_at(a, Write, monitor, 64);
        },
    ),
    program(
        "write-from-device",
        "have the monitor read a device register",
        everywhere(Error(EFAULT)),
        |a| {
            let device = a.platform.device();
            call_at(a, Write, device, 1);
        },
    ),
    program(
        "write-from-nowhere",
        "have the monitor read where nothing is",
        everywhere(Error(EFAULT)),
        |a| {
            call_at(a, Write, 0x0070_0000_0000, 8);
        },
    ),
    program(
        "write-from-below",
        "have the monitor read the word below the own memory",
        everywhere(Error(EFAULT)),
        |a| {
            a.start_of_memory(A)
                .add(Argument(1), A, -8)
                .set(Argument(0), 1)
                .set(Argument(2), 8)
                .hostcall(Write);
            a.exit_with_result();
        },
    ),
    program(
        "write-from-above",
        "have the monitor read the byte above the own memory",
        everywhere(Error(EFAULT)),
        |a| {
            a.end_of_memory(Argument(1))
                .set(Argument(0), 1)
                .set(Argument(2), 1)
                .hostcall(Write);
            a.exit_with_result();
        },
    ),
    program(
        "write-across-end",
        "have the monitor read across the end of the own memory",
        everywhere(Error(EFAULT)),
        |a| {
            a.end_of_memory(A)
                .add(Argument(1), A, -8)
                .set(Argument(0), 1)
                .set(Argument(2), 16)
                .hostcall(Write);
            a.exit_with_result();
        },
    ),
    program(
        "write-across-top",
        "have the monitor read across the end of all addresses",
        everywhere(Error(EFAULT)),
        |a| {
            a.call(Write, &[1, u64::MAX - 7, 16]).exit_with_result();
        },
    ),
    program(
        "write-from-null",
        "have the monitor read address 0, which is nobody's where the own addresses start there",
        everywhere(Error(EFAULT)),
        |a| {
            a.call(Write, &[1, 0, 16]).exit_with_result();
        },
    ),
    program(
        "write-nothing-from-victim",
        "a length of 0 at the victim's secret: nothing is looked at",
        everywhere(Value(0)),
        |a| {
            let secret = a.secret();
            call_at(a, Write, secret, 0);
        },
    ),
    program(
        "write-negative-length",
        "a length of -1",
        everywhere(Error(EINVAL)),
        |a| {
            a.data_address(Argument(1))
                .set(Argument(0), 1)
                .constant(Argument(2), u64::MAX)
                .hostcall(Write);
            a.exit_with_result();
        },
    ),
    program(
        "write-huge-length",
        "a length of 2^63 + 16, which is 16 when the top bit is lost",
        everywhere(Error(EINVAL)),
        |a| {
            a.data_address(Argument(1))
                .set(Argument(0), 1)
                .constant(Argument(2), (1 << 63) + 16)
                .hostcall(Write);
            a.exit_with_result();
        },
    ),
    program(
        "write-from-stream-0",
        "write to the input",
        everywhere(Error(EBADF)),
        |a| {
            a.data_address(Argument(1))
                .set(Argument(0), 0)
                .set(Argument(2), 1)
                .hostcall(Write);
            a.exit_with_result();
        },
    ),
    program(
        "write-unaligned",
        "write from an odd address: no error",
        everywhere(Value(3)),
        |a| {
            a.data_address(A)
                .add(Argument(1), A, 1)
                .set(Argument(0), 1)
                .set(Argument(2), 3)
                .hostcall(Write);
            a.exit_with_result();
        },
    ),
    program(
        "read-into-victim",
        "have the monitor write input to the victim's secret",
        everywhere(Error(EFAULT)),
        |a| {
            let secret = a.secret();
            a.address(A, secret).call(Read, &[0, 0, 16, READ_NONBLOCKING]);
            a.set(Argument(0), 0).add(Argument(1), A, 0).hostcall(Read);
            a.exit_with_result();
        },
    ),
    program(
        "input-across-the-end",
        "have the monitor write across the end of the own memory",
        everywhere(Error(EFAULT)),
        |a| {
            a.end_of_memory(A)
                .constant(Argument(3), READ_NONBLOCKING)
                .set(Argument(0), 0);
            a.add(Argument(1), A, -8).set(Argument(2), 16).hostcall(Read);
            a.exit_with_result();
        },
    ),
    program(
        "info-into-own-code",
        "have the monitor write a record over the own text, where pages forbid it",
        either(Value(INFO), Error(EFAULT)),
        |a| {
            a.code_address(Argument(0), 1024).set(Argument(1), 48).hostcall(Info);
            a.exit_with_result();
            while a.here() < 2048 {
                a.push(0);
            }
        },
    ),
    program(
        "read-unknown-flags",
        "a flag that there is not",
        everywhere(Error(EINVAL)),
        |a| {
            a.data_address(Argument(1))
                .constant(Argument(3), 2)
                .set(Argument(0), 0)
                .set(Argument(2), 16)
                .hostcall(Read);
            a.exit_with_result();
        },
    ),
    program(
        "info-into-victim",
        "have the monitor write a record over the victim's secret",
        everywhere(Error(EFAULT)),
        |a| {
            let secret = a.secret();
            a.address(Argument(0), secret).set(Argument(1), 48).hostcall(Info);
            a.exit_with_result();
        },
    ),
    program(
        "info-into-monitor",
        "have the monitor write a record over its own data",
        everywhere(Error(EFAULT)),
        |a| {
            let monitor = a.platform.monitor() + 0x10_0000;
            a.address(Argument(0), monitor).set(Argument(1), 48).hostcall(Info);
            a.exit_with_result();
        },
    ),
    program(
        "info-into-device",
        "have the monitor write a record to the UART",
        everywhere(Error(EFAULT)),
        |a| {
            let device = a.platform.device();
            a.address(Argument(0), device).set(Argument(1), 48).hostcall(Info);
            a.exit_with_result();
        },
    ),
    program(
        "info-unaligned",
        "a record at an odd address: no error",
        everywhere(Value(INFO)),
        |a| {
            a.data_address(A)
                .add(Argument(0), A, 7)
                .set(Argument(1), 48)
                .hostcall(Info);
            a.exit_with_result();
        },
    ),
    program(
        "info-huge-length",
        "a record of 2^63 - 1 bytes: the record's own size is written",
        everywhere(Nothing),
        |a| {
            a.data_address(A).set(Scratch(1), 77).store(Scratch(1), A, INFO.into());
            a.add(Argument(0), A, 0)
                .constant(Argument(1), i64::MAX as u64)
                .hostcall(Info);
            a.add(Argument(0), Argument(0), -i64::from(INFO))
                .must_be_zero(Argument(0), 1);
            a.load(Scratch(2), A, INFO.into())
                .must_be_equal(Scratch(2), Scratch(1), 2)
                .exit(0);
        },
    ),
    program(
        "info-over-a-capability",
        "have the monitor write a record over an own capability: its tag goes",
        everywhere(Nothing),
        |a| {
            a.data_address(A)
                .read_ddc(Scratch(1))
                .store_capability(Scratch(1), A, 16);
            a.add(Argument(0), A, 0).set(Argument(1), 24).hostcall(Info);
            a.load_capability(Scratch(1), A, 16)
                .must_be_untagged(Scratch(1), 1)
                .exit(0);
        },
    ),
    program(
        "holding-of-victim",
        "ask what the victim holds",
        everywhere(Error(EPERM)),
        |a| {
            a.call(Holding, &[0, 0, 0, 0]).exit_with_result();
        },
    ),
    program(
        "holding-of-nobody",
        "ask what a cVM of the greatest number holds",
        everywhere(Error(EINVAL)),
        |a| {
            a.call(Holding, &[0, 0, u64::MAX, 0]).exit_with_result();
        },
    ),
    program(
        "arguments-into-victim",
        "have the monitor write the start block over the victim",
        everywhere(Error(EFAULT)),
        |a| {
            let secret = a.secret();
            a.address(Argument(0), secret).set(Argument(1), 16).hostcall(Arguments);
            a.exit_with_result();
        },
    ),
    program(
        "arguments-negative-length",
        "a length of -1 for the start block",
        everywhere(Error(EINVAL)),
        |a| {
            a.data_address(Argument(0))
                .constant(Argument(1), u64::MAX)
                .hostcall(Arguments);
            a.exit_with_result();
        },
    ),
    program(
        "sleep-negative",
        "sleep for -1 nanosecond",
        everywhere(Error(EINVAL)),
        |a| {
            a.call(Nanosleep, &[u64::MAX]).exit_with_result();
        },
    ),
    program(
        "sleep-above-the-limit",
        "sleep for the limit and one nanosecond",
        everywhere(Error(EINVAL)),
        |a| {
            a.call(Nanosleep, &[SLEEP_LIMIT + 1]).exit_with_result();
        },
    ),
    program(
        "unknown-hostcalls",
        "hostcalls of numbers that there are not: each an error, none an exit",
        everywhere(Nothing),
        |a| {
            let last = Hostcall::ALL.len() as u64;
            for number in [last, 255, 1 << 31, 1 << 32, 1 << 63, u64::MAX] {
                a.call_number(number, &[7]).add(Argument(0), Argument(0), ENOSYS as i64);
                a.must_be_zero(Argument(0), 1);
            }
            a.exit(0);
        },
    ),
    program(
        "pointer-sealed",
        "a sentry of own data as pointer",
        everywhere(Error(EFAULT)),
        |a| {
            a.data_capability(Argument(1))
                .seal_entry(Argument(1), Argument(1))
                .set(Argument(0), 1);
            a.set(Argument(2), 16).hostcall(Write);
            a.exit_with_result();
        },
    ),
    program(
        "pointer-narrow",
        "a capability over 16 bytes of own data as pointer to 17",
        everywhere(Error(EFAULT)),
        |a| {
            a.set(A, 16)
                .data_capability(Argument(1))
                .set_bounds(Argument(1), Argument(1), A)
                .set(Argument(0), 1);
            a.set(Argument(2), 17).hostcall(Write);
            a.exit_with_result();
        },
    ),
    program(
        "pointer-at-the-end",
        "DDC moved to its end as pointer",
        everywhere(Error(EFAULT)),
        |a| {
            a.read_ddc(A)
                .base_of(Scratch(1), A)
                .length_of(Scratch(2), A)
                .add_register(Scratch(1), Scratch(2));
            a.set_address(Argument(1), A, Scratch(1))
                .set(Argument(0), 1)
                .set(Argument(2), 1)
                .hostcall(Write);
            a.exit_with_result();
        },
    ),
    program(
        "pointer-write-only",
        "a capability that may not load as source",
        everywhere(Error(EFAULT)),
        |a| {
            let mask = if a.is_riscv() { !(1 << 2) } else { 1 << 17 };
            a.constant(A, mask)
                .data_capability(Argument(1))
                .restrict(Argument(1), Argument(1), A);
            a.set(Argument(0), 1).set(Argument(2), 16).hostcall(Write);
            a.exit_with_result();
        },
    ),
    program(
        "pointer-read-only",
        "a capability that may not store as target",
        everywhere(Error(EFAULT)),
        |a| {
            let mask = if a.is_riscv() { !(1 << 3) } else { 1 << 16 };
            a.constant(A, mask)
                .data_capability(Argument(0))
                .restrict(Argument(0), Argument(0), A);
            a.set(Argument(1), 48).hostcall(Info);
            a.exit_with_result();
        },
    ),
    program(
        "pointer-executable",
        "the own PCC as target",
        everywhere(Error(EFAULT)),
        |a| {
            a.read_pcc(Argument(0)).set(Argument(1), 48).hostcall(Info);
            a.exit_with_result();
        },
    ),
    program(
        "number-as-capability",
        "a capability in the register of the hostcall's number: its address counts",
        everywhere(Error(ENOSYS)),
        |a| {
            let number = Register::Number(if a.is_riscv() { 17 } else { 8 });
            a.read_ddc(number).word(0x0000_0073, 0xd400_0001); // ECALL, SVC
            a.exit_with_result();
        },
    ),
    program(
        "heap-without-heap",
        "ask for the capability over a heap that there is not",
        everywhere(Error(ENOMEM)),
        |a| {
            a.hostcall(Heap).exit_with_result();
        },
    ),
    program(
        "capfile-of-nobody",
        "ask for a capfile that there is not",
        everywhere(Error(ENOENT)),
        |a| {
            a.data = b"victim".to_vec();
            a.data_address(Argument(0)).set(Argument(1), 6).hostcall(Capfile);
            a.exit_with_result();
        },
    ),
    program(
        "capfile-by-foreign-name",
        "name a capfile by a text in the victim's memory",
        everywhere(Error(EFAULT)),
        |a| {
            let secret = a.secret();
            a.address(Argument(0), secret).set(Argument(1), 8).hostcall(Capfile);
            a.exit_with_result();
        },
    ),
    program(
        "capfile-of-endless-name",
        "name a capfile by 2^63 - 1 bytes",
        everywhere(Error(EINVAL)),
        |a| {
            a.data_address(Argument(0))
                .constant(Argument(1), i64::MAX as u64)
                .hostcall(Capfile);
            a.exit_with_result();
        },
    ),
    program(
        "serve-nobody",
        "offer to serve, without a handler, when nobody is to be served: nothing to wait for",
        everywhere(Value(0)),
        |a| {
            a.hostcall(Serve).exit_with_result();
        },
    ),
    program(
        "reply-to-nobody",
        "answer a call that there is not",
        everywhere(Error(EPERM)),
        |a| {
            a.call(Reply, &[0, 0, 1]).exit_with_result();
        },
    ),
    program(
        "delegate-for-nobody",
        "pass on a call that there is not",
        everywhere(Error(EPERM)),
        |a| {
            a.hostcall(Delegate).exit_with_result();
        },
    ),
    program(
        "forged-pointer",
        "the bits of a capability over everything, without tag, as pointer",
        everywhere(Error(EFAULT)),
        |a| {
            let secret = a.secret();
            let metadata = if a.is_riscv() {
                0xffff_0000_0000_0000
            } else {
                0xffff_c000_0001_0005
            };
            a.address(Scratch(1), secret).data_address(A).store(Scratch(1), A, 0);
            a.constant(Scratch(1), metadata)
                .store(Scratch(1), A, 8)
                .set(Argument(0), 1);
            a.load_capability(Argument(1), A, 0)
                .set(Argument(2), 64)
                .hostcall(Write);
            a.exit_with_result();
        },
    ),
    program(
        "hostcall-from-the-last-word",
        "make a hostcall with the last instruction of the own code",
        everywhere(Nothing),
        |a| {
            // It returns behind the end, if at all: exit does not.
            let number = Register::Number(if a.is_riscv() { 17 } else { 8 });
            a.set(Argument(0), 0).set(number, Hostcall::Exit as u32);
            while a.here() < 4096 - 4 {
                a.word(0x13, 0xd503_201f); // NOP
            }
            a.open_end = true;
            a.word(0x0000_0073, 0xd400_0001); // ECALL, SVC
        },
    ),
];

/// Makes a hostcall with stream 1 and a buffer at a physical address, and exits with the result.
fn call_at(a: &mut Attacker, call: Hostcall, physical: u64, length: u32) {
    a.address(Argument(1), physical)
        .set(Argument(0), 1)
        .set(Argument(2), length)
        .hostcall(call);
    a.exit_with_result();
}
