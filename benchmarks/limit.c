/* limit.c: the limit, a SOCKS5 server in C that does nothing but the system calls.
 *
 *   limit PORT          no authentication, CONNECT to IPv4 addresses, on 127.0.0.1
 *   limit PORT gather   the same, but bulk comes in fewer and larger pieces, as in the engine (see below)
 *   limit PORT copy     the same, but it never splices: what it passes on arrives in the kernel's own large pages
 *
 * It makes the very system calls that Hosier's engine makes for a session, and almost nothing between them, so it says how
 * cheap a server on this kernel can be, and what Python costs on top. It is a yardstick, not a product: it has no
 * timeouts, no rules, no names, and it trusts that a small message arrives in one piece.
 *
 * A session: accept, read the greeting that TCP_DEFER_ACCEPT promised, answer, register the client once, edge-triggered;
 * on its edge read the request, connect (once more, to see that it stands: on the loopback it does) or wait for the edge of
 * that; send the reply with the true address and relay. A relay copies what is small. After four large reads in a row a
 * flow splices instead: through one spare pipe that all flows share, because a flow owns a pipe only while the pipe holds
 * its bytes. Room to write is asked for when a sink is full, and the arrivals at a source whose sink is full are
 * ignored, in bulk until the source is dry.
 *
 * With `gather`: where bulk flows one way, and its source is slower than we are, octets gather for a moment (SO_RCVLOWAT, and
 * a look each LOOK ms whether they still come so fast); a sink of bulk holds no more than UNSENT octets that the kernel could
 * not send yet; and after a splice that was cut short epoll is asked for room, not the sink.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
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
#include <time.h>
#include <unistd.h>

enum { BATCH = 512, SMALL = 64 << 10, LARGE = SMALL / 2, PIPE = 1 << 20, LARGE_READS = 4, CHATTY = 16 << 10, BURST = 64,
       ONE_WAY = 4 << 20, UNSENT = 3 << 19, MOMENT = 2, LOOK = 3,
       MOST = 2 * PIPE / SMALL };
static const uint32_t EDGES = EPOLLIN | EPOLLRDHUP | EPOLLET;
static const uint32_t ENDS = EPOLLRDHUP | EPOLLHUP | EPOLLERR;

enum state { GREETING, REQUEST, CONNECTING, RELAYING, CLOSED };

struct endpoint {
    int fd;
    uint32_t heard; /* what epoll tells of */
    uint32_t seen;  /* edges that nobody has used up yet; the ends stay */
    struct session *session;
};

struct pipe {
    int out, in;
    struct pipe *next;
};

struct flow {
    struct endpoint *src, *dst;
    struct session *session;
    struct flow *next;  /* in the queue of the flows that want another turn */
    struct pipe *pipe;  /* only while it holds bytes … */
    uint8_t *rest;      /* … or what a send left over */
    size_t left, offset;
    int large;          /* large reads in a row */
    bool queued, ended;
    size_t moved;       /* bytes that the sink took */
    struct {            /* what is let gather */
        int bytes;      /* 0: nothing */
        bool looked;
        size_t from, last, answered; /* moved when the count began and at the last look; what had come back then */
        double since;
        struct flow *next;
    } low;
};

struct session {
    enum state state;
    struct endpoint client, target;
    struct flow up, down;
    struct session *next_dead;
};

static struct {
    int epoll, listener, burst;
    bool copies, gathers;
    struct pipe *spare, *pipes;
    struct flow *first, **last;
    struct flow *low; /* those that let bytes gather */
    double look;      /* when they are looked at next, if there are any */
    struct session *dead;
} engine;

static uint8_t buffer[SMALL];

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* ---- pipes ---- */

static struct pipe *take_pipe(void) {
    struct pipe *pipe = engine.pipes;
    if (pipe) {
        engine.pipes = pipe->next;
        return pipe;
    }
    int ends[2];
    pipe = malloc(sizeof *pipe);
    if (!pipe || pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0) die("pipe");
    fcntl(ends[1], F_SETPIPE_SZ, PIPE); /* where it is refused, a turn moves less */
    pipe->out = ends[0], pipe->in = ends[1];
    return pipe;
}

static void drop_pipe(struct pipe *pipe) {
    close(pipe->out);
    close(pipe->in);
    free(pipe);
}

/* ---- epoll ---- */

/* Once for each socket, and again where something else is to be told; what is the case already is told at once. */
static void hear(struct endpoint *endpoint, uint32_t events) {
    if (endpoint->heard == events) return;
    struct epoll_event event = {.events = events, .data = {.ptr = endpoint}};
    if (epoll_ctl(engine.epoll, endpoint->heard ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, endpoint->fd, &event) < 0) die("epoll_ctl");
    endpoint->heard = events;
}

