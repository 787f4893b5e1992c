# The switcher: how a thread goes from one cVM straight into a function of another, and back. It is copied to two pages outside of
# the monitor, which it is entered in: this code, in capability mode, and behind it a page that begins with authority over the
# record of the thread that runs, as long as that one has gates. No cVM can read either.
#
# U-mode: an interrupt may come at every instruction. Until the first of the two stores that change something, the monitor
# lets the thread begin again at the entry; between the two it makes the second one itself. What is not there - a free seat, room
# for another activation - is NULL, and faults, which the monitor turns into an error for the caller.
#
# The switcher's registers, t0 to t2 and t3 to t6 (x5 to x7, x28 to x31), are free in every calling convention.

# For data only, and local: what a capability becomes on the way. x\mask = the permissions. ISAv8 traps where ISAv9 takes the tag.
.macro NARROW register, mask, spare, version
.if \version == 9
    CAndPerm \register, \register, \mask
.else
    CGetTag \spare, \register
    beqz \spare, 2f
    CGetSealed \spare, \register
    beqz \spare, 1f
    CClearTag \register, \register
    beqz x0, 2f                           # a jump wants PCC to be global
1:  CAndPerm \register, \register, \mask
2:
.endif
.endm

# Floating-point registers of a gate that may use them.
.macro CLEAR_FLOAT kind
.ifc \kind, vector
.irp register, f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, f21, f22, f23, f24, f25, f26, f27, f28, f29, f30, f31
    fmv.d.x \register, x0
.endr
    fscsr x0
.endif
.endm

# The way there. x\offset: its distance from the start of the page.
.macro CALL version, kind, offset
.balign 512
intravisor_switcher_v\version\()_\kind\()_entry:
    # FROM a cVM, by CInvoke. LIVE: c31 = the gate, unsealed by the processor; c1 = where to return to; c10 to c15 = arguments;
    # everything else is the caller's.
    auipc x30, 1                          # in capability mode a capability
    LC  x30, -\offset, x30                # the running thread's record
    LC  x29, {top}, x30
    LC  x29, {above}, x29                 # the activation to fill
    LC  x28, {free}, x31                  # a seat: a stack that nobody is on
    LC  x7, {next}, x28
    SC  x1, {a_pc}, x29
    SC  x2, {a_sp}, x29
    SC  x3, {a_gp}, x29
    SC  x4, {a_tp}, x29
    SC  x8, ({a_saved} + 16 * 0), x29
    SC  x9, ({a_saved} + 16 * 1), x29
    SC  x18, ({a_saved} + 16 * 2), x29
    SC  x19, ({a_saved} + 16 * 3), x29
    SC  x20, ({a_saved} + 16 * 4), x29
    SC  x21, ({a_saved} + 16 * 5), x29
    SC  x22, ({a_saved} + 16 * 6), x29
    SC  x23, ({a_saved} + 16 * 7), x29
    SC  x24, ({a_saved} + 16 * 8), x29
    SC  x25, ({a_saved} + 16 * 9), x29
    SC  x26, ({a_saved} + 16 * 10), x29
    SC  x27, ({a_saved} + 16 * 11), x29
    CSpecialRW x5, DDC, x0
    SC  x5, {a_ddc}, x29
    SC  x28, {a_seat}, x29
    sd  x0, {a_seen}(x29)
intravisor_switcher_v\version\()_\kind\()_call:
    SC  x7, {free}, x31                   # the seat is taken
    SC  x29, {top}, x30                   # the thread acts for the gate's cVM
    # LIVE: c28 = seat, c29 = activation, c30 = record, c31 = gate; all that is the caller's is saved, or an argument.
    LC  x2, {stack}, x28
    LC  x5, {spare}, x28
    LC  x4, {g_tp}, x31
    LC  x6, {g_ddc}, x31
    CSpecialRW x0, DDC, x6
    LC  x6, {g_entry}, x31
    li  x7, {data}
.irp register, x10, x11, x12, x13, x14, x15
    NARROW \register, x7, x9, \version
.endr
    LC  x1, {g_return}, x31
    LC  x7, {g_return_data}, x31
.irp register, 3, 8, 9, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    li  x\register, 0
.endr
    CLEAR_FLOAT \kind
    CJALR x0, x6
.endm

# The way back.
.macro RETURN version, kind, offset
.balign 512
intravisor_switcher_v\version\()_\kind\()_return:
    # FROM a gate's function, by CInvoke with the pair in its c1 and c7; or from anybody who has kept it. LIVE: c10, c11 = results.
    auipc x31, 1
    LC  x31, -\offset, x31
    LC  x30, {top}, x31
    LC  x29, {a_seat}, x30                # NULL where nobody was called
    LC  x28, {gate}, x29
    LC  x7, {free}, x28
    SC  x7, {next}, x29
    li  x5, {data}
    NARROW x10, x5, x6, \version
    NARROW x11, x5, x6, \version
    LC  x6, {below}, x30
    LC  x1, {a_pc}, x30
    LC  x2, {a_sp}, x30
    LC  x3, {a_gp}, x30
    LC  x4, {a_tp}, x30
    LC  x8, ({a_saved} + 16 * 0), x30
    LC  x9, ({a_saved} + 16 * 1), x30
    LC  x18, ({a_saved} + 16 * 2), x30
    LC  x19, ({a_saved} + 16 * 3), x30
    LC  x20, ({a_saved} + 16 * 4), x30
    LC  x21, ({a_saved} + 16 * 5), x30
    LC  x22, ({a_saved} + 16 * 6), x30
    LC  x23, ({a_saved} + 16 * 7), x30
    LC  x24, ({a_saved} + 16 * 8), x30
    LC  x25, ({a_saved} + 16 * 9), x30
    LC  x26, ({a_saved} + 16 * 10), x30
    LC  x27, ({a_saved} + 16 * 11), x30
    LC  x5, {a_ddc}, x30
    CSpecialRW x0, DDC, x5
intravisor_switcher_v\version\()_\kind\()_back:
    SC  x29, {free}, x28                  # the seat is free
    SC  x6, {top}, x31                    # the thread acts for the caller again
    # LIVE: c1 = where to return to; the caller's registers; x5 to x7, x12 to x17, x28 to x31 are free.
.irp register, 5, 6, 7, 12, 13, 14, 15, 16, 17, 28, 29, 30, 31
    li  x\register, 0
.endr
    CLEAR_FLOAT \kind
# FROM the monitor, too, when it has undone a call.
intravisor_switcher_v\version\()_\kind\()_leave:
    CJALR x0, x1
.endm

# What the monitor knows of a way, as offsets.
.macro PLACES version, kind
.irp place, entry, call, return, back, leave
    .word intravisor_switcher_v\version\()_\kind\()_\place - intravisor_switcher_v\version
.endr
.endm

# What is loaded relative to the program counter lies a page behind the start: all entries are within the reach of an offset.
.irp version, 9, 8
.balign 512
.globl intravisor_switcher_v\version
intravisor_switcher_v\version:
    CALL \version, plain, 0
    RETURN \version, plain, 512
    RETURN \version, vector, 1024
    CALL \version, vector, 1536
intravisor_switcher_v\version\()_end:
.balign 4
.globl intravisor_switcher_v\version\()_places
intravisor_switcher_v\version\()_places:
    .word intravisor_switcher_v\version\()_end - intravisor_switcher_v\version
    PLACES \version, plain
    PLACES \version, vector
.endr
