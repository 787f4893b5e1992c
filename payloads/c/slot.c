/* See slot.h. Every block of instructions leaves no capability behind in a register: what compiled code does next could pass it
 * on. */

#include "slot.h"

#ifndef __CHERI_PURE_CAPABILITY__

#include "instructions.h"

/* Most slots of a local area: as many as the YAML file's `local:` can say. */
#define PLACES 256
#define PLACES_OF_WORD 64

static int is_aligned(const struct cvm_slot *slot) { return (uintptr_t)slot % sizeof *slot == 0; }

/* Whether so many slots lie in the local area. */
static int is_local(const struct cvm_slot *slot, unsigned count) {
    const struct cvm_start_block *block = cvm_start_block();
    uint64_t offset = (uintptr_t)slot - block->local, size = count * sizeof *slot;
    return is_aligned(slot) && block->local_size >= size && offset <= block->local_size - size;
}

/* Address of the capability over the local area. */
static uint64_t local_authority(void) { return (uintptr_t)cvm_start_block() + cvm_start_block()->local_slot; }

struct cvm_shape cvm_slot_shape(const struct cvm_slot *slot) {
    struct cvm_shape shape = {0};
    uint64_t permissions, seal;
    if (!is_aligned(slot))
        return shape;
#if defined(__riscv)
    register const void *t1 __asm__("t1") = slot;
    register uint64_t t2 __asm__("t2");
    register uint64_t t3 __asm__("t3");
    register uint64_t t4 __asm__("t4");
    register uint64_t t5 __asm__("t5");
    register uint64_t t6 __asm__("t6");
    register uint64_t t0 __asm__("t0");
    __asm__ volatile(LC(t1, 0, t1) CGET(t2, t1, TAG) CGET(t3, t1, SEALED) CGET(t4, t1, PERM) CGET(t5, t1, BASE)
                         CGET(t6, t1, LEN) CGET(t0, t1, ADDR) "li t1, 0"
                     : "+r"(t1), "=r"(t2), "=r"(t3), "=r"(t4), "=r"(t5), "=r"(t6), "=r"(t0)
                     :
                     : "memory");
    shape.tagged = t2 != 0, seal = t3, permissions = t4, shape.base = t5, shape.size = t6, shape.address = t0;
    shape.loads = permissions >> 2 & 1, shape.stores = permissions >> 3 & 1, shape.local = !(permissions & 1);
#else
    register const void *x9 __asm__("x9") = slot;
    register uint64_t x10 __asm__("x10");
    register uint64_t x11 __asm__("x11");
    register uint64_t x12 __asm__("x12");
    register uint64_t x13 __asm__("x13");
    register uint64_t x14 __asm__("x14");
    register uint64_t x15 __asm__("x15");
    __asm__ volatile(LDR_C(9, 0, 9) GCTAG(10, 9) GCTYPE(11, 9) GCPERM(12, 9) GCBASE(13, 9) GCLEN(14, 9) GCVALUE(15, 9)
                     "mov x9, xzr"
                     : "+r"(x9), "=r"(x10), "=r"(x11), "=r"(x12), "=r"(x13), "=r"(x14), "=r"(x15)
                     :
                     : "memory");
    shape.tagged = x10 != 0, seal = x11, permissions = x12, shape.base = x13, shape.size = x14, shape.address = x15;
    shape.loads = permissions >> 17 & 1, shape.stores = permissions >> 16 & 1, shape.local = !(permissions & 1);
#endif
    shape.usable = shape.tagged && seal == 0;
    return shape;
}

void cvm_slot_set(struct cvm_slot *slot, uint64_t value) {
    volatile uint64_t *words = slot->words;
    words[0] = value;
    words[1] = 0;
}