/* The same, but what is the case already is told once more: a call that came back short does not show that it is not. */
static void ask(struct endpoint *endpoint, uint32_t events) {
    struct epoll_event event = {.events = endpoint->heard | events, .data = {.ptr = endpoint}};
    if (epoll_ctl(engine.epoll, EPOLL_CTL_MOD, endpoint->fd, &event) < 0) die("epoll_ctl");
    endpoint->heard = event.events;
}

/* ---- relay ---- */

static void close_flow(struct flow *flow) {
    if (flow->pipe) drop_pipe(flow->pipe); /* with the bytes in it */
    free(flow->rest);
    flow->pipe = NULL, flow->rest = NULL;
}

/* The memory stays until the batch is over: the batch and the queue may still point to it. */
static void close_session(struct session *session) {
    if (session->state == CLOSED) return;
    session->state = CLOSED;
    close(session->client.fd);
    if (session->target.fd >= 0) close(session->target.fd);
    close_flow(&session->up);
    close_flow(&session->down);
    session->next_dead = engine.dead;
    engine.dead = session;
}

static void bury(void) {
    struct session *session = engine.dead;
    engine.dead = NULL;
    for (struct session *next; session; session = next) {
        next = session->next_dead;
        if (session->up.queued || session->down.queued || session->up.low.bytes || session->down.low.bytes) {
            session->next_dead = engine.dead;
            engine.dead = session;
        } else {
            free(session);
        }
    }
}

static struct flow *twin(struct flow *flow) {
    return flow == &flow->session->up ? &flow->session->down : &flow->session->up;
}

static void end(struct flow *flow) {
    flow->ended = true;
    if (twin(flow)->ended)
        close_session(flow->session);
    else if (shutdown(flow->dst->fd, SHUT_WR) < 0)
        close_session(flow->session);
}

static void queue(struct flow *flow) {
    if (flow->queued) return;
    flow->queued = true, flow->next = NULL;
    *engine.last = flow;
    engine.last = &flow->next;
}

static bool full(struct flow *flow) {
    return flow->pipe || flow->rest;
}

/* ---- gathering ---- */

