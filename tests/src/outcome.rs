//! What a run left: how it ended, and the console taken apart into lines of the monitor and of each cVM.

use std::fmt;

use machine::Stay;

use crate::platform::Platform;
use crate::report::{Fault, LedgerEntry, SummaryRow};

/// Who prints the lines that are the monitor's own.
pub const MONITOR: &str = "monitor";

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The monitor powered off with this status.
    Exit(u8),
    /// Anything else, in words.
    Broken(String),
}

/// One line of the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The label in front of it: a cVM, or [`MONITOR`].
    pub writer: String,
    /// What follows the label.
    pub text: String,
    /// Virtual time at its end in nanoseconds, where the platform tells it.
    pub time: Option<u64>,
}

/// A finished run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Where it ran.
    pub platform: Platform,
    /// How it ended.
    pub ending: Ending,
    /// All lines in their order.
    pub lines: Vec<Line>,
    /// The console as it was.
    pub console: String,
    /// The longest stay in the monitor since the first cVM ran, where the platform tells it.
    pub longest_stay: Option<Stay>,
}

/// Columns of a usual terminal.
const TERMINAL: usize = 80;

/// Whether a terminal cannot show a row in this line that begins with a label, or something like it, but the first. A row of a
/// cVM never reaches the edge; the monitor's own may, with nothing but ASCII characters other than `[` behind it.
fn stays_in_its_row(line: &str) -> bool {
    // What is drawn last in a row that was drawn several times.
    let last = line.rsplit('\r').next().unwrap_or(line);
    let mut column = 0;
    let mut beyond = last.chars().filter(|character| {
        column = match character {
            '\t' => (column | 7) + 1,
            _ if character.is_ascii() => column + 1,
            _ => column + 2,
        };
        column > TERMINAL
    });
    if last.starts_with("[monitor] ") {
        beyond.all(|character| matches!(character, ' '..='~') && character != '[')
    } else {
        beyond.next().is_none()
    }
}

impl Outcome {
    /// Takes a console apart. `times` are those of the ends of its first lines.
    ///
    /// # Panics
    /// A line has no label, a label can come elsewhere than at the start of a row, or the monitor stopped because of a bug of its own: no test wants that.
    pub(crate) fn new(platform: Platform, ending: Ending, console: &str, times: &[u64]) -> Outcome {
        let mut outcome = Outcome {
            platform,
            ending,
            lines: Vec::new(),
            console: console.to_owned(),
            longest_stay: None,
        };
        let body = console.strip_suffix("\r\n").unwrap_or(console);
        for (index, line) in body.split("\r\n").enumerate().filter(|(_, line)| !line.is_empty()) {
            assert!(
                stays_in_its_row(line),
                "a terminal of {TERMINAL} columns shows another's row in {line:?}\n{outcome}"
            );
            let parts = line.strip_prefix('[').and_then(|rest| rest.split_once("] "));
            let Some((writer, text)) = parts else {
                panic!("a line without label: {line:?}\n{outcome}")
            };
            assert!(
                !text.starts_with("error: the monitor "),
                "the monitor is wrong: {text}\n{outcome}"
            );
            outcome.lines.push(Line {
                writer: writer.to_owned(),
                text: text.to_owned(),
                time: times.get(index).copied(),
            });
        }
        outcome
    }

    /// The lines that a cVM or the monitor printed.
    pub fn of(&self, writer: &str) -> Vec<&str> {
        self.lines
            .iter()
            .filter(|line| line.writer == writer)
            .map(|line| line.text.as_str())
            .collect()
    }

    /// The monitor's lines.
    pub fn monitor(&self) -> Vec<&str> {
        self.of(MONITOR)
    }

    /// Number of the first line of `writer` that begins with `text`.
    ///
    /// # Panics
    /// There is none.
    pub fn position(&self, writer: &str, text: &str) -> usize {
        let found = self
            .lines
            .iter()
            .position(|line| line.writer == writer && line.text.starts_with(text));
        found.unwrap_or_else(|| panic!("no line [{writer}] {text}\n{self}"))
    }

    /// The fault reports, in their order.
    pub fn faults(&self) -> Vec<Fault> {
        Fault::parse(&self.monitor())
    }

    /// The ledger as the boot log shows it, by number.
    pub fn ledger(&self) -> Vec<LedgerEntry> {
        crate::report::ledger(&self.monitor())
    }

    /// The table at the end, in its order.
    pub fn summary(&self) -> Vec<SummaryRow> {
        crate::report::summary(&self.monitor())
    }

    /// The row of one cVM in the table at the end.
    ///
    /// # Panics
    /// There is none.
    pub fn row(&self, name: &str) -> SummaryRow {
        let found = self.summary().into_iter().find(|row| row.name == name);
        found.unwrap_or_else(|| panic!("no summary of {name}\n{self}"))
    }

    /// Asserts that the run ended with `status` from the monitor.
    pub fn assert_status(&self, status: u8) {
        assert_eq!(self.ending, Ending::Exit(status), "{self}");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome {
            platform,
            ending,
            console,
            ..
        } = self;
        write!(formatter, "on {platform}: {ending:?}, console:\n{console}")
    }
}
