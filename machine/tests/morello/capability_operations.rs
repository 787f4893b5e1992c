use crate::lab::permission::{EXECUTE, GLOBAL, LOAD, LOAD_CAPABILITY, STORE};
use crate::lab::{DATA, Lab, region};
use capability::morello::Capability;

/// Runs one instruction on C1 and C2 and returns C0.
fn result(word: u32, c1: Capability, c2: Capability) -> Capability {
    let mut lab = Lab::new(&[word]);
    lab.set_capability(1, c1);
    lab.set_capability(2, c2);
    lab.run();
    lab.c(0)
}

fn number(value: u64) -> Capability {
    Capability::from_integer(value)
}

#[test]
fn fields_are_read() {
    let source = region(0x40, 0x100, LOAD | GLOBAL)
        .set_address(DATA + 0x50)
        .set_flags(0xa5 << 56)
        .seal(0x123);
    let words = [
        (0xc2c0_1020 /* gcbase x0, c1 */, DATA + 0x40),
        (0xc2c0_3020 /* gclen x0, c1 */, 0x100),
        (0xc2c0_5020 /* gcvalue x0, c1 */, 0xa5 << 56 | (DATA + 0x50)),
        (0xc2c0_9020 /* gctag x0, c1 */, 1),
        (0xc2c0_b020 /* gcseal x0, c1 */, 1),
        (0xc2c0_d020 /* gcperm x0, c1 */, u64::from(LOAD | GLOBAL)),
        (0xc2c0_f020 /* gctype x0, c1 */, 0x123),
        (0xc2c1_1020 /* gclim x0, c1 */, DATA + 0x140),
        (0xc2c1_3020 /* gcflgs x0, c1 */, 0xa5 << 56),
        (0xc2c1_5020 /* cfhi x0, c1 */, source.to_memory().1),
    ];
    for (word, value) in words {
        assert_eq!(result(word, source, Capability::NULL), number(value), "{word:#010x}");
    }
    let root = result(0xc2c1_1020 /* gclim x0, c1 */, Capability::ROOT, Capability::NULL);
    assert_eq!(root, number(u64::MAX));
    let offset = result(
        0xc2c0_7020, /* gcoff x0, c1 */
        region(0x40, 0x100, LOAD).set_address(DATA + 0x50),
        number(0),
    );
    assert_eq!(offset, number(0x10));
}

#[test]
fn bounds_are_set_from_the_value_and_never_grow() {
    let set = 0xc2c2_0020 /* scbnds c0, c1, x2 */;
    let exact = 0xc2c2_2020 /* scbndse c0, c1, x2 */;
    let at = Capability::ROOT.set_address(0x4100_0010);
    let wide = result(set, at, number(0x1_0001));
    assert_eq!((wide.tag(), wide.base(), wide.top()), (true, 0x4100_0000, 0x4101_0020));
    assert!(!result(exact, at, number(0x1_0001)).tag());
    assert!(result(exact, at, number(0x3fff)).tag());
    assert!(!result(set, wide, number(0x1_0020)).tag(), "past the old end");
    let small = result(0xc2c2_f820 /* scbnds c0, c1, #80 */, at, number(0));
    assert_eq!((small.tag(), small.length()), (true, 80));
}

