//! `disk` and `net`: what a cVM gets of a device that another one drives. The pair shares a buffer, and the driver's arguments
//! say what its client may; the monitor knows nothing of either.

use std::net::Ipv4Addr;

use abi::hostcall::Family;
use abi::manifest::{self as names, DeviceKind};

use super::cvm::key_of;
use super::reader::Reader;
use super::{BufferConfig, Draft, Reference};
use crate::diagnostic::{Position, did_you_mean};
use crate::manifest::BufferSpec;
use crate::quantity::format_size;
use crate::workspace::LINUX;
use crate::yaml::{Content, Key, Node};

const DISK_KEYS: [&str; 4] = ["of", "start", "blocks", "access"];
const NET_KEYS: [&str; 3] = ["of", "address", "gateway"];
/// By which a client finds where it is, and who takes what is for other networks.
const ADDRESS: &str = "ADDRESS";
const GATEWAY: &str = "GATEWAY";
/// Where a library OS is of which nothing is said.
const DEFAULT: &str = "10.0.2.15/24";

/// What a client and its server need for each other, beside what the file gives them: heap for a thread's stack.
const SERVER_HEAP: u64 = 24 << 10;
/// Capabilities in the local area of a driver of disks: the records of one request, with a buffer's capability among them.
const RECORDS: u32 = 6;

/// Heap that a switch needs: its table, and the frames of each card.
const SWITCH_HEAP: u64 = 32 << 10;
const CARD_HEAP: u64 = 128 << 10;

/// A kind of service.
#[derive(Clone, Copy)]
struct Kind {
    /// The key, and the end of the buffer's name.
    key: &'static str,
    /// The variable by which the client finds the buffer.
    variable: &'static str,
    /// Bytes of the buffer.
    buffer: u64,
    /// Hostcalls of the client.
    client: &'static [Family],
}

const DISK: Kind = Kind {
    key: "disk",
    variable: "DISK",
    buffer: 64 << 10,
    client: &[Family::Buffer, Family::Sync],
};
/// State and address, then two streams, each with 32 KiB behind its positions.
const NET: Kind = Kind {
    key: "net",
    variable: "NET",
    buffer: 128 + 2 * (128 + (32 << 10)),
    client: &[Family::Buffer, Family::Sync],
};
/// Hostcalls of who serves clients.
const SERVER: [Family; 4] = [Family::Time, Family::Thread, Family::Sync, Family::Buffer];

/// The value of `disk`.
#[derive(Clone)]
pub(super) struct Disk {
    of: Reference,
    position: Position,
    start: u64,
    /// `None` = to the end.
    blocks: Option<u64>,
    writable: bool,
}

/// The value of `net`.
#[derive(Clone)]
pub(super) struct Net {
    of: Reference,
    position: Position,
    address: Option<String>,
    gateway: Option<String>,
}

fn unknown(reader: &mut Reader<'_>, at: Position, key: &str, wrong: &str, known: &[&str]) {
    let (full, hint) = (format!("{key}.{wrong}"), did_you_mean(wrong, known));
    let problem = format!("unknown key, expected one of {}{hint}", known.join(", "));
    reader.error(Some(at), Some(&full), None, problem);
}

/// The cVM that drives the device.
fn read_of(reader: &mut Reader<'_>, key: &str, node: &Node) -> Option<Reference> {
    let Content::Mapping(entries) = &node.content else {
        return None;
    };
    let full = format!("{key}.of");
    let Some((_, value)) = entries.iter().find(|(key, _)| key.text == "of") else {
        let problem = "missing, expected the name of the cVM that drives the device";
        reader.error(Some(node.position), Some(&full), None, problem);
        return None;
    };
    let text = reader.text(&full, value)?.to_owned();
    Some(Reference {
        text,
        position: value.position,
    })
}

