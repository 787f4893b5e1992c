//! Leaves debug information out of a program. What is loaded keeps its bytes and its place in the file; behind it come
//! a symbol table of the functions, for backtraces, and the headers of the loaded sections.

use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, SectionTable, Sym as _};
use object::write::StreamingBuffer;
use object::write::elf::{SectionHeader, SectionIndex, Sym, Writer};
use object::{Endianness, elf};

use super::{ElfError, Header, LE, header, malformed};

/// The program without debug information, or as it is when that would not make it smaller.
///
/// # Errors
/// The file is not ELF64 little endian, or one of its tables lies outside of it.
pub fn strip(file: &[u8]) -> Result<Vec<u8>, ElfError> {
    let header = header(file)?;
    let sections = header.sections(LE, file).map_err(malformed)?;
    if sections.is_empty() {
        return Ok(file.to_vec());
    }
    let kept = kept_size(file, header, &sections)?;
    let stripped = write(file, kept, &sections)?;
    Ok(if stripped.len() < file.len() {
        stripped
    } else {
        file.to_vec()
    })
}

/// The program without the program header by which its relocations are found, for one that carries them out itself.
///
/// # Errors
/// The file is not ELF64 little endian, or its headers lie outside of it.
pub fn without_dynamic(file: &[u8]) -> Result<Vec<u8>, ElfError> {
    let header = header(file)?;
    let table = usize::try_from(header.e_phoff(LE)).unwrap_or(usize::MAX);
    let kinds = header.program_headers(LE, file).map_err(malformed)?;
    let mut changed = file.to_vec();
    for (index, _) in kinds
        .iter()
        .enumerate()
        .filter(|(_, segment)| segment.p_type(LE) == elf::PT_DYNAMIC)
    {
        let at = table + index * size_of::<elf::ProgramHeader64<object::LittleEndian>>();
        changed[at..at + 4].copy_from_slice(&elf::PT_NULL.to_le_bytes());
    }
    Ok(changed)
}

/// Bytes from the start of the file that belong to headers, segments or loaded sections. A segment without bytes counts
/// by its offset: the loader wants that inside the file as well.
fn kept_size(file: &[u8], header: &Header, sections: &SectionTable<'_, Header>) -> Result<usize, ElfError> {
    let program_headers = header.program_headers(LE, file).map_err(malformed)?;
    let table = header.e_phoff(LE) + size_of_val(program_headers) as u64;
    let segments = program_headers
        .iter()
        .map(|segment| segment.p_offset(LE).saturating_add(segment.p_filesz(LE)));
    let loaded = sections
        .iter()
        .filter(|section| loaded(section))
        .filter_map(|section| section.file_range(LE));
    let ends = segments.chain(loaded.map(|(offset, size)| offset.saturating_add(size)));
    let end = ends.chain([table, size_of::<Header>() as u64]).max().unwrap_or(0);
    match usize::try_from(end) {
        Ok(end) if end <= file.len() => Ok(end),
        _ => Err(ElfError::Malformed(format!(
            "content up to {end:#x} in a file of {:#x} bytes",
            file.len()
        ))),
    }
}

fn loaded(section: &elf::SectionHeader64<object::LittleEndian>) -> bool {
    section.sh_flags(LE) & u64::from(elf::SHF_ALLOC) != 0
}

