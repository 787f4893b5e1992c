//! Says what its devices are: the blocks of a disk, the address of a card.

#![no_std]
#![no_main]

use core::fmt::Write as _;

use rt::Errno;
use rt::abi::manifest::DeviceKind;
use rt::alloc::string::String;
use rt::device::Device;

rt::entry!(main);

fn main() -> Result<(), Errno> {
    for place in 0.. {
        let (_, identity) = match rt::hostcall::device_info(place) {
            Err(Errno::ENOENT) => break,
            other => other?,
        };
        let kind = DeviceKind::ALL.into_iter().find(|kind| *kind as u64 == identity & 0xff);
        let device = Device::start(place as usize, kind.ok_or(Errno::EIO)?, 0)?;
        let mut shown = String::new();
        match device.kind() {
            DeviceKind::Block => write!(shown, "disk of {} blocks", device.configuration_number(0)?),
            DeviceKind::Entropy => write!(shown, "entropy"),
            DeviceKind::Net => {
                let mut address = [0; 6];
                device.configuration(0, &mut address)?;
                let [first, rest @ ..] = address;
                let begun = write!(shown, "card {first:02x}");
                rest.iter()
                    .try_fold(begun, |done, byte| done.map(|()| write!(shown, ":{byte:02x}")))
                    .unwrap_or(Err(core::fmt::Error))
            }
        }
        .map_err(|_| Errno::ENOMEM)?;
        rt::println!("device {place}: {shown}");
    }
    Ok(())
}
