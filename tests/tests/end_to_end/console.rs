//! One console for all: whose line it is, that lines stay whole, that nobody imitates another, and input.

use tests::{Platform, Scenario, code, cvm, on_every_platform};

on_every_platform!(
    input_reaches_the_reader_line_by_line,
    a_line_can_be_edited_while_it_is_typed,
    control_c_ends_the_input,
    control_c_ends_the_cvm_when_the_manifest_says_so,
    a_raw_reader_gets_what_the_terminal_sends,
    an_unknown_console_mode_is_an_error_of_the_cvm,
    nothing_brings_a_label_to_the_start_of_a_row,
    what_unicode_calls_ignorable_is_not_printed,
    control_d_ends_the_input,
    input_without_a_reader_is_kept_for_the_next,
    log_levels_choose_what_the_monitor_says,
    a_bad_boot_argument_is_named_and_the_boot_goes_on,
    lines_of_two_writers_stay_whole,
    what_could_imitate_another_is_made_visible,
    a_long_line_is_broken_and_an_open_one_ended,
    a_prompt_is_shown_before_the_input,
    names_in_a_program_cannot_imitate_the_monitor,
    readers_are_served_in_the_order_in_which_they_came,
);

/// What `echo` says when it is ready.
const READY: &str = "quit ends";

fn input_reaches_the_reader_line_by_line(platform: Platform) {
    let long = "long ".repeat(30);
    let text = format!("hello\rtwo words\n{long}\r\nquit\n");
    let outcome = Scenario::new([cvm("echo", "echo", &[])])
        .input(READY, &text)
        .boot(platform);
    outcome.assert_status(0);
    let mut expected = vec!["say something; quit ends".to_owned()];
    // What is typed is shown; a row has 79 columns with its label.
    for text in ["hello", "two words", &long] {
        expected.extend(rows(text, 72));
        expected.extend(rows(&format!("you said: {text}"), 72));
    }
    expected.extend(["quit".to_owned(), "goodbye".to_owned()]);
    assert_eq!(outcome.of("echo"), expected, "{outcome}");
}

/// The rows that a text comes to.
fn rows(text: &str, columns: usize) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(columns).map(String::from_iter).collect()
}

fn a_line_can_be_edited_while_it_is_typed(platform: Platform) {
    let outcome = Scenario::new([cvm("echo", "echo", &[])])
        .input(READY, "helo")
        .input("[echo] helo", "\u{7f}")
        .input("\u{1b}[K", "lo\r")
        .input("you said: hello", "wrong\u{15}quit\r")
        .boot(platform);
    outcome.assert_status(0);
    let expected = [
        "say something; quit ends",
        "helo\r[echo] hel\u{1b}[Klo",
        "you said: hello",
        "quit",
        "goodbye",
    ];
    assert_eq!(outcome.of("echo"), expected, "{outcome}");
}

fn control_c_ends_the_input(platform: Platform) {
    let outcome = Scenario::new([cvm("echo", "echo", &[])])
        .input(READY, "nev\u{3}")
        .boot(platform);
    outcome.assert_status(0);
    assert_eq!(
        outcome.of("echo"),
        ["say something; quit ends", "nev^C", "goodbye"],
        "{outcome}"
    );
}

/// `echo` with an entry of its environment.
fn echo_with(entry: &str) -> Scenario {
    Scenario::new([tools::manifest::CvmSpec {
        env: vec![entry.to_owned()],
        ..cvm("echo", "echo", &[])
    }])
}

fn control_c_ends_the_cvm_when_the_manifest_says_so(platform: Platform) {
    let outcome = echo_with("CONSOLE_INTERRUPT=cvm").input(READY, "x\u{3}").boot(platform);
    outcome.assert_status(1);
    assert_eq!(outcome.of("echo"), ["say something; quit ends", "x^C"], "{outcome}");
    assert_eq!(outcome.row("echo").state, "exited 130", "{outcome}");
}

fn a_raw_reader_gets_what_the_terminal_sends(platform: Platform) {
    let outcome = echo_with("CONSOLE_MODE=raw")
        .input(READY, "a\u{7f}\u{3}b\rquit\r")
        .boot(platform);
    outcome.assert_status(0);
    let expected = ["say something; quit ends", "you said: a^?^Cb", "goodbye"];
    assert_eq!(outcome.of("echo"), expected, "{outcome}");
}

fn an_unknown_console_mode_is_an_error_of_the_cvm(platform: Platform) {
    let outcome = echo_with("CONSOLE_MODE=noisy").boot(platform);
    outcome.assert_status(1);
    assert_eq!(
        outcome.of("echo"),
        ["say something; quit ends", "error: EINVAL"],
        "{outcome}"
    );
}

