// SPDX-License-Identifier: Apache-2.0
/*
 * What the HTTP server costs by itself: every path answers the same small document from memory, /file the
 * file that is named on the command line.
 *
 *     http_hello [ADDRESS:PORT [WORKERS [FILE]]]       then: wrk -t1 -c32 -d5s http://ADDRESS:PORT/
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "proxy/http/response.h"
#include "proxy/http/server.h"

static const char document[] =
    "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"ok\":true}\n";
static int file = -1;
static uint64_t file_size;

static void pull(struct request *r, void *arg)
{
    (void)arg;
    if (response_bytes_sent(r) == 0 && file_size > 0)
        response_write_file(r, file, 0, file_size, NULL, NULL);
    else
        response_end(r);
}

static void on_request(struct request *r, void *arg)
{
    (void)arg;
    if (file >= 0 && slice_eq_str(request_path(r), "/file")) {
        response_header_ref(r, "Content-Type", SLICE_LIT("application/octet-stream"));
        response_begin(r, 200, file_size, (struct response_stream){.pull = pull});
        return;
    }
    response_header_ref(r, "Content-Type", SLICE_LIT("application/vnd.oci.image.index.v1+json"));
    response_send_ref(r, 200, document, sizeof document - 1);
}

int main(int argc, char **argv)
{
    struct http_listen listen = {.address = argc > 1 ? argv[1] : "127.0.0.1:8080"};
    struct http_config config = {
        .listen = &listen,
        .listen_count = 1,
        .workers = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1,
        .limits = http_limits_default,
        .on_request = on_request,
        .tls_certificate = getenv("RAC_CERTIFICATE"),
        .tls_key = getenv("RAC_KEY"),
    };
    struct stat st;
    if (argc > 3 && (file = open(argv[3], O_RDONLY | O_CLOEXEC)) >= 0 && fstat(file, &st) == 0)
        file_size = (uint64_t)st.st_size;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    struct err err = {0};
    struct http_server *server = http_server_new(&config, &err);
    if (!server || http_server_start(server, &err) < 0) {
        (void)fprintf(stderr, "http_hello: %s\n", err.msg);
        return 1;
    }
    (void)fprintf(stderr, "http_hello: listening on %s\n", http_server_address(server, 0));
    int sig;
    (void)sigwait(&set, &sig);
    (void)http_server_drain(server, 5000);
    http_server_free(server);
    return 0;
}
