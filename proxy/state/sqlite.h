// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_STATE_SQLITE_H
#define RAC_STATE_SQLITE_H
/* The embedded store: one SQLite file (WAL), one writer thread with group commit, a few readers. */
#include "proxy/state/state.h"

/* Opens or makes <dir>/state.db. Errors say which file and what to do (newer schema, no permission, in use by
 * another rac-proxy: <dir> is locked by a lock file). A damaged file is moved to state.db.corrupt-<time>,
 * loudly, and a new one is begun: what it knew can be asked for again. The file is looked through at each
 * start, which takes about a second for a million links. Blocking; main thread. */
int sqlite_state_open(const char *dir, struct state **ret, struct err *err);
/* A whole copy of <dir>/state.db as a new file `to`, at one moment, also while a rac-proxy uses it: what it
 * acknowledged before is in it. ERR_EXISTS if `to` is there. Blocking; any thread. */
int sqlite_state_backup(const char *dir, const char *to, struct err *err);
#endif
