/*
 * The generator of `python3 benches/compare --only fanout`: one publisher, many subscribers of its channel, in the wire
 * format of Redis.
 *
 * One thread, to be pinned by its caller. Deliveries are counted by the bytes received, which are dropped without being
 * copied (MSG_TRUNC, tcp(7)): the generator should not be what is measured. A publish is under way until its reply and
 * as many deliveries as there are subscribers have come; no more than a window of them is, so that nothing piles up in
 * the server. Any error ends the run: a figure with errors in it is not one.
 *
 *     cc -O2 -o fanout fanout.c && ./fanout --help
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS_PER_WAIT = 1024,
    BYTES_AT_ONCE = 32 << 20,
    PATIENCE_SECONDS = 20,
};

static const uint64_t SECOND_NS = 1000000000;
static const double WARM_UP_SECONDS = 0.2;

static const char USAGE[] =
    "usage: fanout -p PORT -c SUBSCRIBERS [-s BYTES] [-w WINDOW] [-t SECONDS] -S PID\n"
    "\n"
    "Subscribes them, prints `ready`, and for each line on stdin publishes for so many seconds and prints\n"
    "deliveries=N rate=R server_ns=N: how many there were, in a second, and what the server used of its cpu for\n"
    "each; server_busy= and own_busy=, shares of a cpu; disturbed=, the share of the time for which server or\n"
    "generator waited for a cpu that others held. Ends with stdin.\n"
    "\n"
    "  -p PORT      where the server listens, on 127.0.0.1\n"
    "  -s BYTES     of a message (64)\n"
    "  -w WINDOW    publishes under way at a time (16)\n"
    "  -S PID       the server's process\n"
    "Exit status: 0 done, 1 an error, 2 usage.\n";

static uint32_t subscribers, bytes = 64, window = 16;
static double seconds = 1;
static int port, server_pid, epoll, publisher;
static int *fds;
static char *frame, *commands, *message, reply[32];
static size_t command_bytes, message_bytes, reply_bytes;
/* Since the start: publishes sent, bytes of replies to them, and bytes of messages. */
static uint64_t published, reply_bytes_got, message_bytes_got;

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("fanout: ", stderr);
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

static int connected(void)
{
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct timeval patience = {PATIENCE_SECONDS, 0};
    if (fd < 0 || connect(fd, (struct sockaddr *)&server, sizeof server) != 0)
        fail("connect: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return fd;
}

static void say(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent <= 0)
            fail("send: %s", strerror(errno));
        data += sent;
        size -= (size_t)sent;
    }
}

/* Waits for exactly these bytes. */
static void expect(int fd, const char *data, size_t size)
{
    ssize_t got = recv(fd, frame, size, MSG_WAITALL);
    if (got != (ssize_t)size || memcmp(frame, data, size) != 0)
        fail("an unexpected answer of %zd bytes: %.*s", got, got > 0 && got < 80 ? (int)got : 0, frame);
}

static void prepare(void)
{
    size_t room = bytes + 128;
    char *payload = malloc(room);
    frame = malloc(room), message = malloc(room), commands = malloc(window * room);
    fds = calloc(subscribers, sizeof *fds);
    if (!payload || !frame || !message || !commands || !fds)
        fail("out of memory");
    memset(payload, 'x', bytes);
    payload[bytes] = 0;
    message_bytes = (size_t)snprintf(
        message, room, "*3\r\n$7\r\nmessage\r\n$6\r\nfanout\r\n$%u\r\n%s\r\n", bytes, payload);
    reply_bytes = (size_t)snprintf(reply, sizeof reply, ":%u\r\n", subscribers);
    for (uint32_t i = 0; i < window; i++)
        command_bytes = (size_t)snprintf(commands + i * command_bytes, room,
            "*3\r\n$7\r\nPUBLISH\r\n$6\r\nfanout\r\n$%u\r\n%s\r\n", bytes, payload);
    free(payload);
}

static void watch(int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        fail("epoll_ctl: %s", strerror(errno));
}

