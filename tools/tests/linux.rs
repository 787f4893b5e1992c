//! What `linux` in a YAML file becomes: a library OS and its programs, or places for processes, with what they see as `/`.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use abi::manifest::RestartPolicy;
use object::elf;
use tempfile::TempDir;
use tools::archive;
use tools::config::{self, Config};
use tools::elf::Facts;
use tools::elf::synthesis::{Elf, Load};
use tools::manifest::CvmSpec;
use tools::pack::{PackError, Packed, pack};
use tools::{Architecture, diagnostic::Severity};

fn parse(yaml: &str) -> Config {
    config::parse(Path::new("x.yaml"), yaml)
}

fn message(yaml: &str) -> String {
    let config = parse(yaml);
    let messages: Vec<String> = config.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(messages.len(), 1, "{messages:#?}");
    messages.into_iter().next().unwrap()
}

/// What a file that is right says of a cVM.
fn spec<'c>(config: &'c Config, name: &str) -> &'c CvmSpec {
    assert_eq!(config.diagnostics, []);
    let mut specs = config.cvms.iter().map(|cvm| &cvm.spec);
    specs.find(|spec| spec.name == name).expect("a cVM of this name")
}

/// A folder with the library OS, the programs `small` and `large`, whose memory is 3 MiB, and `wrong`, which is none, and a YAML file.
fn folder(arch: Architecture, yaml: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let handler = Elf {
        functions: vec![(0x1000, 64, abi::hostcall::HANDLER.into())],
        ..Elf::program(arch, &[0x13; 64])
    };
    write("linux", &handler.to_bytes());
    let mut program = Elf::program(arch, &[0x13; 64]);
    write("small", &program.to_bytes());
    program.loads[1].memory_size = 3 << 20;
    write("large", &program.to_bytes());
    write("wrong", b"#!/bin/sh\n");
    write("x.yaml", yaml.as_bytes());
    folder
}

fn pack_in(folder: &TempDir, arch: Architecture) -> Result<Packed, PackError> {
    pack(&folder.path().join("x.yaml"), arch, &[])
}

/// What is wrong with a file, without the folder in front.
fn refused(folder: &TempDir) -> Vec<String> {
    let Err(PackError::Refused(diagnostics)) = pack_in(folder, Architecture::CheriRiscv) else {
        panic!("it is packed, or refused as a whole");
    };
    let errors = diagnostics.iter().filter(|one| one.severity == Severity::Error);
    let prefix = format!("{}/", folder.path().display());
    errors.map(|one| one.to_string().replace(&prefix, "")).collect()
}

#[test]
fn an_entry_becomes_a_library_os_and_within_it_the_program() {
    let config = parse(
        "cVMs:\n- name: a\n  linux: {program: x, memory: 2MiB, files: 1MiB, log: debug}\n  args: [one]\n  env: {HOME: /}\n  priority: 5\n\
         - {name: b, linux: {program: dir/y, with: a}, stack: 64KiB, threads: 3}\n",
    );
    let names: Vec<&str> = config.cvms.iter().map(|cvm| cvm.spec.name.as_str()).collect();
    assert_eq!(names, ["a", "a.program", "b"]);
    let (library, program, other) = (spec(&config, "a"), spec(&config, "a.program"), spec(&config, "b"));
    assert_eq!(library.runtime, "linux");
    assert_eq!(library.env, ["FILES=1048576", "LOG=debug"]);
    assert!(library.args.is_empty() && library.within.is_none() && library.raw == 0);
    assert_eq!((program.runtime.as_str(), program.raw, program.heap), ("x", 1, 2 << 20));
    assert_eq!(
        (program.stack, program.threads),
        (256 << 10, 32),
        "unless it says otherwise"
    );
    assert_eq!(
        (&program.args[..], &program.env[..]),
        (&["one".to_owned()][..], &["HOME=/".to_owned()][..])
    );
    assert_eq!((library.priority, program.priority), (5, 5));
    for inner in [program, other] {
        assert_eq!((inner.callback_out.as_str(), inner.within.as_deref()), ("a", Some("a")));
    }
    assert_eq!(
        (other.runtime.as_str(), other.stack, other.threads),
        ("dir/y", 64 << 10, 3)
    );
}

