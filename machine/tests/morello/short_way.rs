//! Loads and stores go a short way where nothing is left to check: it must lead where the long one does, and end as soon as
//! there is something to check again.

use super::lab::permission::{LOAD, STORE};
use super::lab::{CODE, DATA, Lab, region};
use capability::morello::Capability;
use machine::morello::{ExceptionRecord, Special, Until, encodings};
use proptest::prelude::*;

/// Bytes that the accesses of a case may reach: three pages.
const REACHED: u64 = 0x3000;

const SET_DDC: u32 = 0xc28b_4120; // msr ddc, c0
const LOAD_WORD: u32 = 0xf940_0022; // ldr x2, [x1]
const NOP: u32 = 0xd503_201f;
/// Bits of the offset in most of the forms.
const OFFSET: u32 = 0x3f_f000;

/// Everything that an access may change.
#[derive(Debug, PartialEq)]
struct After {
    registers: Vec<Capability>,
    stack: Capability,
    vectors: Vec<u128>,
    pc: u64,
    exception: Option<ExceptionRecord>,
    memory: Vec<u8>,
    tags: Vec<u64>,
}

#[derive(Clone, Debug)]
struct Case {
    word: u32,
    registers: Vec<u64>,
    stack: u64,
    ddc: Capability,
    /// SCTLR_EL1.A
    strict: bool,
}

/// Executes the word after all pages were used and DDC, and, for the long way, DDC was set once more.
fn after(case: &Case, short: bool) -> After {
    let mut words = vec![
        0x9100_007f, /* mov sp, x3 */
        0xd518_1005, /* msr sctlr_el1, x5 */
    ];
    for _ in (0..REACHED).step_by(0x1000) {
        words.extend([
            LOAD_WORD,
            0xf900_0022, /* str x2, [x1] */
            0x9140_0421, /* add x1, x1, #1, lsl #12 */
        ]);
    }
    let loads = case.ddc.has_permission_bits(LOAD);
    words.extend([
        SET_DDC,
        if loads {
            0x3940_0082 /* ldrb w2, [x4] */
        } else {
            0x3900_0082 /* strb w2, [x4] */
        },
        if short { NOP } else { SET_DDC },
    ]);
    let prepared = words.len() as u64;
    words.push(case.word);
    let mut lab = Lab::new(&words);
    lab.write(DATA, &(0..REACHED).map(|at| ((at * 7) >> 3) as u8).collect::<Vec<_>>());
    for at in (0x20..REACHED).step_by(0x30) {
        lab.write_capability(DATA + at, Capability::ROOT.set_address(at));
    }
    lab.set_capability(0, case.ddc);
    lab.set(1, DATA);
    lab.set(3, case.stack);
    lab.set(4, DATA + REACHED / 2);
    lab.set(5, if case.strict { 0x30d0_0802 } else { 0x30d0_0800 });
    lab.board.run_to(CODE + 4 * prepared, 100).expect("the preparation");
    for (number, value) in (0..31).zip(&case.registers) {
        lab.set(number, *value);
        lab.board
            .set_vector_register(0, number, u128::from(*value) * 0x1_0001_0001_0001);
    }
    lab.board.run(Until::exit(1));
    let board = &lab.board;
    After {
        registers: (0..31).map(|number| lab.c(number)).collect(),
        stack: board.special_register(0, Special::Csp(1)),
        vectors: (0..32).map(|number| board.vector_register(0, number)).collect(),
        pc: board.pc(0),
        exception: board.last_exception(0),
        memory: board.read_memory(DATA, REACHED as usize).expect("RAM").to_vec(),
        tags: ((DATA..DATA + REACHED).step_by(16))
            .filter(|address| lab.capability_at(*address).tag())
            .collect(),
    }
}

/// Any load or store of general or vector registers. The offset is zero in most of them, so that what the base points to is
/// what is accessed.
fn word() -> impl Strategy<Value = u32> {
    let forms: Vec<_> = encodings()
        .filter(|form| form.name.starts_with("memory::") || form.name.starts_with("simd_memory::"))
        .collect();
    let offset = prop_oneof![1 => Just(OFFSET), 3 => Just(0)];
    (prop::sample::select(forms), any::<u32>(), offset)
        .prop_map(|(form, free, offset)| form.value | free & !form.mask & (offset | !OFFSET))
}

