// SPDX-License-Identifier: Apache-2.0
/* The table of fills and the readers' side; the download itself is fill_download.c. */
#include "proxy/cache/fill.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>
#include <utlist.h>

#include "common/mem.h"
#include "proxy/cache/fill_impl.h"

struct fills *fills_new(const struct cache_env *env)
{
    struct fills *t = mem_new(struct fills);
    t->env = env;
    pthread_mutex_init(&t->lock, NULL);
    t->in_flight = metric_get("rac_fills_in_flight", "");
    t->bytes = metric_get("rac_fill_bytes_total", "");
    t->resumes = metric_get("rac_fill_resumes_total", "");
    t->joined = metric_get("rac_fill_readers_joined_total", "");
    t->ok = metric_get("rac_fills_total", "result=\"ok\"");
    t->failed = metric_get("rac_fills_total", "result=\"failed\"");
    t->not_kept = metric_get("rac_fills_total", "result=\"not_kept\"");
    fill_where_metrics(t);
    return t;
}

/* Loops have stopped: whatever a fill still waited for will not come. */
void fills_free(struct fills *t)
{
    struct fill *f, *next;
    if (!t)
        return;
    HASH_ITER (hh, t->map, f, next) {
        HASH_DEL(t->map, f); // NOLINT(clang-analyzer-unix.Malloc)
        if (f->partial)
            t->env->store->ops->partial_close(t->env->store, steal_ptr(&f->partial), true);
        f->fetch = NULL;
        f->refs = 1;
        fill_unref(f);
    }
    pthread_mutex_destroy(&t->lock);
    free(t);
}

void fill_ref(struct fill *f)
{
    __atomic_fetch_add(&f->refs, 1, __ATOMIC_RELAXED);
}

