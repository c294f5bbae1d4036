/* load.c: the load generator and the target of the benchmarks of CONNECT and UDP ASSOCIATE, in one program.
 *
 *   load target [--ports 16] [--realtime] [--copy] [--verify]         echo, source and sink servers; prints their ports
 *   load short  --proxy A:P --targets P,P,… --sessions N              whole sessions: open, 100 octets there and back, close
 *               [--direct --host A]                                   (short, bulk: without SOCKS, straight to the target)
 *   load bulk   --proxy A:P --targets P --direction down|up --bytes B few streams, much data
 *               [--copy]  (the receiver copies as a real one does)    [--verify]  (it also compares)
 *   load rr     --proxy A:P --targets P,P,… --trips R                 small round trips over open sessions
 *   load mixed  --proxy A:P --targets P,P,… --source P --seconds T    the same beside many downloads
 *   load idle   --proxy A:P --targets P,P,… --sessions N              opens sessions and holds them until stdin says so
 *   load udp    --proxy A:P --targets P --sessions N --window W       datagrams there and back, W of each association at a time
 *               --trips R --payload B [--offload]                     (sent by UDP_SEGMENT and received by UDP_GRO)
 *   load udp-idle --proxy A:P --targets P --sessions N                opens associations that have relayed one datagram each
 *
 * --awake (target, short, rr, udp): yield instead of sleeping, so that no proxy pays for waking the load.
 *
 * Every mode prints one JSON object per line and is bounded by --timeout. With --hold, bulk, rr and mixed print
 * {"ready": true} when their sessions are open, wait for a line on stdin, print the result, and wait for a second line
 * before they close anything: so the caller can read the CPU clock of the proxy at both ends of the work and of nothing else.
 *
 * The source and the sink read eight octets first: how many octets the stream shall carry. The sink then answers with the
 * count that it received, so no figure depends on half-close. Clients come from 127.0.0.2 to 127.0.0.250, and the echo
 * target listens on several ports, so neither side of the proxy runs out of ports in TIME_WAIT.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum { PATTERN = 1 << 20, PIECE = 256 << 10, COPY = 64 << 10, MAX_PORTS = 64, BATCH = 256, SESSION_LIMIT_S = 15,
       DATAGRAMS = 64, HEADER = 10, LOST_AFTER_NS = 200000000 };

static struct {
    struct sockaddr_in proxy;
    uint16_t targets[MAX_PORTS];
    int target_count, ports, concurrency, payload, streams, bulk, source, window;
    long sessions, trips, seconds, timeout;
    uint64_t bytes;
    bool awake, up, hold, copy, verify, realtime, direct, offload;
    const char *user;
    struct in_addr host;
} opt = {.ports = 16, .concurrency = 64, .payload = 0, .streams = 4, .bulk = 200, .window = 32, .sessions = 0, .timeout = 120};

static uint8_t pattern[2 * PATTERN]; /* twice, so that any window of PATTERN octets is contiguous */
static uint8_t scratch[PATTERN];
static uint64_t deadline;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* With --awake the load yields instead of sleeping while there is work: to wake a sleeping process costs its waker an
 * interrupt to another core (on a virtual machine several microseconds), which a proxy whose clients and targets are on
 * other machines never pays. After 2 ms without an event it sleeps all the same. */
static int wait_events(int epoll, struct epoll_event *events, int timeout) {
    if (opt.awake)
        for (uint64_t end = now_ns() + 2000000u; now_ns() < end; sched_yield()) {
            int n = epoll_wait(epoll, events, BATCH, 0);
            if (n) return n;
        }
    return epoll_wait(epoll, events, BATCH, timeout);
}

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

static void check_deadline(const char *what) {
    if (now_ns() > deadline) die("%s: not done after %ld s", what, opt.timeout);
}

static void fill_pattern(void) {
    uint64_t x = 88172645463325252u;
    for (int i = 0; i < PATTERN; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        pattern[i] = pattern[i + PATTERN] = (uint8_t)x;
    }
}

static void raise_file_limit(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    struct rlimit higher = {131072, 131072};
    if (limit.rlim_max >= 131072 || setrlimit(RLIMIT_NOFILE, &higher) < 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Latency must not measure how the load's own processes queue for their core: the measuring ones go first there. */
static bool go_first(void) {
    struct sched_param param = {.sched_priority = 1};
    return sched_setscheduler(0, SCHED_FIFO, &param) == 0 || setpriority(PRIO_PROCESS, 0, -15) == 0;
}

static void wait_for_line(void) {
    char c;
    alarm((unsigned)opt.timeout);
    while (read(0, &c, 1) == 1 && c != '\n') {}
    alarm(0);
}

static void watch(int epoll, int fd, uint32_t events, void *ptr, int op) {
    struct epoll_event event = {.events = events, .data = {.ptr = ptr}};
    if (epoll_ctl(epoll, op, fd, &event) < 0) die("epoll_ctl: %m");
}

/* ---- percentiles ---- */

static struct {
    float *us;
    size_t count, room;
} samples;

static void sample(uint64_t ns) {
    if (samples.count == samples.room) {
        samples.room = samples.room ? samples.room * 2 : 65536;
        if (!(samples.us = realloc(samples.us, samples.room * sizeof *samples.us))) die("out of memory");
    }
    samples.us[samples.count++] = (float)ns / 1000;
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile(double p) {
    return samples.count ? (double)samples.us[(size_t)(p / 100 * (double)(samples.count - 1) + 0.5)] : 0;
}

static void print_latency(void) {
    qsort(samples.us, samples.count, sizeof *samples.us, by_value);
    printf("\"latency_us\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p99.9\": %.1f, \"max\": %.1f}", percentile(50),
           percentile(90), percentile(99), percentile(99.9), percentile(100));
}

/* ---- the client's side of SOCKS5 ---- */

static int client_socket(int flags) {
    static uint32_t turn;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0) die("socket: %m");
    struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr = {htonl(0x7f000002u + turn++ % 249)}};
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&source, sizeof source) < 0) die("bind: %m");
    return fd;
}

