//! The options that name devices, for the embedded machine as they are, for QEMU in its words.

use std::ffi::OsString;
use std::time::{Duration, UNIX_EPOCH};

use machine::clock;
use machine::options::{Disk, Far, Net, Seed, parse_disk, parse_net, parse_seed};
use machine::virtio::Version;

use super::RunError;

/// The devices of a board, as the user asked for them.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DeviceArguments {
    /// A raw file as a disk: FILE[,readonly][,serial=TEXT][,latency=NANOSECONDS]; may be given several times
    #[arg(long = "disk", value_name = "DISK")]
    pub disks: Vec<String>,
    /// A network card: forward=HOSTPORT:GUESTPORT,… or user, socket=udp:PORT:PORT, socket=listen:PORT or socket=connect:PORT,
    /// with mac=ADDRESS and capture=FILE behind it; may be given several times
    #[arg(long = "net", value_name = "NET")]
    pub nets: Vec<String>,
    /// A source of random bytes that follow from this number, or come from the `host`
    #[arg(long, value_name = "SEED")]
    pub seed: Option<String>,
    /// What the real-time clock shows at reset: `now`, seconds of Unix time, or UTC such as 2026-01-31T12:00:00 [default:
    /// now]
    #[arg(long)]
    pub time: Option<String>,
    /// Version of the virtio-mmio slots
    #[arg(long, value_enum, default_value = "legacy")]
    pub virtio: Version,
}

/// An option that is not understood, or that QEMU has no words for.
fn wrong(option: &str, value: &str, reason: impl std::fmt::Display) -> RunError {
    RunError::Device(format!("{option} {value}: {reason}"))
}

impl DeviceArguments {
    /// The arguments of `cheri-machine`.
    pub fn for_machine(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let disks = self.disks.iter().map(|disk| ("--disk", disk));
        let nets = self.nets.iter().map(|net| ("--net", net));
        let seed = self.seed.iter().map(|seed| ("--seed", seed));
        let time = self.time.iter().map(|time| ("--time", time));
        for (option, value) in disks.chain(nets).chain(seed).chain(time) {
            arguments.extend([option.into(), value.into()]);
        }
        if self.virtio == Version::Modern {
            arguments.extend(["--virtio".into(), "modern".into()]);
        }
        arguments
    }

    /// The arguments of QEMU. It gives the slots to the devices in the order in which they are named, from the highest down.
    ///
    /// # Errors
    /// An option is not understood, or QEMU cannot do it.
    pub fn for_qemu(&self) -> Result<Vec<OsString>, RunError> {
        let mut arguments: Vec<OsString> = Vec::new();
        if self.virtio == Version::Modern {
            arguments.extend(["-global".into(), "virtio-mmio.force-legacy=false".into()]);
        }
        for (number, text) in self.disks.iter().enumerate() {
            let disk = parse_disk(text).map_err(|reason| wrong("--disk", text, reason))?;
            if disk.latency != 0 {
                return Err(wrong(
                    "--disk",
                    text,
                    "latency is the embedded machine's; expected --on machine",
                ));
            }
            arguments.extend(qemu_disk(number, &disk));
        }
        for (number, text) in self.nets.iter().enumerate() {
            let net = parse_net(text).map_err(|reason| wrong("--net", text, reason))?;
            arguments.extend(qemu_net(number, &net));
        }
        if let Some(text) = &self.seed {
            let seed = parse_seed(text).map_err(|reason| wrong("--seed", text, reason))?;
            arguments.extend(["-object", "rng-builtin,id=entropy0"].map(OsString::from));
            arguments.extend(["-device", "virtio-rng-device,rng=entropy0"].map(OsString::from));
            if let Seed::Number(number) = seed {
                arguments.extend(["-seed".into(), number.to_string().into()]);
            }
        }
        if let Some(text) = self.time.as_ref().filter(|text| *text != "now") {
            let time = clock::parse(text).map_err(|reason| wrong("--time", text, reason))?;
            let date = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(time)).to_string();
            let base = format!("base={},clock=vm", date.trim_end_matches('Z'));
            arguments.extend(["-rtc".into(), base.into()]);
        }
        Ok(arguments)
    }
}

fn qemu_disk(number: usize, disk: &Disk) -> [OsString; 4] {
    // QEMU's options take a comma by two.
    let file = disk.file.display().to_string().replace(',', ",,");
    let access = if disk.read_only { ",readonly=on" } else { "" };
    let drive = format!("if=none,format=raw,id=disk{number},file={file}{access}");
    let serial = match disk.serial.as_str() {
        "" => String::new(),
        serial => format!(",serial={serial}"),
    };
    let device = format!("virtio-blk-device,drive=disk{number}{serial}");
    ["-drive".into(), drive.into(), "-device".into(), device.into()]
}

