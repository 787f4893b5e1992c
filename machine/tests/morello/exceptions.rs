use crate::lab::permission::{EXECUTIVE, LOAD, STORE, SYSTEM};
use crate::lab::{CODE, DATA, Lab, USER_CODE, region, run};
use capability::morello::Capability;
use machine::Stop;
use machine::morello::{Special, Until};

/// What a cVM's PCC looks like.
fn restricted() -> Capability {
    Capability::ROOT.and_permissions(!EXECUTIVE & !SYSTEM)
}

#[test]
fn a_supervisor_call_carries_its_number_and_returns_behind() {
    let mut lab = Lab::at_el0(&[0xd402_4681 /* svc #0x1234 */], restricted());
    let fault = lab.fault();
    assert_eq!(fault.syndrome, 0x5600_1234);
    let returns = lab.board.special_register(0, Special::Celr(1));
    assert_eq!((returns.tag(), returns.address()), (true, USER_CODE + 4));
    assert_eq!(returns.permission_bits(), restricted().permission_bits());
    assert_eq!(lab.board.exception_level(0), 1);
}

#[test]
fn the_vector_depends_on_where_the_exception_comes_from() {
    let set_vbar = 0xc288_c001 /* msr cvbar_el1, c1 */;
    let vector = |words: &[u32], c1: Capability| {
        let mut lab = Lab::new(words);
        lab.set_capability(1, c1);
        lab.fault();
        lab.board.pc(0)
    };
    let base = Capability::ROOT.set_address(DATA);
    assert_eq!(vector(&[set_vbar, 0xd420_0020 /* brk #1 */], base), DATA + 0x200);
    assert_eq!(
        vector(
            &[
                set_vbar,
                0xd500_40bf, /* msr spsel, #0 */
                0xd420_0020  /* brk #1 */
            ],
            base
        ),
        DATA
    );
    let mut lab = Lab::at_el0(&[0xd420_0040 /* brk #2 */], restricted());
    assert_eq!(lab.fault().syndrome, 0xf200_0002);
    assert_eq!(lab.board.pc(0), 0x400);
}

#[test]
fn exception_entry_masks_interrupts_and_leaves_c64_unless_asked() {
    let words = [0xc2c2_73e0 /* bx #4 */, 0xd400_0001 /* svc #0 */];
    let mut lab = Lab::at_el0(&words, restricted());
    lab.fault();
    assert_eq!(lab.board.pstate(0) & 0x0400_03cf, 0x3c5);
    assert_eq!(lab.board.pstate(0) >> 26 & 1, 0);
    let all = [
        0xd518_1249, /* msr S3_0_C1_C2_2, x9 */
        0xd400_0001, /* svc #0 */
    ];
    let mut lab = Lab::new(&all);
    lab.set(9, 1 << 5);
    lab.fault();
    assert_eq!(lab.board.pstate(0) >> 26 & 1, 1, "CCTLR.C64E");
}

#[test]
fn sp_and_ddc_follow_level_and_bank() {
    let read_ddc = 0xc29b_4120 /* mrs c0, ddc */;
    let executive = Lab::at_el0(&[read_ddc], Capability::ROOT).run().c(0);
    let mut lab = Lab::new(&[
        0xc28b_4325, /* msr rddc_el0, c5 */
        0xc288_4126, /* msr ddc_el0, c6 */
        read_ddc,
    ]);
    lab.set_capability(5, region(0, 16, LOAD));
    lab.set_capability(6, region(16, 16, LOAD));
    lab.run();
    assert_eq!(lab.c(0), Capability::ROOT, "EL1 has its own");
    assert_eq!(lab.board.special_register(0, Special::Ddc(0)), region(16, 16, LOAD));
    assert_eq!(
        lab.board.special_register(0, Special::RestrictedDdc),
        region(0, 16, LOAD)
    );
    assert_eq!(executive, Capability::ROOT);
}

#[test]
fn restricted_code_uses_the_restricted_bank() {
    let mut lab = Lab::at_el0(
        &[
            0xc28b_4121, /* msr ddc, c1 */
            0x9100_005f, /* mov sp, x2 */
            0xc28b_d043, /* msr ctpidr_el0, c3 */
        ],
        restricted(),
    );
    lab.set_capability(1, region(0, 16, LOAD));
    lab.set(2, 0x1230);
    lab.set_capability(3, region(0, 32, STORE));
    lab.run();
    let special = |which| lab.board.special_register(0, which);
    assert_eq!(special(Special::RestrictedDdc), region(0, 16, LOAD));
    assert_eq!(special(Special::RestrictedCsp).address(), 0x1230);
    assert_eq!(special(Special::RestrictedCtpidr), region(0, 32, STORE));
    assert_eq!(
        (special(Special::Ddc(0)), special(Special::Csp(0))),
        (Capability::ROOT, Capability::NULL)
    );
}

#[test]
fn what_el0_may_not_do_is_refused_as_the_reference_refuses_it() {
    let cases = [
        (0xd538_0000 /* mrs x0, midr_el1 */, 0x0200_0000u64),
        (0xd503_42df /* msr daifset, #2 */, 0x0000_0000),
        (0xd53b_e040 /* mrs x0, cntvct_el0 */, 0x18 << 26),
        (0xd53b_0020 /* mrs x0, ctr_el0 */, 0x18 << 26),
        (0xd50b_7420 /* dc zva, x0 */, 0x18 << 26),
        (0xd400_0002 /* hvc #0 */, 0x0200_0000),
        (0xd400_0003 /* smc #0 */, 0x0200_0000),
        (0xd69f_03e0 /* eret */, 0x0200_0000),
        (0xd45e_0000 /* hlt #0xf000 */, 0x0200_0000),
        (0xd508_871f /* tlbi vmalle1 */, 0x0200_0000),
        (0xc298_c000 /* mrs c0, cvbar_el1 */, 0x0200_0000),
    ];
    for (word, syndrome) in cases {
        let mut lab = Lab::at_el0(&[word], restricted());
        let fault = lab.fault();
        if syndrome >> 26 == 0x18 {
            assert_eq!(fault.syndrome >> 26, 0x18, "{word:#010x}");
        } else {
            assert_eq!(fault.syndrome, syndrome, "{word:#010x}");
        }
    }
}

