// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TESTS_REDIS_RIG_H
#define RAC_TESTS_REDIS_RIG_H
/* A real redis-server of a test's own, in a folder of its own; it dies with the test. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <cmocka.h>

#include "tests/unit/scratch.h"

#define REDIS_RIG_ARGS 24

struct redis_server {
    char *dir;
    char socket[100]; /* always there */
    unsigned port;    /* 0: no TCP */
    pid_t pid;        /* 0: does not run */
};

/* One that is free now; another may take it, so that a server that does not start is a failed test. */
static inline unsigned redis_free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    (void)close(fd);
    return ntohs(a.sin_port);
}

static inline pid_t redis_spawn(const char *dir, char *const *argv)
{
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        int log;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(126);
        if (chdir(dir) < 0 || (log = open("log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) < 0 ||
            dup2(log, 1) < 0 || dup2(log, 2) < 0)
            _exit(125);
        (void)execvp(argv[0], argv);
        _exit(127);
    }
    assert_true(pid > 0);
    return pid;
}

static inline void redis_wait_listening(const struct redis_server *r)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", r->socket);
    uint64_t end = patience_end_ms(30000);
    for (;;) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int rc = connect(fd, (struct sockaddr *)&a, sizeof a);
        (void)close(fd);
        if (rc == 0)
            return;
        int status;
        if (waitpid(r->pid, &status, WNOHANG) == r->pid)
            fail_msg("redis-server ended: see %s/log", r->dir);
        if (clock_mono_ms() > end)
            fail_msg("redis-server does not listen");
        (void)usleep(5000);
    }
}

/* With these words behind its own, NULL-terminated. It keeps what it has in an append-only file of its dir,
 * so that a kill loses nothing. */
static inline void redis_server_start(struct redis_server *r, const char *const *words)
{
    char port[16];
    char *argv[REDIS_RIG_ARGS] = {"redis-server", "--port",      port,     "--bind", "127.0.0.1",
                                  "--unixsocket", r->socket,     "--save", "",       "--appendonly",
                                  "yes",          "--daemonize", "no"};
    int n = 13;
    (void)snprintf(port, sizeof port, "%u", r->port);
    for (; words && *words; ++words)
        argv[n++] = (char *)*words;
    assert_true(n < REDIS_RIG_ARGS);
    (void)unlink(r->socket);
    r->pid = redis_spawn(r->dir, argv);
    redis_wait_listening(r);
}

/* skip() where there is no redis-server. tcp: it has a port, too. */
static inline struct redis_server *redis_server_new(bool tcp, const char *const *words)
{
    if (system("command -v redis-server >/dev/null") != 0)
        skip();
    struct redis_server *r = mem_new(struct redis_server);
    r->dir = scratch_new();
    (void)snprintf(r->socket, sizeof r->socket, "%s/redis.sock", r->dir);
    r->port = tcp ? redis_free_port() : 0;
    redis_server_start(r, words);
    return r;
}

static inline void redis_server_kill(struct redis_server *r)
{
    if (r->pid) {
        (void)kill(r->pid, SIGKILL);
        (void)waitpid(r->pid, NULL, 0);
    }
    r->pid = 0;
}

static inline void redis_server_free(struct redis_server *r)
{
    if (!r)
        return;
    redis_server_kill(r);
    scratch_free(r->dir);
    free(r);
}
#endif
