//! Attacks on who serves others, and on other clients.

use abi::Errno::{EFAULT, EPERM};
use abi::FaultKind::Illegal;
use abi::Hostcall::{self, Clock, Delegate, Null, Serve, Write};
use abi::hostcall::Family;
use tests::code::assembler::Register::{self, Argument, Scratch};
use tests::code::attack::UNPUNISHED;

use crate::cast::{LENT, client, honest_server, lend, play, role, server, writes};
use crate::catalogue::Fate::Nothing;
use crate::catalogue::{Attack, Group, everywhere, killed};

pub(crate) const GROUP: Group = Group {
    title: "Being served",
    promise: "7: a client lends what it has and no more, and keeps the server from nobody",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);

const ATTACKS: &[Attack] = &[
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
                client(platform, "honest", |a| writes(a, 1)),
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
                client(platform, "honest", |a| writes(a, 1)),
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
];
