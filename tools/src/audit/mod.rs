//! Who will hold which authority: read from an image before it boots. For each cVM its memory, the capabilities that it
//! starts with and can get, whom it calls, whom it serves, and what it shares with whom. The text, the JSON, the picture
//! and the [`policy`] all come from the same [`Audit`].

mod authority;
mod float;
mod graph;
pub mod layout;
pub mod policy;
mod service;
mod svg;
pub(crate) mod text;

use abi::hostcall::Family;
use abi::manifest as names;
use serde::Serialize;

use crate::Architecture;
use crate::archive::{self, ArchiveError};
use crate::elf::{ElfError, Facts};
use crate::image::{Image, ImageError};
use crate::manifest::{self, BufferSpec, CvmSpec, Plan, PlanError};
use crate::run::Isa;

use authority::place;
use layout::{Layout, Machine, lay_out};

pub use authority::{Capability, Made};
pub use float::Float;

/// The devices that the monitor keeps; no cVM gets a capability to any.
pub const DEVICES: [&str; 5] = [
    "console",
    "timer",
    "interrupt controller",
    "interrupt interface",
    "power",
];

/// What the monitor keeps sealed where firmware at EL3 powers off.
const FOR_FIRMWARE: &str = "[0x0-0x10000000000000000) rwGI, in a sealed pair that makes the call to power off";

/// Everything about the authority in an image. Addresses and sizes in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Audit {
    /// Architecture of the image.
    pub arch: Architecture,
    /// Version of CHERI-RISC-V that the audit is for; absent on Morello.
    pub isa: Option<&'static str>,
    /// The cVMs, in the order of the manifest.
    pub cvms: Vec<Cvm>,
    /// The buffers of the manifest, capfiles among them.
    pub buffers: Vec<Buffer>,
    /// Blocks of a disk that a cVM reaches by the one that drives the disk, as that one's arguments say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<Blocks>,
    /// Ports of a switch, as its arguments say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// What several cVMs share.
    pub shared: Vec<Shared>,
    /// Devices that only the monitor reaches.
    pub devices_of_the_monitor: Vec<&'static str>,
    /// What a board adds that enters the image at EL2 or above, as Morello boards do: the ledger's entry `firmware`.
    pub for_firmware: Option<&'static str>,
}

/// A cVM.
#[derive(Clone, Debug, Serialize)]
pub struct Cvm {
    /// Its name.
    pub name: String,
    /// Its program.
    pub runtime: String,
    /// Whether its program is purecap: no capability of its own covers all of its memory.
    pub purecap: bool,
    /// Its memory.
    pub memory: Memory,
    /// What it starts with, what it can get by hostcalls, and what the monitor keeps for it.
    pub capabilities: Vec<Capability>,
    /// Capabilities that the loader makes for a purecap program from its relocations, by kind.
    pub made: Made,
    /// Who serves its hostcalls: a cVM or `monitor`.
    pub calls: String,
    /// On whom a call ends when every server passes it on: the servers in their order, then `monitor`.
    pub calls_through: Vec<String>,
    /// Nanoseconds that a call may take when a cVM serves it.
    pub call_budget: Option<u64>,
    /// The cVMs whose hostcalls it serves.
    pub serves: Vec<String>,
    /// Families of hostcalls that it may use.
    pub hostcalls: Vec<&'static str>,
    /// The cVM that can read and write its memory.
    pub within: Option<String>,
    /// Whether its threads have floating-point registers, and why.
    pub float: Float,
    /// The devices that it drives, by the monitor's queues: they reach what it reaches.
    pub devices: Vec<String>,
    /// The functions that others may call by gates: name, bytes of stack, callers at a time, `vector`.
    pub gates: Vec<String>,
    /// The gates that it may call, as `cVM.function`.
    pub gate_calls: Vec<String>,
}

/// The memory of a cVM.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    /// Its address; absent when the monitor chooses it.
    pub base: Option<u64>,
    /// Its bytes.
    pub size: u64,
    /// What its address is a multiple of.
    pub alignment: u64,
    /// Its own bytes and those of the cVMs within.
    pub region: u64,
    /// Name of the outermost cVM that it lies in, which may be itself.
    pub space: String,
    /// Its distance from the start of that one.
    pub offset: u64,
    /// The parts that are not empty, as offsets from its start.
    pub parts: Vec<Part>,
}

