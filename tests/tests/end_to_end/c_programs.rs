//! The hybrid programs of `payloads/c`, built by the command that `docs/writing-a-cvm.md` gives, where there is a clang.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{Platform, Scenario, cvm};
use tools::Architecture;
use tools::elf::{Facts, strip};
use tools::manifest::{BufferSpec, CvmSpec};

const PLATFORMS: [Platform; 3] = [Platform::MachineV9, Platform::MachineV8, Platform::MachineMorello];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Builds a source file with the start code and the capabilities' functions; the program as `pack` would store it.
fn build(arch: Architecture, source: &Path) -> Vec<u8> {
    build_with(arch, source, &["slot.c"])
}

/// Builds a source file with the start code and these others of `payloads/c`.
pub(crate) fn build_with(arch: Architecture, source: &Path, library: &[&str]) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = directory.path().join("program");
    let target: &[&str] = match arch {
        Architecture::CheriRiscv => &[
            "-target",
            "riscv64-unknown-none-elf",
            "-march=rv64imac",
            "-mabi=lp64",
            "-mcmodel=medany",
        ],
        Architecture::Morello => &["-target", "aarch64-unknown-none-elf", "-mgeneral-regs-only"],
    };
    let options = [
        "-std=c11",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-ffreestanding",
        "-fPIE",
        "-fno-stack-protector",
        "-nostdlib",
        "-static",
        "-fuse-ld=lld",
        "-Wl,-pie,--no-dynamic-linker,-z,text,-z,rodynamic,-z,norelro,-z,max-page-size=4096",
        "-Wl,-T,linker/cvm.ld",
        "-Ipayloads/c",
        "payloads/c/start.c",
    ];
    let compiled = Command::new("clang")
        .current_dir(workspace())
        .args(target)
        .args(options)
        .args(library.iter().map(|name| format!("payloads/c/{name}")))
        .arg(source)
        .arg("-o")
        .arg(&output)
        .output()
        .expect("clang starts");
    let messages = String::from_utf8_lossy(&compiled.stderr);
    assert!(compiled.status.success(), "{arch}: {}: {messages}", source.display());
    let file = fs::read(&output).expect("clang has written the program");
    let problems = Facts::read(&file).expect("an ELF file").check(arch);
    assert_eq!(problems, [], "{arch}");
    strip(&file).expect("an ELF file")
}

#[test]
#[cfg_attr(not(clang), ignore = "clang and ld.lld are not on PATH")]
fn hello_prints_its_arguments_and_the_capfile() {
    let (capfile, data) = BufferSpec::capfile("test1", 12, false).with_data(*b"Hello world\n");
    for platform in PLATFORMS {
        let program = build(platform.arch(), Path::new("payloads/c/hello.c"));
        let cvms = [CvmSpec {
            local: 4,
            ..cvm("c", "hello-c", &["one", "two words"])
        }];
        let manifest = tools::manifest::Manifest::new(&cvms).with_buffers(std::slice::from_ref(&capfile));
        let members = [
            tools::archive::Member::new(abi::manifest::MEMBER, manifest.encode().expect("a manifest")),
            tools::archive::Member::new("hello-c", program),
            data.clone(),
        ];
        let archive = tools::archive::write(&members).expect("an archive");
        let outcome = Scenario::with_archive(archive).boot(platform);
        outcome.assert_status(0);
        let lines = ["hello from C", "one", "two words", "Hello world"];
        assert_eq!(outcome.of("c"), lines, "{outcome}");
    }
}

