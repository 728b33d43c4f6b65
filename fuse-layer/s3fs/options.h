// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3FS_OPTIONS_H
#define RAC_S3FS_OPTIONS_H
/*
 * What rac-fuse can be told: one table (options.c) names every option with its flag, its environment
 * variable, its default and its help; a flag wins over the environment. S3's own settings (endpoint, region,
 * credentials) are not here: s3_config.h takes them from the environment.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/log.h"

struct options_bucket {
    char *name;
    char *prefix; /* "" or ending with '/' */
};

struct options {
    char *mountpoint;
    struct options_bucket *buckets; /* checked at start, listed in the root */
    size_t buckets_len;
    bool posix;     /* keep mode, owner, times and symlinks in the objects' metadata */
    bool read_only; /* no request that changes anything */
    uint64_t metadata_ttl_ms;
    uint64_t memory_bytes;
    char *cache_dir; /* of the spill */
    uint64_t cache_bytes;
    uint64_t flush_timeout_ms;
    uint64_t uid, gid;            /* shown as the owner of everything */
    uint64_t file_mode, dir_mode; /* permission bits */
    uint64_t threads;             /* requests of the kernel that may wait at the same time */
    int64_t ready_fd;             /* -1: none */
    enum log_level log_level;
    bool help, version;
};

/* 0, or -1 with a message that names the option. On failure *ret is empty. */
int options_parse(int argc, char **argv, struct options *ret, struct err *err);
void options_free(struct options *o);
void options_help(FILE *to);
#endif
