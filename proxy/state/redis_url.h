// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_STATE_REDIS_URL_H
#define RAC_STATE_REDIS_URL_H
/*
 * Where a Redis is, as one writes it:
 *
 *     redis://[[user]:password@]host[:port][/db]
 *     redis+unix://[[user]:password@]/path/to/socket[?db=N]
 *     redis+sentinel://[[user]:password@]host[:port][,host[:port]…]/name[/db]
 *
 * Of the last, the hosts are Sentinels (port 26379 if not said), asked one after the other for the address of
 * the primary that they watch under that name; user and password are those of the primary. User, password
 * and socket may be percent-encoded; an IPv6 address stands in brackets. A user alone (user@) is one whose
 * password comes another way.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

#define REDIS_URL_HOSTS_MAX 16

struct redis_host {
    char *name; /* without brackets */
    uint16_t port;
};

struct redis_url {
    char *user, *password; /* NULL: not said */
    struct redis_host *hosts;
    unsigned host_count; /* 1 but with Sentinels; 0 with a socket */
    char *socket;        /* NULL: none */
    char *primary;       /* the name that Sentinels know it by; NULL: no Sentinels */
    unsigned db;
    char *shown; /* the URL without user and password: for logs and messages */
};

/* ERR_INVALID, with a message that shows nothing of what stands before an @. *ret is written on success. */
int redis_url_parse(const char *text, struct redis_url *ret, struct err *err);
/* Zeroed is fine. */
void redis_url_clear(struct redis_url *u);
#endif
