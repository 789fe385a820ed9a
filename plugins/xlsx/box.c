/* box.c - the zip archive of a workbook: opening it, reading its parts under bounds, and telling what a file is that is
 * no workbook.
 *
 * Owns the zip_t and the archive's bytes when there is no file. Refuses encrypted parts, and parts that inflate beyond
 * max_bytes or, past the first RATIO_FROM bytes, beyond max_ratio times their compressed size: deflate packs
 * 1000 to 1 at most, sheets 10 to 1, sheets of equal cells 200 to 1. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "xlsx.h"

enum { RATIO_FROM = 32 << 20, HEAD = 512, OLE_DIRECTORY = 8192, ENTRIES_MAX = 100000 };

static const unsigned char ole_magic[8] = { 0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1 };

/* ---- what a file is that is no zip archive ---- */

struct head {
    unsigned char bytes[HEAD + 1];       /* a NUL behind them */
    size_t        len, total;
    unsigned char directory[OLE_DIRECTORY];
    size_t        directory_len;
};

/* An OLE2 file's directory begins in the sector that its header names; names in it are UTF-16 (MS-CFB 2.2, 2.6). */
static uint64_t ole_directory_at(const unsigned char *head)
{
    unsigned shift = head[30] | (unsigned)head[31] << 8;
    uint64_t sector = head[48] | (uint64_t)head[49] << 8 | (uint64_t)head[50] << 16 | (uint64_t)head[51] << 24;
    return shift >= 7 && shift <= 16 ? (sector + 1) << shift : 0;
}

static void read_head(struct head *h, const char *path, const void *data, size_t len)
{
    memset(h, 0, sizeof *h);
    if (data || !path) {
        h->total = len;
        h->len = len < HEAD ? len : HEAD;
        memcpy(h->bytes, data, h->len);
        uint64_t at = h->len == HEAD ? ole_directory_at(h->bytes) : 0;
        if (at && at < len) {
            h->directory_len = len - at < OLE_DIRECTORY ? len - (size_t)at : OLE_DIRECTORY;
            memcpy(h->directory, (const char *)data + at, h->directory_len);
        }
        return;
    }
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return;
    ssize_t n = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? read(fd, h->bytes, HEAD) : -1;
    if (n > 0) {
        h->total = (size_t)st.st_size;
        h->len = (size_t)n;
        uint64_t at = n == HEAD ? ole_directory_at(h->bytes) : 0;
        ssize_t got = at ? pread(fd, h->directory, OLE_DIRECTORY, (off_t)at) : 0;
        h->directory_len = got > 0 ? (size_t)got : 0;
    }
    close(fd);
}

static bool directory_has(const struct head *h, const char *name)
{
    char wide[64];
    size_t n = 0;
    for (const char *c = name; *c && n < sizeof wide; c++) {
        wide[n++] = *c;
        wide[n++] = '\0';
    }
    return memmem(h->directory, h->directory_len, wide, n) != NULL;
}

static bool begins(const struct head *h, const char *magic, size_t n)
{
    return h->len >= n && memcmp(h->bytes, magic, n) == 0;
}

