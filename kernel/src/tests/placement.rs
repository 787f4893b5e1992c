//! Where cVMs get their memory, alone and within others.

use super::build::*;
use super::cvm::{POOL_END, POOL_START, spec};
use super::purecap::Purecap;
use super::stored;
use crate::authority::pool::Pool;
use crate::cvm::Cvm;
use crate::elf::File;
use crate::plan::manifest::CvmSpec;
use crate::plan::placement::place_all;
use proptest::prelude::*;
use std::ops::Range;

const PROGRAM_SIZE: u64 = 0x7000;

fn elf_of(runtime: &str) -> File {
    match runtime {
        "purecap" => stored(&Purecap::new().bytes()),
        "fixed" => {
            let text = POOL_START + 0x10_0000;
            stored(&elf(
                2,
                text,
                &[[LOAD, READ_EXECUTE, 0x200, text, 0x20, 0x20]],
                &[],
                0x300,
            ))
        }
        "bad" => stored(b"#!/bin/sh\n"),
        _ => stored(&program()),
    }
}

fn place(specs: Vec<CvmSpec>) -> Result<Vec<Cvm>, String> {
    let placed = place_all(specs, elf_of, &mut Pool::new(POOL_START..POOL_END));
    placed.map_err(|refusal| refusal.to_string())
}

fn refusal(specs: Vec<CvmSpec>) -> String {
    place(specs).err().expect("a refusal")
}

fn outer() -> CvmSpec {
    spec("outer", "program")
}

/// A cVM within the one with this number.
fn within(name: &str, outer: usize) -> CvmSpec {
    CvmSpec {
        within: Some(outer),
        ..spec(name, "program")
    }
}

fn based(base: u64, spec: CvmSpec) -> CvmSpec {
    CvmSpec {
        isolation_base: Some(base),
        ..spec
    }
}

fn sized(size: u64, spec: CvmSpec) -> CvmSpec {
    CvmSpec {
        isolation_size: Some(size),
        ..spec
    }
}

