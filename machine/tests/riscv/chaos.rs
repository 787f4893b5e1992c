//! Whatever a guest does, the machine neither panics nor lets authority out of nothing.

use capability::riscv::Capability;
use machine::Stop;
use machine::riscv::{Isa, Until, special};

use crate::lab::{DATA, Lab, START, region};

/// Opcodes that exist, so that random words are often instructions; the last is the capability one.
const OPCODES: [u32; 14] = [
    0x03, 0x0f, 0x13, 0x17, 0x1b, 0x23, 0x2f, 0x33, 0x37, 0x3b, 0x63, 0x67, 0x73, 0x5b,
];
const CAPABILITY_OPCODE: u32 = 0x5b;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn word(&mut self) -> u32 {
        let random = self.next();
        match random >> 60 {
            0..4 => random as u32,
            4..10 => random as u32 & !0x7f | CAPABILITY_OPCODE,
            _ => random as u32 & !0x7f | OPCODES[(random >> 40) as usize % OPCODES.len()],
        }
    }
}

/// A board with random code whose every register and special register holds authority over `DATA` and the code alone.
fn confined(isa: Isa, seed: u64) -> Lab {
    let mut random = Random(seed);
    let words: Vec<u32> = (0..1024).map(|_| random.word()).collect();
    let mut lab = Lab::new(isa, &words);
    let data = region(DATA, 0x1000, 0x7_8fff);
    let code = region(START, 0x1000, 0x7_8fff);
    for number in 1..32 {
        lab = match random.next() % 3 {
            0 => lab.set(number, random.next() >> (random.next() % 64)),
            1 => lab.set_capability(number, data.set_address(DATA + random.next() % 0x1000)),
            _ => lab.set_capability(number, code.set_address((START + random.next() % 0x1000) & !1)),
        };
    }
    for number in special::ALL {
        let capability = if number == special::DDC {
            data
        } else {
            code.set_flags(random.next())
        };
        lab = lab.set_special(number, capability);
    }
    lab
}

/// Lets every second capability of `lab` hold all authority, with addresses near what the board has.
fn unleash(mut lab: Lab, random: &mut Random) -> Lab {
    const PLACES: [u64; 7] = [
        0,
        0x1000,
        0x10_0000,
        0x200_0000,
        0xc00_0000,
        0x1000_0000,
        START + (32 << 20) - 8,
    ];
    lab = lab.set_special(special::DDC, Capability::ROOT);
    for number in (1..32).step_by(2) {
        let place = PLACES[(random.next() % 7) as usize]
            .wrapping_add(random.next() % 64)
            .wrapping_sub(16);
        lab = lab.set_capability(number, Capability::ROOT.set_address(place));
    }
    lab
}

fn inside(capability: &Capability) -> bool {
    let within = |start: u64| capability.base() >= start && capability.top() <= u128::from(start + 0x1000);
    within(DATA) || within(START)
}

#[test]
fn random_programs_never_gain_authority() {
    for seed in 0..300 {
        for isa in [Isa::V9, Isa::V8] {
            let mut lab = confined(isa, seed);
            for _ in 0..20 {
                let stop = lab.board.run(Until::exit(500));
                let escaped: Vec<_> = (lab.board.tagged_registers(0).map(|(_, capability)| capability))
                    .chain(lab.board.tagged_capabilities().map(|(_, capability)| capability))
                    .filter(|capability| !inside(capability))
                    .map(|capability| capability.decode().to_string())
                    .collect();
                assert!(escaped.is_empty(), "seed {seed} in {isa:?}: {escaped:?}");
                match stop {
                    Stop::Limit => {}
                    Stop::TrapLoop { .. } | Stop::Idle => break,
                    other => panic!("seed {seed} in {isa:?}: {other}"),
                }
            }
        }
    }
}

#[test]
fn random_programs_with_all_authority_end_or_go_on_but_never_break_the_machine() {
    let mut random = Random(1);
    let mut completed = 0;
    for seed in 0..300 {
        for isa in [Isa::V9, Isa::V8] {
            let mut lab = unleash(confined(isa, seed), &mut random);
            lab.board.run(Until::exit(5000));
            completed += lab.board.total_instructions();
        }
    }
    assert!(completed > 10_000, "only {completed} instructions were executed");
}
