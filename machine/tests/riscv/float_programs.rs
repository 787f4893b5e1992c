//! Random floating-point programs: the machine ends each in the same state as the reference emulator.
//!
//! An image holds a few hundred *cases*: registers, `fcsr` and memory, nine instructions on them, and a digest of what has become
//! of all that. Where a CHERI QEMU is found, on PATH or by `INTRAVISOR_QEMU_RISCV64CHERI`, both run the same image; without it
//! the digests are compared with those that it printed once (`float_programs.expected`, which
//! `INTRAVISOR_RECORD=1 cargo test -p machine float_programs` writes anew). `INTRAVISOR_SEEDS=100` makes 2,000 cases of each of so many
//! seeds, where there is a QEMU.
//!
//! Where a fused multiplication finds infinity times zero and a quiet NaN to add, the reference does not say that this is invalid, which the
//! manual wants (volume I, *Single-Precision Floating-Point Computational Instructions*): such a case may differ.
//! Not in any case, since the reference follows an older manual: a signalling NaN as operand of FMIN or FMAX. Not in the digest:
//! `mstatus.FS`, which the reference does not set where an instruction raises flags and writes an integer register.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use machine::Stop;
use machine::riscv::{Board, Config, Until, disassemble};

use crate::lab::{i, image, r, s};

