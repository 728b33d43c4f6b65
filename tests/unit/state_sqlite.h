// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TESTS_STATE_SQLITE_H
#define RAC_TESTS_STATE_SQLITE_H
/* The embedded store for tests: its place is the path of its folder. */
#include "proxy/state/sqlite.h"
#include "tests/unit/state_rig.h"

static inline void *sqlite_place_new(void)
{
    return scratch_new();
}

static inline struct state *sqlite_place_open(void *place)
{
    struct state *s = NULL;
    struct err err;
    if (sqlite_state_open(place, &s, &err) < 0)
        fail_msg("%s", err.msg);
    return s;
}

static inline void sqlite_place_free(void *place)
{
    scratch_free(place);
}

static const struct backend sqlite_backend = {"sqlite", sqlite_place_new, sqlite_place_free,
                                              sqlite_place_open};
#endif
