// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_S3_CONFIG_H
#define RAC_S3_S3_CONFIG_H
/*
 * Where S3 is and how it is spoken to. s3_config_load takes it from the environment (and from the profile
 * files, for region and endpoint); the table s3_options is the list of what is read, for --help and docs.
 * Credentials are not in it: credentials.h finds them when they are needed.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/err.h"

enum s3_addressing {
    S3_ADDRESSING_AUTO,    /* virtual hosts at AWS, paths elsewhere */
    S3_ADDRESSING_PATH,    /* https://endpoint/bucket/key */
    S3_ADDRESSING_VIRTUAL, /* https://bucket.endpoint/key */
};

#define S3_REGION_DEFAULT "us-east-1"

struct s3_config {
    const char *agent; /* who asks, for User-Agent: "rac-fuse"; static */
    char *endpoint;    /* http(s)://host[:port][/path]; NULL: AWS, by region */
    char *region;      /* NULL: not said; S3_REGION_DEFAULT until the server says another */
    enum s3_addressing addressing;
    char *ca_file; /* PEM; NULL: the image's own bundle, then ours */
    char *sse;     /* x-amz-server-side-encryption of what is written: "AES256", "aws:kms"; NULL: none said */
    char *sse_kms_key_id;
    char *storage_class; /* NULL: the bucket's */
    char *tags;          /* FUSION_TAGS, see s3_tags.h; NULL: none */
    bool requester_pays;
    bool anonymous;           /* requests are not signed */
    bool checksums;           /* CRC32C of parts */
    uint64_t copy_max_bytes;  /* longer objects are copied in parts; S3's limit is 5 GiB */
    unsigned connections_max; /* to one endpoint, at once; a call waits for a free one */
    unsigned tries_max;
    uint32_t connect_timeout_ms;
    uint32_t answer_timeout_ms; /* from the end of the request to the first byte of the answer */
    uint32_t stall_timeout_ms;  /* without any byte, within a body */
};

struct s3_option {
    const char *names; /* environment variables, the first that is set and not empty; comma-separated */
    const char *help;
    int (*set)(struct s3_config *c, const char *value, struct err *err); /* ERR_INVALID says why not */
};
extern const struct s3_option s3_options[]; /* ends with names == NULL */

/* ERR_INVALID names the variable that is wrong. On failure *ret is zeroed. */
int s3_config_load(struct s3_config *ret, struct err *err);
void s3_config_defaults(struct s3_config *ret); /* as if the environment were empty */
void s3_config_free(struct s3_config *c);
#define cleanup_s3_config RAC_CLEANUP(s3_config_free)
#endif
