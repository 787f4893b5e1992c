/* A thread reads beyond the end of its cVM's memory while the main thread waits for it. */

#include "pthread.h"

static void *beyond(void *argument) {
    const struct cvm_start_block *block = cvm_start_block();
    (void)argument;
    return (void *)*(const volatile uintptr_t *)(block->base + block->memory_size);
}

int main(int argc, char **argv) {
    pthread_t thread;
    (void)argc, (void)argv;
    return pthread_create(&thread, NULL, beyond, NULL) != 0 || pthread_join(thread, NULL) == 0 ? 2 : 3;
}
