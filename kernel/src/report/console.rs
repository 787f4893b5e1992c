//! The console: the monitor's log and the cVMs' output share one UART. Every line carries the name of who wrote it, and
//! lines of different writers never mix.

use abi::hostcall::OUTPUT_LIMIT;
use abi::manifest::MONITOR_NAME;
use alloc::string::String;
use core::fmt::{self, Write};
use spin::Mutex;

/// Bytes of a line beside label and text: brackets, blank, line end.
const LABEL_BYTES: usize = 5;
/// Longest line of a cVM that is printed as one; a longer one is broken.
const LINE_LIMIT: usize = 240;

struct Console {
    /// Whether the last line printed is not ended yet: a prompt.
    open: bool,
}

static CONSOLE: Mutex<Console> = Mutex::new(Console { open: false });

impl Console {
    fn start_line(&mut self, label: &str) {
        if self.open {
            self.end_line();
        }
        self.put(b"[");
        self.put(label.as_bytes());
        self.put(b"] ");
    }

    fn end_line(&mut self) {
        self.put(b"\r\n");
        self.open = false;
    }

    fn put(&mut self, bytes: &[u8]) {
        bytes.iter().copied().for_each(arch::console::put);
    }
}

/// Whether a character could move the cursor, hide or reorder text, or imitate another writer's line.
fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{200b}'..='\u{200f}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Text on one line: names and messages can hold what a cVM or the image's author chose.
struct OneLine<'a>(&'a mut Console);

impl Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
            self.0.put(text.as_bytes());
            return Ok(());
        }
        for character in text.chars() {
            match character {
                '\t' => self.0.put(b"\t"),
                '\0'..='\x1f' | '\x7f' => self.0.put(&[b'^', character as u8 ^ 0x40]),
                _ if is_deceptive(character) => self.0.put("\u{fffd}".as_bytes()),
                _ => self.0.put(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        Ok(())
    }
}

/// Prints a line of the monitor. Nothing is printed when the console is in use, which only a fault of the monitor in
/// the middle of a line can meet.
pub(crate) fn monitor_line(text: fmt::Arguments<'_>) {
    if let Some(mut console) = CONSOLE.try_lock() {
        console.start_line(MONITOR_NAME);
        // `OneLine` never fails, but the text's own formatting may: what came before is printed.
        let _ = OneLine(&mut console).write_fmt(text);
        console.end_line();
    }
}

/// For the report of a fault in the monitor: whoever held the console does not come back.
pub(crate) fn force_unlock() {
    // SAFETY: one hart; the holder, if any, was interrupted by the fault that is about to be reported and never runs
    // again.
    unsafe { CONSOLE.force_unlock() }
}

/// The output of one cVM, collected to lines.
#[derive(Default)]
pub(crate) struct Lines {
    line: String,
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

    /// Takes output of a cVM and prints the lines that it completes. Returns how many bytes it took: all, unless the
    /// console has been given [`OUTPUT_LIMIT`] bytes since [`Lines::begin`].
    pub(crate) fn write(&mut self, label: &str, bytes: &[u8]) -> usize {
        for (index, byte) in bytes.iter().enumerate() {
            if self.sent >= OUTPUT_LIMIT {
                return index;
            }
            match byte {
                b'\n' => self.end(label),
                b'\t' | 0x20..=0x7e => self.take(label, char::from(*byte)),
                0x80.. => self.take_utf8(label, *byte),
                b'\r' => {}
                // Whatever could move the cursor or imitate another writer is made visible.
                _ => {
                    self.take(label, '^');
                    self.take(label, char::from(byte ^ 0x40));
                }
            }
        }
        bytes.len()
    }

    fn take(&mut self, label: &str, character: char) {
        self.give_up_partial();
        self.line.push(character);
        if self.line.len() >= LINE_LIMIT {
            self.end(label);
        }
    }

    fn take_utf8(&mut self, label: &str, byte: u8) {
        let _ = self.partial.push(byte);
        match core::str::from_utf8(&self.partial) {
            Ok(text) => {
                let character = text.chars().next().filter(|character| !is_deceptive(*character));
                self.partial.clear();
                self.take(label, character.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Err(error) if error.error_len().is_some() => {
                self.partial.clear();
                self.take(label, char::REPLACEMENT_CHARACTER);
            }
            Err(_) => {}
        }
    }

    /// A character that something else follows was never complete.
    fn give_up_partial(&mut self) {
        if !self.partial.is_empty() {
            self.partial.clear();
            self.line.push(char::REPLACEMENT_CHARACTER);
        }
    }

    fn end(&mut self, label: &str) {
        self.give_up_partial();
        let mut console = CONSOLE.lock();
        console.start_line(label);
        console.put(self.line.as_bytes());
        console.end_line();
        self.sent += label.len() + self.line.len() + LABEL_BYTES;
        self.line.clear();
    }

    /// Prints what is collected although its line is not complete: a prompt before a read.
    pub(crate) fn prompt(&mut self, label: &str) {
        if !self.line.is_empty() {
            let mut console = CONSOLE.lock();
            console.start_line(label);
            console.put(self.line.as_bytes());
            console.open = true;
            self.line.clear();
        }
    }

    /// Prints what is collected as a line of its own: the cVM has ended.
    pub(crate) fn finish(&mut self, label: &str) {
        self.give_up_partial();
        if !self.line.is_empty() {
            self.end(label);
        }
    }
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        match record.level() {
            log::Level::Info => monitor_line(*record.args()),
            log::Level::Error => monitor_line(format_args!("error: {}", record.args())),
            log::Level::Warn => monitor_line(format_args!("warn: {}", record.args())),
            log::Level::Debug | log::Level::Trace => monitor_line(format_args!("debug: {}", record.args())),
        }
    }

    fn flush(&self) {}
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
    log::log!(level, "{text}");
}

/// Makes the console the place of the log. Until `level` is known, everything from `Info` up is printed.
pub(crate) fn init() {
    static LOGGER: Logger = Logger;
    // Fails only when a logger is set already, which is this one.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(log::LevelFilter::Info);
}

/// Sets the level that the boot arguments ask for by `log=error|warn|info|debug|trace`.
pub(crate) fn set_level(arguments: &str) {
    let Some(name) = arguments
        .split_whitespace()
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
