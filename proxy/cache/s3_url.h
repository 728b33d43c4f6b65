// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_S3_URL_H
#define RAC_CACHE_S3_URL_H
/*
 * Where blobs are in S3, as one writes it:
 *
 *     s3://bucket[/prefix][?endpoint=URL&region=NAME&path-style=1&ca=FILE&storage-class=NAME&sse=NAME]
 *
 * What is not said there is as the AWS tools have it: their environment, their profile files. Keys are no
 * part of it: they are never shown in a list of processes. Pure.
 */
#include <stdbool.h>

#include "common/err.h"

#define S3_BLOBS_PREFIX_MAX 512

struct s3_blobs_url {
    char *bucket;
    char *prefix; /* "" or "a/b": no slash at either end */
    /* NULL: not said. */
    char *endpoint, *region, *ca_file, *storage_class, *sse;
    bool path_style; /* said so */
};

/* ERR_INVALID says which part is wrong. *ret is written on success. */
int s3_blobs_url_parse(const char *text, struct s3_blobs_url *ret, struct err *err);
void s3_blobs_url_free(struct s3_blobs_url *u); /* zeroed is fine */
#endif