static size_t greeting(uint8_t *out) {
    memcpy(out, opt.user ? "\5\1\2" : "\5\1\0", 3);
    return 3;
}

static size_t credentials(uint8_t *out) {
    const char *colon = strchr(opt.user, ':');
    size_t name = (size_t)(colon - opt.user), password = strlen(colon + 1);
    out[0] = 1, out[1] = (uint8_t)name, out[2 + name] = (uint8_t)password;
    memcpy(out + 2, opt.user, name);
    memcpy(out + 3 + name, colon + 1, password);
    return 3 + name + password;
}

/* Where targets are, if the load is told; loopback. */
static struct sockaddr_in target_address(uint16_t port) {
    in_addr_t host = opt.host.s_addr ? opt.host.s_addr : htonl(INADDR_LOOPBACK);
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {host}};
}

static size_t request(uint8_t *out, uint16_t port) {
    struct sockaddr_in target = target_address(port);
    memcpy(out, "\5\1\0\1", 4), memcpy(out + 4, &target.sin_addr, 4);
    out[8] = (uint8_t)(port >> 8), out[9] = (uint8_t)port;
    return 10;
}

/* The length of the reply that starts with these octets; 0: cannot be known yet; -1: not a success. */
static int reply_length(const uint8_t *in, size_t have) {
    if (have < 5) return 0;
    if (in[0] != 5 || in[1] != 0) return -1;
    return in[3] == 1 ? 10 : in[3] == 4 ? 22 : in[3] == 3 ? 7 + in[4] : -1;
}

static void blocking_read(int fd, uint8_t *in, size_t need, const char *what) {
    for (size_t have = 0; have < need;) {
        ssize_t got = recv(fd, in + have, need - have, 0);
        if (got <= 0) die("%s: %s", what, got == 0 ? "the proxy closed" : strerror(errno));
        have += (size_t)got;
    }
}

static void blocking_write(int fd, const uint8_t *out, size_t size, const char *what) {
    if (send(fd, out, size, MSG_NOSIGNAL) != (ssize_t)size) die("%s: %m", what);
}

/* Opens a session to a target, one step after the other, and makes the socket non-blocking. With `relay` it is a UDP
 * association, and that is where its datagrams are to go. */
