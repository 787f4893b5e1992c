//! Attacks on buffers: on what was not granted, and on what was taken back.

use abi::Errno::{EFAULT, EINVAL, ENOENT, EPERM};
use abi::FaultKind::{Bounds, Permission, Tag};
use abi::Hostcall::{
    self, BufferCreate, BufferDestroy, BufferFind, BufferGrant, BufferMap, BufferRevoke, Clock, Nanosleep,
    ThreadCreate, Wait, Yield,
};
use abi::hostcall::{BUFFER_ALL, BUFFER_READ, BUFFER_WRITE, WAIT_FOREVER};
use abi::manifest::RestartPolicy;
use tests::Platform;
use tests::code::assembler::Register::{self, Argument, Scratch};
use tests::code::attack::{Attacker, UNPUNISHED};

use crate::accomplices::{
    KEPT, fill_registers, fill_special_registers, nothing_in_registers, nothing_in_special_registers,
};
use crate::cast::{Role, play, role};
use crate::catalogue::Fate::{Error, Nothing};
use crate::catalogue::{Attack, Group, everywhere, killed};
use crate::threads::{must_succeed, worker};

pub(crate) const GROUP: Group = Group {
    title: "Buffers",
    promise: "1, 7: a buffer is shared as far as its owner says, and when it is taken back nobody else holds anything of it",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);
/// The capability over the local area.
const LOCAL: Register = Scratch(4);

const MILLISECOND: u64 = 1_000_000;
/// When the owner takes back what it has granted.
const REVOKED: u64 = 4 * MILLISECOND;
/// Bytes of the buffer.
const SIZE: u64 = 256;
const BOTH: u64 = BUFFER_READ | BUFFER_WRITE;
/// The only buffer's number.
const NUMBER: u64 = crate::capfiles::SHARED as u64;
/// Where the start block says at what offset the capability over the local area lies.
const LOCAL_SLOT: i64 = 104;
/// Exit code of a holder that has got nothing, so that its attack is none.
const EMPTY_HANDED: u32 = 2;

