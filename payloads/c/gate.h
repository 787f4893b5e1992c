/* Gates: functions of other cVMs, called without the monitor, and functions of this cVM that others call (docs/hostcalls.md, Gates).
 * For hybrid programs; link with gate.c and slot.c.
 *
 * A function that others call, which `gates:` in the YAML file names, and main opens by cvm_serve():
 *
 *     CVM_GATE(add, passed) {
 *         return (int64_t)(cvm_passed_integer(passed, 0) + cvm_passed_integer(passed, 1));
 *     }
 *
 * and the call:
 *
 *     struct cvm_gate add;
 *     int64_t error = cvm_gate_open(&add, "calculator.add", 14);
 *     int64_t sum = CVM_CALL_GATE(&add, cvm_integer(30), cvm_integer(12));
 *
 * What is passed as memory arrives as a capability over exactly that, for data only. It is not gone when the call is over: the other
 * cVM can keep it, in its registers and its local area, until this cVM ends. A buffer can be taken back. */

#ifndef INTRAVISOR_GATE_H
#define INTRAVISOR_GATE_H

#include "slot.h"

#ifndef __CHERI_PURE_CAPABILITY__

/* Arguments of a call at most. */
#define CVM_GATE_ARGUMENTS 6

/* A gate of another cVM. Its token lies in the local area: one slot on Morello, two on CHERI-RISC-V. */
struct cvm_gate {
    struct cvm_slot *token;
};

/* What is passed. */
struct cvm_argument {
    enum { CVM_PASS_INTEGER, CVM_PASS_READABLE, CVM_PASS_WRITABLE, CVM_PASS_SLOT } kind;
    uint64_t value;
    const void *bytes;
    const struct cvm_slot *slot;
};

/* An integer. */
static inline struct cvm_argument cvm_integer(uint64_t value) {
    return (struct cvm_argument){CVM_PASS_INTEGER, value, NULL, NULL};
}

/* Memory of this program, to be read; of length 0 it is nothing. */
static inline struct cvm_argument cvm_readable(const void *bytes, size_t length) {
    return (struct cvm_argument){CVM_PASS_READABLE, length, bytes, NULL};
}

/* Memory of this program, to be read and written. */
static inline struct cvm_argument cvm_writable(void *bytes, size_t length) {
    return (struct cvm_argument){CVM_PASS_WRITABLE, length, bytes, NULL};
}

/* A buffer, with what this cVM may do with it. */
static inline struct cvm_argument cvm_shared(const struct cvm_buffer *buffer) {
    return (struct cvm_argument){CVM_PASS_SLOT, 0, NULL, buffer->slot};
}

/* What was passed to this cVM's own function, on. It lives as long as the function. */
static inline struct cvm_argument cvm_foreign(const struct cvm_slot *slot) {
    return (struct cvm_argument){CVM_PASS_SLOT, 0, NULL, slot};
}

/* Finds the gate `cVM.function`, and waits until that cVM serves. 0, or an error of CVM_GATE; -CVM_ENOMEM when the local area has no
 * room for the token. */
int64_t cvm_gate_open(struct cvm_gate *gate, const char *name, size_t length);

/* Forgets the token. */
void cvm_gate_close(struct cvm_gate *gate);

/* Calls the function; its result. Errors are negative, the function's own and those of every gate (docs/hostcalls.md). Besides, and
 * nothing was called then: -CVM_EINVAL for a gate that is not open, for more than six arguments, or for memory that no capability
 * covers exactly (cvm_slot_derive); -CVM_EFAULT for memory that is not this program's, and for a buffer that was taken back. */
int64_t cvm_gate_call(const struct cvm_gate *gate, const struct cvm_argument *arguments, size_t count);

/* The same with the arguments themselves, one at least. */
#define CVM_CALL_GATE(gate, ...)                                                                                                \
    cvm_gate_call((gate), (const struct cvm_argument[]){__VA_ARGS__},                                                           \
                  sizeof((const struct cvm_argument[]){__VA_ARGS__}) / sizeof(struct cvm_argument))

/* What a function was called with. Whoever calls has chosen all of it: an integer may stand where memory is expected, memory may be
 * short, or not to be written. It is on the stack of the call, which is part of the local area, and gone with it. */
struct cvm_passed {
    struct cvm_slot arguments[CVM_GATE_ARGUMENTS];
    struct cvm_slot back[2]; /* the entry's */
};

/* An argument as an integer; of a capability, its address. */
static inline uint64_t cvm_passed_integer(const struct cvm_passed *passed, unsigned index) {
    return passed->arguments[index].words[0];
}

/* Bytes of memory that was passed; 0 when none was. */
static inline uint64_t cvm_passed_size(const struct cvm_passed *passed, unsigned index) {
    struct cvm_shape shape = cvm_slot_shape(&passed->arguments[index]);
    return shape.usable ? shape.size : 0;
}