#[test]
fn processes_have_a_cvm_each_and_the_first_one_the_arguments() {
    let config = parse(
        "cVMs:\n- name: sh\n  linux: {program: bin/dash, memory: 1MiB, processes: 3, programs: [ls, other/cat]}\n  args: [-c, ls]\n  \
         env: {HOME: /}\n  stack: 128KiB\n",
    );
    let names: Vec<&str> = config.cvms.iter().map(|cvm| cvm.spec.name.as_str()).collect();
    assert_eq!(names, ["sh", "sh.program", "sh.2", "sh.3"]);
    assert!(spec(&config, "sh").env.contains(&"FIRST=/bin/dash".to_owned()));
    let programs: Vec<&str> = config.cvms[0].programs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(programs, ["bin/dash", "ls", "other/cat"]);
    for name in &names[1..] {
        let place = spec(&config, name);
        assert_eq!(
            (place.callback_out.as_str(), place.within.as_deref()),
            ("sh", Some("sh")),
            "{name}"
        );
        assert_eq!(
            (place.raw, place.heap, place.stack, place.threads),
            (1, 1 << 20, 128 << 10, 8),
            "{name}"
        );
        assert_eq!(
            (place.restart.policy, place.restart.limit),
            (RestartPolicy::OnFault, u32::MAX),
            "{name}"
        );
        let has = (place.args.len(), place.env.len());
        assert_eq!(has, if *name == "sh.program" { (2, 1) } else { (0, 1) }, "{name}");
        let spare = place.env.iter().any(|entry| entry == "INTRAVISOR_SPARE=yes");
        assert_eq!(spare, *name != "sh.program", "{name}");
    }
    // A program alone is in the archive by itself, not in /bin.
    let config = parse("cVMs:\n- {name: a, linux: {program: x}}\n");
    assert!(config.cvms[0].programs.is_empty());
    assert!(!spec(&config, "a").env.iter().any(|entry| entry.starts_with("FIRST")));
}

