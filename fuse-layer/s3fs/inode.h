// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3FS_INODE_H
#define RAC_S3FS_INODE_H
/*
 * The names the kernel knows: a tree of inodes, the root's children are buckets. An inode lives while the
 * kernel looks at it (lookups), somebody has it open or works for it (pins), or it has children.
 *
 *     path  <->  inode  <->  number          attributes, how old they are, the folder's listing,
 *                                            the writer of a file that is being written
 *
 * An object that is replaced by another client while it is open here gets a new inode at the next look: the
 * old one is cut off the tree (inode_detach) and stays with its handles, as an unlinked file does, so that
 * pages of two versions never meet in one page cache.
 *
 * What this mount did is known before any listing shows it: a folder notes its changes with the time the
 * server confirmed them, and a listing that was asked for earlier does not overrule them.
 *
 * One lock for all of it, held for moments and never over a request. Functions say "locked" where the caller
 * holds it.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/mem.h"
#define uthash_malloc(size) mem_alloc(size) /* by itself it ends without a word */
#include <uthash.h>

#include "s3/s3.h"

#define INODE_ROOT_ID 1 /* FUSE_ROOT_ID */
/* Names may be as long as keys: more than a local file system has. */
#define INODE_NAME_MAX S3_KEY_MAX

enum inode_kind { INODE_ROOT, INODE_BUCKET, INODE_FOLDER, INODE_FILE, INODE_LINK };

struct inode_attr {
    enum inode_kind kind; /* of an inode: for ever, and so read without the lock */
    uint64_t size;
    int64_t mtime_ms;
    char etag[S3_ETAG_MAX + 1];
    /* From the object's metadata, with --posix; else mode is 0 and the mount's defaults hold. */
    mode_t mode; /* permission bits */
    uid_t uid;
    gid_t gid;
};

struct listing;
struct writer;

/* What this mount did to a name, and when the server said yes. */
struct inode_change {
    char *name;
    bool exists;
    struct inode_attr attr;
    uint64_t at_us; /* clock_mono_us */
    UT_hash_handle hh;
};

struct inode {
    uint64_t id;
    uint64_t lookups; /* the kernel's */
    unsigned pins;    /* ours, and one per child */
    unsigned readers; /* open handles that read a pinned version */
    unsigned moving;  /* renames under way: its object may be at the old key or at the new one */
    struct inode *parent;
    char *name; /* NULL: the root */
    bool detached;
    struct inode_attr attr;
    uint64_t fresh_us;                 /* attr was true at this time; 0: no longer known to be */
    char cached_etag[S3_ETAG_MAX + 1]; /* version the kernel's pages are of; "": unknown */
    /* Files: counts local commits, so that handles follow what this mount itself wrote; and the versions that
     * came from elsewhere, since what is written over one of those is not what handles of others read. */
    uint64_t commits, foreign;
    bool unstored;         /* made here, and not in S3 yet: it may come to nothing */
    struct writer *writer; /* while there are open handles that write, and until all is stored */
    /* Folders. */
    struct inode *children; /* by name */
    struct listing *listing;
    struct inode *listed_prev, *listed_next; /* in inodes.oldest, while there is one */
    bool listing_busy;                       /* one thread fetches it, the others wait */
    struct inode_change *changes;            /* by name */
    uint64_t looks_since_us;                 /* single looks in this folder: when the count began */
    unsigned looks;
    /* prefetch.h: index in the listing of the file opened last, how many of that order in a row, and up to
     * which one they were fetched. */
    size_t last_open, run, ahead;
    uint64_t large_until_us; /* too many names to list for a look */
    UT_hash_handle hh_id, hh_name;
};

struct inodes {
    pthread_mutex_t lock;
    pthread_cond_t listed; /* a listing_busy became false */
    struct inode *by_id;
    uint64_t next_id;
    struct inode *root;
    size_t len;
    struct inode *oldest; /* folders with a listing, the oldest first */
    size_t listings_bytes;
};

/* An object's place: the key of a folder ends with '/', a bucket's own is "". */
struct inode_path {
    char bucket[256];
    char key[S3_KEY_MAX + 2];
};

void inodes_init(struct inodes *t);
void inodes_destroy(struct inodes *t); /* whatever the kernel still thinks */
void inodes_lock(struct inodes *t);
void inodes_unlock(struct inodes *t);

/* Locked. NULL if there is none. */
struct inode *inode_by_id(struct inodes *t, uint64_t id);
struct inode *inode_child(struct inode *parent, const char *name);
/* Locked. The child of that name, made if there is none, with one more lookup. A child of another kind, or
 * one that readers hold in another version, is detached first. fresh_us as in struct inode. */
struct inode *inode_look(struct inodes *t, struct inode *parent, const char *name,
                         const struct inode_attr *attr, uint64_t fresh_us);
/* Locked. attr is what the server has now; nothing happens to a file that is being written, nor if it has
 * become something of another kind: the next look makes another inode of that. */
void inode_refresh(struct inode *inode, const struct inode_attr *attr, uint64_t fresh_us);
void inode_forget(struct inodes *t, struct inode *inode, uint64_t lookups); /* locked; may free it */
void inode_pin(struct inode *inode);                                        /* locked */
void inode_unpin(struct inodes *t, struct inode *inode);                    /* locked; may free it */
void inode_detach(struct inodes *t, struct inode *inode);                   /* locked; may free it */
/* Locked. Whatever had that place is detached. The names below move along. */
void inode_move(struct inodes *t, struct inode *inode, struct inode *parent, const char *name);

/* Locked. False if the key would be too long. */
bool inode_path(const struct inode *inode, struct inode_path *ret);
/* Locked. Deleted, or replaced by another client: what its path leads to is another file. Of a deleted one
 * that is being written the writer has all there is. */
static inline bool inode_gone(const struct inode *inode)
{
    return inode->detached && !inode->writer;
}
bool inode_child_path(const struct inode *parent, const char *name, bool folder, struct inode_path *ret);

/* Locked. Notes that the server has (attr != NULL) or has no longer what `name` stands for. */
void inode_note_change(struct inode *folder, const char *name, const struct inode_attr *attr);
struct inode_change *inode_find_change(struct inode *folder, const char *name);
/* Locked. A listing that was asked for at since_us has seen what happened before. */
void inode_drop_changes(struct inode *folder, uint64_t since_us);

/* Locked. The folder's listing from here on, with the caller's reference; NULL: none. */
void inode_set_listing(struct inodes *t, struct inode *folder, struct listing *listing);
/* Locked. Forgets listings that were asked for before older_us, and the oldest ones past max_bytes, but never
 * the newest. */
void inodes_trim_listings(struct inodes *t, uint64_t older_us, size_t max_bytes);

static inline bool inode_is_folder(const struct inode *inode)
{
    return inode->attr.kind <= INODE_FOLDER;
}
#endif
