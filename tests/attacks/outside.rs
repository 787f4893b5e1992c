//! Reads, writes and jumps outside of the own memory.

use abi::FaultKind::{Access, Bounds, Illegal, Misaligned, Tag};
use tests::code::assembler::Register::{Scratch, Stack};
use tests::code::attack::{Attacker, UNPUNISHED};

use crate::catalogue::Fate::{Absent, Killed, KilledForOne, Nothing};
use crate::catalogue::{Attack, Group, each, either, everywhere, killed, program};

pub(crate) const GROUP: Group = Group {
    title: "Outside of the own memory",
    promise: "1: no cVM reads, writes or executes memory outside its own, nor a device",
    attacks: ATTACKS,
};

const ATTACKS: &[Attack] = &[
    program("read-victim", "load the victim's secret", killed(Bounds), |a| {
        let secret = a.secret();
        read(a, secret);
    }),
    program(
        "read-victim-code",
        "load an instruction of the victim",
        killed(Bounds),
        |a| {
            let code = a.victim_code();
            read(a, code);
        },
    ),
    program("read-monitor", "load from the monitor's text", killed(Bounds), |a| {
        let monitor = a.platform.monitor();
        read(a, monitor);
    }),
    program(
        "read-monitor-data",
        "load from the megabyte behind the monitor's text",
        killed(Bounds),
        |a| {
            let monitor = a.platform.monitor() + 0x10_0000;
            read(a, monitor);
        },
    ),
    program(
        "read-device",
        "load a register of the console UART",
        killed(Bounds),
        |a| {
            let device = a.platform.device();
            read(a, device);
        },
    ),
    program(
        "read-interrupt-controller",
        "load a register of PLIC or GIC",
        killed(Bounds),
        |a| {
            let controller = if a.is_riscv() { 0x0c00_0000 } else { 0x0800_0000 };
            read(a, controller);
        },
    ),
    program(
        "read-below",
        "load the word below the own memory",
        killed(Bounds),
        |a| {
            a.start_of_memory(Scratch(0)).load(Scratch(0), Scratch(0), -8);
        },
    ),
    program(
        "read-above",
        "load the word above the own memory",
        killed(Bounds),
        |a| {
            a.end_of_memory(Scratch(0)).load(Scratch(0), Scratch(0), 0);
        },
    ),
    program(
        "read-byte-above",
        "load the byte above the own memory",
        killed(Bounds),
        |a| {
            a.end_of_memory(Scratch(0)).load_byte(Scratch(0), Scratch(0), 0);
        },
    ),
    program(
        "read-across-the-end",
        "load a word of which the last four bytes are another's",
        killed(Bounds),
        |a| {
            a.end_of_memory(Scratch(0)).load(Scratch(0), Scratch(0), -4);
        },
    ),
    program(
        "read-across-the-top",
        "load a word that wraps around the address space",
        either(Killed(Bounds), KilledForOne(&[Bounds, Access])),
        |a| {
            a.constant(Scratch(0), u64::MAX - 3).load(Scratch(0), Scratch(0), 0);
        },
    ),
    program(
        "read-with-a-tagged-address",
        "load the secret with bits in the top byte of its address",
        killed(Bounds),
        |a| {
            let secret = a.secret();
            a.address(Scratch(0), secret).constant(Scratch(1), 0xa5 << 56);
            a.or(Scratch(0), Scratch(1)).load(Scratch(0), Scratch(0), 0);
        },
    ),
    program(
        "read-capability-of-victim",
        "load one of the victim's capabilities",
        killed(Bounds),
        |a| {
            let kept = a.secret() + 1024;
            a.address(Scratch(0), kept).load_capability(Scratch(0), Scratch(0), 0);
        },
    ),
    program(
        "read-tags-of-victim",
        "ask for the tags of the victim's memory",
        either(Killed(Tag), Killed(Bounds)),
        |a| {
            let kept = a.secret() + 1024;
            if a.is_riscv() {
                a.constant(Scratch(0), kept).read_ddc(Scratch(1));
                a.set_address(Scratch(0), Scratch(1), Scratch(0));
            } else {
                a.address(Scratch(0), kept);
            }
            a.load_tags(Scratch(0), Scratch(0));
        },
    ),
    program(
        "read-pair-across-the-end",
        "load a pair of which the second word is another's",
        either(Absent, Killed(Bounds)),
        |a| {
            a.end_of_memory(Scratch(0)).add(Scratch(0), Scratch(0), -8);
            a.push(0xa940_0000 | 21 << 10 | 19 << 5 | 20); // LDP x20, x21, [x19]
        },
    ),
    program(
        "read-vector",
        "load the secret into a floating-point or vector register",
        either(Killed(Illegal), Killed(Bounds)),
        |a| {
            let secret = a.secret();
            a.address(Scratch(0), secret);
            a.word(18 << 15 | 3 << 12 | 0x07, 0x3dc0_0000 | 19 << 5); // FLD f0, LDR q0
        },
    ),
    program(
        "prefetch-victim",
        "prefetch the secret, and find nothing changed",
        everywhere(Nothing),
        |a| {
            let secret = a.secret();
            a.address(Scratch(0), secret);
            a.word(1 << 20 | 18 << 15 | 6 << 12 | 0x13, 0xf980_0000 | 19 << 5); // PREFETCH.R, PRFM
            a.exit(0);
        },
    ),
    program("write-victim", "store to the victim's secret", killed(Bounds), |a| {
        let secret = a.secret();
        write(a, secret);
    }),
    program("write-victim-code", "store to the victim's code", killed(Bounds), |a| {
        let code = a.victim_code();
        write(a, code);
    }),
    program(
        "write-victim-byte",
        "store one byte to the victim, which would clear a tag",
        killed(Bounds),
        |a| {
            let kept = a.secret() + 1024;
            a.address(Scratch(0), kept).store_byte(Scratch(1), Scratch(0), 0);
        },
    ),
    program(
        "write-victim-capability",
        "store the own DDC over one of the victim's",
        killed(Bounds),
        |a| {
            let kept = a.secret() + 1024;
            a.address(Scratch(0), kept).read_ddc(Scratch(1));
            a.store_capability(Scratch(1), Scratch(0), 0);
        },
    ),
    program("write-monitor", "store to the monitor's text", killed(Bounds), |a| {
        let monitor = a.platform.monitor();
        write(a, monitor);
    }),
    program(
        "write-monitor-data",
        "store to the megabyte behind the monitor's text",
        killed(Bounds),
        |a| {
            let monitor = a.platform.monitor() + 0x10_0000;
            write(a, monitor);
        },
    ),
    program("write-device", "print by storing to the UART", killed(Bounds), |a| {
        let device = a.platform.device();
        a.address(Scratch(0), device).set(Scratch(1), u32::from(b'X'));
        a.store_byte(Scratch(1), Scratch(0), 0);
    }),
    program(
        "write-timer",
        "put off the next timer interrupt or close its line",
        killed(Bounds),
        |a| {
            // mtimecmp of hart 0; GICD_ICENABLER0.
            let timer = if a.is_riscv() { 0x0200_4000 } else { 0x0800_0180 };
            write(a, timer);
        },
    ),
    program(
        "write-power",
        "power off by storing to the test device; on Morello to the secure UART's place",
        killed(Bounds),
        |a| {
            let power = if a.is_riscv() { 0x0010_0000 } else { 0x0904_0000 };
            write(a, power);
        },
    ),
    program(
        "write-across-the-start",
        "store a word of which the first four bytes are another's",
        killed(Bounds),
        |a| {
            a.start_of_memory(Scratch(0)).store(Scratch(1), Scratch(0), -4);
        },
    ),
    program(
        "write-pair-across-the-end",
        "store a pair of capabilities of which the second is another's",
        either(Absent, Killed(Bounds)),
        |a| {
            a.end_of_memory(Scratch(0)).add(Scratch(0), Scratch(0), -16);
            a.push(0x4280_0000 | 21 << 10 | 19 << 5 | 20); // STP c20, c21, [x19]
        },
    ),
    program(
        "add-to-victim",
        "atomically add to the victim's secret",
        killed(Bounds),
        |a| {
            let secret = a.secret();
            a.address(Scratch(0), secret)
                .fetch_and_add(Scratch(1), Scratch(2), Scratch(0));
        },
    ),
    program(
        "exchange-with-victim",
        "atomically exchange a word with the victim",
        killed(Bounds),
        |a| {
            let secret = a.secret();
            a.address(Scratch(0), secret)
                .exchange(Scratch(1), Scratch(2), Scratch(0));
        },
    ),
    program(
        "exchange-capability-with-victim",
        "atomically exchange a capability with the victim",
        killed(Bounds),
        |a| {
            let kept = a.secret() + 1024;
            a.address(Scratch(0), kept).read_ddc(Scratch(2));
            a.exchange_capability(Scratch(1), Scratch(2), Scratch(0));
        },
    ),
    program(
        "compare-and-swap-victim",
        "compare and swap a capability of the victim",
        either(Absent, Killed(Bounds)),
        |a| {
            let kept = a.secret() + 1024;
            a.address(Scratch(0), kept).push(0xa2a0_7c00 | 20 << 16 | 19 << 5 | 21); // CAS c20, c21, [x19]
        },
    ),
    program(
        "reserve-victim",
        "make a reservation on the victim's secret",
        killed(Bounds),
        |a| {
            let secret = a.secret();
            a.address(Scratch(0), secret).load_reserved(Scratch(1), Scratch(0));
        },
    ),
    program(
        "store-with-own-reservation",
        "reserve own memory and store conditionally to the victim's",
        killed(Bounds),
        |a| {
            let secret = a.secret();
            a.address(Scratch(0), secret).data_address(Scratch(1));
            a.load_reserved(Scratch(2), Scratch(1))
                .store_conditional(Scratch(3), Scratch(2), Scratch(0));
            // A failed one has stored nothing; whether it is checked is the processor's choice.
            a.add(Scratch(3), Scratch(3), -1);
            a.must_be_zero(Scratch(3), UNPUNISHED).exit(0);
        },
    ),
    program("jump-victim", "jump to the victim's code", killed(Bounds), |a| {
        let code = a.victim_code();
        jump(a, code);
    }),
    program("jump-monitor", "jump to the monitor's text", killed(Bounds), |a| {
        let monitor = a.platform.monitor();
        jump(a, monitor);
    }),
    program("jump-device", "jump to the UART", killed(Bounds), |a| {
        let device = a.platform.device();
        jump(a, device);
    }),
    program(
        "jump-capability-far",
        "move the own PCC to the victim's code and jump there",
        either(Killed(Tag), Killed(Bounds)),
        |a| {
            let code = a.victim_code();
            a.constant(Scratch(0), code).read_pcc(Scratch(1));
            a.set_address(Scratch(1), Scratch(1), Scratch(0))
                .jump_to_capability(Scratch(1));
        },
    ),
    program(
        "jump-capability-near",
        "move the own PCC to its end and jump there",
        killed(Bounds),
        |a| {
            a.read_pcc(Scratch(0));
            a.base_of(Scratch(1), Scratch(0)).length_of(Scratch(2), Scratch(0));
            a.add_register(Scratch(1), Scratch(2));
            a.set_address(Scratch(0), Scratch(0), Scratch(1))
                .jump_to_capability(Scratch(0));
        },
    ),
    program(
        "run-off-the-end",
        "run into what lies behind the own code",
        killed(Bounds),
        |a| {
            while a.here() < 4096 - 4 {
                a.word(0x13, 0xd503_201f); // NOP
            }
            a.open_end = true;
            a.word(0x13, 0xd503_201f);
        },
    ),
    program(
        "branch-misaligned",
        "jump to an odd address or half an instruction",
        each(Killed(Illegal), Killed(Illegal), Killed(Misaligned)),
        |a| {
            // The upper half of the word is no instruction; Morello has none at such an address.
            a.code_address(Scratch(0), 30).jump_to(Scratch(0));
            while a.here() < 32 {
                a.push(0);
            }
        },
    ),
    program(
        "stack-into-the-monitor",
        "set the stack pointer to the monitor and push",
        killed(Bounds),
        |a| {
            let monitor = a.platform.monitor() + 0x10_0000;
            stack(a, monitor);
            a.store(Scratch(0), Stack, -16);
        },
    ),
    program(
        "write-own-code",
        "store to the own code: possible on CHERI-RISC-V, where it is the cVM's own business",
        either(Nothing, Killed(Access)),
        |a| {
            a.data_address(Scratch(0)).add(Scratch(0), Scratch(0), -4);
            a.store_byte(Scratch(1), Scratch(0), 0).exit(0);
        },
    ),
];

fn read(a: &mut Attacker, physical: u64) {
    a.address(Scratch(0), physical).load(Scratch(0), Scratch(0), 0);
}

fn write(a: &mut Attacker, physical: u64) {
    a.address(Scratch(0), physical).store(Scratch(1), Scratch(0), 0);
}

fn jump(a: &mut Attacker, physical: u64) {
    a.address(Scratch(0), physical).jump_to(Scratch(0));
}

/// Sets the stack pointer.
pub(crate) fn stack(a: &mut Attacker, physical: u64) {
    a.address(Scratch(0), physical);
    a.add(Stack, Scratch(0), 0);
}
