//! The weaknesses that the original Intravisor is known for.

use abi::Errno::{EBADF, EINVAL, ENOSYS};
use abi::Hostcall::{self, Clock, Exit, Info, Null, Read, Write, Yield};
use tests::code::assembler::Assembler;
use tests::code::assembler::Register::{self, Argument, Number, Scratch, Stack};
use tests::code::attack::Attacker;

use crate::catalogue::Fate::{Error, Nothing};
use crate::catalogue::{Attack, Group, Means, everywhere, program};

pub(crate) const GROUP: Group = Group {
    title: "Known weaknesses of the original",
    promise: "2: the monitor trusts nothing but its own record, and hands out nothing of its own",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);

/// Where the start block has the number of the cVM.
const START_ID: i64 = 16;

const ATTACKS: &[Attack] = &[
    program(
        "identity-by-stack-pointer",
        "call with the victim's stack pointer: the monitor knows who calls",
        everywhere(Nothing),
        |a| {
            let stack = a.victim_code() - 64;
            own_number(a);
            a.address(B, stack).add(Stack, B, 0);
            check_number(a);
        },
    ),
    program(
        "identity-by-registers",
        "call with the victim's number in every register that holds no argument",
        everywhere(Nothing),
        |a| {
            own_number(a);
            let others = if a.is_riscv() {
                [5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 29, 30, 31]
            } else {
                [2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 30]
            };
            for number in others {
                a.set(Number(number), 0);
            }
            check_number(a);
        },
    ),
    program(
        "identity-by-thread-pointer",
        "call with thread pointer and compartment number of another",
        everywhere(Nothing),
        |a| {
            own_number(a);
            if a.is_riscv() {
                a.set(Number(4), 0);
            } else {
                a.set(B, 0).push(0xd51b_d040 | 20).push(0xc28b_d0e0 | 20); // MSR TPIDR_EL0, x20; MSR CID_EL0, c20
            }
            check_number(a);
        },
    ),
    program(
        "identity-by-label",
        "print lines that look like the victim's and the monitor's",
        everywhere(Nothing),
        |a| {
            a.data =
                b"\n[victim] victim: broken\r[victim] broken\n\x1b[2J\x1b[H[monitor] error: the monitor is wrong\n"
                    .to_vec();
            let length = a.data.len();
            a.print(length).exit(0);
        },
    ),
    program(
        "label-by-wrapping",
        "fill rows up to a terminal's edge, so that a label of the victim's or the monitor's begins the next one",
        everywhere(Nothing),
        |a| {
            // The label has 20 columns.
            let rows = [" ".repeat(60), "\t".repeat(8), "x".repeat(60), "\u{4e2d}".repeat(30)];
            a.data = rows.map(|row| row + "[victim] broken\n").concat().into_bytes();
            let length = a.data.len();
            a.print(length).exit(0);
        },
    ),
    program(
        "stack-of-victim",
        "make hostcalls on the victim's stack: the monitor uses its own",
        everywhere(Nothing),
        |a| {
            let stack = a.victim_code();
            hostcalls_on(a, stack);
        },
    ),
    program(
        "stack-of-monitor",
        "make hostcalls on a stack in the monitor",
        everywhere(Nothing),
        |a| {
            let stack = a.platform.monitor() + 0x10_0000;
            hostcalls_on(a, stack);
        },
    ),
    program(
        "stack-at-the-top",
        "make hostcalls on a stack at the end of all addresses",
        everywhere(Nothing),
        |a| {
            a.constant(A, u64::MAX - 15).add(Stack, A, 0);
            hostcalls(a);
            a.exit(0);
        },
    ),
    program(
        "stack-misaligned",
        "make hostcalls with a stack pointer that is not aligned",
        everywhere(Nothing),
        |a| {
            a.add(Stack, Stack, -3);
            hostcalls(a);
            a.exit(0);
        },
    ),
    program(
        "below-the-stack",
        "look for what a hostcall leaves below the stack pointer",
        everywhere(Nothing),
        |a| {
            // Two pages of zeros before, two pages of zeros after.
            hostcalls(a);
            a.add(A, Stack, 0).set(B, 1024);
            let start = a.here();
            a.add(A, A, -8).load(C, A, 0);
            a.must_be_zero(C, 1).count_down(B, start).exit(0);
        },
    ),
    program(
        "gifts-in-registers",
        "look for capabilities in the registers of a new cVM",
        everywhere(Nothing),
        |a| {
            no_tags_in_registers(a, Scratch(9));
            a.exit(0);
        },
    ),
    program(
        "gifts-after-hostcalls",
        "look for capabilities in registers after hostcalls",
        everywhere(Nothing),
        |a| {
            hostcalls(a);
            no_tags_in_registers(a, Scratch(9));
            a.exit(0);
        },
    ),
    program(
        "gifts-in-memory",
        "look for capabilities in all of the own memory",
        everywhere(Nothing),
        |a| {
            hostcalls(a);
            a.read_ddc(A).base_of(B, A).length_of(C, A);
            if !a.is_riscv() {
                // LDCT takes an address.
                a.add(A, B, 0);
            } else {
                a.set_address(A, A, B);
            }
            a.set(B, 64);
            let start = a.here();
            a.load_tags(Scratch(3), A).must_be_zero(Scratch(3), 1);
            if a.is_riscv() {
                a.offset(A, A, B);
            } else {
                a.add_register(A, B);
            }
            a.subtract_register(C, B);
            let back = start - a.here();
            a.branch_not_zero(C, back).exit(0);
        },
    ),
    program(
        "permissions-of-pcc-and-ddc",
        "look for the permissions to seal, to unseal and for system registers",
        everywhere(Nothing),
        |a| {
            // CHERI-RISC-V: seal 7, unseal 9, system registers 10, compartment numbers 11. Morello: seal 11, unseal 10,
            // system 9, compartment numbers 7, Executive 1.
            let forbidden = if a.is_riscv() {
                1 << 7 | 1 << 9 | 1 << 10 | 1 << 11
            } else {
                1 << 11 | 1 << 10 | 1 << 9 | 1 << 7 | 1 << 1
            };
            a.read_pcc(A)
                .permissions_of(A, A)
                .read_ddc(B)
                .permissions_of(B, B)
                .or(A, B);
            a.constant(C, forbidden).and(A, C).must_be_zero(A, 1).exit(0);
        },
    ),
    program(
        "shared-otype",
        "look for anything sealed that could be paired or called",
        everywhere(Nothing),
        |a| {
            // A cVM starts with PCC and DDC alone, and neither is sealed.
            a.read_pcc(A)
                .seal_of(A)
                .must_be_zero(A, 1)
                .read_ddc(B)
                .seal_of(B)
                .must_be_zero(B, 2)
                .exit(0);
        },
    ),
    program(
        "truncated-number",
        "a hostcall's number that is that of exit in its low 32 bits",
        everywhere(Error(ENOSYS)),
        |a| {
            a.call_number(1 << 32 | Exit as u64, &[0]).exit_with_result();
        },
    ),
    program(
        "truncated-stream",
        "a stream that is the console in its low 32 bits",
        everywhere(Error(EBADF)),
        |a| {
            a.data_address(Argument(1))
                .constant(Argument(0), 1 << 32 | 1)
                .set(Argument(2), 1)
                .hostcall(Write);
            a.exit_with_result();
        },
    ),
    program(
        "truncated-flags",
        "flags of which only the high 32 bits are set",
        everywhere(Error(EINVAL)),
        |a| {
            a.data_address(Argument(1))
                .constant(Argument(3), 1 << 32)
                .set(Argument(0), 0)
                .set(Argument(2), 16)
                .hostcall(Read);
            a.exit_with_result();
        },
    ),
    program(
        "result-is-no-capability",
        "call with DDC in all arguments: the result is an integer",
        everywhere(Nothing),
        |a| {
            for index in 0..6 {
                a.read_ddc(Argument(index));
            }
            a.hostcall(Null).must_be_untagged(Argument(0), 1);
            for index in 0..6 {
                a.read_ddc(Argument(index));
            }
            a.hostcall(Clock).must_be_untagged(Argument(0), 2).exit(0);
        },
    ),
    Attack {
        name: "stale-capability",
        what: "keep a capability everywhere, die, and look for it in the next life",
        means: Means::Twice(|a| {
            no_tags_in_registers(a, Scratch(9));
            a.data_address(A);
            for offset in (0..1024).step_by(16) {
                a.load_capability(B, A, offset).must_be_untagged(B, 1);
            }
            a.load_capability(B, Stack, -16).must_be_untagged(B, 2);
            // The second life is told so by the monitor.
            a.add(Argument(0), A, 1024).set(Argument(1), 8).hostcall(Info);
            a.load(C, A, 1024)
                .shift_right(C, 32)
                .branch_not_zero(C, 8)
                .jump(16)
                .exit(0);
            a.read_ddc(B).store_capability(B, Stack, -16);
            for offset in (0..1024).step_by(16) {
                a.store_capability(B, A, offset);
            }
            a.illegal();
        }),
        expected: everywhere(Nothing),
    },
];

