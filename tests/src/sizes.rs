//! What the bytes of the image are: text by the crate or the kernel's room that it is of, and the rest by section.

use std::collections::BTreeMap;

use abi::image::ImageHeader;
use object::elf::{SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHT_NOBITS};
use object::read::elf::{ElfFile64, SectionHeader as _};
use object::{Endianness, Object as _, ObjectSection as _};
use tools::Architecture;
use tools::elf::functions;
use tools::image::{Image, build};

use crate::artifacts::built;

/// The image without an archive.
pub struct Sizes {
    /// Bytes of its file.
    pub file: u64,
    /// What they are, in the order of a page.
    pub parts: Vec<(String, u64)>,
    /// What is in memory alone: bytes of stacks, of bss, of what pads the text.
    pub memory: [(&'static str, u64); 3],
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Whose function that is: a room of the kernel, another crate of the image, the libraries (what is generic counts as theirs where
/// it is), or assembly.
fn owner(name: &str) -> String {
    let name = format!("{:#}", rustc_demangle::demangle(name));
    let path = name.trim_start_matches(['<', '&']);
    let path = path.split(['<', '>', ' ', '(']).next().unwrap_or_default();
    let mut segments = path.split("::");
    match (segments.next().unwrap_or_default(), segments.next()) {
        ("kernel", Some(room)) if room.starts_with(char::is_lowercase) => format!("text: kernel::{room}"),
        (own @ ("abi" | "arch" | "boot" | "capability" | "kernel"), _) => format!("text: {own}"),
        (_, None) if !name.starts_with('<') => "text: assembly, entries, memory functions".into(),
        _ => "text: libraries".into(),
    }
}

/// The sizes for this architecture.
///
/// # Errors
/// The image cannot be built or read.
pub fn of(arch: Architecture) -> Result<Sizes> {
    let monitor = &built(arch).monitor;
    let image = build(monitor, arch, None)?;
    let ImageHeader {
        symbols_size,
        link_address,
        gap_start,
        ..
    } = Image::parse(&image)?.header;
    let end = link_address + gap_start;
    let mut text: BTreeMap<String, u64> = BTreeMap::new();
    let functions = functions(monitor)?;
    let starts: Vec<_> = functions.iter().take_while(|function| function.address < end).collect();
    let ends = starts.iter().skip(1).map(|function| function.address).chain([end]);
    for (function, end) in starts.iter().zip(ends) {
        *text.entry(owner(&function.name)).or_default() += end - function.address;
    }
    let mut others = ["stacks", "bss", "padding of the text", "rodata", "relocations", "data"].map(|name| (name, 0));
    let file = ElfFile64::<Endianness>::parse(&**monitor)?;
    for section in file.sections() {
        let (header, size) = (section.elf_section_header(), section.size());
        let flags = header.sh_flags(Endianness::Little);
        let is = |flag: u32| flags & u64::from(flag) != 0;
        let (name, bytes) = match section.name()? {
            _ if !is(SHF_ALLOC) => continue,
            ".stack" => ("stacks", size),
            _ if header.sh_type(Endianness::Little) == SHT_NOBITS => ("bss", size),
            _ if is(SHF_EXECINSTR) => ("padding of the text", size - gap_start),
            ".relr.dyn" => ("relocations", size),
            name if is(SHF_WRITE) && name.starts_with(".data") => ("data", size),
            _ => ("rodata", size),
        };
        let part = others.iter_mut().find(|(known, _)| *known == name);
        part.ok_or(name)?.1 += bytes;
    }
    let [stacks, bss, padding, sections @ ..] = others;
    let file = image.len() as u64;
    let sections = sections.into_iter().chain([("symbols for backtraces", symbols_size)]);
    let sections = sections.map(|(name, bytes)| (name.to_owned(), bytes));
    let mut parts: Vec<(String, u64)> = text.into_iter().chain(sections).collect();
    let sum: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    parts.push(("alignment".into(), file.saturating_sub(sum)));
    Ok(Sizes {
        file,
        parts,
        memory: [stacks, bss, padding],
    })
}
