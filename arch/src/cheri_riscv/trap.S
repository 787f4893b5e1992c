# Trap entry and exit.
#
# FROM a cVM (U mode), or from the monitor itself when it faults (M mode). IRQ off throughout: the processor clears
# mstatus.MIE on entry and the monitor never sets it.
#
# The processor has put PCC into MEPCC and taken PCC from MTCC: capability mode, monitor text, system registers
# allowed. Everything else is the interrupted program's, DDC included, so nothing may be addressed through DDC here.
#   MScratchC   the frame to fill: the cVM's, or the monitor's own frame while the monitor runs
#   MTDC        the monitor's data capability
#
# Register atlas after the first instruction: c2 = frame, MScratchC = the program's c2, all others the program's.

.balign 4
.globl intravisor_trap_entry
intravisor_trap_entry:
    CSpecialRW x2, MScratchC, x2
    SC  x1, (16 * 1), x2
    SC  x3, (16 * 3), x2
    SC  x4, (16 * 4), x2
    SC  x5, (16 * 5), x2
    SC  x6, (16 * 6), x2
    SC  x7, (16 * 7), x2
    SC  x8, (16 * 8), x2
    SC  x9, (16 * 9), x2
    SC  x10, (16 * 10), x2
    SC  x11, (16 * 11), x2
    SC  x12, (16 * 12), x2
    SC  x13, (16 * 13), x2
    SC  x14, (16 * 14), x2
    SC  x15, (16 * 15), x2
    SC  x16, (16 * 16), x2
    SC  x17, (16 * 17), x2
    SC  x18, (16 * 18), x2
    SC  x19, (16 * 19), x2
    SC  x20, (16 * 20), x2
    SC  x21, (16 * 21), x2
    SC  x22, (16 * 22), x2
    SC  x23, (16 * 23), x2
    SC  x24, (16 * 24), x2
    SC  x25, (16 * 25), x2
    SC  x26, (16 * 26), x2
    SC  x27, (16 * 27), x2
    SC  x28, (16 * 28), x2
    SC  x29, (16 * 29), x2
    SC  x30, (16 * 30), x2
    SC  x31, (16 * 31), x2
    # LIVE: c2 = frame; all other registers are saved and free.
    LC  x6, {nested}, x2
    CSpecialRW x5, MScratchC, x6          # the program's c2 out, the frame for a fault of the monitor in
    SC  x5, (16 * 2), x2
    csrr x11, mcause
    csrr x6, mtval
    csrr x7, mstatus
    sd  x11, {cause}(x2)
    sd  x6, {value}(x2)
    sd  x7, {status}(x2)
    CSpecialRW x5, MEPCC, x0
    addi x11, x11, -{hostcall}
    bnez x11, 1f
    CIncOffsetImm x5, x5, 4               # ECALL leaves its own address: a hostcall returns behind it
1:  SC  x5, {pcc}, x2
    CSpecialRW x5, MTDC, x0
    CSpecialRW x5, DDC, x5                # the program's DDC out, the monitor's in
    SC  x5, {ddc}, x2
    ld  x10, {pointer}(x2)                # the frame as the monitor's pointers count
    ld  x7, {handler}(x2)
    ld  x2, {stack}(x2)
    CONTINUE_HYBRID x6
    # LIVE: a0 = frame, sp, t2 = handler; DDC = the monitor's; hybrid mode.
    li  s0, 0                             # ends a backtrace of the monitor here
    jalr t2
    # Falls through with a0 = frame to resume.