/* What integers reach: lowest address and bytes of DDC, and what the processor adds to an integer. */
static void reach(uint64_t *base, uint64_t *size, uint64_t *added) {
#if defined(__riscv)
    register uint64_t t1 __asm__("t1");
    register uint64_t t2 __asm__("t2");
    register uint64_t t3 __asm__("t3");
    register uint64_t t4 __asm__("t4");
    /* ISAv8 counts from PCC's base, and from DDC's address, which is the same. */
    __asm__ volatile("auipc t2, 0\n\t" CSPECIALR(t3, PCC) CGET(t3, t3, ADDR) "addi t3, t3, -4\n\t"
                     "sub t3, t3, t2\n\t" CSPECIALR(t1, DDC) CGET(t4, t1, BASE) CGET(t2, t1, LEN) "li t1, 0"
                     : "=r"(t1), "=r"(t2), "=r"(t3), "=r"(t4));
    *base = t4, *size = t2, *added = t3;
#else
    register uint64_t x9 __asm__("x9");
    register uint64_t x10 __asm__("x10");
    register uint64_t x11 __asm__("x11");
    __asm__ volatile(MRS_DDC(9) GCBASE(10, 9) GCLEN(11, 9) "mov x9, xzr" : "=r"(x9), "=r"(x10), "=r"(x11));
    *base = x10, *size = x11, *added = 0;
#endif
}

int64_t cvm_slot_derive(struct cvm_slot *slot, const void *bytes, size_t length, int written) {
    uint64_t base, size, added;
    if (!is_aligned(slot))
        return -CVM_EINVAL;
    reach(&base, &size, &added);
    uint64_t address = (uintptr_t)bytes + added;
    if (length > size || address < base || address - base > size - length)
        return -CVM_EFAULT;
#if defined(__riscv)
    register uint64_t t0 __asm__("t0") = address;
    register uint64_t t1 __asm__("t1");
    register uint64_t t4 __asm__("t4") = length;
    register uint64_t t5 __asm__("t5") = written ? 0xd : 0x5; /* Global, Load, Store */
    register void *t6 __asm__("t6") = slot;
    __asm__ volatile(CSPECIALR(t1, DDC) CSETADDR(t1, t1, t0) CSETBOUNDS(t1, t1, t4) CANDPERM(t1, t1, t5) SC(t1, 0, t6)
                     "li t1, 0"
                     : "=r"(t1)
                     : "r"(t0), "r"(t4), "r"(t5), "r"(t6)
                     : "memory");
#else
    register uint64_t x9 __asm__("x9");
    register uint64_t x10 __asm__("x10") = address;
    register uint64_t x11 __asm__("x11") = length;
    register uint64_t x12 __asm__("x12") = written ? 0xfffe : 0x1fffe; /* all but Global, Load, Store */
    register void *x13 __asm__("x13") = slot;
    __asm__ volatile(MRS_DDC(9) SCVALUE(9, 9, 10) SCBNDS(9, 9, 11) CLRPERM(9, 9, 12) STR_C(9, 0, 13) "mov x9, xzr"
                     : "=r"(x9)
                     : "r"(x10), "r"(x11), "r"(x12), "r"(x13)
                     : "memory");
#endif
    struct cvm_shape shape = cvm_slot_shape(slot);
    if (shape.usable && shape.base == address && shape.size == length)
        return 0;
    cvm_slot_set(slot, 0); /* it would cover what was not asked for */
    return -CVM_EINVAL;
}

