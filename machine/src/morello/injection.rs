//! Faults that a test injects: timer interrupts that come late, never or too early, and functions that fail. Tags are
//! flipped in [`Board::memory_mut`](super::Board::memory_mut).

use super::board::Board;

/// Number of the return address register.
const LR: u32 = 30;

impl Board {
    /// Loses the timer interrupts of a core: what its timers are set to never fires. Setting one again makes that one
    /// sound again.
    pub fn lose_timer_interrupt(&mut self, core: usize) {
        self.cores[core].timers.lose();
    }

    /// Delivers no timer interrupt to a core before `time`, in nanoseconds of virtual time; then what is due.
    pub fn hold_timer_interrupt(&mut self, core: usize, time: u64) {
        self.cores[core].timers.hold(time);
    }

    /// Sets the timers of a core that are on to now: their interrupt is taken as soon as the core lets it.
    pub fn fire_timer(&mut self, core: usize) {
        self.cores[core].timers.fire(self.bus.now);
    }

    /// Lets the function whose first instruction is the next one return `result` at once, without having been executed:
    /// goes on at its return address, which must be an integer, as in hybrid code.
    pub fn return_at_once(&mut self, core: usize, result: u64) {
        let core = &mut self.cores[core];
        let address = core.x(LR).wrapping_add(core.pcc_offset());
        core.set_x(0, result);
        core.go_to(address);
        core.close_window();
    }
}

#[cfg(test)]
mod tests {
    use crate::morello::{Board, Config, Until};
    use crate::stop::Stop;

    /// Raw code, which begins at EL1 with all interrupts masked. The virtual timer is set to 100 ticks of 16 ns and the
    /// core loops; what its interrupt would be is in ISR_EL1.
    fn board() -> Board {
        let words: [u32; 6] = [
            0xd280_0c80, // mov x0, #100
            0xd51b_e340, // msr cntv_cval_el0, x0
            0xd280_0021, // mov x1, #1
            0xd51b_e321, // msr cntv_ctl_el0, x1
            0xd503_207f, // wfi
            0x1400_0000, // b .
        ];
        let kernel = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        Board::new(Config {
            memory: 32 << 20,
            ..Config::new(kernel)
        })
        .unwrap()
    }

    fn asserted(board: &Board) -> bool {
        use super::super::timer::Timer;
        board.cores[0].timers.asserted(Timer::Virtual, board.time())
    }

    #[test]
    fn a_timer_that_is_held_fires_at_the_end_of_it_and_a_lost_one_never() {
        let mut held = board();
        assert_eq!(held.run(Until::exit(4)), Stop::Limit);
        held.hold_timer_interrupt(0, 50_000);
        held.pass(49_990);
        assert!(!asserted(&held));
        held.pass(10);
        assert!(asserted(&held));

        let mut lost = board();
        let start = lost.pc(0);
        assert_eq!(lost.run(Until::exit(4)), Stop::Limit);
        lost.lose_timer_interrupt(0);
        lost.pass(1_000_000);
        lost.fire_timer(0);
        assert!(!asserted(&lost), "it is lost until the guest sets it");
        // From the first instruction on once more.
        lost.cores[0].go_to(start);
        assert_eq!(lost.run(Until::exit(4)), Stop::Limit);
        assert!(asserted(&lost));
    }

    #[test]
    fn a_timer_can_fire_early() {
        let mut board = board();
        assert_eq!(board.run(Until::exit(4)), Stop::Limit);
        assert!(!asserted(&board));
        board.fire_timer(0);
        assert!(asserted(&board));
    }

    #[test]
    fn a_function_can_be_made_to_return() {
        // bl .+8; b .; b .
        let words = [0x9400_0002_u32, 0x1400_0000, 0x1400_0000];
        let kernel = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut board = Board::new(Config::new(kernel)).unwrap();
        let start = board.pc(0);
        assert_eq!(board.run_to(start + 8, 100), Ok(()));
        board.return_at_once(0, 42);
        assert_eq!((board.pc(0), board.register(0, 0).address()), (start + 4, 42));
        assert_eq!(board.run(Until::exit(5)), Stop::Limit);
        assert_eq!(board.pc(0), start + 4);
    }
}
