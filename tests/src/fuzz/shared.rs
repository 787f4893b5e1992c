//! Fuzzed cVMs that share with others: by gates, as who calls and as who is called, and by buffers that are taken back. The
//! random program begins when all of it is at hand: a token, the way back, its local area, a neighbour's buffer, one of its own.

use std::ops::Range;

use abi::Hostcall::{
    BufferCreate, BufferDestroy, BufferGrant, BufferMap, BufferRevoke, Gate, Nanosleep, Serve, Write, Yield,
};
use abi::hostcall::{BUFFER_ALL, BUFFER_READ, BUFFER_WRITE, BUFFERS};
use tools::Architecture;
use tools::elf::synthesis::Elf;
use tools::manifest::CvmSpec;

use super::case::back;
use super::programs::{ALARM, DATA_PAGES, LENT, Neighbour};
use super::random::Random;
use super::setup::{Kind, SUBJECT};
use super::threads;
use crate::code::assembler::Assembler;
use crate::code::assembler::Register::{self, Argument, Number, Scratch};
use crate::code::attack::Attacker;
use crate::platform::Platform;

/// Bytes of the stacks of gates, and how many calls at a time.
const WORK: &str = "work 1024 2";
/// Bytes that each of those who make buffers can make them of, and of each buffer.
const QUOTA: u64 = 0x1000;
const SIZE: u64 = 256;
const BOTH: u64 = BUFFER_READ | BUFFER_WRITE;
/// The numbers of the owner's buffer and of the subject's: places among those of all quotas.
pub(super) const SHARED: u32 = 0;
const OWN: u32 = BUFFERS as u32;
/// Capabilities of a local area.
const LOCAL_AREA: u32 = 8;
/// Nanoseconds that a call to the subject takes at most, and those between two revocations.
const PATIENCE: u64 = 400_000;
const PERIOD: u64 = 25_000;
/// Offset in the start block of where the capability over the local area lies, and where programs keep its address.
const LOCAL_SLOT: i64 = 104;
const KEPT_AT: i64 = 2040;
/// The number of the subject's buffer, a neighbour's secrets, and what a caller says when it has lost something.
const OWN_AT: i64 = 2032;
const SECRETS_AT: i64 = 1024;
const ALARM_AT: i64 = 2000;

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const OWN_BUFFER: Register = Scratch(2);
pub(super) const SHARED_BUFFER: Register = Scratch(3);
const LOCAL: Register = Scratch(4);
const ARGUMENT: Register = Scratch(7);
/// Secrets that a caller has in registers that a function keeps.
const KEPT: u32 = 8;

/// The neighbours of such a set-up, in the order of the manifest.
pub(super) fn neighbours(kind: Kind) -> &'static [(&'static str, Neighbour)] {
    match kind {
        Kind::Calling => &[
            ("victim", Neighbour::Victim),
            ("watcher", Neighbour::Watcher),
            ("owner", Neighbour::Owner),
            ("callee", Neighbour::Callee),
        ],
        Kind::Called => &[
            ("victim", Neighbour::Victim),
            ("watcher", Neighbour::Watcher),
            ("owner", Neighbour::Owner),
            ("callee", Neighbour::Callee),
            ("caller", Neighbour::Caller),
        ],
        _ => &[
            ("victim", Neighbour::Victim),
            ("watcher", Neighbour::Watcher),
            ("owner", Neighbour::Owner),
        ],
    }
}

/// Whether a kind of image is one of these.
pub(super) fn is(kind: Kind) -> bool {
    matches!(kind, Kind::Calling | Kind::Called | Kind::Sharing)
}

/// The fuzzed cVM's and a neighbour's manifest entries.
pub(super) fn spec(kind: Kind, which: Option<Neighbour>, spec: CvmSpec) -> CvmSpec {
    let own = spec.clone();
    let local = CvmSpec {
        local: LOCAL_AREA,
        buffer_quota: QUOTA,
        ..own
    };
    let gates = || vec![WORK.to_owned()];
    let calls = |name: &str| vec![format!("{name}.work")];
    match (which, kind) {
        (Some(Neighbour::Owner), _) => CvmSpec {
            buffer_quota: QUOTA,
            ..spec
        },
        (Some(Neighbour::Callee), _) => CvmSpec {
            local: LOCAL_AREA,
            gates: gates(),
            ..spec
        },
        (Some(Neighbour::Caller), _) => CvmSpec {
            priority: 0,
            call_budget: PATIENCE,
            calls: calls(SUBJECT),
            ..spec
        },
        (Some(_), _) => spec,
        (None, Kind::Calling) => CvmSpec {
            calls: calls("callee"),
            ..local
        },
        (None, Kind::Called) => CvmSpec {
            calls: calls("callee"),
            gates: gates(),
            ..local
        },
        (None, Kind::Sharing) => local,
        (None, _) => spec,
    }
}

