//! Morello, hybrid: ordinary A64 code below DDC and PCC.

use core::arch::{asm, global_asm};

use crate::capability::{Shape, Slot};

// FROM: the monitor, at the start of the cVM. LIVE: x0 = address of the start block, x1 = its size in bytes, sp = top of
// the stack, 16-byte aligned. The image is relocated, bss is zero. A zero frame pointer ends a backtrace.
global_asm!(
    ".section .text.start, \"ax\", @progbits",
    ".globl _start",
    ".type _start, @function",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "b rt_start",
    ".size _start, . - _start",
    ".text",
);

// FROM: the monitor, when a thread begins. LIVE: x0 = what `thread_create` was given as the argument, sp = top of the thread's
// stack, TPIDR_EL0 = its thread pointer. A zero frame pointer ends a backtrace.
//
// rt_locals: the word of every thread's storage behind which `thread_local!` keeps its values.
global_asm!(
    ".section .text.thread, \"ax\", @progbits",
    ".globl rt_thread_start",
    ".type rt_thread_start, @function",
    "rt_thread_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "b rt_thread_main",
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
pub const MACHINE: &str = "aarch64";

/// Bytes between the thread pointer and the storage (ELF for the Arm 64-bit architecture).
pub(crate) const THREAD_CONTROL_BLOCK: usize = 16;

/// The counter of time.
#[inline]
pub(crate) fn counter() -> u64 {
    let count;
    // SAFETY: reads a counter; not before what comes before it, so that it never seems to go back.
    unsafe { asm!("isb", "mrs {count}, cntvct_el0", count = out(reg) count, options(nostack, nomem)) };
    count
}

/// The thread pointer.
pub(crate) fn thread_pointer() -> u64 {
    let pointer;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {pointer}, tpidr_el0", pointer = out(reg) pointer, options(nostack, nomem)) };
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
            "cbz x10, 2f",
            "1:",
            ".irp offset, 0, 32, 64, 96, 128, 160, 192, 224",
            ".inst 0x42800000 | \\offset / 16 << 15 | 31 << 10 | 9 << 5 | 31", // STP czr, czr, [x9, #offset]
            ".endr",
            "add x9, x9, #256",
            "subs x10, x10, #1",
            "b.ne 1b",
            "2:",
            inout("x9") start => _,
            inout("x10") blocks => _,
            options(nostack),
        );
    }
}

/// The calling thread's `rt_locals`.
pub(crate) fn locals() -> *mut u8 {
    let place;
    // SAFETY: computes an address in the thread's own storage (local exec).
    unsafe {
        asm!(
            "mrs {place}, tpidr_el0",
            "add {place}, {place}, #:tprel_hi12:rt_locals, lsl #12",
            "add {place}, {place}, #:tprel_lo12_nc:rt_locals",
            place = out(reg) place,
            options(nostack, nomem),
        );
    }
    place
}

/// Makes a hostcall and returns both result registers.
#[inline]
pub(crate) fn hostcall(number: u64, arguments: [u64; 6]) -> (u64, u64) {
    let [x0, x1, x2, x3, x4, x5] = arguments;
    let (first, second);
    // SAFETY: the convention leaves all other registers alone. The monitor touches memory only inside the buffer that
    // the arguments name; the wrappers in `hostcall` pass no buffer that they do not own, and this block is not `nomem`.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") x0 => first,
            inlateout("x1") x1 => second,
            in("x2") x2,
            in("x3") x3,
            in("x4") x4,
            in("x5") x5,
            options(nostack),
        );
    }
    (first, second)
}