static void subscribe(void)
{
    static const char ask[] = "*2\r\n$9\r\nSUBSCRIBE\r\n$6\r\nfanout\r\n";
    static const char confirmation[] = "*3\r\n$9\r\nsubscribe\r\n$6\r\nfanout\r\n:1\r\n";
    for (uint32_t i = 0; i < subscribers; i++) {
        fds[i] = connected();
        say(fds[i], ask, sizeof ask - 1);
        expect(fds[i], confirmation, sizeof confirmation - 1);
    }
    publisher = connected();
    /* The first message is looked at; all others are only counted. */
    say(publisher, commands, command_bytes);
    expect(publisher, reply, reply_bytes);
    for (uint32_t i = 0; i < subscribers; i++)
        expect(fds[i], message, message_bytes);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    for (uint32_t i = 0; i < subscribers; i++)
        watch(fds[i]);
    watch(publisher);
}

static uint64_t deliveries(void) { return message_bytes_got / message_bytes; }

/* Publishes that have their reply, and all their deliveries on the average of the subscribers. */
static uint64_t completed(void)
{
    uint64_t replies = reply_bytes_got / reply_bytes, delivered = deliveries() / subscribers;
    return replies < delivered ? replies : delivered;
}

static void publish(void)
{
    uint64_t under_way = published - completed();
    if (under_way >= window)
        return;
    say(publisher, commands, (window - under_way) * command_bytes);
    published = completed() + window;
}

static void take(void)
{
    struct epoll_event events[EVENTS_PER_WAIT];
    int count = epoll_wait(epoll, events, EVENTS_PER_WAIT, 1000 * PATIENCE_SECONDS);
    if (count <= 0)
        fail("nothing came for %d s", PATIENCE_SECONDS);
    for (int i = 0; i < count; i++) {
        int fd = events[i].data.fd;
        ssize_t got = recv(fd, NULL, BYTES_AT_ONCE, MSG_TRUNC | MSG_DONTWAIT);
        if (got <= 0)
            fail("a connection was ended: %s", got ? strerror(errno) : "end of file");
        if (fd == publisher)
            reply_bytes_got += (uint64_t)got;
        else
            message_bytes_got += (uint64_t)got;
    }
}

static void run_until(uint64_t at)
{
    while (now() < at) {
        publish();
        take();
    }
}

static void measure(void)
{
    run_until(now() + (uint64_t)(WARM_UP_SECONDS * (double)SECOND_NS));
    uint64_t began = now(), before = deliveries();
    struct usage server = usage_of(server_pid), own = usage_of(getpid());
    run_until(began + (uint64_t)(seconds * (double)SECOND_NS));
    double passed = (double)(now() - began);
    uint64_t count = deliveries() - before;
    struct usage server_now = usage_of(server_pid), own_now = usage_of(getpid());
    double ran = (double)(server_now.ran - server.ran);
    double waited = (double)(server_now.waited - server.waited + own_now.waited - own.waited);
    while (completed() < published)
        take();
    if (message_bytes_got != published * subscribers * message_bytes)
        fail("%" PRIu64 " bytes of messages are not what was published", message_bytes_got);
    printf("deliveries=%" PRIu64 " rate=%.0f server_ns=%.1f server_busy=%.3f own_busy=%.3f disturbed=%.3f\n", count,
           (double)count * (double)SECOND_NS / passed, ran / (double)count, ran / passed,
           (double)(own_now.ran - own.ran) / passed, waited / passed);
    fflush(stdout);
}

int main(int count, char **words)
{
    int option;
    while ((option = getopt(count, words, "p:c:s:w:t:S:h")) != -1) {
        switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'c': subscribers = (uint32_t)atoi(optarg); break;
        case 's': bytes = (uint32_t)atoi(optarg); break;
        case 'w': window = (uint32_t)atoi(optarg); break;
        case 't': seconds = atof(optarg); break;
        case 'S': server_pid = atoi(optarg); break;
        case 'h': fputs(USAGE, stdout); return 0;
        default: fputs(USAGE, stderr); return 2;
        }
    }
    if (port <= 0 || subscribers == 0 || bytes == 0 || window == 0 || seconds <= 0 || server_pid <= 0) {
        fputs(USAGE, stderr);
        return 2;
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    prepare();
    subscribe();
    puts("ready");
    fflush(stdout);
    char line[64];
    while (fgets(line, sizeof line, stdin))
        measure();
    return 0;
}
