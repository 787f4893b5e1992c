//! The layout of a cVM's memory.

use super::build::*;
use super::stored;
use crate::elf::Program;
use crate::plan::layout::{Layout, LayoutError, Request, plan};
use core::ops::Range;
use proptest::prelude::*;

fn fixed(address: u64) -> Program {
    let text = [LOAD, READ_EXECUTE, 0x200, address, 0x20, 0x20];
    Program::check(stored(&elf(2, address, &[text], &[], 0x300))).unwrap()
}

/// Whether a capability can cover exactly this range of a cVM that lies at a multiple of its alignment.
fn has_bounds(range: &Range<u64>) -> bool {
    let length = range.end - range.start;
    arch::representable(length).0 == length && range.start.is_multiple_of(arch::representable(length).1)
}

proptest! {
    #[test]
    fn parts_never_overlap_and_all_lie_within_the_size(
        start_block in 88_u64..20_000, stack in 0_u64..1 << 20, heap in 0_u64..1 << 30,
        service in proptest::option::of(0_u64..1 << 20), spare in 0_u64..1 << 20
    ) {
        let program = Program::check(stored(&program())).unwrap();
        let request = Request { start_block, stack, heap, service_stack: service, ..Request::default() };
        let smallest = plan(&program, &request).unwrap();
        prop_assert_eq!(smallest.size % 4096, 0);
        let layout = plan(&program, &Request { size: Some(smallest.size + spare), ..request }).unwrap();
        let Layout { service_stack, stack: own_stack, program: taken, tls, start_block: block, .. } = &layout;
        for pair in [service_stack, own_stack, taken, tls, block, &layout.heap].windows(2) {
            prop_assert!(pair[0].end <= pair[1].start);
        }
        for part in [service_stack, &layout.heap] {
            prop_assert!(has_bounds(part), "{part:x?}");
        }
        prop_assert!(layout.heap.end <= layout.size);
        prop_assert!(layout.stack.end - layout.stack.start >= stack.max(4096));
        prop_assert!(service_stack.end - service_stack.start >= service.map_or(0, |size| size.max(4096)));
        prop_assert!(service.is_some() || layout.stack.start == 0);
        prop_assert!(layout.stack.start.is_multiple_of(4096) && layout.program.start.is_multiple_of(4096));
        prop_assert!(layout.start_block.start.is_multiple_of(16) && layout.heap.start.is_multiple_of(16));
        prop_assert_eq!(layout.heap.end - layout.heap.start, arch::representable(heap).0);
        prop_assert_eq!(layout.bias.wrapping_add(program.extent.start), layout.program.start);
    }
}

#[test]
fn what_follows_begins_in_the_programs_last_page_unless_that_is_code() {
    let headers = |[text, data]: [u64; 2]| {
        [
            [LOAD, READ_EXECUTE, 0x200, text, 0x20, 0x20],
            [LOAD, READ_WRITE, 0x400, data, 0xc0, 0x123],
        ]
    };
    let request = Request {
        start_block: 100,
        stack: 4096,
        heap: 4096,
        ..Request::default()
    };
    let planned = |places: [u64; 2]| {
        let program = Program::check(stored(&elf(3, places[0], &headers(places), &[], 0x600))).unwrap();
        plan(&program, &request).unwrap()
    };
    let behind_data = planned([0x1000, 0x2000]);
    assert_eq!(behind_data.program, 0x1000..0x2123);
    assert_eq!(behind_data.start_block.start, 0x2130);
    assert_eq!(behind_data.heap.end.next_multiple_of(4096), behind_data.size);
    assert_eq!(behind_data.size, 0x4000);
    let behind_code = planned([0x2000, 0x1000]);
    assert_eq!(behind_code.program, 0x1000..0x3000);
    assert_eq!(behind_code.start_block.start, 0x3000);
}

#[test]
fn a_size_that_is_too_small_is_refused_with_what_is_needed() {
    let program = Program::check(stored(&program())).unwrap();
    let needed = plan(
        &program,
        &Request {
            start_block: 100,
            stack: 4096,
            heap: 4096,
            ..Request::default()
        },
    )
    .unwrap()
    .size;
    let given = needed - 4096;
    assert_eq!(
        plan(
            &program,
            &Request {
                start_block: 100,
                stack: 4096,
                heap: 4096,
                size: Some(given),
                ..Request::default()
            }
        ),
        Err(LayoutError::Isolation { needed, given })
    );
}

