// Floating-point and vector registers. FROM Rust, IRQ off. LIVE: x0 = 512 bytes for V0 to V31, then FPCR and FPSR.

.globl intravisor_float_save
intravisor_float_save:
    STP_Q 0, 1, 0, 0
    STP_Q 2, 3, 32, 0
    STP_Q 4, 5, 64, 0
    STP_Q 6, 7, 96, 0
    STP_Q 8, 9, 128, 0
    STP_Q 10, 11, 160, 0
    STP_Q 12, 13, 192, 0
    STP_Q 14, 15, 224, 0
    STP_Q 16, 17, 256, 0
    STP_Q 18, 19, 288, 0
    STP_Q 20, 21, 320, 0
    STP_Q 22, 23, 352, 0
    STP_Q 24, 25, 384, 0
    STP_Q 26, 27, 416, 0
    STP_Q 28, 29, 448, 0
    STP_Q 30, 31, 480, 0
    mrs x1, S3_3_C4_C4_0        // FPCR
    mrs x2, S3_3_C4_C4_1        // FPSR
    add x0, x0, #512
    stp x1, x2, [x0]
    ret

.globl intravisor_float_restore
intravisor_float_restore:
    LDP_Q 0, 1, 0, 0
    LDP_Q 2, 3, 32, 0
    LDP_Q 4, 5, 64, 0
    LDP_Q 6, 7, 96, 0
    LDP_Q 8, 9, 128, 0
    LDP_Q 10, 11, 160, 0
    LDP_Q 12, 13, 192, 0
    LDP_Q 14, 15, 224, 0
    LDP_Q 16, 17, 256, 0
    LDP_Q 18, 19, 288, 0
    LDP_Q 20, 21, 320, 0
    LDP_Q 22, 23, 352, 0
    LDP_Q 24, 25, 384, 0
    LDP_Q 26, 27, 416, 0
    LDP_Q 28, 29, 448, 0
    LDP_Q 30, 31, 480, 0
    add x0, x0, #512
    ldp x1, x2, [x0]
    msr S3_3_C4_C4_0, x1        // FPCR
    msr S3_3_C4_C4_1, x2        // FPSR
    ret
