use crate::lab::Lab;

fn d(lab: &Lab, number: u8) -> f64 {
    f64::from_bits(lab.board.vector_register(0, number) as u64)
}

fn lab(words: &[u32], doubles: &[(u8, f64)]) -> Lab {
    let mut lab = Lab::new(words);
    for (number, value) in doubles {
        lab.board.set_vector_register(0, *number, value.to_bits().into());
    }
    lab.run();
    lab
}

#[test]
fn arithmetic_is_that_of_ieee_754() {
    let lab = lab(
        &[
            0x1e62_2820, /* fadd d0, d1, d2 */
            0x1e62_3823, /* fsub d3, d1, d2 */
            0x1e62_0824, /* fmul d4, d1, d2 */
            0x1e62_1825, /* fdiv d5, d1, d2 */
            0x1e61_c046, /* fsqrt d6, d2 */
            0x1e62_8827, /* fnmul d7, d1, d2 */
            0x1f42_0828, /* fmadd d8, d1, d2, d2 */
            0x1f42_8829, /* fmsub d9, d1, d2, d2 */
            0x1f62_082a, /* fnmadd d10, d1, d2, d2 */
            0x1e62_482b, /* fmax d11, d1, d2 */
            0x1e6d_782c, /* fminnm d12, d1, d13 */
            0x1e60_c1ee, /* fabs d14, d15 */
            0x1e61_4030, /* fneg d16, d1 */
        ],
        &[(1, 3.0), (2, 0.25), (13, f64::NAN), (15, -2.5)],
    );
    let results = [0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16].map(|number| d(&lab, number));
    assert_eq!(
        results,
        [3.25, 2.75, 0.75, 12.0, 0.5, -0.75, 1.0, -0.5, -1.0, 3.0, 3.0, 2.5, -3.0]
    );
}

#[test]
fn comparisons_set_flags_and_select() {
    let lab = lab(
        &[
            0x1e62_2020, /* fcmp d1, d2 */
            0x9a9f_57e0, /* cset x0, mi */
            0x1e63_2020, /* fcmp d1, d3 */
            0x9a9f_77e4, /* cset x4, vs */
            0x1e60_20a8, /* fcmp d5, #0.0 */
            0x1e62_0c26, /* fcsel d6, d1, d2, eq */
            0x1e62_1420, /* fccmp d1, d2, #0, ne */
            0x9a9f_67e7, /* cset x7, vc */
        ],
        &[(1, 1.0), (2, 2.0), (3, f64::NAN), (5, -0.0)],
    );
    assert_eq!((lab.x(0), lab.x(4), d(&lab, 6), lab.x(7)), (1, 1, 1.0, 1));
}

#[test]
fn numbers_convert_to_integers_by_every_rounding() {
    let lab = lab(
        &[
            0x9e60_0020, /* fcvtns x0, d1 */
            0x9e68_0022, /* fcvtps x2, d1 */
            0x9e70_0023, /* fcvtms x3, d1 */
            0x1e78_0024, /* fcvtzs w4, d1 */
            0x9e64_0025, /* fcvtas x5, d1 */
            0x9e79_0026, /* fcvtzu x6, d1 */
            0x9e58_f027, /* fcvtzs x7, d1, #4 */
            0x9e62_0008, /* scvtf d8, x0 */
            0x1e23_008a, /* ucvtf s10, w4 */
            0x1e62_402b, /* fcvt s11, d1 */
            0x1e63_c02c, /* fcvt h12, d1 */
            0x1ee2_c18d, /* fcvt d13, h12 */
            0x1e64_402e, /* frintn d14, d1 */
            0x9e66_002f, /* fmov x15, d1 */
            0x1e7f_1010, /* fmov d16, #-1.5 */
        ],
        &[(1, -2.5)],
    );
    assert_eq!(
        [lab.x(0), lab.x(2), lab.x(3), lab.x(5)],
        [-2i64, -2, -3, -3].map(|value| value as u64)
    );
    assert_eq!((lab.x(4), lab.x(6), lab.x(7)), (0xffff_fffe, 0, -40i64 as u64));
    assert_eq!(d(&lab, 8), -2.0);
    assert_eq!(lab.board.vector_register(0, 10) as u32, 4_294_967_294f32.to_bits());
    assert_eq!(lab.board.vector_register(0, 11) as u32, (-2.5f32).to_bits());
    assert_eq!((lab.board.vector_register(0, 12), d(&lab, 13)), (0xc100, -2.5));
    assert_eq!((d(&lab, 14), lab.x(15), d(&lab, 16)), (-2.0, (-2.5f64).to_bits(), -1.5));
}
