//! Long steps of the monitor: whatever manifest, program and arguments say, it looks soon at what has become due.

use abi::FaultKind::Illegal;
use abi::Hostcall::{BufferCreate, BufferGrant, BufferMap, BufferRevoke, Clock, Delegate, Nanosleep, Null, Yield};
use abi::hostcall::{BUFFER_ALL, BUFFER_READ};
use abi::manifest::RestartPolicy;
use object::elf::{PF_R, PF_X, R_AARCH64_RELATIVE, R_RISCV_RELATIVE};
use tests::Platform;
use tests::code::assembler::Register::{self, Argument, Number, Scratch};
use tests::code::attack::Attacker;
use tools::Architecture;
use tools::elf::synthesis::Load;

use crate::cast::{LENT, Role, client, play, role, server, writes};
use crate::catalogue::Fate::{EachStarted, Nothing};
use crate::catalogue::{Attack, Group, everywhere, killed};

pub(crate) const GROUP: Group = Group {
    title: "Long steps of the monitor",
    promise: "5: whatever manifest, program and arguments say, the monitor looks soon at what has become due",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);

const MILLISECOND: u64 = 1_000_000;
/// cVMs that want to hold a buffer; not all of them can.
const HOLDERS: u64 = 12;
/// The number of the buffer that is made.
const MADE: u64 = crate::capfiles::SHARED as u64;
/// cVMs of a crowd.
const CROWD: u64 = 100;
/// When all of a crowd do the same.
const TOGETHER: u64 = 60 * MILLISECOND;

