//! Offers functions that other cVMs call by gates: the sum of two numbers, the mean of numbers in the caller's memory, and the
//! squares of numbers, which it writes there.
//!
//! Without arguments it serves until nobody is left who could call it. Its exit code is 0.

#![no_std]
#![no_main]

use rt::{Errno, Foreign, hostcall};

rt::entry!(main);

fn main() -> Result<(), Errno> {
    hostcall::serve()
}

/// Bytes of a number.
const NUMBER: u64 = 8;

fn number(numbers: &Foreign<'_>, index: u64) -> Result<u64, Errno> {
    let mut bytes = [0; NUMBER as usize];
    numbers.read(index * NUMBER, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

rt::gate! {
    fn add(one: u64, other: u64) -> Result<u64, Errno> {
        one.checked_add(other).filter(|sum| Errno::from_result(*sum).is_none()).ok_or(Errno::EINVAL)
    }
}

rt::gate! {
    fn mean(numbers: Foreign<'_>) -> Result<u64, Errno> {
        let count = numbers.size() / NUMBER;
        let mut sum: u64 = 0;
        for index in 0..count {
            sum = sum.checked_add(number(&numbers, index)?).ok_or(Errno::EINVAL)?;
        }
        sum.checked_div(count).ok_or(Errno::EINVAL)
    }
}

rt::gate! {
    fn squares(numbers: Foreign<'_>) -> Result<u64, Errno> {
        let count = numbers.size() / NUMBER;
        for index in 0..count {
            // Read once: the caller's other threads may change it meanwhile.
            let number = number(&numbers, index)?;
            numbers.write(index * NUMBER, &number.wrapping_mul(number).to_le_bytes())?;
        }
        Ok(count)
    }
}
