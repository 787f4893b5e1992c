//! Attacks by pure-capability programs: no DDC, and a capability for everything that they have.

use abi::Errno::{EFAULT, ENOMEM};
use abi::FaultKind::{Bounds, Permission, Seal, Tag};
use abi::Hostcall::{Heap, Info, Read, Write};
use abi::hostcall::READ_NONBLOCKING;
use tests::code::assembler::Register::{self, Argument, Number, Scratch, Stack};
use tests::code::attack::Attacker;

use crate::catalogue::Fate::{Error, Killed, Nothing};
use crate::catalogue::{Attack, Expected, Group, Means, each, everywhere, killed};

pub(crate) const GROUP: Group = Group {
    title: "Pure-capability programs",
    promise: "1, 2: a purecap program has its text, its stack and its start block, and integers are no pointers",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);

const fn purecap(name: &'static str, what: &'static str, expected: Expected, program: fn(&mut Attacker)) -> Attack {
    Attack {
        name,
        what,
        means: Means::Purecap(program),
        expected,
    }
}

const ATTACKS: &[Attack] = &[
    purecap(
        "purecap-load-integer",
        "load from the address of the victim's secret",
        killed(Tag),
        |a| {
            let secret = a.secret();
            a.constant(A, secret).load(A, A, 0);
        },
    ),
    purecap(
        "purecap-store-integer",
        "store to an address of the monitor",
        killed(Tag),
        |a| {
            let monitor = a.platform.monitor();
            a.constant(A, monitor).store(B, A, 0);
        },
    ),
    purecap(
        "purecap-jump-integer",
        "jump to the address of the victim's code",
        killed(Tag),
        |a| {
            let code = a.victim_code();
            a.constant(A, code).jump_to_capability(A);
        },
    ),
    purecap("purecap-ddc", "look for a DDC", everywhere(Nothing), |a| {
        a.read_ddc(A).must_be_untagged(A, 1).exit(0);
    }),
    purecap(
        "purecap-load-through-ddc",
        "load with the instructions that go through DDC",
        killed(Tag),
        |a| {
            let secret = a.secret();
            // LD.DDC; LDR, alternate base.
            a.constant(A, secret).word(
                0x7d << 25 | 3 << 20 | 18 << 15 | 18 << 7 | 0x5b,
                0x8260_0c00 | 19 << 5 | 19,
            );
        },
    ),
    purecap(
        "purecap-leave-capability-mode",
        "switch to the mode of integer pointers and load",
        killed(Tag),
        |a| {
            let secret = a.secret();
            a.constant(A, secret);
            if a.is_riscv() {
                let (code, flag) = (Scratch(8), Scratch(9));
                a.read_pcc(code).set(flag, 0);
                // CSetFlags; CIncOffsetImm to behind the jump; CJALR.
                a.push(0x0e << 25 | 27 << 20 | 26 << 15 | 26 << 7 | 0x5b);
                a.push(20 << 20 | 26 << 15 | 1 << 12 | 26 << 7 | 0x5b);
                a.jump_to_capability(code);
            } else {
                a.push(0xc2c2_73e0); // BX #4
            }
            a.load(A, A, 0);
        },
    ),
    purecap(
        "purecap-write-start-block",
        "store to the start block",
        killed(Permission),
        |a| {
            a.store(B, Argument(0), 0);
        },
    ),
    purecap(
        "purecap-beyond-start-block",
        "load what lies behind the start block",
        killed(Bounds),
        |a| {
            a.base_of(A, Argument(0)).length_of(B, Argument(0)).add_register(A, B);
            a.set_address(A, Argument(0), A).load(A, A, 0);
        },
    ),
    purecap(
        "purecap-below-stack",
        "load what lies below the stack",
        killed(Bounds),
        |a| {
            a.copy(A, Stack).base_of(B, A).set_address(A, A, B).load(A, A, -8);
        },
    ),
    purecap(
        "purecap-above-stack",
        "load what lies above the stack",
        killed(Bounds),
        |a| {
            a.copy(A, Stack)
                .base_of(B, A)
                .length_of(C, A)
                .add_register(B, C)
                .set_address(A, A, B)
                .load(A, A, 0);
        },
    ),
    purecap(
        "purecap-widen-stack",
        "set greater bounds of the stack",
        each(Killed(Tag), Killed(Bounds), Killed(Tag)),
        |a| {
            a.copy(A, Stack)
                .base_of(B, A)
                .set_address(A, A, B)
                .constant(B, 1 << 20)
                .set_bounds(A, A, B)
                .load(A, A, 0);
        },
    ),
    purecap("purecap-execute-stack", "jump to the stack", killed(Permission), |a| {
        a.copy(A, Stack)
            .base_of(B, A)
            .set_address(A, A, B)
            .jump_to_capability(A);
    }),
    purecap("purecap-write-text", "store through PCC", killed(Permission), |a| {
        a.read_pcc(A).store(B, A, 0);
    }),
    purecap(
        "purecap-sealed-stack",
        "load through a sentry of the stack",
        killed(Seal),
        |a| {
            a.copy(A, Stack).seal_entry(A, A).load(A, A, 0);
        },
    ),
    purecap(
        "purecap-store-local",
        "store a capability without the Global permission on the stack",
        killed(Permission),
        |a| {
            let mask = if a.is_riscv() { u64::MAX - 1 } else { 1 };
            a.constant(B, mask)
                .copy(A, Stack)
                .restrict(A, A, B)
                .store_capability(A, Stack, -16);
        },
    ),
    purecap(
        "purecap-gifts",
        "look for capabilities in registers but the stack, the start block and the thread pointer",
        everywhere(Nothing),
        |a| {
            let spare = Scratch(9);
            a.tag_of(spare, spare).must_be_zero(spare, 99);
            let (all, given) = if a.is_riscv() {
                (1..32, vec![2, 4, 10, 27])
            } else {
                (0..31, vec![0, 28])
            };
            for number in all.filter(|number| !given.contains(number)) {
                a.must_be_untagged(Number(number), number + 1);
            }
            a.exit(0);
        },
    ),
    purecap(
        "purecap-permissions",
        "look for permissions to seal, to unseal, for system registers, to store and execute",
        everywhere(Nothing),
        |a| {
            // CHERI-RISC-V: execute 1, store 3, seal 7, unseal 9, system 10, number 11. Morello: store 16, execute 15, seal 11,
            // unseal 10, system 9, number 7, Executive 1.
            let (system, store, execute) = if a.is_riscv() {
                (1 << 7 | 1 << 9 | 1 << 10 | 1 << 11, 1 << 3, 1 << 1)
            } else {
                (1 << 11 | 1 << 10 | 1 << 9 | 1 << 7 | 1 << 1, 1 << 16, 1 << 15)
            };
            a.read_pcc(A)
                .permissions_of(A, A)
                .constant(C, system | store)
                .and(A, C)
                .must_be_zero(A, 1);
            a.copy(B, Stack)
                .permissions_of(B, B)
                .constant(C, system | execute)
                .and(B, C)
                .must_be_zero(B, 2);
            a.permissions_of(B, Argument(0))
                .constant(C, system | store | execute)
                .and(B, C)
                .must_be_zero(B, 3)
                .exit(0);
        },
    ),
    purecap(
        "purecap-integer-pointer",
        "have the monitor read at an integer address of the own stack",
        everywhere(Error(EFAULT)),
        |a| {
            a.copy(A, Stack)
                .address_of(Argument(1), A)
                .add(Argument(1), Argument(1), -64);
            a.set(Argument(0), 1).set(Argument(2), 16).hostcall(Write);
            a.exit_with_result();
        },
    ),
    purecap(
        "purecap-foreign-pointer",
        "have the monitor read the victim's secret",
        everywhere(Error(EFAULT)),
        |a| {
            let secret = a.secret();
            a.call(Write, &[1, secret, 16]).exit_with_result();
        },
    ),
    purecap(
        "purecap-pointer-beyond",
        "have the monitor write across the end of the stack",
        everywhere(Error(EFAULT)),
        |a| {
            a.copy(A, Stack)
                .base_of(B, A)
                .length_of(C, A)
                .add_register(B, C)
                .add(B, B, -8);
            a.set_address(Argument(1), A, B)
                .set(Argument(0), 0)
                .set(Argument(2), 16);
            a.set(Argument(3), READ_NONBLOCKING as u32).hostcall(Read);
            a.exit_with_result();
        },
    ),
    purecap(
        "purecap-read-only-pointer",
        "have the monitor write to the start block",
        everywhere(Error(EFAULT)),
        |a| {
            a.set(Argument(1), 48).hostcall(Info);
            a.exit_with_result();
        },
    ),
    purecap(
        "purecap-text-pointer",
        "have the monitor write to the text",
        everywhere(Error(EFAULT)),
        |a| {
            a.read_pcc(Argument(0)).set(Argument(1), 48).hostcall(Info);
            a.exit_with_result();
        },
    ),
    purecap(
        "purecap-heap-without-heap",
        "ask for a heap that there is not",
        everywhere(Error(ENOMEM)),
        |a| {
            a.hostcall(Heap).exit_with_result();
        },
    ),
];
