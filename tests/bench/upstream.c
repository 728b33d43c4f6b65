// SPDX-License-Identifier: Apache-2.0
/*
 * The registry that the benchmarks pull from: a folder, served by the proxy's own HTTP server, so that it is
 * never what is measured.
 *
 *     bench_upstream FOLDER [LATENCY_MS [BYTES_PER_S]]
 *
 *     FOLDER/manifests/<tag or digest>     answered for every repository, as an OCI manifest or index
 *     FOLDER/blobs/<digest>
 *     GET /count                           requests and body bytes of all that is below /v2/ so far, in JSON
 *
 * LATENCY_MS passes before each answer; BYTES_PER_S is the most that one blob leaves at.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/digest.h"
#include "proxy/http/response.h"
#include "proxy/http/server.h"

#define TICK_MS 5 /* how often a blob goes on, if its rate is limited */

static const char *folder;
static uint64_t latency_ms, bytes_per_s;
static _Atomic uint64_t requests, bytes;

struct answer {
    struct request *r;
    struct loop_timer timer;
    struct slice reference;
    bool is_manifest;
    int fd;
    uint64_t first, size; /* of the file; what is sent goes from first to its end */
    uint64_t begin_us;
};

static void over(void *arg)
{
    struct answer *a = arg;
    if (a->fd >= 0)
        (void)close(a->fd);
    loop_timer_cancel(request_loop(a->r), &a->timer);
}

static void on_finished(struct request *r, bool aborted, void *arg)
{
    (void)aborted, (void)arg;
    if (slice_starts_with(request_path(r), "/v2"))
        atomic_fetch_add(&bytes, response_bytes_sent(r));
}

static void more(void *arg);

static void pull(struct request *r, void *arg)
{
    struct answer *a = arg;
    uint64_t sent = response_bytes_sent(r), left = a->size - a->first - sent;
    if (left == 0) {
        response_end(r);
        return;
    }
    if (bytes_per_s) {
        uint64_t due = (clock_mono_us() - a->begin_us) * bytes_per_s / 1000000;
        if (due <= sent) {
            loop_timer_arm(request_loop(r), &a->timer, TICK_MS, more, a);
            return;
        }
        left = due - sent < left ? due - sent : left;
    }
    response_write_file(r, a->fd, a->first + sent, left, NULL, NULL);
}

static void more(void *arg)
{
    struct answer *a = arg;
    pull(a->r, a);
}

/* "bytes=N-", which is how a download is taken up again; everything else is the whole. */
static uint64_t first_byte(struct request *r, uint64_t size)
{
    struct slice range = request_header(r, "range");
    uint64_t first;
    if (!slice_starts_with(range, "bytes=") || !slice_ends_with(range, "-"))
        return 0;
    return slice_to_u64((struct slice){range.p + 6, range.len - 7}, size - 1, &first) ? first : 0;
}

static void answer(void *arg)
{
    struct answer *a = arg;
    struct request *r = a->r;
    struct stat st;
    char path[4096], text[96];
    int n = snprintf(path, sizeof path, "%s/%s/%.*s", folder, a->is_manifest ? "manifests" : "blobs",
                     (int)a->reference.len, a->reference.p);
    a->fd = n < (int)sizeof path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (a->fd < 0 || fstat(a->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        static const char unknown[] = "{\"errors\":[{\"code\":\"NAME_UNKNOWN\"}]}\n";
        response_header_ref(r, "Content-Type", SLICE_LIT("application/json"));
        response_send_ref(r, 404, unknown, sizeof unknown - 1);
        return;
    }
    a->size = (uint64_t)st.st_size;
    if (a->is_manifest) {
        char *document = request_alloc(r, a->size);
        if (pread(a->fd, document, a->size, 0) != st.st_size) {
            response_abort(r);
            return;
        }
        struct digest digest = digest_of(document, a->size);
        response_header_ref(r, "Content-Type",
                            memmem(document, a->size, "\"manifests\"", 11)
                                ? SLICE_LIT("application/vnd.oci.image.index.v1+json")
                                : SLICE_LIT("application/vnd.oci.image.manifest.v1+json"));
        response_header(r, "Docker-Content-Digest", slice_of(digest.s));
        response_send_ref(r, 200, document, a->size);
        return;
    }
    a->first = first_byte(r, a->size);
    if (a->first) {
        (void)snprintf(text, sizeof text, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, a->first, a->size - 1,
                       a->size);
        response_header(r, "Content-Range", slice_of(text));
    }
    response_header_ref(r, "Content-Type", SLICE_LIT("application/octet-stream"));
    response_header(r, "Docker-Content-Digest", a->reference);
    a->begin_us = clock_mono_us();
    response_begin(r, a->first ? 206 : 200, a->size - a->first, (struct response_stream){pull, a});
}

static void on_request(struct request *r, void *arg)
{
    (void)arg;
    struct slice path = request_path(r);
    char text[96];
    if (slice_eq_str(path, "/count")) {
        int n = snprintf(text, sizeof text, "{\"requests\":%" PRIu64 ",\"bytes\":%" PRIu64 "}\n",
                         atomic_load(&requests), atomic_load(&bytes));
        response_send(r, 200, text, (size_t)n);
        return;
    }
    atomic_fetch_add(&requests, 1);
    const char *slash = memrchr(path.p, '/', path.len);
    struct answer *a = request_alloc(r, sizeof *a);
    a->r = r;
    a->fd = -1;
    a->reference = (struct slice){slash + 1, (size_t)(path.p + path.len - slash - 1)};
    struct slice before = {path.p, (size_t)(slash - path.p)};
    a->is_manifest = slice_ends_with(before, "/manifests");
    if (!a->is_manifest && !slice_ends_with(before, "/blobs")) {
        response_send_ref(r, 200, "{}", 2); /* /v2/ */
        return;
    }
    request_on_dispose(r, over, a);
    if (latency_ms)
        loop_timer_arm(request_loop(r), &a->timer, latency_ms, answer, a);
    else
        answer(a);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr, "usage: bench_upstream FOLDER [LATENCY_MS [BYTES_PER_S]]\n");
        return 2;
    }
    folder = argv[1];
    latency_ms = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    bytes_per_s = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    struct http_listen listen = {.address = "127.0.0.1:0"};
    struct http_config config = {.listen = &listen,
                                 .listen_count = 1,
                                 .limits = http_limits_default,
                                 .on_request = on_request,
                                 .on_finished = on_finished};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    struct err err = {0};
    struct http_server *server = http_server_new(&config, &err);
    if (!server || http_server_start(server, &err) < 0) {
        (void)fprintf(stderr, "bench_upstream: %s\n", err.msg);
        return 1;
    }
    (void)fprintf(stderr, "listening on %s\n", http_server_address(server, 0));
    int sig;
    (void)sigwait(&set, &sig);
    (void)http_server_drain(server, 100);
    http_server_free(server);
    return 0;
}
