//! What the library for gdb's remote protocol asks of a target.

use std::marker::PhantomData;
use std::net::TcpStream;

use gdbstub::arch::{Arch, RegId, Registers};
use gdbstub::common::Signal;
use gdbstub::conn::{Connection, ConnectionExt as _};
use gdbstub::stub::SingleThreadStopReason;
use gdbstub::stub::run_blocking::{BlockingEventLoop, Event, WaitForStopReasonError};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::single_register_access::{SingleRegisterAccess, SingleRegisterAccessOps};
use gdbstub::target::ext::base::singlethread::{
    SingleThreadBase, SingleThreadResume, SingleThreadResumeOps, SingleThreadSingleStep, SingleThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps, SwBreakpoint,
    SwBreakpointOps, WatchKind,
};
use gdbstub::target::ext::libraries::{Libraries as LibraryList, LibrariesOps};
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps, outputln};
use gdbstub::target::ext::target_description_xml_override::{
    TargetDescriptionXmlOverride, TargetDescriptionXmlOverrideOps,
};
use gdbstub::target::{self, TargetError, TargetResult};

use super::guest::{Guest, Register, description};
use super::libraries::Libraries;
use crate::stop::Stop;

/// Instructions between two looks at the debugger's connection.
const SLICE: u64 = 1_000_000;
/// As long as a program's place is not known: the monitor prints it, and soon afterwards the program runs.
const SHORT_SLICE: u64 = 1_000;

/// The loop of a session.
pub(super) struct Loop<'a, G>(PhantomData<&'a G>);

/// The architecture of a board: all is told at run time.
pub(super) struct Description<G>(PhantomData<G>);

impl<G: Guest> Arch for Description<G> {
    type Usize = u64;
    type Registers = Values;
    type BreakpointKind = usize;
    type RegId = Number;
}

/// The number of a register.
#[derive(Debug)]
pub(super) struct Number(usize);

impl RegId for Number {
    fn from_raw_id(id: usize) -> Option<(Number, Option<std::num::NonZeroUsize>)> {
        // The length of the register is known to who reads it.
        Some((Number(id), None))
    }
}

/// All registers, one behind the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Values {
    bytes: Vec<u8>,
    pc: u64,
}

impl Registers for Values {
    type ProgramCounter = u64;

    fn pc(&self) -> u64 {
        self.pc
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        for byte in &self.bytes {
            write_byte(Some(*byte));
        }
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.bytes = bytes.to_vec();
        Ok(())
    }
}

/// A part of memory that is watched: for a change of its bytes or of a tag in it.
struct Watch {
    address: u64,
    length: u64,
    bytes: Vec<u8>,
    tags: Vec<bool>,
}

impl Watch {
    fn new<G: Guest>(board: &G, address: u64, length: u64) -> Option<Watch> {
        let length = usize::try_from(length)
            .ok()
            .filter(|length| (1..=4096).contains(length))?;
        let bytes = board.bytes(address, length)?.to_vec();
        let mut watch = Watch {
            address,
            length: length as u64,
            bytes,
            tags: Vec::new(),
        };
        watch.tags = watch.tags(board).collect();
        Some(watch)
    }

    fn tags<'a, G: Guest>(&self, board: &'a G) -> impl Iterator<Item = bool> + use<'a, G> {
        let (first, last) = (self.address & !15, self.address + self.length);
        (first..last)
            .step_by(16)
            .map(|address| board.granule(address).is_some_and(|(tag, _)| tag))
    }

    /// Whether something in it has changed; it watches for the next change then.
    fn changed<G: Guest>(&mut self, board: &G) -> bool {
        let same = board.bytes(self.address, self.bytes.len()) == Some(&self.bytes)
            && self.tags(board).eq(self.tags.iter().copied());
        if !same && let Some(now) = Watch::new(board, self.address, self.length) {
            *self = now;
        }
        !same
    }
}

/// A debugger's session with a board.
pub(super) struct Session<'a, G: Guest> {
    board: &'a mut G,
    registers: Vec<Register>,
    description: String,
    breakpoints: Vec<u64>,
    watches: Vec<Watch>,
    /// Whether the next go is one instruction.
    stepping: bool,
    libraries: Libraries,
    /// Whether the debugger has not been told yet that there are more of them.
    found: bool,
    /// How the run ended, when it did.
    ended: Option<Stop>,
}

