// SPDX-License-Identifier: Apache-2.0
#include "proxy/state/sqlite_journal.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"
#include "proxy/state/sqlite_file.h"
#include "proxy/state/sqlite_journal_impl.h"

#define WHAT "pull records"

int journal_error(sqlite3 *db, struct err *err)
{
    if ((sqlite3_errcode(db) & 0xff) == SQLITE_INTERRUPT)
        return err_set(err, ERR_TIMEOUT,
                       "there is too much to look through: ask for a shorter time, or for one "
                       "image or node");
    return sqlite_file_error(db, WHAT, err);
}

int journal_exec(sqlite3 *db, const char *sql, struct err *err)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : journal_error(db, err);
}

sqlite3_stmt *journal_prepare(sqlite3 *db, const char *sql, struct err *err)
{
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, NULL) != SQLITE_OK)
        (void)journal_error(db, err);
    return s;
}

int journal_int(sqlite3 *db, const char *sql, int64_t none, int64_t *ret, struct err *err)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        *ret = sqlite3_column_type(s, 0) == SQLITE_NULL ? none : sqlite3_column_int64(s, 0);
    else if (rc == SQLITE_DONE)
        *ret = none;
    else
        (void)journal_error(db, err);
    (void)sqlite3_finalize(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : -1;
}

/* ---- connections ---- */

/* sqlite3_progress_handler: not 0 ends the query. */
static int is_late(void *arg)
{
    const struct journal_conn *c = arg;
    return c->deadline_ms && clock_mono_ms() > c->deadline_ms;
}

static int open_conn(struct sqlite_journal *j, struct journal_conn *c, bool writer, struct err *err)
{
    int flags = SQLITE_OPEN_READWRITE | (writer && !j->read_only ? SQLITE_OPEN_CREATE : 0);
    if (sqlite_file_open(j->path, flags, WHAT, &c->db, err) < 0)
        return -1;
    sqlite3_progress_handler(c->db, 10000, is_late, c);
    return journal_exec(
        c->db,
        writer ? "PRAGMA mmap_size = 0; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -32768; "
                 "PRAGMA wal_autocheckpoint = 4000; "
                 "PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = MEMORY"
               : "PRAGMA mmap_size = 0; PRAGMA query_only = 1; PRAGMA cache_size = -8192; "
                 "PRAGMA temp_store = MEMORY",
        err);
}

static void close_conn(struct journal_conn *c)
{
    (void)sqlite3_close_v2(c->db);
    c->db = NULL;
}

struct journal_conn *journal_reader_take(struct sqlite_journal *j)
{
    struct journal_conn *c = NULL;
    pthread_mutex_lock(&j->lock);
    while (!c) {
        for (int i = 0; i < JOURNAL_READERS && !c; ++i)
            if (!j->reader[i].busy)
                c = &j->reader[i];
        if (!c)
            pthread_cond_wait(&j->free, &j->lock);
    }
    c->busy = true;
    pthread_mutex_unlock(&j->lock);
    c->deadline_ms = clock_mono_ms() + JOURNAL_QUERY_MS;
    return c;
}

void journal_reader_give(struct sqlite_journal *j, struct journal_conn *c)
{
    pthread_mutex_lock(&j->lock);
    c->busy = false;
    pthread_cond_signal(&j->free);
    pthread_mutex_unlock(&j->lock);
}

/* ---- the table of functions ---- */

static void stats(struct journal *base, struct journal_stats *ret)
{
    struct sqlite_journal *j = (struct sqlite_journal *)base;
    *ret = (struct journal_stats){.bytes = j->shown_bytes,
                                  .first = j->shown_first,
                                  .last = j->shown_last,
                                  .outbox = j->shown_outbox,
                                  .place = j->shown_place};
}

static void free_all(struct sqlite_journal *j)
{
    sqlite_journal_write_end(j);
    journal_names_forget(j);
    journal_sweep_end(j);
    for (int i = 0; i < JOURNAL_READERS; ++i)
        close_conn(&j->reader[i]);
    close_conn(&j->writer); /* the last one to close writes the WAL back into the file */
    pthread_mutex_destroy(&j->lock);
    pthread_cond_destroy(&j->free);
    free(j->path);
    free(j);
}

static void close_journal(struct journal *base)
{
    free_all((struct sqlite_journal *)base);
}

static const struct journal_ops ops = {
    .write = sqlite_journal_write,
    .tidy = sqlite_journal_tidy,
    .each_pending = sqlite_journal_each_pending,
    .read = sqlite_journal_read,
    .demand = sqlite_journal_demand,
    .cursor = sqlite_journal_cursor,
    .outbox = sqlite_journal_outbox,
    .find = sqlite_journal_find,
    .resume = sqlite_journal_resume,
    .stats = stats,
    .close = close_journal,
};

static int open_writer(struct sqlite_journal *j, struct err *err)
{
    int rc = open_conn(j, &j->writer, true, err);
    if (rc < 0 && j->writer.db) {
        rc = sqlite_file_is_damaged(j->writer.db) ? 1 : -1;
    } else if (rc == 0) {
        rc = journal_schema_prepare(j, err);
    }
    if (rc != 0)
        close_conn(&j->writer);
    return rc;
}

static int open_all(struct sqlite_journal *j, struct err *err)
{
    if (j->read_only && access(j->path, F_OK) < 0)
        return err_set_errno(err, ERR_NOT_FOUND, errno, "%s", j->path);
    int rc = open_writer(j, err);
    if (rc > 0 && !j->read_only) {
        struct err why = *err;
        if (sqlite_file_move_aside(j->path, "the pull records are damaged: moved aside, starting with none",
                                   &why, err) < 0)
            return -1;
        rc = open_writer(j, err);
    }
    if (rc != 0)
        return err_wrap(err, "%s: cannot be opened", j->path);
    if (!j->read_only)
        (void)chmod(j->path, 0640);
    for (int i = 0; i < JOURNAL_READERS; ++i)
        if (open_conn(j, &j->reader[i], false, err) < 0)
            return err_wrap(err, "%s: cannot be opened", j->path);
    return 0;
}

int sqlite_journal_open(const char *dir, const struct journal_limits *limits, bool read_only,
                        struct journal **ret, struct err *err)
{
    struct err own;
    struct sqlite_journal *j = mem_new(struct sqlite_journal);
    j->base.ops = &ops;
    j->limits = *limits;
    j->read_only = read_only;
    j->path = mem_printf("%s/records.db", dir);
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->free, NULL);
    if (open_all(j, err ? err : &own) < 0) {
        free_all(j);
        return -1;
    }
    *ret = &j->base;
    return 0;
}
