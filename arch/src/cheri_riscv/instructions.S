# One macro a capability instruction, named as in the CHERI ISA manual (UCAM-CL-TR-987), with plain register numbers
# x0..x31 as operands: the assembler of a stock rustc does not know them. Included once per assembly unit; the guard
# makes that true even when link-time optimisation joins units.
.ifndef INTRAVISOR_INSTRUCTIONS
.set INTRAVISOR_INSTRUCTIONS, 1

# \scr is the name of a special capability register.
.macro CSpecialRW cd, scr, cs
.ifc \scr, PCC
    .insn r 0x5b, 0, 0x01, \cd, \cs, x0
.endif
.ifc \scr, DDC
    .insn r 0x5b, 0, 0x01, \cd, \cs, x1
.endif
.ifc \scr, UTCC
    .insn r 0x5b, 0, 0x01, \cd, \cs, x4
.endif
.ifc \scr, UTDC
    .insn r 0x5b, 0, 0x01, \cd, \cs, x5
.endif
.ifc \scr, UScratchC
    .insn r 0x5b, 0, 0x01, \cd, \cs, x6
.endif
.ifc \scr, UEPCC
    .insn r 0x5b, 0, 0x01, \cd, \cs, x7
.endif
.ifc \scr, STCC
    .insn r 0x5b, 0, 0x01, \cd, \cs, x12
.endif
.ifc \scr, STDC
    .insn r 0x5b, 0, 0x01, \cd, \cs, x13
.endif
.ifc \scr, SScratchC
    .insn r 0x5b, 0, 0x01, \cd, \cs, x14
.endif
.ifc \scr, SEPCC
    .insn r 0x5b, 0, 0x01, \cd, \cs, x15
.endif
.ifc \scr, MTCC
    .insn r 0x5b, 0, 0x01, \cd, \cs, x28
.endif
.ifc \scr, MTDC
    .insn r 0x5b, 0, 0x01, \cd, \cs, x29
.endif
.ifc \scr, MScratchC
    .insn r 0x5b, 0, 0x01, \cd, \cs, x30
.endif
.ifc \scr, MEPCC
    .insn r 0x5b, 0, 0x01, \cd, \cs, x31
.endif
.endm
.macro CSetBoundsExact cd, cs, rt
    .insn r 0x5b, 0, 0x09, \cd, \cs, \rt
.endm
.macro CAndPerm cd, cs, rt
    .insn r 0x5b, 0, 0x0d, \cd, \cs, \rt
.endm
.macro CSetFlags cd, cs, rt
    .insn r 0x5b, 0, 0x0e, \cd, \cs, \rt
.endm
.macro CSetAddr cd, cs, rt
    .insn r 0x5b, 0, 0x10, \cd, \cs, \rt
.endm
.macro CIncOffsetImm cd, cs, imm
    .insn i 0x5b, 1, \cd, \cs, \imm
.endm
.macro CClearTag cd, cs
    .insn r 0x5b, 0, 0x7f, \cd, \cs, x11
.endm
.macro CMove cd, cs
    .insn r 0x5b, 0, 0x7f, \cd, \cs, x10
.endm
.macro CLoadTags rd, cs
    .insn r 0x5b, 0, 0x7f, \rd, \cs, x18
.endm
.macro CJALR cd, cs
    .insn r 0x5b, 0, 0x7f, \cd, \cs, x12
.endm
.macro CGetBase rd, cs
    .insn r 0x5b, 0, 0x7f, \rd, \cs, x2
.endm
.macro CGetLen rd, cs
    .insn r 0x5b, 0, 0x7f, \rd, \cs, x3
.endm
.macro CGetTag rd, cs
    .insn r 0x5b, 0, 0x7f, \rd, \cs, x4
.endm
.macro CGetSealed rd, cs
    .insn r 0x5b, 0, 0x7f, \rd, \cs, x5
.endm
.macro CSealEntry cd, cs
    .insn r 0x5b, 0, 0x7f, \cd, \cs, x17
.endm
# Loads and stores with an explicit capability, no offset.
.macro LBU_CAP rd, cs
    .insn r 0x5b, 0, 0x7d, \rd, \cs, x12
.endm
.macro LD_CAP rd, cs
    .insn r 0x5b, 0, 0x7d, \rd, \cs, x11
.endm
.macro SB_CAP rs, cs
    .insn r 0x5b, 0, 0x7c, x8, \cs, \rs
.endm
.macro SD_CAP rs, cs
    .insn r 0x5b, 0, 0x7c, x11, \cs, \rs
.endm
.macro LC_CAP cd, cs
    .insn r 0x5b, 0, 0x7d, \cd, \cs, x31
.endm
.macro SC_CAP cs2, cs
    .insn r 0x5b, 0, 0x7c, x12, \cs, \cs2
.endm
# Capability load and store of the current mode: through DDC in hybrid mode, through the base register otherwise.
.macro LC cd, imm, base
    .insn i 0x0f, 2, \cd, \imm(\base)
.endm
.macro SC cs2, imm, base
    .insn s 0x23, 4, \cs2, \imm(\base)
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
