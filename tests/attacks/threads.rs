//! Threads, waiting by address and deferred answers: what they give to nobody else, and what they do not take from anybody.

use abi::Errno::{EAGAIN, EFAULT, EINVAL, ENOENT, EPERM, ESRCH};
use abi::Hostcall::{
    self, Answer, Clock, Defer, Exit, Nanosleep, Null, Reply, Serve, ThreadCreate, ThreadEnd, ThreadExit,
    ThreadPriority, Wait, Wake, Yield,
};
use abi::hostcall::WAIT_FOREVER;
use tests::Platform;
use tests::code::assembler::Assembler;
use tests::code::assembler::Register::{self, Argument, Scratch};
use tests::code::attack::{Attacker, UNPUNISHED};

use crate::cast::{Role, attacked, play, role};
use crate::catalogue::Fate::Nothing;
use crate::catalogue::{Attack, Group, Means, Siege, everywhere};

pub(crate) const GROUP: Group = Group {
    title: "Threads",
    promise: "1, 4, 5: a thread has what its cVM has, ends with it, and waits for nothing that it could not read",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);

const MILLISECOND: u64 = 1_000_000;
/// How long a storm lasts, in nanoseconds since the start.
const DURATION: u64 = 25 * MILLISECOND;
/// Threads of a cVM that has as many as it likes.
const THREADS: u32 = 16;

const fn siege(name: &'static str, what: &'static str, patience: u64, cast: fn(Platform) -> Vec<Role>) -> Attack {
    Attack {
        name,
        what,
        means: Means::Siege(Siege { cast, patience }),
        expected: everywhere(Nothing),
    }
}