#[test]
fn wrong_values_are_named_with_what_was_expected() {
    for (value, expected) in [
        (
            "{}",
            "linux.program: missing, expected the file name of a Linux program",
        ),
        (
            "{program: dir/}",
            "linux.program: missing, expected the file name of a Linux program",
        ),
        (
            "{program: x, processes: 0}",
            "linux.processes: \"0\": expected an integer, 1 to 64",
        ),
        (
            "{program: x, processes: 65}",
            "linux.processes: \"65\": expected an integer, 1 to 64",
        ),
        (
            "{program: x, processes: many}",
            "linux.processes: \"many\": expected an integer, 1 to 64",
        ),
        (
            "{program: x, programs: [ls]}",
            "linux.programs: nobody can execute them; expected linux.processes beside it",
        ),
        (
            "{program: x, processes: 1, programs: {ls: 1}}",
            "linux.programs: found a mapping, expected a list",
        ),
        (
            "{program: x, processes: 1, programs: [[ls]]}",
            "linux.programs: found a list, expected ",
        ),
        (
            "{program: x, memory: 0}",
            "linux.memory: \"0\": expected a size above 0: malloc has no other memory",
        ),
        ("{program: x, memory: much}", "linux.memory: \"much\": expected "),
        ("{program: x, files: -1}", "linux.files: \"-1\": expected "),
        ("{program: x, log: all}", "linux.log: \"all\": expected debug"),
        (
            "{program: x, process: 2}",
            "linux.process: unknown key, expected one of program, ",
        ),
        ("[x]", "linux: found a list, expected a mapping"),
        (
            "{program: x, with: b}",
            "linux.with: \"b\": expected the name of a Linux program's entry without linux.with",
        ),
    ] {
        let found = message(&format!("cVMs:\n- {{name: a, linux: {value}}}\n"));
        assert!(found.starts_with("x.yaml:2:"), "{found}");
        assert!(found.contains(&format!("error: cVM a: {expected}")), "{value}: {found}");
    }
    for key in ["files: 1MiB", "root: r", "log: debug", "processes: 2"] {
        let found = message(&format!(
            "cVMs:\n- {{name: b, linux: {{program: x}}}}\n- {{name: a, linux: {{program: x, with: b, {key}}}}}\n"
        ));
        let name = key.split(':').next().unwrap();
        let expected =
            format!("cVM a: linux.{name}: belongs to the library OS, which linux.with names; expected it there");
        assert!(found.contains(&expected), "{found}");
    }
    for entry in [
        "runtime: x",
        "heap: 1MiB",
        "callback_out: b",
        "within: b",
        "isolation: {base: 0x90000000}",
        "hostcalls: [time]",
        "raw: 1",
        "handlers: 2",
    ] {
        let found = message(&format!(
            "cVMs:\n- {{name: b, runtime: b}}\n- {{name: a, linux: {{program: x}}, {entry}}}\n"
        ));
        let name = entry.split(':').next().unwrap();
        assert!(
            found.contains(&format!("cVM a: {name}: has no place beside linux: ")),
            "{found}"
        );
    }
    // Who has no library OS shares none: another program, one that has another's.
    for (with, hint) in [("other", ""), ("c", ""), ("bb", " (did you mean \"b\"?)")] {
        let found = message(&format!(
            "cVMs:\n- {{name: other, runtime: x}}\n- {{name: b, linux: {{program: x}}}}\n\
             - {{name: c, linux: {{program: x, with: b}}}}\n- {{name: a, linux: {{program: x, with: {with}}}}}\n"
        ));
        let expected = format!(
            "x.yaml:5:39: error: cVM a: linux.with: \"{with}\": expected the name of a Linux program's entry without \
             linux.with{hint}"
        );
        assert_eq!(found, expected);
    }
    let found = message("cVMs:\n- {name: a, linux: {program: x, processes: 1}, restart: {policy: always, limit: 1}}\n");
    assert!(
        found.contains("restart: has no place beside linux.processes: the library OS starts them"),
        "{found}"
    );
    let long = "n".repeat(abi::manifest::NAME_LIMIT - 7);
    let found = message(&format!("cVMs:\n- {{name: {long}, linux: {{program: x}}}}\n"));
    assert!(
        found.contains(": the program's cVM is called the same with .program behind it"),
        "{found}"
    );
}

#[test]
fn places_of_processes_are_as_large_as_the_largest_file_that_can_be_executed() {
    for arch in [Architecture::CheriRiscv, Architecture::Morello] {
        for (programs, size) in [("", 1 << 20), ("programs: [large]", 0x2000 + (3 << 20))] {
            let yaml =
                format!("cVMs:\n- {{name: a, linux: {{program: small, processes: 2, root: root, {programs}}}}}\n");
            let folder = folder(arch, &yaml);
            fs::create_dir(folder.path().join("root")).unwrap();
            // What cannot be executed is no matter, however large it is.
            fs::write(folder.path().join("root/data"), vec![1; 5 << 20]).unwrap();
            let packed = pack_in(&folder, arch).unwrap_or_else(|error| panic!("{error}"));
            let room = u64::next_multiple_of(size, 0x1_0000);
            let name = format!("linux-process-{room:x}");
            let runtimes: Vec<&str> = packed.cvms.iter().map(|cvm| cvm.runtime.as_str()).collect();
            assert_eq!(runtimes, ["linux", &name, &name], "one member for both");
            assert!(packed.cvms[0].env.contains(&"ROOT=a.root".to_owned()));
            let members = archive::read(&packed.archive).unwrap();
            let member = |wanted: &str| {
                let mut found = members.iter().filter(|member| member.name == wanted);
                let one = found.next().unwrap_or_else(|| panic!("no {wanted}"));
                assert!(found.next().is_none(), "{wanted} is there twice");
                one.data.as_slice()
            };
            check_place(&Facts::read(member(&name)).unwrap(), arch, room);
            check_programs(member("buffers/a.root"), programs.contains("large"));
        }
    }
}

