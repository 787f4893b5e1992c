/* The hostcalls of a cVM in C, for hybrid and purecap programs on CHERI-RISC-V and Morello.
 *
 * docs/hostcalls.md is the reference: what each call does, its errors, and what a server may expect. A call that fails returns
 * a negative error number. */

#ifndef INTRAVISOR_H
#define INTRAVISOR_H

#include <stddef.h>
#include <stdint.h>

/* Numbers of the hostcalls. */
enum {
    CVM_NULL = 0,
    CVM_EXIT = 1,
    CVM_YIELD = 2,
    CVM_WRITE = 3,
    CVM_READ = 4,
    CVM_NANOSLEEP = 5,
    CVM_CLOCK = 6,
    CVM_ARGUMENTS = 7,
    CVM_INFO = 8,
    CVM_HEAP = 9,
    CVM_CAPFILE = 10,
    CVM_SERVE = 11,
    CVM_REPLY = 12,
    CVM_DELEGATE = 13,
    CVM_THREAD_CREATE = 14,
    CVM_THREAD_EXIT = 15,
    CVM_THREAD_SELF = 16,
    CVM_THREAD_PRIORITY = 17,
    CVM_THREAD_END = 18,
    CVM_WAIT = 19,
    CVM_WAKE = 20,
    CVM_DEFER = 21,
    CVM_ANSWER = 22,
    CVM_BUFFER_FIND = 23,
    CVM_BUFFER_CREATE = 24,
    CVM_BUFFER_MAP = 25,
    CVM_BUFFER_GRANT = 26,
    CVM_BUFFER_REVOKE = 27,
    CVM_BUFFER_DESTROY = 28,
    CVM_DEVICE_INFO = 29,
    CVM_DEVICE_CONFIG = 30,
    CVM_DEVICE_START = 31,
    CVM_DEVICE_SUBMIT = 32,
    CVM_DEVICE_TAKE = 33,
    CVM_DEVICE_WAIT = 34,
    CVM_DEVICE_RESET = 35,
    CVM_CLONE = 36,
    CVM_WALL_CLOCK = 37,
    CVM_GATE = 38,
    CVM_HOLDING = 39,
    CVM_TEXT = 40,
    CVM_REGISTERS = 41,
    CVM_SEIZE = 42,
};

/* Error numbers, as negative results. */
enum {
    CVM_EPERM = 1,
    CVM_ENOENT = 2,
    CVM_ESRCH = 3,
    CVM_EIO = 5,
    CVM_E2BIG = 7,
    CVM_EBADF = 9,
    CVM_EAGAIN = 11,
    CVM_ENOMEM = 12,
    CVM_EFAULT = 14,
    CVM_EINVAL = 22,
    CVM_ENOSYS = 38,
    CVM_ECONNRESET = 104,
    CVM_ETIMEDOUT = 110,
    CVM_ECONNREFUSED = 111,
};

#define CVM_READ_NONBLOCKING 1
#define CVM_WAIT_FOREVER UINT64_MAX
#define CVM_TRANSFER_LIMIT 4096
#define CVM_BUFFER_READ 1
#define CVM_BUFFER_WRITE 2
#define CVM_BUFFER_ALL UINT64_MAX

/* What a cVM finds at its start. Offsets count from the start of the block. */
struct cvm_start_block {
    char magic[8];              /* "cVMstart" */
    uint32_t version;           /* 1 */
    uint32_t size;              /* bytes of the whole block */
    uint32_t id;                /* number of the cVM */
    uint32_t name;              /* offset of its name */
    uint32_t argument_count;    /* argument 0 is the runtime's name */
    uint32_t arguments;         /* offset of the first; the others follow, each ends with a NUL */
    uint32_t environment_count;
    uint32_t environment;       /* offset of the first, KEY=value */
    uint64_t base;              /* lowest address of the memory */
    uint64_t memory_size;
    uint64_t heap;              /* an address; in a purecap program only cvm_heap() gives the authority */
    uint64_t heap_size;
    uint64_t stack;
    uint64_t stack_size;
    uint64_t local;             /* the local area: the only memory that takes local capabilities */
    uint64_t local_size;        /* 0 = there is none */
    uint64_t local_slot;        /* offset of the capability over it */
    uint64_t counter_frequency; /* ticks a second of the counter that every cVM can read */
    uint64_t counter_start;     /* what it showed when the monitor started */
};

