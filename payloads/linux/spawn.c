// Processes: made by posix_spawn, waited for, ended by signals, in pipes. Started again by itself in several roles.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static int checks, failures;

static void check(int right, const char *what) {
    checks++;
    if (!right) {
        failures++;
        printf("%s: errno %d\n", what, errno);
    }
}

static const char *self;

static pid_t start(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes, const char *role, const char *more) {
    char *arguments[] = {"spawn", (char *)role, (char *)more, 0};
    pid_t child = -1;
    errno = posix_spawn(&child, self, actions, attributes, arguments, environ);
    return errno ? -1 : child;
}

static int end_of(pid_t child) {
    int status = -1;
    return waitpid(child, &status, 0) == child ? status : -1;
}

static volatile sig_atomic_t children, users, seen_number;
static void count(int signal) {
    if (signal == SIGCHLD) children++;
    else users++;
    seen_number = signal;
}

static volatile double state = 1.5;
static void compute(int signal) {
    (void)signal;
    // What was interrupted keeps what it has in floating-point registers.
    for (int index = 0; index < 10; index++) state = state * 1.01 + 0.5;
    users++;
}

static int role(int count_, char **arguments) {
    const char *role = arguments[1], *more = count_ > 2 ? arguments[2] : "";
    if (!strcmp(role, "exit")) return atoi(more);
    if (!strcmp(role, "echo")) return write(1, more, strlen(more)) < 0;
    if (!strcmp(role, "copy")) {
        char bytes[512];
        ssize_t got;
        while ((got = read(0, bytes, sizeof bytes)) > 0)
            for (ssize_t at = 0; at < got; at++) {
                bytes[at] -= bytes[at] >= 'a' && bytes[at] <= 'z' ? 32 : 0;
                if (write(1, bytes + at, 1) != 1) return 1;
            }
        return got < 0;
    }
    if (!strcmp(role, "loop")) {
        if (write(1, "x", 1) != 1) return 1;
        for (volatile unsigned long turns = 0;; turns++);
    }
    if (!strcmp(role, "handle")) {
        signal(SIGUSR1, compute);
        if (write(1, "x", 1) != 1) return 1;
        double value = 3.25, step = 0.125;
        long turns = 0;
        while (!users) {
            value += step;
            turns++;
        }
        return value == 3.25 + 0.125 * turns ? 5 : 6;
    }
    if (!strcmp(role, "sleep")) {
        if (write(1, "x", 1) != 1) return 1;
        for (;;) pause();
    }
    if (!strcmp(role, "later")) {
        struct timespec while_ = {0, 3000000};
        nanosleep(&while_, 0);
        return 2;
    }
    if (!strcmp(role, "fault")) {
        *(volatile int *)(strtoul(more, 0, 0)) = 1;
        return 0;
    }
    if (!strcmp(role, "descriptor")) return fcntl(atoi(more), F_GETFD) < 0 ? 1 : 0;
    if (!strcmp(role, "exec")) {
        char *again[] = {"spawn", "exit", (char *)more, 0};
        execve(self, again, environ);
        return 99;
    }
    if (!strcmp(role, "memory")) {
        // Nothing of who was there before.
        static char zero[65536];
        for (size_t at = 0; at < sizeof zero; at++)
            if (zero[at]) return 1;
        size_t size = 1 << 20;
        char *heap = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (heap == MAP_FAILED) return 3;
        for (size_t at = 0; at < size; at++)
            if (heap[at]) return 2;
        memset(zero, 0xa5, sizeof zero);
        memset(heap, 0xa5, size);
        return 0;
    }
    if (!strcmp(role, "folder")) {
        char path[64];
        return getcwd(path, sizeof path) && !strcmp(path, more) ? 0 : 1;
    }
    if (!strcmp(role, "flood")) {
        for (;;)
            if (write(1, "flood\n", 6) < 0) return 1;
    }
    return 98;
}