impl<'a, G: Guest> Session<'a, G> {
    pub(super) fn new(board: &'a mut G, libraries: Libraries) -> Session<'a, G> {
        board.console().keep_printed(libraries.are_looking());
        Session {
            board,
            registers: G::list(),
            description: description::<G>(),
            breakpoints: Vec::new(),
            watches: Vec::new(),
            stepping: false,
            // A debugger asks for the list when it connects, and reads the files when it is told that there are any.
            found: !libraries.is_empty(),
            libraries,
            ended: None,
        }
    }

    /// The debugger has left: the run goes on without it, to its end.
    pub(super) fn end(self) -> Stop {
        match self.ended {
            Some(stop) => stop,
            None => loop {
                match self.board.go(u64::MAX, &[], None) {
                    Stop::Limit | Stop::Breakpoint { .. } | Stop::Condition => {}
                    stop => break stop,
                }
            },
        }
    }

    /// Runs for a while; why it stopped, when it did.
    fn advance(&mut self) -> Option<SingleThreadStopReason<u64>> {
        if !self.stepping && std::mem::take(&mut self.found) {
            return Some(SingleThreadStopReason::Library(()));
        }
        let limit = match self.libraries.are_looking() {
            _ if self.stepping => 1,
            true => SHORT_SLICE,
            false => SLICE,
        };
        let mut seen = None;
        let stop = if self.watches.is_empty() {
            self.board.go(limit, &self.breakpoints, None)
        } else {
            let watches = &mut self.watches;
            let mut look = |board: &G| {
                // All are looked at, so that each watches for its next change.
                for watch in watches.iter_mut() {
                    if watch.changed(board) {
                        seen.get_or_insert(watch.address);
                    }
                }
                seen.is_some()
            };
            self.board.go(limit, &self.breakpoints, Some(&mut look))
        };
        if self.libraries.are_looking() {
            let printed = self.board.console().take_printed();
            self.found |= self.libraries.listen(&printed);
            self.board.console().keep_printed(self.libraries.are_looking());
        }
        if let Some(addr) = seen {
            return Some(SingleThreadStopReason::Watch {
                tid: (),
                kind: WatchKind::Write,
                addr,
            });
        }
        match stop {
            Stop::Limit if self.stepping => Some(SingleThreadStopReason::DoneStep),
            Stop::Limit | Stop::Condition => None,
            Stop::Breakpoint { .. } => Some(SingleThreadStopReason::SwBreak(())),
            Stop::Exit(status) => {
                self.ended = Some(Stop::Exit(status));
                Some(SingleThreadStopReason::Exited(status))
            }
            stop => {
                eprintln!("cheri-machine: {stop}");
                self.ended = Some(stop);
                Some(SingleThreadStopReason::Terminated(Signal::SIGABRT))
            }
        }
    }

    fn number_of(&self, name: &str) -> Option<usize> {
        self.registers.iter().position(|register| register.name == name)
    }

    /// A number as a person types it: decimal or with `0x`.
    fn address(text: &str) -> Option<u64> {
        match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        }
    }
}

impl<G: Guest> target::Target for Session<'_, G> {
    type Arch = Description<G>;
    type Error = String;

    fn base_ops(&mut self) -> BaseOps<'_, Self::Arch, Self::Error> {
        BaseOps::SingleThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }

    fn support_libraries(&mut self) -> Option<LibrariesOps<'_, Self>> {
        Some(self)
    }

    fn support_target_description_xml_override(&mut self) -> Option<TargetDescriptionXmlOverrideOps<'_, Self>> {
        Some(self)
    }
}

impl<G: Guest> TargetDescriptionXmlOverride for Session<'_, G> {
    fn target_description_xml(
        &self,
        annex: &[u8],
        offset: u64,
        length: usize,
        buf: &mut [u8],
    ) -> TargetResult<usize, Self> {
        if annex != b"target.xml" {
            return Err(TargetError::NonFatal);
        }
        Ok(part(&self.description, offset, length, buf))
    }
}