int64_t cvm_slot_copy(struct cvm_slot *to, const struct cvm_slot *from) {
    if (!is_aligned(to) || !is_aligned(from))
        return -CVM_EINVAL;
    struct cvm_shape shape = cvm_slot_shape(from);
    int into = is_local(to, 1);
    if (shape.tagged && shape.local && !into)
        return -CVM_EPERM;
    uint64_t authority = local_authority(), offset = (uintptr_t)to - cvm_start_block()->local;
#if defined(__riscv)
    register const void *t3 __asm__("t3") = from;
    register uint64_t t1 __asm__("t1") = authority;
    register uint64_t t2 __asm__("t2") = offset;
    register void *t4 __asm__("t4") = to;
    if (into)
        __asm__ volatile(LC(t3, 0, t3) LC(t1, 0, t1) CINCOFFSET(t1, t1, t2) SC_CAP(t3, t1) "li t1, 0\n\tli t3, 0"
                         : "+r"(t1), "+r"(t3)
                         : "r"(t2)
                         : "memory");
    else
        __asm__ volatile(LC(t3, 0, t3) SC(t3, 0, t4) "li t3, 0" : "+r"(t3) : "r"(t4) : "memory");
#else
    register const void *x11 __asm__("x11") = from;
    register uint64_t x9 __asm__("x9") = authority;
    register uint64_t x10 __asm__("x10") = offset;
    register void *x12 __asm__("x12") = to;
    if (into)
        __asm__ volatile(LDR_C(11, 0, 11) LDR_C(9, 0, 9) ADD_C_X(9, 9, 10) STR_C_CAP(11, 0, 9) "mov x9, xzr\n\tmov x11, xzr"
                         : "+r"(x9), "+r"(x11)
                         : "r"(x10)
                         : "memory");
    else
        __asm__ volatile(LDR_C(11, 0, 11) STR_C(11, 0, 12) "mov x11, xzr" : "+r"(x11) : "r"(x12) : "memory");
#endif
    return 0;
}

/* Where the bytes at an offset are, or 0 when the capability does not cover them and allow it. */
static int covers(const struct cvm_slot *slot, int stores, size_t offset, size_t length, uint64_t *address) {
    struct cvm_shape shape = cvm_slot_shape(slot);
    *address = shape.base + offset;
    return shape.usable && (stores ? shape.stores : shape.loads) && offset <= shape.size && length <= shape.size - offset;
}

/* Where the processor loads and stores by words only at multiples of their size, both sides have to be some. Without a branch
 * back into compiled code, no other way out than the end. */
static void copy_in(const struct cvm_slot *slot, uint64_t address, void *bytes, size_t length) {
#if defined(__riscv)
    register const void *t1 __asm__("t1") = slot;
    register uint64_t t2 __asm__("t2") = address;
    register void *t3 __asm__("t3") = bytes;
    register uint64_t t4 __asm__("t4") = length;
    register uint64_t t0 __asm__("t0");
    __asm__ volatile(LC(t1, 0, t1) CSETADDR(t1, t1, t2) "or t2, t2, t3\n\t"
                     "andi t2, t2, 7\n\t"
                     "bnez t2, 3f\n\t"
                     "li t0, 32\n"
                     "2:\tbltu t4, t0, 3f\n\t" LD_CAP(t2, t1) CINCOFFSETIMM(t1, t1, 8) "sd t2, 0(t3)\n\t"
                     LD_CAP(t2, t1) CINCOFFSETIMM(t1, t1, 8) "sd t2, 8(t3)\n\t"
                     LD_CAP(t2, t1) CINCOFFSETIMM(t1, t1, 8) "sd t2, 16(t3)\n\t"
                     LD_CAP(t2, t1) CINCOFFSETIMM(t1, t1, 8) "sd t2, 24(t3)\n\t"
                     "addi t3, t3, 32\n\t"
                     "addi t4, t4, -32\n\t"
                     "j 2b\n"
                     "3:\tbeqz t4, 4f\n\t" LBU_CAP(t2, t1) CINCOFFSETIMM(t1, t1, 1) "sb t2, 0(t3)\n\t"
                     "addi t3, t3, 1\n\t"
                     "addi t4, t4, -1\n\t"
                     "j 3b\n"
                     "4:\tli t1, 0"
                     : "+r"(t1), "+r"(t2), "+r"(t3), "+r"(t4), "=r"(t0)
                     :
                     : "memory");
#else
    register const void *x9 __asm__("x9") = slot;
    register uint64_t x10 __asm__("x10") = address;
    register void *x11 __asm__("x11") = bytes;
    register uint64_t x12 __asm__("x12") = length;
    register uint64_t x13 __asm__("x13");
    register uint64_t x14 __asm__("x14");
    register uint64_t x15 __asm__("x15");
    register uint64_t x16 __asm__("x16");
    __asm__ volatile(LDR_C(9, 0, 9) SCVALUE(9, 9, 10) "2:\tcmp x12, #32\n\t"
                     "b.lo 3f\n\t" LDRX_CAP(13, 0, 9) LDRX_CAP(14, 8, 9) LDRX_CAP(15, 16, 9) LDRX_CAP(16, 24, 9)
                     ADD_C(9, 9, 32) "stp x13, x14, [x11], #16\n\t"
                     "stp x15, x16, [x11], #16\n\t"
                     "sub x12, x12, #32\n\t"
                     "b 2b\n"
                     "3:\tcbz x12, 4f\n\t" LDRB_CAP(13, 9) ADD_C(9, 9, 1) "strb w13, [x11], #1\n\t"
                     "sub x12, x12, #1\n\t"
                     "b 3b\n"
                     "4:\tmov x9, xzr"
                     : "+r"(x9), "+r"(x10), "+r"(x11), "+r"(x12), "=r"(x13), "=r"(x14), "=r"(x15), "=r"(x16)
                     :
                     : "memory", "cc");
#endif
}

