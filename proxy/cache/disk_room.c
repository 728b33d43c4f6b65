// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fs.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/need.h"
#include "proxy/cache/disk_impl.h"

/*
 * The janitor counts what is there at start, and evicts when there is too much.
 *
 * Eviction is two walks over all blobs. The first adds their bytes up by age, in buckets that are as wide as
 * a sixty-fourth of the age; so it knows how old a blob must be to go. The second removes those. So the order
 * is that of the last use to within 2 %, and the memory is one small array, whether there are a thousand
 * blobs or ten million.
 */
#define TICK_MS       10000 /* partials grow without telling */
#define TIDY_EVERY_MS 3600000
/* After a pass that freed something, but not enough, there is none for ten times as long as it took: blobs
 * that were being read a moment ago may go by then, and until they do the store grows past its limit. After
 * one that freed nothing it is the longest wait: there is little hope, and walks in vain cost. */
#define FAILED_WAIT_TIMES  10
#define FAILED_WAIT_MIN_MS 2000
#define FAILED_WAIT_MAX_MS 60000
#define AGE_LINEAR         64
#define AGE_BUCKETS        (AGE_LINEAR + 26 * AGE_LINEAR)

struct janitor {
    struct disk *d;
    int64_t now_s;
    uint64_t bytes[AGE_BUCKETS]; /* by age */
    unsigned cutoff;             /* older goes; of this bucket as much as is needed */
    uint64_t cutoff_bytes;       /* what is still needed of it */
    uint64_t freed, blobs;
    uint64_t retry_ms;  /* no pass before this, unless somebody waits */
    uint64_t tidied_ms; /* when old partials were last looked for; 0 = never */
    unsigned folder;    /* being walked */
};

/* ---- counting ---- */

bool disk_count_begin(struct disk *d)
{
    if (atomic_load(&d->counted) == DISK_FOLDERS)
        return false;
    pthread_mutex_lock(&d->count_lock);
    return true;
}

void disk_count_end(struct disk *d, bool begun, const struct digest *digest, int64_t bytes, int blobs)
{
    /* What changes in a folder that is not counted yet is seen when it is. */
    if (!begun || disk_folder_index(digest) < atomic_load(&d->counted)) {
        (void)atomic_fetch_add(&d->base.bytes, (uint64_t)bytes);
        (void)atomic_fetch_add(&d->base.blobs, (uint64_t)(int64_t)blobs);
    }
    if (begun)
        pthread_mutex_unlock(&d->count_lock);
}

static int count_one(void *arg, int folder_fd, const char *name, const struct digest *digest,
                     const struct stat *st)
{
    struct disk *d = arg;
    (void)folder_fd, (void)name, (void)digest;
    (void)atomic_fetch_add(&d->base.bytes, (uint64_t)st->st_size);
    (void)atomic_fetch_add(&d->base.blobs, 1);
    return 0;
}

/* ---- eviction ---- */

static unsigned age_bucket(int64_t age_s)
{
    if (age_s < AGE_LINEAR)
        return age_s < 0 ? 0 : (unsigned)age_s; /* from the future: just used */
    uint64_t age = age_s > UINT32_MAX ? UINT32_MAX : (uint64_t)age_s;
    unsigned power = 63 - (unsigned)__builtin_clzll(age); /* 6 .. 31 */
    return AGE_LINEAR + (power - 6) * AGE_LINEAR + (unsigned)((age >> (power - 6)) & (AGE_LINEAR - 1));
}

static bool may_go(struct janitor *j, const struct digest *digest)
{
    return !disk_pinned(j->d, digest) && !disk_table_busy(j->d->table, digest);
}

static int add_age(void *arg, int folder_fd, const char *name, const struct digest *digest,
                   const struct stat *st)
{
    struct janitor *j = arg;
    (void)folder_fd, (void)name;
    if (may_go(j, digest))
        j->bytes[age_bucket(j->now_s - (int64_t)st->st_mtime)] += (uint64_t)st->st_size;
    return 0;
}