int main(int argc, char **argv) {
    self = "/proc/self/exe";
    if (argc > 1) return role(argc, argv);
    setvbuf(stdout, 0, _IOLBF, 0);

    // Statuses.
    check(end_of(start(0, 0, "exit", "7")) == 7 << 8, "exit status");
    pid_t children_[3];
    for (int index = 0; index < 3; index++) {
        char code[4] = {'1' + index, 0};
        children_[index] = start(0, 0, "exit", code);
    }
    int sum = 0, status;
    for (int index = 0; index < 3; index++) {
        pid_t who = waitpid(-1, &status, 0);
        for (int which = 0; which < 3; which++)
            if (who == children_[which]) sum += WEXITSTATUS(status) == which + 1;
    }
    check(sum == 3, "three children");
    check(waitpid(-1, &status, 0) == -1 && errno == ECHILD, "no more children");
    pid_t child = start(0, 0, "exit", "3");
    siginfo_t info = {0};
    check(waitid(P_PID, child, &info, WEXITED) == 0 && info.si_pid == child && info.si_status == 3 &&
              info.si_code == CLD_EXITED, "waitid");
    check(end_of(start(0, 0, "exec", "9")) == 9 << 8, "execve in its own place");
    self = "/none";
    check(start(0, 0, "exit", "1") == -1 && errno == ENOENT, "no such file");
    self = "/tmp";
    check(start(0, 0, "exit", "1") == -1 && errno == EACCES, "a folder");
    self = "/proc/self/exe";
    check(fork() == -1 && errno == ENOSYS, "fork");
    check(kill(child, 0) == -1 && errno == ESRCH, "nobody");

    // Files that cannot be executed.
    int file = open("/tmp/text", O_CREAT | O_WRONLY, 0755);
    check(write(file, "hello, this is text\n", 20) == 20, "write");
    close(file);
    self = "/tmp/text";
    check(start(0, 0, "exit", "1") == -1 && errno == ENOEXEC, "no program");
    file = open("/tmp/elf", O_CREAT | O_WRONLY, 0755);
    int own = open("/bin/linux-spawn", O_RDONLY);
    char bytes[4096];
    check(own >= 0 && read(own, bytes, sizeof bytes) == sizeof bytes && write(file, bytes, sizeof bytes) == sizeof bytes, "copy");
    self = "/tmp/elf";
    check(start(0, 0, "exit", "1") == -1 && errno == ENOEXEC, "half a program");
    chmod("/tmp/elf", 0644);
    check(start(0, 0, "exit", "1") == -1 && errno == EACCES, "not executable");
    close(file);
    file = open("/tmp/script", O_CREAT | O_WRONLY, 0755);
    check(write(file, "#!/bin/linux-spawn exit\n", 24) == 24, "script");
    close(file);
    char *none[] = {"script", "0", 0};
    check(posix_spawn(&child, "/tmp/script", 0, 0, none, environ) == 0 && end_of(child) == 0, "a script");
    self = "/proc/self/exe";

    // A pipe of two: echo | copy.
    int first[2], second[2];
    check(pipe2(first, O_CLOEXEC) == 0 && pipe2(second, O_CLOEXEC) == 0, "pipes");
    posix_spawn_file_actions_t out, in;
    posix_spawn_file_actions_init(&out);
    posix_spawn_file_actions_adddup2(&out, first[1], 1);
    posix_spawn_file_actions_init(&in);
    posix_spawn_file_actions_adddup2(&in, first[0], 0);
    posix_spawn_file_actions_adddup2(&in, second[1], 1);
    pid_t writer = start(&out, 0, "echo", "through a pipe"), reader = start(&in, 0, "copy", "");
    close(first[0]), close(first[1]), close(second[1]);
    char said[64] = {0};
    size_t length = 0;
    ssize_t got;
    while ((got = read(second[0], said + length, sizeof said - 1 - length)) > 0) length += got;
    check(!strcmp(said, "THROUGH A PIPE"), said);
    check(end_of(writer) == 0 && end_of(reader) == 0, "both ends");
    close(second[0]);
    char number[8];
    file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    sprintf(number, "%d", file);
    check(end_of(start(0, 0, "descriptor", number)) == 1 << 8, "closed on execve");
    fcntl(file, F_SETFD, 0);
    check(end_of(start(0, 0, "descriptor", number)) == 0, "kept on execve");
    close(file);
    mkdir("/tmp/here", 0755);
    check(chdir("/tmp/here") == 0 && end_of(start(0, 0, "folder", "/tmp/here")) == 0, "folder");
    check(chdir("/") == 0, "back");
    for (int round = 0; round < 4; round++) {
        status = end_of(start(0, 0, "memory", ""));
        check(status == 0, "fresh memory");
        if (status) printf("status %#x\n", status);
    }

    // Signals that end: one that computes, one that waits, one that writes to nobody.
    check(pipe(first) == 0, "pipe");
    posix_spawn_file_actions_init(&out);
    posix_spawn_file_actions_adddup2(&out, first[1], 1);
    posix_spawn_file_actions_addclose(&out, first[0]);
    char byte;
    const char *roles[] = {"loop", "sleep"};
    const int signals[] = {SIGKILL, SIGTERM, SIGINT};
    for (int which = 0; which < 2; which++)
        for (int index = 0; index < 3; index++) {
            child = start(&out, 0, roles[which], "");
            check(read(first[0], &byte, 1) == 1 && kill(child, 0) == 0, roles[which]);
            check(waitpid(child, &status, WNOHANG) == 0, "it goes on");
            check(kill(child, signals[index]) == 0, "kill");
            status = end_of(child);
            check(WIFSIGNALED(status) && WTERMSIG(status) == signals[index], "ended by a signal");
        }
    child = start(&out, 0, "handle", "");
    check(read(first[0], &byte, 1) == 1, "handle");
    struct timespec while_ = {0, 2000000};
    nanosleep(&while_, 0);
    check(kill(child, SIGUSR1) == 0 && end_of(child) == 5 << 8, "a handler while it computes");
    child = start(&out, 0, "flood", "");
    check(read(first[0], said, 6) == 6, "flood");
    close(first[0]), close(first[1]);
    status = end_of(child);
    check(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE, "a pipe that nobody reads");
    child = start(0, 0, "fault", "0x40");
    status = end_of(child);
    check(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "a fault");
    check(end_of(start(0, 0, "exit", "4")) == 4 << 8, "and its cVM is used again");

    // Handlers.
    struct sigaction action = {.sa_handler = count}, old;
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGCHLD);
    check(sigaction(SIGCHLD, &action, 0) == 0 && sigaction(SIGUSR1, &action, 0) == 0, "sigaction");
    check(raise(SIGUSR1) == 0 && users == 1 && seen_number == SIGUSR1, "a handler at once");
    sigprocmask(SIG_BLOCK, &blocked, &before);
    child = start(0, 0, "exit", "0");
    check(children == 0, "blocked");
    sigsuspend(&before);
    check(errno == EINTR && children == 1, "sigsuspend");
    check(end_of(child) == 0, "waited for");
    sigprocmask(SIG_SETMASK, &before, 0);
    child = start(0, 0, "later", "");
    while_.tv_sec = 5;
    check(nanosleep(&while_, 0) == -1 && errno == EINTR && children == 2, "a sleep ends");
    check(end_of(child) == 2 << 8, "waited for");
    action.sa_flags = SA_RESTART;
    sigaction(SIGCHLD, &action, 0);
    check(pipe(first) == 0, "pipe");
    posix_spawn_file_actions_init(&out);
    posix_spawn_file_actions_adddup2(&out, first[1], 1);
    posix_spawn_file_actions_addclose(&out, first[0]);
    pid_t quick = start(0, 0, "exit", "0");
    child = start(&out, 0, "sleep", "");
    check(read(first[0], &byte, 1) == 1, "read");
    check(end_of(quick) == 0 && children == 3, "a wait goes on");
    kill(child, SIGTERM);
    end_of(child);
    signal(SIGCHLD, SIG_IGN);
    child = start(0, 0, "exit", "0");
    check(waitpid(child, &status, 0) == -1 && errno == ECHILD, "nobody waits for whom nobody wants");
    signal(SIGCHLD, SIG_DFL);

    // Groups.
    posix_spawnattr_t group;
    posix_spawnattr_init(&group);
    posix_spawnattr_setflags(&group, POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&group, 0);
    pid_t leader = start(&out, &group, "sleep", "");
    posix_spawnattr_setpgroup(&group, leader);
    pid_t member = start(&out, &group, "loop", "");
    check(read(first[0], &byte, 1) == 1 && read(first[0], &byte, 1) == 1, "a group");
    check(getpgid(member) == leader && getpgid(0) != leader, "its number");
    check(kill(-leader, SIGTERM) == 0, "kill a group");
    check(waitpid(-leader, &status, 0) > 0 && waitpid(-leader, &status, 0) > 0 && WTERMSIG(status) == SIGTERM, "both");
    close(first[0]), close(first[1]);

    // More than there is room for.
    pid_t many[8];
    int made = 0;
    check(pipe(first) == 0, "pipe");
    posix_spawn_file_actions_init(&out);
    posix_spawn_file_actions_adddup2(&out, first[1], 1);
    while (made < 8 && (many[made] = start(&out, 0, "sleep", "")) > 0) made++;
    check(made > 0 && made < 8 && errno == EAGAIN, "room");
    for (int index = 0; index < made; index++) kill(many[index], SIGKILL), end_of(many[index]);
    check(end_of(start(0, 0, "exit", "1")) == 1 << 8, "room again");
    (void)old;
    printf("%d checks, %d failures\n", checks, failures);
    return failures != 0;
}
