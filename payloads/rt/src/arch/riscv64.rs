//! CHERI-RISC-V, hybrid: ordinary RV64 code below DDC and PCC.

use core::arch::{asm, global_asm};

use crate::capability::{Shape, Slot};

// FROM: the monitor, at the start of the cVM. LIVE: a0 = address of the start block, a1 = its size in bytes, sp = top of
// the stack, 16-byte aligned. The image is relocated, bss is zero. A zero frame pointer ends a backtrace.
global_asm!(
    ".section .text.start, \"ax\", @progbits",
    ".globl _start",
    ".type _start, @function",
    "_start:",
    "li s0, 0",
    "li ra, 0",
    "tail rt_start",
    ".size _start, . - _start",
    ".text",
);

// FROM: the monitor, when a thread begins. LIVE: a0 = what `thread_create` was given as the argument, sp = top of the thread's
// stack, tp = its thread pointer. A zero frame pointer ends a backtrace.
//
// rt_locals: the word of every thread's storage behind which `thread_local!` keeps its values.
global_asm!(
    ".section .text.thread, \"ax\", @progbits",
    ".globl rt_thread_start",
    ".type rt_thread_start, @function",
    "rt_thread_start:",
    "li s0, 0",
    "li ra, 0",
    "tail rt_thread_main",
    ".size rt_thread_start, . - rt_thread_start",
    ".section .tbss.rt_locals, \"awT\", @nobits",
    ".balign 8",
    ".type rt_locals, @object",
    ".size rt_locals, 8",
    "rt_locals:",
    ".zero 8",
    ".text",
);

/// The processor's name, as ELF files and `uname` know it.
pub const MACHINE: &str = "riscv64";

/// Bytes between the thread pointer and the storage (RISC-V ELF psABI).
pub(crate) const THREAD_CONTROL_BLOCK: usize = 0;

/// The counter of time.
#[inline]
pub(crate) fn counter() -> u64 {
    let count;
    // SAFETY: reads a counter.
    unsafe { asm!("rdtime {count}", count = out(reg) count, options(nostack, nomem)) };
    count
}

/// The thread pointer.
pub(crate) fn thread_pointer() -> u64 {
    let pointer;
    // SAFETY: reads a register.
    unsafe { asm!("mv {pointer}, tp", pointer = out(reg) pointer, options(nostack, nomem)) };
    pointer
}

/// Zeroes so many times 256 bytes, by stores of empty capabilities.
///
/// # Safety
/// The memory is the caller's; `start` is a multiple of 16.
pub(crate) unsafe fn zero_blocks(start: *mut u8, blocks: usize) {
    // SAFETY: the caller promises it.
    unsafe {
        asm!(
            "beqz {left}, 2f",
            "1:",
            ".irp offset, 0, 16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240",
            ".insn s 0x23, 4, x0, \\offset({at})", // SC cnull, offset(at)
            ".endr",
            "addi {at}, {at}, 256",
            "addi {left}, {left}, -1",
            "bnez {left}, 1b",
            "2:",
            at = inout(reg) start => _,
            left = inout(reg) blocks => _,
            options(nostack),
        );
    }
}

/// The calling thread's `rt_locals`.
pub(crate) fn locals() -> *mut u8 {
    let place;
    // SAFETY: computes an address in the thread's own storage (RISC-V ELF psABI, local exec).
    unsafe {
        asm!(
            "lui {place}, %tprel_hi(rt_locals)",
            "add {place}, {place}, tp, %tprel_add(rt_locals)",
            "addi {place}, {place}, %tprel_lo(rt_locals)",
            place = out(reg) place,
            options(nostack, nomem),
        );
    }
    place
}

/// Makes a hostcall and returns both result registers.
#[inline]
pub(crate) fn hostcall(number: u64, arguments: [u64; 6]) -> (u64, u64) {
    let [a0, a1, a2, a3, a4, a5] = arguments;
    let (first, second);
    // SAFETY: the convention leaves all other registers alone. The monitor touches memory only inside the buffer that
    // the arguments name; the wrappers in `hostcall` pass no buffer that they do not own, and this block is not `nomem`.
    unsafe {
        asm!(
            "ecall",
            in("a7") number,
            inlateout("a0") a0 => first,
            inlateout("a1") a1 => second,
            in("a2") a2,
            in("a3") a3,
            in("a4") a4,
            in("a5") a5,
            options(nostack),
        );
    }
    (first, second)
}

