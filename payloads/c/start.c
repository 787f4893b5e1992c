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

#ifndef __CHERI_PURE_CAPABILITY__

struct cvm_slot *cvm_local_slot(size_t index) {
    if (index >= start_block->local_size / sizeof(struct cvm_slot))
        return NULL;
    return (struct cvm_slot *)start_block->local + index;
}

int64_t cvm_capfile_slot(const char *name, size_t length, struct cvm_slot *slot) {
    int64_t first, second;
    /* The capability over the local area, moved to the slot, stores there: DDC may not. */
    uint64_t offset = (uint64_t)slot - start_block->local;
    const void *local = (const char *)start_block + start_block->local_slot;
#if defined(__riscv)
    register uint64_t a0 __asm__("a0") = (uint64_t)name;
    register uint64_t a1 __asm__("a1") = length;
    register uint64_t a7 __asm__("a7") = CVM_CAPFILE;
    register const void *t1 __asm__("t1") = local;
    register uint64_t t2 __asm__("t2") = offset;
    /* LC ct1, 0(t1); CIncOffset ct1, ct1, t2; SC.CAP ca0, (ct1) */
    __asm__ volatile("ecall\n\t.insn i 0x0f, 2, t1, 0(t1)\n\t"
                     ".insn r 0x5b, 0, 0x11, t1, t1, t2\n\t"
                     ".insn r 0x5b, 0, 0x7c, x12, t1, a0\n\tli t1, 0"
                     : "+r"(a0), "+r"(a1), "+r"(t1)
                     : "r"(a7), "r"(t2)
                     : "memory");
    first = (int64_t)a0;
    second = (int64_t)a1;
#else
    register uint64_t x0 __asm__("x0") = (uint64_t)name;
    register uint64_t x1 __asm__("x1") = length;
    register uint64_t x8 __asm__("x8") = CVM_CAPFILE;
    register const void *x9 __asm__("x9") = local;
    register uint64_t x10 __asm__("x10") = offset;
    /* LDR c9, [x9]; ADD c9, c9, x10; STR c0, [c9] */
    __asm__ volatile("svc #0\n\t.inst 0xc2400129\n\t.inst 0xc2aa6129\n\t.inst 0x82400120\n\tmov x9, xzr"
                     : "+r"(x0), "+r"(x1), "+r"(x9)
                     : "r"(x8), "r"(x10)
                     : "memory");
    first = (int64_t)x0;
    second = (int64_t)x1;
#endif
    return first < 0 ? first : second;
}

int64_t cvm_slot_read(const struct cvm_slot *slot, size_t offset, void *bytes, size_t length) {
    uint64_t tag, base, size;
#if defined(__riscv)
    register const void *t1 __asm__("t1") = slot;
    register uint64_t t2 __asm__("t2");
    register uint64_t t3 __asm__("t3");
    register uint64_t t4 __asm__("t4");
    /* LC ct1, 0(t1); CGetTag t2, ct1; CGetBase t3, ct1; CGetLen t4, ct1 */
    __asm__ volatile(".insn i 0x0f, 2, t1, 0(t1)\n\t"
                     ".insn r 0x5b, 0, 0x7f, t2, t1, x4\n\t"
                     ".insn r 0x5b, 0, 0x7f, t3, t1, x2\n\t"
                     ".insn r 0x5b, 0, 0x7f, t4, t1, x3"
                     : "+r"(t1), "=r"(t2), "=r"(t3), "=r"(t4)
                     :
                     : "memory");
    tag = t2, base = t3, size = t4;
#else
    register const void *x9 __asm__("x9") = slot;
    register uint64_t x10 __asm__("x10");
    register uint64_t x11 __asm__("x11");
    register uint64_t x12 __asm__("x12");
    /* LDR c9, [x9]; GCTAG x10, c9; GCBASE x11, c9; GCLEN x12, c9 */
    __asm__ volatile(".inst 0xc2400129\n\t.inst 0xc2c0912a\n\t.inst 0xc2c0112b\n\t.inst 0xc2c0312c"
                     : "+r"(x9), "=r"(x10), "=r"(x11), "=r"(x12)
                     :
                     : "memory");
    tag = x10, base = x11, size = x12;
#endif
    if (!tag || offset > size || length > size - offset)
        return -CVM_EFAULT;
    for (size_t index = 0; index < length; index++) {
#if defined(__riscv)
        register const void *place __asm__("t1") = slot;
        register uint64_t byte __asm__("t2") = base + offset + index;
        /* LC ct1, 0(t1); CSetAddr ct1, ct1, t2; LBU.CAP t2, (ct1) */
        __asm__ volatile(".insn i 0x0f, 2, t1, 0(t1)\n\t"
                         ".insn r 0x5b, 0, 0x10, t1, t1, t2\n\t"
                         ".insn r 0x5b, 0, 0x7d, t2, t1, x12"
                         : "+r"(place), "+r"(byte)
                         :
                         : "memory");
#else
        register const void *place __asm__("x9") = slot;
        register uint64_t byte __asm__("x10") = base + offset + index;
        /* LDR c9, [x9]; SCVALUE c9, c9, x10; LDRB w10, [c9] */
        __asm__ volatile(".inst 0xc2400129\n\t.inst 0xc2ca4129\n\t.inst 0x8260052a"
                         : "+r"(place), "+r"(byte)
                         :
                         : "memory");
#endif
        ((unsigned char *)bytes)[index] = (unsigned char)byte;
    }
    return 0;
}

#endif
