use crate::lab::permission::{GLOBAL, LOAD, LOAD_CAPABILITY, MUTABLE_LOAD, STORE, STORE_CAPABILITY, STORE_LOCAL};
use crate::lab::{DATA, Lab, region};
use capability::morello::Capability;

const ALL: u32 = LOAD | STORE | LOAD_CAPABILITY | STORE_CAPABILITY | STORE_LOCAL | MUTABLE_LOAD | GLOBAL;

fn token() -> Capability {
    region(0x100, 0x10, ALL)
}

#[test]
fn capabilities_travel_in_every_addressing_form() {
    let stores = [
        (0xc200_0820 /* str c0, [x1, #32] */, DATA + 32, DATA),
        (0xa201_0020 /* stur c0, [x1, #16] */, DATA + 16, DATA),
        (0xa200_1420 /* str c0, [x1], #16 */, DATA, DATA + 16),
        (0xa200_1c20 /* str c0, [x1, #16]! */, DATA + 16, DATA + 16),
        (0xa222_7820 /* str c0, [x1, x2, lsl #4] */, DATA + 48, DATA),
        (0xa200_1820 /* sttr c0, [x1, #16] */, DATA + 16, DATA),
        (0x421f_fc20 /* stlr c0, [x1] */, DATA, DATA),
    ];
    for (word, address, base) in stores {
        let mut lab = Lab::new(&[word]);
        lab.set_capability(0, token());
        lab.set(1, DATA);
        lab.set(2, 3);
        lab.run();
        assert_eq!(lab.capability_at(address), token(), "{word:#010x}");
        assert_eq!(lab.x(1), base, "{word:#010x}");
    }
    let loads = [
        (0xc240_0820 /* ldr c0, [x1, #32] */, DATA + 32),
        (0xa241_0020 /* ldur c0, [x1, #16] */, DATA + 16),
        (0xa262_7820 /* ldr c0, [x1, x2, lsl #4] */, DATA + 48),
        (0x425f_fc20 /* ldar c0, [x1] */, DATA),
        (0xa23f_c020 /* ldapr c0, [x1] */, DATA),
    ];
    for (word, address) in loads {
        let mut lab = Lab::new(&[word]);
        lab.write_capability(address, token());
        lab.set(1, DATA);
        lab.set(2, 3);
        lab.run();
        assert_eq!(lab.c(0), token(), "{word:#010x}");
    }
}

#[test]
fn pairs_are_moved_together() {
    let mut lab = Lab::new(&[
        0x62bf_8820, /* stp c0, c2, [x1, #-16]! */
        0x22c1_1023, /* ldp c3, c4, [x1], #32 */
    ]);
    lab.set_capability(0, token());
    lab.set_capability(2, token().seal(5));
    lab.set(1, DATA + 16);
    lab.run();
    assert_eq!((lab.c(3), lab.c(4), lab.x(1)), (token(), token().seal(5), DATA + 32));
}

#[test]
fn loading_through_a_weaker_capability_weakens_what_is_loaded() {
    let load = 0xc240_0020 /* ldr c0, [c1] */;
    let switch = 0xc2c2_73e0 /* bx #4 */;
    let through = |authority: Capability, value: Capability| {
        let mut lab = Lab::new(&[switch, load]);
        lab.write_capability(DATA, value);
        lab.set_capability(1, authority);
        lab.run();
        lab.c(0)
    };
    let full = LOAD | LOAD_CAPABILITY;
    let read_only = token().and_permissions(!(STORE | STORE_CAPABILITY | STORE_LOCAL | MUTABLE_LOAD));
    assert_eq!(through(region(0, 16, full | MUTABLE_LOAD), token()), token());
    assert_eq!(through(region(0, 16, full), token()), read_only);
    assert_eq!(
        through(region(0, 16, full), token().seal(4)),
        token().seal(4),
        "sealed ones stay as they are"
    );
    assert_eq!(through(region(0, 16, LOAD), token()), token().clear_tag());
}

#[test]
fn storing_needs_the_permissions_of_what_is_stored() {
    let words = [0xc2c2_73e0 /* bx #4 */, 0xc200_0020 /* str c0, [c1] */];
    let local = token().and_permissions(!GLOBAL);
    let cases = [
        (STORE, Capability::from_integer(7), None),
        (STORE, token(), Some(0x9600_006b)),
        (STORE | STORE_CAPABILITY, token(), None),
        (STORE | STORE_CAPABILITY, local, Some(0x9600_006b)),
        (STORE | STORE_CAPABILITY | STORE_LOCAL, local, None),
    ];
    for (permissions, value, syndrome) in cases {
        let mut lab = Lab::new(&words);
        lab.set_capability(0, value);
        lab.set_capability(1, region(0, 16, permissions));
        match syndrome {
            Some(syndrome) => assert_eq!(lab.faults_at(1), syndrome),
            None => assert_eq!(lab.run().capability_at(DATA), value),
        }
    }
}

