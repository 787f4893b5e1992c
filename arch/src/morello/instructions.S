// What is made of several instructions of the table in `instructions.rs`, or of one in several ways. Included once per assembly
// unit; the guard makes that true even when link-time optimisation joins units.
.ifndef INTRAVISOR_INSTRUCTIONS
.set INTRAVISOR_INSTRUCTIONS, 1

// System registers that hold capabilities: the MSR instruction with register 0. MRS is one bit more.
.set .LDDC, 0xc28b4120
.set .LDDC_EL0, 0xc2884120
.set .LDDC_EL1, 0xc28c4120
.set .LDDC_EL2, 0xc28e4120
.set .LRDDC_EL0, 0xc28b4320
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
