// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_HTTP_RESPONSE_H
#define RAC_HTTP_RESPONSE_H
/*
 * The answer to a request: headers first, then one of response_send* (a whole body in memory) or
 * response_begin (a stream). Exactly one answer per request; a second is an assert. All on the request's
 * loop, inside one of its callbacks.
 *
 * HEAD: give the same calls as for GET; no body leaves, Content-Length does.
 *
 * Content-Length is known here, but for a stream whose end nobody knows (server-sent events): RESPONSE_OPEN
 * in its place sends the body in chunks (RFC 9112 section 7.1), or to an HTTP/1.0 client until the connection
 * closes.
 *
 * A stream pulls: pull() is called when everything given before has left for the kernel, and answers, at once
 * or later, with exactly one of response_write, response_write_file, response_end or response_abort. That is
 * the back-pressure: memory per reader is what one write holds. A reader that takes nothing for
 * `slow_reader_timeout` is cut off; a pull that has not been answered is not the reader's fault and does not
 * count.
 */
#include <stdbool.h>
#include <stdint.h>

#include "proxy/http/request.h"

/* Adds a header; `name` in its usual spelling ("Docker-Content-Digest"), static; the value is copied. */
void response_header(struct request *r, const char *name, struct slice value);
/* As above, but the value must stay valid until the request is over: no copy. */
void response_header_ref(struct request *r, const char *name, struct slice value);

/* Body copied into the request's memory. The request may be gone when these two return. */
void response_send(struct request *r, int status, const void *body, size_t len);
/* Body must stay valid until the request is over. */
void response_send_ref(struct request *r, int status, const void *body, size_t len);

struct response_stream {
    /* See above. Never called again after response_end or response_abort. */
    void (*pull)(struct request *r, void *arg);
    void *arg;
};

#define RESPONSE_OPEN UINT64_MAX

/* Begins a streamed answer of exactly content_length bytes, or RESPONSE_OPEN; pull follows, soon, never from
 * inside this call. For HEAD the answer is over after this call (and pull never comes). The request may be
 * gone when it returns. */
void response_begin(struct request *r, int status, uint64_t content_length, struct response_stream stream);
/* The next bytes; they must stay valid and unchanged until the next pull or the end of the request. len > 0.
 */
void response_write(struct request *r, const void *p, size_t len);
/* The next bytes are [offset, offset + len) of a file; the descriptor must stay open until the next pull or
 * the end of the request. By sendfile where the connection allows it. The file must hold them: a short read
 * aborts the answer and calls on_short if that is not NULL (a stored blob that is damaged). len may be large:
 * it is sent in fair turns. */
void response_write_file(struct request *r, int fd, uint64_t offset, uint64_t len,
                         void (*on_short)(void *arg), void *arg);
/* All bytes were written. Asserts that they add up to content_length, if that was known. The request may be
 * gone when it returns. */
void response_end(struct request *r);
/* Ends the connection by reset (RST), so that no reader takes what it has for complete. The request may be
 * gone after. At any time before the end, before an answer too; while bytes are on their way it takes effect
 * at the next turn of the loop. */
void response_abort(struct request *r);

bool response_started(const struct request *r);
int response_status(const struct request *r);          /* 0 before */
uint64_t response_bytes_sent(const struct request *r); /* body bytes handed to the kernel */
#endif
