// SPDX-License-Identifier: Apache-2.0
#include "proxy/state/redis_conn.h"

#include <arpa/inet.h>
#include <assert.h>
#include <hiredis/async.h>
#include <netdb.h>
#include <string.h>
#include <utlist.h>

#include "common/clock.h"
#include "common/jobs.h"
#include "common/mem.h"
#include "common/str.h"

#define RETRY_AFTER_S 2 /* what clients are told while it is away */
#define ADDRESS_MAX   300

enum conn_state {
    CONN_WAIT,    /* for the pause to end */
    CONN_FIND,    /* a name is looked up */
    CONN_CONNECT, /* to a Sentinel or to Redis */
    CONN_HELLO,
    CONN_UP,
    CONN_CLOSING, /* given up; hiredis still has it */
};

/* A command whose answer is due. */
struct pending {
    struct redis_conn *c;
    struct pending *prev, *next; /* oldest first */
    uint64_t deadline_ms;
    redis_reply_fn *fn;
    void *arg;
};

/* A name on its way through the thread that may block. */
struct lookup {
    struct redis_conn *c; /* NULL: nobody waits any more */
    char name[256];
    uint16_t port;
    unsigned attempt; /* of several addresses, another each time */
    char ip[INET6_ADDRSTRLEN];
    const char *error; /* NULL: found. Static */
};

struct redis_conn {
    struct loop *loop;
    struct redis_conn_config config;
    enum conn_state state;
    redisAsyncContext *ac;
    struct loop_watch *watch;
    struct pending *waiting;
    struct loop_timer deadline, retry;
    uint32_t pause_ms;
    struct err why; /* what it is given up for; code ERR_NONE: what hiredis says */
    char address[ADDRESS_MAX];
    struct jobs *jobs; /* made when the first name is looked up */
    struct lookup *lookup;
    unsigned attempts;
    bool at_sentinel; /* what we connect to is a Sentinel */
    bool go_on;       /* it said where the primary is: there next */
    struct redis_host primary;
};

static void find(struct redis_conn *c);

/* ---- giving up ---- */

static void set_why(struct redis_conn *c, struct err *err, const char *what)
{
    const char *kind = c->at_sentinel ? "Sentinel" : "Redis";
    (void)err_set(err, ERR_OVERLOADED, "%s at %s: %s", kind,
                  c->address[0] ? c->address : c->config.url->shown, what);
    err->retry_after_s = RETRY_AFTER_S;
}

static void on_retry(void *arg)
{
    struct redis_conn *c = arg;
    assert(c->state == CONN_WAIT);
    find(c);
}

/* It is gone: pause, then again. Several replicas that lost the same Redis come back spread out. */
static void down(struct redis_conn *c)
{
    struct err why = c->why;
    err_clear(&c->why);
    loop_timer_cancel(c->loop, &c->deadline);
    c->state = CONN_WAIT;
    uint32_t pause = c->pause_ms;
    c->pause_ms = pause > c->config.retry_max_ms / 2 ? c->config.retry_max_ms : pause * 2;
    loop_timer_arm(c->loop, &c->retry, pause / 2 + clock_mono_us() % (pause / 2 + 1), on_retry, c);
    c->config.on_down(c->config.arg, &why);
}

static void give_up(struct redis_conn *c, const struct err *why)
{
    if (c->state == CONN_WAIT || c->state == CONN_CLOSING)
        return;
    c->why = *why;
    if (c->lookup)
        c->lookup->c = NULL;
    c->lookup = NULL;
    if (!c->ac) {
        down(c);
        return;
    }
    c->state = CONN_CLOSING;
    redisAsyncFree(c->ac); /* at once, or when its callback has returned; on_cleanup goes on */
}

static void give_up_for(struct redis_conn *c, const char *what)
{
    struct err why;
    set_why(c, &why, what);
    give_up(c, &why);
}

static void on_deadline(void *arg)
{
    struct redis_conn *c = arg;
    uint64_t now = clock_mono_ms();
    if (c->state == CONN_FIND || c->state == CONN_CONNECT) {
        give_up_for(c,
                    c->state == CONN_FIND ? "its name is not resolved in time" : "does not accept in time");
        return;
    }
    if (!c->waiting)
        return;
    if (c->waiting->deadline_ms > now) {
        loop_timer_arm(c->loop, &c->deadline, c->waiting->deadline_ms - now, on_deadline, c);
        return;
    }
    give_up_for(c, "does not answer in time");
}

