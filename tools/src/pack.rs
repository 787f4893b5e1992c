//! From a YAML file and programs to the archive.

use std::fs;
use std::path::{Path, PathBuf};

use abi::hostcall::HANDLER;
use abi::manifest as names;
use abi::start::StartHeader;

use crate::Architecture;
use crate::archive::{self, ArchiveError, Member};
use crate::config::{self, BufferConfig, CvmConfig, Data};
use crate::diagnostic::{Diagnostic, Severity};
use crate::elf::{ElfError, Facts, function, patches, strip, without_dynamic};
use crate::manifest::{BufferSpec, CvmSpec, Manifest};
use crate::quantity::format_size;
use crate::root;

/// Ending that a program may have in its directory and lack in the YAML file.
const PROGRAM_ENDING: &str = "elf";
/// What names of the Intravisor's programs have before and behind the name that a program has here.
const LIBRARY: (&str, &str) = ("lib", ".so");

/// Bytes of a place for programs, at least: what is written and executed later has to fit, too.
const LEAST_PLACE: u64 = 0x10_0000;

/// What `pack` made.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The archive.
    pub archive: Vec<u8>,
    /// The cVMs as the manifest has them.
    pub cvms: Vec<CvmSpec>,
    /// The buffers as the manifest has them, capfiles among them.
    pub buffers: Vec<BufferSpec>,
    /// What the user should know.
    pub warnings: Vec<Diagnostic>,
}

/// Why `pack` made nothing.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The YAML file cannot be read.
    #[error("{file}: {source}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file or the programs are not usable: errors, and the warnings between them.
    #[error("{}", lines(.0))]
    Refused(Vec<Diagnostic>),
    /// The archive cannot be written.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The manifest is larger than the monitor reads.
    #[error(
        "{file}: the manifest takes {size}, expected at most {limit}: args and env of {name} have {part} of it",
        size = format_size(*.size as u64), limit = format_size(names::TREE_LIMIT as u64), part = format_size(*.part as u64)
    )]
    TooLarge {
        /// The YAML file.
        file: String,
        /// Bytes of the manifest.
        size: usize,
        /// The cVM that says most.
        name: String,
        /// Bytes of that.
        part: usize,
    },
    /// The manifest cannot be written.
    #[error("{member}: {0}", member = names::MEMBER)]
    Manifest(#[from] vm_fdt::Error),
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// A program that goes into the archive.
struct Program {
    member: String,
    path: PathBuf,
    facts: Facts,
    bytes: Vec<u8>,
}

/// Makes the archive of a YAML file: the manifest, then each program once. A program is looked for beside the YAML
/// file, then in `directories`, with and without the ending `.elf`; and when it is not there, a name like `libhello.so`,
/// as the Intravisor has them, as `hello`.
///
/// # Errors
/// Whatever is wrong in the YAML file or the programs, all of it at once.
pub fn pack(yaml: &Path, arch: Architecture, directories: &[PathBuf]) -> Result<Packed, PackError> {
    let unreadable = |source| PackError::Unreadable {
        file: yaml.display().to_string(),
        source,
    };
    let file = fs::read(yaml).map_err(unreadable)?;
    let config = config::read(yaml, &file);
    let failed = config.has_errors();
    let mut packer = Packer {
        yaml,
        arch,
        directories,
        programs: Vec::new(),
        buffers: Vec::new(),
        places: Vec::new(),
        diagnostics: config.diagnostics,
    };
    config.buffers.into_iter().for_each(|buffer| packer.fill(buffer));
    let cvms: Vec<Option<Packable>> = config.cvms.iter().map(|cvm| packer.add(cvm)).collect();
    let cvms: Vec<CvmSpec> = match cvms.into_iter().collect::<Option<Vec<_>>>() {
        Some(cvms) => {
            packer.check_relations(&config.cvms, &cvms);
            cvms.into_iter().map(|cvm| cvm.spec).collect()
        }
        None => Vec::new(),
    };
    let Packer {
        programs,
        buffers,
        diagnostics,
        ..
    } = packer;
    if failed
        || diagnostics
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    {
        return Err(PackError::Refused(diagnostics));
    }
    let (buffers, data): (Vec<BufferSpec>, Vec<Option<Member>>) = buffers.into_iter().unzip();
    let manifest = Manifest::new(&cvms).with_buffers(&buffers).encode()?;
    let strings = |cvm: &CvmSpec| cvm.args.iter().chain(&cvm.env).map(|text| text.len() + 1).sum();
    if manifest.len() > names::TREE_LIMIT
        && let Some(most) = cvms.iter().max_by_key(|cvm| strings(cvm))
    {
        return Err(PackError::TooLarge {
            file: yaml.display().to_string(),
            size: manifest.len(),
            name: format!("cVM {}", most.name),
            part: strings(most),
        });
    }
    let manifest = Member::new(names::MEMBER, manifest);
    let programs = programs
        .into_iter()
        .map(|program| Member::new(program.member, program.bytes));
    let members: Vec<Member> = [manifest]
        .into_iter()
        .chain(programs)
        .chain(data.into_iter().flatten())
        .collect();
    Ok(Packed {
        archive: archive::write(&members)?,
        cvms,
        buffers,
        warnings: diagnostics,
    })
}

/// A cVM and the number of its program.
struct Packable {
    spec: CvmSpec,
    program: usize,
}

struct Packer<'a> {
    yaml: &'a Path,
    arch: Architecture,
    directories: &'a [PathBuf],
    programs: Vec<Program>,
    /// With what they begin with.
    buffers: Vec<(BufferSpec, Option<Member>)>,
    /// Library OSs with processes, and the bytes that the largest program takes there.
    places: Vec<(String, u64)>,
    diagnostics: Vec<Diagnostic>,
}

