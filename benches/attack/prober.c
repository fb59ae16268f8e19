/*
 * What a healthy client sees of a server under attack: one connection that says PING on a fixed schedule, whether or
 * not the last one was answered, so that a stall is charged for all that it holds up.
 *
 * A wait ends when the answer reaches this host's socket, by the kernel's own stamp (SO_TIMESTAMPNS): how long this
 * process waits for a cpu is not in it.
 *
 *     cc -O2 -o prober prober.c && ./prober PORT [INTERVAL_MS]
 *
 * A line on stdin makes it print a line about the waits since the line before; an end of file ends it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    SAMPLES_MAX = 1 << 16, /* 20 minutes at 20 ms */
    ANSWER_BYTES = 7,      /* "+PONG\r\n" */
};

static const char PING[] = "*1\r\n$4\r\nPING\r\n";
static const uint64_t SECOND_NS = 1000000000;

static uint64_t sent_at[SAMPLES_MAX], waits[SAMPLES_MAX], sorted[SAMPLES_MAX];
/* All since the start: pings sent, and answered; those before `reported` were told of. */
static uint32_t sent, answered, reported;
static uint64_t late_max, bytes_of_answer;
static bool gone;

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

static int fail(const char *what)
{
    fprintf(stderr, "prober: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int connected(uint16_t port)
{
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(port)};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&server, sizeof server) != 0)
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
    return fd;
}

static void ping(int fd, uint64_t due)
{
    if (sent == SAMPLES_MAX)
        fail("too long a run");
    uint64_t late = clock_ns(CLOCK_MONOTONIC) - due;
    if (late > late_max)
        late_max = late;
    sent_at[sent++] = clock_ns(CLOCK_REALTIME);
    if (send(fd, PING, sizeof PING - 1, MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof PING - 1)
        gone = true;
}

/* When the kernel had what the last recvmsg returned; now, where it does not say. */
static uint64_t received_at(struct msghdr *message)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SO_TIMESTAMPNS) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(part), sizeof t);
            return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
        }
    }
    return clock_ns(CLOCK_REALTIME);
}

static void take_answers(int fd)
{
    char bytes[4096], control[256];
    struct iovec piece = {bytes, sizeof bytes};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t count = recvmsg(fd, &message, MSG_DONTWAIT);
    if (count == 0 || (count < 0 && errno != EAGAIN))
        gone = true;
    if (count <= 0)
        return;
    uint64_t at = received_at(&message);
    for (bytes_of_answer += (uint64_t)count; bytes_of_answer >= ANSWER_BYTES && answered < sent; answered++) {
        bytes_of_answer -= ANSWER_BYTES;
        waits[answered] = at > sent_at[answered] ? at - sent_at[answered] : 0;
    }
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* What is not answered yet has waited until now, and is told of again when it is answered. */
static void report(void)
{
    uint64_t at = clock_ns(CLOCK_REALTIME);
    uint32_t count = sent - reported;
    for (uint32_t i = 0; i < count; i++)
        sorted[i] = reported + i < answered ? waits[reported + i] : at - sent_at[reported + i];
    qsort(sorted, count, sizeof *sorted, by_size);
    uint64_t p50 = count ? sorted[count / 2] : 0, p99 = count ? sorted[(uint64_t)count * 99 / 100] : 0;
    printf("count=%" PRIu32 " unanswered=%" PRIu32 " p50_us=%" PRIu64 " p99_us=%" PRIu64 " max_us=%" PRIu64
           " late_us=%" PRIu64 " gone=%d\n",
           count, sent - answered, p50 / 1000, p99 / 1000, count ? sorted[count - 1] / 1000 : 0, late_max / 1000,
           gone);
    fflush(stdout);
    reported = answered;
    late_max = 0;
}

static void run(int fd, uint64_t interval)
{
    uint64_t due = clock_ns(CLOCK_MONOTONIC);
    for (;;) {
        uint64_t at = clock_ns(CLOCK_MONOTONIC);
        if (at >= due && !gone) {
            ping(fd, due);
            /* A ping that this process was too late for is not sent twice. */
            do
                due += interval;
            while (due <= at);
        }
        struct pollfd watched[] = {{STDIN_FILENO, POLLIN, 0}, {gone ? -1 : fd, POLLIN, 0}};
        uint64_t left = due > at ? due - at : 0;
        struct timespec patience = {(time_t)(left / SECOND_NS), (long)(left % SECOND_NS)};
        if (ppoll(watched, 2, gone ? NULL : &patience, NULL) < 0 && errno != EINTR)
            fail("poll");
        if (watched[1].revents)
            take_answers(fd);
        if (watched[0].revents) {
            char line[256];
            if (read(STDIN_FILENO, line, sizeof line) <= 0)
                return;
            report();
        }
    }
}

int main(int count, char **words)
{
    int port = count > 1 ? atoi(words[1]) : 0, interval = count > 2 ? atoi(words[2]) : 20;
    if (port <= 0 || port > 65535 || interval <= 0) {
        fputs("usage: prober PORT [INTERVAL_MS]\n", stderr);
        return 2;
    }
    /* A page fault is not the server's doing either. */
    mlockall(MCL_CURRENT | MCL_FUTURE);
    run(connected((uint16_t)port), (uint64_t)interval * 1000000);
    return 0;
}
