//! The options that name devices: text of the user to a description, and descriptions to devices. `intravisor run` reads
//! the same text, and gives it to this machine or says it in QEMU's words.

use std::path::PathBuf;

use clap::Args;

use crate::clock;
use crate::virtio::{Block, Device, Entropy, Version};

/// A disk as the user asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The raw file.
    pub file: PathBuf,
    /// The guest can write nothing.
    pub read_only: bool,
    /// The name by which a driver can tell it from others.
    pub serial: String,
    /// Nanoseconds of virtual time that a request takes.
    pub latency: u64,
}

/// Reads `FILE[,readonly][,serial=TEXT][,latency=NANOSECONDS]`. A file's name may have commas in it.
///
/// # Errors
/// A message that says what was expected.
pub fn parse_disk(text: &str) -> Result<Disk, String> {
    let mut disk = Disk {
        file: PathBuf::new(),
        read_only: false,
        serial: String::new(),
        latency: 0,
    };
    let mut rest = text;
    while let Some((before, word)) = rest.rsplit_once(',') {
        if word == "readonly" {
            disk.read_only = true;
        } else if let Some(serial) = word.strip_prefix("serial=") {
            if serial.is_empty() || serial.len() > 20 {
                return Err(format!("serial={serial}: expected 1 to 20 bytes"));
            }
            serial.clone_into(&mut disk.serial);
        } else if let Some(latency) = word.strip_prefix("latency=") {
            disk.latency = latency
                .parse()
                .ok()
                .filter(|latency| *latency <= MAX_LATENCY)
                .ok_or_else(|| format!("latency={latency}: expected nanoseconds, at most {MAX_LATENCY}"))?;
        } else {
            break;
        }
        rest = before;
    }
    if rest.is_empty() {
        return Err("expected FILE[,readonly][,serial=TEXT][,latency=NANOSECONDS]".to_owned());
    }
    disk.file = rest.into();
    Ok(disk)
}

/// The longest latency: a minute.
const MAX_LATENCY: u64 = 60 * clock::SECOND;

/// Where random bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seed {
    /// The host; every run has others.
    Host,
    /// A number; every run has the same.
    Number(u64),
}

/// Reads a number or `host`.
///
/// # Errors
/// A message that says what was expected.
pub fn parse_seed(text: &str) -> Result<Seed, String> {
    match text.parse() {
        Ok(number) => Ok(Seed::Number(number)),
        Err(_) if text == "host" => Ok(Seed::Host),
        Err(_) => Err("expected a number or `host`".to_owned()),
    }
}

/// The devices of a board. They take the virtio slots from the highest one down: disks, then entropy.
#[derive(Clone, Debug, Default, Args)]
pub struct DeviceOptions {
    /// A raw file as a disk: FILE[,readonly][,serial=TEXT][,latency=NANOSECONDS]; may be given several times
    #[arg(long = "disk", value_name = "DISK", value_parser = parse_disk)]
    pub disks: Vec<Disk>,
    /// A source of random bytes that follow from this number, or come from the `host`
    #[arg(long, value_name = "SEED", value_parser = parse_seed)]
    pub seed: Option<Seed>,
    /// What the real-time clock shows at reset: `now`, seconds of Unix time, or UTC such as 2026-01-31T12:00:00 [default:
    /// now]
    #[arg(long, value_parser = clock::parse)]
    pub time: Option<u64>,
    /// Version of the virtio-mmio slots
    #[arg(long, value_enum, default_value = "legacy")]
    pub virtio: Version,
}

impl DeviceOptions {
    /// What the real-time clock shows at reset, in nanoseconds of Unix time.
    ///
    /// # Errors
    /// The host's clock is not in the range of times.
    pub fn start(&self) -> Result<u64, String> {
        self.time.map_or_else(|| clock::parse("now"), Ok)
    }

    /// Opens what the devices need of the host.
    ///
    /// # Errors
    /// A message for the user.
    pub fn open(&self) -> Result<Vec<Device>, String> {
        let mut devices = Vec::new();
        for disk in &self.disks {
            let block = Block::open(&disk.file, disk.read_only).map_err(|error| error.to_string())?;
            devices.push(block.with_serial(&disk.serial).with_latency(disk.latency).into());
        }
        match self.seed {
            None => {}
            Some(Seed::Number(seed)) => devices.push(Entropy::seeded(seed).into()),
            Some(Seed::Host) => {
                let entropy = Entropy::host().map_err(|error| format!("entropy of the host: {error}"))?;
                devices.push(entropy.into());
            }
        }
        Ok(devices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_a_file_and_what_is_said_behind_it() {
        let plain = Disk {
            file: "a,b.img".into(),
            read_only: false,
            serial: String::new(),
            latency: 0,
        };
        assert_eq!(parse_disk("a,b.img"), Ok(plain.clone()));
        let full = Disk {
            read_only: true,
            serial: "data".to_owned(),
            latency: 5000,
            ..plain
        };
        assert_eq!(parse_disk("a,b.img,serial=data,readonly,latency=5000"), Ok(full));
        for (text, reason) in [
            (",readonly", "expected FILE"),
            ("", "expected FILE"),
            ("x,serial=", "1 to 20 bytes"),
            ("x,serial=123456789012345678901", "1 to 20 bytes"),
            ("x,latency=soon", "expected nanoseconds"),
            ("x,latency=60000000001", "at most"),
        ] {
            assert!(parse_disk(text).unwrap_err().contains(reason), "{text}");
        }
    }

    #[test]
    fn a_seed_is_a_number_or_the_host() {
        assert_eq!(parse_seed("7"), Ok(Seed::Number(7)));
        assert_eq!(parse_seed("host"), Ok(Seed::Host));
        assert!(parse_seed("-1").is_err());
    }
}