static void copy_out(const struct cvm_slot *slot, uint64_t address, const void *bytes, size_t length) {
#if defined(__riscv)
    register const void *t1 __asm__("t1") = slot;
    register uint64_t t2 __asm__("t2") = address;
    register const void *t3 __asm__("t3") = bytes;
    register uint64_t t4 __asm__("t4") = length;
    register uint64_t t0 __asm__("t0");
    __asm__ volatile(LC(t1, 0, t1) CSETADDR(t1, t1, t2) "or t2, t2, t3\n\t"
                     "andi t2, t2, 7\n\t"
                     "bnez t2, 3f\n\t"
                     "li t0, 32\n"
                     "2:\tbltu t4, t0, 3f\n\t"
                     "ld t2, 0(t3)\n\t" SD_CAP(t2, t1) CINCOFFSETIMM(t1, t1, 8)
                     "ld t2, 8(t3)\n\t" SD_CAP(t2, t1) CINCOFFSETIMM(t1, t1, 8)
                     "ld t2, 16(t3)\n\t" SD_CAP(t2, t1) CINCOFFSETIMM(t1, t1, 8)
                     "ld t2, 24(t3)\n\t" SD_CAP(t2, t1) CINCOFFSETIMM(t1, t1, 8)
                     "addi t3, t3, 32\n\t"
                     "addi t4, t4, -32\n\t"
                     "j 2b\n"
                     "3:\tbeqz t4, 4f\n\t"
                     "lbu t2, 0(t3)\n\t" SB_CAP(t2, t1) CINCOFFSETIMM(t1, t1, 1) "addi t3, t3, 1\n\t"
                     "addi t4, t4, -1\n\t"
                     "j 3b\n"
                     "4:\tli t1, 0"
                     : "+r"(t1), "+r"(t2), "+r"(t3), "+r"(t4), "=r"(t0)
                     :
                     : "memory");
#else
    register const void *x9 __asm__("x9") = slot;
    register uint64_t x10 __asm__("x10") = address;
    register const void *x11 __asm__("x11") = bytes;
    register uint64_t x12 __asm__("x12") = length;
    register uint64_t x13 __asm__("x13");
    register uint64_t x14 __asm__("x14");
    register uint64_t x15 __asm__("x15");
    register uint64_t x16 __asm__("x16");
    __asm__ volatile(LDR_C(9, 0, 9) SCVALUE(9, 9, 10) "2:\tcmp x12, #32\n\t"
                     "b.lo 3f\n\t"
                     "ldp x13, x14, [x11], #16\n\t"
                     "ldp x15, x16, [x11], #16\n\t" STRX_CAP(13, 0, 9) STRX_CAP(14, 8, 9) STRX_CAP(15, 16, 9)
                     STRX_CAP(16, 24, 9) ADD_C(9, 9, 32) "sub x12, x12, #32\n\t"
                     "b 2b\n"
                     "3:\tcbz x12, 4f\n\t"
                     "ldrb w13, [x11], #1\n\t" STRB_CAP(13, 9) ADD_C(9, 9, 1) "sub x12, x12, #1\n\t"
                     "b 3b\n"
                     "4:\tmov x9, xzr"
                     : "+r"(x9), "+r"(x10), "+r"(x11), "+r"(x12), "=r"(x13), "=r"(x14), "=r"(x15), "=r"(x16)
                     :
                     : "memory", "cc");
#endif
}

