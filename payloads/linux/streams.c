/* Pipes, sockets on the loopback network, epoll, eventfd, poll: between threads, with and without time limits. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int checks, failures;
#define CHECK(what) \
    do { \
        checks++; \
        errno = 0; \
        if (!(what)) { \
            failures++; \
            printf("line %d: %s: %s\n", __LINE__, #what, strerror(errno)); \
        } \
    } while (0)
#define FAILS(what, with) CHECK((what) == -1 && errno == (with))

static long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void *send_later(void *argument) {
    usleep(20000);
    write(*(int *)argument, "late", 4);
    return NULL;
}

/* Answers each connection with what it has received, until one sends a q. */
static void *serve(void *argument) {
    int listener = *(int *)argument;
    for (;;) {
        char buffer[4096];
        ssize_t count;
        int connection = accept(listener, NULL, NULL);
        if (connection < 0)
            return NULL;
        int last = 0;
        while ((count = read(connection, buffer, sizeof buffer)) > 0) {
            last |= buffer[0] == 'q';
            for (ssize_t done = 0; done < count;) {
                ssize_t sent = write(connection, buffer + done, count - done);
                if (sent < 0)
                    break;
                done += sent;
            }
        }
        close(connection);
        if (last)
            return NULL;
    }
}

static int connect_to(struct sockaddr_in *address) {
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(connection, (struct sockaddr *)address, sizeof *address))
        return -1;
    return connection;
}

/* A lock that its owner takes along, who does not go by way of the C library. As linux/futex.h has it. */
#define FUTEX_WAIT 0
#define FUTEX_WAITERS 0x80000000
#define FUTEX_OWNER_DIED 0x40000000
struct robust_list {
    struct robust_list *next;
};
static struct {
    struct robust_list list;
    volatile uint32_t lock;
} owned;
static struct {
    struct robust_list list;
    long offset;
    struct robust_list *pending;
} locks = {{&owned.list}, sizeof owned.list, NULL};

