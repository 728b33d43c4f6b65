// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "common/mem.h"
#include "proxy/cache/disk_impl.h"

static unsigned hex_value(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

unsigned disk_folder_index(const struct digest *d)
{
    const char *hex = digest_hex(d);
    unsigned algorithm = slice_eq_str(digest_algorithm(d), "sha512") ? 256 : 0;
    return algorithm + hex_value(hex[0]) * 16 + hex_value(hex[1]);
}

bool disk_digest_of_name(const char *name, bool sha512, struct digest *ret)
{
    char text[DIGEST_STR_MAX + 2];
    size_t len = strlen(name);
    if (len != (sha512 ? 128 : 64))
        return false;
    memcpy(text, sha512 ? "sha512:" : "sha256:", 7);
    memcpy(text + 7, name, len + 1);
    return digest_parse((struct slice){text, len + 7}, ret, NULL) == 0;
}

int disk_walk_folder(const char *dir, unsigned index, disk_walk_fn *fn, void *arg)
{
    bool sha512 = index >= 256;
    cleanup_free char *path = mem_printf("%s/blobs/%s/%02x", dir, sha512 ? "sha512" : "sha256", index & 255);
    DIR *folder = opendir(path);
    if (!folder)
        return 0; /* most are not there in a small store */
    int rc = 0;
    struct dirent *e;
    while (rc == 0 && (e = readdir(folder)) != NULL) {
        struct digest digest;
        struct stat st;
        if (!disk_digest_of_name(e->d_name, sha512, &digest) || disk_folder_index(&digest) != index)
            continue;
        if (fstatat(dirfd(folder), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            rc = fn(arg, dirfd(folder), e->d_name, &digest, &st);
    }
    (void)closedir(folder);
    return rc;
}
