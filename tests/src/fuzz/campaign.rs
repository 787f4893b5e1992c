//! Case after case until enough instructions have been executed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use abi::{Errno, Hostcall};
use machine::{Stop, morello, riscv};
use tools::Architecture;

use super::board::{Followed, decode};
use super::case::{Case, Mode, hostcall_registers, instruction, nop};
use super::check::Ending;
use super::random::Random;
use super::reduce::reduce;
use super::scan::Scanned;
use super::setup::{Kind, Setup};
use crate::platform::Platform;

/// Instructions of the fuzzed cVM in one run.
const BUDGET: u64 = 3000;
/// Instructions in one run, those of the monitor and of the neighbours included.
const WHOLE_BUDGET: u64 = 100_000;
/// Instructions between two looks at what goes on, roughly.
const STEP: u64 = 200;
/// Instructions in a row in which the fuzzed cVM, although nothing is left to do in the monitor, gets no turn.
const PATIENCE: u64 = 5000;
/// The same for one that is started again after a fault.
const RESTART: u64 = 100_000;
/// Instructions in the monitor after which it will never come back.
const STUCK: u64 = 20_000_000;
/// Times that a program is run again with another instruction in place of the one that ended it; in the second half of them
/// it is one that does nothing.
const REPAIRS: usize = 16;

/// Percentage of the faults that the monitor deals with to the end; the others are looked at as soon as it has begun.
const HANDLED: u64 = 10;

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Cases.
    pub cases: u64,
    /// Runs: a case is run again with another instruction in place of the one that faulted.
    pub runs: u64,
    /// Runs that ended in a fault.
    pub faults: u64,
    /// Instructions that the fuzzed cVM has executed.
    pub instructions: u64,
    /// Instructions in all, those of the monitor included.
    pub whole: u64,
    /// How often the fuzzed cVM has executed each instruction.
    pub coverage: BTreeMap<&'static str, u64>,
    /// Of a set-up with threads or several handlers: how often each hostcall was made by any cVM, by number.
    pub made: BTreeMap<u64, u64>,
    /// And how often one has come back to which cVM, by number, with which error; 0 is none.
    pub back: BTreeMap<(String, u64, u64), u64>,
    /// Threads that the calls of `wake` have woken.
    pub woken: u64,
    /// The threads of the fuzzed cVM that were seen running, by where their registers are saved.
    pub threads: BTreeSet<u64>,
}

impl Tally {
    /// How often this hostcall has come back to a cVM, without an error or with this one.
    pub fn back(&self, cvm: &str, call: Hostcall, error: Option<Errno>) -> u64 {
        let errno = error.map_or(0, |errno| errno.to_result().wrapping_neg());
        let key = (cvm.to_owned(), call as u64, errno);
        self.back.get(&key).copied().unwrap_or_default()
    }
}

/// The hostcalls.
impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |number: u64| Hostcall::ALL.into_iter().find(|call| *call as u64 == number);
        let known = |number| name(number).map_or(number.to_string(), |call| format!("{call:?}"));
        write!(formatter, "made:")?;
        for (number, count) in &self.made {
            write!(formatter, " {} {count},", known(*number))?;
        }
        writeln!(
            formatter,
            " by {} threads of the fuzzed cVM, which woke {}",
            self.threads.len(),
            self.woken
        )?;
        for ((cvm, number, errno), count) in &self.back {
            let error = Errno::from_result(errno.wrapping_neg());
            let result = error.map_or("a result".to_owned(), |error| format!("{error:?}"));
            writeln!(formatter, "{cvm}: {} with {result}: {count}", known(*number))?;
        }
        Ok(())
    }
}

/// A case after which something was not as it must be.
#[derive(Clone, Debug)]
pub struct Finding {
    platform: Platform,
    kind: Kind,
    seed: u64,
    number: u64,
    /// The case, made short.
    pub case: Case,
    /// What is wrong.
    pub violations: Vec<String>,
    at: u64,
}

/// One kind of image with one seed.
pub struct Campaign {
    /// The booted image.
    pub setup: Setup,
    seed: u64,
    /// Number of the next case.
    next: u64,
    /// What was done so far.
    pub tally: Tally,
    /// What scans for tags have seen, at every look, if that is wanted.
    pub scanned: Option<Scanned>,
}

/// What the machine calls the instructions that it knows on a platform.
pub fn known(platform: Platform) -> BTreeSet<&'static str> {
    match platform.arch() {
        Architecture::CheriRiscv => riscv::mnemonics(),
        Architecture::Morello => morello::encodings().map(|encoding| encoding.name).collect(),
    }
}

