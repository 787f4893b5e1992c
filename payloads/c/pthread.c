/* See pthread.h. Locks and conditions are words that threads wait for (Drepper, Futexes are tricky). */

#include "pthread.h"

#ifndef __CHERI_PURE_CAPABILITY__

#ifndef CVM_THREAD_STACK
#define CVM_THREAD_STACK 16384
#endif
#ifndef CVM_THREAD_STACKS
#define CVM_THREAD_STACKS 8
#endif

#define STACK_ALIGNMENT 16
#define NANOSECONDS 1000000000
/* Longest wait that a hostcall takes. */
#define LONGEST INT64_MAX

#if defined(__riscv)
#define THREAD_CONTROL_BLOCK 0
#else
#define THREAD_CONTROL_BLOCK 16
#endif

enum { JOINABLE, DETACHED, JOINED };

/* What is known of a thread; it lies above its stack, below its thread-local storage. */
struct cvm_pthread {
    uint32_t running;           /* 0 when nothing of it is left: the monitor says so */
    uint32_t state;
    void *(*body)(void *);
    void *argument;
    void *result;
    const void *values[PTHREAD_KEYS_MAX];
    uint32_t made[PTHREAD_KEYS_MAX]; /* by which key of that number; see `keys` */
};

/* What linker/cvm.ld says of thread-local storage: distance from here to its initialised part, bytes of that, bytes of all of it,
 * alignment. */
extern const struct {
    int64_t image;
    uint64_t file_size;
    uint64_t memory_size;
    uint64_t alignment;
} rt_thread_local;

static struct cvm_pthread main_thread = {.running = 1};
static _Thread_local struct cvm_pthread *self_or_null;

static pthread_mutex_t pool = PTHREAD_MUTEX_INITIALIZER;
static _Alignas(STACK_ALIGNMENT) unsigned char stacks[CVM_THREAD_STACKS][CVM_THREAD_STACK];
static struct cvm_pthread *owners[CVM_THREAD_STACKS];

/* Threads that have begun and not ended yet, besides the main thread. */
static uint32_t alive;

/* Keys that there are: 0 = none of this number, else how many there have been, so that no value is another key's. */
static struct {
    uint32_t made;
    uint32_t live;
    void (*destructor)(void *);
} keys[PTHREAD_KEYS_MAX];
static pthread_mutex_t keys_lock = PTHREAD_MUTEX_INITIALIZER;

/* --- Locks and conditions --- */

enum { FREE, LOCKED, CONTENDED };

int pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes) {
    if (attributes != NULL)
        return CVM_EINVAL;
    mutex->state = FREE;
    return 0;
}

int pthread_mutex_destroy(pthread_mutex_t *mutex) {
    return __atomic_load_n(&mutex->state, __ATOMIC_RELAXED) == FREE ? 0 : CVM_EBUSY;
}

int pthread_mutex_trylock(pthread_mutex_t *mutex) {
    uint32_t expected = FREE;
    return __atomic_compare_exchange_n(&mutex->state, &expected, LOCKED, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED) ? 0 : CVM_EBUSY;
}

int pthread_mutex_lock(pthread_mutex_t *mutex) {
    if (pthread_mutex_trylock(mutex) == 0)
        return 0;
    /* Whoever wakes cannot know whether others still wait: it takes the lock as contended. */
    while (__atomic_exchange_n(&mutex->state, CONTENDED, __ATOMIC_ACQUIRE) != FREE) {
        int64_t error = cvm_wait(&mutex->state, CONTENDED, CVM_WAIT_FOREVER);
        if (error != 0 && error != -CVM_EAGAIN)
            return (int)-error;
    }
    return 0;
}

int pthread_mutex_unlock(pthread_mutex_t *mutex) {
    if (__atomic_exchange_n(&mutex->state, FREE, __ATOMIC_RELEASE) == CONTENDED)
        cvm_wake(&mutex->state, 1);
    return 0;
}

int pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes) {
    if (attributes != NULL)
        return CVM_EINVAL;
    condition->notices = 0;
    return 0;
}

int pthread_cond_destroy(pthread_cond_t *condition) {
    (void)condition;
    return 0;
}

