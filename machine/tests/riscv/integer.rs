//! The integer instructions, one table a group.

use crate::lab::{DATA, ECALL, FENCE_I, Lab, START, STAY, addi, amo, b, i, jal, r, s};

/// Executes `word` with x1 = `a` and x2 = `b` and returns x3.
fn result(word: u32, a: u64, b: u64) -> u64 {
    Lab::v9(&[word]).set(1, a).set(2, b).step(1).get(3)
}

#[test]
fn register_arithmetic_has_the_results_of_the_manual() {
    let negative = -5i64 as u64;
    let cases: [(u32, u32, u32, u64, u64, u64); 28] = [
        (0x33, 0, 0x00, 3, 4, 7),
        (0x33, 0, 0x20, 3, 4, u64::MAX),
        (0x33, 1, 0x00, 1, 65, 2),
        (0x33, 2, 0x00, negative, 1, 1),
        (0x33, 3, 0x00, negative, 1, 0),
        (0x33, 4, 0x00, 0b1100, 0b1010, 0b0110),
        (0x33, 5, 0x00, negative, 60, 15),
        (0x33, 5, 0x20, negative, 60, u64::MAX),
        (0x33, 6, 0x00, 0b1100, 0b1010, 0b1110),
        (0x33, 7, 0x00, 0b1100, 0b1010, 0b1000),
        (0x3b, 0, 0x00, 0x7fff_ffff, 1, 0xffff_ffff_8000_0000),
        (0x3b, 0, 0x20, 0, 1, u64::MAX),
        (0x3b, 1, 0x00, 1, 31, 0xffff_ffff_8000_0000),
        (0x3b, 5, 0x00, 0x8000_0000, 4, 0x0800_0000),
        (0x3b, 5, 0x20, 0x8000_0000, 4, 0xffff_ffff_f800_0000),
        (0x33, 0, 0x01, negative, 3, -15i64 as u64),
        (0x33, 1, 0x01, negative, 3, u64::MAX),
        (0x33, 2, 0x01, negative, u64::MAX, -5i64 as u64),
        (0x33, 3, 0x01, u64::MAX, 2, 1),
        (0x33, 4, 0x01, negative, 2, -2i64 as u64),
        (0x33, 5, 0x01, 7, 2, 3),
        (0x33, 6, 0x01, negative, 2, u64::MAX),
        (0x33, 7, 0x01, 7, 4, 3),
        (0x3b, 0, 0x01, 0x1_0000_0003, 5, 15),
        (0x3b, 4, 0x01, negative, 2, -2i64 as u64),
        (0x3b, 5, 0x01, 0xffff_fffe, 1, 0xffff_ffff_ffff_fffe),
        (0x3b, 6, 0x01, negative, 0, negative),
        (0x3b, 7, 0x01, 9, 4, 1),
    ];
    for (opcode, funct3, funct7, first, second, expected) in cases {
        let word = r(opcode, funct3, funct7, 3, 1, 2);
        assert_eq!(
            result(word, first, second),
            expected,
            "{}",
            machine::riscv::disassemble(word, false)
        );
    }
}

#[test]
fn immediate_arithmetic_has_the_results_of_the_manual() {
    let cases = [
        (i(0x13, 0, 3, 1, -1), 5, 4),
        (i(0x13, 2, 3, 1, -1), 5, 0),
        (i(0x13, 3, 3, 1, -1), 5, 1),
        (i(0x13, 4, 3, 1, -1), 5, !5),
        (i(0x13, 6, 3, 1, 8), 5, 13),
        (i(0x13, 7, 3, 1, 4), 5, 4),
        (i(0x13, 1, 3, 1, 63), 1, 1 << 63),
        (i(0x13, 5, 3, 1, 63), u64::MAX, 1),
        (i(0x13, 5, 3, 1, 0x400 | 63), u64::MAX, u64::MAX),
        (i(0x1b, 0, 3, 1, 1), 0x7fff_ffff, 0xffff_ffff_8000_0000),
        (i(0x1b, 1, 3, 1, 31), 1, 0xffff_ffff_8000_0000),
        (i(0x1b, 5, 3, 1, 31), 0x8000_0000, 1),
        (i(0x1b, 5, 3, 1, 0x400 | 31), 0x8000_0000, u64::MAX),
    ];
    for (word, operand, expected) in cases {
        assert_eq!(
            result(word, operand, 0),
            expected,
            "{}",
            machine::riscv::disassemble(word, false)
        );
    }
    assert_eq!(result(0x8000_01b7, 0, 0), 0xffff_ffff_8000_0000); // lui x3, 0x80000
    assert_eq!(result(0x0000_1197, 0, 0), START + 0x1000); // auipc x3, 1
}

