// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/mem.h"
#include "proxy/state/sqlite.h"
#include "proxy/state/sqlite_impl.h"

/* One read transaction over the whole: what is written meanwhile is in the WAL, and not in the copy. */
static int copy_to(sqlite3 *db, const char *to, struct err *err)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(db, "VACUUM INTO ?1", -1, &s, NULL);
    if (rc == SQLITE_OK) {
        sqlite_bind_text(s, 1, to);
        rc = sqlite3_step(s);
    }
    (void)sqlite3_finalize(s);
    return rc == SQLITE_DONE ? 0 : err_set(err, ERR_IO, "%s: %s", to, sqlite3_errmsg(db));
}

/* Durable, and only then under its name. */
static int publish(const char *part, const char *to, struct err *err)
{
    cleanup_close int fd = open(part, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fchmod(fd, 0640) < 0 || fsync(fd) < 0)
        return err_set_errno(err, ERR_IO, errno, "%s", part);
    bool there = false;
    if (fs_rename_new(part, to, &there, err) < 0)
        return -1;
    if (there)
        return err_set(err, ERR_EXISTS, "%s is there already", to);
    cleanup_free char *copy = mem_strdup(to);
    return fs_sync_dir(dirname(copy), err);
}

int sqlite_state_backup(const char *dir, const char *to, struct err *err)
{
    cleanup_free char *path = mem_printf("%s/state.db", dir);
    cleanup_free char *part = mem_printf("%s.part", to);
    sqlite3 *db = NULL;
    if (access(to, F_OK) == 0)
        return err_set(err, ERR_EXISTS, "%s is there already: name a file that is not", to);
    if (access(path, R_OK) < 0)
        return err_set_errno(err, ERR_IO, errno, "%s", path);
    (void)unlink(part);
    int rc = 0;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        rc = err_set(err, ERR_IO, "%s: %s", path, db ? sqlite3_errmsg(db) : "out of memory");
    (void)sqlite3_busy_timeout(db, 5000);
    if (rc == 0)
        rc = copy_to(db, part, err);
    (void)sqlite3_close(db);
    if (rc == 0)
        rc = publish(part, to, err);
    if (rc < 0)
        (void)unlink(part);
    return rc;
}
