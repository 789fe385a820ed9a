/* xml.c - one part of the archive as XML: expat under bounds, with errors that say where.
 *
 * Owns the parser and the open part. Refuses DOCTYPEs altogether (OOXML forbids them; entities, external or nested, have
 * no other way in), elements nested deeper than DEPTH_MAX, and single tokens above TOKEN_MAX: expat 2.5 scans an unfinished
 * token anew with each chunk, which is quadratic (CVE-2023-52425). */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "xlsx.h"

enum { CHUNK = 128 << 10, DEPTH_MAX = 100, TOKEN_MAX = 1 << 20 };

#define SEPARATOR '\n'       /* between namespace and local name; cannot be in either */

/* The namespaces whose elements mean something here: transitional and strict SpreadsheetML, and relationships. */
static const char *const namespaces[] = {
    "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
    "http://purl.oclc.org/ooxml/spreadsheetml/main",
    "http://schemas.openxmlformats.org/package/2006/relationships",
    NULL
};

void xml_fail(struct xml *x, const char *code, const char *fmt, ...)
{
    char text[600];
    va_list ap;

    if (x->failed)
        return;
    x->failed = true;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (x->row)
        x->api->set(x->e, "xlsx", code, "%s, row %u: %s", x->where, x->row, text);
    else
        x->api->set(x->e, "xlsx", code, "%s: %s", x->where, text);
    XML_StopParser(x->parser, XML_FALSE);
}

/* The local name when the element is of a known namespace (or of none), else NULL. Nearly all are of the last one's. */
static const char *local_name(struct xml *x, const char *name)
{
    if (x->ns && strncmp(name, x->ns, x->ns_len) == 0 && name[x->ns_len] == SEPARATOR)
        return name + x->ns_len + 1;
    const char *end = strchr(name, SEPARATOR);
    if (!end)
        return name;
    size_t n = (size_t)(end - name);
    for (const char *const *known = namespaces; *known; known++) {
        if (strncmp(name, *known, n) == 0 && (*known)[n] == '\0') {
            x->ns = *known;
            x->ns_len = n;
            return end + 1;
        }
    }
    return NULL;
}

static void XMLCALL on_start(void *ud, const XML_Char *name, const XML_Char **atts)
{
    struct xml *x = ud;

    if (x->failed)
        return;
    if (++x->depth > DEPTH_MAX) {
        xml_fail(x, "xml", "elements are nested more than %d deep", DEPTH_MAX);
        return;
    }
    if (x->skip)
        return;
    const char *local = local_name(x, name);
    if (!local || !x->start(x, local, atts))
        x->skip = x->depth;
}

static void XMLCALL on_end(void *ud, const XML_Char *name)
{
    struct xml *x = ud;

    if (x->failed)
        return;
    unsigned depth = x->depth--;
    if (x->skip == depth)
        x->skip = 0;
    else if (!x->skip && x->end)
        x->end(x, local_name(x, name));
}

static void XMLCALL on_text(void *ud, const XML_Char *s, int n)
{
    struct xml *x = ud;

    if (!x->failed && !x->skip)
        x->text(x, s, n);
}

static void XMLCALL on_doctype(void *ud, const XML_Char *name, const XML_Char *system, const XML_Char *public, int internal)
{
    (void)name;
    (void)system;
    (void)public;
    (void)internal;
    xml_fail(ud, "doctype", "part has a document type declaration, which no workbook has; refused");
}

const char *xml_att(const char **atts, const char *name, bool qualified)
{
    for (; *atts; atts += 2) {
        const char *key = atts[0];
        if (qualified) {
            const char *end = strchr(key, SEPARATOR);
            if (!end)
                continue;
            key = end + 1;
        }
        if (strcmp(key, name) == 0)
            return atts[1];
    }
    return NULL;
}

bool xml_open(struct xml *x, struct box *b, const char *part, const char *where, struct garun_error *e)
{
    x->api = b->api;
    snprintf(x->where, sizeof x->where, "%s", where);
    if (!part_open(&x->part, b, part, e))
        return false;
    x->parser = XML_ParserCreateNS(NULL, SEPARATOR);
    if (!x->parser)
        return x->api->set(e, "xlsx", "ENOMEM", "%s: not enough memory to read the workbook", where);
    XML_SetUserData(x->parser, x);
    XML_SetElementHandler(x->parser, on_start, on_end);
    if (x->text)
        XML_SetCharacterDataHandler(x->parser, on_text);
    XML_SetStartDoctypeDeclHandler(x->parser, on_doctype);
    return true;
}

void xml_close(struct xml *x)
{
    if (x->parser)
        XML_ParserFree(x->parser);
    x->parser = NULL;
    part_close(&x->part);
}

int xml_step(struct xml *x, struct garun_error *e)
{
    x->e = e;
    void *room = XML_GetBuffer(x->parser, CHUNK);
    if (!room) {
        xml_fail(x, "ENOMEM", "not enough memory to read the part %s", x->part.name);
        return -1;
    }
    ssize_t n = part_read(&x->part, room, CHUNK, e);
    if (n < 0)
        return -1;
    x->fed += (uint64_t)n;
    if (XML_ParseBuffer(x->parser, (int)n, n == 0) != XML_STATUS_OK) {
        if (!x->failed) {
            enum XML_Error code = XML_GetErrorCode(x->parser);
            unsigned long line = XML_GetCurrentLineNumber(x->parser), column = XML_GetCurrentColumnNumber(x->parser);
            xml_fail(x, "xml", "broken XML: %s, at line %lu, column %lu of part %s", XML_ErrorString(code), line, column,
                     x->part.name);
        }
        return -1;
    }
    if (x->failed)
        return -1;
    XML_Index at = XML_GetCurrentByteIndex(x->parser);
    if (n > 0 && at >= 0 && x->fed - (uint64_t)at > TOKEN_MAX) {
        xml_fail(x, "xml", "a single tag or comment in part %s is larger than %d bytes", x->part.name, TOKEN_MAX);
        return -1;
    }
    x->ended = n == 0;
    return n > 0;
}

bool xml_all(struct xml *x, const atomic_bool *stop, struct garun_error *e)
{
    int r;
    while ((r = xml_step(x, e)) > 0) {
        if (stop && atomic_load(stop))
            return x->api->set(e, "xlsx", "closed", "%s: given up", x->where);
    }
    return r == 0;
}
