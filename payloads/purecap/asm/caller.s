    object buffer, 64
    text message, "a message\n"
    text t_null, "null:"
    text t_second, "second value:"
    text t_write, "write:"
    text t_read, "read:"
    text t_first, "first byte:"
    text t_info, "info:"
    text t_heap, "heap:"
    text t_heap_tag, "heap tag:"
    text t_unknown, "unknown:"
    text t_changed, "changed:"

// Reports a register on stream 2, or faults.
.macro tell name, rs
    move {s1}, \rs
    report \name, {s1}, 2
    call check_told
.endm

function check_told
    move {s0}, {a0}
    branch_if_negative {s0}, 1f
    return
1:  illegal_instruction
end_function check_told

// Counts in {s5} when two registers differ.
.macro expect left, right
    branch_if_equal \left, \right, .Lexpected\@
    add_immediate {s5}, {s5}, 1
.Lexpected\@:
.endm

    command "once", once
function once
    hostcall HOSTCALL_NULL
    tell t_null, {a0}
    immediate {a0}, 0
    exit
end_function once

function _start
    immediate {s5}, 0
    call find_command
    get_tag {t0}, {a0}
    branch_if_zero {t0}, 1f
    call_capability {a0}
1:
    // The second result register and all others keep their contents.
    immediate {a1}, 4321
    immediate {a5}, 8765
    immediate {t0}, 1357
    load_slot {s2}, buffer
    move_capability {a2}, {s2}
    hostcall HOSTCALL_NULL
    get_tag {t1}, {a2}
    get_tag {t2}, {s2}
    expect {t1}, {t2}
    get_address {t1}, {a2}
    get_address {t2}, {s2}
    expect {t1}, {t2}
    immediate {t1}, 8765
    expect {a5}, {t1}
    immediate {t1}, 1357
    expect {t0}, {t1}
    move {s3}, {a1}
    tell t_null, {a0}
    tell t_second, {s3}

    load_slot {s2}, message
    get_length {a2}, {s2}
    move_capability {a1}, {s2}
    immediate {a0}, 1
    hostcall HOSTCALL_WRITE
    // An answer may have a second value, in {a1}; the next register is the caller's.
    get_length {t1}, {s2}
    expect {a2}, {t1}
    tell t_write, {a0}

    immediate {a0}, 0
    load_slot {a1}, buffer
    immediate {a2}, 64
    immediate {a3}, 1
    hostcall HOSTCALL_READ
    tell t_read, {a0}
    load_slot {t0}, buffer
    load_byte {t0}, {t0}
    tell t_first, {t0}

    load_slot {a0}, buffer
    immediate {a1}, 48
    hostcall HOSTCALL_INFO
    tell t_info, {a0}

    hostcall HOSTCALL_HEAP
    move {s2}, {a1}
    get_tag {s3}, {a0}
    branch_if_not_zero {s3}, 2f
    move {s2}, {a0}
2:  tell t_heap, {s2}
    tell t_heap_tag, {s3}

    hostcall 999
    tell t_unknown, {a0}
    tell t_changed, {s5}
    move {a0}, {s5}
    exit
end_function _start
