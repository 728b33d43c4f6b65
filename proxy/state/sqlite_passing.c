// SPDX-License-Identifier: Apache-2.0
/*
 * Injections that do not stay for good: those that only container tokens asked for. Their texts may hold
 * whole layers, and go while we run, some time after the last token (docs/decisions/0009).
 *
 * What was made by them (variants, links, numbers of digests) is some hundred bytes, known to tables in
 * memory, and right whenever it is found: the same injection makes the same again. So it stays until the next
 * start, when nobody has anything in memory, and no number of a digest is in anybody's hands.
 */
#include "common/clock.h"
#include "common/log.h"
#include "proxy/state/sqlite_impl.h"

static int run_ids(struct sqlite_conn *c, enum sqlite_stmt_id id, const int64_t *ids, size_t n,
                   struct err *err)
{
    sqlite3_stmt *s = sqlite_conn_stmt_ids(c, id, ids, n, err);
    return s ? sqlite_conn_run(c, s, err) : -1;
}

int sqlite_passing_put(struct sqlite_conn *c, int64_t injection, int64_t until_ms, struct err *err)
{
    if (until_ms == STATE_FOR_GOOD)
        return run_ids(c, SQL_PASSING_NOT, SQLITE_IDS(injection), err);
    return run_ids(c, SQL_PASSING_PUT, SQLITE_IDS(injection, until_ms), err);
}

int sqlite_passing_later(struct sqlite_conn *c, int64_t injection, int64_t until_ms, struct err *err)
{
    return run_ids(c, SQL_PASSING_LATER, SQLITE_IDS(injection, until_ms), err);
}

static int run_injection_prune(struct sqlite_conn *c, struct sqlite_call *call, struct err *err)
{
    if (run_ids(c, SQL_INJECTION_PRUNE, SQLITE_IDS(call->time_ms, (int64_t)call->n), err) < 0 ||
        run_ids(c, SQL_PASSING_PRUNE, SQLITE_IDS(call->time_ms, (int64_t)call->n), err) < 0)
        return -1;
    call->count = (size_t)sqlite3_changes(c->db);
    sqlite3_stmt *swept = call->count ? sqlite_conn_stmt(c, SQL_SWEPT, err) : NULL;
    if (!call->count)
        return 0;
    return swept ? sqlite_conn_run(c, swept, err) : -1;
}

void sqlite_injection_prune(struct state *s, struct loop *loop, int64_t before_ms, size_t n,
                            state_count_fn *fn, void *arg)
{
    struct sqlite_call *call = sqlite_call_new(loop, run_injection_prune, NULL, NULL, 0, NULL);
    call->write = true;
    call->answer = sqlite_answer_count;
    call->fn.count = fn;
    call->arg = arg;
    call->time_ms = before_ms;
    call->n = n;
    sqlite_call_submit(s, call);
}

/* ---- at the start ---- */

/* A variant whose injection is not there cannot be made again: it is of no use. Links of its manifest go, in
 * all repositories of its name, unless it is what something else was made of, or from. Then digests that
 * nothing refers to any more. */
static const char tidy[] =
    "BEGIN IMMEDIATE;"
    "CREATE TEMP TABLE gone AS SELECT image, target FROM variant"
    " WHERE injection NOT IN (SELECT object FROM injection);"
    "DELETE FROM variant WHERE injection NOT IN (SELECT object FROM injection);"
    "DELETE FROM gone WHERE target IN (SELECT target FROM variant UNION SELECT source FROM variant"
    " UNION SELECT source FROM token UNION SELECT target FROM token UNION SELECT object FROM tag);"
    "DELETE FROM link WHERE (repo, manifest) IN (SELECT r.id, g.target FROM gone g"
    " JOIN image i ON i.id = g.image"
    " JOIN repo r ON r.repository = substr(i.canonical, instr(i.canonical, '/') + 1)"
    " AND r.upstream = substr(i.canonical, 1, instr(i.canonical, '/') - 1));"
    "DELETE FROM object WHERE id NOT IN (SELECT object FROM link UNION SELECT manifest FROM link"
    " UNION SELECT object FROM tag UNION SELECT source FROM variant UNION SELECT injection FROM variant"
    " UNION SELECT target FROM variant UNION SELECT object FROM injection UNION SELECT injection FROM passing"
    " UNION SELECT source FROM token UNION SELECT injection FROM token UNION SELECT target FROM token);"
    "DELETE FROM meta WHERE key = 'swept';"
    "DROP TABLE gone;"
    "COMMIT";

void sqlite_passing_tidy(struct sqlite_conn *c)
{
    sqlite3_stmt *s = NULL;
    struct err err;
    bool swept =
        sqlite3_prepare_v2(c->db, "SELECT 1 FROM meta WHERE key = 'swept'", -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW;
    (void)sqlite3_finalize(s);
    if (!swept)
        return;
    uint64_t begin_us = clock_mono_us();
    int before = sqlite3_total_changes(c->db);
    if (sqlite_conn_exec(c, tidy, &err) < 0) { /* the next start tries again */
        (void)sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
        log_warn("what was made for tokens that are gone could not be forgotten", F_ERR(&err));
        return;
    }
    log_info("what was made for tokens that are gone is forgotten",
             F_U("rows", (uint64_t)(sqlite3_total_changes(c->db) - before)),
             F_U("ms", (clock_mono_us() - begin_us) / 1000));
}
