/*
 * The load generator of scripts/bench.sh: closed-loop echo, connection churn, and connections held open.
 *
 * One thread, to be pinned by its caller. It is as lean as the server it drives, or it would measure
 * itself. Any error ends the run: a figure with errors in it is not one. Every mode has an overall
 * deadline, after which it reports how far it got and exits with status 3.
 *
 *     cc -O2 -o load load.c && ./load --help
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS_PER_WAIT = 1024,
    BUFFER_BYTES = 65536,
    HOLD_WINDOW = 64,        /* handshakes begun and not yet answered: far below any backlog */
    SOURCE_ADDRESSES = 4096, /* each has its own ephemeral ports: 127.1.0.0 and up */
    SUB_BITS = 7,            /* 128 steps to each power of two: a resolution of 0.8 % */
    BUCKETS = (64 - SUB_BITS + 1) << SUB_BITS,
};

static const uint64_t SECOND_NS = 1000000000;

static const char USAGE[] =
    "usage: load echo  -p PORT [-c CONNECTIONS] [-s BYTES] [-P PIPELINE] (-t SECONDS [-w WARM_UP] | -n REQUESTS)\n"
    "       load churn -p PORT [-c IN_FLIGHT] [-s BYTES | -l LINE -a BYTES] [-e] (-t SECONDS | -n LIVES)\n"
    "       load hold  -p PORT [-c CONNECTIONS] [-l LINE [-a BYTES]]\n"
    "\n"
    "  echo   keeps PIPELINE messages under way on each connection and times every answer\n"
    "  churn  repeats connect, one request, its answer, close; IN_FLIGHT of them at a time\n"
    "  hold   opens the connections, prints held=N, keeps them until stdin ends or SIGTERM, prints lost=N\n"
    "\n"
    "  -p PORT      where the server listens, on 127.0.0.1\n"
    "  -l LINE      sent once per connection, which must answer with a line; %d is the number of the\n"
    "               connection, \\r, \\n and \\xHH are understood: 'IDENT dev%d\\r\\n'\n"
    "  -a BYTES     how long the answer to it is, where that is not a line\n"
    "  -e           churn: the server closes first, after its answer; without it the client does\n"
    "  -d SECONDS   overall deadline (the time asked for plus 30; 120 where a count was asked for; 600 for hold)\n"
    "Exit status: 0 done, 1 an error, 2 usage, 3 the deadline passed.\n";

struct connection {
    int fd;
    uint32_t in_flight; /* echo: messages sent or queued whose answer is not complete */
    uint32_t oldest;    /* echo: place in `sent_at` of the oldest of them */
    uint64_t unsent;    /* bytes of them the kernel has not taken yet */
    uint64_t sent, got; /* bytes in this life: their remainder is the place in the pattern */
    bool ended;         /* churn: the server has closed, as it was to */
    uint64_t *sent_at;  /* ring of `pipeline` instants */
};

static struct {
    uint32_t connections, bytes, pipeline;
    double seconds, warm_up_seconds, deadline_seconds;
    uint64_t total, answer;
    const char *line;
    bool server_closes;
} want = {.connections = 50, .bytes = 64, .pipeline = 1, .warm_up_seconds = 0.5};

static struct sockaddr_in server = {.sin_family = AF_INET};
static int epoll;
static uint64_t deadline_at, measure_from, stop_at, issued, completed, measured;
static uint64_t histogram[BUCKETS], latency_max;
static char *pattern; /* long enough to send or compare a full pipeline from any place in a message */
static char buffer[BUFFER_BYTES];

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

static void __attribute__((noreturn, format(printf, 2, 3))) fail(int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(status);
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    return memory ? memory : (fail(1, "out of memory"), NULL);
}

/* Log-linear: the leading bit picks the power of two, the SUB_BITS after it the step. */
static uint32_t bucket_of(uint64_t value)
{
    if (value < 1u << SUB_BITS)
        return (uint32_t)value;
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(value) - SUB_BITS;
    return ((shift + 1) << SUB_BITS) + (uint32_t)((value >> shift) - (1u << SUB_BITS));
}

static double bucket_middle(uint32_t bucket)
{
    if (bucket < 1u << SUB_BITS)
        return bucket;
    uint32_t shift = (bucket >> SUB_BITS) - 1;
    return ((1u << SUB_BITS) + (bucket & ((1u << SUB_BITS) - 1)) + 0.5) * (double)((uint64_t)1 << shift);
}

static double percentile_us(double fraction)
{
    uint64_t rank = (uint64_t)(fraction * (double)measured), seen = 0;
    for (uint32_t bucket = 0; bucket < BUCKETS; bucket++) {
        seen += histogram[bucket];
        if (seen > rank)
            return bucket_middle(bucket) / 1000;
    }
    return (double)latency_max / 1000;
}