int64_t cvm_slot_read(const struct cvm_slot *slot, size_t offset, void *bytes, size_t length) {
    uint64_t address;
    if (!covers(slot, 0, offset, length, &address))
        return -CVM_EFAULT;
    copy_in(slot, address, bytes, length);
    return 0;
}

int64_t cvm_slot_write(const struct cvm_slot *slot, size_t offset, const void *bytes, size_t length) {
    uint64_t address;
    if (!covers(slot, 1, offset, length, &address))
        return -CVM_EFAULT;
    copy_out(slot, address, bytes, length);
    return 0;
}

int64_t cvm_slot_load(const struct cvm_slot *slot, size_t offset, uint32_t *word) {
    uint64_t address;
    if (!covers(slot, 0, offset, sizeof *word, &address))
        return -CVM_EFAULT;
    if (address % sizeof *word != 0)
        return -CVM_EINVAL;
#if defined(__riscv)
    register const void *t1 __asm__("t1") = slot;
    register uint64_t t2 __asm__("t2") = address;
    __asm__ volatile(LC(t1, 0, t1) CSETADDR(t1, t1, t2) LW_CAP(t2, t1) "li t1, 0" : "+r"(t1), "+r"(t2) : : "memory");
    *word = (uint32_t)t2;
#else
    register const void *x9 __asm__("x9") = slot;
    register uint64_t x10 __asm__("x10") = address;
    __asm__ volatile(LDR_C(9, 0, 9) SCVALUE(9, 9, 10) LDRW_CAP(10, 9) "mov x9, xzr" : "+r"(x9), "+r"(x10) : : "memory");
    *word = (uint32_t)x10;
#endif
    return 0;
}

int64_t cvm_slot_store(const struct cvm_slot *slot, size_t offset, uint32_t word) {
    uint64_t address;
    if (!covers(slot, 1, offset, sizeof word, &address))
        return -CVM_EFAULT;
    if (address % sizeof word != 0)
        return -CVM_EINVAL;
#if defined(__riscv)
    register const void *t1 __asm__("t1") = slot;
    register uint64_t t2 __asm__("t2") = address;
    register uint64_t t3 __asm__("t3") = word;
    __asm__ volatile(LC(t1, 0, t1) CSETADDR(t1, t1, t2) SW_CAP(t3, t1) "li t1, 0" : "+r"(t1) : "r"(t2), "r"(t3) : "memory");
#else
    register const void *x9 __asm__("x9") = slot;
    register uint64_t x10 __asm__("x10") = address;
    register uint64_t x11 __asm__("x11") = word;
    __asm__ volatile(LDR_C(9, 0, 9) SCVALUE(9, 9, 10) STRW_CAP(11, 9) "mov x9, xzr"
                     : "+r"(x9)
                     : "r"(x10), "r"(x11)
                     : "memory");
#endif
    return 0;
}

