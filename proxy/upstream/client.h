// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_UPSTREAM_CLIENT_H
#define RAC_UPSTREAM_CLIENT_H
/*
 * Asks upstreams, without ever blocking: one client per worker loop (one curl multi handle), many fetches.
 *
 * A fetch does all that stands between a question and its answer: connection reuse, TLS, the address rules
 * (checked on the socket's address, when it is opened), Bearer challenges (one token request per scope for
 * all who wait, shared by the workers, kept until shortly before it expires), Basic, redirects (Authorization
 * dropped on another host, never from https to http, five at most), HTTP/1.1, time limits. on_head then comes
 * once, with the final answer, whatever its status; on_data while it has a body; on_done once, always last,
 * unless the fetch was cancelled.
 *
 * All on the client's loop. Callbacks may call anything here but upstream_client_free, fetch_cancel of their
 * own fetch too.
 *
 * The proxy that the environment names (https_proxy, no_proxy, …) is used as curl would. Its own address is
 * not judged; what lies behind it is, as far as a URL says it (an IP address, localhost): names are resolved
 * by the proxy, and its to refuse.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/digest.h"
#include "common/err.h"
#include "common/loop.h"
#include "proxy/upstream/upstream.h"

struct upstream_shared; /* what the workers' clients share: tokens, counters, limits. One per process,
                           thread-safe. */
struct upstream_client;
struct fetch;

struct upstream_limits {
    uint32_t connect_timeout_ms; /* 10 s: DNS, TCP and TLS */
    uint32_t head_timeout_ms;    /* 30 s: from the request to the head of the answer */
    uint32_t stall_timeout_ms;   /* 60 s: no byte of the body; paused time does not count */
    uint32_t max_connections;    /* 64 per host and worker */
    const char *user_agent;      /* "rac-proxy/<version>" */
};
extern const struct upstream_limits upstream_limits_default;

struct upstream_shared *upstream_shared_new(const struct upstream_limits *limits);
void upstream_shared_free(struct upstream_shared *s);
struct upstream_client *upstream_client_new(struct loop *loop, struct upstream_shared *shared);
/* The end is near: every fetch under way, and every one that is started from now on, ends with on_done and
 * ERR_CANCELLED, so that who waits for it can put away what it has. On the loop, outside of callbacks. */
void upstream_client_stop(struct upstream_client *c);
/* Cancels what is under way. Run the loop once more before loop_free: a token may be in its mailbox. */
void upstream_client_free(struct upstream_client *c);

struct fetch_params {
    /* Either an upstream and a path below its url … */
    struct upstream *upstream; /* borrowed: the fetch takes its own reference */
    const char *path;          /* "/v2/library/busybox/manifests/latest", encoded, with query */
    const char
        *repository; /* "library/busybox": the token's scope is repository:<it>:pull; NULL = no scope */
    /* … or an absolute https URL (an injected layer), public addresses only unless private_addresses: then
     * its own host may be private, other hosts that it redirects to may not. */
    const char *url;
    bool private_addresses;
    bool plain_http; /* the URL may be http:// */
    bool direct;     /* not by the environment's proxy */
    const char *who; /* what it is called in messages and metrics; NULL: its host */
    const char *ca_file;

    bool head;          /* HEAD instead of GET */
    bool forget;        /* nothing of how it was let in is kept for another fetch: tokens, that it is Basic */
    const char *accept; /* NULL: none sent */
    const char *if_none_match; /* an ETag with its quotes */
    uint64_t range_from;       /* > 0: "Range: bytes=<it>-" */
    const void *body; /* POST of these bytes, copied; a redirect is then an answer, and not followed */
    size_t body_len;
    const char *content_type; /* of body */
    /* Further headers, "Name: value" each, NULL-terminated, or NULL. They may hold secrets: only with a url,
     * and never for where a redirect leads. */
    const char *const *headers;
};

struct fetch_head {
    int status;
    int64_t content_length;    /* -1: not said */
    char content_type[256];    /* without parameters, lower case; "" if not said */
    char content_encoding[32]; /* "" if none or identity */
    struct digest digest;      /* Docker-Content-Digest if well-formed, else empty */
    bool digest_malformed;     /* there was one, and it was no digest */
    char etag[200];
    char link[1024];                               /* Link header */
    bool has_range;                                /* a well-formed Content-Range: bytes first-last/total */
    uint64_t range_first, range_last, range_total; /* total: UINT64_MAX if '*' */
    uint32_t retry_after_s;  /* seconds, from seconds or date, capped at a day; 0 = not said */
    bool refused_by_realm;   /* 401/403 came from the token server */
    bool has_credentials;    /* we have credentials for that upstream */
    char withheld_from[254]; /* host of a token server that was not to see them; "" if none */
};

struct fetch_ops {
    /* Return false to give the fetch up without on_done (as fetch_cancel). */
    bool (*on_head)(void *arg, const struct fetch_head *head);
    /* Body bytes; p is valid during the call only. false: give up, no on_done. May call fetch_pause. */
    bool (*on_data)(void *arg, const void *p, size_t len);
    /* err NULL: the body was complete (as long as Content-Length said, or properly ended).
     * Else, with the upstream's name and the cause, ERR_UPSTREAM, ERR_TIMEOUT, ERR_DENIED (address rules),
     * ERR_LIMITED (by the token server), ERR_CANCELLED (upstream_client_stop), or ERR_INTERNAL; on_head may
     * or may not have come before. The fetch is gone after this call. */
    void (*on_done)(void *arg, const struct err *err);
};

/* Never calls back before it returns. NULL is never returned. */
struct fetch *fetch_start(struct upstream_client *c, const struct fetch_params *params,
                          const struct fetch_ops *ops, void *arg);
void fetch_cancel(struct fetch *f); /* no callback comes any more */
/* No more on_data until fetch_resume: back-pressure. on_done may still come, if no byte is left to hand out
 * or the connection breaks. fetch_resume never calls back before it returns. */
void fetch_pause(struct fetch *f);
void fetch_resume(struct fetch *f);

/* The error a status stands for: 401/403/404/429/5xx and others, with the upstream's name, what was asked for
 * (`what`: "manifest docker.io/library/busybox:latest") and whether credentials are configured. not_found:
 * which code 404 gets (ERR_MANIFEST_UNKNOWN, …). Returns -1, or 0 for 2xx. */
int fetch_head_err(const struct fetch_head *head, const struct upstream *u, const char *what,
                   enum err_code not_found, struct err *err);

/* Counters for /metrics, by upstream name; any thread. */
struct upstream_stats {
    uint64_t requests, errors, bytes, token_requests;
    uint64_t latency_us_sum; /* request to head */
};
void upstream_shared_stats(struct upstream_shared *s,
                           void (*each)(const char *upstream, const struct upstream_stats *, void *arg),
                           void *arg);
#endif
