//! Several cVMs that play an attack together.

use abi::Errno::{ECONNREFUSED, ECONNRESET, ETIMEDOUT};
use abi::Hostcall::{self, Delegate, Read, Serve, Write, Yield};
use tests::Platform;
use tests::code::assembler::Register::{self, Argument, Scratch};
use tests::code::attack::{Attacker, UNPUNISHED};
use tools::elf::synthesis::Elf;
use tools::manifest::CvmSpec;

use crate::catalogue::{Attack, Expected, Means};

/// Nanoseconds that a hostcall of the honest client may take.
pub(crate) const BUDGET: u64 = 2_000_000;
/// Bytes that it lends.
pub(crate) const LENT: u32 = 64;

/// An attack that several cVMs play.
pub(crate) const fn play(
    name: &'static str,
    what: &'static str,
    expected: Expected,
    cast: fn(Platform) -> Vec<Role>,
) -> Attack {
    Attack {
        name,
        what,
        means: Means::Cast(cast),
        expected,
    }
}

/// A cVM and its program.
pub(crate) struct Role {
    /// What the manifest says of it.
    pub(crate) spec: CvmSpec,
    /// Its program.
    pub(crate) elf: Elf,
    /// How it ends, as the summary says it, unless it attacks.
    pub(crate) ending: &'static str,
}

/// A cVM with this program.
pub(crate) fn role(platform: Platform, name: &str, program: impl FnOnce(&mut Attacker)) -> Role {
    let mut attacker = Attacker::new(platform);
    program(&mut attacker);
    Role {
        spec: CvmSpec::new(name, name),
        elf: attacker.elf(),
        ending: "exited 0",
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

    /// Runs with this priority.
    pub(crate) fn with_priority(mut self, priority: u32) -> Role {
        self.spec.priority = priority;
        self
    }

    /// Ends in another way than by an exit with 0.
    pub(crate) fn ending(mut self, ending: &'static str) -> Role {
        self.ending = ending;
        self
    }

    /// Lies within another one.
    pub(crate) fn within(mut self, outer: &str) -> Role {
        self.spec.within = Some(outer.to_owned());
        self
    }
}

/// A cVM that serves until all its clients have ended, by a handler.
pub(crate) fn server(platform: Platform, name: &str, handler: impl FnOnce(&mut Attacker)) -> Role {
    role(platform, name, |a| {
        a.hostcall(Serve).exit(0);
        a.handler();
        attacked(a);
        handler(a);
    })
}

/// Delegates all hostcalls but `null`, `write` and `read`.
pub(crate) fn attacked(a: &mut Attacker) {
    let (number, other) = (Register::Number(if a.is_riscv() { 17 } else { 8 }), Scratch(9));
    a.add(other, number, -(Write as i64)).branch_not_zero(other, 8).jump(32);
    a.add(other, number, -(Read as i64)).branch_not_zero(other, 8).jump(20);
    a.branch_not_zero(number, 8).jump(12).hostcall(Delegate);
}

/// One that answers every call with 1.
pub(crate) fn honest_server(platform: Platform) -> Role {
    server(platform, "honest", |a| {
        a.reply(1);
    })
}

/// The honest client of a server.
pub(crate) fn client(platform: Platform, server: &str, program: impl FnOnce(&mut Attacker)) -> Role {
    role(platform, "client", |a| {
        // The server first comes to serve.
        a.hostcall(Yield);
        program(a);
    })
    .served_by(server)
    .budget(BUDGET)
}

/// Lends the start of the data, which then must hold what it held.
pub(crate) fn lend(a: &mut Attacker, call: Hostcall, length: u32) {
    a.data_address(Argument(1))
        .set(Argument(0), u32::from(call == Write))
        .set(Argument(2), length)
        .set(Argument(3), 0)
        .hostcall(call);
}

/// Writes; the answer must be this.
pub(crate) fn writes(a: &mut Attacker, answer: u64) {
    lend(a, Write, LENT);
    a.constant(Scratch(3), answer)
        .must_be_equal(Argument(0), Scratch(3), 20)
        .exit(0);
}

/// Writes; the answer must be that there was none in time, and soon.
pub(crate) fn times_out(a: &mut Attacker) {
    lend(a, Write, LENT);
    a.add(Argument(0), Argument(0), ETIMEDOUT as i64)
        .must_be_zero(Argument(0), 20)
        .exit(0);
}

/// Writes; the server dies of it, and is then no longer there.
pub(crate) fn abandoned(a: &mut Attacker) {
    lend(a, Write, LENT);
    a.add(Argument(0), Argument(0), ECONNRESET as i64)
        .must_be_zero(Argument(0), 20);
    lend(a, Write, LENT);
    a.add(Argument(0), Argument(0), ECONNREFUSED as i64)
        .must_be_zero(Argument(0), 21)
        .exit(0);
}

/// `to` = the capability over the service stack, 16 bytes below its top.
pub(crate) fn below_the_top(a: &mut Attacker, to: Register) {
    let stack = a.service_stack();
    a.constant(to, 16_u64.wrapping_neg()).offset(to, stack, to);
}

/// Finds nothing tagged at the top of the service stack, and stores there what was lent.
pub(crate) fn keep_on_stack(a: &mut Attacker) {
    let (place, found) = (Scratch(2), Scratch(1));
    below_the_top(a, place);
    a.load_capability_through(found, place)
        .must_be_untagged(found, UNPUNISHED)
        .store_capability_through(Argument(1), place);
}

/// The absolute address in a register as one for loads.
pub(crate) fn absolute_to_integer(a: &mut Attacker, address: Register) {
    if a.relocates() {
        // From where DDC points to, which is a page below its bounds.
        a.read_ddc(Scratch(8)).subtract_register(address, Scratch(8));
    }
}
