/* Threads, and what they share. Four of them at a time, the main thread included. The exit code is the line of the first wrong answer,
 * modulo 256, or 0. */

#include "pthread.h"

#define CHECK(condition)                                                                                                        \
    do {                                                                                                                        \
        if (!(condition))                                                                                                       \
            cvm_exit(__LINE__ % 256);                                                                                           \
    } while (0)

#define THREADS 3
#define ROUNDS 2000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static volatile uint64_t counter;
static int turn, inits, destroyed, begun, ended;
static pthread_key_t key;
static _Thread_local uint64_t own = 0x1234;
static _Thread_local uint64_t zero;
static _Thread_local _Alignas(64) unsigned char aligned[64];

static void *count(void *argument) {
    for (int round = 0; round < ROUNDS; round++) {
        CHECK(pthread_mutex_lock(&lock) == 0);
        uint64_t seen = counter;
        if (round % 64 == 0)
            cvm_yield();
        counter = seen + 1;
        CHECK(pthread_mutex_unlock(&lock) == 0);
    }
    return argument;
}

static void init(void) {
    cvm_nanosleep(1000000);
    inits++;
}

static void destroy(void *value) {
    __atomic_fetch_add(&destroyed, (int)(uintptr_t)value, __ATOMIC_RELAXED);
    /* Once more, which is to be ended as well. */
    if ((uintptr_t)value == 100)
        CHECK(pthread_setspecific(key, (void *)1) == 0);
}

static void *keep(void *argument) {
    CHECK(own == 0x1234 && zero == 0 && (uintptr_t)aligned % 64 == 0);
    CHECK(pthread_once(&once, init) == 0 && inits == 1);
    CHECK(pthread_getspecific(key) == NULL && pthread_setspecific(key, (void *)100) == 0);
    own = (uintptr_t)argument;
    zero = own + 1;
    cvm_yield();
    CHECK(own == (uintptr_t)argument && zero == own + 1 && pthread_getspecific(key) == (void *)100);
    pthread_exit((void *)(own * 2));
}

