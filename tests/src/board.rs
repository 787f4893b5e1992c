//! One face of the embedded machine's boards: what the tests ask of either.

use std::ops::Range;

use capability::{Decoded, Permissions, morello as morello_format, riscv as riscv_format};
use machine::morello::{self, Special};
use machine::riscv::{self, Privilege, special};
use machine::virtio::{Device, NoSlot};
use machine::{Console, Stay, Stop, TaggedMemory};

/// A board of the embedded machine.
pub enum Board {
    /// CHERI-RISC-V.
    CheriRiscv(Box<riscv::Board>),
    /// Morello.
    Morello(Box<morello::Board>),
}

/// Does the same with either board.
macro_rules! either {
    ($board:expr, $inner:ident => $body:expr) => {
        match $board {
            Board::CheriRiscv($inner) => $body,
            Board::Morello($inner) => $body,
        }
    };
}

impl Board {
    /// Runs until the guest ends the run, or for this many instructions.
    pub fn run(&mut self, instructions: u64) -> Stop {
        match self {
            Board::CheriRiscv(board) => board.run(riscv::Until::exit(instructions)),
            Board::Morello(board) => board.run(morello::Until::exit(instructions)),
        }
    }

    /// Runs to the instruction at `address`.
    ///
    /// # Errors
    /// How the run ended instead, also when `limit` instructions did not lead there.
    pub fn run_to(&mut self, address: u64, limit: u64) -> Result<(), Stop> {
        either!(self, board => board.run_to(address, limit))
    }

    /// As [`Board::run`], or until `pattern` appears on the console.
    pub fn run_to_pattern(&mut self, instructions: u64, pattern: &str) -> Stop {
        match self {
            Board::CheriRiscv(board) => board.run(riscv::Until::exit(instructions).or_pattern(pattern)),
            Board::Morello(board) => board.run(morello::Until::exit(instructions).or_pattern(pattern)),
        }
    }

    /// As [`Board::run`], or until the first core is about to execute an instruction of a cVM, at an address for which
    /// `wanted` holds.
    pub fn run_into_user_mode(&mut self, instructions: u64, mut wanted: impl FnMut(u64) -> bool) -> Stop {
        match self {
            Board::CheriRiscv(board) => {
                let mut condition = |board: &riscv::Board| board.privilege(0) == Privilege::User && wanted(board.pc(0));
                board.run(riscv::Until {
                    condition: Some(&mut condition),
                    ..riscv::Until::exit(instructions)
                })
            }
            Board::Morello(board) => {
                let mut condition = |board: &morello::Board| board.exception_level(0) == 0 && wanted(board.pc(0));
                board.run(morello::Until {
                    condition: Some(&mut condition),
                    ..morello::Until::exit(instructions)
                })
            }
        }
    }

    /// Puts a device into the next virtio slot.
    ///
    /// # Errors
    /// There is no slot for it.
    pub fn attach(&mut self, device: impl Into<Device>) -> Result<usize, NoSlot> {
        either!(self, board => board.attach(device))
    }

    /// The console.
    pub fn console(&self) -> &Console {
        either!(self, board => board.console())
    }

    /// Types at the console.
    pub fn inject_input(&mut self, bytes: &[u8]) {
        either!(self, board => board.inject_input(bytes));
    }

    /// Virtual time in nanoseconds.
    pub fn time(&self) -> u64 {
        either!(self, board => board.time())
    }

    /// Instructions of all cores.
    pub fn total_instructions(&self) -> u64 {
        either!(self, board => board.total_instructions())
    }

    /// Instructions of one core.
    pub fn instructions(&self, core: usize) -> u64 {
        either!(self, board => board.instructions(core))
    }

    /// The longest stay of the first core in the monitor since the first cVM ran.
    pub fn longest_stay(&self) -> Stay {
        either!(self, board => board.longest_stay(0))
    }

    /// Number of harts or CPUs.
    pub fn cores(&self) -> usize {
        either!(self, board => board.cores())
    }

    /// Address of the next instruction of a core.
    pub fn pc(&self, core: usize) -> u64 {
        either!(self, board => board.pc(core))
    }

    /// Whether a core runs a cVM: U mode, EL0.
    pub fn in_user_mode(&self, core: usize) -> bool {
        match self {
            Board::CheriRiscv(board) => board.privilege(core) == Privilege::User,
            Board::Morello(board) => board.exception_level(core) == 0,
        }
    }

