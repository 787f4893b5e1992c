//! The audit as text for a person.

use std::fmt;

use abi::manifest::Gate;

use super::{Audit, Blocks, Capability, Cvm, Port};
use crate::quantity::{format_duration, format_size};

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let isa = self.isa.map_or(String::new(), |isa| format!(" ISA{isa}"));
        writeln!(f, "audit for {}{isa}: {} cVMs", self.arch, self.cvms.len())?;
        for cvm in &self.cvms {
            write!(f, "\n{cvm}")?;
        }
        if !self.buffers.is_empty() {
            writeln!(f, "\nbuffers")?;
        }
        for buffer in &self.buffers {
            writeln!(
                f,
                "  {}: {}, of {}, read by {}, written by {}{}",
                buffer.name,
                format_size(buffer.size),
                buffer.owner.as_deref().unwrap_or("nobody"),
                list(&buffer.readers),
                list(&buffer.writers),
                buffer
                    .data
                    .as_ref()
                    .map_or(String::new(), |member| format!(", begins with {member}"))
            )?;
        }
        if !self.disks.is_empty() {
            writeln!(f, "\ndisks")?;
        }
        for disk in &self.disks {
            let Blocks { cvm, of, start, .. } = disk;
            let end = match disk.blocks {
                // It was read as one that ends at a number of 64 bits.
                Some(blocks) => format!("before block {}", start + blocks),
                None => "to the end".to_owned(),
            };
            let access = if disk.access == "write" {
                "read and write"
            } else {
                "read"
            };
            writeln!(
                f,
                "  {cvm}: from block {start} {end} of the disk that {of} drives, to {access}"
            )?;
        }
        if !self.ports.is_empty() {
            writeln!(f, "\nports")?;
        }
        for Port { cvm, of, cards } in &self.ports {
            writeln!(f, "  {cvm}: of the switch {of}, with {}", list(cards))?;
        }
        writeln!(f, "\nshared")?;
        for shared in &self.shared {
            writeln!(f, "  {} and {}: {}", shared.first, shared.second, shared.what)?;
        }
        if self.shared.is_empty() {
            writeln!(f, "  nothing")?;
        }
        writeln!(
            f,
            "\nonly the monitor reaches: {}",
            self.devices_of_the_monitor.join(", ")
        )?;
        match self.for_firmware {
            Some(kept) => writeln!(f, "on a board with firmware at EL3, for it: {kept}"),
            None => Ok(()),
        }
    }
}

pub(crate) fn list(names: &[String]) -> String {
    if names.is_empty() {
        "nobody".to_owned()
    } else {
        names.join(", ")
    }
}

impl fmt::Display for Cvm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.purecap { "purecap" } else { "hybrid" };
        writeln!(f, "cVM {}: {}, {kind}", self.name, self.runtime)?;
        let memory = &self.memory;
        let place = match memory.base {
            Some(base) => format!("at {base:#x}"),
            None => format!("at a multiple of {:#x} that the monitor chooses", memory.alignment),
        };
        writeln!(f, "  memory         {} {place}", format_size(memory.size))?;
        if memory.region != memory.size {
            writeln!(f, "  with inner     {}", format_size(memory.region))?;
        }
        if let Some(outer) = &self.within {
            let (offset, space) = (memory.offset, &memory.space);
            writeln!(f, "  within         {outer}, {offset:#x} from the start of {space}")?;
        }
        for part in &memory.parts {
            writeln!(f, "    {:<13} {:#x}-{:#x}", part.name, part.start, part.end)?;
        }
        writeln!(f, "  capabilities")?;
        for capability in &self.capabilities {
            writeln!(f, "    {capability}")?;
        }
        if self.purecap {
            let made = &self.made;
            writeln!(
                f,
                "    made by relocations: {} to functions, {} to writable objects, {} to constants",
                made.functions, made.writable, made.constants
            )?;
        }
        let budget = self.call_budget.map_or(String::new(), |budget| {
            format!(", at most {} a call", format_duration(budget))
        });
        writeln!(f, "  calls          {}{budget}", self.calls_through.join(" -> "))?;
        if !self.serves.is_empty() {
            writeln!(f, "  serves         {}", self.serves.join(", "))?;
        }
        writeln!(f, "  hostcalls      {}", self.hostcalls.join(", "))?;
        let open = if self.float.open { "yes" } else { "no" };
        writeln!(f, "  float          {open}: {}", self.float.why)?;
        if !self.devices.is_empty() {
            writeln!(f, "  devices        {}", self.devices.join(", "))?;
        }
        for gate in self.gates.iter().filter_map(|gate| Gate::parse(gate)) {
            let (stack, callers) = (format_size(gate.stack), gate.callers);
            let vector = if gate.vector { ", with vector registers" } else { "" };
            writeln!(
                f,
                "  gate           {}: stack {stack}, callers at a time {callers}{vector}",
                gate.function
            )?;
        }
        if !self.gate_calls.is_empty() {
            writeln!(f, "  calls gates    {}", self.gate_calls.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: [{:#x}-{:#x}) {}, {}",
            self.name, self.start, self.end, self.permissions, self.held
        )?;
        match self.address {
            Some(address) => write!(f, ", from {address:#x}"),
            None => Ok(()),
        }
    }
}