#[test]
fn absurd_sizes_are_refused() {
    let program = Program::check(stored(&program())).unwrap();
    for size in [u64::MAX, u64::MAX - 4095, (1 << 40) + 1] {
        assert_eq!(
            plan(
                &program,
                &Request {
                    start_block: 100,
                    size: Some(size),
                    ..Request::default()
                }
            ),
            Err(LayoutError::TooLarge),
            "{size:#x}"
        );
    }
    for (stack, heap) in [(u64::MAX, 0), (0, u64::MAX), (1 << 41, 0), (1 << 39, 1 << 39)] {
        assert_eq!(
            plan(
                &program,
                &Request {
                    start_block: 100,
                    stack,
                    heap,
                    ..Request::default()
                }
            ),
            Err(LayoutError::TooLarge),
            "{stack:#x} {heap:#x}"
        );
    }
}

#[test]
fn what_takes_all_of_the_greatest_size_has_a_place() {
    let program = Program::check(stored(&program())).unwrap();
    let with_heap = |heap| {
        let request = Request {
            start_block: 100,
            heap,
            ..Request::default()
        };
        plan(&program, &request)
    };
    let heap = with_heap(1 << 39).unwrap().heap;
    let rest = (1 << 40) - heap.start;
    assert_eq!(with_heap(rest).unwrap().heap, heap.start..1 << 40);
    assert_eq!(with_heap(rest + 1), Err(LayoutError::TooLarge));
}

#[test]
fn text_to_come_lies_right_below_the_program_and_pcc_covers_it() {
    let program = Program::check(stored(&program())).unwrap();
    let request = Request {
        start_block: 100,
        stack: 4096,
        ..Request::default()
    };
    let without = plan(&program, &request).unwrap();
    let with = plan(
        &program,
        &Request {
            text: 0x1000,
            ..request
        },
    )
    .unwrap();
    assert_eq!(
        (with.code.start, with.code.end),
        (with.bias + program.extent.start - 0x1000, without.code.end + 0x1000)
    );
    assert_eq!(with.program.start, with.code.start, "nothing else is there");
    assert_eq!(with.heap.start, without.heap.start + 0x1000);
}

#[test]
fn a_fixed_program_keeps_its_addresses() {
    let program = fixed(0x8200_1000);
    let layout = plan(
        &program,
        &Request {
            base: Some(0x8200_0000),
            start_block: 100,
            stack: 4096,
            ..Request::default()
        },
    )
    .unwrap();
    assert_eq!(
        (layout.program, layout.bias),
        (0x1000..0x2000, 0x8200_0000_u64.wrapping_neg())
    );
    assert_eq!(layout.stack, 0x2000..0x3000);
}

#[test]
fn a_fixed_program_outside_of_its_isolation_is_refused() {
    let program = fixed(0x8200_1000);
    let error = |base| LayoutError::Fixed {
        start: 0x8200_1000,
        end: 0x8200_2000,
        base,
    };
    assert_eq!(
        plan(
            &program,
            &Request {
                base: Some(0x8200_2000),
                start_block: 100,
                ..Request::default()
            }
        ),
        Err(error(0x8200_2000))
    );
    assert_eq!(
        plan(
            &program,
            &Request {
                base: Some(0x8200_0000),
                start_block: 100,
                size: Some(0x1000),
                ..Request::default()
            }
        ),
        Err(error(0x8200_0000))
    );
    assert_eq!(
        plan(
            &program,
            &Request {
                start_block: 100,
                ..Request::default()
            }
        ),
        Err(LayoutError::NoBase)
    );
}

/// A purecap program with code of this many bytes, and writable data on the sides where it is wanted.
fn purecap(address: u64, code: u64, below: bool, above: bool) -> Program {
    aligned(address, code, below, above, 4096)
}

/// As [`purecap`], with a segment that has this alignment.
fn aligned(address: u64, code: u64, below: bool, above: bool, alignment: u64) -> Program {
    let kind = if address == 0 { 3 } else { 2 };
    let start = address + 0x3000;
    let mut headers = vec![[LOAD, READ_EXECUTE, 0x200, start, 0x20, code]];
    if below {
        headers.push([LOAD, READ_WRITE, 0x200, start - 0x1000, 0, 0x1000]);
    }
    if above {
        headers.push([LOAD, READ_WRITE, 0x200, start + code.next_multiple_of(4096), 0, 0x3000]);
    }
    let mut bytes = elf(kind, start, &headers, &[], 0x300);
    bytes[48..52].copy_from_slice(&arch::ELF_PURECAP_FLAGS.to_le_bytes());
    bytes[64 + 48..64 + 56].copy_from_slice(&alignment.to_le_bytes());
    Program::check(stored(&bytes)).unwrap()
}