/* What info() tells. */
struct cvm_info {
    uint32_t id;
    uint32_t restarts;
    uint32_t priority;
    uint32_t last_fault;
    uint64_t base;
    uint64_t size;
    uint64_t run_time;          /* nanoseconds */
    uint64_t hostcalls;
    uint8_t program[32];        /* SHA-256 of its program, when the monitor was booted to measure */
};

/* What holding() tells of one thing. */
struct cvm_holding {
    uint32_t kind;              /* CVM_HOLDING_BUFFER, … */
    uint32_t cvm;               /* number of the cVM that it is of; UINT32_MAX = none */
    uint64_t number;            /* the buffer's, the gate's place among those of its cVM, the device's among its driver's */
    uint64_t size;              /* bytes, where it is memory */
    uint64_t rights;            /* CVM_BUFFER_READ, CVM_BUFFER_WRITE */
    uint64_t held;              /* capabilities that reach it, calls under way, or requests in flight */
};

/* Kinds of things. */
enum {
    CVM_HOLDING_BUFFER = 1,
    CVM_HOLDING_PASSED = 2,
    CVM_HOLDING_LENT = 3,
    CVM_HOLDING_OFFERED = 4,
    CVM_HOLDING_CALLED = 5,
    CVM_HOLDING_DEVICE = 6,
};

_Static_assert(sizeof(struct cvm_start_block) == 128, "layout of the start block");
_Static_assert(sizeof(struct cvm_info) == 80, "layout of the information record");
_Static_assert(sizeof(struct cvm_holding) == 40, "layout of the holding record");

/* An argument or a result: in a purecap program a capability or an integer, otherwise an integer. */
typedef uintptr_t cvm_word;

/* Both result registers. */
struct cvm_result {
    cvm_word first;
    cvm_word second;
};

/* Any hostcall. */
static inline struct cvm_result cvm_hostcall(uint64_t number, cvm_word first, cvm_word second, cvm_word third,
                                             cvm_word fourth, cvm_word fifth, cvm_word sixth) {
#if defined(__riscv) && defined(__CHERI_PURE_CAPABILITY__)
    register cvm_word a0 __asm__("ca0") = first;
    register cvm_word a1 __asm__("ca1") = second;
    register cvm_word a2 __asm__("ca2") = third;
    register cvm_word a3 __asm__("ca3") = fourth;
    register cvm_word a4 __asm__("ca4") = fifth;
    register cvm_word a5 __asm__("ca5") = sixth;
    register uint64_t a7 __asm__("a7") = number;
    __asm__ volatile("ecall" : "+C"(a0), "+C"(a1) : "C"(a2), "C"(a3), "C"(a4), "C"(a5), "r"(a7) : "memory");
    return (struct cvm_result){a0, a1};
#elif defined(__riscv)
    register cvm_word a0 __asm__("a0") = first;
    register cvm_word a1 __asm__("a1") = second;
    register cvm_word a2 __asm__("a2") = third;
    register cvm_word a3 __asm__("a3") = fourth;
    register cvm_word a4 __asm__("a4") = fifth;
    register cvm_word a5 __asm__("a5") = sixth;
    register uint64_t a7 __asm__("a7") = number;
    __asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a3), "r"(a4), "r"(a5), "r"(a7) : "memory");
    return (struct cvm_result){a0, a1};
