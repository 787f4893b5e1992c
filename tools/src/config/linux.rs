//! `linux`: a Linux program. One entry of `cVMs` becomes two: the library OS, and within it the program, whose hostcalls only
//! the library OS understands.

use abi::manifest::{self as names, DeviceKind};

use super::reader::Reader;
use super::{Draft, PLACES, Reference, Root};
use crate::diagnostic::{Position, did_you_mean};
use crate::root::PROCESS;
use crate::workspace::LINUX;
use crate::yaml::{Content, Node};

const KEYS: [&str; 8] = [
    "program",
    "memory",
    "files",
    "root",
    "log",
    "with",
    "processes",
    "programs",
];
/// Keys of the entry that the pair leaves no room for, and why.
const TAKEN: [(&str, &str); 9] = [
    ("runtime", "the library OS runs it; expected linux.program"),
    ("heap", "a Linux program maps its memory itself; expected linux.memory"),
    ("callback_out", "the library OS serves its hostcalls"),
    ("callback_in", "the library OS serves its hostcalls"),
    ("within", "it lies within the library OS"),
    ("isolation", "the monitor places the pair"),
    ("hostcalls", "a Linux program makes system calls"),
    ("raw", "a Linux program is raw"),
    ("handlers", "the library OS handles one call at a time"),
];

/// What is behind the name of the library OS in its program's.
const SUFFIX: &str = ".program";

/// What a Linux program gets when the file does not say it: memory to map, stack, threads, and bytes of files.
const MEMORY: u64 = 16 << 20;
const STACK: u64 = 256 << 10;
const THREADS: u32 = 32;
const THREADS_OF_PROCESS: u32 = 8;
/// What tells a library OS of a place for processes that the first program is not to begin there, whichever begins first.
const SPARE: &str = "INTRAVISOR_SPARE=yes";
/// Most processes at a time.
const PROCESSES: u32 = 64;
/// Where executable files go in what programs see.
const FOLDER: &str = "/bin";
const FILES: u64 = 4 << 20;
/// Bytes that the library OS needs for itself, those of connections, those of a disk's blocks in memory, and those of the stack of
/// its handler.
const OWN_HEAP: u64 = 512 << 10;
const CONNECTIONS: u64 = 2 << 20;
const BLOCKS: u64 = 4 << 20;
const OWN_STACK: u64 = 32 << 10;

/// The value of the key.
pub(super) struct Linux {
    program: String,
    program_position: Position,
    memory: u64,
    files: u64,
    root: Option<Root>,
    log: bool,
    with: Option<Reference>,
    /// Cvms for processes, 0 when the program makes none.
    processes: u32,
    programs: Vec<Reference>,
    position: Position,
}

/// Reads the value of the key; `None` when it is no mapping.
pub(super) fn read(reader: &mut Reader<'_>, at: Position, node: &Node) -> Option<Linux> {
    let entries = reader.mapping("linux", node)?;
    let mut linux = Linux {
        program: String::new(),
        program_position: at,
        memory: MEMORY,
        files: FILES,
        root: None,
        log: false,
        with: None,
        processes: 0,
        programs: Vec::new(),
        position: at,
    };
    for (key, value) in entries {
        let full = format!("linux.{}", key.text);
        match key.text.as_str() {
            "program" => {
                linux.program = reader.text(&full, value).unwrap_or_default().to_owned();
                linux.program_position = value.position;
            }
            "memory" => linux.memory = reader.size(&full, value).unwrap_or(MEMORY),
            "files" => linux.files = reader.size(&full, value).unwrap_or(FILES),
            "root" => {
                linux.root = reader.text(&full, value).map(|path| Root {
                    path: path.into(),
                    position: value.position,
                });
            }
            "log" => {
                let choose = |text: &str| (text == "debug").then_some(true);
                linux.log = reader.choice(&full, value, choose, "debug").unwrap_or_default();
            }
            "with" => {
                linux.with = reader.text(&full, value).map(|text| Reference {
                    text: text.to_owned(),
                    position: value.position,
                });
            }
            "processes" => {
                linux.processes = reader
                    .integer(
                        &full,
                        value,
                        |count| (1..=PROCESSES).contains(count),
                        "an integer, 1 to 64",
                    )
                    .unwrap_or(1);
            }
            "programs" => {
                for item in reader.list(&full, value).unwrap_or_default() {
                    linux.programs.extend(reader.text(&full, item).map(|text| Reference {
                        text: text.to_owned(),
                        position: item.position,
                    }));
                }
            }
            unknown => {
                let hint = did_you_mean(unknown, &KEYS);
                let problem = format!("unknown key, expected one of {}{hint}", KEYS.join(", "));
                reader.error(Some(key.position), Some(&full), None, problem);
            }
        }
    }
    if linux.program.is_empty() || linux.program.ends_with('/') {
        let problem = "missing, expected the file name of a Linux program";
        reader.error(Some(node.position), Some("linux.program"), None, problem);
    }
    let given = |wanted: &str| entries.iter().find(|(key, _)| key.text == wanted);
    if linux.with.is_some() {
        for key in ["files", "root", "log", "processes", "programs"] {
            if let Some((key, _)) = given(key) {
                let full = format!("linux.{}", key.text);
                let problem = "belongs to the library OS, which linux.with names; expected it there";
                reader.error(Some(key.position), Some(&full), None, problem);
            }
        }
    }
    if linux.processes == 0
        && let Some((key, _)) = given("programs")
    {
        let problem = "nobody can execute them; expected linux.processes beside it";
        reader.error(Some(key.position), Some("linux.programs"), None, problem);
    }
    if linux.memory == 0 {
        let problem = "expected a size above 0: malloc has no other memory";
        reader.error(Some(node.position), Some("linux.memory"), Some("0"), problem);
    }
    Some(linux)
}

