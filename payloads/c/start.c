/* Start code of a cVM in C, and the functions that a compiler may call without being asked to.
 *
 * The monitor enters _start by the convention of C: start block and its size in the first two argument registers, the stack
 * pointer at the top of an aligned stack, bss zero, and everything relocated - capabilities too, so that a purecap program has
 * nothing to do itself. */

#include "intravisor.h"

int main(int argc, char **argv);

/* Most arguments that main gets; more are left out. */
#define ARGUMENTS 32

#if defined(__riscv) && !defined(__CHERI_PURE_CAPABILITY__)
#define FIRST_FUNCTION cvm_start
/* The entry sets the global pointer, which linkers may shorten addresses by (RISC-V ELF psABI, relaxation). */
__asm__(".section .text.start, \"ax\"\n"
        ".globl _start\n"
        ".type _start, @function\n"
        "_start:\n"
        ".option push\n"
        ".option norelax\n"
        "\tlla gp, __global_pointer$\n"
        ".option pop\n"
        "\ttail cvm_start\n"
        ".size _start, . - _start\n"
        ".text\n");
#else
#define FIRST_FUNCTION _start
#endif

_Noreturn void FIRST_FUNCTION(const struct cvm_start_block *block, uint64_t size);

static const struct cvm_start_block *start_block;

const struct cvm_start_block *cvm_start_block(void) { return start_block; }

const char *cvm_environment(const char *key) {
    const char *entry = (const char *)start_block + start_block->environment;
    for (uint32_t left = start_block->environment_count; left > 0; left--) {
        size_t same = 0;
        while (key[same] != '\0' && entry[same] == key[same])
            same++;
        if (key[same] == '\0' && entry[same] == '=')
            return entry + same + 1;
        while (*entry++ != '\0')
            ;
    }
    return NULL;
}

_Noreturn void FIRST_FUNCTION(const struct cvm_start_block *block, uint64_t size) {
    static char *arguments[ARGUMENTS + 1];
    start_block = block;
    const char *next = (const char *)block + block->arguments;
    int count = 0;
    (void)size;
    while (count < ARGUMENTS && (uint32_t)count < block->argument_count) {
        arguments[count++] = (char *)next;
        while (*next++ != '\0')
            ;
    }
    cvm_exit(main(count, arguments));
}

/* A copy that keeps capabilities: by capabilities where both sides are aligned for them. */
__attribute__((no_builtin)) void *memcpy(void *restrict to, const void *restrict from, size_t length) {
    unsigned char *at = to;
    const unsigned char *source = from;
    if ((((size_t)at | (size_t)source) & (sizeof(uintptr_t) - 1)) == 0) {
        for (; length >= sizeof(uintptr_t); length -= sizeof(uintptr_t)) {
            *(uintptr_t *)at = *(const uintptr_t *)source;
            at += sizeof(uintptr_t);
            source += sizeof(uintptr_t);
        }
    }
    while (length-- > 0)
        *at++ = *source++;
    return to;
}

__attribute__((no_builtin)) void *memmove(void *to, const void *from, size_t length) {
    unsigned char *at = to;
    const unsigned char *source = from;
    if ((size_t)at <= (size_t)source || (size_t)at >= (size_t)source + length)
        return memcpy(to, from, length);
    if ((((size_t)at | (size_t)source | length) & (sizeof(uintptr_t) - 1)) == 0) {
        for (; length > 0; length -= sizeof(uintptr_t))
            *(uintptr_t *)(at + length - sizeof(uintptr_t)) =
                *(const uintptr_t *)(source + length - sizeof(uintptr_t));
        return to;
    }
    while (length-- > 0)
        at[length] = source[length];
    return to;
}

__attribute__((no_builtin)) void *memset(void *to, int byte, size_t length) {
    unsigned char *at = to;
    while (length-- > 0)
        *at++ = (unsigned char)byte;
    return to;
}

__attribute__((no_builtin)) int memcmp(const void *left, const void *right, size_t length) {
    const unsigned char *one = left, *other = right;
    for (; length > 0; length--, one++, other++)
        if (*one != *other)
            return *one < *other ? -1 : 1;
    return 0;
}
