/* uuid7.c - see uuid7.h. RFC 9562 section 6.2, method 3: the 12 bits behind the milliseconds hold their fraction (in
 * 1/4096), and two UUIDs of one tick are kept apart by moving ahead of the clock. */
#include "core/uuid7.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static uint64_t rotate(uint64_t v, int k) { return v << k | v >> (64 - k); }

/* xoshiro256++ of Blackman and Vigna. */
static uint64_t next_random(uint64_t s[4])
{
    uint64_t result = rotate(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

static void seed(struct uuid7 *state, const struct timespec *now)
{
    size_t have = 0;
    while (have < sizeof state->random) {
        ssize_t n = getrandom((char *)state->random + have, sizeof state->random - have, 0);
        if (n < 0 && errno != EINTR)
            break;
        have += n > 0 ? (size_t)n : 0;
    }
    if (have < sizeof state->random) {     /* no getrandom (old sandbox): the clock and the process tell states apart */
        state->random[0] ^= (uint64_t)now->tv_nsec << 32 ^ (uint64_t)now->tv_sec;
        state->random[1] ^= (uint64_t)getpid();
    }
    if (!(state->random[0] | state->random[1] | state->random[2] | state->random[3]))
        state->random[0] = 1;              /* all zeros is the generator's one bad state */
}

void uuid7_make(struct uuid7 *state, uint8_t out[16])
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (__builtin_expect(!(state->random[0] | state->random[1] | state->random[2] | state->random[3]), 0))
        seed(state, &now);
    uint64_t ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    uint64_t tick = ms << 12 | ((uint64_t)now.tv_nsec % 1000000 * 4096) / 1000000;
    if (tick <= state->last)
        tick = state->last + 1;
    state->last = tick;
    uint64_t high = (tick >> 12) << 16 | UINT64_C(0x7000) | (tick & 0xFFF);
    uint64_t low = next_random(state->random) >> 2 | UINT64_C(1) << 63;
    for (int i = 0; i < 8; i++) {
        out[i] = (uint8_t)(high >> (56 - 8 * i));
        out[8 + i] = (uint8_t)(low >> (56 - 8 * i));
    }
}

void uuid7_print(const uint8_t id[16], char out[UUID7_TEXT])
{
    static const char hex[16] = { '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f' };
    char *to = out;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *to++ = '-';
        *to++ = hex[id[i] >> 4];
        *to++ = hex[id[i] & 15];
    }
}
