// SPDX-License-Identifier: Apache-2.0
/*
 * h2o answers some requests itself, before any handler: a body over the limit (413), a broken chunk (400), an
 * unknown expectation (417). Its answer is plain text that a registry client cannot read. All of these come
 * through the fallback path's filters, and none through a handler: so a filter there swaps the answer for
 * ours, and gives the request its X-Request-Id and its line in the access log.
 */
#include "proxy/http/http_impl.h"

struct swap {
    h2o_ostream_t super;
    struct request *request;
};

static void send_ours(h2o_ostream_t *self, h2o_req_t *req, h2o_iovec_t *bufs, size_t bufcnt,
                      h2o_send_state_t state)
{
    (void)bufs;
    (void)bufcnt;
    (void)state;
    struct request *r = ((struct swap *)self)->request;
    h2o_ostream_send_next(self, req, &r->whole, r->sent > 0, H2O_SEND_STATE_FINAL);
}

static void on_answer(h2o_filter_t *self, h2o_req_t *req, h2o_ostream_t **slot)
{
    (void)self;
    if (req->version < 0x200 && !conn_of(req)->current) {
        linger_keep(conn_of(req));
        struct request *r = request_new(conn_of(req), req);
        int status = req->res.status;
        r->is_captured = true;
        req->res.headers.size = 0;
        request_refuse(r, status,
                       status == 413   ? "the body of the request is too large"
                       : status == 417 ? "the only expectation here is 100-continue"
                                       : "the body of the request is not what its headers say");
        assert(r->state == REQUEST_LAST); /* config.refuse sends a whole answer */
        struct swap *s = (struct swap *)h2o_add_ostream(req, sizeof *s, slot);
        s->super.do_send = send_ours;
        s->request = r;
        slot = &s->super.next;
    }
    h2o_setup_next_ostream(req, slot);
}

void refusal_register(h2o_pathconf_t *fallback)
{
    h2o_create_filter(fallback, sizeof(h2o_filter_t))->on_setup_ostream = on_answer;
}
