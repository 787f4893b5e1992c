//! The fault report: what a cVM tried, with which authority, where, and how it got there.

use crate::cvm::Cvm;
use crate::report::console::say;
use crate::report::symbols::{self, ADDRESS_LIMIT};
use arch::{Fault, Frame, user};
use core::fmt::{self, Write};

/// Most lines of a backtrace.
const BACKTRACE_LIMIT: usize = ADDRESS_LIMIT - 1;

/// Most bytes of a function's name that a line shows.
const SHOWN_LIMIT: usize = 64;

/// How far below a stack an access is called an overflow of it: what one function may take in one step.
const OVERFLOW_LIMIT: u64 = 64 * 1024;
/// How far behind address 0 an access is called one by a null pointer, where addresses start at 0.
const NULL_LIMIT: u64 = 2048;
/// Integer registers in one line, and the bytes that they take at most.
const COLUMNS: usize = 4;
const ROW_LIMIT: usize = COLUMNS * 32;

/// Prints the report of a cVM's fault.
pub(crate) fn report(cvm: &Cvm, frame: &Frame, fault: &Fault) {
    if log::Level::Info > log::max_level() {
        return;
    }
    let name = &cvm.spec.name;
    say!(Info, "{name}: {}", Headline(fault));
    let callers = backtrace(cvm, frame);
    // A call may be the last instruction of its function: what counts is where the call is.
    let calls = callers.iter().map(|caller| caller.wrapping_sub(1));
    let functions = cvm.functions(calls.chain([fault.pc]));
    let location = |address: u64, instruction: u64| Location {
        address,
        symbol: cvm
            .linked(instruction)
            .and_then(|instruction| functions.name(instruction)),
    };
    let at = location(fault.pc, fault.pc);
    match fault.instruction {
        Some(instruction) => say!(Info, "  instruction {instruction} at {at}"),
        None => say!(Info, "  instruction at {at} could not be read"),
    }
    if let Some((register, capability)) = fault.authority {
        say!(Info, "  authority {register} = {capability}");
    }
    if let Some(address) = fault.address {
        let offset = address.wrapping_sub(cvm.place.base);
        let null = cvm.place.seen == 0 && offset < NULL_LIMIT;
        if null {
            say!(
                Info,
                "  {offset} bytes behind address 0: a null pointer, by all appearances"
            );
        }
        for (what, stack) in [
            ("stack", &cvm.layout.stack),
            ("service stack", &cvm.layout.service_stack),
        ] {
            let below = (cvm.place.base + stack.start).wrapping_sub(address);
            if !null && !stack.is_empty() && (1..=OVERFLOW_LIMIT).contains(&below) {
                say!(
                    Info,
                    "  {below} bytes below its {what}: a stack overflow, by all appearances"
                );
            }
        }
    }
    registers(frame, fault);
    for caller in callers {
        say!(Info, "  called from {}", location(caller, caller.wrapping_sub(1)));
    }
}

/// Prints the registers that hold something: integers in rows, capabilities in full.
pub(crate) fn registers(frame: &Frame, fault: &Fault) {
    say!(
        Info,
        "  {} = {:#x}, {} = {:#x}",
        fault.raw[0].0,
        fault.raw[0].1,
        fault.raw[1].0,
        fault.raw[1].1
    );
    let mut integers = 0;
    let mut row: heapless::String<ROW_LIMIT> = heapless::String::new();
    for (name, what) in frame.registers().filter(|(_, what)| !what.tag && what.address != 0) {
        // A row has room for all its columns.
        let _ = write!(row, "  {name:<5} {:#018x}", what.address);
        integers += 1;
        if integers % COLUMNS == 0 {
            say!(Info, "{row}");
            row.clear();
        }
    }
    if !row.is_empty() {
        say!(Info, "{row}");
    }
    for (name, what) in frame.registers().filter(|(_, what)| what.tag) {
        say!(Info, "  {name:<5} {what}");
    }
}

/// The first line: what was tried and why it failed.
pub(crate) struct Headline<'a>(pub(crate) &'a Fault);

