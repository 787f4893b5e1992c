//! Gives its time slice away, again and again, then exits.
//!
//! Argument: how often (default 10).

#![no_std]
#![no_main]

use rt::Errno;

rt::entry!(main);

fn main() -> Result<(), Errno> {
    let count = rt::args()
        .nth(1)
        .map_or(Ok(10), |text| text.parse::<u32>().map_err(|_| Errno::EINVAL))?;
    for _ in 0..count {
        rt::yield_now();
    }
    rt::println!("yielded {count} times");
    Ok(())
}
