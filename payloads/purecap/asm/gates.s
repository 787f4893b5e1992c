// Gates: functions of other cVMs that this program calls, and functions that it offers to others (docs/hostcalls.md, Gates).

// {a0} = the start block. The capability over the local area, the only memory besides the stacks of gates and handlers that takes
// tokens and whatever else is local.
.macro local_area cd, block
    load_word {t0}, \block, 104
    add_index \cd, \block, {t0}
    load_capability \cd, \cd
.endm

// Finds the gate whose name is in a slot, and waits until its cVM serves; the token, or \failed with the error in {a0}.
.macro find_gate code, data, name, failed
.Lfind\@:
    load_slot {a0}, \name
    get_length {a1}, {a0}
    hostcall HOSTCALL_GATE
    get_tag {t0}, {a0}
    branch_if_not_zero {t0}, .Lfound\@
    // 0: it has waited until the gates opened.
    branch_if_zero {a0}, .Lfind\@
    jump \failed
.Lfound\@:
    take_token \code, \data
.endm

// Calls by a token, with arguments and results in {a0} to {a5}: what is an argument is what these hold, so that those that are none are to be
// cleared. {s0} to {s5} and {sp} come back as they were, all else is null: the link as well, which whoever returns has kept.
.macro call_gate code, data, arguments
    clear_from_\arguments
    invoke \code, \data
.endm
.macro clear_from_1
    immediate {a1}, 0
    clear_from_2
.endm
.macro clear_from_2
    immediate {a2}, 0
    immediate {a3}, 0
    immediate {a4}, 0
    immediate {a5}, 0
.endm

// FROM: the switcher. LIVE: {a0}-{a5} the caller's arguments, the way back, {sp} a stack that takes local capabilities; DDC is null, as always.
.macro gate name
    function \name
    add_offset {sp}, {sp}, -32
    store_way_back
.endm

// Returns from a gate's function, {sp} as it began. {a0} = the result; there is no second one.
.macro leave_gate
    immediate {a1}, 0
    go_back
.endm

// What the caller has passed to be read, or written too: all of it was chosen by the caller, the address as well. Afterwards it is at its
// begin, and \count tells how many words of 64 bits it has; 0 when it is an integer. Goes to \refused where what is asked for
// is not allowed, and to \odd when words are not aligned.
.macro passed_words cs, count, scratch, refused, odd, stores=0
    immediate \count, 0
    get_tag \scratch, \cs
    branch_if_zero \scratch, .Lpassed\@
    can_load \scratch, \cs
    branch_if_zero \scratch, \refused
    .if \stores
    can_store \scratch, \cs
    branch_if_zero \scratch, \refused
    .endif
    get_base \count, \cs
    low_bits \scratch, \count, 7
    branch_if_not_zero \scratch, \odd
    set_address \cs, \cs, \count
    get_length \count, \cs
    immediate \scratch, 8
    divide \count, \count, \scratch
.Lpassed\@:
.endm
