//! The whole state of a board at a moment, and the way back to it.

use vm_superio::serial::SerialState;

use super::board::Board;
use super::devices::{Clint, Plic};
use super::hart::{Hart, special};
use super::rtc::Rtc;
use crate::console::Mark;
use crate::virtio::Saved;

/// What a board was at a moment, but for the RAM, whose journal began then.
pub struct Snapshot {
    harts: Vec<Hart>,
    clint: Clint,
    plic: Plic,
    uart: SerialState,
    rtc: Rtc,
    virtio: Saved,
    console: Mark,
    current: usize,
    turn: u64,
    now: u64,
    steps: u64,
}

impl Board {
    /// Takes a snapshot. It replaces an earlier one, which is of no use any more: there is one journal of the RAM.
    pub fn snapshot(&mut self) -> Snapshot {
        self.bus.memory.begin_journal();
        let devices = &self.bus.devices;
        Snapshot {
            harts: self.harts.clone(),
            clint: devices.clint.clone(),
            plic: devices.plic.clone(),
            uart: devices.uart.state(),
            rtc: devices.rtc.clone(),
            virtio: devices.virtio.save(),
            console: devices.uart.console.mark(),
            current: self.current,
            turn: self.turn,
            now: self.now,
            steps: self.steps,
        }
    }

    /// Puts the board back to its latest snapshot. Hooks and coverage stay as they are, and so does what a disk holds.
    pub fn restore(&mut self, snapshot: &Snapshot) {
        self.bus.memory.rewind();
        let devices = &mut self.bus.devices;
        self.harts.clone_from(&snapshot.harts);
        devices.clint.clone_from(&snapshot.clint);
        devices.plic.clone_from(&snapshot.plic);
        devices.uart.set_state(&snapshot.uart);
        devices.rtc.clone_from(&snapshot.rtc);
        devices.virtio.restore(&snapshot.virtio);
        devices.uart.console.rewind(&snapshot.console);
        devices.stop = None;
        (self.current, self.turn) = (snapshot.current, snapshot.turn);
        (self.now, self.steps) = (snapshot.now, snapshot.steps);
    }

    /// Lets time pass in which nothing is executed.
    pub fn pass(&mut self, nanoseconds: u64) {
        self.now += nanoseconds;
    }

    /// What is not as it was at the snapshot and cannot change by console output, console input, timers and switches between
    /// programs: registers that decide about traps and protection, and devices, in words.
    pub fn changed_since(&self, snapshot: &Snapshot) -> Vec<String> {
        let mut changed = Vec::new();
        let mut check = |same: bool, what: &str, hart: usize| {
            if !same {
                changed.push(format!("{what} of hart {hart}"));
            }
        };
        for (hart, old) in self.harts.iter().zip(&snapshot.harts) {
            check(hart.pmp == old.pmp, "physical memory protection", hart.id);
            check(hart.mcounteren == old.mcounteren, "mcounteren", hart.id);
            check(hart.mie == old.mie, "mie", hart.id);
            for (name, number) in [("mtcc", special::MTCC), ("mtdc", special::MTDC)] {
                let number = usize::from(number);
                check(hart.special[number] == old.special[number], name, hart.id);
            }
        }
        let (clint, old) = (&self.bus.devices.clint, &snapshot.clint);
        let same_clock = clint.time_offset == old.time_offset && clint.software == old.software;
        let state = self.bus.devices.uart.state();
        let uart = &snapshot.uart;
        let same_uart = (
            state.interrupt_enable,
            state.line_control,
            state.modem_control,
            state.scratch,
        ) == (
            uart.interrupt_enable,
            uart.line_control,
            uart.modem_control,
            uart.scratch,
        ) && (state.baud_divisor_low, state.baud_divisor_high)
            == (uart.baud_divisor_low, uart.baud_divisor_high);
        for (same, what) in [
            (same_clock, "clock and software interrupts"),
            (
                self.bus.devices.plic.same_settings(&snapshot.plic),
                "settings of the interrupt controller",
            ),
            (same_uart, "settings of the UART"),
            (
                self.bus.devices.rtc.same_settings(&snapshot.rtc),
                "settings of the real-time clock",
            ),
            (
                self.bus.devices.virtio.same_settings(&snapshot.virtio),
                "settings of the virtio devices",
            ),
        ] {
            if !same {
                changed.push(what.to_owned());
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Board, Config, Until};
    use crate::stop::Stop;

    /// lui x5, 0x10000; addi x6, x6, 1; sb x6, 0(x5); sd x6, 256(x7); jal x0, -12, with x7 in RAM by auipc at the start.
    const COUNTER: [u32; 6] = [
        0x0000_1397, // auipc x7, 1
        0x1000_02b7, // lui x5, 0x10000
        0x0013_0313, // addi x6, x6, 1
        0x0062_8023, // sb x6, 0(x5)
        0x1063_b023, // sd x6, 256(x7)
        0xff5f_f06f, // jal x0, -12
    ];

    fn board() -> Board {
        let kernel = COUNTER.iter().flat_map(|word| word.to_le_bytes()).collect();
        Board::new(Config {
            memory: 32 << 20,
            ..Config::new(kernel)
        })
        .unwrap()
    }

    fn state(board: &Board) -> (u64, u64, u64, Vec<u8>, Vec<u8>) {
        let memory = board.read_memory(0x8000_1000, 0x200).unwrap().to_vec();
        let output = board.console().output().to_vec();
        (
            board.pc(0),
            board.register(0, 6).address(),
            board.time(),
            memory,
            output,
        )
    }

    #[test]
    fn a_restored_board_does_again_what_it_did() {
        let mut board = board();
        assert_eq!(board.run(Until::exit(1000)), Stop::Limit);
        let snapshot = board.snapshot();
        let before = state(&board);
        let mut ends = Vec::new();
        for _ in 0..3 {
            assert_eq!(board.run(Until::exit(777)), Stop::Limit);
            assert!(board.memory().changes().count() > 0);
            ends.push(state(&board));
            board.restore(&snapshot);
            assert_eq!(state(&board), before);
        }
        assert!(ends[0] != before && ends[0] == ends[1] && ends[1] == ends[2]);
        assert_eq!(board.changed_since(&snapshot), Vec::<String>::new());
        let devices = &mut board.bus.devices;
        devices.write(super::super::devices::Window::Plic, 4, 4, 1, 0).unwrap();
        board.harts[0].mie = 8;
        assert_eq!(
            board.changed_since(&snapshot),
            ["mie of hart 0", "settings of the interrupt controller"]
        );
        board.restore(&snapshot);
        assert_eq!(board.changed_since(&snapshot), Vec::<String>::new());
    }

    #[test]
    fn only_user_mode_in_the_range_is_counted() {
        let mut board = board();
        board.begin_coverage(0x8000_0000..0x8000_1000);
        board.run(Until::exit(1000));
        assert_eq!(board.covered(), 0, "machine mode is not counted");
        board.harts[0].privilege = super::super::Privilege::User;
        // PMP, whose entries are all off, would refuse user mode everything.
        board.harts[0].pmp.set_address(0, u64::MAX);
        board.harts[0].pmp.set_configuration(0, 0x1f);
        board.harts[0].forget_windows();
        board.run(Until::exit(999));
        assert_eq!(board.covered(), 999);
        let coverage = board.coverage();
        assert!(coverage["addi"] >= 249 && coverage["jal"] >= 249, "{coverage:?}");
        board.begin_coverage(0x8000_1000..0x8000_2000);
        board.run(Until::exit(999));
        assert_eq!(board.covered(), 0);
    }
}
