// SPDX-License-Identifier: Apache-2.0
#include "proxy/state/sqlite_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

int sqlite_file_error(sqlite3 *db, const char *what, struct err *err)
{
    enum err_code code = ERR_INTERNAL;
    switch (sqlite3_errcode(db) & 0xff) {
    case SQLITE_FULL:
        code = ERR_NO_SPACE;
        break;
    case SQLITE_IOERR:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        code = ERR_IO;
        break;
    case SQLITE_TOOBIG:
        code = ERR_SIZE_INVALID;
        break;
    case SQLITE_INTERRUPT:
        code = ERR_TIMEOUT;
        break;
    case SQLITE_NOMEM: /* its own words may be of a file that it could not open for want of memory */
        return err_set(err, ERR_INTERNAL, "%s: out of memory", what);
    default:
        break;
    }
    int why = sqlite3_system_errno(db);
    if (code == ERR_IO && why)
        return err_set_errno(err, code, why, "%s: %s", what, sqlite3_errmsg(db));
    return err_set(err, code, "%s: %s", what, sqlite3_errmsg(db));
}

bool sqlite_file_is_damaged(sqlite3 *db)
{
    int code = sqlite3_errcode(db) & 0xff;
    return code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
}

int sqlite_file_open(const char *path, int flags, const char *what, sqlite3 **ret, struct err *err)
{
    if (sqlite3_open_v2(path, ret, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        return *ret ? sqlite_file_error(*ret, what, err)
                    : err_set(err, ERR_INTERNAL, "%s: out of memory", what);
    (void)sqlite3_busy_timeout(*ret, 5000); /* somebody looks into it with a shell */
    (void)sqlite3_db_config(*ret, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    (void)sqlite3_db_config(*ret, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    return 0;
}

int sqlite_file_move_aside(const char *path, const char *message, const struct err *why, struct err *err)
{
    cleanup_free char *to = mem_printf("%s.corrupt-%" PRId64, path, clock_wall_ms());
    static const char *const suffix[] = {"-wal", "-shm", ""};
    for (size_t i = 0; i < sizeof suffix / sizeof suffix[0]; ++i) {
        cleanup_free char *old = mem_printf("%s%s", path, suffix[i]);
        cleanup_free char *aside = mem_printf("%s%s", to, suffix[i]);
        if (rename(old, aside) < 0 && errno != ENOENT)
            return err_set_errno(err, ERR_IO, errno, "%s is damaged and cannot be moved aside", old);
    }
    log_error(message, F_S("file", path), F_S("moved_to", to), F_ERR(why));
    return 0;
}
