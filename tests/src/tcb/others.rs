//! Other trusted computing bases, counted the same way.

/// A system, and what of it must be right for isolation.
pub(super) struct Other {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    /// Lines of C, C++ or Rust.
    pub(super) lines: Option<u64>,
    pub(super) assembly: Option<u64>,
    /// `unsafe` blocks, where the language has them.
    pub(super) unsafe_blocks: Option<u64>,
    /// Commit, files and configuration.
    pub(super) how: &'static str,
}

pub(super) const OTHERS: [Other; 5] = [
    Other {
        name: "seL4",
        what: "kernel, AArch64 with hypervisor, the configuration with proofs",
        lines: Some(17_044),
        assembly: Some(217),
        unsafe_blocks: None,
        how: "seL4/seL4 at 1326364bc913, `configs/AARCH64_verified.cmake`: the files that `config.cmake` lists for platform tx2 with \
              GICv2 and generic timer (10,530 lines) and all headers and `.bf` files of the kernel but those of other architectures \
              and devices (6,514). First `unifdef` with this configuration: `CONFIG_ARCH_AARCH64`, `ARCH_ARM_V8A`, `ARM_CORTEX_A57`, \
              `ARM_HYPERVISOR_SUPPORT`, `VERIFICATION_BUILD`, `FASTPATH`, `HAVE_FPU`, `ALLOW_SMC_CALLS`, `PLAT_TX2`, `MAX_NUM_NODES=1`; \
              all other switches undefined. Functional correctness is proved of the C, not of assembly and boot code; no drivers, no loader of programs, no \
              console but for debugging: these are in user mode or before it.",
    },
    Other {
        name: "CHERIoT RTOS",
        what: "loader, switcher, allocator, scheduler, token library",
        lines: Some(12_060),
        assembly: Some(747),
        unsafe_blocks: None,
        how: "CHERIoT-Platform/cheriot-rtos at b06a7bb79ba8: `sdk/core` (6,898 lines) and the headers of `sdk/include` that it \
              includes, for the generic platform, libraries of others (C++ standard library, `magic_enum`, `libdivide`) left out (5,162). The loader is \
              erased before anything else runs; the scheduler is trusted for availability only.",
    },
    Other {
        name: "Hubris",
        what: "kernel, Arm M profile",
        lines: Some(3_445),
        assembly: Some(354),
        unsafe_blocks: Some(64),
        how: "oxidecomputer/hubris at 4c371f01d1d5: `sys/kern`, `sys/kerncore`, `sys/abi`, `lib/armv8-m-mpu`, `lib/phash`, \
              `lib/unwrap-lite`, without crates of others (`cortex-m`, `zerocopy`, `serde`, `ssmarshal`, `bitflags`). Tasks are fixed when it is \
              built, so there is no loader and no allocation; memory is protected by the MPU.",
    },
    Other {
        name: "Intravisor",
        what: "the monitor, a process of CheriBSD, RISC-V",
        lines: Some(13_563),
        assembly: Some(157),
        unsafe_blocks: None,
        how: "the last commit by its authors that a public fork has (nerdbugg/intravisor, b59347d27dcc, April 2022): what `src/Makefile` \
              compiles, with headers: its own (5,398 lines, 157 of assembly) and libyaml in it (8,165). It has the authority of a CheriBSD process.",
    },
    Other {
        name: "CheriBSD under it",
        what: "kernel",
        lines: None,
        assembly: None,
        unsafe_blocks: None,
        how: "not counted: its sources could not be had whole. All of that kernel is trusted, as are the `mmap` and `sysarch` by which the Intravisor gets its \
              memory and capabilities.",
    },
];
