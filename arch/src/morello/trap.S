// Trap entry and exit.
//
// FROM a cVM (EL0), or from the monitor itself when it faults (EL1). IRQ off throughout: the processor masks all
// interrupts on entry and the monitor never unmasks them.
//
// The processor has put PCC into CELR_EL1, taken PCC from CVBAR_EL1 (monitor text, System, Executive, A64), and
// switched to the banks of EL1:
//   SP    FROM a cVM: the frame to fill. FROM the monitor: the monitor's stack, good or bad.
//   DDC   the monitor's data capability
//   TPIDR_EL1   the processor's structure, arch::morello::trap::Hart
// All other registers are the interrupted program's.

// c2 to c29 of the frame at x0. LIVE: x0 = frame.
.macro SAVE_GENERAL
    STP_C 2, 3, ({registers} + 16 * 2), 0
    STP_C 4, 5, ({registers} + 16 * 4), 0
    STP_C 6, 7, ({registers} + 16 * 6), 0
    STP_C 8, 9, ({registers} + 16 * 8), 0
    STP_C 10, 11, ({registers} + 16 * 10), 0
    STP_C 12, 13, ({registers} + 16 * 12), 0
    STP_C 14, 15, ({registers} + 16 * 14), 0
    STP_C 16, 17, ({registers} + 16 * 16), 0
    STP_C 18, 19, ({registers} + 16 * 18), 0
    STP_C 20, 21, ({registers} + 16 * 20), 0
    STP_C 22, 23, ({registers} + 16 * 22), 0
    STP_C 24, 25, ({registers} + 16 * 24), 0
    STP_C 26, 27, ({registers} + 16 * 26), 0
    STP_C 28, 29, ({registers} + 16 * 28), 0
    MRS_C 2, CELR_EL1
    STP_C 30, 2, ({registers} + 16 * 30), 0
    mrs x2, spsr_el1
    str x2, [x0, #{status}]
.endm

// The reverse, and all the rest: back to the program. LIVE: x0 = frame.
.macro LEAVE
    LDP_C 30, 2, ({registers} + 16 * 30), 0
    MSR_C CELR_EL1, 2
    LDP_C 28, 29, ({registers} + 16 * 28), 0
    LDP_C 26, 27, ({registers} + 16 * 26), 0
    LDP_C 24, 25, ({registers} + 16 * 24), 0
    LDP_C 22, 23, ({registers} + 16 * 22), 0
    LDP_C 20, 21, ({registers} + 16 * 20), 0
    LDP_C 18, 19, ({registers} + 16 * 18), 0
    LDP_C 16, 17, ({registers} + 16 * 16), 0
    LDP_C 14, 15, ({registers} + 16 * 14), 0
    LDP_C 12, 13, ({registers} + 16 * 12), 0
    LDP_C 10, 11, ({registers} + 16 * 10), 0
    LDP_C 8, 9, ({registers} + 16 * 8), 0
    LDP_C 6, 7, ({registers} + 16 * 6), 0
    LDP_C 4, 5, ({registers} + 16 * 4), 0
    LDP_C 2, 3, ({registers} + 16 * 2), 0
    LDP_C 0, 1, {registers}, 0
    eret
.endm

// Vectors for traps out of a cVM. LIVE at their end: x0 = frame, x1 = cause; c0 and c1 are saved.
.macro FROM_CVM_SYNCHRONOUS
    .balign 128
    STP_C 0, 1, {registers}, 31
    mov x0, sp
    mrs x1, esr_el1
    b   from_cvm
.endm
.macro FROM_CVM cause
    .balign 128
    STP_C 0, 1, {registers}, 31
    mov x0, sp
    mov x1, #\cause
    b   from_cvm
.endm

// A vector for faults of the monitor, while which CTPIDRRO_EL0 is free: the cVM's own is in its frame. LIVE at its end:
// CTPIDRRO_EL0 = the program's c0.
.macro FROM_MONITOR
    .balign 128
    MSR_C CTPIDRRO_EL0, 0
    b   from_monitor
.endm

.balign 2048
.globl intravisor_vectors
intravisor_vectors:
    // From EL1 with SP_EL0, or with a PCC without Executive: only after the monitor lost its own PCC.
    FROM_MONITOR
    FROM_MONITOR
    FROM_MONITOR
    FROM_MONITOR
    // From EL1.
    FROM_MONITOR
    FROM_MONITOR
    FROM_MONITOR
    FROM_MONITOR
    // From EL0: synchronous, IRQ, FIQ, SError.
    FROM_CVM_SYNCHRONOUS
    FROM_CVM {interrupt}
    FROM_CVM {other}
    FROM_CVM {other}
    // From EL0 in AArch32, which a cVM cannot enter.
    FROM_CVM {other}
    FROM_CVM {other}
    FROM_CVM {other}
    FROM_CVM {other}

// FROM the vectors above. LIVE: x0 = frame, x1 = cause; c0 and c1 are saved.
from_cvm:
    SAVE_GENERAL
    MRS_C 2, RCSP_EL0
    MRS_C 3, RDDC_EL0
    MRS_C 4, RCTPIDR_EL0
    MRS_C 5, CTPIDRRO_EL0
    MRS_C 6, CID_EL0
    STP_C 2, 3, {rcsp}, 0
    STP_C 4, 5, {rctpidr}, 0
    STR_C 6, {cid}, 0
    mrs x5, tpidr_el1           // the processor's structure
    mov x3, #{hostcall}
    ldp x2, x4, [x5, #{stack}]  // the stack, and what handles hostcalls
    cmp x1, x3
    b.ne no_hostcall
1:  mov sp, x2
    mov x29, xzr                // ends a backtrace of the monitor here
    mov x19, x0
    blr x4
    cmp x0, x19
    b.ne change
    // Falls through with x0 = frame to resume.

// FROM above, or from Rust. LIVE: x0 = frame to resume. The stack is not needed any more.
.globl intravisor_resume
intravisor_resume:
    mov sp, x0
    clrex                       // no reservation survives: a store of another thread must not succeed by it
    ldr x2, [x0, #{fresh}]
    cbnz x2, fresh
    LDP_C 2, 3, {rcsp}, 0
    LDP_C 4, 5, {rctpidr}, 0
    LDR_C 6, {cid}, 0
    MSR_C RCSP_EL0, 2
    MSR_C RDDC_EL0, 3
    MSR_C RCTPIDR_EL0, 4
    MSR_C CTPIDRRO_EL0, 5
    MSR_C CID_EL0, 6
    ldr x2, [x0, #{status}]
    and x2, x2, #{status_mask}  // whatever the frame says: EL0, interrupts on
    msr spsr_el1, x2
    LEAVE

// FROM above: a handler begins with a call. LIVE: x0 = frame. Of the frame's registers the arguments and the number count;
// program counter, DDC, stack and thread pointer and c9 come from what was prepared; the others are null, whatever the last
// call left in the frame.
fresh:
    str xzr, [x0, #{fresh}]
    LDP_C 2, 3, {prepared}, 0
    LDP_C 4, 5, ({prepared} + 32), 0
    LDR_C 9, ({prepared} + 64), 0
    MSR_C CELR_EL1, 2
    MSR_C RDDC_EL0, 3
    MSR_C RCSP_EL0, 4
    MSR_C RCTPIDR_EL0, 5
    MSR_C CTPIDRRO_EL0, 31
    MSR_C CID_EL0, 31
    ldr x2, [x0, #{prepared_status}]
    msr spsr_el1, x2
    LDR_C 8, ({registers} + 16 * 8), 0
    LDP_C 6, 7, ({registers} + 16 * 6), 0
    LDP_C 4, 5, ({registers} + 16 * 4), 0
    LDP_C 2, 3, ({registers} + 16 * 2), 0
.irp register, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
    mov x\register, xzr
.endr
    LDP_C 0, 1, {registers}, 0
    eret

// FROM above: no hostcall. LIVE: x0 = frame, x1 = cause, x2 = stack, x5 = the processor's structure.
no_hostcall:
    str x1, [x0, #{cause}]
    ldr x4, [x5, #{handler}]
    b   1b

// FROM above: another thread goes on. LIVE: x0 = its frame.
change:
    mrs x2, tpidr_el1
    ldp x3, x4, [x2, #{float_owner}]  // whose registers they are, and whether EL0 may use them
    cbnz x4, 1f
    cmp x3, x0
    b.ne intravisor_resume
1:  bl  {switch_float}
    b   intravisor_resume

// FROM the vectors above. LIVE: CTPIDRRO_EL0 = the program's c0.
from_monitor:
    adrp x0, {monitor_frame}
    add x0, x0, :lo12:{monitor_frame}
    STR_C 1, ({registers} + 16), 0
    MRS_C 1, CTPIDRRO_EL0
    STR_C 1, {registers}, 0
    MSR_C CTPIDRRO_EL0, 31
    SAVE_GENERAL
    MRS_C 2, DDC
    STR_C 2, {rddc}, 0
    mov x2, sp
    str x2, [x0, #{interrupted_sp}]
    mrs x1, esr_el1
    mrs x2, far_el1
    stp x1, x2, [x0, #{cause}]
    mrs x5, tpidr_el1
    ldr x2, [x5, #{fault_stack}]
    mov sp, x2
    mov x29, xzr
    mov x30, xzr
    bl  {monitor_fault}
    // LIVE: x0 = the monitor's own frame, to go on at a fixup.
    ldr x2, [x0, #{interrupted_sp}]
    mov sp, x2
    ldr x2, [x0, #{status}]
    msr spsr_el1, x2
    LEAVE

// intravisor_arm(x0 = the processor's structure): the vectors, the structure, and NULL to every register of a bank that a cVM, or a trap out of it, would find.
// FROM Rust. LIVE: the C convention.
.globl intravisor_arm
intravisor_arm:
    adr x9, intravisor_vectors
    CVTP_C 9, 9
    MSR_C CVBAR_EL1, 9
    mov x9, xzr
    MSR_C DDC_EL0, 31
    MSR_C RDDC_EL0, 31
    MSR_CSP_EL0 31
    MSR_C RCSP_EL0, 31
    MSR_C CTPIDR_EL0, 31
    MSR_C RCTPIDR_EL0, 31
    MSR_C CTPIDRRO_EL0, 31
    MSR_C CID_EL0, 31
    MSR_C CTPIDR_EL1, 31
    msr tpidr_el1, x0
    MSR_C CELR_EL1, 31
    mov x9, #{user_control}
    msr S3_3_C1_C2_2, x9        // CCTLR_EL0
    isb
    ret

// intravisor_set_data(x0 = slot): DDC := the capability in the slot.
// FROM Rust. LIVE: the C convention.
.globl intravisor_set_data
intravisor_set_data:
    LDR_C 9, 0, 0
    MSR_C DDC, 9
    mov x9, xzr
    ret

// intravisor_own(x0 = slot for PCC, x1 = slot for DDC): copies of the monitor's own capabilities, to look at.
// FROM Rust. LIVE: the C convention.
.globl intravisor_own
intravisor_own:
    adr x9, intravisor_own
    CVTP_C 9, 9
    STR_C 9, 0, 0
    MRS_C 9, DDC
    STR_C 9, 0, 1
    mov x9, xzr
    ret
