// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TESTS_S3_SERVER_H
#define RAC_TESTS_S3_SERVER_H
/* A metadata service for tests: one thread, one request a connection, answers from a table. What was asked is
 * remembered. */
#include <arpa/inet.h>
#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/str.h"

enum { SERVED_MAX = 64 };

struct served {
    const char *request; /* "GET /path": what a request's first line begins with; NULL ends the table */
    const char *needs;   /* must stand in the request, else 401; NULL: nothing */
    int status;
    const char *body;
    unsigned from,
        to; /* of the requests that match, counted from 0: this answer is for [from, to); 0, 0: all */
};

struct s3_server {
    int fd;
    uint16_t port;
    pthread_t thread;
    const struct served *table;
    unsigned seen[SERVED_MAX]; /* requests that matched the row */
    char *log[SERVED_MAX];
    _Atomic unsigned log_len;
    atomic_bool stopping;
};

/* The whole request, its body by Content-Length. */
static inline bool server_read(int fd, struct buf *b)
{
    char chunk[4096];
    for (;;) {
        const char *end = b->len ? strstr(b->p, "\r\n\r\n") : NULL;
        const char *length = b->len ? strcasestr(b->p, "content-length:") : NULL;
        size_t body = length && end && length < end ? strtoul(length + 15, NULL, 10) : 0;
        if (end && b->len >= (size_t)(end - b->p) + 4 + body)
            return true;
        ssize_t n = recv(fd, chunk, sizeof chunk, 0);
        if (n <= 0 || !buf_add(b, chunk, (size_t)n))
            return false;
    }
}

static inline void server_answer(struct s3_server *s, int fd, const char *request)
{
    int status = 404;
    const char *body = "";
    for (size_t i = 0; s->table[i].request; ++i) {
        const struct served *row = &s->table[i];
        size_t n = strlen(row->request);
        if (strncmp(request, row->request, n) != 0 || (request[n] != ' ' && request[n] != '?'))
            continue;
        unsigned count = s->seen[i]++;
        if (row->to && (count < row->from || count >= row->to))
            continue;
        bool allowed = !row->needs || strcasestr(request, row->needs);
        status = allowed ? row->status : 401;
        body = allowed ? row->body : "";
        break;
    }
    cleanup_free char *text = mem_printf(
        "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", status, strlen(body), body);
    (void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static inline void *server_run(void *arg)
{
    struct s3_server *s = arg;
    for (;;) {
        int fd = accept(s->fd, NULL, NULL);
        if (fd < 0 || atomic_load(&s->stopping)) {
            if (fd >= 0)
                (void)close(fd);
            return NULL;
        }
        struct buf b = {0};
        if (server_read(fd, &b)) {
            if (s->log_len < SERVED_MAX) { /* before the answer: who has that may look */
                s->log[s->log_len] = mem_strdup(b.p);
                atomic_fetch_add(&s->log_len, 1);
            }
            server_answer(s, fd, b.p);
        }
        buf_free(&b);
        (void)close(fd);
    }
}

static inline void server_start(struct s3_server *s, const struct served *table)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    *s = (struct s3_server){.table = table};
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = bind(s->fd, (struct sockaddr *)&a, sizeof a);
    assert(rc == 0);
    rc = listen(s->fd, 64) || getsockname(s->fd, (struct sockaddr *)&a, &len);
    assert(rc == 0);
    s->port = ntohs(a.sin_port);
    rc = pthread_create(&s->thread, NULL, server_run, s);
    assert(rc == 0);
}

static inline void server_stop(struct s3_server *s)
{
    atomic_store(&s->stopping, true);
    (void)shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    (void)close(s->fd);
    for (unsigned i = 0; i < s->log_len; ++i)
        free(s->log[i]);
}
#endif
