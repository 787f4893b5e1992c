use crate::lab::{DATA, Lab};
use capability::morello::Capability;

/// Level 1 table; the level 2 table follows.
const TABLES: u64 = DATA + 0x10_0000;
/// Virtual addresses of 2 MiB blocks that all lead to `DATA`'s block, with different attributes.
const WINDOW: u64 = 0x8000_0000;
const BLOCK: u64 = 2 << 20;
const SC: u64 = 1 << 60;
const LC_PASS: u64 = 1 << 61;
const LC_FAULT_IF_SET: u64 = 2 << 61;
const READ_ONLY: u64 = 1 << 7;
const UNPRIVILEGED: u64 = 1 << 6;
const ACCESS: u64 = 1 << 10;

const TURN_ON: &[u32] = &[
    0xd518_a214, /* msr mair_el1, x20 */
    0xd518_2055, /* msr tcr_el1, x21 */
    0xd518_2016, /* msr ttbr0_el1, x22 */
    0xd518_1017, /* msr sctlr_el1, x23 */
    0xd503_3fdf, /* isb */
];

/// A lab with translation on; window `n` maps to `DATA` with `attributes[n]`.
fn lab(words: &[u32], attributes: &[u64]) -> Lab {
    let all: Vec<u32> = TURN_ON.iter().chain(words).copied().collect();
    let mut lab = Lab::new(&all);
    lab.set(20, 0xff);
    lab.set(21, 0x7a02_0080_3519);
    lab.set(22, TABLES);
    lab.set(23, 0x30d0_0801 | 1 << 23);
    // The first gigabyte is not mapped, the second one is itself, the third one are the windows.
    let mut tables = vec![0u64; 1024];
    tables[1] = 0x4000_0000 | 1 | ACCESS | SC | LC_PASS;
    tables[2] = (TABLES + 0x1000) | 3;
    for (index, attribute) in attributes.iter().enumerate() {
        tables[512 + index] = DATA & !(BLOCK - 1) | 1 | attribute;
    }
    lab.write(
        TABLES,
        &tables.iter().flat_map(|entry| entry.to_le_bytes()).collect::<Vec<_>>(),
    );
    lab
}

#[test]
fn blocks_translate_and_permissions_hold() {
    let words = [0xf940_0020 /* ldr x0, [x1] */, 0xf900_0062 /* str x2, [x3] */];
    let mut lab = lab(&words, &[ACCESS, ACCESS | READ_ONLY]);
    lab.write(DATA, &77u64.to_le_bytes());
    lab.set(1, WINDOW);
    lab.set(3, WINDOW + BLOCK);
    let fault = lab.fault();
    assert_eq!(
        (lab.x(0), fault.syndrome, fault.address),
        (77, 0x9600_004e, WINDOW + BLOCK)
    );
}

#[test]
fn what_is_not_mapped_faults_at_its_level() {
    let cases = [
        (0x1000u64, 0x9600_0005u64),
        (WINDOW + 5 * BLOCK, 0x9600_0006),
        (0x80_0000_0000, 0x9600_0004),
    ];
    for (address, syndrome) in cases {
        let mut lab = lab(&[0xf940_0020 /* ldr x0, [x1] */], &[]);
        lab.set(1, address);
        assert_eq!(lab.fault().syndrome, syndrome, "{address:#x}");
    }
    let mut lab = lab(&[0xf940_0020 /* ldr x0, [x1] */], &[0]);
    lab.set(1, WINDOW);
    assert_eq!(lab.fault().syndrome, 0x9600_000a, "access flag");
}

#[test]
fn sc_guards_the_storing_of_tags_only() {
    let store = 0xc200_0020 /* str c0, [x1] */;
    let mut untagged = lab(&[store], &[ACCESS]);
    untagged.set(1, WINDOW);
    untagged.run();
    let mut tagged = lab(&[store], &[ACCESS]);
    tagged.set(1, WINDOW);
    tagged.set_capability(0, Capability::ROOT);
    assert_eq!(tagged.fault().syndrome, 0x9600_006c);
    let mut allowed = lab(&[store], &[ACCESS | SC]);
    allowed.set(1, WINDOW);
    allowed.set_capability(0, Capability::ROOT);
    allowed.run();
    assert!(allowed.capability_at(DATA).tag());
}

