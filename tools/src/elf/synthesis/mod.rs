//! Writes ELF programs without a compiler, well-formed or not: for tests.

mod purecap;

use object::elf;
use object::write::elf::{FileHeader, ProgramHeader, SectionHeader, Sym, Writer};

use crate::Architecture;

pub use purecap::{CapReloc, DynamicSymbol, Fragment, Purecap, Rela, Tables};

/// A program header and its bytes.
#[derive(Clone, Debug)]
pub struct Load {
    /// `p_type`, as a rule `PT_LOAD`.
    pub kind: u32,
    /// `PF_R`, `PF_W`, `PF_X`.
    pub flags: u32,
    /// Address, `p_vaddr` and `p_paddr`.
    pub address: u64,
    /// `p_memsz`.
    pub memory_size: u64,
    /// `p_align`.
    pub alignment: u64,
    /// The bytes.
    pub data: Vec<u8>,
    /// `p_offset` when it shall not be where the bytes are.
    pub offset: Option<u64>,
    /// `p_filesz` when it shall not be the number of bytes.
    pub file_size: Option<u64>,
}

impl Load {
    /// A loaded segment as large as its bytes, on a page boundary of the file.
    pub fn new(address: u64, data: &[u8], flags: u32) -> Load {
        Load {
            kind: elf::PT_LOAD,
            flags,
            address,
            memory_size: data.len() as u64,
            alignment: 4096,
            data: data.to_vec(),
            offset: None,
            file_size: None,
        }
    }
}

/// A section header over bytes of a load.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// `SHT_…`.
    pub kind: u32,
    /// Number of the load that holds it.
    pub load: usize,
    /// Offset in the load's bytes.
    pub offset: u64,
    /// `sh_size`.
    pub size: u64,
    /// `sh_entsize`.
    pub entry_size: u64,
}

/// A program to be written.
#[derive(Clone, Debug)]
pub struct Elf {
    /// `e_machine`.
    pub machine: u16,
    /// `e_type`.
    pub kind: u16,
    /// `e_flags`.
    pub flags: u32,
    /// `e_entry`.
    pub entry: u64,
    /// The program headers, in this order.
    pub loads: Vec<Load>,
    /// Functions: address, bytes, name. They stand in a section `.text` that is the first executable load.
    pub functions: Vec<(u64, u64, String)>,
    /// Bytes of a section `.debug_info`; empty = none.
    pub debug: Vec<u8>,
    /// Sections besides `.text`, `.debug_info` and the symbol table.
    pub sections: Vec<Section>,
}

impl Elf {
    /// A static position-independent program: `code` at 0x1000, where it starts, and a page of zeroed data at 0x2000 or
    /// the first page behind the code.
    pub fn program(arch: Architecture, code: &[u8]) -> Elf {
        let data = (0x1000 + code.len() as u64).next_multiple_of(4096);
        Elf {
            machine: arch.elf_machine(),
            kind: elf::ET_DYN,
            flags: 0,
            entry: 0x1000,
            loads: vec![
                Load::new(0x1000, code, elf::PF_R | elf::PF_X),
                Load {
                    memory_size: 4096,
                    ..Load::new(data, &[], elf::PF_R | elf::PF_W)
                },
            ],
            functions: Vec::new(),
            debug: Vec::new(),
            sections: Vec::new(),
        }
    }

    /// Adds a dynamic section at `address` with these entries; the final `DT_NULL` is added.
    pub fn with_dynamic(mut self, address: u64, entries: &[(u32, u64)]) -> Elf {
        let data: Vec<u8> = entries
            .iter()
            .chain([&(elf::DT_NULL, 0)])
            .flat_map(|(tag, value)| [u64::from(*tag).to_le_bytes(), value.to_le_bytes()].concat())
            .collect();
        let load = Load::new(address, &data, elf::PF_R | elf::PF_W);
        self.loads.push(Load {
            kind: elf::PT_DYNAMIC,
            ..load.clone()
        });
        self.loads.push(load);
        self
    }

    /// Adds relocations (place, type) in a read-only segment at `address`, and on the page behind it the dynamic
    /// section that names them.
    pub fn with_relocations(mut self, address: u64, relocations: &[(u64, u32)]) -> Elf {
        let data: Vec<u8> = relocations
            .iter()
            .flat_map(|(place, kind)| [place.to_le_bytes(), u64::from(*kind).to_le_bytes(), [0; 8]].concat())
            .collect();
        self.loads.push(Load::new(address, &data, elf::PF_R));
        let size = data.len() as u64;
        let dynamic = address + size.next_multiple_of(4096);
        self.with_dynamic(
            dynamic,
            &[(elf::DT_RELA, address), (elf::DT_RELASZ, size), (elf::DT_RELAENT, 24)],
        )
    }