int64_t cvm_hostcall_local(uint64_t number, uint64_t first, uint64_t argument, struct cvm_slot *place, int both,
                           uint64_t *second) {
    if (!is_local(place, both ? 2 : 1))
        return -CVM_EINVAL;
    uint64_t offset = (uintptr_t)place - cvm_start_block()->local, authority = local_authority();
#if defined(__riscv)
    register uint64_t a0 __asm__("a0") = first;
    register uint64_t a1 __asm__("a1") = argument;
    register uint64_t a7 __asm__("a7") = number;
    register uint64_t t1 __asm__("t1") = authority;
    register uint64_t t2 __asm__("t2") = offset;
    register uint64_t t3 __asm__("t3") = (uint64_t)both;
    __asm__ volatile("ecall\n\t" LC(t1, 0, t1) CINCOFFSET(t1, t1, t2) SC_CAP(a0, t1) "beqz t3, 1f\n\t"
                     CINCOFFSETIMM(t1, t1, 16) SC_CAP(a1, t1) "1:\tli t1, 0\n\t"
                     "mv a0, a0\n\t"
                     "mv a1, a1"
                     : "+r"(a0), "+r"(a1), "+r"(t1)
                     : "r"(a7), "r"(t2), "r"(t3)
                     : "memory");
    *second = a1;
    return (int64_t)a0;
#else
    register uint64_t x0 __asm__("x0") = first;
    register uint64_t x1 __asm__("x1") = argument;
    register uint64_t x8 __asm__("x8") = number;
    register uint64_t x9 __asm__("x9") = authority;
    register uint64_t x10 __asm__("x10") = offset;
    register uint64_t x11 __asm__("x11") = (uint64_t)both;
    __asm__ volatile("svc #0\n\t" LDR_C(9, 0, 9) ADD_C_X(9, 9, 10) STR_C_CAP(0, 0, 9) "cbz x11, 1f\n\t"
                     STR_C_CAP(1, 16, 9) "1:\tmov x9, xzr\n\t"
                     "mov x0, x0\n\t"
                     "mov x1, x1"
                     : "+r"(x0), "+r"(x1), "+r"(x9)
                     : "r"(x8), "r"(x10), "r"(x11)
                     : "memory");
    *second = x1;
    return (int64_t)x0;
#endif
}

int64_t cvm_capfile_slot(const char *name, size_t length, struct cvm_slot *slot) {
    if (!is_aligned(slot))
        return -CVM_EINVAL;
    if (!is_local(slot, 1))
        return -CVM_EPERM;
    uint64_t size;
    int64_t first = cvm_hostcall_local(CVM_CAPFILE, (uintptr_t)name, length, slot, 0, &size);
    if (cvm_slot_shape(slot).usable)
        return (int64_t)size;
    cvm_slot_set(slot, 0);
    return first < 0 ? first : -CVM_EIO;
}

/* Which places are taken, a bit each. */
static uint64_t taken[PLACES / PLACES_OF_WORD];

