//! Attacks by who serves the hostcalls of others, and on who does.

use abi::Errno::{ECONNREFUSED, ECONNRESET, EFAULT, EPERM, ETIMEDOUT};
use abi::FaultKind::{Bounds, Illegal, Permission, Tag};
use abi::Hostcall::{self, Clock, Delegate, Info, Nanosleep, Null, Read, Serve, Write, Yield};
use abi::hostcall::Family;
use tests::Platform;
use tests::code::assembler::Register::{self, Argument, Scratch, Stack};
use tests::code::attack::{Attacker, SECRET, UNPUNISHED};

use crate::cast::{Role, role};
use crate::catalogue::Fate::{Killed, KilledForOne, Nothing, Refused};
use crate::catalogue::{Attack, Expected, Group, Means, each, everywhere, killed};

pub(crate) const GROUP: Group = Group {
    title: "Serving and being served",
    promise: "1, 4: what a client lends to its server is lent for one call and for data only; each gets an answer or an error in time, whatever the other does",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);
const D: Register = Scratch(3);

/// Nanoseconds that a hostcall of the honest client may take.
const BUDGET: u64 = 2_000_000;
/// Bytes that it lends.
const LENT: u32 = 64;
/// What it answers with: something that is neither an address nor an error.
const LIE: u64 = 0x7fff_ffff_ffff_0123;

const fn play(name: &'static str, what: &'static str, expected: Expected, cast: fn(Platform) -> Vec<Role>) -> Attack {
    Attack {
        name,
        what,
        means: Means::Cast(cast),
        expected,
    }
}

