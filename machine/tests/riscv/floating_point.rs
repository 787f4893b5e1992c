//! F and D: formats, exceptions, rounding modes, and the state that opens them.

use crate::lab::{DATA, Lab, csr, i, r, s};

pub(crate) const FFLAGS: u32 = 1;
pub(crate) const FRM: u32 = 2;
pub(crate) const FCSR: u32 = 3;
pub(crate) const MSTATUS: u32 = 0x300;
pub(crate) const MISA: u16 = 0x301;
pub(crate) const DIRTY: u64 = 3 << 13 | 1 << 63;
const BOX: u64 = 0xffff_ffff_0000_0000;
const NAN_32: u64 = BOX | 0x7fc0_0000;
const NAN_64: u64 = 0x7ff8_0000_0000_0000;
const SIGNALLING_32: u64 = BOX | 0x7f80_0001;
const SIGNALLING_64: u64 = 0x7ff0_0000_0000_0001;

/// Flags of `fflags`.
pub(crate) const NX: u64 = 1;
const UF: u64 = 2;
const OF: u64 = 4;
pub(crate) const DZ: u64 = 8;
pub(crate) const NV: u64 = 16;

/// `funct5`.
pub(crate) const ADD: u32 = 0x00;
const SUBTRACT: u32 = 0x01;
const MULTIPLY: u32 = 0x02;
pub(crate) const DIVIDE: u32 = 0x03;
const ROOT: u32 = 0x0b;
const SIGN: u32 = 0x04;
const EXTREME: u32 = 0x05;
const FORMAT: u32 = 0x08;
pub(crate) const COMPARE: u32 = 0x14;
pub(crate) const TO_INTEGER: u32 = 0x18;
const OF_INTEGER: u32 = 0x1a;
pub(crate) const TO_X: u32 = 0x1c;
pub(crate) const OF_X: u32 = 0x1e;

const SINGLE: u32 = 0;
pub(crate) const DOUBLE: u32 = 1;
/// The rounding mode of `frm`.
const DYNAMIC: u32 = 7;
/// To nearest, ties away from zero.
const AWAY: u32 = 4;

/// An instruction with destination 3 and the sources 1 and 2.
pub(crate) fn compute(function: u32, format: u32, funct3: u32, rs2: u32) -> u32 {
    r(0x53, funct3, function << 2 | format, 3, 1, rs2)
}

/// A lab whose floating-point registers are open, initial.
pub(crate) fn open(words: &[u32]) -> Lab {
    let mut program = vec![csr(2, 0, MSTATUS, 31)];
    program.extend(words);
    Lab::v9(&program).set(31, 1 << 13).step(1)
}

impl Lab {
    pub(crate) fn float(mut self, number: u8, value: u64) -> Self {
        self.board.set_float_register(0, number, value);
        self
    }

    pub(crate) fn get_float(&self, number: u8) -> u64 {
        self.board.float_register(0, number)
    }

    fn flags(&self) -> u64 {
        self.board.csr(0, FFLAGS as u16)
    }

    pub(crate) fn status(&self) -> u64 {
        self.board.csr(0, MSTATUS as u16) & DIRTY
    }
}

/// f3 and the flags after one instruction on f1 and f2.
fn float(word: u32, f1: u64, f2: u64) -> (u64, u64) {
    let lab = open(&[word]).float(1, f1).float(2, f2).step(1);
    assert_eq!(lab.trap(), None, "{word:#010x}");
    (lab.get_float(3), lab.flags())
}

/// x3 and the flags after one instruction on f1 and f2.
fn integer(word: u32, f1: u64, f2: u64) -> (u64, u64) {
    let lab = open(&[word]).float(1, f1).float(2, f2).step(1);
    assert_eq!(lab.trap(), None, "{word:#010x}");
    (lab.get(3), lab.flags())
}

pub(crate) fn double(value: f64) -> u64 {
    value.to_bits()
}

fn single(value: f32) -> u64 {
    BOX | u64::from(value.to_bits())
}

