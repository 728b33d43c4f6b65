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

/* A call of `size` bytes, of which struct journal_call is the first member; NULL: the request is answered
 * already (records are off, or too much waits). */
void *journal_call_new(struct api *api, struct request *r, size_t size,
                       int (*run)(struct journal_call *c, struct err *err));
void journal_call_start(struct journal_call *c);
/* The call will not be started: its request is answered. */
void journal_call_drop(struct journal_call *c);
#endif
