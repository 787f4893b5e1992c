//! Where an image is booted, and the lists that make one test for each platform out of a function.

use std::fmt;

use machine::cli::Isa;
use tools::Architecture;

/// A board with its emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// The embedded machine, CHERI-RISC-V ISAv9.
    MachineV9,
    /// The embedded machine, CHERI-RISC-V ISAv8.
    MachineV8,
    /// `qemu-system-riscv64cheri`, ISAv9.
    QemuV9,
    /// `qemu-system-riscv64cheri`, ISAv8.
    QemuV8,
    /// `qemu-system-riscv64xcheri`, ISAv9.
    QemuXcheri,
}

impl Platform {
    /// Architecture of the image.
    pub fn arch(self) -> Architecture {
        Architecture::CheriRiscv
    }

    /// Version of the CHERI-RISC-V instruction set.
    pub fn isa(self) -> Isa {
        match self {
            Platform::MachineV9 | Platform::QemuV9 | Platform::QemuXcheri => Isa::V9,
            Platform::MachineV8 | Platform::QemuV8 => Isa::V8,
        }
    }

    /// Whether integer addresses of a cVM count from 0 wherever its memory lies.
    pub fn relocates(self) -> bool {
        self.isa() == Isa::V8
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Platform::MachineV9 => "the embedded machine, ISAv9",
            Platform::MachineV8 => "the embedded machine, ISAv8",
            Platform::QemuV9 => "qemu-system-riscv64cheri, ISAv9",
            Platform::QemuV8 => "qemu-system-riscv64cheri, ISAv8",
            Platform::QemuXcheri => "qemu-system-riscv64xcheri, ISAv9",
        })
    }
}

/// Makes a test of each named function for the embedded machine alone: what looks into memory and registers, or counts
/// instructions.
#[macro_export]
macro_rules! on_machine {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn machine_v9() {
                super::$name($crate::Platform::MachineV9);
            }

            #[test]
            fn machine_v8() {
                super::$name($crate::Platform::MachineV8);
            }
        }
    )+};
}

/// Makes a test of each named function for every CHERI-RISC-V platform: what brings machine code of its own.
#[macro_export]
macro_rules! on_cheri_riscv {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn machine_v9() {
                super::$name($crate::Platform::MachineV9);
            }

            #[test]
            fn machine_v8() {
                super::$name($crate::Platform::MachineV8);
            }

            #[test]
            #[cfg_attr(
                not(qemu_riscv64cheri),
                ignore = "qemu-system-riscv64cheri is not on PATH and INTRAVISOR_QEMU_RISCV64CHERI is not set"
            )]
            fn qemu_v9() {
                super::$name($crate::Platform::QemuV9);
            }

            #[test]
            #[cfg_attr(
                not(qemu_riscv64cheri),
                ignore = "qemu-system-riscv64cheri is not on PATH and INTRAVISOR_QEMU_RISCV64CHERI is not set"
            )]
            fn qemu_v8() {
                super::$name($crate::Platform::QemuV8);
            }

            #[test]
            #[cfg_attr(
                not(qemu_riscv64xcheri),
                ignore = "qemu-system-riscv64xcheri is not on PATH and INTRAVISOR_QEMU_RISCV64XCHERI is not set"
            )]
            fn qemu_xcheri() {
                super::$name($crate::Platform::QemuXcheri);
            }
        }
    )+};
}

/// Makes a test of each named function for every platform.
#[macro_export]
macro_rules! on_every_platform {
    ($($name:ident),+ $(,)?) => {
        $crate::on_cheri_riscv!($($name),+);
    };
}
