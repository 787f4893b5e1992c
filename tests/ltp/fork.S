/* LTP's library forks, and has the test run in the child. Its `fork` is this one, of musl's `vfork`: the child runs in its parent's memory,
   and the parent waits until it has ended. That is enough for a test that makes no processes itself: child and parent never
   run at the same time, and the child never returns from the function that it was made in. */
    .text
    .global fork
    .type fork, %function
fork:
#if defined(__riscv)
    tail vfork
#elif defined(__aarch64__)
    b vfork
#else
#error "expected RISC-V or AArch64"
#endif
    .size fork, . - fork
    .section .note.GNU-stack, "", %progbits
