//! The same counts on a CHERI QEMU, where there is one: another emulator runs the same image under `-icount shift=0` and logs
//! every instruction that it executes. What the embedded machine says of a way has to be what QEMU says of it.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread;

use object::{Object, ObjectSymbol};
use tests::artifacts::built;
use tests::code::assembler::Assembler;
use tools::run::{Isa, RunError, qemu_command};

use crate::Result;
use crate::counts::{self, code_of};
use crate::gates::{self, Play, Way};
use crate::measurement::{Bar, Measurement};
use crate::packing::{Setup, cvm};
use crate::platform::Platform;

const SECTION: &str = "Beside a CHERI QEMU with -icount shift=0 (instructions)";
/// How much the two may differ, in percent.
const BAR: u64 = 2;
/// Most instructions that are logged of a run: a boot, and what is measured behind it.
const LOGGED: usize = 1_000_000;
/// Calls by a gate, and switches, before the one that is counted.
const ROUNDS: usize = 20;
const SWITCHES: usize = 6;

/// A run on QEMU: the addresses of the instructions, and the console.
struct Run {
    logged: Vec<u64>,
    console: String,
}

/// Runs an image until it ends or `enough` says so of an instruction; logs the instructions within a range, if there is one.
/// None without a QEMU.
fn run(
    platform: &dyn Platform,
    setup: &Setup,
    filter: Option<&std::ops::Range<u64>>,
    enough: &mut dyn FnMut(u64) -> bool,
) -> Result<Option<Run>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("intravisor.img");
    std::fs::write(&path, setup.image(platform.arch())?)?;
    let mut extra: Vec<OsString> = ["-icount", "shift=0,sleep=off", "-d", "instr"]
        .map(OsString::from)
        .into();
    if let Some(range) = filter {
        let range = format!("{:#x}..{:#x}", range.start, range.end - 1);
        extra.extend([OsString::from("-dfilter"), range.into()]);
    }
    let lookup = |name: &str| env::var_os(name);
    let mut command: Command = match qemu_command(&path, platform.arch(), Isa::V9, &extra, &lookup) {
        Ok(command) => command,
        Err(RunError::NoEmulator { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let logged = log(&mut child, enough);
    // It may have ended by itself.
    let _ = child.kill();
    child.wait()?;
    let (logged, console) = logged?;
    Ok(Some(Run { logged, console }))
}

/// The instructions that are logged, and the console until then.
fn log(child: &mut Child, enough: &mut dyn FnMut(u64) -> bool) -> Result<(Vec<u64>, String)> {
    let (Some(mut stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err("QEMU without its output".into());
    };
    let console = thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.read_to_end(&mut bytes);
        read.map(|_| String::from_utf8_lossy(&bytes).into_owned())
    });
    let (mut lines, mut line, mut logged) = (BufReader::new(stderr), Vec::new(), Vec::new());
    while logged.len() < LOGGED && lines.read_until(b'\n', &mut line)? > 0 {
        if let Some(address) = instruction(&line) {
            logged.push(address);
            if enough(address) {
                break;
            }
        }
        line.clear();
    }
    child.kill()?;
    let console = console.join().map_err(|_| "QEMU's console cannot be read")?;
    Ok((logged, console?))
}

/// The address in a line of the log that stands for an instruction: `[0:0] 0x0000000080000000:  00000297  auipc …`.
fn instruction(line: &[u8]) -> Option<u64> {
    let line = line.strip_prefix(b"[")?;
    let at = line.windows(4).position(|bytes| bytes == b"] 0x")? + 4;
    let digits = line.get(at..at + 16)?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Where the program of a cVM began.
fn entry(run: &Run, name: &str) -> Result<u64> {
    let code = code_of(&run.console, name)?;
    let first = run.logged.iter().find(|address| code.in_bounds(**address, 2));
    Ok(*first.ok_or_else(|| format!("QEMU: no instruction of {name}; console:\n{}", run.console))?)
}

/// Instructions of a null hostcall, the median.
fn null_hostcall(platform: &dyn Platform, served: bool) -> Result<Option<u64>> {
    let [alone, client] = counts::calling();
    let cvms = match served {
        true => vec![cvm("server", "server", &["answer"]), client],
        false => vec![alone],
    };
    let setup = Setup::new(platform.arch(), &cvms, &[])?;
    let Some(run) = run(platform, &setup, None, &mut |_| false)? else {
        return Ok(None);
    };
    let call = entry(&run, "null")?.wrapping_add(counts::null_call(platform)?);
    let visits: Vec<u64> = (0..)
        .zip(&run.logged)
        .filter(|(_, address)| **address == call)
        .map(|(at, _)| at)
        .collect();
    if visits.len() < 2 {
        return Err(format!("QEMU: no null hostcalls; console:\n{}", run.console).into());
    }
    Ok(Some(counts::trips(&visits)[0]))
}

/// Instructions of a call by a gate.
fn gate(platform: &dyn Platform) -> Result<Option<u64>> {
    let Play { cvms, programs, call } = gates::play(platform, Way::Integers);
    let setup = Setup::new(platform.arch(), &cvms, &programs)?;
    let Some(run) = run(platform, &setup, None, &mut |_| false)? else {
        return Ok(None);
    };
    let entry = entry(&run, "caller")?;
    let [start, end] = call.map(|offset| entry.wrapping_add_signed(offset));
    let starts = (0..run.logged.len()).filter(|at| run.logged[*at] == start);
    let from = starts.take(ROUNDS).last().unwrap_or_default();
    let instructions = run.logged[from..].iter().position(|address| *address == end);
    let instructions = instructions.ok_or_else(|| format!("QEMU: no call by a gate; console:\n{}", run.console))?;
    Ok(Some(instructions as u64))
}

/// Instructions of the monitor for a switch by the timer between two cVMs that never call it.
fn timer_switch(platform: &dyn Platform) -> Result<Option<u64>> {
    let arch = platform.arch();
    let mut spinner = Assembler::new(arch);
    spinner.jump(0);
    let programs = [("spin".to_owned(), spinner.elf(&[]).to_bytes())];
    let setup = Setup::new(arch, &[cvm("one", "spin", &[]), cvm("other", "spin", &[])], &programs)?;
    let monitor = object::File::parse(&*built(arch).monitor)?;
    let symbol = |wanted: &str| -> Result<u64> {
        let mut symbols = monitor.symbols();
        let found = symbols.find(|symbol| symbol.name() == Ok(wanted));
        Ok(found
            .ok_or_else(|| format!("the monitor has no symbol {wanted}"))?
            .address())
    };
    let (vectors, offset) = platform.interrupt_entry();
    let interrupt = symbol(vectors)? + offset;
    let text = platform.load_address()..symbol("intravisor_text_end")?;
    let mut interrupts = 0;
    let mut enough = |address| {
        interrupts += usize::from(address == interrupt);
        interrupts > SWITCHES
    };
    let Some(run) = run(platform, &setup, Some(&text), &mut enough)? else {
        return Ok(None);
    };
    let entries: Vec<usize> = (0..run.logged.len())
        .filter(|at| run.logged[*at] == interrupt)
        .collect();
    match entries[..] {
        [.., last, next] if entries.len() > SWITCHES => Ok(Some((next - last) as u64)),
        _ => Err(format!("QEMU: no switches by the timer; console:\n{}", run.console).into()),
    }
}

/// What of these measurements can be counted on QEMU, beside it.
///
/// # Errors
/// QEMU does not do what is measured.
pub(crate) fn measure(platform: &dyn Platform, measured: &[Measurement]) -> Result<Vec<Measurement>> {
    let mut rows = Vec::new();
    for (label, count) in [
        (counts::NULL, null_hostcall(platform, false)?),
        (counts::SERVED, null_hostcall(platform, true)?),
        (counts::SWITCH, timer_switch(platform)?),
        (gates::GATE, gate(platform)?),
    ] {
        let Some(count) = count else {
            let arch = platform.arch().name();
            eprintln!("bench: left out, no QEMU for {arch}: the counts beside it");
            return Ok(Vec::new());
        };
        let own = Measurement::named(measured, label).ok_or_else(|| format!("{label} was not measured"))?;
        let difference = (count as f64 - own).abs() / own * 100.0;
        rows.extend([
            Measurement::count(SECTION, format!("{label}: QEMU"), count),
            Measurement::count(SECTION, format!("{label}: the embedded machine"), own as u64),
            Measurement::rate(SECTION, format!("{label}: difference, percent"), difference).bar(Bar::at_most(BAR)),
        ]);
    }
    Ok(rows)
}
