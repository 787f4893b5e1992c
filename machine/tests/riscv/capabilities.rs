//! The capability instructions, in v9 and in v8.

use capability::riscv::Capability;
use machine::riscv::{Isa, special};

use crate::lab::{DATA, Lab, START, amo, b, cheri, cheri2, cspecialrw, i, jal, region, s};

const ALL: u32 = 0x7_8fff;
const DATA_PERMISSIONS: u32 = 0x7d;
const CODE_PERMISSIONS: u32 = 0x117;

fn data() -> Capability {
    region(DATA, 0x100, DATA_PERMISSIONS)
}

fn code() -> Capability {
    region(START, 0x1000, CODE_PERMISSIONS)
}

/// Executes `word` with c1 and c2 and returns c3.
fn derive(isa: Isa, word: u32, first: Capability, second: Capability) -> Result<Capability, u64> {
    let lab = Lab::new(isa, &[word])
        .set_capability(1, first)
        .set_capability(2, second)
        .step(1);
    match lab.trap() {
        None => Ok(lab.capability(3)),
        Some(_) => Err(lab.capability_fault()),
    }
}

fn number(value: u64) -> Capability {
    Capability::from_integer(value)
}

/// funct7 of the three-register instructions.
mod funct7 {
    pub(super) const CSETBOUNDS: u32 = 0x08;
    pub(super) const CSETBOUNDSEXACT: u32 = 0x09;
    pub(super) const CSEAL: u32 = 0x0b;
    pub(super) const CUNSEAL: u32 = 0x0c;
    pub(super) const CANDPERM: u32 = 0x0d;
    pub(super) const CSETFLAGS: u32 = 0x0e;
    pub(super) const CSETOFFSET: u32 = 0x0f;
    pub(super) const CSETADDR: u32 = 0x10;
    pub(super) const CINCOFFSET: u32 = 0x11;
    pub(super) const CTOPTR: u32 = 0x12;
    pub(super) const CFROMPTR: u32 = 0x13;
    pub(super) const CSUB: u32 = 0x14;
    pub(super) const CSETHIGH: u32 = 0x16;
    pub(super) const CBUILDCAP: u32 = 0x1d;
    pub(super) const CCOPYTYPE: u32 = 0x1e;
    pub(super) const CCSEAL: u32 = 0x1f;
    pub(super) const CTESTSUBSET: u32 = 0x20;
    pub(super) const CSEQX: u32 = 0x21;
}

#[test]
fn inspection_reads_every_field() {
    let sealed = data().set_address(DATA + 0x10).seal(77);
    for (selector, expected) in [
        (0, u64::from(DATA_PERMISSIONS)),
        (1, 77),
        (2, DATA),
        (3, 0x100),
        (4, 1),
        (5, 1),
        (6, 0x10),
        (7, 0),
        (15, DATA + 0x10),
        (23, sealed.to_memory().1),
    ] {
        let value = derive(Isa::V9, cheri2(selector, 3, 1), sealed, number(0)).unwrap();
        assert_eq!(value, number(expected), "selector {selector}");
    }
    let otype = derive(Isa::V9, cheri2(1, 3, 1), data(), number(0)).unwrap();
    assert_eq!(otype.address(), u64::MAX);
    assert_eq!(
        derive(Isa::V9, cheri2(8, 3, 1), number(0x1001), number(0)),
        Ok(number(0x1008))
    );
    assert_eq!(
        derive(Isa::V9, cheri2(9, 3, 1), number(0x1001), number(0)),
        Ok(number(!7))
    );
}

