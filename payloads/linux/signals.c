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

static volatile sig_atomic_t seen;
static volatile double sum;

static void handler(int number) {
    seen = number;
    sum += 1.5;
}

static char *volatile place;
static volatile int flags, refused;

static void look(int number) {
    char here;
    stack_t told, none = {.ss_flags = SS_DISABLE};
    (void)number;
    place = &here;
    flags = sigaltstack(NULL, &told) == 0 ? told.ss_flags & SS_ONSTACK : -1;
    refused = sigaltstack(&none, NULL) == 0 ? 0 : errno;
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
    /* A handler leaves numbers of whom it has interrupted alone. */
    double numbers[16], total = 0;
    for (int index = 0; index < 16; index++)
        numbers[index] = index + 0.25;
    CHECK(raise(SIGUSR1) == 0 && seen == SIGUSR1 && sum == 1.5);
    for (int index = 0; index < 16; index++)
        total += numbers[index];
    CHECK(total == 124);
    sigaddset(&set, SIGUSR1);
    seen = 0;
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0 && raise(SIGUSR1) == 0 && seen == 0);
    CHECK(sigpending(&before) == 0 && sigismember(&before, SIGUSR1));
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0 && seen == SIGUSR1);
    /* A stack for handlers. */
    static char own[16384];
    stack_t stack = {.ss_sp = own, .ss_size = sizeof own}, none = {.ss_flags = SS_DISABLE}, was;
    CHECK(sigaltstack(NULL, &was) == 0 && was.ss_flags == SS_DISABLE);
    CHECK(sigaltstack(&stack, NULL) == 0 && sigaltstack(NULL, &was) == 0 && was.ss_sp == own && was.ss_flags == 0);
    action.sa_handler = look;
    CHECK(sigaction(SIGUSR2, &action, NULL) == 0 && raise(SIGUSR2) == 0);
    CHECK((place < own || place >= own + sizeof own) && flags == 0);
    CHECK(sigaltstack(&stack, NULL) == 0);
    action.sa_flags = SA_ONSTACK;
    CHECK(sigaction(SIGUSR2, &action, NULL) == 0 && raise(SIGUSR2) == 0);
    CHECK(place >= own && place < own + sizeof own && flags == SS_ONSTACK && refused == EPERM);
    CHECK(sigaltstack(&none, NULL) == 0 && raise(SIGUSR2) == 0 && (place < own || place >= own + sizeof own));
    stack.ss_size = 100;
    CHECK(sigaltstack(&stack, NULL) == -1 && errno == ENOMEM);
    stack.ss_size = sizeof own;
    stack.ss_flags = 77;
    CHECK(sigaltstack(&stack, NULL) == -1 && errno == EINVAL);
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0 && usage.ru_utime.tv_sec + usage.ru_utime.tv_usec > 0);
    printf("%d failures\n", failures);
    fflush(stdout);
    abort();
}
