//! Taking time through servers: what is done for one cVM, in the time or with the priority of another.

use abi::FaultKind::Illegal;
use abi::Hostcall::{self, Clock, Delegate, Nanosleep, Null, Serve};
use abi::manifest::RestartPolicy;
use tests::Platform;
use tests::code::assembler::Assembler;
use tests::code::assembler::Register::{self, Argument, Number, Scratch};
use tests::code::attack::{Attacker, UNPUNISHED};

use crate::cast::{Role, play, role};
use crate::catalogue::Fate::{EachStarted, Nothing};
use crate::catalogue::{Attack, Expected, Group, Means, Siege, everywhere, killed};

pub(crate) const GROUP: Group = Group {
    title: "Starving others through servers",
    promise: "5: time belongs to whom the work is done for, and whoever is ready with the greatest priority runs, served or serving",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);
const D: Register = Scratch(3);

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
/// How long an attack lasts, in nanoseconds since the start.
const DURATION: u64 = 25 * MILLISECOND;

/// Several cVMs next to a victim of the same priority that looks at the clock: it may wait for so many microseconds.
const fn siege(name: &'static str, what: &'static str, patience: u64, cast: fn(Platform) -> Vec<Role>) -> Attack {
    siege_with(name, what, everywhere(Nothing), patience, cast)
}

const fn siege_with(
    name: &'static str,
    what: &'static str,
    expected: Expected,
    patience: u64,
    cast: fn(Platform) -> Vec<Role>,
) -> Attack {
    Attack {
        name,
        what,
        means: Means::Siege(Siege { cast, patience }),
        expected,
    }
}

