//! `intravisor.img`: the monitor, its symbols, the archive. The layout is in [`abi::image`].

use std::collections::{BTreeMap, BTreeSet};

use abi::image::{GAP_UNIT, ImageHeader, MEMORY_SIZE_OFFSET, OFFSET, PART_ALIGNMENT, SYMBOL_NAME_LIMIT, VERSION};
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use object::{LittleEndian, elf};

use crate::Architecture;
use crate::elf::{ElfError, functions};

/// Offset of the magic number of an arm64 Linux Image header.
const ARM64_MAGIC_OFFSET: usize = 0x38;
/// The magic number of an arm64 Linux Image header.
const ARM64_MAGIC: &[u8] = b"ARM\x64";

/// Most bytes that a monitor may take in memory: an image is loaded whole, before anything can refuse it.
const MONITOR_LIMIT: u64 = 64 << 20;

/// Why an image cannot be made or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The monitor is no ELF file.
    #[error("monitor: {0}")]
    Elf(#[from] ElfError),
    /// The monitor has nothing to load, or too much.
    #[error("monitor: its segments take {size:#x} bytes of memory, expected 1 to {MONITOR_LIMIT:#x}")]
    MonitorSize {
        /// Bytes from the first to the last.
        size: u64,
    },
    /// A segment of the monitor lies outside of its file.
    #[error("monitor: segment at {address:#x} lies outside of the file")]
    Segment {
        /// Its address.
        address: u64,
    },
    /// There is no image header in the monitor or the file.
    #[error("no image header: expected \"intravsr\" and version {VERSION} at offset {OFFSET:#x}")]
    NoHeader,
    /// The header and the ELF file disagree.
    #[error("image header: machine {found}, expected {expected} as the monitor's ELF header says")]
    Machine {
        /// In the image header.
        found: u32,
        /// In the ELF header.
        expected: u16,
    },
    /// A part lies outside of the image.
    #[error("image header: {part} at {offset:#x}, {size:#x} bytes: outside of the {file:#x} bytes of the image")]
    Part {
        /// Which part.
        part: &'static str,
        /// Its offset.
        offset: u64,
        /// Its bytes.
        size: u64,
        /// Bytes of the file.
        file: u64,
    },
    /// The monitor has something where the end of the image is to lie.
    #[error("image header: gap {start:#x} to {end:#x}: expected zeros, within the {size:#x} bytes of the monitor")]
    Gap {
        /// Its start.
        start: u64,
        /// Behind its end.
        end: u64,
        /// Bytes of the monitor.
        size: u64,
    },
    /// An arm64 image without the header for EFI firmware.
    #[error("image header: an arm64 image without a PE header, or larger than 4 GiB")]
    NoPeHeader,
    /// The monitor's symbols do not fit the 32-bit offsets of the table.
    #[error("symbol table: larger than 4 GiB")]
    Symbols,
}

impl ImageError {
    fn part(part: &'static str, offset: u64, size: u64, file: u64) -> ImageError {
        ImageError::Part {
            part,
            offset,
            size,
            file,
        }
    }
}

/// The monitor as it lies in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flat {
    /// From the lowest loaded byte to the end of bss.
    pub bytes: Vec<u8>,
    /// `e_machine`.
    pub machine: u16,
    /// Link address of each segment, its bytes, and its offset in `bytes`.
    segments: Vec<(u64, u64, u64)>,
}