/// Executes the cases and prints a digest of each; all words of the digest before it when [`VERBOSE`] is not zero.
/// x8: memory of the cases, x18: this case, x19: end of the cases, x20: UART, x21: traps, x24: digest, x27: start.
const HARNESS: [u32; 100] = [
    0x0000_0d97, // start:   auipc x27, 0
    0x1000_0a37, //          lui x20, 0x10000
    0x300d_8293, //          addi x5, x27, 0x300
    0x3052_9073, //          csrw mtvec, x5
    0x400d_8413, //          addi x8, x27, 0x400
    0x7f8d_8913, //          addi x18, x27, 0x7f8
    0x0089_0913, //          addi x18, x18, 8
    0x3f0d_b983, //          ld x19, 0x3f0(x27)
    0x3f8d_bd03, //          ld x26, 0x3f8(x27)
    0x3e8d_bc83, //          ld x25, 0x3e8(x27)
    0x0000_6337, // case:    lui x6, 6
    0x3003_2073, //          csrs mstatus, x6
    0x0609_3283, //          ld x5, 96(x18)
    0x0032_9073, //          csrw fcsr, x5
    0x0009_3007, //          fld f0, 0(x18)
    0x0089_3087, //          fld f1, 8(x18)
    0x0109_3107, //          fld f2, 16(x18)
    0x0189_3187, //          fld f3, 24(x18)
    0x0209_3207, //          fld f4, 32(x18)
    0x0289_3287, //          fld f5, 40(x18)
    0x0309_3307, //          fld f6, 48(x18)
    0x0389_3387, //          fld f7, 56(x18)
    0x0044_3027, //          fsd f4, 0(x8)
    0x0054_3427, //          fsd f5, 8(x8)
    0x0064_3827, //          fsd f6, 16(x8)
    0x0074_3c27, //          fsd f7, 24(x8)
    0x0409_3503, //          ld x10, 64(x18)
    0x0489_3583, //          ld x11, 72(x18)
    0x0509_3603, //          ld x12, 80(x18)
    0x0589_3683, //          ld x13, 88(x18)
    0x0000_0a93, //          li x21, 0
    0x0689_0293, //          addi x5, x18, 104
    0x0002_80e7, //          jalr x1, x5
    0x0030_2bf3, //          csrr x23, fcsr
    0x7ff0_0c13, //          li x24, 0x7ff
    0xe200_02d3, //          fmv.x.d x5, f0
    0x0b80_00ef, //          jal x1, word
    0xe200_82d3, //          fmv.x.d x5, f1
    0x0b00_00ef, //          jal x1, word
    0xe201_02d3, //          fmv.x.d x5, f2
    0x0a80_00ef, //          jal x1, word
    0xe201_82d3, //          fmv.x.d x5, f3
    0x0a00_00ef, //          jal x1, word
    0xe202_02d3, //          fmv.x.d x5, f4
    0x0980_00ef, //          jal x1, word
    0xe202_82d3, //          fmv.x.d x5, f5
    0x0900_00ef, //          jal x1, word
    0xe203_02d3, //          fmv.x.d x5, f6
    0x0880_00ef, //          jal x1, word
    0xe203_82d3, //          fmv.x.d x5, f7
    0x0800_00ef, //          jal x1, word
    0x0005_0293, //          mv x5, x10
    0x0780_00ef, //          jal x1, word
    0x0005_8293, //          mv x5, x11
    0x0700_00ef, //          jal x1, word
    0x0006_0293, //          mv x5, x12
    0x0680_00ef, //          jal x1, word
    0x0006_8293, //          mv x5, x13
    0x0600_00ef, //          jal x1, word
    0x000b_8293, //          mv x5, x23
    0x0580_00ef, //          jal x1, word
    0x000a_8293, //          mv x5, x21
    0x0500_00ef, //          jal x1, word
    0x0004_3283, //          ld x5, 0(x8)
    0x0480_00ef, //          jal x1, word
    0x0084_3283, //          ld x5, 8(x8)
    0x0400_00ef, //          jal x1, word
    0x0104_3283, //          ld x5, 16(x8)
    0x0380_00ef, //          jal x1, word
    0x0184_3283, //          ld x5, 24(x8)
    0x0300_00ef, //          jal x1, word
    0x000c_0293, //          mv x5, x24
    0x03c0_00ef, //          jal x1, hex
    0x00a0_0313, //          li x6, 10
    0x006a_0023, //          sb x6, 0(x20)
    0x0909_0913, //          addi x18, x18, 144
    0xef39_1ce3, //          bne x18, x19, case
    0x0000_52b7, //          lui x5, 0x5
    0x5552_8293, //          addi x5, x5, 0x555
    0x0010_0337, //          lui x6, 0x100
    0x0053_2023, //          sw x5, 0(x6)
    0x0000_006f, // stay:    j stay
    0x005c_4c33, // word:    xor x24, x24, x5
    0x039c_0c33, //          mul x24, x24, x25
    0x020c_5313, //          srli x6, x24, 32
    0x006c_4c33, //          xor x24, x24, x6
    0x020d_0a63, //          beqz x26, return
    0x03c0_0313, // hex:     li x6, 60
    0x0062_d3b3, // digit:   srl x7, x5, x6
    0x00f3_f393, //          andi x7, x7, 15
    0x0303_8393, //          addi x7, x7, 48
    0x03a0_0713, //          li x14, 58
    0x00e3_c463, //          blt x7, x14, print
    0x0273_8393, //          addi x7, x7, 39
    0x007a_0023, // print:   sb x7, 0(x20)
    0xffc3_0313, //          addi x6, x6, -4
    0xfe03_50e3, //          bgez x6, digit
    0x0200_0393, //          li x7, 32
    0x007a_0023, //          sb x7, 0(x20)
    0x0000_8067, // return:  ret
];
const HANDLER_OFFSET: usize = 0x300;
/// Gathers the causes in x21 and skips the instruction.
const HANDLER: [u32; 10] = [
    0x3420_22f3, // handler: csrr x5, mcause
    0x005a_9313, //          slli x6, x21, 5
    0x4153_0333, //          sub x6, x6, x21
    0x0053_0ab3, //          add x21, x6, x5
    0x3430_22f3, //          csrr x5, mtval
    0x005a_8ab3, //          add x21, x21, x5
    0x3410_22f3, //          csrr x5, mepc
    0x0042_8293, //          addi x5, x5, 4
    0x3412_9073, //          csrw mepc, x5
    0x3020_0073, //          mret
];
/// Eight bytes each.
const MULTIPLIER: usize = 0x3e8;
const END: usize = 0x3f0;
const VERBOSE: usize = 0x3f8;
const CASES: usize = 0x800;
const START: u64 = 0x8000_0000;

/// What the words of a digest are, in their order.
const NAMES: [&str; 18] = [
    "f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "x10", "x11", "x12", "x13", "fcsr", "traps", "0(x8)", "8(x8)",
    "16(x8)", "24(x8)",
];

const RETURN: u32 = 0x0000_8067;
const NOP: u32 = 0x0000_0013;

/// Registers and `fcsr` at the start, and the program.
#[derive(Clone)]
struct Case {
    floats: [u64; 8],
    integers: [u64; 4],
    fcsr: u64,
    program: [u32; 9],
}

/// Marsaglia's xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u32) -> u32 {
        (((self.next() >> 32) * u64::from(end)) >> 32) as u32
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u32) as usize]
    }
}

const BOX: u64 = 0xffff_ffff_0000_0000;

fn signalling_double(bits: u64) -> bool {
    bits << 1 > 0x7ff0_0000_0000_0000 << 1 && bits & 1 << 51 == 0
}

