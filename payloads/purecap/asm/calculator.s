    .set EINVAL, -22
    .set EFAULT, -14

// FROM: the monitor, at the start. LIVE: nothing that is needed.
function _start
    hostcall HOSTCALL_SERVE
    exit
end_function _start

// The sum of two integers.
    gate add
    add {t0}, {a0}, {a1}
    branch_if_below {t0}, {a0}, 1f
    branch_if_negative {t0}, 1f
    move {a0}, {t0}
    leave_gate
1:  immediate {a0}, EINVAL
    leave_gate
end_function add

// The mean of the words in the caller's memory.
    gate mean
    passed_words {a0}, {t0}, {t1}, 8f, 9f
    branch_if_zero {t0}, 9f
    move {t3}, {t0}
    immediate {t1}, 0
1:  load_word {t4}, {a0}
    add {t1}, {t1}, {t4}
    branch_if_below {t1}, {t4}, 9f
    add_offset {a0}, {a0}, 8
    add_immediate {t3}, {t3}, -1
    branch_if_not_zero {t3}, 1b
    divide {a0}, {t1}, {t0}
    branch_if_negative {a0}, 9f
    leave_gate
8:  immediate {a0}, EFAULT
    leave_gate
9:  immediate {a0}, EINVAL
    leave_gate
end_function mean

// Writes the squares of the words in the caller's memory there; how many they are.
    gate squares
    passed_words {a0}, {t0}, {t1}, 8f, 9f, 1
    move {t3}, {t0}
1:  branch_if_zero {t3}, 2f
    load_word {t4}, {a0}
    multiply {t4}, {t4}, {t4}
    store_word {t4}, {a0}
    add_offset {a0}, {a0}, 8
    add_immediate {t3}, {t3}, -1
    jump 1b
2:  move {a0}, {t0}
    leave_gate
8:  immediate {a0}, EFAULT
    leave_gate
9:  immediate {a0}, EINVAL
    leave_gate
end_function squares
