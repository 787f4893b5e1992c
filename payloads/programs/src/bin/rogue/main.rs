//! Does one forbidden thing, chosen by its first argument; the second may name an address in hexadecimal.
//!
//! `read-`, `write-` and `jump-` go with `below`, `above` (the bytes next to its own memory), `null`, `monitor`,
//! `device`, `other` (no default address). The rest is listed in [`DEEDS`]; `panic` and `exit CODE` are the legal ways
//! to fail. A deed that goes unpunished is reported, and the exit code is 66. With `--then-behave` it does the deed only in
//! its first life and exits with 0 when it was restarted.
//!
//! Addresses on the command line are physical ones; where the processor gives the cVM addresses from 0, they are
//! converted. The null page is then the cVM's own: `read-null` and `write-null` do no harm and succeed there.

#![no_std]
#![no_main]

#[cfg(target_arch = "aarch64")]
#[path = "aarch64.rs"]
mod machine;
#[cfg(target_arch = "riscv64")]
#[path = "riscv64.rs"]
mod machine;

use core::hint::black_box;

rt::entry!(main);

/// Exit code for a forbidden deed that succeeded.
const UNPUNISHED: i32 = 66;
/// Option: only the first life is a rogue's.
const THEN_BEHAVE: &str = "--then-behave";
/// Exit code for arguments that name no deed.
const USAGE: i32 = 64;

/// An aligned piece of memory as large as a capability.
#[repr(C, align(16))]
struct Granule([u64; 2]);

/// Deeds without an address.
const DEEDS: [(&str, fn()); 12] = [
    ("illegal", machine::illegal),
    ("breakpoint", machine::breakpoint),
    ("csr-read", machine::privileged_read),
    ("csr-write", machine::privileged_write),
    ("trap-return", machine::trap_return),
    ("counter-read", machine::counter_read),
    ("misaligned", misaligned),
    ("stack-overflow", stack_overflow),
    ("ddc-widen", ddc_widen),
    ("forge", forge),
    ("execute-data", execute_data),
    ("write-text", write_text),
];

fn main() -> i32 {
    let mut arguments = rt::args().skip(1).filter(|argument| *argument != THEN_BEHAVE);
    let Some(kind) = arguments.next() else {
        rt::println!("rogue: which deed?");
        return USAGE;
    };
    let detail = arguments.next();
    if rt::args().any(|argument| argument == THEN_BEHAVE) && rt::info().is_ok_and(|info| info.restarts > 0) {
        rt::println!("rogue: behaving now");
        return 0;
    }
    if kind == "panic" {
        panic!("as asked");
    }
    if kind == "exit" {
        return detail.and_then(|code| code.parse().ok()).unwrap_or(USAGE);
    }
    if let Some((_, deed)) = DEEDS.iter().find(|(name, _)| *name == kind) {
        rt::println!("rogue: about to {kind}");
        deed();
    } else {
        let Some((attempt, address)) = access(kind, detail) else {
            rt::println!("rogue: cannot {kind} {}", detail.unwrap_or_default());
            return USAGE;
        };
        rt::println!("rogue: about to {kind}");
        attempt(address);
    }
    rt::println!("rogue: {kind} succeeded");
    UNPUNISHED
}

/// What `read-monitor` and its like mean: the access and the address to try.
fn access(kind: &str, detail: Option<&str>) -> Option<(fn(u64), u64)> {
    let (verb, target) = kind.split_once('-')?;
    let attempt: fn(u64) = match verb {
        "read" => machine::load,
        "write" => machine::store,
        "jump" => machine::call,
        _ => return None,
    };
    let given = match detail {
        Some(text) => Some(u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()?),
        None => None,
    };
    let header = rt::start_block().header();
    let address = match target {
        "below" => header.base.wrapping_sub(8),
        "above" => header.base.wrapping_add(header.memory_size),
        "null" => 0,
        "monitor" => machine::own_address(given.unwrap_or(machine::MONITOR)),
        "device" => machine::own_address(given.unwrap_or(machine::DEVICE)),
        "other" => machine::own_address(given?),
        _ => return None,
    };
    Some((attempt, address))
}

fn misaligned() {
    let pair = [Granule([0; 2]), Granule([0; 2])];
    machine::load_capability((&raw const pair).addr() as u64 + 8);
}

fn stack_overflow() {
    black_box(deeper(black_box(0)));
}

/// Takes stack until there is none; the condition never becomes true.
fn deeper(depth: u64) -> u64 {
    let frame = black_box([0u8; 256]);
    if depth == u64::MAX {
        return depth;
    }
    deeper(depth + 1) + u64::from(black_box(&frame)[0])
}

fn ddc_widen() {
    machine::widen_data_capability(rt::start_block().header().base);
}

/// Writes the bits of the root capability as integers and uses them as a capability to what lies above the own memory.
fn forge() {
    let header = rt::start_block().header();
    let bits = Granule([header.base.wrapping_add(header.memory_size), machine::ROOT_METADATA]);
    machine::load_through_capability(black_box(&bits));
}

fn execute_data() {
    let code = Granule([machine::RETURN_INSTRUCTION, 0]);
    machine::call((&raw const *black_box(&code)).addr() as u64);
}

unsafe extern "C" {
    /// The entry point: code that nobody needs any more.
    safe fn _start();
}

fn write_text() {
    machine::store(_start as extern "C" fn() as usize as u64);
}
