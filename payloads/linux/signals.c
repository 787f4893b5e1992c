/* What a program says about signals is kept, and what it sends to itself happens: the last one ends it. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static int failures;
#define CHECK(what) \
    do { \
        if (!(what)) { \
            failures++; \
            printf("line %d: %s\n", __LINE__, #what); \
        } \
    } while (0)

static void handler(int number) {
    (void)number;
}

int main(void) {
    struct sigaction action = {.sa_handler = handler}, old;
    CHECK(sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_handler == SIG_DFL);
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_handler == handler);
    CHECK(sigaction(SIGKILL, &action, NULL) == -1 && errno == EINVAL);
    sigset_t set, before;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    CHECK(sigprocmask(SIG_BLOCK, &set, &before) == 0 && !sigismember(&before, SIGINT));
    CHECK(sigprocmask(SIG_UNBLOCK, &set, &before) == 0 && sigismember(&before, SIGINT));
    CHECK(kill(getpid(), 0) == 0);
    CHECK(kill(getpid() + 1, 0) == -1 && errno == ESRCH);
    CHECK(raise(SIGWINCH) == 0);
    CHECK(signal(SIGTERM, SIG_IGN) == SIG_DFL && raise(SIGTERM) == 0);
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0 && usage.ru_utime.tv_sec + usage.ru_utime.tv_usec > 0);
    printf("%d failures\n", failures);
    fflush(stdout);
    abort();
}
