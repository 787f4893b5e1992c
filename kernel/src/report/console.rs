//! The console: the monitor's log and the cVMs' output share one UART. Every line carries the name of who wrote it, and
//! lines of different writers never mix.

use crate::report::deceptive::is_deceptive;
use abi::hostcall::OUTPUT_LIMIT;
use abi::manifest::MONITOR_NAME;
use core::fmt::{self, Write};
use spin::Mutex;

/// What the monitor's own rows begin with.
const MONITOR_LABEL: &str = "[monitor] ";
const _: () = assert!(MONITOR_LABEL.len() == MONITOR_NAME.len() + LABEL_COLUMNS);

/// Columns of a row that are used: one less than the usual terminal has, so that it never wraps a row by itself. What begins a
/// row is always the label of who wrote it.
const COLUMNS: usize = 79;
/// Columns of a label beside the name: brackets and blank.
const LABEL_COLUMNS: usize = 3;
/// Bytes of a row beside label and text: brackets, blank, line end.
const LABEL_BYTES: usize = 5;
/// Most bytes of text in a row: a character of more than one byte, which has four at most, counts as two columns.
const ROW_BYTES: usize = 2 * COLUMNS;
/// More than a row has: what the screen shows of it is no longer the beginning of it.
const STALE: usize = usize::MAX;

struct Console {
    /// Whose row is not ended yet, a prompt: the address of the label, or 0.
    open: usize,
}

/// The console. On the host, a test's output is its thread's own, and so is what it has left open.
#[cfg(not(test))]
fn console() -> &'static Mutex<Console> {
    static CONSOLE: Mutex<Console> = Mutex::new(Console { open: 0 });
    &CONSOLE
}

#[cfg(test)]
fn console() -> &'static Mutex<Console> {
    std::thread_local! {
        static CONSOLE: &'static Mutex<Console> = Box::leak(Box::new(Mutex::new(Console { open: 0 })));
    }
    CONSOLE.with(|console| *console)
}

impl Console {
    fn start_line(&mut self, label: &str) {
        self.close();
        self.label(label);
    }

    /// Ends the row that is open.
    fn close(&mut self) {
        if self.open != 0 {
            self.end_line();
        }
    }

    fn label(&mut self, label: &str) {
        self.put(b"[");
        self.put(label.as_bytes());
        self.put(b"] ");
    }

    fn end_line(&mut self) {
        self.put(b"\r\n");
        self.open = 0;
    }

    fn put(&mut self, bytes: &[u8]) {
        arch::console::put_all(bytes);
    }
}

/// What is printed for a character: whether `^` comes first, and which one. Whatever could move the cursor, hide or reorder
/// text, or imitate another writer's line is made visible.
fn visible(character: char) -> (bool, char) {
    match character {
        // What nearly all text is made of.
        ' '..='~' | '\t' => (false, character),
        '\0'..='\x1f' | '\x7f' => (true, char::from(character as u8 ^ 0x40)),
        _ if is_deceptive(character) => (false, char::REPLACEMENT_CHARACTER),
        _ => (false, character),
    }
}

/// The column behind a character that is printed at `column`, or a greater one.
fn advance(column: usize, character: char) -> usize {
    match character {
        '\t' => (column | 7) + 1,
        _ if character.is_ascii() => column + 1,
        _ => column + 2,
    }
}

/// A line of the monitor: names and messages in it can hold what a cVM or the image's author chose.
struct MonitorLine<'a> {
    console: &'a mut Console,
    column: usize,
}