/// The file that stands for what processes execute: room, and a page of text behind it.
fn check_place(facts: &Facts, arch: Architecture, room: u64) {
    assert_eq!(facts.check(arch), []);
    assert_eq!((facts.machine, facts.kind), (arch.elf_machine(), elf::ET_DYN));
    let segments: Vec<(u64, u64, u32)> = facts
        .segments
        .iter()
        .map(|segment| (segment.address, segment.memory_size, segment.flags))
        .collect();
    let expected = [
        (0, 64 + 3 * 56, elf::PF_R),
        (0x1_0000, room, elf::PF_R | elf::PF_W),
        (0x1_0000 + room, 4, elf::PF_R | elf::PF_X),
    ];
    assert_eq!(segments, expected);
    assert_eq!(facts.entry, 0x1_0000 + room, "where nothing is executed");
    assert!(facts.tls.is_none());
}

/// What programs see as `/`: the folder, and the programs in `/bin`, to be executed.
fn check_programs(root: &[u8], large: bool) {
    let mut found = Vec::new();
    for entry in tar::Archive::new(root).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let mode = entry.header().mode().unwrap();
        found.push((
            entry.path().unwrap().display().to_string(),
            mode & 0o111 != 0,
            bytes.len() > 1000,
        ));
    }
    let mut expected = vec![("data".to_owned(), false, true), ("bin/small".to_owned(), true, true)];
    if large {
        expected.push(("bin/large".to_owned(), true, true));
    }
    assert_eq!(found, expected);
}

#[test]
fn programs_that_are_none_are_named_by_their_key() {
    let yaml = |programs: &str| {
        format!("cVMs:\n- {{name: a, linux: {{program: small, processes: 1, programs: [{programs}]}}}}\n")
    };
    let found = refused(&folder(Architecture::CheriRiscv, &yaml("wrong, nowhere, large")));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("x.yaml:2:"), "{found:#?}");
    assert!(
        found[0].contains("error: cVM a: linux.programs: \"wrong\": wrong: "),
        "{found:#?}"
    );
    assert!(
        found[1].contains("error: cVM a: linux.programs: \"nowhere\": "),
        "{found:#?}"
    );
    let place = folder(Architecture::CheriRiscv, &yaml("other/small"));
    fs::create_dir(place.path().join("other")).unwrap();
    fs::copy(place.path().join("large"), place.path().join("other/small")).unwrap();
    let expected =
        "cVM a: linux.programs: \"other/small\": /bin/small is another one of them, too; expected each name once";
    assert!(
        matches!(&refused(&place)[..], [one] if one.contains(expected)),
        "{:#?}",
        refused(&place)
    );
    // A program of the other architecture, a dynamic one, one that nothing can load.
    let foreign = Elf::program(Architecture::Morello, &[0x13; 64]);
    let dynamic = Elf::program(Architecture::CheriRiscv, &[0x13; 64]);
    let dynamic = Elf {
        loads: [
            vec![Load {
                kind: elf::PT_INTERP,
                ..Load::new(0, b"/lib/ld.so\0", 0)
            }],
            dynamic.loads.clone(),
        ]
        .concat(),
        ..dynamic
    };
    for program in [foreign, dynamic] {
        let place = folder(Architecture::CheriRiscv, &yaml("").replace("small", "odd"));
        fs::write(place.path().join("odd"), program.to_bytes()).unwrap();
        let found = refused(&place);
        assert!(
            matches!(&found[..], [one] if one.contains("cVM a: linux.program: \"odd\": odd: ")),
            "{found:#?}"
        );
    }
}

