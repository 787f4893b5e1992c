// Copies between the monitor and a cVM, through the cVM's own capability. FROM Rust, IRQ off.
//
// LIVE: x0 = the monitor's side, x1 = slot of the authority, x2 = absolute address on the cVM's side, x3 = bytes left;
// c9 = the authority moved to the next address. Result x0 = bytes left: 0 = all done.
//
// An instruction marked GUARDED may be refused by the hardware: the trap handler then resumes at the routine's end,
// where x3 still holds what is left. Nothing else here may fault.

.globl intravisor_copy_in
intravisor_copy_in:
    LDR_C 9, 0, 1
    SCVALUE 9, 9, 2
    orr x4, x0, x2
    tst x4, #7
    b.ne 2f
1:  cmp x3, #32
    b.lo 5f
    GUARDED 9f
    ALDR_X 4, 0, 9
    GUARDED 9f
    ALDR_X 5, 8, 9
    GUARDED 9f
    ALDR_X 6, 16, 9
    GUARDED 9f
    ALDR_X 7, 24, 9
    stp x4, x5, [x0]
    stp x6, x7, [x0, #16]
    ADD_C_IMMEDIATE 9, 9, 32
    add x0, x0, #32
    sub x3, x3, #32
    b   1b
4:  GUARDED 9f
    ALDR_X 4, 0, 9
    str x4, [x0], #8
    ADD_C_IMMEDIATE 9, 9, 8
    sub x3, x3, #8
5:  cmp x3, #8
    b.hs 4b
2:  cbz x3, 9f
3:  GUARDED 9f
    ALDRB 4, 0, 9
    strb w4, [x0], #1
    ADD_C_IMMEDIATE 9, 9, 1
    subs x3, x3, #1
    b.ne 3b
9:  mov x0, x3
    mov x9, xzr
    ret

// What is long and aligned goes in blocks first: in C64, which has pairs; c8 = the monitor's side. A refused block is tried
// again below, word by word.
.globl intravisor_copy_out
intravisor_copy_out:
    LDR_C 9, 0, 1
    SCVALUE 9, 9, 2
    orr x4, x0, x2
    tst x4, #7
    b.ne 2f
    cmp x3, #128
    b.lo 1f
    MRS_C 8, DDC
    SCVALUE 8, 8, 0
    mov x10, x3
    BX_NEXT
    // LIVE: C64, x10 = bytes left before.
4:
.irp offset, 0, 16, 32, 48, 64, 80, 96, 112
    ldp x4, x5, [x8, #\offset]
    GUARDED 5f
    stp x4, x5, [x9, #\offset]
.endr
    ADD_C_IMMEDIATE 8, 8, 128
    ADD_C_IMMEDIATE 9, 9, 128
    sub x3, x3, #128
    cmp x3, #128
    b.hs 4b
5:  BX_NEXT
    mov x8, xzr
    sub x10, x10, x3
    add x0, x0, x10
1:  cmp x3, #32
    b.lo 2f
    ldp x4, x5, [x0]
    ldp x6, x7, [x0, #16]
    GUARDED 9f
    ASTR_X 4, 0, 9
    GUARDED 9f
    ASTR_X 5, 8, 9
    GUARDED 9f
    ASTR_X 6, 16, 9
    GUARDED 9f
    ASTR_X 7, 24, 9
    ADD_C_IMMEDIATE 9, 9, 32
    add x0, x0, #32
    sub x3, x3, #32
    b   1b
2:  cbz x3, 9f
3:  ldrb w4, [x0], #1
    GUARDED 9f
    ASTRB 4, 0, 9
    ADD_C_IMMEDIATE 9, 9, 1
    subs x3, x3, #1
    b.ne 3b
9:  mov x0, x3
    mov x9, xzr
    ret

// intravisor_copy: from memory that another capability reaches, without tags. LIVE besides: x0 = slot of that authority,
// x4 = absolute address of what is copied; c8 = that authority, without LoadCapability, moved to the next address. In C64, which
// has pairs: blocks by capability registers, then words of 4 bytes, the alignment of an archive. What is refused is tried again below, byte by byte.
.globl intravisor_copy
intravisor_copy:
    LDR_C 9, 0, 1
    SCVALUE 9, 9, 2
    LDR_C 8, 0, 0
    SCVALUE 8, 8, 4
    mov x10, #1 << {load_capability}
    CLRPERM 8, 8, 10            // what is loaded has no tag
    orr x10, x2, x4
    tst x10, #3
    b.ne 2f
    tst x10, #15
    BX_NEXT
    // LIVE: C64.
    b.ne 5f
4:  cmp x3, #256
    b.lo 5f
.irp offset, 0, 32, 64, 96, 128, 160, 192, 224
    GUARDED 6f
    LDP_C 4, 5, \offset, 8
    GUARDED 6f
    STP_C 4, 5, \offset, 9
.endr
    ADD_C_IMMEDIATE 8, 8, 256
    ADD_C_IMMEDIATE 9, 9, 256
    sub x3, x3, #256
    b   4b
5:  cmp x3, #32
    b.lo 6f
.irp offset, 0, 8, 16, 24
    GUARDED 6f
    ldp w4, w5, [x8, #\offset]
    GUARDED 6f
    stp w4, w5, [x9, #\offset]
.endr
    ADD_C_IMMEDIATE 8, 8, 32
    ADD_C_IMMEDIATE 9, 9, 32
    sub x3, x3, #32
    b   5b
6:  BX_NEXT
2:  cbz x3, 9f
3:  GUARDED 9f
    ALDRB 4, 0, 8
    GUARDED 9f
    ASTRB 4, 0, 9
    ADD_C_IMMEDIATE 8, 8, 1
    ADD_C_IMMEDIATE 9, 9, 1
    subs x3, x3, #1
    b.ne 3b
9:  mov x0, x3
    mov x8, xzr
    mov x9, xzr
    ret

// intravisor_zero: as intravisor_copy_out with zero bytes; x0 is not used.
.globl intravisor_zero
intravisor_zero:
    LDR_C 9, 0, 1
    SCVALUE 9, 9, 2
    tst x2, #15
    b.ne 2f
    cmp x3, #256
    b.lo 1f
    BX_NEXT
    // LIVE: C64. A refused block is tried again below.
4:
.irp offset, 0, 32, 64, 96, 128, 160, 192, 224
    GUARDED 5f
    STP_C 31, 31, \offset, 9
.endr
    ADD_C_IMMEDIATE 9, 9, 256
    sub x3, x3, #256
    cmp x3, #256
    b.hs 4b
5:  BX_NEXT
1:  cmp x3, #64
    b.lo 2f
    GUARDED 9f
    ASTR_C 31, 0, 9
    GUARDED 9f
    ASTR_C 31, 16, 9
    GUARDED 9f
    ASTR_C 31, 32, 9
    GUARDED 9f
    ASTR_C 31, 48, 9
    ADD_C_IMMEDIATE 9, 9, 64
    sub x3, x3, #64
    b   1b
2:  cbz x3, 9f
3:  GUARDED 9f
    ASTRB 31, 0, 9
    ADD_C_IMMEDIATE 9, 9, 1
    subs x3, x3, #1
    b.ne 3b
9:  mov x0, x3
    mov x9, xzr
    ret

// intravisor_store_capability(x0 = slot with what to store, x1 = slot of the authority, x2 = absolute address)
// -> bytes left: 0 = stored. LIVE: c8 = what to store, c9 = the authority moved to the address.
.globl intravisor_store_capability
intravisor_store_capability:
    LDR_C 8, 0, 0
    LDR_C 9, 0, 1
    SCVALUE 9, 9, 2
    mov x0, #16
    GUARDED 9f
    ASTR_C 8, 0, 9
    mov x0, #0
9:  mov x8, xzr
    mov x9, xzr
    ret

// intravisor_clear_tags: NULL to every capability with a tag. LIVE as for the copies; x3 is a multiple of 64, x0 not used.
.globl intravisor_clear_tags
intravisor_clear_tags:
    LDR_C 9, 0, 1
    GCPERM 4, 9                 // without LoadCapability the tags would be there and not be seen
    tbz x4, #{load_capability}, 3f
    SCVALUE 9, 9, 2
    cbz x3, 3f
    BX_NEXT
    // LIVE: C64, in which LDCT and capability stores go through c9 instead of DDC. x4 = four tags. Sixteen looks at a time
    // while there is no tag, which leave it to the other loop to find out more. x5 = bytes left before them.
    mov x5, x3
    cmp x3, #1024
    b.lo 1f
8:
.rept 16
    GUARDED 9f
    LDCT 4, 9
    cbnz x4, 10f
    ADD_C_IMMEDIATE 9, 9, 64
.endr
    sub x3, x3, #1024
    cmp x3, #1024
    b.hs 8b
    b   1f
10: sub x5, x5, x3              // back to where the sixteen began
    add x5, x5, x2
    SCVALUE 9, 9, 5
1:  cbz x3, 9f
    GUARDED 9f
    LDCT 4, 9
    cbnz x4, 4f
2:  ADD_C_IMMEDIATE 9, 9, 64
    subs x3, x3, #64
    b.ne 1b
9:  BX_NEXT
    // LIVE: A64.
3:  mov x0, x3
    mov x9, xzr
    ret
    // FROM above: there are tags. LIVE: C64.
4:  tbz x4, #0, 5f
    GUARDED 9b
    STR_C 31, 0, 9
5:  tbz x4, #1, 6f
    GUARDED 9b
    STR_C 31, 16, 9
6:  tbz x4, #2, 7f
    GUARDED 9b
    STR_C 31, 32, 9
7:  tbz x4, #3, 2b
    GUARDED 9b
    STR_C 31, 48, 9
    b   2b

// Where c10, a tagged capability, goes on: to \no unless it reaches the range from \start to \end; x11 and x12 are lost.
.macro REACHES start, end, no
    GCBASE 11, 10
    GCLEN 12, 10
    cmp x11, \end
    b.hs \no
    adds x12, x12, x11
    b.cs 772f                             // to the end of all addresses
    cmp x12, \start
    b.ls \no
772:
.endm

// intravisor_next_reaching: looks for a capability that reaches the range x4 to x5; the bytes left begin with it, and -1 = the
// authority does not allow to look. When x6 is not 0, it is cleared, and so are all that follow. LIVE as for the copies; x0 is not used; x2 and x3 are multiples of 16, and so is the end of
// 64. LIVE besides: x8 = granules left of four.
.globl intravisor_next_reaching
intravisor_next_reaching:
    LDR_C 9, 0, 1
    SCVALUE 9, 9, 2
    BX_NEXT
    // LIVE: C64, in which LDCT and loads go through c9 instead of DDC.
    ubfx x8, x2, #4, #2
    mov x7, #4
    sub x8, x7, x8
    tst x2, #63
    b.ne 3f
1:  cbz x3, 9f
    GUARDED 8f
    LDCT 7, 9
    mov x8, #4
    cbnz x7, 3f
    ADD_C_IMMEDIATE 9, 9, 64
    sub x3, x3, #64
    b   1b
3:  GUARDED 8f
    LDR_C 10, 0, 9
    GCTAG 7, 10
    cbz x7, 4f
    REACHES x4, x5, 4f
    cbz x6, 9f
    GUARDED 8f
    STR_C 31, 0, 9
4:  ADD_C_IMMEDIATE 9, 9, 16
    sub x3, x3, #16
    subs x8, x8, #1
    b.ne 3b
    b   1b
8:  mov x3, #-1
9:  BX_NEXT
    // LIVE: A64.
    mov x0, x3
    mov x9, xzr
    mov x10, xzr
    ret

// intravisor_reaching(x0 = the first of some slots, x1 = behind the last, x2 and x3 = a range, x4 = whether to
// clear what is found): bit n = slot n reaches the range.
.globl intravisor_reaching
intravisor_reaching:
    mov x6, x0
    mov x5, xzr
1:  LDR_C 10, 0, 0
    GCTAG 7, 10
    add x0, x0, #16
    cbnz x7, 3f
2:  cmp x0, x1
    b.ne 1b
    mov x0, x5
    mov x10, xzr
    ret
3:  REACHES x2, x3, 2b
    sub x7, x0, #16
    cbz x4, 4f
    STR_C 31, 0, 7
4:  sub x7, x7, x6
    lsr x7, x7, #4
    mov x11, #1
    lsl x11, x11, x7
    orr x5, x5, x11
    b   2b

// intravisor_load_capability(x0 = slot for what is loaded, x1 = slot of the authority, x2 = absolute address) -> bytes left
.globl intravisor_load_capability
intravisor_load_capability:
    mov x3, #16
    LDR_C 9, 0, 1
    SCVALUE 9, 9, 2
    GUARDED 9f
    ALDR_C 10, 0, 9
    STR_C 10, 0, 0
    mov x3, xzr
9:  mov x0, x3
    mov x9, xzr
    mov x10, xzr
    ret
