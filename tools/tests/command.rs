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
        text.ends_with("hello: ELF machine is 183 (AArch64), expected 243 (RISC-V) for cheri-riscv\n"),
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
fn the_command_says_its_name_and_version() {
    let version = intravisor(Path::new("."), &["--version"]);
    let expected = format!("intravisor {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(version.stdout).unwrap(), expected);
}

/// What a command that must fail with status 1 says.
fn refused(directory: &Path, arguments: &[&str]) -> String {
    let output = intravisor(directory, arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn an_unknown_example_gets_a_suggestion_and_the_list() {
    let directory = directory();
    let text = refused(directory.path(), &["build", "demoo"]);
    let expected = "no example \"demoo\" (did you mean \"demo\"?): expected the path of a YAML file, or one of ";
    assert!(text.starts_with(expected), "{text}");
    for example in ["demo", "echo", "hello", "two-pure"] {
        assert!(
            text.contains(&format!("{example},")) || text.contains(&format!("{example}\n")),
            "{text}"
        );
    }
    fs::create_dir(directory.path().join("folder")).unwrap();
    let text = refused(directory.path(), &["build", "folder"]);
    assert_eq!(text, "folder: a folder, expected a YAML file\n");
}

#[test]
fn a_folder_or_a_pipe_as_runtime_is_said_to_be_one() {
    let directory = directory();
    let path = directory.path();
    fs::create_dir(path.join("folder")).unwrap();
    let pipe = Command::new("mkfifo").arg(path.join("pipe")).status().unwrap();
    assert!(pipe.success());
    for (runtime, what) in [("folder", "is a folder"), ("pipe", "is not a regular file")] {
        let yaml = format!("cVMs:\n- name: a\n  runtime: {runtime}\n");
        fs::write(path.join("a.yaml"), yaml).unwrap();
        let text = refused(
            path,
            &["pack", "a.yaml", "--initrd", "--programs", "empty", "-o", "a.cpio"],
        );
        let expected = format!("no such program (nor {runtime}.elf) in ., empty; {runtime} {what}\n");
        assert!(text.ends_with(&expected), "{text}");
    }
    // One that lies elsewhere is found all the same.
    fs::create_dir(path.join("programs")).unwrap();
    fs::rename(path.join("hello"), path.join("programs/hello")).unwrap();
    fs::create_dir(path.join("hello")).unwrap();
    fs::write(path.join("a.yaml"), "cVMs:\n- name: a\n  runtime: hello\n").unwrap();
    let arguments = [
        "pack",
        "a.yaml",
        "--arch",
        "morello",
        "--initrd",
        "--programs",
        "programs",
        "-o",
        "a.cpio",
    ];
    let packed = intravisor(path, &arguments);
    assert!(packed.status.success(), "{packed:?}");
}

#[test]
fn a_monitor_that_is_not_built_is_named_with_the_remedy() {
    let directory = directory();
    let arguments = [
        "pack",
        "a.yaml",
        "--arch",
        "morello",
        "--programs",
        ".",
        "--monitor",
        "none",
        "-o",
        "a.img",
    ];
    let text = refused(directory.path(), &arguments);
    let last = text.lines().last().unwrap();
    assert!(
        last.starts_with("none: ") && last.contains("`intravisor build` makes"),
        "{text}"
    );
}

#[test]
fn own_files_and_programs_are_built_from_any_folder() {
    let directory = directory();
    fs::create_dir_all(directory.path().join("mine/programs")).unwrap();
    let mine = directory.path().join("mine");
    fs::rename(directory.path().join("hello"), mine.join("programs/own-program")).unwrap();
    let yaml = "cVMs:\n- name: a\n  runtime: own-program\n- name: b\n  runtime: idle\n";
    fs::write(mine.join("command-test.yaml"), yaml).unwrap();
    let build = [
        "build",
        "command-test.yaml",
        "--arch",
        "morello",
        "--programs",
        "programs",
    ];
    let built = intravisor(directory.path(), &[&["--directory", "mine"][..], &build].concat());
    assert!(built.status.success(), "{built:?}");
    let said = String::from_utf8(built.stderr).unwrap();
    let image = said.lines().last().unwrap();
    let listed = intravisor(directory.path(), &["inspect", image]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("own-program") && listed.contains("idle"), "{listed}");
}

#[test]
fn a_build_is_told_as_steps_when_there_is_something_to_do() {
    use std::os::unix::fs::PermissionsExt;
    let workspace = tools::workspace::Workspace::locate().unwrap();
    workspace.build(Architecture::Morello, None).unwrap();
    let directory = directory();
    let cargo = directory.path().join("cargo");
    let said = |what: &str| {
        // Metadata are the real ones.
        let script = format!(
            "#!/bin/sh\ncase $1 in build) printf '{what}' >&2;; *) exec {:?} \"$@\";; esac\n",
            env!("CARGO")
        );
        fs::write(&cargo, script).unwrap();
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_intravisor"))
            .env("CARGO", &cargo)
            .args(["build", "hello", "--arch", "morello"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let busy = said("   Compiling abi v0.1.0\\n    Finished `image` profile\\n");
    let expected =
        "step 1 of 1: building the monitor and the programs for morello\n   Compiling abi v0.1.0\n    Finished ";
    assert!(busy.starts_with(expected), "{busy}");
    let idle = said("    Finished `image` profile\\n");
    assert_eq!(idle.lines().count(), 1, "{idle}");
    assert!(idle.ends_with("hello-morello.img\n"), "{idle}");
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
