//! Booting an image: on the embedded machine or on QEMU.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use clap::ValueEnum;

use crate::Architecture;

mod devices;
mod symbols;

pub use devices::DeviceArguments;
pub use symbols::symbols;

/// What an image is booted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Host {
    /// The embedded machine of this repository.
    Machine,
    /// A QEMU with CHERI, found on the search path or named by an environment variable.
    Qemu,
}

/// Version of the CHERI-RISC-V architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum Isa {
    /// ISAv9.
    #[default]
    V9,
    /// ISAv8.
    V8,
}

impl Isa {
    /// The name as the command line has it.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::V9 => "v9",
            Isa::V8 => "v8",
        }
    }
}

/// An emulator: its program and the variable that may name another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Emulator {
    program: &'static str,
    variable: &'static str,
}

const RISCV64CHERI: Emulator = Emulator {
    program: "qemu-system-riscv64cheri",
    variable: "INTRAVISOR_QEMU_RISCV64CHERI",
};
const RISCV64XCHERI: Emulator = Emulator {
    program: "qemu-system-riscv64xcheri",
    variable: "INTRAVISOR_QEMU_RISCV64XCHERI",
};
const MORELLO: Emulator = Emulator {
    program: "qemu-system-morello",
    variable: "INTRAVISOR_QEMU_MORELLO",
};

/// Why an image cannot be booted as asked.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No emulator is there.
    #[error("no QEMU for {arch}{note}: {searched}", searched = searched.join("; "))]
    NoEmulator {
        /// The architecture.
        arch: Architecture,
        /// A restriction that ruled one out.
        note: &'static str,
        /// What was looked for.
        searched: Vec<String>,
    },
    /// An ISA version for an architecture that has none.
    #[error("--isa {isa} with --arch {arch}: expected --isa only with cheri-riscv")]
    Isa {
        /// The version.
        isa: &'static str,
        /// The architecture.
        arch: Architecture,
    },
    /// A device that cannot be had.
    #[error("{0}")]
    Device(String),
    /// The emulator cannot be started.
    #[error("{program}: {source}")]
    Start {
        /// Its program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
}

/// The ISA version to run with.
///
/// # Errors
/// A version was asked for, and the architecture has none.
pub fn isa_for(arch: Architecture, isa: Option<Isa>) -> Result<Isa, RunError> {
    match (arch, isa) {
        (Architecture::Morello, Some(isa)) => Err(RunError::Isa { isa: isa.name(), arch }),
        _ => Ok(isa.unwrap_or_default()),
    }
}

/// The command that boots `image` on the embedded machine at `program`.
pub fn machine_command(program: &Path, image: &Path, arch: Architecture, isa: Isa, extra: &[OsString]) -> Command {
    let mut command = Command::new(program);
    command.args(["--arch", arch.name()]);
    if arch == Architecture::CheriRiscv {
        command.args(["--isa", isa.name()]);
    }
    command.arg("--kernel").arg(image).args(extra);
    command
}

/// The command that boots `image` on QEMU; `variable` looks a name up in the environment.
///
/// # Errors
/// No emulator for the architecture is on the search path or named by its variable.
pub fn qemu_command(
    image: &Path,
    arch: Architecture,
    isa: Isa,
    extra: &[OsString],
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Command, RunError> {
    // The CHERI-Alliance fork, riscv64xcheri, has ISAv9 only.
    let candidates: &[Emulator] = match (arch, isa) {
        (Architecture::CheriRiscv, Isa::V9) => &[RISCV64CHERI, RISCV64XCHERI],
        (Architecture::CheriRiscv, Isa::V8) => &[RISCV64CHERI],
        (Architecture::Morello, _) => &[MORELLO],
    };
    let search_path = variable("PATH").unwrap_or_default();
    let found = candidates.iter().find_map(|emulator| {
        let named = variable(emulator.variable)
            .filter(|name| !name.is_empty())
            .map(PathBuf::from);
        Some((*emulator, named.or_else(|| on_path(emulator.program, &search_path))?))
    });
    let (emulator, program) = found.ok_or_else(|| RunError::NoEmulator {
        arch,
        note: if isa == Isa::V8 { " with ISAv8" } else { "" },
        searched: candidates
            .iter()
            .map(|emulator| {
                format!(
                    "{} is not on PATH and {} is not set",
                    emulator.program, emulator.variable
                )
            })
            .collect(),
    })?;
    let mut command = Command::new(program);
    command.args(["-M", "virt", "-nographic"]);
    match emulator {
        MORELLO => command.args(["-cpu", "morello", "-m", "1024", "-no-reboot"]),
        RISCV64CHERI if isa == Isa::V8 => command.args(["-cpu", "rv64", "-m", "128M", "-bios", "none"]),
        _ => command.args(["-cpu", "rv64,Xcheri_v9=true", "-m", "128M", "-bios", "none"]),
    };
    if arch == Architecture::Morello {
        // The monitor hands its exit status over by semihosting.
        command.args(["-semihosting-config", "enable=on,target=native"]);
    }
    command.arg("-kernel").arg(image).args(extra);
    if std::io::stdin().is_terminal() {
        eprintln!("intravisor: Ctrl-A x ends QEMU; all other keys go to the guest");
    }
    Ok(command)
}

fn on_path(program: &str, search_path: &OsStr) -> Option<PathBuf> {
    env::split_paths(search_path)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

/// Runs a command on this terminal and tells its exit status; ended by a signal counts as 128 + its number.
///
/// # Errors
/// It cannot be started.
pub fn boot(mut command: Command) -> Result<u8, RunError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|source| RunError::Start { program, source })?;
    Ok(exit_code(status))
}

