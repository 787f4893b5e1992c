//! Making a capability out of nothing, or a greater one out of a lesser one.

use abi::FaultKind::{Bounds, Capability, Illegal, Permission, Seal, Tag, Type};
use tests::code::assembler::Register::{self, Scratch, Stack};
use tests::code::attack::Attacker;

use crate::catalogue::Fate::{Absent, Killed, Nothing};
use crate::catalogue::{Attack, Group, each, either, everywhere, killed, program};
use crate::tampering::{ROOT_METADATA, forge, within};

pub(crate) const GROUP: Group = Group {
    title: "Forging and amplifying capabilities",
    promise: "1: a cVM holds its own text and its own memory, and nothing that it does gives it more",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);
const D: Register = Scratch(3);

const ATTACKS: &[Attack] = &[
    program(
        "widen-upwards",
        "set bounds of DDC one page longer",
        each(Killed(Tag), Killed(Bounds), Killed(Tag)),
        |a| {
            a.read_ddc(A).constant(C, 4096);
            a.base_of(B, A).set_address(A, A, B).length_of(B, A);
            a.add_register(B, C);
            a.set_bounds(A, A, B).load_through(B, A);
        },
    ),
    program(
        "widen-downwards",
        "move DDC a page below its base and set bounds there",
        each(Killed(Tag), Killed(Bounds), Killed(Tag)),
        |a| {
            a.read_ddc(A).constant(B, 4096_u64.wrapping_neg());
            a.offset(A, A, B).constant(B, 8192);
            a.set_bounds(A, A, B).load_through(B, A);
        },
    ),
    program(
        "widen-exactly",
        "the same with the instruction that wants exact bounds",
        each(Killed(Tag), Killed(Bounds), Killed(Tag)),
        |a| {
            a.read_ddc(A).constant(B, 1 << 32);
            a.set_bounds_exact(A, A, B).load_through(B, A);
        },
    ),
    program(
        "widen-to-everything",
        "set bounds of 2^64 - 1 bytes",
        each(Killed(Tag), Killed(Bounds), Killed(Tag)),
        |a| {
            a.read_ddc(A).constant(B, u64::MAX);
            a.set_bounds(A, A, B).load_through(B, A);
        },
    ),
    program(
        "widen-narrowed",
        "narrow DDC to 16 bytes and set the old bounds again",
        each(Killed(Tag), Killed(Bounds), Killed(Tag)),
        |a| {
            a.data_capability(A).set(B, 16);
            a.set_bounds(A, A, B).set(B, 64);
            a.set_bounds(A, A, B).load_through(B, A);
        },
    ),
    program(
        "rounded-bounds",
        "ask for bounds that cannot be exact and read behind the old ones",
        either(Killed(Bounds), Killed(Bounds)),
        |a| {
            // One byte less than all, which is rounded up, but never beyond the authority.
            a.read_ddc(A);
            a.base_of(B, A).set_address(A, A, B).length_of(B, A).copy(C, A);
            a.add(D, B, -1);
            a.set_bounds(A, A, D).offset(A, A, B).load_through(B, A);
        },
    ),
    program(
        "wander-and-return",
        "move a capability 2^40 bytes away and back",
        killed(Tag),
        |a| {
            a.data_capability(A).constant(B, 1 << 40);
            a.offset(A, A, B).constant(B, (1_u64 << 40).wrapping_neg());
            a.offset(A, A, B).load_through(B, A);
        },
    ),
    program(
        "wander-to-victim",
        "move DDC to the victim's secret",
        killed(Tag),
        |a| {
            let secret = a.secret();
            a.read_ddc(A).constant(B, secret);
            a.set_address(A, A, B).load_through(B, A);
        },
    ),
    program(
        "wander-to-the-end",
        "move DDC to its end, where it is representable, and load",
        killed(Bounds),
        |a| {
            a.read_ddc(A);
            a.base_of(B, A).length_of(C, A).add_register(B, C);
            a.set_address(A, A, B).load_through(B, A);
        },
    ),
    program(
        "forge-from-integers",
        "write the bits of the root as integers and load them as a capability",
        killed(Tag),
        |a| {
            forge(a);
            a.load_capability(B, A, 0);
            a.load_through(B, B);
        },
    ),
    program(
        "forge-in-register",
        "use the address of the secret in a register as a capability",
        killed(Tag),
        |a| {
            let secret = a.secret();
            a.constant(A, secret).load_through(B, A);
        },
    ),
    program(
        "build-from-bits",
        "rebuild the root from its bits with DDC as authority",
        each(Killed(Tag), Killed(Bounds), Killed(Tag)),
        |a| {
            forge(a);
            a.load_capability(B, A, 0).read_ddc(C);
            a.build(B, C, B).load_through(B, B);
        },
    ),
    program(
        "build-victims-memory",
        "rebuild DDC with the victim's bounds",
        each(Killed(Tag), Killed(Bounds), Killed(Tag)),
        |a| {
            // The bits of the own DDC with an address that moves its bounds along.
            let victim = a.victim();
            a.data_address(A).read_ddc(B).store_capability(B, A, 0);
            a.constant(B, victim)
                .store(B, A, 0)
                .load_capability(B, A, 0)
                .read_ddc(C);
            a.build(B, C, B).load_through(B, B);
        },
    ),
    program(
        "build-with-system-permission",
        "rebuild PCC with all permissions",
        each(Killed(Tag), Killed(Capability), Killed(Tag)),
        |a| {
            let mask = if a.is_riscv() { 0x0fff << 48 } else { 0x3ffff << 46 };
            a.data_address(A).read_pcc(B).store_capability(B, A, 0).load(C, A, 8);
            a.constant(D, mask).or(C, D).store(C, A, 8);
            a.load_capability(C, A, 0).build(C, B, C).load_through(C, C);
        },
    ),
    program(
        "build-from-untagged-authority",
        "rebuild the root with its own bits as authority",
        killed(Tag),
        |a| {
            forge(a);
            a.load_capability(B, A, 0);
            a.build(B, B, B).load_through(B, B);
        },
    ),
    program(
        "build-from-sealed-bits",
        "rebuild a sentry: at most an own capability comes of it",
        everywhere(Nothing),
        |a| {
            // CHERI-RISC-V gives nothing or an unsealed copy of what the authority covers, as Morello does.
            a.read_pcc(A).seal_entry(B, A);
            a.build(C, A, B);
            within(a, C, A);
        },
    ),
    program(
        "readd-permissions",
        "drop the permission to store, then ask for all",
        killed(Permission),
        |a| {
            let store = if a.is_riscv() { !(1 << 3) } else { 1 << 16 };
            let all = if a.is_riscv() { u64::MAX } else { 0 };
            a.data_capability(A).constant(B, store);
            a.restrict(A, A, B).constant(B, all);
            a.restrict(A, A, B).store_through(B, A);
        },
    ),
    program(
        "execute-data",
        "jump through a capability to own data",
        killed(Permission),
        |a| {
            a.data_capability(A).jump_to_capability(A);
        },
    ),
    program(
        "write-through-pcc",
        "store through the own PCC",
        killed(Permission),
        |a| {
            a.read_pcc(A).store_through(B, A);
        },
    ),
    program(
        "seal-with-ddc",
        "use DDC as a key to seal with",
        each(Killed(Tag), Killed(Permission), Killed(Tag)),
        |a| {
            a.data_capability(A).data_capability(B);
            a.seal(A, A, B).load_through(B, A);
        },
    ),
    program(
        "seal-with-integers",
        "use otypes 0 to 31 as untagged keys to seal with",
        each(Nothing, Killed(Tag), Nothing),
        |a| {
            a.data_capability(A);
            for otype in 0..32 {
                a.set(B, otype);
                a.seal(C, A, B).must_be_untagged(C, 1);
            }
            a.exit(0);
        },
    ),
    program(
        "unseal-with-guesses",
        "unseal a sentry with otypes 0 to 15 and -4 to -1 as keys",
        each(Nothing, Killed(Tag), Nothing),
        |a| {
            a.read_pcc(A).seal_entry(A, A);
            for otype in (0..16).chain(u64::MAX - 3..=u64::MAX) {
                a.constant(B, otype).unseal(C, A, B).must_be_untagged(C, 1);
            }
            a.exit(0);
        },
    ),
    program(
        "unseal-with-ddc",
        "unseal a sentry with the own memory as keys",
        each(Killed(Tag), Killed(Type), Killed(Tag)),
        |a| {
            a.read_pcc(A).seal_entry(A, A).data_capability(B);
            a.unseal(A, A, B).load_through(B, A);
        },
    ),
    program(
        "seal-conditionally",
        "take over the type of a sentry with the conditional seal",
        each(Nothing, Killed(Seal), Nothing),
        |a| {
            // Without a usable key the source comes back as it was.
            a.read_pcc(A).seal_entry(B, A).data_capability(C);
            a.seal_conditionally(D, C, B);
            a.data_capability(A);
            within(a, D, A);
        },
    ),
    program(
        "copy-type",
        "make a key of the type of a sentry",
        each(Nothing, Nothing, Nothing),
        |a| {
            a.read_pcc(A).seal_entry(A, A).data_capability(B);
            a.copy_type(C, B, A).must_be_untagged(C, 1).exit(0);
        },
    ),
    program("load-through-sentry", "load through a sentry", killed(Seal), |a| {
        a.read_pcc(A).seal_entry(A, A).load_through(B, A);
    }),
    program(
        "move-sentry",
        "move a sentry by four bytes and enter it",
        each(Killed(Tag), Killed(Seal), Killed(Tag)),
        |a| {
            a.read_pcc(A).seal_entry(A, A).set(B, 4);
            a.offset(A, A, B).jump_to_capability(A);
        },
    ),
    program(
        "set-address-of-sentry",
        "set the address of a sentry and enter it",
        each(Killed(Tag), Killed(Seal), Killed(Tag)),
        |a| {
            a.read_pcc(A)
                .address_of(B, A)
                .seal_entry(A, A)
                .set_address(A, A, B)
                .jump_to_capability(A);
        },
    ),
    program(
        "bounds-of-sentry",
        "set bounds of a sentry and load through it",
        each(Killed(Tag), Killed(Seal), Killed(Tag)),
        |a| {
            a.read_pcc(A).seal_entry(A, A).set(B, 16);
            a.set_bounds(A, A, B).load_through(B, A);
        },
    ),
    program(
        "sentry-of-data",
        "make a sentry of own data and enter it",
        killed(Permission),
        |a| {
            a.data_capability(A).seal_entry(A, A).jump_to_capability(A);
        },
    ),
    program(
        "enter-by-integer",
        "jump through an untagged capability to the monitor",
        killed(Tag),
        |a| {
            let monitor = a.platform.monitor();
            a.constant(A, monitor).jump_to_capability(A);
        },
    ),
    program(
        "invoke-unsealed",
        "invoke a pair of unsealed capabilities",
        either(Killed(Seal), Killed(Tag)),
        |a| {
            a.read_pcc(A).data_capability(B);
            invoke(a);
        },
    ),
    program(
        "invoke-sentries",
        "invoke a pair of sentries, which all have the same type",
        either(Killed(Seal), Killed(Tag)),
        |a| {
            a.read_pcc(A).seal_entry(A, A).data_capability(B).seal_entry(B, B);
            invoke(a);
        },
    ),
    program(
        "invoke-mismatch",
        "invoke a sentry with unsealed data",
        either(Killed(Seal), Killed(Tag)),
        |a| {
            a.read_pcc(A).seal_entry(A, A).data_capability(B);
            invoke(a);
        },
    ),
    program(
        "set-high",
        "replace bounds and permissions in a register",
        either(Killed(Tag), Absent),
        |a| {
            a.data_capability(A).constant(B, ROOT_METADATA[0]);
            a.push(0x16 << 25 | 19 << 20 | 18 << 15 | 18 << 7 | 0x5b)
                .load_through(B, A); // CSetHigh
        },
    ),
    program(
        "set-tag",
        "set the tag of forged bits",
        either(Absent, Killed(Illegal)),
        |a| {
            forge(a);
            a.load_capability(B, A, 0)
                .set(C, 1)
                .push(0xc2c0_8000 | 21 << 16 | 20 << 5 | 20); // SCTAG
            a.load_through(B, B);
        },
    ),
    program(
        "store-tags",
        "set the tags of forged bits in memory",
        either(Absent, Killed(Illegal)),
        |a| {
            forge(a);
            a.constant(B, 15)
                .push(0xc2c4_9000 | 19 << 5 | 20)
                .load_capability(B, A, 0); // STCT
            a.load_through(B, B);
        },
    ),
    program(
        "flags-as-address",
        "set flag bits of a capability, which are the top bits of its address",
        either(Absent, Killed(Bounds)),
        |a| {
            // The bounds stay where they were: loading above them is refused as ever.
            a.read_ddc(A).constant(C, 0xff << 56);
            a.base_of(B, A).set_address(A, A, B).length_of(B, A);
            a.push(0xc2c0_e000 | 21 << 16 | 19 << 5 | 19); // SCFLGS
            a.offset(A, A, B).load_through(B, A);
        },
    ),
    program(
        "load-branch-forged",
        "branch through a pair in memory of which the code is forged",
        either(Absent, Killed(Tag)),
        |a| {
            forge(a);
            a.load_capability(B, A, 0).store_capability(B, A, 16).data_capability(B);
            a.push(0xc2c3_5000 | 20 << 5 | 20); // SEAL c20, c20, LPB
            a.push(0xc2c4_1000 | 20 << 5 | 29); // LDPBR c29, [c20]
        },
    ),
    program(
        "pointer-from-null",
        "make a capability from an integer with NULL as authority",
        either(Killed(Tag), Absent),
        |a| {
            // Register 0 as authority would be DDC: NULL has to stand in another one.
            let secret = a.secret();
            a.constant(A, secret)
                .set(B, 0)
                .push(0x13 << 25 | 18 << 20 | 19 << 15 | 18 << 7 | 0x5b)
                .load_through(B, A);
        },
    ),
    program(
        "pointer-from-ddc",
        "make a capability from an integer with DDC as authority",
        either(Killed(Tag), Killed(Tag)),
        |a| {
            let secret = a.secret();
            a.address(A, secret)
                .word(0x13 << 25 | 18 << 20 | 18 << 7 | 0x5b, 0xc2c5_9000 | 19 << 5 | 19); // CFromPtr, CVTD
            a.load_through(B, A);
        },
    ),
    program(
        "stack-as-capability",
        "use the stack pointer as a capability",
        killed(Tag),
        |a| {
            if a.is_riscv() {
                a.load_through(A, Stack);
            } else {
                a.push(0xc2c1_d000 | 31 << 5 | 19).load_through(A, A); // CPY c19, csp
            }
        },
    ),
];

/// CInvoke or BRS with code in A and data in B.
fn invoke(a: &mut Attacker) {
    a.word(
        0x7e << 25 | 19 << 20 | 18 << 15 | 1 << 7 | 0x5b,
        0xc2c0_8400 | 20 << 16 | 19 << 5,
    );
}