// FROM: the monitor, for a hostcall that this cVM serves. LIVE: c0-c5 = the caller's arguments, x6 = its number, x7 and x8 =
// the hostcall's number, sp = top of the service stack, c9 = the capability over the service stack, at its top. Only this
// capability may store the lent ones: DDC has no StoreLocal.
#[doc(hidden)]
#[macro_export]
macro_rules! export_handler {
    () => {
        ::core::arch::global_asm!(
            ".pushsection .text.syscall_handler, \"ax\", @progbits",
            ".globl syscall_handler",
            ".type syscall_handler, @function",
            "syscall_handler:",
            ".inst 0x02800000 | 112 << 10 | 9 << 5 | 9", // SUB c9, c9, #112
            ".inst 0x82400000 | 0 << 12 | 9 << 5 | 0",   // STR c0, [c9] (alternate base)
            ".inst 0x82400000 | 1 << 12 | 9 << 5 | 1",   // STR c1, [c9, #16]
            ".inst 0x82400000 | 2 << 12 | 9 << 5 | 2",
            ".inst 0x82400000 | 3 << 12 | 9 << 5 | 3",
            ".inst 0x82400000 | 4 << 12 | 9 << 5 | 4",
            ".inst 0x82400000 | 5 << 12 | 9 << 5 | 5",
            "sub sp, sp, #112",
            "stp x6, x7, [sp, #96]",
            "mov x0, sp",
            "mov x29, xzr",
            "mov x30, xzr",
            "b {entry}",
            ".size syscall_handler, . - syscall_handler",
            ".popsection",
            entry = sym cvm_handler_entry,
        );
    };
}

/// Makes a hostcall with two arguments, stores the first result register as a capability, and returns both as integers.
#[inline]
pub(crate) fn hostcall_for_capability(number: u64, arguments: [u64; 2], place: &Slot) -> (u64, u64) {
    let [x0, x1] = arguments;
    let (first, second);
    // SAFETY: as in `hostcall`; `place` is writable memory of this program for one capability.
    unsafe {
        asm!(
            "svc #0",
            ".inst 0xc2000000 | 9 << 5 | 0", // STR c0, [x9]
            in("x8") number,
            in("x9") place.address(),
            inlateout("x0") x0 => first,
            inlateout("x1") x1 => second,
            options(nostack),
        );
    }
    (first, second)
}

/// As [`hostcall_for_capability`], but stores it to the local area, `offset` bytes from its start: by the capability that lies at
/// `authority`.
#[inline]
pub(crate) fn hostcall_for_local((number, arguments): (u64, [u64; 2]), authority: u64, offset: u64) -> (u64, u64) {
    let [x0, x1] = arguments;
    let (first, second);
    // SAFETY: as in `hostcall`; the local area is no memory that compiled code knows of.
    unsafe {
        asm!(
            "svc #0",
            ".inst 0xc2400000 | 9 << 5 | 9",             // LDR c9, [x9]
            ".inst 0xc2a06000 | 10 << 16 | 9 << 5 | 9",  // ADD c9, c9, x10
            ".inst 0x82400000 | 0 << 12 | 9 << 5 | 0",   // STR c0, [c9] (alternate base)
            "mov x9, xzr",
            in("x8") number,
            inlateout("x9") authority => _,
            in("x10") offset,
            inlateout("x0") x0 => first,
            inlateout("x1") x1 => second,
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
            ".inst 0xc2400000 | 9 << 5 | 9",              // LDR c9, [x9]
            ".inst 0xc2a06000 | 10 << 16 | 9 << 5 | 9",   // ADD c9, c9, x10
            ".inst 0xc2400000 | 11 << 5 | 11",            // LDR c11, [x11]
            ".inst 0xc2c04000 | 12 << 16 | 11 << 5 | 11", // SCVALUE c11, c11, x12
            ".inst 0x82400000 | 0 << 12 | 9 << 5 | 11",   // STR c11, [c9] (alternate base)
            "mov x9, xzr",
            "mov x11, xzr",
            inout("x9") authority => _,
            in("x10") offset,
            inout("x11") slot.address() => _,
            in("x12") address,
            options(nostack),
        );
    }
}

