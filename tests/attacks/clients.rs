//! Attacks on who serves others, and on other clients.

use abi::Errno::{ECONNRESET, EFAULT, EPERM};
use abi::FaultKind::Illegal;
use abi::Hostcall::{self, Clock, Delegate, Info, Null, Serve, Write};
use abi::hostcall::Family;
use abi::manifest::RestartPolicy;
use tests::code::assembler::Register::{self, Argument, Scratch};
use tests::code::attack::{Attacker, UNPUNISHED};

use crate::cast::{LENT, attacked, client, honest_server, lend, play, role, server, writes};
use crate::catalogue::Fate::{Absent, EachStarted, Nothing};
use crate::catalogue::{Attack, Group, either, everywhere, killed};

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
        "client-lends-too-much",
        "lend more than a hostcall transfers: that much is lent",
        everywhere(Nothing),
        |platform| {
            let looks = server(platform, "looks", |a| {
                a.length_of(A, Argument(1))
                    .add(A, A, -2048)
                    .add(A, A, -2048)
                    .must_be_zero(A, 10);
                a.add(Argument(2), Argument(2), -2048)
                    .add(Argument(2), Argument(2), -2048);
                a.must_be_zero(Argument(2), 11).reply(1);
            });
            let mut attacker = role(platform, "client-lends-too-much", |a| {
                a.start_of_memory(Argument(1))
                    .set(Argument(0), 1)
                    .constant(Argument(2), 0x1_0000);
                a.hostcall(Write)
                    .add(Argument(0), Argument(0), -1)
                    .must_be_zero(Argument(0), UNPUNISHED)
                    .exit(0);
            });
            attacker.spec.stack = 0x2_0000;
            vec![looks, attacker.served_by("looks")]
        },
    ),
    play(
        "client-lends-beyond-its-ddc",
        "lend own memory that the DDC of the moment does not cover",
        everywhere(Nothing),
        |platform| {
            let attacker = role(platform, "client-lends-beyond-its-ddc", |a| {
                a.data_capability(C)
                    .set(B, 64)
                    .set_bounds(C, C, B)
                    .data_address(A)
                    .write_ddc(C);
                if a.relocates() {
                    // Addresses count from that of DDC now.
                    a.set(A, 0);
                }
                a.add(Argument(1), A, 1024)
                    .set(Argument(0), 1)
                    .set(Argument(2), LENT)
                    .hostcall(Write);
                a.add(Argument(0), Argument(0), EFAULT as i64)
                    .must_be_zero(Argument(0), UNPUNISHED);
                a.add(Argument(1), A, 0)
                    .set(Argument(0), 1)
                    .set(Argument(2), LENT)
                    .hostcall(Write);
                a.add(Argument(0), Argument(0), -1).must_be_zero(Argument(0), 10);
                a.exit(0);
            });
            vec![honest_server(platform), attacker.served_by("honest")]
        },
    ),
    play(
        "client-moves-its-ddc",
        "lend with a DDC whose address is elsewhere: an integer means what it means to the own loads",
        everywhere(Nothing),
        |platform| {
            let loads = server(platform, "loads", |a| {
                a.load_through(Argument(0), Argument(1))
                    .set(Argument(1), 0)
                    .set(Argument(2), 0);
                a.hostcall(Hostcall::Reply);
            });
            let attacker = role(platform, "client-moves-its-ddc", |a| {
                a.data = (0..64).flat_map(|word: u64| (1000 + word).to_le_bytes()).collect();
                a.read_ddc(A).set(B, 16).offset(A, A, B).write_ddc(A);
                a.data_address(A).load(C, A, 64);
                a.add(Argument(1), A, 64)
                    .set(Argument(0), 1)
                    .set(Argument(2), 8)
                    .hostcall(Write);
                a.must_be_equal(Argument(0), C, UNPUNISHED);
                // The monitor's own copies, too.
                a.data_address(A)
                    .add(Argument(0), A, 128)
                    .set(Argument(1), 8)
                    .hostcall(Hostcall::Info);
                a.exit(0);
            });
            vec![loads, attacker.served_by("loads")]
        },
    ),
    play(
        "client-claims-to-be-another",
        "be served next to another client, with its number in all registers: each is told to the server by its own",
        everywhere(Nothing),
        |platform| {
            let tells = server(platform, "tells", |a| {
                a.add(Argument(0), Argument(6), 0)
                    .set(Argument(1), 0)
                    .set(Argument(2), 0);
                a.hostcall(Hostcall::Reply);
            });
            let claims = |name: &str, other: u32| {
                let role = role(platform, name, |a| {
                    a.load(C, Argument(0), 16).lower_half(C);
                    for register in 1..6 {
                        a.set(Argument(register), other);
                    }
                    for _ in 0..8 {
                        a.set(Argument(0), other).hostcall(Null);
                        a.must_be_equal(Argument(0), C, UNPUNISHED).hostcall(Hostcall::Yield);
                    }
                    a.exit(0);
                });
                role.served_by("tells")
            };
            vec![tells, claims("client-claims-to-be-another", 3), claims("other", 2)]
        },
    ),
    play(
        "left-in-compartment-number",
        "look for what a client, another cVM or an earlier life left in CID_EL0",
        either(Absent, EachStarted(1)),
        |platform| {
            let untagged = |a: &mut Attacker| {
                // MRS c20, CID_EL0
                a.push(0xc29b_d0e0 | 20)
                    .must_be_untagged(Register::Number(20), UNPUNISHED);
            };
            let leaves = |a: &mut Attacker| {
                // MSR CID_EL0, c20
                a.read_ddc(Register::Number(20)).push(0xc28b_d0e0 | 20);
            };
            let mut looks = role(platform, "left-in-compartment-number", |a| {
                untagged(a);
                leaves(a);
                a.hostcall(Serve).exit(0);
                a.handler();
                attacked(a);
                untagged(a);
                leaves(a);
                // The second life answers.
                a.data_address(A).data_address(Argument(0)).set(Argument(1), 8);
                a.hostcall(Info).load(B, A, 0).shift_right(B, 32);
                a.branch_not_zero(B, 8).jump(8).jump(8).illegal().reply(1);
            });
            looks.spec.restart.policy = RestartPolicy::OnFault;
            looks.spec.restart.limit = 1;
            let honest = client(platform, "left-in-compartment-number", |a| {
                leaves(a);
                lend(a, Write, LENT);
                a.add(Argument(0), Argument(0), ECONNRESET as i64)
                    .must_be_zero(Argument(0), 10);
                writes(a, 1);
            });
            let other = role(platform, "other", |a| {
                for _ in 0..20 {
                    untagged(a);
                    a.hostcall(Hostcall::Yield);
                }
                a.exit(0);
            });
            vec![looks, honest, other]
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