/* ---- hiredis and the loop ---- */

static void on_ready(void *arg, int fd, unsigned ready)
{
    struct redis_conn *c = arg;
    redisAsyncContext *ac = c->ac;
    (void)fd;
    if (ready & (LOOP_READ | LOOP_ERROR))
        redisAsyncHandleRead(ac);
    if ((ready & LOOP_WRITE) && c->ac == ac) /* else it is gone, and another may be there */
        redisAsyncHandleWrite(ac);
}

static void set_events(struct redis_conn *c, unsigned add, unsigned drop)
{
    unsigned events = (c->watch ? c->watch->events | add : add) & ~drop;
    if (c->watch && c->watch->events != events)
        loop_watch_change(c->loop, c->watch, events);
}
static void on_add_read(void *arg)
{
    set_events(arg, LOOP_READ, 0);
}
static void on_del_read(void *arg)
{
    set_events(arg, 0, LOOP_READ);
}
static void on_add_write(void *arg)
{
    set_events(arg, LOOP_WRITE, 0);
}
static void on_del_write(void *arg)
{
    set_events(arg, 0, LOOP_WRITE);
}

static void look_up(struct redis_conn *c, const struct redis_host *host);

/* hiredis lets go of the connection; all commands have failed. */
static void on_cleanup(void *arg)
{
    struct redis_conn *c = arg;
    if (!c->go_on && c->why.code == ERR_NONE)
        set_why(c, &c->why, c->ac->err ? c->ac->errstr : "closed the connection");
    loop_watch_remove(c->loop, c->watch);
    c->watch = NULL;
    c->ac = NULL;
    if (!c->go_on) {
        down(c);
        return;
    }
    c->go_on = false;
    c->at_sentinel = false;
    look_up(c, &c->primary);
}

static void on_reply(redisAsyncContext *ac, void *reply, void *arg)
{
    struct pending *p = arg;
    struct redis_conn *c = p->c;
    struct err err;
    DL_DELETE(c->waiting, p);
    if (!reply) {
        c->state = CONN_CLOSING;
        if (c->why.code == ERR_NONE)
            set_why(c, &c->why, ac->err ? ac->errstr : "closed the connection");
        err = c->why;
    }
    p->fn(p->arg, reply, reply ? NULL : &err);
    free(p);
}

static struct pending *pending_new(struct redis_conn *c, redis_reply_fn *fn, void *arg)
{
    struct pending *p = mem_new(struct pending);
    uint32_t within = c->state == CONN_UP ? c->config.command_ms : c->config.connect_ms;
    *p = (struct pending){.c = c, .deadline_ms = clock_mono_ms() + within, .fn = fn, .arg = arg};
    DL_APPEND(c->waiting, p);
    if (!loop_timer_armed(&c->deadline))
        loop_timer_arm(c->loop, &c->deadline, within, on_deadline, c);
    return p;
}

/* hiredis 0.14 does not look whether there was memory for a command's bytes, nor for whom its reply is for:
 * from then on each would be taken for the reply to another. */
static void check_sent(const redisAsyncContext *ac, const struct pending *p)
{
    if (ac->c.err == REDIS_ERR_OOM || !ac->replies.tail || ac->replies.tail->privdata != p)
        mem_none();
}

static void send_words(struct redis_conn *c, int argc, const char **argv, redis_reply_fn *fn)
{
    struct pending *p = pending_new(c, fn, c);
    if (redisAsyncCommandArgv(c->ac, on_reply, p, argc, argv, NULL) != REDIS_OK)
        mem_none(); /* this connection is not being closed: nothing else fails */
    check_sent(c->ac, p);
}

bool redis_conn_send_formatted(struct redis_conn *c, const char *command, size_t len, redis_reply_fn *fn,
                               void *arg)
{
    if (c->state != CONN_UP)
        return false;
    struct pending *p = pending_new(c, fn, arg);
    if (redisAsyncFormattedCommand(c->ac, on_reply, p, command, len) == REDIS_OK) {
        check_sent(c->ac, p);
        return true;
    }
    DL_DELETE(c->waiting, p);
    free(p);
    return false;
}