static int open_session_for(uint16_t port, struct sockaddr_in *relay) {
    uint8_t buffer[600];
    struct timeval limit = {SESSION_LIMIT_S, 0};
    int fd = client_socket(0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    struct sockaddr_in address = opt.proxy;
    if (opt.direct) address = target_address(port);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect: %m");
    if (!opt.direct) {
        blocking_write(fd, buffer, greeting(buffer), "greeting");
        blocking_read(fd, buffer, 2, "method");
        if (buffer[0] != 5 || buffer[1] != (opt.user ? 2 : 0)) die("method %d refused", buffer[1]);
        if (opt.user) {
            blocking_write(fd, buffer, credentials(buffer), "credentials");
            blocking_read(fd, buffer, 2, "authentication");
            if (buffer[1] != 0) die("credentials refused");
        }
        size_t size = request(buffer, port);
        if (relay) buffer[1] = 3, memset(buffer + 4, 0, 6);
        blocking_write(fd, buffer, size, "request");
        blocking_read(fd, buffer, 5, "reply");
        int length = reply_length(buffer, 5);
        if (length < 0) die("reply %d", buffer[1]);
        blocking_read(fd, buffer + 5, (size_t)length - 5, "reply");
        if (relay) {
            relay->sin_family = AF_INET;
            memcpy(&relay->sin_addr, buffer + 4, 4), memcpy(&relay->sin_port, buffer + 8, 2);
            if (!relay->sin_addr.s_addr) relay->sin_addr = opt.proxy.sin_addr; /* some servers tell zeros */
        }
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static int open_session(uint16_t port) { return open_session_for(port, NULL); }

static uint16_t next_target(void) {
    static int turn;
    return opt.targets[turn++ % opt.target_count];
}

static void ready(void) {
    if (!opt.hold) return;
    printf("{\"ready\": true}\n");
    fflush(stdout);
    wait_for_line();
}

static void finish(void) {
    printf("}\n");
    fflush(stdout);
    if (opt.hold) wait_for_line();
}

/* ---- short ---- */

enum state { CONNECTING, GREETED, IDENTIFIED, REQUESTED, ECHOING };

struct slot {
    int fd;
    enum state state;
    size_t have, need;
    uint64_t start;
    uint16_t target;
    uint8_t in[600];
};

static struct {
    int epoll, open;
    long started, done, failures;
} run;

static void start_slot(struct slot *s) {
    s->fd = -1;
    if (run.started == opt.sessions) return;
    run.started++, run.open++;
    s->start = now_ns();
    s->state = CONNECTING, s->have = 0, s->target = next_target();
    s->fd = client_socket(SOCK_NONBLOCK);
    struct sockaddr_in address = opt.direct ? target_address(s->target) : opt.proxy;
    if (connect(s->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) die("connect: %m");
    watch(run.epoll, s->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, s, EPOLL_CTL_ADD);
}

static void end_slot(struct slot *s, bool good) {
    close(s->fd);
    run.open--;
    if (good) {
        run.done++;
        sample(now_ns() - s->start);
    } else if (++run.failures > 100 + opt.sessions / 10) {
        die("short: too many failures (%ld of %ld sessions; state %d)", run.failures, run.started, s->state);
    }
    start_slot(s);
}

/* Sends one message and waits for `need` octets in the next state. */
static bool say(struct slot *s, const uint8_t *out, size_t size, enum state state, size_t need) {
    s->state = state, s->have = 0, s->need = need;
    return send(s->fd, out, size, MSG_NOSIGNAL) == (ssize_t)size;
}

static bool heard(struct slot *s) {
    uint8_t out[600];
    switch (s->state) {
    case GREETED:
        if (s->in[0] != 5 || s->in[1] != (opt.user ? 2 : 0)) return false;
        if (opt.user) return say(s, out, credentials(out), IDENTIFIED, 2);
        return say(s, out, request(out, s->target), REQUESTED, 5);
    case IDENTIFIED:
        return s->in[1] == 0 && say(s, out, request(out, s->target), REQUESTED, 5);
    case REQUESTED:
        if (s->need == 5) {
            int length = reply_length(s->in, s->have);
            if (length > 0) s->need = (size_t)length;
            if (length < 0 || s->have < s->need) return length > 0;
        }
        return say(s, pattern, (size_t)opt.payload, ECHOING, (size_t)opt.payload);
    default:
        return memcmp(s->in, pattern, s->need) == 0;
    }
}

static void step_slot(struct slot *s, uint32_t events) {
    uint8_t out[8];
    if (s->state == CONNECTING) {
        if (events & (EPOLLERR | EPOLLHUP)) return end_slot(s, false);
        if (!(events & EPOLLOUT)) return;
        bool sent = opt.direct ? say(s, pattern, (size_t)opt.payload, ECHOING, (size_t)opt.payload)
                               : say(s, out, greeting(out), GREETED, 2);
        if (!sent) end_slot(s, false);
        return;
    }
    if (!(events & ~EPOLLOUT)) return;
    ssize_t got = recv(s->fd, s->in + s->have, sizeof s->in - s->have, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return end_slot(s, false);
    s->have += (size_t)got;
    if (s->have < s->need) return;
    bool last = s->state == ECHOING;
    if (!heard(s)) return end_slot(s, false);
    if (last) end_slot(s, true);
}

static void mode_short(void) {
    if (!opt.payload) opt.payload = 100;
    if (opt.payload > 512) die("short: --payload is 512 at most");
    run.epoll = epoll_create1(EPOLL_CLOEXEC);
    struct slot *slots = calloc((size_t)opt.concurrency, sizeof *slots);
    struct epoll_event events[BATCH];
    uint64_t start = now_ns(), swept = start;
    for (int i = 0; i < opt.concurrency; i++) start_slot(&slots[i]);
    while (run.open) {
        int n = wait_events(run.epoll, events, 1000);
        for (int i = 0; i < n; i++) step_slot(events[i].data.ptr, events[i].events);
        uint64_t now = now_ns();
        if (now - swept < 1000000000u) continue;
        swept = now;
        check_deadline("short");
        for (int i = 0; i < opt.concurrency; i++)
            if (slots[i].fd >= 0 && now - slots[i].start > SESSION_LIMIT_S * 1000000000ull) end_slot(&slots[i], false);
    }
    double seconds = (double)(now_ns() - start) / 1e9;
    printf("{\"mode\": \"short\", \"sessions\": %ld, \"failures\": %ld, \"seconds\": %.6f, ", run.done, run.failures, seconds);
    print_latency();
    finish();
}

/* ---- bulk ---- */

struct stream {
    int fd;
    bool taking; /* this end receives */
    uint64_t moved, total;
    uint8_t head[8]; /* the count that comes first (at the target) or last (from the sink) */
    size_t head_have;
};

/* Receives and drops a piece of the stream; the kernel need not even copy it, unless we shall copy or verify. */
static ssize_t take(struct stream *s) {
    ssize_t got = opt.copy || opt.verify ? recv(s->fd, scratch, COPY, 0) : recv(s->fd, scratch, sizeof scratch, MSG_TRUNC);
    if (got > 0 && opt.verify && memcmp(scratch, pattern + s->moved % PATTERN, (size_t)got) != 0)
        die("wrong data near octet %llu of a stream", (unsigned long long)s->moved);
    if (got > 0) s->moved += (uint64_t)got;
    return got;
}

static ssize_t give(struct stream *s) {
    uint64_t left = s->total - s->moved;
    ssize_t put = send(s->fd, pattern + s->moved % PATTERN, left < PIECE ? left : PIECE, MSG_NOSIGNAL);
    if (put > 0) s->moved += (uint64_t)put;
    return put;
}

static struct stream *open_streams(int count, uint16_t port) {
    struct stream *streams = calloc((size_t)count, sizeof *streams);
    for (int i = 0; i < count; i++) streams[i].fd = open_session(port);
    return streams;
}

static void start_streams(struct stream *streams, int count, int epoll, uint64_t bytes) {
    for (int i = 0; i < count; i++) {
        struct stream *s = &streams[i];
        s->total = bytes / (uint64_t)count + ((uint64_t)i < bytes % (uint64_t)count);
        s->taking = !opt.up;
        blocking_write(s->fd, (uint8_t *)&s->total, 8, "count");
        watch(epoll, s->fd, opt.up ? EPOLLOUT : EPOLLIN, s, EPOLL_CTL_ADD);
    }
}

/* True when the stream is complete. */
static bool step_stream(struct stream *s, int epoll) {
    if (s->taking) {
        ssize_t got = take(s);
        if (got < 0 && errno == EAGAIN) return false;
        if (got <= 0) die("bulk: a stream ended after %llu of %llu octets", (unsigned long long)s->moved,
                          (unsigned long long)s->total);
        if (s->moved > s->total) die("bulk: more octets than sent");
        return s->moved == s->total;
    }
    if (s->moved < s->total) {
        if (give(s) < 0 && errno != EAGAIN) die("bulk: send: %m");
        if (s->moved == s->total) watch(epoll, s->fd, EPOLLIN, s, EPOLL_CTL_MOD);
        return false;
    }
    ssize_t got = recv(s->fd, s->head + s->head_have, 8 - s->head_have, 0);
    if (got < 0 && errno == EAGAIN) return false;
    if (got <= 0) die("bulk: no count from the sink");
    s->head_have += (size_t)got;
    if (s->head_have == 8 && memcmp(s->head, &s->total, 8) != 0) die("bulk: the sink counts otherwise");
    return s->head_have == 8;
}

static void mode_bulk(void) {
    int epoll = epoll_create1(EPOLL_CLOEXEC), left = opt.streams;
    struct epoll_event events[BATCH];
    struct stream *streams = open_streams(opt.streams, opt.targets[0]);
    ready();
    uint64_t start = now_ns();
    start_streams(streams, opt.streams, epoll, opt.bytes);
    while (left) {
        int n = wait_events(epoll, events, 1000);
        for (int i = 0; i < n; i++) {
            struct stream *s = events[i].data.ptr;
            if (!step_stream(s, epoll)) continue;
            watch(epoll, s->fd, 0, s, EPOLL_CTL_DEL);
            left--;
        }
        check_deadline("bulk");
    }
    printf("{\"mode\": \"bulk\", \"direction\": \"%s\", \"streams\": %d, \"bytes\": %llu, \"seconds\": %.6f",
           opt.up ? "up" : "down", opt.streams, (unsigned long long)opt.bytes, (double)(now_ns() - start) / 1e9);
    finish();
}

/* ---- rr and mixed ---- */

struct talk {
    int fd;
    size_t have;
    uint64_t start;
};

static struct talk *open_talks(int epoll) {
    struct talk *talks = calloc((size_t)opt.sessions, sizeof *talks);
    for (long i = 0; i < opt.sessions; i++) {
        talks[i].fd = open_session(next_target());
        watch(epoll, talks[i].fd, EPOLLIN, &talks[i], EPOLL_CTL_ADD);
    }
    return talks;
}

static void talk(struct talk *t) {
    t->have = 0;
    t->start = now_ns();
    if (send(t->fd, pattern, (size_t)opt.payload, MSG_NOSIGNAL) != opt.payload) die("rr: send: %m");
}

/* Round trips until `trips` are made (0: any number) or `seconds` are over (0: no limit). Returns the seconds it took. */
static double talk_all(struct talk *talks, int epoll, long trips, long seconds) {
    struct epoll_event events[BATCH];
    uint64_t start = now_ns(), now = start, end = seconds ? start + (uint64_t)seconds * 1000000000u : UINT64_MAX;
    long started = 0, open = 0;
    for (long i = 0; i < opt.sessions && (!trips || started < trips); i++, started++, open++) talk(&talks[i]);
    while (open) {
        int n = wait_events(epoll, events, 1000);
        for (int i = 0; i < n; i++) {
            struct talk *t = events[i].data.ptr;
            ssize_t got = recv(t->fd, scratch + t->have, (size_t)opt.payload - t->have, 0);
            if (got < 0 && errno == EAGAIN) continue;
            if (got <= 0) die("rr: a session ended");
            if (memcmp(scratch + t->have, pattern + t->have, (size_t)got) != 0) die("rr: wrong echo");
            t->have += (size_t)got;
            if (t->have < (size_t)opt.payload) continue;
            now = now_ns();
            sample(now - t->start);
            if (now < end && (!trips || started < trips))
                talk(t), started++;
            else
                open--;
        }
        check_deadline("rr");
    }
    return (double)(now_ns() - start) / 1e9;
}

static void mode_rr(void) {
    if (!opt.sessions) opt.sessions = 50;
    if (!opt.payload) opt.payload = 1000;
    if (!opt.trips && !opt.seconds) die("rr: give --trips or --seconds");
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct talk *talks = open_talks(epoll);
    ready();
    double seconds = talk_all(talks, epoll, opt.trips, opt.seconds);
    printf("{\"mode\": \"rr\", \"sessions\": %ld, \"round_trips\": %zu, \"seconds\": %.6f, ", opt.sessions, samples.count,
           seconds);
    print_latency();
    finish();
}

struct shared {
    volatile uint64_t bytes;
    volatile int state; /* 0: opening, 1: ready, 2: go, 3: stop */
};

/* The downloads of `mixed`, in a process of their own, so that they never delay the clock of the round trips. */
static void download(struct shared *shared) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct epoll_event events[BATCH];
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct stream *streams = open_streams(opt.bulk, (uint16_t)opt.source);
    shared->state = 1;
    for (; shared->state < 2; usleep(1000)) check_deadline("mixed");
    start_streams(streams, opt.bulk, epoll, UINT64_MAX);
    while (shared->state < 3) {
        int n = epoll_wait(epoll, events, BATCH, 50);
        for (int i = 0; i < n; i++) {
            struct stream *s = events[i].data.ptr;
            ssize_t got = take(s);
            if (got == 0 || (got < 0 && errno != EAGAIN)) die("mixed: a download ended");
            if (got > 0) shared->bytes += (uint64_t)got;
        }
        check_deadline("mixed");
    }
    exit(0);
}

static void mode_mixed(void) {
    if (!opt.sessions) opt.sessions = 50;
    if (!opt.payload) opt.payload = 1000;
    if (!opt.seconds) opt.seconds = 3;
    if (!opt.source) die("mixed: give --source");
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = fork();
    if (child == 0) download(shared);
    for (; shared->state < 1; usleep(1000)) {
        check_deadline("mixed");
        if (waitpid(child, NULL, WNOHANG) == child) die("mixed: the downloads failed");
    }
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct talk *talks = open_talks(epoll);
    bool first = go_first();
    ready();
    shared->state = 2;
    usleep(500000); /* the downloads fill their windows */
    uint64_t before = shared->bytes;
    double seconds = talk_all(talks, epoll, opt.trips, opt.seconds);
    uint64_t bytes = shared->bytes - before;
    if (waitpid(child, NULL, WNOHANG) == child) die("mixed: the downloads failed");
    shared->state = 3;
    printf("{\"mode\": \"mixed\", \"sessions\": %ld, \"round_trips\": %zu, \"seconds\": %.6f, \"bulk_streams\": %d, "
           "\"bulk_bytes\": %llu, \"realtime\": %s, ",
           opt.sessions, samples.count, seconds, opt.bulk, (unsigned long long)bytes, first ? "true" : "false");
    print_latency();
    finish();
    waitpid(child, NULL, 0);
}

/* ---- idle ---- */

static void mode_idle(void) {
    if (!opt.sessions) opt.sessions = 1000;
    uint64_t start = now_ns();
    for (long i = 0; i < opt.sessions; i++) {
        open_session(next_target());
        check_deadline("idle");
    }
    printf("{\"mode\": \"idle\", \"ready\": true, \"sessions\": %ld, \"seconds\": %.6f", opt.sessions,
           (double)(now_ns() - start) / 1e9);
    printf("}\n");
    fflush(stdout);
    wait_for_line();
}

/* ---- udp ---- */

/* Many datagrams in one call. With offload each message may be a run of them; `segment` then tells their size. */
static struct {
    struct mmsghdr messages[DATAGRAMS];
    struct iovec pieces[DATAGRAMS];
    struct sockaddr_in names[DATAGRAMS];
    char control[DATAGRAMS][CMSG_SPACE(sizeof(int))];
    uint8_t octets[DATAGRAMS][65536];
} udp;

static int receive_datagrams(int fd) {
    for (int i = 0; i < DATAGRAMS; i++) {
        udp.pieces[i] = (struct iovec){udp.octets[i], sizeof udp.octets[i]};
        udp.messages[i].msg_hdr = (struct msghdr){&udp.names[i], sizeof udp.names[i], &udp.pieces[i], 1,
                                                  udp.control[i], sizeof udp.control[i], 0};
    }
    return recvmmsg(fd, udp.messages, DATAGRAMS, MSG_DONTWAIT, NULL);
}

/* The size of the datagrams in a message; that of the message if it is one. */
static size_t segment(int i) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&udp.messages[i].msg_hdr); c; c = CMSG_NXTHDR(&udp.messages[i].msg_hdr, c))
        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) return (size_t)*(int *)CMSG_DATA(c);
    return udp.messages[i].msg_len;
}