static int remove_old(void *arg, int folder_fd, const char *name, const struct digest *digest,
                      const struct stat *st)
{
    struct janitor *j = arg;
    struct disk *d = j->d;
    unsigned bucket = age_bucket(j->now_s - (int64_t)st->st_mtime);
    uint64_t size = (uint64_t)st->st_size;
    if (bucket < j->cutoff || (bucket == j->cutoff && j->cutoff_bytes == 0))
        return 0;
    if (disk_pinned(d, digest) || !disk_table_drop_idle(d->table, digest))
        return 0;
    bool begun = disk_count_begin(d);
    bool removed = unlinkat(folder_fd, name, 0) == 0;
    disk_count_end(d, begun, digest, removed ? -(int64_t)size : 0, removed ? -1 : 0);
    /* One that was opened before the unlink may have come into the table since. */
    disk_table_drop_idle(d->table, digest);
    if (!removed)
        return 0;
    if (bucket == j->cutoff)
        j->cutoff_bytes -= size < j->cutoff_bytes ? size : j->cutoff_bytes;
    j->freed += size;
    ++j->blobs;
    (void)atomic_fetch_add(&d->base.evicted_blobs, 1);
    (void)atomic_fetch_add(&d->base.evicted_bytes, size);
    return 0;
}

static bool is_stopping(struct disk *d)
{
    pthread_mutex_lock(&d->room_lock);
    bool stopping = d->stopping;
    pthread_mutex_unlock(&d->room_lock);
    return stopping;
}

static void walk_all(struct janitor *j, disk_walk_fn *fn)
{
    for (unsigned i = 0; i < DISK_FOLDERS && !is_stopping(j->d); ++i)
        (void)disk_walk_folder(j->d->dir, i, fn, j);
}

/* Frees `need` bytes, oldest first. */
static void evict(struct janitor *j, uint64_t need)
{
    uint64_t begin_us = clock_mono_us(), older = 0;
    j->now_s = clock_wall_ms() / 1000;
    j->freed = j->blobs = 0;
    memset(j->bytes, 0, sizeof j->bytes);
    walk_all(j, add_age);
    j->cutoff = AGE_BUCKETS - 1;
    while (j->cutoff > 0 && older + j->bytes[j->cutoff] < need)
        older += j->bytes[j->cutoff--];
    j->cutoff_bytes = need - older;
    walk_all(j, remove_old);
    uint64_t took_us = clock_mono_us() - begin_us;
    if (j->blobs)
        log_info("blobs evicted", F_U("blobs", j->blobs), F_U("bytes", j->freed), F_U("wanted", need),
                 F_US("ms", took_us));
    if (j->freed < need) {
        uint64_t wait_ms = j->freed ? took_us / 1000 * FAILED_WAIT_TIMES : FAILED_WAIT_MAX_MS;
        wait_ms = wait_ms < FAILED_WAIT_MIN_MS ? FAILED_WAIT_MIN_MS : wait_ms;
        j->retry_ms = clock_mono_ms() + (wait_ms < FAILED_WAIT_MAX_MS ? wait_ms : FAILED_WAIT_MAX_MS);
        log_warn("eviction could not free enough: the rest is pinned, being read, or not ours",
                 F_U("wanted", need), F_U("freed", j->freed));
    }
}

/* ---- how much is needed ---- */

/* Bytes in partial/ and quarantine/; removes what is too old there. */
static uint64_t other_folder(struct disk *d, const char *folder, int64_t keep_s)
{
    cleanup_free char *path = mem_printf("%s/%s", d->dir, folder);
    DIR *dir = opendir(path);
    if (!dir)
        return 0;
    uint64_t bytes = 0;
    int64_t now_s = clock_wall_ms() / 1000;
    struct dirent *e;
    while ((e = readdir(dir)) != NULL) {
        struct stat st;
        struct digest digest;
        if (e->d_name[0] == '.' || fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISREG(st.st_mode))
            continue;
        bool old = keep_s && now_s - (int64_t)st.st_mtime > keep_s;
        bool is_partial = disk_digest_of_name(e->d_name, strlen(e->d_name) == 128, &digest);
        if (old && (!is_partial || disk_claim_free(d, &digest))) {
            (void)unlinkat(dirfd(dir), e->d_name, 0);
            if (is_partial)
                disk_claim_release(d, &digest);
        } else {
            bytes += (uint64_t)st.st_size;
        }
    }
    (void)closedir(dir);
    return bytes;
}

