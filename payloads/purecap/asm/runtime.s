// Routines for all programs. A routine may change {a0}-{a7} and {t0}-{t4}; {s0}-{s5} and {sp} survive it.

// Prints the text of a slot; {a0}-{a2} change, {a0} = the result of the hostcall.
.macro print name
    immediate {a0}, 1
    load_slot {a1}, \name
    get_length {a2}, {a1}
    hostcall HOSTCALL_WRITE
.endm

// Ends the program with the exit code in {a0}.
.macro exit
    hostcall HOSTCALL_EXIT
    illegal_instruction
.endm