impl Flat {
    /// Lays the loaded segments of an ELF file out by their physical addresses.
    ///
    /// # Errors
    /// It is not an ELF64 little-endian file, or its segments are outside of it, absent or absurd.
    pub fn new(monitor: &[u8]) -> Result<Flat, ImageError> {
        let malformed = |error: object::Error| ImageError::Elf(ElfError::Malformed(error.to_string()));
        if !monitor.starts_with(&elf::ELFMAG) {
            return Err(ElfError::NotElf.into());
        }
        let header = elf::FileHeader64::<LittleEndian>::parse(monitor).map_err(malformed)?;
        let endian = header.endian().map_err(malformed)?;
        let loads: Vec<_> = header
            .program_headers(endian, monitor)
            .map_err(malformed)?
            .iter()
            .filter(|segment| segment.p_type(endian) == elf::PT_LOAD && segment.p_memsz(endian) != 0)
            .collect();
        let start = loads.iter().map(|segment| segment.p_paddr(endian)).min().unwrap_or(0);
        let end = |segment: &&elf::ProgramHeader64<_>| segment.p_paddr(endian).saturating_add(segment.p_memsz(endian));
        let size = loads.iter().map(end).max().unwrap_or(0) - start;
        if size == 0 || size > MONITOR_LIMIT {
            return Err(ImageError::MonitorSize { size });
        }
        let mut bytes = vec![0; size as usize];
        let mut segments = Vec::new();
        for segment in loads {
            let address = segment.p_paddr(endian);
            let data = segment
                .data(endian, monitor)
                .map_err(|()| ImageError::Segment { address })?;
            let place = (address - start) as usize;
            let target = bytes
                .get_mut(place..place + data.len())
                .ok_or(ImageError::Segment { address })?;
            target.copy_from_slice(data);
            segments.push((segment.p_vaddr(endian), segment.p_memsz(endian), place as u64));
        }
        Ok(Flat {
            bytes,
            machine: header.e_machine(endian),
            segments,
        })
    }

    /// Offset in the image of a link address.
    fn offset(&self, address: u64) -> Option<u64> {
        self.segments
            .iter()
            .find(|(start, size, _)| address >= *start && address - start < *size)
            .map(|(start, _, place)| address - start + place)
    }
}

/// The symbol table for [`abi::image::Symbols`]: the functions of the monitor, demangled, by their offset in the image.
///
/// # Errors
/// The symbols of the ELF file cannot be read.
pub fn symbol_table(monitor: &[u8], flat: &Flat) -> Result<Vec<u8>, ImageError> {
    let mut names = BTreeMap::new();
    for function in functions(monitor)? {
        let offset = flat
            .offset(function.address)
            .and_then(|offset| u32::try_from(offset).ok());
        if let Some(offset) = offset {
            names
                .entry(offset)
                .or_insert_with(|| shorten(&format!("{:#}", rustc_demangle::demangle(&function.name))));
        }
    }
    encode_symbols(&names)
}

/// A demangled name as backtraces show it: what stands in angle brackets, which are the types and traits of an
/// implementation or of generic code, without the modules of the core libraries.
fn shorten(name: &str) -> String {
    let mut short = String::new();
    let mut depth = 0_u32;
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let end = rest.find(|c| !path(c)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(if end == 0 { first.len_utf8() } else { end });
        let library = ["core::", "alloc::", "compiler_builtins::"]
            .iter()
            .any(|library| word.starts_with(library));
        short += match word.rfind("::") {
            Some(at) if depth > 0 && library => &word[at + 2..],
            _ => word,
        };
        match first {
            '<' => depth += 1,
            '>' if !short.ends_with("->") => depth = depth.saturating_sub(1),
            _ => {}
        }
        rest = behind;
    }
    short
}

fn encode_symbols(functions: &BTreeMap<u32, String>) -> Result<Vec<u8>, ImageError> {
    let count = u32::try_from(functions.len()).map_err(|_| ImageError::Symbols)?;
    let cut = |name: &str| {
        let ends = (0..=name.len().min(SYMBOL_NAME_LIMIT)).rev();
        let end = ends.into_iter().find(|end| name.is_char_boundary(*end));
        name.as_bytes()[..end.unwrap_or_default()].to_vec()
    };
    // Functions of one name, as generic ones are for several types, share it; and neighbours in the alphabet how they begin.
    let names: BTreeSet<Vec<u8>> = functions.values().map(|name| cut(name)).collect();
    let numbers: BTreeMap<&Vec<u8>, usize> = names.iter().zip(0..).collect();
    let mut table = count.to_le_bytes().to_vec();
    for offset in functions.keys() {
        table.extend(offset.to_le_bytes());
    }
    for name in functions.values() {
        let number = u16::try_from(numbers[&cut(name)]).map_err(|_| ImageError::Symbols)?;
        table.extend(number.to_le_bytes());
    }
    let mut before: &[u8] = &[];
    for name in &names {
        let shared = before.iter().zip(name).take_while(|(one, other)| one == other).count();
        // At most the limit, which a byte can say.
        table.push(shared as u8);
        table.extend(&name[shared..]);
        table.push(0);
        before = name;
    }
    Ok(table)
}

