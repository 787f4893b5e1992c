use crate::lab::run;

#[test]
fn additions_and_subtractions_take_immediates_shifts_and_extensions() {
    let lab = run(
        &[
            0x9104_8c20, /* add x0, x1, #0x123 */
            0x5140_0422, /* sub w2, w1, #1, lsl #12 */
            0x8b04_1023, /* add x3, x1, x4, lsl #4 */
            0xcb24_8825, /* sub x5, x1, w4, sxtb #2 */
            0xab04_0026, /* adds x6, x1, x4 */
        ],
        &[(1, 0x1_0000_0000), (4, 0xff)],
    );
    assert_eq!(lab.x(0), 0x1_0000_0123);
    assert_eq!(lab.x(2), 0xffff_f000);
    assert_eq!(lab.x(3), 0x1_0000_0ff0);
    assert_eq!(lab.x(5), 0x1_0000_0004);
    assert_eq!((lab.x(6), lab.flags()), (0x1_0000_00ff, 0));
}

#[test]
fn carries_chain_through_adc_and_sbc() {
    let lab = run(
        &[
            0xab02_0020, /* adds x0, x1, x2 */
            0x9a1f_0083, /* adc x3, x4, xzr */
            0xeb01_0085, /* subs x5, x4, x1 */
            0xda1f_0086, /* sbc x6, x4, xzr */
        ],
        &[(1, u64::MAX), (2, 1), (4, 7)],
    );
    assert_eq!((lab.x(0), lab.x(3)), (0, 8));
    assert_eq!((lab.x(5), lab.x(6)), (8, 6), "the borrow is taken");
}

#[test]
fn logic_takes_bit_masks_and_sets_flags() {
    let lab = run(
        &[
            0x9208_9c20, /* and x0, x1, #0xff00ff00ff00ff00 */
            0x3201_07e2, /* orr w2, wzr, #0x80000001 */
            0x8ae4_2023, /* bic x3, x1, x4, ror #8 */
            0xca21_0025, /* eon x5, x1, x1 */
            0xf241_0026, /* ands x6, x1, #0x8000000000000000 */
        ],
        &[(1, 0x8123_4567_89ab_cdef), (4, 0xff)],
    );
    assert_eq!(lab.x(0), 0x8100_4500_8900_cd00);
    assert_eq!(lab.x(2), 0x8000_0001);
    assert_eq!(lab.x(3), 0x0023_4567_89ab_cdef);
    assert_eq!(lab.x(5), u64::MAX);
    assert_eq!((lab.x(6), lab.flags()), (1 << 63, 0b1000));
}

#[test]
fn wide_moves_build_constants() {
    let lab = run(
        &[
            0xd2c2_4680, /* movz x0, #0x1234, lsl #32 */
            0xf28a_cf00, /* movk x0, #0x5678 */
            0x1280_0001, /* movn w1, #0 */
            0x92a0_01e2, /* movn x2, #0xf, lsl #16 */
        ],
        &[],
    );
    assert_eq!(
        (lab.x(0), lab.x(1), lab.x(2)),
        (0x1234_0000_5678, 0xffff_ffff, 0xffff_ffff_fff0_ffff)
    );
}

#[test]
fn bit_fields_are_moved_extended_and_inserted() {
    let lab = run(
        &[
            0xd348_4c20, /* ubfx x0, x1, #8, #12 */
            0x9344_1c22, /* sbfx x2, x1, #4, #4 */
            0xb370_1c23, /* bfi x3, x1, #16, #8 */
            0x5304_0c24, /* lsl w4, w1, #28 */
            0x937c_fcc5, /* asr x5, x6, #60 */
            0x93c6_1027, /* extr x7, x1, x6, #4 */
            0x1381_1028, /* ror w8, w1, #4 */
        ],
        &[(1, 0xdead_beef), (3, u64::MAX), (6, 0x8000_0000_0000_0001)],
    );
    assert_eq!(lab.x(0), 0xdbe);
    assert_eq!(lab.x(2), 0xffff_ffff_ffff_fffe);
    assert_eq!(lab.x(3), 0xffff_ffff_ffef_ffff);
    assert_eq!(lab.x(4), 0xf000_0000);
    assert_eq!(lab.x(5), 0xffff_ffff_ffff_fff8);
    assert_eq!(lab.x(7), 0xf800_0000_0000_0000);
    assert_eq!(lab.x(8), 0xfdea_dbee);
}

