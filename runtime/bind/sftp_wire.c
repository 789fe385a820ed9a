/* sftp_wire.c - requests out, replies in, over the one channel of a session.
 *
 * Any number of requests may be under way, of any number of tasks; replies find theirs by id. Everything happens on the
 * loop, from a poll's callback or from whoever submits, a bounded number of bytes a turn, so that a fast peer does not
 * keep the other tasks from running.
 *
 * libssh2's rule for half-sent packets: the call that got EAGAIN while it was sending must be repeated before any other
 * that sends. A write sends, and so does a read when it widens the window: must_write and must_read say which.
 *
 * Owns the poll and the timer. A reply that no request asked for, or that is longer than it may be, ends the session. */
#include "bind/sftp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURN_BYTES (512 << 10)              /* about 2 ms of deciphering */
#define REPLY_MAX  ((256u << 10) + 1024)    /* OpenSSH's longest packet is 256 KiB */

static void unref_closed(uv_handle_t *h)
{
    sftp_unref(h->data);
}

static uint32_t get32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put32(unsigned char *p, uint32_t v)
{
    p[0] = (unsigned char)(v >> 24);
    p[1] = (unsigned char)(v >> 16);
    p[2] = (unsigned char)(v >> 8);
    p[3] = (unsigned char)v;
}

static void push_back(struct sftp_req **head, struct sftp_req **tail, struct sftp_req *r)
{
    r->next = NULL;
    if (*tail)
        (*tail)->next = r;
    else
        *head = r;
    *tail = r;
}

/* Takes r out of the list; false when it is not there. */
static bool take_out(struct sftp_req **head, struct sftp_req **tail, struct sftp_req *r)
{
    struct sftp_req *before = NULL;

    for (struct sftp_req *p = *head; p; before = p, p = p->next) {
        if (p != r)
            continue;
        if (before)
            before->next = r->next;
        else
            *head = r->next;
        if (*tail == r)
            *tail = before;
        return true;
    }
    return false;
}

static void fail_req(struct sftp_req *r)
{
    r->failed = true;
    r->done(r);
}

static void fail_text(struct sftp *s, const char *code, const char *text)
{
    struct err e;

    err_set(&e, "sftp", code, "%s: %s", s->label, text);
    e.retryable = strcmp(code, "CUT") == 0;
    sftp_fail(s, &e);
}

/* ---- submitting ---- */

void sftp_submit(struct sftp *s, struct sftp_req *r)
{
    bool init = r->head[4] == FXP_INIT;       /* it has its version where others have their id */

    r->sent = 0;
    r->got = 0;
    r->failed = false;
    r->reply = NULL;
    r->type = 0;
    r->status = 0;
    r->id = init ? 0 : s->next_id++;
    put32(r->head, (uint32_t)(r->head_len - 4 + r->body_len));
    put32(r->head + 5, init ? 3 : r->id);
    if (s->state != SFTP_OPEN) {
        fail_req(r);
        return;
    }
    if (!s->out_head && !s->wait_head && !s->reading) {
        s->moved_at = loop_now(s->g);
    }
    push_back(&s->out_head, &s->out_tail, r);
}

bool sftp_withdraw(struct sftp *s, struct sftp_req *r)
{
    return r->sent == 0 && take_out(&s->out_head, &s->out_tail, r);
}

