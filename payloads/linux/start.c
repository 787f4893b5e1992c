/* What a C library does before and behind `main`: buffers, memory, threads and what is theirs, locales, environment, time, random
   numbers, what runs at the end. Whatever C library it is. */
#define _GNU_SOURCE
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

static int checks, failures;
#define CHECK(what) \
    do { \
        checks++; \
        if (!(what)) { \
            failures++; \
            printf("line %d: %s (errno %d)\n", __LINE__, #what, errno); \
        } \
    } while (0)

static __thread int own = 7;
static int constructed;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_key_t key;
static int turns, ended;
static volatile sig_atomic_t signals;

__attribute__((constructor)) static void construct(void) {
    constructed = 1;
}

static void at_end(void) {
    printf("%d checks, %d failures\n", checks, failures);
}

static void thread_ends(void *value) {
    __atomic_add_fetch(&ended, (int)(long)value, __ATOMIC_SEQ_CST);
}

static void signalled(int number) {
    signals += number;
}

static int by_number(const void *one, const void *other) {
    return *(const int *)one - *(const int *)other;
}

/* Takes turns with the others, and uses what is its own. */
static void *takes_turns(void *argument) {
    long number = (long)argument;
    char *memory = NULL;
    own += number;
    pthread_setspecific(key, (void *)number);
    for (int round = 0; round < 50; round++) {
        pthread_mutex_lock(&lock);
        while (turns % 4 != number - 1)
            pthread_cond_wait(&changed, &lock);
        turns++;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
        char *more = realloc(memory, 100 * (round + 1));
        if (!more)
            return NULL;
        memory = more;
        memset(memory, number, 100 * (round + 1));
        errno = number;
    }
    long right = memory[4999] == number && errno == number && own == 7 + number;
    free(memory);
    return (void *)right;
}

int main(int count, char **arguments) {
    char text[200], *all;
    struct stat status;
    struct utsname name;
    struct rlimit limit;
    struct timespec before, after;
    CHECK(constructed && count > 0 && arguments[count] == NULL);
    CHECK(atexit(at_end) == 0);
    /* Text and numbers. */
    snprintf(text, sizeof text, "%d %s %5.2f %#x %zu", -42, "words", 3.14159, 255, sizeof text);
    CHECK(!strcmp(text, "-42 words  3.14 0xff 200"));
    double number;
    CHECK(sscanf("2.5e3", "%lf", &number) == 1 && number == 2500 && fabs(sqrt(number) - 50) < 1e-12);
    CHECK(strtol("-0x1f", NULL, 0) == -31 && !strcmp(strerror(ENOENT), "No such file or directory"));
    CHECK(setlocale(LC_ALL, "C"));
    int numbers[300];
    for (int n = 0; n < 300; n++)
        numbers[n] = n * 7919 % 300;
    qsort(numbers, 300, sizeof *numbers, by_number);
    for (int n = 0; n < 300; n++)
        CHECK(numbers[n] == n);
    /* Environment. */
    CHECK(getenv("HOME") && !strcmp(getenv("HOME"), "/root") && !getenv("NOTHING"));
    CHECK(setenv("NAME", "value", 1) == 0 && !strcmp(getenv("NAME"), "value") && unsetenv("NAME") == 0 && !getenv("NAME"));
    /* Memory: small, large, aligned, grown, mapped. */
    for (int round = 0; round < 20; round++) {
        all = malloc(1 << round);
        CHECK(all && memset(all, round, 1 << round));
        free(all);
    }
    all = calloc(300000, 1);
    CHECK(all && !all[0] && !all[299999] && (all = realloc(all, 600000)) && !all[299999]);
    free(all);
    void *aligned = NULL;
    CHECK(posix_memalign(&aligned, 4096, 10000) == 0 && (unsigned long)aligned % 4096 == 0);
    free(aligned);
    volatile size_t too_much = 1UL << 40;
    void *volatile none = malloc(too_much);
    CHECK(!none && errno == ENOMEM);
    all = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(all != MAP_FAILED && mprotect(all + 4096, 4096, PROT_READ) == 0 && !all[8191] && munmap(all, 3 * 4096) == 0);
    /* Files. */
    FILE *file = fopen("/tmp/text", "w+");
    CHECK(file && fprintf(file, "one\ntwo\n%d\n", 3) == 10 && fseek(file, 4, SEEK_SET) == 0);
    CHECK(fgets(text, sizeof text, file) && !strcmp(text, "two\n") && fclose(file) == 0);
    CHECK(stat("/tmp/text", &status) == 0 && status.st_size == 10 && S_ISREG(status.st_mode));
    CHECK(stat("/nowhere", &status) == -1 && errno == ENOENT && access("/tmp/text", R_OK) == 0);
    int descriptor = open("/tmp/text", O_RDONLY | O_CLOEXEC);
    CHECK(descriptor >= 0 && pread(descriptor, text, 3, 0) == 3 && !memcmp(text, "one", 3) && close(descriptor) == 0);
    CHECK(unlink("/tmp/text") == 0);
    /* The system. */
    CHECK(uname(&name) == 0 && !strcmp(name.sysname, "Linux") && getpagesize() == 4096 && getpid() > 0);
    CHECK(sysconf(_SC_NPROCESSORS_ONLN) >= 1 && getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur > 0);
    unsigned char random[2][16] = {0};
    CHECK(getrandom(random[0], 16, 0) == 16 && getrandom(random[1], 16, 0) == 16 && memcmp(random[0], random[1], 16));
    CHECK(clock_gettime(CLOCK_MONOTONIC, &before) == 0 && nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL) == 0);
    CHECK(clock_gettime(CLOCK_MONOTONIC, &after) == 0);
    CHECK((after.tv_sec - before.tv_sec) * 1000000000L + after.tv_nsec - before.tv_nsec >= 2000000);
    time_t zero = 0;
    CHECK(strftime(text, sizeof text, "%Y-%m-%d", gmtime(&zero)) == 10 && !strcmp(text, "1970-01-01"));
    /* Signals. */
    struct sigaction action = {.sa_handler = signalled};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && raise(SIGUSR1) == 0 && signals == SIGUSR1);
    /* Threads: turns, storage of their own, destructors, a time limit. */
    pthread_t threads[4];
    CHECK(pthread_key_create(&key, thread_ends) == 0);
    for (long n = 0; n < 4; n++)
        CHECK(pthread_create(&threads[n], NULL, takes_turns, (void *)(n + 1)) == 0);
    for (int n = 0; n < 4; n++) {
        void *right = NULL;
        CHECK(pthread_join(threads[n], &right) == 0 && right);
    }
    CHECK(turns == 200 && ended == 10 && own == 7);
    clock_gettime(CLOCK_REALTIME, &after);
    pthread_mutex_lock(&lock);
    CHECK(pthread_cond_timedwait(&changed, &lock, &after) == ETIMEDOUT);
    pthread_mutex_unlock(&lock);
    return failures != 0;
}