/// A part of a cVM's memory.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// First offset.
    pub start: u64,
    /// End.
    pub end: u64,
}

/// A buffer of the manifest.
#[derive(Clone, Debug, Serialize)]
pub struct Buffer {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// Bytes that a capability over it covers: more than its own when those cannot be said exactly.
    pub covered: u64,
    /// The cVM that may grant it to any other, and revoke it.
    pub owner: Option<String>,
    /// The cVMs that may read it.
    pub readers: Vec<String>,
    /// The cVMs that may write it.
    pub writers: Vec<String>,
    /// The member of the archive with its first bytes; the rest is zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// Blocks of a disk that another cVM drives: it is trusted to keep to this.
#[derive(Clone, Debug, Serialize)]
pub struct Blocks {
    /// Who has them.
    pub cvm: String,
    /// Who drives the disk.
    pub of: String,
    /// The first one.
    pub start: u64,
    /// How many; absent = to the end of the disk.
    pub blocks: Option<u64>,
    /// `read` or `write`.
    pub access: &'static str,
}

/// A port of a switch that another cVM is: it is trusted to keep frames from whom they are not for.
#[derive(Clone, Debug, Serialize)]
pub struct Port {
    /// Who has it.
    pub cvm: String,
    /// Who is the switch.
    pub of: String,
    /// The network cards on the switch.
    pub cards: Vec<String>,
}

/// What two cVMs share.
#[derive(Clone, Debug, Serialize)]
pub struct Shared {
    /// How: `memory`, `buffer`, `calls`, `gate` or `program`.
    pub kind: Sharing,
    /// The one that has more of it: the outer one, the server.
    pub first: String,
    /// The other one.
    pub second: String,
    /// In words.
    pub what: String,
}

/// How two cVMs share something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    /// The first reads and writes the second's memory at any time.
    Memory,
    /// Both may get the same buffer.
    Buffer,
    /// The first serves the second's hostcalls: it sees their arguments, and what they lend while they last.
    Calls,
    /// The second calls a function of the first, without the monitor. What is passed as a capability stays passed.
    Gate,
    /// Both run the same program. Each has a copy; nothing passes from one to the other.
    Program,
}

/// Why an image cannot be audited.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A damaged image.
    #[error("image: {0}")]
    Image(ImageError),
    /// A damaged archive.
    #[error("archive: {0}")]
    Archive(#[from] ArchiveError),
    /// A manifest that is missing, or that the monitor would refuse.
    #[error("{member}: {0}", member = names::MEMBER)]
    Manifest(#[from] PlanError),
    /// A program cannot be read.
    #[error("{runtime}: {source}")]
    Elf {
        /// The program.
        runtime: String,
        /// Why.
        source: ElfError,
    },
    /// Programs that cannot run.
    #[error("{runtime}: {problems}")]
    Program {
        /// The program.
        runtime: String,
        /// All that is wrong with it.
        problems: String,
    },
    /// A cVM that the monitor would refuse.
    #[error("cVM {cvm}: {problem}")]
    Cvm {
        /// The cVM.
        cvm: String,
        /// Why.
        problem: String,
    },
}

/// A cVM with its program and layout, before it is described.
struct Planned<'a> {
    spec: &'a CvmSpec,
    facts: &'a Facts,
    layout: Layout,
    /// Bytes of its own memory and that of the cVMs within.
    region: u64,
    alignment: u64,
    /// Number of the cVM that it is within.
    outer: Option<usize>,
    /// Distance from the start of that one.
    offset: u64,
}

