// SPDX-License-Identifier: Apache-2.0
/* What a token server answers, and URLs as an upstream names them (Location, realm) or as the environment
 * does: of any bytes, refused, or within what is promised of them. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "common/mem.h"
#include "proxy/upstream/env_proxy.h"
#include "proxy/upstream/token.h"
#include "proxy/upstream/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_token(const void *data, size_t size)
{
    struct err err = {0};
    cleanup_token struct token *t = NULL;
    if (token_parse(data, size, &t, &err) < 0) {
        assert(!t && err.code == ERR_UPSTREAM && err.msg[0]);
        return;
    }
    size_t len = strlen(t->value);
    assert(len > 0 && len <= TOKEN_MAX && t->keep_ms <= TOKEN_LIFE_MAX_S * 1000);
    for (const char *p = t->value; *p; ++p)
        assert(*p > ' ' && *p <= '~'); /* it goes into a header */
}

static void use_url(const struct url *u)
{
    cleanup_free char *text = url_format(u);
    cleanup_url struct url again = {0};
    assert(u->handle && u->port && u->host[0]);
    assert(strspn(u->host, "abcdefghijklmnopqrstuvwxyz0123456789._:-") == strlen(u->host));
    assert(strncmp(text, u->https ? "https://" : "http://", u->https ? 8 : 7) == 0 && !strpbrk(text, "\r\n"));
    assert(!memchr(text, ' ', strcspn(text, "#"))); /* a fragment goes nowhere */
    /* Escapes are longer than what they stand for; a Location may have a space in its fragment, a whole URL
     * may not. */
    if (strlen(text) > URL_MAX || strchr(text, ' '))
        return;
    assert(url_parse(text, &again, NULL) == 0);
    assert(url_same_origin(u, &again) && strcmp(u->host, again.host) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct url base;
    if (!base.handle && url_parse("https://registry.example:5443/v2/a/blobs/b?c=d", &base, NULL) < 0)
        abort();
    use_token(data, size);
    cleanup_free char *copy = mem_dup(data, size);
    cleanup_url struct url own = {0}, next = {0};
    if (url_parse(copy, &own, NULL) == 0) {
        use_url(&own);
        (void)env_proxy_excepts(copy, own.host);
    } else {
        assert(!own.handle);
    }
    if (url_follow(&base, copy, &next, NULL) == 0)
        use_url(&next);
    else
        assert(!next.handle);
    (void)env_proxy_excepts(copy, "registry.example");
    return 0;
}