impl fmt::Display for Headline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = self.0;
        write!(f, "fault: {}", fault.kind.name())?;
        if let Some(access) = fault.access {
            write!(f, ", {}", access.name())?;
        }
        if let Some(address) = fault.address {
            write!(f, " at {address:#x}")?;
        }
        if let Some((register, _)) = fault.authority {
            write!(f, " through {register}")?;
        }
        Ok(())
    }
}

struct Location {
    address: u64,
    symbol: Option<(symbols::Name, u64)>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.address)?;
        match &self.symbol {
            Some((name, offset)) => {
                f.write_str(" ")?;
                write!(Cut { f, left: SHOWN_LIMIT }, "{}", Demangled(name))?;
                write!(f, "+{offset:#x}")
            }
            None => Ok(()),
        }
    }
}

/// Writes ASCII, as much as is left, and nothing of the rest.
struct Cut<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    left: usize,
}

impl Write for Cut<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let shown = text.get(..self.left).unwrap_or(text);
        self.left -= shown.len();
        self.f.write_str(shown)
    }
}

/// A Rust symbol (legacy mangling: `_ZN`, then length and name of each part, `E`) as its path without the hash;
/// any other name as it is.
struct Demangled<'a>(&'a str);

impl Demangled<'_> {
    fn parts(&self) -> Option<heapless::Vec<&str, 16>> {
        let mut rest = self.0.strip_prefix("_ZN")?.strip_suffix('E')?;
        let mut parts = heapless::Vec::new();
        while !rest.is_empty() {
            let digits = rest.find(|character: char| !character.is_ascii_digit())?;
            let (length, from) = rest.split_at_checked(digits)?;
            let (part, behind) = from.split_at_checked(length.parse().ok()?)?;
            parts.push(part).ok()?;
            rest = behind;
        }
        if parts
            .last()
            .is_some_and(|last: &&str| last.len() == 17 && last.starts_with('h'))
        {
            parts.pop();
        }
        Some(parts)
    }
}

impl fmt::Display for Demangled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parts) = self.parts() else {
            return f.write_str(self.0);
        };
        for (index, part) in parts.iter().enumerate() {
            f.write_str(if index > 0 { "::" } else { "" })?;
            f.write_str(part)?;
        }
        Ok(())
    }
}

/// Walks the frame pointers of a cVM. They are the cVM's own data: every step is a checked copy, and steps must go
/// upwards. Absolute return addresses, the innermost first.
fn backtrace(cvm: &Cvm, frame: &Frame) -> heapless::Vec<u64, BACKTRACE_LIMIT> {
    let mut callers = heapless::Vec::new();
    let mut pointer = frame.frame_pointer();
    while let (Some(caller), Some(previous)) = (
        read(frame, pointer, arch::BACKTRACE_RETURN),
        read(frame, pointer, arch::BACKTRACE_PREVIOUS),
    ) {
        let address = caller.wrapping_sub(cvm.place.seen).wrapping_add(cvm.place.base);
        if caller == 0 || callers.push(address).is_err() || previous <= pointer {
            break;
        }
        pointer = previous;
    }
    callers
}

fn read(frame: &Frame, pointer: u64, offset: i64) -> Option<u64> {
    let mut bytes = [0; 8];
    let address = user::absolute(frame.data(), pointer.wrapping_add_signed(offset));
    user::copy_in(&mut bytes, frame.data(), address).ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// Prints where the monitor is and how it got there, from a frame pointer of its own.
pub(crate) fn monitor_backtrace(mut pointer: u64) {
    for _ in 0..BACKTRACE_LIMIT {
        let Some([caller, previous]) = arch::caller(pointer) else {
            return;
        };
        // A call that does not return may be the last instruction of its function: what counts is where the call is.
        match symbols::of_monitor(caller.wrapping_sub(1)) {
            Some((name, offset)) => say!(Error, "  called from {caller:#x} {name}+{:#x}", offset + 1),
            None => say!(Error, "  called from {caller:#x}"),
        }
        if previous <= pointer {
            return;
        }
        pointer = previous;
    }
}

/// Prints a place in the monitor.
pub(crate) fn print_monitor_location(address: u64) {
    match symbols::of_monitor(address) {
        Some((name, offset)) => say!(Error, "  {address:#x} {name}+{offset:#x}"),
        None => say!(Error, "  {address:#x}"),
    }
}
