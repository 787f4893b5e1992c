use crate::lab::permission::{LOAD, STORE};
use crate::lab::{DATA, Lab, region, run};
use capability::morello::Capability;

fn bytes(lab: &mut Lab) {
    lab.write(
        DATA,
        &[
            0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x91, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
        ],
    );
}

#[test]
fn loads_extend_as_they_say() {
    let mut lab = Lab::new(&[
        0x3940_0020, /* ldrb w0, [x1] */
        0x3980_0422, /* ldrsb x2, [x1, #1] */
        0x39c0_0423, /* ldrsb w3, [x1, #1] */
        0x7940_0424, /* ldrh w4, [x1, #2] */
        0x7980_0825, /* ldrsh x5, [x1, #4] */
        0xb940_0426, /* ldr w6, [x1, #4] */
        0xb980_0827, /* ldrsw x7, [x1, #8] */
        0xf940_0428, /* ldr x8, [x1, #8] */
        0xf840_302a, /* ldur x10, [x1, #3] */
    ]);
    bytes(&mut lab);
    lab.set(1, DATA);
    lab.run();
    assert_eq!(
        (lab.x(0), lab.x(2), lab.x(3)),
        (0x81, 0xffff_ffff_ffff_ff82, 0xffff_ff82)
    );
    assert_eq!((lab.x(4), lab.x(5)), (0x8483, 0xffff_ffff_ffff_8685));
    assert_eq!((lab.x(6), lab.x(7)), (0x8887_8685, 0xffff_ffff_9493_9291));
    assert_eq!((lab.x(8), lab.x(10)), (0x9897_9695_9493_9291, 0x9392_9188_8786_8584));
}

#[test]
fn indexed_forms_update_the_base() {
    let lab = run(
        &[
            0xf800_8420, /* str x0, [x1], #8 */
            0xb800_8c20, /* str w0, [x1, #8]! */
            0xa8c1_0c82, /* ldp x2, x3, [x4], #16 */
            0x29bf_8080, /* stp w0, w0, [x4, #-4]! */
        ],
        &[(0, 0x1122_3344_5566_7788), (1, DATA), (4, DATA)],
    );
    assert_eq!(lab.x(1), DATA + 16);
    assert_eq!((lab.x(2), lab.x(3), lab.x(4)), (0x1122_3344_5566_7788, 0, DATA + 12));
    assert_eq!(lab.read_u64(DATA + 12), 0x5566_7788_5566_7788);
}

#[test]
fn register_offsets_are_extended_and_scaled() {
    let mut lab = Lab::new(&[
        0xf862_d820, /* ldr x0, [x1, w2, sxtw #3] */
        0x3864_6823, /* ldrb w3, [x1, x4] */
        0xb866_4825, /* ldr w5, [x1, w6, uxtw] */
    ]);
    bytes(&mut lab);
    lab.set(1, DATA + 8);
    lab.set(2, 0xffff_ffff);
    lab.set(4, 7);
    lab.set(6, 0xdead_0000_0000_0004);
    lab.run();
    assert_eq!(
        (lab.x(0), lab.x(3), lab.x(5)),
        (0x8887_8685_8483_8281, 0x98, 0x9897_9695)
    );
}

#[test]
fn literals_are_read_from_the_code() {
    let lab = run(
        &[
            0x1400_0003, /* b #12 */
            0x8000_0001,
            0x1234_5678,
            0x58ff_ffc0, /* ldr x0, #-8 */
            0x98ff_ffa1, /* ldrsw x1, #-12 */
        ],
        &[],
    );
    assert_eq!((lab.x(0), lab.x(1)), (0x1234_5678_8000_0001, 0xffff_ffff_8000_0001));
}

#[test]
fn integer_stores_clear_the_tag_of_the_granule() {
    let mut lab = Lab::new(&[0x3900_7c20 /* strb w0, [x1, #31] */]);
    lab.write_capability(DATA + 16, Capability::ROOT);
    lab.write_capability(DATA + 32, Capability::ROOT);
    lab.set(1, DATA);
    lab.run();
    assert!(!lab.capability_at(DATA + 16).tag() && lab.capability_at(DATA + 32).tag());
}