/* Copies from an offset of memory that was passed, and to it; -CVM_EFAULT as cvm_slot_read. */
static inline int64_t cvm_passed_read(const struct cvm_passed *passed, unsigned index, size_t offset, void *bytes,
                                      size_t length) {
    return cvm_slot_read(&passed->arguments[index], offset, bytes, length);
}
static inline int64_t cvm_passed_write(const struct cvm_passed *passed, unsigned index, size_t offset, const void *bytes,
                                       size_t length) {
    return cvm_slot_write(&passed->arguments[index], offset, bytes, length);
}

/* Makes the function that follows a gate: it gets what was passed, and returns an int64_t, negative for an error. It runs in a thread
 * of its caller's, on a stack of its own, at the same time as main, this cVM's threads and other callers, and may be stopped
 * anywhere: locks that it holds stay locked. Thread-local variables are the main thread's. */
#define CVM_GATE(name, passed)                                                                                                  \
    __attribute__((used)) static int64_t cvm_gate_##name(const struct cvm_passed *);                                            \
    CVM_GATE_ENTRY(name)                                                                                                        \
    static int64_t cvm_gate_##name(const struct cvm_passed *passed)

#include "instructions.h"

#if defined(__riscv)

/* FROM: the switcher. LIVE: ca0-ca5 = the arguments, c1 and c7 = the way back, sp = top of the gate's stack below DDC, ct0 = the
 * capability over what of it takes local capabilities, at its top. All that comes is local but for integers: only this capability may
 * store it. The global pointer is this program's to set, as at its start. */
#define CVM_GATE_ENTRY(name)                                                                                                    \
    __asm__(".pushsection .text.cvm_gate." #name ", \"ax\", @progbits\n\t"                                                      \
            ".globl " #name "\n\t"                                                                                              \
            ".type " #name ", @function\n" #name ":\n\t"                                                                        \
            CINCOFFSETIMM(t0, t0, -128) SC_CAP(a0, t0)                                                                          \
            CINCOFFSETIMM(t0, t0, 16) SC_CAP(a1, t0)                                                                            \
            CINCOFFSETIMM(t0, t0, 16) SC_CAP(a2, t0)                                                                            \
            CINCOFFSETIMM(t0, t0, 16) SC_CAP(a3, t0)                                                                            \
            CINCOFFSETIMM(t0, t0, 16) SC_CAP(a4, t0)                                                                            \
            CINCOFFSETIMM(t0, t0, 16) SC_CAP(a5, t0)                                                                            \
            CINCOFFSETIMM(t0, t0, 16) SC_CAP(ra, t0)                                                                            \
            CINCOFFSETIMM(t0, t0, 16) SC_CAP(t2, t0)                                                                            \
            ".option push\n\t"                                                                                                  \
            ".option norelax\n\t"                                                                                               \
            "lla gp, __global_pointer$\n\t"                                                                                     \
            ".option pop\n\t"                                                                                                   \
            "addi sp, sp, -128\n\t"                                                                                             \
            "mv a0, sp\n\t"                                                                                                     \
            "li s0, 0\n\t"                                                                                                      \
            "call cvm_gate_" #name "\n\t"                                                                                       \
            LC(ra, 96, sp) LC(t2, 112, sp) "li a1, 0\n\t" CINVOKE(ra, t2)                                                       \
            ".size " #name ", . - " #name "\n\t"                                                                                \
            ".popsection");

#else

/* FROM: the switcher. LIVE: c0-c5 = the arguments, c30 = the way back, sp = top of the gate's stack, c9 = the capability over what of it
 * takes local capabilities, at its top. All that comes is local but for integers: only this capability may store it. */
#define CVM_GATE_ENTRY(name)                                                                                                    \
    __asm__(".pushsection .text.cvm_gate." #name ", \"ax\", @progbits\n\t"                                                      \
            ".globl " #name "\n\t"                                                                                              \
            ".type " #name ", @function\n" #name ":\n\t"                                                                        \
            SUB_C(9, 9, 128) STR_C_CAP(0, 0, 9) STR_C_CAP(1, 16, 9) STR_C_CAP(2, 32, 9) STR_C_CAP(3, 48, 9)                      \
            STR_C_CAP(4, 64, 9) STR_C_CAP(5, 80, 9) STR_C_CAP(30, 96, 9)                                                        \
            "sub sp, sp, #128\n\t"                                                                                              \
            "mov x0, sp\n\t"                                                                                                    \
            "mov x29, xzr\n\t"                                                                                                  \
            "bl cvm_gate_" #name "\n\t"                                                                                         \
            LDR_C(30, 96, 31) "mov x1, xzr\n\t" RET_C(30)                                                                       \
            ".size " #name ", . - " #name "\n\t"                                                                                \
            ".popsection");

#endif

#endif

#endif
