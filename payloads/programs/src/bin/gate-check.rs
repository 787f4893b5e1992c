//! Passes by gates what no capability covers exactly: it is refused, and no byte beside it is passed. Its exit code is 0 when that holds.

#![no_std]
#![no_main]

use rt::Errno;

rt::entry!(main);

rt::gate!(struct Squares = "calculator.squares": fn(numbers: &mut [u8]));

/// So large that both ends of a capability over most of it are multiples of more than a byte.
const LARGE: usize = 64 * 1024;

#[repr(align(4096))]
struct Numbers([u8; LARGE]);

static NUMBERS: rt::sync::Mutex<Numbers> = rt::sync::Mutex::new(Numbers([0; LARGE]));

fn main() -> Result<i32, Errno> {
    let squares = Squares::open()?;
    let Numbers(numbers) = &mut *NUMBERS.lock();
    let refused = [1..LARGE, 0..LARGE - 1, 1..LARGE - 8].map(|range| squares.call(&mut numbers[range]));
    let whole = squares.call(&mut numbers[..])?;
    let small = [1..9, 3..4_000].map(|range| squares.call(&mut numbers[range]));
    let right = refused == [Err(Errno::EINVAL); 3] && whole == LARGE as u64 / 8 && small == [Ok(1), Ok(499)];
    rt::println!("refused: {refused:?}, passed: {whole}, {small:?}");
    Ok(i32::from(!right))
}
