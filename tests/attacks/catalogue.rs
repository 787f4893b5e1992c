//! What an entry of the catalogue says.

use crate::cast::Role;
use abi::{Errno, FaultKind};
use tests::Platform;
use tests::code::attack::Attacker;
use tools::Architecture;
use tools::elf::synthesis::{Elf, Load};
use tools::manifest::CvmSpec;

/// Attacks of one kind.
pub(crate) struct Group {
    /// What they have in common; a heading of the list.
    pub title: &'static str,
    /// What is promised, by its number in the threat model, and said in a sentence.
    pub promise: &'static str,
    /// The attacks.
    pub attacks: &'static [Attack],
}

/// One attack.
pub(crate) struct Attack {
    /// Name, of the hostile cVM too.
    pub name: &'static str,
    /// What is tried.
    pub what: &'static str,
    /// How.
    pub means: Means,
    /// What must come of it.
    pub expected: Expected,
}

/// How an attack is made.
pub(crate) enum Means {
    /// A program, in one image with the others of its group.
    Program(fn(&mut Attacker)),
    /// As [`Means::Program`], as a purecap program.
    Purecap(fn(&mut Attacker)),
    /// As [`Means::Program`], restarted once after a fault.
    Twice(fn(&mut Attacker)),
    /// These instructions, one in each life of a program, in one image with the others of its group.
    Lives(fn(&Attacker) -> Vec<u32>),
    /// A program that takes what it can get, in an image of its own.
    Storm(Storm),
    /// Several cVMs, of which one has the name of the attack, in an image of their own with the victim.
    Cast(fn(Platform) -> Vec<Role>),
    /// As [`Means::Cast`], with a victim that looks at the clock.
    Siege(Siege),
    /// A client of a driver, in one image with the others of its group: the ways that its program tries, and what it may do with its
    /// part of the device.
    Client(&'static str, &'static str),
    /// As [`Means::Cast`], out of an initrd that leaves secrets in memory.
    Relics(fn(Platform) -> Vec<Role>),
    /// The least program with other segments and other wishes, in an image of its own.
    Greed(fn(&mut Vec<Load>, CvmSpec) -> CvmSpec),
    /// A file that is no honest program, and what the manifest says of it, in an image of its own.
    File(fn(Platform, CvmSpec) -> (CvmSpec, Elf)),
}

/// A program that takes what it can get.
pub(crate) struct Storm {
    /// The program.
    pub program: fn(&mut Attacker),
    /// How many cVMs run it.
    pub copies: usize,
    /// What the manifest says about each of them.
    pub spec: fn(CvmSpec) -> CvmSpec,
    /// The longest time in microseconds that the victim may have to wait when it could go on.
    pub patience: u64,
}

/// Several cVMs that take what they can get together.
pub(crate) struct Siege {
    /// Who they are; one has the name of the attack.
    pub cast: fn(Platform) -> Vec<Role>,
    /// The longest time in microseconds that the victim may have to wait when it could go on.
    pub patience: u64,
}

/// What must become of an attack on each kind of processor.
pub(crate) struct Expected {
    v9: Fate,
    v8: Fate,
    morello: Fate,
    /// On `qemu-system-riscv64xcheri`, where that differs from ISAv9 elsewhere.
    alliance: Option<Fate>,
}

/// What must become of an attack.
#[derive(Clone, Copy)]
pub(crate) enum Fate {
    /// It is killed for this.
    Killed(FaultKind),
    /// It is killed for one of these: the processors differ in what they check first.
    KilledForOne(&'static [FaultKind]),
    /// Each of its lives is killed for one of these.
    EachKilled(&'static [FaultKind]),
    /// It ends by itself, having checked that it got nothing, and exits with 0.
    Nothing,
    /// The hostcall that it makes returns this error, with which it exits.
    Error(Errno),
    /// The hostcall that it makes returns this value, with which it exits.
    Value(i32),
    /// It ends by itself or by its own fault, having been started again so often.
    EachStarted(u32),
    /// Nothing is started, with a message that contains this.
    Refused(&'static str),
    /// There is no such thing on this processor.
    Absent,
}

impl Expected {
    /// On this platform.
    pub(crate) fn on(&self, platform: Platform) -> Fate {
        match platform.arch() {
            Architecture::Morello => self.morello,
            Architecture::CheriRiscv if platform.relocates() => self.v8,
            Architecture::CheriRiscv if platform == Platform::QemuXcheri => self.alliance.unwrap_or(self.v9),
            Architecture::CheriRiscv => self.v9,
        }
    }

    /// The same, but for `qemu-system-riscv64xcheri`.
    pub(crate) const fn but_alliance(self, fate: Fate) -> Expected {
        Expected {
            alliance: Some(fate),
            ..self
        }
    }

    /// On ISAv9, ISAv8 and Morello.
    pub(crate) fn all(&self) -> [Fate; 3] {
        [self.v9, self.v8, self.morello]
    }
}

/// The same everywhere.
pub(crate) const fn everywhere(fate: Fate) -> Expected {
    each(fate, fate, fate)
}

/// On ISAv9, ISAv8 and Morello.
pub(crate) const fn each(v9: Fate, v8: Fate, morello: Fate) -> Expected {
    Expected {
        v9,
        v8,
        morello,
        alliance: None,
    }
}

/// On CHERI-RISC-V and on Morello.
pub(crate) const fn either(riscv: Fate, morello: Fate) -> Expected {
    each(riscv, riscv, morello)
}

/// Killed everywhere for the same.
pub(crate) const fn killed(kind: FaultKind) -> Expected {
    everywhere(Fate::Killed(kind))
}

/// Instructions that no cVM may execute.
pub(crate) const fn lives(
    name: &'static str,
    what: &'static str,
    expected: Expected,
    words: fn(&Attacker) -> Vec<u32>,
) -> Attack {
    Attack {
        name,
        what,
        means: Means::Lives(words),
        expected,
    }
}

/// A program of a group.
pub(crate) const fn program(
    name: &'static str,
    what: &'static str,
    expected: Expected,
    program: fn(&mut Attacker),
) -> Attack {
    Attack {
        name,
        what,
        means: Means::Program(program),
        expected,
    }
}