/* Gives the lock back, waits for a notice, and takes the lock again. A notice between the two changes the word. */
static int wait_for_notice(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t timeout) {
    uint32_t notices = __atomic_load_n(&condition->notices, __ATOMIC_RELAXED);
    pthread_mutex_unlock(mutex);
    int64_t error = cvm_wait(&condition->notices, notices, timeout);
    int locked = pthread_mutex_lock(mutex);
    return error == 0 || error == -CVM_EAGAIN ? locked : (int)-error;
}

int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex) {
    return wait_for_notice(condition, mutex, CVM_WAIT_FOREVER);
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    if (until->tv_nsec < 0 || until->tv_nsec >= NANOSECONDS)
        return CVM_EINVAL;
    uint64_t end = 0;
    if (until->tv_sec >= LONGEST / NANOSECONDS)
        end = LONGEST;
    else if (until->tv_sec >= 0)
        end = (uint64_t)until->tv_sec * NANOSECONDS + (uint64_t)until->tv_nsec;
    uint64_t now = cvm_clock();
    return wait_for_notice(condition, mutex, end > now ? end - now : 0);
}

int pthread_cond_signal(pthread_cond_t *condition) {
    __atomic_fetch_add(&condition->notices, 1, __ATOMIC_RELAXED);
    cvm_wake(&condition->notices, 1);
    return 0;
}

int pthread_cond_broadcast(pthread_cond_t *condition) {
    __atomic_fetch_add(&condition->notices, 1, __ATOMIC_RELAXED);
    /* A call wakes no more than so many. */
    while (cvm_wake(&condition->notices, UINT64_MAX) >= 64)
        ;
    return 0;
}

enum { NOT_YET, RUNNING, AWAITED, DONE };

