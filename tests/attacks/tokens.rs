//! Attacks by tokens of gates that are somebody else's or of another time, and by calls that take too long.

use abi::Errno::{EAGAIN, ECONNRESET, ETIMEDOUT};
use abi::FaultKind::{Permission, Tag};
use abi::Hostcall::{self, Nanosleep, Serve, Write, Yield};
use abi::manifest::RestartPolicy;
use tests::Platform;
use tests::code::assembler::Register::{self, Argument, Scratch};
use tests::code::attack::{Attacker, UNPUNISHED};

use crate::cast::{Role, play, role};
use crate::catalogue::Fate::{EachStarted, Nothing};
use crate::catalogue::{Attack, Group, everywhere, killed};
use crate::gates::{
    MILLISECOND, calls, find, gates, honest, keep, local_area, offers, passes_on, refused, remember_local_area,
    with_local_area,
};

pub(crate) const GROUP: Group = Group {
    title: "Tokens of gates, and calls that take too long",
    promise: "1, 4, 7: a token is the family's that the manifest gives it to, for a life; a budget ends a call and all that came of it",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);
/// What a function answers that has nothing else to say.
const ANSWER: u32 = 7;

const ATTACKS: &[Attack] = &[
    play(
        "gate-late-and-again",
        "compute for ever, call after call: the budget ends each, and leaves the only stack free",
        everywhere(Nothing),
        |platform| {
            let server = patient(platform, "gate-late-and-again");
            let caller = calls(platform, "caller", "gate-late-and-again", |a| {
                for _ in 0..3 {
                    is_late(a);
                    is_answered(a);
                }
                a.exit(0);
            });
            vec![server, caller.budget(4 * MILLISECOND)]
        },
    ),
    play(
        "gate-late-behind-another",
        "compute for ever in a call out of a call: the outermost caller's budget ends both, and leaves both stacks free",
        everywhere(Nothing),
        |platform| {
            let caller = calls(platform, "caller", "first", |a| {
                for _ in 0..2 {
                    is_late(a);
                    is_answered(a);
                }
                a.exit(0);
            });
            vec![
                patient(platform, "gate-late-behind-another"),
                passes_on(platform, "first", "gate-late-behind-another", 1, |_| ()),
                caller.budget(4 * MILLISECOND),
            ]
        },
    ),
    play(
        "gate-late-in-between",
        "compute for ever in a call out of a call: the nearer caller's budget ends the inner one, and it answers",
        everywhere(Nothing),
        |platform| {
            let first = passes_on(platform, "first", "gate-late-in-between", 1, |a| {
                a.add(Argument(0), Argument(0), ETIMEDOUT as i64)
                    .must_be_zero(Argument(0), 1);
                a.set(Argument(0), ANSWER);
            });
            let caller = calls(platform, "caller", "first", |a| {
                for _ in 0..2 {
                    a.set(Argument(0), 1).call_gate();
                    a.add(Argument(0), Argument(0), -i64::from(ANSWER))
                        .must_be_zero(Argument(0), 1);
                }
                a.exit(0);
            });
            vec![
                patient(platform, "gate-late-in-between"),
                first.budget(2 * MILLISECOND),
                caller.budget(40 * MILLISECOND),
            ]
        },
    ),
    play(
        "gate-token-of-another-thread",
        "call with the token that another thread of the cVM has asked for: it is the cVM's, and so is the call",
        everywhere(Nothing),
        |platform| {
            // Where the other thread begins is known when all before it is written.
            let build = |entry: i64| {
                let mut begins = 0;
                let caller = role(platform, "gate-token-of-another-thread", |a| {
                    remember_local_area(a);
                    a.ask("honest.work");
                    keep_token(a);
                    a.code_address(Argument(0), entry);
                    for index in 1..4 {
                        a.set(Argument(index), 0);
                    }
                    a.set(Argument(4), 3).hostcall(Hostcall::ThreadCreate);
                    a.call(Nanosleep, &[1 << 60]).exit(UNPUNISHED);
                    begins = a.here();
                    find_token(a);
                    is_answered(a);
                    a.exit(0);
                });
                (begins, caller)
            };
            let (entry, _) = build(0x100);
            let (begins, mut caller) = build(entry);
            assert_eq!(begins, entry, "as long as before");
            caller.spec.threads = 2;
            caller.spec.calls = vec!["honest.work".into()];
            vec![patient(platform, "honest"), with_local_area(caller)]
        },
    ),
    play(
        "gate-token-of-an-inner-cvm",
        "take the token of a cVM within, and call with it: a thread of a cVM without gates to call has no record",
        killed(Tag),
        |platform| steals(platform, "gate-token-of-an-inner-cvm", &[]),
    ),
    play(
        "gate-token-within-the-family",
        "the same where the cVM around may call another gate: the family is one holder, and the call is charged to who makes it",
        everywhere(Nothing),
        |platform| steals(platform, "gate-token-within-the-family", &["other.work"]),
    ),
    play(
        "gate-token-by-a-capfile",
        "leave a token for others in a capfile that all may write",
        killed(Permission),
        |platform| {
            let mut caller = role(platform, "gate-token-by-a-capfile", |a| {
                a.data = b"board".to_vec();
                a.ask("honest.work");
                let [token, _] = a.token();
                a.copy(Scratch(5), token);
                a.data_address(Argument(0))
                    .set(Argument(1), 5)
                    .hostcall(Hostcall::Capfile)
                    .store_capability_through(Scratch(5), Argument(0))
                    .exit(UNPUNISHED);
            });
            caller.spec.calls = vec!["honest.work".into()];
            vec![honest(platform), caller]
        },
    ),
    play(
        "gate-token-to-a-server",
        "pass a token on to a server by a hostcall: it arrives as an integer",
        everywhere(Nothing),
        |platform| {
            let mut server = role(platform, "server", |a| {
                a.hostcall(Serve).exit(0);
                a.handler();
                crate::cast::attacked(a);
                for index in 2..6 {
                    a.must_be_untagged(Argument(index), UNPUNISHED);
                }
                a.reply(64);
            });
            server.spec.threads = 1;
            let mut caller = role(platform, "gate-token-to-a-server", |a| {
                a.hostcall(Yield);
                a.ask("honest.work");
                let [code, data] = a.token();
                a.copy(Argument(4), code)
                    .copy(Argument(5), data)
                    .copy(Argument(3), code);
                a.data_address(Argument(1))
                    .set(Argument(0), 1)
                    .set(Argument(2), 64)
                    .hostcall(Write);
                a.add(Argument(0), Argument(0), -64)
                    .must_be_zero(Argument(0), 1)
                    .exit(0);
            })
            .served_by("server");
            caller.spec.calls = vec!["honest.work".into()];
            vec![honest(platform), server, caller]
        },
    ),
    play(
        "gate-token-of-an-earlier-life",
        "call with a token from the server's earlier life: the function is that of the new one, whose memory is its own",
        everywhere(Nothing),
        |platform| {
            let mut server = role(platform, "mortal", |a| {
                a.hostcall(Serve).exit(0);
                a.gate("work");
                a.data_address(B).load(C, B, 0).must_be_zero(C, 1);
                a.set(C, 1).store(C, B, 0);
                a.when_not_zero(Argument(0), |a| {
                    a.exit(0);
                });
                a.set(Argument(0), ANSWER).return_from_gate();
            });
            server.spec.restart.policy = RestartPolicy::Always;
            server.spec.restart.limit = 1;
            let caller = calls(platform, "gate-token-of-an-earlier-life", "mortal", |a| {
                a.set(Argument(0), 1).call_gate();
                refused(a, ECONNRESET as i64);
                // Until the new life serves, there is nobody to call.
                let start = a.here();
                a.call(Nanosleep, &[MILLISECOND / 4]).set(Argument(0), 0).call_gate();
                a.add(B, Argument(0), EAGAIN as i64);
                a.when_not_zero(B, |a| {
                    a.set(B, 1);
                });
                // 1 when it was answered.
                a.add(B, B, -1);
                repeat_while_not_zero(a, B, start);
                a.add(Argument(0), Argument(0), -i64::from(ANSWER))
                    .must_be_zero(Argument(0), UNPUNISHED);
                a.exit(0);
            });
            vec![gates(server), caller]
        },
    ),
    play(
        "gate-token-of-ones-earlier-life",
        "look for the token that one's own earlier life has kept in registers and in the local area",
        everywhere(EachStarted(2)),
        |platform| {
            let mut caller = role(platform, "gate-token-of-ones-earlier-life", |a| {
                let token = a.token();
                for register in token {
                    a.must_be_untagged(register, UNPUNISHED);
                }
                remember_local_area(a);
                find_token(a);
                for register in token {
                    a.must_be_untagged(register, UNPUNISHED);
                }
                a.ask("honest.work");
                keep_token(a);
                is_answered(a);
                a.exit(0);
            });
            caller.spec.calls = vec!["honest.work".into()];
            caller.spec.restart.policy = RestartPolicy::Always;
            caller.spec.restart.limit = 2;
            vec![patient(platform, "honest"), with_local_area(caller)]
        },
    ),
];