fn write(file: &[u8], kept: usize, sections: &SectionTable<'_, Header>) -> Result<Vec<u8>, ElfError> {
    let symbols = sections.symbols(LE, file, elf::SHT_SYMTAB).map_err(malformed)?;
    let mut buffer = StreamingBuffer::new(Vec::new());
    let mut writer = Writer::new(Endianness::Little, true, &mut buffer);
    writer.reserve_until(kept);

    writer.reserve_null_section_index();
    let mut new_indices = vec![None; sections.len()];
    let mut kept_headers = Vec::new();
    for (index, section) in sections.enumerate().filter(|(_, section)| loaded(section)) {
        let name = sections.section_name(LE, section).map_err(malformed)?;
        kept_headers.push((writer.add_section_name(name), section));
        new_indices[index.0] = Some(writer.reserve_section_index());
    }
    let mut functions = Vec::new();
    for symbol in symbols.iter().filter(|symbol| symbol.st_type() == elf::STT_FUNC) {
        if let Some(Some(section)) = new_indices.get(usize::from(symbol.st_shndx(LE))) {
            functions.push((symbols.symbol_name(LE, symbol).map_err(malformed)?, symbol, *section));
        }
    }
    // Local symbols come first in a symbol table.
    functions.sort_by_key(|(_, symbol, _)| symbol.st_bind() != elf::STB_LOCAL);
    let locals = functions
        .iter()
        .filter(|(_, symbol, _)| symbol.st_bind() == elf::STB_LOCAL)
        .count();
    writer.reserve_symtab_section_index();
    writer.reserve_strtab_section_index();
    writer.reserve_shstrtab_section_index();
    writer.reserve_null_symbol_index();
    let names: Vec<_> = functions.iter().map(|(name, ..)| writer.add_string(name)).collect();
    for (_, _, section) in &functions {
        writer.reserve_symbol_index(Some(*section));
    }
    writer.reserve_symtab();
    writer.reserve_strtab();
    writer.reserve_shstrtab();
    writer.reserve_section_headers();

    writer.write(&file[..kept]);
    writer.write_null_symbol();
    for ((_, symbol, section), name) in functions.iter().zip(names) {
        writer.write_symbol(&Sym {
            name: Some(name),
            section: Some(*section),
            st_info: symbol.st_info(),
            st_other: symbol.st_other(),
            st_shndx: 0,
            st_value: symbol.st_value(LE),
            st_size: symbol.st_size(LE),
        });
    }
    writer.write_strtab();
    writer.write_shstrtab();
    writer.write_null_section_header();
    // The null section, the loaded ones, .symtab, .strtab and .shstrtab, the last one holding the names.
    let section_count = kept_headers.len() + 4;
    for (name, section) in kept_headers {
        let link = |index: u32| {
            new_indices
                .get(index as usize)
                .copied()
                .flatten()
                .map_or(0, |section: SectionIndex| section.0)
        };
        writer.write_section_header(&SectionHeader {
            name: Some(name),
            sh_type: section.sh_type(LE),
            sh_flags: section.sh_flags(LE),
            sh_addr: section.sh_addr(LE),
            sh_offset: section.sh_offset(LE),
            sh_size: section.sh_size(LE),
            sh_link: link(section.sh_link(LE)),
            sh_info: if section.sh_flags(LE) & u64::from(elf::SHF_INFO_LINK) != 0 {
                link(section.sh_info(LE))
            } else {
                section.sh_info(LE)
            },
            sh_addralign: section.sh_addralign(LE),
            sh_entsize: section.sh_entsize(LE),
        });
    }
    writer.write_symtab_section_header(locals as u32 + 1);
    writer.write_strtab_section_header();
    writer.write_shstrtab_section_header();
    let mut output = buffer.into_inner();
    patch_header(&mut output, section_count);
    Ok(output)
}

/// Points the header at the section headers, which are the last thing in the file.
fn patch_header(file: &mut [u8], section_count: usize) {
    const SHOFF: usize = 40;
    const SHENTSIZE: usize = 58;
    let size = size_of::<elf::SectionHeader64<object::LittleEndian>>();
    let offset = (file.len() - section_count * size) as u64;
    file[SHOFF..SHOFF + 8].copy_from_slice(&offset.to_le_bytes());
    for (index, value) in [size, section_count, section_count - 1].into_iter().enumerate() {
        let place = SHENTSIZE + 2 * index;
        file[place..place + 2].copy_from_slice(&(value as u16).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::synthesis::Elf;
    use super::super::{Facts, functions};
    use super::*;
    use crate::Architecture;

    fn program(debug: usize) -> Elf {
        let mut elf = Elf::program(Architecture::CheriRiscv, &[0x13; 300]);
        elf.functions = vec![(0x1000, 100, "start".into()), (0x1064, 200, "_ZN3foo3barE".into())];
        elf.debug = vec![0xdb; debug];
        elf.with_relocations(0x8000, &[(0x2000, elf::R_RISCV_RELATIVE)])
    }

    #[test]
    fn debug_information_goes_and_everything_else_stays() {
        let whole = program(100_000).to_bytes();
        let stripped = strip(&whole).unwrap();
        assert!(
            stripped.len() + 100_000 < whole.len() + 200,
            "{} of {}",
            stripped.len(),
            whole.len()
        );
        let (before, after) = (Facts::read(&whole).unwrap(), Facts::read(&stripped).unwrap());
        assert_eq!(
            after,
            Facts {
                file_size: stripped.len(),
                ..before
            }
        );
        assert_eq!(functions(&whole).unwrap(), functions(&stripped).unwrap());
        for segment in &after.segments {
            let range = segment.offset as usize..(segment.offset + segment.file_size) as usize;
            assert_eq!(stripped[range.clone()], whole[range]);
        }
        assert!(!stripped.windows(8).any(|bytes| bytes == [0xdb; 8]));
    }

    #[test]
    fn a_program_without_debug_information_stays_loadable() {
        let stripped = strip(&program(0).to_bytes()).unwrap();
        assert_eq!(strip(&stripped).unwrap(), stripped, "stripping twice changes nothing");
        assert_eq!(Facts::read(&stripped).unwrap().check(Architecture::CheriRiscv), []);
    }

    #[test]
    fn content_beyond_the_file_is_an_error() {
        let mut elf = program(0);
        elf.loads[0].offset = Some(1 << 40);
        assert!(
            strip(&elf.to_bytes())
                .unwrap_err()
                .to_string()
                .starts_with("malformed ELF: content up to 0x1000000")
        );
    }
}
