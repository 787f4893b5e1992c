//! The workspace that this tool belongs to: where its build products lie, and making them.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use object::elf::ELFMAG;
use serde::Deserialize;

use crate::Architecture;
use crate::diagnostic::did_you_mean;
use crate::elf::{self, ElfError, Patch};

/// Cargo profile of monitor and programs.
pub const PROFILE: &str = "image";
/// Package of the monitor, and name of its executable.
pub const MONITOR: &str = "boot";
/// Package of the cVM programs in Rust.
pub const PROGRAMS: &str = "programs";
/// Package of the purecap cVM programs.
pub const PURECAP_PROGRAMS: &str = "purecap";

/// Package of the library OS for Linux programs.
pub const LINUX: &str = "linux";
/// Package of the web server.
pub const WEB: &str = "web";
/// Package of the driver of disks.
pub const DISK: &str = "disk";
/// Package of the switch.
pub const SWITCH: &str = "switch";

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
    #[error(
        "no example {name:?}{}: expected the path of a YAML file, or one of {}",
        did_you_mean(name, &known.iter().map(String::as_str).collect::<Vec<_>>()),
        known.join(", ")
    )]
    NoExample {
        /// Its name.
        name: String,
        /// Those that are there.
        known: Vec<String>,
    },
    /// What was named as an example is something else.
    #[error("{}: {what}, expected a YAML file", path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The sources are gone.
    #[error(
        "{path}: the work tree that this command was built from is not there any more; \
         `cargo install --path tools` in a clone makes one for that clone"
    )]
    Gone {
        /// Its manifest.
        path: &'static str,
    },
}

/// Where a build stands among those that can take long; whoever waits is told when there is something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number, from 1.
    pub number: usize,
    /// How many there are.
    pub of: usize,
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

/// Runs a build. With a step, what cargo says is shown as soon as it does more than to find everything built; without one,
/// only errors are.
fn run(mut command: Command, step: Option<Step>, what: &str) -> Result<(), WorkspaceError> {
    let status = match step {
        None => command.arg("--quiet").status(),
        Some(Step { number, of }) => shown_when_busy(&mut command, &format!("step {number} of {of}: building {what}")),
    };
    let command = shown(&command);
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(WorkspaceError::Failed { command, status }),
        Err(source) => Err(WorkspaceError::Start { command, source }),
    }
}

/// Runs cargo and passes on its messages behind `title`, unless all it says is that it has finished.
fn shown_when_busy(command: &mut Command, title: &str) -> std::io::Result<ExitStatus> {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        // Cargo sees no terminal: what it would show on one, a bar with the crates that remain among it, is asked for.
        command
            .env("CARGO_TERM_PROGRESS_WHEN", "always")
            .env("CARGO_TERM_PROGRESS_WIDTH", "80");
        if env::var_os("CARGO_TERM_COLOR").is_none() && env::var_os("NO_COLOR").is_none() {
            command.env("CARGO_TERM_COLOR", "always");
        }
    }
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    let mut held = Some(Vec::new());
    if let Some(mut messages) = child.stderr.take() {
        let mut buffer = [0; 4096];
        loop {
            let count = match messages.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            match &mut held {
                None => stderr.write_all(&buffer[..count])?,
                Some(text) => {
                    text.extend_from_slice(&buffer[..count]);
                    if is_busy(&String::from_utf8_lossy(text)) {
                        eprintln!("{title}");
                        stderr.write_all(text)?;
                        held = None;
                    }
                }
            }
            stderr.flush()?;
        }
    }
    let status = child.wait()?;
    if let Some(text) = held.filter(|_| !status.success()) {
        stderr.write_all(&text)?;
    }
    Ok(status)
}

