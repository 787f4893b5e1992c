//! What is loaded into a board before it starts: a raw kernel or an ELF file, and the symbols it brings.

use std::collections::BTreeMap;

use object::elf::{EM_AARCH64, EM_RISCV, EM_X86_64, FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSymbol, SymbolKind};
use thiserror::Error;

use crate::memory::TaggedMemory;

/// Why a program could not be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Not an ELF file that this board runs.
    #[error("{file}: {reason}")]
    Elf {
        /// What was loaded, as the caller called it.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two parts of what is loaded lie at the same place: the RAM is too small.
    #[error(
        "{file}: {start:#x}..{end:#x} is where {other} goes in a RAM of {memory:#x} bytes, which is too small: expected \
         more (--memory)"
    )]
    TooSmall {
        /// What was loaded, as the caller called it.
        file: String,
        /// Its first address.
        start: u64,
        /// Address after it.
        end: u64,
        /// What goes there, too.
        other: &'static str,
        /// Bytes of the RAM.
        memory: u64,
    },
    /// A part of the program lies outside the RAM.
    #[error(
        "{file}: {length:#x} bytes at {address:#x} do not fit into the RAM {base:#x}..{end:#x}; expected more (--memory)"
    )]
    DoesNotFit {
        /// What was loaded, as the caller called it.
        file: String,
        /// Physical address of the part.
        address: u64,
        /// Its length in memory, in bytes.
        length: u64,
        /// First address of the RAM.
        base: u64,
        /// Address after the RAM.
        end: u64,
    },
}

/// Function and object names with their addresses.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    by_address: BTreeMap<u64, (String, u64)>,
    by_name: BTreeMap<String, u64>,
}

impl Symbols {
    /// Address of the symbol `name`.
    pub fn address(&self, name: &str) -> Option<u64> {
        self.by_name.get(name).copied()
    }

    /// The symbol that holds `address`, and the distance from its start in bytes. A symbol without a size reaches to the
    /// next one.
    pub fn containing(&self, address: u64) -> Option<(&str, u64)> {
        let (start, (name, size)) = self.by_address.range(..=address).next_back()?;
        let distance = address - start;
        (*size == 0 || distance < *size).then_some((name, distance))
    }

    fn insert(&mut self, name: &str, address: u64, size: u64) {
        self.by_name.insert(name.to_owned(), address);
        let entry = self.by_address.entry(address).or_default();
        if size >= entry.1 {
            *entry = (name.to_owned(), size);
        }
    }
}

/// A part of a program: bytes for a physical address, followed by zeros.
#[derive(Clone, Debug)]
struct Segment {
    address: u64,
    bytes: Vec<u8>,
    length: u64,
}

/// A kernel as given to a board: raw bytes or an ELF file.
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    segments: Vec<Segment>,
    entry: Option<u64>,
    symbols: Symbols,
    raw: bool,
}

/// The ELF machine numbers of the two boards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElfMachine {
    /// `EM_RISCV`
    RiscV,
    /// `EM_AARCH64`
    Aarch64,
}

/// The name of an ELF machine number, to be put behind it.
fn machine_name(number: u16) -> &'static str {
    match number {
        EM_RISCV => " (RISC-V)",
        EM_AARCH64 => " (AArch64)",
        EM_X86_64 => " (x86-64)",
        _ => "",
    }
}

/// The ELF machine number of what a raw image was made for, if it says so: at offset 0x38 by the magic number of a Linux
/// image (Linux, `Documentation/arch/{arm64/booting,riscv/boot-image-header}.rst`), at 0x40 by the header of this project's.
fn machine_of_image(bytes: &[u8]) -> Option<u16> {
    match bytes.get(0x38..0x50)? {
        [b'A', b'R', b'M', 0x64, ..] => Some(EM_AARCH64),
        [b'R', b'S', b'C', 0x05, ..] => Some(EM_RISCV),
        [_, _, _, _, _, _, _, _, header @ ..] if header.starts_with(b"intravsr") => {
            Some(u16::from_le_bytes([header[12], header[13]]))
        }
        _ => None,
    }
}