static void *die_with_lock(void *unused) {
    owned.list.next = &locks.list;
    syscall(SYS_set_robust_list, &locks, sizeof locks);
    owned.lock = FUTEX_WAITERS | gettid();
    syscall(SYS_exit, 0);
    return unused;
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    char buffer[64];
    pthread_t thread;

    /* A pipe: who reads waits for who writes; the end; nobody reads. */
    int ends[2];
    CHECK(pipe(ends) == 0);
    CHECK(pthread_create(&thread, NULL, send_later, &ends[1]) == 0);
    long begin = now();
    CHECK(read(ends[0], buffer, sizeof buffer) == 4 && !memcmp(buffer, "late", 4) && now() - begin >= 19);
    pthread_join(thread, NULL);
    CHECK(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
    FAILS(read(ends[0], buffer, 1), EAGAIN);
    struct pollfd polled = {.fd = ends[0], .events = POLLIN};
    begin = now();
    CHECK(poll(&polled, 1, 30) == 0 && now() - begin >= 30);
    CHECK(pthread_create(&thread, NULL, send_later, &ends[1]) == 0);
    CHECK(poll(&polled, 1, 1000) == 1 && polled.revents == POLLIN);
    CHECK(poll(&polled, 1, -1) == 1);
    pthread_join(thread, NULL);
    CHECK(close(ends[1]) == 0 && read(ends[0], buffer, sizeof buffer) == 4 && read(ends[0], buffer, 1) == 0);
    CHECK(close(ends[0]) == 0 && pipe(ends) == 0 && close(ends[0]) == 0);
    FAILS(write(ends[1], "x", 1), EPIPE);

    /* eventfd and epoll. */
    int event = eventfd(0, EFD_NONBLOCK), epoll = epoll_create1(0);
    uint64_t count = 3;
    FAILS(read(event, &count, 8), EAGAIN);
    struct epoll_event wanted = {.events = EPOLLIN, .data.u64 = 0x1122334455667788}, found[4];
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, event, &wanted) == 0);
    FAILS(epoll_ctl(epoll, EPOLL_CTL_ADD, event, &wanted), EEXIST);
    CHECK(epoll_wait(epoll, found, 4, 0) == 0);
    begin = now();
    CHECK(epoll_wait(epoll, found, 4, 15) == 0 && now() - begin >= 15);
    CHECK(write(event, &count, 8) == 8 && epoll_wait(epoll, found, 4, -1) == 1);
    CHECK(found[0].events == EPOLLIN && found[0].data.u64 == 0x1122334455667788);
    CHECK(epoll_wait(epoll, found, 4, 0) == 1);
    wanted.events |= EPOLLET;
    CHECK(epoll_ctl(epoll, EPOLL_CTL_MOD, event, &wanted) == 0 && epoll_wait(epoll, found, 4, 0) == 1);
    CHECK(epoll_wait(epoll, found, 4, 0) == 0);
    CHECK(write(event, &count, 8) == 8 && epoll_wait(epoll, found, 4, 0) == 1);
    CHECK(read(event, &count, 8) == 8 && count == 6);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_DEL, event, NULL) == 0);
    FAILS(epoll_ctl(epoll, EPOLL_CTL_DEL, event, NULL), ENOENT);

    /* Sockets. */
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(7000)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(connect_to(&address) == -1 && errno == ECONNREFUSED);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 4) == 0);
    int other = socket(AF_INET, SOCK_STREAM, 0);
    FAILS(bind(other, (struct sockaddr *)&address, sizeof address), EADDRINUSE);
    CHECK(pthread_create(&thread, NULL, serve, &listener) == 0);
    for (int round = 0; round < 20; round++) {
        int connection = connect_to(&address);
        CHECK(connection >= 0);
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        CHECK(getpeername(connection, (struct sockaddr *)&peer, &length) == 0 && ntohs(peer.sin_port) == 7000);
        CHECK(send(connection, "message", 7, MSG_NOSIGNAL) == 7);
        CHECK(recv(connection, buffer, 3, MSG_PEEK) == 3 && recv(connection, buffer, 64, MSG_WAITALL) == 7);
        FAILS(recv(connection, buffer, 1, MSG_DONTWAIT), EAGAIN);
        CHECK(shutdown(connection, SHUT_WR) == 0 && read(connection, buffer, 1) == 0);
        FAILS(write(connection, "x", 1), EPIPE);
        CHECK(close(connection) == 0);
    }
    /* More than fits: both ways at once. */
    int connection = connect_to(&address);
    CHECK(fcntl(connection, F_SETFL, O_NONBLOCK) == 0);
    static char block[100000];
    size_t sent = 0, received = 0;
    block[0] = 'q';
    while (received < sizeof block) {
        struct pollfd both = {.fd = connection, .events = POLLIN | (sent < sizeof block ? POLLOUT : 0)};
        if (poll(&both, 1, 2000) != 1)
            break;
        ssize_t moved;
        if (sent < sizeof block && (moved = write(connection, block, sizeof block - sent)) > 0)
            sent += moved, memset(block, 'q', 1);
        while ((moved = read(connection, block + 1, sizeof block - 1)) > 0)
            received += moved;
    }
    CHECK(sent == sizeof block && received == sizeof block);
    close(connection);
    pthread_join(thread, NULL);
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && write(pair[1], "ab", 2) == 2);
    CHECK(read(pair[0], buffer, 9) == 2 && close(pair[1]) == 0 && read(pair[0], buffer, 9) == 0);

    /* The owner of a lock dies, and who waits for it hears of that. */
    CHECK(pthread_create(&thread, NULL, die_with_lock, NULL) == 0);
    struct timespec limit = {2, 0};
    long woken = 0;
    while (!(owned.lock & FUTEX_OWNER_DIED) && (woken == 0 || errno == EAGAIN))
        woken = syscall(SYS_futex, &owned.lock, FUTEX_WAIT, owned.lock, &limit);
    CHECK(owned.lock == (FUTEX_WAITERS | FUTEX_OWNER_DIED));

    printf("%d checks, %d failures\n", checks, failures);
    return failures != 0;
}
