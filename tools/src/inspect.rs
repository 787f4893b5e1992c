//! What is in an image or archive, for a person and as JSON.

use std::fmt;

use abi::hostcall::Family;
use abi::image::PART_ALIGNMENT;
use abi::manifest::{self as names, Effect, Unit};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::Architecture;
use crate::archive::{self, ArchiveError};
use crate::audit::text::list;
use crate::elf::Facts;
use crate::image::{Image, ImageError};
use crate::manifest::{self, BufferSpec, CvmSpec};
use crate::quantity::{format_duration, format_size};

/// Everything about a file.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The image around the archive; absent when the file is an archive alone.
    pub image: Option<ImageReport>,
    /// The members of the archive, in their order.
    pub members: Vec<MemberReport>,
    /// The cVMs of the manifest; absent when there is none or it cannot be read.
    pub cvms: Option<Vec<CvmSpec>>,
    /// The buffers of the manifest, capfiles among them.
    pub buffers: Vec<BufferSpec>,
    /// What is wrong; empty when all can be read.
    pub problems: Vec<String>,
}

/// The parts of an image. Offsets and sizes in bytes.
#[derive(Debug, Serialize)]
pub struct ImageReport {
    /// Architecture of the monitor; absent when its machine number is unknown.
    pub arch: Option<Architecture>,
    /// ELF machine number of the monitor.
    pub machine: u32,
    /// Bytes of the file.
    pub size: usize,
    /// Bytes of the monitor, bss included.
    pub monitor_size: u64,
    /// SHA-256 of the monitor's constant part, without what `pack` fills in: the same for every image of one build of it, and
    /// what the monitor says with the boot argument `measure`.
    pub monitor_sha256: String,
    /// Offset of the symbol table.
    pub symbols_offset: u64,
    /// Bytes of the symbol table.
    pub symbols_size: u64,
    /// Functions in the symbol table.
    pub symbols: u32,
    /// Offset of the archive.
    pub archive_offset: u64,
    /// Bytes of the archive.
    pub archive_size: u64,
}

/// A member of the archive.
#[derive(Debug, Serialize)]
pub struct MemberReport {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub size: usize,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// What it says about itself when it is an ELF file.
    pub elf: Option<Facts>,
    /// Whether it is a pure-capability program.
    pub purecap: bool,
}

/// Why a file cannot be inspected at all.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Neither image nor archive.
    #[error("neither an image ({image}) nor an archive ({archive})")]
    Neither {
        /// Why it is no image.
        image: ImageError,
        /// Why it is no archive.
        archive: Box<ArchiveError>,
    },
    /// An image with a damaged header.
    #[error(transparent)]
    Image(ImageError),
    /// A damaged archive in an image.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// Looks at an image or an archive.
