//! Privileged registers and instructions, each in a life of its own.

use abi::FaultKind::{self, Breakpoint, Illegal, Privilege};
use tests::Platform;

use crate::catalogue::Fate::{Absent, EachKilled, Killed};
use crate::catalogue::{Attack, Group, either, lives, program};

pub(crate) const GROUP: Group = Group {
    title: "Privileged registers and instructions",
    promise: "2: nothing that belongs to the monitor can be read or written, whatever the instruction",
    attacks: ATTACKS,
};

/// Emulators differ in whether they refuse for the number or for the missing permission.
const REFUSED: &[FaultKind] = &[Privilege, Illegal];

const ATTACKS: &[Attack] = &[
    lives(
        "read-machine-registers",
        "read each CSR of M-mode",
        either(EachKilled(&[Privilege]), Absent),
        |_| MACHINE.iter().map(|number| csr_read(*number)).collect(),
    ),
    lives(
        "write-machine-registers",
        "write each CSR of M-mode",
        either(EachKilled(&[Privilege]), Absent),
        |_| MACHINE.iter().map(|number| csr_write(*number)).collect(),
    ),
    lives(
        "read-supervisor-registers",
        "read each CSR of S-mode and of hypervisors",
        either(EachKilled(&[Privilege]), Absent),
        |a| supervisor(a.platform).map(csr_read).collect(),
    ),
    lives(
        "write-supervisor-registers",
        "write each CSR of S-mode and of hypervisors",
        either(EachKilled(&[Privilege]), Absent),
        |a| supervisor(a.platform).map(csr_write).collect(),
    ),
    lives(
        "read-special-capabilities",
        "read each special capability register but PCC and DDC",
        either(EachKilled(REFUSED), Absent),
        |a| {
            special_registers(a.platform)
                .map(|number| special(18, 0, number))
                .collect()
        },
    ),
    lives(
        "write-special-capabilities",
        "write each special capability register, PCC too",
        either(EachKilled(REFUSED), Absent),
        |a| {
            special_registers(a.platform)
                .chain([0])
                .map(|number| special(0, 18, number))
                .collect()
        },
    ),
    lives(
        "swap-special-capabilities",
        "exchange each special capability register with a general one",
        either(EachKilled(REFUSED), Absent),
        |a| {
            special_registers(a.platform)
                .map(|number| special(18, 18, number))
                .collect()
        },
    ),
    lives(
        "read-system-registers",
        "read each system register of EL1, EL2 and EL3 and those closed to EL0",
        either(Absent, EachKilled(REFUSED)),
        |_| {
            let closed = SYSTEM.iter().filter(|register| !TIME.contains(register));
            closed.map(|register| 0xd530_0000 | system(*register)).collect()
        },
    ),
    lives(
        "write-system-registers",
        "write each of them",
        either(Absent, EachKilled(REFUSED)),
        |_| SYSTEM.iter().map(|register| 0xd510_0000 | system(*register)).collect(),
    ),
    lives(
        "read-capability-registers",
        "read each capability system register of higher levels and of the Executive bank",
        either(Absent, EachKilled(REFUSED)),
        |_| CAPABILITY.iter().map(|word| word | 0x0010_0000 | 20).collect(),
    ),
    lives(
        "write-capability-registers",
        "write each of them",
        either(Absent, EachKilled(REFUSED)),
        |_| CAPABILITY.iter().map(|word| word | 20).collect(),
    ),
    lives(
        "privileged-instructions",
        "execute each privileged instruction",
        either(EachKilled(REFUSED), EachKilled(REFUSED)),
        |a| {
            if a.platform.arch() == tools::Architecture::CheriRiscv {
                RISCV_INSTRUCTIONS.to_vec()
            } else {
                MORELLO_INSTRUCTIONS.to_vec()
            }
        },
    ),
    program(
        "semihosting",
        "ask the emulator to end by a semihosting call",
        either(Killed(Breakpoint), Killed(Privilege)),
        |a| {
            if a.is_riscv() {
                a.set(tests::code::assembler::Register::Argument(0), 0x18);
                // SLLI zero, zero, 31; EBREAK; SRAI zero, zero, 7
                a.push(0x01f0_1013).push(0x0010_0073).push(0x4070_5013);
            } else {
                a.set(tests::code::assembler::Register::Argument(0), 0x18)
                    .push(0xd45e_0000); // HLT #0xf000
            }
        },
    ),
    program(
        "supervisor-return",
        "return from an exception that there was not",
        either(Killed(Privilege), Killed(Privilege)),
        |a| {
            a.word(0x1020_0073, 0xd69f_03e0); // SRET, ERET
        },
    ),
];

