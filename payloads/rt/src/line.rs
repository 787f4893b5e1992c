//! Lines of text: the buffer that keeps output lines whole, the reader and editor of input, and text that may not be UTF-8.

use core::fmt::{self, Display, Write};

/// Collects output until a line is complete, so that one `write` hostcall carries a whole line.
#[derive(Debug)]
pub struct LineBuffer<const SIZE: usize> {
    bytes: [u8; SIZE],
    used: usize,
}

impl<const SIZE: usize> LineBuffer<SIZE> {
    /// An empty buffer.
    pub const fn new() -> Self {
        LineBuffer {
            bytes: [0; SIZE],
            used: 0,
        }
    }

    /// Adds `text` and hands every line that it completes to `write`, one call a line; a line longer than the buffer is
    /// handed over in pieces.
    ///
    /// # Errors
    /// The first error of `write`; what it was given is gone from the buffer.
    pub fn push<E>(&mut self, text: &[u8], mut write: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let mut rest = line;
            while !rest.is_empty() {
                let (part, after) = rest.split_at(rest.len().min(SIZE - self.used));
                self.bytes[self.used..self.used + part.len()].copy_from_slice(part);
                self.used += part.len();
                rest = after;
                if self.used == SIZE {
                    self.flush(&mut write)?;
                }
            }
            if line.ends_with(b"\n") {
                self.flush(&mut write)?;
            }
        }
        Ok(())
    }

    /// Hands over what is there, complete or not.
    ///
    /// # Errors
    /// The error of `write`; the bytes are gone from the buffer.
    pub fn flush<E>(&mut self, write: impl FnOnce(&[u8]) -> Result<(), E>) -> Result<(), E> {
        match core::mem::take(&mut self.used) {
            0 => Ok(()),
            used => write(&self.bytes[..used]),
        }
    }
}

impl<const SIZE: usize> Default for LineBuffer<SIZE> {
    fn default() -> Self {
        LineBuffer::new()
    }
}

/// The environment entry that chooses between `cooked`, the default, and `raw`.
pub const MODE: &str = "CONSOLE_MODE";
/// The environment entry that says what Ctrl-C ends while a line is read: the `input`, the default, or the `cvm`.
pub const INTERRUPT: &str = "CONSOLE_INTERRUPT";

/// How lines are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What is typed is shown and can be edited: Backspace takes back a character, Ctrl-U the line, and Ctrl-C ends the input
    /// or the cVM. Other control characters and the arrow keys do nothing.
    Cooked {
        /// Whether Ctrl-C ends the cVM.
        interrupt_ends_cvm: bool,
    },
    /// Lines are what the terminal sends, control characters and all.
    Raw,
}

impl Mode {
    /// What the environment entries [`MODE`] and [`INTERRUPT`] say; `None` for a value that is not known.
    pub fn from_environment(mode: Option<&str>, interrupt: Option<&str>) -> Option<Mode> {
        let interrupt_ends_cvm = match interrupt {
            None | Some("input") => false,
            Some("cvm") => true,
            Some(_) => return None,
        };
        match mode {
            None | Some("cooked") => Some(Mode::Cooked { interrupt_ends_cvm }),
            Some("raw") => Some(Mode::Raw),
            Some(_) => None,
        }
    }
}

/// What [`LineReader::next_line`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A line of this many bytes.
    Line(usize),
    /// The end of input.
    End,
    /// Ctrl-C.
    Interrupt,
}

/// Where the reader is in the characters that a terminal sends for a key like an arrow: `ESC [ 1 ; 2 A`, `ESC O A`, `ESC a`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Plain,
    Escape,
    Sequence,
}

const INTERRUPT_KEY: u8 = 0x03;
const BACKSPACE: u8 = 0x08;
const KILL_KEY: u8 = 0x15;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;

/// Takes input in whatever portions it comes and gives it back in lines. A line ends with CR, LF or CR LF.
#[derive(Debug)]
pub struct LineReader<const SIZE: usize> {
    bytes: [u8; SIZE],
    next: usize,
    end: usize,
    after_return: bool,
    key: Key,
}

impl<const SIZE: usize> LineReader<SIZE> {
    /// A reader that has seen no input.
    pub const fn new() -> Self {
        LineReader {
            bytes: [0; SIZE],
            next: 0,
            end: 0,
            after_return: false,
            key: Key::Plain,
        }
    }

