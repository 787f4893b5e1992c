use crate::lab::{DATA, Lab, run};

#[test]
fn an_exclusive_store_succeeds_once_and_only_after_the_load() {
    let lab = run(
        &[
            0xc85f_7c20, /* ldxr x0, [x1] */
            0xc802_7c23, /* stxr w2, x3, [x1] */
            0xc804_7c23, /* stxr w4, x3, [x1] */
            0xc85f_7c20, /* ldxr x0, [x1] */
            0xd503_3f5f, /* clrex */
            0xc805_fc23, /* stlxr w5, x3, [x1] */
        ],
        &[(1, DATA), (3, 42)],
    );
    assert_eq!((lab.x(2), lab.x(4), lab.x(5)), (0, 1, 1));
    assert_eq!(lab.read_u64(DATA), 42);
}

#[test]
fn an_exclusive_store_fails_when_the_memory_has_changed() {
    let lab = run(
        &[
            0x885f_fc20, /* ldaxr w0, [x1] */
            0xb900_0023, /* str w3, [x1] */
            0x8802_7c20, /* stxr w2, w0, [x1] */
        ],
        &[(1, DATA), (3, 9)],
    );
    assert_eq!((lab.x(2), lab.read_u64(DATA)), (1, 9));
}

#[test]
fn exclusive_pairs_work_together() {
    let lab = run(
        &[
            0xc87f_1020, /* ldxp x0, x4, [x1] */
            0xc822_1423, /* stxp w2, x3, x5, [x1] */
        ],
        &[(1, DATA + 16), (3, 1), (5, 2)],
    );
    assert_eq!((lab.x(2), lab.read_u64(DATA + 16), lab.read_u64(DATA + 24)), (0, 1, 2));
}

/// What two programs of a suite made from the Sail model do (`rems-project/morello-generated-tests`, 2020-11-10, test-03-012 and
/// test-04-023), and expect to succeed: in that model every exclusive store does. The architecture allows either outcome; see
/// `docs/machine.md`.
#[test]
fn an_exclusive_store_to_another_place_than_was_loaded_fails() {
    let mut within = Lab::new(&[
        0x227f_f985, /* ldaxp c5, c30, [x12] */
        0xc802_7fc0, /* stxr w2, x0, [x30] */
    ]);
    within.write(DATA + 16, &(DATA + 8).to_le_bytes());
    within.set(0, 42);
    within.set(12, DATA);
    within.run();
    assert_eq!((within.x(30), within.x(2), within.read_u64(DATA + 8)), (DATA + 8, 1, 0));

    let beside = run(
        &[
            0x485f_fca1, /* ldaxrh w1, [x5] */
            0x8822_fccd, /* stlxp w2, w13, wzr, [x6] */
        ],
        &[(5, DATA + 12), (6, DATA), (13, 42)],
    );
    assert_eq!((beside.x(2), beside.read_u64(DATA)), (1, 0));
}

#[test]
fn compare_and_swap_returns_what_was_there() {
    let lab = run(
        &[
            0xc8a0_7c22, /* cas x0, x2, [x1] */
            0x88e3_fc24, /* casal w3, w4, [x1] */
            0x4826_7d8a, /* casp x6, x7, x10, x11, [x12] */
        ],
        &[
            (0, 0),
            (2, 5),
            (1, DATA),
            (3, 4),
            (4, 9),
            (12, DATA + 16),
            (10, 1),
            (11, 2),
        ],
    );
    assert_eq!((lab.x(0), lab.x(3)), (0, 5));
    assert_eq!(lab.read_u64(DATA), 5, "the second one did not match");
    assert_eq!((lab.read_u64(DATA + 16), lab.read_u64(DATA + 24)), (1, 2));
}

#[test]
fn atomic_operations_change_memory_and_return_the_old_value() {
    let cases = [
        (0xf822_0023 /* ldadd x2, x3, [x1] */, 0xf5u64, 5u64, 0xfau64),
        (0xf822_1023 /* ldclr x2, x3, [x1] */, 0xf5, 5, 0xf0),
        (0xf822_2023 /* ldeor x2, x3, [x1] */, 0xf5, 0xff, 0x0a),
        (0xf822_3023 /* ldset x2, x3, [x1] */, 0xf0, 5, 0xf5),
        (0xf822_4023 /* ldsmax x2, x3, [x1] */, u64::MAX, 5, 5),
        (0xf822_5023 /* ldsmin x2, x3, [x1] */, u64::MAX, 5, u64::MAX),
        (0xf822_6023 /* ldumax x2, x3, [x1] */, u64::MAX, 5, u64::MAX),
        (0xf822_7023 /* ldumin x2, x3, [x1] */, u64::MAX, 5, 5),
        (0xf8e2_8023 /* swpal x2, x3, [x1] */, 3, 5, 5),
    ];
    for (word, before, operand, after) in cases {
        let mut lab = Lab::new(&[word]);
        lab.write(DATA, &before.to_le_bytes());
        lab.set(1, DATA);
        lab.set(2, operand);
        lab.run();
        assert_eq!((lab.x(3), lab.read_u64(DATA)), (before, after), "{word:#010x}");
    }
}

#[test]
fn narrow_atomic_operations_leave_their_neighbours_alone() {
    let mut lab = Lab::new(&[
        0x3822_0023, /* ldaddb w2, w3, [x1] */
        0x7822_40a4, /* ldsmaxh w2, w4, [x5] */
    ]);
    lab.write(DATA, &0x8000_80ffu64.to_le_bytes());
    lab.set(1, DATA);
    lab.set(2, 1);
    lab.set(5, DATA + 2);
    lab.run();
    assert_eq!((lab.x(3), lab.x(4), lab.read_u64(DATA)), (0xff, 0x8000, 0x0001_8000));
}

#[test]
fn ordered_and_atomic_accesses_fault_when_misaligned() {
    for word in [
        0xc8df_fc20, /* ldar x0, [x1] */
        0x885f_7c20, /* ldxr w0, [x1] */
        0xf822_0023, /* ldadd x2, x3, [x1] */
        0xf8bf_c020, /* ldapr x0, [x1] */
    ] {
        let mut lab = Lab::new(&[word]);
        lab.set(1, DATA + 2);
        assert_eq!(lab.fault().syndrome & 0x3f, 0x21, "{word:#010x}");
    }
    let lab = run(
        &[
            0xc89f_fc20, /* stlr x0, [x1] */
            0x88df_fc22, /* ldar w2, [x1] */
            0xf8bf_c023, /* ldapr x3, [x1] */
        ],
        &[(0, 0x1_0000_0002), (1, DATA)],
    );
    assert_eq!((lab.x(2), lab.x(3)), (2, 0x1_0000_0002));
}
