.macro NAMES
soname:
    .asciz "linux-vdso.so.1"
function:
    .asciz "__kernel_clock_gettime"
version:
    .asciz "LINUX_2.6.39"
.endm

.macro EACH_VECTOR instruction
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    \instruction q\n, [sp, #16 * \n]
.endr
.endm

.macro CODE
// clock_gettime(w0 = which clock, x1 = where). FROM the program. LIVE: the C convention.
clock_gettime:
    cmp w0, #7
    b.hi 2f
    mov w2, #0xf3               // REALTIME, MONOTONIC, MONOTONIC_RAW, REALTIME_COARSE, MONOTONIC_COARSE, BOOTTIME
    lsr w2, w2, w0
    tbz w2, #0, 2f
    adr x2, intravisor_page_data
    ldp x3, x4, [x2]
    isb
    mrs x5, cntvct_el0
    sub x5, x5, x4
    udiv x4, x5, x3             // seconds
    msub x5, x4, x3, x5
    mov w6, #0xca00
    movk w6, #0x3b9a, lsl #16   // 1,000,000,000
    mul x5, x5, x6
    udiv x5, x5, x3             // nanoseconds
    mov w7, #0x21               // REALTIME, REALTIME_COARSE
    lsr w7, w7, w0
    tbz w7, #0, 3f
    ldp x3, x7, [x2, #16]
    add x4, x4, x3
    add x5, x5, x7
    cmp x5, x6
    b.lo 3f
    sub x5, x5, x6
    add x4, x4, #1
3:  stp x4, x5, [x1]
    mov w0, #0
    ret
2:  mov x8, #113                // any other clock: the call
    svc #0
    ret
clock_gettime_end:

// FROM the library OS, in the place of what a signal has interrupted. LIVE: x16 = the handler, x0-x2 = its arguments, sp = the
// frame of the signal. Vector registers are saved around it, for whatever was interrupted may use them. The handler returns
// behind the call.
.globl intravisor_page_handler
.globl intravisor_page_float_handler
intravisor_page_handler:
intravisor_page_float_handler:
.arch_extension fp
    sub sp, sp, #528
    EACH_VECTOR str
    mrs x9, fpcr
    mrs x10, fpsr
    str x9, [sp, #512]
    str x10, [sp, #520]
    blr x16
    EACH_VECTOR ldr
    ldr x9, [sp, #512]
    ldr x10, [sp, #520]
    msr fpcr, x9
    msr fpsr, x10
    add sp, sp, #528
    mov x8, #139                // rt_sigreturn
    svc #0
.arch_extension nofp
.endm
