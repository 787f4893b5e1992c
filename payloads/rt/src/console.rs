//! The console: `print!` and its family, and reading lines.

use core::fmt::{self, Write};
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;

use abi::hostcall::{STREAM_ERROR, STREAM_INPUT, STREAM_OUTPUT, TRANSFER_LIMIT};

use crate::{
    Errno, hostcall,
    line::{INTERRUPT, Input, LineBuffer, LineReader, MODE, Mode},
    sync::Mutex,
};

/// Longest line that one `write` hostcall carries, in bytes with its newline; a longer one may be torn.
pub const LINE_LIMIT: usize = 512;
const _: () = assert!(LINE_LIMIT <= TRANSFER_LIMIT);

static OUTPUT: Mutex<LineBuffer<LINE_LIMIT>> = Mutex::new(LineBuffer::new());
static ERRORS: Mutex<LineBuffer<LINE_LIMIT>> = Mutex::new(LineBuffer::new());
static INPUT: Mutex<LineReader<LINE_LIMIT>> = Mutex::new(LineReader::new());
/// Whether anything may be in the line buffers.
static PRINTED: AtomicBool = AtomicBool::new(false);

/// Exit code of a cVM that Ctrl-C ended, as shells have it.
const INTERRUPTED: i32 = 130;

/// One of the two console streams as a [`fmt::Write`]. The lock is held only while a piece of text is added, so a
/// `Display` that prints, or panics, while it is printed does no harm.
struct Stream {
    number: u64,
    buffer: &'static Mutex<LineBuffer<LINE_LIMIT>>,
}

const STREAMS: [Stream; 2] = [
    Stream {
        number: STREAM_OUTPUT,
        buffer: &OUTPUT,
    },
    Stream {
        number: STREAM_ERROR,
        buffer: &ERRORS,
    },
];

impl Stream {
    fn flush(&self) -> Result<(), Errno> {
        self.buffer.lock().flush(|line| hostcall::write_all(self.number, line))
    }
}

impl Write for Stream {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        PRINTED.store(true, Relaxed);
        self.buffer
            .lock()
            .push(text.as_bytes(), |line| hostcall::write_all(self.number, line))
            .map_err(|_| fmt::Error)
    }
}

/// Writes out what the line buffers hold, for example a prompt without a newline.
///
/// # Errors
/// As [`hostcall::write_all`].
pub fn flush() -> Result<(), Errno> {
    STREAMS.iter().try_for_each(Stream::flush)
}

/// The last chance of the line buffers: an error has nowhere to go any more.
#[inline]
pub(crate) fn flush_at_exit() {
    // Whoever prints meanwhile comes here himself.
    if PRINTED.load(Relaxed) {
        PRINTED.store(false, Relaxed);
        flush_all();
    }
}

#[inline(never)]
fn flush_all() {
    for stream in &STREAMS {
        let _ = stream.flush();
    }
}

/// Prints to the console, or says that it is not possible; for the panic handler, which must not panic.
pub(crate) fn try_print_error(arguments: fmt::Arguments<'_>) -> fmt::Result {
    let [output, mut errors] = STREAMS;
    output.flush().map_err(|_| fmt::Error)?;
    errors.write_fmt(arguments)
}

/// What [`print!`](crate::print) calls.
///
/// # Panics
/// When the console refuses the text.
#[doc(hidden)]
pub fn print_output(arguments: fmt::Arguments<'_>) {
    let [mut output, _] = STREAMS;
    if output.write_fmt(arguments).is_err() {
        panic!("the console refuses output");
    }
}

/// What [`eprint!`](crate::eprint) calls.
///
/// # Panics
/// When the console refuses the text.
#[doc(hidden)]
pub fn print_error(arguments: fmt::Arguments<'_>) {
    if try_print_error(arguments).is_err() {
        panic!("the console refuses output");
    }
}

/// Waits for a line from the console and puts it, without its end, at the beginning of `buffer`; `None` at the end of
/// input. A line that does not fit is cut, the rest comes with the next call. What was printed before is shown first.
///
/// The line can be edited while it is typed, and Ctrl-C ends the input or the cVM, as the environment says: see [`Mode`].
///
/// # Errors
/// As [`hostcall::write_all`] and [`hostcall::read`]; `EINVAL` when the environment says something unknown.
pub fn read_line(buffer: &mut [u8]) -> Result<Option<&[u8]>, Errno> {
    let mode = mode()?;
    match read_input(buffer)? {
        Input::Line(length) => Ok(Some(&buffer[..length])),
        Input::End => Ok(None),
        Input::Interrupt
            if mode
                == (Mode::Cooked {
                    interrupt_ends_cvm: true,
                }) =>
        {
            hostcall::exit(INTERRUPTED)
        }
        Input::Interrupt => Ok(None),
    }
}

fn mode() -> Result<Mode, Errno> {
    Mode::from_environment(crate::var(MODE), crate::var(INTERRUPT)).ok_or(Errno::EINVAL)
}

/// As [`read_line`], for who tells Ctrl-C from the end of the input.
///
/// # Errors
/// As there.
pub fn read_input(buffer: &mut [u8]) -> Result<Input, Errno> {
    let mode = mode()?;
    flush()?;
    let read = |portion: &mut [u8]| {
        flush()?;
        hostcall::read(STREAM_INPUT, portion)
    };
    let echo = |text: &[u8]| {
        PRINTED.store(true, Relaxed);
        OUTPUT
            .lock()
            .push(text, |line| hostcall::write_all(STREAM_OUTPUT, line))
    };
    INPUT.lock().next_line(buffer, mode, read, echo)
}

/// Prints to the console; see [`println!`](crate::println).
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => { $crate::console::print_output(::core::format_args!($($argument)*)) };
}

/// Prints a line to the console. Lines stay whole up to [`LINE_LIMIT`](crate::console::LINE_LIMIT) bytes.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($argument:tt)*) => { $crate::console::print_output(::core::format_args!("{}\n", ::core::format_args!($($argument)*))) };
}

/// Prints to the console's error stream.
#[macro_export]
macro_rules! eprint {
    ($($argument:tt)*) => { $crate::console::print_error(::core::format_args!($($argument)*)) };
}

/// Prints a line to the console's error stream.
#[macro_export]
macro_rules! eprintln {
    () => { $crate::eprint!("\n") };
    ($($argument:tt)*) => { $crate::console::print_error(::core::format_args!("{}\n", ::core::format_args!($($argument)*))) };
}