#[test]
fn loads_extend_and_stores_truncate() {
    let loads = [
        (0, 0xffff_ffff_ffff_fff0),
        (1, 0xffff_ffff_ffff_def0),
        (2, 0xffff_ffff_9abc_def0),
        (3, 0x1234_5678_9abc_def0),
        (4, 0xf0),
        (5, 0xdef0),
        (6, 0x9abc_def0),
    ];
    for (funct3, expected) in loads {
        let program = [s(3, 2, 1, 8), i(0x03, funct3, 3, 1, 8)];
        let lab = Lab::v9(&program).set(1, DATA).set(2, 0x1234_5678_9abc_def0).step(2);
        assert_eq!(lab.get(3), expected, "load {funct3}");
    }
    for (funct3, expected) in [(0, 0xf0u64), (1, 0xdef0), (2, 0x9abc_def0)] {
        let lab = Lab::v9(&[s(funct3, 2, 1, -8)])
            .set(1, DATA)
            .set(2, 0x1234_5678_9abc_def0)
            .step(1);
        assert_eq!(
            lab.board.read_memory(DATA - 8, 8).unwrap(),
            expected.to_le_bytes(),
            "store {funct3}"
        );
    }
}

#[test]
fn a_misaligned_access_succeeds_in_ram() {
    let lab = Lab::v9(&[s(3, 2, 1, 5), i(0x03, 3, 3, 1, 5)])
        .set(1, DATA)
        .set(2, 77)
        .step(2);
    assert_eq!((lab.get(3), lab.trap()), (77, None));
}

#[test]
fn branches_compare_signed_and_unsigned() {
    let minus_one = u64::MAX;
    for (funct3, first, second, taken) in [
        (0, 4, 4, true),
        (1, 4, 4, false),
        (4, minus_one, 1, true),
        (5, minus_one, 1, false),
        (6, minus_one, 1, false),
        (7, minus_one, 1, true),
    ] {
        let lab = Lab::v9(&[b(funct3, 1, 2, 12)]).set(1, first).set(2, second).step(1);
        assert_eq!(
            lab.board.pc(0),
            if taken { START + 12 } else { START + 4 },
            "branch {funct3}"
        );
    }
}

#[test]
fn jumps_link_the_next_instruction() {
    let lab = Lab::v9(&[jal(1, 0x400)]).step(1);
    assert_eq!((lab.board.pc(0), lab.get(1)), (START + 0x400, START + 4));
    let lab = Lab::v9(&[i(0x67, 0, 5, 5, 3)]).set(5, START + 0x100).step(1);
    assert_eq!((lab.board.pc(0), lab.get(5)), (START + 0x102, START + 4));
}

#[test]
fn atomics_return_the_old_value_and_store_the_new_one() {
    let minus_two = -2i64 as u64;
    for (function, operand, expected) in [
        (0, 5, 3),
        (1, 5, 5),
        (4, 1, minus_two ^ 1),
        (8, 1, minus_two | 1),
        (12, 7, 6),
        (16, 1, minus_two),
        (20, 1, 1),
        (24, 1, 1),
        (28, 1, minus_two),
    ] {
        let program = [s(3, 4, 1, 0), amo(function, 3, 3, 2, 1), i(0x03, 3, 6, 1, 0)];
        let lab = Lab::v9(&program).set(1, DATA).set(2, operand).set(4, minus_two).step(3);
        assert_eq!((lab.get(3), lab.get(6)), (minus_two, expected), "function {function}");
    }
    let lab = Lab::v9(&[amo(0, 2, 3, 2, 1)]).set(1, DATA + 2).step(1);
    assert_eq!(lab.trap().map(|trap| (trap.cause, trap.value)), Some((6, DATA + 2)));
}

