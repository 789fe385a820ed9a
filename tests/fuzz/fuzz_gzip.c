/* fuzz_gzip.c - the inflater of garun.gzip against hostile and damaged input.
 *
 * The first two bytes choose the format and how the input is cut into chunks, the rest is the input. Held to: whatever
 * the chunks, the outcome is the same (bytes, or error and its place); a bound on the output holds; what was compressed
 * comes back. Includes the C file, for its functions below the Lua line are what is tested. */
#include "../../runtime/bind/gzip.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    bool     ok;
    char     code[32], message[1024];
    uint64_t made;
    uLong    sum;
};

static struct outcome inflate_all(const uint8_t *in, size_t len, size_t step, enum format format, uint64_t max)
{
    struct outcome o = { .ok = true };
    struct err e;
    size_t n, at = 0;
    bool last = false;
    struct inflater *f = malloc(sizeof *f);
    if (!f)
        abort();
    memset(f, 0, offsetof(struct inflater, out));
    f->format = format;
    f->max_bytes = max;
    o.sum = crc32(0, NULL, 0);
    for (;;) {
        o.ok = inflater_next(f, last, &n, &e);
        if (!o.ok || (n == 0 && last))
            break;
        o.sum = crc32(o.sum, f->out, (uInt)n);
        o.made += n;
        if (n > OUT_SIZE || (max && o.made > max))
            abort();
        if (n)
            continue;
        size_t chunk = len - at < step ? len - at : step;
        last = chunk == 0;
        if (f->z.avail_in)
            abort();                     /* asked for more with input left */
        if (!last)
            inflater_feed(f, in + at, chunk);
        at += chunk;
    }
    if (!o.ok) {
        snprintf(o.code, sizeof o.code, "%s", e.code);
        snprintf(o.message, sizeof o.message, "%s", e.message);
    }
    inflater_end(f);
    free(f);
    return o;
}

static void round_trip(const uint8_t *in, size_t len)
{
    z_stream z = {0};
    uLong bound;
    if (deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        abort();
    bound = deflateBound(&z, len) + 64;
    unsigned char *packed = malloc(2 * bound + 16);
    union { const uint8_t *from; unsigned char *to; } bytes = { .from = in };
    z.next_in = bytes.to;
    z.avail_in = (uInt)len;
    z.next_out = packed;
    z.avail_out = (uInt)bound;
    if (deflate(&z, Z_FINISH) != Z_STREAM_END)
        abort();
    size_t n = z.total_out;
    deflateEnd(&z);
    memcpy(packed + n, packed, n);                        /* two members and padding */
    memset(packed + 2 * n, 0, 16);
    struct outcome o = inflate_all(packed, 2 * n + 16, 7, FORMAT_GZIP, 0);
    uLong sum = crc32(crc32(crc32(0, NULL, 0), in, (uInt)len), in, (uInt)len);
    if (!o.ok || o.made != 2 * len || o.sum != sum)
        abort();
    o = inflate_all(packed, n - 1, 1000, FORMAT_GZIP, 0);
    if (o.ok || strcmp(o.code, "truncated") != 0)
        abort();
    packed[n] = 'x';
    o = inflate_all(packed, n + 1, 1000, FORMAT_GZIP, 0);
    if (o.ok || strcmp(o.code, "trailing") != 0)
        abort();
    free(packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    enum format format = (enum format)(data[0] % 3);      /* without auto, which resolves to one of them */
    size_t step = data[1] ? data[1] : 1;
    data += 2;
    size -= 2;
    const uint64_t max = 8u << 20;
    struct outcome whole = inflate_all(data, size, size ? size : 1, format, max);
    struct outcome cut = inflate_all(data, size, step, format, max);
    if (whole.ok != cut.ok || strcmp(whole.code, cut.code) != 0 || strcmp(whole.message, cut.message) != 0)
        abort();
    if (whole.ok && (whole.made != cut.made || whole.sum != cut.sum))
        abort();
    round_trip(data, size);
    return 0;
}
