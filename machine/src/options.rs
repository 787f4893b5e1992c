//! The options that name devices: text of the user to a description, and descriptions to devices. `intravisor run` reads
//! the same text, and gives it to this machine or says it in QEMU's words.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::Args;

use crate::clock;
use crate::net::{Capture, Datagram, Stream, UserNetwork, Wire};
use crate::virtio::{Block, Device, Entropy, Network, Version};

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

/// What a network card is plugged into, as the user asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Far {
    /// A network of its own, with connections to these ports of the loopback interface forwarded to ports of the guest.
    User(Vec<(u16, u16)>),
    /// Frames as datagrams between two ports of the loopback interface, this one's first.
    Datagram(u16, u16),
    /// Frames on a stream, for which this machine waits at a port.
    Listen(u16),
    /// Frames on a stream to a port.
    Connect(u16),
}

/// A network card as the user asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    /// What it is plugged into.
    pub far: Far,
    /// The address; else one by the number of the card.
    pub mac: Option<[u8; 6]>,
    /// A file for a record of all frames.
    pub capture: Option<PathBuf>,
}

impl Net {
    /// Its address, as card `number`.
    pub fn address(&self, number: usize) -> [u8; 6] {
        self.mac.unwrap_or([0x52, 0x54, 0, 0x12, 0x34, (0x56 + number) as u8])
    }
}

const NET: &str = "expected user, forward=HOSTPORT:GUESTPORT,…, socket=udp:PORT:PORT, socket=listen:PORT or \
                   socket=connect:PORT, with mac=ADDRESS and capture=FILE behind it";

/// Reads the words of [`Net`], with commas between them. Forwarded ports may follow each other without the word. A card that
/// is plugged into nothing else has a network of its own.
///
/// # Errors
/// A message that says what was expected.
pub fn parse_net(text: &str) -> Result<Net, String> {
    let mut net = Net {
        far: Far::User(Vec::new()),
        mac: None,
        capture: None,
    };
    let (mut chosen, mut forwarding) = (None, false);
    for word in text.split(',') {
        let (key, value) = match word.split_once('=') {
            None if forwarding && word.contains(':') => ("forward", word),
            None => (word, ""),
            Some(pair) => pair,
        };
        forwarding = key == "forward";
        let kind = match key {
            "user" | "forward" => Some("user"),
            "socket" => Some("socket"),
            _ => None,
        };
        if kind.is_some()
            && chosen
                .replace(kind)
                .is_some_and(|chosen| chosen != kind || key == "socket")
        {
            return Err(format!("{word}: a card is plugged into one network; {NET}"));
        }
        match (key, &mut net.far) {
            ("user", _) if value.is_empty() => {}
            ("forward", Far::User(forwards)) => forwards.push(parse_forward(value)?),
            ("socket", far) => *far = parse_socket(value)?,
            ("mac", _) => net.mac = Some(parse_mac(value)?),
            ("capture", _) if !value.is_empty() => net.capture = Some(value.into()),
            _ => return Err(format!("{word}: {NET}")),
        }
    }
    Ok(net)
}

/// A port that is one: 1 to 65535.
fn parse_port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

fn parse_forward(text: &str) -> Result<(u16, u16), String> {
    let pair = text.split_once(':');
    pair.and_then(|(host, guest)| Some((parse_port(host)?, parse_port(guest)?)))
        .ok_or_else(|| format!("forward={text}: expected HOSTPORT:GUESTPORT, both from 1 to 65535"))
}

fn parse_socket(text: &str) -> Result<Far, String> {
    let far = match text.split(':').collect::<Vec<_>>()[..] {
        ["udp", local, remote] => parse_port(local).and_then(|local| Some(Far::Datagram(local, parse_port(remote)?))),
        ["listen", port] => parse_port(port).map(Far::Listen),
        ["connect", port] => parse_port(port).map(Far::Connect),
        _ => None,
    };
    far.ok_or_else(|| {
        format!("socket={text}: expected udp:PORT:PORT, listen:PORT or connect:PORT, with ports from 1 to 65535")
    })
}

fn parse_mac(text: &str) -> Result<[u8; 6], String> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|byte| {
            let digits = byte.len() == 2 && byte.bytes().all(|digit| digit.is_ascii_hexdigit());
            digits.then(|| u8::from_str_radix(byte, 16).ok())?
        })
        .collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .filter(|mac: &[u8; 6]| mac[0] & 1 == 0)
        .ok_or_else(|| format!("mac={text}: expected six bytes such as 52:54:00:12:34:56, of one card, not of a group"))
}