static bool explain(struct box *b, const struct head *h, const char *zip_error, struct garun_error *e)
{
    const char *name = b->name, *text = (const char *)h->bytes;
    size_t blank = strspn(text, " \t\r\n");

    if (h->total == 0)
        return b->api->set(e, "xlsx", "empty", "%s: the file is empty", name);
    if (begins(h, (const char *)ole_magic, sizeof ole_magic)) {
        if (directory_has(h, "EncryptedPackage")) {
            b->api->set(e, "xlsx", "encrypted", "%s: the workbook is protected by a password", name);
            snprintf(e->hint, sizeof e->hint, "save it without a password (File, Info, Protect Workbook)");
        } else if (directory_has(h, "Workbook") || directory_has(h, "Book")) {
            b->api->set(e, "xlsx", "xls", "%s: this is a workbook of the old binary format (.xls)", name);
            snprintf(e->hint, sizeof e->hint, "save it as .xlsx or as CSV");
        } else {
            b->api->set(e, "xlsx", "ole", "%s: this is an old Microsoft Office file (OLE2), no .xlsx workbook", name);
            snprintf(e->hint, sizeof e->hint, "save it as .xlsx, without a password");
        }
        return false;
    }
    if (begins(h, "PK", 2)) {
        b->api->set(e, "xlsx", "truncated", "%s: the archive is damaged or cut: %s", name, zip_error);
        snprintf(e->detail, sizeof e->detail, "it begins as a zip archive, but the directory at its end cannot be read");
        snprintf(e->hint, sizeof e->hint, "transfer it again, in binary mode");
        return false;
    }
    const char *what = "no zip archive";
    if (strncasecmp(text + blank, "<!doctype html", 14) == 0 || strncasecmp(text + blank, "<html", 5) == 0)
        what = "an HTML page";
    else if (strncmp(text + blank, "<?xml", 5) == 0 || strncmp(text + blank, "\357\273\277<?xml", 8) == 0)
        what = strstr(text, "Excel.Sheet") ? "an XML Spreadsheet of Excel 2003" : "an XML document";
    else if (begins(h, "\x1f\x8b", 2))
        what = "gzip data";
    else if (begins(h, "%PDF", 4))
        what = "a PDF document";
    else if (begins(h, "\x09\x08", 2) || begins(h, "\x09\x04", 2) || begins(h, "\x09\x02", 2))
        what = "a workbook of a very old binary format (.xls)";
    else if (!memchr(h->bytes, 0, h->len))
        what = "text, CSV perhaps";
    b->api->set(e, "xlsx", "not_xlsx", "%s: this is no .xlsx workbook but %s", name, what);
    return false;
}

bool box_no_workbook(struct box *b, struct garun_error *e)
{
    char type[64] = "";
    zip_file_t *f = zip_fopen(b->zip, "mimetype", 0);
    if (f) {
        zip_int64_t n = zip_fread(f, type, sizeof type - 1);
        type[n > 0 ? n : 0] = '\0';
        zip_fclose(f);
    }
    if (strncmp(type, "application/vnd.oasis.opendocument", 34) == 0) {
        b->api->set(e, "xlsx", "ods", "%s: this is an OpenDocument file (%s), no .xlsx workbook", b->name,
                    strcmp(type + 34, ".spreadsheet") == 0 ? ".ods" : type + 35);
        snprintf(e->hint, sizeof e->hint, "save it as .xlsx or as CSV");
        return false;
    }
    const char *first = zip_get_name(b->zip, 0, 0);
    b->api->set(e, "xlsx", "not_xlsx", "%s: this is a zip archive, but there is no workbook in it", b->name);
    if (first)
        snprintf(e->detail, sizeof e->detail, "its first entry is %.200s", first);
    return false;
}

/* ---- the archive ---- */

static bool fail_open(struct box *b, const char *path, const void *data, size_t len, zip_error_t *why,
                      struct garun_error *e)
{
    struct head h;
    bool system = zip_error_system_type(why) == ZIP_ET_SYS && zip_error_code_system(why) != 0;
    struct stat st;

    if (path && stat(path, &st) != 0)
        return b->api->set_errno(e, "xlsx", errno, "%s: cannot open the workbook", b->name);
    if (zip_error_code_zip(why) == ZIP_ER_MEMORY)
        return b->api->set(e, "xlsx", "ENOMEM", "%s: not enough memory to open the workbook", b->name);
    if (system && zip_error_code_zip(why) != ZIP_ER_NOZIP)
        return b->api->set_errno(e, "xlsx", zip_error_code_system(why), "%s: cannot open the workbook", b->name);
    read_head(&h, path, data, len);
    return explain(b, &h, zip_error_strerror(why), e);
}

bool box_open(struct box *b, const char *path, void *data, size_t len, struct garun_error *e)
{
    zip_error_t why;
    zip_source_t *source;

    struct stat st;

    b->data = data;
    if (!data && stat(path, &st) == 0 && !S_ISREG(st.st_mode))       /* opening a FIFO would wait for its other end */
        return b->api->set(e, "xlsx", S_ISDIR(st.st_mode) ? "EISDIR" : "not_xlsx", "%s: this is a %s, no workbook", b->name,
                           S_ISDIR(st.st_mode) ? "directory" : "pipe or device");
    zip_error_init(&why);
    source = data ? zip_source_buffer_create(data, len, 0, &why) : zip_source_file_create(path, 0, -1, &why);
    b->zip = source ? zip_open_from_source(source, ZIP_RDONLY, &why) : NULL;
    if (!b->zip) {
        if (source)
            zip_source_free(source);
        fail_open(b, data ? NULL : path, data, len, &why, e);
        zip_error_fini(&why);
        return false;
    }
    zip_error_fini(&why);
    zip_int64_t entries = zip_get_num_entries(b->zip, 0);
    if (entries == 0) {                       /* to libzip, a file of no bytes is an archive of no entries */
        struct head h;
        read_head(&h, data ? NULL : path, data, len);
        return h.total == 0 ? explain(b, &h, "", e) : box_no_workbook(b, e);
    }
    if (entries > ENTRIES_MAX)
        return b->api->set(e, "xlsx", "bomb", "%s: the archive has more than %d entries, no workbook has so many",
                           b->name, ENTRIES_MAX);
    return true;
}