impl Packer<'_> {
    /// The cVM with its program in the archive; `None` when something is wrong with it.
    fn add(&mut self, cvm: &CvmConfig) -> Option<Packable> {
        let found = match cvm.spec.runtime.as_str() {
            root::PROCESS => Ok(self.place(cvm)),
            runtime => self.program(runtime, cvm.spec.raw != 0),
        };
        let index = match found {
            Ok(index) => index,
            Err(problems) => {
                for problem in problems {
                    self.error(cvm, cvm.runtime_position, "runtime", &cvm.spec.runtime, problem);
                }
                return None;
            }
        };
        let mut spec = CvmSpec {
            runtime: self.programs[index].member.clone(),
            ..cvm.spec.clone()
        };
        if let Some(buffer) = self.root(cvm) {
            spec.env.push(format!("ROOT={buffer}"));
        }
        self.check_memory(cvm, &spec, index);
        self.check_float(cvm, index);
        Some(Packable { spec, program: index })
    }

    /// Adds a buffer of the file, with what it begins with.
    fn fill(&mut self, buffer: BufferConfig) {
        let BufferConfig { mut spec, key, data } = buffer;
        let data = match data {
            None => Vec::new(),
            Some(Data::Bytes(bytes)) => bytes,
            Some(Data::File(path, position)) => {
                let whole = self.yaml.parent().unwrap_or(Path::new("")).join(&path);
                let read = read_limited(&whole).and_then(|bytes| match bytes.len() as u64 {
                    0 if spec.size == 0 => Err("is empty, expected a size, or bytes in it".to_owned()),
                    size if spec.size > 0 && size > spec.size => {
                        Err(format!("{size} bytes, expected at most {}, the size", spec.size))
                    }
                    _ => Ok(bytes),
                });
                read.unwrap_or_else(|problem| {
                    self.diagnostics.push(Diagnostic {
                        file: self.yaml.to_owned(),
                        position: Some(position),
                        severity: Severity::Error,
                        cvm: None,
                        key: Some(format!("{key}.file")),
                        value: Some(path.display().to_string()),
                        problem,
                    });
                    Vec::new()
                })
            }
        };
        if spec.size == 0 {
            spec.size = data.len() as u64;
        }
        self.add_buffer(spec, data);
    }

    fn add_buffer(&mut self, spec: BufferSpec, data: Vec<u8>) {
        self.buffers.push(match data.as_slice() {
            [] => (spec, None),
            _ => {
                let (spec, member) = spec.with_data(data);
                (spec, Some(member))
            }
        });
    }

    /// Adds the buffer with what the Linux programs of a library OS see as `/`; its name.
    fn root(&mut self, cvm: &CvmConfig) -> Option<String> {
        let inner = self.inner_programs(cvm);
        let root = match &cvm.root {
            Some(root) => root.clone(),
            None if inner.is_empty() => return None,
            None => config::Root {
                path: PathBuf::new(),
                position: cvm.runtime_position,
            },
        };
        let path = self.yaml.parent().unwrap_or(Path::new("")).join(&root.path);
        let read = match &cvm.root {
            Some(_) => root::read(&path),
            None => Ok(Vec::new()),
        };
        let named = |error: std::io::Error| format!("{}: {error}", path.display());
        let read = read.and_then(|data| match inner.as_slice() {
            [] => Ok(data),
            programs => root::with_programs(data, programs).map_err(named),
        });
        let read = read.and_then(|data| {
            let largest = if inner.is_empty() {
                0
            } else {
                root::largest(&data).map_err(named)?
            };
            Ok((data, largest))
        });
        match read {
            Ok((data, largest)) => {
                let (name, bytes) = (format!("{}.root", cvm.spec.name), data.len());
                let expected = if self.buffers.iter().any(|(buffer, _)| buffer.name == name) {
                    format!("becomes the buffer {name}, expected no other one of this name")
                } else if let Err(problem) = root::check_size(bytes as u64) {
                    problem
                } else {
                    self.places.push((cvm.spec.name.clone(), largest));
                    let spec = BufferSpec {
                        size: bytes as u64,
                        readers: vec![cvm.spec.name.clone()],
                        ..BufferSpec::capfile(&name, 0, false)
                    };
                    self.add_buffer(spec, data);
                    return Some(name);
                };
                let value = root.path.display().to_string();
                self.error(cvm, root.position, "linux.root", &value, expected);
                None
            }
            Err(problem) => {
                let value = root.path.display().to_string();
                self.error(cvm, root.position, "linux.root", &value, problem);
                None
            }
        }
    }

    /// The programs that a library OS has in `/bin`.
    fn inner_programs(&mut self, cvm: &CvmConfig) -> Vec<(String, Vec<u8>)> {
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        for (number, (name, position)) in cvm.programs.iter().enumerate() {
            // The first one is what the cVM begins with.
            let key = if number == 0 { "linux.program" } else { "linux.programs" };
            let path = find(self.yaml, self.directories, name);
            let read = path.and_then(|path| {
                let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                let named = |error: ElfError| format!("{}: {error}", path.display());
                let mut facts = Facts::read(&bytes).map_err(named)?;
                facts.take_indirect(self.arch);
                let problems = facts.check(self.arch);
                match problems.into_iter().next() {
                    Some(problem) => Err(named(problem)),
                    None => Ok((path, bytes)),
                }
            });
            match read {
                Ok((path, bytes)) => {
                    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    if found.iter().any(|(other, _)| *other == file) {
                        let problem = format!("/bin/{file} is another one of them, too; expected each name once");
                        self.error(cvm, *position, key, name, problem);
                    }
                    found.push((file, bytes));
                }
                Err(problem) => self.error(cvm, *position, key, name, problem),
            }
        }
        found
    }

    /// Number of the program of a cVM for processes, with a place for the largest file that its library OS has.
    fn place(&mut self, cvm: &CvmConfig) -> usize {
        let outer = cvm.spec.within.as_deref().unwrap_or_default();
        let largest = self.places.iter().find(|(name, _)| name == outer);
        let size = largest
            .map_or(0, |(_, size)| *size)
            .max(LEAST_PLACE)
            .next_multiple_of(0x1_0000);
        let member = format!("{}-{size:x}", root::PROCESS);
        if let Some(index) = self.programs.iter().position(|program| program.member == member) {
            return index;
        }
        let bytes = root::place(self.arch, size);
        let facts = Facts::read(&bytes).expect("the file that was made here is in order");
        self.programs.push(Program {
            path: PathBuf::from(&member),
            member,
            facts,
            bytes,
        });
        self.programs.len() - 1
    }

    /// Whether the manifest says of floating point what the program's header says, where headers say something.
    fn check_float(&mut self, cvm: &CvmConfig, index: usize) {
        let facts = &self.programs[index].facts;
        let flags = facts.flags;
        let (value, problem) = match (cvm.spec.float, facts.uses_vectors()) {
            (names::FLOAT_NO, true) => (
                "no",
                "asks for floating-point registers, which it does not get: its first use of one faults",
            ),
            (names::FLOAT_YES, false) if self.arch == Architecture::CheriRiscv => (
                "yes",
                "asks for no floating-point registers, which it gets all the same",
            ),
            _ => return,
        };
        let problem = format!("the header of {} (e_flags {flags:#x}) {problem}", cvm.spec.runtime);
        self.complain(Severity::Warning, cvm, cvm.float_position, "float", value, problem);
    }

    /// What cVMs expect of each other's programs. Both lists are in the same order.
    fn check_relations(&mut self, configs: &[CvmConfig], cvms: &[Packable]) {
        for (config, cvm) in configs.iter().zip(cvms) {
            let find = |name: &str| cvms.iter().find(|other| other.spec.name == name);
            if let Some(server) = find(&cvm.spec.callback_out)
                && self.programs[server.program].facts.handler.is_none()
            {
                let problem = format!(
                    "its program {} has no symbol {HANDLER}; expected a cVM that can serve hostcalls",
                    server.spec.runtime
                );
                let value = server.spec.name.clone();
                self.error(config, config.callback_position, "callback_out", &value, problem);
            }
            self.check_gates(config, cvm, cvms);
            if let Some(outer) = cvm.spec.within.as_deref().and_then(find)
                && self.programs[outer.program].facts.purecap()
            {
                let problem = format!(
                    "its program {} is purecap, no capability of which covers a whole cVM; expected a hybrid one",
                    outer.spec.runtime
                );
                let value = outer.spec.name.clone();
                self.error(config, config.within_position, "within", &value, problem);
            }
        }
    }

    /// The functions of a cVM's gates are in its program; and who uses vector registers passes only gates that clear them.
    fn check_gates(&mut self, config: &CvmConfig, cvm: &Packable, cvms: &[Packable]) {
        let position = config.runtime_position;
        let gates = cvm.spec.gates.iter().filter_map(|gate| names::Gate::parse(gate));
        let gates: Vec<names::Gate<'_>> = gates.collect();
        let program = &self.programs[cvm.program];
        let uses_vectors = match cvm.spec.float {
            names::FLOAT_YES => true,
            names::FLOAT_NO => false,
            _ => program.facts.uses_vectors(),
        };
        let missing: Vec<&str> = gates
            .iter()
            .filter(|gate| !matches!(function(&program.bytes, gate.function), Ok(Some(_))))
            .map(|gate| gate.function)
            .collect();
        for name in missing {
            let problem = format!("its program {} exports no such function", cvm.spec.runtime);
            self.error(config, position, "gates", name, problem);
        }
        if cvm.spec.float == names::FLOAT_NO && cvm.spec.gate_vectors(cvms.iter().map(|cvm| &cvm.spec)).contains(&true)
        {
            let problem =
                "its gates are with vector: yes, which clear registers that it has not; expected gates without";
            self.error(config, config.float_position, "float", "no", problem.to_owned());
        }
        if !uses_vectors {
            return;
        }
        let problem = "its program uses floating point; expected gates with vector: yes, which clear those registers";
        for gate in gates.iter().filter(|gate| !gate.vector) {
            self.error(config, position, "gates", gate.function, problem.to_owned());
        }
        // All that a cVM offers and calls is alike.
        let plain = |call: &&String| {
            let (server, wanted) = names::call(call)?;
            let server = cvms.iter().find(|other| other.spec.name == server)?;
            let mut gates = server.spec.gates.iter().filter_map(|gate| names::Gate::parse(gate));
            gates.find(|gate| gate.function == wanted && !gate.vector).map(|_| ())
        };
        if let Some(call) = cvm.spec.calls.iter().find(|call| plain(call).is_some()) {
            self.error(config, position, "calls", call, problem.to_owned());
        }
    }

    fn error(
        &mut self,
        cvm: &CvmConfig,
        position: crate::diagnostic::Position,
        key: &str,
        value: &str,
        problem: String,
    ) {
        self.complain(Severity::Error, cvm, position, key, value, problem);
    }

    fn complain(
        &mut self,
        severity: Severity,
        cvm: &CvmConfig,
        position: crate::diagnostic::Position,
        key: &str,
        value: &str,
        problem: String,
    ) {
        self.diagnostics.push(Diagnostic {
            file: self.yaml.to_owned(),
            position: Some(position),
            severity,
            cvm: Some(cvm.spec.name.clone()),
            key: Some(key.to_owned()),
            value: Some(value.to_owned()),
            problem,
        });
    }

    /// Number of the program that `runtime` means, read and checked; a `raw` one may relocate itself.
    fn program(&mut self, runtime: &str, raw: bool) -> Result<usize, Vec<String>> {
        let path = find(self.yaml, self.directories, runtime).map_err(|problem| vec![problem])?;
        let member = Path::new(runtime)
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let member = member.ok_or_else(|| vec!["expected the file name of an ELF program".to_owned()])?;
        if let Some(index) = self.programs.iter().position(|program| program.member == member) {
            let known = &self.programs[index].path;
            let same = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            if same(known) != same(&path) {
                let (known, path) = (known.display(), path.display());
                return Err(vec![format!(
                    "{known} and {path} would both be {member:?} in the archive, expected different file names"
                )]);
            }
            return Ok(index);
        }
        if [names::MEMBER, archive::TRAILER].contains(&member.as_str()) {
            return Err(vec![
                "this name has a meaning of its own in the archive, expected another".to_owned(),
            ]);
        }
        let shown = path.display();
        let whole = fs::read(&path).map_err(|error| vec![format!("{shown}: {error}")])?;
        let named = |error: ElfError| format!("{shown}: {error}");
        if !patches(&whole).map_err(|error| vec![named(error)])?.is_empty() {
            return Err(vec![format!(
                "{shown}: a purecap program that is not marked as one, for the linker cannot; expected one built by \
                 `intravisor build`, which marks it"
            )]);
        }
        let mut facts = Facts::read(&whole).map_err(|error| vec![named(error)])?;
        // What calls functions to relocate itself does the rest, too.
        let own = raw && facts.take_indirect(self.arch);
        let problems = facts.check(self.arch);
        if !problems.is_empty() {
            return Err(problems.into_iter().map(named).collect());
        }
        let bytes = strip(&whole).and_then(|bytes| if own { without_dynamic(&bytes) } else { Ok(bytes) });
        let bytes = bytes.map_err(|error| vec![named(error)])?;
        self.programs.push(Program {
            member,
            path,
            facts,
            bytes,
        });
        Ok(self.programs.len() - 1)
    }

    /// Whether program, heap, stack and start block fit into the memory that the file gives. This is a lower bound of
    /// what the monitor needs: it adds gaps between them.
    fn check_memory(&mut self, cvm: &CvmConfig, spec: &CvmSpec, index: usize) {
        let facts = &self.programs[index].facts;
        let strings = spec.args.iter().chain(&spec.env).chain([&spec.name, &spec.runtime]);
        let start_block = StartHeader::SIZE as u64 + strings.map(|text| text.len() as u64 + 1).sum::<u64>();
        let local = u64::from(spec.local) * 16;
        let stacks = names::gate_stacks(spec.gates.iter().map(String::as_str));
        let program = facts.span().map_or(0, |(start, _)| facts.end().saturating_sub(start));
        let parts = [program, spec.heap, spec.stack, start_block, local, stacks];
        let needed = parts.into_iter().try_fold(0_u64, u64::checked_add);
        let Some(needed) = needed else {
            let value = format!("heap {:#x}, stack {:#x}", spec.heap, spec.stack);
            let problem = "more than the 64-bit address space, expected sizes that fit into memory".to_owned();
            return self.error(cvm, cvm.isolation_position, "heap, stack", &value, problem);
        };
        if let Some(size) = spec.isolation_size
            && size < needed
        {
            let problem = format!(
                "too small: the program needs {:#x}, heap {:#x}, stack {:#x}, start block {start_block:#x}; expected at least {}",
                facts.memory_size(),
                spec.heap,
                spec.stack,
                format_size(needed.next_multiple_of(crate::elf::PAGE)),
            );
            return self.error(
                cvm,
                cvm.isolation_position,
                "isolation.size",
                &format_size(size),
                problem,
            );
        }
        let size = spec.isolation_size.unwrap_or(needed);
        if let (Some(base), Some((length, alignment))) = (spec.isolation_base, self.arch.representable(size)) {
            let own = facts.alignment();
            let problem = if !base.is_multiple_of(alignment) {
                Some(format!(
                    "the bounds of {length:#x} bytes cannot be said exactly from there, expected a multiple of {alignment:#x}"
                ))
            } else if !base.is_multiple_of(own) {
                Some(format!(
                    "the segments of its program are aligned to more, expected a multiple of {own:#x}"
                ))
            } else {
                None
            };
            if let Some(problem) = problem {
                let value = format!("{base:#x}");
                return self.error(cvm, cvm.isolation_position, "isolation.base", &value, problem);
            }
        }
        if facts.kind == object::elf::ET_EXEC
            && let Err(problem) = check_fixed(facts, spec, needed)
        {
            self.error(cvm, cvm.runtime_position, "runtime", &cvm.spec.runtime, problem);
        }
    }
}

