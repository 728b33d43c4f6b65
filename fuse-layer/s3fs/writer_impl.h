// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3FS_WRITER_IMPL_H
#define RAC_S3FS_WRITER_IMPL_H
/* Inside of a writer, for writer.c (handles, and what they do), writer_local.c (where the bytes of a part
 * are) and writer_commit.c (sending).
 *
 * Two locks. `turn` is held by one operation from its beginning to its end. `lock` guards what the threads
 * that send parts change when they are done; an operation holds it, too, and lets go of it only to wait for
 * them. So while it waits, parts become sent or fail, and nothing else happens. All functions here with both.
 */
#include <pthread.h>

#include "fuse-layer/s3fs/part.h"
#include "fuse-layer/s3fs/spill.h"
#include "fuse-layer/s3fs/writer.h"

#define WRITER_NO_PART SIZE_MAX
/* Parts of one file that are sent at the same time; the memory is what really bounds them. */
#define WRITER_SENDING_MAX 4

struct writer {
    struct driver *d;
    struct inode *inode; /* pinned */
    unsigned refs;       /* handles; with the inodes' lock */
    pthread_mutex_t turn, lock;
    pthread_cond_t sent; /* a part was sent, or failed */
    uint64_t size;
    char base_etag[S3_ETAG_MAX + 1];
    uint64_t base_size;  /* bytes of the stored object that are still of use; 0: none */
    struct part **parts; /* by index; NULL: all base */
    size_t parts_len;
    size_t current; /* the part whose bytes are in memory and grow, or WRITER_NO_PART */
    struct spill_file *spill;
    struct s3_upload *upload;
    unsigned sending;
    _Atomic bool dirty; /* set with the lock, read without */
    bool keep, exclusive, unlinked;
    bool complained;  /* in the log, of writes that were refused */
    bool told;        /* of a failed commit: it is not tried again behind the program's back */
    bool committing;  /* parts that are sent now need not be kept */
    bool lost;        /* what is lost cannot be sent again: fault is the answer for ever */
    struct err fault; /* of a part that could not be sent; code 0: none */
};

/* Bytes of the part that are within the file. */
uint64_t writer_part_len(const struct writer *w, size_t index);
struct part *writer_part(struct writer *w, size_t index); /* made if it is not there */

/* Makes room in the spill: sends what is complete in it, forgets what was sent. False: nothing could be done.
 */
bool writer_make_room(struct writer *w);

/* -- writer_local.c */
/* Stores bytes at `within`; what lies between them and the local range is filled in. */
int writer_local_write(struct writer *w, struct part *p, const void *from, uint64_t within, size_t len,
                       struct err *err);
/* Makes [0, len) of the part local. */
int writer_local_fill(struct writer *w, struct part *p, uint64_t len, struct err *err);
int writer_local_read(struct writer *w, struct part *p, void *to, uint64_t within, size_t len,
                      struct err *err);
/* Bytes [offset, offset + len) of the stored object, and zeros behind it. */
int writer_base_read(struct writer *w, void *to, uint64_t offset, size_t len, struct cancel *cancel,
                     struct err *err);
/* From memory to the spill; nothing if it is not in memory. may_wait: for parts to be sent, to make room; not
 * for who sends one. */
int writer_local_spill(struct writer *w, struct part *p, bool may_wait, struct err *err);
/* Forgets local bytes from `keep` on. */
void writer_local_cut(struct writer *w, struct part *p, uint64_t keep);

/* -- writer_commit.c */
/* Begins to send a part whose bytes up to len are all local; returns before it is sent. */
int writer_send(struct writer *w, struct part *p, struct err *err);
void writer_wait_sent(struct writer *w);
/* Ends the running upload, if there is one; what it had is unsent again, or lost. */
void writer_abandon(struct writer *w);
int writer_commit_locked(struct writer *w, struct err *err);
#endif