/// Keeps where the capability over the local area lies; argument 0 is the start block.
fn remember_local_area(a: &mut Attacker) {
    a.add(A, Argument(0), 0).load(B, A, LOCAL_SLOT).add_register(A, B);
    a.data_address(B).store(A, B, KEPT_AT);
}

/// The register = a buffer that its owner takes back again and again, and gives again; `number` makes argument 0 its number.
pub(super) fn map(a: &mut Attacker, register: Register, number: impl Fn(&mut Attacker)) {
    let start = a.here();
    number(a);
    a.set(Argument(1), BOTH as u32)
        .hostcall(BufferMap)
        .copy(register, Argument(0));
    a.tag_of(A, register).branch_not_zero(A, 8).repeat(start);
}

/// What the fuzzed cVM does before a random program begins, and at which instruction its function is.
fn before(platform: Platform, kind: Kind) -> (Attacker, Option<usize>) {
    let mut a = Attacker::new(platform);
    remember_local_area(&mut a);
    a.call(BufferCreate, &[SIZE])
        .data_address(B)
        .store(Argument(0), B, OWN_AT);
    let mut function = None;
    let [one, other] = a.way_back();
    if kind == Kind::Called {
        a.hostcall(Serve);
        function = Some(a.here() as usize / 4);
        a.copy(Scratch(5), one)
            .copy(Scratch(6), other)
            .copy(ARGUMENT, Argument(0));
    }
    if kind != Kind::Sharing {
        a.ask("callee.work");
    }
    map(&mut a, SHARED_BUFFER, |a| {
        a.set(Argument(0), SHARED);
    });
    map(&mut a, OWN_BUFFER, |a| {
        a.data_address(B).load(Argument(0), B, OWN_AT);
    });
    a.data_address(LOCAL)
        .load(LOCAL, LOCAL, KEPT_AT)
        .load_capability(LOCAL, LOCAL, 0);
    if kind == Kind::Called {
        a.copy(one, Scratch(5)).copy(other, Scratch(6));
    }
    (a, function)
}

/// Instruction of the fuzzed cVM's code at which a random program begins.
pub(super) fn start(platform: Platform, kind: Kind) -> u64 {
    before(platform, kind).0.here() as u64 / 4
}

/// The fuzzed cVM.
pub(super) fn subject(platform: Platform, kind: Kind) -> Vec<u8> {
    let (before, function) = before(platform, kind);
    let mut elf = spinning(before);
    if let Some(function) = function {
        let entry = elf.entry + 4 * function as u64;
        elf.functions.push((entry, 4, "work".to_owned()));
    }
    elf.to_bytes()
}

/// A cVM that gets everything ready like this, spins, and comes back to that from everywhere.
pub(super) fn spinning(mut before: Attacker) -> Elf {
    let (arch, start) = (before.arch(), before.here() as i32 / 4);
    for index in start..1024 {
        before.push(back(arch, index - start));
    }
    before.open_end = true;
    let mut elf = before.elf();
    elf.loads[1].memory_size = DATA_PAGES * 4096;
    elf
}

/// A neighbour's program.
pub(super) fn neighbour(platform: Platform, which: Neighbour, subject: usize) -> Vec<u8> {
    let mut a = match which {
        Neighbour::Owner => owner(platform, subject).0,
        Neighbour::Callee => callee(platform),
        Neighbour::Peer => threads::peer(platform, subject),
        _ => caller(platform),
    };
    let secrets = which.secrets();
    a.data.resize(a.data.len().max(KEPT_AT as usize), 0);
    for (index, word) in secrets.iter().enumerate() {
        let place = SECRETS_AT as usize + 8 * index;
        a.data[place..place + 8].copy_from_slice(&word.to_le_bytes());
    }
    a.elf().to_bytes()
}

/// The owner of a buffer, which gives it and takes it back; and the bytes of its code where it has taken it back.
fn owner(platform: Platform, subject: usize) -> (Attacker, Range<u64>) {
    let mut a = Attacker::new(platform);
    a.call(BufferCreate, &[SIZE]);
    let start = a.here();
    a.call(BufferGrant, &[SHARED.into(), subject as u64, BOTH]);
    a.call(Nanosleep, &[PERIOD])
        .call(BufferRevoke, &[SHARED.into(), BUFFER_ALL]);
    let taken = a.here() as u64;
    a.set(A, 200);
    let spin = a.here();
    a.count_down(A, spin);
    let range = taken..a.here() as u64;
    a.repeat(start);
    (a, range)
}

/// Bytes of the owner's code where nobody else holds its buffer.
pub(super) fn taken(platform: Platform) -> Range<u64> {
    owner(platform, 0).1
}

