use crate::lab::{DATA, Lab};

const A: u128 = 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100;
const B: u128 = 0xf0e0_d0c0_b0a0_9080_7060_5040_3020_1000;

/// Runs one instruction on V1 = `A`, V2 = `B`, V0 = 0 and returns V0.
fn result(word: u32) -> u128 {
    on(word, A, B)
}

fn on(word: u32, x: u128, y: u128) -> u128 {
    let mut lab = Lab::new(&[word]);
    lab.board.set_vector_register(0, 1, x);
    lab.board.set_vector_register(0, 2, y);
    lab.set(3, 0x1234_5678_9abc_def0);
    lab.run();
    lab.board.vector_register(0, 0)
}

#[test]
fn elements_move_between_registers() {
    assert_eq!(
        result(0x4e04_0c60 /* dup v0.4s, w3 */),
        0x9abcdef0_9abcdef0_9abcdef0_9abcdef0
    );
    assert_eq!(result(0x0e13_0420 /* dup v0.8b, v1.b[9] */), 0x0909_0909_0909_0909);
    assert_eq!(result(0x4e0e_1c60 /* ins v0.h[3], w3 */), 0xdef0 << 48);
    assert_eq!(result(0x6e0c_6420 /* mov v0.s[1], v1.s[3] */), 0x0f0e_0d0c << 32);
    assert_eq!(result(0x5e18_0420 /* mov d0, v1.d[1] */), 0x0f0e_0d0c_0b0a_0908);
    let mut lab = Lab::new(&[
        0x0e1f_3c20, /* umov w0, v1.b[15] */
        0x4e1e_2c44, /* smov x4, v2.h[7] */
        0x9eae_0025, /* fmov x5, v1.d[1] */
    ]);
    lab.board.set_vector_register(0, 1, A);
    lab.board.set_vector_register(0, 2, B);
    lab.run();
    assert_eq!(
        (lab.x(0), lab.x(4), lab.x(5)),
        (0x0f, 0xffff_ffff_ffff_f0e0, 0x0f0e_0d0c_0b0a_0908)
    );
}

#[test]
fn immediates_expand() {
    assert_eq!(
        result(0x4f05_e560 /* movi v0.16b, #0xab */),
        0xabababab_abababab_abababab_abababab
    );
    assert_eq!(
        result(0x6f05_e540 /* movi v0.2d, #0xff00ff00ff00ff00 */),
        0xff00ff00ff00ff00_ff00ff00ff00ff00
    );
    assert_eq!(result(0x2f00_2420 /* mvni v0.2s, #1, lsl #8 */), 0xfffffeff_fffffeff);
    assert_eq!(
        result(0x0f00_a640 /* movi v0.4h, #0x12, lsl #8 */),
        0x1200_1200_1200_1200
    );
    assert_eq!(
        result(0x6f03_f600 /* fmov v0.2d, #1.0 */),
        0x3ff0000000000000_3ff0000000000000
    );
}

#[test]
fn logic_works_on_whole_registers() {
    assert_eq!(result(0x4e22_1c20 /* and v0.16b, v1.16b, v2.16b */), A & B);
    assert_eq!(
        result(0x0ea2_1c20 /* orr v0.8b, v1.8b, v2.8b */),
        (A | B) & u128::from(u64::MAX)
    );
    assert_eq!(result(0x6e22_1c20 /* eor v0.16b, v1.16b, v2.16b */), A ^ B);
    assert_eq!(result(0x4e62_1c20 /* bic v0.16b, v1.16b, v2.16b */), A & !B);
    assert_eq!(
        result(0x6e62_1c20 /* bsl v0.16b, v1.16b, v2.16b */),
        B,
        "V0 is zero: all from the second"
    );
    assert_eq!(result(0x6e20_5820 /* mvn v0.16b, v1.16b */), !A);
}

