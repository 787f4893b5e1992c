//! Tracing for a person: each instruction with what it changed, each trap with what was tried.

use std::fmt;

use capability::riscv::Capability;

use super::bus::Bus;
use super::code;
use super::disassemble::disassemble;
use super::hart::{Hart, Privilege, special};
use super::operation::Kind;
use super::trap::{REGISTER_PCC, Trap, special_register_name};

/// One executed instruction.
#[derive(Clone, Debug)]
pub struct Step {
    /// Number of the hart.
    pub core: usize,
    /// Privilege mode it was executed in.
    pub privilege: Privilege,
    /// Whether it was executed in capability mode.
    pub capability_mode: bool,
    /// Its address.
    pub address: u64,
    /// The instruction as far as it could be fetched; the upper half is 0 for a compressed one.
    pub instruction: Option<u32>,
    /// General, special and floating-point registers that it changed, the last as integers.
    pub changes: Vec<(String, Capability)>,
    /// The trap that it took instead of completing.
    pub trap: Option<TrapRecord>,
    before: Vec<Capability>,
    trapped: u64,
}

/// All registers that a trace shows, in the order of their names.
fn registers(hart: &Hart) -> Vec<Capability> {
    let general = (0..32).map(|number| hart.registers.capability(number));
    let special = special::ALL[1..]
        .iter()
        .map(|number| hart.special[usize::from(*number)]);
    let floats = hart.floats.values.map(Capability::from_integer);
    general.chain(special).chain(floats).collect()
}

fn name(index: usize) -> String {
    match index {
        0..32 => format!("c{index}"),
        _ => match special::ALL.get(index - 31) {
            Some(number) => special_register_name(*number).to_owned(),
            None => format!("f{}", index - 31 - special::ALL.len()),
        },
    }
}

impl Step {
    /// What is known before the instruction at the hart's program counter is executed.
    pub(super) fn before(hart: &Hart, bus: &Bus) -> Self {
        Step {
            core: hart.id,
            privilege: hart.privilege,
            capability_mode: hart.capability_mode(),
            address: hart.pc,
            instruction: hart.fetch(bus).ok(),
            changes: Vec::new(),
            trap: None,
            before: registers(hart),
            trapped: hart.trapped,
        }
    }

    /// Adds what is known after it.
    fn complete(&mut self, hart: &Hart) {
        let after = registers(hart);
        let pairs = self.before.drain(..).zip(after).enumerate();
        self.changes = pairs
            .filter(|(_, (old, new))| old != new)
            .map(|(index, (_, new))| (name(index), new))
            .collect();
        self.trap = hart.last_trap.filter(|_| hart.trapped != self.trapped);
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let privilege = if self.privilege == Privilege::Machine { 'M' } else { 'U' };
        write!(f, "{}{privilege} {:#012x}  ", self.core, self.address)?;
        match self.instruction {
            Some(word) => {
                let operation = code::decode(word, self.capability_mode);
                let text = disassemble(word, self.capability_mode);
                if operation.length == 2 {
                    write!(f, "    {word:04x}  {text:<32}")?;
                } else {
                    write!(f, "{word:08x}  {text:<32}")?;
                }
            }
            None => write!(f, "{:<42}", "(no instruction)")?,
        }
        for (name, value) in &self.changes {
            match plain_integer(value) {
                Some(integer) => match name.strip_prefix('c') {
                    Some(number) => write!(f, " x{number}={integer:#x}")?,
                    None => write!(f, " {name}={integer:#x}")?,
                },
                None => write!(f, " {name}={}", value.decode())?,
            }
        }
        match &self.trap {
            Some(record) => write!(f, " => {}", record.trap),
            None => Ok(()),
        }
    }
}

/// The value of a register that holds nothing but an integer.
fn plain_integer(value: &Capability) -> Option<u64> {
    (*value == Capability::from_integer(value.address())).then_some(value.address())
}

/// What a trapping instruction tried to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// To load this many bytes at this address.
    Load(u64, u8),
    /// To store this many bytes at this address.
    Store(u64, u8),
    /// To go to this address.
    Jump(u64),
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attempt::Load(address, size) => write!(f, "load {size} bytes at {address:#x}"),
            Attempt::Store(address, size) => write!(f, "store {size} bytes at {address:#x}"),
            Attempt::Jump(address) => write!(f, "go to {address:#x}"),
        }
    }
}

