//! Programs and manifests that want capabilities which nobody may have.

use object::elf::{ET_EXEC, PF_R, PF_W, PF_X, R_AARCH64_RELATIVE, R_RISCV_RELATIVE};
use tests::code::assembler::Assembler;
use tests::code::attack::victim_base;
use tests::{Platform, code};
use tools::Architecture;
use tools::elf::purecap::{
    CAP_RELOC_CONSTANT, CAP_RELOC_FUNCTION, FRAGMENT_CONSTANT, FRAGMENT_DATA, FRAGMENT_FUNCTION, R_MORELLO_RELATIVE,
};
use tools::elf::synthesis::{CapReloc, DynamicSymbol, Elf, Fragment, Purecap, Rela};
use tools::manifest::CvmSpec;

use crate::catalogue::Fate::Refused;
use crate::catalogue::{Attack, Group, Means, everywhere};

pub(crate) const GROUP: Group = Group {
    title: "Crafted programs and manifests",
    promise: "8, 9: no capability is minted for what a program says, only for what its own segments are; the boot ends with a message",
    attacks: ATTACKS,
};

const fn file(
    name: &'static str,
    what: &'static str,
    message: &'static str,
    file: fn(Platform, CvmSpec) -> (CvmSpec, Elf),
) -> Attack {
    Attack {
        name,
        what,
        means: Means::File(file),
        expected: everywhere(Refused(message)),
    }
}

/// What a relocation asks for.
#[derive(Clone, Copy)]
enum Kind {
    Data,
    Constant,
    Function,
}

const OUTSIDE: &str = "expected inside one segment";

const ATTACKS: &[Attack] = &[
    file(
        "mint-monitor",
        "a relocation that makes a capability to the monitor",
        OUTSIDE,
        |platform, spec| (spec, minting(platform, |_| (platform.monitor(), 0x1_0000), Kind::Data)),
    ),
    file(
        "mint-victim",
        "a relocation that makes a capability to the victim",
        OUTSIDE,
        |platform, spec| (spec, minting(platform, |_| (victim_base(platform), 4096), Kind::Data)),
    ),
    file(
        "mint-device",
        "a relocation that makes a capability to the UART",
        OUTSIDE,
        |platform, spec| (spec, minting(platform, |_| (platform.device(), 256), Kind::Data)),
    ),
    file(
        "mint-below",
        "a relocation that makes a capability to what lies below the program",
        OUTSIDE,
        |platform, spec| {
            (
                spec,
                minting(platform, |_| (0_u64.wrapping_sub(4096), 4096), Kind::Data),
            )
        },
    ),
    file(
        "mint-wider",
        "a relocation that makes a capability wider than the segment",
        OUTSIDE,
        |platform, spec| {
            (
                spec,
                minting(platform, |program| (program.data_address(), 1 << 20), Kind::Data),
            )
        },
    ),
    file(
        "mint-everything",
        "a relocation that makes a capability of 2^55 bytes",
        OUTSIDE,
        |platform, spec| (spec, minting(platform, |_| (16, 1 << 55), Kind::Data)),
    ),
    file(
        "mint-one-byte-more",
        "a relocation that makes a capability one byte longer than the segment",
        OUTSIDE,
        |platform, spec| {
            (
                spec,
                minting(
                    platform,
                    |program| (program.data_address(), program.data.len() as u64 + 1),
                    Kind::Data,
                ),
            )
        },
    ),
    file(
        "mint-writable-text",
        "a relocation that makes a writable capability to text",
        "writable",
        |platform, spec| {
            (
                spec,
                minting(platform, |program| (program.code_address(), 4), Kind::Data),
            )
        },
    ),
    file(
        "mint-writable-constants",
        "a relocation that makes a writable capability to constants",
        "writable",
        |platform, spec| {
            (
                spec,
                minting(platform, |program| (program.constants_address(), 16), Kind::Data),
            )
        },
    ),
    file(
        "mint-function-in-data",
        "a relocation that makes a function of data",
        "executable",
        |platform, spec| {
            (
                spec,
                minting(platform, |program| (program.data_address(), 16), Kind::Function),
            )
        },
    ),
    file(
        "mint-function-of-monitor",
        "a relocation that makes a function of the monitor's text",
        "executable",
        |platform, spec| (spec, minting(platform, |_| (platform.monitor(), 16), Kind::Function)),
    ),
    file(
        "mint-into-text",
        "a relocation that puts a capability into text",
        "0x",
        |platform, spec| {
            let mut program = minimal(platform);
            let (code, data) = (program.code_address(), program.data_address());
            ask(&mut program, code, data, 16, Kind::Constant);
            (spec, program_without_fragment(program))
        },
    ),
    file(
        "mint-for-another",
        "a relocation that puts a capability into the victim's memory",
        "0x",
        |platform, spec| {
            let mut program = minimal(platform);
            let data = program.data_address();
            ask(&mut program, victim_base(platform), data, 16, Kind::Constant);
            (spec, program_without_fragment(program))
        },
    ),
    file(
        "mint-between",
        "a relocation that puts a capability between two granules",
        "expected a multiple of 16",
        |platform, spec| {
            let mut program = minimal(platform);
            let (slot, data) = (program.slot(0) + 8, program.data_address());
            ask(&mut program, slot, data, 16, Kind::Constant);
            (spec, program.to_elf())
        },
    ),
    file(
        "mint-by-undefined-symbol",
        "a relocation by a symbol that the program does not define",
        "is not defined in the program",
        |platform, spec| {
            let mut program = minimal(platform);
            let kind = match platform.arch() {
                Architecture::CheriRiscv => tools::elf::purecap::R_RISCV_CHERI_CAPABILITY,
                Architecture::Morello => tools::elf::purecap::R_MORELLO_GLOB_DAT,
            };
            let location = program.slot(0);
            program.relocations.push(Rela {
                location,
                kind,
                symbol: 1,
                addend: 0,
            });
            program.symbols.push(DynamicSymbol {
                defined: false,
                ..DynamicSymbol::new("monitor_root", object::elf::STT_OBJECT, 0, 0)
            });
            (spec, program.to_elf())
        },
    ),
    file(
        "relocate-outside",
        "a hybrid program that relocates a word of another's memory",
        "outside of every segment",
        |platform, spec| {
            let kind = match platform.arch() {
                Architecture::CheriRiscv => R_RISCV_RELATIVE,
                Architecture::Morello => R_AARCH64_RELATIVE,
            };
            (
                spec,
                code::minimal(platform.arch()).with_relocations(0x4000, &[(victim_base(platform), kind)]),
            )
        },
    ),
    file(
        "segment-writable-and-executable",
        "a segment that is writable and executable",
        "writable and executable",
        |platform, spec| {
            let mut elf = code::minimal(platform.arch());
            elf.loads[1].flags = PF_R | PF_W | PF_X;
            (spec, elf)
        },
    ),
    file(
        "entry-in-the-monitor",
        "an entry point in the monitor",
        "outside every executable segment",
        |platform, spec| {
            let mut elf = code::minimal(platform.arch());
            elf.entry = platform.monitor();
            (spec, elf)
        },
    ),
    file(
        "linked-at-the-monitor",
        "a program linked where the monitor is, and placed there",
        "isolation",
        |platform, spec| {
            let elf = fixed(platform, platform.monitor());
            (placed(spec, platform.monitor()), elf)
        },
    ),
    file(
        "placed-over-the-victim",
        "memory over that of the victim",
        "isolation base",
        |platform, spec| (placed(spec, victim_base(platform)), code::minimal(platform.arch())),
    ),
    file(
        "placed-over-a-device",
        "memory over the UART",
        "isolation base",
        |platform, spec| (placed(spec, platform.device()), code::minimal(platform.arch())),
    ),
    file(
        "placed-above-all",
        "memory that ends above all addresses",
        "isolation",
        |platform, spec| (placed(spec, u64::MAX - 4095), code::minimal(platform.arch())),
    ),
    file(
        "within-a-stranger",
        "memory within a cVM that does not serve",
        "within",
        |platform, spec| {
            let spec = CvmSpec {
                within: Some("victim".to_owned()),
                ..spec
            };
            (spec, code::minimal(platform.arch()))
        },
    ),
];

