//! Attacks on and by gates: of the function on its caller, of the caller on the function, of either on what lies between.

use abi::Errno::{EAGAIN, ECONNREFUSED, ECONNRESET, ENOENT, ENOMEM, EPERM, ETIMEDOUT};
use abi::FaultKind::{Bounds, Permission, Seal, Tag, Type};
use abi::Hostcall::{self, Defer, Delegate, Gate, Info, Nanosleep, Reply, Serve, ThreadExit, ThreadSelf, Write, Yield};
use abi::manifest::RestartPolicy;
use tests::Platform;
use tests::code::assembler::Register::{self, Argument, Number, Scratch, Stack};
use tests::code::attack::{Attacker, UNPUNISHED};

use crate::cast::{Role, client, play, role};
use crate::catalogue::Fate::{Error, KilledForOne, Nothing};
use crate::catalogue::{Attack, Group, each, everywhere, killed};

pub(crate) const GROUP: Group = Group {
    title: "Gates",
    promise: "1, 2, 4, 7: a call by a gate passes what both choose and nothing else, and comes back",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);
/// What honest callers keep in registers that a function keeps.
const KEPT: u32 = 1234;
pub(crate) const MILLISECOND: u64 = 1_000_000;

const ATTACKS: &[Attack] = &[
    play(
        "gate-full-registers",
        "return with a capability in every register: two results arrive, for data only and local, the others are the caller's",
        everywhere(Nothing),
        |platform| {
            let server = offers(platform, "gate-full-registers", |a| {
                let back = a.way_back();
                a.copy(Scratch(5), back[0])
                    .copy(Scratch(6), back[1])
                    .read_ddc(Argument(0));
                let taken = [Scratch(5), Scratch(6), Argument(0)].map(|register| a.number(register));
                for number in (1..31).filter(|number| *number != 2 && !taken.contains(number)) {
                    a.copy(Number(number), Argument(0));
                }
                hide_in_special_registers(a, Argument(0));
                a.copy(back[0], Scratch(5)).copy(back[1], Scratch(6)).return_from_gate();
            });
            let caller = calls(platform, "caller", "gate-full-registers", |a| {
                a.set(A, KEPT).set(Argument(0), 1).call_gate();
                is_foreign_data(a, Argument(0));
                is_foreign_data(a, Argument(1));
                a.add(A, A, -i64::from(KEPT)).must_be_zero(A, 1);
                let all: Vec<u32> = kept(a).collect();
                for number in all {
                    a.must_be_untagged(Number(number), 2);
                }
                nothing_besides(a, 2, true);
                a.exit(0);
            });
            vec![server, caller]
        },
    ),
    play(
        "gate-looks-around",
        "look at every register, the stack pointer and DDC that the caller has left: nothing but the arguments",
        everywhere(Nothing),
        |platform| {
            let server = offers(platform, "gate-looks-around", |a| {
                for index in 0..6 {
                    is_foreign_data(a, Argument(index));
                }
                for index in 0..6 {
                    a.set(Argument(index), 0);
                }
                nothing_besides(a, 6, false);
                let all: Vec<u32> = kept(a).collect();
                for number in all {
                    a.must_be_zero(Number(number), UNPUNISHED);
                }
                a.return_from_gate();
            });
            let caller = calls(platform, "caller", "gate-looks-around", |a| {
                a.read_ddc(Argument(0));
                hide_in_special_registers(a, Argument(0));
                for index in 1..6 {
                    a.copy(Argument(index), Argument(0));
                }
                let all: Vec<u32> = kept(a).collect();
                for number in all {
                    a.copy(Number(number), Argument(0));
                }
                a.call_gate().exit(0);
            });
            vec![server, caller]
        },
    ),
    play(
        "gate-keeps-an-argument",
        "store a passed capability in memory that is no local area",
        killed(Permission),
        |platform| {
            let server = offers(platform, "gate-keeps-an-argument", |a| {
                a.data_address(A).store_capability(Argument(0), A, 0).return_from_gate();
            });
            vec![
                server,
                unlucky(platform, "gate-keeps-an-argument", |a| {
                    a.read_ddc(Argument(0));
                }),
            ]
        },
    ),
    play(
        "gate-argument-for-capabilities",
        "store a capability through a passed one, to leave it with the caller",
        killed(Permission),
        |platform| {
            let server = offers(platform, "gate-argument-for-capabilities", |a| {
                a.read_ddc(A)
                    .store_capability_through(A, Argument(0))
                    .return_from_gate();
            });
            vec![
                server,
                unlucky(platform, "gate-argument-for-capabilities", |a| {
                    a.data_capability(Argument(0));
                }),
            ]
        },
    ),
    play(
        "gate-argument-executes",
        "jump to what the caller executes with, passed as an argument",
        killed(Permission),
        |platform| {
            let server = offers(platform, "gate-argument-executes", |a| {
                // Bit 0 would be C64; a sentry is what a branch needs on Morello, and can be made of code only.
                a.jump_to_capability(Argument(0)).exit(UNPUNISHED);
            });
            vec![
                server,
                unlucky(platform, "gate-argument-executes", |a| {
                    a.read_pcc(Argument(0));
                }),
            ]
        },
    ),
    play(
        "gate-argument-sealed",
        "pass sealed capabilities on, a token among them: they arrive as integers",
        everywhere(Nothing),
        |platform| {
            let server = offers(platform, "honest", |a| {
                for index in 0..4 {
                    a.must_be_untagged(Argument(index), UNPUNISHED);
                }
                a.return_from_gate();
            });
            let caller = calls(platform, "gate-argument-sealed", "honest", |a| {
                let [code, data] = a.token();
                a.copy(Argument(0), code)
                    .copy(Argument(1), data)
                    .read_pcc(A)
                    .seal_entry(Argument(2), A);
                a.copy(Argument(3), code).call_gate();
                a.exit(0);
            });
            vec![server, caller]
        },
    ),
    play(
        "gate-elsewhere",
        "enter the switcher elsewhere than where it begins",
        each(KilledForOne(&[Tag]), KilledForOne(&[Seal]), KilledForOne(&[Tag])),
        |platform| {
            let caller = calls(platform, "gate-elsewhere", "honest", |a| {
                let [code, data] = a.token();
                a.set(A, 64).offset(B, code, A).call_gate_by(B, data);
            });
            vec![honest(platform), caller]
        },
    ),
    play(
        "gate-with-own-data",
        "enter the switcher with data of one's own: unsealed, or in a pair of one's own with the way back into the switcher",
        each(
            KilledForOne(&[Seal, Type]),
            KilledForOne(&[Seal, Type]),
            KilledForOne(&[Tag]),
        ),
        |platform| {
            if !Attacker::new(platform).is_riscv() {
                let server = role(platform, "gate-with-own-data", |a| {
                    remember_local_area(a);
                    a.hostcall(Serve);
                    local_area(a, C);
                    a.load_capability_through(A, C).data_capability(B);
                    a.store_capability_through(B, C);
                    a.set(Argument(0), 16)
                        .offset(B, C, Argument(0))
                        .store_capability_through(A, B);
                    let [b, c] = [B, C].map(|register| a.number(register));
                    a.push(0xc2c3_5000 | c << 5 | b); // SEAL B, C, lpb
                    a.call_gate_by(B, B).exit(UNPUNISHED);
                    a.gate("work");
                    keep_way_back(a);
                    a.return_from_gate();
                });
                let caller = calls(platform, "caller", "gate-with-own-data", |a| {
                    a.call_gate().exit(0);
                });
                return vec![with_local_area(gates(server)), caller];
            }
            let caller = calls(platform, "gate-with-own-data", "honest", |a| {
                let [code, _] = a.token();
                a.data_capability(B).call_gate_by(code, B);
            });
            vec![honest(platform), caller]
        },
    ),
    play(
        "gate-not-in-the-manifest",
        "ask for a gate that exists and that the manifest does not give",
        everywhere(Error(ENOENT)),
        |platform| {
            let stranger = role(platform, "gate-not-in-the-manifest", |a| {
                a.data = b"honest.work".to_vec();
                a.data_address(Argument(0))
                    .set(Argument(1), 11)
                    .hostcall(Gate)
                    .exit_with_result();
            });
            vec![
                honest(platform),
                calls(platform, "caller", "honest", |a| {
                    a.call_gate().exit(0);
                }),
                stranger,
            ]
        },
    ),
    play(
        "gate-to-a-seat-twice",
        "call a gate again that one is in the middle of, by another gate: there is no stack for it",
        everywhere(Nothing),
        |platform| {
            let first = passes_on(platform, "first", "gate-to-a-seat-twice", 1, |a| {
                a.must_be_zero(Argument(0), 1);
            });
            let second = passes_on(platform, "gate-to-a-seat-twice", "first", 1, |a| {
                refused(a, EAGAIN as i64);
                a.set(Argument(0), 0);
            });
            let starter = calls(platform, "caller", "first", |a| {
                a.call_gate().must_be_zero(Argument(0), 1).exit(0);
            });
            vec![first, second, starter]
        },
    ),
    play(
        "gate-too-deep",
        "call each other deeper than a thread can remember",
        everywhere(Nothing),
        |platform| {
            let starter = calls(platform, "gate-too-deep", "one", |a| {
                for _ in 0..2 {
                    a.call_gate();
                    refused(a, ENOMEM as i64);
                }
                a.exit(0);
            });
            vec![
                passes_on(platform, "one", "other", 16, |_| ()),
                passes_on(platform, "other", "one", 16, |_| ()),
                starter,
            ]
        },
    ),
    play(
        "gate-hostile-stack",
        "call with DDC, stack and thread pointer that lead elsewhere or nowhere: the function has its own",
        everywhere(Nothing),
        |platform| {
            let server = offers(platform, "honest", |a| {
                let store = |a: &mut Attacker| {
                    a.data_address(B).store(Argument(0), B, 0).load(Argument(0), B, 0);
                };
                store(a);
                if a.is_riscv() {
                    a.store(Argument(0), Stack, -16).load(Argument(0), Stack, -16);
                }
                a.return_from_gate();
            });
            let caller = calls(platform, "gate-hostile-stack", "honest", |a| {
                a.read_ddc(C).constant(B, u64::MAX - 15);
                if a.is_riscv() {
                    a.copy(Number(4), B).add(Stack, B, 0);
                }
                a.clear_ddc();
                a.set(Argument(0), 77).call_gate();
                a.tag_in_ddc(A).must_be_zero(A, UNPUNISHED);
                a.write_ddc(C)
                    .add(Argument(0), Argument(0), -77)
                    .must_be_zero(Argument(0), UNPUNISHED);
                a.exit(0);
            });
            vec![server, caller]
        },
    ),
    play(
        "gate-returns-without-a-call",
        "keep the way back and take it when nobody has called",
        killed(Tag),
        |platform| {
            let server = role(platform, "gate-returns-without-a-call", |a| {
                remember_local_area(a);
                a.hostcall(Serve);
                find_way_back(a);
                a.return_from_gate().exit(UNPUNISHED);
                a.gate("work");
                keep_way_back(a);
                a.return_from_gate();
            });
            vec![
                with_local_area(gates(server)),
                calls(platform, "caller", "gate-returns-without-a-call", |a| {
                    a.call_gate().exit(0);
                }),
            ]
        },
    ),
    play(
        "gate-returns-twice",
        "the same in a thread that could have called: its record is empty",
        each(KilledForOne(&[Tag]), KilledForOne(&[Tag]), KilledForOne(&[Bounds])),
        |platform| {
            let mut server = role(platform, "gate-returns-twice", |a| {
                remember_local_area(a);
                a.ask("honest.work");
                a.call_gate().hostcall(Serve);
                find_way_back(a);
                a.return_from_gate().exit(UNPUNISHED);
                a.gate("work");
                keep_way_back(a);
                a.return_from_gate();
            });
            server.spec.calls = vec!["honest.work".into()];
            let server = with_local_area(gates(server));
            vec![
                honest(platform),
                server,
                calls(platform, "caller", "gate-returns-twice", |a| {
                    a.call_gate().exit(0);
                }),
            ]
        },
    ),
    play(
        "gate-function-faults",
        "fault in the function: the caller gets an error, and has all it had",
        killed(abi::FaultKind::Illegal),
        |platform| {
            let server = offers(platform, "gate-function-faults", |a| {
                a.illegal();
            });
            vec![
                server,
                disappointed(platform, "gate-function-faults", ECONNRESET as i64),
            ]
        },
    ),
    play(
        "gate-function-exits",
        "exit in the function: its own cVM ends, and not the caller's",
        everywhere(Nothing),
        |platform| {
            let server = offers(platform, "gate-function-exits", |a| {
                a.exit(0);
            });
            vec![server, disappointed(platform, "gate-function-exits", ECONNRESET as i64)]
        },
    ),
    play(
        "gate-function-never-returns",
        "compute for ever in the function: the caller is back when its budget is used up",
        everywhere(Nothing),
        |platform| {
            let server = offers(platform, "gate-function-never-returns", |a| {
                let start = a.here();
                a.repeat(start);
            });
            vec![
                server,
                disappointed(platform, "gate-function-never-returns", ETIMEDOUT as i64),
            ]
        },
    ),
    play(
        "gate-function-sleeps",
        "sleep for ever in the function: the caller is back when its budget is used up",
        everywhere(Nothing),
        |platform| {
            let server = offers(platform, "gate-function-sleeps", |a| {
                a.call(Nanosleep, &[1 << 60]).exit(UNPUNISHED);
            });
            vec![server, disappointed(platform, "gate-function-sleeps", ETIMEDOUT as i64)]
        },
    ),
    play(
        "gate-acts-as-the-caller",
        "make hostcalls in the function that are the caller's affair: who asks is the function's cVM",
        everywhere(Nothing),
        |platform| {
            let server = offers(platform, "gate-acts-as-the-caller", |a| {
                for call in [Serve, Reply, Delegate, Defer, Hostcall::Clone, ThreadExit] {
                    a.call(call, &[0, 0, 0]);
                    refused(a, EPERM as i64);
                }
                a.hostcall(ThreadSelf);
                refused(a, abi::Errno::ESRCH as i64);
                // The victim is number 0.
                a.data_address(Argument(0)).set(Argument(1), 16).hostcall(Info);
                a.data_address(A)
                    .load(B, A, 0)
                    .lower_half(B)
                    .add(B, B, -1)
                    .must_be_zero(B, UNPUNISHED);
                a.return_from_gate();
            });
            let caller = calls(platform, "caller", "gate-acts-as-the-caller", |a| {
                a.call_gate();
                a.data_address(Argument(0)).set(Argument(1), 16).hostcall(Info);
                a.data_address(A)
                    .load(B, A, 0)
                    .lower_half(B)
                    .add(B, B, -2)
                    .must_be_zero(B, 1);
                a.exit(0);
            });
            vec![server, caller]
        },
    ),
    play(
        "gate-after-the-end",
        "call a gate of a cVM that has ended",
        everywhere(Error(ECONNREFUSED)),
        |platform| {
            let server = role(platform, "mortal", |a| {
                a.hostcall(Yield)
                    .call(Nanosleep, &[MILLISECOND])
                    .hostcall(Serve)
                    .exit(0);
                a.gate("work").exit(0);
            });
            let caller = calls(platform, "gate-after-the-end", "mortal", |a| {
                a.call_gate();
                refused(a, ECONNRESET as i64);
                a.call(Nanosleep, &[2 * MILLISECOND])
                    .set(Argument(0), 5)
                    .call_gate()
                    .exit_with_result();
            });
            vec![gates(server), caller]
        },
    ),
    play(
        "gate-caller-dies",
        "end in the middle of a call, again and again: the gate is free for others",
        everywhere(Nothing),
        |platform| {
            let server = offers(platform, "honest", |a| {
                a.call(Nanosleep, &[MILLISECOND / 2]).return_from_gate();
            });
            let mut caller = calls(platform, "gate-caller-dies", "honest", |a| {
                // Another thread ends the cVM while this one is away.
                let ends = crate::threads::worker(a, |a| {
                    a.call(Nanosleep, &[MILLISECOND / 4]).exit(0);
                });
                a.code_address(Argument(0), ends);
                for index in 1..4 {
                    a.set(Argument(index), 0);
                }
                a.set(Argument(4), 3).hostcall(Hostcall::ThreadCreate);
                a.call_gate().exit(UNPUNISHED);
            });
            caller.spec.threads = 2;
            caller.spec.restart.policy = RestartPolicy::Always;
            caller.spec.restart.limit = 3;
            let patient = calls(platform, "caller", "honest", |a| {
                a.call(Nanosleep, &[8 * MILLISECOND]).set(A, 10);
                let start = a.here();
                a.call_gate().must_be_zero(Argument(0), 1).count_down(A, start);
                a.exit(0);
            });
            vec![server, caller, patient]
        },
    ),
    play(
        "gate-memory-of-the-dead",
        "keep what a caller has passed beyond the caller's end: the next life's memory is its own",
        everywhere(Nothing),
        |platform| {
            let server = role(platform, "gate-memory-of-the-dead", |a| {
                a.hostcall(Serve).exit(0);
                a.gate("work");
                // On the part of the stack that takes local capabilities: what an earlier call has left there, and this one's.
                let stack = a.service_stack();
                a.copy(B, stack);
                lower(a, B);
                a.load_capability_through(C, B).must_be_untagged(C, UNPUNISHED);
                is_foreign_data(a, Argument(0));
                a.store_capability_through(Argument(0), B).return_from_gate();
            });
            let mut caller = calls(platform, "caller", "gate-memory-of-the-dead", |a| {
                a.data_capability(Argument(0)).call_gate();
                a.exit(0);
            });
            caller.spec.restart.policy = RestartPolicy::Always;
            caller.spec.restart.limit = 2;
            vec![gates(server), caller]
        },
    ),
    play(
        "gate-for-what-was-lent",
        "pass what a client has lent on by a gate, to find it there when the call is over",
        everywhere(Nothing),
        |platform| {
            let keeper = role(platform, "gate-for-what-was-lent", |a| {
                a.hostcall(Serve).exit(0);
                a.gate("work");
                let stack = a.service_stack();
                a.copy(B, stack);
                lower(a, B);
                a.load_capability_through(C, B).must_be_untagged(C, UNPUNISHED);
                is_foreign_data(a, Argument(0));
                a.store_capability_through(Argument(0), B)
                    .set(Argument(0), 64)
                    .return_from_gate();
            });
            let mut server = role(platform, "server", |a| {
                a.hostcall(Serve).exit(0);
                a.handler();
                crate::cast::attacked(a);
                a.copy(A, Argument(1));
                a.ask("gate-for-what-was-lent.work");
                a.copy(Argument(0), A).call_gate();
                a.set(Argument(1), 0).set(Argument(2), 0).hostcall(Reply);
            });
            server.spec.calls = vec!["gate-for-what-was-lent.work".into()];
            let writer = client(platform, "server", |a| {
                for _ in 0..3 {
                    a.data_address(Argument(1)).set(Argument(0), 1);
                    a.set(Argument(2), 64).hostcall(Write);
                    a.add(Argument(0), Argument(0), -64).must_be_zero(Argument(0), 1);
                }
                a.exit(0);
            });
            vec![gates(keeper), server, writer]
        },
    ),
    play(
        "gate-by-a-float",
        "use a floating-point register in a function whose gate is without vector",
        killed(abi::FaultKind::Illegal),
        |platform| {
            let server = offers(platform, "gate-by-a-float", |a| {
                a.word(0x0205_0053, 0x9e67_0000).return_from_gate(); // FADD.D f0, f10, f0; FMOV d0, x0
            });
            vec![server, unlucky(platform, "gate-by-a-float", |_| ())]
        },
    ),
];