#[test]
fn derivations_give_the_capability_that_the_arithmetic_says() {
    let unseal_key = Capability::ROOT.set_address(77);
    let cases = [
        (funct7::CSETBOUNDS, data(), number(0x20), data().set_bounds(0x20).0),
        (funct7::CSETBOUNDSEXACT, data(), number(0x20), data().set_bounds(0x20).0),
        (funct7::CANDPERM, data(), number(0x5), data().and_permissions(5)),
        (funct7::CSETFLAGS, data(), number(1), data().set_flags(1)),
        (
            funct7::CSETOFFSET,
            data(),
            number(0x18),
            data().set_address(DATA + 0x18),
        ),
        (funct7::CSETADDR, data(), number(DATA + 8), data().set_address(DATA + 8)),
        (funct7::CINCOFFSET, data(), number(4), data().set_address(DATA + 4)),
        (funct7::CSEAL, data(), Capability::ROOT.set_address(77), data().seal(77)),
        (
            funct7::CCSEAL,
            data(),
            Capability::ROOT.set_address(77),
            data().seal(77),
        ),
        (funct7::CCSEAL, data(), number(77), data()),
        (funct7::CUNSEAL, data().seal(77), unseal_key, data()),
        (
            funct7::CUNSEAL,
            data().seal(77),
            unseal_key.and_permissions(ALL & !1),
            data().and_permissions(0x7c),
        ),
        (funct7::CBUILDCAP, Capability::ROOT, data().clear_tag(), data()),
        (
            funct7::CCOPYTYPE,
            Capability::ROOT,
            data().seal(77),
            Capability::ROOT.set_address(77),
        ),
        (funct7::CFROMPTR, data(), number(8), data().set_address(DATA + 8)),
        (funct7::CFROMPTR, data(), number(0), Capability::NULL),
        (
            funct7::CSETHIGH,
            number(5),
            number(data().to_memory().1),
            Capability::from_memory(5, data().to_memory().1, false),
        ),
        (funct7::CTOPTR, data().set_address(DATA + 8), data(), number(8)),
        (funct7::CSUB, data().set_address(DATA + 8), data(), number(8)),
        (funct7::CTESTSUBSET, Capability::ROOT, data(), number(1)),
        (funct7::CTESTSUBSET, data(), Capability::ROOT, number(0)),
        (funct7::CSEQX, data(), data(), number(1)),
        (funct7::CSEQX, data(), data().clear_tag(), number(0)),
    ];
    for isa in [Isa::V9, Isa::V8] {
        for (funct7, first, second, expected) in cases {
            let result = derive(isa, cheri(funct7, 3, 1, 2), first, second);
            assert_eq!(result, Ok(expected), "funct7 {funct7:#x} in {isa:?}");
        }
        for (selector, expected) in [(10, data()), (11, data().clear_tag()), (17, data().seal_entry())] {
            assert_eq!(
                derive(isa, cheri2(selector, 3, 1), data(), number(0)),
                Ok(expected),
                "selector {selector}"
            );
        }
        let moved = derive(isa, i(0x5b, 1, 3, 1, -8), data().set_address(DATA + 0x10), number(0));
        assert_eq!(moved, Ok(data().set_address(DATA + 8)));
        let bounded = derive(isa, i(0x5b, 2, 3, 1, 0xfff), Capability::ROOT, number(0));
        assert_eq!(
            bounded.map(|result| result.length()),
            Ok(0xfff),
            "the immediate is unsigned"
        );
    }
}

#[test]
fn an_unsuitable_operand_traps_in_v8_and_untags_in_v9() {
    let sealed = data().seal(5);
    let key = |permissions| Capability::ROOT.set_address(9).and_permissions(permissions);
    let cases = [
        (funct7::CSETBOUNDS, data().clear_tag(), number(1), 0x22),
        (funct7::CSETBOUNDS, sealed, number(1), 0x23),
        (funct7::CSETBOUNDS, data(), number(0x101), 0x21),
        (funct7::CSETBOUNDSEXACT, Capability::ROOT, number(0x1_0000_0001), 0x2a),
        (funct7::CANDPERM, sealed, number(1), 0x23),
        (funct7::CSETFLAGS, sealed, number(1), 0x23),
        (funct7::CSETADDR, sealed, number(DATA), 0x23),
        (funct7::CINCOFFSET, sealed, number(1), 0x23),
        (funct7::CSEAL, data(), key(0), 0x57),
        (funct7::CSEAL, data(), number(9), 0x42),
        (funct7::CSEAL, data(), Capability::ROOT.set_address(0x3_fffe), 0x41),
        (funct7::CUNSEAL, sealed, key(ALL), 0x44),
        (funct7::CUNSEAL, data(), key(ALL), 0x23),
        (
            funct7::CUNSEAL,
            sealed,
            Capability::ROOT.set_address(5).and_permissions(ALL & !0x200),
            0x5b,
        ),
        (funct7::CBUILDCAP, data(), Capability::ROOT, 0x21),
        (funct7::CBUILDCAP, data(), data().set_address(DATA).seal(3), 0),
        (funct7::CFROMPTR, data().clear_tag(), number(8), 0x22),
        (funct7::CCOPYTYPE, data(), data().seal(9), 0x21),
    ];
    for (funct7, first, second, fault) in cases {
        let word = cheri(funct7, 3, 1, 2);
        let v9 = derive(Isa::V9, word, first, second).expect("v9 does not trap");
        if fault == 0 {
            // The one case that is fine: sealed bits are rebuilt unsealed.
            assert_eq!(v9, data());
            continue;
        }
        assert!(!v9.tag(), "funct7 {funct7:#x}: {}", v9.decode());
        assert_eq!(derive(Isa::V8, word, first, second), Err(fault), "funct7 {funct7:#x}");
    }
    assert_eq!(
        derive(Isa::V8, cheri2(17, 3, 1), data().seal_entry(), number(0)),
        Err(0x23)
    );
}

