//! Says what time it is: seconds since 1970 (UTC).

#![no_std]
#![no_main]

use rt::Errno;

rt::entry!(main);

fn main() -> Result<(), Errno> {
    rt::println!("{} seconds since 1970", rt::time::since_1970()?.as_secs());
    Ok(())
}
