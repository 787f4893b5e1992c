//! The architectures an image can be made for.

use clap::ValueEnum;
use object::elf;
use serde::Serialize;

/// Architecture of an image and of the programs in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// RV64IMAC with the CHERI extension, ISAv9 or ISAv8.
    CheriRiscv,
    /// A64 with Morello.
    Morello,
}

impl Architecture {
    /// All architectures.
    pub const ALL: [Architecture; 2] = [Architecture::CheriRiscv, Architecture::Morello];

    /// The name as the command line and the file names have it.
    pub const fn name(self) -> &'static str {
        match self {
            Architecture::CheriRiscv => "cheri-riscv",
            Architecture::Morello => "morello",
        }
    }

    /// The Rust target of monitor and programs.
    pub const fn triple(self) -> &'static str {
        match self {
            Architecture::CheriRiscv => "riscv64imac-unknown-none-elf",
            Architecture::Morello => "aarch64-unknown-none-softfloat",
        }
    }

    /// ELF machine number, `e_machine`.
    pub const fn elf_machine(self) -> u16 {
        match self {
            Architecture::CheriRiscv => elf::EM_RISCV,
            Architecture::Morello => elf::EM_AARCH64,
        }
    }

    /// What the architecture of an ELF file is called.
    pub fn elf_machine_name(machine: u16) -> &'static str {
        match machine {
            elf::EM_RISCV => "RISC-V",
            elf::EM_AARCH64 => "AArch64",
            elf::EM_X86_64 => "x86-64",
            elf::EM_386 => "x86",
            elf::EM_ARM => "Arm (32 bits)",
            elf::EM_MIPS => "MIPS",
            elf::EM_PPC64 => "PowerPC (64 bits)",
            elf::EM_S390 => "S/390",
            elf::EM_LOONGARCH => "LoongArch",
            _ => "an unknown architecture",
        }
    }

    /// The smallest length of at least `length` bytes that capability bounds can say exactly, and the alignment that
    /// their base needs. `None` when that is the whole address space.
    pub fn representable(self, length: u64) -> Option<(u64, u64)> {
        let (rounded, mask) = match self {
            Architecture::CheriRiscv => (
                capability::riscv::representable_length(length),
                capability::riscv::representable_mask(length),
            ),
            Architecture::Morello => (
                capability::morello::representable_length(length),
                capability::morello::representable_mask(length),
            ),
        };
        (rounded >= length).then_some((rounded, mask.wrapping_neg()))
    }

    /// The architecture with this ELF machine number.
    pub fn from_elf_machine(machine: u16) -> Option<Architecture> {
        Architecture::ALL.into_iter().find(|arch| arch.elf_machine() == machine)
    }
}

impl std::fmt::Display for Architecture {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}
