//! What was in memory before: of the boot loader, of an earlier life, and of the time while a cVM is loaded.

use abi::Hostcall::{Clock, Heap, Info};
use abi::manifest::RestartPolicy;
use tests::Platform;
use tests::code::assembler::Assembler;
use tests::code::assembler::Register::{self, Argument, Scratch};
use tests::code::attack::{Attacker, UNPUNISHED};

use crate::cast::{Role, play, role};
use crate::catalogue::Fate::{EachStarted, Nothing};
use crate::catalogue::{Attack, Group, Means, everywhere};

pub(crate) const GROUP: Group = Group {
    title: "What was in memory before",
    promise: "1, 4: no byte that a cVM can read is older than its life, however it came by the memory; and loading one closes nothing to others",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);

const MILLISECOND: u64 = 1_000_000;
/// Where the memory lies that the boot loader left the archive in, from the start of the RAM, and bytes of it.
const OLD: u64 = 0x0410_0000;
const OLD_SIZE: u64 = 0x0080_0000;
/// Where outer and inner cVM lie, from the start of the RAM, and bytes of either.
const OUTER: u64 = 0x0600_0000;
const INNER: u64 = 0x0620_0000;
const OUTER_SIZE: u64 = 0x60_0000;
const INNER_SIZE: u64 = 0x40_0000;

/// Boots from an initrd that leaves secrets in memory.
const fn relics(name: &'static str, what: &'static str, cast: fn(Platform) -> Vec<Role>) -> Attack {
    Attack {
        name,
        what,
        means: Means::Relics(cast),
        expected: everywhere(Nothing),
    }
}

const ATTACKS: &[Attack] = &[
    relics(
        "relics-by-isolation-size",
        "look for the boot loader's archive in memory that `isolation: size` gives beyond what is loaded",
        |platform| {
            vec![greedy(
                platform,
                "relics-by-isolation-size",
                OLD_SIZE,
                look_below_the_end,
            )]
        },
    ),
    relics(
        "relics-around-inner",
        "the same in the memory of an outer cVM, beside the one within it",
        |platform| {
            let mut outer = greedy(platform, "relics-around-inner", OLD_SIZE, look_below_the_end);
            // What makes it an outer one.
            outer
                .elf
                .functions
                .push((outer.elf.entry, 4, abi::hostcall::HANDLER.to_owned()));
            let mut inner = role(platform, "inner", |a| {
                a.exit(0);
            });
            inner.spec.isolation_size = Some(0x1_0000);
            let name = outer.spec.name.clone();
            vec![outer, inner.served_by(&name).within(&name)]
        },
    ),
    relics("relics-by-heap", "the same in the heap", |platform| {
        let mut heap = greedy(platform, "relics-by-heap", OLD_SIZE + 0x10_0000, |a| {
            a.hostcall(Heap);
            a.must_be_untagged(Argument(2), 2).copy(A, Argument(0)).length_of(B, A);
            let start = a.here();
            a.load_through(C, A)
                .must_be_zero(C, UNPUNISHED)
                .set(C, 8)
                .offset(A, A, C);
            a.add(B, B, -8);
            let back = start - a.here();
            a.branch_not_zero(B, back).exit(0);
        });
        heap.spec.heap = OLD_SIZE;
        vec![heap]
    }),
    play(
        "relics-of-earlier-life",
        "fill all of the memory with data and capabilities, die, and look for them in the next life",
        everywhere(EachStarted(1)),
        |platform| {
            let mut phoenix = greedy(platform, "relics-of-earlier-life", OLD_SIZE, |a| {
                a.data_address(A)
                    .data_address(Argument(0))
                    .set(Argument(1), 8)
                    .hostcall(Info);
                a.load(B, A, 0).shift_right(B, 32).when_not_zero(B, |a| {
                    look(a);
                    a.exit(0);
                });
                a.constant(B, LOOKED_AT / 16).end_of_memory(A).read_ddc(C);
                let start = a.here();
                a.add(A, A, -16)
                    .store_capability(C, A, 0)
                    .count_down(B, start)
                    .illegal();
            });
            phoenix.spec.restart.policy = RestartPolicy::OnFault;
            phoenix.spec.restart.limit = 1;
            vec![phoenix]
        },
    ),
    play(
        "restart-closes-outer",
        "be started again and again while the cVM around reads and writes one's memory",
        everywhere(EachStarted(8)),
        |platform| {
            let name = "restart-closes-outer";
            let mut outer = role(platform, "outer", |a| {
                a.address(A, platform.ram() + INNER + INNER_SIZE - 4096);
                let start = a.here();
                a.load(C, A, 0).store(C, A, 8).hostcall(Clock);
                a.constant(C, 40 * MILLISECOND)
                    .subtract_register(C, Argument(0))
                    .shift_right(C, 63);
                a.branch_not_zero(C, 8).repeat(start).exit(0);
                a.handler().reply(0);
            });
            outer.spec.isolation_base = Some(platform.ram() + OUTER);
            outer.spec.isolation_size = Some(OUTER_SIZE);
            let mut inner = role(platform, name, |a| {
                a.illegal();
            });
            inner.spec.isolation_base = Some(platform.ram() + INNER);
            inner.spec.isolation_size = Some(INNER_SIZE);
            inner.spec.restart.policy = RestartPolicy::OnFault;
            inner.spec.restart.limit = 8;
            vec![outer, inner.served_by("outer").within("outer")]
        },
    ),
];

/// Bytes below the end of the memory that are looked at: nothing is loaded there.
const LOOKED_AT: u64 = OLD_SIZE - 0x4_0000;

/// A cVM that has the memory in which the boot loader left the archive.
fn greedy(platform: Platform, name: &str, size: u64, program: fn(&mut Attacker)) -> Role {
    let mut greedy = role(platform, name, program);
    greedy.spec.isolation_base = Some(platform.ram() + OLD);
    greedy.spec.isolation_size = Some(size);
    greedy
}

/// Exits unpunished when there is anything.
fn look_below_the_end(a: &mut Attacker) {
    look(a);
    a.exit(0);
}

fn look(a: &mut Assembler) {
    a.constant(B, LOOKED_AT / 8).end_of_memory(A);
    let start = a.here();
    a.add(A, A, -8)
        .load(C, A, 0)
        .must_be_zero(C, UNPUNISHED)
        .count_down(B, start);
}
