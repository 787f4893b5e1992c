// One macro a Morello instruction, named as in the Arm Architecture Reference Manual Supplement for Morello (DDI 0606),
// with plain register numbers 0..31 as operands: the assembler of a stock rustc does not know them. Included once per
// assembly unit; the guard makes that true even when link-time optimisation joins units.
.ifndef INTRAVISOR_INSTRUCTIONS
.set INTRAVISOR_INSTRUCTIONS, 1

// System registers that hold capabilities: the MSR instruction with register 0. MRS is one bit more.
.set .LDDC, 0xc28b4120
.set .LDDC_EL0, 0xc2884120
.set .LDDC_EL1, 0xc28c4120
.set .LDDC_EL2, 0xc28e4120
.set .LRDDC_EL0, 0xc28b4320
.set .LCSP_EL0, 0xc2884100
.set .LRCSP_EL0, 0xc28f4160
.set .LCELR_EL1, 0xc2884020
.set .LCELR_EL2, 0xc28c4020
.set .LCELR_EL3, 0xc28e4020
.set .LCVBAR_EL1, 0xc288c000
.set .LCVBAR_EL2, 0xc28cc000
.set .LCVBAR_EL3, 0xc28ec000
.set .LCTPIDR_EL0, 0xc28bd040
.set .LCTPIDRRO_EL0, 0xc28bd060
.set .LRCTPIDR_EL0, 0xc28bd080
.set .LCTPIDR_EL1, 0xc288d080
.set .LCTPIDR_EL2, 0xc28cd040
.set .LCTPIDR_EL3, 0xc28ed040
.set .LCID_EL0, 0xc28bd0e0

.macro MSR_C register, ct
    .inst .L\register | \ct
.endm
.macro MRS_C ct, register
    .inst .L\register | 0x100000 | \ct
.endm

// Capability loads and stores of the current state: in A64 the base is an integer, checked against DDC.
.macro LDR_C ct, offset, xn
    .inst 0xc2400000 | (\offset) / 16 << 10 | \xn << 5 | \ct
.endm
.macro STR_C ct, offset, xn
    .inst 0xc2000000 | (\offset) / 16 << 10 | \xn << 5 | \ct
.endm
.macro LDP_C ct, ct2, offset, xn
    .inst 0x42c00000 | (\offset) / 16 << 15 | \ct2 << 10 | \xn << 5 | \ct
.endm
.macro STP_C ct, ct2, offset, xn
    .inst 0x42800000 | (\offset) / 16 << 15 | \ct2 << 10 | \xn << 5 | \ct
.endm

// Loads and stores through a capability (alternate base) in A64.
.macro ALDRB wt, offset, cn
    .inst 0x82600400 | (\offset) << 12 | \cn << 5 | \wt
.endm
.macro ASTRB wt, offset, cn
    .inst 0x82400400 | (\offset) << 12 | \cn << 5 | \wt
.endm
.macro ALDR_W wt, offset, cn
    .inst 0x82600800 | (\offset) / 4 << 12 | \cn << 5 | \wt
.endm
.macro ASTR_W wt, offset, cn
    .inst 0x82400800 | (\offset) / 4 << 12 | \cn << 5 | \wt
.endm
.macro ALDR_X xt, offset, cn
    .inst 0x82600c00 | (\offset) / 8 << 12 | \cn << 5 | \xt
.endm
.macro ASTR_X xt, offset, cn
    .inst 0x82400c00 | (\offset) / 8 << 12 | \cn << 5 | \xt
.endm
.macro ALDR_C ct, offset, cn
    .inst 0x82600000 | (\offset) / 16 << 12 | \cn << 5 | \ct
.endm
.macro ASTR_C ct, offset, cn
    .inst 0x82400000 | (\offset) / 16 << 12 | \cn << 5 | \ct
.endm

// Bit n of \xt: tag n of the four at a multiple of 64. As LDR_C, the base is an integer in A64, a capability in C64.
.macro LDCT xt, xn
    .inst 0xc2c4b000 | \xn << 5 | \xt
.endm

.macro GCTAG xd, cn
    .inst 0xc2c09000 | \cn << 5 | \xd
.endm
.macro CLRTAG cd, cn
    .inst 0xc2c19000 | \cn << 5 | \cd
.endm
.macro GCSEAL xd, cn
    .inst 0xc2c0b000 | \cn << 5 | \xd
.endm
.macro GCBASE xd, cn
    .inst 0xc2c01000 | \cn << 5 | \xd
.endm
.macro GCLEN xd, cn
    .inst 0xc2c03000 | \cn << 5 | \xd
.endm
.macro GCPERM xd, cn
    .inst 0xc2c0d000 | \cn << 5 | \xd
.endm
.macro SCVALUE cd, cn, xm
    .inst 0xc2c04000 | \xm << 16 | \cn << 5 | \cd
.endm
.macro SCBNDSE cd, cn, xm
    .inst 0xc2c02000 | \xm << 16 | \cn << 5 | \cd
.endm
.macro CLRPERM cd, cn, xm
    .inst 0xc2c0a000 | \xm << 16 | \cn << 5 | \cd
.endm
// Sealed for branches to its address only (a sentry).
.macro SEAL_RB cd, cn
    .inst 0xc2c33000 | \cn << 5 | \cd
.endm
// \cn sealed with the object type that \cm has as its address.
.macro SEAL cd, cn, cm
    .inst 0xc2c00800 | \cm << 16 | \cn << 5 | \cd
.endm
// Branches to sealed code \cn, with data \cm, sealed with the same type, unsealed in C29.
.macro BRS cn, cm
    .inst 0xc2c08400 | \cm << 16 | \cn << 5
.endm
.macro ADD_C_IMMEDIATE cd, cn, immediate
    .inst 0x02000000 | (\immediate) << 10 | \cn << 5 | \cd
.endm
// Adds a 64-bit register (extension UXTX, no shift).
.macro ADD_C_REGISTER cd, cn, xm
    .inst 0xc2a06000 | \xm << 16 | \cn << 5 | \cd
.endm
// PCC with the value of \xn.
.macro CVTP_C cd, xn
    .inst 0xc2c5b000 | \xn << 5 | \cd
.endm
.macro BR_C cn
    .inst 0xc2c21000 | \cn << 5
.endm
// On to the next instruction, from A64 to C64 or back.
.macro BX_NEXT
    .inst 0xc2c273e0
.endm
// Cleans a data cache line to the point of unification; in C64 the register is a capability.
.macro DC_CVAU ct
    .inst 0xd50b7b20 | \ct
.endm
// For a debugger or emulator to serve (semihosting).
.macro HLT_SEMIHOSTING
    .inst 0xd45e0000
.endm

// Floating point: the monitor itself is built without.
.macro STP_Q qt, qt2, offset, xn
    .inst 0xad000000 | (\offset) / 16 << 15 | \qt2 << 10 | \xn << 5 | \qt
.endm
.macro LDP_Q qt, qt2, offset, xn
    .inst 0xad400000 | (\offset) / 16 << 15 | \qt2 << 10 | \xn << 5 | \qt
.endm

// Where a refusal of the next instruction goes on: an entry of the exception table, read by the trap handler.
.macro GUARDED fixup
    .pushsection .intravisor_fixups, "a"
    .balign 4
    .word 771f - .
    .word \fixup - .
    .popsection
771:
.endm
.endif