/// A cVM with the gate `work`, for one caller at a time.
pub(crate) fn gates(mut role: Role) -> Role {
    role.spec.gates = vec!["work 4096 1".into()];
    role
}

/// A cVM that serves, and this function.
pub(crate) fn offers(platform: Platform, name: &str, function: impl FnOnce(&mut Attacker)) -> Role {
    gates(role(platform, name, |a| {
        a.hostcall(Serve).exit(0);
        a.gate("work");
        function(a);
    }))
}

/// One whose function does nothing.
pub(crate) fn honest(platform: Platform) -> Role {
    offers(platform, "honest", |a| {
        a.return_from_gate();
    })
}

/// A cVM that may call the gate `work` of another one, and has its token.
pub(crate) fn calls(platform: Platform, name: &str, server: &str, program: impl FnOnce(&mut Attacker)) -> Role {
    calls_gate(platform, name, &format!("{server}.work"), program)
}

fn calls_gate(platform: Platform, name: &str, gate: &str, program: impl FnOnce(&mut Attacker)) -> Role {
    let mut role = role(platform, name, |a| {
        a.ask(gate);
        program(a);
    });
    role.spec.calls = vec![gate.to_owned()];
    role
}

/// One whose function ends badly.
fn unlucky(platform: Platform, server: &str, arguments: impl FnOnce(&mut Attacker)) -> Role {
    calls(platform, "caller", server, |a| {
        arguments(a);
        a.call_gate();
        a.add(Argument(0), Argument(0), ECONNRESET as i64)
            .must_be_zero(Argument(0), 1)
            .exit(0);
    })
}

