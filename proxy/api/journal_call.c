// SPDX-License-Identifier: Apache-2.0
#include "proxy/api/journal_call.h"

#include <stdlib.h>

#include "common/mem.h"

#define WAITING_MAX 64

static void call_unref(struct journal_call *c)
{
    if (--c->refs)
        return;
    buf_free(&c->body);
    free(c);
}

static void on_request_over(void *arg)
{
    struct journal_call *c = arg;
    c->r = NULL;
    call_unref(c);
}

void *journal_call_new(struct api *api, struct request *r, size_t size,
                       int (*run)(struct journal_call *c, struct err *err))
{
    struct err err;
    if (!api->records) {
        api_message(r, 503, "pulls are not recorded here (pulls.record)");
        return NULL;
    }
    if (jobs_waiting(records_jobs(api->records)) >= WAITING_MAX) {
        (void)err_set(&err, ERR_OVERLOADED, "too many questions about pull records at once: try again");
        err.retry_after_s = 1;
        api_err(r, &err);
        return NULL;
    }
    struct journal_call *c = mem_zalloc(size);
    c->refs = 1;
    c->r = r;
    c->records = api->records;
    c->run = run;
    return c;
}

void journal_call_drop(struct journal_call *c)
{
    call_unref(c);
}

static void run(void *arg)
{
    struct journal_call *c = arg;
    c->failed = c->run(c, &c->err) < 0;
}

static void done(void *arg)
{
    struct journal_call *c = arg;
    if (c->r && c->failed)
        api_err(c->r, &c->err);
    else if (c->r)
        api_json(c->r, 200, c->body.p, c->body.len);
    call_unref(c);
}

void journal_call_start(struct journal_call *c)
{
    ++c->refs;
    request_on_dispose(c->r, on_request_over, c);
    jobs_submit(records_jobs(c->records), request_loop(c->r), run, done, c);
}
