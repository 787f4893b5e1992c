//! The CHERI-RISC-V board, ISAv9.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use machine::Stop;
use machine::riscv::{Board, Config, Privilege, Until, special};
use machine::virtio::Device;
use object::elf::R_RISCV_RELATIVE;
use tools::Architecture;
use tools::run::Isa;

use crate::Result;
use crate::platform::{Bars, Cause, Machine, Platform, Workload};

/// The hart that the monitor runs on.
const HART: usize = 0;
/// `mcause`: set for an interrupt.
const INTERRUPT: u64 = 1 << 63;
/// `mcause` of an environment call from U-mode.
const ECALL: u64 = 8;

impl Machine for Board {
    fn pc(&self) -> u64 {
        Board::pc(self, HART)
    }

    fn in_cvm(&self) -> bool {
        self.privilege(HART) == Privilege::User
    }

    fn code_base(&self) -> u64 {
        self.special_register(HART, special::PCC).decode().base
    }

    fn cause(&self) -> Option<Cause> {
        self.last_trap(HART).map(|record| match record.trap.cause {
            ECALL => Cause::Hostcall,
            INTERRUPT.. => Cause::Interrupt,
            _ => Cause::Fault,
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

/// `qemu-system-riscv64cheri -M virt`, as the embedded machine has it.
pub(crate) struct CheriRiscv;

impl Platform for CheriRiscv {
    fn arch(&self) -> Architecture {
        Architecture::CheriRiscv
    }

    fn modules(&self) -> &'static [&'static str] {
        &["cheri_riscv", "riscv"]
    }

    fn load_address(&self) -> u64 {
        machine::riscv::map::RAM
    }

    fn interrupt_entry(&self) -> (&'static str, u64) {
        ("intravisor_trap_entry", 0)
    }

    fn relative_relocation(&self) -> u32 {
        R_RISCV_RELATIVE
    }

    fn bars(&self) -> Bars {
        Bars {
            boot: 350_000,
            null: 150,
            served: 450,
            delegated: 600,
            lent: 750,
            switch: 400,
            create: 1600,
            wake: 500,
            system_call: 700,
        }
    }

    fn loop_bar(&self) -> f64 {
        60.0
    }

    fn board(&self, workload: Workload, append: &str) -> Result<Box<dyn Machine>> {
        let config = Config {
            isa: match workload.isa {
                Isa::V9 => machine::cli::Isa::V9,
                Isa::V8 => machine::cli::Isa::V8,
            },
            append: append.to_owned(),
            ..Config::new(workload.image)
        };
        Ok(Box::new(Board::new(config)?))
    }

    fn integer_loop(&self) -> Workload {
        const WORDS: [u32; 13] = [
            0x00c0_02b7, // lui t0, 0xc00
            0x0033_0313, // 1: addi t1, t1, 3
            0x0063_c3b3, // xor t2, t2, t1
            0x0013_9e13, // slli t3, t2, 1
            0x01ce_8eb3, // add t4, t4, t3
            0x007e_df13, // srli t5, t4, 7
            0x006f_6fb3, // or t6, t5, t1
            0xfff2_8293, // addi t0, t0, -1
            0xfe02_92e3, // bnez t0, 1b
            0x0010_0537, // lui a0, 0x100: the test device
            0x0000_55b7, // lui a1, 0x5
            0x5555_8593, // addi a1, a1, 0x555: success
            0x00b5_2023, // sw a1, 0(a0)
        ];
        Workload {
            image: WORDS.iter().flat_map(|word| word.to_le_bytes()).collect(),
            isa: Isa::V9,
        }
    }

    fn conformance(&self, shared: &Path) -> Result<Vec<Workload>> {
        let folder = shared.join("conformance/cheri-riscv");
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut workloads = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !name.ends_with(".bin.gz") {
                continue;
            }
            let isa = if name.starts_with("v8") { Isa::V8 } else { Isa::V9 };
            let mut image = Vec::new();
            GzDecoder::new(File::open(&path)?).read_to_end(&mut image)?;
            workloads.push(Workload { image, isa });
        }
        Ok(workloads)
    }
}
