//! The whole state of a board at a moment, and the way back to it.

use super::board::Board;
use super::bus::{Devices, ExceptionRecord};
use super::core::Core;
use super::gic::Gic;
use super::rtc::Rtc;
use super::uart;
use crate::console::Mark;
use crate::virtio::Saved;

/// What the devices of a `virt` board were.
struct Virt {
    gic: Gic,
    uart: uart::Registers,
    rtc: Rtc,
    virtio: Saved,
}

/// What a board was at a moment, but for the RAM, whose journal began then.
pub struct Snapshot {
    cores: Vec<Core>,
    virt: Option<Virt>,
    console: Mark,
    powered: Vec<bool>,
    last_exception: Vec<Option<ExceptionRecord>>,
    current: usize,
    turn: u64,
    now: u64,
}

impl Board {
    /// Takes a snapshot. It replaces an earlier one, which is of no use any more: there is one journal of the RAM.
    pub fn snapshot(&mut self) -> Snapshot {
        for ram in &mut self.bus.ram {
            ram.begin_journal();
        }
        for core in &mut self.cores {
            core.tlb.flush();
            core.close_window();
        }
        Snapshot {
            cores: self.cores.clone(),
            virt: match &self.bus.devices {
                Devices::Tube(_) => None,
                Devices::Virt(virt) => Some(Virt {
                    gic: virt.gic.clone(),
                    uart: virt.uart.registers(),
                    rtc: virt.rtc.clone(),
                    virtio: virt.virtio.save(),
                }),
            },
            console: self.bus.console().mark(),
            powered: self.bus.powered.clone(),
            last_exception: self.bus.last_exception.clone(),
            current: self.current,
            turn: self.turn,
            now: self.bus.now,
        }
    }

    /// Puts the board back to its latest snapshot. Hooks and coverage stay as they are, and so does what a disk holds.
    pub fn restore(&mut self, snapshot: &Snapshot) {
        for ram in &mut self.bus.ram {
            ram.rewind();
        }
        self.cores.clone_from(&snapshot.cores);
        if let (Devices::Virt(virt), Some(old)) = (&mut self.bus.devices, &snapshot.virt) {
            virt.gic.clone_from(&old.gic);
            virt.uart.set_registers(&old.uart);
            virt.rtc.clone_from(&old.rtc);
            virt.virtio.restore(&old.virtio);
        }
        self.bus.console_mut().rewind(&snapshot.console);
        self.bus.powered.clone_from(&snapshot.powered);
        self.bus.last_exception.clone_from(&snapshot.last_exception);
        self.bus.starts.clear();
        self.bus.stop = None;
        self.bus.broadcast_flush = false;
        self.bus.now = snapshot.now;
        (self.current, self.turn) = (snapshot.current, snapshot.turn);
    }

    /// Lets time pass in which nothing is executed.
    pub fn pass(&mut self, nanoseconds: u64) {
        self.bus.now += nanoseconds;
    }

    /// What is not as it was at the snapshot and cannot change by console output, console input, timers and switches between
    /// programs: registers that decide about exceptions, translation and capabilities, and devices, in words.
    pub fn changed_since(&self, snapshot: &Snapshot) -> Vec<String> {
        let mut changed = Vec::new();
        for (core, old) in self.cores.iter().zip(&snapshot.cores) {
            let (now, then) = (&core.registers, &old.registers);
            let mut check = |same: bool, what: &str| {
                if !same {
                    changed.push(format!("{what} of core {}", core.number));
                }
            };
            check(now.sctlr == then.sctlr, "SCTLR");
            check(now.tcr == then.tcr && now.mair == then.mair, "TCR, MAIR");
            check(now.ttbr0 == then.ttbr0 && now.ttbr1 == then.ttbr1, "TTBR");
            check(now.cctlr == then.cctlr, "CCTLR");
            check(now.vbar == then.vbar, "CVBAR");
            check(
                now.hcr_el2 == then.hcr_el2 && now.chcr_el2 == then.chcr_el2,
                "HCR, CHCR",
            );
            check(
                now.scr_el3 == then.scr_el3 && now.cscr_el3 == then.cscr_el3,
                "SCR, CSCR",
            );
            check(now.cptr_el2 == then.cptr_el2 && now.cptr_el3 == then.cptr_el3, "CPTR");
            check(
                core.timers.kernel_control == old.timers.kernel_control
                    && core.timers.hypervisor_control == old.timers.hypervisor_control
                    && core.timers.virtual_offset == old.timers.virtual_offset,
                "CNTKCTL, CNTHCTL, CNTVOFF",
            );
            check(core.ddc[1..4] == old.ddc[1..4], "DDC above EL0");
        }
        if let (Devices::Virt(virt), Some(old)) = (&self.bus.devices, &snapshot.virt) {
            for (same, what) in [
                (virt.gic.same_settings(&old.gic), "interrupt controller"),
                (virt.uart.registers().same_settings(&old.uart), "UART"),
                (virt.rtc.same_settings(&old.rtc), "real-time clock"),
                (virt.virtio.same_settings(&old.virtio), "virtio devices"),
            ] {
                if !same {
                    changed.push(format!("settings of the {what}"));
                }
            }
        }
        if self.bus.powered != snapshot.powered {
            changed.push("power of the cores".to_owned());
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Board, Config, Until};
    use crate::stop::Stop;

    const COUNTER: [u32; 6] = [
        0x1000_8002, // adr x2, . + 0x1000
        0xd2a1_2001, // movz x1, #0x900, lsl #16
        0x9100_0463, // add x3, x3, #1
        0x3900_0023, // strb w3, [x1]
        0xf900_8043, // str x3, [x2, #256]
        0x17ff_fffd, // b . - 12
    ];

    fn board() -> Board {
        let kernel = COUNTER.iter().flat_map(|word| word.to_le_bytes()).collect();
        Board::new(Config {
            memory: 16 << 20,
            ..Config::new(kernel)
        })
        .unwrap()
    }

    fn state(board: &Board) -> (u64, u64, u64, Vec<u8>, Vec<u8>) {
        let memory = board.read_memory(0x4008_1000, 0x200).unwrap().to_vec();
        let output = board.console().output().to_vec();
        (
            board.pc(0),
            board.register(0, 3).address(),
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
        board.cores[0].registers.sctlr[1] ^= 1;
        if let Some(gic) = board.bus.gic() {
            gic.distributor_write(0, 0, 4, 1);
        }
        assert_eq!(
            board.changed_since(&snapshot),
            ["SCTLR of core 0", "settings of the interrupt controller"]
        );
        board.restore(&snapshot);
        assert_eq!(board.changed_since(&snapshot), Vec::<String>::new());
    }

    #[test]
    fn only_el0_in_the_range_is_counted() {
        let mut board = board();
        board.begin_coverage(0x4008_0000..0x4008_1000);
        board.run(Until::exit(1000));
        assert_eq!(board.covered(), 0, "EL1 is not counted");
        board.cores[0].el = 0;
        board.run(Until::exit(1000));
        assert_eq!(board.covered(), 1000);
        let coverage = board.coverage();
        assert_eq!(coverage["branch::branch"], 250, "{coverage:?}");
        assert_eq!(coverage["memory::unsigned_offset"], 500, "{coverage:?}");
        board.begin_coverage(0x4008_1000..0x4008_2000);
        board.run(Until::exit(1000));
        assert_eq!(board.covered(), 0);
    }
}