static void cut(struct msghdr *message, char *control, uint16_t size) {
    message->msg_control = control, message->msg_controllen = CMSG_SPACE(sizeof size);
    struct cmsghdr *c = CMSG_FIRSTHDR(message);
    c->cmsg_level = IPPROTO_UDP, c->cmsg_type = UDP_SEGMENT, c->cmsg_len = CMSG_LEN(sizeof size);
    memcpy(CMSG_DATA(c), &size, sizeof size);
}

/* Sends what was received back to where it came from. */
static void echo_datagrams(int fd) {
    int count = receive_datagrams(fd);
    for (int i = 0; i < count; i++) {
        size_t size = segment(i);
        udp.pieces[i].iov_len = udp.messages[i].msg_len;
        udp.messages[i].msg_hdr.msg_control = NULL, udp.messages[i].msg_hdr.msg_controllen = 0;
        if (size && size < udp.messages[i].msg_len) cut(&udp.messages[i].msg_hdr, udp.control[i], (uint16_t)size);
    }
    for (int sent = 0, n; sent < count; sent += n)
        if ((n = sendmmsg(fd, udp.messages + sent, (unsigned)(count - sent), 0)) <= 0) n = 1;
}

static int datagram_socket(uint32_t address, bool offload) {
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr = {htonl(address)}};
    int one = 1, room = 4 << 20, fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&own, sizeof own) < 0) die("udp socket: %m");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    if (offload && setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof one) < 0) die("UDP_GRO: %m");
    return fd;
}

