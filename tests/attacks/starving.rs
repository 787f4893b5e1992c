//! Taking what is everybody's: time, the console, memory. The victim looks at the clock.

use abi::Hostcall::{self, Arguments, Clock, Info, Nanosleep, Null, Read, Write, Yield};
use abi::hostcall::READ_NONBLOCKING;
use abi::manifest::RestartPolicy;
use tests::code::assembler::Register::{self, Argument, Number, Scratch, Stack};
use tests::code::attack::Attacker;
use tools::elf::synthesis::Load;
use tools::manifest::{CvmSpec, Restart};

use crate::catalogue::Fate::{EachStarted, Killed, Nothing, Refused};
use crate::catalogue::{Attack, Expected, Group, Means, Storm, either, everywhere};

pub(crate) const GROUP: Group = Group {
    title: "Starving others",
    promise: "5: a cVM delays one of the same priority by a slice of 2 ms, and one of greater priority not at all, but for the time that the monitor works for it",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);

/// How long an attack lasts, in nanoseconds since the start.
const DURATION: u64 = 25_000_000;

/// A storm of so many cVMs, who must leave the processor to the victim within so many microseconds.
const fn storm(
    name: &'static str,
    what: &'static str,
    copies: usize,
    patience: u64,
    program: fn(&mut Attacker),
) -> Attack {
    storm_with(
        name,
        what,
        everywhere(Nothing),
        Storm {
            program,
            copies,
            spec: unchanged,
            patience,
        },
    )
}

const fn storm_with(name: &'static str, what: &'static str, expected: Expected, storm: Storm) -> Attack {
    Attack {
        name,
        what,
        means: Means::Storm(storm),
        expected,
    }
}

const fn unchanged(spec: CvmSpec) -> CvmSpec {
    spec
}

/// Restarted so often, at once.
fn restarted(spec: CvmSpec, policy: RestartPolicy, limit: u32) -> CvmSpec {
    CvmSpec {
        restart: Restart {
            policy,
            limit,
            delay: 0,
        },
        ..spec
    }
}

