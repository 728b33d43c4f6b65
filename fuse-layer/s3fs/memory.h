// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3FS_MEMORY_H
#define RAC_S3FS_MEMORY_H
/*
 * The driver's memory for file contents: one budget for all handles (RAC_MEMORY). Read windows and parts that
 * wait to be sent are taken from it; who gets nothing waits, goes to disk, or asks for less. It is counted by
 * what is asked for, and the blocks come from here, so that what is counted is what is resident.
 *
 * Blocks of 1, 2, 4 and 8 MiB, the sizes of parts and of large reads, are kept for the next one: fresh pages
 * cost a fault each. Kept and used blocks together stay within the budget.
 *
 * Who waits (memory_take) MUST hold nothing that its own progress would give back, or all wait for each
 * other. Any thread.
 */
#include <stddef.h>
#include <stdint.h>

#define MEMORY_BLOCK ((size_t)8 << 20)
/* Less would not hold one part beside one window. */
#define MEMORY_MIN ((size_t)20 << 20)

struct memory;

struct memory *memory_new(size_t limit_bytes);
void memory_free(struct memory *m); /* all blocks must be back */

/* NULL if the budget does not have it now. */
void *memory_try(struct memory *m, size_t bytes);
/* Waits up to timeout_ms for it; NULL after that. */
void *memory_take(struct memory *m, size_t bytes, uint64_t timeout_ms);
void memory_give(struct memory *m, void *block, size_t bytes); /* NULL is fine; bytes as asked for */

size_t memory_limit(const struct memory *m);
size_t memory_used(struct memory *m); /* without the blocks that are kept */
#endif
