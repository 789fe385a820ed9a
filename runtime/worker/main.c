/* main.c - garun-worker: encodes batches that a garun process puts into shared memory. It is no command for people.
 *
 * Descriptor 0 is the socket to the host, descriptor 3 the memory (proto.h). Everything else is shut before the
 * first byte of data is looked at: other descriptors, environment, core dumps, new privileges, life after the
 * host's death. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "worker/out.h"

struct worker {
    struct wire    wire;
    struct out     out;
    uint8_t       *memory;          /* the mapping */
    struct plan    plan;
    struct encode *enc;             /* NULL before the first plan */
};

static uint8_t *input(const struct worker *w, uint32_t slot) { return w->memory + slot * PROTO_IN_BYTES; }

/* ---- start ---- */

/* The process dies with its host. A host that died before this came into force is noticed too: by its new parent here,
 * or by the end of file on its socket. */
static void follow_host(void)
{
    pid_t parent = getppid();
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(1);
}

static uint8_t *map_memory(void)
{
    struct stat st;
    if (fstat(3, &st) < 0 || st.st_size < (off_t)PROTO_SHM_BYTES)
        return NULL;
    void *p = mmap(NULL, PROTO_SHM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, 3, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* Standard error stays: it is the null device, or the terminal when the host is being debugged. */
static void shut_doors(void)
{
    static const struct rlimit none = { 0, 0 };
    close(1);
    syscall(SYS_close_range, 3u, ~0u, 0u);
    clearenv();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN);        /* Ctrl-C is for the host, which rolls back and closes the socket */
    signal(SIGHUP, SIG_IGN);
    if (chdir("/") < 0 || setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        _exit(1);
}

/* ---- work ---- */

static void check_input(const struct worker *w, const struct proto_msg *m)
{
    if (m->slot >= PROTO_IN_SLOTS || m->len > PROTO_IN_BYTES - PROTO_PAD)
        wire_fatal(&w->wire, "the host named input slot %u with %llu bytes, which does not exist", m->slot,
                   (unsigned long long)m->len);
}

static void take_plan(struct worker *w, const struct proto_msg *m)
{
    struct err e;
    check_input(w, m);
    encode_close(w->enc);
    w->enc = NULL;
    plan_free(&w->plan);
    if (!plan_decode(input(w, m->slot), m->len, &w->plan, &e) || !(w->enc = encode_open(&w->plan, &e)))
        wire_fatal(&w->wire, "%s", e.message);
    w->out.dedup = w->plan.dedup;
    wire_send(&w->wire, &(struct proto_msg){ .type = PROTO_READY, .slot = m->slot });
}

static void take_batch(struct worker *w, const struct proto_msg *m)
{
    struct err e;
    struct encode_counts n = { 0 };
    struct encode_batch batch = { .data = input(w, m->slot), .len = m->len, .line = m->line, .offset = m->offset };
    check_input(w, m);
    if (!w->enc)
        wire_fatal(&w->wire, "the host sent a batch before the plan");
    if (!encode_batch(w->enc, &batch, &w->out.sink, &n, &e))
        wire_fatal(&w->wire, "%s", e.message);
    out_flush(&w->out);
    struct proto_msg done = {
        .type = PROTO_DONE, .slot = m->slot, .line = m->line, .offset = m->offset,
        .count = { [COUNT_LINES] = n.lines, [COUNT_ROWS] = n.rows, [COUNT_OTHER] = n.other, [COUNT_RANGE] = n.range,
                   [COUNT_REJECTED] = n.rejected, [COUNT_REPAIRED] = n.repaired, [COUNT_CUT] = n.cut,
                   [COUNT_NULLED] = n.nulled } };
    wire_send(&w->wire, &done);
}

static void take_free(struct worker *w, const struct proto_msg *m)
{
    if (m->slot >= PROTO_OUT_SLOTS)
        wire_fatal(&w->wire, "the host freed output slot %u, which does not exist", m->slot);
    w->out.taken[m->slot] = false;
}

int main(void)
{
    static struct worker w;      /* zeroed, and too big for comfort on the stack */
    struct stat st;
    if (fstat(0, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        fputs("garun-worker: this is a part of garun, which starts it by itself; run garun instead\n", stderr);
        return 2;
    }
    follow_host();
    int flags = fcntl(0, F_GETFL);
    if (flags < 0 || fcntl(0, F_SETFL, flags & ~O_NONBLOCK) < 0)
        return 1;
    w.memory = map_memory();
    shut_doors();
    if (!w.memory)
        wire_fatal(&w.wire, "the worker cannot map the shared memory");
    out_init(&w.out, &w.wire, (char *)w.memory + PROTO_IN_SLOTS * PROTO_IN_BYTES);
    /* the seccomp filter goes here: from now on only send, recv and memory are needed */
    for (;;) {
        struct proto_msg m;
        wire_next(&w.wire, &m);
        switch (m.type) {
        case PROTO_PLAN:
            take_plan(&w, &m);
            break;
        case PROTO_BATCH:
            take_batch(&w, &m);
            break;
        case PROTO_FREE:
            take_free(&w, &m);
            break;
        default:
            wire_fatal(&w.wire, "the host sent a message of unknown type %u", m.type);
        }
    }
}
