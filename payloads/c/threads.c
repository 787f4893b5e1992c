/* Lets threads add the numbers up to its argument (1000 without one), each a part of them, and prints the sum. `threads: 5` is what it
 * wants. The exit code is 0. */

#include "pthread.h"

#define WORKERS 4

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t sum, last = 1000;

/* Adds every fourth number, from its own on. */
static void *work(void *first) {
    uint64_t part = 0;
    for (uint64_t number = (uintptr_t)first; number <= last; number += WORKERS)
        part += number;
    pthread_mutex_lock(&lock);
    sum += part;
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void print_number(uint64_t number) {
    char digits[21], *at = digits + sizeof digits;
    *--at = '\n';
    do
        *--at = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    cvm_write(1, at, (size_t)(digits + sizeof digits - at));
}

int main(int argc, char **argv) {
    pthread_t workers[WORKERS];
    if (argc > 1)
        for (last = 0; *argv[1] >= '0' && *argv[1] <= '9'; argv[1]++)
            last = last * 10 + (uint64_t)(*argv[1] - '0');
    for (uintptr_t index = 0; index < WORKERS; index++)
        if (pthread_create(&workers[index], NULL, work, (void *)(index + 1)) != 0)
            return 1;
    for (size_t index = 0; index < WORKERS; index++)
        if (pthread_join(workers[index], NULL) != 0)
            return 2;
    print_number(sum);
    return 0;
}
