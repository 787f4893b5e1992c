//! Raw clients and their servers, as a Linux program and its library OS are: what neither can do to the other, and both to nobody.

use abi::Errno::{EAGAIN, EFAULT, ENOENT, ENOSYS, EPERM, ESRCH};
use abi::FaultKind::{Bounds, Illegal};
use abi::Hostcall::{self, Clone, Null, Reply, Serve, Yield};
use abi::hostcall::{END_CVM, END_THREAD, REGISTERS, START, WAIT_ON, WITH_STACK};
use tests::Platform;
use tests::code::assembler::Assembler;
use tests::code::assembler::Register::{self, Argument, Number, Scratch, Stack};
use tests::code::attack::{Attacker, UNPUNISHED, victim_base};

use crate::cast::{Role, play, role};
use crate::catalogue::Fate::Nothing;
use crate::catalogue::{Attack, Group, everywhere, killed};

pub(crate) const GROUP: Group = Group {
    title: "Raw clients",
    promise: "1, 4, 7: a raw client has no calls but those that its server answers, and cannot be taken for the monitor; its server has no \
              authority but its own, over nobody but it",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);

/// A number that no hostcall has.
const OTHER: u64 = 500;
/// Threads that a raw client can have.
const THREADS: u32 = 3;

const ATTACKS: &[Attack] = &[
    play(
        "raw-client-calls-the-monitor",
        "make every hostcall of the monitor, `exit` included: its server alone answers",
        everywhere(Nothing),
        |platform| {
            let library = library(platform, "library", |a| {
                // Ends by this number only.
                unless(a, OTHER, |a| {
                    a.reply(7);
                });
                end_by_result(a);
            });
            let attacker = raw(platform, "raw-client-calls-the-monitor", |a| {
                let checked = |a: &mut Attacker| {
                    a.add(A, Argument(0), -7).when_not_zero(A, |a| {
                        a.call_number(OTHER, &[UNPUNISHED.into()]);
                    });
                };
                // From 63 down to 1, and then 0.
                a.set(C, 63);
                let start = a.here();
                let number = number(a);
                a.set(Argument(0), 0).add(number, C, 0).word(0x0000_0073, 0xd400_0001);
                checked(a);
                a.count_down(C, start);
                for number in [0, 1 << 32, 1 << 63, u64::MAX - 1] {
                    a.call_number(number, &[0]);
                    checked(a);
                }
                a.call_number(OTHER, &[0]);
            });
            vec![library, attacker.served_by("library").within("library")]
        },
    ),
    play(
        "raw-client-makes-start",
        "make the call that the monitor makes for it, to have the victim's memory, or its server's, taken for its own",
        everywhere(Nothing),
        |platform| {
            let library = honest_library(platform);
            let attacker = raw(platform, "raw-client-makes-start", |a| {
                let victim = a.victim();
                a.address(A, victim).start_of_memory(B);
                for near in [A, B] {
                    a.add(Argument(0), near, 0)
                        .constant(Argument(1), 0x10_0000)
                        .add(Argument(2), near, 0);
                    a.add(Argument(3), near, 0).set(Argument(4), 0);
                    let number = number(a);
                    a.constant(number, START).word(0x0000_0073, 0xd400_0001);
                    a.add(Argument(0), Argument(0), ENOSYS as i64)
                        .must_be_zero(Argument(0), UNPUNISHED);
                }
                a.exit(0);
            });
            vec![library, attacker.served_by("library").within("library")]
        },
    ),
    play(
        "plain-client-makes-start",
        "the same as a client that is not raw",
        everywhere(Nothing),
        |platform| {
            let library = role(platform, "library", |a| {
                a.hostcall(Serve).exit(0);
                a.handler();
                unless(a, START, |a| {
                    a.hostcall(Hostcall::Delegate);
                });
                a.exit(UNPUNISHED);
            });
            let attacker = role(platform, "plain-client-makes-start", |a| {
                a.call_number(START, &[1, 2, 3, 4, 5]);
                a.add(Argument(0), Argument(0), ENOSYS as i64)
                    .must_be_zero(Argument(0), UNPUNISHED)
                    .exit(0);
            });
            vec![library, attacker.served_by("library")]
        },
    ),
    play(
        "raw-client-names-the-victim",
        "pass the victim's addresses with the numbers of hostcalls that lend a buffer: they arrive as integers",
        everywhere(Nothing),
        |platform| {
            let library = library(platform, "library", |a| {
                unless(a, 1, |a| {
                    for argument in 0..6 {
                        a.must_be_untagged(Argument(argument), UNPUNISHED);
                    }
                    a.reply(7);
                });
                end_by_result(a);
            });
            let attacker = raw(platform, "raw-client-names-the-victim", |a| {
                let secret = a.secret();
                for call in [Hostcall::Write, Hostcall::Read, Hostcall::Info, Hostcall::Capfile] {
                    for argument in 0..6 {
                        a.address(Argument(argument), secret);
                    }
                    a.set(Argument(2), 64).hostcall(call);
                    a.add(Argument(0), Argument(0), -7)
                        .must_be_zero(Argument(0), UNPUNISHED);
                }
                a.exit(0);
            });
            vec![library, attacker.served_by("library").within("library")]
        },
    ),
    play(
        "raw-client-claims-to-be-another",
        "call with another client's number and another thread's place in all registers: its server is told its own",
        everywhere(Nothing),
        |platform| {
            let library = library(platform, "library", |a| {
                unless(a, 1, |a| {
                    a.add(Argument(0), Argument(6), 0)
                        .set(Argument(1), 0)
                        .set(Argument(2), 0);
                    a.hostcall(Reply);
                });
                end_by_result(a);
            });
            let claims = |name: &str| {
                let role = raw(platform, name, |a| {
                    a.load(C, Argument(0), 16).lower_half(C);
                    for claimed in [0, 1 << 32, 2, 3, 2 | 1 << 32, u64::MAX] {
                        for register in 0..7 {
                            a.constant(Argument(register), claimed);
                        }
                        a.hostcall(Null).must_be_equal(Argument(0), C, UNPUNISHED);
                    }
                    a.exit(0);
                });
                role.served_by("library").within("library")
            };
            vec![library, claims("raw-client-claims-to-be-another"), claims("other")]
        },
    ),
    play(
        "raw-client-goes-on-alone",
        "go on when its server has faulted over its call",
        killed(Illegal),
        |platform| {
            let attacker = library(platform, "raw-client-goes-on-alone", |a| {
                a.illegal();
            });
            let client = raw(platform, "client", |a| {
                a.hostcall(Null).illegal();
            });
            let client = client
                .served_by("raw-client-goes-on-alone")
                .within("raw-client-goes-on-alone");
            vec![attacker, client.ending("ended with its server")]
        },
    ),
    play(
        "library-reads-beyond-its-clients",
        "read a raw client that does not lie within, where it is told that the client sees its own memory",
        killed(Bounds),
        |platform| {
            let name = "library-reads-beyond-its-clients";
            let attacker = role(platform, name, |a| {
                a.hostcall(Serve).exit(0);
                a.handler();
                // Where addresses count from 0, the client's lowest one is its server's own: then the victim's is taken.
                if a.relocates() {
                    let secret = a.secret();
                    a.address(Argument(0), secret);
                }
                a.load(A, Argument(0), 0);
            });
            let client = raw(platform, "client", |a| {
                a.hostcall(Null);
            });
            vec![attacker, client.served_by(name).ending("ended with its server")]
        },
    ),
    play(
        "library-gives-a-foreign-stack",
        "let a raw client begin with the victim's memory as its stack",
        killed(Bounds),
        |platform| {
            let library = role(platform, "library", |a| {
                let secret = a.secret();
                a.hostcall(Serve).exit(0);
                a.handler();
                a.add(Argument(0), Argument(3), 0).address(Argument(1), secret);
                a.set(Argument(2), WITH_STACK as u32).hostcall(Reply);
            });
            let attacker = raw(platform, "library-gives-a-foreign-stack", |a| {
                a.store(A, Stack, -16);
            });
            vec![library, attacker.served_by("library").within("library")]
        },
    ),
    play(
        "library-clones-into-the-victim",
        "start threads of a raw client, beyond its quota, with the victim's memory for stack and thread pointer",
        killed(Bounds),
        |platform| {
            let secret = Attacker::new(platform).secret();
            let library = library(platform, "library", |a| {
                for thread in 1..=THREADS {
                    a.address(Argument(0), secret)
                        .address(Argument(1), secret)
                        .set(Argument(2), 0)
                        .hostcall(Clone);
                    // Its main thread is one of them.
                    let expected = if thread < THREADS {
                        -i64::from(thread)
                    } else {
                        EAGAIN as i64
                    };
                    a.add(Argument(0), Argument(0), expected)
                        .must_be_zero(Argument(0), UNPUNISHED);
                }
                a.reply(7);
            });
            let mut attacker = raw(platform, "library-clones-into-the-victim", |a| {
                a.hostcall(Null).store(A, Stack, -16);
                let start = a.here();
                a.repeat(start);
            });
            attacker.spec.threads = THREADS;
            vec![library, attacker.served_by("library").within("library")]
        },
    ),
    play(
        "library-clones-strangers",
        "start threads of a client that is not raw, and of nobody",
        everywhere(Nothing),
        |platform| {
            let attacker = role(platform, "library-clones-strangers", |a| {
                a.call(Clone, &[0, 0, 0]);
                a.add(Argument(0), Argument(0), EPERM as i64)
                    .must_be_zero(Argument(0), UNPUNISHED);
                a.hostcall(Serve).exit(0);
                a.handler();
                crate::cast::attacked(a);
                a.call(Clone, &[0, 0, 0]);
                a.add(Argument(0), Argument(0), EPERM as i64)
                    .must_be_zero(Argument(0), UNPUNISHED)
                    .reply(1);
            });
            let mut client = crate::cast::client(platform, "library-clones-strangers", |a| crate::cast::writes(a, 1));
            client.spec.threads = THREADS;
            vec![attacker, client]
        },
    ),
    play(
        "stranger-drives-a-raw-client",
        "stop the threads of somebody's raw client, see and set their registers, and make text of its memory; and of everybody else's",
        everywhere(Nothing),
        |platform| {
            let library = honest_library(platform);
            let client = raw(platform, "client", |a| {
                a.call_number(OTHER, &[0]);
                a.exit(0);
            });
            let attacker = role(platform, "stranger-drives-a-raw-client", |a| {
                refused_everywhere(a);
                a.exit(0);
            });
            vec![library, client.served_by("library").within("library"), attacker]
        },
    ),
    play(
        "library-drives-a-plain-client",
        "the same of a client that is not raw, as its server",
        everywhere(Nothing),
        |platform| {
            let attacker = role(platform, "library-drives-a-plain-client", |a| {
                a.hostcall(Serve).exit(0);
                a.handler();
                crate::cast::attacked(a);
                refused_everywhere(a);
                a.reply(1);
            });
            let client = crate::cast::client(platform, "library-drives-a-plain-client", |a| crate::cast::writes(a, 1));
            vec![attacker, client]
        },
    ),
    play(
        "library-leads-a-raw-client-out",
        "let a raw client go on at an address of the victim's, and make the victim's memory its text",
        everywhere(Nothing),
        |platform| {
            let library = library(platform, "library", |a| {
                unless(a, 1, |a| {
                    // The calling cVM's number is beside the arguments.
                    a.add(Argument(0), Argument(6), 0)
                        .constant(A, victim_base(platform) & !0xfff);
                    a.add(Argument(1), A, 0);
                    a.constant(Argument(2), 4096)
                        .set(Argument(3), 1)
                        .hostcall(Hostcall::Text);
                    a.add(Argument(0), Argument(0), EFAULT as i64)
                        .must_be_zero(Argument(0), UNPUNISHED);
                    // Its registers, with that for the program counter: it stands in all words.
                    a.add(Stack, Stack, -512);
                    for word in 0..REGISTERS as i64 {
                        a.store(A, Stack, 8 * word);
                    }
                    a.set(Argument(0), 0).add(Argument(1), Stack, 0).set(Argument(2), 1);
                    a.hostcall(Hostcall::Registers);
                    a.add(Argument(0), Argument(0), EFAULT as i64)
                        .must_be_zero(Argument(0), UNPUNISHED);
                    a.reply(7);
                });
                end_by_result(a);
            });
            let attacker = raw(platform, "library-leads-a-raw-client-out", |a| {
                a.call_number(OTHER, &[0]);
                a.add(Argument(0), Argument(0), -7)
                    .must_be_zero(Argument(0), UNPUNISHED)
                    .exit(0);
            });
            vec![library, attacker.served_by("library").within("library")]
        },
    ),
    play(
        "library-ends-a-plain-client",
        "end a client that is not raw, its thread or its patience, and move its stack",
        everywhere(Nothing),
        |platform| {
            let attacker = role(platform, "library-ends-a-plain-client", |a| {
                let secret = a.secret();
                a.hostcall(Serve).exit(0);
                a.handler();
                // How, the client says itself.
                a.when_not_zero(Argument(3), |a| {
                    a.set(Argument(0), 7)
                        .address(Argument(1), secret)
                        .add(Argument(2), Argument(3), 0);
                    a.hostcall(Reply);
                });
                a.hostcall(Hostcall::Delegate);
            });
            let client = role(platform, "client", |a| {
                a.hostcall(Yield);
                for how in [WITH_STACK, END_THREAD, END_CVM, WAIT_ON, u64::MAX] {
                    a.add(C, Stack, 0).constant(Argument(3), how).hostcall(Null);
                    a.add(Argument(0), Argument(0), -7).must_be_zero(Argument(0), 20);
                    a.add(A, Stack, 0).must_be_equal(A, C, 21);
                }
                a.set(Argument(3), 0).exit(0);
            });
            vec![attacker, client.served_by("library-ends-a-plain-client")]
        },
    ),
    play(
        "library-answers-for-others",
        "end, move or hold the calls of strangers by guessing their tokens",
        everywhere(Nothing),
        |platform| {
            let attacker = library(platform, "library-answers-for-others", |a| {
                unless(a, 1, |a| {
                    a.set(C, 1500);
                    let start = a.here();
                    // Every thread's first calls: the thread in the lower 16 bits, its call above them.
                    for (call, how) in [(1_u64, END_CVM), (2, WAIT_ON), (3, WITH_STACK), (1, END_THREAD)] {
                        a.constant(Argument(0), call << 16).add_register(Argument(0), C);
                        a.set(Argument(1), 66)
                            .set(Argument(2), 0)
                            .set(Argument(3), how as u32)
                            .hostcall(Hostcall::Answer);
                        a.add(Argument(0), Argument(0), ENOENT as i64)
                            .must_be_zero(Argument(0), UNPUNISHED);
                    }
                    a.count_down(C, start).reply(7);
                });
                end_by_result(a);
            });
            let caller = raw(platform, "caller", |a| {
                a.hostcall(Null).hostcall(Null).hostcall(Null).exit(0);
            });
            let other = library(platform, "other", |a| {
                unless(a, 1, |a| {
                    // For 3 ms, and then 5.
                    a.call(Hostcall::Defer, &[3_000_000, 5]).reply(0);
                });
                end_by_result(a);
            });
            let patient = raw(platform, "patient", |a| {
                for _ in 0..3 {
                    a.hostcall(Null)
                        .add(Argument(0), Argument(0), -5)
                        .must_be_zero(Argument(0), 20);
                }
                a.exit(0);
            });
            vec![
                attacker,
                caller
                    .served_by("library-answers-for-others")
                    .within("library-answers-for-others"),
                other,
                patient.served_by("other").within("other"),
            ]
        },
    ),
];