const ATTACKS: &[Attack] = &[
    play(
        "buffer-in-registers",
        "keep a buffer that is taken back in every register, and what can be derived of it: less, elsewhere, sealed",
        everywhere(Nothing),
        |platform| cast(platform, "buffer-in-registers", fill_registers, nothing_in_registers),
    ),
    play(
        "buffer-in-ddc",
        "the same with DDC, the stack pointer and the thread pointer",
        everywhere(Nothing),
        |platform| {
            let name = "buffer-in-ddc";
            cast(platform, name, fill_special_registers, nothing_in_special_registers)
        },
    ),
    play(
        "buffer-in-the-local-area",
        "the same with every place of the local area",
        everywhere(Nothing),
        |platform| {
            cast(
                platform,
                "buffer-in-the-local-area",
                |a| {
                    for place in 0..4 {
                        a.set(A, 16 * place).offset(B, LOCAL, A);
                        a.store_capability_through(KEPT, B).load_capability_through(C, B);
                        is_tagged(a, C);
                    }
                    a.set(B, 0).set(C, 0).set(KEPT, 0);
                },
                |a| {
                    for place in 0..4 {
                        a.set(A, 16 * place).offset(B, LOCAL, A);
                        a.load_capability_through(C, B).must_be_untagged(C, UNPUNISHED);
                    }
                },
            )
        },
    ),
    play(
        "buffer-in-memory",
        "keep a buffer in memory that is no local area",
        killed(Permission),
        |platform| {
            let keep = |a: &mut Attacker| {
                a.data_address(A).store_capability(KEPT, A, 0).exit(UNPUNISHED);
            };
            cast(platform, "buffer-in-memory", keep, |_| ())
        },
    ),
    play(
        "buffer-used-after",
        "load through a buffer that was taken back",
        killed(Tag),
        |platform| {
            cast(
                platform,
                "buffer-used-after",
                |_| (),
                |a| {
                    a.load_through(A, KEPT).exit(UNPUNISHED);
                },
            )
        },
    ),
    play(
        "buffer-in-a-spinning-thread",
        "keep a buffer in a thread that never makes a hostcall",
        everywhere(Nothing),
        |platform| {
            let name = "buffer-in-a-spinning-thread";
            let mut spinner = holder(
                platform,
                name,
                |a| {
                    // The thread ends the cVM when it has lost what it was given.
                    let spins = worker(a, |a| {
                        let start = a.here();
                        a.tag_of(A, Argument(0));
                        let back = start - a.here();
                        a.branch_not_zero(A, back).exit(0);
                    });
                    a.code_address(Argument(0), spins).copy(Argument(3), KEPT);
                    a.set(Argument(1), 0).set(Argument(2), 0).set(Argument(4), 3);
                    a.hostcall(ThreadCreate);
                    must_succeed(a);
                },
                |a| {
                    a.call(Nanosleep, &[40 * MILLISECOND]).exit(UNPUNISHED);
                },
            );
            spinner.spec.threads = 2;
            vec![owner(platform, BOTH, |_| ()), spinner]
        },
    ),
    play(
        "buffer-while-waiting",
        "wait for a word of a buffer for ever: the wait ends when it is taken back",
        everywhere(Nothing),
        |platform| {
            let keep = |a: &mut Attacker| {
                a.copy(Argument(0), KEPT).set(Argument(1), 0);
                a.constant(Argument(2), WAIT_FOREVER).hostcall(Wait);
                refused(a, EFAULT as i64);
                a.must_be_untagged(KEPT, UNPUNISHED);
            };
            cast(platform, "buffer-while-waiting", keep, |_| ())
        },
    ),
    play(
        "buffer-granted-to-read",
        "store to a buffer that was granted to be read",
        killed(Permission),
        |platform| {
            let keep = |a: &mut Attacker| {
                a.load_through(A, KEPT).store_through(A, KEPT).exit(UNPUNISHED);
            };
            let holder = holder(platform, "buffer-granted-to-read", keep, |_| ());
            vec![owner(platform, BUFFER_READ, |_| ()), holder]
        },
    ),
    play(
        "buffer-granted-to-write",
        "load from a buffer that was granted to be written",
        killed(Permission),
        |platform| {
            let keep = |a: &mut Attacker| {
                a.store_through(A, KEPT).load_through(A, KEPT).exit(UNPUNISHED);
            };
            let holder = holder(platform, "buffer-granted-to-write", keep, |_| ());
            vec![owner(platform, BUFFER_WRITE, |_| ()), holder]
        },
    ),
    play(
        "buffer-beyond",
        "load what lies behind a buffer, which is the owner's, too",
        killed(Bounds),
        |platform| {
            let keep = |a: &mut Attacker| {
                a.set(A, SIZE as u32).offset(KEPT, KEPT, A);
                a.load_through(A, KEPT).exit(UNPUNISHED);
            };
            cast(platform, "buffer-beyond", keep, |_| ())
        },
    ),
    play(
        "buffer-for-capabilities",
        "pass a capability through a buffer: a tag is not stored",
        killed(Permission),
        |platform| {
            let keep = |a: &mut Attacker| {
                a.read_ddc(A).store_capability_through(A, KEPT).exit(UNPUNISHED);
            };
            cast(platform, "buffer-for-capabilities", keep, |_| ())
        },
    ),
    play(
        "buffer-of-another",
        "map, grant, revoke and destroy what is another's and not granted; ask for what there is not",
        everywhere(Nothing),
        |platform| {
            let stranger = role(platform, "buffer-of-another", |a| {
                a.call(Nanosleep, &[2 * MILLISECOND]);
                for rights in [BUFFER_READ, BUFFER_WRITE, BOTH] {
                    a.call(BufferMap, &[NUMBER, rights]);
                    refused(a, EPERM as i64);
                }
                a.call(BufferMap, &[NUMBER, 0]);
                refused(a, EINVAL as i64);
                a.call(BufferMap, &[NUMBER, u64::MAX]);
                refused(a, EINVAL as i64);
                a.call(BufferGrant, &[NUMBER, 1, BOTH]);
                refused(a, EPERM as i64);
                a.call(BufferRevoke, &[NUMBER, BUFFER_ALL]);
                refused(a, EPERM as i64);
                a.call(BufferDestroy, &[NUMBER]);
                refused(a, EPERM as i64);
                for number in [NUMBER + 1, NUMBER + 15, NUMBER + 16, 0xffff, 1 << 16, 1 << 32, u64::MAX] {
                    for call in [BufferMap, BufferGrant, BufferRevoke, BufferDestroy] {
                        a.call(call, &[number, 1, 1]);
                        refused(a, ENOENT as i64);
                    }
                }
                a.data_address(Argument(0)).set(Argument(1), 1).hostcall(BufferFind);
                refused(a, ENOENT as i64);
                a.exit(0);
            });
            vec![owner(platform, 0, |_| ()), stranger]
        },
    ),
    play(
        "buffer-without-a-quota",
        "make a buffer without a quota",
        everywhere(Error(abi::Errno::ENOMEM)),
        |platform| {
            vec![role(platform, "buffer-without-a-quota", |a| {
                a.call(BufferCreate, &[1]).exit_with_result();
            })]
        },
    ),
    play(
        "buffer-of-the-dead",
        "keep a buffer whose owner ends without taking it back",
        everywhere(Nothing),
        |platform| {
            let holder = holder(platform, "buffer-of-the-dead", fill_registers, |a| {
                nothing_in_registers(a);
                a.call(BufferMap, &[NUMBER, BOTH]);
                refused(a, ENOENT as i64);
            });
            let mut owner = role(platform, "owner", |a| {
                grants(a, BOTH);
                a.call(Nanosleep, &[REVOKED]).exit(0);
            });
            owner.spec.buffer_quota = 0x1000;
            vec![owner, holder]
        },
    ),
    play(
        "buffer-of-an-earlier-life",
        "end and find it again in the next life: in registers, in the local area, or by its number after it was taken back",
        everywhere(Nothing),
        |platform| {
            let name = "buffer-of-an-earlier-life";
            let mut holder = role(platform, name, |a| {
                local_area(a);
                for place in 0..4 {
                    a.set(A, 16 * place).offset(B, LOCAL, A);
                    a.load_capability_through(C, B).must_be_untagged(C, UNPUNISHED);
                }
                nothing_in_registers(a);
                a.data_address(Argument(0)).set(Argument(1), 16);
                a.hostcall(Hostcall::Info).data_address(A).load(B, A, 0);
                a.shift_right(B, 32).when_not_zero(B, |a| {
                    a.call(Nanosleep, &[2 * REVOKED]).call(BufferMap, &[NUMBER, BOTH]);
                    a.add(Argument(0), Argument(0), EPERM as i64)
                        .must_be_zero(Argument(0), UNPUNISHED)
                        .exit(0);
                });
                maps(a);
                a.store_capability_through(KEPT, LOCAL);
                fill_registers(a);
                a.exit(0);
            });
            holder.spec.local = 4;
            holder.spec.restart.policy = RestartPolicy::Always;
            holder.spec.restart.limit = 1;
            vec![owner(platform, BOTH, |_| ()), holder]
        },
    ),
    play(
        "buffer-read-when-destroyed",
        "make, fill, destroy and make again: nothing of it is in the next one",
        everywhere(Nothing),
        |platform| {
            let mut maker = role(platform, "buffer-read-when-destroyed", |a| {
                local_area(a);
                for life in 0..3_u64 {
                    a.call(BufferCreate, &[4096]);
                    a.constant(B, NUMBER | life << 16)
                        .must_be_equal(B, Argument(0), EMPTY_HANDED);
                    a.call(BufferMap, &[NUMBER | life << 16, BOTH]);
                    a.copy(KEPT, Argument(0));
                    is_tagged(a, KEPT);
                    a.load_through(A, KEPT).must_be_zero(A, UNPUNISHED);
                    a.constant(A, u64::MAX).store_through(A, KEPT);
                    a.store_capability_through(KEPT, LOCAL);
                    a.call(BufferDestroy, &[NUMBER | life << 16])
                        .must_be_zero(Argument(0), 3);
                    a.load_capability_through(A, LOCAL).must_be_untagged(A, UNPUNISHED);
                    a.must_be_untagged(KEPT, UNPUNISHED);
                    a.call(BufferMap, &[NUMBER | life << 16, BOTH]);
                    refused(a, ENOENT as i64);
                }
                a.exit(0);
            });
            maker.spec.local = 4;
            maker.spec.buffer_quota = 4096;
            vec![maker]
        },
    ),
];