const ATTACKS: &[Attack] = &[
    play(
        "server-lies",
        "answer with a number that no call returns: it arrives as an integer",
        everywhere(Nothing),
        |platform| {
            let liar = server(platform, "server-lies", |a| {
                a.reply(LIE);
            });
            vec![liar, client(platform, "server-lies", |a| writes(a, LIE))]
        },
    ),
    play(
        "server-answers-with-capability",
        "answer with the own DDC as both values",
        everywhere(Nothing),
        |platform| {
            let liar = server(platform, "server-answers-with-capability", |a| {
                a.read_ddc(Argument(0))
                    .read_ddc(Argument(1))
                    .set(Argument(2), 1)
                    .hostcall(Hostcall::Reply);
            });
            vec![
                liar,
                client(platform, "server-answers-with-capability", |a| {
                    lend(a, Write, LENT);
                    a.must_be_untagged(Argument(0), 10)
                        .must_be_untagged(Argument(1), 11)
                        .exit(0);
                }),
            ]
        },
    ),
    play(
        "server-changes-registers",
        "answer, after filling all registers: the client's survive",
        everywhere(Nothing),
        |platform| {
            let liar = server(platform, "server-changes-registers", |a| {
                for number in (3..29).filter(|number| ![10, 11, 12, 17].contains(number)) {
                    a.set(Register::Number(number), 99);
                }
                a.reply(7);
            });
            vec![
                liar,
                client(platform, "server-changes-registers", |a| {
                    for number in 0..6 {
                        a.set(Scratch(number), 500 + number);
                    }
                    a.read_ddc(Scratch(6));
                    lend(a, Write, LENT);
                    a.add(Argument(0), Argument(0), -7).must_be_zero(Argument(0), 10);
                    for number in 0..6 {
                        a.add(Scratch(number), Scratch(number), -(500 + i64::from(number)));
                        a.must_be_zero(Scratch(number), 11);
                    }
                    a.tag_of(A, Scratch(6)).add(A, A, -1).must_be_zero(A, 12).exit(0);
                }),
            ]
        },
    ),
    play(
        "server-never-answers",
        "compute for ever in the handler",
        everywhere(Nothing),
        |platform| {
            let silent = server(platform, "server-never-answers", |a| {
                let start = a.here();
                a.repeat(start);
            });
            vec![silent, client(platform, "server-never-answers", |a| times_out(a))]
        },
    ),
    play(
        "server-sleeps",
        "sleep in the handler for longer than the budget",
        everywhere(Nothing),
        |platform| {
            let silent = server(platform, "server-sleeps", |a| {
                a.call(Nanosleep, &[1_000_000_000]).reply(0);
            });
            vec![silent, client(platform, "server-sleeps", |a| times_out(a))]
        },
    ),
    play(
        "server-never-serves",
        "be named as server and never serve",
        everywhere(Nothing),
        |platform| {
            let mut silent = role(platform, "server-never-serves", |a| {
                a.call(Nanosleep, &[8_000_000]).exit(0);
                a.handler().hostcall(Delegate);
            });
            silent.spec.priority = 3;
            vec![silent, client(platform, "server-never-serves", |a| times_out(a))]
        },
    ),
    play(
        "server-serves-in-handler",
        "serve in the handler, answer outside of it",
        everywhere(Nothing),
        |platform| {
            let again = server(platform, "server-serves-in-handler", |a| {
                a.hostcall(Serve);
                a.add(Argument(0), Argument(0), EPERM as i64)
                    .must_be_zero(Argument(0), UNPUNISHED)
                    .reply(5);
            });
            vec![again, client(platform, "server-serves-in-handler", |a| writes(a, 5))]
        },
    ),
    play(
        "server-replies-twice",
        "go on behind the answer and answer again",
        everywhere(Nothing),
        |platform| {
            let twice = server(platform, "server-replies-twice", |a| {
                a.reply(5).reply(6).exit(UNPUNISHED);
            });
            vec![
                twice,
                client(platform, "server-replies-twice", |a| {
                    lend(a, Write, LENT);
                    a.add(Argument(0), Argument(0), -5).must_be_zero(Argument(0), 10);
                    writes(a, 5);
                }),
            ]
        },
    ),
    play(
        "server-exits-in-call",
        "exit in the handler",
        everywhere(Nothing),
        |platform| {
            let gone = server(platform, "server-exits-in-call", |a| {
                a.exit(0);
            });
            vec![gone, client(platform, "server-exits-in-call", |a| abandoned(a))]
        },
    ),
    play(
        "server-faults-in-call",
        "fault in the handler",
        killed(Illegal),
        |platform| {
            let gone = server(platform, "server-faults-in-call", |a| {
                a.illegal();
            });
            vec![gone, client(platform, "server-faults-in-call", |a| abandoned(a))]
        },
    ),
    play(
        "server-keeps-in-data",
        "store what was lent to the own data",
        killed(Permission),
        |platform| {
            let thief = server(platform, "server-keeps-in-data", |a| {
                a.data_address(A).store_capability(Argument(1), A, 0).exit(UNPUNISHED);
            });
            vec![thief, client(platform, "server-keeps-in-data", |a| abandoned(a))]
        },
    ),
    play(
        "server-keeps-sealed",
        "seal what was lent as a sentry and store that",
        killed(Permission),
        |platform| {
            let thief = server(platform, "server-keeps-sealed", |a| {
                a.seal_entry(B, Argument(1))
                    .data_address(A)
                    .store_capability(B, A, 0)
                    .exit(UNPUNISHED);
            });
            vec![thief, client(platform, "server-keeps-sealed", |a| abandoned(a))]
        },
    ),
    play(
        "server-exchanges-into-data",
        "store what was lent by an atomic exchange",
        killed(Permission),
        |platform| {
            let thief = server(platform, "server-exchanges-into-data", |a| {
                a.data_address(A)
                    .exchange_capability(B, Argument(1), A)
                    .exit(UNPUNISHED);
            });
            vec![thief, client(platform, "server-exchanges-into-data", |a| abandoned(a))]
        },
    ),
    play(
        "server-keeps-on-stack",
        "keep what was lent on the service stack until the next call",
        everywhere(Nothing),
        |platform| {
            let thief = server(platform, "server-keeps-on-stack", |a| {
                keep_on_stack(a);
                a.reply(1);
            });
            vec![
                thief,
                client(platform, "server-keeps-on-stack", |a| {
                    lend(a, Write, LENT);
                    a.add(Argument(0), Argument(0), -1).must_be_zero(Argument(0), 10);
                    writes(a, 1);
                }),
            ]
        },
    ),
    play(
        "server-keeps-when-late",
        "keep what was lent on the service stack and let the call run out of time",
        everywhere(Nothing),
        |platform| {
            let thief = server(platform, "server-keeps-when-late", |a| {
                keep_on_stack(a);
                a.call(Nanosleep, &[1_000_000_000]).exit(UNPUNISHED);
            });
            vec![
                thief,
                client(platform, "server-keeps-when-late", |a| {
                    lend(a, Write, LENT);
                    a.add(Argument(0), Argument(0), ETIMEDOUT as i64)
                        .must_be_zero(Argument(0), 10);
                    times_out(a);
                }),
            ]
        },
    ),
    play(
        "server-keeps-for-its-main-thread",
        "look for what was lent when nobody is served any more",
        everywhere(Nothing),
        |platform| {
            let thief = role(platform, "server-keeps-for-its-main-thread", |a| {
                a.hostcall(Serve);
                // The address of the service stack was left in the data by the handler.
                a.data_address(A)
                    .load(B, A, 0)
                    .load_capability(C, B, -16)
                    .must_be_untagged(C, UNPUNISHED)
                    .exit(0);
                a.handler();
                let stack = a.service_stack();
                a.data_address(A).address_of(B, stack);
                absolute_to_integer(a, B);
                a.store(B, A, 0);
                below_the_top(a, C);
                a.store_capability_through(Argument(1), C).reply(1);
            });
            vec![
                thief,
                client(platform, "server-keeps-for-its-main-thread", |a| writes(a, 1)),
            ]
        },
    ),
    play(
        "server-keeps-in-registers",
        "look in the handler's registers for what the call before had",
        everywhere(Nothing),
        |platform| {
            let thief = server(platform, "server-keeps-in-registers", |a| {
                for number in 0..8 {
                    a.must_be_untagged(Scratch(number), UNPUNISHED);
                }
                for number in 0..8 {
                    a.copy(Scratch(number), Argument(1));
                }
                a.reply(1);
            });
            vec![
                thief,
                client(platform, "server-keeps-in-registers", |a| {
                    lend(a, Write, LENT);
                    a.add(Argument(0), Argument(0), -1).must_be_zero(Argument(0), 10);
                    writes(a, 1);
                }),
            ]
        },
    ),
    play(
        "server-reads-beyond",
        "read the byte behind what was lent",
        killed(Bounds),
        |platform| {
            let thief = server(platform, "server-reads-beyond", |a| {
                a.set(A, LENT)
                    .offset(B, Argument(1), A)
                    .load_through(C, B)
                    .exit(UNPUNISHED);
            });
            vec![thief, client(platform, "server-reads-beyond", |a| abandoned(a))]
        },
    ),
    play(
        "server-reads-before",
        "read the word below what was lent",
        killed(Bounds),
        |platform| {
            let thief = server(platform, "server-reads-before", |a| {
                a.set(A, 0)
                    .add(A, A, -8)
                    .offset(B, Argument(1), A)
                    .load_through(C, B)
                    .exit(UNPUNISHED);
            });
            vec![thief, client(platform, "server-reads-before", |a| abandoned(a))]
        },
    ),
    play(
        "server-writes-to-read-only",
        "write to what was lent for reading",
        killed(Permission),
        |platform| {
            let thief = server(platform, "server-writes-to-read-only", |a| {
                a.store_through(A, Argument(1)).exit(UNPUNISHED);
            });
            vec![thief, client(platform, "server-writes-to-read-only", |a| abandoned(a))]
        },
    ),
    play(
        "server-reads-write-only",
        "read from what was lent for writing",
        killed(Permission),
        |platform| {
            let thief = server(platform, "server-reads-write-only", |a| {
                a.load_through(A, Argument(1)).exit(UNPUNISHED);
            });
            vec![
                thief,
                client(platform, "server-reads-write-only", |a| {
                    lend(a, Read, LENT);
                    a.add(Argument(0), Argument(0), ECONNRESET as i64)
                        .must_be_zero(Argument(0), 10)
                        .exit(0);
                }),
            ]
        },
    ),
    play(
        "server-takes-capabilities",
        "load a capability through what was lent",
        killed(Tag),
        |platform| {
            let thief = server(platform, "server-takes-capabilities", |a| {
                a.load_capability_through(A, Argument(1))
                    .load_through(A, A)
                    .exit(UNPUNISHED);
            });
            vec![
                thief,
                client(platform, "server-takes-capabilities", |a| {
                    a.data_address(A).read_ddc(B).store_capability(B, A, 0);
                    abandoned(a);
                }),
            ]
        },
    ),
    play(
        "server-plants-capability",
        "store the own DDC into what was lent for writing",
        killed(Permission),
        |platform| {
            let thief = server(platform, "server-plants-capability", |a| {
                a.read_ddc(A).store_capability_through(A, Argument(1)).exit(UNPUNISHED);
            });
            vec![
                thief,
                client(platform, "server-plants-capability", |a| {
                    lend(a, Read, LENT);
                    a.add(Argument(0), Argument(0), ECONNRESET as i64)
                        .must_be_zero(Argument(0), 10)
                        .exit(0);
                }),
            ]
        },
    ),
    play(
        "server-widens",
        "set greater bounds of what was lent",
        each(Killed(Tag), Killed(Bounds), Killed(Tag)),
        |platform| {
            let thief = server(platform, "server-widens", |a| {
                a.set(A, 128)
                    .set_bounds(B, Argument(1), A)
                    .load_through(A, B)
                    .exit(UNPUNISHED);
            });
            vec![thief, client(platform, "server-widens", |a| abandoned(a))]
        },
    ),
    play(
        "server-makes-ddc",
        "make what was lent the own DDC, answer, and look whether it stays",
        everywhere(Nothing),
        |platform| {
            let thief = server(platform, "server-makes-ddc", |a| {
                // Each call starts with the server's own DDC, which can load its data.
                a.data_address(A).load(A, A, 0).write_ddc(Argument(1)).reply(1);
            });
            vec![
                thief,
                client(platform, "server-makes-ddc", |a| {
                    lend(a, Write, LENT);
                    a.add(Argument(0), Argument(0), -1).must_be_zero(Argument(0), 10);
                    writes(a, 1);
                }),
            ]
        },
    ),
    play(
        "server-lends-on",
        "have the monitor write to what was lent for reading",
        everywhere(Nothing),
        |platform| {
            let thief = server(platform, "server-lends-on", |a| {
                a.copy(Argument(0), Argument(1)).set(Argument(1), 48).hostcall(Info);
                a.add(Argument(0), Argument(0), EFAULT as i64)
                    .must_be_zero(Argument(0), UNPUNISHED)
                    .reply(1);
            });
            vec![thief, client(platform, "server-lends-on", |a| writes(a, 1))]
        },
    ),
    play(
        "server-claims-to-be-client",
        "ask who calls, in the handler: it is the server",
        everywhere(Nothing),
        |platform| {
            let thief = server(platform, "server-claims-to-be-client", |a| {
                a.data_address(A)
                    .data_address(Argument(0))
                    .set(Argument(1), 48)
                    .hostcall(Info);
                // The server is number 1: the victim is 0.
                a.load(B, A, 0)
                    .lower_half(B)
                    .add(B, B, -1)
                    .must_be_zero(B, UNPUNISHED)
                    .reply(1);
            });
            vec![thief, client(platform, "server-claims-to-be-client", |a| writes(a, 1))]
        },
    ),
    play(
        "server-delegates-exit",
        "pass on whatever comes: an unknown hostcall stays unknown",
        everywhere(Nothing),
        |platform| {
            let lazy = server(platform, "server-delegates-exit", |a| {
                a.hostcall(Delegate);
                a.exit(UNPUNISHED);
            });
            vec![
                lazy,
                client(platform, "server-delegates-exit", |a| {
                    a.call_number(1 << 32 | 1, &[0])
                        .add(Argument(0), Argument(0), 38)
                        .must_be_zero(Argument(0), 10);
                    // A delegated pointer is the client's own, at the client's place.
                    let secret = a.secret();
                    a.address(Argument(1), secret)
                        .set(Argument(0), 1)
                        .set(Argument(2), 8)
                        .hostcall(Write);
                    a.add(Argument(0), Argument(0), EFAULT as i64)
                        .must_be_zero(Argument(0), 11)
                        .exit(0);
                }),
            ]
        },
    ),
    play(
        "servers-in-a-circle",
        "two that serve each other",
        everywhere(Refused("circle")),
        |platform| {
            let one = server(platform, "servers-in-a-circle", |a| {
                a.hostcall(Delegate);
            });
            let two = server(platform, "other", |a| {
                a.hostcall(Delegate);
            });
            vec![one.served_by("other"), two.served_by("servers-in-a-circle")]
        },
    ),
    play(
        "server-of-itself",
        "one that serves itself",
        everywhere(Refused("error: ")),
        |platform| {
            let one = server(platform, "server-of-itself", |a| {
                a.hostcall(Delegate);
            });
            vec![one.served_by("server-of-itself")]
        },
    ),
    play(
        "handler-outside",
        "a handler that lies outside of the own text",
        everywhere(Refused("error: ")),
        |platform| {
            let mut one = server(platform, "handler-outside", |a| {
                a.reply(0);
            });
            for function in &mut one.elf.functions {
                function.0 = 0x8000_0000;
            }
            vec![one, client(platform, "handler-outside", |a| writes(a, 0))]
        },
    ),
    play(
        "client-lends-the-victim",
        "lend the victim's memory to a server",
        everywhere(Nothing),
        |platform| {
            let attacker = role(platform, "client-lends-the-victim", |a| {
                let secret = a.secret();
                a.address(Argument(1), secret)
                    .set(Argument(0), 1)
                    .set(Argument(2), LENT)
                    .hostcall(Write);
                a.add(Argument(0), Argument(0), EFAULT as i64)
                    .must_be_zero(Argument(0), UNPUNISHED)
                    .exit(0);
            });
            vec![honest_server(platform), attacker.served_by("honest")]
        },
    ),
    play(
        "client-lends-the-server",
        "lend the server's memory to the server",
        everywhere(Nothing),
        |platform| {
            // The server lies next to the client: what is below and above the client is another's.
            let attacker = role(platform, "client-lends-the-server", |a| {
                for distance in [-4096, -64, 0] {
                    if distance < 0 {
                        a.start_of_memory(A).constant(B, distance as u64);
                    } else {
                        a.end_of_memory(A).constant(B, 0);
                    }
                    a.add_register(A, B)
                        .add(Argument(1), A, 0)
                        .set(Argument(0), 1)
                        .set(Argument(2), LENT)
                        .hostcall(Write);
                    a.add(Argument(0), Argument(0), EFAULT as i64)
                        .must_be_zero(Argument(0), UNPUNISHED);
                }
                a.exit(0);
            });
            vec![honest_server(platform), attacker.served_by("honest")]
        },
    ),
    play(
        "client-lends-sealed",
        "lend a sentry: it arrives as an integer",
        everywhere(Nothing),
        |platform| {
            let looks = server(platform, "looks", |a| {
                a.must_be_untagged(Argument(3), 10)
                    .must_be_untagged(Argument(4), 11)
                    .reply(1);
            });
            let attacker = role(platform, "client-lends-sealed", |a| {
                a.read_pcc(Argument(3))
                    .seal_entry(Argument(3), Argument(3))
                    .read_ddc(Argument(4))
                    .seal_entry(Argument(4), Argument(4));
                a.hostcall(Null).exit(0);
            });
            vec![looks, attacker.served_by("looks")]
        },
    ),
    play(
        "client-lends-code",
        "lend executable memory: it arrives without the permission",
        everywhere(Nothing),
        |platform| {
            let looks = server(platform, "looks", |a| {
                // Load and store at most.
                let allowed = if a.is_riscv() {
                    1 << 2 | 1 << 3
                } else {
                    1 << 17 | 1 << 16
                };
                a.permissions_of(A, Argument(3)).permissions_of(B, Argument(4)).or(A, B);
                a.constant(B, !allowed).and(A, B).must_be_zero(A, 10).reply(1);
            });
            let attacker = role(platform, "client-lends-code", |a| {
                a.read_pcc(Argument(3)).read_ddc(Argument(4)).hostcall(Null).exit(0);
            });
            vec![looks, attacker.served_by("looks")]
        },
    ),
    play(
        "client-dies-in-call",
        "fault while others wait to be served",
        killed(Illegal),
        |platform| {
            let attacker = role(platform, "client-dies-in-call", |a| {
                a.hostcall(Null).illegal();
            });
            vec![
                honest_server(platform),
                attacker.served_by("honest"),
                client_of(platform, "honest", |a| writes(a, 1)),
            ]
        },
    ),
    play(
        "client-floods-server",
        "call without end: another client is served all the same",
        everywhere(Nothing),
        |platform| {
            let attacker = role(platform, "client-floods-server", |a| {
                a.set(C, 2000);
                let start = a.here();
                a.hostcall(Null).count_down(C, start).exit(0);
            });
            vec![
                honest_server(platform),
                attacker.served_by("honest"),
                client_of(platform, "honest", |a| writes(a, 1)),
            ]
        },
    ),
    play(
        "client-evades-families",
        "use a family of hostcalls that the manifest denies, through a server",
        everywhere(Nothing),
        |platform| {
            let lazy = server(platform, "lazy", |a| {
                a.hostcall(Delegate);
                a.exit(UNPUNISHED);
            });
            let mut attacker = role(platform, "client-evades-families", |a| {
                lend(a, Write, LENT);
                a.add(Argument(0), Argument(0), EPERM as i64)
                    .must_be_zero(Argument(0), UNPUNISHED);
                a.hostcall(Clock)
                    .add(Argument(0), Argument(0), EPERM as i64)
                    .must_be_zero(Argument(0), UNPUNISHED)
                    .exit(0);
            });
            attacker.spec.hostcalls = Some(Vec::new());
            vec![lazy, attacker.served_by("lazy")]
        },
    ),
    play(
        "families-denied",
        "use families that the manifest denies",
        everywhere(Nothing),
        |platform| {
            let mut attacker = role(platform, "families-denied", |a| {
                for call in [Clock, Hostcall::Heap, Hostcall::Capfile, Serve, Hostcall::Nanosleep] {
                    a.call(call, &[0, 1])
                        .add(Argument(0), Argument(0), EPERM as i64)
                        .must_be_zero(Argument(0), UNPUNISHED);
                }
                a.exit(0);
            });
            attacker.spec.hostcalls = Some(vec![Family::Console]);
            vec![attacker]
        },
    ),
    play(
        "inner-reads-outer",
        "read the memory of the cVM that one lies within",
        killed(Bounds),
        |platform| {
            let outer = server(platform, "outer", |a| {
                a.hostcall(Delegate);
            });
            let inner = role(platform, "inner-reads-outer", |a| {
                a.start_of_memory(A).load(A, A, -8);
            });
            vec![outer, inner.served_by("outer").within("outer")]
        },
    ),
    play(
        "inner-calls-outer-code",
        "jump into the cVM that one lies within",
        KILLED_OUTSIDE,
        |platform| {
            let outer = server(platform, "outer", |a| {
                a.hostcall(Delegate);
            });
            let inner = role(platform, "inner-calls-outer-code", |a| {
                a.start_of_memory(A).add(A, A, -2048).jump_to(A);
            });
            vec![outer, inner.served_by("outer").within("outer")]
        },
    ),
    play(
        "outer-reads-beyond",
        "read beyond the region of all that lie within",
        killed(Bounds),
        |platform| {
            let outer = role(platform, "outer-reads-beyond", |a| {
                a.end_of_memory(A).load(A, A, 0);
                a.handler().hostcall(Delegate);
            });
            let inner = role(platform, "inner", |a| {
                a.hostcall(Null).exit(0);
                gone(a);
            });
            vec![
                outer,
                inner.served_by("outer-reads-beyond").within("outer-reads-beyond"),
            ]
        },
    ),
    play(
        "outer-steals-from-inner",
        "take what a client lent to a cVM within from that one's service stack, and use it after the call",
        REFUSED_AS_THIEF,
        |platform| outer_thief(platform),
    ),
];