// FROM: the monitor, for a hostcall that this cVM serves. LIVE: a0-a5 (ca0-ca5) = the caller's arguments, a6 = its number,
// a7 = the hostcall's number, sp = top of the service stack as an address below DDC, ct0 = the capability over the service
// stack, at its top. Only this capability may store the lent ones: DDC has no Store_Local_Capability.
#[doc(hidden)]
#[macro_export]
macro_rules! export_handler {
    () => {
        ::core::arch::global_asm!(
            ".pushsection .text.syscall_handler, \"ax\", @progbits",
            ".globl syscall_handler",
            ".type syscall_handler, @function",
            "syscall_handler:",
            ".insn i 0x5b, 1, t0, t0, -112",      // CIncOffset ct0, ct0, -112
            ".insn r 0x5b, 0, 0x7c, x12, t0, a0", // SC.CAP ca0, (ct0)
            ".insn i 0x5b, 1, t0, t0, 16",
            ".insn r 0x5b, 0, 0x7c, x12, t0, a1",
            ".insn i 0x5b, 1, t0, t0, 16",
            ".insn r 0x5b, 0, 0x7c, x12, t0, a2",
            ".insn i 0x5b, 1, t0, t0, 16",
            ".insn r 0x5b, 0, 0x7c, x12, t0, a3",
            ".insn i 0x5b, 1, t0, t0, 16",
            ".insn r 0x5b, 0, 0x7c, x12, t0, a4",
            ".insn i 0x5b, 1, t0, t0, 16",
            ".insn r 0x5b, 0, 0x7c, x12, t0, a5",
            "addi sp, sp, -112",
            "sd a6, 96(sp)",
            "sd a7, 104(sp)",
            "mv a0, sp",
            "li s0, 0",
            "li ra, 0",
            "tail {entry}",
            ".size syscall_handler, . - syscall_handler",
            ".popsection",
            entry = sym cvm_handler_entry,
        );
    };
}

/// Makes a hostcall with two arguments, stores the first result register as a capability, and returns both as integers.
#[inline]
pub(crate) fn hostcall_for_capability(number: u64, arguments: [u64; 2], place: &Slot) -> (u64, u64) {
    let [a0, a1] = arguments;
    let (first, second);
    // SAFETY: as in `hostcall`; `place` is writable memory of this program for one capability.
    unsafe {
        asm!(
            "ecall",
            ".insn s 0x23, 4, a0, 0(t1)", // SC ca0, 0(t1)
            in("a7") number,
            in("t1") place.address(),
            inlateout("a0") a0 => first,
            inlateout("a1") a1 => second,
            options(nostack),
        );
    }
    (first, second)
}

/// As [`hostcall_for_capability`], but stores it to the local area, `offset` bytes from its start: by the capability that lies at
/// `authority`.
#[inline]
pub(crate) fn hostcall_for_local((number, arguments): (u64, [u64; 2]), authority: u64, offset: u64) -> (u64, u64) {
    let [a0, a1] = arguments;
    let (first, second);
    // SAFETY: as in `hostcall`; the local area is no memory that compiled code knows of.
    unsafe {
        asm!(
            "ecall",
            ".insn i 0x0f, 2, t1, 0(t1)",         // LC ct1, 0(t1)
            ".insn r 0x5b, 0, 0x11, t1, t1, t2",  // CIncOffset ct1, ct1, t2
            ".insn r 0x5b, 0, 0x7c, x12, t1, a0", // SC.CAP ca0, (ct1)
            "li t1, 0",
            in("a7") number,
            inlateout("t1") authority => _,
            in("t2") offset,
            inlateout("a0") a0 => first,
            inlateout("a1") a1 => second,
            options(nostack),
        );
    }
    (first, second)
}

