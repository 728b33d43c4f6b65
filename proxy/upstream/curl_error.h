// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_UPSTREAM_CURL_ERROR_H
#define RAC_UPSTREAM_CURL_ERROR_H
/* What a failure of curl means for who runs the proxy: who, where, why, and what to do. Private to
 * proxy/upstream. */
#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

struct curl_failure {
    const char *who, *host; /* "docker.io", "registry-1.docker.io" */
    uint16_t port;
    const char *ca_file; /* NULL: the system's */
    uint32_t connect_timeout_ms;
    bool proxied, has_head;
    uint64_t body_bytes;
    int64_t content_length; /* -1: not said */
    const char *text;       /* curl's own, "" if none */
    CURL *easy;             /* still as it ended; NULL in tests */
};

/* ERR_TIMEOUT for a connect that took too long, else ERR_UPSTREAM. */
void curl_error_set(struct err *err, CURLcode code, const struct curl_failure *f);
/* The bundle of certificates that curl was built to use. */
const char *curl_error_system_ca(void);
#endif