const KILLED_OUTSIDE: Expected = killed(Bounds);
const REFUSED_AS_THIEF: Expected = everywhere(Refused("within"));

/// A cVM that serves until all its clients have ended, by a handler.
fn server(platform: Platform, name: &str, handler: impl FnOnce(&mut Attacker)) -> Role {
    role(platform, name, |a| {
        a.hostcall(Serve).exit(0);
        gone(a);
        a.handler();
        attacked(a);
        handler(a);
    })
}

/// Delegates all hostcalls but `null`, `write` and `read`.
fn attacked(a: &mut Attacker) {
    let (number, other) = (Register::Number(if a.is_riscv() { 17 } else { 8 }), Scratch(9));
    a.add(other, number, -(Write as i64)).branch_not_zero(other, 8).jump(32);
    a.add(other, number, -(Read as i64)).branch_not_zero(other, 8).jump(20);
    a.branch_not_zero(number, 8).jump(12).hostcall(Delegate);
}

/// The end of who cannot exit because its server is gone.
fn gone(a: &mut Attacker) {
    a.word(0x0010_0073, 0xd420_0000); // EBREAK, BRK
}

/// One that answers every call with 1.
fn honest_server(platform: Platform) -> Role {
    server(platform, "honest", |a| {
        a.reply(1);
    })
}

