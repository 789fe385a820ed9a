/* test_encode_worker.c - the worker process of the same build over its real socket and memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "encode_fixture.h"
#include "worker/proto.h"

struct host {
    pid_t       pid;
    int         fd;
    char       *memory;
    unsigned    outs;            /* OUT messages of the last batch */
    struct plan plan;            /* the last one that was sent, to read rows with */
    struct buf  rows[4];         /* by table */
    struct buf  log;             /* everything else, as text */
    uint64_t    nrows[4];
    unsigned    fragments;
    uint64_t    keys;            /* records with a key */
    struct proto_msg done;
};

static struct host h;

static char *input(unsigned slot) { return h.memory + slot * PROTO_IN_BYTES; }
static char *output(unsigned slot) { return h.memory + PROTO_IN_SLOTS * PROTO_IN_BYTES + slot * PROTO_OUT_BYTES; }

/* The worker of the same build: this program is BUILD/tests/test_encode_worker. */
static const char *worker_path(void)
{
    static char path[PATH_MAX + 32];
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX);
    assert_true(n > 0);
    path[n] = '\0';
    for (int i = 0; i < 2; i++)
        *strrchr(path, '/') = '\0';
    strcat(path, "/garun-worker");
    return path;
}

static void start(void)
{
    const char *path = worker_path();
    if (access(path, X_OK) < 0) {
        print_message("no %s: build it first\n", path);
        skip();
    }
    int pair[2], memfd = memfd_create("test", 0);
    h = (struct host){ 0 };
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    assert_int_equal(ftruncate(memfd, (off_t)PROTO_SHM_BYTES), 0);
    h.memory = mmap(NULL, PROTO_SHM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    assert_true(h.memory != MAP_FAILED);
    h.pid = fork();
    if (h.pid == 0) {
        int socket = fcntl(pair[1], F_DUPFD, 10), memory = fcntl(memfd, F_DUPFD, 10);
        dup2(socket, 0);
        dup2(memory, 3);
        execl(path, path, (char *)NULL);
        _exit(127);
    }
    close(pair[1]);
    close(memfd);
    h.fd = pair[0];
}

/* Closes the socket; the worker's exit status. */
static int stop(void)
{
    int status = -1;
    close(h.fd);
    waitpid(h.pid, &status, 0);
    munmap(h.memory, PROTO_SHM_BYTES);
    for (int i = 0; i < 4; i++)
        buf_free(&h.rows[i]);
    buf_free(&h.log);
    plan_free(&h.plan);
    return status;
}

static void say(const struct proto_msg *m)
{
    assert_int_equal(send(h.fd, m, sizeof *m, MSG_NOSIGNAL), sizeof *m);
}

static bool hear(struct proto_msg *m)
{
    struct pollfd p = { .fd = h.fd, .events = POLLIN };
    assert_int_equal(poll(&p, 1, 20000), 1);
    return recv(h.fd, m, sizeof *m, 0) == sizeof *m;
}

static void plan(const char *lua)
{
    size_t len = 0;
    uint8_t *bytes = fixture_pack(lua, &len);
    assert_non_null(bytes);
    struct err e;
    memcpy(input(0), bytes, len);
    plan_free(&h.plan);
    assert_true(plan_decode(bytes, len, &h.plan, &e));
    free(bytes);
    say(&(struct proto_msg){ .type = PROTO_PLAN, .slot = 0, .len = len });
}

static void plan_is_accepted(const char *lua)
{
    struct proto_msg m;
    plan(lua);
    assert_true(hear(&m));
    assert_int_equal(m.type, PROTO_READY);
}

static void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *fmt, ...)
{
    char text[800];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    buf_put(&h.log, text, (size_t)n);
}

/* Takes an output slot apart, as strictly as the host does. */
static void read_slot(const char *p, size_t len)
{
    struct proto_rec rec;
    assert_true(len <= PROTO_OUT_BYTES);
    for (size_t at = 0; at < len; at += (rec.size + 7u) & ~7u) {
        assert_true(len - at >= sizeof rec);
        memcpy(&rec, p + at, sizeof rec);
        at += sizeof rec;
        assert_true(rec.size <= len - at);
        switch (rec.kind) {
        case REC_ROWS:
            assert_true(rec.table < 4);
            buf_put(&h.rows[rec.table], p + at, rec.size);
            h.nrows[rec.table] += rec.rows;
            h.fragments += (rec.flags & PROTO_MORE) != 0;
            h.keys += (rec.key[0] | rec.key[1]) != 0;
            assert_int_equal(rec.rows == 0, (rec.flags & PROTO_MORE) != 0);
            break;
        case REC_PART:
            note("part %u=%.*s;", rec.part, (int)rec.size, p + at);
            break;
        case REC_REJECT: {
            struct proto_reject r;
            memcpy(&r, p + at, sizeof r);
            assert_int_equal(rec.size, sizeof r + r.column_len + r.reason_len);
            note("reject %llu@%llu %u+%u %s %.*s;", (unsigned long long)r.line, (unsigned long long)r.offset, r.raw_at,
                 r.raw_len, r.code, (int)r.column_len, p + at + sizeof r);
            break;
        }
        case REC_OTHER:
            note("other %.*s=%llu;", (int)rec.size, p + at, (unsigned long long)rec.rows);
            break;
        default:
            fail_msg("record of kind %u", rec.kind);
        }
    }
}

