/* Datagrams between sockets of one machine; with arguments HOST PORT also to another one, which is to send them back. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int checks, failures;
#define CHECK(what) \
    do { \
        checks++; \
        if (!(what)) { \
            failures++; \
            printf("line %d: %s (errno %d)\n", __LINE__, #what, errno); \
        } \
    } while (0)
#define FAILS(what, number) CHECK((what) == -1 && errno == (number))

static struct sockaddr_in at(const char *host, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = inet_addr(host);
    return address;
}

static void *answers(void *argument) {
    int socket = *(int *)argument;
    char text[64];
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    ssize_t count = recvfrom(socket, text, sizeof text, 0, (struct sockaddr *)&from, &length);
    if (count > 0)
        sendto(socket, text, count, 0, (struct sockaddr *)&from, length);
    return NULL;
}

int main(int count, char **arguments) {
    char text[64];
    int server = socket(AF_INET, SOCK_DGRAM, 0), client = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in here = at("127.0.0.1", 5353), from = {0};
    struct sockaddr *address = (struct sockaddr *)&here;
    socklen_t length = sizeof from;
    CHECK(bind(server, address, sizeof here) == 0);
    FAILS(bind(client, address, sizeof here), EADDRINUSE);
    FAILS(bind(server, address, sizeof here), EINVAL);
    FAILS(listen(server, 1), EOPNOTSUPP);
    FAILS(send(client, "x", 1, 0), EDESTADDRREQ);
    FAILS(recv(client, text, sizeof text, MSG_DONTWAIT), EAGAIN);
    struct pollfd ready = {.fd = server, .events = POLLIN | POLLOUT};
    CHECK(poll(&ready, 1, 0) == 1 && ready.revents == POLLOUT);
    /* Two datagrams stay two, and an empty one is one. */
    CHECK(sendto(client, "one", 3, 0, address, sizeof here) == 3 && sendto(client, "second", 6, 0, address, sizeof here) == 6);
    CHECK(sendto(client, NULL, 0, 0, address, sizeof here) == 0);
    CHECK(poll(&ready, 1, 0) == 1 && ready.revents == (POLLIN | POLLOUT));
    CHECK(recv(server, text, sizeof text, MSG_PEEK) == 3 && !memcmp(text, "one", 3));
    CHECK(recvfrom(server, text, sizeof text, 0, (struct sockaddr *)&from, &length) == 3 && !memcmp(text, "one", 3));
    struct sockaddr_in name;
    length = sizeof name;
    CHECK(getsockname(client, (struct sockaddr *)&name, &length) == 0 && name.sin_port == from.sin_port && name.sin_port);
    struct iovec parts[2] = {{text, 2}, {text + 10, 2}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2, .msg_name = &name, .msg_namelen = sizeof name};
    CHECK(recvmsg(server, &message, 0) == 4 && message.msg_flags == MSG_TRUNC && !memcmp(text + 10, "co", 2));
    CHECK(name.sin_port == from.sin_port && message.msg_namelen == sizeof name);
    CHECK(recv(server, text, sizeof text, 0) == 0);
    FAILS(recv(server, text, sizeof text, MSG_DONTWAIT), EAGAIN);
    /* By a connection, with an answer that is waited for. */
    pthread_t thread;
    CHECK(connect(client, address, sizeof here) == 0 && pthread_create(&thread, NULL, answers, &server) == 0);
    CHECK(write(client, "ping", 4) == 4 && read(client, text, sizeof text) == 4 && !memcmp(text, "ping", 4));
    pthread_join(thread, NULL);
    length = sizeof name;
    CHECK(getpeername(client, (struct sockaddr *)&name, &length) == 0 && name.sin_port == here.sin_port);
    /* Others are not heard any more; nobody is there. */
    int other = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    CHECK(sendto(other, "x", 1, 0, (struct sockaddr *)&from, sizeof from) == 1);
    FAILS(recv(client, text, sizeof text, MSG_DONTWAIT), EAGAIN);
    struct sockaddr_in nobody = at("127.0.0.1", 9);
    CHECK(sendto(other, "x", 1, 0, (struct sockaddr *)&nobody, sizeof nobody) == 1);
    CHECK(connect(other, (struct sockaddr *)&nobody, sizeof nobody) == 0);
    /* It is known when the first one has come back, at the latest. */
    send(other, "x", 1, 0);
    FAILS(send(other, "x", 1, 0), ECONNREFUSED);
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    CHECK(connect(other, &none, sizeof none) == 0);
    FAILS(send(other, "x", 1, 0), EDESTADDRREQ);
    static char large[70000];
    FAILS(sendto(other, large, sizeof large, 0, address, sizeof here), EMSGSIZE);
    int kind = 0;
    length = sizeof kind;
    CHECK(getsockopt(other, SOL_SOCKET, SO_TYPE, &kind, &length) == 0 && kind == SOCK_DGRAM);
    /* What is too much for a port gets lost; who waits for room with a name does. */
    for (int index = 0; index < 100; index++)
        sendto(other, "x", 1, 0, address, sizeof here);
    int left = 0;
    while (recv(server, text, sizeof text, MSG_DONTWAIT) == 1)
        left++;
    CHECK(left > 0 && left <= 100);
    int named = socket(AF_UNIX, SOCK_DGRAM, 0), sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    struct sockaddr_un path = {.sun_family = AF_UNIX, .sun_path = "/tmp/datagrams"};
    CHECK(sendto(sender, "x", 1, 0, (struct sockaddr *)&path, sizeof path) == -1);
    CHECK(bind(named, (struct sockaddr *)&path, sizeof path) == 0);
    left = 0;
    while (sendto(sender, "local", 5, 0, (struct sockaddr *)&path, sizeof path) == 5)
        left++;
    CHECK(left > 0 && errno == EAGAIN && recv(named, text, sizeof text, 0) == 5 && !memcmp(text, "local", 5));
    CHECK(close(named) == 0);
    FAILS(sendto(sender, "x", 1, 0, (struct sockaddr *)&path, sizeof path), ECONNREFUSED);
    if (count > 2) {
        struct sockaddr_in far = at(arguments[1], atoi(arguments[2]));
        int out = socket(AF_INET, SOCK_DGRAM, 0);
        CHECK(sendto(out, "far", 3, 0, (struct sockaddr *)&far, sizeof far) == 3);
        length = sizeof from;
        CHECK(recvfrom(out, text, sizeof text, 0, (struct sockaddr *)&from, &length) == 3 && !memcmp(text, "far", 3));
        CHECK(from.sin_addr.s_addr == far.sin_addr.s_addr && from.sin_port == far.sin_port);
        FAILS(sendto(out, large, 2000, 0, (struct sockaddr *)&far, sizeof far), EMSGSIZE);
    }
    printf("%d checks, %d failures\n", checks, failures);
    return failures != 0;
}