/// Copies the capability in a slot, moved to an absolute address, to the local area, as [`hostcall_for_local`] stores there.
pub(crate) fn copy_to_local(slot: &Slot, address: u64, authority: u64, offset: u64) {
    // SAFETY: as in `hostcall_for_local`.
    unsafe {
        asm!(
            ".insn i 0x0f, 2, t1, 0(t1)",         // LC ct1, 0(t1)
            ".insn r 0x5b, 0, 0x11, t1, t1, t2",  // CIncOffset ct1, ct1, t2
            ".insn i 0x0f, 2, t3, 0(t3)",         // LC ct3, 0(t3)
            ".insn r 0x5b, 0, 0x10, t3, t3, t4",  // CSetAddr ct3, ct3, t4
            ".insn r 0x5b, 0, 0x7c, x12, t1, t3", // SC.CAP ct3, (ct1)
            "li t1, 0",
            "li t3, 0",
            inout("t1") authority => _,
            in("t2") offset,
            inout("t3") slot.address() => _,
            in("t4") address,
            options(nostack),
        );
    }
}

/// Makes a hostcall whose argument 0 is the capability in a slot, moved to an absolute address; returns the first result
/// register.
#[inline]
pub(crate) fn hostcall_with(number: u64, slot: &Slot, address: u64, arguments: [u64; 2]) -> u64 {
    let [a1, a2] = arguments;
    let first;
    // SAFETY: as in `hostcall`; what the capability reaches is no memory that compiled code knows of.
    unsafe {
        asm!(
            ".insn i 0x0f, 2, a0, 0(a0)",         // LC ca0, 0(a0)
            ".insn r 0x5b, 0, 0x10, a0, a0, t1",  // CSetAddr ca0, ca0, t1
            "ecall",
            in("a7") number,
            in("t1") address,
            inlateout("a0") slot.address() => first,
            in("a1") a1,
            in("a2") a2,
            options(nostack),
        );
    }
    first
}

/// Makes a hostcall with six arguments as capabilities, and returns both result registers.
#[inline]
pub(crate) fn pass_on(number: u64, arguments: &[Slot; 6]) -> (u64, u64) {
    let (first, second);
    // SAFETY: as in `hostcall`; memory that the capabilities reach is the caller's, not this program's.
    unsafe {
        asm!(
            ".insn i 0x0f, 2, a0, 0(t1)", // LC ca0, 0(t1)
            ".insn i 0x0f, 2, a1, 16(t1)",
            ".insn i 0x0f, 2, a2, 32(t1)",
            ".insn i 0x0f, 2, a3, 48(t1)",
            ".insn i 0x0f, 2, a4, 64(t1)",
            ".insn i 0x0f, 2, a5, 80(t1)",
            "ecall",
            in("a7") number,
            in("t1") arguments,
            out("a0") first,
            out("a1") second,
            out("a2") _,
            out("a3") _,
            out("a4") _,
            out("a5") _,
            options(nostack),
        );
    }
    (first, second)
}

/// What the capability in a slot covers and allows.
pub(crate) fn shape(slot: &Slot) -> Shape {
    const LOAD: u64 = 1 << 2;
    const STORE: u64 = 1 << 3;
    let (tag, sealed, permissions, base, length): (u64, u64, u64, u64, u64);
    // SAFETY: loads a capability from memory of this program and looks at it.
    unsafe {
        asm!(
            ".insn i 0x0f, 2, t1, 0(t1)",        // LC ct1, 0(t1)
            ".insn r 0x5b, 0, 0x7f, t2, t1, x4", // CGetTag
            ".insn r 0x5b, 0, 0x7f, t3, t1, x5", // CGetSealed
            ".insn r 0x5b, 0, 0x7f, t4, t1, x0", // CGetPerm
            ".insn r 0x5b, 0, 0x7f, t5, t1, x2", // CGetBase
            ".insn r 0x5b, 0, 0x7f, t6, t1, x3", // CGetLen
            inout("t1") slot.address() => _,
            out("t2") tag,
            out("t3") sealed,
            out("t4") permissions,
            out("t5") base,
            out("t6") length,
            options(nostack, readonly),
        );
    }
    Shape {
        tagged: tag == 1,
        usable: tag == 1 && sealed == 0,
        base,
        length,
        loads: permissions & LOAD != 0,
        stores: permissions & STORE != 0,
    }
}

