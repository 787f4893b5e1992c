    text greeting, "hello first(syscall-handler)\n"

// FROM: the monitor, at the start. LIVE: nothing that is needed.
function _start
    hostcall HOSTCALL_SERVE
    // Its result is 0, or tells what is wrong with this program.
    exit
end_function _start

// FROM: the monitor, for a hostcall of a cVM that this one serves. LIVE: {a0}-{a5} the caller's arguments, {a6} its number,
// {a7} the hostcall's number, {sp} the service stack.
function syscall_handler
    immediate {t0}, HOSTCALL_WRITE
    branch_if_not_equal {a7}, {t0}, .Ldelegate
    add_offset {sp}, {sp}, -48
    store_capability {a0}, {sp}, 0
    store_capability {a1}, {sp}, 16
    store_capability {a2}, {sp}, 32
    print greeting
    load_capability {a0}, {sp}, 0
    load_capability {a1}, {sp}, 16
    load_capability {a2}, {sp}, 32
    hostcall HOSTCALL_WRITE
    // {a0} is the answer, without a second value.
    immediate {a1}, 0
    immediate {a2}, 0
    hostcall HOSTCALL_REPLY
    illegal_instruction
.Ldelegate:
    hostcall HOSTCALL_DELEGATE
    illegal_instruction
end_function syscall_handler
