//! Faults that a test injects: timer interrupts that come late, never or too early, and functions that fail. Tags are
//! flipped in [`Board::memory_mut`](super::Board::memory_mut), devices raised with
//! [`Board::inject_interrupt`](super::Board::inject_interrupt).

use capability::riscv::Capability;

use super::board::Board;
use super::hart::special;

/// Number of the return address register.
const RA: u8 = 1;
/// Number of the first result register.
const A0: u8 = 10;

/// What is wrong with the timer of a hart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TimerFault {
    /// It does not fire before this time, in nanoseconds.
    pub(super) held_until: u64,
    /// It does not fire until it is set again.
    pub(super) lost: bool,
}

impl TimerFault {
    /// When a timer that is set to `deadline` fires.
    pub(super) fn apply(self, deadline: u64) -> Option<u64> {
        (!self.lost).then_some(deadline.max(self.held_until))
    }
}

impl Board {
    /// Loses the timer interrupt of a hart: what the timer is set to never fires. Setting it again makes it sound again.
    pub fn lose_timer_interrupt(&mut self, core: usize) {
        self.bus.devices.clint.faults[core].lost = true;
    }

    /// Delivers no timer interrupt to a hart before `time`, in nanoseconds of virtual time; then what is due.
    pub fn hold_timer_interrupt(&mut self, core: usize, time: u64) {
        self.bus.devices.clint.faults[core].held_until = time;
    }

    /// Sets the timer of a hart to now: its interrupt is taken as soon as the hart lets it.
    pub fn fire_timer(&mut self, core: usize) {
        let clint = &mut self.bus.devices.clint;
        clint.compare[core] = clint.time(self.now);
    }

    /// Lets the function whose first instruction is the next one return `result` at once, without having been executed:
    /// goes on at its return address, which must be an integer, as in hybrid code.
    pub fn return_at_once(&mut self, core: usize, result: u64) {
        let pcc = self.special_register(core, special::PCC);
        let address = self.register(core, RA).address();
        let address = address.wrapping_add(self.harts[core].pcc_relocation());
        self.set_register(core, A0, Capability::from_integer(result));
        self.set_special_register(core, special::PCC, pcc.set_address(address));
    }
}

#[cfg(test)]
mod tests {
    use crate::riscv::{Board, Config, Until};
    use crate::stop::Stop;

    /// The timer is set to 10 µs, the hart waits for it, and jumps to the handler at 0x80000100 when it comes, where it
    /// loops.
    fn board() -> Board {
        let words: [u32; 13] = [
            0x0200_42b7, // lui t0, 0x2004: mtimecmp
            0x0640_0313, // li t1, 100
            0x0062_b023, // sd t1, 0(t0)
            0x8000_0337, // lui t1, 0x80000, sign-extended
            0x0203_1313, // slli t1, t1, 32
            0x0203_5313, // srli t1, t1, 32
            0x1003_0313, // addi t1, t1, 0x100
            0x3053_1073, // csrw mtvec, t1
            0x0800_0313, // li t1, 0x80
            0x3043_1073, // csrw mie, t1
            0x3004_6073, // csrsi mstatus, 8
            0x0000_0013, // nop
            0x0000_006f, // j .
        ];
        let mut kernel: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        kernel.resize(0x100, 0);
        // addi t2, t2, 1; j .
        kernel.extend(
            [0x0013_8393_u32, 0x0000_006f]
                .iter()
                .flat_map(|word| word.to_le_bytes()),
        );
        Board::new(Config {
            memory: 32 << 20,
            ..Config::new(kernel)
        })
        .unwrap()
    }

    fn handled(board: &Board) -> bool {
        board.register(0, 7).address() == 1
    }

    #[test]
    fn a_timer_that_is_held_fires_at_the_end_of_it_and_a_lost_one_never() {
        let mut sound = board();
        assert_eq!(sound.run(Until::exit(9_990)), Stop::Limit);
        assert!(!handled(&sound));
        assert_eq!(sound.run(Until::exit(20)), Stop::Limit);
        assert!(handled(&sound));

        let mut held = board();
        held.hold_timer_interrupt(0, 50_000);
        assert_eq!(held.run(Until::exit(49_990)), Stop::Limit);
        assert!(!handled(&held));
        assert_eq!(held.run(Until::exit(20)), Stop::Limit);
        assert!(handled(&held));

        let mut lost = board();
        assert_eq!(lost.run(Until::exit(100)), Stop::Limit);
        lost.lose_timer_interrupt(0);
        assert_eq!(lost.run(Until::exit(1_000_000)), Stop::Limit);
        assert!(!handled(&lost));
        lost.fire_timer(0);
        assert_eq!(lost.run(Until::exit(10)), Stop::Limit);
        assert!(!handled(&lost), "it is lost until the guest sets it");
        let compare = super::super::devices::Window::Clint;
        lost.bus.devices.write(compare, 0x4000, 8, 1, 0).unwrap();
        assert_eq!(lost.run(Until::exit(10)), Stop::Limit);
        assert!(handled(&lost));
    }

    #[test]
    fn a_timer_can_fire_early() {
        let mut board = board();
        assert_eq!(board.run(Until::exit(100)), Stop::Limit);
        board.fire_timer(0);
        assert_eq!(board.run(Until::exit(3)), Stop::Limit);
        assert!(handled(&board));
    }

    #[test]
    fn a_function_can_be_made_to_return() {
        // jal ra, 8; j .; j .
        let words = [0x0080_00ef_u32, 0x0000_006f, 0x0000_006f];
        let kernel = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        for isa in [crate::cli::Isa::V8, crate::cli::Isa::V9] {
            let mut board = Board::new(Config {
                isa,
                ..Config::new(Clone::clone(&kernel))
            })
            .unwrap();
            assert_eq!(board.run_to(0x8000_0008, 100), Ok(()));
            board.return_at_once(0, 42);
            assert_eq!((board.pc(0), board.register(0, 10).address()), (0x8000_0004, 42));
            assert_eq!(board.run(Until::exit(5)), Stop::Limit);
            assert_eq!(board.pc(0), 0x8000_0004);
        }
    }
}
