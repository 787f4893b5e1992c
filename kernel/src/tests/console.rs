//! The console's lines.

use crate::report::console::{Lines, monitor_line};
use crate::report::deceptive::{LENGTH_BITS, RANGES, is_deceptive};
use arch::stand_in::take_output;
use proptest::prelude::*;

fn written(parts: &[&[u8]]) -> String {
    take_output();
    let mut lines = Lines::default();
    for part in parts {
        lines.write("a", part);
    }
    lines.finish("a");
    String::from_utf8(take_output()).expect("the console is UTF-8 whatever a cVM writes")
}

#[test]
fn a_line_is_printed_whole_when_it_ends() {
    assert_eq!(written(&[b"he", b"llo\nwo", b"rld"]), "[a] hello\r\n[a] world\r\n");
}

#[test]
fn nothing_that_moves_the_cursor_reaches_the_terminal() {
    assert_eq!(
        written(&[b"x\r[monitor] y\x1b[2K\x07\x7f\n"]),
        "[a] x[monitor] y^[[2K^G^?\r\n"
    );
}

#[test]
fn characters_may_come_in_parts_and_broken_ones_are_replaced() {
    assert_eq!(written(&["gr\u{fc}n".as_bytes()]), "[a] gr\u{fc}n\r\n");
    assert_eq!(written(&[b"\xc3", b"\xbc\n"]), "[a] \u{fc}\r\n");
    assert_eq!(written(&[b"a\xc3b\xff\n"]), "[a] a\u{fffd}b\u{fffd}\r\n");
    assert_eq!(written(&["\u{9b}2K\n".as_bytes()]), "[a] \u{fffd}2K\r\n");
}

/// Unicode's classes of what is not printed as it is, as a library has them.
const CLASSES: &str = r"[[\p{Cc}\p{Cf}\p{Z}\p{Default_Ignorable_Code_Point}]--\x20]";

/// First and last character of every range of [`CLASSES`].
fn unicode_ranges() -> Vec<(u32, u32)> {
    use regex_syntax::hir::{Class, HirKind};
    let hir = regex_syntax::parse(CLASSES).expect("the classes are known");
    match hir.into_kind() {
        HirKind::Class(Class::Unicode(class)) => class.iter().map(|r| (r.start().into(), r.end().into())).collect(),
        other => panic!("{CLASSES} is no class: {other:?}"),
    }
}

#[test]
fn the_table_of_deceptive_characters_is_unicode_s() {
    let most = 1 << LENGTH_BITS;
    let mut ranges = Vec::new();
    for (first, last) in unicode_ranges() {
        let parts = (first..=last).step_by(most);
        ranges.extend(parts.map(|start| start << LENGTH_BITS | (last - start).min(most as u32 - 1)));
    }
    if std::env::var_os("INTRAVISOR_WRITE_TABLE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/report/deceptive.rs");
        let text = std::fs::read_to_string(path).unwrap();
        let (head, rest) = text.split_once("&[u32] = &[\n").unwrap();
        let (_, tail) = rest.split_once("];").unwrap();
        let rows = ranges.chunks(8).map(|row| {
            let row: Vec<_> = row.iter().map(|range| format!("{range:#010x},")).collect();
            format!("    {}\n", row.join(" "))
        });
        let rows: String = rows.collect();
        std::fs::write(path, format!("{head}&[u32] = &[\n{rows}];{tail}")).unwrap();
        return;
    }
    assert_eq!(RANGES, ranges);
    // Each range's ends and their neighbours: the ranges are in order and do not touch.
    for (first, last) in unicode_ranges() {
        for (number, expected) in [
            (first.wrapping_sub(1), false),
            (first, true),
            (last, true),
            (last + 1, false),
        ] {
            if let Some(character) = char::from_u32(number) {
                assert_eq!(is_deceptive(character), expected, "{character:?}");
            }
        }
    }
}

#[test]
fn what_unicode_calls_ignorable_or_a_separator_is_not_printed() {
    let all =
        "\u{61c}\u{ad}\u{a0}\u{34f}\u{115f}\u{3164}\u{180e}\u{2060}\u{2800}\u{3000}\u{fe0f}\u{fff9}\u{e0041}\u{1d173}";
    let shown = written(&[format!("{all}\n").as_bytes()]);
    // The blank pattern of Braille is a symbol.
    let expected = all.replace(|c| c != '\u{2800}', "\u{fffd}");
    assert_eq!(shown, format!("[a] {expected}\r\n"));
}