/// The honest client of a server.
fn client(platform: Platform, server: &str, program: impl FnOnce(&mut Attacker)) -> Role {
    client_of(platform, server, program)
}

fn client_of(platform: Platform, server: &str, program: impl FnOnce(&mut Attacker)) -> Role {
    role(platform, "client", |a| {
        // The server first comes to serve.
        a.hostcall(Yield);
        program(a);
        gone(a);
    })
    .served_by(server)
    .budget(BUDGET)
}

/// Lends the start of the data, which then must hold what it held.
fn lend(a: &mut Attacker, call: Hostcall, length: u32) {
    a.data_address(Argument(1))
        .set(Argument(0), u32::from(call == Write))
        .set(Argument(2), length)
        .set(Argument(3), 0)
        .hostcall(call);
}

/// Writes; the answer must be this.
fn writes(a: &mut Attacker, answer: u64) {
    lend(a, Write, LENT);
    a.constant(D, answer).must_be_equal(Argument(0), D, 20).exit(0);
}

/// Writes; the answer must be that there was none in time, and soon.
fn times_out(a: &mut Attacker) {
    lend(a, Write, LENT);
    a.add(Argument(0), Argument(0), ETIMEDOUT as i64)
        .must_be_zero(Argument(0), 20)
        .exit(0);
}

