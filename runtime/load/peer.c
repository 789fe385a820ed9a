/* peer.c - see peer.h.
 *
 * The uv_process_t belongs to libuv until its close callback, so the struct is freed by the last of the two: peer_close
 * and that callback. */
#include "load/peer.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct peer {
    uv_process_t  process;
    struct watch *watch;
    char         *shm;
    int           socket;
    bool          exited, closed;
    int64_t       status;
    int           signal;
};

static void freed(uv_handle_t *h)
{
    free(h->data);
}

static void ended(uv_process_t *process, int64_t status, int signal)
{
    struct peer *p = process->data;

    p->exited = true;
    p->status = status;
    p->signal = signal;
    if (p->closed)
        uv_close((uv_handle_t *)process, freed);
}

static bool spawn(struct garun *g, struct peer *p, const char *path, int socket, int memfd, struct err *e)
{
    char *args[] = { (char *)(uintptr_t)path, NULL }, *env[] = { NULL };
    uv_stdio_container_t stdio[4] = {
        { .flags = UV_INHERIT_FD, .data.fd = socket },
        { .flags = UV_IGNORE },
        { .flags = getenv("GARUN_DEBUG") ? UV_INHERIT_FD : UV_IGNORE, .data.fd = 2 },
        { .flags = UV_INHERIT_FD, .data.fd = memfd },
    };
    uv_process_options_t options = {
        .file = path, .args = args, .env = env, .cwd = "/", .exit_cb = ended, .stdio = stdio, .stdio_count = 4,
    };
    int r = uv_spawn(loop_uv(g), &p->process, &options);

    p->process.data = p;
    if (r < 0) {
        uv_close((uv_handle_t *)&p->process, freed);
        return err_errno(e, "load", -r, "cannot start the worker %s", path);
    }
    uv_unref((uv_handle_t *)&p->process);
    return true;
}

struct peer *peer_start(struct garun *g, const char *path, struct err *e)
{
    struct peer *p = calloc(1, sizeof *p);
    int pair[2] = { -1, -1 }, memfd = -1;
    bool spawned = false;

    if (!p) {
        err_set(e, "load", "ENOMEM", "not enough memory for a worker");
        return NULL;
    }
    p->shm = MAP_FAILED;
    memfd = memfd_create("garun-lane", MFD_CLOEXEC);
    if (memfd < 0 || ftruncate(memfd, (off_t)PROTO_SHM_BYTES) < 0) {
        err_errno(e, "load", errno, "cannot make the memory shared with a worker");
        goto fail;
    }
    p->shm = mmap(NULL, PROTO_SHM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    if (p->shm == MAP_FAILED) {
        err_errno(e, "load", errno, "cannot map the memory shared with a worker");
        goto fail;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        err_errno(e, "load", errno, "cannot make the socket of a worker");
        goto fail;
    }
    p->socket = pair[0];
    p->watch = watch_open(g, pair[0], e);
    if (!p->watch)
        goto fail;
    spawned = true;             /* from here on the struct is freed through libuv */
    if (!spawn(g, p, path, pair[1], memfd, e))
        goto fail;
    close(pair[1]);
    close(memfd);
    return p;

fail:
    if (p->watch)
        watch_close(p->watch);
    if (p->shm != MAP_FAILED)
        munmap(p->shm, PROTO_SHM_BYTES);
    if (memfd >= 0)
        close(memfd);
    if (pair[0] >= 0) {
        close(pair[0]);
        close(pair[1]);
    }
    if (!spawned)
        free(p);
    return NULL;
}

void peer_close(struct peer *p)
{
    if (!p || p->closed)
        return;
    p->closed = true;
    watch_close(p->watch);
    close(p->socket);
    munmap(p->shm, PROTO_SHM_BYTES);
    if (p->exited) {
        uv_close((uv_handle_t *)&p->process, freed);
    } else {
        uv_process_kill(&p->process, SIGKILL);
        uv_ref((uv_handle_t *)&p->process);     /* the loop stays until the child is reaped: no zombies */
    }
}

char *peer_in(struct peer *p, unsigned slot)
{
    return p->shm + slot * PROTO_IN_BYTES;
}

const char *peer_out(struct peer *p, unsigned slot)
{
    return p->shm + PROTO_IN_SLOTS * PROTO_IN_BYTES + slot * PROTO_OUT_BYTES;
}

void peer_trim(struct peer *p, unsigned slot, size_t keep)
{
    madvise(peer_in(p, slot) + keep, PROTO_IN_BYTES - keep, MADV_REMOVE);
}

static void say_end(const struct peer *p, struct err *e)
{
    if (!p->exited)
        err_set(e, "load", "worker", "the worker process closed its socket");
    else if (p->signal)
        err_set(e, "load", "worker", "the worker process %d was killed by signal %d (%s)", p->process.pid, p->signal,
                strsignal(p->signal));
    else
        err_set(e, "load", "worker", "the worker process %d ended with status %lld", p->process.pid,
                (long long)p->status);
    e->retryable = true;
}

bool peer_send(struct peer *p, const struct proto_msg *m, struct err *e)
{
    ssize_t n;

    do
        n = send(p->socket, m, sizeof *m, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof *m)
        return true;
    if (n < 0 && (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN || errno == ECONNREFUSED))
        return true;            /* it has ended: peer_recv will say how */
    return err_errno(e, "load", n < 0 ? errno : EPROTO, "cannot send to the worker process %d", p->process.pid);
}

enum peer_answer peer_recv(struct peer *p, struct proto_msg *m, struct err *e)
{
    ssize_t n;

    do
        n = recv(p->socket, m, sizeof *m, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof *m)
        return PEER_MESSAGE;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return PEER_NONE;
    if (n > 0) {
        err_set(e, "load", "worker", "the worker process %d sent a message of %zd bytes", p->process.pid, n);
        return PEER_ENDED;
    }
    if (!p->exited) {
        /* The socket closes a moment before libuv hears of the death; one that only closed its socket dies of this. */
        uv_process_kill(&p->process, SIGKILL);
        return PEER_NONE;
    }
    say_end(p, e);
    return PEER_ENDED;
}

struct watch *peer_watch(struct peer *p)
{
    return p->watch;
}

int peer_pid(const struct peer *p)
{
    return p->exited ? 0 : p->process.pid;
}