static double now(void) { /* ms */
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static void tell_of(struct flow *flow, int bytes) {
    setsockopt(flow->src->fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes);
}

static void let_gather(struct flow *flow) {
    if (!engine.gathers || flow->low.bytes || flow->moved < ONE_WAY) return;
    double time = now(), took = time - flow->low.since;
    if (flow->low.answered == twin(flow)->moved) {
        size_t bytes = flow->moved - flow->low.from;
        if (bytes < ONE_WAY) return;
        int reads = (int)((double)bytes * MOMENT / (took > MOMENT ? took : MOMENT) / SMALL);
        if (reads) {
            flow->low.bytes = (reads > MOST ? MOST : reads) * SMALL;
            flow->low.looked = false;
            tell_of(flow, flow->low.bytes);
            if (!engine.low) engine.look = time + LOOK;
            flow->low.next = engine.low;
            engine.low = flow;
            return;
        }
    }
    flow->low.from = flow->moved, flow->low.since = time, flow->low.answered = twin(flow)->moved;
}

/* Those to which less than half of it came since the last look are told of everything again. */
static void look(void) {
    if (!engine.low || now() < engine.look) return;
    struct flow *flow = engine.low;
    engine.low = NULL;
    for (struct flow *next; flow; flow = next) {
        size_t came = flow->moved - flow->low.last;
        bool over = flow->session->state != RELAYING || flow->ended;
        next = flow->low.next;
        if (!over && twin(flow)->moved == flow->low.answered && (!flow->low.looked || 2 * came > (size_t)flow->low.bytes)) {
            flow->low.looked = true, flow->low.last = flow->moved;
            flow->low.next = engine.low;
            engine.low = flow;
            continue;
        }
        flow->low.bytes = 0;
        if (over) continue;
        tell_of(flow, 1);
        flow->low.from = flow->moved, flow->low.since = now();
        queue(flow);
    }
    engine.look = now() + LOOK;
}

/* ---- copy and splice ---- */

/* A recv or splice that brought nothing: the source is dry (the next edge will tell), or the session is lost. */
static void dry(struct flow *flow) {
    if (errno != EAGAIN) return close_session(flow->session);
    flow->src->seen &= ~(uint32_t)EPOLLIN;
    hear(flow->src, flow->src->heard | EPOLLIN);
}

static void copy(struct flow *flow) {
    do {
        ssize_t got = recv(flow->src->fd, buffer, SMALL, 0);
        if (got < 0) return dry(flow);
        if (got == 0) return end(flow);
        ssize_t put = send(flow->dst->fd, buffer, (size_t)got, MSG_NOSIGNAL);
        if (put < 0 && errno != EAGAIN) return close_session(flow->session);
        if (put < 0) put = 0;
        flow->moved += (size_t)put;
        flow->large = got >= LARGE && !engine.copies ? flow->large + 1 : 0;
        if (got < SMALL && !(flow->src->seen & ENDS)) flow->src->seen &= ~(uint32_t)EPOLLIN;
        if (put < got) {
            flow->left = (size_t)(got - put), flow->offset = 0;
            flow->rest = malloc(flow->left);
            if (!flow->rest) die("malloc");
            memcpy(flow->rest, buffer + put, flow->left);
            return hear(flow->dst, flow->dst->heard | EPOLLOUT);
        }
        if (flow->large == LARGE_READS) {
            int unsent = UNSENT;
            if (engine.gathers) setsockopt(flow->dst->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
            return queue(flow);
        }
    } while (flow->src->seen & (EPOLLIN | ENDS));
}

static void splice_once(struct flow *flow) {
    struct pipe *pipe = engine.spare;
    ssize_t got = splice(flow->src->fd, NULL, pipe->in, NULL, PIPE, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (got < 0) {
        if (errno == EAGAIN) let_gather(flow), errno = EAGAIN;
        return dry(flow);
    }
    if (got == 0) return end(flow);
    if (got < CHATTY) flow->large = 0;
    ssize_t put = splice(pipe->out, NULL, flow->dst->fd, NULL, (size_t)got, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    bool refused = put < 0 && errno != EAGAIN;
    if (put > 0) flow->moved += (size_t)put;
    if (put == got) return queue(flow);
    flow->pipe = pipe, flow->left = (size_t)(got - (put > 0 ? put : 0)); /* the pipe goes with the flow */
    engine.spare = take_pipe();
    if (refused) return close_session(flow->session);
    if (engine.gathers) ask(flow->dst, EPOLLOUT);
    else hear(flow->dst, flow->dst->heard | EPOLLOUT);
}

static void pump(struct flow *flow) {
    if (flow->session->state != RELAYING || flow->ended || flow->queued || full(flow)) return;
    if (flow->large < LARGE_READS) {
        hear(flow->src, flow->src->heard | EPOLLIN);
        copy(flow);
    } else {
        splice_once(flow);
    }
}

static void flush(struct flow *flow) {
    while (flow->left) {
        ssize_t put = flow->rest ? send(flow->dst->fd, flow->rest + flow->offset, flow->left, MSG_NOSIGNAL)
                                 : splice(flow->pipe->out, NULL, flow->dst->fd, NULL, flow->left,
                                          SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (put < 0 && errno == EAGAIN) return;
        if (put <= 0) return close_session(flow->session);
        flow->left -= (size_t)put, flow->offset += (size_t)put, flow->moved += (size_t)put;
        if (flow->left && flow->pipe && engine.gathers) return ask(flow->dst, EPOLLOUT);
    }
    if (flow->pipe) {
        flow->pipe->next = engine.pipes;
        engine.pipes = flow->pipe;
        flow->pipe = NULL;
    }
    free(flow->rest);
    flow->rest = NULL;
    if (flow->src->seen & (EPOLLIN | ENDS)) pump(flow);
}

static void relay(struct session *session, struct endpoint *endpoint, uint32_t events) {
    struct flow *from = endpoint == &session->client ? &session->up : &session->down, *to = twin(from);
    if (events & EPOLLOUT && full(to)) flush(to);
    if (events & EPOLLIN && full(from)) hear(endpoint, endpoint->heard & ~(uint32_t)EPOLLIN);
    if (events & (EPOLLIN | ENDS)) pump(from);
    if (events & EPOLLERR && from->ended) close_session(session); /* a reset after the half-close */
}

/* ---- handshake ---- */

/* Reads one small message. Without it (yet, or ever) the result is 0, and the session may be closed. */
static size_t read_message(struct session *session) {
    ssize_t got = recv(session->client.fd, buffer, 512, 0);
    if (got > 0) {
        if (!(session->client.seen & ENDS)) session->client.seen &= ~(uint32_t)EPOLLIN;
        return (size_t)got;
    }
    if (got == 0 || errno != EAGAIN) close_session(session);
    return 0;
}

static void greet(struct session *session) {
    size_t got = read_message(session);
    if (!got) return;
    if (got < 3 || buffer[0] != 5 || send(session->client.fd, "\5\0", 2, MSG_NOSIGNAL) != 2) return close_session(session);
    session->state = REQUEST;
}

static void connected(struct session *session) {
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    uint8_t reply[10] = {5, 0, 0, 1};
    int error = 0;
    if (session->target.seen & (EPOLLERR | EPOLLHUP)) {
        socklen_t error_size = sizeof error;
        getsockopt(session->target.fd, SOL_SOCKET, SO_ERROR, &error, &error_size);
    }
    if (error || getsockname(session->target.fd, (struct sockaddr *)&address, &size) < 0) return close_session(session);
    memcpy(reply + 4, &address.sin_addr, 4);
    memcpy(reply + 8, &address.sin_port, 2);
    if (send(session->client.fd, reply, sizeof reply, MSG_NOSIGNAL) != sizeof reply) return close_session(session);
    session->state = RELAYING;
    if (!session->target.heard) hear(&session->target, EDGES);
    if (session->client.seen & (EPOLLIN | ENDS)) pump(&session->up);
    if (session->target.seen & (EPOLLIN | ENDS)) pump(&session->down);
}

static void dial(struct session *session) {
    int one = 1;
    size_t got = read_message(session);
    if (!got) return;
    if (got < 10 || memcmp(buffer, "\5\1\0\1", 4) != 0) return close_session(session);
    struct sockaddr_in address = {.sin_family = AF_INET};
    memcpy(&address.sin_addr, buffer + 4, 4);
    memcpy(&address.sin_port, buffer + 8, 2);
    int fd = session->target.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return close_session(session);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof one);
    for (int i = 0; i < 2; i++) { /* the second one finds that the first has done its work already */
        if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return connected(session);
        if (errno != EINPROGRESS && errno != EALREADY) return close_session(session);
    }
    hear(&session->target, EDGES | EPOLLOUT);
    session->state = CONNECTING;
}

static void wake(struct endpoint *endpoint, uint32_t events) {
    struct session *session = endpoint->session;
    endpoint->seen |= events & (EPOLLIN | ENDS);
    switch (session->state) {
    case GREETING:
        if (events & (EPOLLIN | ENDS)) greet(session);
        break;
    case REQUEST:
        if (events & (EPOLLIN | ENDS)) dial(session);
        break;
    case CONNECTING: /* an edge of the client meanwhile is only remembered */
        if (endpoint == &session->target && events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) connected(session);
        break;
    case RELAYING:
        relay(session, endpoint, events);
        break;
    case CLOSED:
        break;
    }
}

static void accept_burst(void) {
    for (int i = 0; i < engine.burst; i++) {
        int fd = accept4(engine.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno != EAGAIN && errno != ECONNABORTED) usleep(1000); /* no descriptors left */
            engine.burst = i ? i : 1;
            return;
        }
        struct session *session = calloc(1, sizeof *session);
        if (!session) die("calloc");
        struct endpoint *client = &session->client, *target = &session->target;
        *client = (struct endpoint){.fd = fd, .session = session};
        *target = (struct endpoint){.fd = -1, .session = session};
        session->up = (struct flow){.src = client, .dst = target, .session = session};
        session->down = (struct flow){.src = target, .dst = client, .session = session};
        greet(session); /* TCP_DEFER_ACCEPT: the greeting is usually there */
        if (session->state != CLOSED) hear(client, EDGES);
    }
    if (engine.burst < BURST) engine.burst *= 2;
}

static void turns(void) {
    struct flow *flow = engine.first;
    engine.first = NULL, engine.last = &engine.first;
    for (struct flow *next; flow; flow = next) {
        next = flow->next;
        flow->queued = false;
        pump(flow);
    }
}

static void start(uint16_t port) {
    int one = 1;
    struct rlimit limit = {131072, 131072};
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    engine.burst = 1, engine.last = &engine.first;
    engine.epoll = epoll_create1(EPOLL_CLOEXEC);
    engine.spare = take_pipe();
    engine.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(engine.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(engine.listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* inherited */
    setsockopt(engine.listener, SOL_SOCKET, SO_OOBINLINE, &one, sizeof one);
    setsockopt(engine.listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &one, sizeof one);
    if (bind(engine.listener, (struct sockaddr *)&address, sizeof address) < 0) die("bind");
    if (listen(engine.listener, 4096) < 0) die("listen");
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll_ctl(engine.epoll, EPOLL_CTL_ADD, engine.listener, &event) < 0) die("epoll_ctl");
}

int main(int argc, char **argv) {
    struct epoll_event events[BATCH];
    engine.copies = argc == 3 && strcmp(argv[2], "copy") == 0;
    engine.gathers = argc == 3 && strcmp(argv[2], "gather") == 0;
    if (argc != 2 && !engine.copies && !engine.gathers) {
        fprintf(stderr, "usage: limit PORT [copy | gather]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    start((uint16_t)atoi(argv[1]));
    for (;;) {
        int n = epoll_wait(engine.epoll, events, BATCH, engine.first ? 0 : engine.low ? LOOK : -1);
        if (n < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr)
                wake(events[i].data.ptr, events[i].events);
            else
                accept_burst();
        }
        turns();
        look();
        bury();
    }
}
