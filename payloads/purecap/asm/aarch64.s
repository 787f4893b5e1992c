// Morello in C64. Registers are numbers; c0 and x0 are the same register, 31 is CSP where an instruction takes a capability.

// --- Instructions, as the Morello architecture names them ---

.macro LDR_C ct, cn, offset
    .inst 0xc2400000 | ((\offset) / 16) << 10 | (\cn) << 5 | (\ct)
.endm
.macro STR_C ct, cn, offset
    .inst 0xc2000000 | ((\offset) / 16) << 10 | (\cn) << 5 | (\ct)
.endm
.macro ADD_C cd, cn, immediate
    .inst 0x02000000 | (\immediate) << 10 | (\cn) << 5 | (\cd)
.endm
.macro SUB_C cd, cn, immediate
    .inst 0x02800000 | (\immediate) << 10 | (\cn) << 5 | (\cd)
.endm
// The register is extended as UXTX.
.macro ADD_C_X cd, cn, xm
    .inst 0xc2a00000 | (\xm) << 16 | 3 << 13 | (\cn) << 5 | (\cd)
.endm
.macro CPY cd, cn
    .inst 0xc2c1d000 | (\cn) << 5 | (\cd)
.endm
.macro SCVALUE cd, cn, xm
    .inst 0xc2c04000 | (\xm) << 16 | (\cn) << 5 | (\cd)
.endm
.macro SCBNDS cd, cn, xm
    .inst 0xc2c00000 | (\xm) << 16 | (\cn) << 5 | (\cd)
.endm
.macro CLRPERM cd, cn, xm
    .inst 0xc2c0a000 | (\xm) << 16 | (\cn) << 5 | (\cd)
.endm
.macro CLRTAG cd, cn
    .inst 0xc2c19000 | (\cn) << 5 | (\cd)
.endm
.macro SEAL_RB cd, cn
    .inst 0xc2c33000 | (\cn) << 5 | (\cd)
.endm
.macro GCTAG xd, cn
    .inst 0xc2c09000 | (\cn) << 5 | (\xd)
.endm
.macro GCBASE xd, cn
    .inst 0xc2c01000 | (\cn) << 5 | (\xd)
.endm
.macro GCLEN xd, cn
    .inst 0xc2c03000 | (\cn) << 5 | (\xd)
.endm
.macro GCVALUE xd, cn
    .inst 0xc2c05000 | (\cn) << 5 | (\xd)
.endm
.macro GCPERM xd, cn
    .inst 0xc2c0d000 | (\cn) << 5 | (\xd)
.endm
.macro LDPBLR ct, cn
    .inst 0xc2c43000 | (\cn) << 5 | (\ct)
.endm
.macro BLR_C cn
    .inst 0xc2c23000 | (\cn) << 5
.endm
.macro RET_C cn
    .inst 0xc2c25000 | (\cn) << 5
.endm
.macro MRS_CTPIDR_EL0 ct
    .inst 0xc29bd040 | (\ct)
.endm
.macro MRS_DDC ct
    .inst 0xc29b4120 | (\ct)
.endm

// --- Operations, the same on both architectures ---

// Capabilities.
.macro move_capability cd, cs
    CPY \cd, \cs
.endm
.macro load_capability cd, cs, offset=0
    LDR_C \cd, \cs, \offset
.endm
.macro store_capability cd, cs, offset=0
    STR_C \cd, \cs, \offset
.endm
.macro add_offset cd, cs, immediate
    .if (\immediate) < 0
    SUB_C \cd, \cs, -(\immediate)
    .else
    ADD_C \cd, \cs, \immediate
    .endif
.endm
.macro add_index cd, cs, rs
    ADD_C_X \cd, \cs, \rs
.endm
.macro set_address cd, cs, rs
    SCVALUE \cd, \cs, \rs
.endm
.macro set_bounds cd, cs, rs
    SCBNDS \cd, \cs, \rs
.endm
.macro clear_tag cd, cs
    CLRTAG \cd, \cs
.endm
.macro seal_entry cd, cs
    SEAL_RB \cd, \cs
.endm
// These leave only the permissions to load data and capabilities, to execute, to store data; x17 is scratch.
.macro only_load cd, cs
    immediate 17, 0x3fffe & ~(1 << 17 | 1 << 14)
    CLRPERM \cd, \cs, 17
.endm
.macro only_execute cd, cs
    immediate 17, 0x3fffe & ~(1 << 15)
    CLRPERM \cd, \cs, 17
.endm
.macro only_store cd, cs
    immediate 17, 0x3fffe & ~(1 << 16)
    CLRPERM \cd, \cs, 17
.endm
.macro get_tag rd, cs
    GCTAG \rd, \cs
.endm
.macro get_base rd, cs
    GCBASE \rd, \cs
.endm
.macro get_length rd, cs
    GCLEN \rd, \cs
.endm
.macro get_address rd, cs
    GCVALUE \rd, \cs
.endm
// Whether a capability lets data be loaded, or stored: 1 or 0.
.macro can_load rd, cs
    GCPERM \rd, \cs
    ubfx x\rd, x\rd, #17, #1
.endm
.macro can_store rd, cs
    GCPERM \rd, \cs
    ubfx x\rd, x\rd, #16, #1
.endm
.macro get_thread cd
    MRS_CTPIDR_EL0 \cd
.endm
.macro get_code cd
    adr x\cd, .
.endm
.macro get_default cd
    MRS_DDC \cd
.endm

