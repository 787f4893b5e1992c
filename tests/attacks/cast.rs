//! Several cVMs that play an attack together.

use tests::Platform;
use tests::code::attack::Attacker;
use tools::elf::synthesis::Elf;
use tools::manifest::CvmSpec;

/// A cVM and its program.
pub(crate) struct Role {
    /// What the manifest says of it.
    pub(crate) spec: CvmSpec,
    /// Its program.
    pub(crate) elf: Elf,
}

/// A cVM with this program.
pub(crate) fn role(platform: Platform, name: &str, program: impl FnOnce(&mut Attacker)) -> Role {
    let mut attacker = Attacker::new(platform);
    program(&mut attacker);
    Role {
        spec: CvmSpec::new(name, name),
        elf: attacker.elf(),
    }
}

impl Role {
    /// Has its hostcalls served by another one.
    pub(crate) fn served_by(mut self, server: &str) -> Role {
        self.spec.callback_out = server.to_owned();
        self
    }

    /// Nanoseconds that its hostcalls may take.
    pub(crate) fn budget(mut self, budget: u64) -> Role {
        self.spec.call_budget = budget;
        self
    }

    /// Lies within another one.
    pub(crate) fn within(mut self, outer: &str) -> Role {
        self.spec.within = Some(outer.to_owned());
        self
    }
}
