//! Writes purecap programs as the CHERI toolchains lay them out, with any relocations: right ones for the machine that
//! they are made for, or whatever a test wants.

use object::elf;

use super::super::purecap::{CAP_RELOCS, RELA_DYN};
use super::super::{
    DT_RISCV_CHERI_CAP_RELOCS, DT_RISCV_CHERI_CAP_RELOCS_SIZE, EF_AARCH64_CHERI_PURECAP, EF_RISCV_CAP_MODE,
    EF_RISCV_CHERIABI, PAGE,
};
use super::{Elf, Load, Section};
use crate::Architecture;

/// An entry of `__cap_relocs`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CapReloc {
    /// Where the capability goes.
    pub location: u64,
    /// First address of the object.
    pub object: u64,
    /// What is added to it.
    pub offset: u64,
    /// Bytes of the object.
    pub size: u64,
    /// [`CAP_RELOC_FUNCTION`](super::super::purecap::CAP_RELOC_FUNCTION) and the like.
    pub permissions: u64,
}

/// A relocation with addend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rela {
    /// Its place.
    pub location: u64,
    /// `r_type`.
    pub kind: u32,
    /// Number of the symbol; 0 = none, the first of [`Purecap::symbols`] is 1.
    pub symbol: u32,
    /// `r_addend`.
    pub addend: u64,
}

/// What a Morello relocation finds at its place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fragment {
    /// Its place.
    pub location: u64,
    /// First address of the object.
    pub start: u64,
    /// Bytes of the object, 56 bits.
    pub length: u64,
    /// [`FRAGMENT_DATA`](super::super::purecap::FRAGMENT_DATA) and the like.
    pub permissions: u8,
}

/// A symbol of the dynamic symbol table.
#[derive(Clone, Debug)]
pub struct DynamicSymbol {
    /// Its name.
    pub name: String,
    /// `STT_…`.
    pub kind: u8,
    /// `STB_…`.
    pub binding: u8,
    /// Whether the program defines it.
    pub defined: bool,
    /// Its address.
    pub value: u64,
    /// Its bytes.
    pub size: u64,
}

impl DynamicSymbol {
    /// A global symbol that the program defines.
    pub fn new(name: &str, kind: u8, value: u64, size: u64) -> DynamicSymbol {
        DynamicSymbol {
            name: name.into(),
            kind,
            binding: elf::STB_GLOBAL,
            defined: true,
            value,
            size,
        }
    }
}

/// What tells the loader where the tables of a program are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// A dynamic section.
    Dynamic,
    /// Section headers, without a dynamic section.
    Sections,
}

/// A purecap program to be written. In memory, from its base: tables | constants | text | slots (RELRO) | data, bss.
#[derive(Clone, Debug)]
pub struct Purecap {
    /// For which machine.
    pub arch: Architecture,
    /// `ET_DYN`, or `ET_EXEC` with a [`base`](Purecap::base) where the cVM will lie.
    pub kind: u16,
    /// Address that it is linked at, a multiple of 4096.
    pub base: u64,
    /// Bytes kept for the tables, a multiple of 4096.
    pub table_space: u64,
    /// Its constants.
    pub constants: Vec<u8>,
    /// Its code; it starts at the first instruction.
    pub code: Vec<u8>,
    /// Capabilities that the loader fills and that are constant afterwards.
    pub slots: usize,
    /// Its initialised data.
    pub data: Vec<u8>,
    /// Its zeroed data behind that, bytes.
    pub bss: u64,
    /// What the address of its data is a multiple of, a power of two of at least 4096.
    pub data_alignment: u64,
    /// Its thread-local data, bytes in memory and alignment; the bytes lie at the end of the constants.
    pub tls: Option<(Vec<u8>, u64, u64)>,
    /// What tells where the tables are.
    pub tables: Tables,
    /// `__cap_relocs`.
    pub cap_relocs: Vec<CapReloc>,
    /// `.rela.dyn`.
    pub relocations: Vec<Rela>,
    /// `.rela.plt`, named by a dynamic section only.
    pub procedures: Vec<Rela>,
    /// What the places of `.rela.dyn` hold before.
    pub fragments: Vec<Fragment>,
    /// The dynamic symbols, numbered from 1.
    pub symbols: Vec<DynamicSymbol>,
    /// More entries of the dynamic section.
    pub dynamic: Vec<(u32, u64)>,
    /// Functions for `.symtab`: address, bytes, name.
    pub functions: Vec<(u64, u64, String)>,
}

