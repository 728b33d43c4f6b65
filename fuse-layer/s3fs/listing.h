// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3FS_LISTING_H
#define RAC_S3FS_LISTING_H
/*
 * The names of one folder as the server listed them at one time: an immutable, sorted array, shared by
 * reference. Names that cannot be files ("", ".", "..") are left out, and where an object and a folder have
 * the same name the folder is what is seen.
 *
 * A folder of more than LISTING_MAX names comes in pieces, each going on where the one before ended. Within a
 * piece all of the above holds; an object and a folder of the same name may stand in two pieces.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fuse-layer/s3fs/inode.h"
#include "s3/s3.h"

#define LISTING_MAX 50000

struct listing_entry {
    const char *name; /* in the listing's memory */
    const char *etag;
    uint64_t size;
    int64_t mtime_ms;
    bool folder;
};

struct listing {
    unsigned refs; /* with the lock of the inodes */
    struct listing_entry *entries;
    size_t len;
    size_t bytes;        /* of memory, all in all */
    char *names;         /* memory of the strings */
    char *next;          /* where the following piece begins; NULL: complete */
    uint64_t started_us; /* clock_mono_us before the first request: what happened before is in it */
};

/* Up to max names (rounded up to whole pages) below prefix, from `continuation` on (NULL: the beginning).
 * Blocks. One reference is the caller's. */
int listing_fetch(struct s3 *s3, const struct inode_path *folder, const char *continuation, size_t max,
                  struct cancel *cancel, struct listing **ret, struct err *err);
/* NULL if it is not in it. */
const struct listing_entry *listing_find(const struct listing *l, const char *name);
void listing_entry_attr(const struct listing_entry *e, struct inode_attr *ret);

struct listing *listing_ref(struct listing *l);
void listing_unref(struct listing *l); /* NULL is fine */
#endif
