//! What the fuzzer asks of a board beyond what the other tests do.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use capability::{Permissions, morello as morello_format, riscv as riscv_format};
use machine::Stop;
use machine::morello::{self, Special};
use machine::riscv::{self, Privilege, special};
use tools::Architecture;

use crate::board::Board;

/// A capability as memory holds it: low word, high word, tag.
pub(super) type Raw = (u64, u64, bool);

/// Hostcalls of all cVMs, one by one.
#[derive(Clone, Debug, Default)]
pub(super) struct Followed {
    /// How often each was made, by number.
    pub(super) made: BTreeMap<u64, u64>,
    /// Where the registers of those are saved that have not come back, and where they go on.
    pub(super) open: BTreeSet<(u64, u64)>,
}

/// A board at the moment to which it goes back.
pub(super) enum Snapshot {
    CheriRiscv(Box<riscv::Snapshot>),
    Morello(Box<morello::Snapshot>),
}

/// A register that can hold a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    /// General register.
    General(u8),
    /// Special capability register of CHERI-RISC-V.
    Riscv(u8),
    /// Special register of Morello.
    Morello(&'static str),
}

impl Register {
    /// The switcher's, which works in the Executive state: no cVM reaches it.
    pub(super) const TRUSTED_STACK: Register = Register::Morello("CSP_EL0");

    /// Whether only the monitor can reach it.
    pub(super) fn is_privileged(self) -> bool {
        match self {
            Register::General(_) => false,
            Register::Riscv(number) => number >= special::MTCC,
            Register::Morello(name) => ["_EL1", "_EL2", "_EL3"].iter().any(|level| name.ends_with(level)),
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Register::General(number) => write!(formatter, "c{number}"),
            Register::Riscv(special::PCC) => formatter.write_str("pcc"),
            Register::Riscv(special::DDC) => formatter.write_str("ddc"),
            Register::Riscv(number) => write!(formatter, "special {number}"),
            Register::Morello(name) => formatter.write_str(name),
        }
    }
}

/// The exception that a program in user mode caused last, interrupts and hostcalls aside: address of the instruction.
pub(super) type LastFault = Rc<Cell<Option<u64>>>;

