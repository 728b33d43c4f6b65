// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TESTS_STATE_REDIS_H
#define RAC_TESTS_STATE_REDIS_H
/* The store in Redis for tests: its place is a struct redis_server, reached by its socket. */
#include <hiredis/hiredis.h>

#include "proxy/state/redis.h"
#include "tests/unit/redis_rig.h"
#include "tests/unit/state_rig.h"

static inline void *redis_place_new(void)
{
    return redis_server_new(false, NULL);
}

/* command_ms: answers within; 0: as in earnest. */
static inline int redis_place_try(void *place, uint32_t open_ms, uint32_t command_ms, struct state **ret,
                                  struct err *err)
{
    const struct redis_server *r = place;
    char *url = mem_printf("redis+unix://%s", r->socket);
    struct redis_options options = {.url = url, .open_ms = open_ms, .command_ms = command_ms};
    int rc = redis_state_open(&options, ret, err);
    free(url);
    return rc;
}

/* Nothing but its end makes a test's Redis late, whatever else this machine does. */
static inline struct state *redis_place_open(void *place)
{
    struct state *s = NULL;
    struct err err;
    if (redis_place_try(place, 30000, 30000, &s, &err) < 0)
        fail_msg("%s", err.msg);
    return s;
}

static inline void redis_place_free(void *place)
{
    redis_server_free(place);
}

static inline struct redis_server *server_of(struct fixture *f)
{
    return f->place;
}

/* Says something to Redis besides us. The answer, as text; its own to free. */
static inline char *tell(struct fixture *f, const char *line)
{
    redisContext *c = redisConnectUnix(server_of(f)->socket);
    assert_true(c && !c->err);
    redisReply *reply = redisCommand(c, line);
    assert_non_null(reply);
    char *text = reply->type == REDIS_REPLY_INTEGER ? mem_printf("%lld", reply->integer)
                                                    : mem_strdup(reply->str ? reply->str : "");
    freeReplyObject(reply);
    redisFree(c);
    return text;
}

static inline void order(struct fixture *f, const char *line)
{
    char *text = tell(f, line);
    if (strncmp(text, "ERR", 3) == 0)
        fail_msg("%s: %s", line, text);
    free(text);
}

static const struct backend redis_backend = {"redis", redis_place_new, redis_place_free, redis_place_open};
#endif
