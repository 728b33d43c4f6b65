// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3FS_CHECK_H
#define RAC_S3FS_CHECK_H
/*
 * Are the buckets that were named there, and may we list them: asked before the mount is said to answer, so
 * that a wrong name, key or address ends a container before its command starts, with what to do about it.
 */
#include <signal.h>

#include "common/err.h"
#include "fuse-layer/s3fs/options.h"
#include "s3/s3.h"

/* The main thread's, and before there is a session. `signals` are blocked; SIGUSR1, which is one of them, is
 * for this process to wake itself. Any other ends the check: with ERR_CANCELLED, and what S3 said so far. No
 * limit of its own but that of S3's tries. Names of buckets and the server stand in the message. */
int check_buckets(struct s3 *s3, const struct options *o, const sigset_t *signals, struct err *err);
#endif
