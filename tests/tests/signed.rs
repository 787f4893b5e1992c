//! An image that was built for a key runs what its holder has signed, and says why it runs nothing else.

use std::fs;
use std::process::Command;

use machine::{Stop, morello, riscv};
use tests::{Platform, Scenario, cvm};
use tools::Architecture;
use tools::sign::Key;
use tools::workspace::Workspace;

/// Made by `openssl genpkey -algorithm ed25519` for these tests.
const OURS: &str = "-----BEGIN PRIVATE KEY-----\n\
                    MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n\
                    -----END PRIVATE KEY-----\n";
const THEIRS: &str = "-----BEGIN PRIVATE KEY-----\n\
                      MC4CAQAwBQYDK2VwBCIEIB8eHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgEA\n\
                      -----END PRIVATE KEY-----\n";

const UNSIGNED: &str = "error: archive: not signed; this image runs what the holder of its key has signed\r\n";
const FORGED: &str = "error: archive: its signature is not one of this image's key over these bytes\r\n";

fn key(text: &str) -> Key {
    Key::from_pem(text).unwrap_or_else(|error| panic!("{error}"))
}

/// The monitor built for our key.
fn monitor(arch: Architecture) -> Vec<u8> {
    let workspace = Workspace::locate().unwrap_or_else(|error| panic!("{error}"));
    let target = workspace.target.join("signed");
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--profile=image",
            "--package=boot",
            "--features=signed",
        ])
        .args(["--target", arch.triple()])
        .arg("--target-dir")
        .arg(&target)
        .env("INTRAVISOR_PUBLIC_KEY", key(OURS).public())
        .current_dir(&workspace.root)
        .status();
    assert!(status.expect("cargo starts").success());
    let path = target.join(arch.triple()).join("image/boot");
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Boots an archive, in the image or beside it, to its end.
fn boot(platform: Platform, monitor: &[u8], archive: &[u8], initrd: Option<Vec<u8>>) -> (Stop, String) {
    const LIMIT: u64 = 2_000_000_000;
    let arch = platform.arch();
    let image = tools::image::build(monitor, arch, Some(archive)).unwrap_or_else(|error| panic!("{error}"));
    match arch {
        Architecture::CheriRiscv => {
            let config = riscv::Config {
                initrd,
                ..riscv::Config::new(image)
            };
            let mut board = riscv::Board::new(config).expect("the board");
            let stop = board.run(riscv::Until::exit(LIMIT));
            (stop, board.console().text())
        }
        Architecture::Morello => {
            let config = morello::Config {
                initrd,
                ..morello::Config::new(image)
            };
            let mut board = morello::Board::new(config).expect("the board");
            let stop = board.run(morello::Until::exit(LIMIT));
            (stop, board.console().text())
        }
    }
}

fn check(platform: Platform) {
    let monitor = monitor(platform.arch());
    let plain = Scenario::new([cvm("hello", "hello", &[])]).archive(platform);
    let signed = key(OURS).sign(&plain);
    let refused = |archive: &[u8], initrd: Option<Vec<u8>>, why: &str| {
        let (stop, console) = boot(platform, &monitor, archive, initrd);
        assert_eq!(stop, Stop::Exit(1), "{console}");
        assert!(console.contains(why), "{why}\n{console}");
        assert!(!console.contains("hello from hello"), "{console}");
    };
    for initrd in [None, Some(signed.clone())] {
        let (stop, console) = boot(platform, &monitor, &signed, initrd);
        assert_eq!(stop, Stop::Exit(0), "{console}");
        assert!(console.contains("[hello] hello from hello\r\n"), "{console}");
    }
    refused(&plain, None, UNSIGNED);
    refused(&[], None, UNSIGNED);
    refused(&signed, Some(plain.clone()), UNSIGNED);
    refused(&key(THEIRS).sign(&plain), None, FORGED);
    // One bit, of the signature, of the archive, of its last byte.
    for at in [abi::image::SIGNATURE_AT, abi::image::SIGNED_AT + 1000, signed.len() - 1] {
        let mut other = signed.clone();
        other[at] ^= 1;
        refused(&other, None, FORGED);
    }
    // What stands before the signed bytes is not looked at: no file comes in this way.
    let mut longer = signed.clone();
    longer.extend(&plain);
    refused(&longer, None, FORGED);
}

#[test]
fn only_what_is_signed_runs_on_cheri_riscv() {
    check(Platform::MachineV9);
}

#[test]
fn only_what_is_signed_runs_on_morello() {
    check(Platform::MachineMorello);
}

#[test]
fn an_image_without_a_key_runs_a_signed_archive_too() {
    for platform in [Platform::MachineV9, Platform::MachineMorello] {
        let scenario = Scenario::new([cvm("hello", "hello", &[])]);
        let signed = key(OURS).sign(&scenario.archive(platform));
        let outcome = Scenario::with_archive(signed).boot(platform);
        outcome.assert_status(0);
        assert_eq!(outcome.of("hello"), ["hello from hello"], "{outcome}");
    }
}
