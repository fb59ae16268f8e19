/*
 * Bulk for the part `gateway` of `python3 benches/compare`: the server behind a relay, which sends as fast as it is read,
 * and the clients before it, which drop what they receive.
 *
 * One thread, to be pinned by its caller. What is received is dropped without being copied (MSG_TRUNC, tcp(7)), so that
 * the relay, which copies everything twice, is busier than its generator. Any error ends the run.
 *
 *     cc -O2 -o bulk bulk.c && ./bulk --help
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS_PER_WAIT = 256,
    PAIRS_MAX = 1000,
    SEND_BYTES = 256 << 10,
    RECEIVE_BYTES = 32 << 20,
    PATIENCE_MS = 10000,
};

static const uint64_t SECOND_NS = 1000000000;
static const double WARM_UP_SECONDS = 0.2;

static const char USAGE[] =
    "usage: bulk -b PORT [-t SECONDS]\n"
    "\n"
    "Listens on PORT of 127.0.0.1 as the server behind relays, prints `ready`, and for each line `RELAY_PORT PAIRS PID` on\n"
    "stdin opens so many connections to that relay, lets bytes flow for so many seconds, closes them, and prints\n"
    "bytes=N seconds=T server_ns=N server_waited_ns=N: what the clients got, and for how long the relay's process PID ran\n"
    "meanwhile, and waited for a cpu. Ends with stdin.\n"
    "Exit status: 0 done, 1 an error, 2 usage.\n";

/* What a descriptor is for, in the data of its events. */
enum kind { LISTENER, SOURCE, SINK };

static int epoll, listener;
static double seconds = 1;
static int sources[PAIRS_MAX], sinks[PAIRS_MAX];
static int source_count;
static uint64_t received;
static char bytes[SEND_BYTES];

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("bulk: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

/* What a process ran for, and for how long it waited for a cpu, in ns. */
struct usage {
    uint64_t ran, waited;
};

static struct usage usage_of(int pid)
{
    char path[64];
    struct usage usage = {0, 0};
    snprintf(path, sizeof path, "/proc/%d/schedstat", pid);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%" SCNu64 " %" SCNu64, &usage.ran, &usage.waited) != 2)
        fail("%s cannot be read", path);
    fclose(file);
    return usage;
}

static void watch(int fd, uint32_t events, enum kind kind)
{
    struct epoll_event interest = {.events = events, .data.u64 = (uint64_t)kind << 32 | (uint32_t)fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &interest) < 0)
        fail("epoll_ctl: %s", strerror(errno));
}

static struct sockaddr_in address(int port)
{
    struct sockaddr_in found = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    found.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return found;
}

static void accept_one(void)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0 || source_count == PAIRS_MAX)
        fail("accept4: %s", strerror(errno));
    sources[source_count++] = fd;
    watch(fd, EPOLLOUT, SOURCE);
}

/* Level triggered, one call for each event: all pairs have their turn. */
static void on_ready(struct epoll_event event)
{
    int fd = (int)(uint32_t)event.data.u64;
    switch ((enum kind)(event.data.u64 >> 32)) {
    case LISTENER:
        return accept_one();
    case SOURCE:
        /* The client that only looked whether the relay is there has gone. One that is to be served fails itself. */
        if (send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) < 0 && errno != EAGAIN)
            epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
        return;
    case SINK: {
        ssize_t got = recv(fd, NULL, RECEIVE_BYTES, MSG_TRUNC);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            fail("recv: %s", got ? strerror(errno) : "end of file");
        received += got > 0 ? (uint64_t)got : 0;
    }
    }
}

static void flow_until(uint64_t end)
{
    struct epoll_event ready[EVENTS_PER_WAIT];
    while (now() < end) {
        int count = epoll_wait(epoll, ready, EVENTS_PER_WAIT, PATIENCE_MS);
        if (count == 0)
            fail("nothing moves");
        for (int i = 0; i < count; i++)
            on_ready(ready[i]);
    }
}

static void measure(int port, int pairs, int pid)
{
    struct sockaddr_in relay = address(port);
    source_count = 0;
    for (int i = 0; i < pairs; i++) {
        sinks[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (sinks[i] < 0 || connect(sinks[i], (struct sockaddr *)&relay, sizeof relay) < 0)
            fail("connect: %s", strerror(errno));
        watch(sinks[i], EPOLLIN, SINK);
    }
    flow_until(now() + (uint64_t)(WARM_UP_SECONDS * 1e9));
    struct usage before = usage_of(pid);
    uint64_t began = now(), had = received;
    flow_until(began + (uint64_t)(seconds * 1e9));
    struct usage after = usage_of(pid);
    printf("bytes=%" PRIu64 " seconds=%.6f server_ns=%" PRIu64 " server_waited_ns=%" PRIu64 "\n", received - had,
           (double)(now() - began) / 1e9, after.ran - before.ran, after.waited - before.waited);
    fflush(stdout);
    /* The clients leave with unread input: both legs end by a reset, and nothing of them is left. */
    for (int i = 0; i < pairs; i++)
        close(sinks[i]);
    for (int i = 0; i < source_count; i++)
        close(sources[i]);
}

int main(int argc, char **argv)
{
    int option, port = 0, pairs = 0, pid = 0, on = 1;
    if (argc > 1 && !strcmp(argv[1], "--help"))
        return fputs(USAGE, stdout), 0;
    while ((option = getopt(argc, argv, "b:t:")) != -1) {
        switch (option) {
        case 'b': port = atoi(optarg); break;
        case 't': seconds = atof(optarg); break;
        default: return fputs(USAGE, stderr), 2;
        }
    }
    struct sockaddr_in local = address(port);
    epoll = epoll_create1(0);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (!port || bind(listener, (struct sockaddr *)&local, sizeof local) < 0 || listen(listener, PAIRS_MAX) < 0)
        fail("port %d: %s", port, strerror(errno));
    watch(listener, EPOLLIN, LISTENER);
    puts("ready");
    fflush(stdout);
    while (scanf("%d %d %d", &port, &pairs, &pid) == 3) {
        if (pairs < 1 || pairs > PAIRS_MAX)
            fail("pairs are 1 to %d", PAIRS_MAX);
        measure(port, pairs, pid);
    }
    return 0;
}