/// The image of this monitor (an ELF file with a header at [`OFFSET`]) with this archive; without one the image has
/// no archive and wants an initrd. The archive is not looked at.
///
/// # Errors
/// The monitor cannot be laid out, or has no header, or one for another machine.
pub fn build(monitor: &[u8], arch: Architecture, archive: Option<&[u8]>) -> Result<Vec<u8>, ImageError> {
    let flat = Flat::new(monitor)?;
    if flat.machine != arch.elf_machine() {
        return Err(ElfError::Machine {
            found: flat.machine,
            arch,
        }
        .into());
    }
    let symbols = symbol_table(monitor, &flat)?;
    let template = read_header(&flat.bytes)?;
    if template.machine != u32::from(flat.machine) {
        return Err(ImageError::Machine {
            found: template.machine,
            expected: flat.machine,
        });
    }
    let monitor_size = flat.bytes.len() as u64;
    let mut memory = flat.bytes;
    let mut append = |part: &[u8], alignment: u64| {
        if part.is_empty() {
            return (0, 0);
        }
        let offset = memory.len().next_multiple_of(alignment as usize);
        memory.resize(offset, 0);
        memory.extend(part);
        (offset as u64, part.len() as u64)
    };
    let (symbols_offset, symbols_size) = append(&symbols, PART_ALIGNMENT);
    // The monitor reads the archive through a capability over nothing that is before it.
    let archive = archive.unwrap_or_default();
    let bounds = arch.representable(archive.len() as u64);
    let alignment = bounds.map_or(PART_ALIGNMENT, |(_, alignment)| alignment.max(PART_ALIGNMENT));
    let (archive_offset, archive_size) = append(archive, alignment);
    memory.resize(memory.len().next_multiple_of(GAP_UNIT as usize), 0);
    let size = memory.len() as u64;
    let gap = memory.get(template.gap_start as usize..template.gap_end as usize);
    if template.gap_end > monitor_size || gap.is_none_or(|gap| gap.iter().any(|byte| *byte != 0)) {
        return Err(ImageError::Gap {
            start: template.gap_start,
            end: template.gap_end,
            size: monitor_size,
        });
    }
    let header = ImageHeader {
        monitor_size,
        symbols_offset,
        symbols_size,
        archive_offset,
        archive_size,
        gap_used: (template.gap_end - template.gap_start).min(size - template.gap_end),
        ..template
    };
    memory[OFFSET..OFFSET + ImageHeader::SIZE].copy_from_slice(&header.to_bytes());
    memory[MEMORY_SIZE_OFFSET..MEMORY_SIZE_OFFSET + 8].copy_from_slice(&size.to_le_bytes());
    let mut image = fold(memory, &header);
    if image[ARM64_MAGIC_OFFSET..].starts_with(ARM64_MAGIC) {
        image.resize(image.len().next_multiple_of(pe::FILE_ALIGNMENT), 0);
        pe::fill_in(&mut image, size).ok_or(ImageError::NoPeHeader)?;
    }
    Ok(image)
}

/// The file of what is in memory: its end lies in the gap.
fn fold(mut memory: Vec<u8>, header: &ImageHeader) -> Vec<u8> {
    let end = memory.len() - header.gap_used as usize;
    memory.copy_within(end.., header.gap_start as usize);
    memory.truncate(file_size(end as u64, header) as usize);
    memory
}

