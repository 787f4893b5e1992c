/* Threads of the C library: a mutex, a condition variable, thread-local storage, joins. Arguments: threads, rounds. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t all_there = PTHREAD_COND_INITIALIZER;
static int there, wanted;
static long sum, rounds;
static __thread long own;

static void *work(void *argument) {
    pthread_mutex_lock(&lock);
    if (++there == wanted)
        pthread_cond_broadcast(&all_there);
    while (there < wanted)
        pthread_cond_wait(&all_there, &lock);
    pthread_mutex_unlock(&lock);
    for (long round = 0; round < rounds; round++) {
        own++;
        pthread_mutex_lock(&lock);
        sum += (long)argument;
        pthread_mutex_unlock(&lock);
    }
    return (void *)own;
}

int main(int count, char **arguments) {
    pthread_t threads[16];
    wanted = count > 1 ? atoi(arguments[1]) : 4;
    rounds = count > 2 ? atol(arguments[2]) : 1000;
    if (wanted < 1 || wanted > 16) {
        fprintf(stderr, "threads: expected 1 to 16 threads, found %d\n", wanted);
        return 2;
    }
    for (long index = 0; index < wanted; index++) {
        int error = pthread_create(&threads[index], NULL, work, (void *)(index + 1));
        if (error) {
            fprintf(stderr, "threads: thread %ld: error %d\n", index, error);
            return 1;
        }
    }
    long together = 0;
    for (int index = 0; index < wanted; index++) {
        void *result;
        pthread_join(threads[index], &result);
        together += (long)result;
    }
    printf("%d threads, %ld rounds together, sum %ld\n", wanted, together, sum);
    return own != 0;
}