struct association {
    int control, fd;
    int in_flight;
    uint64_t heard;
};

static struct {
    uint8_t packet[HEADER + 65536];
    size_t size;
    long started, done, lost;
} trips;

/* As many datagrams as fit the window; with offload in as few calls as can be. */
static void fill_window(struct association *a) {
    struct iovec pieces[DATAGRAMS];
    struct mmsghdr messages[DATAGRAMS];
    char control[CMSG_SPACE(sizeof(uint16_t))];
    int most = opt.offload ? (int)(65000 / trips.size) : DATAGRAMS;
    if (most > DATAGRAMS) most = DATAGRAMS;
    while (a->in_flight < opt.window && trips.started < opt.trips) {
        int count = opt.window - a->in_flight;
        if (count > most) count = most;
        if (count > opt.trips - trips.started) count = (int)(opt.trips - trips.started);
        for (int i = 0; i < count; i++) {
            pieces[i] = (struct iovec){trips.packet, trips.size};
            messages[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1};
        }
        if (opt.offload) {
            struct msghdr run = {.msg_iov = pieces, .msg_iovlen = (size_t)count};
            if (count > 1) cut(&run, control, (uint16_t)trips.size);
            if (sendmsg(a->fd, &run, 0) < 0) die("udp: send: %m");
        } else if (sendmmsg(a->fd, messages, (unsigned)count, 0) != count) {
            die("udp: send: %m");
        }
        a->in_flight += count, trips.started += count;
    }
}