bool redis_conn_send(struct redis_conn *c, int argc, const char *const *argv, const size_t *len,
                     redis_reply_fn *fn, void *arg)
{
    char *command = NULL;
    int n = redisFormatCommandArgv(&command, argc, (const char **)argv, len);
    if (n <= 0)
        mem_none();
    bool sent = redis_conn_send_formatted(c, command, (size_t)n, fn, arg);
    redisFreeCommand(command);
    return sent;
}

/* ---- hello ---- */

/* False if there is none, or it is an error: the connection is given up then, once. */
static bool is_good(struct redis_conn *c, const redisReply *reply, const char *what)
{
    if (!reply || c->state != CONN_HELLO)
        return false;
    if (reply->type != REDIS_REPLY_ERROR)
        return true;
    char text[400];
    (void)snprintf(text, sizeof text, "%s: %.*s", what, (int)(reply->len > 300 ? 300 : reply->len),
                   reply->str);
    give_up_for(c, text);
    return false;
}

static void on_auth(void *arg, const redisReply *reply, const struct err *err)
{
    (void)err;
    (void)is_good(arg, reply, "log-in refused");
}

static void on_select(void *arg, const redisReply *reply, const struct err *err)
{
    (void)err;
    (void)is_good(arg, reply, "database refused");
}

static void on_role(void *arg, const redisReply *reply, const struct err *err)
{
    struct redis_conn *c = arg;
    (void)err;
    if (!is_good(c, reply, "does not say whether it is a primary"))
        return;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 1 ||
        reply->element[0]->type != REDIS_REPLY_STRING || strcmp(reply->element[0]->str, "master") != 0) {
        give_up_for(c, "is no primary but a replica of one");
    }
}

/* One that has just been started says its role while it still reads its data. */
static void on_ping(void *arg, const redisReply *reply, const struct err *err)
{
    struct redis_conn *c = arg;
    (void)err;
    if (!is_good(c, reply, "not ready"))
        return;
    c->state = CONN_UP;
    c->config.on_up(c->config.arg);
}

static void on_primary(void *arg, const redisReply *reply, const struct err *err)
{
    struct redis_conn *c = arg;
    uint64_t port;
    (void)err;
    if (!is_good(c, reply, "does not say where the primary is"))
        return;
    bool good = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                reply->element[0]->type == REDIS_REPLY_STRING &&
                reply->element[1]->type == REDIS_REPLY_STRING && reply->element[0]->len < 256 &&
                slice_to_u64(slice_of(reply->element[1]->str), 65535, &port) && port > 0;
    if (!good) {
        give_up_for(c, reply->type == REDIS_REPLY_NIL ? "knows no primary of that name" : "gives no address");
        return;
    }
    free(c->primary.name);
    c->primary = (struct redis_host){mem_strdup(reply->element[0]->str), (uint16_t)port};
    c->go_on = true;
    c->state = CONN_CLOSING;
    redisAsyncFree(c->ac);
}

static void on_connected(const redisAsyncContext *ac, int status)
{
    struct redis_conn *c = ac->data;
    const struct redis_url *u = c->config.url;
    if (status != REDIS_OK)
        return; /* on_cleanup follows */
    loop_timer_cancel(c->loop, &c->deadline);
    c->state = CONN_HELLO;
    if (c->at_sentinel) {
        send_words(c, 3, (const char *[]){"SENTINEL", "get-master-addr-by-name", u->primary}, on_primary);
        return;
    }
    if (u->user)
        send_words(c, 3, (const char *[]){"AUTH", u->user, u->password}, on_auth);
    else if (u->password)
        send_words(c, 2, (const char *[]){"AUTH", u->password}, on_auth);
    if (u->db) {
        char db[16];
        (void)snprintf(db, sizeof db, "%u", u->db);
        send_words(c, 2, (const char *[]){"SELECT", db}, on_select);
    }
    send_words(c, 1, (const char *[]){"ROLE"}, on_role);
    send_words(c, 1, (const char *[]){"PING"}, on_ping);
}

/* ---- finding and connecting ---- */

static void connect_to(struct redis_conn *c, redisAsyncContext *ac)
{
    if (!ac)
        mem_none();
    if (ac->err) {
        char text[200];
        (void)snprintf(text, sizeof text, "%s", ac->errstr);
        redisAsyncFree(ac);
        give_up_for(c, text);
        return;
    }
    c->state = CONN_CONNECT;
    c->ac = ac;
    ac->data = c;
    ac->ev.data = c;
    ac->ev.addRead = on_add_read;
    ac->ev.delRead = on_del_read;
    ac->ev.addWrite = on_add_write;
    ac->ev.delWrite = on_del_write;
    ac->ev.cleanup = on_cleanup;
    c->watch = loop_watch_add(c->loop, ac->c.fd, LOOP_WRITE, on_ready, c);
    (void)redisAsyncSetConnectCallback(ac, on_connected);
    loop_timer_arm(c->loop, &c->deadline, c->config.connect_ms, on_deadline, c);
}

