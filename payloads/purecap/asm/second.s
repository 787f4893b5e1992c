    text greeting, "hello second\n"

// FROM: the monitor, at the start. LIVE: nothing that is needed.
function _start
    print greeting
    load_slot {a1}, greeting
    get_length {a1}, {a1}
    branch_if_not_equal {a0}, {a1}, .Lincomplete
    immediate {a0}, 0
    exit
.Lincomplete:
    immediate {a0}, 1
    exit
end_function _start