struct cvm_slot *cvm_local_take(unsigned count) {
    uint64_t places = cvm_start_block()->local_size / sizeof(struct cvm_slot);
    if (count == 0 || count > PLACES_OF_WORD)
        return NULL;
    uint64_t run = UINT64_MAX >> (PLACES_OF_WORD - count);
    for (uint64_t first = 0; first < places && first < PLACES; first += PLACES_OF_WORD) {
        uint64_t *word = &taken[first / PLACES_OF_WORD];
        uint64_t here = places - first < PLACES_OF_WORD ? places - first : PLACES_OF_WORD;
        uint64_t now = __atomic_load_n(word, __ATOMIC_RELAXED);
        for (uint64_t bit = 0; bit + count <= here;) {
            if (now & run << bit)
                bit++;
            else if (__atomic_compare_exchange_n(word, &now, now | run << bit, 1, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
                return (struct cvm_slot *)(uintptr_t)cvm_start_block()->local + first + bit;
            else
                bit = 0;
        }
    }
    return NULL;
}

void cvm_local_give(struct cvm_slot *first, unsigned count) {
    for (unsigned index = 0; index < count; index++)
        cvm_slot_set(first + index, 0);
    uint64_t place = (uint64_t)(first - (struct cvm_slot *)(uintptr_t)cvm_start_block()->local);
    uint64_t run = UINT64_MAX >> (PLACES_OF_WORD - count);
    __atomic_fetch_and(&taken[place / PLACES_OF_WORD], ~(run << place % PLACES_OF_WORD), __ATOMIC_RELEASE);
}

int64_t cvm_buffer_map(struct cvm_buffer *buffer, int64_t number, uint64_t rights) {
    struct cvm_slot *place = cvm_local_take(1);
    buffer->slot = NULL, buffer->size = 0;
    if (place == NULL)
        return -CVM_ENOMEM;
    int64_t first = cvm_hostcall_local(CVM_BUFFER_MAP, (uint64_t)number, rights, place, 0, &buffer->size);
    /* A capability is no error, whatever its address looks like. */
    if (cvm_slot_shape(place).usable) {
        buffer->slot = place;
        return 0;
    }
    cvm_local_give(place, 1);
    buffer->size = 0;
    return first < 0 ? first : -CVM_EIO;
}

int64_t cvm_buffer_open(struct cvm_buffer *buffer, const char *name, size_t length, uint64_t rights) {
    int64_t number = cvm_buffer_find(name, length);
    buffer->slot = NULL, buffer->size = 0;
    return number < 0 ? number : cvm_buffer_map(buffer, number, rights);
}

void cvm_buffer_unmap(struct cvm_buffer *buffer) {
    if (buffer->slot != NULL)
        cvm_local_give(buffer->slot, 1);
    buffer->slot = NULL, buffer->size = 0;
}

/* A hostcall whose argument 0 is the buffer's capability, moved to an offset. */
static int64_t call_with(uint64_t number, const struct cvm_buffer *buffer, size_t offset, uint64_t second, uint64_t third) {
    if (buffer->slot == NULL)
        return -CVM_EFAULT;
    struct cvm_shape shape = cvm_slot_shape(buffer->slot);
    if (!shape.usable || offset > shape.size)
        return -CVM_EFAULT;
#if defined(__riscv)
    register const void *a0 __asm__("a0") = buffer->slot;
    register uint64_t a1 __asm__("a1") = second;
    register uint64_t a2 __asm__("a2") = third;
    register uint64_t a7 __asm__("a7") = number;
    register uint64_t t1 __asm__("t1") = shape.base + offset;
    __asm__ volatile(LC(a0, 0, a0) CSETADDR(a0, a0, t1) "ecall"
                     : "+r"(a0)
                     : "r"(a1), "r"(a2), "r"(a7), "r"(t1)
                     : "memory");
    return (int64_t)a0;
#else
    register const void *x0 __asm__("x0") = buffer->slot;
    register uint64_t x1 __asm__("x1") = second;
    register uint64_t x2 __asm__("x2") = third;
    register uint64_t x8 __asm__("x8") = number;
    register uint64_t x9 __asm__("x9") = shape.base + offset;
    __asm__ volatile(LDR_C(0, 0, 0) SCVALUE(0, 0, 9) "svc #0"
                     : "+r"(x0)
                     : "r"(x1), "r"(x2), "r"(x8), "r"(x9)
                     : "memory");
    return (int64_t)x0;
#endif
}

int64_t cvm_buffer_wait(const struct cvm_buffer *buffer, size_t offset, uint32_t expected, uint64_t timeout) {
    return call_with(CVM_WAIT, buffer, offset, expected, timeout);
}

int64_t cvm_buffer_wake(const struct cvm_buffer *buffer, size_t offset, uint64_t count) {
    return call_with(CVM_WAKE, buffer, offset, count, 0);
}

#endif
