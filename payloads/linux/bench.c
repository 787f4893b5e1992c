/* System calls for scripts/bench, which counts the instructions between the call of a loop and the next instruction. Each loop
   has one system call instruction of its own, and makes it ROUNDS times. */
#define _GNU_SOURCE
#include "page.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 100, TIMES = 10 };

#if defined(__riscv)
static inline __attribute__((always_inline)) long call(long number, long a, long b, long c, long d, long e, long f) {
    register long a7 __asm__("a7") = number, a0 __asm__("a0") = a, a1 __asm__("a1") = b, a2 __asm__("a2") = c;
    register long a3 __asm__("a3") = d, a4 __asm__("a4") = e, a5 __asm__("a5") = f;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5) : "memory");
    return a0;
}
#else
static inline __attribute__((always_inline)) long call(long number, long a, long b, long c, long d, long e, long f) {
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}
#endif

static void *nothing(void *argument) {
    return argument;
}

int main(void) {
    static char block[64];
    static struct timespec now;
    int file = open("/tmp/bench", O_RDWR | O_CREAT, 0600);
    long wrong = file < 0;
#pragma clang loop unroll(disable)
    for (int round = 0; round < ROUNDS; round++)
        wrong |= call(SYS_getpid, 0, 0, 0, 0, 0, 0) <= 0;
#pragma clang loop unroll(disable)
    for (int round = 0; round < ROUNDS; round++)
        wrong |= call(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now, 0, 0, 0, 0) != 0;
#pragma clang loop unroll(disable)
    for (int round = 0; round < ROUNDS; round++)
        wrong |= call(SYS_pwrite64, file, (long)block, sizeof block, 0, 0, 0) != sizeof block;
#pragma clang loop unroll(disable)
    for (int round = 0; round < ROUNDS; round++) {
        char *page = (char *)call(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        *page = 1;
        wrong |= call(SYS_munmap, (long)page, 4096, 0, 0, 0, 0) != 0;
    }
#pragma clang loop unroll(disable)
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t thread;
        wrong |= call(SYS_sched_yield, 0, 0, 0, 0, 0, 0) != 0;
        wrong |= pthread_create(&thread, NULL, nothing, NULL) != 0;
        pthread_join(thread, NULL);
    }
    function *tell = find_clock();
#pragma clang loop unroll(disable)
    for (int round = 0; round < ROUNDS; round++) {
        wrong |= call(SYS_getppid, 0, 0, 0, 0, 0, 0) < 0;
#pragma clang loop unroll(disable)
        for (int time = 0; time < TIMES; time++)
            wrong |= tell(CLOCK_MONOTONIC, &now) != 0;
    }
    printf("%d rounds, %s\n", ROUNDS, wrong ? "not all right" : "all right");
    return wrong != 0;
}
