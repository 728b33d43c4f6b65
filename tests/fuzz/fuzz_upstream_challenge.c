// SPDX-License-Identifier: Apache-2.0
/* WWW-Authenticate and whole heads from an upstream, and what becomes of the challenge: realm, scope,
 * redirect target. */
#include <assert.h>
#include <stdint.h>

#include "common/mem.h"
#include "proxy/upstream/answer.h"
#include "proxy/upstream/realm.h"
#include "proxy/upstream/redirect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct upstream *upstream;
static struct url own;

static void start(void)
{
    static const uint8_t key[32];
    struct upstream_config config = {
        .name = "up", .url = "https://registry.example", .username = "user", .password = "secret"};
    if (upstream_new(&config, key, &upstream, NULL) < 0 || url_parse(upstream->url, &own, NULL) < 0)
        abort();
}

static void use_challenge(const struct challenge *c)
{
    struct realm realm = {0};
    assert(memchr(c->realm, '\0', sizeof c->realm) && memchr(c->service, '\0', sizeof c->service) &&
           memchr(c->scope, '\0', sizeof c->scope));
    if (!c->bearer || realm_of(upstream, &own, c, "library/busybox", &realm, NULL) < 0)
        return;
    /* Whatever it said: it is https, and our credentials stay on our site. */
    assert(realm.url.https);
    static const char below[] = ".registry.example";
    bool ours = strcmp(realm.url.host, below + 1) == 0 || slice_ends_with(slice_of(realm.url.host), below);
    assert(!realm.credentials || ours);
    url_free(&realm.url);
}

static void use_head(const uint8_t *data, size_t size)
{
    struct answer a = {0};
    struct slice rest = {(const char *)data, size};
    int rc = 0;
    while (rest.p && rc == 0) {
        struct slice line = slice_cut(&rest, '\n');
        cleanup_free char *copy = mem_dup(line.p, line.len); /* its end is where the sanitizer sees it */
        rc = answer_line(&a, copy, line.len, NULL);
    }
    struct url to = {0};
    if (a.location && redirect_follow(&own, a.location, 0, &to, NULL) == 0) {
        assert(to.https && to.port != 0 && to.host[0]);
        url_free(&to);
    }
    if (a.head.has_range)
        assert(a.head.range_first <= a.head.range_last && a.head.range_last < a.head.range_total);
    assert(a.head.retry_after_s <= 86400);
    use_challenge(&a.challenge);
    answer_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!upstream)
        start();
    struct challenge c = {0};
    cleanup_free char *copy = mem_dup(data, size);
    if (challenge_parse((struct slice){copy, size}, &c, NULL) == 0)
        use_challenge(&c);
    else
        assert(!c.bearer && !c.basic);
    use_head(data, size);
    return 0;
}