/// Makes a hostcall whose argument 0 is the capability in a slot, moved to an absolute address; returns the first result
/// register.
#[inline]
pub(crate) fn hostcall_with(number: u64, slot: &Slot, address: u64, arguments: [u64; 2]) -> u64 {
    let [x1, x2] = arguments;
    let first;
    // SAFETY: as in `hostcall`; what the capability reaches is no memory that compiled code knows of.
    unsafe {
        asm!(
            ".inst 0xc2400000 | 0 << 5 | 0",             // LDR c0, [x0]
            ".inst 0xc2c04000 | 9 << 16 | 0 << 5 | 0",   // SCVALUE c0, c0, x9
            "svc #0",
            in("x8") number,
            in("x9") address,
            inlateout("x0") slot.address() => first,
            in("x1") x1,
            in("x2") x2,
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
            ".inst 0xc2400000 | 0 << 10 | 9 << 5 | 0", // LDR c0, [x9]
            ".inst 0xc2400000 | 1 << 10 | 9 << 5 | 1", // LDR c1, [x9, #16]
            ".inst 0xc2400000 | 2 << 10 | 9 << 5 | 2",
            ".inst 0xc2400000 | 3 << 10 | 9 << 5 | 3",
            ".inst 0xc2400000 | 4 << 10 | 9 << 5 | 4",
            ".inst 0xc2400000 | 5 << 10 | 9 << 5 | 5",
            "svc #0",
            in("x8") number,
            in("x9") arguments,
            out("x0") first,
            out("x1") second,
            out("x2") _,
            out("x3") _,
            out("x4") _,
            out("x5") _,
            options(nostack),
        );
    }
    (first, second)
}