impl<G: Guest> LibraryList for Session<'_, G> {
    fn get_libraries(&self, offset: u64, length: usize, buf: &mut [u8]) -> TargetResult<usize, Self> {
        Ok(part(&self.libraries.xml(), offset, length, buf))
    }
}

/// Copies the part of a text that a debugger asks for; how long it is.
fn part(all: &str, offset: u64, length: usize, buf: &mut [u8]) -> usize {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(all.len());
    let part = &all.as_bytes()[start..all.len().min(start.saturating_add(length.min(buf.len())))];
    buf[..part.len()].copy_from_slice(part);
    part.len()
}

impl<G: Guest> SingleThreadBase for Session<'_, G> {
    fn read_registers(&mut self, values: &mut Values) -> TargetResult<(), Self> {
        values.pc = self.board.next();
        values.bytes.clear();
        for (number, register) in self.registers.iter().enumerate() {
            let bits = self.board.get(number).to_le_bytes();
            values.bytes.extend(&bits[..register.kind.bytes()]);
        }
        Ok(())
    }

    fn write_registers(&mut self, values: &Values) -> TargetResult<(), Self> {
        let mut rest = &values.bytes[..];
        for (number, register) in self.registers.iter().enumerate() {
            let Some((bytes, behind)) = rest.split_at_checked(register.kind.bytes()) else {
                break;
            };
            rest = behind;
            let mut word = [0; 16];
            word[..bytes.len()].copy_from_slice(bytes);
            let value = u128::from_le_bytes(word);
            // Only what differs: a register that is written loses its tag, and some cannot be written.
            if self.board.get(number) != value && !self.board.set(number, value) {
                return Err(TargetError::NonFatal);
            }
        }
        Ok(())
    }

    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, (), Self>> {
        Some(self)
    }

    fn read_addrs(&mut self, address: u64, data: &mut [u8]) -> TargetResult<usize, Self> {
        // As many as there are.
        let length = (0..=data.len())
            .rev()
            .find(|length| self.board.bytes(address, *length).is_some())
            .filter(|length| *length > 0)
            .ok_or(TargetError::NonFatal)?;
        let bytes = self.board.bytes(address, length).ok_or(TargetError::NonFatal)?;
        data[..length].copy_from_slice(bytes);
        Ok(length)
    }

    fn write_addrs(&mut self, address: u64, data: &[u8]) -> TargetResult<(), Self> {
        if self.board.write(address, data) {
            Ok(())
        } else {
            Err(TargetError::NonFatal)
        }
    }

    fn support_resume(&mut self) -> Option<SingleThreadResumeOps<'_, Self>> {
        Some(self)
    }
}

impl<G: Guest> SingleRegisterAccess<()> for Session<'_, G> {
    fn read_register(&mut self, (): (), Number(number): Number, buf: &mut [u8]) -> TargetResult<usize, Self> {
        let register = self.registers.get(number).ok_or(TargetError::NonFatal)?;
        let length = register.kind.bytes();
        let place = buf.get_mut(..length).ok_or(TargetError::NonFatal)?;
        place.copy_from_slice(&self.board.get(number).to_le_bytes()[..length]);
        Ok(length)
    }

    fn write_register(&mut self, (): (), Number(number): Number, value: &[u8]) -> TargetResult<(), Self> {
        let register = self.registers.get(number).ok_or(TargetError::NonFatal)?;
        let mut word = [0; 16];
        let place = word.get_mut(..value.len()).ok_or(TargetError::NonFatal)?;
        place.copy_from_slice(value);
        if value.len() == register.kind.bytes() && self.board.set(number, u128::from_le_bytes(word)) {
            Ok(())
        } else {
            Err(TargetError::NonFatal)
        }
    }
}

impl<G: Guest> SingleThreadResume for Session<'_, G> {
    fn resume(&mut self, _signal: Option<Signal>) -> Result<(), String> {
        self.stepping = false;
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<SingleThreadSingleStepOps<'_, Self>> {
        Some(self)
    }
}

impl<G: Guest> SingleThreadSingleStep for Session<'_, G> {
    fn step(&mut self, _signal: Option<Signal>) -> Result<(), String> {
        self.stepping = true;
        Ok(())
    }
}