#[test]
fn arithmetic_has_the_results_and_exceptions_of_the_standard() {
    let smallest = f64::from_bits(1);
    let cases = [
        (compute(ADD, DOUBLE, 0, 2), double(1.0), double(2.0), double(3.0), 0),
        (compute(ADD, DOUBLE, 0, 2), double(1.0), double(1e-30), double(1.0), NX),
        (
            compute(SUBTRACT, DOUBLE, 0, 2),
            double(1.0),
            double(1.0),
            double(0.0),
            0,
        ),
        (
            compute(SUBTRACT, DOUBLE, 2, 2),
            double(1.0),
            double(1.0),
            double(-0.0),
            0,
        ),
        (
            compute(MULTIPLY, DOUBLE, 0, 2),
            double(1e300),
            double(1e300),
            double(f64::INFINITY),
            OF | NX,
        ),
        (
            compute(MULTIPLY, DOUBLE, 1, 2),
            double(1e300),
            double(-1e300),
            double(f64::MIN),
            OF | NX,
        ),
        (
            compute(MULTIPLY, DOUBLE, 0, 2),
            double(smallest),
            double(0.5),
            double(0.0),
            UF | NX,
        ),
        (
            compute(MULTIPLY, DOUBLE, 3, 2),
            double(smallest),
            double(0.5),
            double(smallest),
            UF | NX,
        ),
        (
            compute(MULTIPLY, DOUBLE, 0, 2),
            double(0.0),
            double(f64::INFINITY),
            NAN_64,
            NV,
        ),
        (
            compute(DIVIDE, DOUBLE, 0, 2),
            double(1.0),
            double(-0.0),
            double(f64::NEG_INFINITY),
            DZ,
        ),
        (compute(DIVIDE, DOUBLE, 0, 2), double(0.0), double(0.0), NAN_64, NV),
        (
            compute(DIVIDE, SINGLE, 0, 2),
            single(1.0),
            single(3.0),
            single(1.0 / 3.0),
            NX,
        ),
        (compute(ROOT, DOUBLE, 0, 0), double(2.0), 0, double(2f64.sqrt()), NX),
        (compute(ROOT, DOUBLE, 0, 0), double(-1.0), 0, NAN_64, NV),
        (compute(ROOT, SINGLE, 0, 0), single(-0.0), 0, single(-0.0), 0),
        (compute(FORMAT, SINGLE, 0, 1), double(1e-320), 0, single(0.0), UF | NX),
        (
            compute(FORMAT, SINGLE, 0, 1),
            double(1e300),
            0,
            single(f32::INFINITY),
            OF | NX,
        ),
        (
            compute(FORMAT, DOUBLE, 0, 0),
            single(f32::MIN_POSITIVE / 2.0),
            0,
            double(2f64.powi(-127)),
            0,
        ),
    ];
    for (number, (word, f1, f2, expected, flags)) in cases.into_iter().enumerate() {
        assert_eq!(float(word, f1, f2), (expected, flags), "case {number}");
    }
}

#[test]
fn every_nan_that_is_computed_is_the_canonical_one() {
    let negative = 0xfff8_0000_0000_1234;
    for function in [ADD, SUBTRACT, MULTIPLY, DIVIDE] {
        assert_eq!(
            float(compute(function, DOUBLE, 0, 2), negative, double(1.0)),
            (NAN_64, 0)
        );
        assert_eq!(
            float(compute(function, DOUBLE, 0, 2), double(1.0), SIGNALLING_64),
            (NAN_64, NV)
        );
        assert_eq!(
            float(compute(function, SINGLE, 0, 2), SIGNALLING_32, single(1.0)),
            (NAN_32, NV)
        );
    }
    assert_eq!(float(compute(ROOT, DOUBLE, 0, 0), negative, 0), (NAN_64, 0));
    assert_eq!(float(compute(FORMAT, SINGLE, 0, 1), negative, 0), (NAN_32, 0));
    assert_eq!(float(compute(FORMAT, DOUBLE, 0, 0), SIGNALLING_32, 0), (NAN_64, NV));
    // But moving and injecting signs changes no payload.
    assert_eq!(
        float(compute(SIGN, DOUBLE, 1, 2), SIGNALLING_64, 0),
        (SIGNALLING_64 | 1 << 63, 0)
    );
}

#[test]
fn zero_times_infinity_is_invalid_even_when_the_addend_is_a_quiet_nan() {
    let fused = r(0x43, 0, 4 << 2 | DOUBLE, 3, 1, 2);
    let run = |addend| {
        let lab = open(&[fused])
            .float(1, 0)
            .float(2, double(f64::INFINITY))
            .float(4, addend)
            .step(1);
        (lab.get_float(3), lab.flags())
    };
    assert_eq!(run(NAN_64), (NAN_64, NV));
    assert_eq!(run(double(1.0)), (NAN_64, NV));
}

