//! Attacks through capfiles, which all cVMs share: `board` may be written by anybody, `notice` by nobody.

use abi::Errno::EFAULT;
use abi::FaultKind::{Bounds, Permission, Tag};
use abi::Hostcall::{Capfile, Info, Write, Yield};
use abi::manifest::RestartPolicy;
use tests::Platform;
use tests::code::assembler::Register::{self, Argument, Scratch};
use tests::code::attack::{Attacker, UNPUNISHED};
use tools::archive::Member;
use tools::manifest::BufferSpec;

use crate::cast::{Role, play, role};
use crate::catalogue::Fate::{EachStarted, Error, Killed, Nothing};
use crate::catalogue::{Attack, Group, each, everywhere, killed};

pub(crate) const GROUP: Group = Group {
    title: "Capfiles",
    promise: "1: a capfile is shared as the manifest says: data only, within its bounds",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);
const D: Register = Scratch(3);

/// Bytes of each.
const SIZE: u32 = 1024;

/// How many capfiles every image with a cast has: the number of the first buffer that a cVM makes, for capfiles are buffers, too.
pub(crate) const SHARED: usize = 2;

/// They, and what they begin with.
pub(crate) fn shared() -> [(BufferSpec, Member); SHARED] {
    [("board", true), ("notice", false)].map(|(name, writable)| {
        BufferSpec::capfile(name, SIZE.into(), writable).with_data(*b"to whom it may concern\n")
    })
}

