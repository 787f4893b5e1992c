//! Where an image is booted, and the lists that make one test for each platform out of a function.

use std::fmt;

use tools::Architecture;
use tools::run::Isa;

/// A board with its emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// The embedded machine, CHERI-RISC-V ISAv9.
    MachineV9,
    /// The embedded machine, CHERI-RISC-V ISAv8.
    MachineV8,
    /// The embedded machine, Morello.
    MachineMorello,
    /// `qemu-system-riscv64cheri`, ISAv9.
    QemuV9,
    /// `qemu-system-riscv64cheri`, ISAv8.
    QemuV8,
    /// `qemu-system-riscv64xcheri`, ISAv9.
    QemuXcheri,
    /// `qemu-system-morello`.
    QemuMorello,
}

impl Platform {
    /// Architecture of the image.
    pub fn arch(self) -> Architecture {
        match self {
            Platform::MachineMorello | Platform::QemuMorello => Architecture::Morello,
            _ => Architecture::CheriRiscv,
        }
    }

    /// Version of the CHERI-RISC-V instruction set; of no meaning on Morello.
    pub fn isa(self) -> Isa {
        match self {
            Platform::MachineV8 | Platform::QemuV8 => Isa::V8,
            _ => Isa::V9,
        }
    }

    /// Whether integer addresses of a cVM count from 0 wherever its memory lies.
    pub fn relocates(self) -> bool {
        self.isa() == Isa::V8
    }

    /// Whether it is the embedded machine.
    pub const fn is_machine(self) -> bool {
        matches!(
            self,
            Platform::MachineV9 | Platform::MachineV8 | Platform::MachineMorello
        )
    }

    /// The embedded machine that the others of this architecture are compared with.
    pub fn reference(self) -> Platform {
        match self.arch() {
            Architecture::CheriRiscv => Platform::MachineV9,
            Architecture::Morello => Platform::MachineMorello,
        }
    }

    /// Physical address of the RAM.
    pub fn ram(self) -> u64 {
        match self.arch() {
            Architecture::CheriRiscv => 0x8000_0000,
            Architecture::Morello => 0x4000_0000,
        }
    }

    /// Physical address at which the image is loaded.
    pub fn monitor(self) -> u64 {
        match self.arch() {
            Architecture::CheriRiscv => 0x8000_0000,
            Architecture::Morello => 0x4020_0000,
        }
    }

    /// Physical address of the console UART.
    pub fn device(self) -> u64 {
        match self.arch() {
            Architecture::CheriRiscv => 0x1000_0000,
            Architecture::Morello => 0x0900_0000,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Platform::MachineV9 => "the embedded machine, ISAv9",
            Platform::MachineV8 => "the embedded machine, ISAv8",
            Platform::MachineMorello => "the embedded machine, Morello",
            Platform::QemuV9 => "qemu-system-riscv64cheri, ISAv9",
            Platform::QemuV8 => "qemu-system-riscv64cheri, ISAv8",
            Platform::QemuXcheri => "qemu-system-riscv64xcheri, ISAv9",
            Platform::QemuMorello => "qemu-system-morello",
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

            #[test]
            fn machine_morello() {
                super::$name($crate::Platform::MachineMorello);
            }
        }
    )+};
}

/// Makes a test of each named function for every platform.
#[macro_export]
macro_rules! on_every_platform {
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
            fn machine_morello() {
                super::$name($crate::Platform::MachineMorello);
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

            #[test]
            #[cfg_attr(
                not(qemu_morello),
                ignore = "qemu-system-morello is not on PATH and INTRAVISOR_QEMU_MORELLO is not set"
            )]
            fn qemu_morello() {
                super::$name($crate::Platform::QemuMorello);
            }
        }
    )+};
}

/// Makes a test of each named function for every platform, of one that builds programs in C.
#[macro_export]
macro_rules! on_every_platform_with_clang {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            #[cfg_attr(not(clang), ignore = "clang and ld.lld are not on PATH")]
            fn machine_v9() {
                super::$name($crate::Platform::MachineV9);
            }

            #[test]
            #[cfg_attr(not(clang), ignore = "clang and ld.lld are not on PATH")]
            fn machine_v8() {
                super::$name($crate::Platform::MachineV8);
            }

            #[test]
            #[cfg_attr(not(clang), ignore = "clang and ld.lld are not on PATH")]
            fn machine_morello() {
                super::$name($crate::Platform::MachineMorello);
            }

            #[test]
            #[cfg_attr(
                not(all(clang, qemu_riscv64cheri)),
                ignore = "clang and ld.lld are not on PATH; or qemu-system-riscv64cheri is not, and INTRAVISOR_QEMU_RISCV64CHERI is not set"
            )]
            fn qemu_v9() {
                super::$name($crate::Platform::QemuV9);
            }

            #[test]
            #[cfg_attr(
                not(all(clang, qemu_riscv64cheri)),
                ignore = "clang and ld.lld are not on PATH; or qemu-system-riscv64cheri is not, and INTRAVISOR_QEMU_RISCV64CHERI is not set"
            )]
            fn qemu_v8() {
                super::$name($crate::Platform::QemuV8);
            }

            #[test]
            #[cfg_attr(
                not(all(clang, qemu_riscv64xcheri)),
                ignore = "clang and ld.lld are not on PATH; or qemu-system-riscv64xcheri is not, and INTRAVISOR_QEMU_RISCV64XCHERI is not set"
            )]
            fn qemu_xcheri() {
                super::$name($crate::Platform::QemuXcheri);
            }

            #[test]
            #[cfg_attr(
                not(all(clang, qemu_morello)),
                ignore = "clang and ld.lld are not on PATH; or qemu-system-morello is not, and INTRAVISOR_QEMU_MORELLO is not set"
            )]
            fn qemu_morello() {
                super::$name($crate::Platform::QemuMorello);
            }
        }
    )+};
}