/// The bytes of a file that a buffer can begin with.
fn read_limited(path: &Path) -> Result<Vec<u8>, String> {
    let named = |error: std::io::Error| error.to_string();
    let (size, limit) = (fs::metadata(path).map_err(named)?.len(), names::BUFFER_SIZE_LIMIT);
    if size > limit {
        return Err(format!("{size} bytes, expected at most {}", format_size(limit)));
    }
    fs::read(path).map_err(named)
}

/// The file of a program: beside the YAML file that names it, or in one of the directories.
///
/// # Errors
/// A message that says where it was looked for.
pub fn find(yaml: &Path, directories: &[PathBuf], runtime: &str) -> Result<PathBuf, String> {
    let beside = yaml.parent().unwrap_or(Path::new(""));
    let places = [beside].into_iter().chain(directories.iter().map(PathBuf::as_path));
    let short = runtime.rsplit_once('/').map_or(runtime, |(_, name)| name);
    let short = short.strip_suffix(LIBRARY.1).unwrap_or(short);
    let short = short.strip_prefix(LIBRARY.0).unwrap_or(short);
    let mut others = Vec::new();
    for name in [runtime, short] {
        for place in places.clone() {
            for path in [place.join(name), place.join(format!("{name}.{PROGRAM_ENDING}"))] {
                match fs::metadata(&path) {
                    Ok(metadata) if metadata.is_file() => return Ok(path),
                    Ok(metadata) if metadata.is_dir() => others.push(format!("; {} is a folder", path.display())),
                    Ok(_) => others.push(format!("; {} is not a regular file", path.display())),
                    // Not there, or out of reach: it is named below as a place that was looked at.
                    Err(_) => {}
                }
            }
        }
    }
    others.dedup();
    let searched: Vec<String> = places
        .map(|place| {
            if place == Path::new("") {
                ".".to_owned()
            } else {
                place.display().to_string()
            }
        })
        .collect();
    let mut tried = vec![format!("{runtime}.{PROGRAM_ENDING}")];
    if short != runtime {
        tried.extend([short.to_owned(), format!("{short}.{PROGRAM_ENDING}")]);
    }
    Err(format!(
        "no such program (nor {}) in {}{}",
        tried.join(", nor "),
        searched.join(", "),
        others.concat()
    ))
}

/// A program linked at fixed addresses must lie in the memory that its cVM is given.
fn check_fixed(facts: &Facts, spec: &CvmSpec, needed: u64) -> Result<(), String> {
    const EXPECTED: &str = "expected a position-independent program or one inside";
    let Some((start, end)) = facts.span() else {
        return Ok(());
    };
    let linked = format!("linked at {start:#x}-{end:#x}");
    let Some(base) = spec.isolation_base else {
        return Err(format!("{linked}, {EXPECTED} a given isolation.base"));
    };
    let size = spec.isolation_size.unwrap_or(needed);
    // ISAv8 counts a hybrid cVM's addresses from its base: a program linked near 0 fits as well.
    let relocated = (!facts.purecap()).then_some(0);
    if [Some(base), relocated]
        .into_iter()
        .flatten()
        .any(|low| start >= low && end <= low.saturating_add(size))
    {
        return Ok(());
    }
    Err(format!(
        "{linked}, {EXPECTED} {base:#x}-{:#x}",
        base.saturating_add(size)
    ))
}