fn signalling_single(bits: u64) -> bool {
    let bits = bits as u32;
    bits << 1 > 0x7f80_0000 << 1 && bits & 1 << 22 == 0
}

/// A number of a format, mostly with few digits and near the ends of the range, or NaN.
fn number(random: &mut Random, fraction_width: u32, exponent_width: u32) -> u64 {
    let fraction = (1u64 << fraction_width) - 1;
    let greatest = (1u64 << exponent_width) - 1;
    let bias = greatest / 2;
    let near = u64::from(random.below(2 * fraction_width));
    let exponent = match random.below(8) {
        0 => 0,
        1 => u64::from(random.below(3)),
        2 => greatest - u64::from(random.below(4)),
        3 | 4 => bias + near - u64::from(fraction_width),
        5 | 6 => bias + near / 16,
        _ => random.next() & greatest,
    };
    let digits = match random.below(6) {
        0 => 0,
        1 => fraction,
        2 => fraction << random.below(fraction_width) & fraction,
        3 => 1 << random.below(fraction_width),
        _ => random.next() & fraction,
    };
    (random.next() & 1) << (fraction_width + exponent_width) | exponent << fraction_width | digits
}

/// What a register may hold: doubles, singles, singles that are not boxed, anything.
fn value(random: &mut Random, signalling: bool) -> u64 {
    loop {
        let value = match random.below(16) {
            0..8 => number(random, 52, 11),
            8..14 => BOX | number(random, 23, 8),
            14 => number(random, 23, 8) | u64::from(random.below(0xffff)) << 40,
            _ => random.next(),
        };
        let made = signalling_double(value) || value & BOX == BOX && signalling_single(value);
        if signalling || !made {
            return value;
        }
    }
}

/// An integer near the limits of its kinds.
fn integer(random: &mut Random) -> u64 {
    let edge = 1u64 << random.one_of(&[0, 23, 24, 31, 32, 52, 53, 54, 62, 63]);
    match random.below(4) {
        0 => edge.wrapping_add(u64::from(random.below(5))).wrapping_sub(2),
        1 => edge
            .wrapping_neg()
            .wrapping_add(u64::from(random.below(5)))
            .wrapping_sub(2),
        2 => (random.next() as i64 >> random.below(64)) as u64,
        _ => random.next(),
    }
}

/// One instruction on f0 to f7, x10 to x13 and the memory at x8. Without `signalling`, none that can make a signalling NaN of
/// other values; with it, neither FMIN nor FMAX.
fn instruction(random: &mut Random, signalling: bool) -> u32 {
    let [fd, fs1, fs2, fs3] = [(); 4].map(|()| random.below(8));
    let x = 10 + random.below(4);
    let double = random.below(2);
    let rounding = random.one_of(&[0, 1, 2, 3, 4, 7, 7, 7, 0, 1, 2, 3, 4, 7, 7, 7, 0, 0, 0, 5, 6]);
    let offset = 8 * random.below(4) as i32;
    let half = offset + 4 * random.below(2) as i32;
    let compute = |function: u32, funct3, rd, rs1, rs2| r(0x53, funct3, function << 2 | double, rd, rs1, rs2);
    let fused = |opcode| r(opcode, rounding, fs3 << 2 | double, fd, fs1, fs2);
    match random.below(25) {
        0..3 => compute(0x00, rounding, fd, fs1, fs2),
        3..5 => compute(0x01, rounding, fd, fs1, fs2),
        5..7 => compute(0x02, rounding, fd, fs1, fs2),
        7..9 => compute(0x03, rounding, fd, fs1, fs2),
        9 => compute(0x0b, rounding, fd, fs1, 0),
        10 => fused(0x43),
        11 => fused(0x47),
        12 => fused(0x4b),
        13 => fused(0x4f),
        14 => compute(0x04, random.below(3), fd, fs1, fs2),
        15 if signalling => compute(0x1e, 0, fd, x, 0),
        15 => compute(0x05, random.below(2), fd, fs1, fs2),
        16 => compute(0x08, rounding, fd, fs1, 1 - double),
        17 => compute(0x14, random.below(3), x, fs1, fs2),
        18 | 19 => compute(0x18, rounding, x, fs1, random.below(4)),
        20 => compute(0x1a, rounding, fd, x, random.below(4)),
        21 => compute(0x1c, random.below(2), x, fs1, 0),
        22 if signalling => random.one_of(&[i(0x07, 2, fd, 8, half), s(2, fd, 8, half) | 0x04]),
        22 => random.one_of(&[i(0x07, 3, fd, 8, offset), s(3, fd, 8, offset) | 0x04]),
        // CSRRS, CSRRW and CSRRWI of fflags, frm and fcsr; the second with what an earlier instruction left in x.
        23 => i(
            0x73,
            random.one_of(&[1, 2]),
            x,
            random.one_of(&[0, x]),
            random.one_of(&[1, 2, 3]),
        ),
        _ => i(0x73, 5, x, random.below(8), random.one_of(&[1, 2])),
    }
}

