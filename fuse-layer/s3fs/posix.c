// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/posix.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/str.h"

static bool number(const struct s3_meta *meta, const char *name, uint64_t max, uint64_t *ret)
{
    const char *value = s3_meta_get(meta, name);
    if (!value)
        return false;
    struct slice rest = slice_of(value), whole = slice_cut(&rest, '.'); /* times may have a fraction */
    return slice_to_u64(whole, max, ret);
}

void posix_from_meta(const struct s3_meta *meta, struct inode_attr *attr)
{
    uint64_t n;
    if (!number(meta, "mode", 0177777, &n))
        return;
    bool folder = attr->kind <= INODE_FOLDER;
    if (!folder && S_ISLNK((mode_t)n))
        attr->kind = INODE_LINK;
    /* Zero means "not said" everywhere else; a file that nobody may touch is shown as one without any bit
     * but the owner's, who could change it anyway. */
    attr->mode = (mode_t)n & 07777 ? (mode_t)n & 07777 : 0400;
    if (number(meta, "uid", UINT32_MAX, &n))
        attr->uid = (uid_t)n;
    if (number(meta, "gid", UINT32_MAX, &n))
        attr->gid = (gid_t)n;
    if (number(meta, "mtime", INT64_MAX / 1000, &n)) {
        attr->mtime_ms = (int64_t)n * 1000;
        const char *dot = strchr(s3_meta_get(meta, "mtime"), '.');
        uint64_t fraction;
        if (dot && strlen(dot + 1) >= 3 && slice_to_u64((struct slice){dot + 1, 3}, 999, &fraction))
            attr->mtime_ms += (int64_t)fraction;
    }
}

void posix_to_meta(const struct inode_attr *attr, struct s3_meta *meta)
{
    if (!attr->mode)
        return;
    char value[32];
    mode_t type = attr->kind == INODE_LINK ? S_IFLNK : attr->kind == INODE_FILE ? S_IFREG : S_IFDIR;
    (void)snprintf(value, sizeof value, "%u", (unsigned)(type | attr->mode));
    s3_meta_set(meta, "mode", value);
    (void)snprintf(value, sizeof value, "%u", (unsigned)attr->uid);
    s3_meta_set(meta, "uid", value);
    (void)snprintf(value, sizeof value, "%u", (unsigned)attr->gid);
    s3_meta_set(meta, "gid", value);
    (void)snprintf(value, sizeof value, "%" PRId64 ".%03d", attr->mtime_ms / 1000,
                   (int)(attr->mtime_ms % 1000));
    s3_meta_set(meta, "mtime", value);
}
