// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_API_JOURNAL_CALL_H
#define RAC_API_JOURNAL_CALL_H
/* A question to the journal of pull records in the name of a request: asked on a thread of the records, which
 * it blocks, answered on the request's loop, if that request is still there. */
#include "proxy/api/api.h"
#include "proxy/records/records.h"

struct journal_call {
    unsigned refs;     /* the request's, and the answer's */
    struct request *r; /* NULL: gone */
    struct records *records;
    struct buf body; /* JSON */
    /* On the records' thread: fills body. Arguments that it needs are behind the struct, not in the request.
     */
    int (*run)(struct journal_call *c, struct err *err);
    bool failed;
    struct err err;
};

/* Asks. A call of `size` bytes, of which struct journal_call is the first member: `read` fills in the
 * arguments from the request, and may fail; `run` is as above. Records that are off, too much that waits, a
 * request that cannot be read: answered here. */
void journal_call_serve(struct api *api, struct request *r, size_t size,
                        int (*read)(struct api *api, struct request *r, struct journal_call *c,
                                    struct err *err),
                        int (*run)(struct journal_call *c, struct err *err));
#endif