#elif defined(__aarch64__) && defined(__CHERI_PURE_CAPABILITY__)
    register cvm_word c0 __asm__("c0") = first;
    register cvm_word c1 __asm__("c1") = second;
    register cvm_word c2 __asm__("c2") = third;
    register cvm_word c3 __asm__("c3") = fourth;
    register cvm_word c4 __asm__("c4") = fifth;
    register cvm_word c5 __asm__("c5") = sixth;
    register uint64_t x8 __asm__("x8") = number;
    __asm__ volatile("svc #0" : "+C"(c0), "+C"(c1) : "C"(c2), "C"(c3), "C"(c4), "C"(c5), "r"(x8) : "memory");
    return (struct cvm_result){c0, c1};
#elif defined(__aarch64__)
    register cvm_word x0 __asm__("x0") = first;
    register cvm_word x1 __asm__("x1") = second;
    register cvm_word x2 __asm__("x2") = third;
    register cvm_word x3 __asm__("x3") = fourth;
    register cvm_word x4 __asm__("x4") = fifth;
    register cvm_word x5 __asm__("x5") = sixth;
    register uint64_t x8 __asm__("x8") = number;
    __asm__ volatile("svc #0" : "+r"(x0), "+r"(x1) : "r"(x2), "r"(x3), "r"(x4), "r"(x5), "r"(x8) : "memory");
    return (struct cvm_result){x0, x1};
#else
#error "a cVM runs on RISC-V or AArch64"
#endif
}

static inline int64_t cvm_call(uint64_t number, cvm_word first, cvm_word second, cvm_word third, cvm_word fourth) {
    return (int64_t)cvm_hostcall(number, first, second, third, fourth, 0, 0).first;
}

static inline int64_t cvm_null(void) { return cvm_call(CVM_NULL, 0, 0, 0, 0); }

_Noreturn static inline void cvm_exit(int code) {
    for (;;)
        cvm_call(CVM_EXIT, (cvm_word)(int64_t)code, 0, 0, 0);
}

static inline void cvm_yield(void) { cvm_call(CVM_YIELD, 0, 0, 0, 0); }

/* Bytes written, at most CVM_TRANSFER_LIMIT. Streams 1 and 2 are the console. */
static inline int64_t cvm_write(int stream, const void *bytes, size_t length) {
    return cvm_call(CVM_WRITE, (cvm_word)stream, (cvm_word)bytes, length, 0);
}

/* Bytes read, 0 at the end of input. Stream 0 is the console. */
static inline int64_t cvm_read(int stream, void *bytes, size_t length, uint64_t flags) {
    return cvm_call(CVM_READ, (cvm_word)stream, (cvm_word)bytes, length, flags);
}

static inline int64_t cvm_nanosleep(uint64_t nanoseconds) { return cvm_call(CVM_NANOSLEEP, nanoseconds, 0, 0, 0); }

/* Nanoseconds since the monitor started. */
static inline uint64_t cvm_clock(void) { return (uint64_t)cvm_call(CVM_CLOCK, 0, 0, 0, 0); }

/* Nanoseconds since 1970 (UTC), or -CVM_ENOENT when the machine has no such clock. */
static inline int64_t cvm_wall_clock(void) { return cvm_call(CVM_WALL_CLOCK, 0, 0, 0, 0); }

/* The start block of this cVM. */
const struct cvm_start_block *cvm_start_block(void);

/* The value of an entry of the environment; NULL = there is none. */
const char *cvm_environment(const char *key);

static inline int64_t cvm_arguments(void *bytes, size_t length) {
    return cvm_call(CVM_ARGUMENTS, (cvm_word)bytes, length, 0, 0);
}

static inline int64_t cvm_info(struct cvm_info *info) {
    return cvm_call(CVM_INFO, (cvm_word)info, sizeof *info, 0, 0);
}

/* One of the things that a cVM, this one or one within it, has beside its own memory; index counts them from 0. -CVM_ENOENT when
 * it has no more. */
static inline int64_t cvm_holding(struct cvm_holding *holding, uint64_t cvm, uint64_t index) {
    return cvm_call(CVM_HOLDING, (cvm_word)holding, sizeof *holding, cvm, index);
}

