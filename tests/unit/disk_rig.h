// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TESTS_DISK_RIG_H
#define RAC_TESTS_DISK_RIG_H
/* A store on disk in a folder of its own, and calls of it that wait for their answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>

#include "common/fs.h"
#include "common/log.h"
#include "proxy/cache/disk.h"
#include "tests/unit/scratch.h"

/* ---- asking, and waiting for the answer ---- */

struct answer {
    struct loop *loop;
    volatile bool done;
    struct err err;
    struct blob *blob;
    struct blob_partial *partial;
    char *bytes;
    size_t len;
};

static inline void end(struct answer *a, const struct err *err)
{
    assert_false(a->done);
    if (err)
        a->err = *err;
    a->done = true;
}
static inline void on_blob(void *arg, struct blob *b, const struct err *err)
{
    ((struct answer *)arg)->blob = b;
    end(arg, err);
}
static inline void on_partial(void *arg, struct blob_partial *p, const struct err *err)
{
    ((struct answer *)arg)->partial = p;
    end(arg, err);
}
static inline void on_done(void *arg, const struct err *err)
{
    end(arg, err);
}
static inline void on_bytes(void *arg, char *bytes, size_t len, const struct err *err)
{
    struct answer *a = arg;
    a->bytes = bytes;
    a->len = len;
    end(a, err);
}

struct fixture {
    char *dir;
    struct loop *loop;
    struct jobs *jobs;
    struct blob_store *s;
    struct disk_options options;
};

static inline void reopen(struct fixture *f)
{
    struct err err;
    if (f->s)
        f->s->ops->close(f->s);
    f->s = NULL;
    f->options.dir = f->dir;
    if (disk_store_open(&f->options, f->jobs, &f->s, &err) < 0)
        fail_msg("%s", err.msg);
}

static inline int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->dir = scratch_new();
    f->loop = loop_new(0);
    f->jobs = jobs_new(3);
    f->options.open_blobs = 8;
    f->options.limit_bytes = (uint64_t)1 << 30;
    reopen(f);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->s)
        f->s->ops->close(f->s);
    jobs_free(f->jobs);
    loop_free(f->loop);
    scratch_free(f->dir);
    free(f);
    return 0;
}

static inline void wait_for(struct fixture *f, struct answer *a)
{
    if (!scratch_wait(f->loop, &a->done))
        fail_msg("no answer");
}

/* The n-th blob of the tests: its bytes follow from n, its size too if none is given. */
static inline struct digest make_bytes(unsigned n, size_t len, char *p)
{
    unsigned seed = n * 2654435761u + 1;
    for (size_t i = 0; i < len; ++i)
        p[i] = (char)(rand_r(&seed) >> 8);
    return digest_of(p, len);
}

static inline struct digest put_n(struct fixture *f, unsigned n, size_t len, struct err *ret_err)
{
    char *p = mem_alloc(len);
    struct digest d = make_bytes(n, len, p);
    struct answer a = {0};
    f->s->ops->put(f->s, f->loop, &d, p, len, on_done, &a);
    memset(p, 0, len); /* the bytes were copied */
    assert_false(a.done);
    wait_for(f, &a);
    if (ret_err)
        *ret_err = a.err;
    else
        assert_string_equal(a.err.msg, "");
    free(p);
    return d;
}

/* A reference, or NULL if it is not there. */
static inline struct blob *get(struct fixture *f, struct digest d)
{
    struct answer a = {0};
    f->s->ops->get(f->s, f->loop, &d, on_blob, &a);
    assert_false(a.done);
    wait_for(f, &a);
    assert_string_equal(a.err.msg, "");
    if (a.blob)
        assert_string_equal(a.blob->digest.s, d.s);
    return a.blob;
}

static inline bool has(struct fixture *f, struct digest d)
{
    struct blob *b = get(f, d);
    blob_unref(b);
    return b != NULL;
}

static inline struct blob_partial *partial_open(struct fixture *f, struct digest d)
{
    struct answer a = {0};
    f->s->ops->partial_open(f->s, f->loop, &d, on_partial, &a);
    wait_for(f, &a);
    assert_string_equal(a.err.msg, "");
    assert_non_null(a.partial);
    assert_string_equal(a.partial->digest.s, d.s);
    return a.partial;
}

static inline void partial_write(struct blob_partial *p, const char *bytes, size_t from, size_t to)
{
    assert_int_equal(pwrite(p->fd, bytes + from, to - from, (off_t)from), (ssize_t)(to - from));
    hasher_update(p->hash, bytes + from, to - from);
}

static inline struct blob *publish(struct fixture *f, struct blob_partial *p, struct err *ret_err)
{
    struct answer a = {0};
    f->s->ops->partial_publish(f->s, f->loop, p, on_blob, &a);
    wait_for(f, &a);
    if (ret_err)
        *ret_err = a.err;
    else
        assert_string_equal(a.err.msg, "");
    return a.blob;
}

static inline bool blob_equals(struct blob *b, const char *bytes, size_t len)
{
    char *back = mem_alloc(len + 1);
    bool same =
        b->size == len && fs_pread_all(b->fd, back, len + 1, 0) == (ssize_t)len && !memcmp(back, bytes, len);
    free(back);
    return same;
}

static inline char *blob_path(struct fixture *f, struct digest d)
{
    return mem_printf("%s/blobs/%.6s/%.2s/%s", f->dir, d.s, digest_hex(&d), digest_hex(&d));
}

static inline unsigned files_in(struct fixture *f, const char *folder)
{
    char *path = mem_printf("%s/%s", f->dir, folder);
    unsigned n = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        n += e->d_name[0] != '.';
    (void)closedir(dir);
    free(path);
    return n;
}

/* Quarantine, touches and closes have no callback. */
#define EVENTUALLY(what)                                                                                     \
    do {                                                                                                     \
        uint64_t end_ms_ = patience_end_ms(20000);                                                           \
        while (!(what) && clock_mono_ms() < end_ms_)                                                         \
            (void)usleep(2000);                                                                              \
        assert_true(what);                                                                                   \
    } while (0)

static inline void set_age(struct fixture *f, struct digest d, int64_t age_s)
{
    char *path = blob_path(f, d);
    struct timespec ts = {.tv_sec = (time_t)(clock_wall_ms() / 1000 - age_s)};
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){ts, ts}, 0), 0);
    free(path);
}

static inline int64_t age_of(struct fixture *f, struct digest d)
{
    char *path = blob_path(f, d);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    free(path);
    return clock_wall_ms() / 1000 - (int64_t)st.st_mtime;
}
#endif
