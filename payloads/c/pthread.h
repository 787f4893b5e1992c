/* Threads for hybrid programs in C: of POSIX threads what most programs use, by the same names, over the monitor's hostcalls. Link with
 * pthread.c, by linker/cvm.ld; `threads:` in the YAML file says how many there can be, the main thread included.
 *
 * A lock that is free, or a once that is done, costs no hostcall. _Thread_local works. Functions return 0 or an error number, which is positive.
 * Stacks are CVM_THREAD_STACK bytes, CVM_THREAD_STACKS of them in all (both can be said when pthread.c is compiled), unless
 * pthread_attr_setstack gives another. The clock of pthread_cond_timedwait is cvm_clock(). Of a gate's function and of CVM_HANDLER only
 * locks, conditions and onces are any use: they run with the main thread's storage, or with none, and what stops them leaves a lock locked.
 *
 * Left out: cancellation, read-write locks, barriers, scheduling, and locks that know their owner. */

#ifndef INTRAVISOR_PTHREAD_H
#define INTRAVISOR_PTHREAD_H

#include "intravisor.h"

#ifndef __CHERI_PURE_CAPABILITY__

/* Error numbers that no hostcall returns. */
enum {
    CVM_EBUSY = 16,
    CVM_EDEADLK = 35,
};

#define PTHREAD_KEYS_MAX 16
#define PTHREAD_DESTRUCTOR_ITERATIONS 4
/* Least bytes of a stack, thread-local storage besides. */
#define PTHREAD_STACK_MIN 2048

typedef struct cvm_pthread *pthread_t;

typedef struct {
    void *stack;                /* NULL = one of those of pthread.c */
    size_t size;
    int detached;
} pthread_attr_t;

#define PTHREAD_CREATE_JOINABLE 0
#define PTHREAD_CREATE_DETACHED 1

#ifndef CVM_TIMESPEC
#define CVM_TIMESPEC
struct timespec {
    int64_t tv_sec;
    long tv_nsec;
};
#endif

int pthread_attr_init(pthread_attr_t *attributes);
int pthread_attr_destroy(pthread_attr_t *attributes);
int pthread_attr_setdetachstate(pthread_attr_t *attributes, int state);

/* CVM_EINVAL for a stack that is too small, not aligned to 16 bytes, or that wraps. It is used until the thread was joined. */
int pthread_attr_setstack(pthread_attr_t *attributes, void *stack, size_t size);

/* CVM_EAGAIN when there are no more threads, or stacks. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument);
int pthread_join(pthread_t thread, void **result);
int pthread_detach(pthread_t thread);
pthread_t pthread_self(void);
static inline int pthread_equal(pthread_t one, pthread_t other) { return one == other; }

/* In the main thread: waits until all others have ended, and ends the program with 0. */
_Noreturn void pthread_exit(void *result);

typedef struct {
    uint32_t state;
} pthread_mutex_t;
typedef int pthread_mutexattr_t;

#define PTHREAD_MUTEX_INITIALIZER {0}

int pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes);
int pthread_mutex_destroy(pthread_mutex_t *mutex);
int pthread_mutex_lock(pthread_mutex_t *mutex);
int pthread_mutex_trylock(pthread_mutex_t *mutex);
int pthread_mutex_unlock(pthread_mutex_t *mutex);

typedef struct {
    uint32_t notices;
} pthread_cond_t;
typedef int pthread_condattr_t;

#define PTHREAD_COND_INITIALIZER {0}

int pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes);
int pthread_cond_destroy(pthread_cond_t *condition);
int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex);
int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until);
int pthread_cond_signal(pthread_cond_t *condition);
int pthread_cond_broadcast(pthread_cond_t *condition);

typedef struct {
    uint32_t state;
} pthread_once_t;

#define PTHREAD_ONCE_INIT {0}

int pthread_once(pthread_once_t *once, void (*body)(void));

typedef unsigned pthread_key_t;

int pthread_key_create(pthread_key_t *key, void (*destructor)(void *));
int pthread_key_delete(pthread_key_t key);
void *pthread_getspecific(pthread_key_t key);
int pthread_setspecific(pthread_key_t key, const void *value);

#endif

#endif
