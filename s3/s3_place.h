// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_S3_PLACE_H
#define RAC_S3_S3_PLACE_H
/* Where a bucket's requests go: server, path and region, as configured and as learned from redirects. */
#include <stdbool.h>

#include "s3/s3_config.h"
#include "s3/s3_url.h"

struct s3_places;

struct s3_place {
    struct s3_url server;
    char region[64];
    char *path; /* escaped, begins with '/'; malloc'd */
};

/* Could it be the name of a bucket, here or at AWS: it becomes part of a host name or a path. */
bool s3_bucket_valid(const char *bucket);
struct s3_places *s3_places_new(const struct s3_config *config, struct err *err);
void s3_places_free(struct s3_places *p);
/* bucket NULL: the service itself; key NULL: the bucket itself. ERR_INVALID for a bucket name that could not
 * be one, or an empty or overlong key. Any thread. */
int s3_place_find(struct s3_places *p, const char *bucket, const char *key, struct s3_place *ret,
                  struct err *err);
void s3_place_free(struct s3_place *p);
#define cleanup_s3_place RAC_CLEANUP(s3_place_free)
/* The server says the bucket is in that region. False if that is where we looked already. */
bool s3_place_learn(struct s3_places *p, const char *bucket, const char *region, const char *asked_region);
#endif
