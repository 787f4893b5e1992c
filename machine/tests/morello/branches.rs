use crate::lab::permission::{EXECUTE, EXECUTIVE, LOAD, LOAD_CAPABILITY, SYSTEM};
use crate::lab::{CODE, DATA, Lab, region, run};
use capability::morello::Capability;
use machine::morello::Special;

const SBL: u64 = 1 << 7;
const PCCBO: u64 = 1 << 3;
/// msr cctlr_el1, x9
const SET_CCTLR: u32 = 0xd518_1249 /* msr S3_0_C1_C2_2, x9 */;

#[test]
fn direct_branches_test_what_they_say() {
    let lab = run(
        &[
            0xb400_0041, /* cbz x1, #8 */
            0xd280_0020, /* movz x0, #1 */
            0x3500_0041, /* cbnz w1, #8 */
            0xd280_0040, /* movz x0, #2 */
            0xb740_0042, /* tbnz x2, #40, #8 */
            0xd280_0063, /* movz x3, #3 */
            0x3618_0042, /* tbz w2, #3, #8 */
            0xd280_0083, /* movz x3, #4 */
            0xeb02_003f, /* cmp x1, x2 */
            0x5400_0043, /* b.lo #8 */
            0xd280_00a4, /* movz x4, #5 */
            0x9400_0002, /* bl #8 */
            0xd280_00c4, /* movz x4, #6 */
            0xaa1e_03e5, /* mov x5, x30 */
        ],
        &[(1, 0), (2, 1 << 40)],
    );
    assert_eq!((lab.x(0), lab.x(3), lab.x(4)), (2, 0, 0));
    assert_eq!(lab.x(5), CODE + 4 * 12);
}

#[test]
fn integer_branches_link_an_integer_and_stay_within_pcc() {
    let mut lab = Lab::new(&[
        0xd63f_0020, /* blr x1 */
        0xd503_201f, /* nop */
        0xd65f_03c0, /* ret */
        0xd503_201f, /* nop */
    ]);
    lab.set(1, CODE + 8);
    lab.board.run_to(CODE + 4, 10).expect("the return");
    assert_eq!(lab.c(30), Capability::from_integer(CODE + 4));
    let mut lab = Lab::new(&[SET_CCTLR, 0xd61f_0020 /* br x1 */]);
    lab.set(9, PCCBO);
    lab.set(1, 0x100);
    lab.set_capability(9, Capability::from_integer(PCCBO));
    lab.board.run_to(0x100, 10).expect("PCC's base is 0");
}

#[test]
fn a_jump_far_outside_pcc_faults_at_the_target() {
    let code = Capability::ROOT.set_address(CODE).set_bounds(0x40).0;
    let mut lab = Lab::new(&[
        0xc2c2_1020, /* br c1 */
        0xd2a8_e000, /* movz x0, #0x4700, lsl #16 */
        0xd61f_0000, /* br x0 */
    ]);
    lab.set_capability(1, code.set_address(CODE + 4));
    let fault = lab.fault();
    assert_eq!((fault.syndrome, fault.address), (0x8600_0028, 0x4700_0000));
    let returns = lab.board.special_register(0, Special::Celr(1));
    assert!(!returns.tag() && returns.address() == 0x4700_0000);
}

#[test]
fn what_translation_or_memory_refuses_is_reported_before_pcc() {
    let mut lab = Lab::new(&[
        0xd2b2_0000, /* movz x0, #0x9000, lsl #16 */
        0xd61f_0000, /* br x0 */
    ]);
    assert_eq!(lab.fault().syndrome, 0x8600_0010);
}

#[test]
fn running_past_the_end_of_pcc_faults_there() {
    let mut lab = Lab::new(&[
        0xc2c2_1020, /* br c1 */
        0xd503_201f, /* nop */
        0xd503_201f, /* nop */
    ]);
    lab.set_capability(1, Capability::ROOT.set_address(CODE + 4).set_bounds(4).0);
    let fault = lab.fault();
    assert_eq!((fault.syndrome, fault.address), (0x8600_002a, CODE + 8));
    assert!(lab.board.special_register(0, Special::Celr(1)).tag());
}

#[test]
fn bit_0_of_a_capability_target_chooses_the_instruction_set() {
    let mut lab = Lab::new(&[
        0xc2c2_3020, /* blr c1 */
        0xd503_201f, /* nop */
        0x1000_0000, /* adr x0, #0 */
        0x97ff_fffe, /* bl #-8 */
    ]);
    lab.set_capability(1, Capability::ROOT.set_address((CODE + 8) | 1));
    lab.board.run_to(CODE + 12, 10).expect("the target");
    assert!(lab.c(0).tag(), "ADR gives a capability in C64");
    assert_eq!(lab.c(30).address(), CODE + 4, "linked from A64");
    lab.board.run_to(CODE + 4, 10).expect("BL");
    assert_eq!((lab.c(30).tag(), lab.c(30).address()), (true, (CODE + 16) | 1));
}