/// A purecap program that exits with 0.
fn minimal(platform: Platform) -> Purecap {
    let code = Assembler::new(platform.arch()).exit(0).elf(&[]);
    Purecap::new(platform.arch(), &code.loads[0].data)
}

/// A purecap program that asks for a capability in its first slot.
fn minting(platform: Platform, object: impl FnOnce(&Purecap) -> (u64, u64), kind: Kind) -> Elf {
    let mut program = minimal(platform);
    let (start, size) = object(&program);
    let slot = program.slot(0);
    ask(&mut program, slot, start, size, kind);
    program.to_elf()
}

/// Adds the relocation that makes a capability, as the toolchain of the architecture writes it.
fn ask(program: &mut Purecap, location: u64, object: u64, size: u64, kind: Kind) {
    match program.arch {
        Architecture::CheriRiscv => program.cap_relocs.push(CapReloc {
            location,
            object,
            offset: 0,
            size,
            permissions: match kind {
                Kind::Data => 0,
                Kind::Constant => CAP_RELOC_CONSTANT,
                Kind::Function => CAP_RELOC_FUNCTION,
            },
        }),
        Architecture::Morello => {
            program.relocations.push(Rela {
                location,
                kind: R_MORELLO_RELATIVE,
                symbol: 0,
                addend: 0,
            });
            program.fragments.push(Fragment {
                location,
                start: object,
                length: size,
                permissions: match kind {
                    Kind::Data => FRAGMENT_DATA,
                    Kind::Constant => FRAGMENT_CONSTANT,
                    Kind::Function => FRAGMENT_FUNCTION,
                },
            });
        }
    }
}

/// The file, where what a fragment describes is not among its bytes.
fn program_without_fragment(mut program: Purecap) -> Elf {
    program.fragments.clear();
    program.to_elf()
}

/// The least program, linked at an address.
fn fixed(platform: Platform, base: u64) -> Elf {
    let mut elf = code::minimal(platform.arch());
    elf.kind = ET_EXEC;
    elf.entry += base;
    for load in &mut elf.loads {
        load.address += base;
    }
    elf
}

/// With memory at an address.
fn placed(spec: CvmSpec, base: u64) -> CvmSpec {
    CvmSpec {
        isolation_base: Some(base),
        isolation_size: Some(0x10_0000),
        ..spec
    }
}
