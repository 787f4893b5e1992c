//! Characters that the console does not print as they are: Unicode's controls, format characters, separators and default
//! ignorables, by which text could be hidden, reordered or made to look like another. The table is made from a library's by
//! the test `the_table_of_deceptive_characters_is_unicode_s`, with `INTRAVISOR_WRITE_TABLE=1`.

/// Bits of [`RANGES`] for how many characters follow the first one.
pub(crate) const LENGTH_BITS: u32 = 11;

/// Ranges of characters: the first one, and in the low bits how many follow it.
#[rustfmt::skip]
pub(crate) const RANGES: &[u32] = &[
    0x0000001f, 0x0003f821, 0x00056800, 0x001a7800, 0x00300005, 0x0030e000, 0x0036e800, 0x00387800,
    0x00448001, 0x00471000, 0x008af801, 0x00b40000, 0x00bda001, 0x00c05804, 0x0100000f, 0x01014007,
    0x0102f810, 0x01800000, 0x018b2000, 0x07f0000f, 0x07f7f800, 0x07fd0000, 0x07ff800b, 0x0885e800,
    0x08866800, 0x09a1800f, 0x0de50003, 0x0e8b9807, 0x700007ff, 0x704007ff,
];

/// Whether a character could hide or reorder text, or be taken for another; the blank is none.
pub(crate) fn is_deceptive(character: char) -> bool {
    let within =
        |range: &u32| (character as u32).wrapping_sub(range >> LENGTH_BITS) <= range & ((1 << LENGTH_BITS) - 1);
    RANGES.iter().any(within)
}
