// What all programs use. Routines and these macros may change {a0}-{a7} and {t0}-{t4}; {s0}-{s5} and {sp} survive them.

// Prints the text of a slot; {a0} = the result of the hostcall.
.macro print name, stream=1
    immediate {a0}, \stream
    load_slot {a1}, \name
    get_length {a2}, {a1}
    hostcall HOSTCALL_WRITE
.endm

// Ends the program with the exit code in {a0}.
.macro exit
    hostcall HOSTCALL_EXIT
    illegal_instruction
.endm

// Saves the link and one more capability on the stack, and takes them back.
.macro enter cs={s0}
    add_offset {sp}, {sp}, -32
    store_capability {lr}, {sp}, 0
    store_capability \cs, {sp}, 16
.endm
.macro leave cs={s0}
    load_capability \cs, {sp}, 16
    load_capability {lr}, {sp}, 0
    add_offset {sp}, {sp}, 32
    return
.endm
