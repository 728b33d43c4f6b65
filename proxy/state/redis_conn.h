// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_STATE_REDIS_CONN_H
#define RAC_STATE_REDIS_CONN_H
/*
 * One connection to a Redis, kept up: found (directly, or through Sentinels), connected, logged in, checked
 * to be a primary; and again, with growing pauses, whenever it was lost.
 *
 *     WAIT ──> FIND ──> CONNECT ──> HELLO ──> UP
 *       ^        │         │          │        │   cannot be found, refused, wrong password, a replica,
 *       └────────┴─────────┴──────────┴────────┘   no answer in time, closed, redis_conn_reset
 *
 * Commands are sent while it is UP only, and pipelined: answers come in the order of the commands, and one
 * whose answer is not there in time means that the others behind it are late, too, so the connection is
 * given up, and everything that waits on it fails. Whether a failed command was carried out is not known.
 *
 * It lives on one loop; all calls and callbacks are on its thread. Only names are looked up on a thread of
 * its own, since that blocks.
 */
#include <hiredis/hiredis.h>

#include "common/loop.h"
#include "proxy/state/redis_url.h"

struct redis_conn;

struct redis_conn_config {
    const struct redis_url *url; /* outlives the connection */
    uint32_t connect_ms;         /* to find, connect, log in: each answer within this time */
    uint32_t command_ms;         /* an answer, from when its command was given */
    uint32_t retry_min_ms, retry_max_ms;
    /* It is UP: scripts may be loaded. Until redis_conn_settled, pauses go on growing when it is lost. */
    void (*on_up)(void *arg);
    /* It was lost, or could not be made; commands that waited have failed already. err says why, and where:
     * never a credential. Comes once before each pause. */
    void (*on_down)(void *arg, const struct err *err);
    void *arg;
};

struct redis_conn *redis_conn_new(struct loop *loop, const struct redis_conn_config *config);
/* Commands that wait fail first. Not from inside a callback of its own. May block while a name is looked up.
 */
void redis_conn_free(struct redis_conn *c);

/* reply NULL: err says why. The reply is hiredis's, and an error reply is a reply. */
typedef void redis_reply_fn(void *arg, const redisReply *reply, const struct err *err);
/* False if it is not UP: fn does not come then. Else fn comes once, not from inside. */
bool redis_conn_send(struct redis_conn *c, int argc, const char *const *argv, const size_t *len,
                     redis_reply_fn *fn, void *arg);
/* The same with a command as redisFormatCommandArgv makes it. */
bool redis_conn_send_formatted(struct redis_conn *c, const char *command, size_t len, redis_reply_fn *fn,
                               void *arg);
/* All is as it should be: the next loss begins with the shortest pause. */
void redis_conn_settled(struct redis_conn *c);
/* Gives the connection up, and tries again after a pause. Any callback; nothing while it is not UP. */
void redis_conn_reset(struct redis_conn *c, const struct err *err);
/* Where the primary is: "127.0.0.1:6379", or a socket's path; "" before it was found. */
const char *redis_conn_address(const struct redis_conn *c);
#endif