static void take_answers(struct association *a) {
    int count = receive_datagrams(a->fd);
    for (int i = 0; i < count; i++) {
        size_t size = segment(i), length = udp.messages[i].msg_len;
        if (size != trips.size || length % size) die("udp: an answer of %zu octets, not %zu", size, trips.size);
        for (size_t start = 0; start < length; start += size)
            if (memcmp(udp.octets[i] + start, trips.packet, size) != 0) die("udp: a wrong answer");
        a->in_flight -= (int)(length / size), trips.done += (long)(length / size);
    }
    if (a->in_flight < 0) a->in_flight = 0; /* it was thought lost */
    a->heard = now_ns();
}

static struct association *open_associations(int epoll) {
    struct association *all = calloc((size_t)opt.sessions, sizeof *all);
    for (long i = 0; i < opt.sessions; i++) {
        struct sockaddr_in relay, own;
        socklen_t size = sizeof own;
        all[i].control = open_session_for(0, &relay);
        getsockname(all[i].control, (struct sockaddr *)&own, &size);
        all[i].fd = datagram_socket(ntohl(own.sin_addr.s_addr), opt.offload);
        if (connect(all[i].fd, (struct sockaddr *)&relay, sizeof relay) < 0) die("udp: connect: %m");
        watch(epoll, all[i].fd, EPOLLIN, &all[i], EPOLL_CTL_ADD);
    }
    memcpy(trips.packet, "\0\0\0\1\x7f\0\0\1", 8);
    trips.packet[8] = (uint8_t)(opt.targets[0] >> 8), trips.packet[9] = (uint8_t)opt.targets[0];
    memcpy(trips.packet + HEADER, pattern, (size_t)opt.payload);
    trips.size = HEADER + (size_t)opt.payload;
    return all;
}