/* A blob that is open here may have been moved away by another process (rac-proxy --scrub found it damaged,
 * somebody removed the folder): who asks next gets what the folder says, not what we still hold open. */
static void drop_vanished(struct disk *d)
{
    size_t max = disk_table_count(d->table) + 1;
    cleanup_free struct blob **open = mem_alloc(max * sizeof *open);
    size_t n = disk_table_refs(d->table, open, max);
    for (size_t i = 0; i < n; ++i) {
        struct stat held, named;
        cleanup_free char *path = disk_blob_path(d->dir, &open[i]->digest);
        bool gone = fstat(open[i]->fd, &held) == 0 && (stat(path, &named) < 0 || named.st_ino != held.st_ino);
        if (gone)
            disk_table_drop(d->table, &open[i]->digest);
        blob_unref(open[i]);
    }
}

static void look_at_others(struct janitor *j)
{
    struct disk *d = j->d;
    uint64_t now = clock_mono_ms() + 1;
    bool tidy = j->tidied_ms == 0 || now - j->tidied_ms > TIDY_EVERY_MS;
    if (tidy)
        j->tidied_ms = now;
    atomic_store(&d->other_bytes, other_folder(d, "partial", tidy ? DISK_PARTIAL_KEEP_S : 0) +
                                      other_folder(d, "quarantine", tidy ? DISK_QUARANTINE_KEEP_S : 0));
}

/* Down to 95 % of the limit once it is passed. And the file system itself keeps 2 % or 256 MiB free,
 * whichever is more, but never more than a tenth of it. */
static uint64_t bytes_needed(struct disk *d)
{
    uint64_t used = atomic_load(&d->base.bytes) + atomic_load(&d->other_bytes),
             limit = atomic_load(&d->base.limit);
    uint64_t need = used > limit ? used - (limit - limit / 20) : 0, total, available;
    if (fs_space(d->dir, &total, &available, NULL) < 0)
        return need;
    uint64_t reserve = total / 50 > (256u << 20) ? total / 50 : 256u << 20;
    if (reserve > total / 10)
        reserve = total / 10;
    uint64_t wanted = reserve + reserve / 4;
    return available < reserve && wanted - available > need ? wanted - available : need;
}

void disk_room_ask(struct disk *d)
{
    /* A look at the numbers first: the janitor is woken when there is work, not after each blob. */
    if (atomic_load(&d->base.bytes) + atomic_load(&d->other_bytes) <= atomic_load(&d->base.limit))
        return;
    pthread_mutex_lock(&d->room_lock);
    d->asked = true;
    pthread_cond_signal(&d->room_wake);
    pthread_mutex_unlock(&d->room_lock);
}

/* ---- make_room ---- */

static void answer_room(void *arg)
{
    struct disk_op *op = arg;
    op->fn.done(op->arg, op->failed ? &op->err : NULL);
    disk_op_free(op);
}

void disk_make_room(struct blob_store *s, struct loop *loop, uint64_t bytes, blob_done_fn *fn, void *arg)
{
    struct disk *d = (struct disk *)s;
    struct disk_op *op = disk_op_new(d, loop, NULL, NULL, answer_room, arg);
    op->fn.done = fn;
    op->room = bytes;
    pthread_mutex_lock(&d->room_lock);
    *d->room_tail = op;
    d->room_tail = &op->next;
    pthread_cond_signal(&d->room_wake);
    pthread_mutex_unlock(&d->room_lock);
}

