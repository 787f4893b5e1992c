//! Ticks: prints a line every M milliseconds, N times.
//!
//! Arguments: N (default 3), M (default 10). A tick that comes too early is an error: exit code 1.

#![no_std]
#![no_main]

use core::time::Duration;

use rt::{Errno, Instant};

rt::entry!(main);

fn main() -> Result<i32, Errno> {
    let mut numbers = rt::args()
        .skip(1)
        .map(|text| text.parse::<u32>().map_err(|_| Errno::EINVAL));
    let count = numbers.next().unwrap_or(Ok(3))?;
    let period = Duration::from_millis(numbers.next().unwrap_or(Ok(10))?.into());

    let start = Instant::now();
    for tick in 1..=count {
        rt::sleep((period * tick).saturating_sub(start.elapsed()))?;
        let elapsed = start.elapsed();
        if elapsed < period * tick {
            rt::println!("tick {tick} came after {elapsed:?}, before its time");
            return Ok(1);
        }
        rt::println!("tick {tick} of {count}");
    }
    Ok(0)
}