fn contains(outer: &Range<u64>, inner: &Range<u64>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

fn apart(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.end <= other.start || other.end <= one.start
}

fn assert_sound(cvms: &[Cvm]) {
    for (id, cvm) in cvms.iter().enumerate() {
        let (bounds, memory) = (&cvm.bounds, cvm.memory());
        assert_eq!(bounds.start, memory.start, "{id}: its own memory is first");
        assert!(contains(&(POOL_START..POOL_END), bounds) && contains(bounds, &memory));
        let (length, alignment) = arch::representable(bounds.end - bounds.start);
        assert!(length == bounds.end - bounds.start && bounds.start.is_multiple_of(alignment.max(4096)));
        if let Some(outer) = cvm.spec.within {
            assert!(contains(&cvms[outer].bounds, bounds), "{id} within {outer}");
        }
        for (other_id, other) in cvms.iter().enumerate().filter(|(other, _)| *other != id) {
            assert!(apart(&memory, &other.memory()), "{id} and {other_id} share memory");
            let around = |mut inner: usize, outer: usize| loop {
                match cvms[inner].spec.within {
                    Some(next) if next == outer => return true,
                    Some(next) => inner = next,
                    None => return false,
                }
            };
            if !around(other_id, id) && !around(id, other_id) {
                assert!(apart(bounds, &other.bounds), "{id} and {other_id} reach each other");
            }
        }
    }
}

#[test]
fn a_cvm_alone_reaches_its_own_memory_only() {
    let cvms = place(vec![outer(), spec("other", "purecap")]).unwrap();
    assert_sound(&cvms);
    assert!(cvms.iter().all(|cvm| cvm.bounds == cvm.memory()));
}

#[test]
fn those_within_lie_in_the_region_of_the_outer_one() {
    // The inner one first, and two deep.
    let cvms = place(vec![
        within("deep", 2),
        outer(),
        within("inner", 1),
        within("second", 1),
        spec("other", "program"),
    ]);
    let cvms = cvms.unwrap();
    assert_sound(&cvms);
    assert_eq!(cvms[1].bounds.start, POOL_START);
    assert!(cvms[1].bounds.end - cvms[1].bounds.start >= 4 * PROGRAM_SIZE);
    assert!(contains(&cvms[1].bounds, &cvms[0].bounds), "two deep");
    assert_eq!(cvms[1].layout.size, PROGRAM_SIZE, "its own memory has not grown");
    assert_eq!(cvms[4].bounds, cvms[4].memory());
}

#[test]
fn a_purecap_cvm_may_be_within_a_hybrid_one_but_not_around_another() {
    let inner = CvmSpec {
        within: Some(0),
        ..spec("inner", "purecap")
    };
    let cvms = place(vec![outer(), inner]).unwrap();
    assert_sound(&cvms);
    assert_eq!(cvms[1].place.seen, cvms[1].place.base);
    assert_eq!(
        refusal(vec![spec("outer", "purecap"), within("inner", 0)]),
        "cVM outer: runtime = \"purecap\": expected a hybrid program: other cVMs are within this one"
    );
}

#[test]
fn given_bases_are_kept() {
    let base = POOL_START + 0x10_0000;
    let cvms = place(vec![
        spec("free", "program"),
        sized(0x8_0000, based(base, outer())),
        based(base + 0x4_0000, within("inner", 1)),
        within("anywhere", 1),
    ]);
    let cvms = cvms.unwrap();
    assert_sound(&cvms);
    assert_eq!(cvms[1].bounds, base..base + 0x8_0000, "the isolation is the region");
    assert_eq!(cvms[1].memory(), base..base + PROGRAM_SIZE);
    assert_eq!(cvms[2].place.base, base + 0x4_0000);
    assert_eq!(cvms[3].place.base, base + PROGRAM_SIZE, "where there is room");

    let cvms = place(vec![based(base, outer()), based(base + 0x4_0000, within("inner", 0))]).unwrap();
    assert_sound(&cvms);
    assert_eq!(
        cvms[0].bounds,
        base..base + 0x4_0000 + PROGRAM_SIZE,
        "as large as it must be"
    );

    let cvms = place(vec![
        spec("free", "program"),
        based(POOL_START, spec("fixed", "program")),
    ])
    .unwrap();
    assert_sound(&cvms);
    assert_eq!(cvms[1].place.base, POOL_START, "first come those with a base");
}

#[test]
fn a_program_linked_at_fixed_addresses_may_be_within() {
    let base = POOL_START + 0x10_0000;
    let inner = CvmSpec {
        within: Some(0),
        ..spec("inner", "fixed")
    };
    let cvms = place(vec![
        sized(0x20_0000, based(POOL_START, outer())),
        based(base, inner.clone()),
    ])
    .unwrap();
    assert_sound(&cvms);
    assert_eq!(cvms[1].place.base.wrapping_add(cvms[1].layout.bias), 0, "as linked");
    assert_eq!(
        refusal(vec![outer(), inner]),
        "cVM inner: fixed: linked at fixed addresses: isolation base is needed"
    );
}

#[test]
fn isolations_that_do_not_fit_are_named_with_what_is_expected() {
    let base = POOL_START + 0x10_0000;
    let region = format!("in the region {base:#x}-{:#x} of cVM outer", base + 0x1_0000);
    let pair = |inner_base: u64| {
        vec![
            sized(0x1_0000, based(base, outer())),
            based(inner_base, within("inner", 0)),
        ]
    };
    for inner in [
        base,
        base + 0x6000,
        base + 0xa000,
        base + 0x1_0000,
        base - 0x1_0000,
        POOL_END,
    ] {
        assert_eq!(
            refusal(pair(inner)),
            format!(
                "cVM inner: isolation base {inner:#x}, size 0x7000: that memory does not exist or is in use {region}"
            )
        );
    }
    assert_eq!(
        refusal(vec![
            sized(0x1_0000, based(base, outer())),
            within("one", 0),
            within("two", 0)
        ]),
        format!("cVM two: needs 0x7000 bytes of memory, 0x2000 are free {region}")
    );
    assert_eq!(
        refusal(vec![outer(), based(base, within("inner", 0))]),
        "cVM inner: within = \"outer\": expected a cVM with an isolation base, too"
    );
    assert_eq!(
        refusal(vec![sized(0x6000, outer()), within("inner", 0)]),
        "cVM outer: program: isolation size 0x6000, but program, heap and stack need 0x7000 bytes"
    );
    assert_eq!(
        refusal(vec![sized((1 << 40) + 1, outer()), within("inner", 0)]),
        "cVM outer: program: program, heap and stack together, or the isolation size, exceed 2^40 bytes"
    );
    assert_eq!(
        refusal(vec![sized(1 << 40, outer()), within("inner", 0)]),
        format!(
            "cVM outer: needs 0x10000000000 bytes of memory, {:#x} are free",
            POOL_END - POOL_START
        ),
        "a size that is sane, but too much for this pool"
    );
    assert_eq!(
        refusal(vec![based(
            base + 0x1000,
            CvmSpec {
                heap: 1 << 23,
                ..outer()
            }
        )]),
        format!(
            "cVM outer: isolation base {:#x}: expected a multiple of 0x4000 for 0x808000 bytes",
            base + 0x1000
        )
    );
    assert_eq!(
        refusal(vec![
            sized(1 << 22, outer()),
            within("inner", 0),
            spec("other", "program")
        ]),
        "cVM other: needs 0x7000 bytes of memory, 0x0 are free",
        "the region is taken as a whole"
    );
}

#[test]
fn a_bad_program_and_a_circle_name_the_cvm() {
    assert_eq!(
        refusal(vec![outer(), spec("script", "bad")]),
        "cVM script: bad: not an ELF file"
    );
    assert_eq!(
        refusal(vec![within("a", 1), within("b", 0)]),
        "cVM a: within leads back to cVMs on its own way"
    );
}

/// The purecap program, one segment of which has this alignment.
fn aligned(segment: usize, alignment: u64) -> Vec<u8> {
    let mut bytes = Purecap::new().bytes();
    let at = 64 + segment * 56 + 48;
    bytes[at..at + 8].copy_from_slice(&alignment.to_le_bytes());
    bytes
}

#[test]
fn a_purecap_program_lies_as_its_segments_are_aligned() {
    let elf = stored(&aligned(3, 0x4_0000));
    let place = |spec| {
        place_all(
            vec![outer(), spec],
            |name| if name == "aligned" { elf } else { elf_of(name) },
            &mut Pool::new(POOL_START..POOL_END),
        )
    };
    let cvms = place(spec("a", "aligned")).unwrap();
    let Cvm { place: at, layout, .. } = &cvms[1];
    assert!(
        at.base.is_multiple_of(0x4_0000) && layout.bias.is_multiple_of(0x4_0000),
        "{:#x} {:#x}",
        at.base,
        layout.bias
    );
    let error = place(based(POOL_START + 0x2_0000, spec("a", "aligned")))
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.starts_with("cVM a: isolation base 0x80420000: expected a multiple of 0x40000 for "),
        "{error}"
    );
}