impl Purecap {
    /// A position-independent program with this code, four slots and a page of data, and no relocations.
    pub fn new(arch: Architecture, code: &[u8]) -> Purecap {
        Purecap {
            arch,
            kind: elf::ET_DYN,
            base: 0,
            table_space: 0x1_0000,
            constants: vec![0x5a; 64],
            code: code.to_vec(),
            slots: 4,
            data: vec![0; PAGE as usize],
            bss: 0,
            data_alignment: PAGE,
            tls: None,
            tables: Tables::Dynamic,
            cap_relocs: Vec::new(),
            relocations: Vec::new(),
            procedures: Vec::new(),
            fragments: Vec::new(),
            symbols: Vec::new(),
            dynamic: Vec::new(),
            functions: Vec::new(),
        }
    }

    /// Address of the constants.
    pub fn constants_address(&self) -> u64 {
        self.base + self.table_space
    }

    fn constants_and_tls(&self) -> Vec<u8> {
        let mut bytes = self.constants.clone();
        if let Some((image, _, alignment)) = &self.tls {
            bytes.resize(bytes.len().next_multiple_of((*alignment).max(16) as usize), 0);
            bytes.extend(image);
        }
        bytes
    }

    /// Address of the code.
    pub fn code_address(&self) -> u64 {
        self.constants_address() + (self.constants_and_tls().len() as u64).next_multiple_of(PAGE).max(PAGE)
    }

    /// Address of a slot.
    pub fn slot(&self, number: usize) -> u64 {
        self.code_address() + (self.code.len() as u64).next_multiple_of(PAGE) + 16 * number as u64
    }

    fn slots_size(&self) -> u64 {
        (16 * self.slots as u64).next_multiple_of(PAGE)
    }

    /// Address of the initialised data.
    pub fn data_address(&self) -> u64 {
        (self.slot(0) + self.slots_size()).next_multiple_of(self.data_alignment)
    }

    /// Address of the zeroed data.
    pub fn bss_address(&self) -> u64 {
        self.data_address() + self.data.len() as u64
    }

    /// The program as an [`Elf`], to be changed further or written.
    ///
    /// # Panics
    /// The tables exceed their space, or a fragment lies neither in the slots nor in the data.
    pub fn to_elf(&self) -> Elf {
        let mut tables = TableWriter::default();
        let relocations = tables.add(&self.relocations, rela);
        let procedures = tables.add(&self.procedures, rela);
        let capabilities = tables.add(&self.cap_relocs, |entry| {
            [
                entry.location,
                entry.object,
                entry.offset,
                entry.size,
                entry.permissions,
            ]
            .map(u64::to_le_bytes)
            .concat()
        });
        let (symbols, strings) = self.symbol_tables();
        let symbols = tables.add(&symbols, Clone::clone);
        let strings = tables.add(&[strings], Clone::clone);
        let at = |range: (u64, u64)| self.base + range.0;
        let mut entries = vec![
            (elf::DT_SYMTAB, at(symbols)),
            (elf::DT_SYMENT, 24),
            (elf::DT_STRTAB, at(strings)),
            (elf::DT_STRSZ, strings.1),
        ];
        let mut name_table = |range: (u64, u64), tags: [u32; 2], rest: &[(u32, u64)]| {
            if range.1 > 0 {
                entries.extend([(tags[0], at(range)), (tags[1], range.1)]);
                entries.extend(rest);
            }
        };
        name_table(relocations, [elf::DT_RELA, elf::DT_RELASZ], &[(elf::DT_RELAENT, 24)]);
        let procedure_kind = [(elf::DT_PLTREL, u64::from(elf::DT_RELA))];
        name_table(procedures, [elf::DT_JMPREL, elf::DT_PLTRELSZ], &procedure_kind);
        let cap_relocs = [DT_RISCV_CHERI_CAP_RELOCS, DT_RISCV_CHERI_CAP_RELOCS_SIZE];
        name_table(capabilities, cap_relocs, &[]);
        entries.extend(&self.dynamic);
        entries.push((elf::DT_NULL, 0));
        let dynamic = tables.add(&entries, |(tag, value)| {
            [u64::from(*tag).to_le_bytes(), value.to_le_bytes()].concat()
        });
        assert!(
            tables.bytes.len() as u64 <= self.table_space,
            "the tables exceed their space"
        );

        let mut elf = Elf {
            kind: self.kind,
            flags: match self.arch {
                Architecture::CheriRiscv => EF_RISCV_CHERIABI | EF_RISCV_CAP_MODE,
                Architecture::Morello => EF_AARCH64_CHERI_PURECAP,
            },
            // Bit 0 says C64.
            entry: self.code_address() | u64::from(self.arch == Architecture::Morello),
            functions: self.functions.clone(),
            loads: self.loads(tables.bytes),
            ..Elf::program(self.arch, &[])
        };
        let part = |kind: u32, range: (u64, u64), flags| Load {
            kind,
            ..Load::new(
                self.base + range.0,
                &elf.loads[0].data[range.0 as usize..][..range.1 as usize],
                flags,
            )
        };
        if self.tables == Tables::Dynamic {
            let dynamic = part(elf::PT_DYNAMIC, dynamic, elf::PF_R);
            elf.loads.push(dynamic);
        } else {
            let section = |name: &str, kind, range: (u64, u64), entry_size| Section {
                name: name.into(),
                kind,
                load: 0,
                offset: range.0,
                size: range.1,
                entry_size,
            };
            elf.sections = vec![
                section(RELA_DYN, elf::SHT_RELA, relocations, 24),
                section(CAP_RELOCS, elf::SHT_PROGBITS, capabilities, 40),
            ];
        }
        elf
    }

