// SPDX-License-Identifier: Apache-2.0
#include "proxy/cache/disk_table.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/mem.h"

#define TOUCH_EVERY_S 600
#define TRIM_LOOKS    16 /* entries at the old end that an add looks at, so that its time is bounded */

struct entry {
    struct blob *blob; /* a reference of ours */
    struct entry *next_in_bucket;
    struct entry *newer, *older;
    int64_t touched_s;
};

struct disk_table {
    pthread_mutex_t lock;
    unsigned max, count;
    size_t mask;
    struct entry *newest, *oldest;
    struct entry *bucket[];
};

struct disk_table *disk_table_new(unsigned max)
{
    size_t buckets = 64;
    while (buckets < max)
        buckets *= 2;
    struct disk_table *t = mem_zalloc(sizeof *t + buckets * sizeof(struct entry *));
    pthread_mutex_init(&t->lock, NULL);
    t->max = max;
    t->mask = buckets - 1;
    return t;
}

void disk_table_free(struct disk_table *t)
{
    if (!t)
        return;
    for (struct entry *e = t->newest, *older; e; e = older) {
        older = e->older;
        blob_unref(e->blob);
        free(e);
    }
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* A digest is its own hash: any of its digits are as good as any others. */
static struct entry **bucket_of(struct disk_table *t, const struct digest *d)
{
    size_t h = 0;
    for (const char *hex = digest_hex(d), *end = hex + 12; hex < end; ++hex)
        h = h << 4 | (size_t)(*hex <= '9' ? *hex - '0' : *hex - 'a' + 10);
    return &t->bucket[h & t->mask];
}

static struct entry *find(struct disk_table *t, const struct digest *d)
{
    struct entry *e = *bucket_of(t, d);
    while (e && !digest_eq(&e->blob->digest, d))
        e = e->next_in_bucket;
    return e;
}

static void order_remove(struct disk_table *t, struct entry *e)
{
    *(e->newer ? &e->newer->older : &t->newest) = e->older;
    *(e->older ? &e->older->newer : &t->oldest) = e->newer;
}

static void order_add(struct disk_table *t, struct entry *e)
{
    e->newer = NULL;
    e->older = t->newest;
    *(t->newest ? &t->newest->newer : &t->oldest) = e;
    t->newest = e;
}

/* A reference besides ours can only come from one that is there or, under the lock, from the table: so 1
 * stays 1. */
static bool is_idle(const struct entry *e)
{
    return __atomic_load_n(&e->blob->refs, __ATOMIC_ACQUIRE) == 1;
}

/* Takes the entry out; its blob, with our reference, is the caller's to drop, best without the lock. */
static struct blob *take(struct disk_table *t, struct entry *e)
{
    struct blob *b = e->blob;
    struct entry **at = bucket_of(t, &b->digest);
    while (*at != e)
        at = &(*at)->next_in_bucket;
    *at = e->next_in_bucket;
    order_remove(t, e);
    --t->count;
    free(e);
    return b;
}

struct blob *disk_table_get(struct disk_table *t, const struct digest *d, int64_t now_s, bool *ret_touch)
{
    struct blob *b = NULL;
    *ret_touch = false;
    pthread_mutex_lock(&t->lock);
    struct entry *e = find(t, d);
    if (e) {
        b = blob_ref(e->blob);
        if (t->newest != e) {
            order_remove(t, e);
            order_add(t, e);
        }
        *ret_touch = now_s - e->touched_s >= TOUCH_EVERY_S || now_s < e->touched_s; /* clocks jump */
        if (*ret_touch)
            e->touched_s = now_s;
    }
    pthread_mutex_unlock(&t->lock);
    return b;
}

/* Under the lock: an idle entry from the old end, taken out. Those in use go to the new end: they are being
 * used. */
static struct blob *take_idle(struct disk_table *t)
{
    for (int i = 0; i < TRIM_LOOKS && t->oldest; ++i) {
        struct entry *e = t->oldest;
        if (is_idle(e))
            return take(t, e);
        order_remove(t, e);
        order_add(t, e);
    }
    return NULL;
}

struct blob *disk_table_add(struct disk_table *t, struct blob *b, int64_t now_s)
{
    struct blob *surplus = NULL, *closed = NULL;
    pthread_mutex_lock(&t->lock);
    struct entry *e = find(t, &b->digest);
    if (e) {
        surplus = b;
        b = blob_ref(e->blob);
    } else {
        if (t->count >= t->max)
            closed = take_idle(t);
        e = mem_new(struct entry);
        e->blob = blob_ref(b);
        e->touched_s = now_s;
        struct entry **at = bucket_of(t, &b->digest);
        e->next_in_bucket = *at;
        *at = e;
        order_add(t, e);
        ++t->count;
    }
    pthread_mutex_unlock(&t->lock);
    blob_unref(surplus);
    blob_unref(closed);
    if (closed)
        disk_table_trim(
            t, 0); /* after many readers at once: back towards the limit, two steps for each one added */
    return b;
}

void disk_table_drop(struct disk_table *t, const struct digest *d)
{
    pthread_mutex_lock(&t->lock);
    struct entry *e = find(t, d);
    struct blob *b = e ? take(t, e) : NULL;
    pthread_mutex_unlock(&t->lock);
    blob_unref(b);
}

bool disk_table_drop_idle(struct disk_table *t, const struct digest *d)
{
    pthread_mutex_lock(&t->lock);
    struct entry *e = find(t, d);
    bool idle = !e || is_idle(e);
    struct blob *b = e && idle ? take(t, e) : NULL;
    pthread_mutex_unlock(&t->lock);
    blob_unref(b);
    return idle;
}

bool disk_table_busy(struct disk_table *t, const struct digest *d)
{
    pthread_mutex_lock(&t->lock);
    struct entry *e = find(t, d);
    bool busy = e && !is_idle(e);
    pthread_mutex_unlock(&t->lock);
    return busy;
}

void disk_table_trim(struct disk_table *t, unsigned count)
{
    for (unsigned n = 0;; ++n) {
        pthread_mutex_lock(&t->lock);
        struct blob *b = n < count || (n == count && t->count > t->max) ? take_idle(t) : NULL;
        pthread_mutex_unlock(&t->lock);
        if (!b)
            return;
        blob_unref(b);
    }
}

unsigned disk_table_count(struct disk_table *t)
{
    pthread_mutex_lock(&t->lock);
    unsigned n = t->count;
    pthread_mutex_unlock(&t->lock);
    return n;
}

size_t disk_table_refs(struct disk_table *t, struct blob **ret, size_t max)
{
    size_t n = 0;
    pthread_mutex_lock(&t->lock);
    for (struct entry *e = t->newest; e && n < max; e = e->older)
        ret[n++] = blob_ref(e->blob);
    pthread_mutex_unlock(&t->lock);
    return n;
}
