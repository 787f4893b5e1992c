/* Bytes between machines. PORT CONNECTIONS: sends back what comes. HOST PORT BYTES: sends so many, and expects them back. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 16

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void serve(int port, int connections) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct pollfd who[1 + MOST] = {{.fd = socket(AF_INET, SOCK_STREAM, 0), .events = POLLIN}};
    int come = 0, gone = 0;
    long bytes = 0;
    char text[4096];
    if (bind(who[0].fd, (struct sockaddr *)&here, sizeof here) < 0 || listen(who[0].fd, MOST) < 0)
        fail("listen");
    while (gone < connections) {
        if (poll(who, 1 + come, -1) < 0)
            fail("poll");
        for (int n = 1; n <= come; n++) {
            if (who[n].fd < 0 || !who[n].revents)
                continue;
            ssize_t count = read(who[n].fd, text, sizeof text);
            if (count < 0)
                fail("read");
            bytes += count;
            for (ssize_t sent = 0, part; sent < count; sent += part) {
                part = write(who[n].fd, text + sent, count - sent);
                if (part < 0)
                    fail("write");
            }
            if (count == 0) {
                close(who[n].fd);
                who[n].fd = -1;
                gone++;
            }
        }
        if (who[0].revents && come < connections) {
            who[++come] = (struct pollfd){.fd = accept(who[0].fd, NULL, NULL), .events = POLLIN};
            if (who[come].fd < 0)
                fail("accept");
        }
    }
    printf("%d connections, %ld bytes\n", come, bytes);
}

/* A connection, as soon as somebody listens there. */
static int reach(const char *host, int port) {
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = inet_addr(host)};
    for (;;) {
        int line = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(line, (struct sockaddr *)&there, sizeof there) == 0)
            return line;
        if (errno != ECONNREFUSED)
            fail("connect");
        close(line);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
}

static unsigned char of(long place) {
    return place * 7 + place / 251;
}

static void talk(const char *host, int port, long bytes) {
    int line = reach(host, port);
    unsigned char text[3000];
    long sent = 0, back = 0;
    if (fcntl(line, F_SETFL, O_NONBLOCK) < 0)
        fail("fcntl");
    while (back < bytes) {
        struct pollfd ready = {.fd = line, .events = POLLIN | (sent < bytes ? POLLOUT : 0)};
        if (poll(&ready, 1, -1) < 0)
            fail("poll");
        if (sent < bytes && ready.revents & POLLOUT) {
            long part = bytes - sent < (long)sizeof text ? bytes - sent : (long)sizeof text;
            for (long n = 0; n < part; n++)
                text[n] = of(sent + n);
            ssize_t count = write(line, text, part);
            if (count < 0)
                fail("write");
            sent += count;
        }
        if (ready.revents & ~POLLOUT) {
            ssize_t count = read(line, text, sizeof text);
            if (count <= 0)
                fail("read");
            for (ssize_t n = 0; n < count; n++, back++)
                if (text[n] != of(back)) {
                    printf("byte %ld is wrong\n", back);
                    exit(1);
                }
        }
    }
    printf("%ld bytes came back\n", back);
}

int main(int count, char **arguments) {
    if (count == 3)
        serve(atoi(arguments[1]), atoi(arguments[2]));
    else if (count == 4)
        talk(arguments[1], atoi(arguments[2]), atol(arguments[3]));
    else
        return 2;
    return 0;
}