///
/// # Errors
/// The file is neither, or its outer structure is damaged. A damaged manifest or program is told in the report.
pub fn inspect(file: &[u8]) -> Result<Report, InspectError> {
    let (image, members) = match Image::parse(file) {
        Ok(image) if image.archive().is_empty() => (Some(image), Vec::new()),
        Ok(image) => {
            let members = archive::read(image.archive())?;
            (Some(image), members)
        }
        Err(error @ ImageError::NoHeader) => match archive::read(file) {
            Ok(members) => (None, members),
            Err(archive) => {
                let archive = Box::new(archive);
                return Err(InspectError::Neither { image: error, archive });
            }
        },
        Err(error) => return Err(InspectError::Image(error)),
    };
    let mut problems = Vec::new();
    let manifest = members.iter().find(|member| member.name == names::MEMBER);
    if !members.is_empty()
        && let Err(error) = manifest::plan_of(&members)
    {
        problems.push(format!("{}: {error}", names::MEMBER));
    }
    // What the monitor would refuse is shown all the same, as far as it can be read.
    let plan = manifest.and_then(|member| manifest::decode(&member.data).ok());
    let (cvms, buffers) = plan.map_or((None, Vec::new()), |plan| (Some(plan.cvms), plan.buffers));
    let begins = |name: &String| buffers.iter().any(|buffer| buffer.data.as_ref() == Some(name));
    let mut reports = Vec::new();
    for member in &members {
        let elf = match Facts::read(&member.data) {
            Ok(facts) => Some(facts),
            Err(_) if member.name == names::MEMBER || begins(&member.name) => None,
            Err(error) => {
                problems.push(format!("{}: {error}", member.name));
                None
            }
        };
        let purecap = elf.as_ref().is_some_and(Facts::purecap);
        if let (Some(facts), Some(arch)) = (
            &elf,
            image.as_ref().and_then(|image| architecture(image.header.machine)),
        ) {
            problems.extend(
                facts
                    .check(arch)
                    .iter()
                    .map(|error| format!("{}: {error}", member.name)),
            );
        }
        reports.push(MemberReport {
            name: member.name.clone(),
            size: member.data.len(),
            sha256: sha256(&member.data),
            elf,
            purecap,
        });
    }
    let image = image.map(|image| ImageReport {
        arch: architecture(image.header.machine),
        machine: image.header.machine,
        size: file.len(),
        monitor_size: image.header.monitor_size,
        monitor_sha256: sha256(image.constant_part()),
        symbols_offset: image.header.symbols_offset,
        symbols_size: image.header.symbols_size,
        symbols: image.symbol_count(),
        archive_offset: image.header.archive_offset,
        archive_size: image.header.archive_size,
    });
    Ok(Report {
        image,
        members: reports,
        cvms,
        buffers,
        problems,
    })
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn architecture(machine: u32) -> Option<Architecture> {
    u16::try_from(machine).ok().and_then(Architecture::from_elf_machine)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(image) = &self.image {
            write!(f, "{image}")?;
        }
        writeln!(f, "archive: {} members", self.members.len())?;
        for member in &self.members {
            write!(f, "{member}")?;
        }
        if let Some(cvms) = &self.cvms {
            writeln!(f, "manifest: {} cVMs", cvms.len())?;
            for (index, cvm) in cvms.iter().enumerate() {
                write_cvm(f, index, cvm)?;
            }
        }
        if !self.buffers.is_empty() {
            writeln!(f, "buffers: {}", self.buffers.len())?;
            for buffer in &self.buffers {
                writeln!(
                    f,
                    "  {:<20} {}, of {}, read by {}, written by {}{}",
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
        }
        for problem in &self.problems {
            writeln!(f, "problem: {problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ImageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arch = self
            .arch
            .map_or_else(|| format!("unknown machine {}", self.machine), |arch| arch.to_string());
        writeln!(
            f,
            "image for {arch}: {} bytes, parts aligned to {PART_ALIGNMENT}",
            self.size
        )?;
        let parts = [
            ("monitor", 0, self.monitor_size, String::new()),
            (
                "symbols",
                self.symbols_offset,
                self.symbols_size,
                format!(", {} functions", self.symbols),
            ),
            ("archive", self.archive_offset, self.archive_size, String::new()),
        ];
        for (name, offset, size, note) in parts {
            match size {
                0 => writeln!(f, "  {name}    absent")?,
                _ => writeln!(f, "  {name}  {offset:#010x}  {size:>9} bytes{note}")?,
            }
        }
        writeln!(f, "  monitor's SHA-256 {}", self.monitor_sha256)
    }
}

impl fmt::Display for MemberReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:<20} {:>9} bytes, SHA-256 {}", self.name, self.size, self.sha256)?;
        let Some(elf) = &self.elf else { return Ok(()) };
        let kind = match elf.kind {
            object::elf::ET_EXEC => "ET_EXEC",
            object::elf::ET_DYN => "ET_DYN",
            _ => "another type of ELF file",
        };
        let arch = Architecture::from_elf_machine(elf.machine);
        let arch = arch.map_or_else(|| format!("machine {}", elf.machine), |arch| arch.to_string());
        let (abi, relocations) = if self.purecap {
            let count = elf.capability_relocations();
            ("purecap", format!("{count} capability relocations"))
        } else {
            ("hybrid", format!("{} relocations", elf.relocations.len()))
        };
        let handler = elf.handler.map_or("", |_| ", can serve");
        writeln!(
            f,
            "      {kind} {arch} {abi}, entry {:#x}, {relocations}, {} functions{handler}, {} of memory",
            elf.entry,
            elf.functions,
            format_size(elf.memory_size())
        )?;
        for segment in &elf.segments {
            writeln!(
                f,
                "      {}  {:#010x}  {:>9} bytes, {} in the file",
                segment.permissions(),
                segment.address,
                segment.memory_size,
                segment.file_size
            )?;
        }
        if let Some(tls) = elf.tls {
            writeln!(
                f,
                "      TLS  {:#010x}  {:>9} bytes, {} in the file",
                tls.address, tls.memory_size, tls.file_size
            )?;
        }
        Ok(())
    }
}

fn write_cvm(f: &mut fmt::Formatter<'_>, index: usize, cvm: &CvmSpec) -> fmt::Result {
    writeln!(f, "  cVM {index} {}", cvm.name)?;
    let mut line = |key: &str, value: String| writeln!(f, "      {key:<14} {value}");
    line(names::RUNTIME, cvm.runtime.clone())?;
    if !cvm.args.is_empty() {
        line(names::ARGS, format!("{:?}", cvm.args))?;
    }
    if !cvm.env.is_empty() {
        line(names::ENV, format!("{:?}", cvm.env))?;
    }
    let base = cvm
        .isolation_base
        .map_or_else(|| "placed by the monitor".into(), |base| format!("{base:#x}"));
    let size = cvm
        .isolation_size
        .map_or_else(|| "as much as needed".into(), format_size);
    line("isolation", format!("{base}, {size}"))?;
    for (number, value) in names::NUMBERS.iter().zip(cvm.numbers()) {
        let value = match number.unit {
            Unit::Bytes => format_size(value),
            Unit::Nanoseconds => format_duration(value),
            Unit::Count => value.to_string(),
            Unit::Decision => ["as the program's header says", "yes", "no"][value.min(2) as usize].to_owned(),
        };
        if number.effect != Effect::Client || cvm.is_served() {
            line(number.name, value)?;
        }
    }
    let policy = cvm.restart.policy.name();
    line(
        "restart",
        match cvm.restart.policy {
            names::RestartPolicy::Never => policy.into(),
            _ => format!(
                "{policy}, at most {}, after {}",
                cvm.restart.limit,
                format_duration(cvm.restart.delay)
            ),
        },
    )?;
    line(
        names::WAIT,
        match cvm.wait {
            ..0 => "the next cVM starts at once".into(),
            0 => "the next cVM starts when this one has ended".into(),
            1.. => format!("the next cVM starts {} s later, or when this one has ended", cvm.wait),
        },
    )?;
    line(names::CALLBACK_OUT, cvm.callback_out.clone())?;
    if let Some(outer) = &cvm.within {
        line(names::WITHIN, outer.clone())?;
    }
    let families: Vec<&str> = Family::ALL
        .into_iter()
        .filter(|family| cvm.allows(*family))
        .map(Family::name)
        .collect();
    line(names::HOSTCALLS, families.join(", "))?;
    if !cvm.devices.is_empty() {
        line(names::DEVICES, cvm.devices.join(", "))?;
    }
    for (name, texts) in [(names::GATES, &cvm.gates), (names::CALLS, &cvm.calls)] {
        if !texts.is_empty() {
            line(name, texts.join(", "))?;
        }
    }
    Ok(())
}
