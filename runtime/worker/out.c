/* out.c - see out.h. */
#include "worker/out.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static size_t padded(size_t n) { return (n + 7) & ~(size_t)7; }

/* ---- slots ---- */

/* Makes a slot current, waiting for the host to free one. */
static void acquire(struct out *o)
{
    if (o->slot < PROTO_OUT_SLOTS)
        return;
    for (;;) {
        for (unsigned i = 0; i < PROTO_OUT_SLOTS; i++) {
            if (!o->taken[i]) {
                o->slot = i;
                o->at = 0;
                return;
            }
        }
        struct proto_msg m;
        wire_wait(o->wire, PROTO_FREE, &m);
        if (m.slot >= PROTO_OUT_SLOTS)
            wire_fatal(o->wire, "the host freed output slot %u, which does not exist", m.slot);
        o->taken[m.slot] = false;
    }
}

static void close_record(struct out *o)
{
    if (o->open) {
        size_t end = padded(o->at);
        memset(o->slots + o->slot * PROTO_OUT_BYTES + o->at, 0, end - o->at);
        o->at = end;
        o->open = NULL;
    }
}

void out_flush(struct out *o)
{
    if (o->slot == PROTO_OUT_SLOTS)
        return;
    close_record(o);
    struct proto_msg m = { .type = PROTO_OUT, .slot = o->slot, .len = o->at };
    o->taken[o->slot] = true;
    o->slot = PROTO_OUT_SLOTS;
    if (m.len)
        wire_send(o->wire, &m);
    else
        o->taken[m.slot] = false;
}

static size_t room(const struct out *o) { return PROTO_OUT_BYTES - o->at; }

/* Begins a record and leaves it open; there must be room for its header. */
static char *begin(struct out *o, struct proto_rec head)
{
    char *p = o->slots + o->slot * PROTO_OUT_BYTES + o->at;
    memcpy(p, &head, sizeof head);
    o->open = (struct proto_rec *)(void *)p;
    o->at += sizeof head;
    return p + sizeof head;
}

static void add(struct out *o, const void *bytes, size_t len)
{
    if (len)
        memcpy(o->slots + o->slot * PROTO_OUT_BYTES + o->at, bytes, len);
    o->open->size += (uint32_t)len;
    o->at += len;
}

/* Makes room for a small record in one piece. */
static void begin_small(struct out *o, struct proto_rec head, size_t len)
{
    acquire(o);
    close_record(o);
    if (room(o) < sizeof head + padded(len)) {
        out_flush(o);
        acquire(o);
    }
    begin(o, head);
}

/* ---- partitions ---- */

static bool grow_parts(struct out *o)
{
    uint32_t size = o->parts ? (o->mask + 1) * 2 : 64;
    struct out_part *table = calloc(size, sizeof *table);
    if (!table)
        return false;
    for (uint32_t i = 0; o->parts && i <= o->mask; i++) {
        if (o->parts[i].number == 0)
            continue;
        uint32_t at = (uint32_t)XXH3_64bits(o->parts[i].text, o->parts[i].len) & (size - 1);
        while (table[at].number)
            at = (at + 1) & (size - 1);
        table[at] = o->parts[i];
    }
    free(o->parts);
    o->parts = table;
    o->mask = size - 1;
    o->last = 0;
    return true;
}

/* The number of a partition; declares it to the host when it is new. */
static uint32_t part_number(struct out *o, struct plan_text text)
{
    const struct out_part *last = o->parts ? &o->parts[o->last] : NULL;
    if (last && last->number && last->len == text.len && memcmp(last->text, text.data, text.len) == 0)
        return last->number;
    if ((!o->parts || o->nparts * 2 > o->mask) && !grow_parts(o))
        wire_fatal(o->wire, "the worker is out of memory");
    uint32_t at = (uint32_t)XXH3_64bits(text.data, text.len) & o->mask;
    for (; o->parts[at].number; at = (at + 1) & o->mask) {
        if (o->parts[at].len == text.len && memcmp(o->parts[at].text, text.data, text.len) == 0) {
            o->last = at;
            return o->parts[at].number;
        }
    }
    if (o->nparts == OUT_PARTS)
        wire_fatal(o->wire, "the partition column has more than %u different values", OUT_PARTS);
    char *copy = malloc((size_t)text.len + 1);
    if (!copy)
        wire_fatal(o->wire, "the worker is out of memory");
    memcpy(copy, text.data, text.len);
    o->parts[at] = (struct out_part){ .text = copy, .len = text.len, .number = ++o->nparts };
    o->last = at;
    if (text.len > PROTO_OUT_BYTES / 2)
        wire_fatal(o->wire, "a value of the partition column has %u bytes", text.len);
    begin_small(o, (struct proto_rec){ .kind = REC_PART, .part = o->nparts }, text.len);
    add(o, text.data, text.len);
    close_record(o);
    return o->nparts;
}

/* ---- the sink ---- */

static bool put_row(struct encode_sink *s, const struct encode_row *row)
{
    struct out *o = (struct out *)s;
    uint32_t part = row->part.data ? part_number(o, row->part) : 0;
    acquire(o);
    if (!o->dedup && o->open && o->open->kind == REC_ROWS && o->open->table == row->table && o->open->part == part &&
        room(o) >= padded(row->len)) {
        add(o, row->data, row->len);
        o->open->rows++;
        return true;
    }
    close_record(o);
    if (room(o) < sizeof(struct proto_rec) + padded(row->len)) {
        out_flush(o);
        acquire(o);
    }
    struct proto_rec head = { .kind = REC_ROWS, .table = row->table, .part = part,
                              .key = { row->key[0], row->key[1] } };
    size_t done = 0;
    for (;;) {
        size_t most = (room(o) - sizeof head) & ~(size_t)7, left = row->len - done;
        bool more = left > most;
        head.rows = !more;
        head.flags = more ? PROTO_MORE : 0;
        begin(o, head);
        add(o, row->data + done, more ? most : left);
        if (!more)
            break;
        done += most;
        head.key[0] = head.key[1] = 0;      /* the first fragment alone says who the row is */
        out_flush(o);
        acquire(o);
    }
    if (o->dedup || done)
        close_record(o);
    return true;
}

static bool put_reject(struct encode_sink *s, const struct encode_reject *r)
{
    struct out *o = (struct out *)s;
    struct proto_reject head = {
        .line = r->line, .offset = r->offset, .raw_at = r->raw_at, .raw_len = r->raw_len,
        .column_len = r->column.len < 1024 ? r->column.len : 1024, .reason_len = (uint32_t)strlen(r->reason) };
    strncpy(head.code, r->code, sizeof head.code - 1);
    begin_small(o, (struct proto_rec){ .kind = REC_REJECT }, sizeof head + head.column_len + head.reason_len);
    add(o, &head, sizeof head);
    add(o, r->column.data, head.column_len);
    add(o, r->reason, head.reason_len);
    close_record(o);
    return true;
}

static bool put_other(struct encode_sink *s, struct plan_text name, uint64_t count)
{
    struct out *o = (struct out *)s;
    begin_small(o, (struct proto_rec){ .kind = REC_OTHER, .rows = count }, name.len);
    add(o, name.data, name.len);
    close_record(o);
    return true;
}

void out_init(struct out *o, struct wire *wire, char *slots)
{
    *o = (struct out){ .sink = { put_row, put_reject, put_other }, .wire = wire, .slots = slots,
                       .slot = PROTO_OUT_SLOTS };
}
