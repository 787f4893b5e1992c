# Floating-point registers. FROM Rust, hybrid mode, IRQ off, mstatus.FS open. LIVE: a0 = 256 bytes for f0 to f31, then fcsr.

.globl intravisor_float_save
intravisor_float_save:
.irp register, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    fsd f\register, (8 * \register)(a0)
.endr
    csrr a1, fcsr
    sd  a1, 256(a0)
    ret

.globl intravisor_float_restore
intravisor_float_restore:
.irp register, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    fld f\register, (8 * \register)(a0)
.endr
    ld  a1, 256(a0)
    csrw fcsr, a1
    ret