    /// The RAM with its tags.
    pub fn memory(&self) -> &TaggedMemory {
        either!(self, board => board.memory())
    }

    /// The RAM, to change it.
    pub fn memory_mut(&mut self) -> &mut TaggedMemory {
        either!(self, board => board.memory_mut())
    }

    /// Overwrites bytes of the RAM as a device would.
    ///
    /// # Panics
    /// They are not all in RAM.
    pub fn write_memory(&mut self, address: u64, bytes: &[u8]) {
        let written = either!(self, board => board.write_memory(address, bytes));
        written.unwrap_or_else(|| panic!("{address:#x} is not in RAM"));
    }

    /// Every tagged granule of the RAM and what it holds.
    pub fn tagged_memory(&self) -> Vec<(u64, Decoded)> {
        either!(self, board => board.tagged_capabilities().map(|(address, what)| (address, what.decode())).collect())
    }

    /// Every register of a core that holds a tagged capability, by name.
    pub fn tagged_registers(&self, core: usize) -> Vec<(String, Decoded)> {
        either!(self, board => board.tagged_registers(core).map(|(name, what)| (name, what.decode())).collect())
    }

    /// Where a core that runs a cVM will save the cVM's registers: addresses of all that hold what belongs to it.
    pub fn saved_registers(&self, core: usize) -> Range<u64> {
        match self {
            // The program counter, c1 to c31 and DDC; behind them are capabilities of the monitor.
            Board::CheriRiscv(board) => {
                let frame = board.special_register(core, special::MSCRATCHC).base();
                frame..frame + 33 * 16
            }
            // c0 to c30, the program counter, and stack pointer, DDC, thread pointers and CID of a cVM's bank.
            Board::Morello(board) => {
                let frame = board.special_register(core, Special::Csp(1)).address() + 48;
                frame..frame + 37 * 16
            }
        }
    }

    /// Whether only the monitor can reach this register of [`Board::tagged_registers`].
    pub fn is_privileged(&self, register: &str) -> bool {
        match self {
            Board::CheriRiscv(_) => ["mtcc", "mtdc", "mscratchc", "mepcc"].contains(&register.to_lowercase().as_str()),
            Board::Morello(_) => ["_EL1", "_EL2", "_EL3"].iter().any(|level| register.ends_with(level)),
        }
    }

    /// Puts a capability with these bounds and permissions into the RAM; a multiple of 16 as address.
    pub fn plant(&mut self, address: u64, what: &Decoded) {
        let (low, high) = match self {
            Board::CheriRiscv(_) => riscv_capability(what).to_memory(),
            Board::Morello(_) => morello_capability(what).to_memory(),
        };
        let memory = self.memory_mut();
        let offset = memory
            .offset(address, 16)
            .unwrap_or_else(|| panic!("{address:#x} is not in RAM"));
        memory.write_granule(offset, low, high, true);
    }

    /// Puts a capability with this address, these bounds and permissions into a general register of a core.
    pub fn plant_in_register(&mut self, core: usize, number: u8, what: &Decoded) {
        match self {
            Board::CheriRiscv(board) => board.set_register(core, number, riscv_capability(what)),
            Board::Morello(board) => board.set_register(core, number, morello_capability(what)),
        }
    }

    /// The capability over everything.
    pub fn root(&self) -> Decoded {
        match self {
            Board::CheriRiscv(_) => riscv_format::Capability::ROOT.decode(),
            Board::Morello(_) => morello_format::Capability::ROOT.decode(),
        }
    }
}

/// Bounds and permissions as the formats' `restrict` wants them; `None` for the whole address space.
fn restriction(what: &Decoded) -> Option<(u64, u64, Permissions)> {
    Some((what.base, u64::try_from(what.length()).ok()?, what.permissions))
}

fn riscv_capability(what: &Decoded) -> riscv_format::Capability {
    let root = riscv_format::Capability::ROOT;
    let restricted = restriction(what).map_or(Ok(root), |(base, length, permissions)| {
        root.restrict(base, length, permissions, true)
    });
    restricted.expect("bounds of a capability").set_address(what.address)
}

fn morello_capability(what: &Decoded) -> morello_format::Capability {
    let root = morello_format::Capability::ROOT;
    let restricted = restriction(what).map_or(Ok(root), |(base, length, permissions)| {
        root.restrict(base, length, permissions, true)
    });
    restricted.expect("bounds of a capability").set_address(what.address)
}