#[test]
fn with_sbl_links_are_sentries_and_returns_unseal_them() {
    let mut lab = Lab::new(&[
        SET_CCTLR,
        0xc2c2_3020, /* blr c1 */
        0xd503_201f, /* nop */
        0xc2c2_53c0, /* ret c30 */
    ]);
    lab.set(9, SBL);
    lab.set_capability(1, Capability::ROOT.set_address(CODE + 12).seal_entry());
    lab.board.run_to(CODE + 12, 10).expect("the call");
    assert!(lab.c(30).is_sentry());
    lab.board.run_to(CODE + 8, 10).expect("the return");
    assert!(!lab.board.special_register(0, Special::Pcc).is_sealed());
}

#[test]
fn targets_that_are_not_allowed_fault_when_they_are_fetched() {
    let br = 0xc2c2_1020 /* br c1 */;
    let at = Capability::ROOT.set_address(CODE + 4);
    for (target, syndrome) in [
        (at.clear_tag(), 0x8600_0028u64),
        (at.seal(7), 0x8600_0028),
        (at.and_permissions(!EXECUTE), 0x8600_002b),
        (at.and_permissions(!EXECUTIVE), 0x8600_0028),
        (at.set_address(CODE + 2), 0x8a00_0000),
    ] {
        let mut lab = Lab::new(&[br, 0xd503_201f /* nop */]);
        lab.set_capability(1, target);
        assert_eq!(lab.fault().syndrome, syndrome, "{}", target.decode());
    }
}

#[test]
fn only_the_restricted_forms_leave_executive() {
    let mut lab = Lab::new(&[0xc2c2_1023 /* brr c1 */, 0xc29f_4100 /* mrs c0, rcsp_el0 */]);
    lab.set_capability(1, Capability::ROOT.set_address(CODE + 4).and_permissions(!EXECUTIVE));
    assert_eq!(lab.faults_at(1), 0x0200_0000, "Restricted code does not have this name");
    let restricted = Capability::ROOT.and_permissions(!EXECUTIVE & !SYSTEM);
    assert_eq!(
        Lab::at_el0(&[0xc2c2_1023 /* brr c1 */], restricted).faults_at(0),
        0x0200_0000
    );
}

#[test]
fn a_sealed_pair_unseals_both_and_passes_the_data() {
    let data = region(0, 16, LOAD | 1 << 8);
    let code = Capability::ROOT.set_address(CODE + 8);
    let words = [
        0xc2c2_a420, /* blrs c29, c1, c2 */
        0xd503_201f, /* nop */
        0xd503_201f, /* nop */
    ];
    let mut lab = Lab::new(&words);
    lab.set_capability(1, code.seal(42));
    lab.set_capability(2, data.seal(42));
    lab.run();
    assert_eq!((lab.c(29), lab.c(30).address()), (data, CODE + 4));
    for (code, data) in [
        (code.seal(42), data.seal(43)),
        (code.seal(1), data.seal(1)),
        (code.seal(42), code.seal(42)),
    ] {
        let mut lab = Lab::new(&words);
        lab.set_capability(1, code);
        lab.set_capability(2, data);
        assert_eq!(lab.fault().syndrome, 0x8600_0028);
        assert_eq!(lab.c(29), data, "still sealed");
    }
}

#[test]
fn a_load_pair_branch_takes_target_and_data_from_memory() {
    let mut lab = Lab::new(&[
        0xc2c4_303d, /* ldpblr c29, [c1] */
        0xd503_201f, /* nop */
        0xd503_201f, /* nop */
    ]);
    let data = region(0x100, 16, LOAD);
    lab.write_capability(DATA, data);
    lab.write_capability(DATA + 16, Capability::ROOT.set_address(CODE + 8));
    lab.set_capability(1, region(0, 32, LOAD | LOAD_CAPABILITY).seal(2));
    lab.run();
    assert_eq!((lab.c(29), lab.c(30).address()), (data, CODE + 4));
}

#[test]
fn a_load_branch_takes_its_target_from_memory() {
    let mut lab = Lab::new(&[
        0xc2d0_33a0, /* br [c29, #16] */
        0xd503_201f, /* nop */
        0xd503_201f, /* nop */
    ]);
    lab.write_capability(DATA + 16, Capability::ROOT.set_address(CODE + 8));
    lab.set_capability(29, region(0, 32, LOAD | LOAD_CAPABILITY).seal(3));
    lab.run();
    assert_eq!(lab.c(29), region(0, 32, LOAD | LOAD_CAPABILITY), "unsealed");
}
