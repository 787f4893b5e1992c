// CHERI-RISC-V in capability mode. Registers are numbers; c10 and x10 are the same register.
    .option push
    .option norvc
    .option norelax

// --- Instructions, as the CHERI ISAv9 names them ---

.macro CSpecialRW cd, scr, cs
    .insn r 0x5b, 0, 0x01, x\cd, x\cs, x\scr
.endm
.macro CSetBounds cd, cs, rs
    .insn r 0x5b, 0, 0x08, x\cd, x\cs, x\rs
.endm
.macro CAndPerm cd, cs, rs
    .insn r 0x5b, 0, 0x0d, x\cd, x\cs, x\rs
.endm
.macro CSetAddr cd, cs, rs
    .insn r 0x5b, 0, 0x10, x\cd, x\cs, x\rs
.endm
.macro CIncOffset cd, cs, rs
    .insn r 0x5b, 0, 0x11, x\cd, x\cs, x\rs
.endm
.macro CIncOffsetImm cd, cs, immediate
    .insn i 0x5b, 1, x\cd, x\cs, \immediate
.endm
.macro CGetPerm rd, cs
    .insn r 0x5b, 0, 0x7f, x\rd, x\cs, x0
.endm
.macro CGetBase rd, cs
    .insn r 0x5b, 0, 0x7f, x\rd, x\cs, x2
.endm
.macro CGetLen rd, cs
    .insn r 0x5b, 0, 0x7f, x\rd, x\cs, x3
.endm
.macro CGetTag rd, cs
    .insn r 0x5b, 0, 0x7f, x\rd, x\cs, x4
.endm
.macro CMove cd, cs
    .insn r 0x5b, 0, 0x7f, x\cd, x\cs, x10
.endm
.macro CClearTag cd, cs
    .insn r 0x5b, 0, 0x7f, x\cd, x\cs, x11
.endm
.macro CJALR cd, cs
    .insn r 0x5b, 0, 0x7f, x\cd, x\cs, x12
.endm
.macro CGetAddr rd, cs
    .insn r 0x5b, 0, 0x7f, x\rd, x\cs, x15
.endm
.macro CInvoke cs1, cs2
    .insn r 0x5b, 0, 0x7e, x1, x\cs1, x\cs2
.endm
.macro CSealEntry cd, cs
    .insn r 0x5b, 0, 0x7f, x\cd, x\cs, x17
.endm
.macro LC cd, offset, cs
    .insn i 0x0f, 2, x\cd, \offset(x\cs)
.endm
.macro SC cs2, offset, cs1
    .insn s 0x23, 4, x\cs2, \offset(x\cs1)
.endm

// --- Operations, the same on both architectures ---

// Capabilities.
.macro move_capability cd, cs
    CMove \cd, \cs
.endm
.macro load_capability cd, cs, offset=0
    LC \cd, \offset, \cs
.endm
.macro store_capability cd, cs, offset=0
    SC \cd, \offset, \cs
.endm
.macro add_offset cd, cs, immediate
    CIncOffsetImm \cd, \cs, \immediate
.endm
.macro add_index cd, cs, rs
    CIncOffset \cd, \cs, \rs
.endm
.macro set_address cd, cs, rs
    CSetAddr \cd, \cs, \rs
.endm
.macro set_bounds cd, cs, rs
    CSetBounds \cd, \cs, \rs
.endm
.macro clear_tag cd, cs
    CClearTag \cd, \cs
.endm
.macro seal_entry cd, cs
    CSealEntry \cd, \cs
.endm
// These leave only the permissions to load data and capabilities, to execute, to store data; x31 is scratch.
.macro only_load cd, cs
    li x31, 1 << 0 | 1 << 2 | 1 << 4
    CAndPerm \cd, \cs, 31
.endm
.macro only_execute cd, cs
    li x31, 1 << 0 | 1 << 1
    CAndPerm \cd, \cs, 31
.endm
.macro only_store cd, cs
    li x31, 1 << 0 | 1 << 3
    CAndPerm \cd, \cs, 31
.endm
.macro get_tag rd, cs
    CGetTag \rd, \cs
.endm
.macro get_base rd, cs
    CGetBase \rd, \cs
.endm
.macro get_length rd, cs
    CGetLen \rd, \cs
.endm
.macro get_address rd, cs
    CGetAddr \rd, \cs
.endm
// Whether a capability lets data be loaded, or stored: 1 or 0.
.macro can_load rd, cs
    CGetPerm \rd, \cs
    srli x\rd, x\rd, 2
    andi x\rd, x\rd, 1
.endm
.macro can_store rd, cs
    CGetPerm \rd, \cs
    srli x\rd, x\rd, 3
    andi x\rd, x\rd, 1
.endm
.macro get_thread cd
    CMove \cd, 4
.endm
.macro get_code cd
    auipc x\cd, 0
.endm
.macro get_default cd
    CSpecialRW \cd, 1, 0
.endm

// Data. Offsets count bytes.
.macro load_word rd, cs, offset=0
    ld x\rd, \offset(x\cs)