/// Bytes of the file, when what lies in the gap has its place at `end`.
fn file_size(end: u64, header: &ImageHeader) -> u64 {
    if end == header.gap_end {
        header.gap_start + header.gap_used
    } else {
        end
    }
}

/// What is in memory of this file.
///
/// # Errors
/// The header does not fit the file.
fn unfold(file: &[u8], header: &ImageHeader) -> Result<Vec<u8>, ImageError> {
    let ImageHeader {
        gap_start,
        gap_end,
        gap_used,
        ..
    } = *header;
    let size = file.get(MEMORY_SIZE_OFFSET..).and_then(<[u8]>::first_chunk);
    let size = size.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let end = size.checked_sub(gap_used).filter(|end| {
        let fits = gap_end.checked_sub(gap_start).is_some_and(|room| gap_used <= room);
        fits && gap_end <= (*end).min(MONITOR_LIMIT) && file_size(*end, header) <= file.len() as u64
    });
    let end = end.ok_or_else(|| ImageError::part("gap", gap_start, gap_used, file.len() as u64))? as usize;
    let (start, gap) = (gap_start as usize, gap_start as usize..gap_end as usize);
    let moved = &file[start..start + gap_used as usize];
    let mut memory = file[..end.min(file.len())].to_vec();
    memory.resize(end, 0);
    memory[gap].fill(0);
    memory.extend(moved);
    Ok(memory)
}

/// The header by which EFI firmware loads an arm64 image (Microsoft PE Format). The monitor brings it with two sections:
/// text, and data, which ends with the file, and in memory with the image.
mod pe {
    /// The file's size is a multiple of this many bytes.
    pub(super) const FILE_ALIGNMENT: usize = 512;
    const MEMORY_ALIGNMENT: u32 = 4096;
    /// Offset in the image of the offset of the header.
    const POINTER: usize = 0x3c;
    /// Bytes of the signature and the COFF header behind it, and where in them the size of the optional header is.
    const COFF: usize = 24;
    const OPTIONAL_SIZE: usize = 20;
    /// Offsets in the optional header.
    const DATA_SIZE: usize = 8;
    const IMAGE_SIZE: usize = 56;
    /// Bytes of a section's header, and offsets in it.
    const SECTION: usize = 40;
    const MEMORY_SIZE: usize = 8;
    const ADDRESS: usize = 12;
    const FILE_SIZE: usize = 16;

    /// Writes the sizes that depend on those of the file and in memory; `None` when there is no such header.
    pub(super) fn fill_in(image: &mut [u8], memory: u64) -> Option<()> {
        let word = |image: &[u8], at: usize| Some(u32::from_le_bytes(*image.get(at..)?.first_chunk()?));
        let header = word(image, POINTER)? as usize;
        if !image.get(header..)?.starts_with(b"PE\0\0") {
            return None;
        }
        let optional = header + COFF;
        let sections = optional + (word(image, header + OPTIONAL_SIZE)? & 0xffff) as usize;
        let data = sections + SECTION;
        let end = u32::try_from(memory.max(image.len() as u64)).ok()?;
        let start = word(image, data + ADDRESS)?;
        let size = (image.len() as u32).checked_sub(start)?;
        for (at, value) in [
            (optional + DATA_SIZE, size),
            (optional + IMAGE_SIZE, end.next_multiple_of(MEMORY_ALIGNMENT)),
            (data + MEMORY_SIZE, end.checked_sub(start)?),
            (data + FILE_SIZE, size),
        ] {
            image.get_mut(at..at + 4)?.copy_from_slice(&value.to_le_bytes());
        }
        Some(())
    }
}

fn read_header(image: &[u8]) -> Result<ImageHeader, ImageError> {
    let bytes = image
        .get(OFFSET..)
        .and_then(<[u8]>::first_chunk)
        .ok_or(ImageError::NoHeader)?;
    ImageHeader::from_bytes(bytes).ok_or(ImageError::NoHeader)
}

/// An image taken apart.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its header.
    pub header: ImageHeader,
    /// The image in memory.
    memory: Vec<u8>,
}

