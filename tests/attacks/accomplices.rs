//! Attacks by a server with an accomplice: a cVM within it, or one that serves such a one, to which it hands what it is lent.

use abi::Errno::{ECONNREFUSED, ECONNRESET, ETIMEDOUT};
use abi::FaultKind::Illegal;
use abi::Hostcall::{self, Clock, Delegate, Nanosleep, Null, Read, Serve, Write, Yield};
use tests::Platform;
use tests::code::assembler::Register::{self, Argument, Number, Scratch, Stack};
use tests::code::attack::{Attacker, SECRET, UNPUNISHED};

use crate::cast::{LENT, Role, attacked, below_the_top, lend, play, role, server};
use crate::catalogue::Fate::Nothing;
use crate::catalogue::{Attack, Group, everywhere, killed};

pub(crate) const GROUP: Group = Group {
    title: "Serving others with an accomplice",
    promise: "7: what is lent for one call is gone with the call from the whole family of the server, and from whoever they lent it to",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);
/// What was lent, in the hands of the accomplice.
pub(crate) const KEPT: Register = Scratch(3);
/// The words by which both talk: an integer address of each one's own.
const MAILBOX: Register = Scratch(4);
/// The accomplice's own DDC, its address the mailbox's.
const OWN: Register = Scratch(5);

const MILLISECOND: u64 = 1_000_000;
/// Where outer and inner cVM lie, from the start of the RAM, and bytes of either.
const OUTER: u64 = 0x0600_0000;
const INNER: u64 = 0x0602_0000;
const OUTER_SIZE: u64 = 0x4_0000;
const INNER_SIZE: u64 = 0x1_0000;
/// Bytes of the mailbox, at the end of the inner cVM's memory.
const MAILBOX_SIZE: u64 = 256;
/// In the mailbox: the server's DDC; where what was lent is; whether it is there; whether it was taken; whether the call is
/// about to end.
const DDC: i64 = 0;
const PLACE: i64 = 16;
const GIVEN: i64 = 24;
const TAKEN: i64 = 32;
const OVER: i64 = 40;

/// Exit code of an accomplice that was handed nothing: the attack is broken.
const EMPTY_HANDED: u32 = 2;