static uint64_t time_left(void)
{
    uint64_t at = now();
    if (at >= deadline_at)
        fail(3, "the deadline passed: %" PRIu64 " begun, %" PRIu64 " completed", issued, completed);
    return deadline_at - at;
}

/* More may be begun: until a count is reached, or until an instant. */
static bool may_begin(uint64_t at)
{
    return want.total ? issued < want.total : at < stop_at;
}

static int wait_ready(struct epoll_event *ready)
{
    int count = epoll_wait(epoll, ready, EVENTS_PER_WAIT, (int)(time_left() / 1000000) + 1);
    return count >= 0 || errno == EINTR ? count : (fail(1, "epoll_wait: %s", strerror(errno)), -1);
}

static void watch(int fd, uint32_t index, uint32_t events)
{
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){events | EPOLLET, {.u32 = index}}) < 0)
        fail(1, "epoll_ctl: %s", strerror(errno));
}

/* A socket bound to the next source address. The port is left to connect, which needs it free only
 * towards this server, so that one (source, server) pair has the whole ephemeral range. */
static int source_socket(int flags)
{
    static uint32_t next;
    int on = 1;
    struct in_addr source = {htonl(0x7f010000u + next++ % SOURCE_ADDRESSES)};
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr = source};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0)
        fail(1, "socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&local, sizeof local) < 0)
        fail(1, "bind: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

/* A blocking connect bounded by the deadline: SO_SNDTIMEO covers connect too, socket(7). */
static int connect_now(void)
{
    uint64_t left = time_left();
    struct timeval timeout = {.tv_sec = (time_t)(left / SECOND_NS), .tv_usec = (suseconds_t)(left % SECOND_NS / 1000)};
    int fd = source_socket(0);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    if (connect(fd, (struct sockaddr *)&server, sizeof server) < 0)
        fail(1, "connect: %s", strerror(errno));
    return fd;
}

/* Receives what is there; 0 means nothing for now. An echo must be the pattern: a server that loses or
 * mixes up bytes is not being measured, it is broken. */
static size_t receive(struct connection *c, uint64_t expected)
{
    ssize_t got = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got < 0)
        fail(1, "recv: %s", strerror(errno));
    if (got == 0 && want.server_closes && expected == 0)
        return c->ended = true, 0;
    if (got == 0)
        fail(1, "the server closed a connection that waits for an answer");
    bool same = want.line || memcmp(buffer, pattern + c->got % want.bytes, (size_t)got) == 0;
    if ((uint64_t)got > expected || !same)
        fail(1, "the server answered more than it was sent, or other bytes");
    c->got += (uint64_t)got;
    return (size_t)got;
}

static void send_unsent(struct connection *c)
{
    for (ssize_t sent; c->unsent > 0; c->unsent -= (uint64_t)sent, c->sent += (uint64_t)sent) {
        sent = send(c->fd, pattern + c->sent % want.bytes, c->unsent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN)
            return; /* EPOLLOUT is watched */
        if (sent < 0)
            fail(1, "send: %s", strerror(errno));
    }
}

static void echo_begin(struct connection *c, uint64_t at)
{
    while (c->in_flight < want.pipeline && may_begin(at)) {
        c->sent_at[(c->oldest + c->in_flight) % want.pipeline] = at;
        c->in_flight++;
        c->unsent += want.bytes;
        issued++;
    }
    send_unsent(c);
}

static void echo_answered(struct connection *c, uint64_t at)
{
    uint64_t latency = at - c->sent_at[c->oldest];
    c->oldest = (c->oldest + 1) % want.pipeline;
    c->in_flight--;
    completed++;
    if (at < measure_from || (!want.total && at >= stop_at))
        return;
    measured++;
    histogram[bucket_of(latency)]++;
    if (latency > latency_max)
        latency_max = latency;
}

static void echo_ready(struct connection *c)
{
    size_t got;
    do {
        uint64_t whole = c->got / want.bytes;
        got = receive(c, c->sent - c->got);
        uint64_t at = now();
        for (uint64_t answers = c->got / want.bytes - whole; answers > 0; answers--)
            echo_answered(c, at);
        echo_begin(c, at);
    } while (got == sizeof buffer); /* a short read drained it: no more comes back than was sent */
}

/* How long this process was ready to run while another held its cpu: the caller's measure of doubt. */
static double waited_seconds(void)
{
    double ran_ns, waited_ns = 0;
    FILE *schedstat = fopen("/proc/self/schedstat", "r");
    if (!schedstat)
        return 0;
    int fields = fscanf(schedstat, "%lf %lf", &ran_ns, &waited_ns);
    fclose(schedstat);
    return fields == 2 ? waited_ns / 1e9 : 0;
}

static void run_echo(struct connection *connections)
{
    static struct epoll_event ready[EVENTS_PER_WAIT];
    for (uint32_t i = 0; i < want.connections; i++) {
        connections[i].fd = connect_now();
        connections[i].sent_at = allocate(want.pipeline, sizeof(uint64_t));
        watch(connections[i].fd, i, EPOLLIN | EPOLLOUT);
    }
    uint64_t began = now();
    measure_from = want.total ? began : began + (uint64_t)(want.warm_up_seconds * 1e9);
    stop_at = measure_from + (uint64_t)(want.seconds * 1e9);
    for (uint32_t i = 0; i < want.connections; i++)
        echo_begin(&connections[i], now());
    /* What was begun is answered before the connections close, so each ends by an orderly FIN. */
    while (completed < issued || may_begin(now())) {
        int count = wait_ready(ready);
        for (int i = 0; i < count; i++)
            echo_ready(&connections[ready[i].data.u32]);
    }
    double seconds = want.total ? (double)(now() - began) / 1e9 : want.seconds;
    printf("mode=echo connections=%u requests=%" PRIu64 " all_requests=%" PRIu64 " seconds=%.3f waited=%.6f",
           want.connections, measured, completed, seconds, waited_seconds());
    printf(" rate=%.0f p50_us=%.1f p99_us=%.1f p999_us=%.1f max_us=%.1f\n", (double)measured / seconds,
           percentile_us(0.50), percentile_us(0.99), percentile_us(0.999), (double)latency_max / 1000);
}

/* Begins a life. On loopback the handshake is over when connect returns, though it says EINPROGRESS;
 * sending at once saves the generator a wake-up. Elsewhere, or with a full backlog, EPOLLOUT tells. */
static void churn_begin(struct connection *c, uint32_t index)
{
    *c = (struct connection){.fd = source_socket(SOCK_NONBLOCK), .unsent = want.bytes};
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS)
        fail(1, "connect: %s", strerror(errno));
    issued++;
    send_unsent(c);
    watch(c->fd, index, c->unsent > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void churn_ready(struct connection *c, uint32_t index)
{
    send_unsent(c); /* which also reports a connect that failed */
    while (c->got < want.answer && receive(c, want.answer - c->got) > 0)
        ;
    if (c->got < want.answer || (want.server_closes && (receive(c, 0), !c->ended)))
        return;
    /* If the client closes first, its own host keeps the TIME_WAIT, which is why the sources are many. */
    close(c->fd);
    completed++;
    if (may_begin(now()))
        churn_begin(c, index);
}

/* Writes the line of connection `number` to the shared buffer. Returns its length. */
static size_t expand_line(uint32_t number)
{
    size_t length = 0;
    for (const char *at = want.line; *at && length < 1024; at++) {
        if (at[0] == '%' && at[1] == 'd')
            length += (size_t)sprintf(buffer + length, "%u", number), at++;
        else if (at[0] == '\\' && at[1] == 'x' && sscanf(at + 2, "%2hhx", (unsigned char *)buffer + length) == 1)
            length++, at += 3;
        else if (at[0] == '\\' && (at[1] == 'r' || at[1] == 'n'))
            buffer[length++] = *++at == 'r' ? '\r' : '\n';
        else
            buffer[length++] = *at;
    }
    return length;
}

static void run_churn(struct connection *connections)
{
    static struct epoll_event ready[EVENTS_PER_WAIT];
    if (want.line) {
        want.bytes = (uint32_t)expand_line(0);
        memcpy(pattern = allocate(want.bytes, 1), buffer, want.bytes);
    }
    want.answer = want.answer ? want.answer : want.bytes;
    uint64_t began = now();
    stop_at = began + (uint64_t)(want.seconds * 1e9);
    for (uint32_t i = 0; i < want.connections && may_begin(began); i++)
        churn_begin(&connections[i], i);
    while (completed < issued) {
        int count = wait_ready(ready);
        for (int i = 0; i < count; i++)
            churn_ready(&connections[ready[i].data.u32], ready[i].data.u32);
    }
    double seconds = (double)(now() - began) / 1e9;
    printf("mode=churn in_flight=%u lives=%" PRIu64 " seconds=%.3f waited=%.6f rate=%.0f\n", want.connections,
           completed, seconds, waited_seconds(), (double)completed / seconds);
}

/* An answer to the line: as many bytes as it is to have, or a line. */
static void await_answer(int fd)
{
    uint64_t all = 0;
    ssize_t got;
    do {
        got = recv(fd, buffer, sizeof buffer, 0); /* bounded by SO_RCVTIMEO */
        if (got <= 0)
            fail(got < 0 && errno == EAGAIN ? 3 : 1, "no answer: %s", got < 0 ? strerror(errno) : "end of file");
        all += (uint64_t)got;
    } while (want.answer ? all < want.answer : buffer[got - 1] != '\n');
    completed++;
}

static void on_sigterm(int signal_number)
{
    (void)signal_number; /* it only has to interrupt ppoll */
}

static void run_hold(struct connection *connections)
{
    /* Held back until ppoll lets it in, or it could arrive just before the wait and be lost. */
    sigset_t before, terminate = {0};
    sigaddset(&terminate, SIGTERM);
    sigprocmask(SIG_BLOCK, &terminate, &before);
    signal(SIGTERM, on_sigterm);
    uint32_t opened = 0, answered = 0, lost = 0;
    while (opened < want.connections) {
        connections[opened].fd = connect_now();
        issued++;
        if (want.line) {
            size_t length = expand_line(opened);
            if (send(connections[opened].fd, buffer, length, MSG_NOSIGNAL) != (ssize_t)length)
                fail(1, "send: %s", strerror(errno));
        }
        opened++;
        /* An answer also shows that the server accepted: a connection in its queue would not count. */
        while (want.line && answered < opened && (opened - answered == HOLD_WINDOW || opened == want.connections))
            await_answer(connections[answered++].fd);
    }
    printf("held=%u\n", opened);
    fflush(stdout);
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    int count;
    do {
        struct timespec timeout = {.tv_sec = (time_t)(time_left() / SECOND_NS) + 1};
        count = ppoll(&input, 1, &timeout, &before);
    } while (count == 0 || (count > 0 && read(STDIN_FILENO, buffer, sizeof buffer) > 0));
    for (uint32_t i = 0; i < opened; i++) {
        ssize_t got = recv(connections[i].fd, buffer, sizeof buffer, MSG_DONTWAIT);
        lost += got == 0 || (got < 0 && errno != EAGAIN);
    }
    printf("lost=%u\n", lost);
}

static void parse(int argc, char **argv)
{
    int option;
    while ((option = getopt(argc, argv, "a:c:d:el:n:p:P:s:t:w:h")) != -1) {
        switch (option) {
        case 'a': want.answer = strtoull(optarg, NULL, 10); break;
        case 'e': want.server_closes = true; break;
        case 'c': want.connections = (uint32_t)atoi(optarg); break;
        case 'd': want.deadline_seconds = atof(optarg); break;
        case 'l': want.line = optarg; break;
        case 'n': want.total = strtoull(optarg, NULL, 10); break;
        case 'p': server.sin_port = htons((uint16_t)atoi(optarg)); break;
        case 'P': want.pipeline = (uint32_t)atoi(optarg); break;
        case 's': want.bytes = (uint32_t)atoi(optarg); break;
        case 't': want.seconds = atof(optarg); break;
        case 'w': want.warm_up_seconds = atof(optarg); break;
        default: fail(2, "see load --help");
        }
    }
    if (optind != argc || !server.sin_port)
        fail(2, "-p PORT is needed: see load --help");
    if (!want.connections || !want.bytes || !want.pipeline || (uint64_t)want.bytes * want.pipeline > 1 << 20)
        fail(2, "connections, bytes and pipeline are at least 1, bytes x pipeline at most 1 MiB");
}

int main(int argc, char **argv)
{
    if (argc < 2 || !strcmp(argv[1], "--help"))
        return fputs(USAGE, argc < 2 ? stderr : stdout), argc < 2 ? 2 : 0;
    const char *mode = argv[1];
    void (*run)(struct connection *) = !strcmp(mode, "echo") ? run_echo : !strcmp(mode, "churn") ? run_churn : run_hold;
    if (run == run_hold && strcmp(mode, "hold"))
        fail(2, "unknown mode %s: see load --help", mode);
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    parse(argc - 1, argv + 1);
    if (run != run_hold && !want.total == !(want.seconds > 0))
        fail(2, "one of -t SECONDS and -n COUNT is needed");
    if (!want.deadline_seconds)
        want.deadline_seconds = run == run_hold ? 600 : want.total ? 120 : want.seconds + want.warm_up_seconds + 30;
    deadline_at = now() + (uint64_t)(want.deadline_seconds * 1e9);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if ((epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        fail(1, "epoll_create1: %s", strerror(errno));
    pattern = allocate(want.pipeline + 1, want.bytes);
    for (size_t i = 0; i < (size_t)want.bytes * (want.pipeline + 1); i++)
        pattern[i] = (char)('a' + i % want.bytes % 26);
    run(allocate(want.connections, sizeof(struct connection)));
    return 0;
}