    /// Puts the next line, without its end, into `line` and returns its length. A line that does not fit is cut: the rest
    /// comes with the next call. `read` fills a buffer and returns the number of bytes, 0 at the end of input; what is
    /// typed in cooked mode is given to `echo`, with a backspace for each character that is taken back.
    ///
    /// # Errors
    /// The error of `read` or `echo`; what was read of the line so far is lost.
    pub fn next_line<E>(
        &mut self,
        line: &mut [u8],
        mode: Mode,
        mut read: impl FnMut(&mut [u8]) -> Result<usize, E>,
        mut echo: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Input, E> {
        let cooked = mode != Mode::Raw;
        let mut length = 0;
        while length < line.len() {
            if self.next == self.end {
                self.next = 0;
                self.end = read(&mut self.bytes)?.min(SIZE);
                if self.end == 0 {
                    return Ok(if length > 0 { Input::Line(length) } else { Input::End });
                }
            }
            let byte = self.bytes[self.next];
            self.next += 1;
            let second_of_pair = byte == b'\n' && core::mem::take(&mut self.after_return);
            self.after_return = byte == b'\r';
            if cooked && self.is_part_of_a_key(byte) {
                continue;
            }
            match byte {
                b'\n' if second_of_pair => {}
                b'\r' | b'\n' => {
                    if cooked {
                        echo(b"\n")?;
                    }
                    return Ok(Input::Line(length));
                }
                INTERRUPT_KEY if cooked => {
                    // What was typed ahead goes with the line.
                    self.next = self.end;
                    echo(b"^C\n")?;
                    return Ok(Input::Interrupt);
                }
                BACKSPACE | DELETE if cooked => {
                    if length > 0 {
                        length -= last_character(&line[..length]);
                        echo(&[BACKSPACE])?;
                    }
                }
                KILL_KEY if cooked => {
                    while length > 0 {
                        length -= last_character(&line[..length]);
                        echo(&[BACKSPACE])?;
                    }
                }
                _ if cooked && byte < b' ' && byte != b'\t' => {}
                _ => {
                    line[length] = byte;
                    length += 1;
                    if cooked {
                        echo(&[byte])?;
                    }
                }
            }
        }
        Ok(Input::Line(length))
    }

    /// Whether a byte belongs to a key that is more than one character.
    fn is_part_of_a_key(&mut self, byte: u8) -> bool {
        let part = self.key != Key::Plain || byte == ESCAPE;
        self.key = match (self.key, byte) {
            // Nothing that ends a line, or the input, is swallowed.
            (_, b'\r' | b'\n' | INTERRUPT_KEY) => {
                self.key = Key::Plain;
                return false;
            }
            (_, ESCAPE) => Key::Escape,
            (Key::Escape, b'[' | b'O') | (Key::Sequence, b' '..=b'?') => Key::Sequence,
            _ => Key::Plain,
        };
        part
    }
}

impl<const SIZE: usize> Default for LineReader<SIZE> {
    fn default() -> Self {
        LineReader::new()
    }
}

/// Bytes of the last character of a text that is not empty; what is not UTF-8 counts byte by byte.
fn last_character(text: &[u8]) -> usize {
    let is_one = |length: &usize| {
        let end = text
            .len()
            .checked_sub(*length)
            .and_then(|start| core::str::from_utf8(&text[start..]).ok());
        end.is_some_and(|end| end.chars().count() == 1)
    };
    (1..=4).find(is_one).unwrap_or(1)
}

/// Prints bytes as text; what is not UTF-8 becomes U+FFFD.
#[derive(Clone, Copy, Debug)]
pub struct Lossy<'a>(pub &'a [u8]);