impl Image {
    /// Takes an image apart.
    ///
    /// # Errors
    /// There is no header at [`OFFSET`], or a part lies outside of the file.
    pub fn parse(file: &[u8]) -> Result<Image, ImageError> {
        let header = read_header(file)?;
        let memory = unfold(file, &header)?;
        let size = memory.len() as u64;
        for (part, offset, bytes) in [
            ("monitor", 0, header.monitor_size),
            ("symbol table", header.symbols_offset, header.symbols_size),
            ("archive", header.archive_offset, header.archive_size),
        ] {
            if offset.checked_add(bytes).is_none_or(|end| end > size) {
                return Err(ImageError::part(part, offset, bytes, size));
            }
        }
        Ok(Image { header, memory })
    }

    fn part(&self, offset: u64, size: u64) -> &[u8] {
        &self.memory[offset as usize..(offset + size) as usize]
    }

    /// The monitor, stacks and bss included.
    pub fn monitor(&self) -> &[u8] {
        self.part(0, self.header.monitor_size)
    }

    /// The symbol table; empty = absent.
    pub fn symbols(&self) -> &[u8] {
        self.part(self.header.symbols_offset, self.header.symbols_size)
    }

    /// The archive; empty = absent.
    pub fn archive(&self) -> &[u8] {
        self.part(self.header.archive_offset, self.header.archive_size)
    }

    /// What is measured of the monitor: its constant part, without what [`build`] fills in; the same bytes in every image of
    /// one build of it, and what the monitor finds in memory.
    pub fn constant_part(&self) -> &[u8] {
        let ImageHeader {
            constant_start: start,
            constant_end: end,
            ..
        } = self.header;
        // A damaged header may say anything.
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        range
            .and_then(|(start, end)| self.monitor().get(start..end))
            .unwrap_or_default()
    }

    /// The number of functions in the symbol table.
    pub fn symbol_count(&self) -> u32 {
        self.symbols()
            .first_chunk()
            .map_or(0, |count| u32::from_le_bytes(*count))
    }
}

#[cfg(test)]
mod tests {
    use abi::image::{MAGIC, Symbols};

    use super::*;
    use crate::elf::synthesis::{Elf, Load};

    const BASE: u64 = 0x8000_0000;

    fn monitor(arch: Architecture, machine: u32) -> Elf {
        let mut text = vec![0x13; 0x2000];
        let header = ImageHeader {
            magic: MAGIC,
            version: VERSION,
            machine,
            monitor_size: 0,
            symbols_offset: 0,
            symbols_size: 0,
            archive_offset: 0,
            archive_size: 0,
            constant_start: 0x90,
            constant_end: 0x180,
            link_address: 0x8000_0000,
            gap_start: 0x2000,
            gap_end: 0x4000,
            gap_used: 0,
        };
        text[OFFSET..OFFSET + ImageHeader::SIZE].copy_from_slice(&header.to_bytes());
        let mut elf = Elf::program(arch, &text);
        elf.loads[0].address = BASE;
        elf.loads[1] = Load {
            memory_size: 0x3000,
            ..Load::new(BASE + 0x4000, &[0xda; 0x1800], 6)
        };
        elf.functions = vec![
            (BASE + 0x1000, 0x100, "_ZN6kernel5start17h0123456789abcdefE".into()),
            (BASE, 4, "reset".into()),
        ];
        elf
    }

    #[test]
    fn an_image_holds_monitor_symbols_and_archive_on_aligned_offsets() {
        let image = build(
            &monitor(Architecture::CheriRiscv, 243).to_bytes(),
            Architecture::CheriRiscv,
            Some(b"archive"),
        )
        .unwrap();
        let parts = Image::parse(&image).unwrap();
        assert_eq!(parts.header.monitor_size, 0x7000);
        let monitor = parts.monitor();
        assert_eq!(monitor[0x1000..0x2000], [0x13; 0x1000]);
        assert_eq!(monitor[0x2000..0x4000], [0; 0x2000], "the gap is zero");
        assert_eq!(monitor[0x4000..0x5800], [0xda; 0x1800]);
        assert_eq!(monitor[0x5800..0x7000], [0; 0x1800], "what is no segment is zero");
        assert_eq!(parts.header.symbols_offset, 0x7000);
        assert_eq!(parts.archive(), b"archive");
        assert_eq!(parts.header.archive_offset % PART_ALIGNMENT, 0);
    }