void box_close(struct box *b)
{
    if (b->zip)
        zip_discard(b->zip);
    b->zip = NULL;
    free(b->data);
    b->data = NULL;
}

bool box_has(struct box *b, const char *part)
{
    pthread_mutex_lock(&b->lock);
    bool has = zip_name_locate(b->zip, part, ZIP_FL_NOCASE) >= 0;
    pthread_mutex_unlock(&b->lock);
    return has;
}

/* ---- parts ---- */

bool part_open(struct part *p, struct box *b, const char *name, struct garun_error *e)
{
    zip_stat_t st;
    bool ok = false;

    memset(p, 0, sizeof *p);
    p->box = b;
    snprintf(p->name, sizeof p->name, "%s", name);
    pthread_mutex_lock(&b->lock);
    zip_int64_t at = zip_name_locate(b->zip, name, ZIP_FL_NOCASE);       /* OPC names do not know case */
    if (at < 0 || zip_stat_index(b->zip, (zip_uint64_t)at, 0, &st) != 0) {
        b->api->set(e, "xlsx", "missing_part", "%s: the workbook is incomplete: its part %s is missing", b->name, name);
    } else if ((st.valid & ZIP_STAT_ENCRYPTION_METHOD) && st.encryption_method != ZIP_EM_NONE) {
        b->api->set(e, "xlsx", "encrypted", "%s: the archive is encrypted (part %s)", b->name, name);
        snprintf(e->hint, sizeof e->hint, "store it without a password");
    } else {
        p->packed = st.valid & ZIP_STAT_COMP_SIZE ? st.comp_size : 0;
        p->file = zip_fopen_index(b->zip, (zip_uint64_t)at, 0);
        ok = p->file != NULL;
        if (!ok)
            b->api->set(e, "xlsx", "damaged", "%s: part %s cannot be read: %s", b->name, name, zip_strerror(b->zip));
    }
    pthread_mutex_unlock(&b->lock);
    return ok;
}

ssize_t part_read(struct part *p, void *out, size_t n, struct garun_error *e)
{
    struct box *b = p->box;

    pthread_mutex_lock(&b->lock);
    zip_int64_t got = zip_fread(p->file, out, n);
    if (got < 0)
        b->api->set(e, "xlsx", "damaged", "%s: part %s is damaged: %s", b->name, p->name, zip_file_strerror(p->file));
    pthread_mutex_unlock(&b->lock);
    if (got < 0)
        return -1;
    p->made += (uint64_t)got;
    if (p->made > b->max_bytes) {
        b->api->set(e, "xlsx", "max_bytes", "%s: part %s inflates to more than max_bytes = %llu", b->name, p->name,
                    (unsigned long long)b->max_bytes);
        snprintf(e->hint, sizeof e->hint, "when the file is what it should be, raise option max_bytes");
        return -1;
    }
    if (p->made > RATIO_FROM && (double)p->made > b->max_ratio * (double)(p->packed ? p->packed : 1)) {
        b->api->set(e, "xlsx", "max_ratio", "%s: %llu bytes of part %s inflate to more than %llu, beyond max_ratio = %g",
                    b->name, (unsigned long long)p->packed, p->name, (unsigned long long)p->made, b->max_ratio);
        snprintf(e->hint, sizeof e->hint, "this is how a zip bomb looks; when it is none, raise option max_ratio");
        return -1;
    }
    return (ssize_t)got;
}

void part_close(struct part *p)
{
    if (p->file) {
        pthread_mutex_lock(&p->box->lock);
        zip_fclose(p->file);
        pthread_mutex_unlock(&p->box->lock);
    }
    p->file = NULL;
}
