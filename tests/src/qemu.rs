//! Booting on QEMU. Where nothing is typed, its virtual time counts instructions too (`-icount`), so that what a test sees
//! does not depend on how busy the host is.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use tools::{Architecture, run};

use crate::outcome::Ending;
use crate::platform::Platform;

/// A run that takes longer on the host hangs; the longest takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The variable that names the platform's emulator, and the program that was found when the tests were built.
fn emulator(platform: Platform) -> (&'static str, Option<&'static str>) {
    match platform {
        Platform::QemuXcheri => (
            "INTRAVISOR_QEMU_RISCV64XCHERI",
            option_env!("INTRAVISOR_QEMU_RISCV64XCHERI"),
        ),
        Platform::QemuMorello => ("INTRAVISOR_QEMU_MORELLO", option_env!("INTRAVISOR_QEMU_MORELLO")),
        _ => (
            "INTRAVISOR_QEMU_RISCV64CHERI",
            option_env!("INTRAVISOR_QEMU_RISCV64CHERI"),
        ),
    }
}

/// The command that boots `image`.
///
/// # Panics
/// QEMU is not there.
pub fn command(platform: Platform, image: &Path, extra: &[OsString]) -> Command {
    let (variable, program) = emulator(platform);
    let lookup = |name: &str| program.filter(|_| name == variable).map(OsString::from);
    let command = run::qemu_command(image, platform.arch(), platform.isa(), extra, &lookup);
    command.unwrap_or_else(|error| panic!("{error}"))
}

/// Boots `image`, types the input, and returns how the run ended and what was on the console. With `until`, it is over when
/// each of these has said a line that ends so.
///
/// # Panics
/// QEMU cannot be started.
pub fn run(
    platform: Platform,
    image: &Path,
    extra: &[OsString],
    input: &[(String, Vec<u8>)],
    until: &[(String, String)],
) -> (Ending, String) {
    let mut extra = extra.to_vec();
    // With time that counts instructions, an idle guest can miss what is typed: the emulator spins instead of looking.
    // And it passes by while the host answers for a disk.
    let has_disk = extra.iter().any(|argument| argument == "-drive");
    if input.is_empty() && until.is_empty() && !has_disk {
        extra.extend(["-icount", "shift=0,sleep=off"].map(OsString::from));
    }
    let mut command = command(platform, image, &extra);
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let name = command.get_program().display().to_string();
    watch(child.unwrap_or_else(|error| panic!("{name}: {error}")), input, until)
}

/// Starts EFI firmware on the virt board of `qemu-system-morello`, with a device tree and these arguments besides; returns
/// how the run ended and what was on the console since the image has printed its name. `input` is as for [`run`].
///
/// # Panics
/// QEMU or the firmware is not there, or has not started the image.
pub fn run_firmware(machine: &str, extra: &[OsString], input: &[(String, Vec<u8>)]) -> (Ending, String) {
    let (_, program) = emulator(Platform::QemuMorello);
    let firmware = option_env!("INTRAVISOR_EFI_AARCH64").unwrap_or_else(|| panic!("there is no EFI firmware"));
    let mut command = Command::new(program.unwrap_or_else(|| panic!("there is no qemu-system-morello")));
    command
        .args([
            "-M",
            machine,
            "-cpu",
            "morello",
            "-m",
            "512",
            "-nographic",
            "-no-reboot",
        ])
        .args(["-semihosting-config", "enable=on,target=native", "-net", "none"])
        .args(["-bios", firmware])
        .args(extra)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let child = command
        .spawn()
        .unwrap_or_else(|error| panic!("qemu-system-morello: {error}"));
    let (ending, console) = watch(child, input, &[]);
    let at = console
        .find("intravisor: ")
        .unwrap_or_else(|| panic!("no image has started: {ending:?}\n{console}"));
    (ending, console[at..].to_owned())
}

/// The device tree of a board with so many MiB of memory.
///
/// # Panics
/// QEMU is not there, or writes none.
pub fn device_tree(platform: Platform, machine: &str, memory: u64) -> Vec<u8> {
    let (name, program) = emulator(platform);
    let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("temporary directory: {error}"));
    let path = directory.path().join("tree");
    let machine = format!("{machine},dumpdtb={}", path.display());
    let mut command = Command::new(program.unwrap_or_else(|| panic!("there is no {name}")));
    command.args(["-M", &machine, "-m", &memory.to_string(), "-nographic"]);
    match platform.arch() {
        Architecture::Morello => command.args(["-cpu", "morello"]),
        Architecture::CheriRiscv => command.args(["-bios", "none"]),
    };
    let output = command.output().unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn watch(mut child: Child, input: &[(String, Vec<u8>)], until: &[(String, String)]) -> (Ending, String) {
    let output = reader(&mut child);
    let mut stdin = child.stdin.take();
    let mut input = input.iter();
    let mut awaited = input.next();
    let (mut received, mut searched) = (Vec::new(), 0);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(bytes) => received.extend(bytes),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                // It may have ended by itself just now; the status below tells.
                let _ = child.kill();
                let _ = child.wait();
                return (Ending::Broken(format!("no end within {PATIENCE:?}")), text(&received));
            }
        }
        if !until.is_empty() && is_over(&text(&received), until) {
            // It may have ended by itself just now.
            let _ = child.kill();
            let _ = child.wait();
            return (
                Ending::Broken("stopped, as everybody waits".to_owned()),
                text(&received),
            );
        }
        while let Some((pattern, bytes)) = awaited {
            let found = received[searched..]
                .windows(pattern.len())
                .position(|window| window == pattern.as_bytes());
            let Some(at) = found else { break };
            searched += at + pattern.len();
            if let Some(stdin) = &mut stdin {
                stdin
                    .write_all(bytes)
                    .and_then(|()| stdin.flush())
                    .unwrap_or_else(|error| panic!("typing: {error}"));
            }
            awaited = input.next();
        }
    }
    let status = child.wait().unwrap_or_else(|error| panic!("QEMU: {error}"));
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    (
        code.map_or_else(|| Ending::Broken(status.to_string()), Ending::Exit),
        text(&received),
    )
}

/// Whether each of these has said a whole line that ends so.
fn is_over(console: &str, until: &[(String, String)]) -> bool {
    let whole = console.rfind('\n').map_or("", |end| &console[..end]);
    until.iter().all(|(name, end)| {
        let label = format!("[{name}] ");
        whole
            .lines()
            .any(|line| line.starts_with(&label) && line.trim_end().ends_with(end))
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The child's standard output as it comes.
fn reader(child: &mut Child) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    if let Some(mut stdout) = child.stdout.take() {
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}
