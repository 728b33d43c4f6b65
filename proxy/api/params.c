// SPDX-License-Identifier: Apache-2.0
#include "proxy/api/params.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/clock.h"
#include "common/timestamp.h"
#include "layers/reference.h"
#include "proxy/registry/target.h"

#define NAMES_MAX 16

int params_check(struct request *r, const char *const *names, struct err *err)
{
    bool seen[NAMES_MAX] = {false};
    struct slice rest = request_query(r);
    while (rest.p && rest.len) {
        struct slice value = slice_cut(&rest, '&'), key = slice_cut(&value, '=');
        size_t i = 0;
        while (names[i] && !slice_eq_str(key, names[i]))
            ++i;
        if (!names[i])
            return err_set(err, ERR_INVALID, "there is no parameter '%.*s' here",
                           (int)(key.len > 60 ? 60 : key.len), key.p);
        if (seen[i])
            return err_set(err, ERR_INVALID, "'%s' is given twice", names[i]);
        seen[i] = true;
        struct slice decoded = request_query_param(r, names[i]);
        if (!decoded.p)
            return err_set(err, ERR_INVALID, "'%s' is not well encoded", names[i]);
        if (!decoded.len)
            return err_set(err, ERR_INVALID, "'%s' is empty", names[i]);
    }
    return 0;
}

int params_text(struct request *r, const char *name, size_t max, const char **ret, struct err *err)
{
    struct slice value = request_query_param(r, name);
    *ret = NULL;
    if (!value.p)
        return 0;
    if (value.len > max)
        return err_set(err, ERR_INVALID, "'%s' is longer than %zu bytes", name, max);
    *ret = request_strdup(r, value);
    return 0;
}

int params_time(struct request *r, const char *name, int64_t *ret_ms, struct err *err)
{
    const char *text;
    uint64_t before_ms;
    if (params_text(r, name, 64, &text, err) < 0)
        return -1;
    if (!text || timestamp_parse(slice_of(text), ret_ms))
        return 0;
    int64_t now_ms = clock_wall_ms();
    if (str_parse_duration(text, &before_ms) && before_ms <= (uint64_t)now_ms) {
        *ret_ms = now_ms - (int64_t)before_ms;
        return 0;
    }
    return err_set(err, ERR_INVALID,
                   "'%s' is a time, as 2026-01-31T12:00:00Z, or how long ago it was, as 90s, 1h or 7d", name);
}

int params_uint(struct request *r, const char *name, uint64_t min, uint64_t max, uint64_t *ret,
                struct err *err)
{
    struct slice value = request_query_param(r, name);
    if (!value.p)
        return 0;
    if (!slice_to_u64(value, max, ret) || *ret < min)
        return err_set(err, ERR_INVALID, "'%s' is a number from %" PRIu64 " to %" PRIu64, name, min, max);
    return 0;
}

int params_image(struct api *api, struct request *r, const char *name, const char **ret, struct err *err)
{
    struct target *t;
    struct err why;
    if (params_text(r, name, REFERENCE_NAME_MAX, ret, err) < 0)
        return -1;
    if (!*ret)
        return 0;
    if (reference_check_name(slice_of(*ret), &why) < 0 && !strchr(*ret, ':'))
        return err_set(err, ERR_INVALID, "'%s': %s", name, why.msg);
    if (target_get(api->registry->worker(request_loop(r)), NULL, slice_of(*ret), (struct slice){NULL, 0}, &t,
                   &why) < 0) {
        if (why.code == ERR_DENIED && strchr(*ret, '/'))
            return 0; /* recorded while it was allowed, or never */
        return err_set(err, ERR_INVALID, "'%s' is an image's name without a tag: %s", name, why.msg);
    }
    *ret = request_strdup(r, slice_of(t->repo->canonical));
    target_unref(t);
    return 0;
}