int pthread_once(pthread_once_t *once, void (*body)(void)) {
    for (;;) {
        uint32_t state = NOT_YET;
        if (__atomic_load_n(&once->state, __ATOMIC_ACQUIRE) == DONE)
            return 0;
        if (__atomic_compare_exchange_n(&once->state, &state, RUNNING, 0, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)) {
            body();
            if (__atomic_exchange_n(&once->state, DONE, __ATOMIC_RELEASE) == AWAITED)
                while (cvm_wake(&once->state, UINT64_MAX) >= 64)
                    ;
            return 0;
        }
        if (state == RUNNING)
            __atomic_compare_exchange_n(&once->state, &state, AWAITED, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
        if (state != DONE)
            cvm_wait(&once->state, AWAITED, CVM_WAIT_FOREVER);
    }
}

/* --- Values of a thread --- */

pthread_t pthread_self(void) { return self_or_null != NULL ? self_or_null : &main_thread; }

int pthread_key_create(pthread_key_t *key, void (*destructor)(void *)) {
    int error = CVM_EAGAIN;
    pthread_mutex_lock(&keys_lock);
    for (pthread_key_t number = 0; error != 0 && number < PTHREAD_KEYS_MAX; number++) {
        if (keys[number].live)
            continue;
        keys[number].live = 1;
        keys[number].destructor = destructor;
        __atomic_fetch_add(&keys[number].made, 1, __ATOMIC_RELEASE);
        *key = number;
        error = 0;
    }
    pthread_mutex_unlock(&keys_lock);
    return error;
}

int pthread_key_delete(pthread_key_t key) {
    pthread_mutex_lock(&keys_lock);
    int error = key < PTHREAD_KEYS_MAX && keys[key].live ? 0 : CVM_EINVAL;
    if (error == 0) {
        keys[key].live = 0;
        keys[key].destructor = NULL;
    }
    pthread_mutex_unlock(&keys_lock);
    return error;
}

void *pthread_getspecific(pthread_key_t key) {
    struct cvm_pthread *self = pthread_self();
    if (key >= PTHREAD_KEYS_MAX || self->made[key] != __atomic_load_n(&keys[key].made, __ATOMIC_ACQUIRE))
        return NULL;
    return (void *)(uintptr_t)self->values[key];
}

int pthread_setspecific(pthread_key_t key, const void *value) {
    struct cvm_pthread *self = pthread_self();
    if (key >= PTHREAD_KEYS_MAX || !__atomic_load_n(&keys[key].live, __ATOMIC_RELAXED))
        return CVM_EINVAL;
    self->values[key] = value;
    self->made[key] = __atomic_load_n(&keys[key].made, __ATOMIC_ACQUIRE);
    return 0;
}

/* Ends the values of a thread. A destructor may set others. */
static void end_values(void) {
    for (int round = 0; round < PTHREAD_DESTRUCTOR_ITERATIONS; round++) {
        int left = 0;
        for (pthread_key_t key = 0; key < PTHREAD_KEYS_MAX; key++) {
            void *value = pthread_getspecific(key);
            pthread_mutex_lock(&keys_lock);
            void (*destructor)(void *) = keys[key].live ? keys[key].destructor : NULL;
            pthread_mutex_unlock(&keys_lock);
            if (value == NULL || destructor == NULL)
                continue;
            pthread_self()->values[key] = NULL;
            destructor(value);
            left = 1;
        }
        if (!left)
            return;
    }
}

/* --- Threads --- */

int pthread_attr_init(pthread_attr_t *attributes) {
    *attributes = (pthread_attr_t){NULL, 0, PTHREAD_CREATE_JOINABLE};
    return 0;
}

int pthread_attr_destroy(pthread_attr_t *attributes) {
    (void)attributes;
    return 0;
}

int pthread_attr_setdetachstate(pthread_attr_t *attributes, int state) {
    if (state != PTHREAD_CREATE_JOINABLE && state != PTHREAD_CREATE_DETACHED)
        return CVM_EINVAL;
    attributes->detached = state;
    return 0;
}

int pthread_attr_setstack(pthread_attr_t *attributes, void *stack, size_t size) {
    if (stack == NULL || (uintptr_t)stack % STACK_ALIGNMENT != 0 || size < PTHREAD_STACK_MIN ||
        size > UINTPTR_MAX - (uintptr_t)stack)
        return CVM_EINVAL;
    attributes->stack = stack;
    attributes->size = size;
    return 0;
}

/* Makes the thread-local storage and the record of a thread at the end of its stack; its thread pointer goes to *pointer. NULL when there
 * is no room for a stack below. */
static struct cvm_pthread *place(unsigned char *stack, size_t size, uintptr_t *pointer) {
    uint64_t alignment = rt_thread_local.alignment > STACK_ALIGNMENT ? rt_thread_local.alignment : STACK_ALIGNMENT;
    uint64_t own = rt_thread_local.alignment > 1 ? rt_thread_local.alignment : 1;
    uint64_t offset = (THREAD_CONTROL_BLOCK + own - 1) & -own;
    uint64_t needed = offset + rt_thread_local.memory_size;
    if (needed > size || size - needed < alignment + sizeof(struct cvm_pthread) + PTHREAD_STACK_MIN / 2)
        return NULL;
    unsigned char *storage = (unsigned char *)(((uintptr_t)stack + size - needed) & -alignment);
    unsigned char *at = storage + offset;
    const unsigned char *image = (const unsigned char *)&rt_thread_local + rt_thread_local.image;
    for (unsigned char *byte = storage; byte < at; byte++)
        *byte = 0;
    for (uint64_t index = 0; index < rt_thread_local.memory_size; index++)
        at[index] = index < rt_thread_local.file_size ? image[index] : 0;
    struct cvm_pthread *thread =
        (struct cvm_pthread *)(((uintptr_t)storage - sizeof(struct cvm_pthread)) & -(uintptr_t)STACK_ALIGNMENT);
    *thread = (struct cvm_pthread){0};
    *pointer = (uintptr_t)storage;
    return thread;
}

static int has_ended(const struct cvm_pthread *thread) { return __atomic_load_n(&thread->running, __ATOMIC_ACQUIRE) == 0; }

/* A stack of the pool that nobody is on; those of threads that nobody waits for are free when these have ended. */
static int take_stack(void) {
    for (int index = 0; index < CVM_THREAD_STACKS; index++) {
        struct cvm_pthread *owner = owners[index];
        if (owner == NULL || (__atomic_load_n(&owner->state, __ATOMIC_ACQUIRE) == DETACHED && has_ended(owner)))
            return index;
    }
    return -1;
}

/* FROM: the monitor, when a thread begins. LIVE: the first argument register = its record, sp = the top of its stack, the thread
 * pointer. A zero frame pointer ends a backtrace. */
void cvm_thread_entry(void);
#if defined(__riscv)
__asm__(".text\n"
        ".type cvm_thread_entry, @function\n"
        "cvm_thread_entry:\n"
        ".option push\n"
        ".option norelax\n"
        "\tlla gp, __global_pointer$\n"
        ".option pop\n"
        "\tli s0, 0\n"
        "\tli ra, 0\n"
        "\ttail cvm_thread_main\n"
        ".size cvm_thread_entry, . - cvm_thread_entry\n");
#else
__asm__(".text\n"
        ".type cvm_thread_entry, @function\n"
        "cvm_thread_entry:\n"
        "\tmov x29, xzr\n"
        "\tmov x30, xzr\n"
        "\tb cvm_thread_main\n"
        ".size cvm_thread_entry, . - cvm_thread_entry\n");
#endif

__attribute__((used)) _Noreturn static void cvm_thread_main(struct cvm_pthread *self) {
    self_or_null = self;
    pthread_exit(self->body(self->argument));
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument) {
    struct cvm_info info;
    int64_t error = cvm_info(&info);
    if (error < 0)
        return (int)-error;
    int own = attributes != NULL && attributes->stack != NULL, index = -1;
    pthread_mutex_lock(&pool);
    if (!own && (index = take_stack()) < 0) {
        pthread_mutex_unlock(&pool);
        return CVM_EAGAIN;
    }
    uintptr_t pointer;
    struct cvm_pthread *made = own ? place(attributes->stack, attributes->size, &pointer)
                                   : place(stacks[index], sizeof stacks[index], &pointer);
    if (made == NULL) {
        if (!own)
            owners[index] = NULL;
        pthread_mutex_unlock(&pool);
        return CVM_EINVAL;
    }
    made->running = 1;
    made->state = attributes != NULL && attributes->detached ? DETACHED : JOINABLE;
    made->body = body;
    made->argument = argument;
    if (!own)
        owners[index] = made;
    *thread = made;
    __atomic_fetch_add(&alive, 1, __ATOMIC_RELAXED);
    error = cvm_thread_create((uintptr_t)cvm_thread_entry, (uintptr_t)made, pointer, (uintptr_t)made, info.priority);
    if (error < 0) {
        __atomic_fetch_sub(&alive, 1, __ATOMIC_RELAXED);
        if (!own)
            owners[index] = NULL;
    }
    pthread_mutex_unlock(&pool);
    return error < 0 ? (int)-error : 0;
}

_Noreturn void pthread_exit(void *result) {
    struct cvm_pthread *self = pthread_self();
    end_values();
    self->result = result;
    if (self != &main_thread) {
        if (__atomic_sub_fetch(&alive, 1, __ATOMIC_RELEASE) == 0)
            cvm_wake(&alive, 1);
        cvm_thread_exit(&self->running);
    }
    uint32_t left;
    while ((left = __atomic_load_n(&alive, __ATOMIC_ACQUIRE)) != 0)
        cvm_wait(&alive, left, CVM_WAIT_FOREVER);
    cvm_exit(0);
}

int pthread_join(pthread_t thread, void **result) {
    uint32_t state = JOINABLE;
    if (thread == pthread_self())
        return CVM_EDEADLK;
    if (thread == &main_thread ||
        !__atomic_compare_exchange_n(&thread->state, &state, JOINED, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return CVM_EINVAL;
    while (!has_ended(thread)) {
        int64_t error = cvm_wait(&thread->running, 1, CVM_WAIT_FOREVER);
        if (error != 0 && error != -CVM_EAGAIN)
            return (int)-error;
    }
    if (result != NULL)
        *result = thread->result;
    pthread_mutex_lock(&pool);
    for (int index = 0; index < CVM_THREAD_STACKS; index++)
        if (owners[index] == thread)
            owners[index] = NULL;
    pthread_mutex_unlock(&pool);
    return 0;
}

int pthread_detach(pthread_t thread) {
    uint32_t state = JOINABLE;
    if (thread == &main_thread ||
        !__atomic_compare_exchange_n(&thread->state, &state, DETACHED, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        return CVM_EINVAL;
    return 0;
}

#endif
