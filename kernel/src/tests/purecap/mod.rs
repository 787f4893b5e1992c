//! Purecap programs for the tests.

mod program;
mod relocation;

use super::build::*;
use super::stored;
use crate::elf::{ElfError, Program, Relocation, Value};

pub(super) const RELRO: u64 = 0x6474_e552;
const READ: u64 = 4;
pub(super) const FUNCTION: u64 = 1 << 63;
pub(super) const CONSTANT: u64 = 1 << 62;
pub(super) const CODE: u64 = 1 << 60;
/// File offsets of the tables in the segment of constants, which begins at 0x600 and 0x1000.
const DYNAMIC_AT: u64 = 0x600;
const RELATIVE_AT: u64 = 0x700;
const PROCEDURES_AT: u64 = 0x880;
const CAPABILITIES_AT: u64 = 0x900;
const SYMBOLS_AT: u64 = 0xa00;
const STRINGS_AT: u64 = 0xb80;
const NAMES: &[u8] = b"\0function\0object\0constant\0relro\0missing\0maybe\0thread\0";

pub(super) fn kind_of(wanted: arch::Relocation) -> u64 {
    let kind = (0..).find(|kind| arch::relocation(*kind) == Some(wanted));
    u64::from(kind.unwrap())
}

/// A purecap program: constants and tables at 0x1000, text at 0x2000, RELRO at 0x3000, data at 0x4000 with bss.
#[derive(Clone)]
pub(super) struct Purecap {
    pub(super) kind: u16,
    /// Added to all linked addresses of segments.
    pub(super) base: u64,
    pub(super) headers: Vec<Header>,
    pub(super) relative: Vec<[u64; 3]>,
    pub(super) procedures: Vec<[u64; 3]>,
    pub(super) capabilities: Vec<[u64; 5]>,
    pub(super) pokes: Vec<(usize, Vec<u8>)>,
    /// Of the segment of data.
    pub(super) alignment: u64,
    /// More of the dynamic section.
    pub(super) tags: Vec<u64>,
}

/// Symbols of the programs, by number.
const SYMBOL_FUNCTION: u64 = 1;
const SYMBOL_OBJECT: u64 = 2;
const SYMBOL_CONSTANT: u64 = 3;
const SYMBOL_RELRO: u64 = 4;
const SYMBOL_MISSING: u64 = 5;
const SYMBOL_MAYBE: u64 = 6;
const SYMBOL_THREAD: u64 = 7;