/// Where a terminal of 80 columns puts characters: its rows, cursor moves carried out. The widest that any terminal draws.
fn rows_of_a_terminal(output: &str) -> Vec<String> {
    let (mut rows, mut column) = (vec![String::new()], 0);
    let mut characters = output.chars();
    while let Some(character) = characters.next() {
        let width = match character {
            '\r' => {
                column = 0;
                continue;
            }
            '\n' => {
                rows.push(String::new());
                continue;
            }
            '\x1b' => {
                assert_eq!((characters.next(), characters.next()), (Some('['), Some('K')));
                continue;
            }
            '\t' => 8 - column % 8,
            '\0'..='\x7f' => 1,
            _ => 2,
        };
        if column + width > 80 {
            rows.push(String::new());
            column = 0;
        }
        if column == 0 {
            rows.last_mut().unwrap().clear();
        }
        column += width;
        rows.last_mut().unwrap().push(character);
    }
    rows.retain(|row| !row.is_empty());
    rows
}

#[test]
fn no_filling_brings_a_forged_label_to_the_start_of_a_row() {
    for filling in [" ", "\t", "\u{4e2d}", "\u{e4}", "x"] {
        for count in 1..90 {
            let text = format!("{}[monitor] power off, status 0\n", filling.repeat(count));
            for row in rows_of_a_terminal(&written(&[text.as_bytes()])) {
                assert!(row.starts_with("[a] "), "{count} times {filling:?}: {row:?}");
            }
            take_output();
            monitor_line(format_args!("symbol {}", text.trim_end()));
            for row in rows_of_a_terminal(&String::from_utf8(take_output()).unwrap())
                .iter()
                .skip(1)
            {
                assert!(
                    !row.starts_with("[monitor] power off"),
                    "{count} times {filling:?}: {row:?}"
                );
            }
        }
    }
}

#[test]
fn a_line_longer_than_a_row_goes_on_in_the_next_with_its_label() {
    let text = format!("{}\n", "0123456789".repeat(16));
    let rows: Vec<_> = written(&[text.as_bytes()])
        .split_terminator("\r\n")
        .map(str::len)
        .collect();
    assert_eq!(rows, [79, 79, 4 + 160 - 150]);
    // A row that is just full has none behind it.
    let text = format!("{}\n", "x".repeat(75));
    assert_eq!(written(&[text.as_bytes()]).split_terminator("\r\n").count(), 1);
}

#[test]
fn backspace_takes_back_what_is_not_ended_and_never_the_label() {
    assert_eq!(written(&[b"\x08\x08abc\x08\x08d\n\x08e"]), "[a] ad\r\n[a] e\r\n");
    take_output();
    let mut lines = Lines::default();
    for part in [
        &b"> ab"[..],
        "\u{e4}".as_bytes(),
        b"\x08",
        b"\x08",
        b"c",
        b"\x08\x08\x08\x08\x08\x08",
    ] {
        lines.write("a", part);
        lines.prompt("a");
    }
    let output = String::from_utf8(take_output()).unwrap();
    let shown = "[a] > ab\u{e4}\r[a] > ab\x1b[K\r[a] > a\x1b[Kc\r[a] \x1b[K";
    assert_eq!(output, shown);
}

#[test]
fn what_is_typed_behind_a_prompt_stays_in_its_row() {
    take_output();
    let (mut a, mut b) = (Lines::default(), Lines::default());
    a.write("a", b"> ");
    a.prompt("a");
    a.write("a", b"h");
    a.prompt("a");
    b.write("b", b"interrupts\n");
    a.write("a", b"i");
    a.prompt("a");
    a.write("a", b"\n");
    assert_eq!(take_output(), b"[a] > h\r\n[b] interrupts\r\n[a] > hi\r\n");
    // Nothing is said twice.
    a.write("a", b"? ");
    a.prompt("a");
    b.write("b", b"again\n");
    a.finish("a");
    assert_eq!(take_output(), b"[a] ? \r\n[b] again\r\n");
}

#[test]
fn a_prompt_stays_open_until_somebody_else_writes() {
    take_output();
    let (mut a, mut b) = (Lines::default(), Lines::default());
    a.write("a", b"name? ");
    a.prompt("a");
    b.write("b", b"hello\n");
    assert_eq!(take_output(), b"[a] name? \r\n[b] hello\r\n");
}

proptest! {
    #[test]
    fn every_output_line_carries_its_label(parts in proptest::collection::vec(any::<Vec<u8>>(), 0..8)) {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let output = written(&parts);
        prop_assert!(output.is_empty() || output.ends_with("\r\n"));
        for line in output.split_terminator("\r\n") {
            prop_assert!(line.starts_with("[a] "), "{:?}", line);
            prop_assert!(!line.chars().any(|c| c.is_control() && c != '\t'), "{:?}", line);
        }
    }
}

#[test]
fn what_others_chose_cannot_break_a_line_of_the_monitor() {
    take_output();
    monitor_line(format_args!("symbol {}", "ok\n[victim] paid\r\x1b[2K\u{202e}x"));
    assert_eq!(
        String::from_utf8(take_output()).unwrap(),
        "[monitor] symbol ok^J[victim] paid^M^[[2K\u{fffd}x\r\n"
    );
}