const ATTACKS: &[Attack] = &[
    play(
        "revoke-from-many",
        "take a buffer back from as many as may hold it, with full local areas and several threads",
        everywhere(Nothing),
        |platform| {
            let mut owner = role(platform, "revoke-from-many", |a| {
                a.call(BufferCreate, &[64]);
                for cvm in 0..HOLDERS {
                    a.call(BufferGrant, &[MADE, cvm, BUFFER_READ]);
                }
                a.call(Nanosleep, &[TOGETHER]);
                a.call(BufferRevoke, &[MADE, BUFFER_ALL])
                    .must_be_zero(Argument(0), 41)
                    .exit(0);
            });
            owner.spec.buffer_quota = 64;
            let holders = (0..HOLDERS).map(|index| {
                let mut holder = role(platform, &format!("holder-{index}"), |a| {
                    a.add(A, Argument(0), 0).load(B, A, 104).add_register(A, B);
                    a.load_capability(Scratch(3), A, 0);
                    a.set(C, 100);
                    let start = a.here();
                    a.hostcall(Yield).call(BufferMap, &[MADE, BUFFER_READ]);
                    a.tag_of(B, Argument(0)).branch_not_zero(B, 8).jump(8).jump(12);
                    a.count_down(C, start).exit(0);
                    a.copy(Scratch(4), Argument(0)).set(A, 16).set(C, 256);
                    let start = a.here();
                    a.store_capability_through(Scratch(4), Scratch(3))
                        .offset(Scratch(3), Scratch(3), A)
                        .count_down(C, start);
                    a.call(Nanosleep, &[2 * TOGETHER]).exit(0);
                });
                holder.spec.local = 256;
                holder
            });
            std::iter::once(owner).chain(holders).collect()
        },
    ),
    play(
        "long-service-stack",
        "lend to a server with the greatest service stack, 64 KiB",
        everywhere(Nothing),
        |platform| {
            let mut large = server(platform, "long-service-stack", |a| {
                a.reply(1);
            });
            large.spec.service_stack = 64 << 10;
            let patient = client(platform, "long-service-stack", |a| writes(a, 1));
            vec![large, patient.budget(1000 * MILLISECOND)]
        },
    ),
    play(
        "long-text",
        "a program with 12 MiB of text",
        everywhere(Nothing),
        |platform| {
            let mut large = role(platform, "long-text", |a| {
                a.exit(0);
            });
            large
                .elf
                .loads
                .push(Load::new(0x10_0000, &vec![1; 12 << 20], PF_R | PF_X));
            vec![large]
        },
    ),
    play(
        "many-relocations",
        "a program with 200 000 relocations",
        everywhere(Nothing),
        |platform| {
            let mut large = role(platform, "many-relocations", |a| {
                a.exit(0);
            });
            let kind = match platform.arch() {
                Architecture::CheriRiscv => R_RISCV_RELATIVE,
                Architecture::Morello => R_AARCH64_RELATIVE,
            };
            let place = large.elf.loads[1].address;
            let relocations: Vec<(u64, u32)> = (0..200_000).map(|number| (place + number % 64 * 8, kind)).collect();
            large.elf = large.elf.with_relocations(0x10_0000, &relocations);
            vec![large]
        },
    ),
    play(
        "long-report",
        "fault with a full backtrace, all registers and the most symbols that are looked at",
        killed(Illegal),
        |platform| {
            let mut faults = role(platform, "long-report", |a| {
                let frame = Number(if a.is_riscv() { 8 } else { 29 });
                a.data_address(A).add(A, A, 64);
                a.code_address(B, 8).set(C, 40);
                let start = a.here();
                // The frame record on CHERI-RISC-V is below the frame pointer, on Morello at it.
                for offset in [-16, 0] {
                    a.add(Scratch(3), A, 32)
                        .store(Scratch(3), A, offset)
                        .store(B, A, offset + 8);
                }
                a.add(A, A, 32).count_down(C, start);
                a.data_address(frame).add(frame, frame, 64);
                for number in free(a) {
                    a.read_ddc(Number(number));
                }
                a.illegal();
            });
            let code = faults.elf.entry;
            // The one that is meant comes last of those that are looked at, the first of which is none.
            let many = (0..2046).map(|number| (code + 2048, 1, format!("{number:0>250}")));
            let last = (code, 1024, "x".repeat(250));
            faults.elf.functions = many.chain([last]).collect();
            vec![faults]
        },
    ),
    play(
        "late-together",
        "a hundred clients of a server that never answers, all of whom run out of time at once",
        everywhere(Nothing),
        |platform| {
            let mut cast = vec![role(platform, "server", |a| {
                a.call(Nanosleep, &[2 * TOGETHER]).exit(0);
                a.handler().hostcall(Delegate);
            })];
            cast.extend(crowd(
                platform,
                "late-together",
                |number, role| {
                    // Its first hostcall waits for the server, which begins to serve too late.
                    let mut role = role.served_by("server");
                    role.spec.call_budget = TOGETHER - number * 1000;
                    role
                },
                |a, _| {
                    a.hostcall(Null).exit(0);
                },
            ));
            cast
        },
    ),
    play(
        "start-together",
        "a hundred cVMs that wait for one to end",
        everywhere(Nothing),
        |platform| {
            let mut first = role(platform, "first", |a| {
                a.exit(0);
            });
            first.spec.wait = 0;
            let mut cast = vec![first];
            cast.extend(crowd(
                platform,
                "start-together",
                |_, role| role,
                |a, _| {
                    a.exit(0);
                },
            ));
            cast
        },
    ),
    play(
        "restart-together",
        "a hundred cVMs that are started again at the same time",
        everywhere(EachStarted(1)),
        |platform| {
            crowd(
                platform,
                "restart-together",
                |number, mut role| {
                    role.spec.restart.policy = RestartPolicy::Always;
                    role.spec.restart.limit = 1;
                    role.spec.restart.delay = TOGETHER - ends(number);
                    role
                },
                |a, number| {
                    sleep_until(a, ends(number));
                    a.exit(0);
                },
            )
        },
    ),
    play(
        "wake-together",
        "a hundred cVMs that wake up at the same time",
        everywhere(Nothing),
        |platform| {
            crowd(
                platform,
                "wake-together",
                |_, role| role,
                |a, _| {
                    sleep_until(a, TOGETHER);
                    a.exit(0);
                },
            )
        },
    ),
    play(
        "refused-together",
        "a server that ends while a hundred clients wait for it",
        everywhere(Nothing),
        |platform| {
            let mut cast = vec![role(platform, "server", |a| {
                a.call(Nanosleep, &[TOGETHER]).exit(0);
                a.handler().hostcall(Delegate);
            })];
            cast.extend(crowd(
                platform,
                "refused-together",
                |_, role| role.served_by("server"),
                |a, _| {
                    a.hostcall(Null).exit(0);
                },
            ));
            cast
        },
    ),
    play(
        "lend-odd-buffers",
        "lend buffers of all lengths at odd places, and of more than is lent at once",
        everywhere(Nothing),
        |platform| {
            let server = server(platform, "server", |a| {
                a.reply(1);
            });
            let lends = role(platform, "lend-odd-buffers", |a| {
                for place in [0_u32, 1, 3, 7] {
                    for length in [u64::from(LENT), 2047, 4095, 1 << 40, i64::MAX as u64] {
                        a.data_address(Argument(1)).add(Argument(1), Argument(1), place.into());
                        a.set(Argument(0), 1)
                            .constant(Argument(2), length)
                            .hostcall(abi::Hostcall::Write);
                    }
                }
                a.exit(0);
            });
            vec![server, lends.served_by("server")]
        },
    ),
];

/// When the cVM with this number in the crowd ends for the first time.
const fn ends(number: u64) -> u64 {
    20 * MILLISECOND + number * 100_000
}

/// The cVM with the name of an attack, and others that do the same.
fn crowd(platform: Platform, name: &str, spec: fn(u64, Role) -> Role, program: fn(&mut Attacker, u64)) -> Vec<Role> {
    let names = (0..CROWD).map(|number| {
        if number == 0 {
            name.to_owned()
        } else {
            format!("{name}-{number}")
        }
    });
    let roles = names.enumerate().map(|(number, name)| {
        let number = number as u64;
        spec(number, role(platform, &name, |a| program(a, number)))
    });
    roles.collect()
}

/// Registers that the program of the long report does not need any more.
fn free(a: &Attacker) -> Vec<u32> {
    let frame = if a.is_riscv() { 8 } else { 29 };
    (1..31).filter(|number| *number != frame).collect()
}

/// Sleeps until this time since the start.
fn sleep_until(a: &mut Attacker, time: u64) {
    a.hostcall(Clock).constant(A, time).subtract_register(A, Argument(0));
    a.add(Argument(0), A, 0).hostcall(Nanosleep);
}
