// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3FS_DRAIN_H
#define RAC_S3FS_DRAIN_H
/*
 * The end: what was written is stored, within a time; what cannot be is given up, and leaves no parts at the
 * server.
 */
#include <stdint.h>

#include "fuse-layer/s3fs/driver.h"

/* Commits all files that are not stored yet, several at a time. Returns how many could not be by `until_ms`
 * (clock_mono_ms); d->ending is fired then, and their uploads are aborted. Main thread. */
unsigned drain(struct driver *d, uint64_t until_ms);
#endif