#[test]
fn values_and_offsets_move_and_lose_the_tag_far_away() {
    let area = region(0, 0x1000, LOAD);
    let set = 0xc2c2_4020 /* scvalue c0, c1, x2 */;
    assert_eq!(
        result(set, area, number(DATA + 0x1800)),
        area.with_address_unchecked(DATA + 0x1800)
    );
    assert!(!result(set, area, number(0)).tag());
    assert!(!result(set, area.seal(4), number(DATA)).tag());
    assert_eq!(
        result(0xc2c2_6020 /* scoff c0, c1, x2 */, area, number(8)).address(),
        DATA + 8
    );
    assert_eq!(
        result(0x0204_8c20 /* add c0, c1, #0x123 */, area, number(0)).address(),
        DATA + 0x123
    );
    assert_eq!(
        result(0x02c0_0420 /* sub c0, c1, #0x1000 */, area, number(0)).address(),
        DATA - 0x1000
    );
    assert_eq!(
        result(0xc2a2_6820 /* add c0, c1, x2, uxtx #2 */, area, number(3)).address(),
        DATA + 12
    );
    assert_eq!(
        result(
            0xc2c2_1820, /* alignd c0, c1, #4 */
            area.set_address(DATA + 0x1f),
            number(0)
        )
        .address(),
        DATA + 0x10
    );
    assert_eq!(
        result(
            0xc2c2_5820, /* alignu c0, c1, #4 */
            area.set_address(DATA + 0x11),
            number(0)
        )
        .address(),
        DATA + 0x20
    );
    assert_eq!(
        result(0xc2c2_6420 /* cpyvalue c0, c1, c2 */, area, number(DATA + 4)).address(),
        DATA + 4
    );
}

#[test]
fn permissions_are_only_ever_cleared() {
    let area = region(0, 16, LOAD | STORE | GLOBAL);
    let cleared = result(
        0xc2c2_a020, /* clrperm c0, c1, x2 */
        area,
        number(u64::from(STORE)),
    );
    assert_eq!((cleared.tag(), cleared.permission_bits()), (true, LOAD | GLOBAL));
    let immediate = result(0xc2c6_d020 /* clrperm c0, c1, rw */, area, number(0));
    assert_eq!(immediate.permission_bits(), GLOBAL);
    assert!(!result(0xc2c2_a020 /* clrperm c0, c1, x2 */, area.seal_entry(), number(0)).tag());
}

#[test]
fn flags_change_without_touching_the_bounds() {
    let area = region(0, 0x1000, LOAD).set_flags(0x0f << 56);
    for (word, flags) in [
        (0xc2c2_e020 /* scflgs c0, c1, x2 */, 0x3cu64),
        (0xc2c2_2820 /* bicflgs c0, c1, x2 */, 0x03),
        (0xc2c2_6820 /* orrflgs c0, c1, x2 */, 0x3f),
        (0xc2c2_a820 /* eorflgs c0, c1, x2 */, 0x33),
        (0xc2fe_0820 /* orrflgs c0, c1, #0xf0 */, 0xff),
    ] {
        let changed = result(word, area, number(0x3c << 56 | 0xdead));
        assert_eq!(changed, area.set_flags(flags << 56), "{word:#010x}");
        assert!(changed.tag());
    }
}

#[test]
fn sealing_needs_a_key_with_the_otype_in_bounds() {
    let seal = 0xc2c2_0820 /* seal c0, c1, c2 */;
    let unseal = 0xc2c2_4820 /* unseal c0, c1, c2 */;
    let area = region(0, 16, LOAD | GLOBAL);
    let key = Capability::ROOT.set_address(100).set_bounds(10).0.set_address(105);
    let sealed = result(seal, area, key);
    assert_eq!(sealed, area.seal(105));
    assert_eq!(result(unseal, sealed, key), area);
    assert!(!result(unseal, sealed, key.set_address(106)).tag());
    assert!(!result(seal, area, key.set_address(110)).tag(), "past the key's bounds");
    assert!(
        !result(seal, area, Capability::ROOT.set_address(0x8000)).tag(),
        "no such otype"
    );
    assert!(!result(seal, sealed, key).tag(), "sealed already");
    let local = result(unseal, sealed, key.and_permissions(!GLOBAL));
    assert!(local.tag() && local.permission_bits() & GLOBAL == 0);
}

