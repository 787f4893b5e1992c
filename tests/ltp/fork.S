/* LTP's library forks, and so do tests. Their `fork` is this one, of what `vfork` is made of: the child runs in its parent's memory while the
   parent waits, until it ends or executes a file. Then the parent's stack and variables are as they were: `fork_keep` has kept
   them, and what comes after the call here puts them back. Child and parent never run at the same time. */
    .text
    .global fork
    .type fork, %function
fork:
#if defined(__riscv)
    addi sp, sp, -32
    sd ra, 0(sp)
    sd s0, 8(sp)
    sd s1, 16(sp)
    mv a0, sp
    call fork_keep
    mv s1, a0
    li a0, 0x4111               /* CLONE_VM, CLONE_VFORK, SIGCHLD */
    li a1, 0
    li a2, 0
    li a3, 0
    li a4, 0
    li a7, 220                  /* clone */
    ecall
    mv s0, a0
    beqz a0, 2f
    beqz s1, 2f
    /* Pairs of a place and a length, what was there behind them; a length of 0 is the end. Nothing here may use the stack. */
    mv t0, s1
1:  ld t1, 0(t0)
    ld t2, 8(t0)
    addi t0, t0, 16
    beqz t2, 2f
3:  ld t3, 0(t0)
    sd t3, 0(t1)
    addi t0, t0, 8
    addi t1, t1, 8
    addi t2, t2, -8
    bnez t2, 3b
    j 1b
2:  mv a0, s0
    mv a1, s1
    ld ra, 0(sp)
    ld s0, 8(sp)
    ld s1, 16(sp)
    addi sp, sp, 32
    tail fork_told
#elif defined(__aarch64__)
    stp x29, x30, [sp, #-32]!
    stp x19, x20, [sp, #16]
    mov x0, sp
    bl fork_keep
    mov x19, x0
    mov x0, #0x4111             /* CLONE_VM, CLONE_VFORK, SIGCHLD */
    mov x1, #0
    mov x2, #0
    mov x3, #0
    mov x4, #0
    mov x8, #220                /* clone */
    svc #0
    mov x20, x0
    cbz x0, 2f
    cbz x19, 2f
    /* Pairs of a place and a length, what was there behind them; a length of 0 is the end. Nothing here may use the stack. */
    mov x9, x19
1:  ldp x10, x11, [x9], #16
    cbz x11, 2f
3:  ldr x12, [x9], #8
    str x12, [x10], #8
    subs x11, x11, #8
    b.ne 3b
    b 1b
2:  mov x0, x20
    mov x1, x19
    ldp x19, x20, [sp, #16]
    ldp x29, x30, [sp], #32
    b fork_told
#else
#error "expected RISC-V or AArch64"
#endif
    .size fork, . - fork
    .section .note.GNU-stack, "", %progbits
