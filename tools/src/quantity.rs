//! Sizes and durations as a person writes and reads them.

/// What [`parse_size`] accepts, for messages.
pub const SIZE_SYNTAX: &str = "a size: bytes, hex, or a number with KiB, MiB or GiB";
/// What [`parse_duration`] accepts, for messages.
pub const DURATION_SYNTAX: &str = "a duration: a number with ns, us, ms or s";

/// An unsigned integer, decimal or `0x` hex, `_` between digits allowed.
pub fn parse_integer(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if !digits.starts_with(|first: char| first.is_digit(radix)) || digits.ends_with('_') {
        return None;
    }
    u64::from_str_radix(&digits.replace('_', ""), radix).ok()
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
        .and_then(|(number, factor)| parse_integer(number.trim_end())?.checked_mul(factor))
}

/// A size in bytes: `4096`, `0x1000`, `64KiB`, `1 MiB`, `2GiB`; `K`, `M` and `G` mean the same as `KiB`, `MiB`, `GiB`.
pub fn parse_size(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 6] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("K", 1 << 10),
        ("M", 1 << 20),
        ("G", 1 << 30),
    ];
    parse_integer(text).or_else(|| with_unit(text, &UNITS))
}

/// A duration in nanoseconds: `20ns`, `500us`, `10ms`, `1s`; without a unit only `0`.
pub fn parse_duration(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 4] = [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];
    if text == "0" { Some(0) } else { with_unit(text, &UNITS) }
}

/// Bytes in the largest unit that divides them.
pub fn format_size(bytes: u64) -> String {
    let (factor, unit) = match bytes.trailing_zeros() {
        _ if bytes == 0 => (1, "B"),
        30.. => (1 << 30, "GiB"),
        20.. => (1 << 20, "MiB"),
        10.. => (1 << 10, "KiB"),
        _ => (1, "B"),
    };
    format!("{} {unit}", bytes / factor)
}

/// Nanoseconds in the largest unit that divides them.
pub fn format_duration(nanoseconds: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")];
    UNITS
        .into_iter()
        .find(|(factor, _)| nanoseconds.is_multiple_of(*factor))
        .map_or_else(
            || format!("{nanoseconds} ns"),
            |(factor, unit)| format!("{} {unit}", nanoseconds / factor),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_bytes_hex_and_binary_units() {
        let accepted = [
            ("0", 0),
            ("4096", 4096),
            ("0x1000", 4096),
            ("0x4_0000_0000", 0x4_0000_0000),
            ("64KiB", 65536),
            ("64 KiB", 65536),
            ("1MiB", 1 << 20),
            ("2GiB", 2 << 30),
            ("1M", 1 << 20),
            ("0x10K", 16 << 10),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in accepted {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
    }

    #[test]
    fn sizes_refuse_everything_else() {
        for text in [
            "",
            "KiB",
            "-1",
            "+1",
            "1.5MiB",
            "64kb",
            "64KB",
            "0x",
            "1__",
            "_1",
            "20000000000GiB",
            "1 2",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit_unless_zero() {
        let accepted = [
            ("0", 0),
            ("20ns", 20),
            ("500us", 500_000),
            ("10ms", 10_000_000),
            ("1s", 1_000_000_000),
        ];
        for (text, nanoseconds) in accepted {
            assert_eq!(parse_duration(text), Some(nanoseconds), "{text}");
        }
        for text in ["10", "", "s", "-1s", "1m", "99999999999s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn printed_quantities_are_exact() {
        assert_eq!(format_size(0), "0 B");
        assert_eq!(format_size(1), "1 B");
        assert_eq!(format_size(65536), "64 KiB");
        assert_eq!(format_size(3 << 30), "3 GiB");
        assert_eq!(format_duration(0), "0 s");
        assert_eq!(format_duration(10_000_000), "10 ms");
        assert_eq!(format_duration(1_500), "1500 ns");
    }
}