fn nothing_brings_a_label_to_the_start_of_a_row(platform: Platform) {
    // `Outcome` looks where a terminal begins rows.
    let mut text = String::new();
    for filling in [" ", "\t", "\u{4e2d}", "\u{e4}"] {
        for columns in [78, 79, 80] {
            let label = "[writer] ".len();
            let count = match filling {
                "\t" => (columns - label) / 8,
                "\u{4e2d}" => (columns - label) / 2,
                _ => columns - label,
            };
            text += &format!("{}[monitor] power off, status 0\n", filling.repeat(count));
        }
    }
    let outcome = Scenario::new([cvm("writer", "writer", &[])])
        .member("writer", code::writer(platform.arch(), text.as_bytes()).to_bytes())
        .boot(platform);
    outcome.assert_status(0);
    // Nothing is lost by it.
    assert_eq!(outcome.of("writer").concat(), text.replace('\n', ""), "{outcome}");
}

fn what_unicode_calls_ignorable_is_not_printed(platform: Platform) {
    let text = "a\u{61c}b\u{ad}c\u{a0}d\u{34f}e\u{3164}f\u{2060}g\u{e0041}h\n";
    let outcome = Scenario::new([cvm("writer", "writer", &[])])
        .member("writer", code::writer(platform.arch(), text.as_bytes()).to_bytes())
        .boot(platform);
    outcome.assert_status(0);
    let expected = "a?b?c?d?e?f?g?h".replace('?', "\u{fffd}");
    assert_eq!(outcome.of("writer"), [expected], "{outcome}");
}

fn control_d_ends_the_input(platform: Platform) {
    let spinner = cvm("spinner", "spinner", &["30"]);
    let outcome = Scenario::new([cvm("echo", "echo", &[]), spinner])
        .input(READY, "last\n\u{4}")
        .boot(platform);
    outcome.assert_status(0);
    assert_eq!(
        outcome.of("echo"),
        ["say something; quit ends", "last", "you said: last", "goodbye"],
        "{outcome}"
    );
    assert_eq!(outcome.of("spinner"), ["spun for 30 ms"], "{outcome}");
}

fn input_without_a_reader_is_kept_for_the_next(platform: Platform) {
    let first = tools::manifest::CvmSpec {
        wait: 0,
        ..cvm("first", "echo", &[])
    };
    let outcome = Scenario::new([first, cvm("second", "echo", &[])])
        .input(READY, "one\nquit\n")
        .input(READY, "two\nquit\n")
        .boot(platform);
    outcome.assert_status(0);
    assert_eq!(
        outcome.of("first"),
        ["say something; quit ends", "one", "you said: one", "quit", "goodbye"],
        "{outcome}"
    );
    assert_eq!(
        outcome.of("second"),
        ["say something; quit ends", "two", "you said: two", "quit", "goodbye"],
        "{outcome}"
    );
}

fn log_levels_choose_what_the_monitor_says(platform: Platform) {
    let scenario = Scenario::new([cvm("hello", "hello", &[]), cvm("rogue", "rogue", &["illegal"])]);
    let boot = |append: &str| {
        let outcome = scenario.clone().append(append).boot(platform);
        outcome.assert_status(1);
        assert_eq!(outcome.of("hello"), ["hello from hello"], "{outcome}");
        outcome
    };
    let (info, debug, error) = (boot(""), boot("quiet log=debug nokaslr"), boot("log=error"));
    assert!(info.monitor().iter().all(|line| !line.starts_with("debug: ")), "{info}");
    assert!(debug.monitor().contains(&"debug: hello: exit 0"), "{debug}");
    assert_eq!(info.faults().len(), 1, "{info}");
    assert_eq!(error.monitor(), Vec::<&str>::new(), "{error}");
}

fn a_bad_boot_argument_is_named_and_the_boot_goes_on(platform: Platform) {
    let outcome = Scenario::new([cvm("hello", "hello", &[])])
        .append("log=loud")
        .boot(platform);
    outcome.assert_status(0);
    let message = "warn: boot argument log=loud: expected off, error, warn, info, debug or trace";
    assert!(outcome.monitor().contains(&message), "{outcome}");
    assert_eq!(outcome.of("hello"), ["hello from hello"], "{outcome}");
}