const ATTACKS: &[Attack] = &[
    siege(
        "call-storm",
        "make hostcalls that a server answers at once, all the time",
        5_000,
        |platform| {
            vec![
                serving(platform, "server", answers),
                storming(platform, "call-storm", Null).served_by("server"),
            ]
        },
    ),
    siege("call-storm-of-three", "the same, three of them", 9_000, |platform| {
        let mut cast = vec![serving(platform, "server", answers)];
        for name in ["call-storm-of-three", "second", "third"] {
            cast.push(storming(platform, name, Null).served_by("server"));
        }
        cast
    }),
    siege(
        "call-storm-with-work",
        "the same, when each answer takes the server a third of a millisecond",
        5_000,
        |platform| {
            let server = serving(platform, "server", |a| {
                compute_for(a, 333 * MICROSECOND);
                a.reply(0);
            });
            vec![
                server,
                storming(platform, "call-storm-with-work", Null).served_by("server"),
            ]
        },
    ),
    siege(
        "delegate-storm",
        "make hostcalls that a server passes on to the monitor, all the time",
        5_000,
        |platform| {
            let server = serving(platform, "server", |a| {
                a.hostcall(Delegate);
            });
            vec![server, storming(platform, "delegate-storm", Clock).served_by("server")]
        },
    ),
    siege(
        "call-storm-by-two-servers",
        "make hostcalls that the server of a server answers, all the time",
        7_000,
        |platform| {
            let between = serving(platform, "between", |a| {
                a.hostcall(Null);
                a.reply(0);
            });
            vec![
                serving(platform, "server", answers),
                between.served_by("server"),
                storming(platform, "call-storm-by-two-servers", Null).served_by("between"),
            ]
        },
    ),
    siege_with(
        "exit-storm",
        "exit in each of fifty lives, by a server",
        everywhere(EachStarted(50)),
        5_000,
        |platform| {
            let mut exits = role(platform, "exit-storm", |a| {
                a.exit(0);
            });
            (exits.spec.restart.policy, exits.spec.restart.limit) = (RestartPolicy::Always, 50);
            let server = serving(platform, "server", |a| {
                a.hostcall(Delegate);
            });
            vec![server, exits.served_by("server")]
        },
    ),
    siege_with(
        "server-fault-storm",
        "fault in the handler in each of ten lives, for a client that calls all the time",
        everywhere(EachStarted(10)),
        8_000,
        |platform| {
            let mut faults = serving(platform, "server-fault-storm", |a| {
                a.illegal();
            });
            (faults.spec.restart.policy, faults.spec.restart.limit) = (RestartPolicy::OnFault, 10);
            let client = role(platform, "client", |a| {
                a.set(C, 200);
                let start = a.here();
                a.hostcall(Null).count_down(C, start).exit(0);
            });
            vec![faults, client.served_by("server-fault-storm")]
        },
    ),
    play(
        "middle-before-server",
        "compute with a priority between that of a server's two clients: the server works with that of the greater one",
        everywhere(Nothing),
        |platform| {
            let middle = role(platform, "middle-before-server", |a| {
                sleep_until(a, 4 * MILLISECOND);
                let start = a.here();
                until(a, start, 40 * MILLISECOND);
                a.exit(0);
            });
            let server = serving(platform, "server", |a| {
                compute_for(a, 500 * MICROSECOND);
                a.reply(0);
            });
            // Its call of 6 ms finds the server at work for the lesser one, from before the middle one began.
            let mut urgent = role(platform, "urgent", |a| {
                a.call(Nanosleep, &[6 * MILLISECOND]);
                a.set(C, 3);
                let start = a.here();
                a.hostcall(Null)
                    .must_be_zero(Argument(0), 20)
                    .count_down(C, start)
                    .exit(0);
            });
            urgent.spec.call_budget = 12 * MILLISECOND;
            let lesser = storming(platform, "lesser", Null);
            vec![
                server.with_priority(1),
                lesser.with_priority(1).served_by("server"),
                middle.with_priority(4),
                urgent.with_priority(6).served_by("server"),
            ]
        },
    ),
    play(
        "lesser-after-answer",
        "compute when the answer comes: a greater one's call that waited for the server goes first",
        everywhere(Nothing),
        |platform| {
            let name = "lesser-after-answer";
            let server = serving(platform, "server", |a| {
                a.add(A, Argument(6), -LESSER).add(A, A, -1).shift_right(A, 63);
                a.when_not_zero(A, |a| {
                    a.call(Nanosleep, &[MILLISECOND]);
                });
                a.reply(0);
            });
            let lesser = role(platform, name, |a| {
                a.set(D, 12);
                let start = a.here();
                a.hostcall(Null);
                compute_for(a, 4 * MILLISECOND);
                a.count_down(D, start).exit(0);
            });
            let mut urgent = role(platform, "urgent", |a| {
                a.set(D, 30);
                let start = a.here();
                a.call(Nanosleep, &[1_300 * MICROSECOND]).must_be_zero(Argument(0), 21);
                a.hostcall(Null)
                    .must_be_zero(Argument(0), 20)
                    .count_down(D, start)
                    .exit(0);
            });
            // A slice more would be too late; the time of QEMU is the host's.
            urgent.spec.call_budget = if platform.is_machine() {
                1_500 * MICROSECOND
            } else {
                100 * MILLISECOND
            };
            vec![
                server.with_priority(1),
                lesser.with_priority(1).served_by("server"),
                urgent.with_priority(6).served_by("server"),
            ]
        },
    ),
    play(
        "lesser-first-in-queue",
        "queue up before a server: a greater one's call waits for the one at work alone",
        everywhere(Nothing),
        |platform| {
            let server = serving(platform, "server", |a| {
                compute_for(a, MILLISECOND);
                a.reply(0);
            });
            let mut urgent = role(platform, "urgent", |a| {
                a.set(D, 5);
                let start = a.here();
                a.call(Nanosleep, &[MILLISECOND]).must_be_zero(Argument(0), 21);
                a.hostcall(Null)
                    .must_be_zero(Argument(0), 20)
                    .count_down(D, start)
                    .exit(0);
            });
            urgent.spec.call_budget = if platform.is_machine() {
                2_500 * MICROSECOND
            } else {
                100 * MILLISECOND
            };
            let mut cast = vec![server.with_priority(1), urgent.with_priority(6).served_by("server")];
            for name in ["lesser-first-in-queue", "second", "third", "fourth", "fifth"] {
                let lesser = role(platform, name, |a| {
                    a.set(D, 10);
                    let start = a.here();
                    a.hostcall(Null).count_down(D, start).exit(0);
                });
                cast.push(lesser.with_priority(1).served_by("server"));
            }
            cast
        },
    ),
    play(
        "lesser-after-end",
        "wait for a server when a cVM ends and a greater one wakes up: the greater one runs first",
        killed(Illegal),
        |platform| {
            // All wake up while the monitor prints the report of this one.
            let ends = role(platform, "lesser-after-end", |a| {
                sleep_until(a, END);
                a.illegal();
            });
            // The first call never gets an answer, and the second one begins when the first one's time is over.
            let server = serving(platform, "server", |a| {
                a.data_address(A).load(B, A, 0).when_not_zero(B, |a| {
                    compute_for(a, 10 * MILLISECOND);
                    a.reply(0);
                });
                a.set(B, 1)
                    .store(B, A, 0)
                    .call(Nanosleep, &[1000 * MILLISECOND])
                    .exit(UNPUNISHED);
            });
            let mut first = role(platform, "first", |a| {
                sleep_until(a, BEGIN);
                a.hostcall(Null).exit(0);
            });
            first.spec.call_budget = END - BEGIN + 5 * MICROSECOND;
            let second = role(platform, "second", |a| {
                sleep_until(a, BEGIN + 100 * MICROSECOND);
                a.hostcall(Null).exit(0);
            });
            let urgent = role(platform, "urgent", move |a| {
                sleep_until(a, END + 10 * MICROSECOND);
                a.hostcall(Clock)
                    .constant(A, END + late(platform))
                    .subtract_register(A, Argument(0));
                a.shift_right(A, 63).must_be_zero(A, 20).exit(0);
            });
            vec![
                server.with_priority(4),
                first.served_by("server"),
                second.served_by("server"),
                ends.with_priority(5),
                urgent.with_priority(6),
            ]
        },
    ),
];