/// What the capability in a slot covers and allows.
pub(crate) fn shape(slot: &Slot) -> Shape {
    const LOAD: u64 = 1 << 17;
    const STORE: u64 = 1 << 16;
    let (tag, kind, permissions, base, length): (u64, u64, u64, u64, u64);
    // SAFETY: loads a capability from memory of this program and looks at it.
    unsafe {
        asm!(
            ".inst 0xc2400000 | 9 << 5 | 9",  // LDR c9, [x9]
            ".inst 0xc2c09000 | 9 << 5 | 10", // GCTAG x10, c9
            ".inst 0xc2c0f000 | 9 << 5 | 11", // GCTYPE x11, c9
            ".inst 0xc2c0d000 | 9 << 5 | 12", // GCPERM x12, c9
            ".inst 0xc2c01000 | 9 << 5 | 13", // GCBASE x13, c9
            ".inst 0xc2c03000 | 9 << 5 | 14", // GCLEN x14, c9
            inout("x9") slot.address() => _,
            out("x10") tag,
            out("x11") kind,
            out("x12") permissions,
            out("x13") base,
            out("x14") length,
            options(nostack, readonly),
        );
    }
    Shape {
        tagged: tag == 1,
        usable: tag == 1 && kind == 0,
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
            ".inst 0xc2400000 | 9 << 5 | 9",             // LDR c9, [x9]
            ".inst 0xc2c04000 | 10 << 16 | 9 << 5 | 9",  // SCVALUE c9, c9, x10
            // Four double words at a time, then one word at a time, then bytes.
            "2: cmp x12, #32",
            "b.lo 3f",
            ".inst 0x82600c00 | 0 << 12 | 9 << 5 | 13",  // LDR x13, [c9] (alternate base)
            ".inst 0x82600c00 | 1 << 12 | 9 << 5 | 14",
            ".inst 0x82600c00 | 2 << 12 | 9 << 5 | 15",
            ".inst 0x82600c00 | 3 << 12 | 9 << 5 | 16",
            ".inst 0x02000000 | 32 << 10 | 9 << 5 | 9",  // ADD c9, c9, #32
            "stp x13, x14, [x11], #16",
            "stp x15, x16, [x11], #16",
            "sub x12, x12, #32",
            "b 2b",
            "3: cmp x12, #4",
            "b.lo 4f",
            ".inst 0x82600800 | 9 << 5 | 13",            // LDR w13, [c9] (alternate base)
            ".inst 0x02000000 | 4 << 10 | 9 << 5 | 9",
            "str w13, [x11], #4",
            "sub x12, x12, #4",
            "b 3b",
            "4: cbz x12, 5f",
            ".inst 0x82600400 | 9 << 5 | 13",            // LDRB w13, [c9] (alternate base)
            ".inst 0x02000000 | 1 << 10 | 9 << 5 | 9",
            "strb w13, [x11], #1",
            "sub x12, x12, #1",
            "b 4b",
            "5: mov x9, xzr",
            inout("x9") slot.address() => _,
            in("x10") address,
            inout("x11") bytes.as_mut_ptr() => _,
            inout("x12") bytes.len() => _,
            out("x13") _,
            out("x14") _,
            out("x15") _,
            out("x16") _,
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
            ".inst 0xc2400000 | 9 << 5 | 9",             // LDR c9, [x9]
            ".inst 0xc2c04000 | 10 << 16 | 9 << 5 | 9",  // SCVALUE c9, c9, x10
            "2: cmp x12, #32",
            "b.lo 3f",
            "ldp x13, x14, [x11], #16",
            "ldp x15, x16, [x11], #16",
            ".inst 0x82400c00 | 0 << 12 | 9 << 5 | 13",  // STR x13, [c9] (alternate base)
            ".inst 0x82400c00 | 1 << 12 | 9 << 5 | 14",
            ".inst 0x82400c00 | 2 << 12 | 9 << 5 | 15",
            ".inst 0x82400c00 | 3 << 12 | 9 << 5 | 16",
            ".inst 0x02000000 | 32 << 10 | 9 << 5 | 9",  // ADD c9, c9, #32
            "sub x12, x12, #32",
            "b 2b",
            "3: cmp x12, #4",
            "b.lo 4f",
            "ldr w13, [x11], #4",
            ".inst 0x82400800 | 9 << 5 | 13",            // STR w13, [c9] (alternate base)
            ".inst 0x02000000 | 4 << 10 | 9 << 5 | 9",
            "sub x12, x12, #4",
            "b 3b",
            "4: cbz x12, 5f",
            "ldrb w13, [x11], #1",
            ".inst 0x82400400 | 9 << 5 | 13",            // STRB w13, [c9] (alternate base)
            ".inst 0x02000000 | 1 << 10 | 9 << 5 | 9",
            "sub x12, x12, #1",
            "b 4b",
            "5: mov x9, xzr",
            inout("x9") slot.address() => _,
            in("x10") address,
            inout("x11") bytes.as_ptr() => _,
            inout("x12") bytes.len() => _,
            out("x13") _,
            out("x14") _,
            out("x15") _,
            out("x16") _,
            options(nostack),
        );
    }
}

// FROM: the switcher, for a gate of this cVM. LIVE: c0-c5 = the arguments, c30 = the way back, sp = top of the gate's stack, c9 = the
// capability over what of it takes local capabilities, at its top. All that comes is local but for integers: only this capability
// may store it.
#[doc(hidden)]
#[macro_export]
macro_rules! export_gate {
    ($name:ident, $entry:path) => {
        ::core::arch::global_asm!(
            concat!(".pushsection .text.cvm_gate.", stringify!($name), ", \"ax\", @progbits"),
            concat!(".globl ", stringify!($name)),
            concat!(".type ", stringify!($name), ", @function"),
            concat!(stringify!($name), ":"),
            ".inst 0x02800000 | 128 << 10 | 9 << 5 | 9", // SUB c9, c9, #128
            ".inst 0x82400000 | 0 << 12 | 9 << 5 | 0",   // STR c0, [c9] (alternate base)
            ".inst 0x82400000 | 1 << 12 | 9 << 5 | 1",   // STR c1, [c9, #16]
            ".inst 0x82400000 | 2 << 12 | 9 << 5 | 2",
            ".inst 0x82400000 | 3 << 12 | 9 << 5 | 3",
            ".inst 0x82400000 | 4 << 12 | 9 << 5 | 4",
            ".inst 0x82400000 | 5 << 12 | 9 << 5 | 5",
            ".inst 0x82400000 | 6 << 12 | 9 << 5 | 30",
            "sub sp, sp, #128",
            "mov x0, sp",
            "mov x29, xzr",
            "bl {entry}",
            ".inst 0xc2400000 | 6 << 10 | 31 << 5 | 30", // LDR c30, [sp, #96]
            "mov x1, xzr",
            ".inst 0xc2c253c0",                          // RET c30
            concat!(".size ", stringify!($name), ", . - ", stringify!($name)),
            ".popsection",
            entry = sym $entry,
        );
    };
}

