// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_STATE_SQLITE_JOURNAL_H
#define RAC_STATE_SQLITE_JOURNAL_H
/* The embedded journal of pull records: a SQLite file of its own (WAL), so that neither its size nor its
 * writes concern the state that pulls wait for. */
#include "proxy/state/journal.h"

/* Opens or makes <dir>/records.db. A damaged file is moved aside, loudly. read_only: for an export beside the
 * process that writes; ERR_NOT_FOUND if there is none. Blocking; main thread. */
int sqlite_journal_open(const char *dir, const struct journal_limits *limits, bool read_only,
                        struct journal **ret, struct err *err);
#endif
