//! The layout of a cVM's memory.

use super::build::*;
use crate::elf::Program;
use crate::layout::{LayoutError, plan};
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

proptest! {
    #[test]
    fn parts_never_overlap_and_all_lie_within_the_size(
        start_block in 88_u64..20_000, stack in 0_u64..1 << 20, heap in 0_u64..1 << 30, spare in 0_u64..1 << 20
    ) {
        let program = Program::check(&program()).unwrap();
        let smallest = plan(&program, None, start_block, stack, heap, None).unwrap();
        prop_assert_eq!(smallest.size % 4096, 0);
        let layout = plan(&program, None, start_block, stack, heap, Some(smallest.size + spare)).unwrap();
        let parts = [&layout.stack, &layout.program, &layout.tls, &layout.start_block, &layout.heap];
        for pair in parts.windows(2) {
            prop_assert!(pair[0].end <= pair[1].start);
        }
        prop_assert!(layout.heap.end <= layout.size);
        prop_assert!(layout.stack.end - layout.stack.start >= stack.max(4096));
        prop_assert!(layout.stack.start == 0 && layout.program.start.is_multiple_of(4096));
        prop_assert!(layout.start_block.start.is_multiple_of(16) && layout.heap.start.is_multiple_of(16));
        prop_assert_eq!(layout.heap.end - layout.heap.start, heap);
        prop_assert_eq!(layout.bias.wrapping_add(program.extent.start), layout.program.start);
    }
}

#[test]
fn a_size_that_is_too_small_is_refused_with_what_is_needed() {
    let program = Program::check(&program()).unwrap();
    let needed = plan(&program, None, 100, 4096, 4096, None).unwrap().size;
    let given = needed - 4096;
    assert_eq!(
        plan(&program, None, 100, 4096, 4096, Some(given)),
        Err(LayoutError::Isolation { needed, given })
    );
}

#[test]
fn absurd_sizes_are_refused() {
    let program = Program::check(&program()).unwrap();
    for size in [u64::MAX, u64::MAX - 4095, (1 << 40) + 1] {
        assert_eq!(
            plan(&program, None, 100, 0, 0, Some(size)),
            Err(LayoutError::TooLarge),
            "{size:#x}"
        );
    }
    for (stack, heap) in [(u64::MAX, 0), (0, u64::MAX), (1 << 41, 0), (1 << 39, 1 << 39)] {
        assert_eq!(
            plan(&program, None, 100, stack, heap, None),
            Err(LayoutError::TooLarge),
            "{stack:#x} {heap:#x}"
        );
    }
}

#[test]
fn a_fixed_program_keeps_its_addresses() {
    let program = fixed(0x8200_1000);
    let layout = plan(&program, Some(0x8200_0000), 100, 4096, 0, None).unwrap();
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
        plan(&program, Some(0x8200_2000), 100, 0, 0, None),
        Err(error(0x8200_2000))
    );
    assert_eq!(
        plan(&program, Some(0x8200_0000), 100, 0, 0, Some(0x1000)),
        Err(error(0x8200_0000))
    );
    assert_eq!(plan(&program, None, 100, 0, 0, None), Err(LayoutError::NoBase));
}