/// Copies the bytes from an absolute address on through the capability in a slot, which must allow it. A word at an aligned
/// address is loaded by one access.
pub(crate) fn load_bytes(slot: &Slot, address: u64, bytes: &mut [u8]) {
    // SAFETY: writes to `bytes`; a load through a capability that does not cover it ends this program, and does nothing else.
    unsafe {
        asm!(
            ".insn i 0x0f, 2, t1, 0(t1)",         // LC ct1, 0(t1)
            ".insn r 0x5b, 0, 0x10, t1, t1, t2",  // CSetAddr ct1, ct1, t2
            "or t2, t2, t3",
            "andi t0, t2, 3",
            "bnez t0, 5f",
            "andi t0, t2, 7",
            "bnez t0, 3f",
            "li t0, 32",
            // Four double words at a time, then one word at a time, then bytes.
            "2: bltu t4, t0, 3f",
            ".insn r 0x5b, 0, 0x7d, t2, t1, x11", // LD.CAP t2, (ct1)
            ".insn i 0x5b, 1, t1, t1, 8",         // CIncOffset ct1, ct1, 8
            "sd t2, 0(t3)",
            ".insn r 0x5b, 0, 0x7d, t2, t1, x11",
            ".insn i 0x5b, 1, t1, t1, 8",
            "sd t2, 8(t3)",
            ".insn r 0x5b, 0, 0x7d, t2, t1, x11",
            ".insn i 0x5b, 1, t1, t1, 8",
            "sd t2, 16(t3)",
            ".insn r 0x5b, 0, 0x7d, t2, t1, x11",
            ".insn i 0x5b, 1, t1, t1, 8",
            "sd t2, 24(t3)",
            "addi t3, t3, 32",
            "addi t4, t4, -32",
            "j 2b",
            "3: li t0, 4",
            "4: bltu t4, t0, 5f",
            ".insn r 0x5b, 0, 0x7d, t2, t1, x10", // LW.CAP t2, (ct1)
            ".insn i 0x5b, 1, t1, t1, 4",
            "sw t2, 0(t3)",
            "addi t3, t3, 4",
            "addi t4, t4, -4",
            "j 4b",
            "5: beqz t4, 6f",
            ".insn r 0x5b, 0, 0x7d, t2, t1, x12", // LBU.CAP t2, (ct1)
            ".insn i 0x5b, 1, t1, t1, 1",
            "sb t2, 0(t3)",
            "addi t3, t3, 1",
            "addi t4, t4, -1",
            "j 5b",
            "6: li t1, 0",
            inout("t1") slot.address() => _,
            inout("t2") address => _,
            inout("t3") bytes.as_mut_ptr() => _,
            inout("t4") bytes.len() => _,
            out("t0") _,
            options(nostack),
        );
    }
}

/// Copies bytes to an absolute address through the capability in a slot, which must allow it. A word at an aligned address is
/// stored by one access.
pub(crate) fn store_bytes(slot: &Slot, address: u64, bytes: &[u8]) {
    // SAFETY: reads `bytes`; the capability was given to write what lies behind it, which is no memory that compiled code knows of.
    unsafe {
        asm!(
            ".insn i 0x0f, 2, t1, 0(t1)",         // LC ct1, 0(t1)
            ".insn r 0x5b, 0, 0x10, t1, t1, t2",  // CSetAddr ct1, ct1, t2
            "or t2, t2, t3",
            "andi t0, t2, 3",
            "bnez t0, 5f",
            "andi t0, t2, 7",
            "bnez t0, 3f",
            "li t0, 32",
            "2: bltu t4, t0, 3f",
            "ld t2, 0(t3)",
            ".insn r 0x5b, 0, 0x7c, x11, t1, t2", // SD.CAP t2, (ct1)
            ".insn i 0x5b, 1, t1, t1, 8",         // CIncOffset ct1, ct1, 8
            "ld t2, 8(t3)",
            ".insn r 0x5b, 0, 0x7c, x11, t1, t2",
            ".insn i 0x5b, 1, t1, t1, 8",
            "ld t2, 16(t3)",
            ".insn r 0x5b, 0, 0x7c, x11, t1, t2",
            ".insn i 0x5b, 1, t1, t1, 8",
            "ld t2, 24(t3)",
            ".insn r 0x5b, 0, 0x7c, x11, t1, t2",
            ".insn i 0x5b, 1, t1, t1, 8",
            "addi t3, t3, 32",
            "addi t4, t4, -32",
            "j 2b",
            "3: li t0, 4",
            "4: bltu t4, t0, 5f",
            "lw t2, 0(t3)",
            ".insn r 0x5b, 0, 0x7c, x10, t1, t2", // SW.CAP t2, (ct1)
            ".insn i 0x5b, 1, t1, t1, 4",
            "addi t3, t3, 4",
            "addi t4, t4, -4",
            "j 4b",
            "5: beqz t4, 6f",
            "lbu t2, 0(t3)",
            ".insn r 0x5b, 0, 0x7c, x8, t1, t2",  // SB.CAP t2, (ct1)
            ".insn i 0x5b, 1, t1, t1, 1",
            "addi t3, t3, 1",
            "addi t4, t4, -1",
            "j 5b",
            "6: li t1, 0",
            inout("t1") slot.address() => _,
            inout("t2") address => _,
            inout("t3") bytes.as_ptr() => _,
            inout("t4") bytes.len() => _,
            out("t0") _,
            options(nostack),
        );
    }
}