#[test]
#[cfg_attr(not(clang), ignore = "clang and ld.lld are not on PATH")]
fn a_line_is_edited_in_c_as_in_rust() {
    const READY: &str = "quit ends";
    for platform in PLATFORMS {
        let program = build(platform.arch(), Path::new("payloads/c/echo.c"));
        let echo = |env: &[&str]| {
            let spec = CvmSpec {
                env: env.iter().map(|entry| (*entry).to_owned()).collect(),
                ..cvm("c", "echo-c", &[])
            };
            Scenario::new([spec]).member("echo-c", program.clone())
        };
        let ready = "say something; quit ends";
        // What both make of the same keys is the same, to the byte.
        for keys in [
            "helo\u{7f}lo\rtw\u{e4}\u{7f}o\u{8}\u{8}\u{8}\u{8}1\r\nquit\r",
            "wrong\u{15}a\u{1b}[A\u{1b}[1;5Db\u{1b}OHc\u{1b}xd\u{1}\u{17}e\tf\nquit\n",
            "a\u{1b}\nb\u{1b}[\nnev\u{3}",
            "no end\u{4}\u{4}",
        ] {
            let of = |scenario: Scenario| {
                let outcome = scenario.input(READY, keys).boot(platform);
                outcome.assert_status(0);
                outcome
                    .of("c")
                    .iter()
                    .map(|line| (*line).to_owned())
                    .collect::<Vec<_>>()
            };
            let rust = Scenario::new([cvm("c", "echo", &[])]);
            assert_eq!(of(echo(&[])), of(rust), "{platform:?}: {keys:?}");
        }
        let ended = echo(&["CONSOLE_INTERRUPT=cvm"]).input(READY, "x\u{3}").boot(platform);
        assert_eq!(ended.of("c"), [ready, "x^C"], "{ended}");
        assert_eq!(ended.row("c").state, "exited 130", "{ended}");
        let raw = echo(&["OTHER=1", "CONSOLE_MODE=raw"])
            .input(READY, "a\u{7f}\u{3}b\rquit\r")
            .boot(platform);
        raw.assert_status(0);
        assert_eq!(raw.of("c"), [ready, "you said: a^?^Cb", "goodbye"], "{raw}");
    }
}

#[test]
#[cfg_attr(not(clang), ignore = "clang and ld.lld are not on PATH")]
fn a_server_in_c_serves() {
    for platform in PLATFORMS {
        let program = build(platform.arch(), Path::new("payloads/c/server.c"));
        let client = CvmSpec {
            callback_out: "server".into(),
            ..cvm("client", "hello", &[])
        };
        let scenario = Scenario::new([cvm("server", "server-c", &[]), client]).member("server-c", program);
        let outcome = scenario.boot(platform);
        outcome.assert_status(0);
        assert_eq!(outcome.of("server").first(), Some(&"a write from C"), "{outcome}");
        assert!(!outcome.of("client").is_empty(), "{outcome}");
    }
}

#[test]
#[cfg_attr(not(clang), ignore = "clang and ld.lld are not on PATH")]
fn a_c_program_waits_and_wakes() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let source = directory.path().join("waits.c");
    let text = "#include \"intravisor.h\"\n\
                int main(int argc, char **argv) {\n\
                    uint32_t word = 1;\n\
                    (void)argc, (void)argv;\n\
                    if (cvm_wait(&word, 2, CVM_WAIT_FOREVER) != -CVM_EAGAIN) return 1;\n\
                    if (cvm_wait(&word, 1, 1000) != -CVM_ETIMEDOUT) return 2;\n\
                    if (cvm_wake(&word, 64) != 0) return 3;\n\
                    if (cvm_thread_self() != 0) return 4;\n\
                    return cvm_answer(7, 0) == -CVM_ENOENT ? 0 : 5;\n\
                }\n";
    fs::write(&source, text).expect("a writable directory");
    for platform in PLATFORMS {
        let program = build(platform.arch(), &source);
        let scenario = Scenario::new([cvm("c", "waits", &[])]).member("waits", program);
        scenario.boot(platform).assert_status(0);
    }
}

#[test]
fn the_header_has_every_hostcall_and_error_by_its_number() {
    let header = fs::read_to_string(workspace().join("payloads/c/intravisor.h")).expect("the header");
    let calls = abi::Hostcall::ALL.map(|call| (format!("{call:?}"), call as u64));
    let errors = abi::Errno::ALL.map(|errno| (format!("{errno:?}"), errno as u64));
    for (name, number) in calls.into_iter().chain(errors) {
        // `BufferFind` is CVM_BUFFER_FIND, `EPERM` is CVM_EPERM.
        let mut words = String::new();
        let mut before = 'A';
        for character in name.chars() {
            if character.is_uppercase() && before.is_lowercase() {
                words.push('_');
            }
            words.push(character.to_ascii_uppercase());
            before = character;
        }
        let line = format!("    CVM_{words} = {number},");
        assert!(
            header.lines().any(|found| found == line),
            "{line:?} is not in intravisor.h"
        );
    }
}