impl Display for Lossy<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            formatter.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                formatter.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;

    fn written(pieces: &[&str]) -> Vec<String> {
        let mut buffer = LineBuffer::<8>::new();
        let mut calls = Vec::new();
        for piece in pieces {
            let Ok(()) = buffer.push::<Infallible>(piece.as_bytes(), |line| {
                calls.push(String::from_utf8_lossy(line).into_owned());
                Ok(())
            });
        }
        let Ok(()) = buffer.flush::<Infallible>(|line| {
            calls.push(format!("flushed {}", String::from_utf8_lossy(line)));
            Ok(())
        });
        calls
    }

    #[test]
    fn one_write_carries_one_whole_line() {
        assert_eq!(written(&["a", "b\nc", "d\n", "e"]), ["ab\n", "cd\n", "flushed e"]);
    }

    #[test]
    fn a_line_longer_than_the_buffer_loses_nothing() {
        assert_eq!(written(&["0123456789abcdef\n"]), ["01234567", "89abcdef", "\n"]);
    }

    #[test]
    fn an_error_of_the_writer_reaches_the_caller_and_the_buffer_goes_on() {
        let mut buffer = LineBuffer::<8>::new();
        assert_eq!(buffer.push(b"lost\nrest", |_| Err("full")), Err("full"));
        let mut seen = Vec::new();
        let Ok(()) = buffer.push::<Infallible>(b"next\n", |line| {
            seen.extend_from_slice(line);
            Ok(())
        });
        assert_eq!(seen, b"next\n");
    }

    const COOKED: Mode = Mode::Cooked {
        interrupt_ends_cvm: false,
    };

    /// The lines that input comes to, and what is shown of it, until its end or an interrupt.
    fn read(portions: &[&str], size: usize, mode: Mode) -> (Vec<String>, String) {
        let mut reader = LineReader::<4>::new();
        let mut input = portions.iter().flat_map(|portion| portion.as_bytes().chunks(4));
        let mut read = |buffer: &mut [u8]| {
            let portion = input.next().unwrap_or_default();
            buffer[..portion.len()].copy_from_slice(portion);
            Ok::<_, Infallible>(portion.len())
        };
        let mut shown = Vec::new();
        let mut line = vec![0; size];
        let mut lines = Vec::new();
        loop {
            let Ok(input) = reader.next_line(&mut line, mode, &mut read, |text| {
                shown.extend_from_slice(text);
                Ok(())
            });
            match input {
                Input::Line(length) => lines.push(String::from_utf8_lossy(&line[..length]).into_owned()),
                Input::End => break,
                Input::Interrupt => {
                    lines.push("interrupt".to_owned());
                    break;
                }
            }
        }
        (lines, String::from_utf8_lossy(&shown).into_owned())
    }

    fn lines(portions: &[&str], size: usize) -> Vec<String> {
        let (cooked, _) = read(portions, size, COOKED);
        let (raw, shown) = read(portions, size, Mode::Raw);
        assert_eq!((&raw, shown.as_str()), (&cooked, ""), "a raw terminal shows nothing");
        raw
    }

    #[test]
    fn a_line_ends_with_return_newline_or_both() {
        assert_eq!(
            lines(&["one\rtwo\nthree\r", "\nfour\r\r\n\n"], 16),
            ["one", "two", "three", "four", "", ""]
        );
    }

    #[test]
    fn the_last_line_needs_no_end() {
        assert_eq!(lines(&["a", "b\nc"], 16), ["ab", "c"]);
    }

    #[test]
    fn a_long_line_comes_in_pieces() {
        assert_eq!(lines(&["abcdefgh\n"], 3), ["abc", "def", "gh"]);
    }

    fn cooked(input: &str) -> (Vec<String>, String) {
        read(&[input], 16, COOKED)
    }

    #[test]
    fn what_is_typed_is_shown_and_can_be_taken_back() {
        assert_eq!(cooked("helo\x7flo\r"), (vec!["hello".into()], "helo\x08lo\n".into()));
        assert_eq!(cooked("\x08\x7fa\x08\x08b\n"), (vec!["b".into()], "a\x08b\n".into()));
        assert_eq!(
            cooked("wrong\x15ok\n"),
            (vec!["ok".into()], "wrong\x08\x08\x08\x08\x08ok\n".into())
        );
    }

    #[test]
    fn a_character_of_several_bytes_is_taken_back_at_once() {
        assert_eq!(
            cooked("a\u{e4}\u{20ac}\x7f\x7fo\n"),
            (vec!["ao".into()], "a\u{e4}\u{20ac}\x08\x08o\n".into())
        );
    }

    #[test]
    fn keys_that_are_no_characters_do_nothing() {
        let (lines, shown) = cooked("a\x1b[A\x1b[1;5Db\x1bOHc\x1bxd\x01\x00\x17e\tf\n");
        assert_eq!((lines, shown.as_str()), (vec!["abcde\tf".to_owned()], "abcde\tf\n"));
        assert_eq!(cooked("a\x1b\nb\x1b[\n").0, ["a", "b"]);
    }

    #[test]
    fn control_c_interrupts_and_drops_the_line() {
        assert_eq!(
            cooked("one\ntw\x03\n"),
            (vec!["one".into(), "interrupt".into()], "one\ntw^C\n".into())
        );
    }

    #[test]
    fn raw_lines_are_what_the_terminal_sends() {
        let (lines, shown) = read(&["a\x7f\x03\x15\x1b[A\n"], 16, Mode::Raw);
        assert_eq!((lines, shown.as_str()), (vec!["a\x7f\x03\x15\x1b[A".to_owned()], ""));
    }

    #[test]
    fn the_environment_chooses_the_mode_and_unknown_words_are_refused() {
        let ends_cvm = Mode::Cooked {
            interrupt_ends_cvm: true,
        };
        assert_eq!(Mode::from_environment(None, None), Some(COOKED));
        assert_eq!(Mode::from_environment(Some("cooked"), Some("input")), Some(COOKED));
        assert_eq!(Mode::from_environment(None, Some("cvm")), Some(ends_cvm));
        assert_eq!(Mode::from_environment(Some("raw"), None), Some(Mode::Raw));
        assert_eq!(Mode::from_environment(Some("Raw"), None), None);
        assert_eq!(Mode::from_environment(None, Some("no")), None);
    }

    #[test]
    fn text_that_is_not_utf8_is_still_printed() {
        assert_eq!(Lossy(b"a\xffb\xc3").to_string(), "a\u{fffd}b\u{fffd}");
    }
}
