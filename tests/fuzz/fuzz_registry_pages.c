// SPDX-License-Identifier: Apache-2.0
/* A Link header of an upstream's, and behind a line end the value of `ns`: what becomes of them is one header
 * under our own name, or none. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "proxy/http/response.h"
#include "proxy/registry/pages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PATH "/v2/library/busybox/tags/list"

static char *sent;

/* In place of the server's: what pages_link answers is kept here. */
void response_header(struct request *r, const char *name, struct slice value)
{
    (void)r;
    assert(strcmp(name, "Link") == 0 && !sent);
    sent = mem_dup(value.p, value.len);
    assert(strlen(sent) == value.len);
}

static void check(const char *link)
{
    static const char begin[] = "<" PATH "?", end[] = ">; rel=\"next\"";
    size_t len = strlen(link);
    assert(len > strlen(begin) + strlen(end) && strncmp(link, begin, strlen(begin)) == 0);
    assert(strcmp(link + len - strlen(end), end) == 0);
    for (const char *p = link; p < link + len - strlen(end); ++p)
        assert(*p > ' ' && *p <= '~' && *p != '"' && *p != '#' && (p == link || *p != '<') && *p != '>');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *text = mem_dup(data, size);
    struct slice ns = {text, size}, link = slice_cut(&ns, '\n');
    cleanup_free char *header = mem_dup(link.p, link.len), *name = ns.p ? mem_dup(ns.p, ns.len) : NULL;
    pages_link(NULL, PATH, name, header);
    if (sent) {
        check(sent);
        /* What we announced means the same when it comes back, but for `ns`, which is said once. */
        char *first = sent;
        sent = NULL;
        pages_link(NULL, PATH, name, first);
        assert(sent && strcmp(first, sent) == 0);
        free(first);
    }
    free(sent);
    sent = NULL;
    return 0;
}
