//! The console's input: lines that have come and nobody has read yet, and Ctrl-C, which is a signal to those who have the console.

use crate::Platform;
use crate::deliver::bit;
use crate::program::Sent;
use crate::system::System;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use linux_raw_sys::general as sys;

/// Most bytes that wait to be read; what comes then is lost.
const LIMIT: usize = 64 * 1024;

/// What has come from the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// A line, its end included.
    Line(&'a [u8]),
    /// The end of the input (Ctrl-D).
    End,
    /// Ctrl-C.
    Interrupt,
}

/// What nobody has read yet.
#[derive(Debug, Default)]
pub(crate) struct Console {
    bytes: VecDeque<u8>,
    ended: bool,
    /// The process that has read last.
    pub(crate) reader: u32,
}

impl Console {
    /// Whether whoever reads does not have to wait.
    pub(crate) fn is_ready(&self) -> bool {
        self.ended || !self.bytes.is_empty()
    }

    /// Takes a line, or as much of it as there is room for: 0 bytes at the end of the input, none as long as there is nothing.
    pub(crate) fn take(&mut self, to: &mut [u8]) -> Option<usize> {
        if self.bytes.is_empty() {
            return core::mem::take(&mut self.ended).then_some(0);
        }
        let mut count = 0;
        while count < to.len() && !to[..count].ends_with(b"\n") {
            let Some(byte) = self.bytes.pop_front() else { break };
            to[count] = byte;
            count += 1;
        }
        Some(count)
    }
}

impl System {
    /// Something has come from the console.
    pub fn input<P: Platform>(&mut self, platform: &mut P, input: Input<'_>) {
        let console = &mut self.shared.console;
        match input {
            Input::Line(bytes) => {
                let room = LIMIT.saturating_sub(console.bytes.len());
                console.bytes.extend(bytes.iter().take(room));
                self.shared.stirred = true;
            }
            Input::End => {
                console.ended = true;
                self.shared.stirred = true;
            }
            Input::Interrupt => self.interrupt_foreground(platform),
        }
        self.settle(platform);
    }

    /// Ctrl-C: a signal to all processes of the group that has the console; where nobody has said which one that is, of the process
    /// that has read last.
    fn interrupt_foreground<P: Platform>(&mut self, platform: &mut P) {
        let processes = &self.shared.processes;
        let reader = processes.get(self.shared.console.reader);
        let group = match processes.foreground {
            0 => reader.map_or(0, |process| process.group),
            group => group,
        };
        let targets: Vec<u32> = processes.of_group(group).collect();
        for id in targets {
            let found = self.programs.iter().find(|(_, program)| program.id == id);
            let Some((key, program)) = found else { continue };
            let (key, client) = (*key, program.client);
            let blocked = program
                .threads
                .values()
                .all(|thread| thread.blocked & bit(sys::SIGINT) != 0);
            let ends = program.action(sys::SIGINT).handler() == 0 && !blocked;
            if ends && !self.slots.contains_key(&client) {
                self.end_alone(platform, key, client);
            } else {
                self.shared.signals.push((id, Sent::plain(sys::SIGINT)));
            }
        }
    }

    /// Ends a program that is in a cVM of its own by this signal.
    fn end_alone<P: Platform>(&mut self, platform: &mut P, key: u32, client: u32) {
        let mut waiting = self
            .shared
            .waiting
            .iter()
            .filter(|waiting| waiting.who.client == client);
        let known = waiting.find_map(|waiting| waiting.token);
        let token = known.map_or_else(|| platform.seize(crate::Who { client, thread: 0 }), Ok);
        if let Ok(token) = token {
            platform.end(token, Some(crate::spawn::code(sys::SIGINT)));
            self.finish(platform, key, sys::SIGINT, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_gets_one_line_and_an_end_is_told_once() {
        let mut console = Console::default();
        let mut bytes = [0; 4];
        assert_eq!(console.take(&mut bytes), None);
        console.bytes.extend(b"one\ntwo");
        console.ended = true;
        assert_eq!((console.take(&mut bytes), &bytes), (Some(4), b"one\n"));
        assert_eq!(console.take(&mut bytes[..2]), Some(2));
        assert_eq!(console.take(&mut bytes), Some(1));
        assert!(console.is_ready());
        assert_eq!((console.take(&mut bytes), console.take(&mut bytes)), (Some(0), None));
    }
}