impl MonitorLine<'_> {
    fn start(console: &mut Console) -> MonitorLine<'_> {
        console.close();
        console.put(MONITOR_LABEL.as_bytes());
        let column = MONITOR_LABEL.len();
        MonitorLine { console, column }
    }

    /// Beyond the columns of a terminal come only characters that no label begins with, nor looks like it.
    fn put(&mut self, character: char) {
        let mut column = advance(self.column, character);
        if column > COLUMNS && (character == '[' || !matches!(character, ' '..='~')) {
            self.console.end_line();
            column = advance(MonitorLine::start(self.console).column, character);
        }
        self.column = column;
        self.console.put(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

impl Write for MonitorLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Most text, at once: it may stand anywhere, or stands where a bracket may.
        let inside = self.column + text.len() <= COLUMNS;
        let plain = |byte| matches!(byte, b' '..=b'~');
        if text.bytes().all(plain) && (inside || !text.contains('[')) {
            self.column += text.len();
            self.console.put(text.as_bytes());
            return Ok(());
        }
        for character in text.chars() {
            let (caret, character) = visible(character);
            if caret {
                self.put('^');
            }
            self.put(character);
        }
        Ok(())
    }
}

/// Prints a line of the monitor. Nothing is printed when the console is in use, which only a fault of the monitor in
/// the middle of a line can meet.
pub(crate) fn monitor_line(text: fmt::Arguments<'_>) {
    if let Some(mut console) = console().try_lock() {
        // `MonitorLine` never fails, but the text's own formatting may: what came before is printed.
        let _ = MonitorLine::start(&mut console).write_fmt(text);
        console.end_line();
    }
}

/// For the report of a fault in the monitor: whoever held the console does not come back.
pub(crate) fn force_unlock() {
    // SAFETY: one hart; the holder, if any, was interrupted by the fault that is about to be reported and never runs
    // again.
    unsafe { console().force_unlock() }
}

/// The output of one cVM, collected to rows.
#[derive(Default)]
pub(crate) struct Lines {
    row: heapless::String<ROW_BYTES>,
    /// Columns of the row's text.
    columns: usize,
    /// Bytes of the row that are on the screen while its row there is open, or [`STALE`].
    shown: usize,
    /// Bytes of a UTF-8 character that is not complete yet.
    partial: heapless::Vec<u8, 4>,
    /// Bytes given to the console, labels included, since the write began.
    sent: usize,
}

impl Lines {
    /// Starts to count what a write sends.
    pub(crate) fn begin(&mut self) {
        self.sent = 0;
    }

    /// Takes output of a cVM and prints the rows that it completes. Returns how many bytes it took: all, unless the
    /// console has been given [`OUTPUT_LIMIT`] bytes since [`Lines::begin`].
    pub(crate) fn write(&mut self, label: &str, bytes: &[u8]) -> usize {
        for (index, byte) in bytes.iter().enumerate() {
            if self.sent >= OUTPUT_LIMIT {
                return index;
            }
            match byte {
                b'\n' => self.end(label),
                b'\r' => {}
                b'\x08' => self.take_back(label),
                0x80.. => self.take_utf8(label, *byte),
                _ => self.take(label, char::from(*byte)),
            }
        }
        bytes.len()
    }

    fn take(&mut self, label: &str, character: char) {
        self.give_up_partial(label);
        self.push(label, character);
    }

    fn push(&mut self, label: &str, character: char) {
        let (caret, character) = visible(character);
        if caret {
            self.push_visible(label, '^');
        }
        self.push_visible(label, character);
    }

    fn push_visible(&mut self, label: &str, character: char) {
        let indent = label.len() + LABEL_COLUMNS;
        let mut column = advance(indent + self.columns, character);
        if column > COLUMNS {
            self.print(label);
            column = advance(indent, character);
        }
        self.columns = column - indent;
        // The columns are used up before the bytes.
        let _ = self.row.push(character);
    }

    /// Backspace: the row without its last character. It never reaches the label.
    fn take_back(&mut self, label: &str) {
        self.give_up_partial(label);
        let width = self
            .row
            .pop()
            .map_or(0, |character| 2 - usize::from(character.is_ascii()));
        // A tab had as many columns or more: there is never less room than counted.
        self.columns -= width;
        if self.shown > self.row.len() {
            self.shown = STALE;
        }
    }

