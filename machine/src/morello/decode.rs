//! From an instruction word to the function that executes it.
//!
//! Every module that executes instructions has a table of patterns, written as the architecture manual draws them: `0` and `1`
//! are fixed, `.` is a field, blanks separate. The first pattern that matches wins. A word is looked up once and then kept
//! in the decode cache, so that a plain search is fast enough.

use super::bus::Bus;
use super::core::{Core, Handler, Step};
use super::{
    atomics, branch, capability_branches, capability_memory, capability_operations, fp, integer, memory, simd,
    simd_memory, system,
};

/// The fixed bits of an encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    mask: u32,
    value: u32,
}

/// One row of a table of instructions.
pub(super) struct Row {
    pub(super) pattern: Pattern,
    pub(super) handler: Handler,
    /// Module and function that execute it.
    name: &'static str,
}

impl Row {
    pub(super) const fn new(pattern: Pattern, handler: Handler, name: &'static str) -> Row {
        Row { pattern, handler, name }
    }
}

/// A row from the text of a pattern and the function that executes it.
macro_rules! row {
    ($pattern:literal, $handler:path) => {
        $crate::morello::decode::Row::new(
            $crate::morello::decode::pattern($pattern),
            $handler,
            concat!(module_path!(), "::", stringify!($handler)),
        )
    };
}
pub(super) use row;

/// All tables.
const TABLES: [&[Row]; 12] = [
    capability_memory::INSTRUCTIONS,
    capability_operations::INSTRUCTIONS,
    capability_branches::INSTRUCTIONS,
    integer::IMMEDIATE,
    branch::INSTRUCTIONS,
    system::INSTRUCTIONS,
    memory::INSTRUCTIONS,
    atomics::INSTRUCTIONS,
    simd_memory::INSTRUCTIONS,
    integer::REGISTER,
    fp::INSTRUCTIONS,
    simd::INSTRUCTIONS,
];

/// An encoding that the machine knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// Bits that are fixed.
    pub mask: u32,
    /// Values of the fixed bits.
    pub value: u32,
    /// What the machine calls the instructions of this form: the module and function that execute them.
    pub name: &'static str,
}

/// Every encoding that the machine knows; where two overlap, the first one in the tables is meant.
pub fn encodings() -> impl Iterator<Item = Encoding> {
    TABLES.iter().flat_map(|table| table.iter()).map(|row| Encoding {
        mask: row.pattern.mask,
        value: row.pattern.value,
        name: short(row.name),
    })
}

/// What the machine calls the instruction.
pub fn name(word: u32) -> &'static str {
    find(word).map_or("unallocated", |row| short(row.name))
}

/// Without the crate and the path to the boards, and without the form for which a function is made.
fn short(name: &'static str) -> &'static str {
    let name = name.strip_prefix("machine::morello::").unwrap_or(name);
    let (name, _) = name.split_once('<').unwrap_or((name, ""));
    name.trim_end_matches([':', ' '])
}

/// Reads a pattern; anything but 32 bits of it is a compile error.
pub(super) const fn pattern(text: &str) -> Pattern {
    let bytes = text.as_bytes();
    let (mut mask, mut value, mut count, mut at) = (0u32, 0u32, 0, 0);
    while at < bytes.len() {
        let (fixed, one) = match bytes[at] {
            b'0' => (1, 0),
            b'1' => (1, 1),
            b'.' => (0, 0),
            _ => {
                at += 1;
                continue;
            }
        };
        mask = mask << 1 | fixed;
        value = value << 1 | one;
        count += 1;
        at += 1;
    }
    assert!(count == 32, "a pattern has 32 bits");
    Pattern { mask, value }
}

/// The function that executes `word`.
pub(super) fn decode(word: u32) -> Handler {
    find(word).map_or(unallocated, |row| row.handler)
}

fn find(word: u32) -> Option<&'static Row> {
    let tables: &[&'static [Row]] = match word >> 25 & 15 {
        1 => &[
            capability_memory::INSTRUCTIONS,
            capability_operations::INSTRUCTIONS,
            capability_branches::INSTRUCTIONS,
        ],
        8 | 9 => &[integer::IMMEDIATE],
        10 | 11 => &[branch::INSTRUCTIONS, system::INSTRUCTIONS],
        4 | 6 | 12 | 14 => &[memory::INSTRUCTIONS, atomics::INSTRUCTIONS, simd_memory::INSTRUCTIONS],
        5 | 13 => &[integer::REGISTER],
        7 | 15 => &[fp::INSTRUCTIONS, simd::INSTRUCTIONS],
        _ => &[],
    };
    tables
        .iter()
        .flat_map(|table| table.iter())
        .find(|row| word & row.pattern.mask == row.pattern.value)
}

/// An encoding that means nothing.
pub(super) fn unallocated(core: &mut Core, _: &mut Bus, _: u32) -> Step {
    core.undefined()
}

/// `count` bits of `word` from bit `low`.
#[inline(always)]
pub(super) const fn bits(word: u32, low: u32, count: u32) -> u32 {
    word >> low & ((1 << count) - 1)
}

/// Bit `number` of `word`.
#[inline(always)]
pub(super) const fn bit(word: u32, number: u32) -> bool {
    word >> number & 1 == 1
}

/// `count` bits of `word` from bit `low` as a signed number.
#[inline(always)]
pub(super) const fn signed(word: u32, low: u32, count: u32) -> i64 {
    ((word << (32 - low - count)) as i32 >> (32 - count)) as i64
}

/// Register field in bits 4:0.
#[inline(always)]
pub(super) const fn rd(word: u32) -> u32 {
    word & 31
}

/// Register field in bits 9:5.
#[inline(always)]
pub(super) const fn rn(word: u32) -> u32 {
    word >> 5 & 31
}

/// Register field in bits 20:16.
#[inline(always)]
pub(super) const fn rm(word: u32) -> u32 {
    word >> 16 & 31
}

/// Register field in bits 14:10.
#[inline(always)]
pub(super) const fn ra(word: u32) -> u32 {
    word >> 10 & 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fixes_exactly_its_digits() {
        let parsed = pattern("1100 0010 .... .... 0000 1111 .... ...1");
        assert_eq!(
            parsed,
            Pattern {
                mask: 0xff00_ff01,
                value: 0xc200_0f01
            }
        );
    }

    #[test]
    fn signed_fields_extend_their_top_bit() {
        assert_eq!(signed(0x3f_f000, 12, 10), -1);
        assert_eq!(signed(0x1f_f000, 12, 10), 0x1ff);
    }
}