// Data: in C64 the base of these instructions is a capability. Offsets count bytes.
.macro base_register instruction, rt, cs, offset
    .if (\cs) == 31
    \instruction \rt, [sp, #\offset]
    .else
    \instruction \rt, [x\cs, #\offset]
    .endif
.endm
.macro load_word rd, cs, offset=0
    base_register ldr, x\rd, \cs, \offset
.endm
.macro store_word rs, cs, offset=0
    .if (\rs) == 31
    base_register str, xzr, \cs, \offset
    .else
    base_register str, x\rs, \cs, \offset
    .endif
.endm
.macro load_word_32 rd, cs, offset=0
    base_register ldr, w\rd, \cs, \offset
.endm
.macro load_byte rd, cs, offset=0
    base_register ldrb, w\rd, \cs, \offset
.endm
.macro store_byte rs, cs, offset=0
    .if (\rs) == 31
    base_register strb, wzr, \cs, \offset
    .else
    base_register strb, w\rs, \cs, \offset
    .endif
.endm

// Integers.
.macro immediate rd, value
    .if (\value) >= 0 && (\value) < 0x10000
    mov x\rd, #\value
    .else
    movz x\rd, #((\value) & 0xffff)
    movk x\rd, #(((\value) >> 16) & 0xffff), lsl #16
    movk x\rd, #(((\value) >> 32) & 0xffff), lsl #32
    movk x\rd, #(((\value) >> 48) & 0xffff), lsl #48
    .endif
.endm
.macro move rd, rs
    mov x\rd, x\rs
.endm
.macro add_immediate rd, rs, value
    .if (\value) < 0
    sub x\rd, x\rs, #-(\value)
    .else
    .inst 0x91000000 | (\value) << 10 | (\rs) << 5 | (\rd)
    .endif
.endm
.macro add rd, left, right
    .inst 0x8b000000 | (\right) << 16 | (\left) << 5 | (\rd)
.endm
.macro subtract rd, left, right
    .inst 0xcb000000 | (\right) << 16 | (\left) << 5 | (\rd)
.endm
.macro divide rd, left, right
    udiv x\rd, x\left, x\right
.endm
.macro multiply rd, left, right
    mul x\rd, x\left, x\right
.endm
// The lowest bits that a mask of ones says.
.macro low_bits rd, rs, mask
    and x\rd, x\rs, #\mask
.endm

// Control.
.macro jump label
    b \label
.endm
.macro branch_if_below left, right, label
    cmp x\left, x\right
    b.lo \label
.endm
.macro branch_if_zero rs, label
    cbz x\rs, \label
.endm
.macro branch_if_not_zero rs, label
    cbnz x\rs, \label
.endm
.macro branch_if_negative rs, label
    tbnz x\rs, #63, \label
.endm
.macro branch_if_equal left, right, label
    cmp x\left, x\right
    b.eq \label
.endm
.macro branch_if_not_equal left, right, label
    cmp x\left, x\right
    b.ne \label
.endm
.macro call function
    bl code_\function
.endm
.macro call_capability cs
    BLR_C \cs
.endm
.macro return
    RET_C 30
.endm
// A gate's token is one capability; the second register is not used. `invoke` goes through it, and takes c29.
.macro take_token code, data
    CPY \code, 0
.endm
.macro store_token code, data, cs, offset=0
    STR_C \code, \cs, \offset
.endm
.macro load_token code, data, cs, offset=0
    LDR_C \code, \cs, \offset
.endm
.macro invoke code, data
    LDPBLR 29, \code
.endm
// Where a gate's function returns to: kept at {sp}, and gone back by.
.macro store_way_back
    STR_C 30, 31, 0
.endm
.macro go_back
    LDR_C 30, 31, 0
    RET_C 30
.endm
.macro hostcall number
    mov x8, #\number
    svc #0
.endm
// The number as it is in the hostcall number register.
.macro hostcall_again
    svc #0
.endm
.macro set_number rs
    mov x8, x\rs
.endm
.macro illegal_instruction
    udf #0
.endm

// Begins a function in C64: bit 0 of its symbol is set. `code_NAME` is its first instruction.
.macro function name
    .pushsection .text.purecap, "ax", @progbits
    .balign 4
    .globl \name
    .type \name, @function
code_\name\():
    .set \name, code_\name + 1
.endm
.macro end_function name
end_\name\():
    .size \name, end_\name - code_\name
    .popsection
.endm

// Loads the capability in the slot of this name.
.macro load_slot cd, name
    adr x\cd, slot_\name
    LDR_C \cd, \cd, 0
.endm
// A capability to the slot itself, through PCC.
.macro slot_address cd, name
    adr x\cd, slot_\name
.endm

// --- Relocations: a fragment {{address, length and permissions}} in the slot, and its record in .rela.dyn ---

.set R_MORELLO_RELATIVE, 0xe803
.macro capability_slot name, object, offset, size, permissions, section=purecap
    .pushsection .data.rel.ro.\section, "aw", @progbits
    .balign 16
slot_\name\():
    .quad \object, (\size) + (\permissions << 56)
    .popsection
    .pushsection .purecap_relocations, "a", @progbits
    .quad slot_\name, R_MORELLO_RELATIVE, \offset
    .popsection
.endm
.macro data_pointer name, object, size, offset=0
    capability_slot \name, \object, \offset, \size, 2
.endm
.macro constant_pointer name, object, size, offset=0, section=purecap
    capability_slot \name, \object, \offset, \size, 1, \section
.endm
// A function has the bounds of all code, which is linked at 0, and its address as addend.
.macro function_pointer name, function, section=purecap
    capability_slot \name, 0, \function, purecap_code_size, 4, \section
.endm

// DT_RELA, DT_RELASZ, DT_RELAENT, DT_NULL.
    .pushsection .purecap_dynamic, "a", @progbits
    .quad 7, purecap_rela, 8, purecap_rela_size, 9, 24, 0, 0
    .popsection
