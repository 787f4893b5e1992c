//! What the linker cannot say about a purecap program of this workspace. The stock linker makes a file of fixed addresses
//! without the flags of a CHERI toolchain; but all of the program's addresses are relative to its code, or in the table of
//! capability relocations. So it is position-independent, and this module says so in its headers.

use object::elf;
use object::read::elf::{FileHeader as _, SectionHeader as _};

use super::{EF_AARCH64_CHERI_PURECAP, EF_RISCV_CAP_MODE, EF_RISCV_CHERIABI, ElfError, LE, header, malformed};

/// Section by which a program asks for this.
const MARK: &str = ".purecap";
/// Section with the Morello relocations: the linker keeps the name `.rela.dyn` for its own.
const RELOCATIONS: &str = ".rela.purecap";
/// Section that the segment `PT_DYNAMIC` holds.
const DYNAMIC: &str = ".dynamic";

/// Offsets in the file header and in a section header.
const E_TYPE: usize = 16;
const E_FLAGS: usize = 48;
const SH_TYPE: usize = 4;
const SH_ENTSIZE: usize = 56;

/// A place of a file, and the bytes that belong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Offset in the file.
    pub offset: usize,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What has to change in a file so that its headers say what it is; nothing for a program without the section `.purecap`, or
/// when they say it already.
///
/// # Errors
/// The file is not ELF64 little endian, its section headers lie outside of it, or it is for a processor without purecap
/// programs.
pub fn patches(file: &[u8]) -> Result<Vec<Patch>, ElfError> {
    let header = header(file)?;
    let sections = header.sections(LE, file).map_err(malformed)?;
    if sections.section_by_name(LE, MARK.as_bytes()).is_none() {
        return Ok(Vec::new());
    }
    let flags = match header.e_machine(LE) {
        elf::EM_RISCV => EF_RISCV_CHERIABI | EF_RISCV_CAP_MODE,
        elf::EM_AARCH64 => EF_AARCH64_CHERI_PURECAP,
        other => {
            return Err(ElfError::Malformed(format!(
                "section {MARK} in a file for machine {other}"
            )));
        }
    };
    let mut patches = Vec::new();
    let mut want = |offset: usize, bytes: &[u8]| {
        if file.get(offset..offset + bytes.len()) != Some(bytes) {
            patches.push(Patch {
                offset,
                bytes: bytes.to_vec(),
            });
        }
    };
    want(E_TYPE, &elf::ET_DYN.to_le_bytes());
    want(E_FLAGS, &(header.e_flags(LE) | flags).to_le_bytes());
    let table = header.e_shoff(LE) as usize;
    let size = size_of::<elf::SectionHeader64<object::LittleEndian>>();
    let kinds = [
        (RELOCATIONS, elf::SHT_RELA, size_of::<super::Rela>()),
        (DYNAMIC, elf::SHT_DYNAMIC, size_of::<elf::Dyn64<object::LittleEndian>>()),
    ];
    for (name, kind, entry_size) in kinds {
        if let Some((index, section)) = sections.section_by_name(LE, name.as_bytes()) {
            // An absent table is an empty section.
            if section.sh_size(LE) > 0 {
                want(table + index.0 * size + SH_TYPE, &kind.to_le_bytes());
                want(table + index.0 * size + SH_ENTSIZE, &(entry_size as u64).to_le_bytes());
            }
        }
    }
    Ok(patches)
}

#[cfg(test)]
mod tests {
    use super::super::Facts;
    use super::super::synthesis::Elf;
    use super::*;
    use crate::Architecture;

    /// A program whose only section besides the usual ones has this name.
    fn program(arch: Architecture, name: &str) -> Vec<u8> {
        let mut elf = Elf::program(arch, &[0x13; 300]);
        elf.functions = vec![(0x1000, 100, "start".into())];
        elf.debug = vec![1];
        let mut bytes = elf.to_bytes();
        let place = bytes.windows(8).rposition(|window| window.starts_with(b".debug_"));
        let place = place.expect("the synthesised program has a section .debug_…");
        let end = place + bytes[place..].iter().position(|byte| *byte == 0).unwrap();
        bytes[place..end].fill(0);
        bytes[place..place + name.len()].copy_from_slice(name.as_bytes());
        bytes
    }

    fn patched(mut file: Vec<u8>) -> Vec<u8> {
        for Patch { offset, bytes } in patches(&file).unwrap() {
            file[offset..offset + bytes.len()].copy_from_slice(&bytes);
        }
        file
    }

    #[test]
    fn a_marked_program_becomes_purecap_and_position_independent_and_stays_so() {
        for arch in [Architecture::CheriRiscv, Architecture::Morello] {
            let plain = program(arch, MARK);
            assert!(!Facts::read(&plain).unwrap().purecap());
            let file = patched(plain);
            let facts = Facts::read(&file).unwrap();
            assert!(facts.purecap(), "{arch}: {:#x}", facts.flags);
            assert_eq!(facts.kind, elf::ET_DYN);
            assert_eq!(patches(&file).unwrap(), []);
        }
    }

    #[test]
    fn a_program_without_the_mark_is_left_alone() {
        for arch in [Architecture::CheriRiscv, Architecture::Morello] {
            assert_eq!(patches(&program(arch, ".purecat")).unwrap(), []);
        }
    }
}
