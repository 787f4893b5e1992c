//! Taking all handlers of a server, as a client and as the server itself.

use abi::Errno::{ECONNRESET, ETIMEDOUT};
use abi::Hostcall::{Defer, Info, Nanosleep, Read, Reply, Serve, ThreadCreate, Write, Yield};
use abi::manifest::RestartPolicy;
use tests::Platform;
use tests::code::assembler::Assembler;
use tests::code::assembler::Register::{self, Argument, Number, Scratch};
use tests::code::attack::Attacker;

use crate::cast::{LENT, Role, attacked, lend, play, role};
use crate::catalogue::Fate::{EachStarted, Nothing};
use crate::catalogue::{Attack, Group, everywhere};
use crate::threads::{must_succeed, worker};

pub(crate) const GROUP: Group = Group {
    title: "Taking all handlers of a server",
    promise: "7: whose call waits for a handler gets an answer or an error in time: a handler is free again when the call's budget is used up, when the call is deferred and the handler ends, and when the server ends",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);

const MILLISECOND: u64 = 1_000_000;
const HANDLERS: u32 = 2;
/// Threads of a client that has more calls under way than there are handlers.
const THREADS: u32 = 6;

const ATTACKS: &[Attack] = &[
    play(
        "handlers-held",
        "with a second client, hold both handlers of a server by calls that compute for ever, again and again: another client's calls are \
         answered when a budget is used up",
        everywhere(Nothing),
        |platform| {
            let holding = |name| {
                let holder = role(platform, name, |a| {
                    a.hostcall(Yield).set(C, 6);
                    let start = a.here();
                    calls_in_vain(a);
                    a.count_down(C, start).exit(0);
                });
                holder.served_by("server").budget(3 * MILLISECOND)
            };
            let server = reading(platform, |a| {
                let start = a.here();
                a.repeat(start);
            });
            let client = writer(platform, 4).budget(100 * MILLISECOND);
            vec![server, holding("handlers-held"), holding("second"), client]
        },
    ),
    play(
        "calls-held-deferred",
        "have more calls of a server deferred for ever than it has handlers: others are answered at once",
        everywhere(Nothing),
        |platform| {
            let mut holder = role(platform, "calls-held-deferred", |a| {
                let begins = worker(a, |a| {
                    calls_in_vain(a);
                    let start = a.here();
                    a.call(Nanosleep, &[MILLISECOND]).repeat(start);
                });
                for _ in 1..THREADS {
                    a.code_address(Argument(0), begins).set(Argument(1), 0);
                    a.set(Argument(2), 0).set(Argument(3), 0).set(Argument(4), 0);
                    a.hostcall(ThreadCreate);
                    must_succeed(a);
                }
                calls_in_vain(a);
                a.exit(0);
            });
            holder.spec.threads = THREADS;
            let server = reading(platform, |a| {
                a.call(Defer, &[0, 0]).hostcall(Reply);
            });
            // Its own calls may take a tenth of what those of the other one take.
            let client = writer(platform, 40).budget(2 * MILLISECOND);
            vec![server, holder.served_by("server").budget(20 * MILLISECOND), client]
        },
    ),
    play(
        "server-loses-its-handlers",
        "defer every call and compute for ever in its handler, until none is left, and end: no call waits for longer than its budget, and \
         the next life's handlers are free",
        everywhere(EachStarted(1)),
        |platform| {
            let mut server = role(platform, "server-loses-its-handlers", |a| {
                let ends = worker(a, |a| {
                    a.call(Nanosleep, &[12 * MILLISECOND]).illegal();
                });
                restarts(a, B);
                a.when_zero(B, |a| {
                    a.code_address(Argument(0), ends).set(Argument(1), 0);
                    a.set(Argument(2), 0).set(Argument(4), 3).hostcall(ThreadCreate);
                    must_succeed(a);
                });
                a.hostcall(Serve).exit(0);
                a.handler();
                attacked(a);
                restarts(a, B);
                a.when_not_zero(B, |a| {
                    a.reply(1);
                });
                a.call(Defer, &[0, 0]);
                let start = a.here();
                a.repeat(start);
            });
            (server.spec.handlers, server.spec.threads) = (HANDLERS, 2);
            (server.spec.restart.policy, server.spec.restart.limit) = (RestartPolicy::OnFault, 1);
            let client = role(platform, "client", |a| {
                a.hostcall(Yield).set(C, 0);
                let start = a.here();
                lend(a, Write, LENT);
                a.add(C, C, 1).copy(A, Argument(0)).shift_right(A, 63);
                // An answer: there is none before the third call.
                a.when_zero(A, |a| {
                    a.add(Argument(0), Argument(0), -1).must_be_zero(Argument(0), 20);
                    a.add(C, C, -3).shift_right(C, 63).must_be_zero(C, 22).exit(0);
                });
                // An error: one of two.
                a.add(A, Argument(0), ETIMEDOUT as i64);
                a.when_not_zero(A, |a| {
                    a.add(Argument(0), Argument(0), ECONNRESET as i64)
                        .must_be_zero(Argument(0), 21);
                });
                a.add(A, C, -20).must_not_be_zero(A, 23).repeat(start);
            });
            let client = client.served_by("server-loses-its-handlers");
            vec![server, client.budget(4 * MILLISECOND)]
        },
    ),
];

/// An honest server with two handlers: answers `write` with 1, and does this for `read`.
fn reading(platform: Platform, read: impl FnOnce(&mut Assembler)) -> Role {
    let mut server = role(platform, "server", |a| {
        a.hostcall(Serve).exit(0);
        a.handler();
        attacked(a);
        let number = Number(if a.is_riscv() { 17 } else { 8 });
        a.add(A, number, -(Read as i64)).when_zero(A, read);
        a.reply(1);
    });
    server.spec.handlers = HANDLERS;
    server
}

/// An honest client of that one, which writes so often; the answer must be 1.
fn writer(platform: Platform, times: u32) -> Role {
    let client = role(platform, "client", |a| {
        // The others first come to have their calls begun.
        a.call(Nanosleep, &[MILLISECOND]).set(C, times);
        let start = a.here();
        lend(a, Write, LENT);
        a.add(Argument(0), Argument(0), -1).must_be_zero(Argument(0), 20);
        a.count_down(C, start).exit(0);
    });
    client.served_by("server")
}

/// Reads; the answer must be that there was none in time.
fn calls_in_vain(a: &mut Assembler) {
    a.data_address(Argument(1)).set(Argument(0), 0);
    a.set(Argument(2), LENT).set(Argument(3), 0).hostcall(Read);
    a.add(Argument(0), Argument(0), ETIMEDOUT as i64)
        .must_be_zero(Argument(0), 20);
}

/// The register = how often the cVM was started again.
fn restarts(a: &mut Attacker, to: Register) {
    a.data_address(Argument(0)).set(Argument(1), 16).hostcall(Info);
    a.data_address(to).load(to, to, 0).shift_right(to, 32);
}
