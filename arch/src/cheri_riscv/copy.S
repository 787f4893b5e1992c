# Copies between the monitor and a cVM, through the cVM's own capability. FROM Rust, hybrid mode, IRQ off.
#
# LIVE: a0 = the monitor's side, a1 = slot of the authority, a2 = absolute address on the cVM's side, a3 = bytes left;
# c5 = the authority moved to the next address. Result a0 = bytes left: 0 = all done.
#
# An instruction marked GUARDED may be refused by the hardware: the trap handler then resumes at the routine's end,
# where a3 still holds what is left. Nothing else here may fault.

.equ BLOCK, 256

.macro GUARDED fixup
    .pushsection .intravisor_fixups, "a"
    .balign 4
    .word 771f - .
    .word \fixup - .
    .popsection
771:
.endm

.globl intravisor_copy_in
intravisor_copy_in:
    LC  x5, 0, x11
    GUARDED 9f
    CSetAddr x5, x5, x12
    or  x6, x10, x12
    andi x6, x6, 7
    bnez x6, 2f
    li  x6, 32
    li  x7, 8
1:  bltu x13, x6, 5f
    GUARDED 9f
    LD_CAP x28, x5
    CIncOffsetImm x5, x5, 8
    GUARDED 9f
    LD_CAP x29, x5
    CIncOffsetImm x5, x5, 8
    GUARDED 9f
    LD_CAP x30, x5
    CIncOffsetImm x5, x5, 8
    GUARDED 9f
    LD_CAP x31, x5
    CIncOffsetImm x5, x5, 8
    sd  x28, 0(x10)
    sd  x29, 8(x10)
    sd  x30, 16(x10)
    sd  x31, 24(x10)
    addi x10, x10, 32
    addi x13, x13, -32
    j   1b
4:  GUARDED 9f
    LD_CAP x28, x5
    sd  x28, 0(x10)
    CIncOffsetImm x5, x5, 8
    addi x10, x10, 8
    addi x13, x13, -8
5:  bgeu x13, x7, 4b
2:  beqz x13, 9f
3:  GUARDED 9f
    LBU_CAP x28, x5
    sb  x28, 0(x10)
    CIncOffsetImm x5, x5, 1
    addi x10, x10, 1
    addi x13, x13, -1
    bnez x13, 3b
9:  mv  x10, x13
    li  x5, 0
    ret

# intravisor_copy_out: LIVE besides: a4 = the physical address of a0. What is long and aligned goes in blocks first: by
# capability registers in capability mode, which has offsets; c6 = the monitor's side, without LoadCapability, so that no
# tag can go with it. A refused block is tried again below, word by word.
.globl intravisor_copy_out
intravisor_copy_out:
    LC  x5, 0, x11
    GUARDED 9f
    CSetAddr x5, x5, x12
    or  x6, x10, x12
    andi x7, x6, 15
    bnez x7, 5f
    li  x7, BLOCK
    bltu x13, x7, 5f
    CSpecialRW x6, DDC, x0
    CSetAddr x6, x6, x14
    li  x28, ~(1 << 4)
    CAndPerm x6, x6, x28
    mv  x28, x13
    CONTINUE_CAPABILITY x29, x30
    # LIVE: capability mode, x28 = bytes left before.
4:
.irp offset, 0, 32, 64, 96, 128, 160, 192, 224
    LC  x29, \offset, x6
    LC  x30, \offset + 16, x6
    GUARDED 6f
    SC  x29, \offset, x5
    GUARDED 6f
    SC  x30, \offset + 16, x5
.endr
    CIncOffsetImm x5, x5, BLOCK
    CIncOffsetImm x6, x6, BLOCK
    addi x13, x13, -BLOCK
    bgeu x13, x7, 4b
6:  CONTINUE_HYBRID x29
    li  x29, 0
    sub x28, x28, x13
    add x10, x10, x28
5:  or  x6, x10, x12
    andi x6, x6, 7
    bnez x6, 2f
    li  x7, 32
1:  bltu x13, x7, 2f
    ld  x28, 0(x10)
    ld  x29, 8(x10)
    ld  x30, 16(x10)
    ld  x31, 24(x10)
    GUARDED 9f
    SD_CAP x28, x5
    CIncOffsetImm x5, x5, 8
    GUARDED 9f
    SD_CAP x29, x5
    CIncOffsetImm x5, x5, 8
    GUARDED 9f
    SD_CAP x30, x5
    CIncOffsetImm x5, x5, 8
    GUARDED 9f
    SD_CAP x31, x5
    CIncOffsetImm x5, x5, 8
    addi x10, x10, 32
    addi x13, x13, -32
    j   1b
2:  beqz x13, 9f
3:  lbu x28, 0(x10)
    GUARDED 9f
    SB_CAP x28, x5
    CIncOffsetImm x5, x5, 1
    addi x10, x10, 1
    addi x13, x13, -1
    bnez x13, 3b