proptest! {
    #[test]
    fn the_bounds_of_purecap_code_hold_it_and_nothing_writable(
        code in 1_u64..1 << 28, below in any::<bool>(), above in any::<bool>(), stack in 0_u64..1 << 20,
        heap in 0_u64..1 << 24, block in 88_u64..20_000, base in 1_u64..1 << 10, fixed in any::<bool>(),
        shift in 0_u32..31
    ) {
        let base = if fixed { base << 20 } else { 0 };
        let program = aligned(base, code, below, above, 1 << shift);
        let request = Request { base: Some(base), start_block: block, stack, heap, ..Request::default() };
        let layout = match plan(&program, &request) {
            Ok(layout) => layout,
            Err(error) => {
                let why = below && above || fixed || shift > 12 && (below || above);
                prop_assert!(matches!(error, LayoutError::Code { .. }) && why, "{error}");
                return Ok(());
            }
        };
        let at = |linked: u64| linked.wrapping_add(layout.bias);
        prop_assert!(layout.code.start <= at(program.code.start) && at(program.code.end) <= layout.code.end);
        // Where the cVM lies at a multiple of what its whole size needs.
        let moved = if fixed { layout.code.start + base..layout.code.end + base } else { layout.code.clone() };
        prop_assert!(has_bounds(&moved), "{moved:x?}");
        for (_, part) in program.writable() {
            prop_assert!(at(part.end) <= layout.code.start || layout.code.end <= at(part.start), "{part:x?}");
        }
        prop_assert!(layout.program.start <= layout.code.start && layout.code.end <= layout.program.end);
        let ends = program.segments.iter().map(|segment| at(segment.address + segment.memory_size));
        prop_assert!(layout.program.start <= at(program.extent.start) && ends.max() <= Some(layout.program.end));
        prop_assert!(layout.bias.is_multiple_of(if fixed { 4096 } else { 4096.max(1 << shift) }), "{:#x}", layout.bias);
        prop_assert!(layout.program.start.is_multiple_of(4096));
        let parts = [&layout.stack, &layout.tls, &layout.start_block, &layout.heap];
        for (index, part) in parts.iter().enumerate() {
            prop_assert!(has_bounds(part), "{part:x?}");
            for other in parts[..index].iter().chain([&&layout.program]) {
                prop_assert!(part.end <= other.start || other.end <= part.start, "{part:x?} {other:x?}");
            }
        }
    }
}

#[test]
fn purecap_code_without_bounds_of_its_own_is_refused() {
    let program = purecap(0, 0x40_0001, true, true);
    let error = plan(&program, &Request::default()).unwrap_err();
    assert_eq!(
        error,
        LayoutError::Code {
            start: 0x3000,
            end: 0x40_4000,
            alignment: 0x2000
        }
    );
    let beside_one = [(true, false), (false, true), (false, false)];
    for (below, above) in beside_one {
        let program = purecap(0, 0x40_0001, below, above);
        assert!(plan(&program, &Request::default()).is_ok(), "{below} {above}");
    }
    let stack = Request {
        base: Some(0x10_0000),
        stack: 4096,
        ..Request::default()
    };
    let fixed = |above| plan(&purecap(0x10_0000, 0x40_2000, false, above), &stack);
    assert!(matches!(fixed(true), Err(LayoutError::Code { .. })));
    let layout = fixed(false).unwrap();
    assert_eq!(layout.code, 0x2000..0x40_6000);
    assert!(layout.stack.start >= 0x40_6000, "the stack is beyond what PCC covers");
}

#[test]
fn thread_local_storage_keeps_its_alignment_behind_the_control_block() {
    let bytes = elf(
        3,
        0x1000,
        &[
            [LOAD, READ_EXECUTE, 0x200, 0x1000, 0x20, 0x20],
            [TLS, 4, 0x200, 0x1000, 8, 0x30],
        ],
        &[],
        0x300,
    );
    let mut program = Program::check(stored(&bytes)).unwrap();
    for alignment in [1, 8, 16, 64, 4096] {
        program.tls.as_mut().unwrap().alignment = alignment;
        let layout = plan(&program, &Request::default()).unwrap();
        assert!(layout.tls_image.is_multiple_of(alignment) && layout.tls.start.is_multiple_of(alignment.max(16)));
        assert!(layout.tls_image >= layout.tls.start + arch::TLS_OFFSET[0]);
        assert_eq!(layout.tls.end, layout.tls_image + 0x30);
    }
}
