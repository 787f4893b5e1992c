# What is made of several instructions of the table in `instructions.rs`, or of one in several ways. Included once per assembly
# unit; the guard makes that true even when link-time optimisation joins units.
.ifndef INTRAVISOR_INSTRUCTIONS
.set INTRAVISOR_INSTRUCTIONS, 1

# \scr is the name of a special capability register.
.macro CSpecialRW cd, scr, cs
.ifc \scr, PCC
    SPECIAL \cd, x0, \cs
.endif
.ifc \scr, DDC
    SPECIAL \cd, x1, \cs
.endif
.ifc \scr, UTCC
    SPECIAL \cd, x4, \cs
.endif
.ifc \scr, UTDC
    SPECIAL \cd, x5, \cs
.endif
.ifc \scr, UScratchC
    SPECIAL \cd, x6, \cs
.endif
.ifc \scr, UEPCC
    SPECIAL \cd, x7, \cs
.endif
.ifc \scr, STCC
    SPECIAL \cd, x12, \cs
.endif
.ifc \scr, STDC
    SPECIAL \cd, x13, \cs
.endif
.ifc \scr, SScratchC
    SPECIAL \cd, x14, \cs
.endif
.ifc \scr, SEPCC
    SPECIAL \cd, x15, \cs
.endif
.ifc \scr, MTCC
    SPECIAL \cd, x28, \cs
.endif
.ifc \scr, MTDC
    SPECIAL \cd, x29, \cs
.endif
.ifc \scr, MScratchC
    SPECIAL \cd, x30, \cs
.endif
.ifc \scr, MEPCC
    SPECIAL \cd, x31, \cs
.endif
.endm
# From capability mode to hybrid mode, or back (flag = x0 or a register that holds 1); \tmp is lost.
.macro CONTINUE_HYBRID tmp
    auipc \tmp, 0
    CSetFlags \tmp, \tmp, x0
    CIncOffsetImm \tmp, \tmp, 16
    CJALR x0, \tmp
.endm
.macro CONTINUE_CAPABILITY tmp, one
    li \one, 1
    CSpecialRW \tmp, PCC, x0
    CSetFlags \tmp, \tmp, \one
    CIncOffsetImm \tmp, \tmp, 16
    CJALR x0, \tmp
.endm
.endif