const ATTACKS: &[Attack] = &[
    play(
        "accomplice-writes",
        "let a cVM within take what was lent into a register, and write through it after the call",
        everywhere(Nothing),
        |platform| {
            let inner = accomplice(
                platform,
                "accomplice-writes",
                |_| (),
                |a| {
                    // Exits unpunished when it can.
                    a.tag_of(A, KEPT).branch_not_zero(A, 8).jump(8).jump(16).exit(0);
                    a.constant(B, SECRET).store_through(B, KEPT).exit(UNPUNISHED);
                },
            );
            cast(platform, inner, reads)
        },
    ),
    play(
        "accomplice-keeps-in-registers",
        "the same with every register, and with what can be derived from it: less, elsewhere, sealed",
        everywhere(Nothing),
        |platform| {
            let inner = accomplice(platform, "accomplice-keeps-in-registers", fill_registers, |a| {
                for number in free_registers(a) {
                    a.must_be_untagged(Number(number), UNPUNISHED);
                }
                a.must_be_untagged(KEPT, UNPUNISHED);
            });
            cast(platform, inner, reads)
        },
    ),
    play(
        "accomplice-keeps-in-ddc",
        "the same with DDC, the stack pointer and the thread pointer",
        everywhere(Nothing),
        |platform| {
            let name = "accomplice-keeps-in-ddc";
            let inner = accomplice(platform, name, fill_special_registers, nothing_in_special_registers);
            cast(platform, inner, reads)
        },
    ),
    play(
        "accomplice-waits-in-call",
        "the same with the arguments of a hostcall that waits for the server: the next call hands it back",
        everywhere(Nothing),
        |platform| {
            let name = "accomplice-waits-in-call";
            let inner = role(platform, "inner", |a| {
                take(a);
                a.copy(Argument(1), KEPT).set(Argument(0), 0).set(Argument(2), 8);
                say(a, TAKEN);
                a.hostcall(Null).exit(0);
            });
            let outer = server(platform, name, |a| {
                // The second call is that of the accomplice, whose arguments hold nothing any more.
                a.data_address(A).load(B, A, 0).when_not_zero(B, |a| {
                    a.must_be_untagged(Argument(1), UNPUNISHED).reply(0);
                });
                a.set(B, 1).store(B, A, 0);
                give(a);
                a.call(Nanosleep, &[MILLISECOND]).reply(u64::from(LENT));
            });
            family(platform, outer, inner, client(platform, name, reads))
        },
    ),
    play(
        "accomplice-keeps-when-late",
        "the same when the server does not answer in time",
        everywhere(Nothing),
        |platform| {
            let mut client = client(platform, "outer", |a| {
                lend(a, Read, LENT);
                a.add(Argument(0), Argument(0), ETIMEDOUT as i64)
                    .must_be_zero(Argument(0), 20);
                stays_unchanged(a);
            });
            client.spec.call_budget = 10 * MILLISECOND;
            let outer = server(platform, "outer", |a| {
                give(a);
                say(a, OVER);
                a.call(Nanosleep, &[1000 * MILLISECOND]).exit(UNPUNISHED);
            });
            let inner = accomplice(
                platform,
                "accomplice-keeps-when-late",
                fill_registers,
                nothing_in_registers,
            );
            family(platform, outer, inner, client)
        },
    ),
    play(
        "accomplice-keeps-when-delegated",
        "the same when the server passes the call on to the monitor",
        everywhere(Nothing),
        |platform| {
            let outer = server(platform, "outer", |a| {
                give(a);
                say(a, OVER);
                a.hostcall(Delegate).exit(UNPUNISHED);
            });
            let inner = accomplice(
                platform,
                "accomplice-keeps-when-delegated",
                fill_registers,
                nothing_in_registers,
            );
            let client = client(platform, "outer", |a| {
                a.data = b"a message of the client, passed on to the monitor by its server\n".to_vec();
                lend(a, Write, LENT);
                a.add(Argument(0), Argument(0), -i64::from(LENT))
                    .must_be_zero(Argument(0), 20)
                    .exit(0);
            });
            family(platform, outer, inner, client)
        },
    ),
    play(
        "accomplice-keeps-over-a-fault",
        "the same when the server faults in the call",
        killed(Illegal),
        |platform| {
            let name = "accomplice-keeps-over-a-fault";
            let outer = server(platform, name, |a| {
                give(a);
                say(a, OVER);
                a.illegal();
            });
            let inner = accomplice(platform, "inner", fill_registers, nothing_in_registers);
            let client = client(platform, name, |a| {
                lend(a, Read, LENT);
                a.add(Argument(0), Argument(0), ECONNRESET as i64)
                    .must_be_zero(Argument(0), 20);
                lend(a, Read, LENT);
                a.add(Argument(0), Argument(0), ECONNREFUSED as i64)
                    .must_be_zero(Argument(0), 21)
                    .exit(0);
            });
            family(platform, outer, inner, client)
        },
    ),
    play(
        "accomplice-keeps-second-hand",
        "the same with what a server between lent on, when the first caller waits no longer",
        everywhere(Nothing),
        |platform| {
            let mut client = client(platform, "between", |a| {
                lend(a, Read, LENT);
                a.add(Argument(0), Argument(0), ETIMEDOUT as i64)
                    .must_be_zero(Argument(0), 20);
                stays_unchanged(a);
            });
            client.spec.call_budget = 10 * MILLISECOND;
            let between = server(platform, "between", |a| {
                a.hostcall(Read)
                    .set(Argument(1), 0)
                    .set(Argument(2), 0)
                    .hostcall(Hostcall::Reply);
            });
            let outer = server(platform, "outer", |a| {
                give(a);
                say(a, OVER);
                a.call(Nanosleep, &[1000 * MILLISECOND]).exit(UNPUNISHED);
            });
            let inner = accomplice(
                platform,
                "accomplice-keeps-second-hand",
                fill_registers,
                nothing_in_registers,
            );
            let mut cast = family(platform, outer, inner, client);
            cast.push(between.served_by("outer"));
            cast
        },
    ),
    play(
        "accomplice-keeps-on-its-stack",
        "the same with the service stack of a cVM within, which serves another one within, in that one's call",
        everywhere(Nothing),
        |platform| {
            let name = "accomplice-keeps-on-its-stack";
            let inner = role(platform, name, |a| {
                a.hostcall(Serve).exit(0);
                a.handler();
                attacked(a);
                take(a);
                below_the_top(a, C);
                a.store_capability_through(KEPT, C).load_capability_through(A, C);
                is_tagged(a, A);
                a.set(KEPT, 0).set(A, 0);
                say(a, TAKEN);
                wait_for(a, OVER);
                // Its hostcall is served after the call.
                a.hostcall(Clock)
                    .load_capability_through(A, C)
                    .must_be_untagged(A, UNPUNISHED)
                    .reply(0);
            });
            let pawn = role(platform, "pawn", |a| {
                a.hostcall(Null).exit(0);
            });
            let mut cast = cast(platform, inner, reads);
            cast.push(pawn.served_by(name).within("outer"));
            cast
        },
    ),
    play(
        "accomplice-leaves-its-stack",
        "take the capability over the service stack of a cVM within, and keep there what is lent when that one has ended for good",
        everywhere(Nothing),
        |platform| {
            let name = "accomplice-leaves-its-stack";
            // The inner cVM serves one call, in which it gives its stack away, and is gone.
            let inner = role(platform, "inner", |a| {
                a.hostcall(Serve).exit(0);
                a.handler();
                attacked(a);
                a.end_of_memory(MAILBOX).add(MAILBOX, MAILBOX, -(MAILBOX_SIZE as i64));
                below_the_top(a, C);
                a.store_capability(C, MAILBOX, DDC);
                say(a, GIVEN);
                a.exit(0);
            });
            let pawn = role(platform, "pawn", |a| {
                a.hostcall(Null).exit(0);
            });
            let outer = server(platform, name, |a| {
                let mailbox = a.platform.ram() + INNER + INNER_SIZE - MAILBOX_SIZE;
                a.address(MAILBOX, mailbox);
                // The second call looks for what the first one has left.
                a.data_address(A).load(B, A, 0).when_not_zero(B, |a| {
                    a.load_capability(C, MAILBOX, DDC).load_capability_through(KEPT, C);
                    a.must_be_untagged(KEPT, UNPUNISHED).reply(u64::from(LENT));
                });
                a.set(B, 1).store(B, A, 0);
                let start = a.here();
                a.hostcall(Yield)
                    .load(B, MAILBOX, GIVEN)
                    .branch_not_zero(B, 8)
                    .repeat(start);
                a.call(Nanosleep, &[2 * MILLISECOND])
                    .load_capability(C, MAILBOX, DDC)
                    .tag_of(B, C)
                    .add(B, B, -1)
                    .must_be_zero(B, EMPTY_HANDED);
                a.store_capability_through(Argument(1), C)
                    .load_capability_through(KEPT, C)
                    .tag_of(B, KEPT)
                    .add(B, B, -1)
                    .must_be_zero(B, EMPTY_HANDED);
                a.set(KEPT, 0).reply(u64::from(LENT));
            });
            let client = client(platform, name, |a| {
                lend(a, Read, LENT);
                reads(a);
            });
            let mut cast = family(platform, outer, inner, client);
            cast.push(pawn.served_by("inner").within(name));
            cast
        },
    ),
    play(
        "accomplice-lends-on",
        "lend on from a cVM within, in a call of its own, to a server outside of the family",
        everywhere(Nothing),
        |platform| {
            let name = "accomplice-lends-on";
            let far = server(platform, name, |a| {
                // Only the accomplice lends; its hostcall here is served after the client's call.
                is_tagged(a, Argument(1));
                a.copy(KEPT, Argument(1));
                below_the_top(a, C);
                a.store_capability_through(KEPT, C).hostcall(Clock);
                a.must_be_untagged(KEPT, UNPUNISHED).load_capability_through(A, C);
                a.must_be_untagged(A, UNPUNISHED).reply(0);
            });
            let inner = role(platform, "inner", |a| {
                take(a);
                say(a, TAKEN);
                a.copy(Argument(1), KEPT)
                    .set(Argument(0), 0)
                    .set(Argument(2), 8)
                    .hostcall(Null)
                    .exit(0);
            });
            let outer = server(platform, "outer", |a| {
                give(a);
                a.call(Nanosleep, &[4 * MILLISECOND]).reply(u64::from(LENT));
            });
            let mut cast = family(platform, outer, inner.served_by(name), client(platform, "outer", reads));
            cast.push(far.served_by("outer"));
            cast
        },
    ),
];