impl Program {
    /// Takes a file as `-kernel` does: an ELF file by its program headers (physical addresses), anything else as raw
    /// bytes for the address that the board chooses. `name` is what messages call it.
    ///
    /// # Errors
    /// When the file starts as an ELF file and is damaged or is not a 64-bit little-endian one for `machine`.
    pub fn parse(name: &str, bytes: &[u8], machine: ElfMachine) -> Result<Self, LoadError> {
        let fail = |reason: String| LoadError::Elf {
            file: name.to_owned(),
            reason,
        };
        let wanted = match machine {
            ElfMachine::RiscV => EM_RISCV,
            ElfMachine::Aarch64 => EM_AARCH64,
        };
        if !bytes.starts_with(b"\x7fELF") {
            if let Some(found) = machine_of_image(bytes).filter(|found| *found != wanted) {
                return Err(fail(format!(
                    "an image for ELF machine {found}{}, expected {wanted}{} (--arch)",
                    machine_name(found),
                    machine_name(wanted)
                )));
            }
            let segment = Segment {
                address: 0,
                bytes: bytes.to_vec(),
                length: bytes.len() as u64,
            };
            return Ok(Program {
                name: name.to_owned(),
                segments: vec![segment],
                entry: None,
                symbols: Symbols::default(),
                raw: true,
            });
        }
        let header = FileHeader64::<Endianness>::parse(bytes).map_err(|error| fail(error.to_string()))?;
        let endian = header.endian().map_err(|error| fail(error.to_string()))?;
        let found = header.e_machine(endian);
        if found != wanted || endian != Endianness::Little {
            return Err(fail(format!(
                "ELF machine {found}{}, expected {wanted}{} (little endian)",
                machine_name(found),
                machine_name(wanted)
            )));
        }
        let mut segments = Vec::new();
        for part in header
            .program_headers(endian, bytes)
            .map_err(|error| fail(error.to_string()))?
        {
            if part.p_type(endian) != PT_LOAD || part.p_memsz(endian) == 0 {
                continue;
            }
            let data = part
                .data(endian, bytes)
                .map_err(|()| fail("a segment lies outside the file".to_owned()))?;
            let length = part.p_memsz(endian);
            if (data.len() as u64) > length {
                return Err(fail(format!(
                    "a segment has {:#x} bytes in the file, {length:#x} in memory",
                    data.len()
                )));
            }
            segments.push(Segment {
                address: part.p_paddr(endian),
                bytes: data.to_vec(),
                length,
            });
        }
        let mut program = Program {
            name: name.to_owned(),
            segments,
            entry: Some(header.e_entry(endian)),
            symbols: Symbols::default(),
            raw: false,
        };
        let file = object::File::parse(bytes).map_err(|error| fail(error.to_string()))?;
        for symbol in file.symbols().filter(|symbol| symbol.is_definition()) {
            let Ok(symbol_name) = symbol.name() else { continue };
            // `$x` and `.L` names are marks of the assembler, not of a person.
            if symbol.kind() != SymbolKind::File && !symbol_name.is_empty() && !symbol_name.starts_with(['$', '.']) {
                program.symbols.insert(symbol_name, symbol.address(), symbol.size());
            }
        }
        Ok(program)
    }

    /// Whether this is raw bytes, without addresses of its own.
    pub fn is_raw(&self) -> bool {
        self.raw
    }

    /// The ELF entry point; `None` for raw bytes.
    pub fn entry(&self) -> Option<u64> {
        self.entry
    }

    /// The name by which messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The lowest physical address that an ELF file occupies.
    pub fn lowest_address(&self) -> Option<u64> {
        self.segments
            .iter()
            .map(|segment| segment.address)
            .min()
            .filter(|_| !self.raw)
    }

    /// The symbols of the ELF file; none for raw bytes.
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// The raw bytes of a raw kernel.
    pub fn raw_bytes(&self) -> Option<&[u8]> {
        self.raw.then(|| self.segments[0].bytes.as_slice())
    }