/// Writes; the server dies of it, and is then no longer there.
fn abandoned(a: &mut Attacker) {
    lend(a, Write, LENT);
    a.add(Argument(0), Argument(0), ECONNRESET as i64)
        .must_be_zero(Argument(0), 20);
    lend(a, Write, LENT);
    a.add(Argument(0), Argument(0), ECONNREFUSED as i64)
        .must_be_zero(Argument(0), 21)
        .exit(0);
}

/// `to` = the capability over the service stack, 16 bytes below its top.
fn below_the_top(a: &mut Attacker, to: Register) {
    let stack = a.service_stack();
    a.constant(to, 16_u64.wrapping_neg()).offset(to, stack, to);
}

/// Finds nothing tagged at the top of the service stack, and stores there what was lent.
fn keep_on_stack(a: &mut Attacker) {
    below_the_top(a, C);
    a.load_capability_through(B, C)
        .must_be_untagged(B, UNPUNISHED)
        .store_capability_through(Argument(1), C);
}

/// The absolute address in a register as one for loads.
fn absolute_to_integer(a: &mut Attacker, address: Register) {
    if a.relocates() {
        a.read_ddc(Scratch(8))
            .base_of(Scratch(8), Scratch(8))
            .subtract_register(address, Scratch(8));
    }
}