/// The outer cVM, which serves the client, the inner one, and the client.
fn family(platform: Platform, mut outer: Role, mut inner: Role, client: Role) -> Vec<Role> {
    outer.spec.isolation_base = Some(platform.ram() + OUTER);
    outer.spec.isolation_size = Some(OUTER_SIZE);
    inner.spec.isolation_base = Some(platform.ram() + INNER);
    inner.spec.isolation_size = Some(INNER_SIZE);
    let name = outer.spec.name.clone();
    if !inner.spec.is_served() {
        inner = inner.served_by(&name);
    }
    vec![outer, inner.within(&name), client]
}

/// The same with an outer cVM that answers when the inner one has taken what was lent.
fn cast(platform: Platform, inner: Role, program: fn(&mut Attacker)) -> Vec<Role> {
    let outer = server(platform, "outer", |a| {
        give(a);
        say(a, OVER);
        a.reply(u64::from(LENT));
    });
    family(platform, outer, inner, client(platform, "outer", program))
}

/// The honest client: its server is left time to serve, and the accomplice to take.
fn client(platform: Platform, server: &str, program: impl FnOnce(&mut Attacker)) -> Role {
    role(platform, "client", |a| {
        a.hostcall(Yield);
        program(a);
    })
    .served_by(server)
    .budget(200 * MILLISECOND)
}

