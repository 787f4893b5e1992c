    object memory, 128

// FROM: the monitor, at the start. LIVE: nothing that is needed.
function _start
    hostcall HOSTCALL_SERVE
    exit
end_function _start

// Goes on at the label when the caller's choice is below the limit.
.macro below limit, label
    immediate {t0}, \limit
    subtract {t0}, {s4}, {t0}
    branch_if_negative {t0}, \label
.endm

// FROM: the monitor, for a hostcall. LIVE: the caller's arguments; {a5} = what to do, 0 to 63.
function syscall_handler
    move {s4}, {a5}
    add_offset {sp}, {sp}, -96
    below 20, .Lreply
    below 36, .Ldelegate
    below 44, .Lpass
    below 50, .Lkeep
    below 54, .Lstale
    below 55, .Lstore
    below 56, .Lfault
    below 57, .Lspin
    below 58, .Lsleep
    below 59, .Lexit
    below 61, .Linform
.Lreply:
    add {a0}, {a7}, {a6}
    immediate {a1}, 4711
    immediate {a2}, 1
    hostcall HOSTCALL_REPLY
    illegal_instruction
.Ldelegate:
    hostcall HOSTCALL_DELEGATE
    illegal_instruction
// Passes what may be a buffer on.
.Lpass:
    immediate {a0}, 1
    immediate {a2}, 1
    hostcall HOSTCALL_WRITE
    jump .Lanswer
.Linform:
    immediate {a1}, 16
    hostcall HOSTCALL_INFO
.Lanswer:
    immediate {a1}, 0
    immediate {a2}, 0
    hostcall HOSTCALL_REPLY
    illegal_instruction
// Leaves what it got on its stack.
.Lkeep:
    store_capability {a0}, {sp}, 0
    store_capability {a1}, {sp}, 16
    store_capability {a2}, {sp}, 32
    store_capability {a3}, {sp}, 48
    store_capability {a4}, {sp}, 64
    jump .Lreply
// Looks for what it left there.
.Lstale:
    load_capability {t0}, {sp}, 0
    get_tag {s0}, {t0}
    load_capability {t0}, {sp}, 16
    get_tag {s1}, {t0}
    add {s0}, {s0}, {s1}
    load_capability {t0}, {sp}, 32
    get_tag {s1}, {t0}
    add {s0}, {s0}, {s1}
    load_capability {t0}, {sp}, 48
    get_tag {s1}, {t0}
    add {s0}, {s0}, {s1}
    load_capability {t0}, {sp}, 64
    get_tag {s1}, {t0}
    add {s0}, {s0}, {s1}
    branch_if_zero {s0}, .Lreply
    print found
    immediate {a0}, 99
    exit
// Stores what it got where a local capability may not be.
.Lstore:
    load_slot {t1}, memory
    store_capability {a1}, {t1}, 0
    jump .Lreply
.Lfault:
    illegal_instruction
.Lspin:
    jump .Lspin
.Lsleep:
    immediate {a0}, 1000000000
    hostcall HOSTCALL_NANOSLEEP
    jump .Lanswer
.Lexit:
    immediate {a0}, 3
    exit
end_function syscall_handler

    text found, "a capability of an earlier call\n"