/* Sends a batch and takes its results until DONE. False on FATAL, whose text goes into the log. */
static bool batch_in(unsigned slot, const char *text, size_t len, uint64_t line, uint64_t offset)
{
    struct proto_msg m;
    memcpy(input(slot), text, len);
    say(&(struct proto_msg){ .type = PROTO_BATCH, .slot = slot, .len = len, .line = line, .offset = offset });
    h.outs = 0;
    for (;;) {
        assert_true(hear(&m));
        if (m.type == PROTO_OUT) {
            h.outs++;
            read_slot(output(m.slot), m.len);
            say(&(struct proto_msg){ .type = PROTO_FREE, .slot = m.slot });
        } else if (m.type == PROTO_DONE) {
            assert_int_equal(m.slot, slot);
            h.done = m;
            return true;
        } else {
            assert_int_equal(m.type, PROTO_FATAL);
            note("fatal %s", m.text);
            return false;
        }
    }
}

static bool batch(const char *text)
{
    return batch_in(0, text, strlen(text), 1, 0);
}

static const char simple[] = "return { route = { from = 'k', values = { a = 1, b = 2 } }, tables = {"
    " { partition = 'd', columns = { { name = 'd', type = 'date', from = 'd' }, { name = 'v', type = 'text', from = "
    "'v' } } },"
    " { columns = { { name = 'v', type = 'varchar(3)', from = 'v' }, { name = 'n', type = 'int2', from = 'n' } } } } }";

/* A table's rows become lines of COPY text, in place. */
static const char *lines(unsigned table)
{
    struct buf text = { 0 }, *rows = &h.rows[table];
    for (size_t at = 0; at < rows->len;) {
        size_t n = decode_row(&h.plan.tables[table], rows->data + at, rows->len - at, &text);
        assert_true(n > 0);
        at += n;
    }
    buf_put(&text, "", 1);
    buf_free(rows);
    *rows = text;
    return rows->data;
}

/* ---- tests ---- */

static void a_batch_gives_rows_rejects_others_and_counts(void **state)
{
    (void)state;
    static const char text[] =
        "{\"k\":\"a\",\"d\":\"20240105\",\"v\":\"x\"}\n{\"k\":\"a\",\"d\":\"20240105\",\"v\":\"y\"}\n"
        "{\"k\":\"z\"}\nbad\n\n{\"k\":\"b\",\"v\":\"long\",\"n\":99999}\n{\"k\":\"a\",\"d\":\"2024\"}\n"
        "{\"k\":\"a\",\"d\":\"20240106\",\"v\":\"\\u0000\"}\n{\"k\":\"a\",\"d\":\"20240105\"}";
    start();
    plan_is_accepted(simple);
    assert_true(batch_in(1, text, sizeof text - 1, 101, 7000));
    buf_put(&h.log, "", 1);
    assert_string_equal(lines(0), "2024-01-05\tx\n2024-01-05\ty\n2024-01-06\t\xEF\xBF\xBD\n2024-01-05\t\\N\n");
    assert_string_equal(lines(1), "lon\t\\N\n");
    assert_int_equal(h.nrows[0], 4);
    assert_int_equal(h.nrows[1], 1);
    assert_string_equal(h.log.data, "part 1=2024-01-05;reject 104@7076 76+3 json ;reject 107@7112 112+20 date d;"
                                    "part 2=2024-01-06;other z=1;");
    static const uint64_t counts[COUNT_COUNTS] = {
        [COUNT_LINES] = 8, [COUNT_ROWS] = 5, [COUNT_OTHER] = 1, [COUNT_REJECTED] = 2, [COUNT_REPAIRED] = 1,
        [COUNT_CUT] = 1, [COUNT_NULLED] = 1 };
    assert_memory_equal(h.done.count, counts, sizeof counts);
    assert_int_equal(h.outs, 1);
    assert_int_equal(stop(), 0);
}

static void partition_numbers_last_from_batch_to_batch_and_plan_to_plan(void **state)
{
    (void)state;
    start();
    plan_is_accepted(simple);
    assert_true(batch("{\"k\":\"a\",\"d\":\"20240105\"}\n"));
    plan_is_accepted(simple);
    assert_true(batch("{\"k\":\"a\",\"d\":\"20240105\"}\n{\"k\":\"a\",\"d\":\"20240101\"}"));
    buf_put(&h.log, "", 1);
    assert_string_equal(h.log.data, "part 1=2024-01-05;part 2=2024-01-01;");
    assert_int_equal(stop(), 0);
}