#[test]
fn an_address_that_bounds_cannot_follow_untags_in_both_versions() {
    for isa in [Isa::V9, Isa::V8] {
        let far = derive(
            isa,
            cheri(funct7::CSETADDR, 3, 1, 2),
            region(DATA, 0x10_0000, ALL),
            number(0),
        )
        .unwrap();
        assert!(!far.tag());
        assert_eq!(far.address(), 0);
    }
}

#[test]
fn explicit_loads_and_stores_use_the_authority_that_they_name() {
    // sd.cap x4, (c1); ld.cap x3, (c1); ld.ddc x5, (x2)
    let program = [cheri(0x7c, 11, 1, 4), cheri(0x7d, 3, 1, 11), cheri(0x7d, 5, 2, 3)];
    let lab = Lab::v9(&program)
        .set_capability(1, data())
        .set(2, DATA)
        .set(4, 0x1234)
        .step(3);
    assert_eq!((lab.get(3), lab.get(5), lab.trap()), (0x1234, 0x1234, None));
    let lab = Lab::v9(&[cheri(0x7d, 3, 1, 11)]).set(1, DATA).step(1);
    assert_eq!(lab.capability_fault(), 0x22);
}

#[test]
fn the_mode_decides_what_authorises_plain_accesses() {
    let load = i(0x03, 3, 3, 1, 0xf8);
    assert_eq!(Lab::v9(&[load]).set(1, DATA).step(1).trap(), None);
    assert_eq!(
        Lab::v9(&[load])
            .capability_mode()
            .set(1, DATA)
            .step(1)
            .capability_fault(),
        0x22
    );
    assert_eq!(
        Lab::v9(&[load])
            .capability_mode()
            .set_capability(1, data())
            .step(1)
            .trap(),
        None
    );
    let beyond = i(0x03, 3, 3, 1, 0xf9);
    assert_eq!(
        Lab::v9(&[beyond])
            .capability_mode()
            .set_capability(1, data())
            .step(1)
            .capability_fault(),
        0x21
    );
}

#[test]
fn ddc_confines_hybrid_accesses_and_relocates_them_only_in_v8() {
    let load = i(0x03, 3, 3, 1, 0);
    let lab = |isa, address| {
        Lab::new(isa, &[load])
            .set_special(special::DDC, data())
            .set(1, address)
            .step(1)
    };
    assert_eq!(lab(Isa::V9, DATA + 0xf8).trap(), None);
    assert_eq!(lab(Isa::V9, DATA + 0xf9).capability_fault(), 0x421);
    assert_eq!(lab(Isa::V9, 0x10).capability_fault(), 0x421);
    assert_eq!(lab(Isa::V8, 0x10).trap(), None);
    assert_eq!(lab(Isa::V8, DATA).capability_fault(), 0x421);
    let null = Lab::v9(&[load])
        .set_special(special::DDC, Capability::NULL)
        .set(1, DATA)
        .step(1);
    assert_eq!(null.capability_fault(), 0x422);
}

#[test]
fn a_window_that_was_open_closes_when_ddc_changes() {
    let load = i(0x03, 3, 3, 1, 0);
    let narrow = cspecialrw(0, special::DDC, 5);
    let lab = Lab::v9(&[load, narrow, load])
        .set(1, DATA)
        .set_capability(5, region(DATA + 0x10, 0x10, 0x7d))
        .step(2);
    assert_eq!(lab.trap(), None);
    assert_eq!(lab.step(1).capability_fault(), 0x421);
    let store = s(3, 2, 1, 0);
    let lab = Lab::v9(&[store, narrow, store])
        .set(1, DATA)
        .set_capability(5, region(DATA, 0x10, 0x5))
        .step(3);
    assert_eq!(lab.capability_fault(), 0x433);
}

#[test]
fn capabilities_keep_their_tag_through_memory_until_an_integer_is_stored() {
    let store = s(4, 2, 1, 0x10);
    let load = i(0x0f, 2, 3, 1, 0x10);
    let byte = s(0, 4, 1, 0x1f);
    let lab = Lab::v9(&[store, load, byte, load])
        .set(1, DATA)
        .set_capability(2, code())
        .step(2);
    assert_eq!(lab.capability(3), code());
    assert_eq!(
        lab.board.tagged_capabilities().collect::<Vec<_>>(),
        [(DATA + 0x10, code())]
    );
    let lab = lab.step(2);
    assert!(!lab.capability(3).tag());
    assert_eq!(lab.board.tagged_capabilities().count(), 0);
}

