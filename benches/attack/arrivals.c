/*
 * One source that opens connections at a rate, says nothing, and resets the oldest where there are too many.
 *
 *     cc -O2 -o arrivals arrivals.c && ./arrivals SOURCE PORT RATE SECONDS AT_ONCE
 *
 * Prints how many it has opened.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { AT_ONCE_MAX = 4096 };

static const uint64_t SECOND_NS = 1000000000, STEP_NS = 100000, LATE_NS = 1000000;

static int held[AT_ONCE_MAX];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND_NS + (uint64_t)time.tv_nsec;
}

static int arrive(const struct sockaddr_in *from, const struct sockaddr_in *to)
{
    int one = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (one < 0)
        die("socket");
    /* No port is kept for its past connections, and none is looked for before it is known to whom. */
    struct linger reset = {1, 0};
    setsockopt(one, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    setsockopt(one, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
    if (bind(one, (const struct sockaddr *)from, sizeof *from) < 0)
        die("bind");
    if (connect(one, (const struct sockaddr *)to, sizeof *to) < 0 && errno != EINPROGRESS && errno != ECONNREFUSED)
        die("connect");
    return one;
}

int main(int count, char **words)
{
    if (count != 6) {
        fprintf(stderr, "usage: %s SOURCE PORT RATE SECONDS AT_ONCE\n", words[0]);
        return 2;
    }
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[2]))};
    inet_pton(AF_INET, words[1], &from.sin_addr);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    uint64_t rate = strtoull(words[3], NULL, 10), at_once = strtoull(words[5], NULL, 10);
    if (at_once < 1 || at_once > AT_ONCE_MAX)
        return 2;
    prctl(PR_SET_TIMERSLACK, 1);
    uint64_t begin = now(), end = begin + (uint64_t)(atof(words[4]) * (double)SECOND_NS), opened = 0, at = begin;
    while (at < end) {
        /* Who comes late comes now, but not in a larger burst than of a millisecond. */
        uint64_t due = rate * (at - begin) / SECOND_NS, most = opened + 1 + rate * LATE_NS / SECOND_NS;
        for (; opened < due && opened < most; opened++) {
            int *oldest = &held[opened % at_once];
            if (opened >= at_once)
                close(*oldest);
            *oldest = arrive(&from, &to);
        }
        struct timespec step = {0, (long)STEP_NS};
        nanosleep(&step, NULL);
        at = now();
    }
    printf("%" PRIu64 "\n", opened);
    return 0;
}
