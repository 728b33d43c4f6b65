// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3FS_SPILL_H
#define RAC_S3FS_SPILL_H
/*
 * Disk for data that cannot be sent yet: one nameless file for each file that is written out of order,
 * sparse, bytes at the offsets they have in the object. All of them together hold at most RAC_CACHE_SIZE in
 * RAC_CACHE_DIR; a full disk is the same answer earlier: ERR_NO_SPACE. The files have no names, so nothing is
 * left behind, however the driver ends.
 *
 * struct spill: any thread. struct spill_file: one thread at a time, but for spill_map'ed reading.
 */
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct spill;
struct spill_file;

/* The folder is looked at when the first file needs it. Where it cannot have one (an image from scratch
 * without /tmp, on a read-only root) memory serves, and no more of it than memory_bytes. */
struct spill *spill_new(const char *dir, uint64_t limit_bytes, uint64_t memory_bytes);
void spill_free(struct spill *s);

int spill_open(struct spill *s, struct spill_file **ret, struct err *err);
void spill_close(struct spill_file *f); /* NULL is fine */
/* `grow` of the bytes are new to the file's account, whatever the file system makes of them. */
int spill_write(struct spill_file *f, const void *p, size_t len, uint64_t offset, uint64_t grow,
                struct err *err);
/* All of it; what was never written reads as zeros. */
int spill_read(struct spill_file *f, void *p, size_t len, uint64_t offset, struct err *err);
/* The bytes as memory, for sending; shrinking them meanwhile is the caller's bug. offset is a multiple of
 * 64 KiB. NULL with *err set. */
void *spill_map(struct spill_file *f, uint64_t offset, size_t len, struct err *err);
void spill_unmap(void *p, size_t len);
/* Gives the bytes' room back, `shrink` of the account. */
void spill_drop(struct spill_file *f, uint64_t offset, uint64_t len, uint64_t shrink);
#endif