/// What came of one run.
struct Run {
    ending: Ending,
    fault: Option<u64>,
}

impl Campaign {
    /// Nothing done yet; the first case has the number `next`.
    pub fn new(setup: Setup, seed: u64, next: u64) -> Campaign {
        Campaign {
            setup,
            seed,
            next,
            tally: Tally::default(),
            scanned: None,
        }
    }

    /// The same, with a scan for tags at every look and a comparison with the monitor's ledger after every program.
    pub fn scanning(self) -> Campaign {
        Campaign {
            scanned: Some(Scanned::default()),
            ..self
        }
    }

    /// Runs cases until the fuzzed cVM has executed this many instructions in all, or something is found.
    ///
    /// # Errors
    /// The finding, reduced.
    pub fn run(&mut self, instructions: u64) -> Result<(), Box<Finding>> {
        while self.tally.instructions < instructions {
            self.next += 1;
            self.run_case(self.next - 1)?;
        }
        self.tally.coverage = self.setup.board.coverage();
        Ok(())
    }

    /// Runs the case with this number.
    ///
    /// # Errors
    /// The finding, reduced.
    pub fn run_case(&mut self, number: u64) -> Result<(), Box<Finding>> {
        let mut random = Random::new(&[self.seed, number]);
        let mut case = Case::random(&self.setup.sources, &mut random);
        self.tally.cases += 1;
        for attempt in 0..=REPAIRS {
            case.handled = case.restarts || random.chance(HANDLED);
            let (run, violations) = self.try_case(&case);
            if !violations.is_empty() {
                return Err(Box::new(self.finding(number, case, violations)));
            }
            let text = self.setup.layout.text.start;
            let culprit = run.fault.and_then(|address| {
                let index = usize::try_from(address.checked_sub(text)? / 4).ok()?;
                case.words.get_mut(index)
            });
            let arch = self.setup.platform.arch();
            match culprit {
                Some(word) if attempt >= REPAIRS / 2 => *word = nop(arch),
                Some(word) => *word = instruction(arch, &mut random),
                None => break,
            }
        }
        Ok(())
    }

    fn finding(&mut self, number: u64, case: Case, violations: Vec<String>) -> Finding {
        let case = reduce(&case, self.setup.platform.arch(), |candidate| {
            !self.try_case(candidate).1.is_empty()
        });
        let reduced = self.try_case(&case).1;
        Finding {
            platform: self.setup.platform,
            kind: self.setup.kind,
            seed: self.seed,
            number,
            case,
            violations: if reduced.is_empty() { violations } else { reduced },
            at: self.setup.layout.text.start,
        }
    }

    fn try_case(&mut self, case: &Case) -> (Run, Vec<String>) {
        self.setup.load(case);
        let mut scans = Vec::new();
        let run = self.execute(case, &mut scans);
        let mut violations = self.setup.violations(&run.ending);
        violations.append(&mut scans);
        if let Some(scanned) = self.scanned.as_mut().filter(|_| run.ending == Ending::Done) {
            violations.extend(self.setup.compare(scanned));
        }
        (run, violations)
    }

