//! What a program finds in its registers and its memory: integers of every kind, and capabilities derived from what the
//! cVM holds at its start, as its own instructions could derive them.

use capability::{Decoded, Permissions, Seal};
use tools::Architecture;

use super::board::{Derivation, Raw, decode, derive, integer};
use super::random::Random;
use super::setup::Kind;
use super::{deferring, shared, threads};
use crate::code::assembler::{Assembler, Register};

/// Instructions of a program, roughly.
const PROGRAM: u64 = 64;

/// Some instructions in a row that hardly any random program would have, by what they are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Snippets {
    None,
    Shared,
    Threads,
    Deferring,
}

impl Snippets {
    pub(super) fn of(kind: Kind) -> Snippets {
        match kind {
            Kind::Threads => Snippets::Threads,
            Kind::Deferring => Snippets::Deferring,
            _ if shared::is(kind) => Snippets::Shared,
            _ => Snippets::None,
        }
    }

    /// One of them.
    pub(super) fn random(self, arch: Architecture, random: &mut Random) -> Vec<u32> {
        match self {
            Snippets::None => Vec::new(),
            Snippets::Shared => shared::snippet(arch, random),
            Snippets::Threads => threads::snippet(arch, random),
            Snippets::Deferring => deferring::snippet(arch, random),
        }
    }

    /// Registers that a random program begins with as they are, as a rule.
    pub(super) fn kept(self, arch: Architecture) -> Vec<u8> {
        let numbers = |kept: &[Register]| {
            let a = Assembler::new(arch);
            kept.iter().map(|register| a.number(*register) as u8).collect()
        };
        match self {
            Snippets::None => Vec::new(),
            Snippets::Shared => shared::kept(arch),
            Snippets::Threads => numbers(&threads::KEPT),
            Snippets::Deferring => numbers(&deferring::KEPT),
        }
    }
}

/// What seeds are made from.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    pub(super) arch: Architecture,
    /// Integer addresses of the cVM count from here.
    pub(super) bias: u64,
    /// What the cVM holds at its start.
    pub(super) holdings: Vec<Raw>,
    /// Addresses in its own memory that matter: program, data, stack, heap.
    pub(super) own: Vec<u64>,
    /// Addresses that it has no business with: of the monitor, of its neighbours, of devices.
    pub(super) foreign: Vec<u64>,
    /// Numbers of hostcalls that it tries: those below this.
    pub(super) calls: u64,
    /// What programs have besides single instructions.
    pub(super) snippets: Snippets,
    /// Addresses of its program.
    pub(super) text: (u64, u64),
}

impl Sources {
    /// An integer: an address, a size, a count, a flag.
    pub(super) fn integer(&self, random: &mut Random) -> Raw {
        let value = match random.below(10) {
            0..4 => self
                .own_address(random)
                .wrapping_sub(if random.chance(85) { self.bias } else { 0 }),
            4 => random
                .pick(&self.foreign)
                .wrapping_add(random.below(64))
                .wrapping_sub(self.bias),
            5..7 => random.below(64),
            7 => random.below(8192),
            8 => *random.pick(&[
                u64::MAX,
                1 << 63,
                (1 << 63) - 1,
                0xffff_ffff,
                1 << 32,
                u64::MAX - 15,
                0x8000_0000,
            ]),
            _ => random.of_any_size(),
        };
        integer(self.arch, value)
    }

    fn own_address(&self, random: &mut Random) -> u64 {
        let address = random.pick(&self.own) + 16 * random.below(64);
        if random.chance(20) {
            address + random.below(16)
        } else {
            address
        }
    }

    /// A capability derived from what the cVM holds, or the bits of one that it does not hold, without a tag.
    pub(super) fn capability(&self, random: &mut Random) -> Raw {
        let parent = *random.pick(&self.holdings);
        let held = decode(self.arch, parent);
        let kind = random.below(20);
        if kind == 0 {
            // What an attacker would like to have: the bits are right, the tag is not.
            return self.wish(random, parent, &held);
        }
        if held.seal != Seal::Unsealed || kind == 1 {
            return parent;
        }
        let executable = held.permissions.contains(Permissions::EXECUTE);
        let (first, length) = self.text;
        let (base, size) = if kind < 12 {
            (held.base, u64::try_from(held.length()).unwrap_or(u64::MAX))
        } else {
            let start = if executable { first } else { self.own_address(random) };
            (start, 1 + random.below(256))
        };
        let address = if executable {
            let instructions = if random.chance(90) { PROGRAM } else { length / 4 };
            first + 4 * random.below(instructions)
        } else if kind < 12 {
            self.own_address(random)
        } else {
            base + random.below(size)
        };
        let permissions = if random.chance(70) {
            held.permissions
        } else {
            let all = Permissions::all();
            all.iter().filter(|_| random.chance(80)).collect::<Permissions>() & held.permissions
        };
        let c64 = self.arch == Architecture::Morello && executable && random.chance(50);
        let sentry = (executable && random.chance(50)) || random.chance(4);
        let how = Derivation {
            base,
            length: size,
            permissions,
            address: address | u64::from(c64),
            sentry,
        };
        derive(self.arch, parent, &how)
    }

    fn wish(&self, random: &mut Random, parent: Raw, held: &Decoded) -> Raw {
        let how = Derivation {
            base: held.base,
            length: u64::try_from(held.length()).unwrap_or(u64::MAX),
            permissions: held.permissions,
            address: *random.pick(&self.foreign),
            sentry: false,
        };
        let (low, high, _) = derive(self.arch, parent, &how);
        (low, high, false)
    }

    /// What a register or a granule begins with.
    pub(super) fn value(&self, random: &mut Random) -> Raw {
        if random.chance(40) {
            self.integer(random)
        } else {
            self.capability(random)
        }
    }
}
