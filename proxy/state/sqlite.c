// SPDX-License-Identifier: Apache-2.0
#include "proxy/state/sqlite.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/mem.h"
#include "proxy/state/sqlite_file.h"
#include "proxy/state/sqlite_impl.h"

/* 0 = open, 1 = damaged. */
static int open_writer(struct sqlite_state *s, struct err *err)
{
    int rc = sqlite_conn_open(&s->writer, s->path, true, err);
    if (rc < 0)
        return rc == -2 ? 1 : -1;
    rc = sqlite_schema_prepare(&s->writer, s->path, err);
    if (rc == 0)
        sqlite_passing_tidy(&s->writer);
    else
        sqlite_conn_close(&s->writer);
    return rc;
}

static void free_all(struct sqlite_state *s)
{
    for (int i = 0; i < SQLITE_STATE_READERS; ++i)
        sqlite_conn_close(&s->reader[i]);
    /* The last connection to close writes the WAL back into the file. */
    sqlite_conn_close(&s->writer);
    if (s->lock_fd >= 0)
        (void)close(s->lock_fd);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake_writer);
    pthread_cond_destroy(&s->wake_reader);
    free(s->path);
    free(s);
}

static int open_all(struct sqlite_state *s, const char *dir, struct err *err)
{
    cleanup_free char *lock = mem_printf("%s/rac-proxy.lock", dir);
    if (fs_mkdirs(dir, 0750, err) < 0 || fs_lock(lock, dir, &s->lock_fd, err) < 0)
        return -1;
    int rc = open_writer(s, err);
    if (rc > 0) {
        struct err why = *err;
        if (sqlite_file_move_aside(
                s->path,
                "the state store is damaged: moved aside, starting with an empty one; what it "
                "knew is asked for again",
                &why, err) < 0)
            return -1;
        rc = open_writer(s, err);
    }
    if (rc != 0)
        return err_wrap(err, "%s: cannot be opened", s->path);
    (void)chmod(s->path, 0640);
    if (sqlite_schema_scope_key(&s->writer, s->base.scope_key, err) < 0)
        return err_wrap(err, "%s", s->path);
    for (int i = 0; i < SQLITE_STATE_READERS; ++i)
        if (sqlite_conn_open(&s->reader[i], s->path, false, err) < 0)
            return err_wrap(err, "%s: cannot be opened", s->path);
    return 0;
}

int sqlite_state_open(const char *dir, struct state **ret, struct err *err)
{
    struct err own;
    struct sqlite_state *s = mem_new(struct sqlite_state);
    s->base.ops = &sqlite_state_ops;
    s->path = mem_printf("%s/state.db", dir);
    s->lock_fd = -1;
    s->writes.tail = &s->writes.head;
    s->reads.tail = &s->reads.head;
    s->parked.tail = &s->parked.head;
    pthread_mutex_init(&s->lock, NULL);
    s->owed.tail = &s->owed.head;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake_writer, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&s->wake_reader, NULL);
    if (open_all(s, dir, err ? err : &own) < 0) {
        free_all(s);
        return -1;
    }
    sqlite_queue_start(s);
    *ret = &s->base;
    return 0;
}

void sqlite_state_close(struct state *base)
{
    struct sqlite_state *s = (struct sqlite_state *)base;
    sqlite_queue_stop(s);
    free_all(s);
}