impl<G: Guest> Breakpoints for Session<'_, G> {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl<G: Guest> SwBreakpoint for Session<'_, G> {
    fn add_sw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        if !self.breakpoints.contains(&address) {
            self.breakpoints.push(address);
        }
        Ok(true)
    }

    fn remove_sw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        let before = self.breakpoints.len();
        self.breakpoints.retain(|other| *other != address);
        Ok(self.breakpoints.len() < before)
    }
}

impl<G: Guest> HwBreakpoint for Session<'_, G> {
    fn add_hw_breakpoint(&mut self, address: u64, kind: usize) -> TargetResult<bool, Self> {
        self.add_sw_breakpoint(address, kind)
    }

    fn remove_hw_breakpoint(&mut self, address: u64, kind: usize) -> TargetResult<bool, Self> {
        self.remove_sw_breakpoint(address, kind)
    }
}

impl<G: Guest> HwWatchpoint for Session<'_, G> {
    fn add_hw_watchpoint(&mut self, address: u64, length: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        // The machine sees what has changed, not what was read.
        let watch = (kind == WatchKind::Write)
            .then(|| Watch::new(self.board, address, length))
            .flatten();
        let added = watch.is_some();
        self.watches.extend(watch);
        Ok(added)
    }

    fn remove_hw_watchpoint(&mut self, address: u64, length: u64, _kind: WatchKind) -> TargetResult<bool, Self> {
        let before = self.watches.len();
        self.watches
            .retain(|watch| (watch.address, watch.length) != (address, length));
        Ok(self.watches.len() < before)
    }
}

const HELP: &str = "\
monitor capability NAME       a register's capability in words; without NAME those of all registers with a tag
monitor granule ADDRESS       the capability in the 16 bytes at an address";

impl<G: Guest> MonitorCmd for Session<'_, G> {
    fn handle_monitor_cmd(&mut self, command: &[u8], mut out: ConsoleOutput<'_>) -> Result<(), String> {
        let command = String::from_utf8_lossy(command);
        let words: Vec<&str> = command.split_whitespace().collect();
        let told = match words[..] {
            ["capability"] => {
                let tags = self.number_of("tags").map_or(0, |number| self.board.get(number));
                let capabilities = (0..self.registers.len())
                    .filter(|number| self.registers[*number].kind == super::Kind::Capability)
                    .enumerate()
                    .filter(|(index, _)| tags >> index & 1 == 1);
                for (_, number) in capabilities {
                    if let Some(text) = self.board.describe(number) {
                        outputln!(out, "{:<10} {text}", self.registers[number].name);
                    }
                }
                return Ok(());
            }
            ["capability", name] => match self.number_of(name).map(|number| self.board.describe(number)) {
                Some(Some(text)) => text,
                Some(None) => format!("{name} holds no capability"),
                None => format!("there is no register {name}"),
            },
            ["granule", address] => match Self::address(address).map(|address| self.board.granule(address)) {
                Some(Some((_, text))) => text,
                Some(None) => format!("{address} is not in RAM"),
                None => format!("{address} is no address; expected decimal or 0x and hexadecimal digits"),
            },
            _ => HELP.to_owned(),
        };
        outputln!(out, "{told}");
        Ok(())
    }
}

impl<'a, G: Guest> BlockingEventLoop for Loop<'a, G> {
    type Target = Session<'a, G>;
    type Connection = TcpStream;
    type StopReason = SingleThreadStopReason<u64>;

    fn wait_for_stop_reason(
        session: &mut Self::Target,
        connection: &mut TcpStream,
    ) -> Result<Event<Self::StopReason>, WaitForStopReasonError<String, <TcpStream as Connection>::Error>> {
        loop {
            if let Some(reason) = session.advance() {
                return Ok(Event::TargetStopped(reason));
            }
            if connection.peek().map_err(WaitForStopReasonError::Connection)?.is_some() {
                let byte = connection.read().map_err(WaitForStopReasonError::Connection)?;
                return Ok(Event::IncomingData(byte));
            }
        }
    }

    fn on_interrupt(_session: &mut Self::Target) -> Result<Option<Self::StopReason>, String> {
        Ok(Some(SingleThreadStopReason::Signal(Signal::SIGINT)))
    }
}
