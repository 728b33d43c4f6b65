// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_DISK_IMPL_H
#define RAC_CACHE_DISK_IMPL_H
/*
 * Inside of the disk store: disk.c (open, close, paths, operations), disk_read.c, disk_write.c,
 * disk_partial.c, disk_room.c (the janitor: counting, eviction), disk_walk.c (all blobs, one after the
 * other), disk_scrub.c.
 *
 * Work on files runs in jobs. The janitor is a thread of its own: it is the only one that counts and evicts,
 * so there is one such pass at a time, and a pass over a million files never takes a thread of jobs away from
 * the readers.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "common/hash.h"
#include "proxy/cache/disk.h"
#include "proxy/cache/disk_table.h"

#define DISK_FOLDERS           512 /* blobs/sha256/00 .. blobs/sha512/ff */
#define DISK_TOUCH_S           600
#define DISK_PARTIAL_KEEP_S    (24 * 3600)
#define DISK_QUARANTINE_KEEP_S (7 * 24 * 3600)
/* For clients too, so it names no file: 503, since it is over as soon as others have finished. */
#define DISK_OUT_OF_DESCRIPTORS "the proxy has too many files open: try again"

static inline bool disk_is_out_of_descriptors(int errno_value)
{
    return errno_value == EMFILE || errno_value == ENFILE;
}

struct disk_pin {
    UT_hash_handle hh;
    struct digest digest;
    unsigned count;
};

/* A digest whose file in partial/ belongs to somebody: its fill, or a job that publishes or removes it. Who
 * wants to open it meanwhile waits in `waiting`. */
struct disk_claim {
    UT_hash_handle hh;
    struct digest digest;
    bool leaving; /* the owner is done with it, its job is not */
    struct disk_op *waiting;
};

struct disk {
    struct blob_store base;
    struct jobs *jobs;
    char *dir;
    struct disk_table *table;
    _Atomic uint64_t temp_number;
    pthread_mutex_t lock; /* guards the next four */
    pthread_cond_t idle;
    unsigned running; /* jobs of ours that are not through */
    struct disk_pin *pins;
    struct disk_claim *claims;

    /* disk_room.c */
    pthread_t janitor;
    pthread_mutex_t room_lock; /* guards the next five */
    pthread_cond_t room_wake;
    bool stopping, asked;
    struct disk_op *room_waiting, **room_tail;
    pthread_mutex_t count_lock; /* held while a folder is counted, and over what changes one until all are */
    _Atomic unsigned counted;   /* folders below this are in base.bytes and base.blobs */
    _Atomic uint64_t other_bytes; /* in partial/ and quarantine/, when last looked at */
};

/* An operation on its way through jobs and back. */
struct disk_op {
    struct disk_op *next;
    struct disk *disk;
    struct loop *loop;
    void (*run)(struct disk_op *op); /* on a thread of jobs */
    loop_fn *answer; /* calls the callback, frees the operation; not allowed to look at disk */
    struct digest digest;
    union {
        blob_get_fn *get;
        blob_partial_fn *partial;
        blob_done_fn *done;
        blob_bytes_fn *bytes;
    } fn;
    void *arg;
    char *bytes; /* of a read or a put; malloc'd */
    size_t len;
    uint64_t room;
    bool keep;
    bool behind; /* nobody waits for it */
    struct blob *blob;
    struct blob_partial *partial;
    bool failed;
    struct err err;
};

/* ---- disk.c ---- */

struct disk_op *disk_op_new(struct disk *d, struct loop *loop, const struct digest *digest,
                            void (*run)(struct disk_op *), loop_fn *answer, void *arg);
void disk_op_submit(struct disk_op *op);
void disk_op_answer(struct disk_op *op);                       /* run is not needed: answers, later */
void disk_op_free(void *op);                                   /* drops what the answer did not hand on */
char *disk_blob_path(const char *dir, const struct digest *d); /* malloc'd */
/* quarantine/<hex>.<time>; what is not there is fine. Returns the size of what was moved, -1 if nothing was.
 */
int64_t disk_quarantine_file(const char *dir, const struct digest *d, const char *why);
/* In a job. */
void disk_quarantine_now(struct disk *d, const struct digest *digest, const char *why);
bool disk_pinned(struct disk *d, const struct digest *digest);
/* The digest of a file name of that algorithm; false if it is none. */
bool disk_digest_of_name(const char *name, bool sha512, struct digest *ret);

/* ---- disk_read.c ---- */

struct blob *disk_try(struct blob_store *s, const struct digest *digest);
void disk_get(struct blob_store *s, struct loop *loop, const struct digest *digest, blob_get_fn *fn,
              void *arg);
void disk_read(struct blob_store *s, struct loop *loop, const struct digest *digest, size_t max,
               blob_bytes_fn *fn, void *arg);
void disk_quarantine(struct blob_store *s, const struct digest *digest, const char *why);
/* Opens a blob's file; 0 with *ret NULL if there is none, or if it cannot be what it is to be (quarantined
 * then). */
int disk_open_blob(struct disk *d, const struct digest *digest, struct blob **ret, struct err *err);

/* ---- disk_write.c ---- */

void disk_put(struct blob_store *s, struct loop *loop, const struct digest *digest, const void *p, size_t len,
              blob_done_fn *fn, void *arg);
/* The complete file `from`, open as fd, becomes the blob: sync, rename, sync of the folder. `from` is gone
 * after. */
int disk_commit(struct disk *d, int fd, const char *from, const struct digest *digest, uint64_t size,
                struct err *err);
/* A name in partial/ that nobody has, of that kind; malloc'd. */
#define DISK_TEMP_PUT   "put"
#define DISK_TEMP_CHECK "check"
char *disk_temp_path(struct disk *d, const char *kind);
/* Removes files of such names, before any is made: those of a process that was killed mean nothing, and one
 * in a container has the same process id, hence the same names, each time. */
void disk_temp_sweep(const char *dir);
void disk_check(struct blob_store *s, struct loop *loop, blob_done_fn *fn, void *arg);
int disk_probe(struct disk *d, struct err *err);

/* ---- disk_partial.c ---- */

void disk_partial_open(struct blob_store *s, struct loop *loop, const struct digest *digest,
                       blob_partial_fn *fn, void *arg);
void disk_partial_publish(struct blob_store *s, struct loop *loop, struct blob_partial *p, blob_get_fn *fn,
                          void *arg);
void disk_partial_close(struct blob_store *s, struct blob_partial *p, bool keep);
/* For the janitor: takes the file of that digest if nobody has it. */
bool disk_claim_free(struct disk *d, const struct digest *digest);
void disk_claim_release(struct disk *d, const struct digest *digest);

/* ---- disk_room.c ---- */

void disk_room_start(struct disk *d);
void disk_room_stop(struct disk *d);
void disk_room_ask(struct disk *d); /* looks whether there is too much; any thread */
void disk_make_room(struct blob_store *s, struct loop *loop, uint64_t bytes, blob_done_fn *fn, void *arg);
/* Around a change of a blob's folder: begin, change, end with what it changed. */
bool disk_count_begin(struct disk *d);
void disk_count_end(struct disk *d, bool begun, const struct digest *digest, int64_t bytes, int blobs);

/* ---- disk_walk.c ---- */

unsigned disk_folder_index(const struct digest *d);
/* Calls fn for each blob of that folder until it returns non-zero; names that are no digests are left alone.
 */
typedef int disk_walk_fn(void *arg, int folder_fd, const char *name, const struct digest *digest,
                         const struct stat *st);
int disk_walk_folder(const char *dir, unsigned index, disk_walk_fn *fn, void *arg);
#endif