/// Makes the pair of an entry, the library OS first; or with `linux.with` the program alone, in another one's library OS.
pub(super) fn pair(reader: &mut Reader<'_>, mut program: Draft, linux: Linux) -> Vec<Draft> {
    for (key, why) in TAKEN {
        if let Some(position) = program.given(key) {
            let problem = format!("has no place beside linux: {why}");
            reader.error(Some(position), Some(key), None, problem);
        }
    }
    for key in ["devices", "disk", "net"] {
        if let Some(position) = program.given(key).filter(|_| linux.with.is_some()) {
            let problem = "belongs to the library OS, which linux.with names; expected it there";
            reader.error(Some(position), Some(key), None, problem);
        }
    }
    let parts = [
        ("disk", DeviceKind::Block, "a disk of devices: programs see one disk"),
        ("net", DeviceKind::Net, "a card of devices: programs see one network"),
    ];
    for (key, kind, other) in parts {
        if let Some(position) = program.given(key).filter(|_| has_device(&program, kind)) {
            let problem = format!("has no place beside {other}; expected one of the two");
            reader.error(Some(position), Some(key), None, problem);
        }
    }
    let name = program.name().to_owned();
    let server = linux.with.clone().unwrap_or(Reference {
        text: name.clone(),
        position: linux.position,
    });
    let mut outer = Vec::new();
    if linux.with.is_none() {
        if name.len() + SUFFIX.len() > names::NAME_LIMIT {
            let problem = format!(
                "expected at most {} characters: the program's cVM is called the same with {SUFFIX} behind it",
                names::NAME_LIMIT - SUFFIX.len()
            );
            reader.error(Some(program.position), Some("name"), Some(&name), problem);
        }
        outer.push(library(&name, &mut program, &linux));
        program.config.spec.name = format!("{name}{SUFFIX}");
    }
    if linux.processes > 0 {
        outer.extend(places(reader, &name, &program, &linux, &server));
        return outer;
    }
    let spec = &mut program.config.spec;
    spec.devices.clear();
    spec.runtime = linux.program;
    spec.heap = linux.memory;
    spec.raw = 1;
    let given = |key: &str| program.given.iter().any(|(given, _)| given == key);
    if !given("stack") {
        spec.stack = STACK;
    }
    if !given("threads") {
        spec.threads = THREADS;
    }
    program.config.runtime_position = linux.program_position;
    program.config.callback_position = server.position;
    program.config.within_position = server.position;
    program.callback_out = Some(server.clone());
    program.within = Some(server);
    program.library = linux.with;
    outer.push(program);
    outer
}

/// Whether who shares another program's library OS names one.
pub(super) fn check_libraries(reader: &mut Reader<'_>, cvms: &[Draft]) {
    let names = cvms.iter().filter(|cvm| cvm.runtime() == LINUX).map(Draft::name);
    let names: Vec<&str> = names.collect();
    for cvm in cvms {
        if let Some(Reference { text, position }) =
            cvm.library.as_ref().filter(|with| !names.contains(&with.text.as_str()))
        {
            reader.enter(cvm.name());
            let hint = did_you_mean(text, &names);
            let problem = format!("expected the name of a Linux program's entry without linux.with{hint}");
            reader.error(Some(*position), Some("linux.with"), Some(text), problem);
        }
    }
    reader.leave();
}