/* Takes turns with the others. */
static void *alternate(void *argument) {
    int number = (int)(uintptr_t)argument;
    for (int round = 0; round < 100; round++) {
        pthread_mutex_lock(&lock);
        while (turn % THREADS != number)
            CHECK(pthread_cond_wait(&changed, &lock) == 0);
        turn++;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static void *quick(void *argument) {
    __atomic_fetch_add(&begun, 1, __ATOMIC_RELAXED);
    return argument;
}

static void *myself(void *argument) {
    (void)argument;
    return (void *)(uintptr_t)(pthread_join(pthread_self(), NULL) == CVM_EDEADLK);
}

static void *late(void *argument) {
    (void)argument;
    cvm_nanosleep(3000000);
    ended = 1;
    cvm_write(1, "the last one\n", 13);
    return NULL;
}

static void all(void *(*body)(void *), void *(*expected)(uintptr_t)) {
    pthread_t threads[THREADS];
    void *result;
    for (uintptr_t index = 0; index < THREADS; index++)
        CHECK(pthread_create(&threads[index], NULL, body, (void *)index) == 0);
    for (uintptr_t index = 0; index < THREADS; index++) {
        CHECK(pthread_join(threads[index], &result) == 0 && result == expected(index));
    }
}

static void *same(uintptr_t index) { return (void *)index; }
static void *twice(uintptr_t index) { return (void *)(index * 2); }
static void *none(uintptr_t index) {
    (void)index;
    return NULL;
}

static _Alignas(16) unsigned char stack[8192];

int main(int argc, char **argv) {
    pthread_t thread, other, third;
    pthread_attr_t attributes;
    void *result;
    (void)argc, (void)argv;

    all(count, same);
    CHECK(counter == THREADS * ROUNDS);
    CHECK(pthread_mutex_trylock(&lock) == 0 && pthread_mutex_trylock(&lock) == CVM_EBUSY);
    CHECK(pthread_mutex_destroy(&lock) == CVM_EBUSY && pthread_mutex_unlock(&lock) == 0 && pthread_mutex_destroy(&lock) == 0);

    CHECK(pthread_key_create(&key, destroy) == 0);
    all(keep, twice);
    CHECK(inits == 1 && destroyed == THREADS * 101 && own == 0x1234 && zero == 0);
    CHECK(pthread_setspecific(key, (void *)5) == 0 && pthread_key_delete(key) == 0 && pthread_key_delete(key) == CVM_EINVAL);
    CHECK(pthread_setspecific(key, (void *)5) == CVM_EINVAL && pthread_setspecific(99, NULL) == CVM_EINVAL);
    /* A key of the same number is another one. */
    pthread_key_t again[PTHREAD_KEYS_MAX], more;
    for (size_t index = 0; index < PTHREAD_KEYS_MAX; index++)
        CHECK(pthread_key_create(&again[index], NULL) == 0 && pthread_getspecific(again[index]) == NULL);
    CHECK(pthread_key_create(&more, NULL) == CVM_EAGAIN);

    all(alternate, none);
    CHECK(turn == THREADS * 100);

    /* Nobody gives a notice. */
    struct timespec soon = {0, 0}, past = {-1, 0}, odd = {0, 1000000000}, far = {INT64_MAX, 999999999};
    uint64_t until = cvm_clock() + 2000000;
    soon.tv_sec = (int64_t)(until / 1000000000), soon.tv_nsec = (long)(until % 1000000000);
    pthread_mutex_lock(&lock);
    CHECK(pthread_cond_timedwait(&changed, &lock, &soon) == CVM_ETIMEDOUT && cvm_clock() >= until);
    CHECK(pthread_mutex_trylock(&lock) == CVM_EBUSY);
    CHECK(pthread_cond_timedwait(&changed, &lock, &past) == CVM_ETIMEDOUT);
    CHECK(pthread_cond_timedwait(&changed, &lock, &odd) == CVM_EINVAL);
    turn = 0;
    CHECK(pthread_create(&thread, NULL, alternate, (void *)0) == 0);
    while (turn != 1)
        CHECK(pthread_cond_timedwait(&changed, &lock, &far) == 0);
    pthread_mutex_unlock(&lock);
    /* It waits for a turn that comes when the others have had theirs. */
    CHECK(pthread_create(&other, NULL, alternate, (void *)1) == 0);
    CHECK(pthread_create(&third, NULL, alternate, (void *)2) == 0);
    CHECK(pthread_join(thread, NULL) == 0 && pthread_join(other, NULL) == 0 && pthread_join(third, NULL) == 0);

    /* Again and again; more than there are; those that nobody waits for. */
    for (int round = 0; round < 50; round++)
        CHECK(pthread_create(&thread, NULL, quick, (void *)7) == 0 && pthread_join(thread, &result) == 0 && result == (void *)7);
    CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setdetachstate(&attributes, 7) == CVM_EINVAL);
    CHECK(pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0);
    for (int round = 0; round < 50; round++) {
        int error;
        while ((error = pthread_create(&thread, &attributes, quick, NULL)) == CVM_EAGAIN)
            cvm_nanosleep(100000);
        CHECK(error == 0);
    }
    while (__atomic_load_n(&begun, __ATOMIC_RELAXED) != 100)
        cvm_nanosleep(100000);
    CHECK(pthread_join(pthread_self(), NULL) == CVM_EDEADLK && pthread_detach(pthread_self()) == CVM_EINVAL);
    CHECK(pthread_create(&thread, NULL, myself, NULL) == 0 && pthread_join(thread, &result) == 0 && result == (void *)1);

    /* Stacks of the program's own. */
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstack(&attributes, stack + 1, 4096) == CVM_EINVAL);
    CHECK(pthread_attr_setstack(&attributes, stack, PTHREAD_STACK_MIN - 1) == CVM_EINVAL);
    CHECK(pthread_attr_setstack(&attributes, stack, SIZE_MAX) == CVM_EINVAL);
    CHECK(pthread_attr_setstack(&attributes, NULL, 4096) == CVM_EINVAL);
    CHECK(pthread_attr_setstack(&attributes, stack, sizeof stack) == 0);
    CHECK(pthread_create(&thread, &attributes, quick, stack) == 0);
    CHECK((unsigned char *)thread > stack && (unsigned char *)thread < stack + sizeof stack);
    CHECK(pthread_join(thread, &result) == 0 && result == stack);
    attributes.size = 64;
    CHECK(pthread_create(&thread, &attributes, quick, NULL) == CVM_EINVAL);

    /* No more than `threads:` says: there are four. */
    pthread_t waiting[THREADS];
    pthread_mutex_lock(&lock);
    turn = 0;
    for (size_t index = 0; index < THREADS; index++)
        CHECK(pthread_create(&waiting[index], NULL, alternate, (void *)index) == 0);
    CHECK(pthread_create(&thread, NULL, quick, NULL) == CVM_EAGAIN);
    pthread_mutex_unlock(&lock);
    for (size_t index = 0; index < THREADS; index++)
        CHECK(pthread_join(waiting[index], NULL) == 0);

    /* The end of main waits for the others. */
    CHECK(pthread_create(&thread, NULL, late, NULL) == 0 && !ended);
    pthread_exit(NULL);
}
