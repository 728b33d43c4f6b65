// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_HTTP_REQUEST_H
#define RAC_HTTP_REQUEST_H
/*
 * One HTTP request, from its head to the end of its answer. It lives and dies on one worker's loop; nothing
 * here may be called from another thread. Slices and strings are valid until the request is over.
 *
 * The request is over when its answer was sent whole, when the client left, or when the server ends: dispose
 * callbacks then run, once, whichever it was. They are the one place to drop references and to forget the
 * request.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/str.h"

struct request;

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_PATCH,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_OTHER,
};

enum http_method request_method(const struct request *r);
struct slice request_method_name(const struct request *r); /* as sent */
/* The path as it came over the wire: neither decoded nor normalised, without the query. Begins with '/'. */
struct slice request_path(const struct request *r);
struct slice request_query(const struct request *r); /* behind the '?', or empty */
/* Decoded value of a query parameter, in the request's memory; p == NULL if it is not there. "%00" is
 * refused: p == NULL. */
struct slice request_query_param(struct request *r, const char *name);
bool request_query_has(const struct request *r, const char *name); /* well encoded or not */
/* First header of that name (lower-case), or p == NULL. */
struct slice request_header(const struct request *r, const char *name);
/* The index-th header of that name, from 0 (clients send Accept in one line or in six), or p == NULL. Host is
 * there; Content-Length, Transfer-Encoding, Expect and Upgrade are the server's business and are not. */
struct slice request_header_at(const struct request *r, const char *name, unsigned index);
struct slice request_host(const struct request *r); /* Host header or :authority; may be empty */
struct slice request_body(const struct request *r); /* whole; at most the server's max_body_bytes */
bool request_is_tls(const struct request *r);
/* "192.0.2.1:4711", "[2001:db8::1]:4711" */
const char *request_peer(struct request *r);
/* The common name of the client's certificate, if it sent one that `tls.client-ca` vouches for, or NULL. Of
 * the connection: the same for all its requests. */
const char *request_client_name(const struct request *r);
/* 26 characters (ULID), made by us for each request; sent back as X-Request-Id. */
const char *request_id(const struct request *r);
/* Monotonic microseconds at which the head was there. */
uint64_t request_begin_us(const struct request *r);

struct loop *request_loop(const struct request *r);

void *request_alloc(struct request *r, size_t size); /* zeroed; freed with the request */
char *request_strdup(struct request *r, struct slice s);
/* Adds a callback for the end of the request; the last added runs first. */
void request_on_dispose(struct request *r, void (*fn)(void *arg), void *arg);

/* Who the request was found to be from: whatever the server's owner makes of it; NULL at first. */
void request_set_user(struct request *r, const void *user);
const void *request_user(const struct request *r);

/* For the access log and metrics; a room may set the label of its route once ("manifests", "blobs", …; static
 * string). */
void request_set_route(struct request *r, const char *route);
const char *request_route(const struct request *r); /* NULL: none was set */
/* Free-form field for the access log line, a few at most; both strings must outlive the request (key static).
 */
void request_log_field(struct request *r, const char *key, struct slice value);
/* Copies them to `out`, in the order they were added; returns how many, `max` at most. */
unsigned request_log_fields(const struct request *r, struct log_field *out, unsigned max);
#endif