# FROM above, or from intravisor_resume. LIVE: a0 = frame to resume, hybrid mode, the monitor's DDC. The stack is not
# needed any more.
.globl intravisor_resume
intravisor_resume:
    LC  x2, {own}, x10
    CONTINUE_CAPABILITY x6, x7
    # LIVE: c2 = frame, capability mode.
    CSpecialRW x0, MScratchC, x2
    ld  x7, {status}(x2)
    LC  x5, {pcc}, x2
    LC  x6, {ddc}, x2
    csrw mstatus, x7
    CSpecialRW x0, MEPCC, x5
    CSpecialRW x0, DDC, x6
    # The monitor's DDC is gone; everything from here goes through c2.
    LC  x1, (16 * 1), x2
    LC  x3, (16 * 3), x2
    LC  x4, (16 * 4), x2
    LC  x5, (16 * 5), x2
    LC  x6, (16 * 6), x2
    LC  x7, (16 * 7), x2
    LC  x8, (16 * 8), x2
    LC  x9, (16 * 9), x2
    LC  x10, (16 * 10), x2
    LC  x11, (16 * 11), x2
    LC  x12, (16 * 12), x2
    LC  x13, (16 * 13), x2
    LC  x14, (16 * 14), x2
    LC  x15, (16 * 15), x2
    LC  x16, (16 * 16), x2
    LC  x17, (16 * 17), x2
    LC  x18, (16 * 18), x2
    LC  x19, (16 * 19), x2
    LC  x20, (16 * 20), x2
    LC  x21, (16 * 21), x2
    LC  x22, (16 * 22), x2
    LC  x23, (16 * 23), x2
    LC  x24, (16 * 24), x2
    LC  x25, (16 * 25), x2
    LC  x26, (16 * 26), x2
    LC  x27, (16 * 27), x2
    LC  x28, (16 * 28), x2
    LC  x29, (16 * 29), x2
    LC  x30, (16 * 30), x2
    LC  x31, (16 * 31), x2
    LC  x2, (16 * 2), x2
    mret

# intravisor_arm(a0 = the monitor's own frame, a1 = absolute address of the entry above):
#   MTCC := the entry in capability mode, MTDC := DDC, MScratchC := the frame,
#   and every special register that reset leaves with authority := NULL.
# FROM Rust, hybrid mode. LIVE: the C convention.
.globl intravisor_arm
intravisor_arm:
    LC  x28, {own}, x10
    CONTINUE_CAPABILITY x6, x7
    CSpecialRW x5, PCC, x0
    CSetAddr x5, x5, x11
    CSpecialRW x0, MTCC, x5
    CSpecialRW x5, DDC, x0
    CSpecialRW x0, MTDC, x5
    CSpecialRW x0, MScratchC, x28
    # CSpecialRW with source register 0 only reads, so NULL comes from another register.
    CMove x5, x0
    CSpecialRW x0, MEPCC, x5
    CSpecialRW x0, STCC, x5
    CSpecialRW x0, STDC, x5
    CSpecialRW x0, SScratchC, x5
    CSpecialRW x0, SEPCC, x5
    CONTINUE_HYBRID x6
    # One of the two reference emulators stops with an assertion when the U-mode special registers are touched; it has
    # none that could hold authority. It is the one whose mscratch is the address of MScratchC.
    csrr x5, mscratch
    ld  x6, {own}(x10)
    beq x5, x6, 1f
    CONTINUE_CAPABILITY x6, x7
    CMove x5, x0
    CSpecialRW x0, UTCC, x5
    CSpecialRW x0, UTDC, x5
    CSpecialRW x0, UScratchC, x5
    CSpecialRW x0, UEPCC, x5
    CONTINUE_HYBRID x6
1:  li  x5, 0
    li  x6, 0
    li  x28, 0
    ret

# intravisor_set_data(a0 = slot): DDC and MTDC := the capability in the slot.
# FROM Rust, hybrid mode. LIVE: the C convention.
.globl intravisor_set_data
intravisor_set_data:
    LC  x28, 0, x10
    CONTINUE_CAPABILITY x6, x7
    CSpecialRW x0, MTDC, x28
    CSpecialRW x0, DDC, x28
    CONTINUE_HYBRID x6
    li  x6, 0
    li  x28, 0
    ret