.endm
.macro store_word rs, cs, offset=0
    sd x\rs, \offset(x\cs)
.endm
.macro load_word_32 rd, cs, offset=0
    lwu x\rd, \offset(x\cs)
.endm
.macro load_byte rd, cs, offset=0
    lbu x\rd, \offset(x\cs)
.endm
.macro store_byte rs, cs, offset=0
    sb x\rs, \offset(x\cs)
.endm

// Integers.
.macro immediate rd, value
    li x\rd, \value
.endm
.macro move rd, rs
    mv x\rd, x\rs
.endm
.macro add_immediate rd, rs, value
    addi x\rd, x\rs, \value
.endm
.macro add rd, left, right
    .insn r 0x33, 0, 0, x\rd, x\left, x\right
.endm
.macro subtract rd, left, right
    sub x\rd, x\left, x\right
.endm
.macro divide rd, left, right
    divu x\rd, x\left, x\right
.endm
.macro multiply rd, left, right
    mul x\rd, x\left, x\right
.endm
// The lowest bits that a mask of ones says.
.macro low_bits rd, rs, mask
    andi x\rd, x\rs, \mask
.endm

// Control.
.macro jump label
    j \label
.endm
.macro branch_if_below left, right, label
    bltu x\left, x\right, \label
.endm
.macro branch_if_zero rs, label
    beqz x\rs, \label
.endm
.macro branch_if_not_zero rs, label
    bnez x\rs, \label
.endm
.macro branch_if_negative rs, label
    bltz x\rs, \label
.endm
.macro branch_if_equal left, right, label
    beq x\left, x\right, \label
.endm
.macro branch_if_not_equal left, right, label
    bne x\left, x\right, \label
.endm
.macro call function
    jal x1, code_\function
.endm
.macro call_capability cs
    CJALR 1, \cs
.endm
.macro return
    CJALR 0, 1
.endm
// A gate's token is a pair, in two registers and two places; `invoke` goes through it, and comes back behind itself.
.macro take_token code, data
    CMove \code, 10
    CMove \data, 11
.endm
.macro store_token code, data, cs, offset=0
    SC \code, \offset, \cs
    SC \data, (\offset + 16), \cs
.endm
.macro load_token code, data, cs, offset=0
    LC \code, \offset, \cs
    LC \data, (\offset + 16), \cs
.endm
.macro invoke code, data
    auipc x1, 0
    CIncOffsetImm 1, 1, 12
    CInvoke \code, \data
.endm
// Where a gate's function returns to, a pair as well: kept at {sp}, and gone back by.
.macro store_way_back
    SC  1, 0, 2
    SC  7, 16, 2
.endm
.macro go_back
    LC  1, 0, 2
    LC  7, 16, 2
    CInvoke 1, 7
.endm
.macro hostcall number
    li x17, \number
    ecall
.endm
// The number as it is in the hostcall number register.
.macro hostcall_again
    ecall
.endm
.macro set_number rs
    mv x17, x\rs
.endm
.macro illegal_instruction
    .4byte 0
.endm

// Begins a function in capability mode; `code_NAME` is its first instruction.
.macro function name
    .pushsection .text.purecap, "ax", @progbits
    .balign 4
    .globl \name
    .type \name, @function
\name\():
code_\name\():
.endm
.macro end_function name
end_\name\():
    .size \name, . - \name
    .popsection
.endm

// Loads the capability in the slot of this name.
.macro load_slot cd, name
.Lslot\@:
    auipc x\cd, %pcrel_hi(slot_\name)
    .insn i 0x0f, 2, x\cd, %pcrel_lo(.Lslot\@)(x\cd)
.endm
// A capability to the slot itself, through PCC.
.macro slot_address cd, name
.Laddress\@:
    auipc x\cd, %pcrel_hi(slot_\name)
    .insn i 0x5b, 1, x\cd, x\cd, %pcrel_lo(.Laddress\@)
.endm

// --- Relocations: a slot, and its record {{location, object, offset, size, permissions}} in __cap_relocs ---

.macro capability_slot name, object, offset, size, permissions, section=purecap
    .pushsection .data.rel.ro.\section, "aw", @progbits
    .balign 16
slot_\name\():
    .zero 16
    .popsection
    .pushsection __cap_relocs, "a", @progbits
    .quad slot_\name, \object, \offset, \size, \permissions
    .popsection
.endm
.macro data_pointer name, object, size, offset=0
    capability_slot \name, \object, \offset, \size, 0
.endm
.macro constant_pointer name, object, size, offset=0, section=purecap
    capability_slot \name, \object, \offset, \size, 1 << 62, \section
.endm
.macro function_pointer name, function, section=purecap
    capability_slot \name, \function, 0, end_\function - code_\function, 1 << 63, \section
.endm

// DT_RISCV_CHERI___CAPRELOCS and DT_RISCV_CHERI___CAPRELOCSSZ, DT_NULL.
    .pushsection .purecap_dynamic, "a", @progbits
    .quad 0x7000c000, purecap_cap_relocs, 0x7000c001, purecap_cap_relocs_size, 0, 0
    .popsection