    /// The file. Loads lie in it in their order, each on a page boundary.
    ///
    /// # Panics
    /// There are more program headers than an ELF file can have.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let mut writer = Writer::new(object::Endianness::Little, true, &mut file);
        writer.reserve_file_header();
        writer.reserve_program_headers(u32::try_from(self.loads.len()).expect("fewer than 2^32 segments"));
        let places: Vec<usize> = self
            .loads
            .iter()
            .map(|load| writer.reserve(load.data.len(), 4096))
            .collect();
        let debug = writer.reserve(self.debug.len(), 1);

        writer.reserve_null_section_index();
        let text = (writer.add_section_name(b".text"), writer.reserve_section_index());
        let debug_name = (!self.debug.is_empty()).then(|| writer.add_section_name(b".debug_info"));
        if debug_name.is_some() {
            writer.reserve_section_index();
        }
        let section_names: Vec<_> = self
            .sections
            .iter()
            .map(|section| {
                writer.reserve_section_index();
                writer.add_section_name(section.name.as_bytes())
            })
            .collect();
        writer.reserve_symtab_section_index();
        writer.reserve_strtab_section_index();
        writer.reserve_shstrtab_section_index();
        writer.reserve_null_symbol_index();
        let names: Vec<_> = self
            .functions
            .iter()
            .map(|(_, _, name)| writer.add_string(name.as_bytes()))
            .collect();
        for _ in &names {
            writer.reserve_symbol_index(Some(text.1));
        }
        writer.reserve_symtab();
        writer.reserve_strtab();
        writer.reserve_shstrtab();
        writer.reserve_section_headers();

        let header = FileHeader {
            os_abi: 0,
            abi_version: 0,
            e_type: self.kind,
            e_machine: self.machine,
            e_entry: self.entry,
            e_flags: self.flags,
        };
        writer
            .write_file_header(&header)
            .expect("the header has fixed fields only");
        writer.write_align_program_headers();
        for (load, place) in self.loads.iter().zip(&places) {
            writer.write_program_header(&ProgramHeader {
                p_type: load.kind,
                p_flags: load.flags,
                p_offset: load.offset.unwrap_or(*place as u64),
                p_vaddr: load.address,
                p_paddr: load.address,
                p_filesz: load.file_size.unwrap_or(load.data.len() as u64),
                p_memsz: load.memory_size,
                p_align: load.alignment,
            });
        }
        for (load, place) in self.loads.iter().zip(&places) {
            writer.pad_until(*place);
            writer.write(&load.data);
        }
        writer.pad_until(debug);
        writer.write(&self.debug);
        writer.write_null_symbol();
        for ((address, size, _), name) in self.functions.iter().zip(names) {
            writer.write_symbol(&Sym {
                name: Some(name),
                section: Some(text.1),
                st_info: elf::STB_GLOBAL << 4 | elf::STT_FUNC,
                st_other: 0,
                st_shndx: 0,
                st_value: *address,
                st_size: *size,
            });
        }
        writer.write_strtab();
        writer.write_shstrtab();
        writer.write_null_section_header();
        let code = self.loads.iter().position(|load| load.flags & elf::PF_X != 0);
        writer.write_section_header(&SectionHeader {
            name: Some(text.0),
            sh_type: elf::SHT_PROGBITS,
            sh_flags: u64::from(elf::SHF_ALLOC | elf::SHF_EXECINSTR),
            sh_addr: code.map_or(0, |index| self.loads[index].address),
            sh_offset: code.map_or(0, |index| places[index] as u64),
            sh_size: code.map_or(0, |index| self.loads[index].data.len() as u64),
            sh_link: 0,
            sh_info: 0,
            sh_addralign: 4,
            sh_entsize: 0,
        });
        if debug_name.is_some() {
            writer.write_section_header(&SectionHeader {
                name: debug_name,
                sh_type: elf::SHT_PROGBITS,
                sh_flags: 0,
                sh_addr: 0,
                sh_offset: debug as u64,
                sh_size: self.debug.len() as u64,
                sh_link: 0,
                sh_info: 0,
                sh_addralign: 1,
                sh_entsize: 0,
            });
        }
        for (section, name) in self.sections.iter().zip(section_names) {
            writer.write_section_header(&SectionHeader {
                name: Some(name),
                sh_type: section.kind,
                sh_flags: u64::from(elf::SHF_ALLOC),
                sh_addr: self.loads[section.load].address.wrapping_add(section.offset),
                sh_offset: places[section.load] as u64 + section.offset,
                sh_size: section.size,
                sh_link: 0,
                sh_info: 0,
                sh_addralign: 8,
                sh_entsize: section.entry_size,
            });
        }
        writer.write_symtab_section_header(1);
        writer.write_strtab_section_header();
        writer.write_shstrtab_section_header();
        file
    }
}