/// A cVM whose function computes for ever unless its argument is 0, and then answers.
fn patient(platform: Platform, name: &str) -> Role {
    offers(platform, name, |a| {
        a.branch_not_zero(Argument(0), 0);
        a.set(Argument(0), ANSWER).return_from_gate();
    })
}

/// Calls such a function, whose call must end with the budget.
fn is_late(a: &mut Attacker) {
    a.set(Argument(0), 1).call_gate();
    a.add(Argument(0), Argument(0), ETIMEDOUT as i64)
        .must_be_zero(Argument(0), 1);
}

/// Calls it, and must be answered.
fn is_answered(a: &mut Attacker) {
    a.set(Argument(0), 0).call_gate();
    a.add(Argument(0), Argument(0), -i64::from(ANSWER))
        .must_be_zero(Argument(0), 2);
}

/// A cVM that takes the token of one within it out of that one's local area, and calls with it, as far as it may call gates itself.
fn steals(platform: Platform, name: &str, calls: &[&str]) -> Vec<Role> {
    let mut outer = role(platform, name, |a| {
        a.hostcall(Serve).exit(0);
        a.handler();
        crate::cast::attacked(a);
        a.base_of(A, Argument(1));
        crate::cast::absolute_to_integer(a, A);
        let token = a.token();
        for (index, register) in token.into_iter().enumerate() {
            a.load_capability(register, A, 16 * index as i64);
            a.tag_of(B, register).add(B, B, -1);
            if index == 0 || a.is_riscv() {
                a.must_be_zero(B, 3);
            }
        }
        is_answered(a);
        a.reply(64);
    });
    outer.spec.calls = calls.iter().map(|call| (*call).to_owned()).collect();
    let mut inner = role(platform, "inner", |a| {
        remember_local_area(a);
        a.hostcall(Yield);
        a.ask("honest.work");
        keep_token(a);
        local_area(a, C);
        a.base_of(Argument(1), C);
        crate::cast::absolute_to_integer(a, Argument(1));
        a.set(Argument(0), 1).set(Argument(2), 64).hostcall(Write);
        a.exit(0);
    })
    .served_by(name)
    .within(name);
    inner.spec.calls = vec!["honest.work".into()];
    vec![
        patient(platform, "honest"),
        patient(platform, "other"),
        outer,
        with_local_area(inner),
    ]
}

/// Keeps the token in the local area.
fn keep_token(a: &mut Attacker) {
    keep(a, a.token());
}

/// The token = what was kept.
fn find_token(a: &mut Attacker) {
    find(a, a.token());
}

/// Repeats from a place on, as long as the register is not 0.
fn repeat_while_not_zero(a: &mut Attacker, register: Register, start: i64) {
    let back = start - a.here();
    a.branch_not_zero(register, back);
}