/// An address anywhere or near the edge of a page or of DDC, or a small number, which an address and an offset need.
fn value() -> impl Strategy<Value = u64> {
    let edge = (1..REACHED / 0x1000, -48_i64..48).prop_map(|(page, by)| (DATA + page * 0x1000).wrapping_add_signed(by));
    let last = DATA + REACHED - 80..DATA + REACHED;
    let value = prop_oneof![2 => DATA..DATA + REACHED, 1 => edge, 1 => DATA..DATA + 64, 6 => last, 1 => 0..0x100_u64];
    let alignment = prop_oneof![1 => Just(1), 3 => Just(8)];
    (value, alignment).prop_map(|(value, alignment)| value / alignment * alignment)
}

fn case() -> impl Strategy<Value = Case> {
    let ddc = (
        0..64_u64,
        0..64_u64,
        prop::sample::select(vec![LOAD, STORE, LOAD | STORE]),
    )
        .prop_map(|(below, above, permissions)| {
            let (start, end) = (below & !15, REACHED - (above & !15));
            region(start, end - start, permissions)
        });
    let ddc = prop_oneof![1 => Just(Capability::ROOT), 3 => ddc];
    let registers = prop::collection::vec(value(), 31);
    (word(), registers, value(), ddc, any::<bool>()).prop_map(|(word, registers, stack, ddc, strict)| Case {
        word,
        registers,
        stack,
        ddc,
        strict,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn both_ways_lead_to_the_same(case in case()) {
        prop_assert_eq!(after(&case, true), after(&case, false));
    }
}

#[test]
fn what_was_allowed_is_checked_again_after_ddc_has_changed() {
    const NOTHING_TAGGED: u64 = 0x9600_0028;
    const OUT_OF_BOUNDS: u64 = 0x9600_002a;
    let elsewhere = region(0x100, 0x100, LOAD | STORE);
    let changes: [(&[u32], Capability, u64); 4] = [
        (&[SET_DDC], elsewhere, OUT_OF_BOUNDS),
        (&[SET_DDC], elsewhere.clear_tag(), NOTHING_TAGGED),
        (
            &[
                0xc288_4120, /* msr ddc_el0, c0 */
                LOAD_WORD,
                0xd500_40bf, /* msr spsel, #0 */
            ],
            elsewhere,
            OUT_OF_BOUNDS,
        ),
        // The base is a capability then, and an integer has no tag.
        (&[0xc2c2_73e0 /* bx */], elsewhere, NOTHING_TAGGED),
    ];
    for (change, ddc, syndrome) in changes {
        let words = [&[LOAD_WORD, LOAD_WORD], change, &[LOAD_WORD]].concat();
        let mut lab = Lab::new(&words);
        lab.set_capability(0, ddc);
        lab.set(1, DATA);
        let fault = lab.fault();
        assert_eq!((fault.syndrome, fault.address), (syndrome, DATA), "{change:x?}");
    }
}

#[test]
fn ddc_of_el0_holds_from_the_first_access_there() {
    let words = [
        LOAD_WORD,
        LOAD_WORD,
        0xc288_4120, // msr ddc_el0, c0
        0xd518_4009, // msr spsr_el1, x9
        0xc288_402a, // msr celr_el1, c10
        0xd69f_03e0, // eret
        LOAD_WORD,
    ];
    let mut lab = Lab::new(&words);
    lab.set_capability(0, region(0x100, 0x100, LOAD));
    lab.set(1, DATA);
    lab.set(9, 0);
    lab.set_capability(10, Capability::ROOT.set_address(CODE + 4 * 6));
    let fault = lab.fault();
    assert_eq!((fault.syndrome, fault.address), (0x9200_002a, DATA));
}

#[test]
fn an_integer_address_is_relative_to_ddc_as_soon_as_cctlr_says_so() {
    let mut lab = Lab::new(&[
        SET_DDC,
        LOAD_WORD,
        LOAD_WORD,
        0xd518_1243, // msr cctlr_el1, x3
        0xf940_00a4, // ldr x4, [x5]
        0xf940_00a4, // ldr x4, [x5]
    ]);
    lab.set_capability(0, region(0x100, 0x100, LOAD));
    lab.write(DATA + 0x108, &7_u64.to_le_bytes());
    lab.set(1, DATA + 0x100);
    lab.set(3, 1 << 2);
    lab.set(5, 8);
    assert_eq!(lab.run().x(4), 7);
}
