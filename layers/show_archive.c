// SPDX-License-Identifier: Apache-2.0
#include "layers/show_archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"

struct source {
    int fd;
    struct slice head; /* given before what fd has */
    char chunk[65536];
};

static inline void cleanup_archive_fn(struct archive **a)
{
    (void)archive_read_free(*a);
}
#define cleanup_archive RAC_CLEANUP(cleanup_archive_fn)

static la_ssize_t read_chunk(struct archive *a, void *arg, const void **ret)
{
    struct source *src = arg;
    if (src->head.len) {
        *ret = src->head.p;
        size_t n = src->head.len;
        src->head.len = 0;
        return (la_ssize_t)n;
    }
    ssize_t n;
    do {
        n = read(src->fd, src->chunk, sizeof src->chunk);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        archive_set_error(a, errno, "cannot read");
    *ret = src->chunk;
    return n;
}

static void print_name(FILE *out, const char *s)
{
    for (; s && *s; ++s) {
        unsigned char c = (unsigned char)*s;
        if (c < 0x20 || c == 0x7f || c == '\\')
            (void)fprintf(out, "\\%03o", c);
        else
            (void)fputc(c, out);
    }
}

static void print_entry(FILE *out, struct archive_entry *e)
{
    char when[32] = "-";
    time_t t = archive_entry_mtime(e);
    struct tm tm;
    if (gmtime_r(&t, &tm))
        (void)strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    (void)fprintf(out, "%s%5" PRId64 ":%-5" PRId64 " %12" PRId64 " %s ", archive_entry_strmode(e),
                  (int64_t)archive_entry_uid(e), (int64_t)archive_entry_gid(e),
                  (int64_t)archive_entry_size(e), when);
    print_name(out, archive_entry_pathname(e));
    if (archive_entry_symlink(e)) {
        (void)fputs(" -> ", out);
        print_name(out, archive_entry_symlink(e));
    }
    if (archive_entry_hardlink(e)) {
        (void)fputs(" = ", out);
        print_name(out, archive_entry_hardlink(e));
    }
    const char *name;
    const void *value;
    size_t len;
    (void)archive_entry_xattr_reset(e);
    while (archive_entry_xattr_next(e, &name, &value, &len) == ARCHIVE_OK) {
        (void)fputs(" [", out);
        print_name(out, name);
        (void)fputc(']', out);
    }
    (void)fputc('\n', out);
}

int show_archive(int fd, struct slice head, FILE *out, struct err *err)
{
    struct source src = {.fd = fd, .head = head};
    cleanup_archive struct archive *a = archive_read_new();
    if (!a || archive_read_support_filter_gzip(a) < ARCHIVE_WARN ||
        archive_read_support_filter_zstd(a) < ARCHIVE_WARN ||
        archive_read_support_format_tar(a) < ARCHIVE_WARN)
        return err_set(err, ERR_INTERNAL, "libarchive cannot start");
    if (archive_read_open(a, &src, NULL, read_chunk, NULL) != ARCHIVE_OK)
        return err_set(err, ERR_INVALID, "neither JSON nor a tar archive: %s", archive_error_string(a));
    size_t entries = 0;
    uint64_t bytes = 0;
    struct archive_entry *e;
    int rc;
    while ((rc = archive_read_next_header(a, &e)) == ARCHIVE_OK || rc == ARCHIVE_WARN) {
        print_entry(out, e);
        ++entries;
        bytes += (uint64_t)archive_entry_size(e);
    }
    if (rc != ARCHIVE_EOF)
        return err_set(err, ERR_INVALID, "%s: %s",
                       entries ? "damaged archive" : "neither JSON nor a tar archive",
                       archive_error_string(a) ? archive_error_string(a) : "unknown fault");
    char size[32];
    (void)fprintf(out, "%zu entries, %s unpacked\n", entries, str_format_size(bytes, size, sizeof size));
    return 0;
}