#[test]
fn a_program_that_calls_functions_to_relocate_itself_does_all_of_it() {
    for (arch, relative, indirect) in [
        (Architecture::CheriRiscv, elf::R_RISCV_RELATIVE, elf::R_RISCV_IRELATIVE),
        (Architecture::Morello, elf::R_AARCH64_RELATIVE, elf::R_AARCH64_IRELATIVE),
    ] {
        let program = |kinds: &[u32]| {
            let places: Vec<(u64, u32)> = kinds.iter().map(|kind| (0x2000, *kind)).collect();
            Elf::program(arch, &[0x13; 64])
                .with_relocations(0x8000, &places)
                .to_bytes()
        };
        let packed = |yaml: &str, kinds: &[u32]| {
            let place = folder(arch, yaml);
            fs::write(place.path().join("odd"), program(kinds)).unwrap();
            pack_in(&place, arch)
        };
        let member = |packed: &Packed| {
            let members = archive::read(&packed.archive).unwrap();
            let one = members
                .into_iter()
                .find(|member| member.name == "odd")
                .expect("the program");
            Facts::read(&one.data).unwrap()
        };
        let alone = "cVMs:\n- {name: a, linux: {program: odd}}\n";
        let first = packed(alone, &[relative]).unwrap();
        assert_eq!(member(&first).relocations.len(), 1, "the monitor's, which does no harm");
        let second = packed(alone, &[relative, indirect]).unwrap();
        let facts = member(&second);
        assert_eq!((facts.check(arch), facts.relocations.len()), (vec![], 0));
        assert_eq!(
            facts.segments,
            Facts::read(&program(&[relative, indirect])).unwrap().segments
        );
        // In /bin it is as it is: its library OS leaves relocations to all of them.
        let places = "cVMs:\n- {name: a, linux: {program: small, processes: 1, programs: [odd]}}\n";
        assert!(packed(places, &[relative, indirect]).is_ok());
        // Any other kind nobody carries out; and for who is no Linux program nobody would carry out this one.
        for (yaml, kinds) in [
            (alone, [indirect, 2]),
            (places, [indirect, 2]),
            ("cVMs:\n- {name: a, runtime: odd}\n", [relative, indirect]),
        ] {
            let Err(PackError::Refused(problems)) = packed(yaml, &kinds) else {
                panic!("{yaml} is packed");
            };
            assert!(
                problems[0].to_string().contains(": relocation of type "),
                "{problems:?}"
            );
        }
    }
}

#[test]
fn a_root_that_is_too_large_is_refused_before_it_is_read() {
    const LIMIT: u64 = abi::manifest::BUFFER_SIZE_LIMIT;
    let yaml = "cVMs:\n- {name: a, linux: {program: small, root: root}}\n";
    let sparse = |path: &Path, size: u64| fs::File::create(path).unwrap().set_len(size).unwrap();
    // Larger than memory, too, on most machines.
    for size in [LIMIT + 512, 1 << 40] {
        let place = folder(Architecture::CheriRiscv, yaml);
        sparse(&place.path().join("root"), size);
        let found = refused(&place);
        let expected = format!(
            "x.yaml:2:43: error: cVM a: linux.root: \"root\": {} of files, expected at most 1 GiB",
            match size {
                1_099_511_627_776 => "1024 GiB".to_owned(),
                size => format!("{size} B"),
            }
        );
        assert_eq!(found, [expected]);
        let place = folder(Architecture::CheriRiscv, yaml);
        fs::create_dir_all(place.path().join("root/deep")).unwrap();
        fs::write(place.path().join("root/a"), "a").unwrap();
        sparse(&place.path().join("root/deep/file"), size);
        let found = refused(&place);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(
            found[0].starts_with("x.yaml:2:43: error: cVM a: linux.root: \"root\": ")
                && found[0].ends_with(" of files, expected at most 1 GiB"),
            "{found:#?}"
        );
    }
    let place = folder(Architecture::CheriRiscv, yaml);
    let found = refused(&place);
    assert!(
        matches!(&found[..], [one] if one.contains("linux.root: \"root\": root: No such file")),
        "{found:#?}"
    );
    fs::write(place.path().join("root"), vec![0; 1024]).unwrap();
    let found = refused(&place);
    let expected = "linux.root: \"root\": root: expected a folder, or a tar file (ustar, GNU or pax; not compressed)";
    assert!(matches!(&found[..], [one] if one.contains(expected)), "{found:#?}");
}

