//! A scan for tags at any instant: outside of local areas, no memory of a cVM holds a tag that reaches beyond its family. And
//! what the monitor counts (`holding`) is what the scan finds.

use abi::hostcall::{Holding, HoldingKind};
use abi::{Errno, Hostcall};
use capability::{Decoded, Permissions};
use machine::Stop;
use std::ops::Range;
use tools::Architecture;

use super::board::{Register, decode, integer};
use super::case::hostcall;
use super::setup::{Owner, Setup};

/// Most instructions of one hostcall, with whoever comes in between.
const CALL: u64 = 200_000;

/// Looks for each scan: a number that nothing keeps in step with.
const EVERY: u64 = 13;

/// What scans have seen.
#[derive(Clone, Debug, Default)]
pub struct Scanned {
    /// Moments at which there could be one, and how many there were.
    pub looks: u64,
    /// See above.
    pub scans: u64,
    /// Foreign capabilities in local areas, in all.
    pub foreign: u64,
    /// How often the monitor's count was compared with the scan's, and how often it was more than none, of buffers and of
    /// what was passed by gates.
    pub compared: u64,
    /// See above.
    pub buffers: u64,
    /// See above.
    pub passed: u64,
}

impl Setup {
    fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.layout.neighbours.iter().chain([&self.layout.subject])
    }

    /// Every tag in a range, by address.
    fn tags(&self, range: Range<u64>) -> impl Iterator<Item = (u64, Decoded)> {
        let (memory, arch) = (self.board.memory(), self.platform.arch());
        range.step_by(16).filter_map(move |address| {
            let offset = memory.offset(address, 16).filter(|offset| memory.tag(*offset))?;
            Some((address, decode(arch, memory.read_granule(offset))))
        })
    }

    /// Looks through all memory of all cVMs, and through all buffers.
    pub(super) fn scan(&self, scanned: &mut Scanned) -> Vec<String> {
        let mut found = Vec::new();
        scanned.looks += 1;
        if !scanned.looks.is_multiple_of(EVERY) {
            return found;
        }
        scanned.scans += 1;
        for owner in self.owners() {
            // What lies within another one's memory is that one's, too.
            let around = self.owners().filter(|other| other.memory.contains(&owner.memory.start));
            let family: Vec<_> = around.map(|owner| &owner.memory).collect();
            for (address, what) in self.tags(owner.memory.clone()) {
                let own = family.iter().any(|memory| reaches_into(memory, &what));
                let is_area = self.owners().any(|other| {
                    let inside = owner.memory.contains(&other.memory.start);
                    inside && (other.keeps(address) || other.service_stack.contains(&address))
                });
                scanned.foreign += u64::from(!own && is_area);
                if !own && (!is_area || what.permissions.contains(Permissions::GLOBAL)) {
                    found.push(format!("scan: {} holds {what} at {address:#x}", owner.name));
                }
            }
        }
        for buffer in &self.layout.buffers {
            let tags = self.tags(buffer.clone());
            found.extend(tags.map(|(address, what)| format!("scan: a buffer holds {what} at {address:#x}")));
        }
        found
    }

    /// What of a range the family of the fuzzed cVM holds: in registers and local areas, and at most as much more in records of
    /// gates. `None` while a thread is between two cVMs.
    fn held(&self, range: &Range<u64>) -> Option<(u64, u64)> {
        let subject = &self.layout.subject;
        let reaching = |place: Range<u64>| {
            let tags = self.tags(place);
            tags.filter(|(_, what)| what.base < range.end && u128::from(range.start) < what.top)
                .count() as u64
        };
        let mut frames: Vec<_> = self.owners().flat_map(|owner| owner.frames.iter().cloned()).collect();
        frames.sort_by_key(|frame| frame.start);
        frames.dedup();
        let mut count = 0;
        for frame in frames {
            let pc = self.board.saved_program_counter(&frame);
            let acting = self.owners().find(|owner| owner.memory.contains(&pc));
            match acting {
                Some(owner) if owner.name == subject.name => count += reaching(frame),
                Some(_) => {}
                // No thread of a cVM that has ended, or one on its way.
                None if self.tags(frame).next().is_none() => {}
                None => return None,
            }
        }
        let areas = subject.areas.iter().cloned();
        let count = count + areas.map(reaching).sum::<u64>();
        Some((count, count + reaching(self.layout.gates.clone())))
    }

    /// Makes the running program, which is the fuzzed cVM's, ask the monitor for what it has.
    fn ask(&mut self, index: u64) -> Option<Result<Holding, u64>> {
        let pc = self.board.pc(0);
        let text = self.layout.text.clone();
        if !self.board.in_user_mode(0) || !text.contains(&(pc + 8)) || !pc.is_multiple_of(4) {
            return None;
        }
        let arch = self.platform.arch();
        let [_, call] = hostcall(arch, Hostcall::Holding as u32);
        self.board.write_memory(pc, &call.to_le_bytes());
        let place = self.layout.subject.memory.end - 64;
        let id = self.layout.neighbours.len() as u64;
        let arguments = [place - self.sources.bias, Holding::SIZE as u64, id, index];
        let (first, number) = match arch {
            Architecture::CheriRiscv => (10, 17),
            Architecture::Morello => (0, 8),
        };
        // What it holds where the arguments go, it moves out of the way first.
        let held = self.board.tagged().into_iter();
        let held =
            held.filter(|(register, _)| (first..first + 4).any(|argument| *register == Register::General(argument)));
        let held: Vec<_> = held.map(|(_, what)| what).collect();
        for (register, what) in (22..).zip(held) {
            self.board.set_general(register, what);
        }
        for (register, value) in (first..).zip(arguments) {
            self.board.set_general(register, integer(arch, value));
        }
        self.board.set_general(number, integer(arch, Hostcall::Holding as u64));
        if self.board.run_into_user_mode(CALL, |at| at == pc + 4) != Stop::Condition {
            return None;
        }
        let result = self.board.general(first);
        let offset = self.board.memory().offset(place, Holding::SIZE)?;
        let bytes = self.board.memory().bytes(offset, Holding::SIZE);
        let holding = Holding::from_bytes(bytes.try_into().ok()?);
        Some(if result == Holding::SIZE as u64 {
            Ok(holding)
        } else {
            Err(result)
        })
    }

    /// Compares what the monitor counts with what a scan finds, when the fuzzed cVM runs and can ask. Not where several of its
    /// threads execute the program, which could take an answer for theirs.
    pub(super) fn compare(&mut self, scanned: &mut Scanned) -> Vec<String> {
        let mut found = Vec::new();
        if self.kind.is_followed() {
            return found;
        }
        for index in 0.. {
            // The first time its registers get to where they are saved, and nobody comes in between until the second time.
            let Some(Ok(_)) = self.ask(index) else { break };
            let before = self.ledger_of_scan();
            let Some(answer) = self.ask(index) else { break };
            let Ok(holding) = answer else {
                found.push(format!("scan: holding {index} is refused: {answer:?}"));
                break;
            };
            let Some(range) = self.range_of(&holding) else { continue };
            let (Some(before), Some(after)) = (before, self.ledger_of_scan()) else {
                continue;
            };
            let Some((least, most)) = self.held(&range).filter(|_| before == after) else {
                continue;
            };
            scanned.compared += 1;
            let any = u64::from(holding.held > 0);
            if holding.kind == HoldingKind::Buffer as u32 {
                scanned.buffers += any;
            } else {
                scanned.passed += any;
            }
            if !(least..=most).contains(&holding.held) {
                found.push(format!(
                    "scan: {least} to {most} of {range:x?}, the monitor says {holding:?}"
                ));
            }
        }
        if let Some(Err(error)) = self.ask(u64::MAX) {
            let known = [Errno::ENOENT, Errno::EFAULT].map(Errno::to_result);
            if !known.contains(&error) {
                found.push(format!(
                    "scan: no holding with the last index, and the result {error:#x}"
                ));
            }
        }
        found
    }

    /// The counts of everything that is compared.
    fn ledger_of_scan(&self) -> Option<Vec<(u64, u64)>> {
        let others = self.layout.neighbours.iter().map(|owner| &owner.memory);
        others
            .chain(&self.layout.buffers)
            .map(|range| self.held(range))
            .collect()
    }

    /// The memory that a holding is about.
    fn range_of(&self, holding: &Holding) -> Option<Range<u64>> {
        let cvm = holding.cvm as usize;
        if holding.kind == HoldingKind::Passed as u32 {
            return self.layout.neighbours.get(cvm).map(|owner| owner.memory.clone());
        }
        let region = match cvm {
            cvm if cvm == self.layout.neighbours.len() => self.layout.buffers.last()?,
            _ => self.layout.buffers.first()?,
        };
        // The first buffer of each lies at the start; of the others it is not known where.
        let first = holding.kind == HoldingKind::Buffer as u32 && holding.number & 0xf == 0;
        first.then(|| region.start..region.start + holding.size)
    }
}

fn reaches_into(memory: &Range<u64>, what: &Decoded) -> bool {
    memory.start <= what.base && what.top <= u128::from(memory.end)
}