/// Lends its data to be written; nothing is written after the call.
fn reads(a: &mut Attacker) {
    lend(a, Read, LENT);
    a.add(Argument(0), Argument(0), -i64::from(LENT))
        .must_be_zero(Argument(0), 20);
    stays_unchanged(a);
}

/// Looks at the data, which is zero, for a while, and exits with 0.
fn stays_unchanged(a: &mut Attacker) {
    a.set(C, 10).data_address(A);
    let start = a.here();
    a.call(Nanosleep, &[MILLISECOND]).load(B, A, 0);
    a.must_be_zero(B, 30).count_down(C, start).exit(0);
}

/// A cVM that takes what its outer one was lent, keeps it, and looks after the call whether it still has it.
fn accomplice(platform: Platform, name: &str, keep: fn(&mut Attacker), look: fn(&mut Attacker)) -> Role {
    role(platform, name, |a| {
        take(a);
        keep(a);
        say_through(a, TAKEN);
        let start = a.here();
        a.set(A, OVER as u32).offset(A, OWN, A).load_through(B, A);
        a.branch_not_zero(B, 8).repeat(start);
        // Its hostcalls are served after the call.
        a.hostcall(Clock);
        look(a);
        a.exit(0);
    })
}

/// In the handler: puts what is lent on the service stack, tells the inner cVM where it is and how to get there, and waits
/// until it was taken.
fn give(a: &mut Attacker) {
    below_the_top(a, C);
    a.store_capability_through(Argument(1), C);
    let mailbox = a.platform.ram() + INNER + INNER_SIZE - MAILBOX_SIZE;
    a.address(MAILBOX, mailbox)
        .read_ddc(B)
        .store_capability(B, MAILBOX, DDC);
    a.address_of(B, C).store(B, MAILBOX, PLACE);
    say(a, GIVEN);
    let start = a.here();
    a.hostcall(Yield)
        .load(B, MAILBOX, TAKEN)
        .branch_not_zero(B, 8)
        .repeat(start);
}

