// SPDX-License-Identifier: Apache-2.0
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fs.h"
#include "common/mem.h"
#include "proxy/cache/disk_impl.h"

#define HASH_CHUNK ((size_t)1 << 20)

static char *partial_path(const struct disk *d, const struct digest *digest)
{
    return mem_printf("%s/partial/%s", d->dir, digest_hex(digest));
}

/* ---- claims: one owner a file ---- */

/* Under the lock. */
static struct disk_claim *claim_find(struct disk *d, const struct digest *digest)
{
    struct disk_claim *c;
    HASH_FIND(hh, d->claims, digest->s, strlen(digest->s), c);
    return c;
}

static struct disk_claim *claim_add(struct disk *d, const struct digest *digest)
{
    struct disk_claim *c = mem_new(struct disk_claim);
    c->digest = *digest;
    HASH_ADD_KEYPTR(hh, d->claims, c->digest.s, strlen(c->digest.s), c);
    return c;
}

bool disk_claim_free(struct disk *d, const struct digest *digest)
{
    pthread_mutex_lock(&d->lock);
    bool taken = claim_find(d, digest) != NULL;
    if (!taken)
        claim_add(d, digest)->leaving = true;
    pthread_mutex_unlock(&d->lock);
    return !taken;
}

/* The owner's last job: no opener may come between it and what it did before. */
static void claim_leave(struct disk *d, const struct digest *digest)
{
    pthread_mutex_lock(&d->lock);
    struct disk_claim *c = claim_find(d, digest);
    assert(c && !c->leaving);
    c->leaving = true;
    pthread_mutex_unlock(&d->lock);
}

/* The next that waits has the file, or nobody. */
void disk_claim_release(struct disk *d, const struct digest *digest)
{
    pthread_mutex_lock(&d->lock);
    struct disk_claim *c = claim_find(d, digest);
    struct disk_op *next = c->waiting;
    if (next) {
        c->waiting = next->next;
        c->leaving = false;
    } else {
        HASH_DELETE(hh, d->claims, c);
        free(c);
    }
    pthread_mutex_unlock(&d->lock);
    if (next)
        disk_op_submit(next);
}

/* ---- open ---- */

/* Hashes what is there; a file that cannot be read is made empty. */
static int hash_file(struct blob_partial *p, const char *path, struct err *err)
{
    cleanup_free char *chunk = mem_alloc(HASH_CHUNK);
    for (;;) {
        ssize_t n = fs_pread_all(p->fd, chunk, HASH_CHUNK, p->have);
        if (n < 0) {
            hasher_free(p->hash);
            p->hash = hasher_new(digest_algorithm(&p->digest));
            p->have = 0;
            if (ftruncate(p->fd, 0) < 0)
                return err_set_errno(err, ERR_IO, errno, "%s: cannot be read, nor made empty", path);
            return 0;
        }
        hasher_update(p->hash, chunk, (size_t)n);
        p->have += (uint64_t)n;
        if ((size_t)n < HASH_CHUNK)
            return 0;
    }
}

static void partial_free(struct blob_partial *p)
{
    if (p->fd >= 0)
        (void)close(p->fd);
    hasher_free(p->hash);
    free(p);
}

static void run_open(struct disk_op *op)
{
    struct disk *d = op->disk;
    cleanup_free char *path = partial_path(d, &op->digest);
    struct blob_partial *p = mem_new(struct blob_partial);
    p->digest = op->digest;
    p->impl = d;
    p->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (p->fd < 0 && disk_is_out_of_descriptors(errno)) {
        disk_table_trim(d->table, 32);
        p->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    }
    int rc = 0;
    if (p->fd < 0 && disk_is_out_of_descriptors(errno))
        rc = err_set(&op->err, ERR_OVERLOADED, DISK_OUT_OF_DESCRIPTORS);
    else if (p->fd < 0)
        rc = err_set_errno(&op->err, ERR_IO, errno, "%s: cannot open", path);
    if (rc == 0) {
        p->hash = hasher_new(digest_algorithm(&p->digest));
        rc = hash_file(p, path, &op->err);
    }
    if (rc == 0) {
        op->partial = p;
        return;
    }
    op->failed = true;
    partial_free(p);
    disk_claim_release(d, &op->digest);
}