static void mode_udp(void) {
    if (!opt.sessions) opt.sessions = 8;
    if (!opt.payload) opt.payload = 1200;
    if (!opt.trips) die("udp: give --trips");
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct association *all = open_associations(epoll);
    struct epoll_event events[BATCH];
    ready();
    uint64_t start = now_ns(), swept = start;
    for (long i = 0; i < opt.sessions; i++) all[i].heard = start, fill_window(&all[i]);
    while (trips.done + trips.lost < opt.trips) {
        int n = wait_events(epoll, events, 100);
        for (int i = 0; i < n; i++) {
            struct association *a = events[i].data.ptr;
            take_answers(a);
            fill_window(a);
        }
        uint64_t now = now_ns();
        if (now - swept < LOST_AFTER_NS / 4) continue;
        swept = now;
        check_deadline("udp");
        for (long i = 0; i < opt.sessions; i++) {
            if (!all[i].in_flight || now - all[i].heard < LOST_AFTER_NS) continue;
            trips.lost += all[i].in_flight;
            all[i].in_flight = 0, all[i].heard = now;
            fill_window(&all[i]);
        }
    }
    double seconds = (double)(now_ns() - start) / 1e9;
    printf("{\"mode\": \"udp\", \"associations\": %ld, \"round_trips\": %ld, \"lost\": %ld, \"seconds\": %.6f",
           opt.sessions, trips.done, trips.lost, seconds);
    finish();
}

static void mode_udp_idle(void) {
    if (!opt.sessions) opt.sessions = 1000;
    opt.window = 1, opt.payload = opt.payload ? opt.payload : 100, opt.trips = opt.sessions;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct association *all = open_associations(epoll);
    struct epoll_event events[BATCH];
    for (long i = 0; i < opt.sessions; i++) fill_window(&all[i]);
    while (trips.done < opt.sessions) {
        int n = wait_events(epoll, events, 100);
        for (int i = 0; i < n; i++) take_answers(events[i].data.ptr);
        check_deadline("udp-idle");
    }
    printf("{\"mode\": \"udp-idle\", \"ready\": true, \"associations\": %ld}\n", opt.sessions);
    fflush(stdout);
    wait_for_line();
}

/* ---- target ---- */

static int listen_somewhere(uint16_t *port) {
    struct sockaddr_in address = target_address(0);
    socklen_t size = sizeof address;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* inherited by what it accepts */
    if (bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, 4096) < 0) die("listen: %m");
    getsockname(fd, (struct sockaddr *)&address, &size);
    *port = ntohs(address.sin_port);
    return fd;
}

enum role { STDIN, DATAGRAM_ECHO, LISTEN_ECHO, LISTEN_SOURCE, LISTEN_SINK, ECHO, SOURCE, SINK };

struct end {
    enum role role;
    struct stream stream;
};

static struct end *add_end(int epoll, int fd, enum role role) {
    struct end *end = calloc(1, sizeof *end);
    end->role = role, end->stream.fd = fd;
    watch(epoll, fd, EPOLLIN, end, EPOLL_CTL_ADD);
    return end;
}

static void accept_ends(int epoll, struct end *listener) {
    for (int i = 0; i < 64; i++) {
        int fd = accept4(listener->stream.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        add_end(epoll, fd, listener->role + (ECHO - LISTEN_ECHO));
    }
}

/* False when the connection is over. */
static bool serve_end(int epoll, struct end *end) {
    struct stream *s = &end->stream;
    ssize_t got;
    if (end->role == ECHO) {
        got = recv(s->fd, scratch, 65536, 0);
        if (got <= 0) return got < 0 && errno == EAGAIN;
        if (send(s->fd, scratch, (size_t)got, MSG_NOSIGNAL) == got) return true;
        fprintf(stderr, "load: the echo target was not read from\n");
        return false;
    }
    if (s->head_have < 8) {
        got = recv(s->fd, s->head + s->head_have, 8 - s->head_have, 0);
        if (got <= 0) return got < 0 && errno == EAGAIN;
        s->head_have += (size_t)got;
        if (s->head_have < 8) return true;
        memcpy(&s->total, s->head, 8);
        if (end->role == SOURCE) watch(epoll, s->fd, EPOLLOUT, end, EPOLL_CTL_MOD);
        return true;
    }
    if (end->role == SOURCE && s->moved < s->total) {
        if (give(s) < 0) return errno == EAGAIN;
        if (s->moved == s->total) watch(epoll, s->fd, EPOLLIN, end, EPOLL_CTL_MOD);
        return true;
    }
    got = take(s);
    if (got <= 0) return got < 0 && errno == EAGAIN;
    if (end->role == SINK && s->moved == s->total) return send(s->fd, &s->moved, 8, MSG_NOSIGNAL) == 8;
    return true;
}

static void serve(int epoll) {
    struct epoll_event events[BATCH];
    for (;;) {
        int n = wait_events(epoll, events, 1000);
        for (int i = 0; i < n; i++) {
            struct end *end = events[i].data.ptr;
            if (end->role == STDIN) {
                if (read(0, scratch, 16) <= 0) exit(0);
            } else if (end->role == DATAGRAM_ECHO) {
                echo_datagrams(end->stream.fd);
            } else if (end->role < ECHO) {
                accept_ends(epoll, end);
            } else if (!serve_end(epoll, end)) {
                close(end->stream.fd);
                free(end);
            }
        }
        check_deadline("target");
    }
}

static uint16_t add_datagram_echo(int epoll, bool offload) {
    struct sockaddr_in own;
    socklen_t size = sizeof own;
    int fd = datagram_socket(INADDR_LOOPBACK, offload);
    getsockname(fd, (struct sockaddr *)&own, &size);
    add_end(epoll, fd, DATAGRAM_ECHO);
    return ntohs(own.sin_port);
}

static void mode_target(void) {
    uint16_t ports[MAX_PORTS], source, sink;
    int echo = epoll_create1(EPOLL_CLOEXEC), bulk = epoll_create1(EPOLL_CLOEXEC);
    if (opt.ports > MAX_PORTS) die("target: %d ports at most", MAX_PORTS);
    for (int i = 0; i < opt.ports; i++) add_end(echo, listen_somewhere(&ports[i]), LISTEN_ECHO);
    add_end(bulk, listen_somewhere(&source), LISTEN_SOURCE);
    add_end(bulk, listen_somewhere(&sink), LISTEN_SINK);
    printf("{\"mode\": \"target\", \"echo\": [");
    for (int i = 0; i < opt.ports; i++) printf("%s%u", i ? ", " : "", ports[i]);
    printf("], \"source\": %u, \"sink\": %u, ", source, sink);
    printf("\"datagrams\": %u, \"joined_datagrams\": %u}\n", add_datagram_echo(echo, false), add_datagram_echo(echo, true));
    fflush(stdout);
    if (fork() == 0) { /* the echo, in a process of its own; it ends with its parent */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (opt.realtime) go_first();
        serve(echo);
    }
    add_end(bulk, 0, STDIN);
    serve(bulk);
}

/* ---- options ---- */

static void parse_proxy(char *value) {
    char *colon = strrchr(value, ':');
    if (!colon) die("--proxy wants ADDRESS:PORT");
    *colon = 0;
    opt.proxy.sin_family = AF_INET;
    opt.proxy.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, value, &opt.proxy.sin_addr) != 1) die("--proxy wants an IPv4 address");
}

