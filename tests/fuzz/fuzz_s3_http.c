// SPDX-License-Identifier: Apache-2.0
/* A whole answer as a server might send it: head, then a chunked body in pieces whose sizes come from the
 * input. */
#include <assert.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "s3/http_head.h"
#include "s3/s3_error.h"
#include "s3/s3_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_head(const struct http_head *h)
{
    struct http_range r;
    int64_t ms;
    assert(h->status >= 100 && h->status <= 999 && !(h->chunked && h->has_length));
    if (http_range_parse(http_head_get(h, "content-range"), &r) && r.known_range)
        assert(r.first <= r.last && r.last < r.total);
    assert(http_retry_after(http_head_get(h, "retry-after"), 0) <= 3600);
    (void)http_date_parse(http_head_get(h, "date"), &ms);
}

static void use_chunked(const uint8_t *p, size_t len, size_t step)
{
    struct http_chunked c = {0};
    while (len && c.state != HTTP_CHUNK_DONE) {
        size_t n = len < step ? len : step;
        cleanup_free char *copy = mem_alloc(n);
        struct slice out;
        memcpy(copy, p, n);
        ptrdiff_t used = http_chunked_next(&c, copy, n, &out, NULL);
        if (used < 0)
            return;
        assert(used > 0 && (size_t)used <= n && out.len <= (size_t)used);
        p += used;
        len -= (size_t)used;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_head h = {0};
    struct s3_url u;
    struct s3_problem problem;
    cleanup_free char *copy = mem_alloc(size);
    memcpy(copy, data, size);
    size_t end = http_head_end(copy, size);
    assert(end <= size);
    if (end && http_head_parse(&h, copy, end, NULL) == 0) {
        use_head(&h);
        s3_problem_read(&problem, &h, (struct slice){copy + end, size - end});
        assert(!problem.region[strspn(problem.region, "abcdefghijklmnopqrstuvwxyz0123456789-_")]);
    }
    http_head_free(&h);
    use_chunked(data + end, size - end, size ? data[0] % 64 + 1U : 1);
    cleanup_free char *text = mem_dup(data, size);
    if (s3_url_parse(text, &u, NULL) == 0)
        assert(u.host[0] && u.port && (!u.target[0] || u.target[0] == '/'));
    return 0;
}
