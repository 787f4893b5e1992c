//! Lets another cVM calculate by gates. Its exit code is 0 when all results are right.

#![no_std]
#![no_main]

use rt::Errno;

rt::entry!(main);

rt::gate!(struct Add = "calculator.add": fn(one: u64, other: u64));
rt::gate!(struct Mean = "calculator.mean": fn(numbers: &[u8]));
rt::gate!(struct Squares = "calculator.squares": fn(numbers: &mut [u8]));

fn main() -> Result<i32, Errno> {
    let (add, mean, squares) = (Add::open()?, Mean::open()?, Squares::open()?);
    let sum = add.call(30, 12)?;
    rt::println!("30 + 12 = {sum}");
    let mut numbers = [0; 4 * 8];
    for (number, bytes) in (1_u64..).zip(numbers.chunks_mut(8)) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    let before = mean.call(&numbers)?;
    let count = squares.call(&mut numbers)?;
    let after = mean.call(&numbers)?;
    rt::println!("the mean of 1 to {count} is {before}, that of their squares {after}");
    let wrong = add.call(u64::MAX, 1);
    rt::println!("too much: {wrong:?}");
    Ok(i32::from(
        (sum, before, count, after, wrong) != (42, 2, 4, 7, Err(Errno::EINVAL)),
    ))
}