#[test]
fn capability_accesses_are_aligned_after_they_are_in_bounds() {
    let load = 0xc240_0020 /* ldr c0, [x1] */;
    let mut lab = Lab::new(&[load]);
    lab.set(1, DATA + 8);
    assert_eq!(lab.fault().syndrome, 0x9600_0021);
    let mut lab = Lab::new(&[0xc2c2_73e0 /* bx #4 */, load]);
    lab.set_capability(1, region(0, 16, ALL).set_address(DATA + 8));
    assert_eq!(lab.fault().syndrome, 0x9600_002a);
}

#[test]
fn alternate_base_forms_use_the_other_kind_of_base() {
    let mut lab = Lab::new(&[
        0x8260_1c20, /* ldr x0, [c1, #8] */
        0x8240_3422, /* strb w2, [c1, #3] */
        0x8260_1023, /* ldr c3, [c1, #16] */
        0xe2c0_8424, /* ldur x4, [c1, #8] */
        0x82e6_6c25, /* ldr s5, [c1, x6] */
        0x82c6_6027, /* ldrb w7, [c1, x6] */
    ]);
    lab.write(DATA + 8, &0x1122_3344_5566_7788u64.to_le_bytes());
    lab.write_capability(DATA + 16, token());
    lab.set_capability(1, region(0, 32, ALL));
    lab.set(2, 0xab);
    lab.set(6, 8);
    lab.run();
    assert_eq!(
        (lab.x(0), lab.c(3), lab.x(4)),
        (0x1122_3344_5566_7788, token(), 0x1122_3344_5566_7788)
    );
    assert_eq!(lab.read_u64(DATA), 0xab00_0000);
    assert_eq!(lab.board.vector_register(0, 5), 0x5566_7788);
    assert_eq!(lab.x(7), 0x88);
    let mut lab = Lab::new(&[0x8260_1c20 /* ldr x0, [c1, #8] */]);
    lab.set_capability(1, region(0, 8, LOAD));
    assert_eq!(lab.faults_at(0), 0x9600_002a);
}

#[test]
fn in_c64_the_base_is_a_capability_and_write_back_keeps_it_one() {
    let mut lab = Lab::new(&[
        0xc2c2_73e0, /* bx #4 */
        0xf840_8420, /* ldr x0, [x1], #8 */
        0x381f_fc20, /* strb w0, [x1, #-1]! */
    ]);
    lab.write(DATA, &0x55u64.to_le_bytes());
    lab.set_capability(1, region(0, 16, ALL));
    lab.run();
    assert_eq!(lab.c(1), region(0, 16, ALL).set_address(DATA + 7));
    assert_eq!(lab.read_u64(DATA), 0x55 << 56 | 0x55);
}

#[test]
fn exclusives_and_swaps_carry_tags() {
    let mut lab = Lab::new(&[
        0x225f_7c20, /* ldxr c0, [x1] */
        0x2202_7c23, /* stxr w2, c3, [x1] */
        0x2204_7c23, /* stxr w4, c3, [x1] */
        0xa226_8025, /* swp c6, c5, [x1] */
        0xa2a7_7c28, /* cas c7, c8, [x1] */
    ]);
    lab.write_capability(DATA, token());
    lab.set(1, DATA);
    lab.set_capability(3, token().seal(9));
    lab.set_capability(7, token());
    lab.set_capability(6, token());
    lab.set_capability(8, token().clear_tag());
    lab.run();
    assert_eq!((lab.c(0), lab.x(2), lab.x(4)), (token(), 0, 1));
    assert_eq!(lab.c(5), token().seal(9), "what the exclusive store had left");
    assert_eq!((lab.c(7), lab.capability_at(DATA)), (token(), token().clear_tag()));
}

#[test]
fn four_tags_are_read_and_written_at_once() {
    let mut lab = Lab::new(&[
        0xc2c4_b020, /* ldct x0, [x1] */
        0xc2c4_9022, /* stct x2, [x1] */
    ]);
    lab.write_capability(DATA, token());
    lab.write_capability(DATA + 32, token());
    lab.set(1, DATA);
    lab.set(2, 0b1010);
    lab.run();
    assert_eq!(lab.x(0), 0b0101);
    let tags: Vec<u64> = lab.board.tagged_capabilities().map(|(address, _)| address).collect();
    assert_eq!(tags, [DATA + 16, DATA + 48]);
}

#[test]
fn a_literal_is_loaded_through_pcc() {
    let mut lab = Lab::new(&[0x8200_0020 /* ldr c0, #16 */]);
    let place = (crate::lab::CODE + 16) & !15;
    lab.write_capability(place, token());
    lab.run();
    assert_eq!(lab.c(0), token());
}
