// SPDX-License-Identifier: Apache-2.0
#include "layers/tar_write.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "layers/tar_scan.h"

struct ustar {
    char name[100];
    char mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8];
    char type;
    char link[100];
    char magic[6], version[2];
    char uname[32], gname[32];
    char major[8], minor[8];
    char prefix[155], pad[12];
};
_Static_assert(sizeof(struct ustar) == TAR_BLOCK, "a header is a block");

#define OCTAL7_MAX  07777777ull     /* in a field of 8 */
#define OCTAL11_MAX 077777777777ull /* in a field of 12 */

static void put_octal(char *field, size_t width, uint64_t v)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%0*" PRIo64, (int)width - 1, v);
    assert(n == (int)width - 1);
    memcpy(field, text, width); /* with the NUL */
}

static void put_text(char *field, size_t width, const char *s)
{
    size_t n = strlen(s);
    memcpy(field, s, n < width ? n : width);
}

static void write_block(struct buf *out, struct ustar *h)
{
    memcpy(h->magic, "ustar", 6);
    memcpy(h->version, "00", 2);
    memset(h->checksum, ' ', sizeof h->checksum);
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof *h; ++i)
        sum += ((unsigned char *)h)[i];
    (void)snprintf(h->checksum, sizeof h->checksum, "%06o",
                   sum); /* six digits, NUL, and the space that is there */
    (void)buf_add(out, h, sizeof *h);
}

/* "LEN key=value\n", where LEN counts itself. */
static void add_record(struct buf *pax, const char *prefix, const char *key, const char *value,
                       size_t value_len)
{
    size_t body = strlen(prefix) + strlen(key) + value_len + 3; /* ' ', '=', '\n' */
    size_t len = body + 1;
    for (size_t digits = 1, limit = 10; len >= limit; limit *= 10) {
        ++digits;
        len = body + digits;
    }
    (void)buf_printf(pax, "%zu %s%s=", len, prefix, key);
    (void)buf_add(pax, value, value_len);
    (void)buf_add(pax, "\n", 1);
}

static void add_number(struct buf *pax, const char *key, int64_t v)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRId64, v);
    add_record(pax, "", key, text, strlen(text));
}

/* What ustar has no room for, always in this order. */
static void add_records(struct buf *pax, const struct tar_entry *e, const char *path)
{
    if (strlen(path) > sizeof((struct ustar *)0)->name)
        add_record(pax, "", "path", path, strlen(path));
    if (e->link && strlen(e->link) > sizeof((struct ustar *)0)->link)
        add_record(pax, "", "linkpath", e->link, strlen(e->link));
    if (e->size > OCTAL11_MAX)
        add_number(pax, "size", (int64_t)e->size);
    if (e->uid > OCTAL7_MAX)
        add_number(pax, "uid", (int64_t)e->uid);
    if (e->gid > OCTAL7_MAX)
        add_number(pax, "gid", (int64_t)e->gid);
    if (e->mtime < 0 || (uint64_t)e->mtime > OCTAL11_MAX)
        add_number(pax, "mtime", e->mtime);
    for (size_t i = 0; i < e->xattr_count; ++i)
        add_record(pax, "SCHILY.xattr.", e->xattrs[i].name, e->xattrs[i].value, e->xattrs[i].len);
}

static void pad(struct buf *out, size_t n)
{
    static const char zeros[TAR_BLOCK];
    (void)buf_add(out, zeros, n);
}

int tar_write_header(struct buf *out, const struct tar_entry *e, struct err *err)
{
    cleanup_buf struct buf path = {0}, pax = {.max = TAR_WRITE_PAX_MAX};
    (void)buf_printf(&path, "%s%s", e->path, e->type == TAR_FOLDER ? "/" : "");
    add_records(&pax, e, path.p);
    if (pax.overflow)
        return err_set(err, ERR_SIZE_INVALID, "%s: its extended attributes need more than %zu bytes", e->path,
                       TAR_WRITE_PAX_MAX);
    if (pax.len) {
        struct ustar h = {.name = "PaxHeader", .type = 'x'};
        put_octal(h.mode, sizeof h.mode, 0644);
        put_octal(h.uid, sizeof h.uid, 0);
        put_octal(h.gid, sizeof h.gid, 0);
        put_octal(h.size, sizeof h.size, pax.len);
        put_octal(h.mtime, sizeof h.mtime, 0);
        write_block(out, &h);
        (void)buf_add(out, pax.p, pax.len);
        pad(out, tar_write_padding(pax.len));
    }
    struct ustar h = {.type = (char)e->type};
    put_text(h.name, sizeof h.name, path.p);
    put_text(h.link, sizeof h.link, e->link ? e->link : "");
    put_octal(h.mode, sizeof h.mode, e->mode);
    put_octal(h.uid, sizeof h.uid, e->uid > OCTAL7_MAX ? 0 : e->uid);
    put_octal(h.gid, sizeof h.gid, e->gid > OCTAL7_MAX ? 0 : e->gid);
    put_octal(h.size, sizeof h.size, e->size > OCTAL11_MAX ? 0 : e->size);
    put_octal(h.mtime, sizeof h.mtime,
              e->mtime < 0 || (uint64_t)e->mtime > OCTAL11_MAX ? 0 : (uint64_t)e->mtime);
    put_octal(h.major, sizeof h.major, e->major);
    put_octal(h.minor, sizeof h.minor, e->minor);
    write_block(out, &h);
    return out->overflow ? err_set(err, ERR_SIZE_INVALID, "%s: header is too large", e->path) : 0;
}

size_t tar_write_padding(uint64_t size)
{
    return (size_t)((TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK);
}

void tar_write_end(struct buf *out)
{
    pad(out, TAR_BLOCK);
    pad(out, TAR_BLOCK);
}
