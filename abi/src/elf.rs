//! What program files say beyond the common parts of ELF: the monitor and the tools judge them apart, by the same numbers.

/// Page size of the second line of defence on both architectures, in bytes: segments with different owners or
/// permissions, and the memory of different cVMs, do not share a page.
pub const PAGE: u64 = 4096;

/// `e_flags`, RISC-V: written for the CHERI pure-capability ABI.
pub const EF_RISCV_CHERIABI: u32 = 0x0001_0000;
/// `e_flags`, RISC-V: starts in capability mode.
pub const EF_RISCV_CAP_MODE: u32 = 0x0002_0000;
/// `e_flags`, Morello: written for the pure-capability ABI.
pub const EF_AARCH64_CHERI_PURECAP: u32 = 0x0001_0000;

/// `r_type`, RISC-V: a word, the load bias added to its addend.
pub const R_RISCV_RELATIVE: u32 = 3;
/// `r_type`, RISC-V: a capability to a symbol.
pub const R_RISCV_CHERI_CAPABILITY: u32 = 193;
/// `r_type`, RISC-V: as R_RISCV_RELATIVE, for a word with the address of a function (CHERI Alliance LLVM,
/// `llvm/include/llvm/BinaryFormat/ELFRelocs/RISCV.def`, as the next one).
pub const R_RISCV_FUNC_RELATIVE: u32 = 194;
/// `r_type`, RISC-V: a capability to a function that nothing else may take the place of.
pub const R_RISCV_CHERI_CAPABILITY_CODE: u32 = 195;
/// `r_type`, AArch64: a word, the load bias added to its addend.
pub const R_AARCH64_RELATIVE: u32 = 1027;
/// `r_type`, Morello: a capability to a symbol, its contents initialised.
pub const R_MORELLO_CAPINIT: u32 = 0xe800;
/// `r_type`, Morello: a capability to a symbol, in the global offset table.
pub const R_MORELLO_GLOB_DAT: u32 = 0xe801;
/// `r_type`, Morello: a capability to a function, for the procedure linkage table.
pub const R_MORELLO_JUMP_SLOT: u32 = 0xe802;
/// `r_type`, Morello: a capability that its place describes: address, 56 bits of length, 8 bits of permissions.
pub const R_MORELLO_RELATIVE: u32 = 0xe803;

/// Permissions of an entry of `__cap_relocs`: a function.
pub const CAP_RELOC_FUNCTION: u64 = 1 << 63;
/// Permissions of an entry of `__cap_relocs`: a constant object.
pub const CAP_RELOC_CONSTANT: u64 = 1 << 62;
/// Permissions of an entry of `__cap_relocs`, together with those of a function: a certain place in it, which nothing else
/// may take the place of (CHERI LLVM, `lld/ELF/Arch/Cheri.cpp`). Of its other bits, `indirect` (2^61) asks for a call of the
/// program while it is loaded, and `dontSeal` (2^59) for code that is no entry: both are refused.
pub const CAP_RELOC_CODE: u64 = 1 << 60;
/// Permissions of a fragment of [`R_MORELLO_RELATIVE`]: constant data.
pub const FRAGMENT_CONSTANT: u8 = 1;
/// Permissions of a fragment of [`R_MORELLO_RELATIVE`]: data.
pub const FRAGMENT_DATA: u8 = 2;
/// Permissions of a fragment of [`R_MORELLO_RELATIVE`]: code.
pub const FRAGMENT_FUNCTION: u8 = 4;