/// Reads the value of `disk`; `None` when it is wrong.
pub(super) fn read_disk(reader: &mut Reader<'_>, node: &Node) -> Option<Disk> {
    let entries = reader.mapping("disk", node)?;
    let mut disk = Disk {
        of: read_of(reader, "disk", node)?,
        position: node.position,
        start: 0,
        blocks: None,
        writable: false,
    };
    let number = |reader: &mut Reader<'_>, key: &str, value: &Node, least: u64| {
        let expected = format!("a number of blocks of 512 bytes, from {least} on");
        reader.integer(key, value, |number| *number >= least, &expected)
    };
    for (key, value) in entries {
        let full = format!("disk.{}", key.text);
        match key.text.as_str() {
            "of" => {}
            "start" => disk.start = number(reader, &full, value, 0).unwrap_or_default(),
            "blocks" => disk.blocks = number(reader, &full, value, 1),
            "access" => {
                let choose = |text: &str| match text {
                    "read" => Some(false),
                    "write" => Some(true),
                    _ => None,
                };
                disk.writable = reader.choice(&full, value, choose, "read or write").unwrap_or_default();
            }
            wrong => unknown(reader, key.position, "disk", wrong, &DISK_KEYS),
        }
    }
    if disk
        .blocks
        .is_some_and(|blocks| disk.start.checked_add(blocks).is_none())
    {
        let problem = "expected blocks whose numbers have 64 bits";
        reader.error(Some(node.position), Some("disk"), None, problem);
    }
    Some(disk)
}

/// Reads the value of `net`; `None` when it is wrong.
pub(super) fn read_net(reader: &mut Reader<'_>, node: &Node) -> Option<Net> {
    let entries = reader.mapping("net", node)?;
    let mut net = Net {
        of: read_of(reader, "net", node)?,
        position: node.position,
        address: None,
        gateway: None,
    };
    for (key, value) in entries {
        let full = format!("net.{}", key.text);
        match key.text.as_str() {
            "of" => {}
            "address" => {
                let choose = |text: &str| network(text).map(|_| text.to_owned());
                let expected = "an IPv4 address of one machine and how many of its bits are its network's, 1 to 30, such as \
                                10.0.2.15/24";
                net.address = reader.choice(&full, value, choose, expected);
            }
            "gateway" => {
                let choose = |text: &str| text.parse::<Ipv4Addr>().ok().map(|_| text.to_owned());
                net.gateway = reader.choice(&full, value, choose, "an IPv4 address, such as 10.0.2.2");
                let (own, mask) = net_of(entries).unwrap_or((Ipv4Addr::UNSPECIFIED, 0));
                let gateway = net.gateway.as_ref().and_then(|text| text.parse::<Ipv4Addr>().ok());
                if let Some(gateway) = gateway
                    && (gateway == own || (gateway.to_bits() ^ own.to_bits()) & mask != 0)
                {
                    let problem = "expected another address of the same network as net.address";
                    reader.error(Some(value.position), Some(&full), net.gateway.as_deref(), problem);
                }
            }
            wrong => unknown(reader, key.position, "net", wrong, &NET_KEYS),
        }
    }
    Some(net)
}

/// The address that the value of `net` gives, or the one without, and the mask of its network; none for a wrong one.
fn net_of(entries: &[(Key, Node)]) -> Option<(Ipv4Addr, u32)> {
    let given = entries.iter().find(|(key, _)| key.text == "address");
    let text = given.map(|(_, value)| match &value.content {
        Content::Text(text) => text.as_str(),
        _ => "",
    });
    network(text.unwrap_or(DEFAULT))
}

/// The address of a machine, and the mask of its network.
fn network(text: &str) -> Option<(Ipv4Addr, u32)> {
    let (address, bits) = text.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let bits = bits.parse::<u32>().ok().filter(|bits| (1..=30).contains(bits))?;
    let mask: u32 = u32::MAX << (32 - bits);
    let host = address.to_bits() & !mask;
    let one = host != 0 && host != !mask && !address.is_loopback() && !address.is_multicast();
    one.then_some((address, mask))
}

impl Disk {
    /// Whether two of them have a block in common that one of the two writes.
    fn conflicts(&self, other: &Disk) -> bool {
        let end = |disk: &Disk| disk.blocks.map_or(u64::MAX, |blocks| disk.start.saturating_add(blocks));
        let overlaps = self.start < end(other) && other.start < end(self);
        overlaps && (self.writable || other.writable)
    }
}

