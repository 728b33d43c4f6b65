// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_HTTP_WAIT_H
#define RAC_S3_HTTP_WAIT_H
/* The one place where this client waits. */
#include <poll.h>
#include <stdint.h>

#include "common/err.h"
#include "s3/cancel.h"

/* Until one of `events` (or an error or a hang-up) is there on fd; fd -1 waits for the time alone. Returns
 * poll's revents; -1 with ERR_CANCELLED or, once clock_mono_ms() is at deadline_ms, ERR_TIMEOUT. */
int http_wait(int fd, short events, uint64_t deadline_ms, const struct cancel *cancel, struct err *err);
#endif
