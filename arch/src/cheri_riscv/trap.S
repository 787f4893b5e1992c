# Trap entry and exit.
#
# FROM a cVM (U mode), or from the monitor itself when it faults (M mode). IRQ off throughout: the processor clears
# mstatus.MIE on entry and the monitor never sets it.
#
# The processor has put PCC into MEPCC and taken PCC from MTCC: capability mode, monitor text, system registers
# allowed. Everything else is the interrupted program's, DDC included, so nothing may be addressed through DDC here.
#   MScratchC   the frame to fill: the cVM's, or the monitor's own frame while the monitor runs
#   MTDC        the hart's structure, arch::cheri_riscv::trap::Hart
#
# Register atlas after the first instruction: c2 = frame, MScratchC = the program's c2, all others the program's.

.balign 4
.globl intravisor_trap_entry
intravisor_trap_entry:
    CSpecialRW x2, MScratchC, x2
    SC  x1, (16 * 1), x2
.irp register, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    SC  x\register, (16 * \register), x2
.endr
    # LIVE: c2 = frame; all other registers are saved and free.
    CSpecialRW x5, MTDC, x0               # the hart's structure
    sc.w x0, x0, (x5)                     # no reservation survives: a store of another thread must not succeed by it
    LC  x6, {nested}, x5
    CSpecialRW x6, MScratchC, x6          # the program's c2 out, the frame for a fault of the monitor in
    SC  x6, (16 * 2), x2
    csrr x11, mcause
    CSpecialRW x6, MEPCC, x0
    addi x12, x11, -{hostcall}
    bnez x12, 2f
    CIncOffsetImm x6, x6, 4               # ECALL leaves its own address: a hostcall returns behind it
    LC  x7, {hostcall_handler}, x5
1:  ld  x1, {back}(x5)
    ld  x11, {stack}(x5)
    # LIVE: c5 = hart, c6 = MEPCC, c7 = what handles the trap, x1 = where that returns to, x11 = its stack.
3:  SC  x6, {pcc}, x2
    LC  x6, {data}, x5
    CSpecialRW x6, DDC, x6                # the program's DDC out, the monitor's in
    SC  x6, {ddc}, x2
    ld  x10, {pointer}(x2)                # frame and hart as the monitor's pointers count
    ld  x9, {hart}(x5)
    mv  x2, x11
    li  s0, 0                             # ends a backtrace of the monitor here
    CJALR x0, x7
    # On in Rust, in hybrid mode. LIVE: a0 = frame, s1 = hart, sp, ra; DDC = the monitor's.

    # FROM above: no hostcall, and perhaps the monitor's own fault. LIVE: c2 = frame, c5 = hart, c6 = MEPCC, x11 = cause.
2:  csrr x12, mtval
    csrr x13, mstatus
    sd  x11, {cause}(x2)
    sd  x12, {value}(x2)
    sd  x13, {status}(x2)
    srli x13, x13, 11
    andi x13, x13, 3                      # MPP: 0 = from a cVM
    LC  x7, {handler}, x5
    beqz x13, 1b
    LC  x7, {fault_handler}, x5
    ld  x1, {fault_back}(x5)
    ld  x11, {fault_stack}(x5)
    j   3b

# FROM Rust, when the monitor's own fault was a refused copy. LIVE: a0 = the monitor's frame, s1 = hart, hybrid mode.
.globl intravisor_fault_back
intravisor_fault_back:
    # The monitor goes on as it was: the frame's mode is its mstatus, without SD, which would be the mark of a beginning.
    ld  x11, {status}(x10)
    slli x11, x11, 1
    srli x11, x11, 1
    sd  x11, {mode}(x10)
    j   intravisor_back

# FROM boot. LIVE: a0 = frame to resume, a1 = hart, hybrid mode.
.globl intravisor_resume
intravisor_resume:
    mv  x9, x11
# FROM Rust, when a trap was handled. LIVE: a0 = frame to resume, s1 = hart, hybrid mode, the monitor's DDC. The stack is not
# needed any more.
.globl intravisor_back
intravisor_back:
    LC  x2, {own}, x10
    LC  x6, {leave}, x9
    CJALR x0, x6
.globl intravisor_leave
intravisor_leave:
    # LIVE: c2 = frame, capability mode.
    ld  x7, {mode}(x2)                    # to U-mode, floating point open or closed
    csrw mstatus, x7
    bltz x7, 2f
    CSpecialRW x0, MScratchC, x2
    LC  x5, {pcc}, x2
    LC  x6, {ddc}, x2
    CSpecialRW x0, MEPCC, x5
    CSpecialRW x0, DDC, x6
    # The monitor's DDC is gone; everything from here goes through c2.
    LC  x1, (16 * 1), x2
.irp register, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    LC  x\register, (16 * \register), x2
.endr
    LC  x2, (16 * 2), x2
    mret

    # FROM above: the processor has another thread's floating-point registers. LIVE: a0 = frame, s1 = hart, x7 = mode, the
    # monitor's DDC.
2:  slli x7, x7, 1
    bgez x7, 3f
    CONTINUE_HYBRID x6
    ld  sp, {stack}(s1)
    call {exchange_float}
    j   intravisor_back

    # FROM above: a handler begins with a call. LIVE: c2 = frame, capability mode. Of the frame's registers the arguments
    # count; program counter, DDC, stack and thread pointer and the spare register come from what was prepared; the others are
    # null, whatever the last call left in the frame.
3:  CSpecialRW x0, MScratchC, x2
    sd  x0, {mode}(x2)
    LC  x5, {fresh_pcc}, x2
    LC  x6, {fresh_ddc}, x2
    CSpecialRW x0, MEPCC, x5
    CSpecialRW x0, DDC, x6
    LC  x4, {fresh_thread}, x2
    LC  x5, {fresh_spare}, x2
.irp register, 10, 11, 12, 13, 14, 15, 16, 17
    LC  x\register, (16 * \register), x2
.endr
.irp register, 1, 3, 6, 7, 8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    li  x\register, 0
.endr
    LC  x2, {fresh_stack}, x2
    mret

# intravisor_code(a0 = slot, a1 = absolute address, a2 = 1 for capability mode): slot := the monitor's code capability with
# this address. FROM Rust, hybrid mode. LIVE: the C convention.
.globl intravisor_code
intravisor_code:
    CSpecialRW x5, PCC, x0
    CSetAddr x5, x5, x11
    CSetFlags x5, x5, x12
    SC  x5, 0, x10
    li  x5, 0
    ret

# intravisor_arm(a0 = the monitor's own frame, a1 = absolute address of the entry above, a2 = the hart's structure):
#   MTCC := the entry in capability mode, MTDC := the hart's structure, MScratchC := the frame,
#   and every special register that reset leaves with authority := NULL.
# FROM Rust, hybrid mode. LIVE: the C convention.
.globl intravisor_arm
intravisor_arm:
    LC  x28, {own}, x10
    LC  x29, {hart_own}, x12
    CONTINUE_CAPABILITY x6, x7
    CSpecialRW x5, PCC, x0
    CSetAddr x5, x5, x11
    CSpecialRW x0, MTCC, x5
    CSpecialRW x0, MTDC, x29
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
    li  x29, 0
    ret

# intravisor_set_data(a0 = slot): DDC := the capability in the slot.
# FROM Rust, hybrid mode. LIVE: the C convention.
.globl intravisor_set_data
intravisor_set_data:
    LC  x28, 0, x10
    CONTINUE_CAPABILITY x6, x7
    CSpecialRW x0, DDC, x28
    CONTINUE_HYBRID x6
    li  x6, 0
    li  x28, 0
    ret
