    text inside, "inside\n"
    text survived, "survived\n"
    text called, "called\n"
    text which, "which deed?\n"
    text constant, "constant"
    object global, 100
    object kept, 64
    // Into the middle of an object, with the bounds of the whole.
    data_pointer middle, object_global, 100, 40
    function_pointer callee, callee

    .pushsection .tdata.purecap, "awT", @progbits
    .ascii "template"
    .popsection
    .pushsection .tbss.purecap, "awT", @nobits
    .zero 13
    .popsection

// FROM: the monitor, at the start. LIVE: {a0} the start block, {sp} the stack.
function _start
    move_capability {s5}, {a0}
    call find_command
    get_tag {t0}, {a0}
    branch_if_zero {t0}, 1f
    call_capability {a0}
    exit
1:  print which
    immediate {a0}, 64
    exit
end_function _start

// Where a deed ends that should have ended the program.
.macro unpunished
    print survived
    immediate {a0}, 66
    exit
.endm

// {a0} = a capability. Uses its last byte, then the next.
function read_beyond
    move_capability {s0}, {a0}
    get_base {t0}, {s0}
    get_length {t1}, {s0}
    add {t0}, {t0}, {t1}
    add_immediate {t0}, {t0}, -1
    set_address {s0}, {s0}, {t0}
    load_byte {t0}, {s0}
    print inside
    add_offset {s0}, {s0}, 1
    load_byte {t0}, {s0}
    unpunished
end_function read_beyond

function write_beyond
    move_capability {s0}, {a0}
    get_base {t0}, {s0}
    get_length {t1}, {s0}
    add {t0}, {t0}, {t1}
    add_immediate {t0}, {t0}, -1
    set_address {s0}, {s0}, {t0}
    load_byte {t1}, {s0}
    store_byte {t1}, {s0}
    print inside
    add_offset {s0}, {s0}, 1
    store_byte {zero}, {s0}
    unpunished
end_function write_beyond

function read_below
    move_capability {s0}, {a0}
    get_base {t0}, {s0}
    set_address {s0}, {s0}, {t0}
    load_byte {t0}, {s0}
    print inside
    add_offset {s0}, {s0}, -1
    load_byte {t0}, {s0}
    unpunished
end_function read_below

// Three commands for a place; `place_NAME` returns a capability over it.
.macro place name
    command "read-\name", read_\name
    command "write-\name", write_\name
    command "below-\name", below_\name
function read_\name
    call place_\name
    jump code_read_beyond
end_function read_\name
function write_\name
    call place_\name
    jump code_write_beyond
end_function write_\name
function below_\name
    call place_\name
    jump code_read_below
end_function below_\name
.endm

    place stack
function place_stack
    move_capability {a0}, {sp}
    return
end_function place_stack

    // An object of a function, as a compiler bounds it.
    place local
function place_local
    add_offset {sp}, {sp}, -48
    immediate {t0}, 33
    set_bounds {a0}, {sp}, {t0}
    return
end_function place_local

    place global
function place_global
    load_slot {a0}, global
    return
end_function place_global

    place constant
function place_constant
    load_slot {a0}, constant
    return
end_function place_constant

    place heap
function place_heap
    hostcall HOSTCALL_HEAP
    return
end_function place_heap

    place tls
function place_tls
    get_thread {a0}
    return
end_function place_tls

    place start
function place_start
    move_capability {a0}, {s5}
    return
end_function place_start

    command "pcc-store", pcc_store
function pcc_store
    get_code {t0}
    store_word {zero}, {t0}
    unpunished
end_function pcc_store

    command "write-slots", write_slots
function write_slots
    slot_address {t0}, global
    store_word {zero}, {t0}
    unpunished
end_function write_slots

    // Through the widest capability for data there is.
    command "write-code", write_code
function write_code
    get_code {t0}
    get_address {t0}, {t0}
    load_slot {a0}, global
    set_address {a0}, {a0}, {t0}
    store_word {zero}, {a0}
    unpunished
end_function write_code

    command "execute-data", execute_data
function execute_data
    load_slot {a0}, global
    call_capability {a0}
    unpunished
end_function execute_data

    // A function pointer is sealed: no way to look behind it.
    command "open-function", open_function
function open_function
    load_slot {a0}, callee
    load_byte {t0}, {a0}
    unpunished
end_function open_function

    // The bits of a capability, written as integers.
    command "forged-load", forged_load
function forged_load
    load_slot {a0}, global
    load_slot {a1}, kept
    store_capability {a0}, {a1}, 0
    load_word {t0}, {a1}, 0
    load_word {t1}, {a1}, 8
    store_word {t0}, {a1}, 16
    store_word {t1}, {a1}, 24
    load_capability {a0}, {a1}, 16
    load_byte {t0}, {a0}
    unpunished
end_function forged_load

    command "integer-load", integer_load
function integer_load
    load_slot {a0}, global
    get_address {t0}, {a0}
    load_byte {t0}, {t0}
    unpunished
end_function integer_load

    command "function-pointer", function_pointer
function function_pointer
    enter
    load_slot {a0}, callee
    call_capability {a0}
    leave
end_function function_pointer

function callee
    print called
    immediate {a0}, 0
    return
end_function callee

// What the program was given.
    text t_default, "default tag"
    text t_code, "code length"
    text t_stack, "stack length"
    text t_stack_left, "stack above the top"
    text t_start, "start block length"
    text t_global, "global length"
    text t_middle, "middle offset"
    text t_constant, "constant length"
    text t_thread, "tls length"
    text t_template, "tls first byte"
    text t_zero, "tls last byte"
    text t_heap, "heap result"
    text t_heap_length, "heap length"
    command "authority", authority