#[test]
fn ddc_bounds_and_permissions_hold_for_integer_addresses() {
    let set_ddc = 0xc28b_4120; // msr ddc, c0
    let cases = [
        (
            region(0, 0x100, LOAD | STORE),
            0xf940_8022, /* ldr x2, [x1, #0x100] */
            0x9600_002a,
            DATA + 0x100,
        ),
        (
            region(0, 0x100, LOAD | STORE),
            0xf80f_8c22, /* str x2, [x1, #0xf8]! */
            0,
            0,
        ),
        (
            region(0, 0x100, LOAD | STORE),
            0xa90f_8c22, /* stp x2, x3, [x1, #0xf8] */
            0x9600_006a,
            DATA + 0xf8,
        ),
        (
            region(0, 0x100, STORE),
            0x3940_0022, /* ldrb w2, [x1] */
            0x9600_002b,
            DATA,
        ),
        (
            region(0, 0x100, LOAD),
            0x3900_0022, /* strb w2, [x1] */
            0x9600_006b,
            DATA,
        ),
        (
            region(0, 0x100, LOAD).clear_tag(),
            0x3940_0022, /* ldrb w2, [x1] */
            0x9600_0028,
            DATA,
        ),
        (
            region(0, 0x100, LOAD).seal(4),
            0x3900_0022, /* strb w2, [x1] */
            0x9600_0069,
            DATA,
        ),
    ];
    for (ddc, word, syndrome, address) in cases {
        let mut lab = Lab::new(&[set_ddc, word]);
        lab.set_capability(0, ddc);
        lab.set(1, DATA);
        if syndrome == 0 {
            lab.run();
        } else {
            let fault = lab.fault();
            assert_eq!((fault.syndrome, fault.address), (syndrome, address), "{word:#010x}");
        }
    }
}

#[test]
fn nothing_is_written_back_by_a_load_that_faults() {
    let mut lab = Lab::new(&[0xc28b_4120, 0xa8c1_0c22 /* ldp x2, x3, [x1], #16 */]);
    lab.set_capability(0, region(0, 0x10, LOAD).set_address(DATA));
    lab.set(1, DATA + 8);
    lab.set(2, 77);
    assert_eq!(lab.faults_at(1), 0x9600_002a);
    assert_eq!((lab.x(1), lab.x(2)), (DATA + 8, 77));
}

#[test]
fn a_misaligned_access_may_cross_a_page() {
    let lab = run(
        &[
            0xf900_0020, /* str x0, [x1] */
            0xf840_1022, /* ldur x2, [x1, #1] */
        ],
        &[(0, 0x1122_3344_5566_7788), (1, DATA + 0xffd)],
    );
    assert_eq!(lab.x(2), 0x11_2233_4455_6677);
}

#[test]
fn misaligned_sp_and_strict_alignment_fault_where_they_are_asked_to() {
    let mut lab = Lab::new(&[0x9100_003f /* mov sp, x1 */, 0xf940_03e0 /* ldr x0, [sp] */]);
    lab.set(1, DATA + 8);
    assert_eq!(lab.faults_at(1), 0x9a00_0000);
    let mut lab = Lab::new(&[
        0xd518_1002, /* msr sctlr_el1, x2 */
        0xf940_0020, /* ldr x0, [x1] */
    ]);
    lab.set(1, DATA + 4);
    lab.set(2, 0x30d0_0802);
    assert_eq!(lab.faults_at(1), 0x9600_0021);
}

#[test]
fn a_place_without_anything_is_an_external_abort() {
    let mut lab = Lab::new(&[0xf940_0020 /* ldr x0, [x1] */]);
    lab.set(1, 0x3fff_0000);
    assert_eq!(lab.fault().syndrome, 0x9600_0010);
}