/// Audits an image or an archive.
///
/// # Errors
/// It is damaged, or the monitor would refuse it.
pub fn audit(file: &[u8], isa: Isa) -> Result<Audit, AuditError> {
    let members = match Image::parse(file) {
        Ok(image) => archive::read(image.archive())?,
        Err(ImageError::NoHeader) => archive::read(file)?,
        Err(error) => return Err(AuditError::Image(error)),
    };
    let plan = manifest::plan_of(&members)?;
    let mut programs: Vec<(&str, Facts)> = Vec::new();
    for cvm in &plan.cvms {
        if programs.iter().any(|(name, _)| *name == cvm.runtime) {
            continue;
        }
        let Some(member) = members.iter().find(|member| member.name == cvm.runtime) else {
            continue;
        };
        let facts = Facts::read(&member.data).map_err(|source| AuditError::Elf {
            runtime: cvm.runtime.clone(),
            source,
        })?;
        programs.push((&member.name, facts));
    }
    let first = programs.first().map(|(_, facts)| facts.machine);
    let arch = first
        .and_then(Architecture::from_elf_machine)
        .unwrap_or(Architecture::CheriRiscv);
    for (name, facts) in &programs {
        let problems: Vec<String> = facts.check(arch).iter().map(ToString::to_string).collect();
        if !problems.is_empty() {
            return Err(AuditError::Program {
                runtime: (*name).to_owned(),
                problems: problems.join("; "),
            });
        }
    }
    describe(Machine { arch, isa }, &plan, &programs)
}

fn describe(machine: Machine, plan: &Plan, programs: &[(&str, Facts)]) -> Result<Audit, AuditError> {
    let position = |name: &str| plan.cvms.iter().position(|cvm| cvm.name == name);
    let refused = |cvm: &CvmSpec, problem: String| AuditError::Cvm {
        cvm: cvm.name.clone(),
        problem,
    };
    let mut planned = Vec::new();
    for spec in &plan.cvms {
        let program = programs.iter().find(|(name, _)| *name == spec.runtime);
        let (_, facts) = program.ok_or_else(|| refused(spec, "its program is not in the archive".to_owned()))?;
        let serves = plan.cvms.iter().any(|other| other.callback_out == spec.name);
        let outer = plan.cvms.iter().any(|other| other.within.as_ref() == Some(&spec.name));
        let layout = lay_out(machine, spec, facts, serves, outer).map_err(|problem| refused(spec, problem))?;
        planned.push(Planned {
            spec,
            facts,
            region: layout.size,
            alignment: layout.alignment,
            outer: spec.within.as_deref().and_then(position),
            offset: 0,
            layout,
        });
    }
    place(machine, &mut planned).map_err(|(index, problem)| refused(planned[index].spec, problem))?;
    let buffers: Vec<Buffer> = plan
        .buffers
        .iter()
        .map(|buffer| describe_buffer(machine, buffer, &plan.cvms))
        .collect();
    let cvms: Vec<Cvm> = (0..planned.len())
        .map(|index| authority::describe_cvm(machine, &planned, index, &buffers))
        .collect();
    Ok(Audit {
        arch: machine.arch,
        isa: (machine.arch == Architecture::CheriRiscv).then_some(machine.isa.name()),
        shared: shared(&cvms, plan.cvms.iter().map(|cvm| cvm.buffer_quota), &buffers),
        disks: service::disks(plan),
        ports: service::ports(plan),
        cvms,
        buffers,
        devices_of_the_monitor: DEVICES.to_vec(),
        for_firmware: (machine.arch == Architecture::Morello).then_some(FOR_FIRMWARE),
    })
}

fn describe_buffer(machine: Machine, buffer: &BufferSpec, cvms: &[CvmSpec]) -> Buffer {
    // All of those that can ask for it.
    let everybody = || {
        let asks = |cvm: &&CvmSpec| NAMED.iter().any(|family| cvm.allows(*family));
        cvms.iter().filter(asks).map(|cvm| cvm.name.clone()).collect()
    };
    let who = |list: &[String]| match list.iter().any(|name| name == names::EVERYBODY) {
        true => everybody(),
        false => list.to_vec(),
    };
    let covered = machine.exact(buffer.size).map_or(buffer.size, |(length, _)| length);
    Buffer {
        name: buffer.name.clone(),
        size: buffer.size,
        covered,
        owner: buffer.owner.clone(),
        readers: who(&buffer.readers),
        writers: who(&buffer.writers),
        data: buffer.data.clone(),
    }
}

/// Who may use one of these gets what it may of a buffer that has a name.
const NAMED: [Family; 2] = [Family::Capfile, Family::Buffer];

impl Buffer {
    /// Whether a cVM may do something with it.
    fn is_for(&self, cvm: &String) -> bool {
        self.readers.contains(cvm) || self.writers.contains(cvm)
    }
}

