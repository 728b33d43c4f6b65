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

static int check_room(struct api *api, struct err *err)
{
    if (jobs_waiting(records_jobs(api->records)) < WAITING_MAX)
        return 0;
    (void)err_set(err, ERR_OVERLOADED, "too many questions about pull records at once: try again");
    err->retry_after_s = 1;
    return -1;
}

void journal_call_serve(struct api *api, struct request *r, size_t size,
                        int (*read)(struct api *api, struct request *r, struct journal_call *c,
                                    struct err *err),
                        int (*run_call)(struct journal_call *c, struct err *err))
{
    struct err err;
    if (!api->records) {
        api_message(r, 503, "pulls are not recorded here (pulls.record)");
        return;
    }
    struct journal_call *c = mem_zalloc(size);
    *c = (struct journal_call){.refs = 1, .r = r, .records = api->records, .run = run_call};
    if (check_room(api, &err) < 0 || read(api, r, c, &err) < 0) {
        call_unref(c);
        api_err(r, &err);
        return;
    }
    ++c->refs;
    request_on_dispose(r, on_request_over, c);
    jobs_submit(records_jobs(c->records), request_loop(r), run, done, c);
}