/// CSRs of M-mode and of the debugger.
const MACHINE: &[u32] = &[
    0x300, 0x301, 0x302, 0x303, 0x304, 0x305, 0x306, 0x310, 0x320, 0x323, 0x340, 0x341, 0x342, 0x343, 0x344, 0x34a,
    0x34b, 0x30a, 0x3a0, 0x3a2, 0x3b0, 0x3b1, 0x3b2, 0x3bf, 0xb00, 0xb02, 0xb03, 0xbc0, 0xf11, 0xf12, 0xf13, 0xf14,
    0xf15, 0x7a0, 0x7a1, 0x7b0, 0x7b1, 0x747,
];
/// CSRs of S-mode and of hypervisors, and those of U-mode that need a permission.
const SUPERVISOR: &[u32] = &[
    0x100, 0x102, 0x103, 0x104, 0x105, 0x106, 0x140, 0x141, 0x142, 0x143, 0x144, 0x180, 0x9c0, 0x200, 0x204, 0x205,
    0x240, 0x241, 0x280, 0x600, 0x602, 0x603, 0x604, 0x606, 0x605, 0x643, 0x680, 0xe12, 0x8c0, 0x000, 0x004, 0x005,
    0x040, 0x041, 0x042, 0x043, 0x044, 0x001, 0x002, 0x003,
];

/// Those of [`SUPERVISOR`]; one emulator leaves `uccsr`, which says that capabilities are enabled, open to U-mode.
fn supervisor(platform: Platform) -> impl Iterator<Item = u32> {
    let closed = move |number: &u32| platform != Platform::QemuXcheri || *number != 0x8c0;
    SUPERVISOR.iter().copied().filter(closed)
}

fn csr_read(number: u32) -> u32 {
    number << 20 | 2 << 12 | 18 << 7 | 0x73 // CSRRS s2, number, zero
}

fn csr_write(number: u32) -> u32 {
    number << 20 | 18 << 15 | 1 << 12 | 0x73 // CSRRW zero, number, s2
}

/// CSpecialRW.
fn special(to: u32, from: u32, number: u32) -> u32 {
    1 << 25 | number << 20 | from << 15 | to << 7 | 0x5b
}

/// Numbers of special capability registers but PCC and DDC; without those by which one emulator ends.
fn special_registers(platform: Platform) -> impl Iterator<Item = u32> {
    let known = move |number: &u32| platform != Platform::QemuXcheri || matches!(number, 12..=15 | 28..=31);
    (2..32).filter(known)
}

/// op0, op1, CRn, CRm, op2 of system registers.
const SYSTEM: &[[u32; 5]] = &[
    [3, 0, 0, 0, 0],   // MIDR_EL1
    [3, 0, 0, 0, 5],   // MPIDR_EL1
    [3, 0, 0, 4, 0],   // ID_AA64PFR0_EL1
    [3, 0, 1, 0, 0],   // SCTLR_EL1
    [3, 0, 1, 0, 1],   // ACTLR_EL1
    [3, 0, 1, 0, 2],   // CPACR_EL1
    [3, 0, 1, 2, 2],   // CCTLR_EL1
    [3, 0, 2, 0, 0],   // TTBR0_EL1
    [3, 0, 2, 0, 1],   // TTBR1_EL1
    [3, 0, 2, 0, 2],   // TCR_EL1
    [3, 0, 4, 0, 0],   // SPSR_EL1
    [3, 0, 4, 0, 1],   // ELR_EL1
    [3, 0, 4, 1, 0],   // SP_EL0
    [3, 0, 4, 2, 0],   // SPSel
    [3, 0, 4, 2, 2],   // CurrentEL
    [3, 0, 4, 2, 3],   // PAN
    [3, 0, 5, 1, 0],   // AFSR0_EL1
    [3, 0, 5, 2, 0],   // ESR_EL1
    [3, 0, 6, 0, 0],   // FAR_EL1
    [3, 0, 7, 4, 0],   // PAR_EL1
    [3, 0, 10, 2, 0],  // MAIR_EL1
    [3, 0, 12, 0, 0],  // VBAR_EL1
    [3, 0, 12, 1, 0],  // ISR_EL1
    [3, 0, 12, 12, 0], // ICC_IAR1_EL1
    [3, 0, 12, 12, 5], // ICC_SRE_EL1
    [3, 0, 13, 0, 1],  // CONTEXTIDR_EL1
    [3, 0, 13, 0, 4],  // TPIDR_EL1
    [3, 0, 14, 1, 0],  // CNTKCTL_EL1
    [3, 3, 1, 2, 2],   // CCTLR_EL0
    [3, 3, 4, 2, 1],   // DAIF
    [3, 3, 9, 13, 0],  // PMCCNTR_EL0
    [3, 3, 14, 0, 0],  // CNTFRQ_EL0
    [3, 3, 14, 0, 1],  // CNTPCT_EL0
    [3, 3, 14, 0, 2],  // CNTVCT_EL0
    [3, 3, 14, 2, 1],  // CNTP_CTL_EL0
    [3, 3, 14, 2, 2],  // CNTP_CVAL_EL0
    [3, 3, 14, 3, 1],  // CNTV_CTL_EL0
    [3, 3, 14, 3, 2],  // CNTV_CVAL_EL0
    [3, 3, 4, 1, 1],   // DDC, as an integer
    [3, 4, 1, 1, 0],   // HCR_EL2
    [3, 4, 1, 2, 2],   // CCTLR_EL2
    [3, 4, 2, 1, 0],   // VTTBR_EL2
    [3, 4, 12, 0, 0],  // VBAR_EL2
    [3, 6, 1, 1, 0],   // SCR_EL3
    [3, 6, 1, 2, 2],   // CCTLR_EL3
    [3, 6, 12, 0, 0],  // VBAR_EL3
    [2, 0, 0, 2, 2],   // MDSCR_EL1
    [2, 0, 1, 0, 4],   // OSLAR_EL1
    [2, 3, 0, 1, 0],   // MDCCSR_EL0
    [2, 3, 0, 4, 0],   // DBGDTR_EL0
    [2, 3, 0, 5, 0],   // DBGDTRRX_EL0, DBGDTRTX_EL0
];

