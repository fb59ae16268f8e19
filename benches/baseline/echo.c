/*
 * The least an epoll echo server can do: what linger's figures are compared with.
 *
 * One thread, one shared buffer, no memory per connection, no timers, no record of an ending. What
 * linger does beyond this is what it costs beyond this. Read `serve` first: the rest is set-up.
 *
 *     cc -O2 -o echo echo.c && ./echo 127.0.0.1 7007
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BACKLOG = 4096,         /* the usual net.core.somaxconn: more would be cut to it */
    BUFFER_BYTES = 65536,
    EVENTS_PER_WAIT = 1024, /* one wait can report every connection of the largest echo run */
};

static char buffer[BUFFER_BYTES];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* Callgrind writes its counts when the process exits, and `_exit` is safe in a handler. */
static void on_sigterm(int signal_number)
{
    (void)signal_number;
    _exit(0);
}

/* Echoes what has arrived. Edge triggered: it may return only once the socket is known to be drained. */
static void serve(int fd, uint32_t readiness)
{
    for (;;) {
        ssize_t got = recv(fd, buffer, sizeof buffer, 0);
        if (got > 0) {
            /* No output is kept back: a peer that stops reading until its socket buffer is full is
             * dropped. The load generator always reads. */
            if (send(fd, buffer, (size_t)got, MSG_NOSIGNAL) != got)
                break;
            /* A short read drained the socket: what comes later is a new edge, so the second recv that
             * would only say EAGAIN is saved. Not so after a FIN: its edge is this one, and the end of
             * file still has to be read. */
            if (got < BUFFER_BYTES && !(readiness & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
                return;
        } else if (got < 0 && errno == EAGAIN) {
            return;
        } else {
            break;
        }
    }
    close(fd); /* which takes it out of the epoll set too */
}

/* Accepts until EAGAIN: the listener is edge triggered, so a connection left behind would wait for the
 * next one to arrive. */
static void accept_all(int epoll, int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == ECONNABORTED || errno == EINTR)
                continue;
            if (errno == EAGAIN)
                return;
            fail("accept4"); /* out of descriptors: the run is void, better to say so than to stall */
        }
        struct epoll_event interest = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = fd};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &interest) < 0)
            fail("epoll_ctl");
    }
}

static int listen_on(const char *address, const char *port)
{
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    if (inet_pton(AF_INET, address, &local.sin_addr) != 1) {
        fprintf(stderr, "echo: not an IPv4 address: %s\n", address);
        exit(2);
    }
    int on = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0)
        fail("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    /* Inherited by what is accepted, so a connection costs no setsockopt. */
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&local, sizeof local) < 0)
        fail("bind");
    if (listen(listener, BACKLOG) < 0)
        fail("listen");
    return listener;
}

int main(int argc, char **argv)
{
    static struct epoll_event ready[EVENTS_PER_WAIT];

    if (argc != 3) {
        fprintf(stderr, "usage: echo ADDRESS PORT\n");
        return 2;
    }
    signal(SIGTERM, on_sigterm);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int listener = listen_on(argv[1], argv[2]);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event interest = {.events = EPOLLIN | EPOLLET, .data.fd = listener};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &interest) < 0)
        fail("epoll");

    for (;;) {
        int count = epoll_wait(epoll, ready, EVENTS_PER_WAIT, -1);
        if (count < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            if (ready[i].data.fd == listener)
                accept_all(epoll, listener);
            else
                serve(ready[i].data.fd, ready[i].events);
        }
    }
}