// FROM: the switcher, for a gate of this cVM. LIVE: a0-a5 (ca0-ca5) = the arguments, c1 and c7 = the way back, sp = top of the
// gate's stack as an address below DDC, ct0 = the capability over what of it takes local capabilities, at its top. All that comes is
// local but for integers: only this capability may store it.
#[doc(hidden)]
#[macro_export]
macro_rules! export_gate {
    ($name:ident, $entry:path) => {
        ::core::arch::global_asm!(
            concat!(".pushsection .text.cvm_gate.", stringify!($name), ", \"ax\", @progbits"),
            concat!(".globl ", stringify!($name)),
            concat!(".type ", stringify!($name), ", @function"),
            concat!(stringify!($name), ":"),
            ".insn i 0x5b, 1, t0, t0, -128",      // CIncOffset ct0, ct0, -128
            ".insn r 0x5b, 0, 0x7c, x12, t0, a0", // SC.CAP ca0, (ct0)
            ".insn i 0x5b, 1, t0, t0, 16",
            ".insn r 0x5b, 0, 0x7c, x12, t0, a1",
            ".insn i 0x5b, 1, t0, t0, 16",
            ".insn r 0x5b, 0, 0x7c, x12, t0, a2",
            ".insn i 0x5b, 1, t0, t0, 16",
            ".insn r 0x5b, 0, 0x7c, x12, t0, a3",
            ".insn i 0x5b, 1, t0, t0, 16",
            ".insn r 0x5b, 0, 0x7c, x12, t0, a4",
            ".insn i 0x5b, 1, t0, t0, 16",
            ".insn r 0x5b, 0, 0x7c, x12, t0, a5",
            ".insn i 0x5b, 1, t0, t0, 16",
            ".insn r 0x5b, 0, 0x7c, x12, t0, ra",
            ".insn i 0x5b, 1, t0, t0, 16",
            ".insn r 0x5b, 0, 0x7c, x12, t0, t2",
            "addi sp, sp, -128",
            "mv a0, sp",
            "li s0, 0",
            "call {entry}",
            ".insn i 0x0f, 2, ra, 96(sp)",        // LC cra, 96(sp)
            ".insn i 0x0f, 2, t2, 112(sp)",
            "li a1, 0",
            ".insn r 0x5b, 0, 0x7e, x1, ra, t2",  // CInvoke cra, ct2
            concat!(".size ", stringify!($name), ", . - ", stringify!($name)),
            ".popsection",
            entry = sym $entry,
        );
    };
}

/// Makes the slot hold a capability over these bytes, to load and perhaps to store data; where no bounds are exactly these, over the
/// least that cover them, which `Slot::derive` refuses.
pub(crate) fn derive(slot: &Slot, bytes: *const u8, length: usize, written: bool) {
    let permissions: u64 = if written { 0b1101 } else { 0b101 };
    // SAFETY: stores to the slot; derived of DDC, which covers all memory of this program.
    unsafe {
        asm!(
            ".insn r 0x5b, 0, 0x01, t1, x0, x1",  // CSpecialRW ct1, DDC, c0
            // Integers are addresses, or distances from DDC's, as the processor has it: where DDC's own is 0 or more.
            "auipc t2, 0",
            ".insn r 0x5b, 0, 0x01, t3, x0, x0",  // CSpecialRW ct3, PCC, c0
            "addi t3, t3, -4",
            "sub t3, t3, t2",                     // what the processor adds to an address
            "add t0, t0, t3",
            ".insn r 0x5b, 0, 0x10, t1, t1, t0",  // CSetAddr ct1, ct1, t0
            ".insn r 0x5b, 0, 0x08, t1, t1, t4",  // CSetBounds ct1, ct1, t4
            ".insn r 0x5b, 0, 0x0d, t1, t1, t5",  // CAndPerm ct1, ct1, t5
            ".insn s 0x23, 4, t1, 0(t6)",         // SC ct1, 0(t6)
            "li t1, 0",
            "li t3, 0",
            inout("t0") bytes => _,
            out("t1") _,
            out("t2") _,
            out("t3") _,
            in("t4") length,
            in("t5") permissions,
            in("t6") slot.address(),
            options(nostack),
        );
    }
}