const ATTACKS: &[Attack] = &[
    storm("spin", "compute and never give the processor away", 1, 2_500, |a| {
        until_late(a, |_| ());
    }),
    storm("spin-together", "three that compute", 3, 6_500, |a| {
        until_late(a, |_| ());
    }),
    storm_with(
        "spin-below",
        "compute with lesser priority than the victim",
        everywhere(Nothing),
        Storm {
            program: |a| until_late(a, |_| ()),
            copies: 3,
            spec: |spec| CvmSpec { priority: 2, ..spec },
            patience: 500,
        },
    ),
    storm("null-storm", "make hostcalls that do nothing", 2, 4_500, |a| {
        until_late(a, |a| {
            a.hostcall(Null);
        });
    }),
    storm("yield-storm", "give the processor away all the time", 3, 1_000, |a| {
        until_late(a, |a| {
            a.hostcall(Yield);
        });
    }),
    storm("clock-storm", "ask for the time all the time", 2, 4_500, |a| {
        until_late(a, |a| {
            a.hostcall(Clock);
        });
    }),
    storm("sleep-storm", "sleep for no time at all", 4, 1_000, |a| {
        until_late(a, |a| {
            a.call(Nanosleep, &[0]);
        });
    }),
    storm("error-storm", "make hostcalls that there are not", 2, 4_500, |a| {
        until_late(a, |a| {
            a.call_number(u64::MAX, &[]);
        });
    }),
    storm(
        "read-storm",
        "ask for input that there is not, without waiting",
        2,
        4_500,
        |a| {
            until_late(a, |a| {
                a.data_address(A).constant(Argument(3), READ_NONBLOCKING);
                a.add(Argument(1), A, 0)
                    .set(Argument(0), 0)
                    .set(Argument(2), 256)
                    .hostcall(Read);
            });
        },
    ),
    storm(
        "copy-storm",
        "have the monitor copy as much as it does at once",
        2,
        4_500,
        |a| {
            until_late(a, |a| {
                a.data_address(Argument(0)).set(Argument(1), 2047).hostcall(Arguments);
                a.data_address(Argument(0)).set(Argument(1), 48).hostcall(Info);
            });
        },
    ),
    storm(
        "refused-copy-storm",
        "have the monitor's copies refused in the middle",
        2,
        4_500,
        |a| {
            until_late(a, |a| {
                a.end_of_memory(A)
                    .add(Argument(1), A, -1024)
                    .set(Argument(0), 1)
                    .set(Argument(2), 2047)
                    .hostcall(Write);
                a.end_of_memory(A)
                    .add(Argument(0), A, -4)
                    .set(Argument(1), 48)
                    .hostcall(Info);
            });
        },
    ),
    storm("console-flood", "print lines as fast as it goes", 2, 6_000, |a| {
        a.data = b"the same line again and again, to fill the console of all\n".repeat(8);
        flood(a);
    }),
    storm(
        "console-flood-of-controls",
        "print characters that take several places each",
        1,
        6_000,
        |a| {
            a.data = vec![0x1b; 400];
            flood(a);
        },
    ),
    storm(
        "console-without-lines",
        "print without ever ending a line",
        1,
        6_000,
        |a| {
            a.data = vec![b'x'; 500];
            flood(a);
        },
    ),
    storm_with(
        "fault-storm",
        "fault in each of twenty lives",
        everywhere(EachStarted(20)),
        Storm {
            program: |a| {
                a.illegal();
            },
            copies: 2,
            spec: |spec| restarted(spec, RestartPolicy::OnFault, 20),
            patience: 6_000,
        },
    ),
    storm_with(
        "restart-storm",
        "exit in each of fifty lives",
        everywhere(EachStarted(50)),
        Storm {
            program: |a| {
                a.exit(0);
            },
            copies: 2,
            spec: |spec| restarted(spec, RestartPolicy::Always, 50),
            patience: 2_000,
        },
    ),
    storm_with(
        "restart-storm-with-memory",
        "exit in each of ten lives, with eight megabytes to be cleared for each",
        everywhere(EachStarted(10)),
        Storm {
            program: |a| {
                a.exit(0);
            },
            copies: 1,
            spec: |spec| restarted(CvmSpec { heap: 8 << 20, ..spec }, RestartPolicy::Always, 10),
            patience: 2_000,
        },
    ),
    storm_with(
        "endless-backtrace",
        "fault with frame pointers that go round in a circle",
        either(Killed(abi::FaultKind::Illegal), Killed(abi::FaultKind::Illegal)),
        Storm {
            program: |a| {
                // The frame record on CHERI-RISC-V is below the frame pointer, on Morello at it: each names itself.
                a.data_address(A).add(A, A, 64);
                let frame = Number(if a.is_riscv() { 8 } else { 29 });
                for offset in [-16, 0] {
                    a.store(A, A, offset);
                }
                a.code_address(Scratch(1), 8)
                    .store(Scratch(1), A, -8)
                    .store(Scratch(1), A, 8);
                a.add(frame, A, 0).illegal();
            },
            copies: 1,
            spec: unchanged,
            patience: 6_000,
        },
    ),
    storm_with(
        "foreign-backtrace",
        "fault with a frame pointer into the victim, whose secret the report must not show",
        everywhere(Killed(abi::FaultKind::Illegal)),
        Storm {
            program: |a| {
                let secret = a.secret() + 16;
                let frame = Number(if a.is_riscv() { 8 } else { 29 });
                a.address(A, secret).add(frame, A, 0).add(Stack, A, 0).illegal();
            },
            copies: 1,
            spec: unchanged,
            patience: 6_000,
        },
    ),
    storm(
        "memory-by-hostcall",
        "ask for more heap than there is, again and again",
        1,
        2_500,
        |a| {
            until_late(a, |a| {
                a.hostcall(Hostcall::Heap);
            });
        },
    ),
    exhausting(
        "memory-by-heap",
        "a heap of all the memory there is",
        |_, spec| CvmSpec { heap: 1 << 32, ..spec },
        "are free",
    ),
    exhausting(
        "memory-by-stack",
        "a stack of 2^63 bytes",
        |_, spec| CvmSpec { stack: 1 << 63, ..spec },
        "error: ",
    ),
    exhausting(
        "memory-by-bss",
        "a program with 2^39 zeroed bytes",
        |elf, spec| {
            elf.push(Load {
                memory_size: 1 << 39,
                ..Load::new(0x10_0000, &[], 6)
            });
            spec
        },
        "error: ",
    ),
];

/// What no memory suffices for.
const fn exhausting(
    name: &'static str,
    what: &'static str,
    change: fn(&mut Vec<Load>, CvmSpec) -> CvmSpec,
    message: &'static str,
) -> Attack {
    Attack {
        name,
        what,
        means: Means::Greed(change),
        expected: everywhere(Refused(message)),
    }
}

/// Does it again and again until the time is over, and exits with 0.
fn until_late(a: &mut Attacker, what: fn(&mut Attacker)) {
    let (count, late) = (Scratch(6), Scratch(7));
    let start = a.here();
    a.constant(count, 2000);
    let inner = a.here();
    what(a);
    a.count_down(count, inner).hostcall(Clock);
    a.constant(late, DURATION)
        .subtract_register(late, Argument(0))
        .shift_right(late, 63);
    // While it is not late, there is no sign.
    a.branch_not_zero(late, 8).jump(8).jump(8).repeat(start).exit(0);
}

/// Prints the data again and again until the time is over, and exits with 0.
fn flood(a: &mut Attacker) {
    let length = a.data.len();
    let late = Scratch(7);
    let start = a.here();
    a.print(length).hostcall(Clock);
    a.constant(late, DURATION)
        .subtract_register(late, Argument(0))
        .shift_right(late, 63);
    a.branch_not_zero(late, 8).jump(8).jump(8).repeat(start).exit(0);
}
