// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <unistd.h>

#include "common/str.h"
#include "proxy/app_impl.h"
#include "proxy/cache/s3_gc.h"

static void show(const struct s3_gc *g, void *arg)
{
    char size[32];
    (void)arg;
    if (isatty(2))
        (void)fprintf(stderr, "\r%llu blobs, %s, %llu old ", (unsigned long long)g->blobs,
                      str_format_size(g->bytes, size, sizeof size), (unsigned long long)g->old);
}

int app_gc_s3(const struct options *o, struct err *err)
{
    struct s3_gc g;
    char size[32], old_size[32];
    uint64_t age_ms = 0;
    (void)str_parse_duration(o->action_older, &age_ms);
    log_start(2, o->log_level, o->log_format);
    int rc = s3_blobs_gc(o->blobs_url, age_ms, o->action_dry, show, NULL, &g, err);
    log_stop();
    if (isatty(2))
        (void)fputc('\n', stderr);
    if (rc < 0)
        return -1;
    (void)printf("%llu blobs, %s; %s %llu, %s, and %llu unfinished uploads; %llu other objects left alone\n",
                 (unsigned long long)g.blobs, str_format_size(g.bytes, size, sizeof size),
                 o->action_dry ? "would delete" : "deleted", (unsigned long long)g.old,
                 str_format_size(g.old_bytes, old_size, sizeof old_size), (unsigned long long)g.uploads,
                 (unsigned long long)g.others);
    return g.failed ? err_set(err, ERR_IO, "%llu of them could not be deleted", (unsigned long long)g.failed)
                    : 0;
}
