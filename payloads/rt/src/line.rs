//! Lines of text: the buffer that keeps output lines whole, the splitter of input, and text that may not be UTF-8.

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

/// Takes input in whatever portions it comes and gives it back in lines. A line ends with CR, LF or CR LF.
#[derive(Debug)]
pub struct LineSplitter<const SIZE: usize> {
    bytes: [u8; SIZE],
    next: usize,
    end: usize,
    after_return: bool,
}

impl<const SIZE: usize> LineSplitter<SIZE> {
    /// A splitter that has seen no input.
    pub const fn new() -> Self {
        LineSplitter {
            bytes: [0; SIZE],
            next: 0,
            end: 0,
            after_return: false,
        }
    }

    /// Puts the next line, without its end, into `line` and returns its length; `None` at the end of input. A line that
    /// does not fit is cut: the rest comes with the next call. `read` fills a buffer and returns the number of bytes, 0
    /// at the end of input.
    ///
    /// # Errors
    /// The error of `read`; what was read of the line so far is lost.
    pub fn next_line<E>(
        &mut self,
        line: &mut [u8],
        mut read: impl FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Option<usize>, E> {
        let mut length = 0;
        while length < line.len() {
            if self.next == self.end {
                self.next = 0;
                self.end = read(&mut self.bytes)?.min(SIZE);
                if self.end == 0 {
                    return Ok((length > 0).then_some(length));
                }
            }
            let byte = self.bytes[self.next];
            self.next += 1;
            let second_of_pair = byte == b'\n' && core::mem::take(&mut self.after_return);
            self.after_return = byte == b'\r';
            match byte {
                b'\n' if second_of_pair => {}
                b'\r' | b'\n' => return Ok(Some(length)),
                _ => {
                    line[length] = byte;
                    length += 1;
                }
            }
        }
        Ok(Some(length))
    }
}

impl<const SIZE: usize> Default for LineSplitter<SIZE> {
    fn default() -> Self {
        LineSplitter::new()
    }
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

    fn lines(portions: &[&str], size: usize) -> Vec<String> {
        let mut splitter = LineSplitter::<4>::new();
        let mut input = portions.iter().flat_map(|portion| portion.as_bytes().chunks(4));
        let mut read = |buffer: &mut [u8]| {
            let portion = input.next().unwrap_or_default();
            buffer[..portion.len()].copy_from_slice(portion);
            Ok::<_, Infallible>(portion.len())
        };
        let mut line = vec![0; size];
        let mut lines = Vec::new();
        while let Ok(Some(length)) = splitter.next_line(&mut line, &mut read) {
            lines.push(String::from_utf8_lossy(&line[..length]).into_owned());
        }
        lines
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

    #[test]
    fn text_that_is_not_utf8_is_still_printed() {
        assert_eq!(Lossy(b"a\xffb\xc3").to_string(), "a\u{fffd}b\u{fffd}");
    }
}
