//! The CHERI-RISC-V board as a debugger sees it.

use capability::riscv::Capability;

use super::guest::{Guest, Kind, Register};
use crate::console::Console;
use crate::riscv::{Board, Privilege, Until, special};
use crate::stop::Stop;

/// Names of the integer registers (RISC-V calling convention), and of the capabilities that they are parts of.
const NAMES: [&str; 32] = [
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "fp", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "s2",
    "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
];
const CORE: &str = "org.gnu.gdb.riscv.cpu";
const CHERI: &str = "org.gnu.gdb.riscv.cheri";
const MACHINE: &str = "intravisor.machine";

/// Numbers of the registers behind the general ones.
const PC: usize = 32;
const CAPABILITIES: usize = 33;
const TAGS: usize = CAPABILITIES + 32 + SPECIAL.len();
const PRIVILEGE: usize = TAGS + 1;
const CSRS: usize = PRIVILEGE + 1;

/// Special capability registers with their names.
const SPECIAL: [(&str, u8); 6] = [
    ("pcc", special::PCC),
    ("ddc", special::DDC),
    ("mtcc", special::MTCC),
    ("mtdc", special::MTDC),
    ("mscratchc", special::MSCRATCHC),
    ("mepcc", special::MEPCC),
];
/// CSRs with their names.
const CSR: [(&str, u16); 6] = [
    ("mstatus", 0x300),
    ("mie", 0x304),
    ("mcause", 0x342),
    ("mtval", 0x343),
    ("mip", 0x344),
    ("mccsr", 0xbc0),
];

/// The processor that a debugger works with.
const CORE_NUMBER: usize = 0;

fn bits(capability: &Capability) -> u128 {
    let (low, high) = capability.to_memory();
    u128::from(high) << 64 | u128::from(low)
}

/// The capability in a register, when it holds one.
fn capability(board: &Board, number: usize) -> Option<Capability> {
    let index = number.checked_sub(CAPABILITIES)?;
    match index {
        0..32 => Some(board.register(CORE_NUMBER, index as u8)),
        _ => SPECIAL
            .get(index - 32)
            .map(|(_, number)| board.special_register(CORE_NUMBER, *number)),
    }
}

impl Guest for Board {
    const ARCHITECTURE: &'static str = "riscv:rv64";

    fn list() -> Vec<Register> {
        let integers = NAMES.iter().enumerate().map(|(number, name)| {
            let kind = match number {
                1 => Kind::Code,
                2..=4 | 8 => Kind::Data,
                _ => Kind::Integer,
            };
            Register::new(CORE, *name, kind)
        });
        let capabilities = NAMES.iter().enumerate().map(|(number, name)| {
            let name = if number == 0 {
                "cnull".to_owned()
            } else {
                format!("c{name}")
            };
            Register::new(CHERI, name, Kind::Capability)
        });
        let special = SPECIAL
            .iter()
            .map(|(name, _)| Register::new(CHERI, *name, Kind::Capability));
        let csrs = CSR.iter().map(|(name, _)| Register::new(MACHINE, *name, Kind::Integer));
        integers
            .chain([Register::new(CORE, "pc", Kind::Code)])
            .chain(capabilities)
            .chain(special)
            .chain([
                Register::new(MACHINE, "tags", Kind::Integer),
                Register::new(MACHINE, "privilege", Kind::Integer),
            ])
            .chain(csrs)
            .collect()
    }

    fn get(&self, number: usize) -> u128 {
        match number {
            0..PC => self.register(CORE_NUMBER, number as u8).address().into(),
            PC => self.pc(CORE_NUMBER).into(),
            TAGS => (CAPABILITIES..TAGS)
                .filter(|number| capability(self, *number).is_some_and(|capability| capability.tag()))
                .map(|number| 1 << (number - CAPABILITIES))
                .sum(),
            PRIVILEGE => match self.privilege(CORE_NUMBER) {
                Privilege::User => 0,
                Privilege::Machine => 3,
            },
            CSRS.. => CSR
                .get(number - CSRS)
                .map_or(0, |(_, csr)| self.csr(CORE_NUMBER, *csr).into()),
            _ => capability(self, number).map_or(0, |capability| bits(&capability)),
        }
    }

    fn set(&mut self, number: usize, value: u128) -> bool {
        match number {
            1..PC => self.set_register(CORE_NUMBER, number as u8, Capability::from_integer(value as u64)),
            PC => {
                let pcc = self.special_register(CORE_NUMBER, special::PCC);
                self.set_special_register(CORE_NUMBER, special::PCC, pcc.set_address(value as u64));
            }
            CAPABILITIES..TAGS => {
                let index = number - CAPABILITIES;
                let value = Capability::from_memory(value as u64, (value >> 64) as u64, false);
                match index {
                    1..32 => self.set_register(CORE_NUMBER, index as u8, value),
                    // Without its tag PCC could execute nothing, and the others belong to the monitor.
                    _ => return false,
                }
            }
            _ => return false,
        }
        true
    }

    fn describe(&self, number: usize) -> Option<String> {
        let number = if number < PC { CAPABILITIES + number } else { number };
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
        let capability = self.read_capability(address & !15)?;
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