#[test]
fn an_alignment_that_is_none_or_absurd_is_refused() {
    for (alignment, shown) in [(24, "0x18"), (1 << 31, "0x80000000"), (u64::MAX, "0xffffffffffffffff")] {
        let elf = stored(&aligned(2, alignment));
        let error = place_all(
            vec![spec("a", "aligned")],
            |_| elf,
            &mut Pool::new(POOL_START..POOL_END),
        )
        .err();
        let expected = format!("cVM a: aligned: segment 2 has alignment {shown}, expected a power of two up to 2^30");
        assert_eq!(error.map(|error| error.to_string()), Some(expected));
    }
    for alignment in [0, 1, 16, 1 << 20] {
        assert!(
            crate::elf::Program::check(stored(&aligned(2, alignment))).is_ok(),
            "{alignment:#x}"
        );
    }
}

#[test]
fn a_program_is_read_once() {
    let asked = std::cell::RefCell::new(Vec::new());
    let elf_of = |runtime: &str| {
        asked.borrow_mut().push(runtime.to_string());
        elf_of(runtime)
    };
    let server = CvmSpec {
        server: Some(0),
        ..spec("c", "program")
    };
    let specs = vec![outer(), spec("b", "purecap"), server, spec("d", "purecap")];
    let cvms = place_all(specs, elf_of, &mut Pool::new(POOL_START..POOL_END)).unwrap();
    assert_eq!(*asked.borrow(), ["program", "purecap"]);
    assert!(cvms[0].elf.is(&cvms[2].elf));
    let stacks = cvms
        .iter()
        .map(|cvm| cvm.layout.service_stack.end - cvm.layout.service_stack.start);
    assert_eq!(
        stacks.collect::<Vec<_>>(),
        [0x2000, 0, 0, 0],
        "who serves has a stack for it"
    );
}

proptest! {
    #[test]
    fn any_layers_are_refused_or_sound(
        cvms in proptest::collection::vec(
            (proptest::option::of(0_usize..6), proptest::option::of(0_u64..64), proptest::option::of(1_u64..64), 0_u64..0x4_0000),
            1..7
        )
    ) {
        let specs: Vec<CvmSpec> = cvms.iter().enumerate().map(|(id, (outer, base, size, heap))| CvmSpec {
            // Only those before it, so that there is no circle.
            within: outer.filter(|outer| *outer < id),
            isolation_base: base.map(|base| POOL_START + base * 0x2_0000),
            isolation_size: size.map(|size| size * 0x1_0000),
            heap: *heap,
            ..spec(&format!("c{id}"), "program")
        }).collect();
        match place(specs) {
            Ok(cvms) => {
                assert_sound(&cvms);
                for cvm in &cvms {
                    prop_assert!(cvm.spec.isolation_base.is_none_or(|base| base == cvm.place.base));
                    let size = cvm.bounds.end - cvm.bounds.start;
                    prop_assert!(cvm.spec.isolation_size.is_none_or(|given| given <= size));
                }
            }
            Err(error) => prop_assert!(error.starts_with("cVM c"), "{error}"),
        }
    }
}
