//! How fast the machine is: millions of instructions a second for an integer loop, and for the raw kernels named on the
//! command line (`FILE` or `v8:FILE`). This is the one place where the wall clock matters.

use std::time::Instant;

use machine::Stop;
use machine::riscv::{Board, Config, Isa, Until};

/// Runs of a kernel, of which the fastest counts: other load on the computer is not the machine's.
const RUNS: usize = 5;

/// addi, xor, slli, add, add, bne in a loop of a million rounds, then the test finisher.
fn integer_loop() -> Vec<u8> {
    let words: [u32; 13] = [
        0x00f4_2537, // lui  a0, 0xf42
        0x0000_0593, // li   a1, 0
        0x00b5_c633, // xor  a2, a1, a1
        0x0015_8593, // addi a1, a1, 1
        0x00b6_4633, // xor  a2, a2, a1
        0x0016_1693, // slli a3, a2, 1
        0x00d6_0633, // add  a2, a2, a3
        0x40c6_86b3, // sub  a3, a3, a2
        0xfea5_96e3, // bne  a1, a0, -20
        0x0010_02b7, // lui  t0, 0x100
        0x0000_5337, // lui  t1, 0x5
        0x5553_0313, // addi t1, t1, 0x555
        0x0062_a023, // sw   t1, 0(t0)
    ];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Millions of instructions a second, the best of several runs.
fn measure(name: &str, isa: Isa, kernel: &[u8]) {
    let mut best = 0.0f64;
    let mut instructions = 0;
    for _ in 0..RUNS {
        let config = Config {
            isa,
            ..Config::new(kernel.to_vec())
        };
        let mut board = Board::new(config).expect("the kernel fits the board");
        let start = Instant::now();
        let stop = board.run(Until::exit(10_000_000_000));
        let seconds = start.elapsed().as_secs_f64();
        assert_eq!(stop, Stop::Exit(0), "{name}: {stop}");
        instructions = board.total_instructions();
        best = best.max(instructions as f64 / seconds / 1e6);
    }
    println!("{name:<24} {instructions:>12} instructions {best:>8.1} million a second");
}

fn main() {
    measure("integer loop", Isa::V9, &integer_loop());
    for argument in std::env::args().skip(1) {
        let (isa, path) = match argument.strip_prefix("v8:") {
            Some(path) => (Isa::V8, path),
            None => (Isa::V9, argument.as_str()),
        };
        match std::fs::read(path) {
            Ok(kernel) => measure(path, isa, &kernel),
            Err(error) => eprintln!("{path}: {error}"),
        }
    }
}