/// Gives clients and servers what they need for each other; the buffers that they share.
pub(super) fn attach(reader: &mut Reader<'_>, cvms: &mut [Draft]) -> Vec<BufferConfig> {
    let mut buffers = Vec::new();
    for client in 0..cvms.len() {
        reader.enter(cvms[client].name());
        if let Some(disk) = cvms[client].disk.clone()
            && let Some(server) = find(reader, cvms, client, &DISK, &disk.of)
        {
            check_disk(reader, cvms, (client, server), &disk);
            let blocks = disk.blocks.map_or("rest".to_owned(), |blocks| blocks.to_string());
            let access = if disk.writable { "write" } else { "read" };
            let says = format!("{},{},{blocks},{access}", cvms[client].name(), disk.start);
            if !cvms[..client].iter().any(|other| is_of(cvms, other, server)) {
                cvms[server].config.spec.local += RECORDS;
            }
            buffers.extend(join(reader, cvms, (client, server), &DISK, says));
        }
        if let Some(net) = cvms[client].net.clone()
            && let Some(server) = find(reader, cvms, client, &NET, &net.of)
        {
            let says = cvms[client].name().to_owned();
            tell_address(reader, cvms, client, &net);
            let of = |other: &Draft| other.net.as_ref().is_some_and(|other| other.of.text == net.of.text);
            if !cvms[..client].iter().any(of) {
                // A thread for each card but the first, and the frames that each has.
                let spec = &mut cvms[server].config.spec;
                let cards = spec.devices.len() as u32;
                spec.threads += cards.saturating_sub(1);
                spec.heap = spec.heap.saturating_add(SWITCH_HEAP + u64::from(cards) * CARD_HEAP);
            }
            buffers.extend(join(reader, cvms, (client, server), &NET, says));
        }
    }
    reader.leave();
    buffers
}

/// Tells a client of a switch where it is; no two of one switch are in one place.
fn tell_address(reader: &mut Reader<'_>, cvms: &mut [Draft], client: usize, net: &Net) {
    let said = |cvm: &Draft, variable: &str| {
        let env = cvm.config.spec.env.iter();
        let mut values = env.filter_map(|entry| entry.strip_prefix(variable)?.strip_prefix('='));
        values.next().map(str::to_owned)
    };
    for (key, variable, value) in [("address", ADDRESS, &net.address), ("gateway", GATEWAY, &net.gateway)] {
        let Some(value) = value else { continue };
        if said(&cvms[client], variable).is_some() {
            let problem = format!("given in env as {variable}, too; expected one of the two");
            reader.error(Some(net.position), Some(&format!("net.{key}")), Some(value), problem);
        }
        cvms[client].config.spec.env.push(format!("{variable}={value}"));
    }
    // Of other programs nobody knows whether they speak IP at all.
    let place = |cvm: &Draft| {
        let default = (cvm.config.spec.runtime == LINUX).then(|| DEFAULT.to_owned());
        network(&said(cvm, ADDRESS).or(default)?).map(|(address, _)| address)
    };
    let Some(address) = place(&cvms[client]) else { return };
    let others = cvms[..client].iter();
    let mut others = others.filter(|other| other.net.as_ref().is_some_and(|other| other.of.text == net.of.text));
    if let Some(other) = others.find(|other| place(other) == Some(address)) {
        let problem = format!(
            "{address} is where {} is, too; expected another net.address",
            other.name()
        );
        reader.error(Some(net.position), Some("net"), None, problem);
    }
}

/// Whether a cVM has blocks of the disk that another one drives.
fn is_of(cvms: &[Draft], client: &Draft, server: usize) -> bool {
    let of = client.disk.as_ref().map(|disk| disk.of.text.as_str());
    of == Some(cvms[server].name())
}