/// Exits unpunished unless the hostcall was refused with this error.
fn refused(a: &mut Attacker, errno: i64) {
    a.add(Argument(0), Argument(0), errno)
        .must_be_zero(Argument(0), UNPUNISHED);
}

/// Exits when the register holds no capability.
fn is_tagged(a: &mut Attacker, register: Register) {
    a.tag_of(A, register).add(A, A, -1).must_be_zero(A, EMPTY_HANDED);
}

/// In the owner: makes the buffer and grants it to all.
fn grants(a: &mut Attacker, rights: u64) {
    a.call(BufferCreate, &[SIZE]).set(A, NUMBER as u32);
    a.must_be_equal(Argument(0), A, 40);
    if rights != 0 {
        for cvm in 0..6 {
            a.call(BufferGrant, &[NUMBER, cvm, rights]);
        }
    }
}

/// Grants a buffer to all, takes it back after a while, and then looks for a while whether somebody still writes it.
fn owner(platform: Platform, rights: u64, more: impl FnOnce(&mut Attacker)) -> Role {
    let mut owner = role(platform, "owner", |a| {
        grants(a, rights);
        a.call(Nanosleep, &[REVOKED]);
        a.call(BufferRevoke, &[NUMBER, BUFFER_ALL])
            .must_be_zero(Argument(0), 41);
        a.call(BufferMap, &[NUMBER, BOTH]).copy(KEPT, Argument(0));
        is_tagged(a, KEPT);
        a.load_through(C, KEPT).set(KEPT, 0);
        more(a);
        a.call(Nanosleep, &[4 * REVOKED]);
        a.call(BufferMap, &[NUMBER, BOTH]).copy(KEPT, Argument(0));
        a.load_through(B, KEPT).must_be_equal(B, C, 42).exit(0);
    });
    owner.spec.buffer_quota = 0x1000;
    owner
}