#[test]
fn fused_operations_negate_product_and_addend_as_they_are_named() {
    // f1 * f2 = 6, f4 = 10.
    for (opcode, expected) in [(0x43, 16.0), (0x47, -4.0), (0x4b, 4.0), (0x4f, -16.0)] {
        let word = r(opcode, 0, 4 << 2 | SINGLE, 3, 1, 2);
        let lab = open(&[word])
            .float(1, single(2.0))
            .float(2, single(3.0))
            .float(4, single(10.0))
            .step(1);
        assert_eq!((lab.get_float(3), lab.flags()), (single(expected), 0), "{opcode:#x}");
    }
}

#[test]
fn a_single_that_is_not_boxed_counts_as_nan_but_its_bits_can_be_moved() {
    let loose = u64::from(1f32.to_bits());
    assert_eq!(float(compute(ADD, SINGLE, 0, 2), loose, single(1.0)), (NAN_32, 0));
    assert_eq!(
        float(compute(SIGN, SINGLE, 0, 2), single(-1.0), loose),
        (single(1.0), 0)
    );
    assert_eq!(integer(compute(TO_X, SINGLE, 1, 0), loose, 0), (1 << 9, 0));
    assert_eq!(integer(compute(TO_X, SINGLE, 0, 0), loose, 0), (loose, 0));
    assert_eq!(
        integer(compute(TO_X, SINGLE, 0, 0), single(-1.0), 0),
        (0xffff_ffff_bf80_0000, 0)
    );
    let store = open(&[s(2, 1, 10, 0) | 4])
        .set(10, DATA)
        .float(1, 0x1122_3344_5566_7788)
        .step(1);
    assert_eq!(
        store.board.read_memory(DATA, 8).unwrap(),
        [0x88, 0x77, 0x66, 0x55, 0, 0, 0, 0]
    );
    let load = open(&[i(0x07, 2, 3, 10, 0)]).set(10, DATA).step(1);
    assert_eq!(load.get_float(3), BOX);
    assert_eq!(
        open(&[compute(OF_X, SINGLE, 0, 0)])
            .set(1, u64::MAX << 20)
            .step(1)
            .get_float(3),
        BOX | 0xfff0_0000
    );
}

#[test]
fn extremes_order_the_zeros_and_count_a_nan_as_missing() {
    let (minimum, maximum) = (compute(EXTREME, DOUBLE, 0, 2), compute(EXTREME, DOUBLE, 1, 2));
    for (f1, f2) in [(0.0, -0.0), (-0.0, 0.0)] {
        assert_eq!(float(minimum, double(f1), double(f2)), (double(-0.0), 0));
        assert_eq!(float(maximum, double(f1), double(f2)), (double(0.0), 0));
    }
    assert_eq!(float(minimum, double(-1.0), double(-2.0)), (double(-2.0), 0));
    assert_eq!(
        float(maximum, double(f64::NEG_INFINITY), double(-2.0)),
        (double(-2.0), 0)
    );
    for word in [minimum, maximum] {
        assert_eq!(float(word, NAN_64 | 5, double(7.0)), (double(7.0), 0));
        assert_eq!(float(word, double(7.0), SIGNALLING_64), (double(7.0), NV));
        assert_eq!(float(word, NAN_64 | 5, NAN_64), (NAN_64, 0));
        assert_eq!(float(word, SIGNALLING_64, NAN_64), (NAN_64, NV));
    }
}

#[test]
fn only_the_test_for_equality_is_quiet_about_a_quiet_nan() {
    let [le, lt, eq] = [0, 1, 2].map(|funct3| compute(COMPARE, DOUBLE, funct3, 2));
    assert_eq!(
        [le, lt, eq].map(|word| integer(word, double(-0.0), double(0.0)).0),
        [1, 0, 1]
    );
    assert_eq!(
        [le, lt, eq].map(|word| integer(word, double(-2.0), double(-1.0)).0),
        [1, 1, 0]
    );
    assert_eq!(
        [le, lt, eq].map(|word| integer(word, NAN_64, double(0.0))),
        [(0, NV), (0, NV), (0, 0)]
    );
    assert_eq!(integer(eq, double(0.0), SIGNALLING_64), (0, NV));
}

