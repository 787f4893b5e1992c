//! The Morello board as a debugger sees it.

use capability::morello::Capability;

use super::guest::{Guest, Kind, Register};
use crate::console::Console;
use crate::morello::{Board, Special, Until};
use crate::stop::Stop;

const CORE: &str = "org.gnu.gdb.aarch64.core";
const CHERI: &str = "org.gnu.gdb.aarch64.capability";
const MACHINE: &str = "intravisor.machine";

/// Numbers of the registers behind the general ones.
const SP: usize = 31;
const PC: usize = 32;
const CPSR: usize = 33;
const CAPABILITIES: usize = 34;
const TAGS: usize = CAPABILITIES + 31 + SPECIAL.len();
const LEVEL: usize = TAGS + 1;
const SYNDROMES: usize = LEVEL + 1;

/// Special capability registers with their names. The first three are those of the current exception level and bank.
const SPECIAL: [(&str, Option<Special>); 13] = [
    ("csp", None),
    ("pcc", Some(Special::Pcc)),
    ("ddc", None),
    ("csp_el0", Some(Special::Csp(0))),
    ("ddc_el0", Some(Special::Ddc(0))),
    ("ctpidr", Some(Special::Ctpidr(0))),
    ("rcsp", Some(Special::RestrictedCsp)),
    ("rddc", Some(Special::RestrictedDdc)),
    ("rctpidr", Some(Special::RestrictedCtpidr)),
    ("cid", Some(Special::CompartmentId)),
    ("celr_el1", Some(Special::Celr(1))),
    ("cvbar_el1", Some(Special::Cvbar(1))),
    ("csp_el1", Some(Special::Csp(1))),
];
const SYNDROME: [&str; 2] = ["esr_el1", "far_el1"];

/// PSTATE.SP: the stack pointer of the current exception level, not that of EL0.
const OWN_STACK: u32 = 1;
/// Permission Executive of PCC: the registers of the Executive bank, not the Restricted one.
const EXECUTIVE: u32 = 1 << 1;

/// The processor that a debugger works with.
const CORE_NUMBER: usize = 0;

fn bits(capability: &Capability) -> u128 {
    let (low, high) = capability.to_memory();
    u128::from(high) << 64 | u128::from(low)
}

/// The level whose stack pointer and DDC are in use; `None` = the Restricted bank.
fn bank(board: &Board) -> Option<u8> {
    let pcc = board.special_register(CORE_NUMBER, Special::Pcc);
    if !pcc.has_permission_bits(EXECUTIVE) {
        return None;
    }
    Some(if board.pstate(CORE_NUMBER) & OWN_STACK == 0 {
        0
    } else {
        board.exception_level(CORE_NUMBER)
    })
}

fn stack_pointer(board: &Board) -> Special {
    bank(board).map_or(Special::RestrictedCsp, Special::Csp)
}

/// The capability in a register, when it holds one.
fn capability(board: &Board, number: usize) -> Option<Capability> {
    let index = number.checked_sub(CAPABILITIES)?;
    if index < 31 {
        return Some(board.register(CORE_NUMBER, index as u8));
    }
    let which = match SPECIAL.get(index - 31)? {
        (_, Some(which)) => *which,
        ("csp", None) => stack_pointer(board),
        (_, None) => bank(board).map_or(Special::RestrictedDdc, Special::Ddc),
    };
    Some(board.special_register(CORE_NUMBER, which))
}

impl Guest for Board {
    const ARCHITECTURE: &'static str = "aarch64";

    fn list() -> Vec<Register> {
        let integers = (0..31).map(|number| Register::new(CORE, format!("x{number}"), Kind::Integer));
        let capabilities = (0..31).map(|number| Register::new(CHERI, format!("c{number}"), Kind::Capability));
        let special = SPECIAL
            .iter()
            .map(|(name, _)| Register::new(CHERI, *name, Kind::Capability));
        integers
            .chain([
                Register::new(CORE, "sp", Kind::Data),
                Register::new(CORE, "pc", Kind::Code),
                Register::new(CORE, "cpsr", Kind::Short),
            ])
            .chain(capabilities)
            .chain(special)
            .chain([
                Register::new(MACHINE, "tags", Kind::Integer),
                Register::new(MACHINE, "level", Kind::Integer),
            ])
            .chain(SYNDROME.map(|name| Register::new(MACHINE, name, Kind::Integer)))
            .collect()
    }

    fn get(&self, number: usize) -> u128 {
        match number {
            0..SP => self.register(CORE_NUMBER, number as u8).address().into(),
            SP => self.special_register(CORE_NUMBER, stack_pointer(self)).address().into(),
            PC => self.pc(CORE_NUMBER).into(),
            CPSR => self.pstate(CORE_NUMBER).into(),
            TAGS => (CAPABILITIES..TAGS)
                .filter(|number| capability(self, *number).is_some_and(|capability| capability.tag()))
                .map(|number| 1 << (number - CAPABILITIES))
                .sum(),
            LEVEL => self.exception_level(CORE_NUMBER).into(),
            SYNDROMES => self.esr(CORE_NUMBER, 1).into(),
            _ if number == SYNDROMES + 1 => self.far(CORE_NUMBER, 1).into(),
            _ => capability(self, number).map_or(0, |capability| bits(&capability)),
        }
    }

    fn set(&mut self, number: usize, value: u128) -> bool {
        let (number, value) = match number {
            0..SP => (number, Capability::from_integer(value as u64)),
            CAPABILITIES.. if number < CAPABILITIES + 31 => (
                number - CAPABILITIES,
                Capability::from_memory(value as u64, (value >> 64) as u64, false),
            ),
            // Without its tag none of the special registers could do what it is for.
            _ => return false,
        };
        self.set_register(CORE_NUMBER, number as u8, value);
        true
    }

    fn describe(&self, number: usize) -> Option<String> {
        let number = if number < SP { CAPABILITIES + number } else { number };
        capability(self, number).map(|capability| capability.decode().to_string())
    }

    fn console(&mut self) -> &mut Console {
        self.console_mut()
    }

    fn next(&self) -> u64 {
        self.pc(CORE_NUMBER)
    }

    fn bytes(&self, address: u64, length: usize) -> Option<&[u8]> {
        self.read_memory(address, length)
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> bool {
        self.write_memory(address, bytes).is_some()
    }

    fn granule(&self, address: u64) -> Option<(bool, String)> {
        let capability = self.read_capability(address)?;
        Some((capability.tag(), capability.decode().to_string()))
    }

    fn go<'a>(&mut self, limit: u64, breakpoints: &'a [u64], seen: Option<&'a mut dyn FnMut(&Self) -> bool>) -> Stop {
        self.run(Until {
            limit: Some(limit),
            breakpoints,
            condition: seen,
            ..Until::default()
        })
    }
}