    #[test]
    fn the_end_of_an_image_lies_in_the_gap_of_its_file() {
        let arch = Architecture::CheriRiscv;
        let elf = monitor(arch, 243).to_bytes();
        // With nothing behind the monitor's data, less than the gap; with a little; and with more than the gap.
        for size in [0, 1, 0x1000, 0x2000, 0x12345] {
            let archive: Vec<u8> = (0..size).map(|at: u32| (at >> 4) as u8 | 1).collect();
            let image = build(&elf, arch, Some(&archive)).unwrap();
            let parts = Image::parse(&image).unwrap();
            assert!(parts.archive() == archive, "{size:#x} bytes");
            let memory = u64::from_le_bytes(*image[MEMORY_SIZE_OFFSET..].first_chunk().unwrap());
            let used = parts.header.gap_used;
            assert_eq!(used, 0x2000.min(memory - 0x4000), "as much of it as there is room");
            assert!(memory.is_multiple_of(GAP_UNIT) && used.is_multiple_of(GAP_UNIT));
            assert_eq!(image.len() as u64, memory - 0x2000, "the gap is not in the file");
            let symbols = parts.symbols().len() as u64;
            assert!(memory - 0x7000 - symbols - u64::from(size) < 3 * GAP_UNIT);
        }
    }

    #[test]
    fn an_archive_begins_where_a_capability_can() {
        for (arch, machine) in [(Architecture::CheriRiscv, 243), (Architecture::Morello, 183)] {
            for size in [1, 0x4_0001, 0x300_1001] {
                let image = build(&monitor(arch, machine).to_bytes(), arch, Some(&vec![1; size])).unwrap();
                let offset = Image::parse(&image).unwrap().header.archive_offset;
                let (_, alignment) = arch.representable(size as u64).unwrap();
                assert_eq!(offset % alignment.max(PART_ALIGNMENT), 0, "{arch:?}, {size:#x} bytes");
            }
        }
    }

    #[test]
    fn the_symbol_table_finds_demangled_functions_by_offset() {
        let image = build(
            &monitor(Architecture::CheriRiscv, 243).to_bytes(),
            Architecture::CheriRiscv,
            None,
        )
        .unwrap();
        let parts = Image::parse(&image).unwrap();
        assert_eq!((parts.symbol_count(), parts.archive()), (2, &[][..]));
        let found = |offset: u32| {
            let (name, distance) = Symbols::new(parts.symbols()).lookup(offset)?;
            Some((name.to_string(), distance))
        };
        assert_eq!(found(0), Some(("reset".to_owned(), 0)));
        assert_eq!(found(0xfff), Some(("reset".to_owned(), 0xfff)));
        assert_eq!(found(0x1010), Some(("kernel::start".to_owned(), 0x10)));
    }

    #[test]
    fn names_of_functions_are_short_and_keep_what_is_ours() {
        for (name, short) in [
            ("kernel::trap::handle", "kernel::trap::handle"),
            (
                "core::slice::index::slice_index_fail",
                "core::slice::index::slice_index_fail",
            ),
            (
                "<alloc::string::String as core::fmt::Write>::write_char",
                "<String as Write>::write_char",
            ),
            (
                "<kernel::console::OneLine as core::fmt::Write>::write_str",
                "<kernel::console::OneLine as Write>::write_str",
            ),
            (
                "<core::option::Option<fn(u8) -> alloc::string::String> as rt::Call>::call::{{closure}}",
                "<Option<fn(u8) -> String> as rt::Call>::call::{{closure}}",
            ),
        ] {
            assert_eq!(shorten(name), short);
        }
    }