#[test]
fn integer_arithmetic_by_element() {
    assert_eq!(
        result(0x4ea2_8420 /* add v0.4s, v1.4s, v2.4s */),
        0xffeeddcc_bbaa9988_77665544_33221100
    );
    assert_eq!(
        result(0x6e22_8420 /* sub v0.16b, v1.16b, v2.16b */),
        0x1f2e3d4c_5b6a7988_97a6b5c4_d3e2f100
    );
    assert_eq!(
        result(0x4e61_9c20 /* mul v0.8h, v1.8h, v1.8h */) & 0xffff_ffff,
        0x0c04_0000
    );
    assert_eq!(result(0x6e22_6420 /* umax v0.16b, v1.16b, v2.16b */), B);
    assert_eq!(
        result(0x4e22_6c20 /* smin v0.16b, v1.16b, v2.16b */),
        0xf0e0d0c0_b0a09080_07060504_03020100
    );
    assert_eq!(result(0x6ee1_3440 /* cmhi v0.2d, v2.2d, v1.2d */), u128::MAX);
    assert_eq!(result(0x4ee1_3440 /* cmgt v0.2d, v2.2d, v1.2d */), u64::MAX.into());
    assert_eq!(result(0x6e22_8c20 /* cmeq v0.16b, v1.16b, v2.16b */), 0xff);
    assert_eq!(
        result(0x4ee2_bc20 /* addp v0.2d, v1.2d, v2.2d */) as u64,
        0x1614_1210_0e0c_0a08
    );
    assert_eq!(result(0x4e31_b820 /* addv b0, v1.16b */), 120);
    assert_eq!(result(0x6e30_3840 /* uaddlv h0, v2.16b */), 120 * 16);
    assert_eq!(result(0x6e30_a840 /* umaxv b0, v2.16b */), 0xf0);
    assert_eq!(result(0x0e20_5820 /* cnt v0.8b, v1.8b */), 0x0302_0201_0201_0100);
    assert_eq!(result(0x2ea0_b820 /* neg v0.2s, v1.2s */), 0xf8f9fafc_fcfdff00);
    assert_eq!(
        result(0x4ea0_0820 /* rev64 v0.4s, v1.4s */),
        0x0b0a0908_0f0e0d0c_03020100_07060504
    );
    assert_eq!(
        result(0x6e22_0c40 /* uqadd v0.16b, v2.16b, v2.16b */),
        0xffffffff_ffffffff_e0c0a080_60402000
    );
}

#[test]
fn shifts_widen_and_narrow() {
    assert_eq!(
        result(0x4f28_5420 /* shl v0.4s, v1.4s, #8 */),
        0x0e0d0c00_0a090800_06050400_02010000
    );
    assert_eq!(
        result(0x4f44_0440 /* sshr v0.2d, v2.2d, #60 */),
        u128::from(u64::MAX) << 64 | 7
    );
    assert_eq!(
        result(0x2f0c_a420 /* ushll v0.8h, v1.8b, #4 */),
        0x0070_0060_0050_0040_0030_0020_0010_0000
    );
    assert_eq!(result(0x4f08_a440 /* sxtl2 v0.8h, v2.16b */) >> 112, 0xfff0);
    assert_eq!(result(0x0e21_2820 /* xtn v0.8b, v1.8h */), 0x0e0c_0a08_0604_0200);
    assert_eq!(result(0x0f10_8420 /* shrn v0.4h, v1.4s, #16 */), 0x0f0e_0b0a_0706_0302);
    assert_eq!(result(0x2e22_c020 /* umull v0.8h, v1.8b, v2.8b */) >> 112, 7 * 0x70);
    assert_eq!(
        result(0x6ea2_0020 /* uaddl2 v0.2d, v1.4s, v2.4s */) >> 64,
        0x0f0e_0d0c + 0xf0e0_d0c0
    );
    assert_eq!(result(0x0e21_4840 /* sqxtn v0.8b, v2.8h */), 0x8080_8080_7f7f_7f7f);
}

