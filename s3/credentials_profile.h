// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_CREDENTIALS_PROFILE_H
#define RAC_S3_CREDENTIALS_PROFILE_H
/* One profile of the AWS files (~/.aws/credentials and ~/.aws/config, or where
 * AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE say), as far as it matters here. */
#include <stdbool.h>

#include "common/err.h"
#include "common/str.h"

#define PROFILE_FILE_MAX ((size_t)1 << 20)

struct profile {
    /* Each malloc'd, NULL where the profile does not say. */
    char *access_key_id, *secret_access_key, *session_token;
    char *region, *endpoint_url;
    char *role_arn, *web_identity_token_file, *role_session_name;
};

/* Adds what `text` says of the profile `name` and *io does not say yet. In a config file the sections are
 * called "profile NAME", all but "default". What is no section or no setting is passed over. Pure. */
void profile_parse(struct profile *io, struct slice text, const char *name, bool is_config);
/* AWS_PROFILE, or AWS_DEFAULT_PROFILE, or "default"; keys come from the credentials file first. A file that
 * is not there is empty. Returns whether anything was said of it; -1 with ERR_IO for a file that cannot be
 * read. */
int profile_load(struct profile *ret, struct err *err);
void profile_free(struct profile *p);
#define cleanup_profile RAC_CLEANUP(profile_free)
#endif
