// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/init/options.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/str.h"

/* Set and not empty: an empty variable is how a pod or a compose file takes one back. */
static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* rac-fuse reads the lists; here it counts only whether they name anything. */
static bool names_bucket(const char *list)
{
    return list && list[strspn(list, " \t,")] != '\0';
}

static int read_level(enum say_level *ret, struct err *err)
{
    static const char *const names[] = {"debug", "info", "warn", "error", "off"};
    const char *value = variable("RAC_LOG_LEVEL");
    *ret = SAY_WARN;
    if (!value)
        return 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
        if (strcmp(value, names[i]) == 0) {
            *ret = (enum say_level)i;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID, "RAC_LOG_LEVEL is '%.100s': debug, info, warn, error or off", value);
}

static int read_timeout(const char *name, uint64_t standard_ms, uint64_t *ret_ms, struct err *err)
{
    const char *value = variable(name);
    *ret_ms = standard_ms;
    if (!value)
        return 0;
    if (!str_parse_duration(value, ret_ms) || *ret_ms > OPTIONS_TIMEOUT_MAX_MS)
        return err_set(err, ERR_INVALID, "%s is '%.100s': a time of at most 1h, as 10s or 500ms", name,
                       value);
    return 0;
}

static int read_required(bool *ret, struct err *err)
{
    const char *value = variable("RAC_MOUNT");
    *ret = !value || strcmp(value, "required") == 0;
    if (!*ret && strcmp(value, "optional") != 0)
        return err_set(err, ERR_INVALID, "RAC_MOUNT is '%.100s': required or optional", value);
    return 0;
}

int options_read(struct options *ret, struct err *err)
{
    *ret = (struct options){
        .buckets = names_bucket(getenv("NXF_FUSION_BUCKETS")) || names_bucket(getenv("RAC_S3_BUCKETS")),
        .chain = variable("WAVE_ENTRY_CHAIN"),
        .user = variable("RAC_USER"),
        .level = SAY_WARN,
    };
    if (!ret->buckets)
        return 0;
    if (read_level(&ret->level, err) < 0 || read_required(&ret->required, err) < 0 ||
        read_timeout("RAC_MOUNT_TIMEOUT", 10000, &ret->mount_timeout_ms, err) < 0 ||
        read_timeout("RAC_FLUSH_TIMEOUT", 20000, &ret->flush_timeout_ms, err) < 0)
        return -1;
    return 0;
}
