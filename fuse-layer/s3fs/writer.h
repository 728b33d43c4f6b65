// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3FS_WRITER_H
#define RAC_S3FS_WRITER_H
/*
 * A file that is being written: one for the file, shared by all handles on it. Nothing of it is to be seen in
 * S3 before writer_commit has returned 0, and then all of it is.
 *
 *     written in order      parts in memory, each sent as soon as the next one begins; what is left is sent
 * by the commit. A file of up to one part is one PUT. written elsewhere     parts in the spill
 * (RAC_CACHE_DIR), sent by the commit not written at all    parts that the stored object has already are
 * copied within S3 (UploadPartCopy)
 *
 * A part that was sent is gone from here, but for the first (headers are filled in at the end), and for all
 * of a file that is also open for reading, as long as the spill has room. To write to one that is gone is
 * ERR_UNSUPPORTED: the file can be opened again for that, once it is closed.
 *
 * After a failed commit the file stays dirty, and the next fsync or close tries again; unless parts are gone:
 * then it says the same for ever. Who was told of a failure and does not try again means it: the last close
 * does not store behind anybody's back.
 *
 * One lock for each writer, held over requests: operations on one file wait for each other. Order of locks:
 * writer, then inodes. Any thread.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fuse-layer/s3fs/driver.h"

enum writer_open_flags {
    WRITER_NEW = 1,       /* no such object yet: stored even if nothing is written */
    WRITER_TRUNCATE = 2,  /* whatever it holds is gone */
    WRITER_EXCLUSIVE = 4, /* with WRITER_NEW: fails at the first commit if somebody else made one meanwhile */
    WRITER_KEEP = 8,      /* keep sent parts for reading */
};

/* One more handle on the file's writer, made if there is none. The object as inode->attr says it is what
 * parts that are not written come from. */
struct writer *writer_open(struct driver *d, struct inode *inode, unsigned flags);
/* One handle less; the last one commits (a failure can only be logged then), and the writer is gone. */
void writer_close(struct writer *w);
/* With the inodes' lock: the writer of a file with one more handle, or NULL if there is none. dirty_only: or
 * if all it has is stored. */
struct writer *writer_of(struct inode *inode, bool dirty_only);

int writer_write(struct writer *w, const void *p, size_t len, uint64_t offset, bool append, struct err *err);
/* Fewer than len bytes only at the end of the file. */
int writer_read(struct writer *w, void *p, size_t len, uint64_t offset, struct cancel *cancel,
                size_t *ret_len, struct err *err);
int writer_truncate(struct writer *w, uint64_t size, struct err *err);
/* Stores what is not stored yet. ERR_EXISTS for WRITER_EXCLUSIVE. */
int writer_commit(struct writer *w, struct err *err);
bool writer_dirty(struct writer *w);
/* The last commit failed, and who asked for it knows. */
bool writer_told(struct writer *w);
/* Who asked for it does not: it is ending, and its files are closed by the kernel. The last close tries once
 * more then, and counts the file as lost (driver.h) if that fails, too. */
void writer_untold(struct writer *w);
/* The name is about to go: nothing will be stored from here on. False takes it back: it stays after all. */
void writer_unlink(struct writer *w, bool unlinked);
/* For renaming and for new metadata: commits, and keeps all others from the file until writer_moved says
 * which version it is at its place by now (NULL: nothing has happened). On failure nothing is kept. */
int writer_move(struct writer *w, struct err *err);
void writer_moved(struct writer *w, const char *etag);
#endif