    /// The file.
    ///
    /// # Panics
    /// See [`Purecap::to_elf`].
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_elf().to_bytes()
    }

    fn loads(&self, tables: Vec<u8>) -> Vec<Load> {
        let constants = self.constants_and_tls();
        let mut slots = vec![0; 16 * self.slots];
        let mut data = self.data.clone();
        for fragment in &self.fragments {
            let what = fragment.length | u64::from(fragment.permissions) << 56;
            let bytes = [fragment.start.to_le_bytes(), what.to_le_bytes()].concat();
            let (start, target) = if fragment.location < self.data_address() {
                (self.slot(0), &mut slots)
            } else {
                (self.data_address(), &mut data)
            };
            let offset = fragment.location.wrapping_sub(start) as usize;
            let place = target.get_mut(offset..offset.saturating_add(16));
            place
                .expect("a fragment lies in the slots or in the data")
                .copy_from_slice(&bytes);
        }
        let tls = self.tls.as_ref().map(|(image, size, alignment)| Load {
            kind: elf::PT_TLS,
            memory_size: *size,
            alignment: *alignment,
            ..Load::new(
                self.constants_address() + (constants.len() - image.len()) as u64,
                image,
                elf::PF_R,
            )
        });
        let relro = Load {
            kind: elf::PT_GNU_RELRO,
            memory_size: self.slots_size(),
            ..Load::new(self.slot(0), &[], elf::PF_R)
        };
        let data_size = data.len() as u64 + self.bss;
        let loads = [
            Load::new(self.base, &tables, elf::PF_R),
            Load::new(self.constants_address(), &constants, elf::PF_R),
            Load::new(self.code_address(), &self.code, elf::PF_R | elf::PF_X),
            Load {
                memory_size: self.slots_size(),
                ..Load::new(self.slot(0), &slots, elf::PF_R | elf::PF_W)
            },
            Load {
                memory_size: data_size,
                alignment: self.data_alignment,
                ..Load::new(self.data_address(), &data, elf::PF_R | elf::PF_W)
            },
        ];
        let used = |load: &Load| load.memory_size > 0;
        let extra = [Some(relro).filter(used), tls];
        loads
            .into_iter()
            .filter(used)
            .chain(extra.into_iter().flatten())
            .collect()
    }

    /// The entries of the dynamic symbol table, and its strings.
    fn symbol_tables(&self) -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut strings = vec![0];
        let mut symbols = vec![vec![0; 24]];
        for symbol in &self.symbols {
            let name = strings.len() as u32;
            strings.extend(symbol.name.bytes().chain([0]));
            let section = u16::from(symbol.defined);
            let mut entry = name.to_le_bytes().to_vec();
            entry.extend([symbol.binding << 4 | symbol.kind, 0]);
            entry.extend(section.to_le_bytes());
            entry.extend(symbol.value.to_le_bytes());
            entry.extend(symbol.size.to_le_bytes());
            symbols.push(entry);
        }
        (symbols, strings)
    }
}

fn rela(entry: &Rela) -> Vec<u8> {
    let info = u64::from(entry.symbol) << 32 | u64::from(entry.kind);
    [entry.location, info, entry.addend].map(u64::to_le_bytes).concat()
}

/// Tables one behind the other.
#[derive(Default)]
struct TableWriter {
    bytes: Vec<u8>,
}

impl TableWriter {
    /// Adds a table; its offset and its bytes.
    fn add<T>(&mut self, entries: &[T], encode: impl Fn(&T) -> Vec<u8>) -> (u64, u64) {
        let start = self.bytes.len().next_multiple_of(16);
        self.bytes.resize(start, 0);
        self.bytes.extend(entries.iter().flat_map(encode));
        (start as u64, (self.bytes.len() - start) as u64)
    }
}