static void answer_open(void *arg)
{
    struct disk_op *op = arg;
    op->fn.partial(op->arg, steal_ptr(&op->partial), op->failed ? &op->err : NULL);
    disk_op_free(op);
}

void disk_partial_open(struct blob_store *s, struct loop *loop, const struct digest *digest,
                       blob_partial_fn *fn, void *arg)
{
    struct disk *d = (struct disk *)s;
    struct disk_op *op = disk_op_new(d, loop, digest, run_open, answer_open, arg);
    op->fn.partial = fn;
    pthread_mutex_lock(&d->lock);
    struct disk_claim *c = claim_find(d, digest);
    bool waits = c != NULL; /* two owners of one file would write wrong bytes */
    if (waits) {
        struct disk_op **at = &c->waiting;
        while (*at)
            at = &(*at)->next;
        *at = op;
    } else {
        (void)claim_add(d, digest);
    }
    pthread_mutex_unlock(&d->lock);
    if (!waits)
        disk_op_submit(op);
}

/* ---- publish ---- */

static int publish(struct disk *d, struct blob_partial *p, const char *path, struct blob **ret,
                   struct err *err)
{
    struct stat st;
    struct digest found = hasher_digest(p->hash);
    assert(digest_eq(&found, &p->digest)); /* verified by the owner before it came here */
    if (fstat(p->fd, &st) < 0)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot stat", path);
    if ((uint64_t)st.st_size != hasher_bytes(p->hash))
        return err_set(err, ERR_IO, "%s: has %lld bytes, but %llu were hashed", path, (long long)st.st_size,
                       (unsigned long long)hasher_bytes(p->hash));
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (disk_commit(d, p->fd, path, &p->digest, (uint64_t)st.st_size, err) < 0)
        return -1;
    if (disk_open_blob(d, &p->digest, ret, err) < 0)
        return -1;
    if (!*ret && fd < 0)
        return err_set(err, ERR_IO, "%s: gone right after it was published", p->digest.s);
    if (!*ret) { /* evicted between the two: who waits for it has it all the same, the next finds it gone */
        *ret = mem_new(struct blob);
        **ret =
            (struct blob){.refs = 1, .size = (uint64_t)st.st_size, .digest = p->digest, .fd = steal_fd(&fd)};
        return 0;
    }
    *ret = disk_table_add(d->table, *ret, clock_wall_ms() / 1000);
    return 0;
}

static void run_publish(struct disk_op *op)
{
    struct disk *d = op->disk;
    cleanup_free char *path = partial_path(d, &op->digest);
    if (publish(d, op->partial, path, &op->blob, &op->err) < 0) {
        (void)unlink(path); /* a part that could not be synced is not to be gone on with */
        op->failed = true;
    }
    disk_claim_release(d, &op->digest);
    disk_room_ask(d);
}

static void answer_publish(void *arg)
{
    struct disk_op *op = arg;
    op->fn.get(op->arg, steal_ptr(&op->blob), op->failed ? &op->err : NULL);
    partial_free(op->partial);
    disk_op_free(op);
}

void disk_partial_publish(struct blob_store *s, struct loop *loop, struct blob_partial *p, blob_get_fn *fn,
                          void *arg)
{
    struct disk_op *op = disk_op_new((struct disk *)s, loop, &p->digest, run_publish, answer_publish, arg);
    op->fn.get = fn;
    op->partial = p;
    claim_leave(op->disk, &p->digest);
    disk_op_submit(op);
}

/* ---- close ---- */

static void run_close(struct disk_op *op)
{
    cleanup_free char *path = partial_path(op->disk, &op->digest);
    struct stat st;
    /* An empty one says nothing that no file does not say. */
    if (!op->keep || (fstat(op->partial->fd, &st) == 0 && st.st_size == 0))
        (void)unlink(path);
    partial_free(op->partial); /* frees the blocks, which takes time for a big one */
    op->partial = NULL;
    disk_claim_release(op->disk, &op->digest);
}

void disk_partial_close(struct blob_store *s, struct blob_partial *p, bool keep)
{
    struct disk_op *op = disk_op_new((struct disk *)s, NULL, &p->digest, run_close, disk_op_free, NULL);
    op->partial = p;
    op->keep = keep;
    claim_leave(op->disk, &p->digest);
    disk_op_submit(op);
}