/// A raw client.
fn raw(platform: Platform, name: &str, program: impl FnOnce(&mut Attacker)) -> Role {
    let mut role = role(platform, name, program);
    role.spec.raw = 1;
    role
}

/// A server of raw clients: it lets them begin, with their start block in the first argument, and answers by `handler`.
fn library(platform: Platform, name: &str, handler: impl FnOnce(&mut Assembler)) -> Role {
    role(platform, name, |a| {
        a.hostcall(Serve).exit(0);
        a.handler();
        unless(a, START, handler);
        // The stack is the lowest part of a program's memory.
        a.constant(A, 0x4000).add(Argument(1), Argument(0), 0);
        a.add_register(Argument(1), A)
            .add(Argument(0), Argument(3), 0)
            .set(Argument(2), WITH_STACK as u32)
            .hostcall(Reply);
    })
}

/// One that answers every call with 7, and ends who wants to exit.
fn honest_library(platform: Platform) -> Role {
    library(platform, "library", |a| {
        unless(a, 1, |a| {
            a.reply(7);
        });
        end_by_result(a);
    })
}

/// Nobody is its raw client.
fn refused_everywhere(a: &mut Attacker) {
    let refused = |a: &mut Attacker, errno: abi::Errno| {
        a.add(Argument(0), Argument(0), errno as i64)
            .must_be_zero(Argument(0), UNPUNISHED);
    };
    for client in [0, 1, 2, 3, 7, 1 << 32, u64::MAX] {
        a.call(Hostcall::Seize, &[client, 0]);
        refused(a, ESRCH);
        a.call(Hostcall::Text, &[client, 0, 4096, 1]);
        refused(a, ESRCH);
    }
    for token in [0, 1, 1 << 16, 1 << 16 | 1, u64::MAX] {
        for write in [0, 1] {
            a.call(Hostcall::Registers, &[token, 0, write]);
            refused(a, ENOENT);
        }
    }
}

/// The register that holds the number of a hostcall.
fn number(a: &Assembler) -> Register {
    Number(if a.is_riscv() { 17 } else { 8 })
}

/// Does something for all hostcalls but the one of this number.
fn unless(a: &mut Assembler, wanted: u64, what: impl FnOnce(&mut Assembler)) {
    let (other, number) = (Scratch(8), number(a));
    a.constant(other, wanted)
        .subtract_register(other, number)
        .when_not_zero(other, what);
}

/// Ends the raw client with the code that is its first argument.
fn end_by_result(a: &mut Assembler) {
    a.set(Argument(1), 0).set(Argument(2), END_CVM as u32).hostcall(Reply);
}
