    object memory, 256
    function_pointer entry, dice_round

// A random number below the modulus. {s0} = the state of the generator (linear congruential, Knuth's MMIX).
.macro random rd, modulus
    immediate {t3}, 6364136223846793005
    multiply {s0}, {s0}, {t3}
    add_immediate {s0}, {s0}, 1013
    immediate {t3}, 1 << 33
    divide {t3}, {s0}, {t3}
    immediate {t4}, \modulus
    divide \rd, {t3}, {t4}
    multiply \rd, \rd, {t4}
    subtract \rd, {t3}, \rd
.endm

// Something that a hostcall may be given, good or bad.
.macro random_argument cd
    random {t0}, 8
    immediate {t1}, 1
    immediate {t2}, 2
    load_slot \cd, memory
    branch_if_equal {t0}, {t1}, .Lgiven\@
    branch_if_not_equal {t0}, {t2}, .Lbounded\@
    random {t1}, 512
    add_index \cd, \cd, {t1}
    jump .Lgiven\@
.Lbounded\@:
    immediate {t1}, 3
    branch_if_not_equal {t0}, {t1}, .Luntagged\@
    immediate {t1}, 16
    set_bounds \cd, \cd, {t1}
    jump .Lgiven\@
.Luntagged\@:
    immediate {t1}, 4
    branch_if_not_equal {t0}, {t1}, .Lsealed\@
    clear_tag \cd, \cd
    jump .Lgiven\@
.Lsealed\@:
    immediate {t1}, 5
    branch_if_not_equal {t0}, {t1}, .Lstack\@
    load_slot \cd, entry
    jump .Lgiven\@
.Lstack\@:
    immediate {t1}, 6
    branch_if_not_equal {t0}, {t1}, .Linteger\@
    move_capability \cd, {sp}
    jump .Lgiven\@
.Linteger\@:
    random \cd, 256
    branch_if_zero {t0}, .Lgiven\@
    immediate \cd, -1
.Lgiven\@:
.endm

// FROM: the monitor, at the start. LIVE: nothing that is needed.
function _start
    immediate {s0}, 20221122
    immediate {s1}, 100000
    jump code_dice_round
end_function _start

// One call. LIVE: {s0} the generator, {s1} how many calls are left.
function dice_round
    random_argument {a0}
    random_argument {a1}
    random_argument {a2}
    random_argument {a3}
    random_argument {a4}
    random {a5}, 64
    random {s3}, 16
    immediate {t0}, HOSTCALL_EXIT
    branch_if_not_equal {s3}, {t0}, .Lnot_exit
    immediate {s3}, HOSTCALL_WRITE
.Lnot_exit:
    // Nobody types, and a long sleep makes the test no better.
    immediate {t0}, HOSTCALL_READ
    branch_if_not_equal {s3}, {t0}, .Lnot_read
    immediate {a3}, 1
.Lnot_read:
    immediate {t0}, HOSTCALL_NANOSLEEP
    branch_if_not_equal {s3}, {t0}, .Lnot_sleep
    immediate {a0}, 1000
.Lnot_sleep:
    set_number {s3}
    hostcall_again
    add_immediate {s1}, {s1}, -1
    branch_if_not_zero {s1}, code_dice_round
    // The server may do with this what it likes, but for once it has to end.
.Lend:
    immediate {a0}, 0
    immediate {a5}, 20
    hostcall HOSTCALL_EXIT
    jump .Lend
end_function dice_round
