//! Attacks between a cVM and those that lie within it.

use abi::FaultKind::Bounds;
use abi::Hostcall::{Delegate, Nanosleep, Null, Read, Yield};
use tests::Platform;
use tests::code::assembler::Register::{self, Argument, Scratch};
use tests::code::attack::{SECRET, UNPUNISHED};

use crate::cast::{BUDGET, LENT, Role, absolute_to_integer, below_the_top, lend, play, role, server};
use crate::catalogue::Fate::Refused;
use crate::catalogue::{Attack, Group, everywhere, killed};

pub(crate) const GROUP: Group = Group {
    title: "Layers",
    promise: "1, 7: a cVM within another one reaches nothing of it, and the outer one reaches those within it and nobody else",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);
const D: Register = Scratch(3);

const ATTACKS: &[Attack] = &[
    play(
        "inner-reads-outer",
        "read the memory of the cVM that one lies within",
        killed(Bounds),
        |platform| {
            let outer = server(platform, "outer", |a| {
                a.hostcall(Delegate);
            });
            let inner = role(platform, "inner-reads-outer", |a| {
                // Farther than a page that is nobody's.
                a.start_of_memory(A).add(A, A, -2048).add(A, A, -2048).load(A, A, -8);
            });
            vec![outer, inner.served_by("outer").within("outer")]
        },
    ),
    play(
        "inner-calls-outer-code",
        "jump into the cVM that one lies within",
        killed(Bounds),
        |platform| {
            let outer = server(platform, "outer", |a| {
                a.hostcall(Delegate);
            });
            let inner = role(platform, "inner-calls-outer-code", |a| {
                a.start_of_memory(A).add(A, A, -2048).add(A, A, -2048);
                a.add(A, A, -2048).jump_to(A);
            });
            vec![outer, inner.served_by("outer").within("outer")]
        },
    ),
    play(
        "outer-reads-beyond",
        "read beyond the region of all that lie within",
        killed(Bounds),
        |platform| {
            let outer = role(platform, "outer-reads-beyond", |a| {
                a.end_of_memory(A).load(A, A, 0);
                a.handler().hostcall(Delegate);
            });
            let inner = role(platform, "inner", |a| {
                a.hostcall(Null).exit(0);
            });
            vec![
                outer,
                inner.served_by("outer-reads-beyond").within("outer-reads-beyond"),
            ]
        },
    ),
    play(
        "outer-steals-from-inner",
        "take what a client lent to a cVM within from that one's service stack, and use it after the call",
        everywhere(Refused("within")),
        outer_thief,
    ),
];

/// Where the outer one and the inner one lie, from the start of the RAM, and bytes of the outer one.
const OUTER: u64 = 0x0600_0000;
const INNER: u64 = 0x0602_0000;
const OUTER_SIZE: u64 = 0x4_0000;
/// Iterations that take longer than the client's budget.
const LONG: u64 = 2_000_000;

/// A cVM within which another one lies that serves a client, and the client, whose lent buffer the outer one takes.
fn outer_thief(platform: Platform) -> Vec<Role> {
    let name = "outer-steals-from-inner";
    // Leaves what it was lent on its service stack and the place of that in its data, and computes for a while.
    let mut inner = server(platform, "inner", |a| {
        below_the_top(a, C);
        a.store_capability_through(Argument(1), C).address_of(B, C);
        a.data_address(A).store(B, A, 0).constant(D, LONG);
        let start = a.here();
        a.count_down(D, start).reply(1);
    });
    inner.spec.isolation_base = Some(platform.ram() + INNER);
    // Waits for the place, takes the capability, waits until the call must be over, and writes through it.
    let mut outer = role(platform, name, |a| {
        let place = platform.ram() + INNER + 0x7000;
        a.constant(D, 100_000);
        let wait = a.here();
        a.hostcall(Yield)
            .add(D, D, -1)
            .branch_not_zero(D, 8)
            .jump(8)
            .jump(16)
            .exit(2);
        a.address(A, place).load(B, A, 0).branch_not_zero(B, 8).repeat(wait);
        absolute_to_integer(a, B);
        a.load_capability(C, B, 0)
            .call(Nanosleep, &[20_000_000])
            .constant(B, SECRET);
        a.store_through(B, C).exit(UNPUNISHED);
        a.handler().hostcall(Delegate);
    });
    outer.spec.isolation_base = Some(platform.ram() + OUTER);
    outer.spec.isolation_size = Some(OUTER_SIZE);
    // Makes no hostcall before that would be delegated to the outer one, which serves nobody.
    let client = role(platform, "client", |a| {
        a.constant(D, LONG);
        let start = a.here();
        a.count_down(D, start);
        lend(a, Read, LENT);
        a.constant(D, 20 * LONG);
        let start = a.here();
        a.count_down(D, start).data_address(A).load(B, A, 0);
        a.must_be_zero(B, 30).exit(0);
    });
    let client = client.served_by("inner").budget(BUDGET);
    vec![outer, inner.served_by(name).within(name), client]
}