/// Those of [`SYSTEM`] that tell the time: EL0 reads them.
const TIME: &[[u32; 5]] = &[[3, 3, 14, 0, 0], [3, 3, 14, 0, 2]];

fn system([op0, op1, crn, crm, op2]: [u32; 5]) -> u32 {
    (op0 - 2) << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5 | 20
}

/// MSR of capability registers, without the general register.
const CAPABILITY: &[u32] = &[
    0xc288_4120, // DDC_EL0
    0xc28c_4120, // DDC_EL1
    0xc28b_4320, // RDDC_EL0
    0xc288_4100, // CSP_EL0
    0xc28c_4100, // CSP_EL1
    0xc28f_4160, // RCSP_EL0
    0xc288_4020, // CELR_EL1
    0xc28c_4020, // CELR_EL2
    0xc28e_4020, // CELR_EL3
    0xc288_c000, // CVBAR_EL1
    0xc28c_c000, // CVBAR_EL2
    0xc28e_c000, // CVBAR_EL3
    0xc28b_d080, // RCTPIDR_EL0
    0xc288_d080, // CTPIDR_EL1
    0xc28c_d040, // CTPIDR_EL2
];

const RISCV_INSTRUCTIONS: &[u32] = &[
    0x3020_0073, // MRET
    0x1020_0073, // SRET
    0x0020_0073, // URET
    0x7b20_0073, // DRET
    0x7020_0073, // MNRET
    0x1200_0073, // SFENCE.VMA
    0x1600_0073, // SINVAL.VMA
    0x2200_0073, // HFENCE.VVMA
    0x6200_0073, // HFENCE.GVMA
    0x6c09_4973, // HLV.D s2, (s2)
    0x6f29_4073, // HSV.D s2, (s2)
];

const MORELLO_INSTRUCTIONS: &[u32] = &[
    0xd400_0002, // HVC
    0xd400_0003, // SMC
    0xd400_0021, // SVC with another number than 0
    0xd69f_03e0, // ERET
    0xd6bf_03e0, // DRPS
    0xd440_0000, // HLT
    0xd4a0_0001, // DCPS1
    0xd503_4fdf, // MSR DAIFSet
    0xd503_4fff, // MSR DAIFClr
    0xd500_41bf, // MSR SPSel
    0xd500_419f, // MSR PAN
    0xd508_871f, // TLBI VMALLE1
    0xd508_8734, // TLBI VAE1
    0xd508_7814, // AT S1E1R
    0xd508_7634, // DC IVAC
    0xd508_7654, // DC ISW
    0xd50b_7434, // DC ZVA
    0xd50b_7a34, // DC CVAC
    0xd50b_7e34, // DC CIVAC
    0xd508_751f, // IC IALLU
    0xd50b_7534, // IC IVAU
    0xc2c2_1283, // BRR
    0xc2c2_3283, // BLRR
    0xc2c2_5283, // RETR
    0xc2c0_8294, // SCTAG
    0xc2c4_9294, // STCT
];
