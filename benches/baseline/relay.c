/*
 * The least an epoll relay can do: what linger's gateway is compared with.
 *
 * One thread, one shared buffer, no timers, no record of an ending, one server. What one side sends is sent to the other
 * at once; only what the kernel had no room for is kept, and the side it came from is not read before that has gone. An
 * end of file is read behind what is kept, and ends both sides. Read `pump` first: the rest is set-up.
 *
 *     cc -O2 -o relay relay.c && ./relay 127.0.0.1 9000 127.0.0.1 9001
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BACKLOG = 4096,         /* the usual net.core.somaxconn: more would be cut to it */
    BUFFER_BYTES = 65536,
    EVENTS_PER_WAIT = 1024,
    DESCRIPTORS_MAX = 65536,
};

/* What a descriptor could not be sent yet. */
struct queue {
    size_t from, to;
    char bytes[BUFFER_BYTES];
};

static char buffer[BUFFER_BYTES];
static int epoll;
/* By descriptor: the other side, 0 for none; and what waits for it. */
static int partner[DESCRIPTORS_MAX];
static struct queue *queues[DESCRIPTORS_MAX];
/* Set until an upstream connection is there: its client is not watched before. */
static bool connecting[DESCRIPTORS_MAX];

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

/* For room too, from the beginning: its edge comes only where a send was short, so a change would cost a call and save
 * nothing. */
static void watch(int fd)
{
    struct epoll_event interest = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &interest) < 0)
        fail("epoll_ctl");
}

static void forget(int fd)
{
    if (queues[fd]) {
        free(queues[fd]);
        queues[fd] = NULL;
    }
    connecting[fd] = false;
    partner[fd] = 0;
    close(fd); /* which takes it out of the epoll set too */
}

static void end(int fd)
{
    int other = partner[fd];
    forget(fd);
    forget(other);
}

/* Keeps what the kernel had no room for. */
static void keep(int fd, const char *bytes, size_t count)
{
    struct queue *queue = malloc(sizeof *queue);
    if (!queue)
        fail("malloc");
    queue->from = 0, queue->to = count;
    memcpy(queue->bytes, bytes, count);
    queues[fd] = queue;
}

/* Hands on what has arrived. Edge triggered: it may return only once the socket is known to be drained, or when its
 * partner has no room, whose next edge leads back here. */
static void pump(int fd, uint32_t readiness)
{
    int to = partner[fd];
    while (!queues[to]) {
        ssize_t got = recv(fd, buffer, sizeof buffer, 0);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0)
            return end(fd);
        ssize_t sent = send(to, buffer, (size_t)got, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return end(fd);
        sent = sent < 0 ? 0 : sent;
        if (sent < got)
            keep(to, buffer + sent, (size_t)(got - sent));
        /* A short read drained the socket, unless a FIN is behind it: see echo.c. */
        if (got < BUFFER_BYTES && !(readiness & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
            return;
    }
}

/* Sends what waits for a descriptor. Returns whether nothing waits any more. */
static bool flush(int fd)
{
    struct queue *queue = queues[fd];
    ssize_t sent = send(fd, queue->bytes + queue->from, queue->to - queue->from, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        return end(fd), false;
    queue->from += sent < 0 ? 0 : (size_t)sent;
    if (queue->from < queue->to)
        return false;
    free(queue);
    queues[fd] = NULL;
    return true;
}

static void on_ready(int fd, uint32_t readiness)
{
    /* Of one that was closed in this batch. */
    if (!partner[fd])
        return;
    if (connecting[fd]) {
        if (readiness & (EPOLLERR | EPOLLHUP))
            return end(fd);
        connecting[fd] = false;
        /* What it has sent meanwhile is reported at once. */
        watch(partner[fd]);
    }
    /* Its partner was not read meanwhile, and has no edge to come: a FIN may be there too. */
    if (queues[fd] && (readiness & EPOLLOUT) && flush(fd))
        pump(partner[fd], EPOLLRDHUP);
    if (partner[fd] && (readiness & ~(uint32_t)EPOLLOUT))
        pump(fd, readiness);
}

static void connect_upstream(int client, const struct sockaddr_in *server)
{
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (const struct sockaddr *)server, sizeof *server) < 0 && errno != EINPROGRESS)
        fail("connect");
    if (fd >= DESCRIPTORS_MAX || client >= DESCRIPTORS_MAX)
        fail("too many descriptors");
    partner[fd] = client, partner[client] = fd;
    connecting[fd] = true;
    watch(fd);
}

/* Accepts until EAGAIN: the listener is edge triggered, so a connection left behind would wait for the next one. */
static void accept_all(int listener, const struct sockaddr_in *server)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            connect_upstream(fd, server);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != ECONNABORTED && errno != EINTR) {
            fail("accept4"); /* out of descriptors: the run is void, better to say so than to stall */
        }
    }
}

static struct sockaddr_in address_of(const char *address, const char *port)
{
    struct sockaddr_in found = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    if (inet_pton(AF_INET, address, &found.sin_addr) != 1) {
        fprintf(stderr, "relay: not an IPv4 address: %s\n", address);
        exit(2);
    }
    return found;
}

static int listen_on(struct sockaddr_in local)
{
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

    if (argc != 5) {
        fprintf(stderr, "usage: relay ADDRESS PORT SERVER_ADDRESS SERVER_PORT\n");
        return 2;
    }
    signal(SIGTERM, on_sigterm);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct sockaddr_in server = address_of(argv[3], argv[4]);
    int listener = listen_on(address_of(argv[1], argv[2]));
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        fail("epoll");
    watch(listener);

    for (;;) {
        int count = epoll_wait(epoll, ready, EVENTS_PER_WAIT, -1);
        if (count < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            if (ready[i].data.fd == listener)
                accept_all(listener, &server);
            else
                on_ready(ready[i].data.fd, ready[i].events);
        }
    }
}
