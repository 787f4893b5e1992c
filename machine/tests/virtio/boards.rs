//! Both boards behind one face: a guest of a load and a store, by which a test reaches registers.

use capability::{morello as arm, riscv as risc};
use machine::morello;
use machine::riscv::{self, special};
use machine::virtio::queue::Malformed;
use machine::virtio::{Device, NoSlot, Version};
use machine::{Stop, TaggedMemory};

/// Which board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    CheriRiscv,
    Morello,
}

/// Every board with every version of the transport.
pub(crate) const ALL: [(Kind, Version); 4] = [
    (Kind::CheriRiscv, Version::Legacy),
    (Kind::CheriRiscv, Version::Modern),
    (Kind::Morello, Version::Legacy),
    (Kind::Morello, Version::Modern),
];

/// What the clocks of the boards show at reset: 2001-09-09T01:46:40Z.
pub(crate) const START: u64 = 1_000_000_000_000_000_000;

/// What a guest can do.
#[derive(Clone, Copy)]
enum Do {
    Load,
    Store,
    Nothing,
    Wait,
    /// RISC-V: let the interrupts in x6 end a wait.
    Enable,
}

/// A board with a program that loads from x5 into x6 or stores x6 to x5, as told.
pub(crate) enum Guest {
    CheriRiscv(Box<riscv::Board>),
    Morello(Box<morello::Board>),
}

impl Guest {
    pub(crate) fn new(kind: Kind, version: Version) -> Self {
        let image = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
        match kind {
            Kind::CheriRiscv => {
                let config = riscv::Config {
                    virtio: version,
                    memory: 32 << 20,
                    time: START,
                    ..riscv::Config::new(image(&[
                        0x0002_a303, // lw x6, 0(x5)
                        0x0062_a023, // sw x6, 0(x5)
                        0x0000_006f, // j .
                        0x1050_0073, // wfi
                        0x0000_006f, // j .
                        0x3043_2073, // csrs mie, x6
                    ]))
                };
                let mut board = riscv::Board::new(config).expect("the board");
                board.run_to(0x8000_0000, 100).expect("the reset ROM");
                Guest::CheriRiscv(Box::new(board))
            }
            Kind::Morello => {
                let config = morello::Config {
                    virtio: version,
                    memory: 32 << 20,
                    time: START,
                    ..morello::Config::new(image(&[
                        0xd61f_00e0, // br x7
                        0xb940_00a6, // ldr w6, [x5]
                        0x17ff_fffe, // b . - 8
                        0xb900_00a6, // str w6, [x5]
                        0x17ff_fffc, // b . - 16
                        0x17ff_fffb, // b . - 20
                        0xd503_207f, // wfi
                        0x1400_0000, // b .
                    ]))
                };
                Guest::Morello(Box::new(morello::Board::new(config).expect("the board")))
            }
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Guest::CheriRiscv(_) => Kind::CheriRiscv,
            Guest::Morello(_) => Kind::Morello,
        }
    }

    pub(crate) fn attach(&mut self, device: impl Into<Device>) -> Result<usize, NoSlot> {
        match self {
            Guest::CheriRiscv(board) => board.attach(device),
            Guest::Morello(board) => board.attach(device),
        }
    }

    pub(crate) fn problem(&self, slot: usize) -> Option<Malformed> {
        match self {
            Guest::CheriRiscv(board) => board.device_problem(slot).cloned(),
            Guest::Morello(board) => board.device_problem(slot).cloned(),
        }
    }

    pub(crate) fn slots(&self) -> usize {
        match self {
            Guest::CheriRiscv(_) => 8,
            Guest::Morello(_) => 32,
        }
    }

    /// Address of a virtio slot.
    pub(crate) fn slot(&self, slot: usize) -> u64 {
        match self {
            Guest::CheriRiscv(_) => 0x1000_1000 + slot as u64 * 0x1000,
            Guest::Morello(_) => 0x0a00_0000 + slot as u64 * 0x200,
        }
    }

    /// Address of the real-time clock.
    pub(crate) fn clock(&self) -> u64 {
        match self {
            Guest::CheriRiscv(_) => 0x10_1000,
            Guest::Morello(_) => 0x0901_0000,
        }
    }

    /// Executes what is meant by `what`, with an address in x5 and a value in x6, and returns x6.
    fn execute(&mut self, what: Do, address: u64, value: u32) -> u32 {
        match self {
            Guest::CheriRiscv(board) => {
                let number = match what {
                    Do::Load => 0,
                    Do::Store => 1,
                    Do::Nothing => 2,
                    Do::Wait => 3,
                    Do::Enable => 5,
                };
                board.set_register(0, 5, risc::Capability::from_integer(address));
                board.set_register(0, 6, risc::Capability::from_integer(value.into()));
                let pcc = board.special_register(0, special::PCC);
                board.set_special_register(0, special::PCC, pcc.set_address(0x8000_0000 + 4 * number));
                assert_eq!(board.run(riscv::Until::exit(1)), Stop::Limit);
                assert!(board.last_trap(0).is_none(), "{:?}", board.last_trap(0));
                board.register(0, 6).address() as u32
            }
            Guest::Morello(board) => {
                // Way through the program: the branch, the instruction, and back.
                let (number, steps) = match what {
                    Do::Load => (1, 3),
                    Do::Store => (3, 3),
                    Do::Nothing => (5, 2),
                    Do::Wait => (6, 2),
                    Do::Enable => unreachable!("a core waits for whatever the interrupt controller signals"),
                };
                board.set_register(0, 5, arm::Capability::from_integer(address));
                board.set_register(0, 6, arm::Capability::from_integer(value.into()));
                board.set_register(0, 7, arm::Capability::from_integer(0x4008_0000 + 4 * number));
                assert_eq!(board.run(morello::Until::exit(steps)), Stop::Limit);
                assert!(board.last_exception(0).is_none(), "{:?}", board.last_exception(0));
                board.register(0, 6).address() as u32
            }
        }
    }

