    text which, "which way?\n"
    object way, 16
    object kept, 16
    object count, 16

// FROM: the monitor, at the start. LIVE: {a0} the start block.
function _start
    call find_command
    get_tag {t0}, {a0}
    branch_if_zero {t0}, 1f
    load_slot {t0}, way
    store_capability {a0}, {t0}
    // The ways of the main thread begin with a call of their function, those of the handler do not.
    load_slot {t1}, first_of_main
    get_address {t1}, {t1}
    get_address {t0}, {a0}
    subtract {t0}, {t0}, {t1}
    branch_if_negative {t0}, 2f
    call_capability {a0}
2:  hostcall HOSTCALL_SERVE
    exit
1:  print which
    immediate {a0}, 64
    exit
end_function _start

// FROM: the monitor. LIVE: {a0}-{a5} the caller's arguments, {a6} its number, {a7} the hostcall's number, {sp} the service stack.
function syscall_handler
    immediate {t0}, HOSTCALL_EXIT
    branch_if_equal {a7}, {t0}, 1f
    immediate {t0}, HOSTCALL_WRITE
    branch_if_not_equal {a7}, {t0}, 2f
    immediate {t0}, 2
    branch_if_equal {a0}, {t0}, 1f
2:  load_slot {t0}, way
    load_capability {t0}, {t0}
    call_capability {t0}
    illegal_instruction
1:  hostcall HOSTCALL_DELEGATE
    illegal_instruction
end_function syscall_handler

// Answers with a register and no second value.
.macro reply rs
    .if (\rs) != {a0}
    move {a0}, \rs
    .endif
    immediate {a1}, 0
    immediate {a2}, 0
    hostcall HOSTCALL_REPLY
    illegal_instruction
.endm

    command "answer", way_answer
function way_answer
    immediate {a0}, 42
    immediate {a1}, 43
    immediate {a2}, 1
    hostcall HOSTCALL_REPLY
    illegal_instruction
end_function way_answer

    command "fault", way_fault
function way_fault
    illegal_instruction
end_function way_fault

    command "bounds", way_bounds
function way_bounds
    get_base {t0}, {a1}
    get_length {t1}, {a1}
    add {t0}, {t0}, {t1}
    set_address {a1}, {a1}, {t0}
    load_byte {a0}, {a1}
    reply {a0}
end_function way_bounds

    command "exit", way_exit
function way_exit
    immediate {a0}, 3
    exit
end_function way_exit

    command "spin", way_spin
function way_spin
1:  jump 1b
end_function way_spin

    command "sleep", way_sleep
function way_sleep
    immediate {a0}, 0x7fffffffffffffff
    hostcall HOSTCALL_NANOSLEEP
    reply {a0}
end_function way_sleep

    text t_alive, "alive after the reply\n"
    command "twice", way_twice
function way_twice
    immediate {a0}, 42
    immediate {a1}, 0
    immediate {a2}, 0
    hostcall HOSTCALL_REPLY
    print t_alive, 2
    immediate {a0}, 43
    hostcall HOSTCALL_REPLY
    illegal_instruction
end_function way_twice

    command "serve", way_serve
function way_serve
    hostcall HOSTCALL_SERVE
    reply {a0}
end_function way_serve

    command "keep", way_keep
function way_keep
    load_slot {t0}, kept
    store_capability {a1}, {t0}
    reply {zero}
end_function way_keep

    command "hide", way_hide
function way_hide
    add_offset {t0}, {sp}, -512
    load_capability {t1}, {t0}
    get_tag {t1}, {t1}
    store_capability {a1}, {t0}
    reply {t1}
end_function way_hide

    command "after", way_after
function way_after
    get_tag {t1}, {s4}
    get_tag {t2}, {s5}
    add {t1}, {t1}, {t2}
    move_capability {s4}, {a1}
    move_capability {s5}, {a1}
    reply {t1}
end_function way_after

    command "fill", way_fill
function way_fill
    get_length {t0}, {a1}
    immediate {t1}, 0x4c
1:  branch_if_zero {t0}, 2f
    store_byte {t1}, {a1}
    add_offset {a1}, {a1}, 1
    add_immediate {t0}, {t0}, -1
    jump 1b
2:  reply {a2}
end_function way_fill

    command "pass", way_pass
function way_pass
    set_number {a7}
    hostcall_again
    immediate {a2}, 1
    hostcall HOSTCALL_REPLY
    illegal_instruction
end_function way_pass

    command "lie", way_lie
function way_lie
    load_slot {t0}, count
    load_word {t1}, {t0}
    add_immediate {t2}, {t1}, 1
    store_word {t2}, {t0}
    branch_if_zero {t1}, 1f
    immediate {t2}, 1
    branch_if_equal {t1}, {t2}, 2f
    immediate {a0}, -4096
    reply {a0}
1:  immediate {a0}, -14
    reply {a0}
2:  immediate {a0}, 1 << 62
    reply {a0}
end_function way_lie

    command "delegate", way_delegate
function way_delegate
    hostcall HOSTCALL_DELEGATE
    illegal_instruction
end_function way_delegate

// --- Ways of the main thread; they lie behind all others ---

    command "main-exit", main_exit
    function_pointer first_of_main, main_exit
function main_exit
    immediate {a0}, 3
    exit
end_function main_exit

    command "main-fault", main_fault
function main_fault
    illegal_instruction
end_function main_fault

    command "main-spin", main_spin
function main_spin
1:  jump 1b
end_function main_spin

    command "main-sleep", main_sleep
function main_sleep
    immediate {a0}, 0x7fffffffffffffff
    hostcall HOSTCALL_NANOSLEEP
    exit
end_function main_sleep

    command "outside", outside
function outside
    immediate {a0}, 1
    immediate {a2}, 0
    hostcall HOSTCALL_REPLY
    // EPERM of both.
    add_immediate {s0}, {a0}, 1
    hostcall HOSTCALL_DELEGATE
    add_immediate {s1}, {a0}, 1
    add {a0}, {s0}, {s1}
    exit
end_function outside