#[test]
fn permissions_decide_over_tags_in_loads_and_stores() {
    let load = cheri(0x7d, 3, 1, 31);
    let store = cheri(0x7c, 12, 1, 2);
    let with = |permissions, word| {
        Lab::v9(&[word])
            .set_capability(1, region(DATA, 0x100, permissions))
            .set_capability(2, code())
    };
    let mut lab = with(0x5, load);
    let (low, high) = code().to_memory();
    lab.board.memory_mut().write_granule(0x10_0000, low, high, true);
    assert_eq!(lab.step(1).capability(3), code().clear_tag());
    assert_eq!(with(0x8, load).step(1).capability_fault(), 0x32);
    assert_eq!(with(0x9, store).step(1).capability_fault(), 0x35);
    assert_eq!(with(0x5, store).step(1).capability_fault(), 0x33);
    let local = with(0x29, store).set_capability(2, code().and_permissions(!1)).step(1);
    assert_eq!(local.capability_fault(), 0x36);
    assert_eq!(with(0x9, store).set(2, 4).step(1).trap(), None);
    let misaligned = Lab::v9(&[load])
        .set_capability(1, data().set_address(DATA + 8))
        .step(1)
        .trap()
        .unwrap();
    assert_eq!((misaligned.cause, misaligned.value), (4, DATA + 8));
    let misaligned = Lab::v9(&[store])
        .set_capability(1, data().set_address(DATA + 8))
        .step(1)
        .trap()
        .unwrap();
    assert_eq!((misaligned.cause, misaligned.value), (6, DATA + 8));
}

#[test]
fn cloadtags_shows_four_tags() {
    let mut lab = Lab::v9(&[cheri2(18, 3, 1)]).set_capability(1, data());
    for granule in [0, 3] {
        lab.board.memory_mut().set_tag(0x10_0000 + 16 * granule, true);
    }
    assert_eq!(lab.step(1).get(3), 0b1001);
}

#[test]
fn capability_atomics_swap_and_reserve_with_tags() {
    let program = [
        s(4, 2, 1, 0),
        amo(1, 4, 3, 4, 1),
        amo(2, 4, 5, 0, 1),
        amo(3, 4, 6, 2, 1),
        i(0x0f, 2, 7, 1, 0),
    ];
    let lab = Lab::v9(&program)
        .set(1, DATA)
        .set_capability(2, code())
        .set_capability(4, data())
        .step(5);
    assert_eq!(lab.trap(), None);
    assert_eq!(
        (lab.capability(3), lab.capability(5), lab.get(6), lab.capability(7)),
        (code(), data(), 0, code())
    );
    let misaligned = Lab::v9(&[amo(2, 4, 5, 0, 1)]).set(1, DATA + 8).step(1).trap().unwrap();
    assert_eq!(misaligned.cause, 6, "a misaligned LR.C is reported as a store");
}

#[test]
fn cjalr_unseals_a_sentry_and_leaves_one() {
    let target = code().set_address(START + 0x40).seal_entry();
    let lab = Lab::v9(&[cheri2(12, 1, 5)]).set_capability(5, target).step(1);
    assert_eq!(lab.trap(), None);
    assert_eq!(lab.board.special_register(0, special::PCC), target.unseal());
    let link = lab.capability(1);
    assert!(link.is_sentry() && link.tag());
    assert_eq!(link.address(), START + 4);
}

#[test]
fn cjalr_refuses_what_is_no_code_at_the_jump() {
    let fault = |target| {
        let lab = Lab::v9(&[cheri2(12, 1, 5)]).set_capability(5, target).step(1);
        assert_eq!(lab.board.last_trap(0).unwrap().address, START);
        lab.capability_fault()
    };
    assert_eq!(fault(code().clear_tag()), 0xa2);
    assert_eq!(fault(code().seal(4)), 0xa3);
    assert_eq!(fault(data()), 0xb1);
    assert_eq!(fault(code().and_permissions(!1)), 0xb0);
    assert_eq!(fault(code().set_address(START + 0x1000)), 0xa1);
    assert_eq!(
        fault(region(START + 1, 0x100, CODE_PERMISSIONS).set_address(START + 2)),
        0xab
    );
}

