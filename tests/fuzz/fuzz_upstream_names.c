// SPDX-License-Identifier: Apache-2.0
/* A name, and behind a line end the value of `ns`: whatever they are, only a configured upstream is meant by
 * them. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/mem.h"
#include "proxy/upstream/names.h"
#include "proxy/upstream/upstream.h"
#include "proxy/upstream/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct upstream_set *strict, *any;

static struct upstream_set *make_set(bool allow_any)
{
    static const uint8_t key[32];
    struct upstream_set *s = upstream_set_new(allow_any);
    struct upstream *u = NULL;
    struct upstream_config config = {.name = "edge", .url = "http://127.0.0.1:5000/prefix", .by_hand = true};
    if (upstream_set_add_known(s, key, NULL) < 0 || upstream_new(&config, key, &u, NULL) < 0)
        abort();
    upstream_set_add(s, u);
    upstream_unref(u);
    return s;
}

static bool is_member(const struct upstream_set *s, const struct upstream *u)
{
    for (size_t i = 0; i < upstream_set_count(s); ++i) {
        if (upstream_set_at(s, i) == u)
            return true;
    }
    return false;
}

static void resolve(struct upstream_set *s, bool allow_any, struct slice name, struct slice ns)
{
    struct upstream_name got;
    struct err err = {0};
    if (upstream_resolve(s, name, ns, &got, &err) < 0) {
        assert(err.code == ERR_DENIED || err.code == ERR_NAME_INVALID);
        return;
    }
    assert(is_member(s, got.upstream) || (allow_any && !got.upstream->by_hand && !got.upstream->username));
    assert(names_check_repository(slice_of(got.repository), NULL) == 0);
    assert(!strstr(got.repository, "..") || !strstr(got.repository, "/../"));
    cleanup_free char *joined = mem_printf("%s/%s", got.upstream->name, got.repository);
    assert(strcmp(joined, got.canonical) == 0);
    /* The path that comes of it is on the upstream's own place. */
    cleanup_free char *text = mem_printf("%s/v2/%s/tags/list", got.upstream->url, got.repository);
    cleanup_url struct url own = {0}, url = {0};
    assert(url_parse(got.upstream->url, &own, NULL) == 0 && url_parse(text, &url, NULL) == 0);
    assert(url_same_origin(&own, &url));
    cleanup_free char *back = url_format(&url);
    assert(strcmp(back, text) == 0);
    upstream_unref(got.upstream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!strict) {
        strict = make_set(false);
        any = make_set(true);
    }
    cleanup_free char *copy = mem_dup(data, size);
    struct slice ns = {copy, size}, name = slice_cut(&ns, '\n');
    resolve(strict, false, name, ns);
    resolve(any, true, name, ns);
    return 0;
}