/* Waits for a wake of the aligned *word while it holds expected; 0, -CVM_EAGAIN when it holds something else, or -CVM_ETIMEDOUT
 * after so many nanoseconds. */
static inline int64_t cvm_wait(const uint32_t *word, uint32_t expected, uint64_t timeout) {
    return cvm_call(CVM_WAIT, (cvm_word)word, expected, timeout, 0);
}

/* Wakes up to count of those that wait for *word, 64 in one call at most; how many. */
static inline int64_t cvm_wake(const uint32_t *word, uint64_t count) {
    return cvm_call(CVM_WAKE, (cvm_word)word, count, 0, 0);
}

/* The number of the calling thread in its cVM: 0 is the main thread. */
static inline uint64_t cvm_thread_self(void) { return (uint64_t)cvm_call(CVM_THREAD_SELF, 0, 0, 0, 0); }

/* Starts a thread at entry, with these in its stack pointer, its thread pointer and its first argument register, all others null;
 * its number. pthread.h does the rest. */
static inline int64_t cvm_thread_create(cvm_word entry, cvm_word stack, cvm_word thread_pointer, cvm_word argument,
                                        uint64_t priority) {
    return (int64_t)cvm_hostcall(CVM_THREAD_CREATE, entry, stack, thread_pointer, argument, priority, 0).first;
}

/* Ends the calling thread. When nothing of it is left, *word becomes 0 and those that wait for it wake; NULL = nobody waits. */
_Noreturn static inline void cvm_thread_exit(const uint32_t *word) {
    for (;;)
        cvm_call(CVM_THREAD_EXIT, (cvm_word)word, word != NULL, 0, 0);
}

/* Sets the priority of a thread of this cVM; ends another one where it is. */
static inline int64_t cvm_thread_priority(uint64_t id, uint64_t priority) {
    return cvm_call(CVM_THREAD_PRIORITY, id, priority, 0, 0);
}
static inline int64_t cvm_thread_end(uint64_t id) { return cvm_call(CVM_THREAD_END, id, 0, 0, 0); }

/* In a handler: the call is answered later, by cvm_answer; the token for that. The handler ends by cvm_reply all the same. */
static inline int64_t cvm_defer(void) { return cvm_call(CVM_DEFER, 0, 0, 0, 0); }

/* Ends a deferred call, from any thread of the server; -CVM_ENOENT when nobody waits for it any more. */
static inline int64_t cvm_answer(int64_t token, int64_t value) {
    return cvm_call(CVM_ANSWER, (cvm_word)token, (cvm_word)value, 0, 0);
}

/* The number of the manifest's buffer of this name. */
static inline int64_t cvm_buffer_find(const char *name, size_t length) {
    return cvm_call(CVM_BUFFER_FIND, (cvm_word)name, length, 0, 0);
}

/* Makes a buffer of the quota; its number. */
static inline int64_t cvm_buffer_create(size_t bytes) { return cvm_call(CVM_BUFFER_CREATE, bytes, 0, 0, 0); }

/* Lets the cVM of this number do so with a buffer. */
static inline int64_t cvm_buffer_grant(int64_t number, uint64_t cvm, uint64_t rights) {
    return cvm_call(CVM_BUFFER_GRANT, (cvm_word)number, cvm, rights, 0);
}

/* Takes a buffer back, from one cVM or from all others (CVM_BUFFER_ALL). */
static inline int64_t cvm_buffer_revoke(int64_t number, uint64_t cvm) {
    return cvm_call(CVM_BUFFER_REVOKE, (cvm_word)number, cvm, 0, 0);
}

/* Takes a buffer that this cVM has made back from all, and its memory. */
static inline int64_t cvm_buffer_destroy(int64_t number) {
    return cvm_call(CVM_BUFFER_DESTROY, (cvm_word)number, 0, 0, 0);
}