#[test]
fn cinvoke_enters_a_sealed_pair_with_its_data_in_c31() {
    let invoke = cheri(0x7e, 1, 5, 6);
    let (code, data) = (code().set_address(START + 0x80), data().and_permissions(0x17d));
    let data = Capability::ROOT
        .set_address(data.base())
        .set_bounds(0x100)
        .0
        .and_permissions(0x17d);
    let lab = |code, data| {
        Lab::v9(&[invoke])
            .set_capability(5, code)
            .set_capability(6, data)
            .step(1)
    };
    let entered = lab(code.seal(9), data.seal(9));
    assert_eq!(entered.trap(), None);
    assert_eq!(entered.board.special_register(0, special::PCC), code);
    assert_eq!(entered.capability(31), data);
    assert_eq!(lab(code.seal(9), data.seal(8)).capability_fault(), 0xa4);
    assert_eq!(lab(code, data.seal(9)).capability_fault(), 0xa3);
    assert_eq!(
        lab(code.seal(9), data.and_permissions(0x7d).seal(9)).capability_fault(),
        0xd9
    );
    assert_eq!(lab(code.seal(9), code.seal(9)).capability_fault(), 0xd1);
    assert_eq!(lab(code.seal_entry(), data.seal_entry()).capability_fault(), 0xa3);
}

#[test]
fn branches_and_jumps_out_of_pcc_fault_where_they_stand() {
    let confined = region(START, 0x10, CODE_PERMISSIONS);
    for word in [b(0, 0, 0, 0x10), jal(0, 0x10), i(0x67, 0, 0, 7, 0)] {
        let lab = Lab::v9(&[word])
            .set(7, START + 0x10)
            .set_special(special::PCC, confined)
            .step(1);
        assert_eq!(
            (lab.capability_fault(), lab.board.last_trap(0).unwrap().address),
            (0x401, START)
        );
    }
    let lab = Lab::v9(&[0x13; 5]).set_special(special::PCC, confined).step(5);
    assert_eq!(
        (lab.capability_fault(), lab.board.last_trap(0).unwrap().address),
        (0x401, START + 0x10)
    );
    let half = Lab::v9(&[0x13])
        .set_special(special::PCC, region(START, 2, CODE_PERMISSIONS))
        .step(1);
    assert_eq!(half.capability_fault(), 0x401);
}

#[test]
fn the_program_counter_is_an_offset_in_v8_and_an_address_in_v9() {
    let confined = region(START, 0x1000, CODE_PERMISSIONS);
    let program = [0x0000_0197, jal(4, 4), i(0x67, 0, 5, 6, 0)];
    let lab = Lab::v8(&program)
        .set(6, 0x40)
        .set_special(special::PCC, confined)
        .step(3);
    assert_eq!(
        (lab.get(3), lab.get(4), lab.get(5), lab.board.pc(0)),
        (0, 8, 12, START + 0x40)
    );
    let lab = Lab::v9(&program)
        .set(6, START + 0x40)
        .set_special(special::PCC, confined)
        .step(3);
    assert_eq!(
        (lab.get(3), lab.get(4), lab.get(5), lab.board.pc(0)),
        (START, START + 8, START + 12, START + 0x40)
    );
    let lab = Lab::v9(&[0x0000_0197])
        .set_special(special::PCC, confined)
        .capability_mode()
        .step(1);
    assert_eq!(lab.capability(3), confined.set_flags(1));
}

#[test]
fn special_registers_are_swapped_and_guarded() {
    let swap = cspecialrw(5, special::MSCRATCHC, 5);
    let lab = Lab::v9(&[swap])
        .set_special(special::MSCRATCHC, data())
        .set_capability(5, code())
        .step(1);
    assert_eq!(
        (lab.capability(5), lab.board.special_register(0, special::MSCRATCHC)),
        (data(), code())
    );
    let without = region(START, 0x1000, CODE_PERMISSIONS);
    let fault = |word| Lab::v9(&[word]).set_special(special::PCC, without).step(1);
    assert_eq!(fault(cspecialrw(3, special::MTCC, 0)).capability_fault(), 0x798);
    assert_eq!(fault(cspecialrw(3, special::UTCC, 0)).capability_fault(), 0x498);
    assert_eq!(fault(cspecialrw(3, special::DDC, 0)).trap(), None);
    assert_eq!(
        fault(cspecialrw(3, special::PCC, 1)).trap().map(|trap| trap.cause),
        Some(2)
    );
    assert_eq!(fault(cspecialrw(3, 2, 0)).trap().map(|trap| trap.cause), Some(2));
    let read = fault(cspecialrw(3, special::PCC, 0));
    assert_eq!(read.capability(3), without);
}