impl Board {
    /// Takes a snapshot, which replaces the last one.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        match self {
            Board::CheriRiscv(board) => Snapshot::CheriRiscv(Box::new(board.snapshot())),
            Board::Morello(board) => Snapshot::Morello(Box::new(board.snapshot())),
        }
    }

    /// Goes back to the snapshot.
    pub(super) fn restore(&mut self, snapshot: &Snapshot) {
        match (self, snapshot) {
            (Board::CheriRiscv(board), Snapshot::CheriRiscv(snapshot)) => board.restore(snapshot),
            (Board::Morello(board), Snapshot::Morello(snapshot)) => board.restore(snapshot),
            _ => unreachable!("a snapshot of another board"),
        }
    }

    /// What must not have changed outside of the memory and has.
    pub(super) fn changed_since(&self, snapshot: &Snapshot) -> Vec<String> {
        match (self, snapshot) {
            (Board::CheriRiscv(board), Snapshot::CheriRiscv(snapshot)) => board.changed_since(snapshot),
            (Board::Morello(board), Snapshot::Morello(snapshot)) => board.changed_since(snapshot),
            _ => unreachable!("a snapshot of another board"),
        }
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, nanoseconds: u64) {
        match self {
            Board::CheriRiscv(board) => board.pass(nanoseconds),
            Board::Morello(board) => board.pass(nanoseconds),
        }
    }

    /// Runs for this many instructions, or until the core waits for an interrupt, if that is asked for; or until a
    /// hostcall that is followed has come back.
    pub(super) fn run_on(&mut self, instructions: u64, idle: bool, followed: Option<&mut Followed>) -> Stop {
        let mut at = (self.pc(0), self.in_user_mode(0));
        macro_rules! run {
            ($isa:ident, $board:ident, $in_user_mode:expr, $frame:expr, $instruction:expr, $number:expr) => {{
                let (in_user_mode, frame) = ($in_user_mode, $frame);
                let mut condition = followed.map(|followed| {
                    move |board: &$isa::Board| {
                        let now = (board.pc(0), in_user_mode(board));
                        let (pc, was_in_user_mode) = std::mem::replace(&mut at, now);
                        let word = || board.memory().offset(pc, 4).map(|word| board.memory().read(word));
                        match (was_in_user_mode, now.1) {
                            (true, false) if word() == Some(u32::to_le_bytes($instruction)) => {
                                followed.open.insert((frame(board), pc + 4));
                                let number = board.register(0, $number).address();
                                *followed.made.entry(number).or_default() += 1;
                                false
                            }
                            (false, true) => followed.open.remove(&(frame(board), now.0)),
                            _ => false,
                        }
                    }
                });
                $board.run($isa::Until {
                    idle,
                    condition: condition.as_mut().map(|condition| condition as _),
                    ..$isa::Until::exit(instructions)
                })
            }};
        }
        match self {
            Board::CheriRiscv(board) => run!(
                riscv,
                board,
                |board: &riscv::Board| board.privilege(0) == Privilege::User,
                |board: &riscv::Board| board.special_register(0, special::MSCRATCHC).base(),
                super::riscv::CALL,
                super::riscv::NUMBER
            ),
            Board::Morello(board) => run!(
                morello,
                board,
                |board: &morello::Board| board.exception_level(0) == 0,
                |board: &morello::Board| board.special_register(0, Special::Csp(1)).address() + 48,
                super::morello::CALL,
                super::morello::NUMBER
            ),
        }
    }

    /// Bounds of a capability in a general register.
    pub(super) fn general_bounds(&self, number: u8) -> Range<u64> {
        let what = match self {
            Board::CheriRiscv(board) => board.register(0, number).decode(),
            Board::Morello(board) => board.register(0, number).decode(),
        };
        what.base..u64::try_from(what.top).unwrap_or(u64::MAX)
    }

    /// Number of tags in a range of the RAM.
    pub(super) fn tags_in(&self, range: Range<u64>) -> usize {
        let memory = self.memory();
        let granules = range.step_by(16).filter_map(|address| memory.offset(address, 16));
        granules.filter(|offset| memory.tag(*offset)).count()
    }

    /// Counts what cVMs execute at these addresses.
    pub(super) fn begin_coverage(&mut self, range: Range<u64>) {
        match self {
            Board::CheriRiscv(board) => board.begin_coverage(range),
            Board::Morello(board) => board.begin_coverage(range),
        }
    }

    /// How much was counted.
    pub(super) fn covered(&self) -> u64 {
        match self {
            Board::CheriRiscv(board) => board.covered(),
            Board::Morello(board) => board.covered(),
        }
    }

    /// What was counted, by instruction.
    pub(super) fn coverage(&self) -> BTreeMap<&'static str, u64> {
        match self {
            Board::CheriRiscv(board) => board.coverage(),
            Board::Morello(board) => board.coverage(),
        }
    }

    /// Notes faults in user mode from now on.
    pub(super) fn note_faults(&mut self) -> LastFault {
        const ECALL: u64 = 8;
        const INTERRUPT: u64 = 1 << 63;
        // A hostcall, and the first use of vector registers in a while: the monitor loads them.
        const NO_FAULTS: [u32; 2] = [0x15, 0x07];
        let noted = LastFault::default();
        let note = noted.clone();
        match self {
            Board::CheriRiscv(board) => board.set_trap_hook(move |_, record| {
                let cause = record.trap.cause;
                if record.from == Privilege::User && cause != ECALL && cause & INTERRUPT == 0 {
                    note.set(Some(record.address));
                }
            }),
            Board::Morello(board) => board.set_exception_hook(move |_, record| {
                let is_fault = record
                    .syndrome
                    .is_some_and(|syndrome| !NO_FAULTS.contains(&(syndrome >> 26)));
                if record.from == 0 && is_fault {
                    note.set(Some(record.pc));
                }
            }),
        }
        noted
    }

    /// Every tagged register of the first core.
    pub(super) fn tagged(&self) -> Vec<(Register, Raw)> {
        let mut found = Vec::new();
        match self {
            Board::CheriRiscv(board) => {
                let general = (1..32).map(|number| (Register::General(number), board.register(0, number)));
                let special = special::ALL
                    .into_iter()
                    .map(|number| (Register::Riscv(number), board.special_register(0, number)));
                let tagged = general.chain(special).filter(|(_, what)| what.tag());
                found.extend(tagged.map(|(name, what)| (name, with_tag(what.to_memory(), true))));
            }
            Board::Morello(board) => {
                let general = (0..31).map(|number| (Register::General(number), board.register(0, number)));
                let special = Special::ALL
                    .into_iter()
                    .map(|(name, which)| (Register::Morello(name), board.special_register(0, which)));
                let tagged = general.chain(special).filter(|(_, what)| what.tag());
                found.extend(tagged.map(|(name, what)| (name, with_tag(what.to_memory(), true))));
            }
        }
        found
    }

    /// Every capability in a register that the running cVM can use.
    pub(super) fn holdings(&self) -> Vec<Raw> {
        let all = self.tagged().into_iter();
        all.filter(|(register, _)| !register.is_privileged() && *register != Register::TRUSTED_STACK)
            .map(|(_, what)| what)
            .collect()
    }

    /// The address of the program counter in saved registers, see [`Board::saved_registers`].
    pub(super) fn saved_program_counter(&self, frame: &Range<u64>) -> u64 {
        let place = match self {
            Board::CheriRiscv(_) => 0,
            Board::Morello(_) => 31 * 16,
        };
        let word = self.memory().offset(frame.start + place, 8);
        word.map_or(0, |offset| u64::from_le_bytes(self.memory().read(offset)))
    }

    /// The integer registers that the running cVM can read, and vector registers in halves.
    pub(super) fn readable_words(&self) -> Vec<u64> {
        match self {
            Board::CheriRiscv(board) => (1..32)
                .flat_map(|number| {
                    let (low, high) = board.register(0, number).to_memory();
                    [low, high]
                })
                .collect(),
            Board::Morello(board) => {
                let general = (0..31).map(|number| board.register(0, number));
                let special = [
                    Special::RestrictedCsp,
                    Special::RestrictedCtpidr,
                    Special::CtpidrReadOnly,
                ];
                let special = special.into_iter().map(|which| board.special_register(0, which));
                let words = general.chain(special).flat_map(|what| {
                    let (low, high) = what.to_memory();
                    [low, high]
                });
                words.collect()
            }
        }
    }

    /// A general register as an integer.
    pub(super) fn general(&self, number: u8) -> u64 {
        match self {
            Board::CheriRiscv(board) => board.register(0, number).address(),
            Board::Morello(board) => board.register(0, number).address(),
        }
    }

    /// Puts a capability or an integer into a general register.
    pub(super) fn set_general(&mut self, number: u8, (low, high, tag): Raw) {
        match self {
            Board::CheriRiscv(board) => {
                board.set_register(0, number, riscv_format::Capability::from_memory(low, high, tag));
            }
            Board::Morello(board) => {
                board.set_register(0, number, morello_format::Capability::from_memory(low, high, tag));
            }
        }
    }

    /// Goes on in capability mode, as the running cVM can do itself by a jump; on Morello the program does it.
    pub(super) fn enter_capability_mode(&mut self) {
        if let Board::CheriRiscv(board) = self {
            let pcc = board.special_register(0, special::PCC).set_flags(1);
            board.set_special_register(0, special::PCC, pcc);
        }
    }
}