/// One that gets this error in the function's place, and has all it had.
fn disappointed(platform: Platform, server: &str, errno: i64) -> Role {
    let role = calls(platform, "caller", server, |a| {
        for (index, number) in kept(a).enumerate() {
            a.set(Number(number), KEPT + index as u32);
        }
        a.call_gate();
        a.add(Argument(0), Argument(0), errno).must_be_zero(Argument(0), 1);
        let all: Vec<u32> = kept(a).collect();
        for (index, number) in all.into_iter().enumerate() {
            a.add(Number(number), Number(number), -i64::from(KEPT + index as u32))
                .must_be_zero(Number(number), 2);
        }
        nothing_besides(a, 1, true);
        a.data_address(B)
            .store(B, B, 0)
            .load(A, B, 0)
            .must_be_equal(A, B, 3)
            .exit(0);
    });
    role.budget(4 * MILLISECOND)
}

/// A cVM whose function calls that of another one, checks what came of it, and returns it.
pub(crate) fn passes_on(
    platform: Platform,
    name: &str,
    other: &str,
    callers: u32,
    check: impl Fn(&mut Attacker),
) -> Role {
    let mut role = role(platform, name, |a| {
        a.hostcall(Serve).exit(0);
        a.gate("work");
        // The switcher keeps what a caller keeps, tags too.
        let back = a.way_back();
        a.copy(Scratch(5), back[0]).copy(Scratch(6), back[1]);
        a.add(Scratch(7), Argument(0), 0);
        a.ask(&format!("{other}.work"));
        a.add(Argument(0), Scratch(7), 0).call_gate();
        check(a);
        a.copy(back[0], Scratch(5)).copy(back[1], Scratch(6)).return_from_gate();
    });
    role.spec.gates = vec![format!("work 4096 {callers}")];
    role.spec.calls = vec![format!("{other}.work")];
    role
}

