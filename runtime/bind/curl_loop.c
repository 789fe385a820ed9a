/* curl_loop.c - see curl_loop.h. Owns the multi handle, one poll handle for each socket that libcurl waits for, and one
 * timer. Knows nothing of protocols.
 *
 * libcurl closes sockets whenever it likes, and libuv aborts when a descriptor it polls is closed under it: polled is a
 * dup() (loop/loop.h does the same for libpq). CURL_POLL_REMOVE comes after each transfer, also when the connection is
 * kept for the next one; making the poll handle anew costs seven system calls, so it sleeps until libcurl tells that it
 * closes the socket. Of sockets that it closes without a word (the resolver's pair) it is closed at once. */
#include "bind/curl_loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "loop/loop.h"

struct polled;

struct place {                    /* a socket of libcurl's, by its number */
    struct polled *polled;        /* NULL: libcurl has not waited for it yet */
    bool           ours;          /* opened by open_socket(), so close_socket() will be called */
};

struct curl_loop {
    struct garun *g;
    CURLM        *multi;
    uv_timer_t    timer;
    bool          closing;
    struct place *places;
    size_t        count;
};

struct polled {
    uv_poll_t         poll;
    struct curl_loop *loop;
    curl_socket_t     socket;     /* libcurl's */
    int               fd;         /* our dup of it */
};

/* Hands the ends of transfers to their owners, after libcurl has returned: done() may start and stop others. */
static void tell_ends(struct curl_loop *c)
{
    CURLMsg *m;
    int left;

    while ((m = curl_multi_info_read(c->multi, &left))) {
        struct curl_job *j = NULL;
        CURLcode result = m->data.result;
        CURL *easy = m->easy_handle;

        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&j);
        if (!j->keep) {
            curl_multi_remove_handle(c->multi, easy);     /* m is invalid from here on */
            j->loop = NULL;
        }
        j->done(j, result);
    }
}

static void act(struct curl_loop *c, curl_socket_t s, int flags)
{
    int running;

    curl_multi_socket_action(c->multi, s, flags, &running);
    tell_ends(c);
}

static void on_timer(uv_timer_t *h)
{
    act(h->data, CURL_SOCKET_TIMEOUT, 0);
}

static int set_timer(CURLM *multi, long ms, void *arg)
{
    struct curl_loop *c = arg;

    (void)multi;
    if (c->closing)
        return 0;
    /* Never from here, even for 0: libcurl calls this from inside its own functions (curl_multi_setopt manual). */
    if (ms < 0)
        uv_timer_stop(&c->timer);
    else
        uv_timer_start(&c->timer, on_timer, (uint64_t)ms, 0);
    return 0;
}

static void on_poll(uv_poll_t *h, int status, int events)
{
    struct polled *p = h->data;
    /* On an error (POLLERR) libcurl shall read and write: it finds out which it is, and tries another connection when a
     * kept one was reset. CURL_CSELECT_ERR would end the transfer with "select/poll returned error". */
    int flags = status < 0 ? CURL_CSELECT_IN | CURL_CSELECT_OUT : 0;

    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    act(p->loop, p->socket, flags);
}

static void polled_closed(uv_handle_t *h)
{
    struct polled *p = h->data;

    close(p->fd);
    free(p);
}

static void polled_close(struct polled *p)
{
    uv_poll_stop(&p->poll);
    uv_close((uv_handle_t *)&p->poll, polled_closed);
}

/* NULL when memory is short. */
static struct place *place_of(struct curl_loop *c, curl_socket_t s)
{
    size_t at = (size_t)s;

    if (at >= c->count) {
        size_t n = (at | 63) + 1;
        struct place *more = realloc(c->places, n * sizeof *more);
        if (!more)
            return NULL;
        memset(more + c->count, 0, (n - c->count) * sizeof *more);
        c->places = more;
        c->count = n;
    }
    return &c->places[at];
}

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    curl_socket_t s = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);

    (void)purpose;
    if (s >= 0) {
        struct place *at = place_of(arg, s);
        if (at && at->polled)
            polled_close(at->polled);     /* of a socket of that number that was closed without a word */
        if (at)
            *at = (struct place){ .ours = true };
    }
    return s;
}

