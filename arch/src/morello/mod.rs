//! Morello. The monitor runs at EL1, hybrid A64, Executive; cVMs run at EL0, Restricted.

#[macro_use]
mod instructions;

mod device;
mod fault;
mod float;
mod frame;
mod gic;
mod power;
pub mod protection;
mod slot;
pub(crate) mod switcher;
mod trap;
mod word;

pub use crate::board::{FatalHandler, Handler, caller, root};
pub use device::{NEEDED, USUAL_WINDOWS, console, known, note_device, timer, virtio, wall_clock, window};
pub use fault::describe;
pub use frame::Frame;
pub use gic::interrupts;
pub use power::{keep_for_firmware, power_off};
pub use slot::{Slot, address_base, representable};
pub(crate) use slot::{faithful, privileged};
pub use trap::{install, resume};
pub(crate) use word::load_word;

use crate::types::{DeriveError, Relocation};
use abi::elf;
use capability::Decoded;
use core::arch::asm;

/// ELF machine number of monitor and cVMs (EM_AARCH64).
pub const ELF_MACHINE: u16 = 183;
/// ELF header flag that marks a purecap program.
pub const ELF_PURECAP_FLAGS: u32 = elf::EF_AARCH64_CHERI_PURECAP;
/// Bytes between the thread pointer and the TLS block, hybrid and purecap (ELF for the Arm 64-bit architecture: variant I, a
/// thread control block of two pointers; of capabilities in a purecap program: Morello LLVM, `getTlsTpOffset` of
/// `lld/ELF/InputSection.cpp`, and binutils, `ld/testsuite/ld-aarch64/morello-tlsle.d`).
pub const TLS_OFFSET: [u64; 2] = [16, 32];
/// Whether ELF header flags ask for what a cVM does not have: none does.
pub fn refuses_elf_flags(_flags: u32) -> bool {
    false
}
/// Whether those flags say what a program does.
pub const FLOAT_IS_SAID: bool = false;
/// Whether ELF header flags ask for floating point registers: every program has them.
pub fn wants_float(_flags: u32) -> bool {
    true
}
/// Where a function that keeps a frame pointer has its return address and its caller's frame pointer, relative to its
/// own (Procedure Call Standard for the Arm 64-bit architecture: the frame record).
pub const BACKTRACE_RETURN: i64 = 8;
/// See [`BACKTRACE_RETURN`].
pub const BACKTRACE_PREVIOUS: i64 = 0;

unsafe extern "C" {
    fn intravisor_set_data(slot: *const u64);
    fn intravisor_own(code: *mut u64, data: *mut u64);
}

/// What an ELF relocation type asks for; `None` when the loader does not know it (ELF for the Arm 64-bit architecture, and
/// its Morello supplement).
pub fn relocation(kind: u32) -> Option<Relocation> {
    match kind {
        elf::R_AARCH64_RELATIVE => Some(Relocation::Relative),
        elf::R_MORELLO_CAPINIT | elf::R_MORELLO_GLOB_DAT | elf::R_MORELLO_JUMP_SLOT => Some(Relocation::Symbol),
        elf::R_MORELLO_RELATIVE => Some(Relocation::Fragment),
        _ => None,
    }
}

/// First thing in Rust: nothing is left to prepare. `bias` is 0: the processor does not relocate.
///
/// # Errors
/// None on this architecture.
pub fn init(_bias: u64) -> Result<(), DeriveError> {
    Ok(())
}

/// Makes `data` the monitor's own data capability. Its bounds must hold the monitor's stack, data and heap.
pub fn set_data(data: &Slot) {
    // SAFETY: the kernel derived `data` over all memory that the monitor uses.
    unsafe { intravisor_set_data(data.pointer()) }
}

/// The address that the monitor's data capability must have: it plays no role.
pub fn data_origin(base: u64) -> u64 {
    base
}

/// The monitor's own code and data capabilities as they are.
fn own() -> [Decoded; 2] {
    static COPIES: [Slot; 2] = [Slot::null(), Slot::null()];
    let [code, data] = &COPIES;
    // SAFETY: stores PCC and DDC to live, aligned slots.
    unsafe { intravisor_own(code.pointer(), data.pointer()) };
    let decoded = [code.decoded(), data.decoded()];
    COPIES.iter().for_each(Slot::clear);
    decoded
}

/// The monitor's own code capability as it is.
pub fn text() -> Decoded {
    own()[0]
}

/// Whether integer addresses are relocated by DDC and PCC: never, CCTLR_EL0.DDCBO and PCCBO stay 0.
pub fn relocates() -> bool {
    false
}

/// Physical address of something that belongs to the monitor: the map is the identity.
pub fn physical<T: ?Sized>(thing: *const T) -> u64 {
    thing.cast::<u8>() as u64
}

/// Pointer of the monitor to a physical address. Dereferencing it is checked against the monitor's data capability.
pub fn pointer(physical: u64) -> *mut u8 {
    physical as *mut u8
}

/// Name of the ISA for the log.
pub fn isa() -> &'static str {
    "Morello"
}

/// The monitor's frame pointer, where a backtrace of the running code starts.
#[inline(always)]
pub fn frame_pointer() -> u64 {
    let pointer: u64;
    // SAFETY: reads x29.
    unsafe { asm!("mov {pointer}, x29", pointer = out(reg) pointer, options(nostack, nomem)) };
    pointer
}
