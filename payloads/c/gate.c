/* See gate.h. */

#include "gate.h"

#ifndef __CHERI_PURE_CAPABILITY__

/* Slots of a token: a sealed pair on CHERI-RISC-V, one capability on Morello. */
#if defined(__riscv)
#define TOKEN 2
#else
#define TOKEN 1
#endif

int64_t cvm_gate_open(struct cvm_gate *gate, const char *name, size_t length) {
    struct cvm_slot *token = cvm_local_take(TOKEN);
    gate->token = NULL;
    if (token == NULL)
        return -CVM_ENOMEM;
    for (;;) {
        uint64_t second;
        int64_t first = cvm_hostcall_local(CVM_GATE, (uintptr_t)name, length, token, TOKEN == 2, &second);
        if (cvm_slot_shape(token).tagged) {
            gate->token = token;
            return 0;
        }
        /* 0: it has waited until the gates opened. */
        if (first != 0) {
            cvm_local_give(token, TOKEN);
            return first < 0 ? first : -CVM_EIO;
        }
    }
}

void cvm_gate_close(struct cvm_gate *gate) {
    if (gate->token != NULL)
        cvm_local_give(gate->token, TOKEN);
    gate->token = NULL;
}

/* What the other cVM, which may hold anything in its registers when it comes back, is said to change: with vector registers, where
 * this program has some, all of them, as a gate with `vector: yes` clears them. */
#if defined(__riscv_flen)
#define VECTORS                                                                                                                 \
    , "f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9", "f10", "f11", "f12", "f13", "f14", "f15", "f16", "f17",       \
        "f18", "f19", "f20", "f21", "f22", "f23", "f24", "f25", "f26", "f27", "f28", "f29", "f30", "f31"
#elif defined(__ARM_NEON)
#define VECTORS                                                                                                                 \
    , "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17",       \
        "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31"
#else
#define VECTORS
#endif

/* The call itself, with what lies in six slots. Stack, thread pointer, DDC and the registers that a function keeps are as before. */
static int64_t enter(const struct cvm_slot *token, const struct cvm_slot *const sources[CVM_GATE_ARGUMENTS]) {
#if defined(__riscv)
    register const void *t1 __asm__("t1") = sources;
    register const void *t3 __asm__("t3") = token;
    register int64_t a0 __asm__("a0");
    __asm__ volatile(".option push\n\t"
                     ".option norvc\n\t"
                     "ld a0, 0(t1)\n\t"
                     "ld a1, 8(t1)\n\t"
                     "ld a2, 16(t1)\n\t"
                     "ld a3, 24(t1)\n\t"
                     "ld a4, 32(t1)\n\t"
                     "ld a5, 40(t1)\n\t" LC(a0, 0, a0) LC(a1, 0, a1) LC(a2, 0, a2) LC(a3, 0, a3) LC(a4, 0, a4) LC(a5, 0, a5)
                     LC(t4, 16, t3) LC(t3, 0, t3) CSPECIALR(ra, PCC) CINCOFFSETIMM(ra, ra, 12) CINVOKE(t3, t4)
                     "li ra, 0\n\t"
                     "mv a0, a0\n\t"
                     "li a1, 0\n\t"
                     ".option pop"
                     : "+r"(t1), "+r"(t3), "=r"(a0)
                     :
                     : "memory", "ra", "t0", "t2", "t4", "t5", "t6", "a1", "a2", "a3", "a4", "a5", "a6", "a7" VECTORS);
    return a0;
#else
    register const void *x9 __asm__("x9") = sources;
    register const void *x10 __asm__("x10") = token;
    register int64_t x0 __asm__("x0");
    /* The branch takes the frame pointer. */
    __asm__ volatile("stp x29, x30, [sp, #-16]!\n\t"
                     "ldp x0, x1, [x9]\n\t"
                     "ldp x2, x3, [x9, #16]\n\t"
                     "ldp x4, x5, [x9, #32]\n\t" LDR_C(0, 0, 0) LDR_C(1, 0, 1) LDR_C(2, 0, 2) LDR_C(3, 0, 3) LDR_C(4, 0, 4)
                     LDR_C(5, 0, 5) LDR_C(10, 0, 10) LDPBLR(29, 10) "ldp x29, x30, [sp], #16\n\t"
                     "mov x0, x0\n\t"
                     "mov x1, xzr"
                     : "+r"(x9), "+r"(x10), "=r"(x0)
                     :
                     : "memory", "cc", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x11", "x12", "x13", "x14", "x15", "x16",
                       "x17", "x18", "x30" VECTORS);
    return x0;
#endif
}

int64_t cvm_gate_call(const struct cvm_gate *gate, const struct cvm_argument *arguments, size_t count) {
    struct cvm_slot slots[CVM_GATE_ARGUMENTS] = {0};
    const struct cvm_slot *sources[CVM_GATE_ARGUMENTS];
    if (gate->token == NULL || count > CVM_GATE_ARGUMENTS)
        return -CVM_EINVAL;
    for (size_t index = 0; index < CVM_GATE_ARGUMENTS; index++) {
        sources[index] = &slots[index];
        if (index >= count)
            continue;
        const struct cvm_argument *argument = &arguments[index];
        int64_t error = 0;
        switch (argument->kind) {
        case CVM_PASS_INTEGER:
            cvm_slot_set(&slots[index], argument->value);
            break;
        case CVM_PASS_READABLE:
        case CVM_PASS_WRITABLE:
            /* Of nothing there is nothing to point to. */
            if (argument->value != 0)
                error = cvm_slot_derive(&slots[index], argument->bytes, argument->value, argument->kind == CVM_PASS_WRITABLE);
            break;
        case CVM_PASS_SLOT:
            /* Foreign, and at home in the local area only: it is loaded from there. */
            if (argument->slot == NULL || !cvm_slot_shape(argument->slot).usable)
                error = -CVM_EFAULT;
            sources[index] = argument->slot;
            break;
        default:
            error = -CVM_EINVAL;
        }
        if (error != 0)
            return error;
    }
    return enter(gate->token, sources);
}

#endif