    /// Puts the program into RAM and returns the address after its last byte. Raw bytes go to `raw_address`, an ELF file
    /// to its own physical addresses.
    ///
    /// # Errors
    /// [`LoadError::DoesNotFit`] when a part lies outside `memory`.
    pub fn load(&self, memory: &mut TaggedMemory, raw_address: u64) -> Result<u64, LoadError> {
        let mut end = 0;
        for segment in &self.segments {
            let address = if self.raw { raw_address } else { segment.address };
            let offset = place(memory, &self.name, address, segment.length)?;
            memory.fill(offset, &segment.bytes);
            let zeros = vec![0; segment.length as usize - segment.bytes.len()];
            memory.fill(offset + segment.bytes.len(), &zeros);
            end = end.max(address + segment.length);
        }
        Ok(end)
    }
}

/// Writes `bytes` (an initrd, a device tree) to the physical address `address`; `name` is what messages call it.
///
/// # Errors
/// [`LoadError::DoesNotFit`] when they are not all in `memory`.
pub fn load_bytes(memory: &mut TaggedMemory, name: &str, address: u64, bytes: &[u8]) -> Result<(), LoadError> {
    let offset = place(memory, name, address, bytes.len() as u64)?;
    memory.fill(offset, bytes);
    Ok(())
}

fn place(memory: &TaggedMemory, name: &str, address: u64, length: u64) -> Result<usize, LoadError> {
    let fits = usize::try_from(length)
        .ok()
        .and_then(|length| memory.offset(address, length));
    fits.ok_or_else(|| LoadError::DoesNotFit {
        file: name.to_owned(),
        address,
        length,
        base: memory.base(),
        end: memory.base() + memory.size() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_bytes_go_where_the_board_says() {
        let mut memory = TaggedMemory::new(0x8000_0000, 0x1000);
        let program = Program::parse("kernel", b"abcd", ElfMachine::RiscV).unwrap();
        assert_eq!(program.load(&mut memory, 0x8000_0010).unwrap(), 0x8000_0014);
        assert_eq!(memory.bytes(0x10, 4), b"abcd");
    }

    #[test]
    fn a_program_outside_the_ram_is_refused_by_name_and_address() {
        let mut memory = TaggedMemory::new(0x8000_0000, 0x1000);
        let program = Program::parse("big.bin", &[1; 0x1001], ElfMachine::RiscV).unwrap();
        let message = program.load(&mut memory, 0x8000_0000).unwrap_err().to_string();
        assert_eq!(
            message,
            "big.bin: 0x1001 bytes at 0x80000000 do not fit into the RAM 0x80000000..0x80001000; \
             expected more (--memory)"
        );
    }

    #[test]
    fn a_damaged_or_foreign_elf_file_is_refused() {
        assert!(Program::parse("cut", b"\x7fELF\x02\x01\x01", ElfMachine::RiscV).is_err());
        let mut header = [0u8; 64];
        header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        header[16] = 2;
        header[18] = 183;
        header[20] = 1;
        header[52] = 64;
        header[54] = 56;
        let message = Program::parse("foreign", &header, ElfMachine::RiscV)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("ELF machine 183 (AArch64), expected 243 (RISC-V)"),
            "{message}"
        );
        assert_eq!(
            Program::parse("own", &header, ElfMachine::Aarch64).unwrap().entry(),
            Some(0)
        );
    }

    #[test]
    fn a_symbol_is_found_by_name_and_by_an_address_inside_it() {
        let mut symbols = Symbols::default();
        symbols.insert("start", 0x100, 0x20);
        symbols.insert("loop", 0x120, 0);
        assert_eq!(symbols.address("start"), Some(0x100));
        assert_eq!(symbols.containing(0x11c), Some(("start", 0x1c)));
        assert_eq!(symbols.containing(0x140), Some(("loop", 0x20)));
        assert_eq!(symbols.containing(0xff), None);
    }
}