fn find(reader: &mut Reader<'_>, cvms: &[Draft], client: usize, kind: &Kind, of: &Reference) -> Option<usize> {
    let key = format!("{}.of", kind.key);
    let server = cvms.iter().position(|cvm| cvm.name() == of.text);
    if server.is_none_or(|server| server == client) {
        let others = cvms.iter().map(Draft::name);
        let known: Vec<&str> = others.filter(|name| *name != cvms[client].name()).collect();
        let hint = did_you_mean(&of.text, &known);
        let problem = format!("expected the name of another cVM, which drives the device{hint}");
        reader.error(Some(of.position), Some(&key), Some(&of.text), problem);
        return None;
    }
    server
}

fn check_disk(reader: &mut Reader<'_>, cvms: &[Draft], (client, server): (usize, usize), disk: &Disk) {
    let spec = &cvms[server].config.spec;
    let first = spec.devices.first().and_then(|device| names::device(device));
    if !matches!(first, Some((DeviceKind::Block, _))) {
        let problem = "drives no disk, expected a cVM whose first one of devices is a disk, such as block0";
        reader.error(Some(disk.of.position), Some("disk.of"), Some(&disk.of.text), problem);
    }
    let mut others = cvms[..client].iter().filter(|other| is_of(cvms, other, server));
    let other = others.find(|other| other.disk.as_ref().is_some_and(|other| other.conflicts(disk)));
    if let Some(other) = other {
        let problem = format!(
            "has blocks in common with {}, and one of the two writes; expected others",
            other.name()
        );
        reader.error(Some(disk.position), Some("disk"), None, problem);
    }
}

/// The buffer of a client and its server; both are given what they need for it.
fn join(
    reader: &mut Reader<'_>,
    cvms: &mut [Draft],
    (client, server): (usize, usize),
    kind: &Kind,
    says: String,
) -> Option<BufferConfig> {
    let Kind { key, variable, .. } = *kind;
    let pair = [client, server].map(|cvm| cvms[cvm].name().to_owned());
    let name = format!("{}.{key}", pair[0]);
    let mut complain = |cvm: &Draft, at: &str, problem: String| {
        let position = cvm.given(at).unwrap_or(cvm.position);
        reader.error(Some(position), Some(at), None, problem);
        None
    };
    if !names::valid_name(&name) {
        let most = names::NAME_LIMIT - key.len() - 1;
        let problem = format!("expected at most {most} characters: its buffer is called {name}");
        return complain(&cvms[client], "name", problem);
    }
    let needs = [(client, kind.client), (server, &SERVER[..])];
    for (cvm, families) in needs {
        let spec = &cvms[cvm].config.spec;
        if let Some(missing) = families.iter().find(|family| !spec.allows(**family)) {
            let (name, family) = (&spec.name, missing.name());
            let problem = format!("{name} needs {family} for {key}, expected it among the others");
            return complain(&cvms[cvm], "hostcalls", problem);
        }
    }
    let spec = &mut cvms[client].config.spec;
    spec.env.push(format!("{variable}={name}"));
    spec.local += 1;
    let spec = &mut cvms[server].config.spec;
    spec.args.push(says);
    spec.local += 1;
    spec.threads += 1;
    spec.heap = spec.heap.saturating_add(SERVER_HEAP);
    for cvm in [client, server] {
        let values = names::NUMBERS.iter().zip(cvms[cvm].config.spec.numbers());
        let beyond = values.into_iter().find(|(number, value)| *value > number.most);
        if let Some((number, value)) = beyond {
            let problem = format!("{value} with what {key} needs, expected at most {}", number.most);
            return complain(&cvms[cvm], &key_of(number), problem);
        }
    }
    let strings = &cvms[server].config.spec;
    let bytes: usize = strings.args.iter().chain(&strings.env).map(|text| text.len() + 1).sum();
    if bytes > names::STRINGS_LIMIT {
        let problem = format!(
            "with the clients of {} more than {}, expected fewer of them",
            pair[1],
            format_size(names::STRINGS_LIMIT as u64)
        );
        return complain(&cvms[server], "args, env", problem);
    }
    Some(BufferConfig {
        spec: BufferSpec {
            name,
            size: kind.buffer,
            readers: pair.to_vec(),
            writers: pair.to_vec(),
            ..BufferSpec::default()
        },
        key: "buffers",
        data: None,
    })
}
