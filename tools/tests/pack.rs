//! The whole way: YAML file and programs in, archive or image out, and what `inspect` says of it. Programs and monitor
//! are synthesised, so that no cross compiler is needed.

use std::fs;
use std::path::Path;

use abi::image::{ImageHeader, MAGIC, OFFSET, VERSION};
use abi::manifest::RestartPolicy;
use tempfile::TempDir;
use tools::archive::{self, Member};
use tools::elf::synthesis::{Elf, Load};
use tools::manifest::{self, CvmSpec, Restart};
use tools::pack::{PackError, Packed, pack};
use tools::{Architecture, image, inspect};

/// A directory with programs `hello` and `clock.elf` and a YAML file.
fn directory(yaml: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut hello = Elf::program(Architecture::CheriRiscv, &[0x13; 64]);
    hello.functions = vec![(0x1000, 64, "_start".into())];
    hello.debug = vec![0xdb; 5000];
    fs::write(directory.path().join("hello"), hello.to_bytes()).unwrap();
    let clock = Elf::program(Architecture::CheriRiscv, &[0x17; 64]);
    fs::write(directory.path().join("clock.elf"), clock.to_bytes()).unwrap();
    fs::write(directory.path().join("demo.yaml"), yaml).unwrap();
    directory
}

fn pack_in(directory: &Path) -> Result<Packed, PackError> {
    pack(&directory.join("demo.yaml"), Architecture::CheriRiscv, &[])
}

/// The messages about a YAML file, without the directory in front.
fn messages(yaml: &str) -> Vec<String> {
    let directory = directory(yaml);
    let diagnostics = match pack_in(directory.path()) {
        Err(PackError::Refused(diagnostics)) => diagnostics,
        Ok(packed) => packed.warnings,
        Err(other) => panic!("{other}"),
    };
    let prefix = format!("{}/", directory.path().display());
    diagnostics
        .iter()
        .map(|diagnostic| diagnostic.to_string().replace(&prefix, ""))
        .collect()
}

fn message(yaml: &str) -> String {
    let messages = messages(yaml);
    assert_eq!(messages.len(), 1, "{messages:#?}");
    messages.into_iter().next().unwrap()
}

/// The message about one more line in the description of a cVM that is right without it.
fn about(line: &str) -> String {
    message(&format!("cVMs:\n- name: a\n  runtime: hello\n  {line}\n"))
}

const FULL: &str = "\
---
cVMs:
- name: first
  runtime: hello
  args: /ld.so /app/sc_main #comment
  isolation:
    base: 0x82000000
    size: 0x10000
    begin: 0x82000000
    end: 0x82010000
  callback_out: monitor
  wait: -1
