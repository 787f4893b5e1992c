//! The workspace that this tool belongs to: where its build products lie, and making them.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use object::elf::ELFMAG;
use serde::Deserialize;

use crate::Architecture;
use crate::elf::{self, ElfError, Patch};

/// Cargo profile of monitor and programs.
pub const PROFILE: &str = "image";
/// Package of the monitor, and name of its executable.
pub const MONITOR: &str = "boot";
/// Package of the cVM programs in Rust.
pub const PROGRAMS: &str = "programs";
/// Package of the purecap cVM programs.
pub const PURECAP_PROGRAMS: &str = "purecap";

/// Manifest of the workspace this tool was built from.
const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");

/// Where the workspace and its build products lie.
#[derive(Clone, Debug, Deserialize)]
pub struct Workspace {
    /// The directory with the workspace's `Cargo.toml`.
    #[serde(rename = "workspace_root")]
    pub root: PathBuf,
    /// Cargo's target directory.
    #[serde(rename = "target_directory")]
    pub target: PathBuf,
}

/// Why the workspace or something in it cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// A command cannot be started.
    #[error("{command}: {source}")]
    Start {
        /// The command.
        command: String,
        /// Why.
        source: std::io::Error,
    },
    /// A command failed.
    #[error("{command}: {status}")]
    Failed {
        /// The command.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// `cargo metadata` says something unexpected.
    #[error("cargo metadata: {0}")]
    Metadata(#[from] serde_json::Error),
    /// A file among the build products cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A build product is no program.
    #[error("{}: {source}", path.display())]
    Program {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ElfError,
    },
    /// There is no such example.
    #[error("no example {name:?}: neither a YAML file of this name, nor {}", tried.join(", nor "))]
    NoExample {
        /// Its name.
        name: String,
        /// The files looked for.
        tried: Vec<String>,
    },
}

fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> WorkspaceError + use<> {
    let path = path.to_owned();
    |source| WorkspaceError::File { path, source }
}

fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn run(mut command: Command) -> Result<(), WorkspaceError> {
    let status = command.status();
    let command = shown(&command);
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(WorkspaceError::Failed { command, status }),
        Err(source) => Err(WorkspaceError::Start { command, source }),
    }
}

impl Workspace {
    /// Asks cargo where the workspace of this tool lies.
    ///
    /// # Errors
    /// Cargo cannot be run, or the sources this tool was built from are gone.
    pub fn locate() -> Result<Workspace, WorkspaceError> {
        let mut command = cargo();
        command.args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
            "--manifest-path",
            MANIFEST,
        ]);
        let output = command.stderr(std::process::Stdio::inherit()).output();
        let command = shown(&command);
        let output = output.map_err(|source| WorkspaceError::Start {
            command: command.clone(),
            source,
        })?;
        if !output.status.success() {
            return Err(WorkspaceError::Failed {
                command,
                status: output.status,
            });
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The directory of the programs built for an architecture.
    pub fn programs(&self, arch: Architecture) -> PathBuf {
        self.target.join(arch.triple()).join(PROFILE)
    }

    /// The monitor built for an architecture, an ELF file.
    pub fn monitor(&self, arch: Architecture) -> PathBuf {
        self.programs(arch).join(MONITOR)
    }

    /// Where the image of an example is left.
    pub fn image(&self, example: &str, arch: Architecture) -> PathBuf {
        self.target.join("image").join(format!("{example}-{arch}.img"))
    }

    /// The YAML file and the name of an example: a path to a YAML file, or a name under `examples/`.
    ///
    /// # Errors
    /// There is none.
    pub fn example(&self, name: &str) -> Result<(PathBuf, String), WorkspaceError> {
        let given = Path::new(name);
        if given.is_file() {
            let stem = given
                .file_stem()
                .map_or_else(|| name.to_owned(), |stem| stem.to_string_lossy().into_owned());
            return Ok((given.to_owned(), stem));
        }
        let examples = self.root.join("examples");
        let tried = [
            examples.join(format!("{name}.yaml")),
            examples.join(name).join(format!("{name}.yaml")),
        ];
        match tried.iter().find(|path| path.is_file()) {
            Some(path) => Ok((path.clone(), name.to_owned())),
            None => Err(WorkspaceError::NoExample {
                name: name.to_owned(),
                tried: tried.iter().map(|path| path.display().to_string()).collect(),
            }),
        }
    }

    /// Builds monitor and programs for an architecture.
    ///
    /// # Errors
    /// Cargo cannot be run or fails; its own messages have been shown.
    pub fn build(&self, arch: Architecture) -> Result<(), WorkspaceError> {
        let mut command = cargo();
        command.current_dir(&self.root);
        command.args(["build", "--quiet", "--profile", PROFILE, "--target", arch.triple()]);
        command.args(["-p", MONITOR, "-p", PROGRAMS, "-p", PURECAP_PROGRAMS]);
        run(command)?;
        self.finish(arch)
    }

    /// Says in the headers of the purecap programs what they are, which the linker cannot. Others may read or do the same at
    /// the same time: only the bytes that differ are written, and always the same ones.
    fn finish(&self, arch: Architecture) -> Result<(), WorkspaceError> {
        let directory = self.programs(arch);
        let entries = fs::read_dir(&directory).map_err(at(&directory))?;
        for entry in entries {
            let path = entry.map_err(at(&directory))?.path();
            if path.extension().is_some() || !path.is_file() {
                continue;
            }
            let file = fs::read(&path).map_err(at(&path))?;
            // Cargo keeps files of its own there.
            if !file.starts_with(&ELFMAG) {
                continue;
            }
            let patches = elf::patches(&file).map_err(|source| WorkspaceError::Program {
                path: path.clone(),
                source,
            })?;
            if patches.is_empty() {
                continue;
            }
            let mut file = fs::OpenOptions::new().write(true).open(&path).map_err(at(&path))?;
            for Patch { offset, bytes } in patches {
                file.seek(SeekFrom::Start(offset as u64)).map_err(at(&path))?;
                file.write_all(&bytes).map_err(at(&path))?;
            }
        }
        Ok(())
    }

    /// Builds the embedded machine and tells where its program is.
    ///
    /// # Errors
    /// Cargo cannot be run or fails; its own messages have been shown.
    pub fn build_machine(&self) -> Result<PathBuf, WorkspaceError> {
        const BINARY: &str = "cheri-machine";
        let mut command = cargo();
        command.current_dir(&self.root);
        command.args(["build", "--quiet", "--release", "-p", "machine", "--bin", BINARY]);
        run(command)?;
        Ok(self.target.join("release").join(BINARY))
    }
}