/// The cVMs that processes are in, the first one with the program's arguments.
fn places(reader: &mut Reader<'_>, name: &str, program: &Draft, linux: &Linux, server: &Reference) -> Vec<Draft> {
    if let Some(position) = program.given("restart") {
        let problem = "has no place beside linux.processes: the library OS starts them";
        reader.error(Some(position), Some("restart"), None, problem);
    }
    let given = |key: &str| program.given(key).is_some();
    let place = |number: u32| {
        let called = match number {
            1 => format!("{name}{SUFFIX}"),
            more => format!("{name}.{more}"),
        };
        let mut draft = program.unadorned(&called, PROCESS, linux.position);
        let spec = &mut draft.config.spec;
        if number == 1 {
            spec.args.clone_from(&program.config.spec.args);
            spec.env.clone_from(&program.config.spec.env);
        } else {
            spec.env.push(SPARE.to_owned());
        }
        spec.priority = program.config.spec.priority;
        spec.heap = linux.memory;
        spec.raw = 1;
        spec.stack = if given("stack") {
            program.config.spec.stack
        } else {
            STACK
        };
        spec.threads = if given("threads") {
            program.config.spec.threads
        } else {
            THREADS_OF_PROCESS
        };
        // Its library OS learns of a fault by its new beginning.
        spec.restart.policy = names::RestartPolicy::OnFault;
        spec.restart.limit = u32::MAX;
        draft.config.callback_position = server.position;
        draft.config.within_position = server.position;
        draft.callback_out = Some(server.clone());
        draft.within = Some(server.clone());
        draft
    };
    (1..=linux.processes).map(place).collect()
}

/// Whether one of this kind is among the devices of an entry.
fn has_device(program: &Draft, wanted: DeviceKind) -> bool {
    let kinds = program.config.spec.devices.iter().map(|device| names::device(device));
    kinds.flatten().any(|(kind, _)| kind == wanted)
}

/// The library OS of a program, which has what the entry gives of devices.
fn library(name: &str, program: &mut Draft, linux: &Linux) -> Draft {
    let has_disk = program.disk.is_some() || has_device(program, DeviceKind::Block);
    let has_network = program.net.is_some() || has_device(program, DeviceKind::Net);
    let mut outer = program.unadorned(name, LINUX, linux.position);
    let spec = &mut outer.config.spec;
    spec.priority = program.config.spec.priority;
    spec.restart = program.config.spec.restart;
    spec.heap = OWN_HEAP.saturating_add(linux.files);
    spec.service_stack = OWN_STACK;
    // One waits for the console, one for the time of timers.
    spec.threads += 2;
    // For the capability over what its programs see as `/`.
    spec.local = PLACES;
    spec.env.push(format!("FILES={}", linux.files));
    if linux.log {
        spec.env.push("LOG=debug".to_owned());
    }
    spec.devices.clone_from(&program.config.spec.devices);
    if has_network {
        spec.heap = spec.heap.saturating_add(CONNECTIONS);
        // One waits for frames.
        spec.threads += 1;
    }
    if has_disk {
        spec.heap = spec.heap.saturating_add(BLOCKS);
        // One commits now and then.
        spec.threads += 1;
    }
    outer.disk = program.disk.take();
    outer.net = program.net.take();
    outer.config.root.clone_from(&linux.root);
    if linux.processes > 0 {
        let file = linux
            .program
            .rsplit_once('/')
            .map_or(linux.program.as_str(), |(_, file)| file);
        outer.config.spec.env.push(format!("FIRST={FOLDER}/{file}"));
        let first = Reference {
            text: linux.program.clone(),
            position: linux.program_position,
        };
        let files = [first].into_iter().chain(linux.programs.iter().cloned());
        outer.config.programs = files.map(|file| (file.text, file.position)).collect();
    }
    outer
}

/// Whether an entry's `linux` is there, so that a missing `runtime` is none.
pub(super) fn is_given(node: &Node) -> bool {
    let Content::Mapping(entries) = &node.content else {
        return false;
    };
    entries.iter().any(|(key, _)| key.text == "linux")
}
