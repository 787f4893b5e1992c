//! Capabilities in memory: changed, copied, exchanged in parts.

use abi::FaultKind::{Misaligned, Permission, Tag};
use tests::code::assembler::Register::{self, Scratch};
use tests::code::attack::Attacker;

use crate::catalogue::Fate::{Absent, Killed, Nothing};
use crate::catalogue::{Attack, Group, either, everywhere, killed, program};

pub(crate) const GROUP: Group = Group {
    title: "Capabilities in memory",
    promise: "1: whatever is done to a capability in memory but storing and loading it whole leaves none",
    attacks: ATTACKS,
};

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);
const D: Register = Scratch(3);

/// What the 64 bits above the address of a capability over everything are.
pub(crate) const ROOT_METADATA: [u64; 2] = [0xffff_0000_0000_0000, 0xffff_c000_0001_0005];

const ATTACKS: &[Attack] = &[
    program(
        "overwrite-parts",
        "overwrite each byte of a capability in memory: no tag stays",
        everywhere(Nothing),
        |a| {
            a.data_address(A).read_ddc(B).constant(D, 0x80);
            for byte in 0..16 {
                a.store_capability(B, A, 0);
                a.store_byte(D, A, byte).load_capability(C, A, 0);
                a.must_be_untagged(C, byte + 1);
            }
            a.exit(0);
        },
    ),
    program(
        "overwrite-with-the-same",
        "overwrite a word of a capability with what it holds",
        killed(Tag),
        |a| {
            a.data_address(A).read_ddc(B).store_capability(B, A, 0);
            a.load(C, A, 8).store(C, A, 8).load_capability(B, A, 0);
            a.load_through(B, B);
        },
    ),
    program(
        "overwrite-across",
        "store a word that reaches into the next capability by a byte: neither keeps its tag",
        everywhere(Nothing),
        |a| {
            a.data_address(A)
                .read_ddc(B)
                .store_capability(B, A, 0)
                .store_capability(B, A, 16);
            if a.is_riscv() {
                // Misaligned stores need not exist: a byte of each.
                a.store_byte(C, A, 15).store_byte(C, A, 16);
            } else {
                a.push(0xf800_0000 | 12 << 12 | 19 << 5 | 21); // STUR x21, [x19, #12]
            }
            for offset in [0, 16] {
                a.load_capability(C, A, offset);
                a.must_be_untagged(C, 1);
            }
            a.exit(0);
        },
    ),
    program("copy-bytes", "copy a capability byte by byte", killed(Tag), |a| {
        a.data_address(A).read_ddc(B).store_capability(B, A, 0);
        for byte in 0..16 {
            a.load_byte(C, A, byte).store_byte(C, A, 16 + byte);
        }
        a.load_capability(B, A, 16);
        a.load_through(B, B);
    }),
    program(
        "copy-words",
        "copy a capability word by word onto a tagged one",
        killed(Tag),
        |a| {
            a.data_address(A)
                .read_ddc(B)
                .store_capability(B, A, 0)
                .store_capability(B, A, 16);
            for word in [0, 8] {
                a.load(C, A, word).store(C, A, 16 + word);
            }
            a.load_capability(B, A, 16);
            a.load_through(B, B);
        },
    ),
    program(
        "splice-halves",
        "join the address of one capability with the bounds of another",
        killed(Tag),
        |a| {
            let secret = a.secret();
            a.data_address(A).read_ddc(B).store_capability(B, A, 0);
            a.constant(C, secret).store(C, A, 0).load_capability(B, A, 0);
            a.load_through(B, B);
        },
    ),
    program(
        "load-between",
        "load a capability from between two",
        killed(Misaligned),
        |a| {
            a.data_address(A)
                .read_ddc(B)
                .store_capability(B, A, 0)
                .store_capability(B, A, 16);
            a.add(A, A, 8).load_capability(B, A, 0);
            a.load_through(B, B);
        },
    ),
    program(
        "store-between",
        "store a capability between two granules",
        killed(Misaligned),
        |a| {
            a.data_address(A).read_ddc(B).add(A, A, 8).store_capability(B, A, 0);
        },
    ),
    program(
        "load-without-permission",
        "load a capability through one that may load data only",
        killed(Tag),
        |a| {
            let mask = if a.is_riscv() { !(1 << 4) } else { 1 << 14 };
            a.data_address(A).read_ddc(B).store_capability(B, A, 0);
            a.constant(C, mask)
                .data_capability(D)
                .restrict(D, D, C)
                .load_capability_through(B, D)
                .load_through(B, B);
        },
    ),
    program(
        "store-without-permission",
        "store a capability through one that may store data only",
        either(Killed(Permission), Killed(Permission)),
        |a| {
            let mask = if a.is_riscv() { !(1 << 5) } else { 1 << 13 };
            a.constant(C, mask).data_capability(D).restrict(D, D, C).read_ddc(B);
            a.store_capability_through(B, D);
        },
    ),
    program(
        "exchange-for-forged",
        "exchange a capability in memory for forged bits: the memory loses its tag",
        killed(Tag),
        |a| {
            forge(a);
            a.load_capability(B, A, 0)
                .read_ddc(C)
                .store_capability(C, A, 16)
                .add(A, A, 16);
            a.exchange_capability(D, B, A).load_capability(B, A, 0);
            a.load_through(B, B);
        },
    ),
    program(
        "conditional-forgery",
        "reserve a tagged granule, change it, store forged bits conditionally",
        everywhere(Nothing),
        |a| {
            forge(a);
            a.load_capability(B, A, 0)
                .read_ddc(C)
                .store_capability(C, A, 16)
                .add(A, A, 16);
            a.load_reserved_capability(D, A)
                .store_conditional_capability(C, B, A)
                .load_capability(B, A, 0);
            // Stored: untagged. Not stored: the own DDC.
            a.read_ddc(C);
            within(a, B, C);
        },
    ),
    program(
        "reserve-tagged-store-integer",
        "reserve a capability and conditionally store half of another",
        everywhere(Nothing),
        |a| {
            a.data_address(A).read_ddc(B).store_capability(B, A, 0);
            a.load_reserved(C, A)
                .store_conditional(D, C, A)
                .load_capability(C, A, 0);
            // When it was stored, the tag is gone.
            a.tag_of(C, C).must_be_equal(C, D, 1).exit(0);
        },
    ),
    program(
        "compare-and-swap-forged",
        "compare and swap forged bits for equal bits with a tag",
        either(Absent, Killed(Tag)),
        |a| {
            // Compares with the same bits untagged; whether or not that is equal, what is loaded then must not be forged.
            forge(a);
            a.load_capability(B, A, 0)
                .store_capability(B, A, 16)
                .load_capability(C, A, 16)
                .add(A, A, 16);
            a.push(0xa2a0_7c00 | 20 << 16 | 19 << 5 | 21).load_capability(B, A, 0); // CAS c20, c21, [x19]
            a.load_through(B, B);
        },
    ),
    program(
        "load-pair-forged",
        "load a pair of a forged and a true capability",
        either(Absent, Killed(Tag)),
        |a| {
            forge(a);
            a.read_ddc(B)
                .store_capability(B, A, 16)
                .push(0x42c0_0000 | 21 << 10 | 19 << 5 | 20); // LDP c20, c21, [x19]
            a.load_through(A, B);
        },
    ),
];

/// Scratch register 0 = the data, at whose start it writes the bits of a capability over everything.
pub(crate) fn forge(a: &mut Attacker) {
    let metadata = ROOT_METADATA[usize::from(!a.is_riscv())];
    let secret = a.secret();
    a.data_address(A);
    a.constant(B, secret).store(B, A, 0);
    a.constant(B, metadata).store(B, A, 8);
}

/// Exits with 0 when a capability is untagged or has the bounds of another one, and with 1 otherwise.
pub(crate) fn within(a: &mut Attacker, capability: Register, authority: Register) {
    let (one, other) = (Scratch(7), Scratch(8));
    a.tag_of(one, capability)
        .branch_not_zero(one, 8)
        .jump(8)
        .jump(16)
        .exit(0);
    a.base_of(one, capability)
        .base_of(other, authority)
        .must_be_equal(one, other, 1);
    a.length_of(one, capability)
        .length_of(other, authority)
        .must_be_equal(one, other, 1);
    a.exit(0);
}
