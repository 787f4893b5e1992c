//! The layout of a cVM's memory.

use super::build::*;
use crate::elf::Program;
use crate::layout::{Layout, LayoutError, Request, plan};
use core::ops::Range;
use proptest::prelude::*;

fn fixed(address: u64) -> Program {
    Program::check(&elf(
        2,
        address,
        &[[LOAD, READ_EXECUTE, 0x200, address, 0x20, 0x20]],
        &[],
        0x300,
    ))
    .unwrap()
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
        let program = Program::check(&program()).unwrap();
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
fn a_size_that_is_too_small_is_refused_with_what_is_needed() {
    let program = Program::check(&program()).unwrap();
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
    let program = Program::check(&program()).unwrap();
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
