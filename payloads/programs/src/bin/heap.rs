//! Uses its heap: grows, frees, reuses, and finds out that it ends. Wants a heap of 16 KiB or more.

#![no_std]
#![no_main]

use rt::alloc::{collections::BTreeMap, format, string::String, vec::Vec};

rt::entry!(main);

fn main() -> i32 {
    let size = rt::start_block().header().heap_size as usize;
    let checks = [
        ("contents survive growth", contents_survive_growth()),
        ("freed memory is used again", freed_memory_is_used_again(size)),
        (
            "more than the heap is refused",
            Vec::<u8>::new().try_reserve_exact(size + 1).is_err(),
        ),
    ];
    for (name, passed) in checks {
        rt::println!("{} {name}", if passed { "ok" } else { "FAILED" });
    }
    checks.iter().filter(|(_, passed)| !passed).count() as i32
}

fn contents_survive_growth() -> bool {
    let squares: Vec<u64> = (0..200).map(|number| number * number).collect();
    let names: BTreeMap<usize, String> = (0..40).map(|number| (number, format!("number {number}"))).collect();
    squares
        .iter()
        .enumerate()
        .all(|(number, square)| *square == (number * number) as u64)
        && names.iter().all(|(number, name)| *name == format!("number {number}"))
}

fn freed_memory_is_used_again(size: usize) -> bool {
    (0..16u8).all(|round| {
        let mut block = Vec::new();
        block.try_reserve_exact(size / 2).is_ok() && {
            block.resize(size / 2, round);
            block.iter().all(|byte| *byte == round)
        }
    })
}
