//! Traps, returns, privilege, PMP and interrupts.

use capability::riscv::Capability;
use machine::Stop;
use machine::riscv::{Isa, Privilege, Until, special};

use crate::lab::{DATA, EBREAK, ECALL, Lab, MRET, START, STAY, WFI, addi, csr, i, image, region, s};

const MSTATUS: u32 = 0x300;
const MIE: u32 = 0x304;
const MTVEC: u32 = 0x305;
const MEPC: u32 = 0x341;
const MIP: u16 = 0x344;
const PMPCFG0: u32 = 0x3a0;
const PMPADDR0: u32 = 0x3b0;
const HANDLER: u64 = START + 0x100;
const USER: u64 = START + 0x1000;

fn handler() -> Capability {
    Capability::ROOT.set_address(HANDLER)
}

fn user_code() -> Capability {
    region(USER, 0x1000, 0x117)
}

/// A board that opens PMP when `open` says so and returns to user mode at `target`; `words` are at `USER`.
fn returning_to(target: Capability, words: &[u32], open: bool) -> Lab {
    let program = [csr(1, 0, PMPADDR0, 5), csr(1, 0, PMPCFG0, 6), MRET];
    let mut lab = Lab::v9(&program)
        .set(5, (1 << 54) - 1)
        .set(6, if open { 0x1f } else { 0 })
        .set_special(special::MTCC, handler())
        .set_special(special::MEPCC, target);
    lab.board.write_memory(USER, &crate::lab::image(words)).unwrap();
    lab.step(3)
}

fn in_user_mode(words: &[u32], open: bool) -> Lab {
    returning_to(user_code(), words, open)
}

#[test]
fn a_trap_saves_the_whole_pcc_and_enters_by_mtcc() {
    let lab = in_user_mode(&[0x13, ECALL], true);
    assert_eq!((lab.board.privilege(0), lab.board.pc(0)), (Privilege::User, USER));
    let lab = lab.step(2);
    assert_eq!(lab.board.privilege(0), Privilege::Machine);
    assert_eq!(lab.board.special_register(0, special::PCC), handler());
    assert_eq!(
        lab.board.special_register(0, special::MEPCC),
        user_code().set_address(USER + 4)
    );
    assert_eq!((lab.board.csr(0, 0x342), lab.board.csr(0, 0x343)), (8, 0));
    assert_eq!(lab.board.csr(0, 0x300) & 0x1800, 0);
}

#[test]
fn ecall_and_ebreak_tell_where_they_come_from() {
    for (word, cause) in [(ECALL, 11), (EBREAK, 3)] {
        assert_eq!(
            Lab::v9(&[word]).step(1).trap().map(|trap| (trap.cause, trap.value)),
            Some((cause, 0))
        );
    }
}

#[test]
fn user_mode_may_do_nothing_privileged() {
    for word in [
        MRET,
        csr(2, 3, MSTATUS, 0),
        csr(2, 3, 0xf14, 0),
        csr(2, 3, 0xc02, 0),
        0x1200_0073,
    ] {
        let lab = in_user_mode(&[word], true).step(1);
        assert_eq!(
            lab.trap().map(|trap| (trap.cause, trap.value)),
            Some((2, u64::from(word)))
        );
    }
}

#[test]
fn without_a_pmp_entry_user_mode_cannot_even_fetch() {
    let lab = in_user_mode(&[0x13], false).step(1);
    assert_eq!(lab.trap().map(|trap| (trap.cause, trap.value)), Some((1, USER)));
}

#[test]
fn pmp_closes_memory_to_user_mode_and_not_to_machine_mode() {
    // Entry 0 closes the page of DATA, entry 1 opens everything.
    let program = [
        csr(1, 0, PMPADDR0, 5),
        csr(1, 0, PMPADDR0 + 1, 6),
        csr(1, 0, PMPCFG0, 7),
        s(3, 0, 10, 0),
        MRET,
    ];
    let mut lab = Lab::v9(&program)
        .set(5, DATA >> 2 | (0x1000 / 8 - 1))
        .set(6, (1 << 54) - 1)
        .set(7, 0x1f18)
        .set(10, DATA + 8)
        .set_special(special::MTCC, handler())
        .set_special(special::MEPCC, user_code());
    let access = [i(0x03, 3, 3, 11, 0), i(0x03, 3, 3, 10, 0)];
    lab.board.write_memory(USER, &crate::lab::image(&access)).unwrap();
    let lab = lab.set(11, DATA + 0x1000).step(6);
    assert_eq!(lab.trap(), None);
    let lab = lab.step(1);
    assert_eq!(lab.trap().map(|trap| (trap.cause, trap.value)), Some((5, DATA + 8)));
}

