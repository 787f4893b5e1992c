//! Interrupts, waiting, caches and translations.

use abi::FaultKind::{Access, Bounds, Privilege};
use tests::code::assembler::Register::{Argument, Scratch};
use tests::code::attack::Attacker;

use crate::catalogue::Fate::{Killed, KilledForOne, Nothing};
use crate::catalogue::{Attack, Group, either, everywhere, killed, program};

pub(crate) const GROUP: Group = Group {
    title: "Interrupts, waiting, caches",
    promise: "4, 5: no cVM stops the clock, the interrupts or the caches of the others",
    attacks: ATTACKS,
};

const ATTACKS: &[Attack] = &[
    program("mask-interrupts", "mask interrupts", killed(Privilege), |a| {
        a.word(0x3004_7073, 0xd503_4fdf); // CSRCI mstatus, 8; MSR DAIFSet, #15
    }),
    program("mask-timer", "switch off the timer interrupt", killed(Privilege), |a| {
        a.word(0x3040_1073, 0xd51b_e33f); // CSRW mie, zero; MSR CNTV_CTL_EL0, xzr
    }),
    program(
        "wait-for-interrupt",
        "wait for an interrupt, again and again",
        everywhere(Nothing).but_alliance(Killed(Privilege)),
        |a| {
            repeat(a, 20, |a| {
                a.word(0x1050_0073, 0xd503_207f); // WFI
            });
        },
    ),
    program(
        "wait-for-event",
        "wait for events that nobody sends",
        everywhere(Nothing),
        |a| {
            repeat(a, 1000, |a| {
                a.word(0x0100_000f, 0xd503_205f); // PAUSE, WFE
            });
        },
    ),
    program(
        "send-events",
        "send events to all processors",
        everywhere(Nothing),
        |a| {
            repeat(a, 1000, |a| {
                a.word(0x0ff0_000f, 0xd503_209f); // FENCE, SEV
            });
        },
    ),
    program(
        "send-interrupt",
        "send an interrupt between processors",
        killed(Bounds),
        |a| {
            store(a, 0x0200_0000, 0x0800_0f00); // msip of hart 0, GICD_SGIR
        },
    ),
    program(
        "claim-interrupt",
        "take an interrupt away from the monitor",
        killed(Bounds),
        |a| {
            let claim = if a.is_riscv() { 0x0c20_0004 } else { 0x0801_000c };
            a.address(Scratch(0), claim).load(Scratch(0), Scratch(0), 0);
        },
    ),
    program(
        "disable-interrupts",
        "disable all interrupts of the interrupt controller",
        killed(Bounds),
        |a| {
            store(a, 0x0c00_2000, 0x0800_0000); // enable bits of context 0, GICD_CTLR
        },
    ),
    program(
        "flush-instructions",
        "flush the instruction pipeline, again and again",
        everywhere(Nothing),
        |a| {
            repeat(a, 1000, |a| {
                a.word(0x0000_100f, 0xd503_3fdf); // FENCE.I, ISB
            });
        },
    ),
    program(
        "barriers",
        "wait for all memory accesses, again and again",
        everywhere(Nothing),
        |a| {
            repeat(a, 1000, |a| {
                a.word(0x0ff0_000f, 0xd503_3f9f); // FENCE, DSB
            });
        },
    ),
    program(
        "clean-victim",
        "clean and invalidate a cache line of the victim",
        either(KilledForOne(&[Bounds, Access]), Killed(Privilege)),
        |a| {
            let secret = a.secret();
            a.address(Scratch(0), secret);
            // CBO.FLUSH, which is a capability load here; DC CIVAC.
            a.word(2 << 20 | 18 << 15 | 2 << 12 | 0x0f, 0xd50b_7e33);
        },
    ),
    program(
        "zero-victim",
        "zero a cache line of the victim",
        either(KilledForOne(&[Bounds, Access]), Killed(Privilege)),
        |a| {
            let secret = a.secret();
            a.address(Scratch(0), secret);
            // CBO.ZERO, which is a capability load here; DC ZVA.
            a.word(4 << 20 | 18 << 15 | 2 << 12 | 0x0f, 0xd50b_7433);
        },
    ),
    program(
        "zero-own-line",
        "zero a cache line of the own data",
        either(KilledForOne(&[abi::FaultKind::Misaligned]), Killed(Privilege)),
        |a| {
            a.data_address(Scratch(0))
                .word(4 << 20 | 18 << 15 | 2 << 12 | 0x0f, 0xd50b_7433);
        },
    ),
    program(
        "flush-translations",
        "flush the translations of all",
        killed(Privilege),
        |a| {
            a.word(0x1200_0073, 0xd508_871f); // SFENCE.VMA, TLBI VMALLE1
        },
    ),
    program(
        "probe-translation",
        "translate an address of the monitor",
        either(Killed(Privilege), Killed(Privilege)),
        |a| {
            let monitor = a.platform.monitor();
            a.address(Scratch(0), monitor);
            a.word(0x6c09_4973, 0xd508_7813); // HLV.D; AT S1E1R
        },
    ),
    program(
        "abandon-reservation",
        "leave a reservation to whoever runs next",
        everywhere(Nothing),
        |a| {
            // After a switch the reservation is gone, or still the own one: never another's.
            a.data_address(Scratch(0)).load_reserved(Scratch(1), Scratch(0));
            a.call(abi::Hostcall::Yield, &[]);
            a.store_conditional(Scratch(2), Scratch(1), Scratch(0))
                .set(Argument(0), 0)
                .exit(0);
        },
    ),
];

/// Does it so often, and exits with 0.
fn repeat(a: &mut Attacker, times: u32, what: fn(&mut Attacker)) {
    a.set(Scratch(0), times);
    let start = a.here();
    what(a);
    a.count_down(Scratch(0), start).exit(0);
}

/// Stores to an address of CHERI-RISC-V's or of Morello's board.
fn store(a: &mut Attacker, riscv: u64, morello: u64) {
    let target = if a.is_riscv() { riscv } else { morello };
    a.address(Scratch(0), target).store(Scratch(1), Scratch(0), 0);
}