/// Makes a hostcall with two arguments, stores both result registers as capabilities to places of the local area, by the
/// capability over it that lies at `authority`, and returns the first as an integer.
pub(crate) fn hostcall_for_token((number, arguments): (u64, [u64; 2]), authority: u64, places: [u64; 2]) -> u64 {
    let [a0, a1] = arguments;
    let [t0, t2] = places;
    let first;
    // SAFETY: as in `hostcall_for_local`.
    unsafe {
        asm!(
            "ecall",
            ".insn i 0x0f, 2, t1, 0(t1)",         // LC ct1, 0(t1)
            "sub t0, t0, t4",
            "sub t2, t2, t4",
            ".insn r 0x5b, 0, 0x11, t3, t1, t0",  // CIncOffset ct3, ct1, t0
            ".insn r 0x5b, 0, 0x7c, x12, t3, a0", // SC.CAP ca0, (ct3)
            ".insn r 0x5b, 0, 0x11, t3, t1, t2",
            ".insn r 0x5b, 0, 0x7c, x12, t3, a1",
            "li t1, 0",
            "li t3, 0",
            "li a1, 0",
            in("a7") number,
            inlateout("t1") authority => _,
            inlateout("t0") t0 => _,
            inlateout("t2") t2 => _,
            out("t3") _,
            in("t4") crate::start_block().header().local,
            inlateout("a0") a0 => first,
            inlateout("a1") a1 => _,
            options(nostack),
        );
    }
    first
}

/// Calls a gate by the token that lies at these places, with what lies at those; the first result register.
pub(crate) fn call_gate([code, data]: [u64; 2], sources: &[u64; 6]) -> u64 {
    let result;
    // SAFETY: what a function keeps is as before; what it may overwrite is said. The function reaches what is passed as
    // slices, mutably borrowed where it may store, and the call is no `nomem`.
    unsafe {
        asm!(
            ".option push",
            ".option norvc",
            "ld a0, 0(t1)",
            "ld a1, 8(t1)",
            "ld a2, 16(t1)",
            "ld a3, 24(t1)",
            "ld a4, 32(t1)",
            "ld a5, 40(t1)",
            ".insn i 0x0f, 2, a0, 0(a0)",         // LC ca0, 0(a0)
            ".insn i 0x0f, 2, a1, 0(a1)",
            ".insn i 0x0f, 2, a2, 0(a2)",
            ".insn i 0x0f, 2, a3, 0(a3)",
            ".insn i 0x0f, 2, a4, 0(a4)",
            ".insn i 0x0f, 2, a5, 0(a5)",
            ".insn i 0x0f, 2, t3, 0(t3)",
            ".insn i 0x0f, 2, t4, 0(t4)",
            ".insn r 0x5b, 0, 0x01, ra, x0, x0",  // CSpecialRW cra, PCC, c0
            ".insn i 0x5b, 1, ra, ra, 12",        // CIncOffset cra, cra, 12
            ".insn r 0x5b, 0, 0x7e, x1, t3, t4",  // CInvoke ct3, ct4
            "li ra, 0",
            ".option pop",
            inout("t1") sources => _,
            inout("t3") code => _,
            inout("t4") data => _,
            out("a0") result,
            out("a1") _,
            out("a2") _,
            out("a3") _,
            out("a4") _,
            out("a5") _,
            out("a6") _,
            out("a7") _,
            out("t0") _,
            out("t2") _,
            out("t5") _,
            out("t6") _,
            out("ra") _,
            options(nostack),
        );
    }
    result
}