impl Purecap {
    pub(super) fn new() -> Purecap {
        Purecap {
            kind: 3,
            base: 0,
            alignment: 4096,
            headers: vec![
                [LOAD, READ, 0x600, 0x1000, 0x700, 0x700],
                [LOAD, READ_EXECUTE, 0x400, 0x2000, 0x40, 0x40],
                [LOAD, READ_WRITE, 0x440, 0x3000, 0x80, 0x1000],
                [LOAD, READ_WRITE, 0x4c0, 0x4000, 0x40, 0x1000],
                [RELRO, READ, 0x440, 0x3000, 0x80, 0x1000],
            ],
            relative: Vec::new(),
            procedures: Vec::new(),
            capabilities: Vec::new(),
            pokes: Vec::new(),
            tags: Vec::new(),
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let linked = |file: u64| self.base + 0x1000 + file - 0x600;
        let symbol = |name: &str, info: u64, section: u64, value: u64, size: u64| {
            let at = NAMES.windows(name.len()).position(|window| window == name.as_bytes());
            [at.unwrap() as u64 | info << 32 | section << 48, self.base + value, size]
        };
        let symbols = [
            [0; 3],
            symbol("function", 0x12, 1, 0x2011, 0x10),
            symbol("object", 0x11, 2, 0x4010, 0x20),
            symbol("constant", 0x11, 3, 0x1010, 0x30),
            symbol("relro", 0x11, 4, 0x3040, 0x10),
            symbol("missing", 0x12, 0, 0, 0),
            symbol("maybe", 0x22, 0, 0, 0),
            symbol("thread", 0x16, 5, 0x4000, 8),
        ];
        let mut dynamic = vec![
            5,
            linked(STRINGS_AT),
            10,
            NAMES.len() as u64,
            6,
            linked(SYMBOLS_AT),
            11,
            24,
        ];
        if !self.relative.is_empty() {
            dynamic.extend([7, linked(RELATIVE_AT), 8, self.relative.len() as u64 * 24, 9, 24]);
        }
        if !self.procedures.is_empty() {
            let size = self.procedures.len() as u64 * 24;
            dynamic.extend([23, linked(PROCEDURES_AT), 2, size, 20, 7]);
        }
        if !self.capabilities.is_empty() {
            let size = self.capabilities.len() as u64 * 40;
            dynamic.extend([0x7000_c000, linked(CAPABILITIES_AT), 0x7000_c001, size]);
        }
        dynamic.extend(&self.tags);
        dynamic.extend([0, 0]);
        let size = dynamic.len() as u64 * 8;
        let mut headers = self.headers.clone();
        headers.push([DYNAMIC, READ, DYNAMIC_AT, 0x1000, size, size]);
        for header in &mut headers {
            header[3] += self.base;
        }
        let tables = [
            (DYNAMIC_AT, words(&dynamic)),
            (RELATIVE_AT, words(self.relative.as_flattened())),
            (PROCEDURES_AT, words(self.procedures.as_flattened())),
            (CAPABILITIES_AT, words(self.capabilities.as_flattened())),
            (SYMBOLS_AT, words(symbols.as_flattened())),
            (STRINGS_AT, NAMES.to_vec()),
        ];
        let mut pokes: Vec<(usize, &[u8])> = tables.iter().map(|(at, bytes)| (*at as usize, &bytes[..])).collect();
        pokes.push((0x400, &[0x13; 0x40]));
        pokes.extend(self.pokes.iter().map(|(at, bytes)| (*at, &bytes[..])));
        let mut bytes = elf(self.kind, self.base + 0x2004, &headers, &pokes, 0xd00);
        bytes[48..52].copy_from_slice(&arch::ELF_PURECAP_FLAGS.to_le_bytes());
        let at = 64 + 3 * 56 + 48;
        bytes[at..at + 8].copy_from_slice(&self.alignment.to_le_bytes());
        bytes
    }

    fn check(&self) -> Result<Program, ElfError> {
        Program::check(stored(&self.bytes()))
    }

    /// What its first relocation wants, or why it is refused.
    fn first(&self) -> Result<Relocation, ElfError> {
        let bytes = self.bytes();
        Program::check(stored(&bytes))?.relocation(stored(&bytes), 0).unwrap()
    }
}

fn relative(entry: [u64; 3]) -> Purecap {
    Purecap {
        relative: vec![entry],
        ..Purecap::new()
    }
}

fn symbolic(address: u64, symbol: u64, addend: u64) -> Purecap {
    relative([address, kind_of(arch::Relocation::Symbol) | symbol << 32, addend])
}

/// A relocation of the RELRO word at 0x3010 by the fragment that stands there.
fn fragment(start: u64, size: u64, permissions: u64, addend: u64) -> Purecap {
    let mut elf = relative([0x3010, kind_of(arch::Relocation::Fragment), addend]);
    elf.pokes.push((0x450, words(&[start, size | permissions << 56])));
    elf
}

fn capability(entry: [u64; 5]) -> Purecap {
    Purecap {
        capabilities: vec![entry],
        ..Purecap::new()
    }
}

fn wants(elf: &Purecap) -> Value {
    elf.first().unwrap().value
}

fn object(bounds: std::ops::Range<u64>, address: u64, writable: bool) -> Value {
    Value::Object {
        bounds,
        address,
        writable,
    }
}