static void with_dedup_each_row_comes_alone_with_its_key(void **state)
{
    (void)state;
    start();
    plan_is_accepted("return { dedup = { key = { 'v' } }, tables = { { columns = { { name = 'v', type = 'text', "
                     "from = 'v' } } } } }");
    assert_true(batch("{\"v\":1}\n{\"v\":1}\n{\"v\":2}\n"));
    assert_int_equal(h.nrows[0], 3);
    assert_int_equal(h.keys, 3);
    assert_int_equal(stop(), 0);
}

static void a_giant_line_comes_in_fragments(void **state)
{
    (void)state;
    const size_t len = (16u << 20) - 20;
    char *text = malloc(len + 32);
    start();
    plan_is_accepted("return { dedup = { key = { 'n' } }, tables = { { columns = { { name = 'v', type = 'text', "
                     "from = 'v' } } } } }");
    memcpy(text, "{\"n\":1,\"v\":\"", 12);
    for (size_t i = 12; i < len - 2; i++)
        text[i] = (char)('a' + i % 23);
    memcpy(text + len - 2, "\"}\n{\"v\":\"t\"}\n", 13);
    assert_true(batch_in(1, text, len + 11, 1, 0));
    assert_int_equal(h.nrows[0], 2);
    assert_int_equal(h.fragments, 16);
    assert_int_equal(h.keys, 2);               /* the first fragment and the other row */
    lines(0);
    assert_int_equal(h.rows[0].len, len - 14 + 1 + 2 + 1);
    assert_memory_equal(h.rows[0].data, text + 12, len - 14);
    assert_string_equal(h.rows[0].data + len - 14, "\nt\n");
    free(text);
    assert_int_equal(stop(), 0);
}

static long resident_kb(pid_t pid)
{
    char path[40], line[200];
    long kb = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    while (fgets(line, sizeof line, in)) {
        if (strncmp(line, "VmHWM:", 6) == 0)
            kb = strtol(line + 6, NULL, 10);
    }
    fclose(in);
    return kb;
}

static void memory_stays_small_however_many_batches(void **state)
{
    (void)state;
    struct buf text = { 0 };
    char line[3000];
    start();
    plan_is_accepted("return { tables = { { columns = { { name = 'w', type = 'jsonb', from = '.' } } } } }");
    for (int i = 0; text.len < (1u << 20) - 3000; i++)
        buf_put(&text, line, (size_t)snprintf(line, sizeof line, "{\"n\":%d,\"x\":null,\"pad\":\"%01000d\"}\n", i, i));
    for (unsigned i = 0; i < 100; i++) {
        h.rows[0].len = 0;
        assert_true(batch_in(i % 2, text.data, text.len, 1, 0));
    }
    long kb = resident_kb(h.pid);
    print_message("worker's peak memory after 100 MiB: %ld KiB\n", kb);
    assert_in_range(kb, 1, 64 * 1024);
    buf_free(&text);
    assert_int_equal(stop(), 0);
}

static void full_slots_make_the_worker_wait(void **state)
{
    (void)state;
    struct buf text = { 0 };
    char line[200];
    struct proto_msg m;
    unsigned slots[PROTO_OUT_SLOTS + 1];
    start();
    /* one column taken thirty times: the rows are far larger than the lines */
    struct buf lua = { 0 };
    buf_put(&lua, "return { tables = { { columns = {", 33);
    for (int i = 0; i < 30; i++)
        buf_put(&lua, line, (size_t)snprintf(line, sizeof line, "{ name = 'c%d', type = 'text', from = 'v' },", i));
    buf_put(&lua, "} } } }", 8);
    plan_is_accepted(lua.data);
    buf_free(&lua);
    for (int i = 0; i < 6000; i++)
        buf_put(&text, line, (size_t)snprintf(line, sizeof line, "{\"v\":\"%050d\"}\n", i));
    memcpy(input(0), text.data, text.len);
    say(&(struct proto_msg){ .type = PROTO_BATCH, .slot = 0, .len = text.len, .line = 1 });
    for (unsigned i = 0; i < PROTO_OUT_SLOTS; i++) {
        assert_true(hear(&m));
        assert_int_equal(m.type, PROTO_OUT);
        slots[i] = m.slot;
        read_slot(output(m.slot), m.len);
    }
    struct pollfd p = { .fd = h.fd, .events = POLLIN };
    assert_int_equal(poll(&p, 1, 200), 0);             /* all slots are ours: silence */
    /* a batch that comes meanwhile is kept for later */
    memcpy(input(1), "{\"v\":\"last\"}", 12);
    say(&(struct proto_msg){ .type = PROTO_BATCH, .slot = 1, .len = 12, .line = 6001 });
    assert_int_equal(poll(&p, 1, 100), 0);
    unsigned done = 0;
    for (unsigned i = 0; i < PROTO_OUT_SLOTS; i++)
        say(&(struct proto_msg){ .type = PROTO_FREE, .slot = slots[i] });
    while (done < 2) {
        assert_true(hear(&m));
        if (m.type == PROTO_DONE) {
            assert_int_equal(m.slot, done);
            done++;
            continue;
        }
        assert_int_equal(m.type, PROTO_OUT);
        read_slot(output(m.slot), m.len);
        say(&(struct proto_msg){ .type = PROTO_FREE, .slot = m.slot });
    }
    assert_int_equal(h.nrows[0], 6001);
    const char *at = lines(0);
    for (int i = 0; i < 6000; i++, at = strchr(at, '\n') + 1)
        assert_int_equal(strtol(at, NULL, 10), i);
    buf_free(&text);
    assert_int_equal(stop(), 0);
}

