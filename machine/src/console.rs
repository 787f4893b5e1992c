//! The far end of the guest's serial line: the terminal of the person, or two buffers of a test.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionbio;
use rustix::termios::{self, OptionalActions, Termios};

use crate::net::Interest;

/// Ctrl-A, as in QEMU: the next key is for the machine, not for the guest.
const ESCAPE: u8 = 1;

/// How a person at a terminal gets out.
const HINT: &str = "cheri-machine: Ctrl-A x ends the run; all other keys go to the guest";

/// What the thread that reads standard input sends.
enum Key {
    Byte(u8),
    Quit,
}

/// Where the guest's characters go and come from.
pub struct Console {
    input: VecDeque<u8>,
    source: Option<Receiver<Key>>,
    /// Can be read when a key has come since it was emptied.
    wake: Option<PipeReader>,
    quit: bool,
    host_output: Option<HostOutput>,
    output: Vec<u8>,
    pattern: Vec<u8>,
    pattern_seen: bool,
    /// What was printed since it was last taken, when somebody wants it.
    printed: Option<Vec<u8>>,
    terminal: Option<RawTerminal>,
}

/// A moment in the life of a console.
#[derive(Clone, Debug)]
pub struct Mark {
    input: VecDeque<u8>,
    output: usize,
}

impl Console {
    /// A console for tests: output is kept, input is what [`Console::push_input`] gave.
    pub fn buffer() -> Self {
        Console {
            input: VecDeque::new(),
            source: None,
            wake: None,
            quit: false,
            host_output: None,
            output: Vec::new(),
            pattern: Vec::new(),
            pattern_seen: false,
            printed: None,
            terminal: None,
        }
    }

    /// The program's own standard input and output.
    ///
    /// A regular file as input is read at once, which keeps the run reproducible. A terminal is put into raw mode until
    /// the console is dropped; Ctrl-A x ends the run, Ctrl-A Ctrl-A sends Ctrl-A. One line on standard error says so.
    ///
    /// # Errors
    /// When standard input cannot be read or the terminal cannot be set up.
    pub fn host() -> io::Result<Self> {
        let mut console = Console {
            host_output: Some(HostOutput::new(io::stdout())),
            ..Console::buffer()
        };
        let stdin = io::stdin();
        // A closed standard input is no error: the guest then has no input.
        let Ok(descriptor) = stdin.as_fd().try_clone_to_owned() else {
            return Ok(console);
        };
        let mut file = File::from(descriptor);
        if file.metadata()?.is_file() {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            console.input.extend(bytes);
            return Ok(console);
        }
        let terminal = stdin.is_terminal();
        if terminal {
            eprintln!("{HINT}");
            let saved = termios::tcgetattr(&file)?;
            let mut raw = saved.clone();
            raw.make_raw();
            // Output stays as it was: messages of the program end lines with a plain line feed.
            raw.output_modes = saved.output_modes;
            termios::tcsetattr(&file, OptionalActions::Now, &raw)?;
            console.terminal = Some(RawTerminal(saved));
        }
        let (sender, receiver) = channel();
        console.source = Some(receiver);
        let (wake, mut waker) = io::pipe()?;
        ioctl_fionbio(&wake, true)?;
        ioctl_fionbio(&waker, true)?;
        console.wake = Some(wake);
        thread::spawn(move || {
            let mut escaped = false;
            for byte in BufReader::new(file).bytes().map_while(Result::ok) {
                let key = match (escaped, byte) {
                    (false, ESCAPE) if terminal => {
                        escaped = true;
                        continue;
                    }
                    (true, b'x') => Key::Quit,
                    _ => Key::Byte(byte),
                };
                escaped = false;
                if sender.send(key).is_err() {
                    return;
                }
                // A full pipe wakes as well as one with a byte more.
                let _ = waker.write(&[0]);
            }
        });
        Ok(console)
    }

    /// Appends characters to what the guest will receive.
    pub fn push_input(&mut self, bytes: &[u8]) {
        self.input.extend(bytes);
    }

    /// The next character for the guest, if one is there now.
    pub fn take_input(&mut self) -> Option<u8> {
        self.poll();
        self.input.pop_front()
    }

    /// Gives back a character that [`Console::take_input`] returned; it comes first again.
    pub fn untake_input(&mut self, byte: u8) {
        self.input.push_front(byte);
    }

    /// Whether a character for the guest is there now.
    pub fn has_input(&mut self) -> bool {
        self.poll();
        !self.input.is_empty()
    }

    /// Waits until there is a character for the guest; `false` when none will ever come (a buffer never waits).
    pub fn wait_for_input(&mut self) -> bool {
        self.flush();
        if self.has_input() {
            return true;
        }
        let Some(source) = &self.source else { return false };
        match source.recv() {
            Ok(key) => {
                self.accept(key);
                true
            }
            Err(_) => {
                self.source = None;
                false
            }
        }
    }

    /// Whether a person sits at the other end: then the guest's waiting takes real time.
    pub fn is_interactive(&self) -> bool {
        self.terminal.is_some()
    }

    /// Waits at most `time` for a new character and returns how long that took.
    pub fn wait_for_key(&mut self, time: Duration) -> Duration {
        self.flush();
        let start = Instant::now();
        match self.source.as_ref().map(|source| source.recv_timeout(time)) {
            Some(Ok(key)) => self.accept(key),
            Some(Err(RecvTimeoutError::Timeout)) => return time,
            Some(Err(RecvTimeoutError::Disconnected)) | None => {
                self.source = None;
                thread::sleep(time);
                return time;
            }
        }
        start.elapsed().min(time)
    }