const ATTACKS: &[Attack] = &[
    play(
        "thread-of-the-dead",
        "let threads go on when their cVM has exited",
        everywhere(Nothing),
        |platform| {
            vec![threaded(platform, "thread-of-the-dead", |a| {
                let worker = worker(a, |a| {
                    a.exit(UNPUNISHED);
                });
                for _ in 1..THREADS {
                    create(a, worker, 0);
                }
                a.exit(0);
            })]
        },
    ),
    play(
        "thread-restarted",
        "let a thread of an earlier life go on in the next one",
        everywhere(Nothing),
        |platform| {
            let mut role = threaded(platform, "thread-restarted", |a| {
                let worker = worker(a, |a| {
                    a.call(Nanosleep, &[2 * MILLISECOND]).exit(UNPUNISHED);
                });
                a.data_address(Argument(0)).set(Argument(1), 16);
                a.hostcall(Hostcall::Info).data_address(A).load(B, A, 0);
                a.shift_right(B, 32).when_not_zero(B, |a| {
                    a.call(Nanosleep, &[6 * MILLISECOND]).exit(0);
                });
                create(a, worker, 0);
                a.hostcall(Yield).exit(0);
            });
            role.spec.restart.policy = abi::manifest::RestartPolicy::Always;
            role.spec.restart.limit = 1;
            vec![role]
        },
    ),
    play(
        "thread-above-its-cvm",
        "give a thread more priority than the cVM has, or an entry that is not the cVM's",
        everywhere(Nothing),
        |platform| {
            vec![threaded(platform, "thread-above-its-cvm", |a| {
                let worker = worker(a, |a| {
                    a.exit(UNPUNISHED);
                });
                for priority in [4, 7, 8, 1 << 32, u64::MAX] {
                    a.code_address(Argument(0), worker);
                    a.constant(Argument(4), priority).hostcall(ThreadCreate);
                    refused(a, EPERM as i64);
                    a.call(ThreadPriority, &[0, priority]);
                    refused(a, EPERM as i64);
                }
                let victim = a.victim_code();
                a.address(Argument(0), victim)
                    .set(Argument(4), 0)
                    .hostcall(ThreadCreate);
                refused(a, EFAULT as i64);
                for entry in [0x7fff_ffff_f000, u64::MAX] {
                    a.call(ThreadCreate, &[entry, 0, 0, 0, 0]);
                    refused(a, EFAULT as i64);
                }
                // Data are no code, as a capability either.
                a.data_capability(Argument(0))
                    .set(Argument(4), 0)
                    .hostcall(ThreadCreate);
                refused(a, EFAULT as i64);
                a.exit(0);
            })]
        },
    ),
    play(
        "threads-beyond-the-quota",
        "make more threads than the manifest allows",
        everywhere(Nothing),
        |platform| {
            vec![threaded(platform, "threads-beyond-the-quota", |a| {
                let worker = worker(a, |a| {
                    a.call(Nanosleep, &[1000 * MILLISECOND]).exit(UNPUNISHED);
                });
                for _ in 1..THREADS {
                    create(a, worker, 0);
                }
                for _ in 0..3 {
                    a.code_address(Argument(0), worker)
                        .set(Argument(4), 0)
                        .hostcall(ThreadCreate);
                    refused(a, EAGAIN as i64);
                }
                a.exit(0);
            })]
        },
    ),
    play(
        "end-the-threads-of-others",
        "end threads, or change their priority, by numbers that are not the cVM's",
        everywhere(Nothing),
        |platform| {
            vec![threaded(platform, "end-the-threads-of-others", |a| {
                for number in [1, 2, 15, 16, 17, 0xffff, 1 << 16, 1 << 32, u64::MAX] {
                    a.call(ThreadEnd, &[number]);
                    refused(a, ESRCH as i64);
                    a.call(ThreadPriority, &[number, 0]);
                    refused(a, ESRCH as i64);
                }
                a.call(ThreadEnd, &[0]);
                refused(a, EPERM as i64);
                a.call(ThreadExit, &[0, 0]);
                refused(a, EPERM as i64);
                a.exit(0);
            })]
        },
    ),
    play(
        "exit-into-others-memory",
        "let the end of a thread store to memory of others",
        everywhere(Nothing),
        |platform| {
            vec![threaded(platform, "exit-into-others-memory", |a| {
                let secret = a.secret();
                let worker = worker(a, |a| {
                    a.address(Argument(0), secret)
                        .set(Argument(1), 1)
                        .hostcall(ThreadExit)
                        .exit(UNPUNISHED);
                });
                create(a, worker, 0);
                a.hostcall(Yield).hostcall(Yield).exit(0);
            })]
        },
    ),
    play(
        "wait-on-others-memory",
        "wait for, and wake at, memory that is not the cVM's, and words that are none",
        everywhere(Nothing),
        |platform| {
            vec![threaded(platform, "wait-on-others-memory", |a| {
                let secret = a.secret();
                for call in [Wait, Wake] {
                    a.address(Argument(0), secret);
                    a.set(Argument(1), 0).set(Argument(2), 1).hostcall(call);
                    refused(a, EFAULT as i64);
                    a.constant(Argument(0), u64::MAX - 3).hostcall(call);
                    refused(a, EFAULT as i64);
                    a.end_of_memory(Argument(0)).hostcall(call);
                    refused(a, EFAULT as i64);
                    a.data_address(Argument(0))
                        .add(Argument(0), Argument(0), 2)
                        .hostcall(call);
                    refused(a, EINVAL as i64);
                }
                a.exit(0);
            })]
        },
    ),
    play(
        "forged-tokens",
        "answer the deferred calls of others by guessing their tokens",
        everywhere(Nothing),
        |platform| {
            let server = role(platform, "server", |a| {
                a.hostcall(Serve).exit(0);
                a.handler();
                attacked(a);
                a.hostcall(Defer).copy(C, Argument(0));
                a.call(Nanosleep, &[8 * MILLISECOND]);
                a.copy(Argument(0), C).set(Argument(1), 77).set(Argument(3), 0);
                a.hostcall(Answer);
                must_succeed(a);
                a.hostcall(Reply);
            });
            let client = role(platform, "client", |a| {
                a.hostcall(Yield).hostcall(Null).add(Argument(0), Argument(0), -77);
                a.must_be_zero(Argument(0), 20).exit(0);
            });
            let forger = role(platform, "forged-tokens", |a| {
                a.call(Nanosleep, &[3 * MILLISECOND]);
                // The first calls of the first threads; then what no call has.
                a.set(A, 4);
                let calls = a.here();
                a.set(B, 64);
                let threads = a.here();
                a.copy(Argument(0), A).shift_left(Argument(0), 16);
                a.add_register(Argument(0), B).add(Argument(0), Argument(0), -1);
                a.set(Argument(1), 66).hostcall(Answer);
                refused(a, ENOENT as i64);
                a.count_down(B, threads).count_down(A, calls);
                for token in [u64::MAX, 1 << 63, 0xffff] {
                    a.call(Answer, &[token, 66, 0, 0]);
                    refused(a, ENOENT as i64);
                }
                a.call(Defer, &[]);
                refused(a, EPERM as i64);
                a.exit(0);
            });
            vec![server, client.served_by("server"), forger]
        },
    ),
    siege(
        "thread-storm",
        "compute in sixteen threads at once",
        2_000 * (THREADS as u64 + 2),
        |platform| {
            vec![threaded(platform, "thread-storm", |a| {
                let worker = worker(a, |a| {
                    until_late(a, |_| ());
                });
                for _ in 1..THREADS {
                    create(a, worker, 3);
                }
                until_late(a, |_| ());
            })]
        },
    ),
    siege(
        "wake-storm",
        "wake fifteen threads of lesser priority, which wait again, all the time",
        6_000,
        |platform| {
            vec![threaded(platform, "wake-storm", |a| {
                let worker = worker(a, |a| {
                    let start = a.here();
                    a.data_address(Argument(0)).set(Argument(1), 0);
                    a.constant(Argument(2), WAIT_FOREVER).hostcall(Wait).repeat(start);
                });
                for _ in 1..THREADS {
                    create(a, worker, 2);
                }
                until_late(a, |a| {
                    a.data_address(Argument(0)).set(Argument(1), 64).hostcall(Wake);
                });
            })]
        },
    ),
    siege(
        "wait-storm",
        "wait for words of one's own for no time, and for the least, all the time",
        6_000,
        |platform| {
            vec![threaded(platform, "wait-storm", |a| {
                until_late(a, |a| {
                    for timeout in [0, 1] {
                        a.data_address(Argument(0))
                            .set(Argument(1), 0)
                            .set(Argument(2), timeout);
                        a.hostcall(Wait);
                    }
                });
            })]
        },
    ),
    siege(
        "create-storm",
        "make threads that end at once, all the time",
        6_000,
        |platform| {
            vec![threaded(platform, "create-storm", |a| {
                let worker = worker(a, |a| {
                    a.set(Argument(1), 0).hostcall(ThreadExit).exit(UNPUNISHED);
                });
                until_late(a, |a| {
                    a.code_address(Argument(0), worker)
                        .set(Argument(4), 3)
                        .hostcall(ThreadCreate);
                });
            })]
        },
    ),
];

