// SPDX-License-Identifier: Apache-2.0
/* --export-pulls: the records as lines of JSON, oldest first, read a page at a time beside whoever writes
 * them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <zstd.h>

#include "common/clock.h"
#include "common/fs.h"
#include "common/mem.h"
#include "common/timestamp.h"
#include "proxy/app_impl.h"
#include "proxy/state/sqlite_journal.h"

#define PAGE  5000
#define LEVEL 6

struct export
{
    struct journal *journal;
    int fd;
    const char *path; /* for messages */
    ZSTD_CCtx *zstd;  /* NULL: plain */
    struct buf lines;
    uint64_t last, count;
    char out[1 << 17];
};

static int put(struct export *x, bool end, struct err *err)
{
    if (!x->zstd)
        return fs_write_all(x->fd, x->lines.p, x->lines.len, x->path, err);
    ZSTD_inBuffer in = {buf_str(&x->lines), x->lines.len, 0};
    size_t left;
    do {
        ZSTD_outBuffer out = {x->out, sizeof x->out, 0};
        left = ZSTD_compressStream2(x->zstd, &out, &in, end ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(left))
            return err_set(err, ERR_INTERNAL, "%s: %s", x->path, ZSTD_getErrorName(left));
        if (fs_write_all(x->fd, x->out, out.pos, x->path, err) < 0)
            return -1;
    } while (end ? left > 0 : in.pos < in.size);
    return 0;
}

static bool add(void *arg, const struct journal_record *r)
{
    struct export *x = arg;
    record_format_json(x->journal, r, &x->lines);
    (void)buf_add_str(&x->lines, "\n");
    x->last = r->number;
    ++x->count;
    return true;
}

static int write_all(struct export *x, int64_t since_ms, struct err *err)
{
    for (;;) {
        uint64_t before = x->last;
        const struct journal_query q = {.kind = -1,
                                        .since_ms = since_ms,
                                        .until_ms = INT64_MAX,
                                        .after = x->last,
                                        .before = UINT64_MAX,
                                        .oldest_first = true,
                                        .limit = PAGE};
        buf_reset(&x->lines);
        if (x->journal->ops->read(x->journal, &q, add, x, err) < 0)
            return -1;
        bool end = x->last == before;
        if (put(x, end, err) < 0)
            return -1;
        if (end)
            return 0;
    }
}

static int read_since(const char *text, int64_t *ret_ms, struct err *err)
{
    uint64_t before_ms;
    int64_t now_ms = clock_wall_ms();
    *ret_ms = INT64_MIN;
    if (!text || timestamp_parse(slice_of(text), ret_ms))
        return 0;
    if (!str_parse_duration(text, &before_ms) || before_ms > (uint64_t)now_ms)
        return err_set(err, ERR_INVALID,
                       "--since: expected a time, as 2026-01-31T12:00:00Z, or how long ago it was, as 7d");
    *ret_ms = now_ms - (int64_t)before_ms;
    return 0;
}

/* Beside its place, and there only once it is whole. */
static int to_file(struct export *x, const char *path, int64_t since_ms, struct err *err)
{
    cleanup_free char *part = mem_printf("%s.part", path);
    bool there = false;
    if (access(path, F_OK) == 0)
        return err_set(err, ERR_EXISTS, "%s is there already: name a file that is not", path);
    x->fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (x->fd < 0)
        return err_set_errno(err, ERR_IO, errno, "%s", part);
    int rc = write_all(x, since_ms, err);
    if (rc == 0 && fsync(x->fd) < 0)
        rc = err_set_errno(err, ERR_IO, errno, "%s", part);
    (void)close(x->fd);
    if (rc == 0)
        rc = fs_rename_new(part, path, &there, err);
    if (rc == 0 && there)
        rc = err_set(err, ERR_EXISTS, "%s is there already: name a file that is not", path);
    if (rc < 0)
        (void)unlink(part);
    return rc;
}

int app_export_pulls(const struct options *o, struct err *err)
{
    static struct export x;
    const struct journal_limits limits = {0};
    int64_t since_ms;
    if (read_since(o->action_since, &since_ms, err) < 0 ||
        sqlite_journal_open(o->data_dir, &limits, true, &x.journal, err) < 0)
        return -1;
    bool to_stdout = strcmp(o->action_file, "-") == 0;
    x.path = to_stdout ? "standard output" : o->action_file;
    if (slice_ends_with(slice_of(o->action_file), ".zst")) {
        x.zstd = ZSTD_createCCtx();
        (void)ZSTD_CCtx_setParameter(x.zstd, ZSTD_c_compressionLevel, LEVEL);
        (void)ZSTD_CCtx_setParameter(x.zstd, ZSTD_c_checksumFlag, 1);
    }
    (void)umask(027); /* records tell who was where */
    x.fd = 1;
    int rc = to_stdout ? write_all(&x, since_ms, err) : to_file(&x, o->action_file, since_ms, err);
    if (rc == 0)
        (void)fprintf(stderr, "%llu records\n", (unsigned long long)x.count);
    (void)ZSTD_freeCCtx(x.zstd);
    buf_free(&x.lines);
    x.journal->ops->close(x.journal);
    return rc;
}
