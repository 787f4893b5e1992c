//! Computes without ever giving the processor away, except by exiting.
//!
//! Argument: milliseconds of monotonic time until it exits; 0 or none = never.

#![no_std]
#![no_main]

use core::{hint::black_box, time::Duration};

use rt::{Errno, Instant};

rt::entry!(main);

/// Rounds of work between two looks at the clock.
const ROUNDS: u32 = 1000;

fn main() -> Result<(), Errno> {
    let limit = rt::args()
        .nth(1)
        .map_or(Ok(0), |text| text.parse::<u32>().map_err(|_| Errno::EINVAL))?;
    let life = Duration::from_millis(limit.into());
    let start = Instant::now();
    let mut state = 1u64;
    loop {
        for _ in 0..ROUNDS {
            state = black_box(state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1));
        }
        if limit != 0 && start.elapsed() >= life {
            rt::println!("spun for {limit} ms");
            return Ok(());
        }
    }
}
