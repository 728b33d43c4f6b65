// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/url.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "proxy/upstream/curl_start.h"

void url_free(struct url *url)
{
    curl_url_cleanup(url->handle);
    free(url->host);
    *url = (struct url){0};
}

static void cleanup_curl_string_fn(char **s)
{
    curl_free(*s);
}
#define cleanup_curl_string RAC_CLEANUP(cleanup_curl_string_fn)

static bool has_part(CURLU *h, CURLUPart part)
{
    cleanup_curl_string char *s = NULL;
    return curl_url_get(h, part, &s, 0) == CURLUE_OK && s != NULL;
}

static bool host_ok(const char *s)
{
    size_t len = strlen(s);
    if (len == 0 || len > 255)
        return false;
    for (size_t i = 0; i < len; ++i) {
        char c = s[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_' ||
              c == ':'))
            return false;
    }
    return true;
}

/* An address in another form than curl gives them: "33332", of an escaped digit that curl undid too late to
 * see that it is one. The same text would be another host when it is parsed again. */
static bool odd_address(const char *host)
{
    struct in_addr a;
    char text[INET_ADDRSTRLEN];
    return inet_aton(host, &a) && strcmp(inet_ntop(AF_INET, &a, text, sizeof text), host) != 0;
}

/* Fills the members from url->handle, and checks what curl does not. */
static int read_parts(struct url *url, struct err *err)
{
    cleanup_curl_string char *scheme = NULL, *host = NULL, *port = NULL;
    if (curl_url_get(url->handle, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
        return err_set(err, ERR_INVALID, "has no scheme: it must begin with https:// or http://");
    if (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0)
        return err_set(err, ERR_INVALID, "scheme '%.20s' is neither https nor http", scheme);
    url->https = scheme[4] == 's';
    if (has_part(url->handle, CURLUPART_USER) || has_part(url->handle, CURLUPART_PASSWORD))
        return err_set(err, ERR_INVALID, "has user info in it, which is refused");
    if (has_part(url->handle, CURLUPART_ZONEID))
        return err_set(err, ERR_INVALID, "has an IPv6 zone in it, which is refused");
    if (curl_url_get(url->handle, CURLUPART_HOST, &host, 0) != CURLUE_OK)
        return err_set(err, ERR_INVALID, "has no host");
    uint64_t number = 0;
    if (curl_url_get(url->handle, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK ||
        !slice_to_u64(slice_of(port), 65535, &number) || number == 0)
        return err_set(err, ERR_INVALID, "has a port that is none");
    url->port = (uint16_t)number;
    bool lowered = false;
    for (char *p = host; *p; ++p) {
        if (*p >= 'A' && *p <= 'Z') {
            *p = (char)(*p + ('a' - 'A'));
            lowered = true;
        }
    }
    if (lowered && curl_url_set(url->handle, CURLUPART_HOST, host, 0) != CURLUE_OK)
        return err_set(err, ERR_INVALID, "has characters in its host that are refused");
    size_t len = strlen(host);
    bool brackets = len > 2 && host[0] == '[' && host[len - 1] == ']';
    url->host = brackets ? mem_strndup(host + 1, len - 2) : mem_strdup(host);
    if (!host_ok(url->host) || odd_address(url->host))
        return err_set(err, ERR_INVALID, "has characters in its host that are refused");
    return 0;
}

static int parse(CURLU *handle, const char *text, unsigned flags, struct url *ret, struct err *err)
{
    cleanup_url struct url url = {.handle = handle};
    if (!handle)
        return err_set(err, ERR_INTERNAL, "out of memory");
    if (strlen(text) > URL_MAX)
        return err_set(err, ERR_INVALID, "is longer than %zu bytes", URL_MAX);
    CURLUcode rc = curl_url_set(handle, CURLUPART_URL, text, flags);
    if (rc == CURLUE_USER_NOT_ALLOWED)
        return err_set(err, ERR_INVALID, "has user info in it, which is refused");
    if (rc == CURLUE_UNSUPPORTED_SCHEME)
        return err_set(err, ERR_INVALID, "scheme is neither https nor http");
    if (rc != CURLUE_OK)
        return err_set(err, ERR_INVALID, "is not an absolute URL (%s)", curl_url_strerror(rc));
    if (read_parts(&url, err) < 0)
        return -1;
    *ret = url;
    url = (struct url){0};
    return 0;
}

int url_parse(const char *text, struct url *ret, struct err *err)
{
    curl_start();
    return parse(curl_url(), text, CURLU_DISALLOW_USER, ret, err);
}

int url_follow(const struct url *base, const char *location, struct url *ret, struct err *err)
{
    /* As browsers do, a space or a byte past ASCII in a Location is encoded rather than refused. */
    return parse(curl_url_dup(base->handle), location,
                 CURLU_DISALLOW_USER | CURLU_URLENCODE | CURLU_ALLOW_SPACE, ret, err);
}

int url_dup(const struct url *url, struct url *ret, struct err *err)
{
    CURLU *handle = curl_url_dup(url->handle);
    if (!handle)
        return err_set(err, ERR_INTERNAL, "out of memory");
    *ret =
        (struct url){.handle = handle, .https = url->https, .port = url->port, .host = mem_strdup(url->host)};
    return 0;
}

int url_add_query(struct url *url, const char *name, const char *value, struct err *err)
{
    cleanup_buf struct buf b = {.max = 2 * URL_MAX};
    (void)buf_printf(&b, "%s=", name);
    (void)buf_add_url_escaped(&b, slice_of(value));
    if (b.overflow || curl_url_set(url->handle, CURLUPART_QUERY, buf_str(&b), CURLU_APPENDQUERY) != CURLUE_OK)
        return err_set(err, ERR_INVALID, "query does not fit");
    return 0;
}

bool url_has_query(const struct url *url)
{
    return has_part(url->handle, CURLUPART_QUERY) || has_part(url->handle, CURLUPART_FRAGMENT);
}

bool url_same_place(const struct url *a, const struct url *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

bool url_same_origin(const struct url *a, const struct url *b)
{
    return a->https == b->https && url_same_place(a, b);
}

char *url_format(const struct url *url)
{
    cleanup_curl_string char *s = NULL;
    CURLUcode rc = curl_url_get(url->handle, CURLUPART_URL, &s, CURLU_NO_DEFAULT_PORT);
    assert(rc == CURLUE_OK);
    return mem_strdup(s);
}
