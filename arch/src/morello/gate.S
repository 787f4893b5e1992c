// The switcher: how a thread goes from one cVM straight into a function of another, and back. It is copied to a page outside of
// the monitor, which it is entered in: C64, with Executive, so that the stack pointer is CSP_EL0, which no cVM reaches: it points
// behind the last activation of the thread that runs, in the thread's record; NULL for a thread without gates. What a cVM has are the
// Restricted registers.
//
// EL0: an interrupt may come at every instruction. Until the first of the two instructions that change something, the
// monitor lets the thread begin again at the entry; between the two it makes the second one itself. What is not there - a free
// seat, room for another activation - faults, which the monitor turns into an error for the caller.
//
// The switcher's registers, c9 to c18 and c29, are free in every calling convention (c29 by the branch itself).

// Two registers to NULL, by a load of two zeros of the gate.
.macro NULL ct, ct2, gate
    GLDP \ct, \ct2, {zeros}, \gate
.endm

// Vector registers of a gate that may use them.
.macro CLEAR_FLOAT kind
.ifc \kind, vector
.irp register, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    MOVI_ZERO \register
.endr
    MSR_FPCR_XZR
    MSR_FPSR_XZR
.endif
.endm

.macro SWITCHER kind
.balign 16
intravisor_switcher_\kind\()_entry:
    // FROM a cVM, by a branch to its token. LIVE: c29 = the gate; c30 = where to return to, a sentry; c0 to c5 = arguments;
    // everything else is the caller's.
    LDR_C 9, {free}, 29                 // a seat: a stack that nobody is on
    GLDP 10, 11, {next}, 9              // the next one, and the stack
    GSTP 19, 20, 0, 31
    GSTP 21, 22, 32, 31
    GSTP 23, 24, 64, 31
    GSTP 25, 26, 96, 31
    GSTP 27, 28, 128, 31
    MRS_C 12, RCSP_EL0
    MRS_C 13, RDDC_EL0
    MRS_C 14, RCTPIDR_EL0
    GSTP 30, 12, {a_pc}, 31
    GSTP 13, 14, {a_ddc}, 31
    GSTP 9, 31, {a_seat}, 31            // and no mark of the monitor
intravisor_switcher_\kind\()_call:
    STR_C 10, {free}, 29                // the seat is taken
    ADD_C_IMMEDIATE 31, 31, {activation} // the thread acts for the gate's cVM
    // LIVE: c9 = seat, c11 = stack, c29 = gate; all that is the caller's is saved, or an argument.
    GLDP 12, 13, {g_ddc}, 29
    LDR_C 8, {g_entry}, 29
    LDR_C 9, {spare}, 9
    MSR_C RCSP_EL0, 11
    MSR_C RDDC_EL0, 12
    MSR_C RCTPIDR_EL0, 13
    MSR_C CID_EL0, 31
    mov x14, #{all_but_data}            // for data only, and local: what a capability becomes on the way
    CLRPERM 0, 0, 14
    CLRPERM 1, 1, 14
    CLRPERM 2, 2, 14
    CLRPERM 3, 3, 14
    CLRPERM 4, 4, 14
    CLRPERM 5, 5, 14
    NULL 6, 7, 29
    NULL 10, 11, 29
    NULL 12, 13, 29
    NULL 14, 15, 29
    NULL 16, 17, 29
    NULL 18, 19, 29
    NULL 20, 21, 29
    NULL 22, 23, 29
    NULL 24, 25, 29
    NULL 26, 27, 29
    NULL 28, 29, 29
    msr nzcv, xzr
    CLEAR_FLOAT \kind
    BLRR 8
intravisor_switcher_\kind\()_return:
    // FROM a gate's function, by the link; or from anybody who has kept it. LIVE: c0, c1 = results.
    mov x2, #{all_but_data}
    CLRPERM 0, 0, 2
    CLRPERM 1, 1, 2
    GLDP 9, 10, ({a_seat} - {activation}), 31 // outside of the record where nobody was called
    LDR_C 11, {gate}, 9
    LDR_C 12, {free}, 11
    STR_C 12, {next}, 9
    GLDP 30, 14, ({a_pc} - {activation}), 31
    GLDP 15, 16, ({a_ddc} - {activation}), 31
    GLDP 19, 20, (0 - {activation}), 31
    GLDP 21, 22, (32 - {activation}), 31
    GLDP 23, 24, (64 - {activation}), 31
    GLDP 25, 26, (96 - {activation}), 31
    GLDP 27, 28, (128 - {activation}), 31
    MSR_C RCSP_EL0, 14
    MSR_C RDDC_EL0, 15
    MSR_C RCTPIDR_EL0, 16
    MSR_C CID_EL0, 31
intravisor_switcher_\kind\()_back:
    STR_C 9, {free}, 11                 // the seat is free
    // The thread acts for the caller again.
    SUB_C_IMMEDIATE 31, 31, {activation}
    // LIVE: c30 = where to return to; the caller's registers; c2 to c18 and c29 are free; c11 = the gate that was.
    NULL 2, 3, 11
    NULL 4, 5, 11
    NULL 6, 7, 11
    NULL 8, 9, 11
    NULL 10, 12, 11
    NULL 13, 14, 11
    NULL 15, 16, 11
    NULL 17, 18, 11
    NULL 29, 11, 11
    msr nzcv, xzr
    CLEAR_FLOAT \kind
// FROM the monitor, too, when it has undone a call.
intravisor_switcher_\kind\()_leave:
    RETR 30
.endm

// What the monitor knows of a way, as offsets.
.macro PLACES kind
.irp place, entry, call, return, back, leave
    .word intravisor_switcher_\kind\()_\place - intravisor_switcher
.endr
.endm

.balign 16
.globl intravisor_switcher
intravisor_switcher:
    SWITCHER plain
    SWITCHER vector
intravisor_switcher_end:
.globl intravisor_switcher_places
intravisor_switcher_places:
    .word intravisor_switcher_end - intravisor_switcher
    PLACES plain
    PLACES vector