pub(super) fn with_tag((low, high): (u64, u64), tag: bool) -> Raw {
    (low, high, tag)
}

/// How a capability is derived from another one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Derivation {
    pub(super) base: u64,
    pub(super) length: u64,
    pub(super) permissions: Permissions,
    pub(super) address: u64,
    pub(super) sentry: bool,
}

/// The integer as a register holds it.
pub(super) fn integer(arch: Architecture, value: u64) -> Raw {
    let words = match arch {
        Architecture::CheriRiscv => riscv_format::Capability::from_integer(value).to_memory(),
        Architecture::Morello => morello_format::Capability::from_integer(value).to_memory(),
    };
    with_tag(words, false)
}

/// What the instructions of the architecture would make of the parent; without a tag where they would refuse.
pub(super) fn derive(arch: Architecture, (low, high, tag): Raw, how: &Derivation) -> Raw {
    macro_rules! derive {
        ($format:ident) => {{
            let parent = $format::Capability::from_memory(low, high, tag);
            let bounded = parent
                .restrict(how.base, how.length, how.permissions, false)
                .unwrap_or(parent);
            let moved = bounded.set_address(how.address);
            let child = if how.sentry { moved.seal_entry() } else { moved };
            with_tag(child.to_memory(), child.tag())
        }};
    }
    match arch {
        Architecture::CheriRiscv => derive!(riscv_format),
        Architecture::Morello => derive!(morello_format),
    }
}

/// A capability as the checks look at it.
pub(super) fn decode(arch: Architecture, (low, high, tag): Raw) -> capability::Decoded {
    match arch {
        Architecture::CheriRiscv => riscv_format::Capability::from_memory(low, high, tag).decode(),
        Architecture::Morello => morello_format::Capability::from_memory(low, high, tag).decode(),
    }
}