/// A trap that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrapRecord {
    /// Cause and value, as `mcause` and `mtval` have them.
    pub trap: Trap,
    /// Address of the instruction that trapped, or of the next one for an interrupt.
    pub address: u64,
    /// What memory holds there, 4 bytes whatever the instruction's length; 0 for an interrupt.
    pub instruction: u32,
    /// Whether it was executed in capability mode.
    pub capability_mode: bool,
    /// Privilege before the trap.
    pub from: Privilege,
    /// The capability that a capability exception complains of.
    pub culprit: Option<Capability>,
    /// What the instruction tried to reach, where it is one that reaches anything.
    pub attempt: Option<Attempt>,
}

impl TrapRecord {
    /// What `trap` says of the hart as it is now, before the trap is taken.
    pub(super) fn new(hart: &Hart, trap: Trap, instruction: u32) -> Self {
        let illegal = trap == Trap::illegal();
        let culprit = trap.capability_fields().map(|(_, register)| match register {
            0..32 => hart.registers.capability(register),
            REGISTER_PCC => hart.program_counter(),
            special => hart.special[usize::from(special % 32)],
        });
        TrapRecord {
            trap: if illegal {
                Trap {
                    value: u64::from(instruction),
                    ..trap
                }
            } else {
                trap
            },
            address: hart.pc,
            instruction,
            capability_mode: hart.capability_mode(),
            from: hart.privilege,
            culprit,
            attempt: if instruction == 0 {
                None
            } else {
                attempt(hart, instruction)
            },
        }
    }
}

fn attempt(hart: &Hart, word: u32) -> Option<Attempt> {
    let operation = code::decode(word, hart.capability_mode());
    let base = hart.registers.integer(operation.rs1);
    if let Some(access) = operation.memory_access() {
        let relocation = if access.by_capability { 0 } else { hart.ddc_relocation };
        let address = base.wrapping_add(access.offset as u64).wrapping_add(relocation);
        let attempt = if access.store { Attempt::Store } else { Attempt::Load };
        return Some(attempt(address, access.size));
    }
    let offset = operation.imm as u64;
    Some(Attempt::Jump(match operation.kind {
        Kind::Jalr | Kind::JalrPcc => base.wrapping_add(offset).wrapping_add(hart.pcc_relocation()),
        Kind::Cjalr => base.wrapping_add(offset),
        Kind::CInvoke => base,
        Kind::Jal | Kind::Cjal | Kind::Beq | Kind::Bne | Kind::Blt | Kind::Bge | Kind::Bltu | Kind::Bgeu => {
            hart.pc.wrapping_add(offset)
        }
        _ => return None,
    }))
}

impl fmt::Display for TrapRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let privilege = if self.from == Privilege::Machine { 'M' } else { 'U' };
        write!(f, "{} in {privilege} mode at {:#x}", self.trap, self.address)?;
        if self.instruction != 0 {
            write!(f, ": {}", disassemble(self.instruction, self.capability_mode))?;
        }
        if let Some(attempt) = &self.attempt {
            write!(f, " tried to {attempt}")?;
        }
        match &self.culprit {
            Some(culprit) => write!(f, " by {}", culprit.decode()),
            None => Ok(()),
        }
    }
}

type TrapHook = Box<dyn FnMut(usize, &TrapRecord)>;
type StepHook = Box<dyn FnMut(&Step)>;

/// Who wants to hear of instructions and traps.
#[derive(Default)]
pub(super) struct Tracer {
    pub(super) steps: Option<StepHook>,
    pub(super) traps: Option<TrapHook>,
}

impl Tracer {
    pub(super) fn wants_steps(&self) -> bool {
        self.steps.is_some()
    }

    pub(super) fn wants_traps(&self) -> bool {
        self.traps.is_some()
    }

    pub(super) fn step(&mut self, mut step: Step, hart: &Hart) {
        step.complete(hart);
        if step.trap.is_some() {
            self.trap(hart);
        }
        if let Some(hook) = &mut self.steps {
            hook(&step);
        }
    }

    pub(super) fn trap(&mut self, hart: &Hart) {
        if let (Some(hook), Some(record)) = (&mut self.traps, &hart.last_trap) {
            hook(hart.id, record);
        }
    }
}
