// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_DISK_TABLE_H
#define RAC_CACHE_DISK_TABLE_H
/*
 * The open blobs of the disk store: by digest, least recently used ones closed first. Any thread; one short
 * lock, never held over a system call.
 *
 * A blob that somebody reads stays in the table past the limit: its descriptor is open anyway, and the table
 * is how eviction knows that it is being read. So there are at most max + (blobs being read) descriptors.
 */
#include <stdbool.h>
#include <stdint.h>

#include "proxy/cache/blob_store.h"

struct disk_table;

struct disk_table *disk_table_new(unsigned max);
void disk_table_free(struct disk_table *t); /* drops the references that are left */
/* A reference for the caller, or NULL. *ret_touch: the blob's last use was noted long ago, note it again; the
 * table takes it for done. */
struct blob *disk_table_get(struct disk_table *t, const struct digest *d, int64_t now_s, bool *ret_touch);
/* Takes the caller's reference and gives one back: of the same blob, or of the one that is in the table
 * already. */
struct blob *disk_table_add(struct disk_table *t, struct blob *b, int64_t now_s);
void disk_table_drop(struct disk_table *t, const struct digest *d);
/* False if it is there and being read. */
bool disk_table_drop_idle(struct disk_table *t, const struct digest *d);
bool disk_table_busy(struct disk_table *t, const struct digest *d); /* is it there and being read? */
void disk_table_trim(struct disk_table *t, unsigned count);         /* closes up to that many idle ones */
unsigned disk_table_count(struct disk_table *t);
/* Blobs in the table, references for the caller, at most `max`; returns how many. */
size_t disk_table_refs(struct disk_table *t, struct blob **ret, size_t max);
#endif