/* Sends what can be sent; true when something was. */
static bool send_queue(struct sftp *s)
{
    bool any = false;

    while (s->state == SFTP_OPEN && s->out_head && !s->must_read && (s->budget > 0 || s->must_write)) {
        struct sftp_req *r = s->out_head;
        bool head = r->sent < r->head_len;
        const unsigned char *from = head ? r->head + r->sent : r->body + (r->sent - r->head_len);
        size_t left = head ? r->head_len - r->sent : r->head_len + r->body_len - r->sent;
        ssize_t n = libssh2_channel_write(s->channel, (const char *)from, left);

        s->must_write = false;
        if (n == LIBSSH2_ERROR_EAGAIN || n == 0) {
            s->must_write = (libssh2_session_block_directions(s->ssh) & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0;
            break;
        }
        /* An answer of libssh2's own (to a keep-alive) is half sent; our bytes were not taken. It goes on with that
         * answer at the next call. */
        if (n == LIBSSH2_ERROR_BAD_USE) {
            s->must_write = true;
            break;
        }
        if (n < 0) {
            struct err e;
            sftp_ssh_error(&e, s, (int)n);
            sftp_fail(s, &e);
            break;
        }
        any = true;
        r->sent += (size_t)n;
        if (r->sent == r->head_len + r->body_len) {
            take_out(&s->out_head, &s->out_tail, r);
            push_back(&s->wait_head, &s->wait_tail, r);
        }
    }
    return any;
}

/* ---- receiving ---- */

/* The header is in: finds the request and a place for the rest. False when the session was ended. */
static bool begin_reply(struct sftp *s)
{
    uint32_t len = get32(s->in), id = get32(s->in + 5);
    uint8_t type = s->in[4];
    bool data = type == FXP_DATA;
    uint32_t fixed = data ? 9 : 5;
    struct sftp_req *r = s->wait_head;

    while (r && r->id != id && type != FXP_VERSION)
        r = r->next;
    if (!r || (type == FXP_VERSION) != (r->head[4] == FXP_INIT)) {
        fail_text(s, "PROTOCOL", "the server answered a request that was not made");
        return false;
    }
    s->frame = len - fixed;
    size_t room = data && r->sink ? r->sink_len : REPLY_MAX;
    if (len < fixed || s->frame > room || (data && get32(s->in + 9) != s->frame)) {
        fail_text(s, "PROTOCOL", "the server's answer has an impossible length");
        return false;
    }
    take_out(&s->wait_head, &s->wait_tail, r);
    s->reading = r;
    r->type = type;
    r->status = type == FXP_VERSION ? id : 0;
    r->got = 0;
    if (!(data && r->sink) && s->frame) {
        r->reply = malloc(s->frame);
        if (!r->reply) {
            fail_text(s, "ENOMEM", "not enough memory for an answer");
            return false;
        }
    }
    return true;
}

static void end_reply(struct sftp *s)
{
    struct sftp_req *r = s->reading;

    if (r->type == FXP_STATUS && (!r->reply || r->got < 4)) {
        fail_text(s, "PROTOCOL", "the server sent a status without a number");
        return;
    }
    s->reading = NULL;
    s->in_len = 0;
    if (r->type == FXP_STATUS)
        r->status = get32(r->reply);
    r->done(r);
}

/* Reads what is there; true when something was. */
static bool receive(struct sftp *s)
{
    bool any = false;

    while (s->state == SFTP_OPEN && !s->must_write) {
        unsigned char *to;
        size_t want;
        if (s->reading) {
            struct sftp_req *r = s->reading;
            to = (r->reply ? r->reply : r->sink) + r->got;
            want = s->frame - r->got;
        } else {
            to = s->in + s->in_len;
            want = (s->in_len >= 5 && s->in[4] == FXP_DATA ? 13 : 9) - s->in_len;
        }
        ssize_t n = libssh2_channel_read(s->channel, (char *)to, want);
        s->must_read = false;
        if (n == LIBSSH2_ERROR_EAGAIN) {
            s->must_read = (libssh2_session_block_directions(s->ssh) & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0;
            break;
        }
        if (n == 0) {
            /* Nothing yet would be EAGAIN. Not libssh2_channel_eof(): a server may close the channel without an EOF. */
            fail_text(s, "CUT", "the server ended the SFTP session");
            break;
        }
        if (n < 0) {
            struct err e;
            sftp_ssh_error(&e, s, (int)n);
            sftp_fail(s, &e);
            break;
        }
        any = true;
        if (s->reading) {
            s->reading->got += (size_t)n;
        } else {
            s->in_len += (size_t)n;
            if (s->in_len >= 4 && get32(s->in) < 5) {        /* the rest of the header would never come */
                fail_text(s, "PROTOCOL", "the server's answer has an impossible length");
                break;
            }
            if (s->in_len < (s->in_len >= 5 && s->in[4] == FXP_DATA ? 13u : 9u) || !begin_reply(s))
                continue;
        }
        if (s->reading->got == s->frame)
            end_reply(s);
    }
    return any;
}

/* ---- turning ---- */

static void turn(struct sftp *s, bool both);

static void on_poll(uv_poll_t *h, int status, int events)
{
    (void)status, (void)events;      /* of an error the next recv() tells */
    turn(h->data, true);
}

static void arm(struct sftp *s)
{
    bool write = s->look || s->must_read || s->must_write || (s->out_head && s->budget <= 0);
    int events = UV_READABLE | (write ? UV_WRITABLE : 0);

    if (events != s->armed) {
        uv_poll_start(&s->poll, events, on_poll);
        s->armed = events;
    }
}

static void on_timer(uv_timer_t *h)
{
    struct sftp *s = h->data;
    double idle = loop_now(s->g) - s->moved_at;
    struct err e;

    if (s->state != SFTP_OPEN || (!s->out_head && !s->wait_head && !s->reading))
        return;
    if (idle < s->timeout) {
        uv_timer_start(h, on_timer, (uint64_t)((s->timeout - idle) * 1000) + 1, 0);
        return;
    }
    err_set(&e, "sftp", "TIMEOUT", "%s has not answered for %g seconds (timeout)", s->label, s->timeout);
    snprintf(e.hint, sizeof e.hint, "the server or the network between stands still; pass a larger timeout to sftp.connect "
             "when it is only slow");
    e.retryable = true;
    sftp_fail(s, &e);
}

static void turn(struct sftp *s, bool both)
{
    bool more, any = false;

    if (s->state != SFTP_OPEN || s->pumping)
        return;
    sftp_ref(s);
    s->pumping = true;
    s->budget = TURN_BYTES;
    /* libssh2_channel_write() reads all that has come before it writes (channel.c, _libssh2_channel_write): of answers, or
     * of the server's end, that it has put into its queue no event of the socket tells. */
    s->look = !both;
    do {
        more = send_queue(s);
        more = (both && receive(s)) || more;
        any = any || more;
    } while (both && more && s->state == SFTP_OPEN && s->budget > 0);
    s->pumping = false;
    if (s->state == SFTP_OPEN) {
        if (any)
            s->moved_at = loop_now(s->g);
        if ((s->out_head || s->wait_head || s->reading) && !uv_is_active((uv_handle_t *)&s->timer))
            uv_timer_start(&s->timer, on_timer, (uint64_t)(s->timeout * 1000) + 1, 0);
        arm(s);
    } else {
        sftp_release(s);
    }
    sftp_unref(s);
}

/* Sends only: were answers taken here too, a task that reads from a fast server would never have to wait, and no other
 * task would run. */
void sftp_kick(struct sftp *s)
{
    turn(s, false);
}

/* ---- life ---- */

bool sftp_wire_open(struct sftp *s, struct err *e)
{
    int r;

    watch_close(s->watch);
    s->watch = NULL;
    r = uv_poll_init(loop_uv(s->g), &s->poll, s->fd);
    if (r < 0)
        return err_errno(e, "sftp", -r, "sftp.connect: %s: cannot watch the socket", s->label);
    uv_timer_init(loop_uv(s->g), &s->timer);
    s->poll.data = s->timer.data = s;
    s->refs += 2;
    s->polling = true;
    s->state = SFTP_OPEN;
    return true;
}

void sftp_wire_close(struct sftp *s)
{
    struct sftp_req *lists[3] = { s->reading, s->wait_head, s->out_head };

    if (!s->polling)
        return;
    s->polling = false;
    uv_close((uv_handle_t *)&s->poll, unref_closed);
    uv_close((uv_handle_t *)&s->timer, unref_closed);
    if (s->reading)
        s->reading->next = NULL;
    s->reading = s->wait_head = s->wait_tail = s->out_head = s->out_tail = NULL;
    for (int i = 0; i < 3; i++)
        for (struct sftp_req *r = lists[i], *next; r; r = next) {
            next = r->next;
            fail_req(r);
        }
}