/// Every pair of cVMs that share something, and what.
fn shared(cvms: &[Cvm], quotas: impl IntoIterator<Item = u64>, buffers: &[Buffer]) -> Vec<Shared> {
    let mut shared = Vec::new();
    let mut add = |kind, first: &str, second: &str, what: String| {
        shared.push(Shared {
            kind,
            first: first.to_owned(),
            second: second.to_owned(),
            what,
        });
    };
    for cvm in cvms {
        let mut outer = cvm.within.as_ref();
        while let Some(name) = outer {
            let what = format!("{name} reads and writes all memory of {}", cvm.name);
            add(Sharing::Memory, name, &cvm.name, what);
            outer = cvms
                .iter()
                .find(|other| other.name == *name)
                .and_then(|other| other.within.as_ref());
        }
    }
    for cvm in cvms {
        for server in cvm
            .calls_through
            .iter()
            .filter(|server| *server != names::CALLBACK_MONITOR)
        {
            let what = if *server == cvm.calls {
                format!("{server} sees the hostcalls of {} and what they lend", cvm.name)
            } else {
                format!(
                    "{server} sees the hostcalls of {} that the servers before it pass on",
                    cvm.name
                )
            };
            add(Sharing::Calls, server, &cvm.name, what);
        }
    }
    for cvm in cvms {
        for call in &cvm.gate_calls {
            if let Some((server, _)) = names::call(call) {
                let what = format!(
                    "gate {call}, by which {} passes and is given what both choose",
                    cvm.name
                );
                add(Sharing::Gate, server, &cvm.name, what);
            }
        }
    }
    for buffer in buffers {
        let name = &buffer.name;
        let has: Vec<&Cvm> = cvms.iter().filter(|cvm| buffer.is_for(&cvm.name)).collect();
        for (index, first) in has.iter().enumerate() {
            for second in &has[index + 1..] {
                let may = |list: &[String], cvm: &Cvm| list.contains(&cvm.name);
                let passes = |from, to| may(&buffer.writers, from) && may(&buffer.readers, to);
                match [passes(first, second), passes(second, first)] {
                    [true, true] => add(
                        Sharing::Buffer,
                        &first.name,
                        &second.name,
                        format!("buffer {name}, which both write and read"),
                    ),
                    [false, false] => add(
                        Sharing::Buffer,
                        &first.name,
                        &second.name,
                        format!("buffer {name}, through which nothing passes between them"),
                    ),
                    [first_writes, _] => {
                        let (writer, reader) = if first_writes { (first, second) } else { (second, first) };
                        let (writer, reader) = (&writer.name, &reader.name);
                        let what = format!("buffer {name}, which {writer} writes and {reader} reads");
                        add(Sharing::Buffer, writer, reader, what);
                    }
                }
            }
        }
    }
    let mut grants = |owner: &str, whose: &str, families: &[Family], has: &[&String]| {
        let others = cvms
            .iter()
            .filter(|cvm| cvm.name != owner && families.iter().any(|family| cvm.hostcalls.contains(&family.name())));
        for cvm in others.filter(|cvm| !has.contains(&&cvm.name)) {
            add(
                Sharing::Buffer,
                owner,
                &cvm.name,
                format!("{whose}, which {owner} may grant to {}", cvm.name),
            );
        }
    };
    for (cvm, _) in cvms.iter().zip(quotas).filter(|(_, quota)| *quota > 0) {
        grants(&cvm.name, "buffers of its quota", &[Family::Buffer], &[]);
    }
    for buffer in buffers {
        let has: Vec<&String> = buffer.readers.iter().chain(&buffer.writers).collect();
        if let Some(owner) = &buffer.owner {
            grants(owner, &format!("buffer {}", buffer.name), &NAMED, &has);
        }
    }
    for (index, first) in cvms.iter().enumerate() {
        for second in cvms[index + 1..]
            .iter()
            .filter(|second| second.runtime == first.runtime)
        {
            let what = format!("the program {}, of which each has its own copy", first.runtime);
            add(Sharing::Program, &first.name, &second.name, what);
        }
    }
    shared
}

impl Audit {
    /// The cVM of this name.
    pub fn cvm(&self, name: &str) -> Option<&Cvm> {
        self.cvms.iter().find(|cvm| cvm.name == name)
    }
}
