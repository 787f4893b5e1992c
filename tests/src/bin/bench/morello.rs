//! The Morello board.

use std::path::Path;

use machine::Stop;
use machine::morello::{Board, Config, Special, Until};
use machine::virtio::Device;
use object::elf::R_AARCH64_RELATIVE;
use tools::Architecture;
use tools::run::Isa;

use crate::Result;
use crate::platform::{Bars, Cause, Machine, Platform, Workload};

/// The core that the monitor runs on.
const CORE: usize = 0;
/// Exception class of an `SVC` from A64 in ESR (Arm ARM, D17.2.37).
const CLASS_SVC: u32 = 0x15;

impl Machine for Board {
    fn pc(&self) -> u64 {
        Board::pc(self, CORE)
    }

    fn in_cvm(&self) -> bool {
        self.exception_level(CORE) == 0
    }

    fn code_base(&self) -> u64 {
        self.special_register(CORE, Special::Pcc).decode().base
    }

    fn cause(&self) -> Option<Cause> {
        self.last_exception(CORE)
            .map(|record| match record.syndrome.map(|syndrome| syndrome >> 26) {
                Some(CLASS_SVC) => Cause::Hostcall,
                Some(_) => Cause::Fault,
                None => Cause::Interrupt,
            })
    }

    fn instructions(&self) -> u64 {
        self.total_instructions()
    }

    fn console(&mut self) -> String {
        Board::console(self).text()
    }

    fn step(&mut self, limit: u64, each: &mut dyn FnMut(&dyn Machine) -> bool) -> Stop {
        Board::run(
            self,
            Until {
                limit: Some(limit),
                condition: Some(&mut |board: &Board| each(board)),
                ..Until::default()
            },
        )
    }

    fn attach(&mut self, device: Device) -> Result<()> {
        Board::attach(self, device)?;
        Ok(())
    }

    fn run(&mut self, limit: u64) -> Stop {
        Board::run(self, Until::exit(limit))
    }
}

/// `qemu-system-morello -M virt`, as the embedded machine has it.
pub(crate) struct Morello;

impl Platform for Morello {
    fn arch(&self) -> Architecture {
        Architecture::Morello
    }

    fn modules(&self) -> &'static [&'static str] {
        &["morello"]
    }

    fn load_address(&self) -> u64 {
        // RAM begins at 0x40000000; the image's header asks for a place 2 MiB above a multiple of 2 MiB.
        0x4020_0000
    }

    fn interrupt_entry(&self) -> (&'static str, u64) {
        ("intravisor_vectors", 0x480)
    }

    fn relative_relocation(&self) -> u32 {
        R_AARCH64_RELATIVE
    }

    fn bars(&self) -> Bars {
        Bars {
            boot: 380_000,
            null: 125,
            served: 400,
            delegated: 550,
            lent: 650,
            switch: 350,
            create: 1700,
            wake: 450,
            system_call: 600,
        }
    }

    fn loop_bar(&self) -> f64 {
        50.0
    }

    fn board(&self, workload: Workload, append: &str) -> Result<Box<dyn Machine>> {
        let config = Config {
            append: append.to_owned(),
            ..Config::new(workload.image)
        };
        Ok(Box::new(Board::new(config)?))
    }

    fn integer_loop(&self) -> Workload {
        const WORDS: [u32; 12] = [
            0xd2a0_1800, // movz x0, #0xc0, lsl #16
            0x9100_0c21, // 1: add x1, x1, #3
            0xca01_0042, // eor x2, x2, x1
            0xd37f_f843, // lsl x3, x2, #1
            0x8b03_0084, // add x4, x4, x3
            0xd347_fc85, // lsr x5, x4, #7
            0xaa01_00a6, // orr x6, x5, x1
            0xd100_0400, // sub x0, x0, #1
            0xb5ff_ff20, // cbnz x0, 1b
            0x52b0_8000, // movz w0, #0x8400, lsl #16: PSCI SYSTEM_OFF
            0x7280_0100, // movk w0, #8
            0xd400_0002, // hvc #0
        ];
        Workload {
            image: WORDS.iter().flat_map(|word| word.to_le_bytes()).collect(),
            isa: Isa::V9,
        }
    }

    fn conformance(&self, _shared: &Path) -> Result<Vec<Workload>> {
        // The published test programs end with a verdict after some hundred instructions each: nothing to time.
        Ok(Vec::new())
    }
}