#[test]
fn a_store_conditional_succeeds_once_and_only_behind_its_reservation() {
    let reserve = amo(2, 3, 3, 0, 1);
    let conditional = amo(3, 3, 4, 2, 1);
    let lab = Lab::v9(&[reserve, conditional, conditional])
        .set(1, DATA)
        .set(2, 9)
        .step(2);
    assert_eq!(lab.get(4), 0);
    assert_eq!(lab.board.read_memory(DATA, 1).unwrap(), [9]);
    assert_eq!(lab.step(1).get(4), 1);
    let lab = Lab::v9(&[reserve, s(3, 2, 1, 0), conditional])
        .set(1, DATA)
        .set(2, 9)
        .step(3);
    assert_eq!(lab.get(4), 1, "the value changed in between");
    let lab = Lab::v9(&[reserve, ECALL, conditional]).set(1, DATA).set(2, 9).step(2);
    assert_eq!(lab.trap().map(|trap| trap.cause), Some(11));
}

#[test]
fn code_that_was_written_is_executed_after_fence_i() {
    // Executes a subroutine, changes its first instruction, executes it again.
    let subroutine = 0x100;
    let program = [
        jal(5, subroutine),
        s(2, 2, 1, 0),
        FENCE_I,
        jal(5, subroutine - 12),
        STAY,
    ];
    let mut lab = Lab::v9(&program)
        .set(1, START + subroutine as u64)
        .set(2, u64::from(addi(3, 3, 100)));
    let code = crate::lab::image(&[addi(3, 3, 1), i(0x67, 0, 0, 5, 0)]);
    lab.board.write_memory(START + subroutine as u64, &code).unwrap();
    assert_eq!(lab.step(8).get(3), 101);
}

#[test]
fn code_that_a_test_writes_between_runs_is_executed() {
    let mut lab = Lab::v9(&[addi(3, 3, 1), jal(0, -4)]).step(4);
    assert_eq!(lab.get(3), 2);
    lab.board.write_memory(START, &addi(3, 3, 100).to_le_bytes()).unwrap();
    assert_eq!(lab.step(2).get(3), 102);
}

#[test]
fn an_instruction_across_two_pages_is_executed() {
    let mut lab = Lab::v9(&[jal(0, 0xffe)]);
    lab.board
        .write_memory(START + 0xffe, &crate::lab::image(&[addi(3, 3, 7), jal(0, -4)]))
        .unwrap();
    let lab = lab.step(5);
    assert_eq!(lab.get(3), 14);
}

#[test]
fn what_does_not_exist_traps_as_an_illegal_instruction() {
    // A floating-point addition, SRET, a CSR of supervisor mode, a reserved word.
    for word in [0x0020_81d3, 0x1020_0073, crate::lab::csr(2, 3, 0x180, 0), 0xffff_ffff] {
        let trap = Lab::v9(&[word]).step(1).trap().unwrap();
        assert_eq!((trap.cause, trap.value), (2, u64::from(word)));
    }
}

#[test]
fn absent_memory_is_an_access_fault_with_its_address() {
    let fault = |word, address| {
        Lab::v9(&[word])
            .set(1, address)
            .step(1)
            .trap()
            .map(|trap| (trap.cause, trap.value))
    };
    assert_eq!(fault(i(0x03, 3, 3, 1, 0), 0x4_0000), Some((5, 0x4_0000)));
    assert_eq!(fault(s(3, 2, 1, 0), 0x4_0000), Some((7, 0x4_0000)));
    assert_eq!(fault(i(0x03, 3, 3, 1, 0), 0x8200_0000), Some((5, 0x8200_0000)));
    let lab = Lab::v9(&[i(0x67, 0, 0, 1, 0)]).set(1, 0x4_0000).step(2);
    assert_eq!(lab.trap().map(|trap| (trap.cause, trap.value)), Some((1, 0x4_0000)));
}
