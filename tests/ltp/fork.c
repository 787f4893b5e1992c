/* What `fork.S` keeps of a program's memory for the time that its child runs there. */
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

/* What is kept: pieces of memory, each behind its place and its length, a length of 0 at the end; before all that the size of the map. */
struct piece {
    uint64_t place, length;
};

static uint64_t *keep(uint64_t *to, uint64_t from, uint64_t end) {
    struct piece piece = {from & ~7ull, ((end + 7) & ~7ull) - (from & ~7ull)};
    memcpy(to, &piece, sizeof piece);
    memcpy(to + 2, (void *)piece.place, piece.length);
    return to + 2 + piece.length / 8;
}

/* Keeps the stack from here on and the program's variables; returns where, or nothing when there is no memory. */
uint64_t *fork_keep(uint64_t stack) {
    const Elf64_Phdr *header = (void *)getauxval(AT_PHDR);
    uint64_t base = 0, start = 0, end = 0, top = (uint64_t)environ, *map, *at;
    for (unsigned long left = getauxval(AT_PHNUM); left--; header++) {
        if (header->p_type == PT_PHDR)
            base = getauxval(AT_PHDR) - header->p_vaddr;
        /* The last one that is written: what is written once alone lies before it. */
        if (header->p_type == PT_LOAD && header->p_flags & PF_W)
            start = base + header->p_vaddr, end = start + header->p_memsz;
    }
    if (stack >= top || top - stack > 1 << 20)
        top = stack;
    size_t size = end - start + top - stack + 128;
    map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return NULL;
    map[0] = size;
    at = keep(map + 1, start, end);
    if (top > stack)
        at = keep(at, stack, top);
    at[0] = at[1] = 0;
    return map + 1;
}

/* What `fork` returns: in the parent what was kept is needed no more. */
long fork_told(long told, uint64_t *kept) {
    if (told != 0 && kept)
        munmap(kept - 1, kept[-1]);
    if (told < 0 && told > -4096) {
        errno = -told;
        return -1;
    }
    return told;
}

/* The C library remembers the number of a thread, which in a child is another one. */
int raise(int number) {
    return syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), number);
}