    /// Executes what is loaded.
    fn execute(&mut self, case: &Case, scans: &mut Vec<String>) -> Run {
        let board = &mut self.setup.board;
        let before = board.covered();
        let start = board.total_instructions();
        let (mut own, mut progress, mut last_life, mut step) = (0, 0, None, STEP);
        let mut followed = Followed {
            open: self.setup.open_calls(),
            ..Followed::default()
        };
        let ending = loop {
            // What is left to do for a program that has faulted is done when nobody has anything to do.
            if let Some(scanned) = &mut self.scanned {
                scans.extend(self.setup.scan(scanned));
                if !scans.is_empty() {
                    break Ending::Done;
                }
            }
            let board = &mut self.setup.board;
            let faulted = self.setup.fault.get().is_some();
            if faulted && !case.handled {
                break Ending::Done;
            }
            // Somebody who sleeps wakes when the next timer fires, and one who has faulted is given time for another life.
            let waited = board.total_instructions() - start - progress;
            let may_idle = if case.restarts {
                waited >= RESTART
            } else {
                faulted || waited >= PATIENCE
            };
            // Steps of ever other length do not keep in step with what others do again and again.
            step = step % STEP + STEP / 2 + 1;
            let followed = self.setup.kind.is_followed().then_some(&mut followed);
            match board.run_on(step, may_idle, followed) {
                Stop::Limit => {}
                Stop::Condition => {
                    self.note_return(scans);
                    if !scans.is_empty() {
                        break Ending::Done;
                    }
                }
                Stop::Idle if may_idle => break Ending::Done,
                stop => break Ending::Stopped(stop),
            }
            let board = &mut self.setup.board;
            let whole = board.total_instructions() - start;
            let now = board.covered() - before;
            if now != own {
                (own, progress) = (now, whole);
            }
            let spent = own >= BUDGET || whole >= WHOLE_BUDGET;
            if !board.in_user_mode(0) {
                // A program that asks again and again is never met outside of the monitor; else what is begun is finished.
                if spent && whole == progress {
                    break Ending::Done;
                }
                if whole - progress > STUCK {
                    break Ending::Stuck;
                }
                continue;
            }
            // Between a revocation and the next grant is a moment that hardly any run ends at.
            if self.setup.is_kept() {
                break Ending::Done;
            }
            // The next life spins, and needs no more than a moment to show that it is there.
            if faulted && last_life.is_none() {
                last_life = Some(own);
            }
            let lived = last_life.is_some_and(|then| !case.restarts || own > then + STEP / 10);
            let patience = if case.restarts { RESTART } else { PATIENCE };
            if lived || spent || whole - progress >= patience {
                break Ending::Done;
            }
        };
        let board = &self.setup.board;
        let whole = board.total_instructions() - start;
        let fault = self.setup.fault.get();
        for (number, count) in followed.made {
            *self.tally.made.entry(number).or_default() += count;
        }
        self.tally.runs += 1;
        self.tally.faults += u64::from(fault.is_some());
        self.tally.instructions += board.covered() - before;
        self.tally.whole += whole;
        Run { ending, fault }
    }
}

impl Campaign {
    /// A hostcall has come back.
    fn note_return(&mut self, found: &mut Vec<String>) {
        let (board, layout, tally) = (&self.setup.board, &self.setup.layout, &mut self.tally);
        let frame = board.saved_registers(0);
        let mut owners = layout.neighbours.iter().chain([&layout.subject]);
        let Some(owner) = owners.find(|owner| owner.frames.contains(&frame)) else {
            return;
        };
        let (number, result) = hostcall_registers(self.setup.platform.arch());
        let (number, result) = (board.general(number), board.general(result));
        let error = Errno::from_result(result);
        let errno = error.map_or(0, |_| result.wrapping_neg());
        *tally.back.entry((owner.name.clone(), number, errno)).or_default() += 1;
        if owner.name != layout.subject.name {
            return;
        }
        tally.threads.insert(frame.start);
        if number == Hostcall::Wake as u64 && error.is_none() {
            tally.woken += result;
        }
        if number == Hostcall::Defer as u64 && error.is_none() {
            self.setup.check_deferred(&frame, found);
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arch = self.platform.arch();
        let name = match self.platform {
            Platform::MachineV8 => "v8",
            Platform::MachineMorello => "morello",
            _ => "v9",
        };
        writeln!(
            formatter,
            "after case {} of seed {} on {}:",
            self.number, self.seed, self.platform
        )?;
        for violation in &self.violations {
            writeln!(formatter, "  {violation}")?;
        }
        writeln!(formatter, "the shortest program that does it:")?;
        let mut capability_mode = self.case.mode == Mode::Capability;
        for (index, word) in self.case.words.iter().enumerate() {
            let text = match arch {
                Architecture::CheriRiscv => riscv::disassemble(*word, capability_mode),
                Architecture::Morello => {
                    capability_mode ^= *word == super::morello::SWITCH;
                    morello::name(*word).to_owned()
                }
            };
            writeln!(formatter, "  {:#x}: {word:08x}  {text}", self.at + 4 * index as u64)?;
        }
        let start = match self.case.mode {
            Mode::Entered => "in the mode of its entry",
            Mode::Capability => "in capability mode",
        };
        writeln!(formatter, "which starts {start}, after {} ns", self.case.passed)?;
        if self.case.handled {
            writeln!(formatter, "  and whose fault the monitor deals with to the end")?;
        }
        for (number, value) in &self.case.registers {
            writeln!(formatter, "  with c{number} = {}", shown(arch, *value))?;
        }
        for (place, value) in &self.case.memory {
            writeln!(formatter, "  with [{place:#x}] = {}", shown(arch, *value))?;
        }
        write!(
            formatter,
            "again: scripts/fuzz isolation --arch {name} --setup {} --seed {} --case {}",
            self.kind, self.seed, self.number
        )
    }
}

fn shown(arch: Architecture, value: super::board::Raw) -> String {
    if value.2 {
        decode(arch, value).to_string()
    } else {
        format!("{:#x} {:#x}", value.0, value.1)
    }
}