#[test]
fn classes_have_their_bits() {
    let values = [
        f64::NEG_INFINITY,
        -1.0,
        -f64::MIN_POSITIVE / 2.0,
        -0.0,
        0.0,
        f64::MIN_POSITIVE / 2.0,
        f64::MIN_POSITIVE,
        f64::INFINITY,
    ];
    let classify = compute(TO_X, DOUBLE, 1, 0);
    for (bit, value) in values.into_iter().enumerate() {
        assert_eq!(integer(classify, double(value), 0), (1 << bit, 0), "{value}");
    }
    assert_eq!(integer(classify, SIGNALLING_64, 0), (1 << 8, 0));
    assert_eq!(integer(classify, NAN_64 | 1 << 63, 0), (1 << 9, 0));
}

#[test]
fn conversions_to_integers_end_at_the_limits_of_the_integer() {
    let [word, unsigned, long, unsigned_long] = [0, 1, 2, 3].map(|kind| compute(TO_INTEGER, DOUBLE, 1, kind));
    let minus_one = u64::MAX;
    for (instruction, value, expected, flags) in [
        (word, 2147483647.5, 0x7fff_ffff, NX),
        (word, 2147483648.0, 0x7fff_ffff, NV),
        (word, -2147483648.9, 0xffff_ffff_8000_0000, NX),
        (word, -2147483649.0, 0xffff_ffff_8000_0000, NV),
        (word, f64::NAN, 0x7fff_ffff, NV),
        // A word is sign-extended even where it is unsigned.
        (unsigned, 4294967295.0, minus_one, 0),
        (unsigned, 4294967296.0, minus_one, NV),
        (unsigned, -0.9, 0, NX),
        (unsigned, -1.0, 0, NV),
        (unsigned, f64::NAN, minus_one, NV),
        (long, 9223372036854775807.0, 0x7fff_ffff_ffff_ffff, NV),
        (long, -9223372036854775808.0, 1 << 63, 0),
        (long, f64::NEG_INFINITY, 1 << 63, NV),
        (unsigned_long, 18446744073709549568.0, 0xffff_ffff_ffff_f800, 0),
        (unsigned_long, 18446744073709551616.0, minus_one, NV),
        (unsigned_long, f64::NEG_INFINITY, 0, NV),
    ] {
        assert_eq!(integer(instruction, double(value), 0), (expected, flags), "{value}");
    }
}

#[test]
fn each_rounding_mode_decides_ties_and_halves_in_its_way() {
    // To nearest even, to zero, down, up, to nearest away.
    for (value, expected) in [
        (2.5, [2, 2, 2, 3, 3]),
        (-2.5, [-2, -2, -3, -2, -3]),
        (3.5, [4, 3, 3, 4, 4]),
        (-0.3, [0, 0, -1, 0, 0]),
    ] {
        for (mode, expected) in (0..).zip(expected) {
            let fixed = compute(TO_INTEGER, DOUBLE, mode, 2);
            assert_eq!(
                integer(fixed, double(value), 0),
                (expected as u64, NX),
                "{value} by mode {mode}"
            );
            let dynamic = open(&[csr(5, 0, FRM, mode), compute(TO_INTEGER, DOUBLE, DYNAMIC, 2)]);
            assert_eq!(dynamic.float(1, double(value)).step(2).get(3), expected as u64);
        }
    }
    let tie = u64::from(1u32 << 24 | 1);
    let of_integer = |mode| {
        open(&[compute(OF_INTEGER, SINGLE, mode, 2)])
            .set(1, tie)
            .step(1)
            .get_float(3)
    };
    assert_eq!(of_integer(0), single(16777216.0));
    assert_eq!(of_integer(AWAY), single(16777218.0));
}

#[test]
fn a_reserved_rounding_mode_is_an_illegal_instruction() {
    for mode in [5, 6] {
        let fixed = open(&[compute(ADD, DOUBLE, mode, 2)]).step(1);
        assert_eq!(fixed.trap().unwrap().cause, 2);
    }
    for mode in [5, 6, 7] {
        let lab = open(&[
            csr(5, 0, FRM, mode),
            compute(ADD, DOUBLE, 0, 2),
            compute(SIGN, DOUBLE, 0, 2),
            compute(ADD, DOUBLE, DYNAMIC, 2),
        ]);
        let lab = lab.step(3);
        assert_eq!(lab.trap(), None, "instructions that do not use frm are fine");
        let lab = lab.step(1);
        assert_eq!(lab.trap().unwrap().cause, 2);
        assert_eq!(lab.board.csr(0, FCSR as u16), u64::from(mode) << 5);
    }
}
