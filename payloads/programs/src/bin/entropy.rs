//! Reads random bytes from the device `entropy0` and shows them.

#![no_std]
#![no_main]

use core::fmt::Write as _;
use core::time::Duration;

use rt::Errno;
use rt::abi::manifest::DeviceKind;
use rt::alloc::string::String;
use rt::device::Device;

rt::entry!(main);

/// How long the device may take.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> Result<(), Errno> {
    let count = rt::args().nth(1).map_or(Ok(32), str::parse);
    let count = count.map_err(|_| Errno::EINVAL)?;
    let mut device = Device::start(0, DeviceKind::Entropy, 0)?;
    let mut bytes = [0; 256];
    let mut left = bytes.get_mut(..count).ok_or(Errno::E2BIG)?;
    // A device may give fewer than it is asked for.
    while !left.is_empty() {
        let given = device.transfer(0, &[], &mut [left], Some(PATIENCE))?;
        left = left.get_mut(given..).ok_or(Errno::EIO)?;
    }
    let mut shown = String::new();
    for byte in &bytes[..count] {
        write!(shown, "{byte:02x}").map_err(|_| Errno::ENOMEM)?;
    }
    rt::println!("{count} random bytes: {shown}");
    Ok(())
}