    #[test]
    fn equal_names_and_beginnings_of_names_stand_once() {
        let names = [
            (4, "kernel::run"),
            (8, "kernel::start"),
            (16, "kernel::run"),
            (24, "other"),
            (32, "kernel"),
        ];
        let table = encode_symbols(&names.map(|(at, name)| (at, name.to_owned())).into()).unwrap();
        let rests = ["kernel", "::run", "start", "other"].map(|rest| rest.len() + 2);
        assert_eq!(table.len(), 4 + 5 * 6 + rests.iter().sum::<usize>());
        for (at, name) in names {
            let (found, distance) = Symbols::new(&table).lookup(at + 1).unwrap();
            assert_eq!((found.as_str(), distance), (name, 1));
        }
        assert_eq!(Symbols::new(&table).lookup(3), None, "before the first one");
    }

    #[test]
    fn a_long_name_is_cut_and_a_damaged_table_says_nothing_wrong() {
        let long = "é".repeat(200);
        let table = encode_symbols(&BTreeMap::from([(0, "a".to_owned()), (8, long.clone())])).unwrap();
        let (found, _) = Symbols::new(&table).lookup(9).unwrap();
        assert!(found.as_str().len() >= SYMBOL_NAME_LIMIT - 1 && long.starts_with(found.as_str()));
        for end in 0..table.len() {
            let found = Symbols::new(&table[..end]).lookup(9);
            assert_eq!(found, None, "{end} bytes of {}", table.len());
        }
        for at in 0..table.len() {
            for value in 0..=255 {
                let mut damaged = table.clone();
                damaged[at] = value;
                // Whatever comes of it, it comes to an end.
                let _ = Symbols::new(&damaged).lookup(9).map(|(name, _)| name.as_str().len());
            }
        }
    }

    #[test]
    fn the_arm64_header_covers_the_appended_parts() {
        let mut elf = monitor(Architecture::Morello, 183);
        let mut write = |at: usize, bytes: &[u8]| elf.loads[0].data[at..at + bytes.len()].copy_from_slice(bytes);
        write(ARM64_MAGIC_OFFSET, ARM64_MAGIC);
        // An optional header of 0x70 bytes; the data section starts at 0x4000.
        write(0x3c, &0xc8_u32.to_le_bytes());
        write(0xc8, b"PE\0\0");
        write(0xc8 + 20, &0x70_u16.to_le_bytes());
        write(0xe0 + 0x70 + 40 + 12, &0x4000_u32.to_le_bytes());
        let image = build(&elf.to_bytes(), Architecture::Morello, Some(&[1; 5000])).unwrap();
        let word = |at: usize| u32::from_le_bytes(*image[at..].first_chunk().unwrap()) as usize;
        assert!(image.len().is_multiple_of(512));
        let memory = word(MEMORY_SIZE_OFFSET);
        assert_eq!(
            memory,
            0x7000 + (Image::parse(&image).unwrap().symbols().len() + 5000).next_multiple_of(128)
        );
        assert_eq!(word(0xe0 + 8), image.len() - 0x4000, "initialised data");
        assert_eq!(word(0xe0 + 56), memory.next_multiple_of(4096), "bytes in memory");
        assert_eq!(word(0xe0 + 0x70 + 40 + 8), memory - 0x4000, "the section in memory");
        assert_eq!(
            word(0xe0 + 0x70 + 40 + 16),
            image.len() - 0x4000,
            "the section in the file"
        );
        elf.loads[0].data[0xc8] = 0;
        assert_eq!(
            build(&elf.to_bytes(), Architecture::Morello, None),
            Err(ImageError::NoPeHeader)
        );
    }