---
cVMs:
- name: second
  runtime: clock
  args: [\"two words\", \"\", 3]
  env: {KEY: value, OTHER: a=b}
  isolation: {size: 1MiB}
  heap: 64KiB
  stack: 8KiB
  priority: 7
  restart: {policy: on-fault, limit: 3, delay: 10ms}
  wait: 5
- name: third
  runtime: hello
  env: [A=1]
";

#[test]
fn the_manifest_says_what_the_yaml_file_says() {
    let directory = directory(FULL);
    let packed = pack_in(directory.path()).unwrap();
    assert_eq!(packed.warnings, []);
    let first = CvmSpec {
        args: vec!["/ld.so".into(), "/app/sc_main".into()],
        isolation_base: Some(0x8200_0000),
        isolation_size: Some(0x1_0000),
        ..CvmSpec::new("first", "hello")
    };
    let second = CvmSpec {
        args: vec!["two words".into(), String::new(), "3".into()],
        env: vec!["KEY=value".into(), "OTHER=a=b".into()],
        isolation_size: Some(1 << 20),
        heap: 64 << 10,
        stack: 8 << 10,
        priority: 7,
        restart: Restart {
            policy: RestartPolicy::OnFault,
            limit: 3,
            delay: 10_000_000,
        },
        wait: 5,
        ..CvmSpec::new("second", "clock")
    };
    let third = CvmSpec {
        env: vec!["A=1".into()],
        ..CvmSpec::new("third", "hello")
    };
    assert_eq!(packed.cvms, [first, second, third]);

    let members = archive::read(&packed.archive).unwrap();
    let names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(
        names,
        ["manifest.dtb", "hello", "clock"],
        "the manifest first, then each program once"
    );
    assert_eq!(manifest::decode(&members[0].data).unwrap().cvms, packed.cvms);
    assert!(
        members[1].data.len() < fs::read(directory.path().join("hello")).unwrap().len(),
        "stripped"
    );
}

fn monitor() -> Vec<u8> {
    monitor_of(0x13)
}

/// A monitor whose instructions are this byte.
fn monitor_of(byte: u8) -> Vec<u8> {
    let mut text = vec![byte; 0x200];
    let header = ImageHeader {
        magic: MAGIC,
        version: VERSION,
        machine: 243,
        monitor_size: 0,
        symbols_offset: 0,
        symbols_size: 0,
        archive_offset: 0,
        archive_size: 0,
        constant_start: 0x90,
        constant_end: 0x180,
        link_address: 0x8000_0000,
        gap_start: 0,
        gap_end: 0,
        gap_used: 0,
    };
    text[OFFSET..OFFSET + ImageHeader::SIZE].copy_from_slice(&header.to_bytes());
    let mut elf = Elf::program(Architecture::CheriRiscv, &text);
    elf.loads = vec![Load {
        memory_size: 0x3000,
        ..Load::new(0x8000_0000, &text, 5)
    }];
    elf.functions = vec![(0x8000_0000, 4, "reset".into())];
    elf.to_bytes()
}

#[test]
fn inspect_shows_what_was_packed() {
    let directory = directory(FULL);
    let archive = pack_in(directory.path()).unwrap().archive;
    let image = image::build(&monitor(), Architecture::CheriRiscv, Some(&archive)).unwrap();
    let report = inspect::inspect(&image).unwrap();
    assert_eq!(report.problems, [""; 0]);
    let text = report.to_string();
    for line in [
        "image for cheri-riscv: ",
        "  monitor  0x00000000      12288 bytes",
        "  symbols  0x00003000         ",
        ", 1 functions",
        "  archive  0x000030",
        "archive: 3 members",
        "ET_DYN cheri-riscv hybrid, entry 0x1000, 0 relocations, 1 functions, 8 KiB of memory",
        "      r-x  0x00001000         64 bytes, 64 in the file",
        "manifest: 3 cVMs",
        "  cVM 1 second",
        "      args           [\"two words\", \"\", \"3\"]",
        "      isolation      placed by the monitor, 1 MiB",
        "      restart        on-fault, at most 3, after 10 ms",
        "      wait           the next cVM starts 5 s later, or when this one has ended",
        "      isolation      0x82000000, 64 KiB",
    ] {
        assert!(text.contains(line), "{line:?} is missing in\n{text}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["image"]["arch"], "cheri-riscv");
    assert_eq!(json["cvms"][1]["restart"]["policy"], "on-fault");
    assert_eq!(json["members"][1]["elf"]["entry"], 0x1000);
    let alone = inspect::inspect(&archive).unwrap();
    assert!(alone.image.is_none());
    assert_eq!(alone.cvms, report.cvms);
}

#[test]
fn inspect_measures_the_monitor_and_each_member() {
    let measured = |monitor: &[u8], archive: &[u8]| {
        let image = image::build(monitor, Architecture::CheriRiscv, Some(archive)).unwrap();
        let mut report = inspect::inspect(&image).unwrap();
        (report.image.unwrap().monitor_sha256, report.members.remove(0).sha256)
    };
    let archive_of = |text: &str| archive::write(&[Member::new("odd", text.as_bytes())]).unwrap();
    let (monitor_digest, member_digest) = measured(&monitor(), &archive_of("text"));
    // From `printf text | sha256sum`.
    let expected = "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1";
    assert_eq!(member_digest, expected);
    let longer = measured(&monitor(), &archive_of("something longer"));
    assert_eq!(
        longer.0, monitor_digest,
        "the archive changes the digest of the monitor"
    );
    assert_ne!(longer.1, member_digest);
    assert_ne!(measured(&monitor_of(0x33), &archive_of("text")).0, monitor_digest);
}

#[test]
fn inspect_tells_what_is_wrong_inside() {
    let manifest = manifest::encode(&[CvmSpec::new("a", "lost")]).unwrap();
    let members = [Member::new("manifest.dtb", manifest), Member::new("odd", *b"text")];
    let report = inspect::inspect(&archive::write(&members).unwrap()).unwrap();
    assert_eq!(
        report.problems,
        [
            "manifest.dtb: cVM a: runtime \"lost\" is not in the archive",
            "odd: not an ELF file: it does not start with 7f 45 4c 46"
        ]
    );
    let bare = inspect::inspect(&archive::write(&members[1..]).unwrap()).unwrap();
    assert_eq!(bare.problems[0], "manifest.dtb: not in the archive");
    let neither = inspect::inspect(b"neither").unwrap_err().to_string();
    assert!(neither.starts_with("neither an image (no image header: "), "{neither}");
}

#[test]
fn documents_and_keys_that_make_no_sense_are_named() {
    assert_eq!(
        message(""),
        "demo.yaml: error: no cVM: expected a key cVMs with a list of at least one"
    );
    assert_eq!(
        message("cVMs: []"),
        "demo.yaml: error: no cVM: expected a key cVMs with a list of at least one"
    );
    assert_eq!(
        message("- a"),
        "demo.yaml:1:1: error: found a list, expected a mapping with the key cVMs"
    );
    assert_eq!(
        message("cVMs: hello"),
        "demo.yaml:1:7: error: cVMs: found a plain value, expected a list"
    );
    assert_eq!(
        message("cvms: []"),
        "demo.yaml:1:1: error: cvms: unknown key, expected one of cVMs, capfiles, buffers (did you mean \"cVMs\"?)"
    );
    assert_eq!(
        message("cVMs:\n- a"),
        "demo.yaml:2:3: error: cVM number 1: cVMs: found a plain value, expected a mapping"
    );
    let broken = message("cVMs: [\n");
    assert!(broken.starts_with("demo.yaml:2:1: error: not YAML: "), "{broken}");
    let twice = message("cVMs:\n- name: a\n  name: b\n");
    assert_eq!(
        twice,
        "demo.yaml:3:3: error: not YAML: the key name stands twice in one mapping, expected it once: take one of them out, \
         or begin another item by -"
    );
    let unknown = about("runtme: x");
    assert!(
        unknown.starts_with("demo.yaml:4:3: error: cVM a: runtme: unknown key, expected one of name, "),
        "{unknown}"
    );
    assert!(unknown.ends_with(" (did you mean \"runtime\"?)"), "{unknown}");
}

#[test]
fn a_cvm_needs_a_valid_unique_name_and_a_runtime() {
    assert_eq!(
        messages("cVMs:\n- heap: 1KiB"),
        [
            "demo.yaml:2:3: error: cVM number 1: name: missing, expected a name for the cVM",
            "demo.yaml:2:3: error: cVM number 1: runtime: missing, expected the file name of an ELF program"
        ]
    );
    let long = "x".repeat(33);
    for name in ["two words", "ü", "monitor", long.as_str()] {
        assert_eq!(
            message(&format!("cVMs:\n- name: {name}\n  runtime: hello")),
            format!(
                "demo.yaml:2:9: error: cVM number 1: name: {name:?}: expected 1 to 32 characters of A-Z a-z 0-9 . _ -, not \"monitor\""
            )
        );
    }
    assert_eq!(
        message("cVMs:\n- {name: a, runtime: hello}\n---\ncVMs:\n- {name: a, runtime: hello}"),
        "demo.yaml:5:10: error: cVM a: name: \"a\": used twice, expected a different name for each cVM"
    );
    assert_eq!(
        message("cVMs:\n- {name: a, runtime: dir/}"),
        "demo.yaml:2:22: error: cVM a: runtime: \"dir/\": expected the file name of an ELF program"
    );
}

#[test]
fn values_of_the_wrong_kind_are_named_with_what_was_expected() {
    let size = "expected a size: bytes, hex, or a number with KiB, MiB or GiB";
    assert_eq!(
        about("heap: 1MB"),
        format!("demo.yaml:4:9: error: cVM a: heap: \"1MB\": {size}")
    );
    assert_eq!(
        about("heap: [1]"),
        "demo.yaml:4:9: error: cVM a: heap: found a list, expected a plain value"
    );
    assert_eq!(
        about("heap:"),
        "demo.yaml:4:7: error: cVM a: heap: found nothing, expected a plain value"
    );
    assert_eq!(
        about("stack: 0"),
        "demo.yaml:4:10: error: cVM a: stack: \"0\": expected a size above 0"
    );
    for priority in ["8", "-1", "high"] {
        assert_eq!(
            about(&format!("priority: {priority}")),
            format!("demo.yaml:4:13: error: cVM a: priority: {priority:?}: expected a number from 0 to 7")
        );
    }
    assert_eq!(
        about("wait: soon"),
        "demo.yaml:4:9: error: cVM a: wait: \"soon\": expected -1 (the next starts at once), 0 (at the end of this cVM) \
         or a number of seconds"
    );
    assert_eq!(
        about("restart: {policy: sometimes}"),
        "demo.yaml:4:21: error: cVM a: restart.policy: \"sometimes\": expected never, on-fault or always"
    );
    assert_eq!(
        about("restart: {limit: 1}"),
        "demo.yaml:4:12: error: cVM a: restart.policy: missing, expected never, on-fault or always"
    );
    assert_eq!(
        about("restart: {policy: always}"),
        "demo.yaml:4:12: error: cVM a: restart.limit: missing, expected the most restarts in one run"
    );
    assert_eq!(
        about("restart: {policy: always, limit: -1}"),
        "demo.yaml:4:36: error: cVM a: restart.limit: \"-1\": expected a number of restarts from 0 to 4294967295"
    );
    assert_eq!(
        about("restart: {policy: always, limit: 1, delay: 10}"),
        "demo.yaml:4:46: error: cVM a: restart.delay: \"10\": expected a duration: a number with ns, us, ms or s"
    );
    assert_eq!(
        about("restart: {policy: never, delays: 1s}"),
        "demo.yaml:4:28: error: cVM a: restart.delays: unknown key, expected one of policy, limit, delay \
         (did you mean \"delay\"?)"
    );
}

#[test]
fn arguments_and_environment_are_text_within_limits() {
    assert_eq!(
        about("args: \"a\\0b\""),
        "demo.yaml:4:9: error: cVM a: args: \"a\\0b\": expected text without a NUL character"
    );
    assert_eq!(
        about("env: A=1"),
        "demo.yaml:4:8: error: cVM a: env: found a plain value, expected a list"
    );
    assert_eq!(
        about("env: [A]"),
        "demo.yaml:4:9: error: cVM a: env: \"A\": expected KEY=value"
    );
    assert_eq!(
        about("env: [=1]"),
        "demo.yaml:4:9: error: cVM a: env: \"=1\": expected KEY=value"
    );
    assert_eq!(
        about("env: [A=1, A=2]"),
        "demo.yaml:4:14: error: cVM a: env: \"A=2\": given twice, expected each key once"
    );
    assert_eq!(
        about("env: {A=B: 1}"),
        "demo.yaml:4:9: error: cVM a: env: \"A=B\": expected a key without ="
    );
    let fits = "x".repeat(16 * 1024 - 1);
    assert_eq!(
        messages(&format!("cVMs:\n- name: a\n  runtime: hello\n  args: {fits}\n")),
        [""; 0]
    );
    assert_eq!(
        about(&format!("args: {fits}x")),
        "demo.yaml:2:3: error: cVM a: args, env: 16385 bytes of arguments and environment, expected at most 16384"
    );
}

#[test]
fn isolation_is_one_aligned_region() {
    assert_eq!(
        about("isolation: {base: 0x82000800}"),
        "demo.yaml:4:21: error: cVM a: isolation.base: \"0x82000800\": expected a multiple of 4096"
    );
    for size in ["0x0", "0x1001"] {
        assert_eq!(
            about(&format!("isolation: {{size: {size}}}")),
            format!("demo.yaml:4:21: error: cVM a: isolation.size: {size:?}: expected a multiple of 4096 above 0")
        );
    }
    assert_eq!(
        about("isolation: {base: 0xfffffffffffff000, size: 0x2000}"),
        "demo.yaml:4:47: error: cVM a: isolation.size: \"0x2000\": expected base + size inside the 64-bit address space"
    );
    assert_eq!(
        about("isolation: {base: 0x82000000, size: 64KiB, begin: 0x82001000}"),
        "demo.yaml:4:53: error: cVM a: isolation.begin: \"0x82001000\": expected at most the base"
    );
    assert_eq!(
        about("isolation: {base: 0x82000000, size: 64KiB, end: 0x82001000}"),
        "demo.yaml:4:51: error: cVM a: isolation.end: \"0x82001000\": expected at least base + size"
    );
    assert_eq!(
        about("isolation: {size: 64KiB, begin: 0x82000000}"),
        "demo.yaml:4:35: error: cVM a: isolation.begin: \"0x82000000\": expected a base, too"
    );
    assert_eq!(
        about("isolation: [{size: 64KiB}, {size: 64KiB}]"),
        "demo.yaml:4:14: error: cVM a: isolation: a list of 2, expected a mapping or a list of one mapping"
    );
    assert_eq!(
        about("isolation: {bas: 1}"),
        "demo.yaml:4:15: error: cVM a: isolation.bas: unknown key, expected one of base, size, begin, end \
         (did you mean \"base\"?)"
    );
    let two = "cVMs:\n- {name: a, runtime: hello, isolation: {base: 0x82000000, size: 64KiB}}\n\
               - {name: b, runtime: hello, isolation: {base: 0x8200f000, size: 64KiB}}\n";
    assert_eq!(
        message(two),
        "demo.yaml:3:40: error: cVM b: isolation: 0x8200f000-0x8201f000 overlaps 0x82000000-0x82010000 of cVM a, \
         expected disjoint memory"
    );
}

#[test]
fn programs_are_found_checked_and_measured() {
    let lost = message("cVMs:\n- name: a\n  runtime: lost\n");
    assert!(
        lost.starts_with("demo.yaml:3:12: error: cVM a: runtime: \"lost\": no such program (nor lost.elf) in "),
        "{lost}"
    );
    let yaml = message("cVMs:\n- name: a\n  runtime: demo.yaml\n");
    let text = "demo.yaml:3:12: error: cVM a: runtime: \"demo.yaml\": \
                demo.yaml: not an ELF file: it does not start with 7f 45 4c 46";
    assert_eq!(yaml, text);
    assert_eq!(
        about("isolation: {size: 16KiB}"),
        "demo.yaml:4:14: error: cVM a: isolation.size: \"16 KiB\": too small: the program needs 0x2000, heap 0x0, \
         stack 0x4000, start block 0x88; expected at least 28 KiB"
    );
    assert_eq!(
        about("isolation: {base: 0x82001000, size: 128MiB}"),
        "demo.yaml:4:14: error: cVM a: isolation.base: \"0x82001000\": the bounds of 0x8000000 bytes cannot be said exactly \
         from there, expected a multiple of 0x40000"
    );
    let huge = about("heap: 0xffffffffffffffff");
    let text = "demo.yaml:2:3: error: cVM a: heap, stack: \"heap 0xffffffffffffffff, stack 0x4000\": \
                more than the 64-bit address space, expected sizes that fit into memory";
    assert_eq!(huge, text);
}

#[test]
fn programs_for_another_machine_are_refused() {
    let directory = directory("cVMs:\n- {name: a, runtime: hello}\n- {name: b, runtime: clock}\n");
    let error = pack(&directory.path().join("demo.yaml"), Architecture::Morello, &[])
        .unwrap_err()
        .to_string();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 2, "one for each cVM: {error}");
    assert!(
        lines[0].ends_with("hello: ELF machine is 243 (RISC-V), expected 183 (AArch64) for morello"),
        "{error}"
    );
    assert!(
        lines[1].ends_with("clock.elf: ELF machine is 243 (RISC-V), expected 183 (AArch64) for morello"),
        "{error}"
    );
}

#[test]
fn a_manifest_that_disagrees_with_a_header_about_floating_point_gets_a_warning() {
    // EF_RISCV_FLOAT_ABI_SOFT, _SINGLE and _DOUBLE, with EF_RISCV_RVC.
    for (flags, float, expected) in [
        (0x1, "no", None),
        (0x5, "yes", None),
        (0x3, "yes", None),
        (
            0x5,
            "no",
            Some("(e_flags 0x5) asks for floating-point registers, which it does not get: its first use of one faults"),
        ),
        (
            0x3,
            "no",
            Some("(e_flags 0x3) asks for floating-point registers, which it does not get: its first use of one faults"),
        ),
        (
            0x1,
            "yes",
            Some("(e_flags 0x1) asks for no floating-point registers, which it gets all the same"),
        ),
    ] {
        let directory = directory(&format!("cVMs:\n- name: a\n  runtime: hello\n  float: {float}\n"));
        let mut hello = Elf::program(Architecture::CheriRiscv, &[0x13; 64]);
        hello.flags = flags;
        fs::write(directory.path().join("hello"), hello.to_bytes()).unwrap();
        let packed = pack_in(directory.path()).unwrap();
        let warnings: Vec<String> = packed.warnings.iter().map(ToString::to_string).collect();
        let file = directory.path().join("demo.yaml");
        let expected = expected.map(|text| {
            let file = file.display();
            format!("{file}:4:10: warning: cVM a: float: \"{float}\": the header of hello {text}")
        });
        assert_eq!(warnings, Vec::from_iter(expected), "{flags:#x}, {float}");
        let members = archive::read(&packed.archive).unwrap();
        let plan = manifest::decode(&members[0].data).unwrap();
        assert_eq!(plan.cvms[0].float, if float == "yes" { 1 } else { 2 });
    }
}

#[test]
fn no_header_of_morello_says_anything_about_floating_point() {
    let directory =
        directory("cVMs:\n- {name: a, runtime: hello, float: no}\n- {name: b, runtime: hello, float: yes}\n");
    let hello = Elf::program(Architecture::Morello, &[0x1f; 64]);
    fs::write(directory.path().join("hello"), hello.to_bytes()).unwrap();
    let packed = pack(&directory.path().join("demo.yaml"), Architecture::Morello, &[]).unwrap();
    assert_eq!(packed.warnings, []);
}

#[test]
fn programs_linked_at_fixed_addresses_need_memory_around_them() {
    let try_with = |isolation: &str| {
        let directory = directory(&format!("cVMs:\n- name: a\n  runtime: fixed\n{isolation}"));
        let mut fixed = Elf::program(Architecture::CheriRiscv, &[0x13; 64]);
        fixed.kind = object::elf::ET_EXEC;
        fixed.entry = 0x8200_1000;
        fixed.loads.iter_mut().for_each(|load| load.address += 0x8200_0000);
        fs::write(directory.path().join("fixed"), fixed.to_bytes()).unwrap();
        pack_in(directory.path()).map_err(|error| error.to_string())
    };
    assert!(try_with("  isolation: {base: 0x82000000, size: 64KiB}\n").is_ok());
    let outside = try_with("  isolation: {base: 0x83000000, size: 64KiB}\n").unwrap_err();
    let text = "linked at 0x82001000-0x82003000, expected a position-independent program or one inside \
                0x83000000-0x83010000";
    assert!(outside.ends_with(text), "{outside}");
    let text = "linked at 0x82001000-0x82003000, expected a position-independent program or one inside \
                a given isolation.base";
    assert!(try_with("").unwrap_err().ends_with(text));
}

#[test]
fn programs_come_from_the_named_directories_and_names_stay_unique() {
    let directory =
        directory("cVMs:\n- {name: a, runtime: other}\n- {name: b, runtime: sub/hello}\n- {name: c, runtime: hello}\n");
    let programs = directory.path().join("programs");
    fs::create_dir(&programs).unwrap();
    fs::create_dir(directory.path().join("sub")).unwrap();
    let program = Elf::program(Architecture::CheriRiscv, &[0; 4]).to_bytes();
    fs::write(programs.join("other.elf"), &program).unwrap();
    fs::write(directory.path().join("sub/hello"), &program).unwrap();
    let yaml = directory.path().join("demo.yaml");
    let error = pack(&yaml, Architecture::CheriRiscv, &[programs])
        .unwrap_err()
        .to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains(":4:22: error: cVM c: runtime: \"hello\": "), "{error}");
    assert!(
        error.ends_with("would both be \"hello\" in the archive, expected different file names"),
        "{error}"
    );
}

#[test]
fn there_is_a_limit_to_the_number_of_cvms() {
    let list = |count: usize| {
        let items: String = (0..count)
            .map(|number| format!("- {{name: c{number}, runtime: hello}}\n"))
            .collect();
        messages(&format!("cVMs:\n{items}"))
    };
    assert_eq!(list(256), [""; 0]);
    assert_eq!(list(1025), ["demo.yaml: error: cVMs: 1025 cVMs, expected at most 1024"]);
}

#[test]
fn there_is_a_limit_to_the_number_of_threads_and_only_handlers_that_serve_count() {
    let list = |served: &str| {
        let mut items: String = (0..511)
            .map(|number| format!("- {{name: c{number}, runtime: hello, threads: 64}}\n"))
            .collect();
        items += "- {name: s, runtime: hello, threads: 63, handlers: 2}\n";
        items += &format!("- {{name: x, runtime: hello{served}}}\n");
        messages(&format!("cVMs:\n{items}"))
    };
    let over = "demo.yaml: error: cVMs: 32770 threads and handlers, expected at most 32768 of all cVMs";
    let idle = "demo.yaml:513:52: warning: cVM s: handlers: no effect: it serves no other cVM";
    assert_eq!(list(""), [idle]);
    assert_eq!(list(", callback_out: s")[0], over);
}

#[test]
fn a_missing_yaml_file_is_named() {
    let error = pack(Path::new("/no/such.yaml"), Architecture::CheriRiscv, &[])
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("/no/such.yaml: "), "{error}");
}