static void a_bad_plan_is_fatal_and_said(void **state)
{
    (void)state;
    struct proto_msg m;
    int status;
    start();
    plan("return { tables = { { columns = { { name = 'n', type = 'int2', constant = 'x' } } } } }");
    assert_true(hear(&m));
    assert_int_equal(m.type, PROTO_FATAL);
    assert_non_null(strstr(m.text, "column \"n\" cannot take its constant"));
    waitpid(h.pid, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    close(h.fd);
    plan_free(&h.plan);
    munmap(h.memory, PROTO_SHM_BYTES);

    start();
    memcpy(input(0), "GPLN\1 nonsense", 14);
    say(&(struct proto_msg){ .type = PROTO_PLAN, .slot = 0, .len = 14 });
    assert_true(hear(&m));
    assert_int_equal(m.type, PROTO_FATAL);
    assert_non_null(strstr(m.text, "malformed"));
    stop();
}

static void a_batch_without_a_plan_is_fatal(void **state)
{
    (void)state;
    start();
    assert_false(batch("{}"));
    buf_put(&h.log, "", 1);
    assert_non_null(strstr(h.log.data, "before the plan"));
    stop();
}

static void numbers_of_slots_are_checked(void **state)
{
    (void)state;
    struct proto_msg m;
    static const struct proto_msg bad[] = {
        { .type = PROTO_PLAN, .slot = PROTO_IN_SLOTS, .len = 1 }, { .type = PROTO_PLAN, .slot = 0,
            .len = PROTO_IN_BYTES },
        { .type = PROTO_FREE, .slot = PROTO_OUT_SLOTS }, { .type = 99 },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        start();
        say(&bad[i]);
        assert_true(hear(&m));
        assert_int_equal(m.type, PROTO_FATAL);
        stop();
    }
}

static void it_starts_fast_and_with_closed_doors(void **state)
{
    (void)state;
    struct timespec from, to;
    char path[64], text[4096];
    clock_gettime(CLOCK_MONOTONIC, &from);
    start();
    plan_is_accepted(simple);
    clock_gettime(CLOCK_MONOTONIC, &to);
    print_message("from fork to READY: %.2f ms\n",
                  (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) * 1e-6);
    snprintf(path, sizeof path, "/proc/%d/status", (int)h.pid);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    size_t n = fread(text, 1, sizeof text - 1, in);
    text[n] = 0;
    fclose(in);
    assert_non_null(strstr(text, "NoNewPrivs:\t1"));
    snprintf(path, sizeof path, "/proc/%d/fd/1", (int)h.pid);
    assert_int_equal(access(path, F_OK), -1);
    snprintf(path, sizeof path, "/proc/%d/fd/3", (int)h.pid);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(stop(), 0);
}

static void it_is_no_command(void **state)
{
    (void)state;
    const char *path = worker_path();
    int status;
    if (access(path, X_OK) < 0)
        skip();
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(null, 2);
        execl(path, path, (char *)NULL);
        _exit(127);
    }
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_gives_rows_rejects_others_and_counts),
        cmocka_unit_test(partition_numbers_last_from_batch_to_batch_and_plan_to_plan),
        cmocka_unit_test(with_dedup_each_row_comes_alone_with_its_key),
        cmocka_unit_test(a_giant_line_comes_in_fragments),
        cmocka_unit_test(memory_stays_small_however_many_batches),
        cmocka_unit_test(full_slots_make_the_worker_wait),
        cmocka_unit_test(a_bad_plan_is_fatal_and_said),
        cmocka_unit_test(a_batch_without_a_plan_is_fatal),
        cmocka_unit_test(numbers_of_slots_are_checked),
        cmocka_unit_test(it_starts_fast_and_with_closed_doors),
        cmocka_unit_test(it_is_no_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