fn qemu_net(number: usize, net: &Net) -> Vec<OsString> {
    let backend = match &net.far {
        Far::User(forwards) => {
            let forward = |(host, guest): &(u16, u16)| format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}");
            format!(
                "user,id=net{number}{}",
                forwards.iter().map(forward).collect::<String>()
            )
        }
        Far::Datagram(local, remote) => {
            format!("socket,id=net{number},udp=127.0.0.1:{remote},localaddr=127.0.0.1:{local}")
        }
        Far::Listen(port) => format!("socket,id=net{number},listen=127.0.0.1:{port}"),
        Far::Connect(port) => format!("socket,id=net{number},connect=127.0.0.1:{port}"),
    };
    let mac: Vec<String> = net.address(number).iter().map(|byte| format!("{byte:02x}")).collect();
    let device = format!("virtio-net-device,netdev=net{number},mac={}", mac.join(":"));
    let mut arguments: Vec<OsString> = vec!["-netdev".into(), backend.into(), "-device".into(), device.into()];
    if let Some(file) = &net.capture {
        let file = file.display().to_string().replace(',', ",,");
        let dump = format!("filter-dump,id=dump{number},netdev=net{number},file={file}");
        arguments.extend(["-object".into(), dump.into()]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> DeviceArguments {
        DeviceArguments {
            disks: vec!["a,b.img,readonly,serial=data".into(), "c.img".into()],
            nets: vec![
                "forward=8080:80,2222:22,capture=x.pcap".into(),
                "socket=udp:7000:7001".into(),
            ],
            seed: Some("7".into()),
            time: Some("2001-09-09T01:46:40".into()),
            virtio: Version::Modern,
        }
    }

    fn shown(words: Vec<OsString>) -> String {
        words.join(&OsString::from(" ")).into_string().unwrap()
    }

    #[test]
    fn the_machine_gets_the_options_as_they_are() {
        assert_eq!(
            shown(arguments().for_machine()),
            "--disk a,b.img,readonly,serial=data --disk c.img \
             --net forward=8080:80,2222:22,capture=x.pcap --net socket=udp:7000:7001 \
             --seed 7 --time 2001-09-09T01:46:40 --virtio modern"
        );
        assert_eq!(shown(DeviceArguments::default().for_machine()), "");
    }

    #[test]
    fn qemu_gets_its_own_words() {
        assert_eq!(
            shown(arguments().for_qemu().unwrap()),
            "-global virtio-mmio.force-legacy=false \
             -drive if=none,format=raw,id=disk0,file=a,,b.img,readonly=on -device virtio-blk-device,drive=disk0,serial=data \
             -drive if=none,format=raw,id=disk1,file=c.img -device virtio-blk-device,drive=disk1 \
             -netdev user,id=net0,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=tcp:127.0.0.1:2222-:22 \
             -device virtio-net-device,netdev=net0,mac=52:54:00:12:34:56 \
             -object filter-dump,id=dump0,netdev=net0,file=x.pcap \
             -netdev socket,id=net1,udp=127.0.0.1:7001,localaddr=127.0.0.1:7000 \
             -device virtio-net-device,netdev=net1,mac=52:54:00:12:34:57 \
             -object rng-builtin,id=entropy0 -device virtio-rng-device,rng=entropy0 -seed 7 \
             -rtc base=2001-09-09T01:46:40,clock=vm"
        );
        assert_eq!(shown(DeviceArguments::default().for_qemu().unwrap()), "");
        let seconds = DeviceArguments {
            time: Some("1000000000".into()),
            ..DeviceArguments::default()
        };
        assert_eq!(
            shown(seconds.for_qemu().unwrap()),
            "-rtc base=2001-09-09T01:46:40,clock=vm"
        );
    }

    #[test]
    fn what_qemu_cannot_do_is_said() {
        let error = |arguments: DeviceArguments| arguments.for_qemu().unwrap_err().to_string();
        let latency = DeviceArguments {
            disks: vec!["x.img,latency=5".into()],
            ..DeviceArguments::default()
        };
        assert_eq!(
            error(latency),
            "--disk x.img,latency=5: latency is the embedded machine's; expected --on machine"
        );
        let net = DeviceArguments {
            nets: vec!["tap".into()],
            ..DeviceArguments::default()
        };
        assert!(error(net).starts_with("--net tap: tap: expected user"));
        let seed = DeviceArguments {
            seed: Some("x".into()),
            ..DeviceArguments::default()
        };
        assert_eq!(error(seed), "--seed x: expected a number or `host`");
    }
}
