// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_STATE_SQLITE_FILE_H
#define RAC_STATE_SQLITE_FILE_H
/* A file of SQLite's, whatever is in it: what the state (state.db) and the journal (records.db) do alike.
 * Private to the room. */
#include <sqlite3.h>
#include <stdbool.h>

#include "common/err.h"

/* What the connection's last call failed with. `what` is said in front: "state store". ERR_NO_SPACE, ERR_IO,
 * ERR_SIZE_INVALID, ERR_TIMEOUT for a query that a progress handler ended, else ERR_INTERNAL. Returns -1. */
int sqlite_file_error(sqlite3 *db, const char *what, struct err *err);
/* The last failure was that the file is none of SQLite's, or damaged. */
bool sqlite_file_is_damaged(sqlite3 *db);
/* flags as of sqlite3_open_v2. On failure too *ret may be a connection, to be closed. */
int sqlite_file_open(const char *path, int flags, const char *what, sqlite3 **ret, struct err *err);
/* state.db -> state.db.corrupt-<time>, with its WAL under the name that SQLite expects for it, so that what
 * was in it can be looked at. Left behind, that WAL would be taken for the new file's. Logs `message`. */
int sqlite_file_move_aside(const char *path, const char *message, const struct err *why, struct err *err);
#endif
