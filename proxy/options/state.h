// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_PROXY_OPTIONS_STATE_H
#define RAC_PROXY_OPTIONS_STATE_H
/* `state`: the URL of a Redis, which may hold a password, and state-password-file; and how the replicas on it
 * reach each other. Private to options_*. */
#include "common/str.h"
#include "proxy/options/options.h"

/* ERR_INVALID, which shows nothing of what stands before an @. */
int option_parse_state(const char *text, const char *where, struct err *err);
/* Without the password. NULL: nothing. */
void option_show_state(const char *url, struct buf *out);
/* "http://host:port" or "https://host", lower case, malloc'd. */
int option_parse_peer(const char *text, char **ret, const char *where, struct err *err);
/* Where blobs are shared. ERR_INVALID says what is wrong with it. */
int option_parse_blobs(const char *text, const char *where, struct err *err);
/* A size for redirects wants a bucket. */
int option_check_blobs(const struct options *o, struct err *err);
/* A user needs a password, one password is enough, and a configuration file is no place for it. Reads the
 * password's file. Peers have a state that they share, and can be reached. */
int option_check_state(struct options *o, struct err *err);
/* NULL is fine. */
void option_free_secret(char *s);
#endif
