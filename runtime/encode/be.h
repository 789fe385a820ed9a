/* be.h - integers in network byte order, as rows in COPY's binary format have them. Owns nothing. */
#ifndef GARUN_BE_H
#define GARUN_BE_H

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
static inline uint16_t be_16(uint16_t v) { return __builtin_bswap16(v); }
static inline uint32_t be_32(uint32_t v) { return __builtin_bswap32(v); }
static inline uint64_t be_64(uint64_t v) { return __builtin_bswap64(v); }
#else
static inline uint16_t be_16(uint16_t v) { return v; }
static inline uint32_t be_32(uint32_t v) { return v; }
static inline uint64_t be_64(uint64_t v) { return v; }
#endif

/* Writes v at `to`, which need not be aligned; returns the end. */
static inline char *be_put16(char *to, uint16_t v)
{
    v = be_16(v);
    memcpy(to, &v, sizeof v);
    return to + sizeof v;
}

static inline char *be_put32(char *to, uint32_t v)
{
    v = be_32(v);
    memcpy(to, &v, sizeof v);
    return to + sizeof v;
}

static inline char *be_put64(char *to, uint64_t v)
{
    v = be_64(v);
    memcpy(to, &v, sizeof v);
    return to + sizeof v;
}

/* The value at p, which need not be aligned. */
static inline uint16_t be_get16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return be_16(v);
}

static inline uint32_t be_get32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return be_32(v);
}

static inline uint64_t be_get64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return be_64(v);
}

#endif