#[cfg(unix)]
fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(not(unix))]
fn exit_code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(command: &Command) -> String {
        let words = [command.get_program()].into_iter().chain(command.get_args());
        words.map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    fn named(arch: Architecture, isa: Isa, variable: &str, program: &str) -> Result<String, RunError> {
        let lookup = |name: &str| (name == variable).then(|| program.into());
        qemu_command(Path::new("x.img"), arch, isa, &["-s".into()], &lookup).map(|command| shown(&command))
    }

    #[test]
    fn each_emulator_gets_its_command_line() {
        let v9 = named(Architecture::CheriRiscv, Isa::V9, RISCV64CHERI.variable, "q").unwrap();
        assert_eq!(
            v9,
            "q -M virt -nographic -cpu rv64,Xcheri_v9=true -m 128M -bios none -kernel x.img -s"
        );
        let v8 = named(Architecture::CheriRiscv, Isa::V8, RISCV64CHERI.variable, "q").unwrap();
        assert_eq!(v8, "q -M virt -nographic -cpu rv64 -m 128M -bios none -kernel x.img -s");
        let alliance = named(Architecture::CheriRiscv, Isa::V9, RISCV64XCHERI.variable, "x").unwrap();
        assert_eq!(
            alliance,
            "x -M virt -nographic -cpu rv64,Xcheri_v9=true -m 128M -bios none -kernel x.img -s"
        );
        let morello = named(Architecture::Morello, Isa::V9, MORELLO.variable, "m").unwrap();
        assert!(
            morello.starts_with("m -M virt -nographic -cpu morello -m 1024 -no-reboot "),
            "{morello}"
        );
    }

    #[test]
    fn emulators_are_found_on_the_search_path() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(MORELLO.program), "").unwrap();
        let lookup = |name: &str| (name == "PATH").then(|| directory.path().into());
        let command = qemu_command(Path::new("x"), Architecture::Morello, Isa::V9, &[], &lookup).unwrap();
        assert_eq!(command.get_program(), directory.path().join(MORELLO.program));
    }

    #[test]
    fn a_missing_emulator_is_named_with_its_variable() {
        let v9 = named(Architecture::CheriRiscv, Isa::V9, "OTHER", "q")
            .unwrap_err()
            .to_string();
        let text = "no QEMU for cheri-riscv: \
                    qemu-system-riscv64cheri is not on PATH and INTRAVISOR_QEMU_RISCV64CHERI is not set; \
                    qemu-system-riscv64xcheri is not on PATH and INTRAVISOR_QEMU_RISCV64XCHERI is not set";
        assert_eq!(v9, text);
        let v8 = named(Architecture::CheriRiscv, Isa::V8, RISCV64XCHERI.variable, "x")
            .unwrap_err()
            .to_string();
        assert!(v8.starts_with("no QEMU for cheri-riscv with ISAv8: "), "{v8}");
    }

    #[test]
    fn an_isa_version_belongs_to_riscv() {
        assert_eq!(isa_for(Architecture::CheriRiscv, None).unwrap(), Isa::V9);
        assert_eq!(isa_for(Architecture::CheriRiscv, Some(Isa::V8)).unwrap(), Isa::V8);
        let error = isa_for(Architecture::Morello, Some(Isa::V8)).unwrap_err().to_string();
        assert_eq!(
            error,
            "--isa v8 with --arch morello: expected --isa only with cheri-riscv"
        );
    }

    #[test]
    fn the_embedded_machine_gets_its_command_line() {
        let line = |arch| {
            shown(&machine_command(
                Path::new("m"),
                Path::new("x"),
                arch,
                Isa::V8,
                &["--trace".into()],
            ))
        };
        assert_eq!(
            line(Architecture::CheriRiscv),
            "m --arch cheri-riscv --isa v8 --kernel x --trace"
        );
        assert_eq!(line(Architecture::Morello), "m --arch morello --kernel x --trace");
    }

    #[test]
    fn the_guest_status_is_handed_on() {
        let status = |script| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            boot(command).unwrap()
        };
        assert_eq!(status("exit 0"), 0);
        assert_eq!(status("exit 42"), 42);
        assert_eq!(status("kill -9 $$"), 137);
        let missing = boot(Command::new("/no/such/emulator")).unwrap_err().to_string();
        assert!(missing.starts_with("/no/such/emulator: "), "{missing}");
    }
}