    /// Waits at most `time`, or for ever, for a new character or for one of the descriptors, and returns how long that took.
    pub fn wait_for_key_or(&mut self, interests: &[Interest<'_>], time: Option<Duration>) -> Duration {
        self.flush();
        let start = Instant::now();
        let mut descriptors = Vec::new();
        for interest in interests {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, interest.read);
            flags.set(PollFlags::OUT, interest.write);
            descriptors.push(PollFd::from_borrowed_fd(interest.descriptor, flags));
        }
        // The end of the input, which closes the pipe, is nothing to wait for.
        if self.source.is_some()
            && let Some(wake) = &self.wake
        {
            descriptors.push(PollFd::new(wake, PollFlags::IN));
        }
        let timeout = time.and_then(|time| Timespec::try_from(time).ok());
        // Interrupted by a signal, it comes back early, which its callers take as having waited less.
        let _ = poll(&mut descriptors, timeout.as_ref());
        if let Some(wake) = &mut self.wake {
            let mut bytes = [0; 64];
            while wake.read(&mut bytes).is_ok_and(|length| length > 0) {}
        }
        self.poll();
        let waited = start.elapsed();
        time.map_or(waited, |time| time.min(waited))
    }

    /// Whether the person asked to end the run (Ctrl-A x).
    pub fn quit_requested(&self) -> bool {
        self.quit
    }

    /// Whether what is printed is kept for [`Console::take_printed`], beside where it goes.
    pub fn keep_printed(&mut self, keep: bool) {
        self.printed = keep.then(|| self.printed.take().unwrap_or_default());
    }

    /// What was printed since this was last asked for.
    pub fn take_printed(&mut self) -> Vec<u8> {
        self.printed.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Prints one character of the guest.
    pub fn put(&mut self, byte: u8) {
        if let Some(printed) = &mut self.printed {
            printed.push(byte);
        }
        match &mut self.host_output {
            // A reader that has gone away is no reason to stop the guest: its exit status may still matter.
            Some(output) => _ = output.put(byte),
            None => self.output.push(byte),
        }
        if !self.pattern.is_empty() {
            if self.host_output.is_some() {
                self.output.push(byte);
                let excess = self.output.len().saturating_sub(self.pattern.len());
                self.output.drain(..excess);
            }
            self.pattern_seen |= self.output.ends_with(&self.pattern);
        }
    }

    /// Hands what was printed so far to the terminal.
    pub fn flush(&mut self) {
        if let Some(output) = &mut self.host_output {
            let _ = output.writer.flush();
        }
    }

    /// Everything the guest printed so far (of a buffer console).
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// [`Console::output`] as text; bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// What it has given and received so far, for [`Console::rewind`].
    pub fn mark(&self) -> Mark {
        Mark {
            input: self.input.clone(),
            output: self.output.len(),
        }
    }

    /// Takes back the input and output of a buffer console since a mark; what a terminal showed, it has shown.
    pub fn rewind(&mut self, mark: &Mark) {
        self.input.clone_from(&mark.input);
        self.output.truncate(mark.output);
    }

    /// Sets the text whose next appearance in the output makes [`Console::take_pattern_seen`] true; empty for none.
    pub fn set_pattern(&mut self, pattern: &str) {
        self.pattern = pattern.as_bytes().to_vec();
        self.pattern_seen = false;
    }

    /// Whether the pattern has appeared since the last call.
    pub fn take_pattern_seen(&mut self) -> bool {
        std::mem::take(&mut self.pattern_seen)
    }

    fn poll(&mut self) {
        while let Some(source) = &self.source {
            match source.try_recv() {
                Ok(key) => self.accept(key),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => self.source = None,
            }
        }
    }

    fn accept(&mut self, key: Key) {
        match key {
            Key::Byte(byte) => self.input.push_back(byte),
            Key::Quit => self.quit = true,
        }
    }
}

/// The program's standard output. A guest ends lines with carriage return and line feed, for a terminal; the host's lines end
/// with a line feed, to which its terminal adds what it needs.
struct HostOutput<W = io::Stdout> {
    writer: W,
    /// A carriage return that is not written yet: a line feed may follow.
    held: bool,
}

impl<W: Write> HostOutput<W> {
    fn new(writer: W) -> Self {
        HostOutput { writer, held: false }
    }

    fn put(&mut self, byte: u8) -> io::Result<()> {
        if std::mem::take(&mut self.held) && byte != b'\n' {
            self.writer.write_all(b"\r")?;
        }
        self.held = byte == b'\r';
        if self.held {
            return Ok(());
        }
        self.writer.write_all(&[byte])
    }
}

/// The settings that the terminal gets back when the console is dropped.
struct RawTerminal(Termios);

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // Nothing is left to do when the terminal has gone away.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_console_keeps_output_and_never_waits() {
        let mut console = Console::buffer();
        assert!(!console.wait_for_input());
        console.push_input(b"ab");
        assert!(console.wait_for_input());
        assert_eq!(
            (console.take_input(), console.take_input(), console.take_input()),
            (Some(b'a'), Some(b'b'), None)
        );
        console.put(b'x');
        assert_eq!(console.text(), "x");
    }

    #[test]
    fn lines_end_as_the_host_s_do() {
        let mut output = HostOutput::new(Vec::new());
        for byte in b"one\r\n\r\r\ntwo\rthree\r\n" {
            output.put(*byte).unwrap();
        }
        assert_eq!(output.writer, b"one\n\r\ntwo\rthree\n");
    }

    #[test]
    fn a_pattern_is_seen_when_its_last_character_is_printed() {
        let mut console = Console::buffer();
        console.put(b'o');
        console.set_pattern("ok");
        console.put(b'k');
        assert!(console.take_pattern_seen());
        assert!(!console.take_pattern_seen());
        console.put(b'k');
        assert!(!console.take_pattern_seen());
    }
}