#[test]
fn a_bad_return_capability_faults_in_user_mode() {
    for (target, fault) in [
        (user_code().clear_tag(), 0x402),
        (user_code().seal(7), 0x403),
        (region(USER, 0x1000, 0x105), 0x411),
        (user_code().set_address(USER + 0x1000), 0x401),
    ] {
        let lab = returning_to(target, &[0x13], true).step(1);
        let record = lab.board.last_trap(0).unwrap();
        assert_eq!((lab.capability_fault(), record.from), (fault, Privilege::User));
    }
}

#[test]
fn a_sentry_is_unsealed_by_the_return() {
    let lab = Lab::v9(&[MRET])
        .set_special(special::MEPCC, user_code().seal_entry())
        .step(1);
    assert_eq!(lab.board.special_register(0, special::PCC), user_code());
}

#[test]
fn mepc_and_mtvec_are_views_of_their_capabilities() {
    let program = [csr(2, 3, MEPC, 0), csr(1, 0, MEPC, 4), csr(2, 5, MTVEC, 0)];
    let run = |isa, address| {
        Lab::new(isa, &program)
            .set_special(special::MEPCC, user_code().set_address(USER + 0x40))
            .set_special(special::MTCC, region(START, 0x1000, 0x117).set_address(HANDLER))
            .set(4, address)
            .step(3)
    };
    let lab = run(Isa::V9, USER + 0x44);
    assert_eq!((lab.get(3), lab.get(5)), (USER + 0x40, HANDLER));
    assert_eq!(
        lab.board.special_register(0, special::MEPCC),
        user_code().set_address(USER + 0x44)
    );
    let lab = run(Isa::V8, 0x44);
    assert_eq!((lab.get(3), lab.get(5)), (0x40, 0x100));
    assert_eq!(
        lab.board.special_register(0, special::MEPCC),
        user_code().set_address(USER + 0x44)
    );
}

#[test]
fn vectored_interrupts_go_to_their_entry_and_exceptions_to_the_base() {
    let vectored = Capability::ROOT.set_address(HANDLER | 1);
    let mut lab = Lab::v9(&[csr(1, 0, MIE, 5), csr(6, 0, MSTATUS, 8), STAY])
        .set(5, 1 << 3)
        .set_special(special::MTCC, vectored)
        .step(2);
    lab.board.set_software_interrupt(0, true);
    let stop = lab.board.run(Until::exit(10).or_breakpoints(&[HANDLER + 12]));
    assert_eq!(
        stop,
        Stop::Breakpoint {
            address: HANDLER + 12,
            core: 0
        }
    );
    assert_eq!(lab.board.csr(0, 0x342), 1 << 63 | 3);
    assert_eq!(lab.board.csr(0, MIP), 1 << 3);
    let lab = Lab::v9(&[ECALL]).set_special(special::MTCC, vectored).step(1);
    assert_eq!(lab.board.pc(0), HANDLER);
}

#[test]
fn a_timer_wakes_wfi_at_its_tick_and_time_has_passed() {
    // mtimecmp[0] = 5000 ticks; wfi; then stay.
    let program = [s(3, 6, 5, 0), csr(1, 0, MIE, 7), WFI, addi(3, 3, 1), STAY];
    let mut lab = Lab::v9(&program).set(5, 0x200_4000).set(6, 5000).set(7, 1 << 7);
    assert_eq!(lab.board.run(Until::exit(5)), Stop::Limit);
    assert_eq!(lab.get(3), 1);
    assert!((500_000..500_010).contains(&lab.board.time()), "{}", lab.board.time());
}

#[test]
fn a_timer_interrupts_a_spinning_user_program_to_the_instruction() {
    let program = [
        csr(1, 0, PMPADDR0, 8),
        csr(1, 0, PMPCFG0, 9),
        s(3, 6, 5, 0),
        csr(1, 0, MIE, 7),
        MRET,
    ];
    let mut lab = Lab::v9(&program)
        .set(5, 0x200_4000)
        .set(6, 100)
        .set(7, 1 << 7)
        .set(8, (1 << 54) - 1)
        .set(9, 0x1f)
        .set_special(special::MTCC, handler())
        .set_special(special::MEPCC, user_code());
    lab.board.write_memory(USER, &STAY.to_le_bytes()).unwrap();
    let stop = lab.board.run(Until::exit(20_000).or_breakpoints(&[HANDLER]));
    assert_eq!(
        stop,
        Stop::Breakpoint {
            address: HANDLER,
            core: 0
        }
    );
    assert_eq!(lab.board.time(), 10_000);
    assert_eq!(lab.board.special_register(0, special::MEPCC), user_code());
}