#[test]
fn without_system_permission_el1_loses_its_system_registers() {
    let leave = 0xc2c2_1023 /* brr c1 */;
    let cases = [
        (0xd538_1000 /* mrs x0, sctlr_el1 */, 0x18u64),
        (0xd518_1040 /* msr cpacr_el1, x0 */, 0x18),
        (0xc298_c000 /* mrs c0, cvbar_el1 */, 0x2a),
        (0xd508_871f /* tlbi vmalle1 */, 0x18),
    ];
    for (word, class) in cases {
        let mut lab = Lab::new(&[leave, word]);
        lab.set_capability(1, Capability::ROOT.set_address(CODE + 4).and_permissions(!SYSTEM));
        assert_eq!(lab.faults_at(1) >> 26, class, "{word:#010x}");
    }
    let mut lab = Lab::new(&[
        leave,
        0xd538_4240, /* mrs x0, currentel */
        0xd503_40ff, /* msr daifclr, #0 */
        0xc298_4020, /* mrs c0, celr_el1 */
    ]);
    lab.set_capability(1, Capability::ROOT.set_address(CODE + 4).and_permissions(!SYSTEM));
    lab.run();
}

#[test]
fn a_return_to_an_untagged_or_sealed_capability_faults_at_the_target() {
    let words = [
        0xd518_401f, /* msr spsr_el1, xzr */
        0xc288_402a, /* msr celr_el1, c10 */
        0xd69f_03e0, /* eret */
    ];
    for target in [Capability::ROOT.clear_tag(), Capability::ROOT.seal_entry()] {
        let mut lab = Lab::new(&words);
        lab.set_capability(10, target.with_address_unchecked(DATA));
        let fault = lab.fault();
        assert_eq!((fault.syndrome, fault.address), (0x8200_0028, DATA));
    }
}

#[test]
fn an_illegal_return_raises_the_illegal_state_exception() {
    let mut lab = Lab::new(&[
        0xd518_4001, /* msr spsr_el1, x1 */
        0xc288_402a, /* msr celr_el1, c10 */
        0xd69f_03e0, /* eret */
    ]);
    lab.set(1, 0x9);
    lab.set_capability(10, Capability::ROOT.set_address(DATA));
    assert_eq!(lab.fault().syndrome >> 26, 0x0e);
}

#[test]
fn a_64_bit_write_leaves_no_capability_in_a_register() {
    let lab = run(
        &[
            0xd518_4021, /* msr elr_el1, x1 */
            0xd518_d081, /* msr tpidr_el1, x1 */
            0xc298_d080, /* mrs c0, ctpidr_el1 */
        ],
        &[(1, DATA)],
    );
    assert_eq!(lab.c(0), Capability::from_integer(DATA));
    assert!(!lab.board.special_register(0, Special::Celr(1)).tag());
}

#[test]
fn floating_point_traps_where_it_is_switched_off() {
    let mut lab = Lab::new(&[
        0xd518_105f, /* msr cpacr_el1, xzr */
        0xd503_3fdf, /* isb */
        0x1e6e_1000, /* fmov d0, #1.0 */
    ]);
    assert_eq!(lab.faults_at(2), 0x1fe0_0000);
}

#[test]
fn identification_registers_describe_the_processor() {
    let lab = run(
        &[
            0xd538_0000, /* mrs x0, midr_el1 */
            0xd538_00a1, /* mrs x1, mpidr_el1 */
            0xd538_0422, /* mrs x2, id_aa64pfr1_el1 */
            0xd538_4243, /* mrs x3, currentel */
            0xd53b_e004, /* mrs x4, cntfrq_el0 */
            0xd53b_00e5, /* mrs x5, dczid_el0 */
        ],
        &[],
    );
    assert_eq!([lab.x(0), lab.x(1), lab.x(2)], [0x410f_d083, 0x8000_0000, 0x10_0000]);
    assert_eq!([lab.x(3), lab.x(4), lab.x(5)], [4, 62_500_000, 4]);
}

#[test]
fn blocks_are_zeroed_within_bounds_only() {
    let mut lab = Lab::new(&[0xd50b_7421 /* dc zva, x1 */]);
    lab.write(DATA, &[0xff; 192]);
    lab.write_capability(DATA + 64, Capability::ROOT);
    lab.set(1, DATA + 70);
    lab.run();
    assert_eq!(
        (
            lab.read_u64(DATA + 56),
            lab.read_u64(DATA + 64),
            lab.read_u64(DATA + 128)
        ),
        (u64::MAX, 0, u64::MAX)
    );
    assert!(!lab.capability_at(DATA + 64).tag());
    let mut lab = Lab::new(&[0xc28b_4120 /* msr ddc, c0 */, 0xd50b_7421 /* dc zva, x1 */]);
    lab.set_capability(0, region(0, 32, STORE));
    lab.set(1, DATA);
    assert_eq!(lab.faults_at(1), 0x9600_006a);
}

#[test]
fn a_vector_that_cannot_be_executed_ends_the_run() {
    let mut lab = Lab::new(&[0xd400_0001 /* svc #0 */]);
    assert_eq!(lab.board.run(Until::exit(1000)), Stop::TrapLoop { address: 0, core: 0 });
}