/// A cVM with many threads.
fn threaded(platform: Platform, name: &str, program: impl FnOnce(&mut Attacker)) -> Role {
    let mut role = role(platform, name, program);
    role.spec.threads = THREADS;
    role
}

/// What a thread does; returns where it begins.
pub(crate) fn worker(a: &mut Attacker, program: impl Fn(&mut Assembler)) -> i64 {
    // Once to see how long it is, at its place, as addresses count from the start of the code.
    let mut trial = Assembler::new(a.arch()).relocating(a.relocates());
    let start = a.here() + 4;
    while trial.here() < start {
        trial.push(0);
    }
    program(&mut trial);
    let over = trial.here() - a.here();
    a.jump(over);
    program(a);
    assert_eq!(a.here(), trial.here());
    start
}

/// Makes a thread, which must succeed.
fn create(a: &mut Assembler, entry: i64, priority: u32) {
    a.code_address(Argument(0), entry)
        .set(Argument(1), 0)
        .set(Argument(2), 0);
    a.set(Argument(3), 0).set(Argument(4), priority).hostcall(ThreadCreate);
    must_succeed(a);
}

/// Exits with 21 when the hostcall has failed.
pub(crate) fn must_succeed(a: &mut Assembler) {
    a.copy(B, Argument(0)).shift_right(B, 63).must_be_zero(B, 21);
}

/// Exits unpunished unless the hostcall was refused with this error.
fn refused(a: &mut Assembler, errno: i64) {
    a.add(Argument(0), Argument(0), errno)
        .must_be_zero(Argument(0), UNPUNISHED);
}

/// Repeats this until the attack has lasted long enough, then exits with 0.
fn until_late(a: &mut Assembler, what: impl FnOnce(&mut Assembler)) {
    let start = a.here();
    what(a);
    a.hostcall(Clock)
        .constant(A, DURATION)
        .subtract_register(Argument(0), A);
    a.shift_right(Argument(0), 63);
    let back = start - a.here();
    a.branch_not_zero(Argument(0), back).set(Argument(0), 0).hostcall(Exit);
}