fn case(random: &mut Random) -> Case {
    let signalling = random.below(2) == 0;
    let mode = random.one_of(&[0, 0, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6, 7]);
    let any = random.next() & 31;
    let flags = random.one_of(&[0, 0, 1, any]);
    let mut program = [0; 9];
    program.fill_with(|| instruction(random, signalling));
    Case {
        floats: [(); 8].map(|()| value(random, signalling)),
        integers: [(); 4].map(|()| integer(random)).map(|integer| {
            let made = !signalling && signalling_double(integer);
            if made { 0 } else { integer }
        }),
        fcsr: mode << 5 | flags,
        program,
    }
}

fn build(cases: &[Case], verbose: bool) -> Vec<u8> {
    let mut bytes = image(&HARNESS);
    bytes.resize(HANDLER_OFFSET, 0);
    bytes.extend(image(&HANDLER));
    bytes.resize(CASES, 0);
    for case in cases {
        let numbers = case.floats.iter().chain(&case.integers).chain([&case.fcsr]);
        bytes.extend(numbers.flat_map(|number| number.to_le_bytes()));
        bytes.extend(image(&case.program));
        bytes.extend(image(&[RETURN]));
    }
    let end = START + bytes.len() as u64;
    for (offset, value) in [
        (MULTIPLIER, 0x9e37_79b9_7f4a_7c15),
        (END, end),
        (VERBOSE, u64::from(verbose)),
    ] {
        bytes[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

fn on_machine(image: Vec<u8>) -> String {
    let mut board = Board::new(Config::new(image)).expect("the image fits the board");
    assert_eq!(board.run(Until::exit(100_000_000)), Stop::Exit(0));
    board.console().text()
}

/// The reference emulator, if it is there.
fn reference() -> Option<PathBuf> {
    let named = std::env::var_os("INTRAVISOR_QEMU_RISCV64CHERI").map(PathBuf::from);
    named.or_else(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut programs = std::env::split_paths(&path).map(|folder| folder.join("qemu-system-riscv64cheri"));
        programs.find(|program| program.is_file())
    })
}

fn on_reference(program: &Path, name: &str, image: &[u8]) -> String {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&file, image).expect("the image can be written");
    let options = [
        "-M",
        "virt",
        "-cpu",
        "rv64,Xcheri_v9=true",
        "-m",
        "128M",
        "-bios",
        "none",
        "-nographic",
        "-kernel",
    ];
    let output = Command::new(program)
        .args(options.map(OsString::from).into_iter().chain([file.into_os_string()]))
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    assert!(output.status.success(), "{}: {}", program.display(), output.status);
    String::from_utf8(output.stdout)
        .expect("the image prints digits")
        .replace('\r', "")
}

/// What the two make of one case, word by word.
fn explain(case: &Case, program: &Path) -> String {
    let image = build(std::slice::from_ref(case), true);
    let (ours, theirs) = (
        on_machine(image.clone()),
        on_reference(program, "float-case.bin", &image),
    );
    let mut text = String::from("program:\n");
    for word in case.program.iter().filter(|word| **word != NOP) {
        text += &format!("    {}\n", disassemble(*word, false));
    }
    let start = case.floats.iter().chain(&case.integers).chain([&case.fcsr]);
    let (mut ours, mut theirs) = (ours.split_whitespace(), theirs.split_whitespace());
    for (name, start) in NAMES.iter().zip(start.map(Some).chain([None; 5])) {
        let start = start.map_or_else(String::new, |start| format!("{start:016x}"));
        let (ours, theirs) = (ours.next().unwrap_or("nothing"), theirs.next().unwrap_or("nothing"));
        let mark = if ours == theirs { "" } else { "  <<<" };
        text += &format!("{name:>7}: {start:16} -> {ours} here, {theirs} there{mark}\n");
    }
    text
}

/// The case without the instructions that make no difference to whether the two differ.
fn shrink(mut case: Case, program: &Path) -> Case {
    for index in 0..case.program.len() {
        let kept = std::mem::replace(&mut case.program[index], NOP);
        let image = build(std::slice::from_ref(&case), false);
        if on_machine(image.clone()) == on_reference(program, "float-case.bin", &image) {
            case.program[index] = kept;
        }
    }
    case
}

fn cases(seed: u64, count: usize) -> Vec<Case> {
    let mut random = Random(seed);
    (0..count).map(|_| case(&mut random)).collect()
}

/// The flag for an invalid operation.
const INVALID: u64 = 16;
/// The last of the words of a case's state that are registers.
const FCSR: usize = 12;

/// Whether a fused multiplication of the case multiplies infinity by zero, of which the reference does not say that this is invalid when a
/// quiet NaN is added: the product alone is, to both, and nothing before it.
fn multiplies_infinity_by_zero(case: &Case, program: &Path) -> bool {
    let invalid = |index, word| {
        let mut case = case.clone();
        case.fcsr &= !INVALID;
        case.program[index] = word;
        case.program[index + 1..].fill(NOP);
        let image = build(std::slice::from_ref(&case), true);
        [
            on_machine(image.clone()),
            on_reference(program, "float-case.bin", &image),
        ]
        .map(|state| {
            let fcsr = state.split_whitespace().nth(FCSR).expect("all registers");
            u64::from_str_radix(fcsr, 16).expect("a number") & INVALID != 0
        })
    };
    let mut fused =
        (0..case.program.len()).filter(|index| matches!(case.program[*index] & 0x7f, 0x43 | 0x47 | 0x4b | 0x4f));
    fused.any(|index| {
        // The same format, operands, rounding and destination: FMUL.
        let product = case.program[index] & 0x07ff_ff80 | 0x53 | 0x02 << 27;
        invalid(index, NOP) == [false; 2] && invalid(index, product) == [true; 2]
    })
}

/// Compares with the reference emulator what is compared with its record where it is not there.
fn agree_with_reference(program: &Path, seed: u64, count: usize) -> String {
    let cases = cases(seed, count);
    let image = build(&cases, false);
    let ours = on_machine(image.clone());
    let theirs = on_reference(program, &format!("float-programs-{seed}.bin"), &image);
    assert_eq!([ours.lines().count(), theirs.lines().count()], [count; 2]);
    let both = ours.lines().zip(theirs.lines());
    for (number, (case, _)) in cases
        .into_iter()
        .zip(both)
        .enumerate()
        .filter(|(_, (_, (ours, theirs)))| ours != theirs)
    {
        let case = shrink(case, program);
        if !multiplies_infinity_by_zero(&case, program) {
            panic!("case {number} of seed {seed} differs\n{}", explain(&case, program));
        }
        println!("case {number} of seed {seed}: infinity times zero and a quiet NaN, on which the reference is silent");
    }
    ours
}

const SEED: u64 = 20_240_607;
const COUNT: usize = 1000;
/// Seeds of which both execute the cases besides, unless the environment says how many: `INTRAVISOR_SEEDS=100`.
const SEEDS: u64 = 5;
const MORE: &str = "INTRAVISOR_SEEDS";

/// The last eight digits of each digest.
fn record(printed: &str) -> String {
    let digests = printed.lines().map(|line| line.trim_end());
    digests
        .map(|digest| format!("{}\n", &digest[digest.len() - 8..]))
        .collect()
}

#[test]
fn every_program_ends_as_on_the_reference_emulator() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/riscv/float_programs.expected");
    let ours = match reference() {
        Some(program) => {
            let seeds = std::env::var(MORE).map_or(SEEDS, |text| {
                text.parse()
                    .unwrap_or_else(|_| panic!("{MORE}={text}: expected a number of seeds"))
            });
            for seed in 1..=seeds {
                agree_with_reference(&program, seed, 2 * COUNT);
            }
            agree_with_reference(&program, SEED, COUNT)
        }
        None => on_machine(build(&cases(SEED, COUNT), false)),
    };
    if std::env::var_os("INTRAVISOR_RECORD").is_some() {
        assert!(
            reference().is_some(),
            "only what the reference emulator printed is recorded, and there is none"
        );
        fs::write(&recorded, record(&ours)).expect("the record can be written");
    }
    let expected = fs::read_to_string(&recorded).expect("the record is there");
    let mut lines = record(&ours)
        .lines()
        .map(str::to_owned)
        .zip(expected.lines())
        .collect::<Vec<_>>()
        .into_iter();
    assert_eq!(expected.lines().count(), COUNT);
    assert_eq!(
        lines.position(|(ours, expected)| ours != expected),
        None,
        "number of the first case that differs"
    );
}
