// SPDX-License-Identifier: Apache-2.0
#include "proxy/api/ready.h"

#include <stdlib.h>

#include "common/mem.h"
#include "proxy/http/response.h"

struct check {
    unsigned refs;     /* the request's, and one for each answer that is awaited */
    struct request *r; /* NULL: gone */
    unsigned waiting;
    bool state_failed, store_failed;
    struct err state_err, store_err;
};

static void check_unref(struct check *c)
{
    if (--c->refs == 0)
        free(c);
}

static void on_request_over(void *arg)
{
    struct check *c = arg;
    c->r = NULL;
    check_unref(c);
}

static void answered(struct check *c)
{
    char message[2 * ERR_MSG_MAX + 64];
    if (--c->waiting == 0 && c->r) {
        (void)snprintf(message, sizeof message, "not ready: %s%s%s%s", c->state_failed ? "state: " : "",
                       c->state_failed ? c->state_err.msg : "", c->store_failed ? " blob store: " : "",
                       c->store_failed ? c->store_err.msg : "");
        bool failed = c->state_failed || c->store_failed;
        api_message(c->r, failed ? 503 : 200, failed ? message : "ready");
    }
    check_unref(c);
}

static void on_state(void *arg, const struct err *err)
{
    struct check *c = arg;
    c->state_failed = err != NULL;
    if (err)
        c->state_err = *err;
    answered(c);
}

static void on_store(void *arg, const struct err *err)
{
    struct check *c = arg;
    c->store_failed = err != NULL;
    if (err)
        c->store_err = *err;
    answered(c);
}

/* ?exclude=state */
static int read_query(struct request *r, bool *ret_without_state, struct err *err)
{
    struct slice excluded = request_query_param(r, "exclude");
    if (excluded.p && !slice_eq_str(excluded, "state"))
        return err_set(err, ERR_INVALID, "'exclude' is 'state', or not given");
    *ret_without_state = excluded.p != NULL;
    return 0;
}

void ready_handle(struct api *api, struct request *r)
{
    bool without_state = false;
    struct err err;
    if (read_query(r, &without_state, &err) < 0) {
        api_message(r, 400, err.msg);
        return;
    }
    struct check *c = mem_new(struct check);
    c->waiting = without_state ? 1 : 2;
    c->refs = 1 + c->waiting;
    c->r = r;
    request_on_dispose(r, on_request_over, c);
    if (!without_state)
        api->env->state->ops->check(api->env->state, request_loop(r), on_state, c);
    api->env->store->ops->check(api->env->store, request_loop(r), on_store, c);
}