#[test]
fn lc_clears_passes_or_faults_by_generation() {
    let words = [
        0xd518_1249, /* msr S3_0_C1_C2_2, x9 */
        0xc240_0020, /* ldr c0, [x1] */
    ];
    let run = |attribute: u64, generation: u64| {
        let mut lab = lab(&words, &[ACCESS | attribute]);
        lab.write_capability(DATA, Capability::ROOT);
        lab.set(1, WINDOW);
        lab.set(9, generation);
        lab
    };
    assert!(!run(0, 0).run().c(0).tag());
    assert!(run(LC_PASS, 0).run().c(0).tag());
    assert!(run(LC_FAULT_IF_SET, 0).run().c(0).tag());
    assert_eq!(run(LC_FAULT_IF_SET, 1).fault().syndrome, 0x9600_002c);
    assert_eq!(run(LC_FAULT_IF_SET | LC_PASS, 0).fault().syndrome, 0x9600_002c);
    assert!(run(LC_FAULT_IF_SET | LC_PASS, 1).run().c(0).tag());
}

#[test]
fn privileged_access_never_closes_unprivileged_pages_to_el1() {
    let words = [
        0xd500_419f, /* msr pan, #1 */
        0xf840_0820, /* ldtr x0, [x1] */
        0xf940_0020, /* ldr x0, [x1] */
    ];
    let mut lab = lab(&words, &[ACCESS | UNPRIVILEGED]);
    lab.set(1, WINDOW);
    let fault = lab.fault();
    assert_eq!(
        (fault.syndrome, lab.board.last_exception(0).map(|taken| taken.pc)),
        (0x9600_000e, Some(crate::lab::CODE + 4 * 7))
    );
}

#[test]
fn the_result_of_a_translation_can_be_asked_for() {
    let words = [
        0xd508_7801, /* at s1e1r, x1 */
        0xd538_7400, /* mrs x0, par_el1 */
        0xd508_7841, /* at s1e0r, x1 */
        0xd538_7402, /* mrs x2, par_el1 */
    ];
    let mut lab = lab(&words, &[ACCESS]);
    lab.set(1, WINDOW + 0x1234);
    lab.run();
    assert_eq!(lab.x(0) & 0x0000_ffff_ffff_f001, DATA + 0x1000);
    assert_eq!(lab.x(2) & 0x7f, 0xe << 1 | 1, "EL0 may not");
}

#[test]
fn a_changed_table_is_seen_after_invalidation() {
    let words = [
        0xf940_0020, /* ldr x0, [x1] */
        0xf900_0062, /* str x2, [x3] */
        0xd508_871f, /* tlbi vmalle1 */
        0xd503_3b9f, /* dsb ish */
        0xf940_0020, /* ldr x0, [x1] */
    ];
    let mut lab = lab(&words, &[ACCESS]);
    lab.set(1, WINDOW);
    lab.set(2, 0);
    lab.set(3, TABLES + 0x1000);
    assert_eq!(lab.faults_at(TURN_ON.len() as u64 + 4), 0x9600_0006);
}

#[test]
fn code_is_fetched_from_where_the_tables_say_after_they_have_changed() {
    const PRIVILEGED_NEVER: u64 = 1 << 53;
    let other = DATA + BLOCK;
    let call = |kept: u32| {
        [
            0xd63f_0020,        /* blr x1 */
            0xaa00_03e0 | kept, /* mov x(kept), x0 */
        ]
    };
    let change = |descriptor: u32| {
        [
            0xf900_0180 | descriptor, /* str x(descriptor), [x12] */
            0xd503_3f9f,              /* dsb sy */
            0xd508_871f,              /* tlbi vmalle1 */
            0xd503_3fdf,              /* isb */
        ]
    };
    let words = [&call(2)[..], &call(3), &change(10), &call(4), &change(11), &call(5)].concat();
    let mut lab = lab(&words, &[ACCESS]);
    for (block, value) in [(DATA, 7), (other, 9)] {
        // mov x0, #value; ret
        let function: [u32; 2] = [0xd280_0000 | value << 5, 0xd65f_03c0];
        lab.write(block, &function.map(u32::to_le_bytes).concat());
    }
    lab.set(1, WINDOW);
    lab.set(10, other | 1 | ACCESS);
    lab.set(11, other | 1 | ACCESS | PRIVILEGED_NEVER);
    lab.set(12, TABLES + 0x1000);
    let fault = lab.fault();
    assert_eq!([2, 3, 4].map(|register| lab.x(register)), [7, 7, 9]);
    assert_eq!(
        (fault.syndrome, fault.address),
        (0x8600_000e, WINDOW),
        "not to be executed"
    );
}
