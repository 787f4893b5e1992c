//! The monitor's `memcpy`, `memmove` and `memset` (`arch/src/*/memory.S`), at all alignments, lengths and overlaps, against a
//! copy byte by byte. Says how many of each it has checked; the first difference ends it with exit code 1.

#![no_std]
#![no_main]

use core::arch::global_asm;
use core::hint::black_box;

rt::entry!(main);

#[cfg(target_arch = "riscv64")]
global_asm!(include_str!("../../../../arch/src/cheri_riscv/memory.S"));
#[cfg(target_arch = "aarch64")]
global_asm!(include_str!("../../../../arch/src/morello/memory.S"));

unsafe extern "C" {
    fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8;
    fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8;
    fn memset(to: *mut u8, byte: i32, length: usize) -> *mut u8;
}

/// Longest stretch, in bytes: several turns of each loop, and what is left behind them.
const LENGTH: usize = 150;
/// Bytes before and behind it.
const ROOM: usize = 64;
const SIZE: usize = LENGTH + 2 * ROOM;

/// Memory whose first byte is at a multiple of 16.
#[repr(align(16))]
struct Memory([u8; SIZE]);

impl Memory {
    /// No byte is like one nearby.
    fn new(seed: usize) -> Memory {
        let mut memory = Memory([0; SIZE]);
        for (place, byte) in memory.0.iter_mut().enumerate() {
            *byte = black_box((place * 37 + seed) as u8);
        }
        memory
    }

    /// What `length` bytes from `from` on make of it when they are put to `to`, one by one.
    fn expect(&mut self, to: usize, length: usize, byte: impl Fn(usize) -> u8) {
        for place in 0..length {
            self.0[to + place] = black_box(byte(place));
        }
    }

    fn is(&self, expected: &Memory) -> bool {
        (0..SIZE).all(|place| black_box(self.0[place]) == expected.0[place])
    }
}

fn copies() -> Result<u32, (usize, usize, usize)> {
    let from = Memory::new(11);
    let mut count = 0;
    for length in 0..=LENGTH {
        for (to, at) in (0..8).flat_map(|to| (0..8).map(move |at| (ROOM + to, ROOM + at))) {
            let (mut memory, mut expected) = (Memory::new(200), Memory::new(200));
            let start = memory.0.as_mut_ptr();
            // SAFETY: both ranges lie within their memories: `ROOM` + 7 + `LENGTH` bytes at most.
            let result = unsafe { memcpy(start.add(to), from.0.as_ptr().add(at), length) };
            expected.expect(to, length, |place| from.0[at + place]);
            if !memory.is(&expected) || result != start.wrapping_add(to) {
                return Err((length, to, at));
            }
            count += 1;
        }
    }
    Ok(count)
}

fn moves() -> Result<u32, (usize, usize, usize)> {
    let old = Memory::new(90);
    let mut count = 0;
    for length in (0..48).chain([63, 64, 65, 100, LENGTH]) {
        for (to, at) in (0..8).flat_map(|to| (0..2 * ROOM).map(move |at| (ROOM + to, at))) {
            if at + length > SIZE {
                continue;
            }
            let (mut memory, mut expected) = (Memory::new(90), Memory::new(90));
            let start = memory.0.as_mut_ptr();
            // SAFETY: both ranges lie within the memory.
            let result = unsafe { memmove(start.add(to), start.add(at), length) };
            expected.expect(to, length, |place| old.0[at + place]);
            if !memory.is(&expected) || result != start.wrapping_add(to) {
                return Err((length, to, at));
            }
            count += 1;
        }
    }
    Ok(count)
}

fn fills() -> Result<u32, (usize, usize, usize)> {
    let mut count = 0;
    for length in 0..=LENGTH {
        for (to, byte) in (0..8).flat_map(|to| [0, 0x5a, 0xff, 0x1a5].map(|byte| (ROOM + to, byte))) {
            let (mut memory, mut expected) = (Memory::new(3), Memory::new(3));
            let start = memory.0.as_mut_ptr();
            // SAFETY: the range lies within the memory.
            let result = unsafe { memset(start.add(to), byte, length) };
            expected.expect(to, length, |_| byte as u8);
            if !memory.is(&expected) || result != start.wrapping_add(to) {
                return Err((length, to, byte as usize));
            }
            count += 1;
        }
    }
    Ok(count)
}

fn main() -> i32 {
    for (what, result) in [("copies", copies()), ("moves", moves()), ("fills", fills())] {
        match result {
            Ok(count) => rt::println!("{count} {what} are right"),
            Err((length, to, from)) => {
                rt::println!("{what}: {length} bytes to {to} from {from}: wrong");
                return 1;
            }
        }
    }
    0
}