#[test]
fn one_program_by_two_paths_is_one_program() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("x")).unwrap();
    let program = Elf::program(Architecture::CheriRiscv, &[0x13; 16]).to_bytes();
    std::fs::write(directory.path().join("x/prog"), &program).unwrap();
    let yaml = directory.path().join("paths.yaml");
    let text =
        "cVMs:\n- {name: a, runtime: x/prog}\n- {name: b, runtime: ./x/prog}\n- {name: c, runtime: x/../x/prog}\n";
    std::fs::write(&yaml, text).unwrap();
    let packed = pack(&yaml, Architecture::CheriRiscv, &[]).unwrap();
    assert_eq!(archive::read(&packed.archive).unwrap().len(), 2);
}

#[test]
fn a_manifest_that_the_monitor_would_not_read_is_not_packed() {
    let try_with = |count: usize| {
        let argument = "x".repeat(8000);
        let cvm = |number| format!("- {{name: a{number}, runtime: other, args: [{argument}]}}\n");
        let cvms: String = (0..count).map(cvm).collect();
        let directory = directory(&format!(
            "cVMs:\n{cvms}- {{name: b, runtime: other, args: [{argument}, more]}}\n"
        ));
        let program = Elf::program(Architecture::CheriRiscv, &[0; 4]).to_bytes();
        fs::write(directory.path().join("other.elf"), &program).unwrap();
        let packed = pack(&directory.path().join("demo.yaml"), Architecture::CheriRiscv, &[]);
        packed.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(try_with(100), Ok(()));
    let error = try_with(140).unwrap_err();
    assert!(error.contains("demo.yaml: the manifest takes "), "{error}");
    assert!(
        error.ends_with(", expected at most 1 MiB: args and env of cVM b have 8006 B of it"),
        "{error}"
    );
}

#[test]
fn what_buffers_begin_with_is_in_the_archive_and_not_in_the_manifest() {
    let folder = directory(
        "capfiles:\n- {name: large, file: notes.bin}\nbuffers:\n- {name: more, size: 4MiB, readers: \"*\", file: notes.bin}\n\
         - {name: text, data: abc}\n---\ncVMs:\n- {name: a, runtime: other}\n",
    );
    let program = Elf::program(Architecture::CheriRiscv, &[0; 4]).to_bytes();
    fs::write(folder.path().join("other.elf"), &program).unwrap();
    let bytes: Vec<u8> = (0..3 << 20).map(|at: u32| (at % 251) as u8).collect();
    fs::write(folder.path().join("notes.bin"), &bytes).unwrap();
    let yaml = folder.path().join("demo.yaml");
    let packed = pack(&yaml, Architecture::CheriRiscv, &[]).unwrap();
    let members = archive::read(&packed.archive).unwrap();
    let found = |name: &str| &members.iter().find(|member| member.name == name).unwrap().data;
    assert_eq!(*found("buffers/large"), bytes);
    assert_eq!(*found("buffers/more"), bytes);
    assert_eq!(found("buffers/text"), b"abc");
    assert!(found("manifest.dtb").len() < 2048);
    let sizes: Vec<u64> = packed.buffers.iter().map(|buffer| buffer.size).collect();
    assert_eq!(sizes, [3 << 20, 4 << 20, 3]);
    let report = tools::inspect::inspect(&packed.archive).unwrap();
    assert_eq!(report.problems, [""; 0]);
    let refused = |text: &str| {
        fs::write(
            &yaml,
            format!("cVMs:\n- {{name: a, runtime: other}}\nbuffers:\n- {{name: x, {text}}}\n"),
        )
        .unwrap();
        let error = pack(&yaml, Architecture::CheriRiscv, &[]).unwrap_err().to_string();
        error.split_once("demo.yaml:").unwrap().1.to_owned()
    };
    assert_eq!(
        refused("size: 1MiB, file: notes.bin"),
        "4:31: error: buffers.file: \"notes.bin\": 3145728 bytes, expected at most 1048576, the size"
    );
    assert_eq!(
        refused("file: lost.bin"),
        "4:19: error: buffers.file: \"lost.bin\": No such file or directory (os error 2)"
    );
    fs::write(folder.path().join("empty"), "").unwrap();
    assert_eq!(
        refused("file: empty"),
        "4:19: error: buffers.file: \"empty\": is empty, expected a size, or bytes in it"
    );
    let large = fs::File::create(folder.path().join("large")).unwrap();
    large.set_len((1 << 30) + 1).unwrap();
    assert_eq!(
        refused("file: large"),
        "4:19: error: buffers.file: \"large\": 1073741825 bytes, expected at most 1 GiB"
    );
}