static struct disk_op *take_waiting(struct disk *d)
{
    pthread_mutex_lock(&d->room_lock);
    struct disk_op *op = d->room_waiting;
    d->room_waiting = NULL;
    d->room_tail = &d->room_waiting;
    pthread_mutex_unlock(&d->room_lock);
    return op;
}

/* Answers each in turn from what was freed: who comes first is served first. */
static void answer_waiting(struct janitor *j, struct disk_op *op)
{
    uint64_t left = j->freed;
    for (struct disk_op *next; op; op = next) {
        next = op->next;
        if (left >= op->room) {
            left -= op->room;
        } else {
            op->failed = true;
            (void)err_set(&op->err, ERR_NO_SPACE,
                          "%s: %" PRIu64 " bytes are needed, and eviction could free %" PRIu64, j->d->dir,
                          op->room, left);
        }
        disk_op_answer(op);
    }
}

static void serve_waiting(struct janitor *j, uint64_t need)
{
    struct disk_op *waiting = take_waiting(j->d);
    uint64_t wanted = 0;
    for (struct disk_op *op = waiting; op; op = op->next)
        wanted = wanted > UINT64_MAX - op->room ? UINT64_MAX : wanted + op->room;
    j->freed = 0;
    if (wanted > need)
        need = wanted;
    if (need && !is_stopping(j->d))
        evict(j, need);
    answer_waiting(j, waiting);
}

static bool somebody_waits(struct disk *d)
{
    pthread_mutex_lock(&d->room_lock);
    bool waits = d->room_waiting != NULL;
    pthread_mutex_unlock(&d->room_lock);
    return waits;
}

/* ---- the thread ---- */

static void count_all(struct janitor *j)
{
    struct disk *d = j->d;
    uint64_t begin_us = clock_mono_us();
    look_at_others(j);
    for (unsigned i = 0; i < DISK_FOLDERS && !is_stopping(d); ++i) {
        pthread_mutex_lock(&d->count_lock);
        (void)disk_walk_folder(d->dir, i, count_one, d);
        atomic_store(&d->counted, i + 1);
        pthread_mutex_unlock(&d->count_lock);
        if (somebody_waits(d)) /* a fill on a full disk does not wait for the count */
            serve_waiting(j, 0);
    }
    log_info("blobs counted", F_U("blobs", atomic_load(&d->base.blobs)),
             F_U("bytes", atomic_load(&d->base.bytes)), F_U("limit", atomic_load(&d->base.limit)),
             F_US("ms", clock_mono_us() - begin_us));
}

static void wait_for_work(struct janitor *j)
{
    struct disk *d = j->d;
    uint64_t now = clock_mono_ms(), due = now + TICK_MS;
    if (j->retry_ms > now && j->retry_ms < due)
        due = j->retry_ms;
    struct timespec until = {.tv_sec = (time_t)(due / 1000), .tv_nsec = (long)(due % 1000) * 1000000};
    pthread_mutex_lock(&d->room_lock);
    int rc = 0;
    while (!d->stopping && !d->asked && !d->room_waiting && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&d->room_wake, &d->room_lock, &until);
    d->asked = false;
    pthread_mutex_unlock(&d->room_lock);
}

static void *janitor_main(void *arg)
{
    struct disk *d = arg;
    cleanup_free struct janitor *j = mem_new(struct janitor);
    j->d = d;
    count_all(j);
    while (!is_stopping(d)) {
        look_at_others(j);
        drop_vanished(d);
        uint64_t need = clock_mono_ms() >= j->retry_ms ? bytes_needed(d) : 0;
        serve_waiting(j, need);
        wait_for_work(j);
    }
    j->freed = 0;
    answer_waiting(j, take_waiting(d));
    return NULL;
}

void disk_room_start(struct disk *d)
{
    need_thread(&d->janitor, "thread for eviction", janitor_main, d);
}

void disk_room_stop(struct disk *d)
{
    pthread_mutex_lock(&d->room_lock);
    d->stopping = true;
    pthread_cond_signal(&d->room_wake);
    pthread_mutex_unlock(&d->room_lock);
    pthread_join(d->janitor, NULL);
}