/// Whether whole lines of cargo's messages, or its bar, say more than that it has finished.
fn is_busy(messages: &str) -> bool {
    let mut lines = messages
        .split_inclusive(['\n', '\r'])
        .filter(|line| line.ends_with(['\n', '\r']));
    lines.any(|line| {
        // Colours and the erasure of the bar.
        let plain: String = line
            .split('\x1b')
            .enumerate()
            .map(|(index, part)| match part.find(|c: char| c.is_ascii_alphabetic()) {
                Some(end) if index > 0 => &part[end + 1..],
                _ => part,
            })
            .collect();
        !plain.trim().is_empty() && !plain.trim_start().starts_with("Finished")
    })
}

impl Workspace {
    /// Asks cargo where the workspace of this tool lies.
    ///
    /// # Errors
    /// Cargo cannot be run, or the sources this tool was built from are gone.
    pub fn locate() -> Result<Workspace, WorkspaceError> {
        if !Path::new(MANIFEST).exists() {
            return Err(WorkspaceError::Gone { path: MANIFEST });
        }
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

    /// The directory of the Linux programs that `scripts/setup --linux` has built for an architecture.
    pub fn linux_programs(&self, arch: Architecture) -> PathBuf {
        self.target.join(LINUX).join(arch.to_string())
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
        let at_home = |name: &str| {
            let file = format!("{name}.yaml");
            let paths = [examples.join(&file), examples.join(name).join(&file)];
            paths.into_iter().find(|path| path.is_file())
        };
        if let Some(path) = at_home(name) {
            return Ok((path, name.to_owned()));
        }
        if given.exists() {
            let what = if given.is_dir() {
                "a folder"
            } else {
                "not a regular file"
            };
            let path = given.to_owned();
            return Err(WorkspaceError::NotAFile { path, what });
        }
        let mut known = Vec::new();
        for entry in fs::read_dir(&examples).map_err(at(&examples))? {
            let path = entry.map_err(at(&examples))?.path();
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            known.extend(name.filter(|name| at_home(name).is_some()));
        }
        known.sort();
        Err(WorkspaceError::NoExample {
            name: name.to_owned(),
            known,
        })
    }

    /// Builds monitor and programs for an architecture; who waits is told of it as a `step`.
    ///
    /// # Errors
    /// Cargo cannot be run or fails; its own messages have been shown.
    pub fn build(&self, arch: Architecture, step: Option<Step>) -> Result<(), WorkspaceError> {
        let mut command = cargo();
        command.current_dir(&self.root);
        command.args(["build", "--profile", PROFILE, "--target", arch.triple()]);
        command.args([
            "-p",
            MONITOR,
            "-p",
            PROGRAMS,
            "-p",
            PURECAP_PROGRAMS,
            "-p",
            LINUX,
            "-p",
            WEB,
            "-p",
            DISK,
            "-p",
            SWITCH,
        ]);
        run(command, step, &format!("the monitor and the programs for {arch}"))?;
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
    pub fn build_machine(&self, step: Option<Step>) -> Result<PathBuf, WorkspaceError> {
        const BINARY: &str = "cheri-machine";
        let mut command = cargo();
        command.current_dir(&self.root);
        command.args(["build", "--release", "-p", "machine", "--bin", BINARY]);
        run(command, step, "the embedded machine")?;
        Ok(self.target.join("release").join(BINARY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_is_busy_when_it_says_more_than_that_it_has_finished() {
        let finished = "\u{1b}[1m\u{1b}[32m    Finished\u{1b}[0m `image` profile [optimized] target(s) in 0.05s\n";
        assert!(!is_busy(""));
        assert!(!is_busy(finished));
        assert!(!is_busy(&format!("\r\u{1b}[K{finished}")));
        assert!(!is_busy("   Compil"), "half a line may become anything");
        assert!(is_busy("\u{1b}[1m\u{1b}[32m   Compiling\u{1b}[0m abi v0.1.0\n"));
        assert!(is_busy("    Blocking waiting for file lock on build directory\n"));
        assert!(is_busy("error: could not find `Cargo.toml`\n"));
        assert!(is_busy("    Building [====>   ] 12/48: abi, kernel\r"));
    }
}