#[test]
fn anybody_makes_entries_of_his_own_code() {
    let code = region(0, 16, EXECUTE);
    for (word, otype) in [
        (0xc2c3_3020 /* seal c0, c1, rb */, 1),
        (0xc2c3_5020 /* seal c0, c1, lpb */, 2),
        (0xc2c3_7020 /* seal c0, c1, lb */, 3),
    ] {
        assert_eq!(result(word, code, number(0)), code.seal(otype));
        assert!(!result(word, code.seal(9), number(0)).tag());
    }
}

#[test]
fn conditional_sealing_reports_in_v_and_minus_one_means_nothing() {
    let word = 0xc2c2_4420 /* cseal c0, c1, c2 */;
    let area = region(0, 16, LOAD);
    let mut lab = Lab::new(&[word]);
    lab.set_capability(1, area);
    lab.set_capability(2, Capability::ROOT.set_address(0x1004));
    lab.run();
    assert_eq!((lab.c(0), lab.flags()), (area.seal(0x1004), 1));
    let mut lab = Lab::new(&[word]);
    lab.set_capability(1, area);
    lab.set(2, u64::MAX);
    lab.run();
    assert_eq!((lab.c(0), lab.flags()), (area, 1));
    let mut lab = Lab::new(&[word]);
    lab.set_capability(1, area);
    lab.set(2, 7);
    lab.run();
    assert_eq!((lab.c(0), lab.flags()), (area, 0), "no key, no seal, and the tag stays");
}

#[test]
fn build_restores_what_an_authority_covers() {
    let build = 0xc2c2_0420 /* build c0, c1, c2 */;
    let bits = region(0, 16, LOAD).clear_tag();
    assert_eq!(result(build, bits, region(0, 32, LOAD)), bits.with_tag(true));
    assert!(!result(build, bits, region(8, 32, LOAD)).tag());
    assert!(!result(build, bits, region(0, 32, STORE)).tag());
    assert_eq!(
        result(build, bits.seal(7), region(0, 32, LOAD)),
        bits.with_tag(true),
        "unsealed"
    );
    assert_eq!(
        result(
            0xc2c2_2420, /* cpytype c0, c1, c2 */
            Capability::ROOT,
            bits.seal(7)
        )
        .address(),
        7
    );
    assert_eq!(
        result(0xc2c2_2420 /* cpytype c0, c1, c2 */, Capability::ROOT, bits).address(),
        u64::MAX
    );
}

#[test]
fn checks_answer_in_flags() {
    let area = region(0, 32, LOAD);
    let cases = [
        (0xc2c2_1021 /* chksld c1 */, area.seal(4), area, 1),
        (0xc2c2_3021 /* chktgd c1 */, area, area, 2),
        (0xc2c2_8421 /* chkss c1, c2 */, region(0, 16, LOAD), area, 8),
        (0xc2c2_8421 /* chkss c1, c2 */, area, region(0, 16, LOAD), 0),
        (0xc2c2_a421 /* chkeq c1, c2 */, area, area, 4),
        (0xc2c2_a421 /* chkeq c1, c2 */, area, area.clear_tag(), 0),
    ];
    for (word, c1, c2, flags) in cases {
        let mut lab = Lab::new(&[word]);
        lab.set_capability(1, c1);
        lab.set_capability(2, c2);
        lab.run();
        assert_eq!(lab.flags(), flags, "{word:#010x}");
    }
    let mut lab = Lab::new(&[0xc2c2_8820 /* chkssu c0, c1, c2 */]);
    lab.set_capability(1, region(0, 16, LOAD).seal(5));
    lab.set_capability(2, area);
    lab.run();
    assert_eq!((lab.c(0), lab.flags()), (region(0, 16, LOAD), 8));
}

#[test]
fn subtraction_orders_tagged_above_untagged() {
    let word = 0xc2e2_9820 /* subs x0, c1, c2 */;
    let mut lab = Lab::new(&[word]);
    lab.set_capability(1, region(0, 16, LOAD).set_address(DATA + 8));
    lab.set_capability(2, region(0, 16, LOAD));
    lab.run();
    assert_eq!((lab.x(0), lab.flags()), (8, 2));
    let mut lab = Lab::new(&[word]);
    lab.set(1, u64::MAX);
    lab.set_capability(2, region(0, 16, LOAD));
    lab.run();
    assert_eq!((lab.x(0), lab.flags()), (3, 8));
}