/// Makes the slot hold a capability over these bytes, to load and perhaps to store data; where no bounds are exactly these, over the
/// least that cover them, which `Slot::derive` refuses.
pub(crate) fn derive(slot: &Slot, bytes: *const u8, length: usize, written: bool) {
    let cleared: u64 = if written { 0xfffe } else { 0x1_fffe };
    // SAFETY: stores to the slot; derived of DDC, which covers all memory of this program.
    unsafe {
        asm!(
            ".inst 0xc29b4120 | 9",                     // MRS c9, DDC
            ".inst 0xc2c04000 | 10 << 16 | 9 << 5 | 9", // SCVALUE c9, c9, x10
            ".inst 0xc2c00000 | 11 << 16 | 9 << 5 | 9", // SCBNDS c9, c9, x11
            ".inst 0xc2c0a000 | 12 << 16 | 9 << 5 | 9", // CLRPERM c9, c9, x12
            ".inst 0xc2000000 | 13 << 5 | 9",           // STR c9, [x13]
            "mov x9, xzr",
            out("x9") _,
            in("x10") bytes,
            in("x11") length,
            in("x12") cleared,
            in("x13") slot.address(),
            options(nostack),
        );
    }
}

/// Makes a hostcall with two arguments, stores the first result register as a capability to a place of the local area, by the
/// capability over it that lies at `authority`, and returns it as an integer.
pub(crate) fn hostcall_for_token(call: (u64, [u64; 2]), authority: u64, places: [u64; 2]) -> u64 {
    let offset = places[0] - crate::start_block().header().local;
    hostcall_for_local(call, authority, offset).0
}

/// Calls a gate by the token that lies at the first place, with what lies at those; the first result register.
pub(crate) fn call_gate([token, _]: [u64; 2], sources: &[u64; 6]) -> u64 {
    let result;
    // SAFETY: what a function keeps is as before, the frame pointer, which the call itself takes, too; what it may overwrite is said.
    // The function reaches what is passed as slices, mutably borrowed where it may store, and the call is no `nomem`.
    unsafe {
        asm!(
            "stp x29, x30, [sp, #-16]!",
            "ldp x0, x1, [x9]",
            "ldp x2, x3, [x9, #16]",
            "ldp x4, x5, [x9, #32]",
            ".inst 0xc2400000 | 0 << 5 | 0",      // LDR c0, [x0]
            ".inst 0xc2400000 | 1 << 5 | 1",
            ".inst 0xc2400000 | 2 << 5 | 2",
            ".inst 0xc2400000 | 3 << 5 | 3",
            ".inst 0xc2400000 | 4 << 5 | 4",
            ".inst 0xc2400000 | 5 << 5 | 5",
            ".inst 0xc2400000 | 10 << 5 | 10",
            ".inst 0xc2c43000 | 10 << 5 | 29",    // LDPBLR c29, [c10]
            "ldp x29, x30, [sp], #16",
            inout("x9") sources => _,
            inout("x10") token => _,
            out("x0") result,
            out("x1") _,
            out("x2") _,
            out("x3") _,
            out("x4") _,
            out("x5") _,
            out("x6") _,
            out("x7") _,
            out("x8") _,
            out("x11") _,
            out("x12") _,
            out("x13") _,
            out("x14") _,
            out("x15") _,
            out("x16") _,
            out("x17") _,
            out("x18") _,
            out("x30") _,
        );
    }
    result
}
