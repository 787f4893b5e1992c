//! A board with a few instructions, and registers set by the test.

use capability::morello::Capability;
use machine::Stop;
use machine::morello::{Board, Config, Special, Until};

/// Where the first instruction of a test is at EL1.
pub(crate) const CODE: u64 = 0x4008_0000 + 4 * PROLOGUE.len() as u64;
/// Where the first instruction of a test is at EL0.
pub(crate) const USER_CODE: u64 = CODE + 4 * DROP.len() as u64;
/// Memory that tests may use: 64 KiB, zero.
pub(crate) const DATA: u64 = 0x4100_0000;

const PROLOGUE: &[u32] = &[
    0xd2a0_0789, /* movz x9, #0x3c, lsl #16 */
    0xd518_1049, /* msr cpacr_el1, x9 */
    0xd503_3fdf, /* isb */
];

const DROP: &[u32] = &[
    0xd518_4009, /* msr spsr_el1, x9 */
    0xc288_402a, // msr celr_el1, c10
    0xd69f_03e0, /* eret */
];

/// Bits of GCPERM by name.
pub(crate) mod permission {
    pub(crate) const GLOBAL: u32 = 1;
    pub(crate) const EXECUTIVE: u32 = 1 << 1;
    pub(crate) const MUTABLE_LOAD: u32 = 1 << 6;
    pub(crate) const SYSTEM: u32 = 1 << 9;
    pub(crate) const STORE_LOCAL: u32 = 1 << 12;
    pub(crate) const STORE_CAPABILITY: u32 = 1 << 13;
    pub(crate) const LOAD_CAPABILITY: u32 = 1 << 14;
    pub(crate) const EXECUTE: u32 = 1 << 15;
    pub(crate) const STORE: u32 = 1 << 16;
    pub(crate) const LOAD: u32 = 1 << 17;
}

/// An exception as its handler sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) syndrome: u64,
    pub(crate) address: u64,
}

pub(crate) struct Lab {
    pub(crate) board: Board,
    end: u64,
}

impl Lab {
    /// At EL1, capabilities and SIMD&FP enabled, translation off.
    pub(crate) fn new(words: &[u32]) -> Self {
        let kernel = PROLOGUE
            .iter()
            .chain(words)
            .flat_map(|word| word.to_le_bytes())
            .collect();
        let mut board = Board::new(Config::new(kernel)).expect("the board");
        board.run_to(CODE, 100).expect("the prologue");
        Self {
            board,
            end: CODE + 4 * words.len() as u64,
        }
    }

    /// At EL0 with this PCC, which points to the test's code.
    pub(crate) fn at_el0(words: &[u32], pcc: Capability) -> Self {
        let all: Vec<u32> = DROP.iter().chain(words).copied().collect();
        let mut lab = Self::new(&all);
        lab.set(9, 0);
        lab.set_capability(10, pcc.set_address(USER_CODE));
        lab.board.run_to(USER_CODE, 10).expect("the return to EL0");
        lab
    }

    pub(crate) fn set(&mut self, number: u8, value: u64) {
        self.set_capability(number, Capability::from_integer(value));
    }

    pub(crate) fn set_capability(&mut self, number: u8, value: Capability) {
        self.board.set_register(0, number, value);
    }

    pub(crate) fn x(&self, number: u8) -> u64 {
        self.board.register(0, number).address()
    }

    pub(crate) fn c(&self, number: u8) -> Capability {
        self.board.register(0, number)
    }

    /// N, Z, C, V.
    pub(crate) fn flags(&self) -> u32 {
        self.board.pstate(0) >> 28
    }

    /// Runs to the end of the words.
    pub(crate) fn run(&mut self) -> &mut Self {
        if let Err(stop) = self.board.run_to(self.end, 10_000) {
            panic!("{stop}; last exception: {:?}", self.board.last_exception(0));
        }
        assert_eq!(self.board.last_exception(0).map(|exception| exception.syndrome), None);
        self
    }

    /// Runs until an exception is taken to EL1.
    pub(crate) fn fault(&mut self) -> Fault {
        let before = self.board.last_exception(0);
        let mut taken = |board: &Board| board.last_exception(0) != before;
        let until = Until {
            limit: Some(10_000),
            condition: Some(&mut taken),
            ..Until::default()
        };
        let stop = self.board.run(until);
        assert!(matches!(stop, Stop::Condition | Stop::TrapLoop { .. }), "{stop}");
        Fault {
            syndrome: self.board.esr(0, 1),
            address: self.board.far(0, 1),
        }
    }

    /// The syndrome of an exception at this instruction of the test.
    pub(crate) fn faults_at(&mut self, index: u64) -> u64 {
        let fault = self.fault();
        let return_to = self.board.special_register(0, Special::Celr(1)).address();
        let start = if self.end >= USER_CODE && return_to >= USER_CODE && self.user() {
            USER_CODE
        } else {
            CODE
        };
        assert_eq!((return_to - start) / 4, index, "the instruction at fault");
        fault.syndrome
    }

    fn user(&self) -> bool {
        self.board
            .last_exception(0)
            .is_some_and(|exception| exception.from == 0)
    }

    pub(crate) fn write(&mut self, address: u64, bytes: &[u8]) {
        self.board.write_memory(address, bytes).expect("RAM");
    }

    pub(crate) fn write_capability(&mut self, address: u64, value: Capability) {
        let (low, high) = value.to_memory();
        let memory = self.board.memory_mut();
        let offset = memory.offset(address, 16).expect("RAM");
        memory.write_granule(offset, low, high, value.tag());
    }

    pub(crate) fn read_u64(&self, address: u64) -> u64 {
        u64::from_le_bytes(
            self.board
                .read_memory(address, 8)
                .expect("RAM")
                .try_into()
                .expect("8 bytes"),
        )
    }

    pub(crate) fn capability_at(&self, address: u64) -> Capability {
        self.board.read_capability(address).expect("RAM")
    }
}

/// Runs `words` after setting X registers, and returns the lab.
pub(crate) fn run(words: &[u32], registers: &[(u8, u64)]) -> Lab {
    let mut lab = Lab::new(words);
    for (number, value) in registers {
        lab.set(*number, *value);
    }
    lab.run();
    lab
}

/// A region of [`DATA`] with these permissions.
pub(crate) fn region(offset: u64, length: u64, permissions: u32) -> Capability {
    let (bounded, exact) = Capability::ROOT.set_address(DATA + offset).set_bounds(length);
    assert!(exact && bounded.tag());
    bounded.and_permissions(permissions)
}