#[test]
fn pointers_and_capabilities_convert_by_their_base_register() {
    let by_ddc = result(0xc2c5_9020 /* cvtd c0, x1 */, number(DATA), number(0));
    assert_eq!(by_ddc, Capability::ROOT.set_address(DATA));
    let by_pcc = result(0xc2c5_b020 /* cvtp c0, x1 */, number(DATA), number(0));
    assert!(by_pcc.tag() && by_pcc.address() == DATA);
    assert_eq!(
        result(0xc2c5_d020 /* cvtdz c0, x1 */, number(0), number(0)),
        Capability::NULL
    );
    assert_eq!(
        result(
            0xc2e2_1820, /* cvt c0, c1, x2 */
            region(0, 0x100, LOAD),
            number(DATA + 4)
        )
        .address(),
        DATA + 4
    );
    assert_eq!(
        result(
            0xc2e2_5820, /* cvtz c0, c1, x2 */
            region(0, 0x100, LOAD),
            number(0)
        ),
        Capability::NULL
    );
    let mut lab = Lab::new(&[0xc2c5_1020 /* cvtd x0, c1 */]);
    lab.set_capability(1, region(0, 0x100, LOAD));
    lab.run();
    assert_eq!((lab.c(0), lab.flags()), (number(DATA), 2));
    assert_eq!(
        result(0xc2c5_3020 /* cvtp x0, c1 */, number(DATA), number(0)),
        number(0),
        "untagged gives zero"
    );
}

#[test]
fn tags_are_set_by_the_system_only() {
    let word = 0xc2c2_8020 /* sctag c0, c1, x2 */;
    assert!(result(word, number(5), number(1)).tag());
    assert!(!result(word, Capability::ROOT, number(2)).tag());
    assert_eq!(
        result(0xc2c1_9020 /* clrtag c0, c1 */, Capability::ROOT, number(0)),
        Capability::ROOT.clear_tag()
    );
    assert_eq!(
        result(0xc2c1_d020 /* cpy c0, c1 */, Capability::ROOT, number(0)),
        Capability::ROOT
    );
    let root = Capability::ROOT;
    assert_eq!(Lab::at_el0(&[word], root).faults_at(0), 0x0200_0000);
}

#[test]
fn selection_and_halves() {
    let (a, b) = (region(0, 16, LOAD), region(16, 16, LOAD_CAPABILITY));
    assert_eq!(result(0xc2c2_1c20 /* csel c0, c1, c2, ne */, a, b), a);
    assert_eq!(result(0xc2c2_0c20 /* csel c0, c1, c2, eq */, a, b), b);
    let high = result(0xc2c2_e820 /* cthi c0, c1, x2 */, a, number(b.to_memory().1));
    assert_eq!(high.to_memory(), (DATA, b.to_memory().1));
    assert!(!high.tag());
}

#[test]
fn lengths_and_masks_are_rounded() {
    assert_eq!(
        result(0xc2c7_1020 /* rrlen x0, x1 */, number(0x123_4567), number(0)),
        number(0x123_6000)
    );
    assert_eq!(
        result(0xc2c7_3020 /* rrmask x0, x1 */, number(0x123_4567), number(0)),
        number(!0x1fff)
    );
}

#[test]
fn capability_instructions_trap_where_they_are_switched_off() {
    let mut lab = Lab::new(&[
        0xd518_105f, /* msr cpacr_el1, xzr */
        0xd503_3fdf, /* isb */
        0xc2c0_9020, /* gctag x0, c1 */
    ]);
    assert_eq!(lab.faults_at(2), 0xa600_0000);
}