static void look_up_run(void *arg)
{
    struct lookup *l = arg;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *list = NULL;
    int rc = getaddrinfo(l->name, NULL, &hints, &list);
    unsigned count = 0;
    l->error = rc ? gai_strerror(rc) : NULL;
    for (struct addrinfo *a = list; a; a = a->ai_next)
        ++count;
    struct addrinfo *a = list;
    for (unsigned i = 0; count && i < l->attempt % count; ++i)
        a = a->ai_next;
    if (a && getnameinfo(a->ai_addr, a->ai_addrlen, l->ip, sizeof l->ip, NULL, 0, NI_NUMERICHOST) != 0)
        l->error = "no address";
    if (list)
        freeaddrinfo(list);
}

static void look_up_done(void *arg)
{
    struct lookup *l = arg;
    struct redis_conn *c = l->c;
    if (c) {
        c->lookup = NULL;
        if (l->error)
            give_up_for(c, l->error);
        else
            connect_to(c, redisAsyncConnect(l->ip, l->port));
    }
    free(l);
}

static void look_up(struct redis_conn *c, const struct redis_host *host)
{
    uint8_t ignored[16];
    bool ipv6 = strchr(host->name, ':') != NULL;
    (void)snprintf(c->address, sizeof c->address, ipv6 ? "[%s]:%u" : "%s:%u", host->name, host->port);
    c->state = CONN_FIND;
    if (inet_pton(ipv6 ? AF_INET6 : AF_INET, host->name, ignored) == 1) {
        connect_to(c, redisAsyncConnect(host->name, host->port));
        return;
    }
    struct lookup *l = c->lookup = mem_new(struct lookup);
    l->c = c;
    l->port = host->port;
    l->attempt = c->attempts;
    (void)snprintf(l->name, sizeof l->name, "%s", host->name);
    if (!c->jobs)
        c->jobs = jobs_new(1);
    loop_timer_arm(c->loop, &c->deadline, c->config.connect_ms, on_deadline, c);
    jobs_submit(c->jobs, c->loop, look_up_run, look_up_done, l);
}

static void find(struct redis_conn *c)
{
    const struct redis_url *u = c->config.url;
    unsigned attempt = c->attempts++;
    if (u->socket) {
        (void)snprintf(c->address, sizeof c->address, "%s", u->socket);
        c->state = CONN_FIND;
        connect_to(c, redisAsyncConnectUnix(u->socket));
        return;
    }
    c->at_sentinel = u->primary != NULL;
    look_up(c, &u->hosts[attempt % u->host_count]);
}

/* ---- the object ---- */

struct redis_conn *redis_conn_new(struct loop *loop, const struct redis_conn_config *config)
{
    struct redis_conn *c = mem_new(struct redis_conn);
    c->loop = loop;
    c->config = *config;
    c->pause_ms = config->retry_min_ms;
    c->state = CONN_WAIT;
    loop_timer_arm(loop, &c->retry, 0, on_retry, c);
    return c;
}

static void on_down_ignored(void *arg, const struct err *err)
{
    (void)arg, (void)err;
}

void redis_conn_free(struct redis_conn *c)
{
    if (!c)
        return;
    c->config.on_down = on_down_ignored;
    give_up_for(c, "is not needed any more");
    assert(c->state == CONN_WAIT && !c->ac);
    loop_timer_cancel(c->loop, &c->retry);
    if (c->jobs) {
        jobs_free(c->jobs);
        loop_run_once(c->loop, 0); /* what a look-up left */
    }
    free(c->primary.name);
    free(c);
}

void redis_conn_settled(struct redis_conn *c)
{
    c->pause_ms = c->config.retry_min_ms;
}

void redis_conn_reset(struct redis_conn *c, const struct err *err)
{
    if (c->state == CONN_UP)
        give_up(c, err);
}

const char *redis_conn_address(const struct redis_conn *c)
{
    return c->address;
}
