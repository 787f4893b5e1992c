// Operations on capabilities in slots. FROM Rust, A64, IRQ off. LIVE: the C convention; c9 holds the capability and is
// cleared at the end, as no authority may stay behind in a register.

// intravisor_slot_copy(x0 = from, x1 = to)
.globl intravisor_slot_copy
intravisor_slot_copy:
    LDR_C 9, 0, 0
    STR_C 9, 0, 1
    mov x9, xzr
    ret

// intravisor_slot_derive(x0 = parent, x1 = target, x2 = base, x3 = length, x4 = permissions to clear, x5 = address,
// x6 = whether to seal it as a sentry) -> tag of the result; without one the target keeps what it holds.
.globl intravisor_slot_derive
intravisor_slot_derive:
    LDR_C 9, 0, 0
    SCVALUE 9, 9, 2
    SCBNDSE 9, 9, 3
    CLRPERM 9, 9, 4
    SCVALUE 9, 9, 5
    cbz x6, 2f
    SEAL_RB 9, 9
2:  GCTAG 0, 9
    cbz x0, 1f
    STR_C 9, 0, 1
1:  mov x9, xzr
    ret

// intravisor_slot_fields(x0 = slot, x1 = five words): tag, whether sealed, base, length, permissions.
.globl intravisor_slot_fields
intravisor_slot_fields:
    LDR_C 9, 0, 0
    GCTAG 2, 9
    GCSEAL 3, 9
    GCBASE 4, 9
    GCLEN 5, 9
    GCPERM 6, 9
    stp x2, x3, [x1]
    stp x4, x5, [x1, #16]
    str x6, [x1, #32]
    mov x9, xzr
    ret

// intravisor_slot_narrow(x0 = from, x1 = to, x2 = permissions to clear)
.globl intravisor_slot_narrow
intravisor_slot_narrow:
    LDR_C 9, 0, 0
    CLRPERM 9, 9, 2
    STR_C 9, 0, 1
    mov x9, xzr
    ret

// intravisor_frame_pass(x0 = from, x1 = to: c0 to c5 of two frames) -> whether a capability is among them; what is stored has
// no tag. FROM Rust that knows which registers are changed here: x0, x2, x9 to x14.
.globl intravisor_frame_pass
intravisor_frame_pass:
    LDP_C 9, 10, 0, 0
    LDP_C 11, 12, 32, 0
    LDP_C 13, 14, 64, 0
    GCTAG 0, 9
    CLRTAG 9, 9
.irp register, 10, 11, 12, 13, 14
    GCTAG 2, \register
    orr x0, x0, x2
    CLRTAG \register, \register
.endr
    STP_C 9, 10, 0, 1
    STP_C 11, 12, 32, 1
    STP_C 13, 14, 64, 1
    ret

// intravisor_frame_forget(x0 = the first of 37 slots): NULL to all of them
.globl intravisor_frame_forget
intravisor_frame_forget:
.irp pair, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17
    STP_C 31, 31, (\pair * 32), 0
.endr
    STR_C 31, (36 * 16), 0
    ret

// intravisor_slot_set_address(x0 = slot, x1 = address)
.globl intravisor_slot_set_address
intravisor_slot_set_address:
    LDR_C 9, 0, 0
    SCVALUE 9, 9, 1
    STR_C 9, 0, 0
    mov x9, xzr
    ret

// Device registers through the window in a slot. (x0 = slot, x1 = offset[, x2 = value])
.globl intravisor_device_read8
intravisor_device_read8:
    LDR_C 9, 0, 0
    ADD_C_REGISTER 9, 9, 1
    ALDRB 0, 0, 9
    mov x9, xzr
    ret

.globl intravisor_device_read32
intravisor_device_read32:
    LDR_C 9, 0, 0
    ADD_C_REGISTER 9, 9, 1
    ALDR_W 0, 0, 9
    mov x9, xzr
    ret

.globl intravisor_device_write32
intravisor_device_write32:
    LDR_C 9, 0, 0
    ADD_C_REGISTER 9, 9, 1
    ASTR_W 2, 0, 9
    mov x9, xzr
    ret

.globl intravisor_device_write64
intravisor_device_write64:
    LDR_C 9, 0, 0
    ADD_C_REGISTER 9, 9, 1
    ASTR_X 2, 0, 9
    mov x9, xzr
    ret

// intravisor_publish_code(x0 = slot of an authority, x1 = address, x2 = bytes, x3 = bytes of a data cache line): what was
// written there is what will be executed. The address is a multiple of the line.
.globl intravisor_publish_code
intravisor_publish_code:
    LDR_C 9, 0, 0
    SCVALUE 9, 9, 1
    BX_NEXT
    // LIVE: C64, in which cache maintenance goes through c9 instead of DDC.
1:  DC_CVAU 9
    ADD_C_REGISTER 9, 9, 3
    subs x2, x2, x3
    b.hi 1b
    BX_NEXT
    // LIVE: A64.
    dsb ish
    ic  ialluis
    dsb ish
    isb
    mov x9, xzr
    ret
