    text gate_add, "calculator.add"
    text gate_mean, "calculator.mean"
    text gate_squares, "calculator.squares"
    text t_sum, "30 + 12 ="
    text t_mean, "the mean of 1 to 4 is"
    text t_squares, "squares:"
    text t_after, "the mean of 1 and the squares is"
    text t_wrong, "too much:"
    object numbers, 32

// Adds to the count of wrong results in {s5}, unless a register holds a number.
.macro expect rs, number
    immediate {t0}, \number
    branch_if_equal \rs, {t0}, .Lright\@
    add_immediate {s5}, {s5}, 1
.Lright\@:
.endm

// FROM: the monitor, at the start. LIVE: {a0} the start block.
function _start
    local_area {s4}, {a0}
    immediate {s5}, 0
    // The tokens are kept in the local area: {s0} and {s1} have the one that is used.
    find_gate {s0}, {s1}, gate_add, .Lfailed
    store_token {s0}, {s1}, {s4}, 0
    find_gate {s0}, {s1}, gate_mean, .Lfailed
    store_token {s0}, {s1}, {s4}, 32
    find_gate {s0}, {s1}, gate_squares, .Lfailed
    store_token {s0}, {s1}, {s4}, 64

    load_token {s0}, {s1}, {s4}, 0
    immediate {a0}, 30
    immediate {a1}, 12
    call_gate {s0}, {s1}, 2
    move {s2}, {a0}
    expect {s2}, 42
    report t_sum, {s2}
    load_token {s0}, {s1}, {s4}, 0
    immediate {a0}, -1
    immediate {a1}, 1
    call_gate {s0}, {s1}, 2
    move {s2}, {a0}
    expect {s2}, -22
    report t_wrong, {s2}

    load_slot {s3}, numbers
    immediate {t0}, 1
    store_word {t0}, {s3}, 0
    immediate {t0}, 2
    store_word {t0}, {s3}, 8
    immediate {t0}, 3
    store_word {t0}, {s3}, 16
    immediate {t0}, 4
    store_word {t0}, {s3}, 24
    load_token {s0}, {s1}, {s4}, 32
    only_load {a0}, {s3}
    call_gate {s0}, {s1}, 1
    move {s2}, {a0}
    expect {s2}, 2
    report t_mean, {s2}

    // All but the first, from behind its begin: the bounds count, not the address.
    load_token {s0}, {s1}, {s4}, 64
    add_offset {a0}, {s3}, 8
    immediate {t0}, 24
    set_bounds {a0}, {a0}, {t0}
    add_offset {a0}, {a0}, 16
    call_gate {s0}, {s1}, 1
    move {s2}, {a0}
    expect {s2}, 3
    report t_squares, {s2}
    // To be read only: refused, and nothing is written.
    load_token {s0}, {s1}, {s4}, 64
    only_load {a0}, {s3}
    call_gate {s0}, {s1}, 1
    expect {a0}, -14
    load_token {s0}, {s1}, {s4}, 32
    move_capability {a0}, {s3}
    call_gate {s0}, {s1}, 1
    move {s2}, {a0}
    expect {s2}, 7
    report t_after, {s2}
    load_word {t1}, {s3}, 0
    expect {t1}, 1
    load_word {t1}, {s3}, 24
    expect {t1}, 16
    // Nothing of the other cVM's has come back: the capability that was passed is the same, and no second result is one.
    get_length {t1}, {s3}
    expect {t1}, 32
    move {a0}, {s5}
    exit
.Lfailed:
    exit
end_function _start