const ATTACKS: &[Attack] = &[
    play(
        "capfile-write-to-read-only",
        "store to a capfile that is for reading",
        killed(Permission),
        |platform| {
            opens(platform, "capfile-write-to-read-only", "notice", |a| {
                a.store_through(B, A);
            })
        },
    ),
    play(
        "capfile-read-beyond",
        "load what lies behind a capfile",
        killed(Bounds),
        |platform| {
            opens(platform, "capfile-read-beyond", "board", |a| {
                a.set(B, SIZE).offset(A, A, B).load_through(B, A);
            })
        },
    ),
    play(
        "capfile-write-before",
        "store to what lies in front of a capfile",
        killed(Bounds),
        |platform| {
            opens(platform, "capfile-write-before", "board", |a| {
                a.constant(B, 8_u64.wrapping_neg()).offset(A, A, B).store_through(B, A);
            })
        },
    ),
    play(
        "capfile-widen",
        "set greater bounds of a capfile",
        each(Killed(Tag), Killed(Bounds), Killed(Tag)),
        |platform| {
            opens(platform, "capfile-widen", "board", |a| {
                a.set(B, SIZE + 16).set_bounds(A, A, B).load_through(B, A);
            })
        },
    ),
    play(
        "capfile-plant-capability",
        "store the own DDC to a capfile that is for writing",
        killed(Permission),
        |platform| {
            opens(platform, "capfile-plant-capability", "board", |a| {
                a.read_ddc(B).store_capability_through(B, A);
            })
        },
    ),
    play(
        "capfile-take-capability",
        "load a capability out of a capfile",
        killed(Tag),
        |platform| {
            opens(platform, "capfile-take-capability", "board", |a| {
                a.load_capability_through(B, A).load_through(B, B);
            })
        },
    ),
    play(
        "capfile-execute",
        "jump into a capfile",
        killed(Permission),
        |platform| {
            opens(platform, "capfile-execute", "board", |a| {
                a.jump_to_capability(A);
            })
        },
    ),
    play(
        "capfile-as-ddc",
        "make a capfile the own DDC and have the monitor read the own data",
        everywhere(Error(EFAULT)),
        |platform| {
            opens(platform, "capfile-as-ddc", "board", |a| {
                a.data_address(Argument(1)).write_ddc(A);
                // Where addresses are relative, they now count from the capfile: beyond it.
                a.set(Argument(0), 1).set(Argument(2), 16).hostcall(Write);
                a.exit_with_result();
            })
        },
    ),
    play(
        "capfile-by-the-monitor",
        "have the monitor write to a capfile that is for reading",
        everywhere(Error(EFAULT)),
        |platform| {
            opens(platform, "capfile-by-the-monitor", "notice", |a| {
                a.copy(Argument(0), A).set(Argument(1), 48).hostcall(Info);
                a.exit_with_result();
            })
        },
    ),
    play(
        "capfile-kept-outside",
        "store the capability over a capfile in memory that is no local area",
        killed(Permission),
        |platform| {
            opens(platform, "capfile-kept-outside", "board", |a| {
                a.data_address(B).store_capability(A, B, 0).exit(UNPUNISHED);
            })
        },
    ),
    play(
        "capfile-kept-for-the-next-life",
        "keep it in registers and the local area beyond the own end: the next life finds neither",
        everywhere(EachStarted(2)),
        |platform| {
            let name = "capfile-kept-for-the-next-life";
            let mut role = role(platform, name, |a| {
                a.must_be_untagged(C, UNPUNISHED);
                // The capability over the local area, by way of the start block.
                a.add(A, Argument(0), 0).load(B, A, 104).add_register(A, B);
                a.load_capability(B, A, 0).load_capability_through(A, B);
                a.must_be_untagged(A, UNPUNISHED);
                a.data = b"board".to_vec();
                a.data_address(Argument(0)).set(Argument(1), 5).hostcall(Capfile);
                a.tag_of(A, Argument(0)).add(A, A, -1).must_be_zero(A, 1);
                a.store_capability_through(Argument(0), B).copy(C, Argument(0)).exit(0);
            });
            role.spec.local = 4;
            role.spec.restart.policy = RestartPolicy::Always;
            role.spec.restart.limit = 2;
            vec![role]
        },
    ),
    play(
        "capfile-changed-meanwhile",
        "change what another one has the monitor print, all the time: its label stays",
        everywhere(Nothing),
        |platform| {
            // "[victim]" and line ends, by turns.
            let changes = opens(platform, "capfile-changed-meanwhile", "board", |a| {
                a.constant(B, u64::from_le_bytes(*b"\n[victim"))
                    .constant(C, u64::from_le_bytes(*b"] gone\n\r"))
                    .constant(D, 300_000);
                let start = a.here();
                a.store_through(B, A).store_through(C, A).count_down(D, start).exit(0);
            });
            let prints = opens(platform, "printer", "board", |a| {
                a.set(D, 60);
                let start = a.here();
                a.copy(Argument(1), A)
                    .set(Argument(0), 1)
                    .set(Argument(2), 16)
                    .hostcall(Write);
                a.add(Argument(0), Argument(0), -16)
                    .must_be_zero(Argument(0), UNPUNISHED)
                    .hostcall(Yield)
                    .count_down(D, start)
                    .exit(0);
            });
            changes.into_iter().chain(prints).collect()
        },
    ),
    play(
        "capfile-name-changed-meanwhile",
        "change the name by which another one asks for a capfile, all the time",
        everywhere(Nothing),
        |platform| {
            let changes = opens(platform, "capfile-name-changed-meanwhile", "board", |a| {
                a.constant(B, u64::from_le_bytes(*b"notice\0\0"))
                    .constant(C, u64::from_le_bytes(*b"board.\0\0"))
                    .constant(D, 300_000);
                let start = a.here();
                a.store_through(B, A).store_through(C, A).count_down(D, start).exit(0);
            });
            // What it gets is the one that is for reading, or an error: never the right to write.
            let asks = opens(platform, "asker", "board", |a| {
                let store = if a.is_riscv() { 1 << 3 } else { 1 << 16 };
                a.set(D, 60);
                let start = a.here();
                a.copy(Argument(0), A).set(Argument(1), 6).hostcall(Capfile);
                a.tag_of(B, Argument(0))
                    .branch_not_zero(B, 8)
                    .jump(8)
                    .jump(8)
                    .set(Argument(0), 0);
                a.permissions_of(B, Argument(0))
                    .constant(C, store)
                    .and(B, C)
                    .must_be_zero(B, UNPUNISHED);
                a.hostcall(Yield).count_down(D, start).exit(0);
            });
            changes.into_iter().chain(asks).collect()
        },
    ),
];

/// A cVM that opens a capfile, whose capability is then in scratch register 0.
fn opens(platform: Platform, name: &str, capfile: &str, program: impl FnOnce(&mut Attacker)) -> Vec<Role> {
    let role = role(platform, name, |a| {
        a.data = capfile.as_bytes().to_vec();
        a.data_address(Argument(0))
            .set(Argument(1), capfile.len() as u32)
            .hostcall(Capfile);
        a.copy(A, Argument(0));
        program(a);
    });
    vec![role]
}
