/* Hostile to its library OS: every system call with pointers that are not its own and lengths that are none. It must survive
   that itself, and so must everybody else. Arguments: addresses of others' memory. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What ends the program, starts it again, or rightly waits for ever. */
static int is_left_out(long number) {
    switch (number) {
    case SYS_exit:
    case SYS_exit_group:
    case SYS_futex:
    case SYS_ppoll:
    case SYS_pselect6:
    case SYS_nanosleep:
    case SYS_clock_nanosleep:
    case SYS_epoll_pwait:
    case SYS_clone: /* a thread on a stack that is none is its own harm */
    case SYS_kill:
    case SYS_rt_sigsuspend:
    case SYS_rt_sigreturn:
    case SYS_munmap:
    case SYS_mmap:
    case SYS_mremap:
    case SYS_madvise:
        return 1;
    }
    return 0;
}

int main(int count, char **arguments) {
    /* With room behind it for whatever a call stores there. */
    static char own[8192];
    uintptr_t page = getauxval(AT_SYSINFO_EHDR), texts[] = {(uintptr_t)main & ~3UL, page, page + 4095};
    char *end = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uintptr_t values[64] = {0, 1, 8, (uintptr_t)-1, (uintptr_t)-4096, 1UL << 63, 1UL << 32, INT64_MAX, 4096,
                            (uintptr_t)own, (uintptr_t)end + 4095, texts[0], texts[1]};
    int known = 13;
    for (int index = 1; index < count && known < 64; index++)
        values[known++] = strtoul(arguments[index], NULL, 0);
    /* Standard input would wait for a line. */
    close(0);
    open("/dev/zero", O_RDWR);
    long calls = 0, refused = 0;
    uint64_t state = 1;
    for (int round = 0; round < 40; round++) {
        for (long number = 0; number < 460; number++) {
            if (is_left_out(number))
                continue;
            uintptr_t picked[6];
            for (int index = 0; index < 6; index++) {
                state = state * 6364136223846793005 + 1442695040888963407;
                picked[index] = values[(state >> 33) % known];
            }
            /* Descriptors 1 and 2 are the console: nothing is to be read there, and little written. */
            if (picked[0] == 1)
                picked[0] = 0;
            /* Reading it might rightly wait for ever. */
            close(8);
            /* So would descriptor 0, if it became a pipe. */
            if (number == SYS_close && picked[0] == 0 || number == SYS_dup3 && picked[1] == 0)
                continue;
            /* What it says is to be seen. */
            if (number == SYS_close_range && picked[0] < 3)
                continue;
            long result = syscall(number, picked[0], picked[1], picked[2], picked[3], picked[4], picked[5]);
            calls++;
            refused += result == -1;
            /* Nobody but these has ever a reason to write there. */
            if (result == -1 && errno == 0) {
                printf("call %ld failed without an error\n", number);
                return 1;
            }
        }
    }
    /* Memory that is not its own cannot be mapped, unmapped, moved or waited for. */
    for (int index = 0; index < known; index++) {
        uintptr_t at = values[index] & ~4095UL;
        int is_own = at == ((uintptr_t)own & ~4095UL) || at == (uintptr_t)end || at == page || at == (texts[0] & ~4095UL);
        /* Where addresses count from 0, low ones are its own. */
        if (is_own || at < 1UL << 24)
            continue;
        if (syscall(SYS_mmap, at, 4096, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != -1 ||
            syscall(SYS_mremap, at, 4096, 8192, MREMAP_MAYMOVE, 0) != -1 ||
            syscall(SYS_madvise, at, 4096, MADV_DONTNEED) != -1 ||
            syscall(SYS_futex, at, 1 /* wake */, 1, 0, 0, 0) != -1) {
            printf("memory at %#lx was taken for its own\n", (unsigned long)at);
            return 1;
        }
        syscall(SYS_munmap, at, 4096);
    }
    /* Nobody writes text, its library OS neither: neither the program's own, nor what it has from there. */
    int zero = open("/dev/zero", O_RDONLY);
    for (int index = 0; index < 3; index++) {
        errno = 0;
        if (read(zero, (void *)texts[index], 4) != -1 || errno != EFAULT) {
            printf("a call has written to text at %#lx\n", (unsigned long)texts[index]);
            return 1;
        }
    }
    /* The call by which the monitor says where a program's memory is, with that of others. */
    for (int index = 0; index < known; index++) {
        long result = syscall(-1, values[index], 1L << 40, values[index], values[index], values[index], 0);
        if (result != -1 || errno != ENOSYS) {
            printf("it chose its own memory, at %#lx\n", (unsigned long)values[index]);
            return 1;
        }
    }
    printf("%ld calls, most of them refused: %s\n", calls, refused * 10 > calls * 7 ? "yes" : "no");
    return 0;
}
