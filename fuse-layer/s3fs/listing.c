// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/listing.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/str.h"

/* Names and ETags of LISTING_MAX entries of the longest keys: a listing that needs more ends early. */
#define NAMES_MAX ((size_t)48 << 20)

/* While it grows, strings are offsets: the memory moves. */
struct draft {
    struct buf names;
    struct draft_entry {
        size_t name, etag;
        uint64_t size;
        int64_t mtime_ms;
        bool folder;
    } * entries;
    size_t len, cap;
};

static size_t add_string(struct draft *d, const char *s, size_t len)
{
    size_t at = d->names.len;
    (void)buf_add(&d->names, s, len);
    (void)buf_add(&d->names, "", 1);
    return at;
}

static bool hidden(const char *name, size_t len)
{
    return len == 0 || (len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.') ||
           len > INODE_NAME_MAX;
}

static void add_entry(struct draft *d, const char *name, size_t len, const struct s3_object *object)
{
    if (hidden(name, len))
        return;
    if (d->len == d->cap) {
        d->cap = d->cap ? d->cap * 2 : 64;
        d->entries = mem_realloc(d->entries, d->cap * sizeof *d->entries);
    }
    struct draft_entry *e = &d->entries[d->len++];
    *e = (struct draft_entry){.folder = object == NULL};
    e->name = add_string(d, name, len);
    e->etag = add_string(d, object ? object->etag : "", object ? strlen(object->etag) : 0);
    if (object) {
        e->size = object->size;
        e->mtime_ms = object->mtime_ms;
    }
}

static void add_page(struct draft *d, const struct s3_page *page, size_t prefix_len)
{
    for (size_t i = 0; i < page->objects_len; ++i) {
        const char *name = page->objects[i].key + prefix_len;
        add_entry(d, name, strlen(name), &page->objects[i]);
    }
    for (size_t i = 0; i < page->prefixes_len; ++i) {
        const char *name = page->prefixes[i] + prefix_len;
        size_t len = strlen(name);
        if (len && name[len - 1] == '/')
            add_entry(d, name, len - 1, NULL);
    }
}

static int compare(const void *a, const void *b)
{
    const struct listing_entry *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : (int)y->folder - (int)x->folder; /* a folder before the object it shadows */
}

static struct listing *finish(struct draft *d)
{
    struct listing *l = mem_new(struct listing);
    l->refs = 1;
    l->bytes = sizeof *l + d->names.len + d->len * sizeof *l->entries;
    l->names = buf_take(&d->names);
    l->entries = mem_alloc((d->len ? d->len : 1) * sizeof *l->entries);
    for (size_t i = 0; i < d->len; ++i) {
        const struct draft_entry *e = &d->entries[i];
        l->entries[i] = (struct listing_entry){.name = l->names + e->name,
                                               .etag = l->names + e->etag,
                                               .size = e->size,
                                               .mtime_ms = e->mtime_ms,
                                               .folder = e->folder};
    }
    free(d->entries);
    d->entries = NULL;
    if (d->len)
        qsort(l->entries, d->len, sizeof *l->entries, compare);
    for (size_t i = 0; i < d->len; ++i)
        if (l->len == 0 || strcmp(l->entries[l->len - 1].name, l->entries[i].name) != 0)
            l->entries[l->len++] = l->entries[i];
    return l;
}

int listing_fetch(struct s3 *s3, const struct inode_path *folder, const char *continuation, size_t max,
                  struct cancel *cancel, struct listing **ret, struct err *err)
{
    struct draft d = {.names = {.max = NAMES_MAX}};
    uint64_t started_us = clock_mono_us();
    size_t prefix_len = strlen(folder->key);
    cleanup_free char *next = continuation ? mem_strdup(continuation) : NULL;
    size_t seen = 0;
    do {
        cleanup_s3_page struct s3_page page = {0};
        if (s3_list(s3, folder->bucket, folder->key, "/", next, S3_LIST_MAX, cancel, &page, err) < 0) {
            buf_free(&d.names);
            free(d.entries);
            return -1;
        }
        add_page(&d, &page, prefix_len);
        seen += page.objects_len + page.prefixes_len;
        free(next);
        next = steal_ptr(&page.next);
    } while (next && seen < max && d.names.len < NAMES_MAX - ((size_t)4 << 20));
    struct listing *l = finish(&d);
    l->next = steal_ptr(&next);
    l->started_us = started_us;
    *ret = l;
    return 0;
}

const struct listing_entry *listing_find(const struct listing *l, const char *name)
{
    size_t low = 0, high = l->len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(l->entries[middle].name, name);
        if (order == 0)
            return &l->entries[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

void listing_entry_attr(const struct listing_entry *e, struct inode_attr *ret)
{
    *ret = (struct inode_attr){
        .kind = e->folder ? INODE_FOLDER : INODE_FILE, .size = e->size, .mtime_ms = e->mtime_ms};
    strncpy(ret->etag, e->etag, sizeof ret->etag - 1);
}

struct listing *listing_ref(struct listing *l)
{
    ++l->refs;
    return l;
}

void listing_unref(struct listing *l)
{
    if (!l || --l->refs)
        return;
    free(l->entries);
    free(l->names);
    free(l->next);
    free(l);
}
