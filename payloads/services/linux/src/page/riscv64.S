.macro NAMES
soname:
    .asciz "linux-vdso.so.1"
function:
    .asciz "__vdso_clock_gettime"
version:
    .asciz "LINUX_4.15"
.endm

.macro EACH_FLOAT instruction
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    \instruction f\n, \n * 8(sp)
.endr
.endm

.macro CODE
.option push
.option norelax
// clock_gettime(a0 = which clock, a1 = where). FROM the program. LIVE: the C convention.
clock_gettime:
    li t0, 8
    bgeu a0, t0, 2f
    li t0, 0xf3                 // REALTIME, MONOTONIC, MONOTONIC_RAW, REALTIME_COARSE, MONOTONIC_COARSE, BOOTTIME
    srl t0, t0, a0
    andi t0, t0, 1
    beqz t0, 2f
    lla t2, intravisor_page_data
    rdtime t0
    ld t1, 0(t2)
    ld t3, 8(t2)
    sub t0, t0, t3
    divu t3, t0, t1             // seconds
    remu t0, t0, t1
    li t4, 1000000000
    mul t0, t0, t4
    divu t0, t0, t1             // nanoseconds
    li t5, 0x21                 // REALTIME, REALTIME_COARSE
    srl t5, t5, a0
    andi t5, t5, 1
    beqz t5, 3f
    ld t5, 16(t2)
    add t3, t3, t5
    ld t5, 24(t2)
    add t0, t0, t5
    bltu t0, t4, 3f
    sub t0, t0, t4
    addi t3, t3, 1
3:  sd t3, 0(a1)
    sd t0, 8(a1)
    li a0, 0
    ret
2:  li a7, 113                  // any other clock: the call
    ecall
    ret
clock_gettime_end:

// FROM the library OS, in the place of what a signal has interrupted. LIVE: t0 = the handler, a0-a2 = its arguments, sp = the
// frame of the signal. The handler returns behind the call.
.globl intravisor_page_handler
intravisor_page_handler:
    jalr t0
    li a7, 139                  // rt_sigreturn
    ecall

// The same for programs with floating-point registers: saved around it, for whatever was interrupted may use them.
.globl intravisor_page_float_handler
intravisor_page_float_handler:
.option arch, +d
    addi sp, sp, -272
    EACH_FLOAT fsd
    frcsr t1
    sd t1, 256(sp)
    jalr t0
    ld t1, 256(sp)
    fscsr t1
    EACH_FLOAT fld
    addi sp, sp, 272
    li a7, 139
    ecall
.option pop
.endm