9:  mv  x10, x13
    li  x5, 0
    ret

# intravisor_copy: from memory that another capability reaches, without tags. LIVE besides: a0 = slot of that authority,
# a4 = absolute address of what is copied; c6 = that authority, without LoadCapability, moved to the next address. In
# capability mode, which has offsets: blocks by capability registers, then words of 4 bytes, the alignment of an archive.
# What is refused is tried again below, byte by byte.
.globl intravisor_copy
intravisor_copy:
    LC  x5, 0, x11
    LC  x6, 0, x10
    GUARDED 9f
    CSetAddr x5, x5, x12
    GUARDED 9f
    CSetAddr x6, x6, x14
    li  x28, ~(1 << 4)
    GUARDED 9f
    CAndPerm x6, x6, x28
    or  x28, x12, x14
    andi x7, x28, 3
    bnez x7, 2f
    andi x28, x28, 15
    CONTINUE_CAPABILITY x29, x30
    # LIVE: capability mode.
    bnez x28, 5f
    li  x7, BLOCK
4:  bltu x13, x7, 5f
.irp offset, 0, 32, 64, 96, 128, 160, 192, 224
    GUARDED 6f
    LC  x29, \offset, x6
    GUARDED 6f
    LC  x30, \offset + 16, x6
    GUARDED 6f
    SC  x29, \offset, x5
    GUARDED 6f
    SC  x30, \offset + 16, x5
.endr
    CIncOffsetImm x5, x5, BLOCK
    CIncOffsetImm x6, x6, BLOCK
    addi x13, x13, -BLOCK
    j   4b
5:  li  x7, 32
1:  bltu x13, x7, 6f
.irp offset, 0, 4, 8, 12, 16, 20, 24, 28
    GUARDED 6f
    lw  x29, \offset(x6)
    GUARDED 6f
    sw  x29, \offset(x5)
.endr
    CIncOffsetImm x5, x5, 32
    CIncOffsetImm x6, x6, 32
    addi x13, x13, -32
    j   1b
6:  CONTINUE_HYBRID x29
    li  x29, 0
    li  x30, 0
2:  beqz x13, 9f
3:  GUARDED 9f
    LBU_CAP x28, x6
    GUARDED 9f
    SB_CAP x28, x5
    CIncOffsetImm x5, x5, 1
    CIncOffsetImm x6, x6, 1
    addi x13, x13, -1
    bnez x13, 3b
9:  mv  x10, x13
    li  x5, 0
    li  x6, 0
    ret

# intravisor_zero: as intravisor_copy_out with zero bytes; a0 is not used.
.globl intravisor_zero
intravisor_zero:
    LC  x5, 0, x11
    GUARDED 9f
    CSetAddr x5, x5, x12
    andi x6, x12, 15
    bnez x6, 2f
    li  x7, 2 * BLOCK
    bltu x13, x7, 5f
    CONTINUE_CAPABILITY x29, x30
    # LIVE: capability mode. A refused block is tried again below.
4:
.irp offset, 0, 16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240
    GUARDED 6f
    SC  x0, \offset, x5
    GUARDED 6f
    SC  x0, BLOCK + \offset, x5
.endr
    CIncOffsetImm x5, x5, 2 * BLOCK
    addi x13, x13, -2 * BLOCK
    bgeu x13, x7, 4b
6:  CONTINUE_HYBRID x29
    li  x29, 0
5:  li  x7, 64
1:  bltu x13, x7, 2f
    GUARDED 9f
    SC_CAP x0, x5
    CIncOffsetImm x5, x5, 16
    GUARDED 9f
    SC_CAP x0, x5
    CIncOffsetImm x5, x5, 16
    GUARDED 9f
    SC_CAP x0, x5
    CIncOffsetImm x5, x5, 16
    GUARDED 9f
    SC_CAP x0, x5
    CIncOffsetImm x5, x5, 16
    addi x13, x13, -64
    j   1b
2:  beqz x13, 9f
3:  GUARDED 9f
    SB_CAP x0, x5
    CIncOffsetImm x5, x5, 1
    addi x13, x13, -1
    bnez x13, 3b
9:  mv  x10, x13
    li  x5, 0
    ret

# intravisor_store_capability: a0 = slot of what is stored to the 16 bytes at a2, tag included; a3 is set here.
# LIVE besides: c6 = what is stored.
.globl intravisor_store_capability
intravisor_store_capability:
    li  x13, 16
    LC  x5, 0, x11
    LC  x6, 0, x10
    GUARDED 9f
    CSetAddr x5, x5, x12
    GUARDED 9f
    SC_CAP x6, x5
    li  x13, 0