function authority
    enter
    get_default {t0}
    get_tag {t0}, {t0}
    report t_default, {t0}
    get_code {t0}
    get_length {t0}, {t0}
    report t_code, {t0}
    get_length {t0}, {sp}
    report t_stack, {t0}
    // 32 bytes are taken by this function.
    get_base {t0}, {sp}
    get_length {t1}, {sp}
    add {t0}, {t0}, {t1}
    get_address {t1}, {sp}
    subtract {t0}, {t0}, {t1}
    add_immediate {t0}, {t0}, -32
    report t_stack_left, {t0}
    get_length {t0}, {s5}
    report t_start, {t0}
    load_slot {t0}, global
    get_length {t0}, {t0}
    report t_global, {t0}
    load_slot {t0}, middle
    get_address {t1}, {t0}
    get_base {t0}, {t0}
    subtract {t0}, {t1}, {t0}
    report t_middle, {t0}
    load_slot {t0}, constant
    get_length {t0}, {t0}
    report t_constant, {t0}
    get_thread {s0}
    get_length {t0}, {s0}
    report t_thread, {t0}
    get_length {t0}, {s0}
    // A thread control block may lie in front of the program's own 8 + 8 + 13 bytes.
    add_immediate {t0}, {t0}, -29
    add_index {s0}, {s0}, {t0}
    load_byte {t0}, {s0}
    report t_template, {t0}
    load_byte {t0}, {s0}, 28
    report t_zero, {t0}
    hostcall HOSTCALL_HEAP
    get_tag {t0}, {a0}
    move_capability {s0}, {a0}
    branch_if_zero {t0}, 1f
    get_length {t0}, {s0}
    report t_heap_length, {t0}
    jump 2f
1:  report t_heap, {s0}
2:  immediate {a0}, 0
    leave
end_function authority

// Hostcalls with pointers that must not work. Each prints its result.
    text t_integer, "write from an integer address:"
    text t_untagged, "write from an untagged capability:"
    text t_sealed, "write from a sealed capability:"
    text t_beyond, "write one byte beyond:"
    text t_execute, "write from an execute-only capability:"
    text t_store, "write from a store-only capability:"
    text t_constant_info, "info to a constant:"
    text t_short_info, "info one byte beyond:"
    text t_read_only, "read to a read-only capability:"
    text t_function_info, "info to a function:"
    text t_code_info, "info to the code:"
    text t_null, "info to null:"
    text t_whole, "write of the whole object:"
    command "hostcalls", hostcalls
// Writes {a2} bytes from {a1} to stream 1.
.macro write_from name
    immediate {a0}, 1
    hostcall HOSTCALL_WRITE
    report \name, {a0}
.endm
.macro info_to name
    immediate {a1}, 48
    hostcall HOSTCALL_INFO
    report \name, {a0}
.endm
function hostcalls
    enter
    load_slot {t0}, inside
    get_address {a1}, {t0}
    immediate {a2}, 7
    write_from t_integer
    load_slot {a1}, inside
    clear_tag {a1}, {a1}
    immediate {a2}, 7
    write_from t_untagged
    load_slot {a1}, callee
    immediate {a2}, 4
    write_from t_sealed
    load_slot {a1}, constant
    immediate {a2}, 9
    write_from t_beyond
    get_code {a1}
    only_execute {a1}, {a1}
    immediate {a2}, 4
    write_from t_execute
    load_slot {a1}, global
    only_store {a1}, {a1}
    immediate {a2}, 4
    write_from t_store
    load_slot {a0}, which
    immediate {a1}, 8
    hostcall HOSTCALL_INFO
    report t_constant_info, {a0}
    load_slot {a0}, global
    immediate {t0}, 47
    set_bounds {a0}, {a0}, {t0}
    info_to t_short_info
    immediate {a0}, 0
    load_slot {a1}, global
    only_load {a1}, {a1}
    immediate {a2}, 8
    immediate {a3}, 1
    hostcall HOSTCALL_READ
    report t_read_only, {a0}
    load_slot {a0}, callee
    info_to t_function_info
    get_code {a0}
    info_to t_code_info
    immediate {a0}, 0
    info_to t_null
    load_slot {a1}, inside
    get_length {a2}, {a1}
    write_from t_whole
    immediate {a0}, 0
    leave
end_function hostcalls

// Leaves capabilities in its memory and faults; looks for them when it was restarted.
    text t_left, "left behind:"
    text t_found, "found again:"
    command "stale", stale
function stale
    load_slot {a0}, global
    immediate {a1}, 48
    hostcall HOSTCALL_INFO
    load_slot {a0}, global
    // How often it was restarted.
    load_word_32 {s1}, {a0}, 4
    hostcall HOSTCALL_HEAP
    move_capability {s0}, {a0}
    load_slot {s2}, kept
    branch_if_not_zero {s1}, 1f
    store_capability {s0}, {s2}, 16
    store_capability {s2}, {s0}, 0
    add_offset {t0}, {sp}, -16
    store_capability {s2}, {t0}
    call count_kept
    report t_left, {a0}
    illegal_instruction
1:  call count_kept
    report t_found, {a0}
    immediate {a0}, 0
    exit
end_function stale

// Returns how many of the three places hold a tag.
function count_kept
    load_capability {t0}, {s2}, 16
    get_tag {a0}, {t0}
    load_capability {t0}, {s0}, 0
    get_tag {t0}, {t0}
    add {a0}, {a0}, {t0}
    add_offset {t0}, {sp}, -16
    load_capability {t0}, {t0}
    get_tag {t0}, {t0}
    add {a0}, {a0}, {t0}
    return
end_function count_kept