/// With a local area.
pub(crate) fn with_local_area(mut role: Role) -> Role {
    role.spec.local = 4;
    role
}

/// First thing in a program, while argument 0 is the start block: keeps where the capability over the local area lies.
pub(crate) fn remember_local_area(a: &mut Attacker) {
    a.add(A, Argument(0), 0).load(B, A, 104).add_register(A, B);
    a.data_address(B).store(A, B, 2040);
}

/// The register = the capability over the local area.
pub(crate) fn local_area(a: &mut Attacker, register: Register) {
    a.data_address(register).load(register, register, 2040);
    a.load_capability(register, register, 0);
}

/// In a function: keeps the way back in the local area.
fn keep_way_back(a: &mut Attacker) {
    keep(a, a.way_back());
}

/// The way back = what was kept.
fn find_way_back(a: &mut Attacker) {
    find(a, a.way_back());
}

/// Keeps two capabilities in the local area.
pub(crate) fn keep(a: &mut Attacker, [one, other]: [Register; 2]) {
    local_area(a, C);
    a.store_capability_through(one, C).set(A, 16).offset(C, C, A);
    a.store_capability_through(other, C);
}

/// The registers = what was kept.
pub(crate) fn find(a: &mut Attacker, [one, other]: [Register; 2]) {
    local_area(a, C);
    a.load_capability_through(one, C).set(A, 16).offset(C, C, A);
    a.load_capability_through(other, C);
}