9:  mv  x10, x13
    li  x5, 0
    li  x6, 0
    ret

# intravisor_clear_tags: zeroes every granule with a tag. a0 is not used; a2 and a3 are multiples of 64.
# LIVE besides: t1 = the tags of four granules, t3 = the bytes at the beginning.
.globl intravisor_clear_tags
intravisor_clear_tags:
    LC  x5, 0, x11
    GUARDED 9f
    CSetAddr x5, x5, x12
    beqz x13, 9f
    # A multiple of 1024 first: sixteen looks at a time, which leave it to the other loop to find out more.
    li  x7, 1024
    mv  x28, x13
    bltu x13, x7, 1f
5:
.rept 16
    GUARDED 9f
    CLoadTags x6, x5
    bnez x6, 6f
    CIncOffsetImm x5, x5, 64
.endr
    addi x13, x13, -1024
    bgeu x13, x7, 5b
    bnez x13, 1f
    j   9f
6:  sub x28, x28, x13                     # back to where the sixteen began
    add x28, x28, x12
    CSetAddr x5, x5, x28
1:  beqz x13, 9f
    GUARDED 9f
    CLoadTags x6, x5
    bnez x6, 3f
    CIncOffsetImm x5, x5, 64
2:  addi x13, x13, -64
    j   1b
3:
.irp granule, 1, 2, 4, 8
    andi x7, x6, \granule
    beqz x7, 4f
    GUARDED 9f
    SC_CAP x0, x5
4:  CIncOffsetImm x5, x5, 16
.endr
    j   2b
9:  mv  x10, x13
    li  x5, 0
    ret

# Where c6, a tagged capability, goes on: to \no unless it reaches the range from \start to \end; \one and \other are lost.
.macro REACHES start, end, one, other, no
    CGetBase \one, x6
    CGetLen \other, x6
    bgeu \one, \end, \no
    add \other, \other, \one
    bltu \other, \one, 772f                # to the end of all addresses
    bgeu \start, \other, \no
772:
.endm

# intravisor_next_reaching: looks for a capability that reaches the range a4 to a5; the bytes left begin with it, and -1 = the
# authority does not allow to look. When a6 is not 0, it is cleared, and so are all that follow. a0 is not used; a2 and a3 are multiples of 16, and so is the end of 64.
# LIVE besides: t1 = the tags of four granules, then what one of them holds; t2 = granules left of four.
.globl intravisor_next_reaching
intravisor_next_reaching:
    LC  x5, 0, x11
    GUARDED 8f
    CSetAddr x5, x5, x12
    andi x7, x12, 63
    beqz x7, 1f
    li  x28, 64
    sub x7, x28, x7
    srli x7, x7, 4
    j   3f
1:  beqz x13, 9f
    GUARDED 8f
    CLoadTags x6, x5
    li  x7, 4
    bnez x6, 3f
    CIncOffsetImm x5, x5, 64
    addi x13, x13, -64
    j   1b
3:  GUARDED 8f
    LC_CAP x6, x5
    CGetTag x28, x6
    beqz x28, 4f
    REACHES x14, x15, x28, x29, 4f
    beqz x16, 9f
    GUARDED 8f
    SC_CAP x0, x5
4:  CIncOffsetImm x5, x5, 16
    addi x13, x13, -16
    addi x7, x7, -1
    bnez x7, 3b
    j   1b
8:  li  x13, -1
9:  mv  x10, x13
    li  x5, 0
    li  x6, 0
    ret

# intravisor_reaching(a0 = the first of some slots, a1 = behind the last, a2 and a3 = a range, a4 = whether to clear what is
# found): bit n = slot n reaches the range.
.globl intravisor_reaching
intravisor_reaching:
    mv  x5, x10
    li  x15, 0
1:  LC  x6, 0, x10
    CGetTag x7, x6
    addi x10, x10, 16
    bnez x7, 3f
2:  bne x10, x11, 1b
    mv  x10, x15
    li  x6, 0
    ret
3:  REACHES x12, x13, x28, x29, 2b
    beqz x14, 4f
    SC  x0, -16, x10
4:  sub x28, x10, x5
    srli x28, x28, 4
    addi x28, x28, -1
    li  x29, 1
    sll x29, x29, x28
    or  x15, x15, x29
    j   2b

# intravisor_load_capability: a0 = slot for what is in the 16 bytes at a2, tag included; a3 is set here.
# LIVE besides: c6 = what is loaded.
.globl intravisor_load_capability
intravisor_load_capability:
    li  x13, 16
    LC  x5, 0, x11
    GUARDED 9f
    CSetAddr x5, x5, x12
    GUARDED 9f
    LC_CAP x6, x5
    SC  x6, 0, x10
    li  x13, 0
9:  mv  x10, x13
    li  x5, 0
    li  x6, 0
    ret