/* Rests and lets CVM_HANDLER serve the hostcalls of the cVMs that name this one; 0 when all of them have ended. */
static inline int64_t cvm_serve(void) { return cvm_call(CVM_SERVE, 0, 0, 0, 0); }

/* In a handler: answers the call. */
_Noreturn static inline void cvm_reply(int64_t value) {
    for (;;)
        cvm_call(CVM_REPLY, (cvm_word)value, 0, 0, 0);
}

/* In a handler: answers the call with a second value as well. */
_Noreturn static inline void cvm_reply_both(int64_t value, uint64_t second) {
    for (;;)
        cvm_call(CVM_REPLY, (cvm_word)value, second, 1, 0);
}

/* In a handler: the monitor, or this cVM's own server, serves the call. */
_Noreturn static inline void cvm_delegate(void) {
    for (;;)
        cvm_call(CVM_DELEGATE, 0, 0, 0, 0);
}

/* Makes the function that follows the handler of a server:
 *
 *     CVM_HANDLER(first, second, third, fourth, fifth, sixth, caller, number) {
 *         cvm_delegate();
 *     }
 *
 * In a purecap server an argument is a capability where the caller passed one, or where the monitor made one for the buffer of a hybrid
 * caller; in a hybrid server all are integers, and the capabilities stay behind in the argument registers, out of the compiler's sight. It
 * ends by cvm_reply, cvm_reply_both or cvm_delegate. */
#define CVM_HANDLER(first, second, third, fourth, fifth, sixth, caller, number)                                                 \
    CVM_HANDLER_ENTRY void CVM_HANDLER_NAME(cvm_word first, cvm_word second, cvm_word third, cvm_word fourth, cvm_word fifth,  \
                                            cvm_word sixth, uint64_t caller, uint64_t number)

#if defined(__riscv) && !defined(__CHERI_PURE_CAPABILITY__)
/* FROM: the monitor. LIVE: the arguments, sp = top of the service stack. The global pointer is this program's to set, as at its start. */
#define CVM_HANDLER_NAME cvm_handle
#define CVM_HANDLER_ENTRY                                                                                                       \
    __asm__(".pushsection .text.syscall_handler, \"ax\", @progbits\n"                                                          \
            ".globl syscall_handler\n"                                                                                          \
            ".type syscall_handler, @function\n"                                                                                \
            "syscall_handler:\n"                                                                                                \
            ".option push\n"                                                                                                    \
            ".option norelax\n"                                                                                                 \
            "\tlla gp, __global_pointer$\n"                                                                                     \
            ".option pop\n"                                                                                                     \
            "\ttail cvm_handle\n"                                                                                               \
            ".size syscall_handler, . - syscall_handler\n"                                                                      \
            ".popsection\n");                                                                                                   \
    _Noreturn static void cvm_handle(cvm_word, cvm_word, cvm_word, cvm_word, cvm_word, cvm_word, uint64_t, uint64_t);           \
    __attribute__((used)) _Noreturn static
#else
#define CVM_HANDLER_NAME syscall_handler
#define CVM_HANDLER_ENTRY                                                                                                       \
    _Noreturn void syscall_handler(cvm_word, cvm_word, cvm_word, cvm_word, cvm_word, cvm_word, uint64_t, uint64_t);             \
    _Noreturn
#endif

#ifdef __CHERI_PURE_CAPABILITY__

/* The heap, or an error as a small negative integer without a tag; its size goes to *size. */
static inline void *cvm_heap(size_t *size) {
    struct cvm_result result = cvm_hostcall(CVM_HEAP, 0, 0, 0, 0, 0, 0);
    *size = (size_t)result.second;
    return (void *)result.first;
}

/* A capfile, as cvm_heap. The capability is local: registers take it, and the local area, and no other memory. */
static inline void *cvm_capfile(const char *name, size_t length, size_t *size) {
    struct cvm_result result = cvm_hostcall(CVM_CAPFILE, (cvm_word)name, length, 0, 0, 0, 0);
    *size = (size_t)result.second;
    return (void *)result.first;
}

#endif

#endif
