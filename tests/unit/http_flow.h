// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TESTS_HTTP_FLOW_H
#define RAC_TESTS_HTTP_FLOW_H
/* Answers that come in pieces, from memory or from a file, with bytes that a client can check. */
#include "tests/unit/http_client.h"

#include <fcntl.h>

#include "common/cleanup.h"

/* One answer that a test watches. */
struct flow {
    struct request *request; /* NULL once it is over */
    struct loop *loop;
    uint64_t size, at;
    size_t step;
    int file; /* -1: from memory */
    char *mem;
    atomic_int pulls, disposed, shorts, answered;
    atomic_bool waiting; /* a pull that was not answered */
    bool hold;           /* leave pulls unanswered */
    uint64_t abort_at;   /* 0: never */
    void *arg;
};

static inline void flow_step(struct flow *f)
{
    f->waiting = false;
    uint64_t left = f->size - f->at, n = left < f->step ? left : f->step;
    if (f->abort_at && f->at >= f->abort_at) {
        response_abort(f->request);
        return;
    }
    if (left == 0) {
        response_end(f->request);
        return;
    }
    uint64_t at = f->at;
    f->at += n;
    if (f->file >= 0) {
        response_write_file(f->request, f->file, at, n, NULL, NULL);
    } else {
        pattern_fill(f->mem, at, (size_t)n);
        response_write(f->request, f->mem, (size_t)n);
    }
}

static inline void flow_pull(struct request *r, void *arg)
{
    struct flow *f = arg;
    assert_ptr_equal(f->request, r);
    assert_false(f->waiting);
    atomic_fetch_add(&f->pulls, 1);
    f->waiting = true;
    if (!f->hold)
        flow_step(f);
}

static inline void flow_gone(void *arg)
{
    struct flow *f = arg;
    f->request = NULL;
    f->waiting = false;
    atomic_fetch_add(&f->disposed, 1);
}

static inline void flow_begin(struct request *r, struct site *s)
{
    struct flow *f = s->data;
    assert_null(f->request);
    f->request = r;
    f->loop = request_loop(r);
    f->at = 0;
    request_on_dispose(r, flow_gone, f);
    atomic_fetch_add(&f->answered, 1);
    response_begin(r, 200, f->size, (struct response_stream){.pull = flow_pull, .arg = f});
}

/* A file of `size` patterned bytes that has no name any more. */
static inline int pattern_file(uint64_t size)
{
    char name[] = "/tmp/rac-test-XXXXXX";
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    (void)unlink(name);
    char buf[65536];
    for (uint64_t at = 0; at < size;) {
        size_t n = size - at < sizeof buf ? (size_t)(size - at) : sizeof buf;
        pattern_fill(buf, at, n);
        assert_int_equal(write(fd, buf, n), (ssize_t)n);
        at += n;
    }
    return fd;
}

static inline void flow_init(struct flow *f, struct site *s, uint64_t size, size_t step)
{
    memset(f, 0, sizeof *f);
    f->size = size;
    f->step = step;
    f->file = -1;
    f->mem = mem_zalloc(step);
    site_init(s, flow_begin);
    s->data = f;
}

static inline void flow_free(struct flow *f)
{
    free(f->mem);
    if (f->file >= 0)
        (void)close(f->file);
}

static inline void expect_whole(struct client *c, uint64_t size)
{
    struct answer a;
    client_get(c, "/");
    client_head(c, &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.length, size);
    assert_int_equal(client_pattern(c, 0, size), size);
}

static inline void whole_body(struct request *r, struct site *s)
{
    struct flow *f = s->data;
    if (slice_eq_str(request_path(r), "/copy"))
        response_send(r, 200, f->mem, (size_t)f->size);
    else
        response_send_ref(r, 200, f->mem, (size_t)f->size);
}

static inline void step_later(void *arg)
{
    struct flow *f = arg;
    if (f->request && f->waiting)
        flow_step(f);
}
#endif