impl Far {
    fn plug_in(&self) -> Result<Box<dyn Wire>, String> {
        let at = |port: u16| format!("port {port} of {}", Ipv4Addr::LOCALHOST);
        Ok(match self {
            Far::User(forwards) => {
                let mut network = UserNetwork::new();
                for (host, guest) in forwards {
                    let forwarded = network.forward(*host, *guest);
                    forwarded.map_err(|error| format!("--net forward={host}:{guest}: {}: {error}", at(*host)))?;
                }
                Box::new(network)
            }
            Far::Datagram(local, remote) => {
                let wire = Datagram::new(*local, *remote);
                Box::new(wire.map_err(|error| format!("--net socket=udp:{local}:{remote}: {}: {error}", at(*local)))?)
            }
            Far::Listen(port) => {
                let wire = Stream::listen(*port);
                Box::new(wire.map_err(|error| format!("--net socket=listen:{port}: {}: {error}", at(*port)))?)
            }
            Far::Connect(port) => {
                let wire = Stream::connect(*port);
                Box::new(wire.map_err(|error| format!("--net socket=connect:{port}: {}: {error}", at(*port)))?)
            }
        })
    }
}

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

/// The devices of a board. They take the virtio slots from the highest one down: disks, network cards, entropy.
#[derive(Clone, Debug, Default, Args)]
pub struct DeviceOptions {
    /// A raw file as a disk: FILE[,readonly][,serial=TEXT][,latency=NANOSECONDS]; may be given several times
    #[arg(long = "disk", value_name = "DISK", value_parser = parse_disk)]
    pub disks: Vec<Disk>,
    /// A network card: forward=HOSTPORT:GUESTPORT,… or user, socket=udp:PORT:PORT, socket=listen:PORT or socket=connect:PORT,
    /// with mac=ADDRESS and capture=FILE behind it; may be given several times
    #[arg(long = "net", value_name = "NET", value_parser = parse_net)]
    pub nets: Vec<Net>,
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
        for (number, net) in self.nets.iter().enumerate() {
            let mut wire = net.far.plug_in()?;
            if let Some(file) = &net.capture {
                let capture = Capture::new(wire, file);
                wire = Box::new(capture.map_err(|error| format!("--net capture={}: {error}", file.display()))?);
            }
            devices.push(Network::new(net.address(number), wire).into());
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
    fn a_network_card_is_what_it_is_plugged_into_and_what_is_said_behind_it() {
        let net = |far| Net {
            far,
            mac: None,
            capture: None,
        };
        assert_eq!(parse_net("user"), Ok(net(Far::User(vec![]))));
        let forwards = Far::User(vec![(8080, 80), (2222, 22)]);
        assert_eq!(parse_net("forward=8080:80,2222:22"), Ok(net(forwards.clone())));
        assert_eq!(parse_net("user,forward=8080:80,forward=2222:22"), Ok(net(forwards)));
        assert_eq!(parse_net("socket=udp:7000:7001"), Ok(net(Far::Datagram(7000, 7001))));
        assert_eq!(parse_net("socket=listen:7000"), Ok(net(Far::Listen(7000))));
        assert_eq!(parse_net("socket=connect:7000"), Ok(net(Far::Connect(7000))));
        let full = Net {
            far: Far::User(vec![(1, 2)]),
            mac: Some([2, 0, 0, 0, 0, 0xaf]),
            capture: Some("x.pcap".into()),
        };
        assert_eq!(
            parse_net("forward=1:2,mac=02:00:00:00:00:af,capture=x.pcap"),
            Ok(full.clone())
        );
        assert_eq!((full.address(3)[5], net(Far::Listen(1)).address(1)[5]), (0xaf, 0x57));
        for (text, reason) in [
            ("", "expected user"),
            ("tap", "tap: expected user"),
            ("user=1", "user=1: expected user"),
            ("1:2", "1:2: expected user"),
            ("forward=80", "expected HOSTPORT:GUESTPORT"),
            ("forward=0:80", "expected HOSTPORT:GUESTPORT"),
            ("forward=1:65536", "expected HOSTPORT:GUESTPORT"),
            ("socket=udp:1", "expected udp:PORT:PORT"),
            ("socket=listen:", "expected udp:PORT:PORT"),
            ("socket=listen:1,user", "plugged into one network"),
            ("forward=1:2,socket=listen:1", "plugged into one network"),
            ("socket=listen:1,socket=listen:2", "plugged into one network"),
            ("user,mac=02:00:00:00:00", "six bytes"),
            ("user,mac=01:00:00:00:00:00", "not of a group"),
            ("user,mac=+2:00:00:00:00:00", "six bytes"),
            ("user,capture=", "expected user"),
        ] {
            let error = parse_net(text).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        for (far, option) in [
            (Far::User(vec![(port, 80)]), format!("--net forward={port}:80")),
            (Far::Listen(port), format!("--net socket=listen:{port}")),
        ] {
            let error = far.plug_in().err().expect("the port is taken");
            assert!(
                error.starts_with(&format!("{option}: port {port} of 127.0.0.1: ")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_seed_is_a_number_or_the_host() {
        assert_eq!(parse_seed("7"), Ok(Seed::Number(7)));
        assert_eq!(parse_seed("host"), Ok(Seed::Host));
        assert!(parse_seed("-1").is_err());
    }
}
