//! The command line of `intravisor`, as far as it needs no cross compiler.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tools::Architecture;
use tools::diagnostic::Diagnostic;
use tools::elf::synthesis::Elf;

fn intravisor(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_intravisor"))
        .current_dir(directory)
        .args(arguments)
        .output()
        .unwrap()
}

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let hello = Elf::program(Architecture::Morello, &[0; 64]);
    fs::write(directory.path().join("hello"), hello.to_bytes()).unwrap();
    fs::write(
        directory.path().join("a.yaml"),
        "cVMs:\n- name: a\n  runtime: hello\n  clean_room: 1\n",
    )
    .unwrap();
    directory
}

#[test]
fn pack_writes_the_archive_alone_and_inspect_reads_it() {
    let directory = directory();
    let arguments = [
        "pack",
        "a.yaml",
        "--arch",
        "morello",
        "--initrd",
        "--programs",
        ".",
        "-o",
        "a.cpio",
    ];
    let packed = intravisor(directory.path(), &arguments);
    assert!(packed.status.success(), "{packed:?}");
    let warning = String::from_utf8(packed.stderr).unwrap();
    assert!(
        warning.starts_with("a.yaml:4:3: warning: cVM a: clean_room: "),
        "{warning}"
    );
    let shown = intravisor(directory.path(), &["inspect", "a.cpio"]);
    assert!(shown.status.success(), "{shown:?}");
    assert!(
        String::from_utf8(shown.stdout)
            .unwrap()
            .starts_with("archive: 2 members\n  manifest.dtb ")
    );
    let json = intravisor(directory.path(), &["inspect", "--json", "a.cpio"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["cvms"][0]["name"], "a");
}

#[test]
fn errors_go_to_standard_error_with_a_failing_status() {
    let directory = directory();
    let wrong = intravisor(
        directory.path(),
        &["pack", "a.yaml", "--initrd", "--programs", ".", "-o", "a.cpio"],
    );
    assert_eq!(wrong.status.code(), Some(1));
    let text = String::from_utf8(wrong.stderr).unwrap();
    assert!(
        text.ends_with("hello: ELF machine is 183, expected 243 for cheri-riscv\n"),
        "{text}"
    );
    assert!(
        !directory.path().join("a.cpio").exists(),
        "nothing is written after an error"
    );
    let missing = intravisor(directory.path(), &["inspect", "none.img"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8(missing.stderr).unwrap().starts_with("none.img: "));
    let monitor = [
        "pack",
        "a.yaml",
        "--arch",
        "morello",
        "--programs",
        ".",
        "--monitor",
        "a.yaml",
        "-o",
        "a.img",
    ];
    let script = intravisor(directory.path(), &monitor);
    assert_eq!(script.status.code(), Some(1));
    let text = String::from_utf8(script.stderr).unwrap();
    assert!(text.contains("a.yaml: monitor: not an ELF file"), "{text}");
    let isa = intravisor(directory.path(), &["run", "demo", "--arch", "morello", "--isa", "v8"]);
    assert_eq!(isa.status.code(), Some(1));
}

#[test]
fn unknown_examples_are_named_with_the_places_looked_at() {
    let directory = directory();
    let missing = intravisor(directory.path(), &["build", "no-such-example"]);
    assert_eq!(missing.status.code(), Some(1));
    let text = String::from_utf8(missing.stderr).unwrap();
    assert!(
        text.starts_with("no example \"no-such-example\": neither a YAML file of this name, nor "),
        "{text}"
    );
    assert!(text.contains("no-such-example.yaml"), "{text}");
}

#[test]
fn every_example_is_without_errors() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut count = 0;
    for entry in fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            let config = tools::config::parse(&path, &fs::read_to_string(&path).unwrap());
            assert!(!config.has_errors(), "{:#?}", config.diagnostics);
            // Examples in the form of the Intravisor may say what is not taken; all others have nothing to warn of.
            let taken = |warning: &Diagnostic| {
                let key = warning.key.as_deref().unwrap_or_default();
                !key.starts_with("isolation.") && key != "wait"
            };
            assert_eq!(config.diagnostics.into_iter().find(taken), None, "{}", path.display());
            count += 1;
        }
    }
    assert!(count >= 3, "demo, echo and hello at least");
}