/// The capability in the register = the same, 16 bytes lower.
fn lower(a: &mut Attacker, register: Register) {
    a.constant(A, 16_u64.wrapping_neg()).offset(register, register, A);
}

/// The numbers of the registers that functions keep, but for the token's and those of the checks.
fn kept(a: &Attacker) -> impl Iterator<Item = u32> + use<> {
    if a.is_riscv() { 18..27 } else { 19..27 }
}

/// A capability of this cVM in registers that are no general ones.
fn hide_in_special_registers(a: &mut Attacker, capability: Register) {
    if !a.is_riscv() {
        // MSR CID_EL0, capability
        let number = a.number(capability);
        a.push(0xc28b_d0e0 | number);
    }
}

/// Exits unpunished unless the register holds a local capability for data.
fn is_foreign_data(a: &mut Attacker, register: Register) {
    let (b, more) = if a.is_riscv() {
        (Number(28), 0x7_fff3)
    } else {
        (Number(15), 0xffff)
    };
    let more_register = Number(if a.is_riscv() { 29 } else { 16 });
    a.tag_of(b, register).add(b, b, -1).must_be_zero(b, UNPUNISHED);
    a.permissions_of(b, register)
        .constant(more_register, more)
        .and(b, more_register)
        .must_be_zero(b, UNPUNISHED);
}

