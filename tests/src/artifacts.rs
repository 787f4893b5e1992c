//! Monitor and programs, built from the sources of this workspace.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::platform::Platform;
use tools::Architecture;
use tools::workspace::Workspace;

/// What was built for one architecture.
pub struct Artifacts {
    /// The monitor, an ELF file.
    pub monitor: Vec<u8>,
    programs: PathBuf,
}

impl Artifacts {
    /// A program as `intravisor pack` would put it into the archive.
    ///
    /// # Panics
    /// There is no such program.
    pub fn program(&self, name: &str) -> Vec<u8> {
        let path = self.programs.join(name);
        let whole = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        tools::elf::strip(&whole).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

/// Address of the one function of the monitor whose mangled name contains all these.
///
/// # Panics
/// There is none, or there are several.
pub fn monitor_function(platform: Platform, parts: &[&str]) -> u64 {
    let functions = tools::elf::functions(&built(platform.arch()).monitor).unwrap_or_else(|error| panic!("{error}"));
    let mut found = functions
        .iter()
        .filter(|function| parts.iter().all(|part| function.name.contains(part)));
    let address = match (found.next(), found.next()) {
        (Some(function), None) => function.address,
        (first, _) => panic!("{parts:?} is the name of no function or of several, first {first:?}"),
    };
    // Linked at the address of the image, or at 0.
    if address < platform.monitor() {
        address + platform.monitor()
    } else {
        address
    }
}

/// The monitor's function that every allocation goes through.
pub fn allocate(platform: Platform) -> u64 {
    monitor_function(platform, &["kernel..heap", "GlobalAlloc", "5alloc17h"])
}

/// Monitor and programs for `arch`. The first call of a process asks cargo for them. Several test processes may do that at
/// the same time: cargo locks its target directory, and does not touch what is up to date.
///
/// # Panics
/// They cannot be built; cargo has said why.
pub fn built(arch: Architecture) -> &'static Artifacts {
    static CHERI_RISCV: OnceLock<Artifacts> = OnceLock::new();
    static MORELLO: OnceLock<Artifacts> = OnceLock::new();
    let slot = match arch {
        Architecture::CheriRiscv => &CHERI_RISCV,
        Architecture::Morello => &MORELLO,
    };
    slot.get_or_init(|| {
        let workspace = Workspace::locate().unwrap_or_else(|error| panic!("{error}"));
        let built = workspace.build(arch, None);
        built.unwrap_or_else(|error| {
            panic!(
                "{error}; is the target {} installed? scripts/setup does it",
                arch.triple()
            )
        });
        let path = workspace.monitor(arch);
        let monitor = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Artifacts {
            monitor,
            programs: workspace.programs(arch),
        }
    })
}