#[test]
fn conditions_select_compare_and_increment() {
    let lab = run(
        &[
            0xeb02_003f, /* cmp x1, x2 */
            0x9a82_b020, /* csel x0, x1, x2, lt */
            0x9a82_c423, /* csinc x3, x1, x2, gt */
            0xda82_0024, /* csinv x4, x1, x2, eq */
            0xda82_0425, /* csneg x5, x1, x2, eq */
            0xfa45_182f, /* ccmp x1, #5, #0xf, ne */
            0x9a9f_17e6, /* cset x6, eq */
            0xfa42_0023, /* ccmp x1, x2, #3, eq */
            0xfa42_0023, /* ccmp x1, x2, #3, eq */
        ],
        &[(1, 5), (2, 9)],
    );
    assert_eq!(
        [lab.x(0), lab.x(3), lab.x(4), lab.x(5)],
        [5, 10, !9, 9u64.wrapping_neg()]
    );
    assert_eq!((lab.x(6), lab.flags()), (1, 3));
}

#[test]
fn bits_are_counted_and_reversed() {
    let lab = run(
        &[
            0xdac0_1020, /* clz x0, x1 */
            0x5ac0_1462, /* cls w2, w3 */
            0x5ac0_0024, /* rbit w4, w1 */
            0xdac0_0c25, /* rev x5, x1 */
            0xdac0_0826, /* rev32 x6, x1 */
            0x5ac0_0427, /* rev16 w7, w1 */
        ],
        &[(1, 0x0000_0001_2345_6789), (3, 0xfff0_0000)],
    );
    assert_eq!((lab.x(0), lab.x(2)), (31, 11));
    assert_eq!(lab.x(4), 0x91e6_a2c4);
    assert_eq!(
        (lab.x(5), lab.x(6), lab.x(7)),
        (0x8967_4523_0100_0000, 0x0100_0000_8967_4523, 0x4523_8967)
    );
}

#[test]
fn products_and_quotients_follow_the_manual_at_the_edges() {
    let lab = run(
        &[
            0x9b02_0c20, /* madd x0, x1, x2, x3 */
            0x9b45_7ca4, /* smulh x4, x5, x5 */
            0x9bc5_7ca6, /* umulh x6, x5, x5 */
            0x9b22_8ca7, /* smsubl x7, w5, w2, x3 */
            0x9adf_0828, /* udiv x8, x1, xzr */
            0x1ac5_0d6a, /* sdiv w10, w11, w5 */
            0x9ba2_0cac, /* umaddl x12, w5, w2, x3 */
        ],
        &[(1, 10), (2, 20), (3, 3), (5, u64::MAX), (11, 0x8000_0000)],
    );
    assert_eq!((lab.x(0), lab.x(4), lab.x(6)), (203, 0, u64::MAX - 1));
    assert_eq!((lab.x(7), lab.x(8), lab.x(10)), (23, 0, 0x8000_0000));
    assert_eq!(lab.x(12), 0xffff_ffff * 20 + 3);
}

#[test]
fn variable_shifts_take_the_amount_modulo_the_width() {
    let lab = run(
        &[
            0x1ac2_2020, /* lsl w0, w1, w2 */
            0x9ac2_2423, /* lsr x3, x1, x2 */
            0x1ac2_2824, /* asr w4, w1, w2 */
            0x9ac2_2c25, /* ror x5, x1, x2 */
        ],
        &[(1, 0x8000_0001), (2, 33)],
    );
    assert_eq!(
        (lab.x(0), lab.x(3), lab.x(4), lab.x(5)),
        (2, 0, 0xc000_0000, 0x4000_0000_8000_0000)
    );
}

#[test]
fn checksums_are_those_of_the_two_polynomials() {
    let lab = run(
        &[
            0x9ac2_4c20, /* crc32x w0, w1, x2 */
            0x1ac4_5023, /* crc32cb w3, w1, w4 */
        ],
        &[(1, 0xffff_ffff), (2, u64::from_le_bytes(*b"12345678")), (4, 0x61)],
    );
    assert_eq!(!(lab.x(0) as u32), 0x9ae0_daaf);
    assert_eq!(!(lab.x(3) as u32), 0xc1d0_4330);
}

#[test]
fn addresses_are_relative_to_the_program_counter() {
    let lab = run(
        &[
            0x1000_0080, /* adr x0, #16 */
            0xd000_0001, /* adrp x1, #8192 */
        ],
        &[],
    );
    assert_eq!(lab.x(0), crate::lab::CODE + 0x10);
    assert_eq!(lab.x(1), 0x4008_2000);
}

#[test]
fn reserved_encodings_are_undefined() {
    let reserved = [0x0000_0000, 0x5b00_0000, 0x8b20_1400 | 5 << 10, 0x1200_fc00];
    for word in reserved {
        assert_eq!(crate::lab::Lab::new(&[word]).faults_at(0), 0x0200_0000, "{word:#010x}");
    }
}