    fn take_utf8(&mut self, label: &str, byte: u8) {
        let _ = self.partial.push(byte);
        let character = match core::str::from_utf8(&self.partial) {
            Ok(text) => text.chars().next(),
            Err(error) if error.error_len().is_some() => None,
            Err(_) => return,
        };
        self.partial.clear();
        self.push(label, character.unwrap_or(char::REPLACEMENT_CHARACTER));
    }

    /// A character that something else follows was never complete.
    fn give_up_partial(&mut self, label: &str) {
        if !self.partial.is_empty() {
            self.partial.clear();
            self.push(label, char::REPLACEMENT_CHARACTER);
        }
    }

    /// Ends the line.
    fn end(&mut self, label: &str) {
        self.give_up_partial(label);
        self.print(label);
    }

    /// Prints the row and begins the next one.
    fn print(&mut self, label: &str) {
        let mut console = console().lock();
        let own = console.open == label.as_ptr().addr();
        // A prompt that somebody else's line has ended is not repeated for nothing.
        if own || self.shown == 0 || self.shown != self.row.len() {
            self.show(&mut console, label);
            console.end_line();
        }
        self.sent += label.len() + self.row.len() + LABEL_BYTES;
        self.row.clear();
        self.columns = 0;
        self.shown = 0;
    }

    /// Brings the row on the screen, or what has come to it since it was brought there.
    fn show(&mut self, console: &mut Console, label: &str) {
        let text = self.row.as_bytes();
        if console.open != label.as_ptr().addr() {
            console.start_line(label);
            console.put(text);
        } else if let Some(rest) = text.get(self.shown..) {
            console.put(rest);
        } else {
            console.put(b"\r");
            console.label(label);
            console.put(text);
            // Erases what was behind it.
            console.put(b"\x1b[K");
        }
    }

    /// Shows the row although its line is not complete: a prompt before a read.
    pub(crate) fn prompt(&mut self, label: &str) {
        if !self.row.is_empty() || self.shown == STALE {
            let mut console = console().lock();
            self.show(&mut console, label);
            console.open = label.as_ptr().addr();
            self.shown = self.row.len();
        }
    }

    /// Prints the row as a line of its own: the cVM has ended.
    pub(crate) fn finish(&mut self, label: &str) {
        self.give_up_partial(label);
        if !self.row.is_empty() {
            self.print(label);
        }
    }
}

/// Logs a line, unless the level is switched off: `say!(Info, "{what}")`.
///
/// What the macros of `log` write out at every place is here once.
macro_rules! say {
    ($level:ident, $($text:tt)+) => {
        if log::Level::$level <= log::max_level() {
            $crate::report::console::log_line(log::Level::$level, format_args!($($text)+));
        }
    };
}
pub(crate) use say;

/// Logs a line whose level has been looked at.
#[inline(never)]
pub(crate) fn log_line(level: log::Level, text: fmt::Arguments<'_>) {
    let prefix = match level {
        log::Level::Info => return monitor_line(text),
        log::Level::Error => "error: ",
        log::Level::Warn => "warn: ",
        log::Level::Debug | log::Level::Trace => "debug: ",
    };
    monitor_line(format_args!("{prefix}{text}"));
}

/// Until `level` is known, everything from `Info` up is printed.
pub(crate) fn init() {
    log::set_max_level(log::LevelFilter::Info);
}

/// Sets the level that the boot arguments ask for by `log=error|warn|info|debug|trace`.
pub(crate) fn set_level(arguments: &str) {
    let Some(name) = arguments
        .split_ascii_whitespace()
        .find_map(|argument| argument.strip_prefix("log="))
    else {
        return;
    };
    match name.parse() {
        Ok(level) => log::set_max_level(level),
        Err(_) => say!(
            Warn,
            "boot argument log={name}: expected off, error, warn, info, debug or trace"
        ),
    }
}