/// C = the own number out of the start block.
fn own_number(a: &mut Attacker) {
    a.load(C, Argument(0), START_ID).lower_half(C);
}

/// Exits with 0 when `info` says that the own number is what C holds.
fn check_number(a: &mut Attacker) {
    a.data_address(A)
        .data_address(Argument(0))
        .set(Argument(1), 48)
        .hostcall(Info);
    a.load(B, A, 0).lower_half(B).must_be_equal(B, C, 1).exit(0);
}

/// Hostcalls of several kinds.
fn hostcalls(a: &mut Assembler) {
    for call in [Null, Clock, Yield] {
        a.hostcall(call);
    }
    a.call(Hostcall::Nanosleep, &[1000]);
}

/// Hostcalls of several kinds on a stack at a physical address, which stays the stack.
fn hostcalls_on(a: &mut Attacker, stack: u64) {
    a.address(A, stack).add(Stack, A, 0);
    hostcalls(a);
    a.add(B, Stack, 0).must_be_equal(A, B, 1).exit(0);
}

/// Exits with the number of a register that holds a tagged capability.
fn no_tags_in_registers(a: &mut Assembler, spare: Register) {
    a.tag_of(spare, spare).must_be_zero(spare, 99);
    let all = if a.is_riscv() { 1..32 } else { 0..31 };
    let spare_number = a.number(spare);
    for number in all.filter(|number| *number != spare_number) {
        a.must_be_untagged(Number(number), number + 1);
    }
}
