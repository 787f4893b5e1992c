// memcpy and memset of the monitor's own memory, which rustc calls when values move and are cleared: pairs of words, where the
// compiler's library goes byte by byte or one word at a time. No tag is copied. FROM Rust.
//
// LIVE: x0 = the destination, and the result; x1 = the source, or the byte; x2 = bytes left; x3 = where it goes on. Nothing
// that is not aligned is loaded or stored as a word.

.globl memcpy
memcpy:
    mov  x3, x0
    eor  x4, x0, x1
    tst  x4, #7
    b.ne 6f                     // never both at a multiple of 8
    cmp  x2, #16
    b.lo 6f
1:  tst  x3, #7
    b.eq 2f
    ldrb w4, [x1], #1
    strb w4, [x3], #1
    sub  x2, x2, #1
    b    1b
2:  subs x2, x2, #32
    b.lo 4f
3:  ldp  x4, x5, [x1]
    ldp  x6, x7, [x1, #16]
    stp  x4, x5, [x3]
    stp  x6, x7, [x3, #16]
    add  x1, x1, #32
    add  x3, x3, #32
    subs x2, x2, #32
    b.hs 3b
4:  add  x2, x2, #32
    tbz  x2, #4, 5f
    ldp  x4, x5, [x1], #16
    stp  x4, x5, [x3], #16
5:  and  x4, x2, #8
    and  x2, x2, #7
    cbz  x4, 6f
    ldr  x4, [x1], #8
    str  x4, [x3], #8
6:  cbz  x2, 8f
    add  x2, x3, x2
7:  ldrb w4, [x1], #1
    strb w4, [x3], #1
    cmp  x3, x2
    b.ne 7b
8:  ret

.globl memset
memset:
    mov  x3, x0
    cmp  x2, #16
    b.lo 6f
    and  x1, x1, #0xff
    orr  x1, x1, x1, lsl #8
    orr  x1, x1, x1, lsl #16
    orr  x1, x1, x1, lsl #32
1:  tst  x3, #7
    b.eq 2f
    strb w1, [x3], #1
    sub  x2, x2, #1
    b    1b
2:  subs x2, x2, #64
    b.lo 4f
3:  stp  x1, x1, [x3]
    stp  x1, x1, [x3, #16]
    stp  x1, x1, [x3, #32]
    stp  x1, x1, [x3, #48]
    add  x3, x3, #64
    subs x2, x2, #64
    b.hs 3b
4:  add  x2, x2, #64
    and  x4, x2, #~7
    and  x2, x2, #7
    cbz  x4, 6f
    add  x4, x3, x4
5:  str  x1, [x3], #8
    cmp  x3, x4
    b.ne 5b
6:  cbz  x2, 8f
    add  x2, x3, x2
7:  strb w1, [x3], #1
    cmp  x3, x2
    b.ne 7b
8:  ret