/// Keeps what it is passed, on its stack and in its local area, gives its caller something of its own, and what it was passed
/// before. It leaves secrets in all registers that it can.
fn callee(platform: Platform) -> Attacker {
    let mut a = Attacker::new(platform);
    remember_local_area(&mut a);
    a.hostcall(Serve);
    // When nobody is left who could call it, somebody is again later.
    let rest = a.here();
    a.call(Nanosleep, &[PERIOD]).repeat(rest);
    a.gate("work");
    let stack = a.service_stack();
    let [one, other] = a.way_back();
    let keep = [Scratch(5), Scratch(6)];
    a.copy(keep[0], one).copy(keep[1], other);
    a.constant(B, 64_u64.wrapping_neg()).offset(B, stack, B);
    a.store_capability_through(Argument(0), B).copy(ARGUMENT, Argument(0));
    a.hostcall(Yield);
    a.data_address(LOCAL)
        .load(LOCAL, LOCAL, KEPT_AT)
        .load_capability(LOCAL, LOCAL, 0);
    a.load_capability_through(Argument(1), LOCAL)
        .store_capability_through(ARGUMENT, LOCAL);
    lent(&mut a, Argument(0));
    a.copy(one, keep[0]).copy(other, keep[1]);
    a.data_address(ARGUMENT);
    for index in 0..7 {
        a.load(Scratch(index), ARGUMENT, SECRETS_AT + 8 * i64::from(index));
    }
    a.return_from_gate();
    a
}

/// Calls the fuzzed cVM again and again, and looks whether it has what it had.
fn caller(platform: Platform) -> Attacker {
    let mut a = Attacker::new(platform);
    // Neither a function nor what asks for one keeps these.
    let [data, value, all] = if a.is_riscv() { [28, 29, 30] } else { [9, 10, 11] }.map(Number);
    let start = a.here();
    a.ask(&format!("{SUBJECT}.work"));
    lent(&mut a, Argument(0));
    a.data_address(data);
    for index in 0..KEPT {
        a.load(Scratch(index), data, SECRETS_AT + 8 * i64::from(index));
    }
    for index in 1..6 {
        a.set(Argument(index), index);
    }
    a.call_gate();
    a.data_address(data).set(all, 0);
    for index in 0..KEPT {
        a.load(value, data, SECRETS_AT + 8 * i64::from(index));
        a.subtract_register(value, Scratch(index)).or(all, value);
    }
    // The stack pointer, with its tag on Morello, is what it was, or it would not get here by its DDC.
    a.branch_not_zero(all, 8).repeat(start);
    a.data_address(Argument(1)).add(Argument(1), Argument(1), ALARM_AT);
    a.set(Argument(0), 1)
        .set(Argument(2), ALARM.len() as u32)
        .hostcall(Write);
    a.repeat(start);
    a.data.resize(ALARM_AT as usize, 0);
    a.data.extend(ALARM);
    a
}

/// The register = a capability over the buffer that a cVM passes.
fn lent(a: &mut Attacker, register: Register) {
    a.data_capability(register)
        .set(B, LENT.0 as u32)
        .offset(register, register, B);
    a.set(B, LENT.1 as u32).set_bounds(register, register, B);
}

/// Some instructions that hardly any random program would have in this order.
pub(super) fn snippet(arch: Architecture, random: &mut Random) -> Vec<u32> {
    let mut a = Assembler::new(arch);
    match random.below(8) {
        0 | 1 => {
            a.call_gate();
        }
        2 => {
            a.return_from_gate();
        }
        3 => {
            let register = Number(1 + random.below(29) as u32);
            a.store_capability_through(register, LOCAL);
        }
        4 => {
            let register = Number(1 + random.below(29) as u32);
            a.load_capability_through(register, LOCAL);
        }
        kind => {
            let numbers = [SHARED, OWN, OWN + 1, 77];
            a.set(Argument(0), *random.pick(&numbers));
            let call = match kind {
                5 => BufferMap,
                6 => *random.pick(&[BufferGrant, BufferRevoke, BufferDestroy]),
                _ => *random.pick(&[BufferCreate, Gate, Yield, Serve, Nanosleep]),
            };
            a.set(Argument(1), random.below(7) as u32)
                .set(Argument(2), 1 + random.below(3) as u32);
            a.hostcall(call);
        }
    }
    a.words().to_vec()
}

/// Registers that a random program begins with as they are, as a rule.
pub(super) fn kept(arch: Architecture) -> Vec<u8> {
    let a = Assembler::new(arch);
    let kept = a.token().into_iter().chain(a.way_back()).chain([LOCAL]);
    kept.map(|register| a.number(register) as u8).collect()
}