static int close_socket(void *arg, curl_socket_t s)
{
    struct curl_loop *c = arg;

    if ((size_t)s < c->count) {
        struct place *at = &c->places[s];
        if (at->polled)
            polled_close(at->polled);
        *at = (struct place){ 0 };
    }
    return close(s);
}

static struct polled *polled_open(struct curl_loop *c, curl_socket_t s)
{
    struct polled *p = calloc(1, sizeof *p);

    if (!p)
        return NULL;
    p->loop = c;
    p->socket = s;
    p->fd = fcntl(s, F_DUPFD_CLOEXEC, 3);
    if (p->fd < 0 || uv_poll_init(loop_uv(c->g), &p->poll, p->fd) < 0) {
        if (p->fd >= 0)
            close(p->fd);
        free(p);
        return NULL;
    }
    p->poll.data = p;
    return p;
}

static int set_socket(CURL *easy, curl_socket_t s, int what, void *arg, void *of_socket)
{
    struct curl_loop *c = arg;
    struct place *at = place_of(c, s);
    int events = 0;

    (void)easy;
    if (!at)
        return -1;           /* all transfers fail with CURLM_ABORTED_BY_CALLBACK: out of memory */
    if (what == CURL_POLL_REMOVE) {
        if (at->polled && at->ours) {
            uv_poll_stop(&at->polled->poll);
        } else if (at->polled) {
            polled_close(at->polled);
            at->polled = NULL;
        }
        return 0;
    }
    if (at->polled && !at->ours && of_socket != at->polled) {
        polled_close(at->polled);         /* the same */
        at->polled = NULL;
    }
    if (!at->polled) {
        at->polled = polled_open(c, s);
        if (!at->polled)
            return -1;       /* the same: out of descriptors */
        curl_multi_assign(c->multi, s, at->polled);
    }
    if (what & CURL_POLL_IN)
        events |= UV_READABLE;
    if (what & CURL_POLL_OUT)
        events |= UV_WRITABLE;
    uv_poll_start(&at->polled->poll, events, on_poll);
    return 0;
}

struct curl_loop *curl_loop_open(struct garun *g, struct err *e)
{
    struct curl_loop *c = calloc(1, sizeof *c);

    if (!c || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !(c->multi = curl_multi_init())) {
        free(c);
        err_set(e, "http", "ENOMEM", "libcurl cannot start: not enough memory");
        return NULL;
    }
    c->g = g;
    c->timer.data = c;
    uv_timer_init(loop_uv(g), &c->timer);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, set_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    return c;
}

static void loop_closed(uv_handle_t *h)
{
    struct curl_loop *c = h->data;

    free(c->places);
    free(c);
}

void curl_loop_close(struct curl_loop *c)
{
    if (!c)
        return;
    c->closing = true;
    curl_multi_cleanup(c->multi);      /* calls close_socket for what it closes */
    uv_timer_stop(&c->timer);
    uv_close((uv_handle_t *)&c->timer, loop_closed);
}

CURLM *curl_loop_multi(struct curl_loop *c)
{
    return c->multi;
}

bool curl_loop_start(struct curl_loop *c, struct curl_job *j, struct err *e)
{
    CURLMcode r;

    curl_easy_setopt(j->easy, CURLOPT_PRIVATE, j);
    curl_easy_setopt(j->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(j->easy, CURLOPT_OPENSOCKETDATA, c);
    curl_easy_setopt(j->easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    curl_easy_setopt(j->easy, CURLOPT_CLOSESOCKETDATA, c);
    /* Else a transfer that is given up while its host name is looked up joins the resolver's thread, and the whole loop
     * waits for the DNS (asyn-thread.c, Curl_resolver_kill). */
    curl_easy_setopt(j->easy, CURLOPT_QUICK_EXIT, 1L);
    j->loop = c;
    r = curl_multi_add_handle(c->multi, j->easy);
    if (r != CURLM_OK) {
        j->loop = NULL;
        return err_set(e, "http", "start", "the transfer cannot start: %s", curl_multi_strerror(r));
    }
    return true;
}

void curl_loop_stop(struct curl_job *j)
{
    struct curl_loop *c = j->loop;

    if (!c)
        return;
    j->loop = NULL;
    curl_multi_remove_handle(c->multi, j->easy);
}

void curl_loop_resume(struct curl_job *j)
{
    if (j->loop)
        curl_easy_pause(j->easy, CURLPAUSE_CONT);
}