#[test]
fn the_disk_of_a_linux_program_is_its_library_oss() {
    let config = parse(
        "cVMs:\n- {name: storage, runtime: disk, devices: block0}\n\
         - {name: a, linux: {program: x, files: 1MiB}, disk: {of: storage, access: write}}\n\
         - {name: b, linux: {program: x, files: 1MiB}, devices: [block1, net0]}\n",
    );
    assert_eq!(config.diagnostics, []);
    let spec = |name: &str| {
        config
            .cvms
            .iter()
            .map(|cvm| &cvm.spec)
            .find(|spec| spec.name == name)
            .unwrap()
    };
    assert!(spec("a").env.contains(&"DISK=a.disk".to_owned()));
    assert_eq!(spec("storage").args, ["a,0,rest,write"]);
    assert!(spec("a.program").env.is_empty() && spec("b.program").devices.is_empty());
    assert_eq!(spec("b").devices, ["block1", "net0"]);
    // One waits for the console, one for the time of timers, one commits what programs have written, one waits for frames.
    assert_eq!((spec("a").threads, spec("b").threads), (4, 5));
    assert_eq!(spec("b").heap - spec("a").heap, 2 << 20, "for connections");
    for (entry, expected) in [
        (
            "linux: {program: x}, disk: {of: storage}, devices: block1",
            "disk: has no place beside a disk of devices: programs see one disk; expected one of the two",
        ),
        (
            "linux: {program: x, with: b}, disk: {of: storage}",
            "disk: belongs to the library OS, which linux.with names; expected it there",
        ),
        (
            "linux: {program: x}, net: {of: lan}, devices: net0",
            "net: has no place beside a card of devices: programs see one network; expected one of the two",
        ),
        (
            "linux: {program: x, with: b}, net: {of: lan}",
            "net: belongs to the library OS, which linux.with names; expected it there",
        ),
    ] {
        let found = message(&format!(
            "cVMs:\n- {{name: storage, runtime: disk, devices: block0}}\n- {{name: lan, runtime: switch}}\n\
             - {{name: b, linux: {{program: x}}}}\n- {{name: a, {entry}}}\n"
        ));
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn the_port_of_a_linux_program_is_its_library_oss() {
    let config = parse(
        "cVMs:\n- {name: lan, runtime: switch, devices: net0}\n\
         - {name: a, linux: {program: x, files: 1MiB}, net: {of: lan, address: 10.1.2.3/16, gateway: 10.1.0.1}, env: {HOME: /}}\n\
         - {name: b, linux: {program: x, files: 1MiB, processes: 2}, net: {of: lan}}\n\
         - {name: c, runtime: c, net: {of: lan, address: 10.0.2.16/24}}\n\
         - {name: d, linux: {program: x, files: 1MiB}}\n",
    );
    assert_eq!(config.diagnostics, []);
    let spec = |name: &str| {
        let mut specs = config.cvms.iter().map(|cvm| &cvm.spec);
        specs.find(|spec| spec.name == name).unwrap()
    };
    assert_eq!(spec("lan").args, ["a", "b", "c"]);
    assert_eq!(
        spec("a").env,
        ["FILES=1048576", "ADDRESS=10.1.2.3/16", "GATEWAY=10.1.0.1", "NET=a.net"]
    );
    assert!(spec("b").env.contains(&"NET=b.net".to_owned()));
    assert_eq!(spec("c").env, ["ADDRESS=10.0.2.16/24", "NET=c.net"]);
    // Programs have nothing of it.
    assert_eq!(spec("a.program").env, ["HOME=/"]);
    for program in ["a.program", "b.program", "b.2"] {
        assert_eq!((spec(program).local, spec(program).threads > 0), (0, true), "{program}");
    }
    // One waits for frames; the buffer's capability has a place.
    let more = |name: &str| {
        (
            spec(name).threads - spec("d").threads,
            spec(name).local - spec("d").local,
        )
    };
    assert_eq!((more("a"), more("b")), ((1, 1), (1, 1)));
    assert_eq!(spec("a").heap - spec("d").heap, 2 << 20, "for connections");
}

#[test]
fn places_on_a_switch_are_looked_at() {
    for (entry, problem) in [
        (
            "linux: {program: x}, net: {of: lan}",
            "cVM a: net: 10.0.2.15 is where b is, too; expected another net.address",
        ),
        (
            "runtime: a, env: {ADDRESS: 10.0.2.15/16}, net: {of: lan}",
            "cVM a: net: 10.0.2.15 is where b is, too; expected another net.address",
        ),
        (
            "runtime: a, env: {ADDRESS: 10.0.2.16/16}, net: {of: lan, address: 10.0.2.17/24}",
            "cVM a: net.address: \"10.0.2.17/24\": given in env as ADDRESS, too; expected one of the two",
        ),
        (
            "linux: {program: x}, net: {of: lan, addres: 10.0.2.16/24}",
            "cVM a: net.addres: unknown key, expected one of of, address, gateway (did you mean \"address\"?)",
        ),
        (
            "linux: {program: x}, net: {of: lan, address: 10.0.2.16/24, gateway: lan}",
            "cVM a: net.gateway: \"lan\": expected an IPv4 address, such as 10.0.2.2",
        ),
        (
            "linux: {program: x}, net: {of: lan, address: 10.1.2.16/24, gateway: 10.0.2.2}",
            "cVM a: net.gateway: \"10.0.2.2\": expected another address of the same network as net.address",
        ),
        (
            "linux: {program: x}, net: {of: lan, gateway: 10.0.2.15}",
            "cVM a: net.gateway: \"10.0.2.15\": expected another address of the same network as net.address",
        ),
    ] {
        let found = message(&format!(
            "cVMs:\n- {{name: lan, runtime: switch}}\n- {{name: b, linux: {{program: x}}, net: {{of: lan}}}}\n\
             - {{name: a, {entry}}}\n"
        ));
        assert!(found.contains(problem), "{found}");
    }
    for address in [
        "10.0.2.15",
        "10.0.2.15/",
        "10.0.2.15/31",
        "10.0.2.15/0",
        "10.0.2/24",
        "10.0.2.256/24",
        "10.0.2.0/24",
        "10.0.2.255/24",
        "127.0.0.1/8",
        "224.0.0.1/24",
        "::1/24",
        "10.0.2.15/-1",
    ] {
        let found = message(&format!(
            "cVMs:\n- {{name: lan, runtime: switch}}\n- {{name: a, linux: {{program: x}}, net: {{of: lan, address: \"{address}\"}}}}\n"
        ));
        let problem = format!(
            "cVM a: net.address: \"{address}\": expected an IPv4 address of one machine and how many of its bits are its \
             network's, 1 to 30, such as 10.0.2.15/24"
        );
        assert!(found.contains(&problem), "{found}");
    }
    // Two switches are two networks.
    let config = parse(
        "cVMs:\n- {name: lan, runtime: switch}\n- {name: other, runtime: switch}\n\
         - {name: a, linux: {program: x}, net: {of: lan}}\n- {name: b, linux: {program: x}, net: {of: other}}\n",
    );
    assert_eq!(config.diagnostics, []);
}
