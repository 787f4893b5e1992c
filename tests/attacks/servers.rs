//! Attacks by who serves the hostcalls of others.

use abi::Errno::{ECONNRESET, EFAULT, EPERM, ETIMEDOUT};
use abi::FaultKind::{Bounds, Illegal, Permission, Tag};
use abi::Hostcall::{self, Delegate, Info, Nanosleep, Read, Serve, Write};
use abi::manifest::RestartPolicy;
use tests::code::assembler::Register::{self, Argument, Scratch};
use tests::code::attack::UNPUNISHED;

use crate::cast::{
    LENT, abandoned, absolute_to_integer, below_the_top, client, keep_on_stack, lend, play, role, server, times_out,
    writes,
};
use crate::catalogue::Fate::{Killed, Nothing, Refused};
use crate::catalogue::{Attack, Group, each, everywhere, killed};

pub(crate) const GROUP: Group = Group {
    title: "Serving others",
    promise: "7: what a client lends to its server is lent for one call and for data only; it gets an answer or an error in time, whatever the server does",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);

/// What a server answers with: something that is neither an address nor an error.
const LIE: u64 = 0x7fff_ffff_ffff_0123;

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
            vec![silent, client(platform, "server-never-answers", times_out)]
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
            vec![silent, client(platform, "server-sleeps", times_out)]
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
            vec![silent, client(platform, "server-never-serves", times_out)]
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
            vec![gone, client(platform, "server-exits-in-call", abandoned)]
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
            vec![gone, client(platform, "server-faults-in-call", abandoned)]
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
            vec![thief, client(platform, "server-keeps-in-data", abandoned)]
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
            vec![thief, client(platform, "server-keeps-sealed", abandoned)]
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
            vec![thief, client(platform, "server-exchanges-into-data", abandoned)]
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
        "server-keeps-over-restart",
        "keep what was lent on the service stack, fault, and look for it in the next life",
        everywhere(Nothing),
        |platform| {
            let mut thief = server(platform, "server-keeps-over-restart", |a| {
                keep_on_stack(a);
                a.data_address(A).data_address(Argument(0)).set(Argument(1), 8);
                a.hostcall(Info).load(B, A, 0).shift_right(B, 32);
                // The second life answers.
                a.branch_not_zero(B, 8).jump(8).jump(8).illegal().reply(1);
            });
            thief.spec.restart.policy = RestartPolicy::OnFault;
            thief.spec.restart.limit = 1;
            let honest = client(platform, "server-keeps-over-restart", |a| {
                lend(a, Write, LENT);
                a.add(Argument(0), Argument(0), ECONNRESET as i64)
                    .must_be_zero(Argument(0), 10);
                writes(a, 1);
            });
            vec![thief, honest]
        },
    ),
    play(
        "server-keeps-second-hand",
        "keep what another server lent on, until the first caller runs out of time",
        everywhere(Nothing),
        |platform| {
            let thief = server(platform, "server-keeps-second-hand", |a| {
                keep_on_stack(a);
                a.call(Nanosleep, &[1_000_000_000]).exit(UNPUNISHED);
            });
            let between = server(platform, "between", |a| {
                a.hostcall(Write)
                    .set(Argument(1), 0)
                    .set(Argument(2), 0)
                    .hostcall(Hostcall::Reply);
            });
            let honest = client(platform, "between", |a| {
                lend(a, Write, LENT);
                a.add(Argument(0), Argument(0), ETIMEDOUT as i64)
                    .must_be_zero(Argument(0), 10);
                times_out(a);
            });
            vec![thief, between.served_by("server-keeps-second-hand"), honest]
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
            vec![thief, client(platform, "server-reads-beyond", abandoned)]
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
            vec![thief, client(platform, "server-reads-before", abandoned)]
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
            vec![thief, client(platform, "server-writes-to-read-only", abandoned)]
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
            vec![thief, client(platform, "server-widens", abandoned)]
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
];
