    .set WORKERS, 3
    .set STACK, 1024
// A worker's record: what it adds, the sum, and the word that becomes 0 when nothing of it is left.
    .set ADDS, 0
    .set SUM, 8
    .set RUNS, 16
    text t_sum, "sum:"
    text t_workers, "workers:"
    object stacks, WORKERS * STACK
    object records, WORKERS * 32
    object start, 16
    text t_beyond, "beyond\n"
    function_pointer entry, worker

// With this argument the first worker stores below its stack, where another one's is.
    command "beyond", beyond
function beyond
    immediate {t0}, 1
    load_slot {t1}, start
    store_word {t0}, {t1}, 8
    return
end_function beyond

// A worker: {s0} = its number, {a0} = a capability over its part of an object, of so many bytes each.
.macro part cd, name, size
    load_slot \cd, \name
    immediate {t0}, \size
    multiply {t1}, {s0}, {t0}
    add_index \cd, \cd, {t1}
    set_bounds \cd, \cd, {t0}
.endm

// FROM: the monitor, at the start. LIVE: nothing that is needed. {s0} = the number of a worker, {s1} = its record, {s2} = the sum of all, {s3} =
// how many have ended.
function _start
    call find_command
    get_tag {t0}, {a0}
    branch_if_zero {t0}, 1f
    call_capability {a0}
1:  immediate {s0}, 0
1:  part {s1}, records, 32
    add_immediate {t1}, {s0}, 1
    store_word {t1}, {s1}, ADDS
    immediate {t1}, 1
    store_word {t1}, {s1}, RUNS
    // Nothing but its stack, its record and what this program executes with goes to it, in registers.
    part {a1}, stacks, STACK
    add_index {a1}, {a1}, {t0}
    load_slot {a0}, entry
    immediate {a2}, 0
    move_capability {a3}, {s1}
    immediate {a4}, 0
    hostcall HOSTCALL_THREAD_CREATE
    branch_if_negative {a0}, 9f
    add_immediate {s0}, {s0}, 1
    immediate {t1}, WORKERS
    branch_if_not_equal {s0}, {t1}, 1b

    // There are no more.
    load_slot {a0}, entry
    immediate {a1}, 0
    hostcall HOSTCALL_THREAD_CREATE
    immediate {t1}, -11
    branch_if_not_equal {a0}, {t1}, 8f

    // They may begin: all of them wait for the same word, or see that it has changed.
    load_slot {a0}, start
    immediate {t1}, 1
    store_word {t1}, {a0}
    immediate {a1}, WORKERS
    hostcall HOSTCALL_WAKE
    branch_if_negative {a0}, 9f

    immediate {s0}, 0
    immediate {s2}, 0
    immediate {s3}, 0
2:  part {s1}, records, 32
3:  load_word_32 {t1}, {s1}, RUNS
    branch_if_zero {t1}, 4f
    add_offset {a0}, {s1}, RUNS
    immediate {a1}, 1
    immediate {a2}, -1
    hostcall HOSTCALL_WAIT
    jump 3b
4:  load_word {t1}, {s1}, SUM
    add {s2}, {s2}, {t1}
    add_immediate {s3}, {s3}, 1
    add_immediate {s0}, {s0}, 1
    immediate {t1}, WORKERS
    branch_if_not_equal {s0}, {t1}, 2b
    report t_workers, {s3}
    report t_sum, {s2}
    immediate {a0}, 0
    exit
8:  immediate {a0}, 2
9:  exit
end_function _start

// FROM: the monitor, when a thread begins. LIVE: {a0} = its record, {sp} = the end of its stack, which it cannot reach beyond. Adds its number a thousand times, each time by
// way of its stack.
function worker
    move_capability {s1}, {a0}
1:  load_slot {a0}, start
    immediate {a1}, 0
    immediate {a2}, -1
    load_word_32 {t0}, {a0}
    branch_if_not_zero {t0}, 2f
    hostcall HOSTCALL_WAIT
    jump 1b
2:  load_word {t1}, {a0}, 8
    branch_if_zero {t1}, 2f
    add_offset {t0}, {sp}, -STACK
    store_word {t1}, {t0}, 0
    store_word {t1}, {t0}, -8
    print t_beyond
2:  add_offset {sp}, {sp}, -32
    store_capability {s1}, {sp}, 0
    immediate {s2}, 1000
    immediate {s3}, 0
3:  load_capability {t0}, {sp}, 0
    load_word {t1}, {t0}, ADDS
    add {s3}, {s3}, {t1}
    store_word {s3}, {sp}, 16
    hostcall HOSTCALL_YIELD
    load_word {s3}, {sp}, 16
    add_immediate {s2}, {s2}, -1
    branch_if_not_zero {s2}, 3b
    store_word {s3}, {s1}, SUM
    add_offset {a0}, {s1}, RUNS
    immediate {a1}, 1
    hostcall HOSTCALL_THREAD_EXIT
    illegal_instruction
end_function worker