static void parse_host(char *value) {
    if (inet_pton(AF_INET, value, &opt.host) != 1) die("--host wants an IPv4 address");
}

static void parse_targets(char *value) {
    for (char *word = strtok(value, ","); word && opt.target_count < MAX_PORTS; word = strtok(NULL, ","))
        opt.targets[opt.target_count++] = (uint16_t)atoi(word);
}

static void parse(int argc, char **argv) {
    for (int i = 2; i < argc; i++) {
        char *name = argv[i];
        if (!strcmp(name, "--hold")) opt.hold = true;
        else if (!strcmp(name, "--awake")) opt.awake = true;
        else if (!strcmp(name, "--copy")) opt.copy = true;
        else if (!strcmp(name, "--verify")) opt.verify = true;
        else if (!strcmp(name, "--realtime")) opt.realtime = true;
        else if (!strcmp(name, "--direct")) opt.direct = true;
        else if (!strcmp(name, "--offload")) opt.offload = true;
        else if (++i == argc) die("%s wants a value", name);
        else if (!strcmp(name, "--proxy")) parse_proxy(argv[i]);
        else if (!strcmp(name, "--targets")) parse_targets(argv[i]);
        else if (!strcmp(name, "--host")) parse_host(argv[i]);
        else if (!strcmp(name, "--user")) opt.user = argv[i];
        else if (!strcmp(name, "--direction")) opt.up = !strcmp(argv[i], "up");
        else if (!strcmp(name, "--ports")) opt.ports = atoi(argv[i]);
        else if (!strcmp(name, "--concurrency")) opt.concurrency = atoi(argv[i]);
        else if (!strcmp(name, "--payload")) opt.payload = atoi(argv[i]);
        else if (!strcmp(name, "--streams")) opt.streams = atoi(argv[i]);
        else if (!strcmp(name, "--window")) opt.window = atoi(argv[i]);
        else if (!strcmp(name, "--bulk")) opt.bulk = atoi(argv[i]);
        else if (!strcmp(name, "--source")) opt.source = atoi(argv[i]);
        else if (!strcmp(name, "--sessions")) opt.sessions = atol(argv[i]);
        else if (!strcmp(name, "--trips")) opt.trips = atol(argv[i]);
        else if (!strcmp(name, "--seconds")) opt.seconds = atol(argv[i]);
        else if (!strcmp(name, "--timeout")) opt.timeout = atol(argv[i]);
        else if (!strcmp(name, "--bytes")) opt.bytes = strtoull(argv[i], NULL, 10);
        else die("unknown option %s", name);
    }
    if (opt.user && (!strchr(opt.user, ':') || strlen(opt.user) > 500)) die("--user wants NAME:PASSWORD");
    if (opt.payload > PIECE) die("--payload is too large");
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
        bool client;
    } modes[] = {{"target", mode_target, false}, {"short", mode_short, true}, {"bulk", mode_bulk, true},
                 {"rr", mode_rr, true},          {"mixed", mode_mixed, true}, {"idle", mode_idle, true},
                 {"udp", mode_udp, true},        {"udp-idle", mode_udp_idle, true}};
    parse(argc, argv);
    deadline = now_ns() + (uint64_t)opt.timeout * 1000000000u;
    signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
    fill_pattern();
    for (size_t i = 0; argc > 1 && i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(argv[1], modes[i].name)) continue;
        if (modes[i].client && !opt.target_count) die("give --targets");
        if (modes[i].client && !opt.direct && !opt.proxy.sin_port) die("give --proxy");
        modes[i].run();
        return 0;
    }
    die("usage: load target|short|bulk|rr|mixed|idle [options]; see the top of load.c");
}
