//! The state of floating point: flags, the field of `mstatus`, and loads and stores with their authority.

use crate::floating_point::{
    ADD, COMPARE, DIRTY, DIVIDE, DOUBLE, DZ, FCSR, FFLAGS, FRM, MISA, MSTATUS, NV, NX, OF_X, TO_INTEGER, TO_X, compute,
    double, open,
};
use crate::lab::{DATA, EBREAK, Lab, MRET, START, csr, i, region, s};
use capability::riscv::Capability;
use machine::riscv::{Privilege, special};

#[test]
fn flags_gather_until_they_are_written() {
    let third = compute(DIVIDE, DOUBLE, 0, 2);
    let lab = open(&[
        third,
        third,
        csr(1, 5, FFLAGS, 6),
        csr(2, 7, FCSR, 0),
        csr(1, 0, FCSR, 8),
        csr(2, 9, FCSR, 0),
    ])
    .float(1, double(1.0))
    .float(2, double(0.0))
    .step(1)
    .float(2, double(3.0))
    .set(6, NV)
    .set(8, 0xffff_ff7f)
    .step(5);
    assert_eq!((lab.get(5), lab.get(7), lab.get(9)), (DZ | NX, NV, 0x7f));
}

#[test]
fn with_the_state_off_every_instruction_and_register_is_illegal() {
    let words = [
        i(0x07, 3, 3, 10, 0),
        s(3, 1, 10, 0) | 4,
        compute(ADD, DOUBLE, 0, 2),
        compute(TO_X, DOUBLE, 0, 0),
        csr(2, 3, FFLAGS, 0),
        csr(2, 3, FCSR, 0),
        // c.fldsp, c.fsdsp
        0x2082,
        0xa406,
    ];
    for word in words {
        let lab = Lab::v9(&[word]).set(10, 8).set(2, 8).step(1);
        assert_eq!(
            lab.trap().map(|trap| trap.cause),
            Some(2),
            "{word:#x} before its address is looked at"
        );
        assert_eq!(lab.status(), 0);
    }
}

#[test]
fn what_writes_makes_the_state_dirty_and_what_only_reads_does_not() {
    let clean = 2 << 13;
    let cases = [
        (i(0x07, 3, 3, 10, 0), true),
        (compute(ADD, DOUBLE, 0, 2), true),
        (compute(OF_X, DOUBLE, 0, 0), true),
        (csr(1, 0, FRM, 0), true),
        // Raises inexact.
        (compute(TO_INTEGER, DOUBLE, 0, 0), true),
        (s(3, 1, 10, 0) | 4, false),
        (compute(TO_X, DOUBLE, 0, 0), false),
        (compute(TO_X, DOUBLE, 1, 0), false),
        (csr(2, 3, FCSR, 0), false),
        (compute(COMPARE, DOUBLE, 2, 2), false),
    ];
    for (word, dirty) in cases {
        let lab = Lab::v9(&[csr(1, 0, MSTATUS, 5), word]).set(5, clean).set(10, DATA);
        let lab = lab.float(1, double(0.5)).step(2);
        assert_eq!(lab.trap(), None);
        assert_eq!(lab.status(), if dirty { DIRTY } else { clean }, "{word:#010x}");
    }
    // A load that faults writes nothing.
    let fault = Lab::v9(&[csr(1, 0, MSTATUS, 5), i(0x07, 3, 3, 10, 0)])
        .set(5, clean)
        .set(10, 8)
        .step(2);
    assert_eq!((fault.trap().unwrap().cause, fault.status()), (5, clean));
}

#[test]
fn the_summary_bit_cannot_be_written() {
    let lab = Lab::v9(&[csr(1, 0, MSTATUS, 5), csr(2, 6, MSTATUS, 0)])
        .set(5, 1 << 63 | 1 << 13)
        .step(2);
    assert_eq!(lab.get(6) & DIRTY, 1 << 13);
}

#[test]
fn user_mode_reads_and_writes_fcsr_without_permission_for_system_registers() {
    // All memory open to U mode, the state on, and on behind the MRET.
    let words = [
        csr(1, 0, 0x3b0, 30),
        csr(1, 0, 0x3a0, 29),
        csr(1, 0, MSTATUS, 31),
        MRET,
        csr(5, 3, FRM, 2),
        csr(2, 4, MSTATUS, 0),
    ];
    let code = region(START, 0x1000, 0x7).set_address(START + 16);
    let lab = Lab::v9(&words).set(31, 1 << 13).set(30, u64::MAX).set(29, 0x1f);
    let lab = lab.set_special(special::MEPCC, code).step(5);
    assert_eq!((lab.trap(), lab.board.privilege(0)), (None, Privilege::User));
    assert_eq!(lab.board.csr(0, FRM as u16), 2);
    assert_eq!(lab.step(1).trap().unwrap().cause, 2, "mstatus stays closed");
}