/// Exits unpunished when there is a capability in a register besides the first arguments, those that functions keep, the stack
/// pointer, the way back, and what a function gets for itself.
fn nothing_besides(a: &mut Attacker, arguments: u32, is_back: bool) {
    let own: &[u32] = match (a.is_riscv(), is_back) {
        (true, false) => &[0, 1, 2, 4, 5, 6, 7],
        (true, true) => &[0, 1, 2, 4],
        (false, false) => &[8, 9, 30],
        (false, true) => &[30],
    };
    let [one, other] = a.token().map(|register| a.number(register));
    for number in 0..31 {
        let is_argument = (0..arguments).any(|index| a.number(Argument(index)) == number);
        if !own.contains(&number)
            && !is_argument
            && ![one, other].contains(&number)
            && !kept(a).any(|kept| kept == number)
        {
            a.must_be_untagged(Number(number), UNPUNISHED);
        }
    }
    if !a.is_riscv() {
        // MRS c15, CID_EL0
        a.push(0xc29b_d0e0 | 15).must_be_untagged(Number(15), UNPUNISHED);
    }
}

/// Exits unpunished unless the result is this error.
pub(crate) fn refused(a: &mut Attacker, errno: i64) {
    a.add(Argument(0), Argument(0), errno)
        .must_be_zero(Argument(0), UNPUNISHED);
}
