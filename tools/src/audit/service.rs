//! What cVMs get of devices that others drive: by the buffers that the pairs share, and the arguments of the drivers.

use abi::manifest::{self as names, DeviceKind};

use super::{Blocks, Port};
use crate::manifest::{CvmSpec, Plan};

/// The pairs of cVMs that share a buffer which is called like the first one, with `kind` behind it.
fn pairs<'p>(plan: &'p Plan, kind: &'p str) -> impl Iterator<Item = (&'p str, &'p CvmSpec)> {
    plan.buffers.iter().filter_map(move |buffer| {
        let client = buffer.name.strip_suffix(kind)?.strip_suffix('.')?;
        let server = buffer.readers.iter().find(|name| *name != client)?;
        let server = plan.cvms.iter().find(|cvm| cvm.name == *server)?;
        Some((client, server))
    })
}

/// Blocks of disks.
pub(super) fn disks(plan: &Plan) -> Vec<Blocks> {
    let blocks = |(client, server): (&str, &CvmSpec)| {
        let mut said = server.args.iter().filter_map(|argument| {
            let words: Vec<&str> = argument.split(',').collect();
            let [name, start, blocks, access] = words.try_into().ok()?;
            let access = ["read", "write"].into_iter().find(|known| *known == access)?;
            let (start, blocks) = match (start.parse::<u64>().ok()?, blocks) {
                (start, "rest") => (start, None),
                (start, blocks) => (start, Some(blocks.parse().ok()?)),
            };
            start.checked_add(blocks.unwrap_or(0))?;
            (name == client).then_some((start, blocks, access))
        });
        let (start, blocks, access) = said.next()?;
        Some(Blocks {
            cvm: client.to_owned(),
            of: server.name.clone(),
            start,
            blocks,
            access,
        })
    };
    pairs(plan, "disk").filter_map(blocks).collect()
}

/// Ports of switches.
pub(super) fn ports(plan: &Plan) -> Vec<Port> {
    let is_card = |device: &&String| matches!(names::device(device), Some((DeviceKind::Net, _)));
    let port = |(client, server): (&str, &CvmSpec)| Port {
        cvm: client.to_owned(),
        of: server.name.clone(),
        cards: server.devices.iter().filter(is_card).cloned().collect(),
    };
    pairs(plan, "net").map(port).collect()
}
