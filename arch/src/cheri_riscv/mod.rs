//! CHERI-RISC-V, 64 bit: ISAv9, and ISAv8 found out at run time. The monitor runs in M-mode, hybrid; cVMs in U-mode.

#[macro_use]
mod instructions;

mod device;
mod fault;
mod float;
mod frame;
pub mod protection;
mod slot;
pub(crate) mod switcher;
mod trap;
mod variant;
mod word;

pub use crate::board::{FatalHandler, Handler, caller, root};
pub use device::{
    NEEDED, USUAL_WINDOWS, console, interrupts, known, note_device, power_off, timer, virtio, wall_clock, window,
};
pub use fault::describe;
pub use frame::Frame;
pub use slot::{Slot, address_base, representable};
pub(crate) use slot::{faithful, privileged};
pub use trap::{install, resume};
pub use variant::{isa, physical, pointer, relocates};
pub(crate) use word::load_word;

use crate::board::MONITOR_FRAME;
use crate::types::{DeriveError, Relocation};
use abi::elf;
use capability::Decoded;
use core::arch::asm;

/// ELF machine number of monitor and cVMs (EM_RISCV).
pub const ELF_MACHINE: u16 = 243;
/// ELF header flags that mark a purecap program.
pub const ELF_PURECAP_FLAGS: u32 = elf::EF_RISCV_CHERIABI | elf::EF_RISCV_CAP_MODE;
/// Whether ELF header flags ask for what a cVM does not have: registers of quadruple precision (EF_RISCV_FLOAT_ABI_QUAD).
pub fn refuses_elf_flags(flags: u32) -> bool {
    flags & 0x6 == 0x6
}
/// Whether those flags say what a program does.
pub const FLOAT_IS_SAID: bool = true;
/// Whether ELF header flags ask for floating point registers (EF_RISCV_FLOAT_ABI).
pub fn wants_float(flags: u32) -> bool {
    flags & 0x6 != 0
}
/// Bytes between the thread pointer and the TLS block, hybrid and purecap (RISC-V ELF psABI: variant I without a thread
/// control block).
pub const TLS_OFFSET: [u64; 2] = [0, 0];
/// Where a function that keeps a frame pointer has its return address and its caller's frame pointer, relative to its
/// own (RISC-V ELF psABI).
pub const BACKTRACE_RETURN: i64 = -8;
/// See [`BACKTRACE_RETURN`].
pub const BACKTRACE_PREVIOUS: i64 = -16;

/// What an ELF relocation type asks for; `None` when the loader does not know it.
pub fn relocation(kind: u32) -> Option<Relocation> {
    match kind {
        elf::R_RISCV_RELATIVE | elf::R_RISCV_FUNC_RELATIVE => Some(Relocation::Relative),
        elf::R_RISCV_CHERI_CAPABILITY | elf::R_RISCV_CHERI_CAPABILITY_CODE => Some(Relocation::Symbol),
        _ => None,
    }
}

unsafe extern "C" {
    fn intravisor_set_data(slot: *const u64);
}

/// There is no firmware.
pub fn keep_for_firmware() -> Option<Decoded> {
    None
}

/// First thing in Rust: takes note of what the reset code did. `bias` = what to add to a pointer for a physical
/// address.
///
/// # Errors
/// When the monitor's own frame cannot be given its authority.
pub fn init(bias: u64) -> Result<(), DeriveError> {
    variant::set_bias(bias);
    MONITOR_FRAME.attach(root())?;
    trap::init(root(), MONITOR_FRAME.own())
}

/// Makes `data` the monitor's own data capability. Its bounds must hold the monitor's stack, data and heap. Pointers
/// keep their meaning, because the capability keeps its address.
pub fn set_data(data: &Slot) {
    trap::set_data(data);
    // SAFETY: the kernel derived `data` over all memory that the monitor uses.
    unsafe { intravisor_set_data(data.pointer()) }
}

/// The address that the monitor's data capability must have: the origin of the monitor's pointers.
pub fn data_origin(base: u64) -> u64 {
    if relocates() { variant::bias() } else { base }
}

/// The monitor's own code capability as it is.
pub fn text() -> Decoded {
    // The processor forgets what PCC has once it is in a slot, so look at a copy.
    static COPY: Slot = Slot::null();
    // SAFETY: stores PCC to a live, aligned slot.
    unsafe {
        asm!(
            instruction!(SPECIAL "x6", "x0", "x0"),
            instruction!(SC "x6", 0, "{slot}"),
            "li x6, 0",
            slot = in(reg) COPY.pointer(),
            out("x6") _,
            options(nostack),
        );
    }
    let decoded = COPY.decoded();
    COPY.clear();
    decoded
}

/// The monitor's frame pointer, where a backtrace of the running code starts.
#[inline(always)]
pub fn frame_pointer() -> u64 {
    let pointer: u64;
    // SAFETY: reads s0.
    unsafe { asm!("mv {pointer}, s0", pointer = out(reg) pointer, options(nostack, nomem)) };
    pointer
}
