//! The program `cheri-machine`: arguments, exit statuses, messages.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// lui x5, 0x100; lui x6, word >> 12; addi x6, x6, word; sw x6, 0(x5): tells the test finisher `word`.
fn finish(word: u32) -> Vec<u8> {
    let low = word & 0xfff;
    let high = word.wrapping_add(0x800) & 0xffff_f000;
    let words = [0x0010_02b7, high | 0x337, low << 20 | 0x0003_0313, 0x0062_a023];
    words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect()
}

fn kernel(name: &str, bytes: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn run(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cheri-machine"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_guests_exit_status_is_the_programs_own() {
    for (word, status) in [(0x5555, 0), (0x2a_3333, 42)] {
        let path = kernel(&format!("exit-{status}"), &finish(word));
        for isa in ["v8", "v9"] {
            let output = run(&["--isa", isa, "--kernel", path.to_str().unwrap()], b"");
            assert_eq!(output.status.code(), Some(status), "{}", error(&output));
        }
    }
}

#[test]
fn an_endless_guest_ends_at_the_limit_with_status_124() {
    let path = kernel("endless", &0x0000_006fu32.to_le_bytes());
    let output = run(&["--limit", "1000", "--kernel", path.to_str().unwrap()], b"");
    assert_eq!(output.status.code(), Some(124));
    assert!(error(&output).contains("instruction limit"), "{}", error(&output));
}

#[test]
fn a_guest_that_waits_for_ever_ends_with_status_126_when_the_input_ends() {
    let path = kernel("waits", &[0x1050_0073u32, 0xffdf_f06f].map(u32::to_le_bytes).concat());
    let output = run(&["--kernel", path.to_str().unwrap()], b"");
    assert_eq!(output.status.code(), Some(126));
    assert!(error(&output).contains("input is at its end"), "{}", error(&output));
}

#[test]
fn input_reaches_the_guest_and_output_comes_back() {
    // lui x5, 0x10000; poll LSR; lbu x8, 0(x5); addi x8, x8, 1; sb x8, 0(x5); then success.
    let words = [
        0x1000_02b7u32,
        0x0052_c303,
        0x0013_7313,
        0xfe03_0ce3,
        0x0002_c403,
        0x0014_0413,
        0x0082_8023,
    ];
    let mut program: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    program.extend(finish(0x5555));
    let path = kernel("echo", &program);
    let output = run(&["--kernel", path.to_str().unwrap()], b"A");
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(0), b"B".as_slice())
    );
}

#[test]
fn mistakes_are_named_with_file_and_value() {
    let output = run(&["--kernel", "no-such-file"], b"");
    assert_eq!(output.status.code(), Some(125));
    assert!(error(&output).contains("no-such-file"), "{}", error(&output));
    let path = kernel("fine", &finish(0x5555));
    let output = run(&["--harts", "9", "--kernel", path.to_str().unwrap()], b"");
    assert!(
        error(&output).contains("9 harts asked for; this board has 1 to 8"),
        "{}",
        error(&output)
    );
}

#[test]
fn trace_and_statistics_go_to_standard_error() {
    let path = kernel("traced", &finish(0x5555));
    let output = run(&["--trace", "--statistics", "--kernel", path.to_str().unwrap()], b"");
    let text = error(&output);
    assert!(text.contains("lui x5, 0x100000"), "{text}");
    assert!(text.contains("10 instructions"), "{text}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_device_that_cannot_be_had_is_named_with_its_option() {
    let path = kernel("devices", &finish(0x5555));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let forward = format!("forward={}:80", taken.local_addr().unwrap().port());
    for (option, value, status, reason) in [
        ("--disk", "/no/such/disk", 125, "disk /no/such/disk: No such file"),
        ("--disk", "disk,serial=", 2, "expected 1 to 20 bytes"),
        ("--net", forward.as_str(), 125, "port"),
        ("--net", "tap", 2, "expected user, forward="),
        ("--seed", "x", 2, "expected a number or `host`"),
        ("--time", "yesterday", 2, "expected `now`"),
    ] {
        let output = run(&["--kernel", path.to_str().unwrap(), option, value], b"");
        assert_eq!(
            output.status.code(),
            Some(status),
            "{option} {value}: {}",
            error(&output)
        );
        assert!(error(&output).contains(reason), "{}", error(&output));
        assert!(
            error(&output).contains(value.trim_start_matches('/')),
            "{}",
            error(&output)
        );
    }
    let output = run(
        &["--kernel", path.to_str().unwrap(), "--net", "user", "--seed", "1"],
        b"",
    );
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
}

#[test]
fn a_board_has_no_more_devices_than_slots() {
    let path = kernel("slots", &finish(0x5555));
    let mut arguments = vec!["--kernel", path.to_str().unwrap()];
    for _ in 0..9 {
        arguments.extend(["--net", "user"]);
    }
    let output = run(&arguments, b"");
    assert_eq!(output.status.code(), Some(125));
    assert!(error(&output).contains("all 8 virtio slots"), "{}", error(&output));
}

#[test]
fn memory_that_is_too_small_is_named() {
    // The device tree goes to a multiple of 16 MiB.
    let path = kernel("too-small", &finish(0x5555));
    let path = path.to_str().unwrap();
    for memory in ["1MiB", "16MiB"] {
        let output = run(&["--memory", memory, "--kernel", path], b"");
        assert_eq!(output.status.code(), Some(125), "{memory}: {}", error(&output));
        let expected = "0x80000000..0x80000010 is where the device tree goes in a RAM of 0x1";
        let message = error(&output);
        assert!(
            message.contains(expected) && message.contains("(--memory)"),
            "{message}"
        );
    }
    let output = run(&["--memory", "24MiB", "--kernel", path], b"");
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    let long = kernel("long", &vec![0; 5 << 20]);
    let output = run(&["--memory", "4MiB", "--kernel", long.to_str().unwrap()], b"");
    let message = error(&output);
    assert!(
        message.contains("do not fit into the RAM 0x80000000..0x80400000; expected more (--memory)"),
        "{message}"
    );
}

#[test]
fn an_image_for_the_other_board_is_named() {
    let mut ours = vec![0; 0x100];
    ours[0x40..0x48].copy_from_slice(b"intravsr");
    let mut linux = vec![0; 0x100];
    for (arch, found, expected, magic) in [
        (
            "cheri-riscv",
            183_u16,
            "183 (AArch64), expected 243 (RISC-V) (--arch)",
            b"ARM\x64",
        ),
        (
            "morello",
            243,
            "243 (RISC-V), expected 183 (AArch64) (--arch)",
            b"RSC\x05",
        ),
    ] {
        ours[0x4c..0x4e].copy_from_slice(&found.to_le_bytes());
        linux[0x38..0x3c].copy_from_slice(magic);
        for (name, bytes) in [("other-ours", &ours), ("other-linux", &linux)] {
            let path = kernel(&format!("{name}-{arch}"), bytes);
            let output = run(&["--arch", arch, "--kernel", path.to_str().unwrap()], b"");
            assert_eq!(output.status.code(), Some(125), "{name}: {}", error(&output));
            let message = error(&output);
            assert!(
                message.contains(&format!("an image for ELF machine {expected}")),
                "{message}"
            );
        }
    }
}

#[test]
fn a_kernel_that_sets_no_trap_handler_is_named() {
    let path = kernel("illegal", &[0; 16]);
    let output = run(&["--kernel", path.to_str().unwrap()], b"");
    assert_eq!(output.status.code(), Some(125));
    let message = error(&output);
    assert!(
        message.contains("no handler has been set: expected a kernel for this board"),
        "{message}"
    );
}