    /// The word at a physical address.
    pub(crate) fn load(&mut self, address: u64) -> u32 {
        self.execute(Do::Load, address, 0)
    }

    /// Stores a word at a physical address, and lets the devices see it.
    pub(crate) fn store(&mut self, address: u64, value: u32) {
        self.execute(Do::Store, address, value);
        self.settle();
    }

    /// Lets the devices do what is due.
    pub(crate) fn settle(&mut self) {
        self.execute(Do::Nothing, 0, 0);
    }

    /// Waits for an interrupt. If none is enabled, time passes as long as a device has something to do, and nothing is
    /// executed any more.
    pub(crate) fn wait(&mut self) -> Stop {
        self.execute(Do::Wait, 0, 0);
        match self {
            Guest::CheriRiscv(board) => board.run(riscv::Until::exit(1)),
            Guest::Morello(board) => board.run(morello::Until::exit(1)),
        }
    }

    pub(crate) fn pass(&mut self, nanoseconds: u64) {
        match self {
            Guest::CheriRiscv(board) => board.pass(nanoseconds),
            Guest::Morello(board) => board.pass(nanoseconds),
        }
        self.settle();
    }

    pub(crate) fn time(&self) -> u64 {
        match self {
            Guest::CheriRiscv(board) => board.time(),
            Guest::Morello(board) => board.time(),
        }
    }

    pub(crate) fn memory(&self) -> &TaggedMemory {
        match self {
            Guest::CheriRiscv(board) => board.memory(),
            Guest::Morello(board) => board.memory(),
        }
    }

    pub(crate) fn memory_mut(&mut self) -> &mut TaggedMemory {
        match self {
            Guest::CheriRiscv(board) => board.memory_mut(),
            Guest::Morello(board) => board.memory_mut(),
        }
    }

    /// Lets the interrupt of a slot end a wait. It is not taken.
    pub(crate) fn enable(&mut self, slot: usize) {
        match self.kind() {
            Kind::CheriRiscv => {
                let source = slot as u32 + 1;
                self.store(0x0c00_0000 + 4 * u64::from(source), 1);
                self.store(0x0c00_2000, 1 << source);
                self.execute(Do::Enable, 0, 1 << 11);
            }
            Kind::Morello => {
                let id = slot as u64 + 48;
                self.store(0x0800_0100 + id / 32 * 4, 1 << (id % 32));
                self.store(0x0800_0000, 1);
                self.store(0x0801_0004, 0xff);
                self.store(0x0801_0000, 1);
            }
        }
    }

    /// Whether the interrupt of a slot is pending in the interrupt controller.
    pub(crate) fn slot_pending(&mut self, slot: usize) -> bool {
        match self.kind() {
            Kind::CheriRiscv => self.pending(slot as u32 + 1),
            Kind::Morello => self.pending(slot as u32 + 48),
        }
    }

    /// Whether the interrupt of the real-time clock is pending in the interrupt controller.
    pub(crate) fn clock_pending(&mut self) -> bool {
        match self.kind() {
            Kind::CheriRiscv => self.pending(11),
            Kind::Morello => self.pending(34),
        }
    }

    fn pending(&mut self, number: u32) -> bool {
        let register = match self.kind() {
            Kind::CheriRiscv => 0x0c00_1000,
            Kind::Morello => 0x0800_0200,
        };
        self.load(register + u64::from(number / 32) * 4) >> (number % 32) & 1 == 1
    }

    /// Resets the board.
    pub(crate) fn reset(&mut self) {
        match self {
            Guest::CheriRiscv(board) => {
                board.reset().expect("as before");
                board.run_to(0x8000_0000, 100).expect("the reset ROM");
            }
            Guest::Morello(board) => board.reset().expect("as before"),
        }
    }

    /// Snapshot, `between`, and back.
    pub(crate) fn and_back(&mut self, between: impl FnOnce(&mut Guest)) {
        enum Saved {
            CheriRiscv(Box<riscv::Snapshot>),
            Morello(Box<morello::Snapshot>),
        }
        let saved = match self {
            Guest::CheriRiscv(board) => Saved::CheriRiscv(Box::new(board.snapshot())),
            Guest::Morello(board) => Saved::Morello(Box::new(board.snapshot())),
        };
        between(self);
        match (self, saved) {
            (Guest::CheriRiscv(board), Saved::CheriRiscv(saved)) => board.restore(&saved),
            (Guest::Morello(board), Saved::Morello(saved)) => board.restore(&saved),
            _ => unreachable!("a board does not change its kind"),
        }
    }
}