/// `LOCAL` = the capability over the local area.
fn local_area(a: &mut Attacker) {
    a.add(A, Argument(0), 0).load(B, A, LOCAL_SLOT);
    a.add_register(A, B).load_capability(LOCAL, A, 0);
}

/// Maps the buffer as soon as it is granted.
fn maps(a: &mut Attacker) {
    let start = a.here();
    a.hostcall(Yield).call(BufferMap, &[NUMBER, BOTH]);
    a.tag_of(B, Argument(0)).branch_not_zero(B, 8).repeat(start);
    a.copy(KEPT, Argument(0)).set(Argument(0), 0);
}

/// A cVM that maps what it is granted, keeps it, and looks whether it still has it when it was taken back.
fn holder(platform: Platform, name: &str, keep: impl FnOnce(&mut Attacker), look: impl FnOnce(&mut Attacker)) -> Role {
    let mut holder = role(platform, name, |a| {
        local_area(a);
        maps(a);
        keep(a);
        let start = a.here();
        a.hostcall(Clock).constant(A, 3 * REVOKED);
        a.subtract_register(Argument(0), A).shift_right(Argument(0), 63);
        let back = start - a.here();
        a.branch_not_zero(Argument(0), back);
        look(a);
        a.exit(0);
    });
    holder.spec.local = 4;
    holder
}

fn cast(platform: Platform, name: &str, keep: fn(&mut Attacker), look: fn(&mut Attacker)) -> Vec<Role> {
    vec![owner(platform, BOTH, |_| ()), holder(platform, name, keep, look)]
}