    #[test]
    fn a_monitor_without_or_with_a_foreign_header_is_refused() {
        let mut bare = monitor(Architecture::CheriRiscv, 243);
        bare.loads[0].data[OFFSET] = 0;
        let text = "no image header: expected \"intravsr\" and version 4 at offset 0x40";
        assert_eq!(
            build(&bare.to_bytes(), Architecture::CheriRiscv, None)
                .unwrap_err()
                .to_string(),
            text
        );
        let foreign = build(
            &monitor(Architecture::CheriRiscv, 183).to_bytes(),
            Architecture::CheriRiscv,
            None,
        )
        .unwrap_err()
        .to_string();
        assert_eq!(
            foreign,
            "image header: machine 183, expected 243 as the monitor's ELF header says"
        );
        let other = build(
            &monitor(Architecture::CheriRiscv, 243).to_bytes(),
            Architecture::Morello,
            None,
        );
        let text = "monitor: ELF machine is 243 (RISC-V), expected 183 (AArch64) for morello";
        assert_eq!(other.unwrap_err().to_string(), text);
        let script = build(b"#!/bin/sh", Architecture::CheriRiscv, None)
            .unwrap_err()
            .to_string();
        assert_eq!(script, "monitor: not an ELF file: it does not start with 7f 45 4c 46");
    }

    #[test]
    fn absurd_monitors_are_refused() {
        let mut far = monitor(Architecture::CheriRiscv, 243);
        far.loads[1].address = 0;
        let text = "monitor: its segments take 0x80002000 bytes of memory, expected 1 to 0x4000000";
        assert_eq!(
            build(&far.to_bytes(), Architecture::CheriRiscv, None)
                .unwrap_err()
                .to_string(),
            text
        );
        let mut cut = monitor(Architecture::CheriRiscv, 243);
        cut.loads[0].offset = Some(1 << 40);
        let text = "monitor: segment at 0x80000000 lies outside of the file";
        assert_eq!(
            build(&cut.to_bytes(), Architecture::CheriRiscv, None)
                .unwrap_err()
                .to_string(),
            text
        );
        let mut swollen = monitor(Architecture::CheriRiscv, 243);
        swollen.loads[1].memory_size = 4;
        swollen.loads[1].address = BASE + 0x1000;
        assert_eq!(
            build(&swollen.to_bytes(), Architecture::CheriRiscv, None).unwrap_err(),
            ImageError::Segment { address: BASE + 0x1000 }
        );
    }

    #[test]
    fn a_header_that_points_outside_is_refused() {
        let image = build(
            &monitor(Architecture::CheriRiscv, 243).to_bytes(),
            Architecture::CheriRiscv,
            Some(b"archive"),
        )
        .unwrap();
        let error = |image: &[u8]| Image::parse(image).unwrap_err().to_string();
        let cut = error(&image[..image.len() - 1]);
        let size = image.len() - 1;
        let text = "image header: gap at 0x2000, 0x2000 bytes: outside of the";
        assert_eq!(cut, format!("{text} {size:#x} bytes of the image"));
        let damaged = |word: usize, value: u64| {
            let mut image = image.clone();
            image[OFFSET + 16 + 8 * word..][..8].copy_from_slice(&value.to_le_bytes());
            error(&image)
        };
        let memory = image.len() + 0x2000;
        let text =
            format!("image header: archive at 0x7030, 0x10000 bytes: outside of the {memory:#x} bytes of the image");
        assert_eq!(damaged(4, 0x1_0000), text);
        for (word, value) in [(8, 0x4080), (9, u64::MAX), (9, 1 << 40), (10, 0x2080), (10, u64::MAX)] {
            let error = damaged(word, value);
            assert!(error.starts_with("image header: gap at"), "{word} {value:#x}: {error}");
        }
    }

    #[test]
    fn a_monitor_with_something_in_its_gap_is_refused() {
        let mut elf = monitor(Architecture::CheriRiscv, 243);
        elf.loads[0].data.push(1);
        let text = "image header: gap 0x2000 to 0x4000: expected zeros, within the 0x7000 bytes of the monitor";
        let error = build(&elf.to_bytes(), Architecture::CheriRiscv, None).unwrap_err();
        assert_eq!(error.to_string(), text);
    }
}