/// In the inner cVM: waits for what the outer one was lent, and takes it.
fn take(a: &mut Attacker) {
    a.end_of_memory(MAILBOX).add(MAILBOX, MAILBOX, -(MAILBOX_SIZE as i64));
    wait_for(a, GIVEN);
    a.load_capability(C, MAILBOX, DDC)
        .load(B, MAILBOX, PLACE)
        .set_address(C, C, B);
    a.load_capability_through(KEPT, C);
    is_tagged(a, KEPT);
    a.read_ddc(OWN);
    if a.relocates() {
        a.offset(OWN, OWN, MAILBOX);
    } else {
        a.set_address(OWN, OWN, MAILBOX);
    }
    a.set(C, 0);
}

/// Exits when the register holds no capability.
fn is_tagged(a: &mut Attacker, register: Register) {
    a.tag_of(B, register).add(B, B, -1).must_be_zero(B, EMPTY_HANDED);
}

/// Sets a word of the mailbox.
fn say(a: &mut Attacker, word: i64) {
    a.set(B, 1).store(B, MAILBOX, word);
}

/// The same, whatever DDC is.
fn say_through(a: &mut Attacker, word: i64) {
    a.set(A, word as u32).offset(A, OWN, A).set(B, 1).store_through(B, A);
}

/// Waits until a word of the mailbox is set, without a hostcall.
fn wait_for(a: &mut Attacker, word: i64) {
    let start = a.here();
    a.load(B, MAILBOX, word).branch_not_zero(B, 8).repeat(start);
}

/// Registers that neither hostcalls nor the accomplice's own steps need.
pub(crate) fn free_registers(a: &Attacker) -> Vec<u32> {
    let used: Vec<u32> = [A, B, C, KEPT, MAILBOX, OWN, Scratch(9)]
        .map(|register| a.number(register))
        .to_vec();
    let (all, calling) = if a.is_riscv() { (1..32, 17) } else { (1..31, 8) };
    all.filter(|number| *number != calling && *number != a.number(Argument(0)) && !used.contains(number))
        .collect()
}

/// What was lent goes into all registers, in one of four forms each.
pub(crate) fn fill_registers(a: &mut Attacker) {
    for number in free_registers(a) {
        let register = Number(number);
        match number % 4 {
            0 => a.copy(register, KEPT),
            1 => a.set(A, 8).set_bounds(register, KEPT, A),
            2 => a.set(A, 2047).offset(register, KEPT, A),
            _ => a.seal_entry(register, KEPT),
        };
    }
}

pub(crate) fn nothing_in_registers(a: &mut Attacker) {
    for number in free_registers(a) {
        a.must_be_untagged(Number(number), UNPUNISHED);
    }
    a.must_be_untagged(KEPT, UNPUNISHED);
}

/// What was lent goes into DDC, the stack pointer and the thread pointer.
pub(crate) fn fill_special_registers(a: &mut Attacker) {
    if a.is_riscv() {
        a.copy(Stack, KEPT).copy(Number(4), KEPT);
    } else {
        let kept = a.number(KEPT);
        // ADD CSP, KEPT, #0; MSR CTPIDR_EL0, KEPT
        a.push(0x0200_001f | kept << 5).push(0xc28b_d040 | kept);
    }
    a.write_ddc(KEPT).set(KEPT, 0);
}

pub(crate) fn nothing_in_special_registers(a: &mut Attacker) {
    a.tag_in_ddc(A).must_be_zero(A, UNPUNISHED);
    if a.is_riscv() {
        a.must_be_untagged(Stack, UNPUNISHED)
            .must_be_untagged(Number(4), UNPUNISHED);
    } else {
        // ADD c19, CSP, #0; MRS c20, CTPIDR_EL0
        a.push(0x0200_03e0 | 19).must_be_untagged(Number(19), UNPUNISHED);
        a.push(0xc29b_d040 | 20).must_be_untagged(Number(20), UNPUNISHED);
    }
}