void fill_unref(struct fill *f)
{
    if (__atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    assert(!f->readers && !f->partial && !f->fetch);
    if (f->fd >= 0)
        (void)close(f->fd);
    fill_window_close(&f->window);
    free(f->gather);
    free(f->where.peer);
    repo_unref(f->repo);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

void fill_forget(struct fill *f)
{
    struct fills *t = f->table;
    struct fill *known;
    pthread_mutex_lock(&t->lock);
    HASH_FIND(hh, t->map, f->digest.s, strlen(f->digest.s), known);
    if (known == f)
        HASH_DEL(t->map, f);
    pthread_mutex_unlock(&t->lock);
    if (known == f)
        fill_unref(f);
}

bool fill_forget_unread(struct fill *f)
{
    struct fills *t = f->table;
    struct fill *known;
    pthread_mutex_lock(&t->lock); /* no reader joins while it is held */
    pthread_mutex_lock(&f->lock);
    bool unread = !f->readers && fill_window_in_use(&f->window) && !f->making_room &&
                  (f->phase == PHASE_ASKING || f->phase == PHASE_STREAMING);
    pthread_mutex_unlock(&f->lock);
    HASH_FIND(hh, t->map, f->digest.s, strlen(f->digest.s), known);
    if (unread && known == f)
        HASH_DEL(t->map, f);
    pthread_mutex_unlock(&t->lock);
    if (unread && known == f)
        fill_unref(f);
    return unread;
}

/* ---- waking ---- */

/* Has the reader something new to see? Under f->lock. */
static bool has_news(const struct fill *f, const struct fill_reader *r)
{
    if (r->refused || f->phase == PHASE_FAILED || f->phase == PHASE_VERIFIED)
        return true;
    return f->phase == PHASE_STREAMING && f->size_known && f->available > r->offset;
}

static void reader_free(struct fill_reader *r)
{
    fill_unref(r->fill); // NOLINT(clang-analyzer-unix.Malloc): a reader has a reference of its own
    free(r);
}

static void on_wake(void *arg)
{
    struct fill_reader *r = arg;
    pthread_mutex_lock(&r->fill->lock);
    r->posted = false;
    bool left = r->left;
    pthread_mutex_unlock(&r->fill->lock);
    if (left)
        reader_free(r);
    else
        r->changed(r->arg);
}

static void wake_reader(struct fill_reader *r)
{
    r->waiting = false;
    r->posted = true;
    loop_post(r->loop, on_wake, r);
}

void fill_wake(struct fill *f)
{
    struct fill_reader *r;
    DL_FOREACH (f->readers, r) {
        if (r->waiting && has_news(f, r))
            wake_reader(r);
    }
}

/* ---- joining and leaving ---- */

static struct fill_reader *reader_new(struct loop *loop, void (*changed)(void *arg), void *arg)
{
    struct fill_reader *r = mem_new(struct fill_reader);
    r->loop = loop;
    r->changed = changed;
    r->arg = arg;
    r->waiting = true;
    return r;
}

/* Under both locks. */
static void add_reader(struct fill *f, struct fill_reader *r)
{
    fill_ref(f);
    r->fill = f;
    r->refused = fill_window_in_use(&f->window) && f->window.begin > f->window.file_end;
    DL_APPEND(f->readers, r);
}

/* Under the table's lock. */
static struct fill *fill_new(struct fills *t, struct loop *loop, struct repo *repo,
                             const struct digest *digest, uint64_t expected_size)
{
    struct fill *f = mem_new(struct fill);
    f->refs = 2; /* the table's and the download's */
    f->table = t;
    f->loop = loop;
    f->repo = repo_ref(repo);
    f->digest = *digest;
    f->expected_size = expected_size;
    f->fd = -1;
    pthread_mutex_init(&f->lock, NULL);
    (void)snprintf(f->what, sizeof f->what, "blob %.200s@%s", repo->canonical, digest->s);
    HASH_ADD_KEYPTR(hh, t->map, f->digest.s, strlen(f->digest.s), f);
    return f;
}

struct fill_reader *fill_join(struct fills *t, struct loop *loop, struct repo *repo,
                              const struct digest *digest, uint64_t expected_size, bool may_read,
                              void (*changed)(void *arg), void *arg)
{
    struct fill_reader *r = reader_new(loop, changed, arg);
    struct fill *f;
    pthread_mutex_lock(&t->lock);
    HASH_FIND(hh, t->map, digest->s, strlen(digest->s), f);
    bool begins = !f;
    if (begins) {
        f = fill_new(t, loop, repo, digest, expected_size);
        f->may_read = may_read;
    }
    pthread_mutex_lock(&f->lock);
    add_reader(f, r);
    if (!begins && has_news(f, r))
        wake_reader(r);
    pthread_mutex_unlock(&f->lock);
    pthread_mutex_unlock(&t->lock);

    if (begins)
        fill_download_begin(f);
    else
        metric_inc(t->joined);
    return r;
}

struct fill_reader *fill_join_for_peer(struct fills *t, struct loop *loop, const struct digest *digest,
                                       void (*changed)(void *arg), void *arg)
{
    struct fill_reader *r = NULL;
    struct fill *f;
    pthread_mutex_lock(&t->lock);
    HASH_FIND(hh, t->map, digest->s, strlen(digest->s), f);
    if (f) {
        pthread_mutex_lock(&f->lock);
        if (f->from != FILL_FROM_PEER || f->phase == PHASE_VERIFIED) {
            r = reader_new(loop, changed, arg);
            r->is_peer = true;
            add_reader(f, r);
            if (has_news(f, r))
                wake_reader(r);
        }
        pthread_mutex_unlock(&f->lock);
    }
    pthread_mutex_unlock(&t->lock);
    return r;
}

void fill_refuse_peers(struct fill *f)
{
    struct fill_reader *r;
    DL_FOREACH (f->readers, r)
        r->refused |= r->is_peer;
    fill_wake(f);
}

/* The place of the reader that is furthest behind; UINT64_MAX without readers. Under f->lock. */
static uint64_t slowest(const struct fill *f)
{
    uint64_t least = UINT64_MAX;
    struct fill_reader *r;
    DL_FOREACH (f->readers, r) {
        if (!r->refused && r->offset < least)
            least = r->offset;
    }
    return least;
}

/* Under f->lock; true: the download has to look, since it can go on or nobody is left. */
static bool drop_read(struct fill *f)
{
    if (!fill_window_in_use(&f->window) || f->making_room)
        return false;
    fill_window_drop(&f->window, slowest(f));
    bool look = (f->paused && fill_window_room(&f->window) >= FILL_WINDOW_MAX / 2) || !f->readers;
    if (look)
        f->paused = false;
    return look;
}

void fill_leave(struct fill_reader *r)
{
    struct fill *f = r->fill;
    pthread_mutex_lock(&f->lock);
    DL_DELETE(f->readers, r);
    r->left = true;
    bool posted = r->posted, room = drop_read(f);
    if (room)
        fill_ref(f);
    pthread_mutex_unlock(&f->lock);
    if (room) {
        fill_download_go_on(f);
        fill_unref(f);
    }
    if (!posted)
        reader_free(r);
}

/* ---- reading ---- */

enum fill_state fill_reader_state(struct fill_reader *r)
{
    struct fill *f = r->fill;
    enum fill_state s = FILL_WAITING;
    pthread_mutex_lock(&f->lock);
    if (r->refused)
        s = FILL_BUSY;
    else if (f->phase == PHASE_VERIFIED)
        s = FILL_COMPLETE;
    else if (f->phase == PHASE_FAILED)
        s = f->misled ? FILL_MISLED : FILL_FAILED;
    else if (f->phase == PHASE_STREAMING && f->size_known)
        s = FILL_READY;
    f->told |= s == FILL_READY;
    pthread_mutex_unlock(&f->lock);
    return s;
}

uint64_t fill_reader_size(struct fill_reader *r)
{
    pthread_mutex_lock(&r->fill->lock);
    uint64_t size = r->fill->size;
    pthread_mutex_unlock(&r->fill->lock);
    return size;
}

const struct err *fill_reader_error(struct fill_reader *r)
{
    return &r->fill->err;
}

const struct repo *fill_reader_repo(const struct fill_reader *r)
{
    return r->fill->repo;
}

bool fill_reader_is_question(struct fill_reader *r)
{
    struct fill *f = r->fill;
    pthread_mutex_lock(&f->lock);
    bool asks = f->phase == PHASE_ASKING && f->asked && f->from == FILL_FROM_UPSTREAM;
    bool yes = asks || (!f->may_read && (f->phase == PHASE_OPENING || f->phase == PHASE_ASKING));
    pthread_mutex_unlock(&f->lock);
    return yes;
}

bool fill_reader_in_memory(struct fill_reader *r)
{
    pthread_mutex_lock(&r->fill->lock);
    bool yes = fill_window_in_use(&r->fill->window);
    pthread_mutex_unlock(&r->fill->lock);
    return yes;
}

uint64_t fill_reader_next(struct fill_reader *r, uint64_t offset, int *ret_fd, void *copy, size_t cap)
{
    struct fill *f = r->fill;
    uint64_t n = 0;
    pthread_mutex_lock(&f->lock);
    r->offset = offset;
    *ret_fd = f->fd;
    uint64_t in_file = fill_window_in_use(&f->window) && f->window.file_end < f->available
                           ? f->window.file_end
                           : f->available;
    if (offset < in_file) {
        n = in_file - offset;
    } else if (cap && fill_window_in_use(&f->window) && offset < f->available) {
        n = fill_window_get(&f->window, offset, f->available, copy, cap);
        *ret_fd = -1;
        r->offset = offset + n;
    }
    f->given |= n > 0;
    bool room = drop_read(f);
    if (room)
        fill_ref(f);
    pthread_mutex_unlock(&f->lock);
    if (room) {
        fill_download_go_on(f);
        fill_unref(f);
    }
    return n;
}

void fill_reader_wait(struct fill_reader *r, uint64_t offset)
{
    pthread_mutex_lock(&r->fill->lock);
    r->offset = offset;
    r->waiting = true;
    if (!r->posted && has_news(r->fill, r))
        wake_reader(r);
    pthread_mutex_unlock(&r->fill->lock);
}
