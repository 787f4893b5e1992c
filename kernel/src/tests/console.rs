//! The console's lines.

use crate::report::console::Lines;
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
    crate::report::console::monitor_line(format_args!("symbol {}", "ok\n[victim] paid\r\x1b[2K\u{202e}x"));
    assert_eq!(
        String::from_utf8(take_output()).unwrap(),
        "[monitor] symbol ok^J[victim] paid^M^[[2K\u{fffd}x\r\n"
    );
}
