//! Games with DDC and with the execution mode, and what interrupts find then.

use abi::Errno::EFAULT;
use abi::FaultKind::{Illegal, Permission, Seal, Tag};
use abi::Hostcall::{self, Clock, Info, Null, Write};
use tests::code::assembler::Assembler;
use tests::code::assembler::Register::{self, Argument, Scratch, Stack};

use crate::catalogue::Fate::{Error, Nothing};
use crate::catalogue::{Attack, Group, everywhere, killed, program};

pub(crate) const GROUP: Group = Group {
    title: "DDC and execution modes",
    promise: "2: what a cVM does to its own DDC, PCC and stack pointer neither gives it authority nor hurts the monitor",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);

/// Iterations that take longer than three time slices of 2 ms.
const SLICES: u64 = 3_000_000;

const ATTACKS: &[Attack] = &[
    program("ddc-null", "clear DDC and load", killed(Tag), |a| {
        a.data_address(A).clear_ddc().load(A, A, 0);
    }),
    program(
        "ddc-from-integer",
        "set DDC to an address of the monitor and load",
        killed(Tag),
        |a| {
            let monitor = a.platform.monitor();
            a.constant(A, monitor).write_ddc(A).load(A, A, 0);
        },
    ),
    program("ddc-from-pcc", "set DDC to PCC and store", killed(Permission), |a| {
        a.read_pcc(A).address_of(B, A);
        if a.relocates() {
            a.base_of(C, A).set_address(A, A, C).subtract_register(B, C);
        }
        a.write_ddc(A).store(B, B, 0);
    }),
    program(
        "ddc-sealed",
        "set DDC to a sentry of itself and load",
        killed(Seal),
        |a| {
            a.data_address(A)
                .read_ddc(B)
                .seal_entry(B, B)
                .write_ddc(B)
                .load(A, A, 0);
        },
    ),
    program(
        "ddc-null-hostcall",
        "clear DDC and have the monitor read",
        everywhere(Error(EFAULT)),
        |a| {
            a.clear_ddc();
            write_own(a);
        },
    ),
    program(
        "ddc-forged-hostcall",
        "set DDC to the forged root and have the monitor read the victim",
        everywhere(Error(EFAULT)),
        |a| {
            let secret = a.secret();
            a.address(C, secret)
                .data_address(A)
                .store(C, A, 0)
                .constant(B, 0xffff_ffff_ffff_0005);
            a.store(B, A, 8).load_capability(B, A, 0).write_ddc(B);
            a.add(Argument(1), C, 0)
                .set(Argument(0), 1)
                .set(Argument(2), 64)
                .hostcall(Write);
            a.exit_with_result();
        },
    ),
    program(
        "ddc-sealed-hostcall",
        "set DDC to a sentry and have the monitor read",
        everywhere(Error(EFAULT)),
        |a| {
            a.read_ddc(A).seal_entry(A, A).write_ddc(A);
            write_own(a);
        },
    ),
    program(
        "ddc-narrow-hostcall",
        "narrow DDC and have the monitor read the own memory beyond it",
        everywhere(Error(EFAULT)),
        |a| {
            a.data_capability(A).set(B, 16).set_bounds(A, A, B).write_ddc(A);
            if a.relocates() {
                a.set(A, 0);
            } else {
                a.address_of(A, A);
            }
            a.add(Argument(1), A, 8)
                .set(Argument(0), 1)
                .set(Argument(2), 64)
                .hostcall(Write);
            a.exit_with_result();
        },
    ),
    program(
        "ddc-write-only-hostcall",
        "take the permission to load from DDC and have the monitor read",
        everywhere(Error(EFAULT)),
        |a| {
            let mask = if a.is_riscv() { !(1 << 2) } else { 1 << 17 };
            a.constant(A, mask).read_ddc(B).restrict(B, B, A).write_ddc(B);
            write_own(a);
        },
    ),
    program(
        "ddc-read-only-hostcall",
        "take the permission to store from DDC and have the monitor write",
        everywhere(Error(EFAULT)),
        |a| {
            let mask = if a.is_riscv() { !(1 << 3) } else { 1 << 16 };
            a.constant(A, mask).read_ddc(B).restrict(B, B, A).write_ddc(B);
            a.data_address(Argument(0)).set(Argument(1), 48).hostcall(Info);
            a.exit_with_result();
        },
    ),
    program(
        "ddc-null-preempted",
        "clear DDC and compute through several time slices",
        everywhere(Nothing),
        |a| {
            a.clear_ddc();
            spin(a);
            a.tag_in_ddc(B).must_be_zero(B, 1).exit(0);
        },
    ),
    program(
        "ddc-narrow-preempted",
        "narrow DDC and compute through several time slices: it stays narrow",
        everywhere(Nothing),
        |a| {
            a.data_capability(A).set(B, 16).set_bounds(A, A, B).write_ddc(A);
            spin(a);
            a.read_ddc(B).length_of(B, B).add(B, B, -16).must_be_zero(B, 1).exit(0);
        },
    ),
    program(
        "stack-of-monitor-preempted",
        "set the stack pointer into the monitor and compute through several time slices",
        everywhere(Nothing),
        |a| {
            let monitor = a.platform.monitor() + 0x10_0000;
            a.address(A, monitor).add(Stack, A, 0);
            spin(a);
            a.address(A, monitor).add(B, Stack, 0).must_be_equal(A, B, 1).exit(0);
        },
    ),
    program(
        "registers-of-monitor-preempted",
        "fill all registers with addresses of the monitor and sleep",
        everywhere(Nothing),
        |a| {
            let monitor = a.platform.monitor();
            let all = if a.is_riscv() { 3..32 } else { 1..31 };
            a.constant(Register::Number(1), monitor);
            for number in all {
                a.add(Register::Number(number), Register::Number(1), 0);
            }
            a.call(Hostcall::Nanosleep, &[100_000])
                .call(Hostcall::Yield, &[])
                .exit(0);
        },
    ),
    program(
        "capability-mode-load",
        "switch to capability mode and load from an integer address",
        killed(Tag),
        |a| {
            let secret = a.secret();
            a.constant(A, secret);
            capability_mode(a);
            a.load(A, A, 0);
        },
    ),
    program(
        "capability-mode-hostcall",
        "make hostcalls in capability mode",
        everywhere(Nothing),
        |a| {
            capability_mode(a);
            a.call(Null, &[]);
            a.must_be_zero(Argument(0), 1).call(Clock, &[]).exit(0);
        },
    ),
    program(
        "capability-mode-stray-hostcall",
        "have the monitor read the victim, in capability mode",
        everywhere(Error(EFAULT)),
        |a| {
            let secret = a.secret();
            a.address(A, secret);
            capability_mode(a);
            // Moves of integers are the same in either mode.
            a.set(Argument(0), 1)
                .set(Argument(2), 64)
                .or(Argument(1), A)
                .hostcall(Write);
            a.exit_with_result();
        },
    ),
    program(
        "capability-mode-fault",
        "execute no instruction in capability mode: the report copes",
        killed(Illegal),
        |a| {
            capability_mode(a);
            a.illegal();
        },
    ),
    program(
        "capability-mode-preempted",
        "compute through several time slices in capability mode without DDC",
        everywhere(Nothing),
        |a| {
            a.clear_ddc();
            capability_mode(a);
            spin(a);
            a.exit(0);
        },
    ),
    program(
        "mode-by-flags-of-data",
        "set the mode flag of a data capability and enter it",
        killed(Permission),
        |a| {
            a.data_capability(A);
            if a.is_riscv() {
                a.set(B, 1).push(0x0e << 25 | 19 << 20 | 18 << 15 | 18 << 7 | 0x5b); // CSetFlags
            } else {
                a.set(B, 1).offset(A, A, B);
            }
            a.jump_to_capability(A);
        },
    ),
];

/// Has the monitor read 16 bytes of the own data, and exits with the result.
fn write_own(a: &mut Assembler) {
    a.data_address(Argument(1))
        .set(Argument(0), 1)
        .set(Argument(2), 16)
        .hostcall(Write);
    a.exit_with_result();
}

/// Computes longer than three time slices.
fn spin(a: &mut Assembler) {
    a.constant(Scratch(8), SLICES);
    let start = a.here();
    a.count_down(Scratch(8), start);
}

/// Goes on in capability mode, or C64.
fn capability_mode(a: &mut Assembler) {
    if a.is_riscv() {
        let (code, flag) = (Scratch(8), Scratch(9));
        a.read_pcc(code).set(flag, 1);
        // CSetFlags code, code, flag; CIncOffsetImm code, code, to behind the jump; CJALR.
        a.push(0x0e << 25 | 27 << 20 | 26 << 15 | 26 << 7 | 0x5b);
        a.push(20 << 20 | 26 << 15 | 1 << 12 | 26 << 7 | 0x5b);
        a.jump_to_capability(code);
    } else {
        a.push(0xc2c2_73e0); // BX #4
    }
}
