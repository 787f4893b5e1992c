// Numbers on the console, and commands by name.

    object line, 128

// Prints "TEXT VALUE": the text of a slot and an integer register, as a signed number.
.macro report name, rs, stream=1
    .if (\rs) != {a0}
    move {a0}, \rs
    .endif
    load_slot {a1}, \name
    immediate {a3}, \stream
    call print_number
.endm

// {a0} = number, {a1} = text, {a3} = stream. Returns the result of the hostcall.
function print_number
    load_slot {t0}, line
    get_length {t1}, {a1}
1:  branch_if_zero {t1}, 2f
    load_byte {t2}, {a1}
    store_byte {t2}, {t0}
    add_offset {a1}, {a1}, 1
    add_offset {t0}, {t0}, 1
    add_immediate {t1}, {t1}, -1
    jump 1b
2:  immediate {t2}, 0x20
    store_byte {t2}, {t0}
    add_offset {t0}, {t0}, 1
    branch_if_negative {a0}, 3f
    jump 4f
3:  immediate {t2}, 0x2d
    store_byte {t2}, {t0}
    add_offset {t0}, {t0}, 1
    subtract {a0}, {zero}, {a0}
    // {t1} = the greatest power of ten that the number reaches, or 1.
4:  immediate {t1}, 1
    immediate {t3}, 10
5:  divide {t2}, {a0}, {t1}
    divide {t2}, {t2}, {t3}
    branch_if_zero {t2}, 6f
    multiply {t1}, {t1}, {t3}
    jump 5b
6:  divide {t2}, {a0}, {t1}
    multiply {t4}, {t2}, {t1}
    subtract {a0}, {a0}, {t4}
    add_immediate {t2}, {t2}, 0x30
    store_byte {t2}, {t0}
    add_offset {t0}, {t0}, 1
    divide {t1}, {t1}, {t3}
    branch_if_not_zero {t1}, 6b
    immediate {t2}, 0x0a
    store_byte {t2}, {t0}
    add_offset {t0}, {t0}, 1
    load_slot {a1}, line
    get_address {t1}, {t0}
    get_address {t2}, {a1}
    subtract {a2}, {t1}, {t2}
    move {a0}, {a3}
    hostcall HOSTCALL_WRITE
    return
end_function print_number

// {a0} = start block. Returns a capability at the first argument behind the runtime's name, or 0.
function first_argument
    load_word_32 {t0}, {a0}, 24
    add_immediate {t0}, {t0}, -1
    branch_if_zero {t0}, 2f
    load_word_32 {t0}, {a0}, 28
    add_index {a0}, {a0}, {t0}
1:  load_byte {t0}, {a0}
    add_offset {a0}, {a0}, 1
    branch_if_not_zero {t0}, 1b
    return
2:  immediate {a0}, 0
    return
end_function first_argument

// {a0} = start block. Returns the function of the command that the first argument names, or 0.
function find_command
    enter
    call first_argument
    move_capability {s0}, {a0}
    get_tag {t0}, {s0}
    branch_if_zero {t0}, 8f
    slot_address {t0}, commands
1:  load_capability {a1}, {t0}, 0
    get_tag {t1}, {a1}
    branch_if_zero {t1}, 8f
    move_capability {a0}, {s0}
    get_length {t1}, {a1}
2:  load_byte {t2}, {a0}
    branch_if_zero {t1}, 4f
    load_byte {t3}, {a1}
    branch_if_not_equal {t2}, {t3}, 3f
    add_offset {a0}, {a0}, 1
    add_offset {a1}, {a1}, 1
    add_immediate {t1}, {t1}, -1
    jump 2b
3:  add_offset {t0}, {t0}, 32
    jump 1b
    // The argument must end where the name does.
4:  branch_if_not_zero {t2}, 3b
    load_capability {a0}, {t0}, 16
    jump 9f
8:  immediate {a0}, 0
9:  leave
end_function find_command