/// Where the outer one and the inner one lie, from the start of the RAM, and bytes of the outer one.
const OUTER: u64 = 0x0600_0000;
const INNER: u64 = 0x0602_0000;
const OUTER_SIZE: u64 = 0x4_0000;
/// Iterations that take longer than the client's budget.
const LONG: u64 = 2_000_000;

/// A cVM within which another one lies that serves a client, and the client, whose lent buffer the outer one takes.
fn outer_thief(platform: Platform) -> Vec<Role> {
    let name = "outer-steals-from-inner";
    // Leaves what it was lent on its service stack and the place of that in its data, and computes for a while.
    let mut inner = server(platform, "inner", |a| {
        below_the_top(a, C);
        a.store_capability_through(Argument(1), C).address_of(B, C);
        a.data_address(A).store(B, A, 0).constant(D, LONG);
        let start = a.here();
        a.count_down(D, start).reply(1);
    });
    inner.spec.isolation_base = Some(platform.ram() + INNER);
    // Waits for the place, takes the capability, waits until the call must be over, and writes through it.
    let mut outer = role(platform, name, |a| {
        let place = platform.ram() + INNER + 0x7000;
        a.constant(D, 100_000);
        let wait = a.here();
        a.hostcall(Yield)
            .add(D, D, -1)
            .branch_not_zero(D, 8)
            .jump(8)
            .jump(16)
            .exit(2);
        a.address(A, place).load(B, A, 0).branch_not_zero(B, 8).repeat(wait);
        absolute_to_integer(a, B);
        a.load_capability(C, B, 0)
            .call(Nanosleep, &[20_000_000])
            .constant(B, SECRET);
        a.store_through(B, C).exit(UNPUNISHED);
        a.handler().hostcall(Delegate);
    });
    outer.spec.isolation_base = Some(platform.ram() + OUTER);
    outer.spec.isolation_size = Some(OUTER_SIZE);
    // Makes no hostcall that would be delegated to the outer one, which serves nobody.
    let client = role(platform, "client", |a| {
        a.constant(D, LONG);
        let start = a.here();
        a.count_down(D, start);
        lend(a, Read, LENT);
        a.constant(D, 20 * LONG);
        let start = a.here();
        a.count_down(D, start).data_address(A).load(B, A, 0);
        a.must_be_zero(B, 30);
        gone(a);
    });
    let client = client.served_by("inner").budget(BUDGET);
    vec![outer, inner.served_by(name).within(name), client]
}