#[test]
fn permutes_rearrange_elements() {
    assert_eq!(
        result(0x4e42_3820 /* zip1 v0.8h, v1.8h, v2.8h */),
        0x7060_0706_5040_0504_3020_0302_1000_0100
    );
    assert_eq!(
        result(0x4e82_5820 /* uzp2 v0.4s, v1.4s, v2.4s */),
        0xf0e0d0c0_70605040_0f0e0d0c_07060504
    );
    assert_eq!(
        result(0x4ec2_2820 /* trn1 v0.2d, v1.2d, v2.2d */),
        0x70605040_30201000_07060504_03020100
    );
    assert_eq!(
        result(0x6e02_2020 /* ext v0.16b, v1.16b, v2.16b, #4 */),
        0x3020_1000_0f0e_0d0c_0b0a_0908_0706_0504
    );
    assert_eq!(
        on(
            0x0e02_0020, /* tbl v0.8b, {v1.16b}, v2.8b */
            A,
            0x10_0f_00_01_02_ff_05_06
        ),
        0x00_0f_00_01_02_00_05_06
    );
}

#[test]
fn floating_point_by_element() {
    let pack = |a: f32, b: f32| u128::from(b.to_bits()) << 32 | u128::from(a.to_bits());
    let (x, y) = (pack(1.5, -2.0), pack(4.0, 0.5));
    assert_eq!(on(0x0e22_d420 /* fadd v0.2s, v1.2s, v2.2s */, x, y), pack(5.5, -1.5));
    assert_eq!(on(0x2e22_dc20 /* fmul v0.2s, v1.2s, v2.2s */, x, y), pack(6.0, -1.0));
    assert_eq!(on(0x0e22_cc20 /* fmla v0.2s, v1.2s, v2.2s */, x, y), pack(6.0, -1.0));
    assert_eq!(on(0x0fa2_9020 /* fmul v0.2s, v1.2s, v2.s[1] */, x, y), pack(0.75, -1.0));
    assert_eq!(on(0x2e22_d420 /* faddp v0.2s, v1.2s, v2.2s */, x, y), pack(-0.5, 4.5));
    assert_eq!(on(0x2ea1_e440 /* fcmgt v0.2s, v2.2s, v1.2s */, x, y), u64::MAX.into());
    assert_eq!(on(0x0ea1_b820 /* fcvtzs v0.2s, v1.2s */, x, y), 0xffff_fffe_0000_0001);
    assert_eq!(
        on(0x0e61_7820 /* fcvtl v0.2d, v1.2s */, x, y),
        u128::from((-2f64).to_bits()) << 64 | u128::from(1.5f64.to_bits())
    );
    assert_eq!(on(0x0ea0_f820 /* fabs v0.2s, v1.2s */, x, y), pack(1.5, 2.0));
}

#[test]
fn vectors_are_loaded_and_stored_in_every_form() {
    let mut lab = Lab::new(&[
        0x3c81_0401, /* str q1, [x0], #16 */
        0x6d00_0801, /* stp d1, d2, [x0] */
        0x3cdf_0c04, /* ldr q4, [x0, #-16]! */
        0x2d40_1805, /* ldp s5, s6, [x0] */
        0x7d40_0407, /* ldr h7, [x0, #2] */
        0x4c40_8810, /* ld2 {v16.4s, v17.4s}, [x0] */
        0x4d40_c412, /* ld1r {v18.8h}, [x0] */
        0x0d00_0d01, /* st1 {v1.b}[3], [x8] */
        0x4cdf_a013, /* ld1 {v19.16b, v20.16b}, [x0], #32 */
    ]);
    lab.board.set_vector_register(0, 1, A);
    lab.board.set_vector_register(0, 2, B);
    lab.set(0, DATA);
    lab.set(8, DATA + 64);
    lab.run();
    let v = |number| lab.board.vector_register(0, number);
    assert_eq!((v(4), v(5), v(6), v(7)), (A, 0x0302_0100, 0x0706_0504, 0x0302));
    assert_eq!(
        (v(19), v(20)),
        (A, (B & u128::from(u64::MAX)) << 64 | A & u128::from(u64::MAX))
    );
    assert_eq!(v(16), 0x30201000_03020100_0b0a0908_03020100);
    assert_eq!(
        (v(18), lab.x(0)),
        (0x0100_0100_0100_0100_0100_0100_0100_0100, DATA + 32)
    );
    assert_eq!(lab.read_u64(DATA + 64), 3);
}
