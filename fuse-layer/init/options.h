// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_INIT_OPTIONS_H
#define RAC_INIT_OPTIONS_H
/*
 * What the environment asks of rac-init. It has no flags: its arguments are the command's. All strings are
 * borrowed from the environment.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "fuse-layer/init/say.h"

#define OPTIONS_TIMEOUT_MAX_MS ((uint64_t)3600 * 1000)

struct options {
    bool buckets;  /* NXF_FUSION_BUCKETS or RAC_S3_BUCKETS names one: there is something to mount */
    bool required; /* RAC_MOUNT: no mount, no command */
    uint64_t mount_timeout_ms; /* RAC_MOUNT_TIMEOUT: the mount answers within it */
    uint64_t flush_timeout_ms; /* RAC_FLUSH_TIMEOUT: uploads are complete within it after the command's end */
    const char *chain;         /* WAVE_ENTRY_CHAIN; NULL = none */
    const char *user;          /* RAC_USER; NULL = stay who we are */
    enum say_level level;      /* RAC_LOG_LEVEL */
};

/* ERR_INVALID naming the variable. What only matters with a mount is looked at only if there is to be one. */
int options_read(struct options *ret, struct err *err);
#endif