/// When the cVM of that name ends, and when the first one calls.
const END: u64 = 8_100 * MICROSECOND;
const BEGIN: u64 = 2 * MILLISECOND;

/// How late the urgent one may be then: by the report. The time of QEMU is the host's.
const fn late(platform: Platform) -> u64 {
    if platform.is_machine() {
        MILLISECOND
    } else {
        1000 * MILLISECOND
    }
}

/// Number of the cVM behind the victim and the server.
const LESSER: i64 = 2;

fn answers(a: &mut Attacker) {
    a.reply(0);
}

/// A server whose handler deals with `null` alone and passes on the rest to the monitor.
fn serving(platform: Platform, name: &str, handler: fn(&mut Attacker)) -> Role {
    role(platform, name, |a| {
        a.hostcall(Serve).exit(0);
        a.handler();
        let number = Number(if a.is_riscv() { 17 } else { 8 });
        a.when_not_zero(number, |a| {
            a.hostcall(Delegate);
        });
        handler(a);
    })
}

/// Makes a hostcall again and again until the time is over, and exits with 0.
fn storming(platform: Platform, name: &str, call: Hostcall) -> Role {
    role(platform, name, |a| {
        let start = a.here();
        a.set(C, 100);
        let inner = a.here();
        // Not always as long, so that slices end in every part of a call.
        a.set(A, 7).and(A, C).add(A, A, 1);
        let rest = a.here();
        a.count_down(A, rest).hostcall(call).count_down(C, inner);
        until(a, start, DURATION);
        a.exit(0);
    })
}

/// Goes back to `start` while it is earlier than `time`.
fn until(a: &mut Attacker, start: i64, time: u64) {
    a.hostcall(Clock).constant(B, time).subtract_register(B, Argument(0));
    a.shift_right(B, 63).branch_not_zero(B, 8).repeat(start);
}

/// Computes for about so many nanoseconds: the embedded machine's instructions take one each.
fn compute_for(a: &mut Assembler, time: u64) {
    a.constant(A, time / 2);
    let start = a.here();
    a.count_down(A, start);
}

/// Sleeps until this time since the start.
fn sleep_until(a: &mut Attacker, time: u64) {
    a.hostcall(Clock).constant(A, time).subtract_register(A, Argument(0));
    a.add(Argument(0), A, 0).hostcall(Nanosleep);
}
