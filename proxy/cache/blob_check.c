// SPDX-License-Identifier: Apache-2.0
#include "proxy/cache/blob_check.h"

#include <stdlib.h>

#include "common/fs.h"
#include "common/mem.h"

#define CHUNK ((size_t)1 << 20)

struct check {
    struct blob *blob;
    blob_check_fn *fn;
    void *arg;
    bool sound;
};

static void run(void *arg)
{
    struct check *c = arg;
    cleanup_hasher struct hasher *h = hasher_new(digest_algorithm(&c->blob->digest));
    cleanup_free char *chunk = mem_alloc(CHUNK);
    ssize_t n;
    do {
        n = fs_pread_all(c->blob->fd, chunk, CHUNK, hasher_bytes(h));
        if (n > 0)
            hasher_update(h, chunk, (size_t)n);
    } while (n == (ssize_t)CHUNK);
    struct digest found = hasher_digest(h);
    /* A file that changed since it was opened has another length than the one that would be announced. */
    c->sound = n >= 0 && hasher_bytes(h) == c->blob->size && digest_eq(&found, &c->blob->digest);
}

static void done(void *arg)
{
    struct check *c = arg;
    c->fn(c->arg, c->blob, c->sound);
    free(c);
}

void blob_check(struct jobs *jobs, struct loop *loop, struct blob *blob, blob_check_fn *fn, void *arg)
{
    struct check *c = mem_new(struct check);
    *c = (struct check){.blob = blob, .fn = fn, .arg = arg};
    jobs_submit(jobs, loop, run, done, c);
}