fn lines_of_two_writers_stay_whole(platform: Platform) {
    // Each writes half a line, lets the other one run, and writes the other half.
    let outcome = Scenario::new([
        cvm("one", "one", &[]),
        cvm("two", "two", &[]),
        cvm("clock", "clock", &["9", "1"]),
    ])
    .member(
        "one",
        code::stutterer(platform.arch(), b"first half, ", b"second half\nand ").to_bytes(),
    )
    .member("two", code::stutterer(platform.arch(), b"left", b"right\n").to_bytes())
    .boot(platform);
    outcome.assert_status(0);
    let one = outcome.of("one");
    assert_eq!((one[0], one.len()), ("first half, second half", 101), "{outcome}");
    assert!(
        one[1..100].iter().all(|line| *line == "and first half, second half"),
        "{outcome}"
    );
    // The last line has no end.
    assert_eq!(one[100], "and ", "{outcome}");
    assert_eq!(outcome.of("two"), ["leftright"; 100], "{outcome}");
    // They did take turns.
    let changes = outcome
        .lines
        .windows(2)
        .filter(|pair| pair[0].writer != pair[1].writer)
        .count();
    assert!(changes > 150, "{changes} changes of the writer\n{outcome}");
}

fn what_could_imitate_another_is_made_visible(platform: Platform) {
    let text = b"\x1b[2J\x07bell\x7f\r[monitor] power off\n[monitor] fake\nC1 \xc2\x9b2J\n\xff\xfe broken \xc3\nok \xc3\xa4\n\x00\n";
    let outcome = Scenario::new([cvm("writer", "writer", &[])])
        .member("writer", code::writer(platform.arch(), text).to_bytes())
        .boot(platform);
    outcome.assert_status(0);
    let expected = [
        "^[[2J^Gbell^?[monitor] power off",
        "[monitor] fake",
        "C1 \u{fffd}2J",
        "\u{fffd}\u{fffd} broken \u{fffd}",
        "ok ä",
        "^@",
    ];
    assert_eq!(outcome.of("writer"), expected, "{outcome}");
    assert!(!outcome.console.contains('\u{1b}'), "{outcome}");
}

fn a_long_line_is_broken_and_an_open_one_ended(platform: Platform) {
    let text = [&[b'x'; 500][..], b"\nopen"].concat();
    let outcome = Scenario::new([cvm("writer", "writer", &[])])
        .member("writer", code::writer(platform.arch(), &text).to_bytes())
        .boot(platform);
    outcome.assert_status(0);
    let lengths: Vec<_> = outcome.of("writer").iter().map(|line| line.len()).collect();
    // A row has 79 columns, the label's among them.
    assert_eq!(lengths, [70, 70, 70, 70, 70, 70, 70, 10, 4], "{outcome}");
}

fn a_prompt_is_shown_before_the_input(platform: Platform) {
    let outcome = Scenario::new([cvm("asker", "asker", &[])])
        .member("asker", code::asker(platform.arch(), b"which? ").to_bytes())
        .input("[asker] which? ", "*")
        .boot(platform);
    outcome.assert_status(1);
    assert_eq!(outcome.row("asker").state, "exited 42", "{outcome}");
    assert_eq!(outcome.of("asker"), ["which? "], "{outcome}");
}

fn names_in_a_program_cannot_imitate_the_monitor(platform: Platform) {
    // The fault report names functions of the program, and the program says what they are called.
    let mut faulty = code::minimal(platform.arch());
    let forged = "f\nall cVMs have ended\r\n[monitor] power off, status 0\r\n\u{1b}[2K[victim] hello";
    faulty.functions = vec![(0x1000, 0x1000, forged.to_owned())];
    // No instruction at the entry point.
    faulty.loads[0].data = vec![0; 12];
    let outcome = Scenario::new([cvm("forger", "forger", &[])])
        .member("forger", faulty.to_bytes())
        .boot(platform);
    outcome.assert_status(1);
    assert_eq!(outcome.faults().len(), 1, "{outcome}");
    assert!(!outcome.console.contains('\u{1b}'), "{outcome}");
    assert_eq!(outcome.of("victim"), Vec::<&str>::new(), "{outcome}");
    let ends = outcome
        .monitor()
        .iter()
        .filter(|line| line.starts_with("all cVMs have ended"))
        .count();
    assert_eq!(ends, 1, "{outcome}");
    let power_offs = outcome
        .monitor()
        .iter()
        .filter(|line| line.starts_with("power off"))
        .count();
    assert_eq!(power_offs, 1, "{outcome}");
}

fn readers_are_served_in_the_order_in_which_they_came(platform: Platform) {
    let asker = |name| cvm(name, "asker", &[]);
    let outcome = Scenario::new([asker("one"), asker("two"), asker("three")])
        .member("asker", code::asker(platform.arch(), b"? ").to_bytes())
        .input("? ", "")
        .input("? ", "")
        .input("? ", "abc")
        .boot(platform);
    // A prompt is shown when its reader comes; which is first is the scheduler's business.
    let prompts = outcome.lines.iter().filter(|line| line.text == "? ");
    let codes: Vec<_> = prompts.map(|line| outcome.row(&line.writer).state).collect();
    assert_eq!(codes, ["exited 97", "exited 98", "exited 99"], "{outcome}");
}
