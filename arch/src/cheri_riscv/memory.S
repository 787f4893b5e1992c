# memcpy and memset of the monitor's own memory, which rustc calls when values move and are cleared: words, where the compiler's
# library goes byte by byte or one word at a time. No tag is copied. FROM Rust, hybrid mode.
#
# LIVE: a0 = the destination, and the result; a1 = the source, or the byte; a2 = bytes left; a3 = where it goes on.

.globl memcpy
memcpy:
    mv   a3, a0
    xor  a4, a0, a1
    andi a4, a4, 7
    bnez a4, 6f                 # never both at a multiple of 8
    li   a4, 16
    bltu a2, a4, 6f
1:  andi a4, a3, 7
    beqz a4, 2f
    lbu  a4, 0(a1)
    sb   a4, 0(a3)
    addi a1, a1, 1
    addi a3, a3, 1
    addi a2, a2, -1
    j    1b
2:  li   a7, 32
    bltu a2, a7, 4f
3:  ld   a4, 0(a1)
    ld   a5, 8(a1)
    ld   a6, 16(a1)
    ld   t0, 24(a1)
    sd   a4, 0(a3)
    sd   a5, 8(a3)
    sd   a6, 16(a3)
    sd   t0, 24(a3)
    addi a1, a1, 32
    addi a3, a3, 32
    addi a2, a2, -32
    bgeu a2, a7, 3b
4:  andi a4, a2, ~7
    beqz a4, 6f
    add  a4, a3, a4
5:  ld   a5, 0(a1)
    sd   a5, 0(a3)
    addi a1, a1, 8
    addi a3, a3, 8
    bne  a3, a4, 5b
    andi a2, a2, 7
6:  beqz a2, 8f
    add  a2, a3, a2
7:  lbu  a4, 0(a1)
    sb   a4, 0(a3)
    addi a1, a1, 1
    addi a3, a3, 1
    bne  a3, a2, 7b
8:  ret

.globl memset
memset:
    mv   a3, a0
    li   a4, 16
    bltu a2, a4, 6f
    andi a1, a1, 0xff
    slli a4, a1, 8
    or   a1, a1, a4
    slli a4, a1, 16
    or   a1, a1, a4
    slli a4, a1, 32
    or   a1, a1, a4
1:  andi a4, a3, 7
    beqz a4, 2f
    sb   a1, 0(a3)
    addi a3, a3, 1
    addi a2, a2, -1
    j    1b
2:  li   a7, 64
    bltu a2, a7, 4f
3:
.irp offset, 0, 8, 16, 24, 32, 40, 48, 56
    sd   a1, \offset(a3)
.endr
    addi a3, a3, 64
    addi a2, a2, -64
    bgeu a2, a7, 3b
4:  andi a4, a2, ~7
    beqz a4, 6f
    add  a4, a3, a4
5:  sd   a1, 0(a3)
    addi a3, a3, 8
    bne  a3, a4, 5b
    andi a2, a2, 7
6:  beqz a2, 8f
    add  a2, a3, a2
7:  sb   a1, 0(a3)
    addi a3, a3, 1
    bne  a3, a2, 7b
8:  ret