#[test]
fn a_trap_handler_that_traps_at_once_ends_the_run_with_its_address() {
    let mut lab = Lab::v9(&[ECALL]).set_special(special::MTCC, Capability::ROOT.set_address(0x4_0000));
    assert_eq!(
        lab.board.run(Until::exit(1000)),
        Stop::TrapLoop {
            address: 0x4_0000,
            core: 0
        }
    );
}

#[test]
fn counters_count_completed_instructions() {
    let program = [
        csr(2, 3, 0xb02, 0),
        0x13,
        0x13,
        csr(2, 4, 0xb02, 0),
        csr(2, 5, 0xc00, 0),
    ];
    let lab = Lab::v9(&program).step(5);
    assert_eq!((lab.get(4) - lab.get(3), lab.get(5) - lab.get(4)), (3, 1));
    let before = lab.board.instructions(0);
    assert_eq!(before, lab.get(5) + 1);
    let mut lab = lab;
    lab.board.write_memory(START + 20, &ECALL.to_le_bytes()).unwrap();
    let lab = lab.step(1);
    assert_eq!(
        lab.board.instructions(0),
        before,
        "an instruction that traps does not complete"
    );
}

/// What U mode could reach before a trap, PMP as it is after the trap decides, though the hart remembers much of PMP's answers.
#[test]
fn what_pmp_is_changed_to_in_a_trap_holds_for_user_mode_afterwards() {
    // U mode: ld x5, 0(x10); sd x5, 8(x10); ecall; and the same again.
    let words = [
        i(0x03, 3, 5, 10, 0),
        s(3, 5, 10, 8),
        ECALL,
        i(0x03, 3, 6, 10, 0),
        s(3, 6, 10, 8),
        ECALL,
    ];
    // M mode: all of it open, and from pmpcfg0 = x29 on closed, read-only or open.
    let handler = [csr(1, 0, 0x3b0, 28), csr(1, 0, 0x3a0, 29), csr(1, 0, 0x341, 27), MRET];
    for (closed, expected) in [(0x18u64, 5), (0x19, 7), (0x1f, 8)] {
        let mut lab = Lab::v9(&[csr(1, 0, 0x3b1, 30), csr(1, 0, 0x3a0, 31), MRET]);
        lab.board.write_memory(DATA, &image(&words)).unwrap();
        lab.board.write_memory(DATA + 0x1000, &image(&handler)).unwrap();
        let at = |address| Capability::ROOT.set_address(address);
        let lab = lab
            .set(30, u64::MAX)
            .set(31, 0x1f00)
            .set(28, (DATA + 0x2000) >> 2 | 0x1ff)
            .set(29, 0x1f00 | closed)
            .set(27, DATA + 12)
            .set(10, DATA + 0x2000)
            .set_special(special::MEPCC, at(DATA))
            .set_special(special::MTCC, at(DATA + 0x1000))
            .step(
                3 + 3
                    + 4
                    + if expected == 5 {
                        1
                    } else if expected == 7 {
                        2
                    } else {
                        3
                    },
            );
        assert_eq!(lab.trap().map(|trap| trap.cause), Some(expected), "pmpcfg {closed:#x}");
    }
}

/// With `mstatus.MPRV` loads of machine mode have the previous privilege, whatever was reached without it.
#[test]
fn lending_the_privilege_of_user_mode_is_noticed_at_once_in_both_directions() {
    let load = i(0x03, 3, 5, 10, 0);
    let (lend, back) = (csr(2, 0, 0x300, 31), csr(3, 0, 0x300, 31));
    let lab = Lab::v9(&[load, lend, load]).set(10, DATA).set(31, 1 << 17).step(3);
    assert_eq!(
        lab.trap().map(|trap| (trap.cause, trap.value)),
        Some((5, DATA)),
        "no entry of PMP opens it"
    );
    let lab = Lab::v9(&[lend, back, load, lend, back, load])
        .set(10, DATA)
        .set(31, 1 << 17)
        .step(6);
    assert_eq!(lab.trap(), None);
    // With MPP = M nothing is lent; clearing MPP lends.
    let previous = csr(3, 0, 0x300, 30);
    let all = csr(2, 0, 0x300, 29);
    let lab = Lab::v9(&[all, load, previous, load])
        .set(10, DATA)
        .set(29, 1 << 17 | 3 << 11)
        .set(30, 3 << 11);
    let lab = lab.step(2);
    assert_eq!(lab.trap(), None);
    assert_eq!(lab.step(2).trap().map(|trap| trap.cause), Some(5));
}
