/* scan.cc - see scan.h. The only C++ of the project: simdjson has no C interface.
 *
 * It uses dom_parser_implementation, which simdjson calls internal but exports and keeps stable within a version of the
 * shared library; the second stage (the DOM) would cost more than the rest of the encoder together. */
#define SIMDJSON_EXCEPTIONS 0
#include <simdjson.h>

#include <cstdlib>
#include <memory>
#include <new>

#include "encode/scan.h"

using simdjson::internal::dom_parser_implementation;

struct scan {
    std::unique_ptr<dom_parser_implementation> impl;
};

/* The index takes four bytes a byte of input; pages that are not written cost nothing. */
static const size_t scan_usual = size_t(1) << 17;

static bool scan_room(scan *s, size_t len)
{
    if (s->impl && s->impl->capacity() >= len)
        return true;
    size_t capacity = len > scan_usual ? len + len / 4 : scan_usual;    /* lines of one source grow little by little */
    s->impl.reset();
    return simdjson::get_active_implementation()->create_dom_parser_implementation(capacity, 1, s->impl) ==
           simdjson::SUCCESS;
}

extern "C" struct scan *scan_open(void)
{
    /* malloc and placement: plain new would ask for libstdc++ by name, which is simdjson's business */
    void *room = malloc(sizeof(scan));
    scan *s = room ? new (room) scan : nullptr;
    if (s && !scan_room(s, scan_usual)) {
        scan_close(s);
        return nullptr;
    }
    return s;
}

extern "C" void scan_close(struct scan *s)
{
    if (!s)
        return;
    s->~scan();
    free(s);
}

extern "C" enum scan_status scan_run(struct scan *s, const uint8_t *buf, size_t len, const uint32_t **index,
                                     uint32_t *count)
{
    if (!scan_room(s, len))
        return SCAN_MEMORY;
    simdjson::error_code code = s->impl->stage1(buf, len, simdjson::stage1_mode::regular);
    if (code == simdjson::EMPTY)
        s->impl->n_structural_indexes = 0;
    else if (code == simdjson::UTF8_ERROR)
        return SCAN_UTF8;
    else if (code != simdjson::SUCCESS)
        return code == simdjson::MEMALLOC ? SCAN_MEMORY : SCAN_CONTROL;
    /* simdjson leaves at least nine places behind the last index (set_capacity in its stage 1). */
    uint32_t *at = s->impl->structural_indexes.get();
    for (uint32_t i = 0; i < 4; i++)
        at[s->impl->n_structural_indexes + i] = uint32_t(len - 1);
    *index = at;
    *count = s->impl->n_structural_indexes;
    return SCAN_OK;
}

extern "C" void scan_trim(struct scan *s)
{
    if (s->impl && s->impl->capacity() > scan_usual)
        s->impl.reset();
}

extern "C" bool scan_utf8(const uint8_t *buf, size_t len)
{
    return simdjson::validate_utf8(reinterpret_cast<const char *>(buf), len);
}