#[test]
fn hybrid_loads_and_stores_are_checked_against_ddc() {
    let bounded = region(DATA, 0x10, 0x7f);
    for (word, address, expected) in [
        (i(0x07, 3, 3, 10, 0), DATA + 8, None),
        (i(0x07, 3, 3, 10, 0), DATA + 9, Some(0x421)),
        (i(0x07, 2, 3, 10, 0), DATA + 13, Some(0x421)),
        (s(3, 1, 10, 0) | 4, DATA + 9, Some(0x421)),
        (s(2, 1, 10, 0) | 4, DATA - 1, Some(0x421)),
    ] {
        let lab = open(&[word])
            .set(10, address)
            .set_special(special::DDC, bounded)
            .step(1);
        assert_eq!(lab.trap().map(|trap| trap.value), expected, "{word:#x} at {address:#x}");
    }
    let read_only = region(DATA, 0x10, 0x5);
    let lab = open(&[s(3, 1, 10, 0) | 4])
        .set(10, DATA)
        .set_special(special::DDC, read_only)
        .step(1);
    assert_eq!(lab.capability_fault(), 0x433);
    // In v8, addresses count from DDC's.
    let mut lab = Lab::v8(&[csr(1, 0, MSTATUS, 31), i(0x07, 3, 3, 10, 8)]).set(31, 1 << 13);
    lab.board.write_memory(DATA + 24, &double(1.5).to_le_bytes()).unwrap();
    let lab = lab
        .set(10, 16)
        .set_special(special::DDC, region(DATA, 0x20, 0x7f))
        .step(2);
    assert_eq!(lab.get_float(3), double(1.5));
}

#[test]
fn in_capability_mode_loads_and_stores_go_through_the_register() {
    let buffer = region(DATA, 0x10, 0xd);
    let run = |word| {
        open(&[word])
            .capability_mode()
            .set_special(special::DDC, Capability::NULL)
            .set_capability(10, buffer)
            .float(1, double(2.5))
            .step(1)
    };
    let stored = run(s(3, 1, 10, 8) | 4);
    assert_eq!(stored.trap(), None);
    assert_eq!(
        stored.board.read_memory(DATA + 8, 8).unwrap(),
        double(2.5).to_le_bytes()
    );
    assert_eq!(run(i(0x07, 3, 3, 10, 8)).trap(), None);
    assert_eq!(run(i(0x07, 3, 3, 10, 9)).capability_fault(), 0x141);
    assert_eq!(run(i(0x07, 2, 3, 10, -4)).capability_fault(), 0x141);
    assert_eq!(run(s(2, 1, 10, 13) | 4).capability_fault(), 0x141);
    assert_eq!(run(i(0x07, 3, 3, 11, 0)).capability_fault(), 0x162, "no capability");
}

#[test]
fn a_store_of_a_double_clears_the_tag_beneath_it() {
    let mut lab = open(&[s(3, 1, 10, 8) | 4]).set(10, DATA);
    lab.board.memory_mut().set_tag((DATA - START) as usize, true);
    let lab = lab.step(1);
    assert!(!lab.board.read_capability(DATA).unwrap().tag());
}

#[test]
fn compressed_forms_load_and_store_doubles_in_hybrid_mode_only() {
    // c.fsdsp f8, 8 and c.fld f9, 8(x10), one word.
    let word = 0x2504_a422;
    let lab = open(&[word, EBREAK])
        .set(2, DATA)
        .set(10, DATA)
        .float(8, double(4.25))
        .step(2);
    assert_eq!((lab.trap(), lab.get_float(9)), (None, double(4.25)));
    // In capability mode the same words store and load capabilities.
    let lab = open(&[word])
        .capability_mode()
        .set_capability(2, region(DATA, 0x1000, 0x7f))
        .set_capability(8, Capability::ROOT);
    assert_eq!(lab.step(1).board.read_capability(DATA + 512), Some(Capability::ROOT));
}

#[test]
fn misa_says_what_is_there() {
    let letters = |misa: u64| {
        (b'A'..=b'Z')
            .filter(|letter| misa >> (letter - b'A') & 1 == 1)
            .collect::<Vec<_>>()
    };
    assert_eq!(letters(Lab::v9(&[]).board.csr(0, MISA)), b"ACDFIMUX");
}
