// SPDX-License-Identifier: Apache-2.0
/* RAC_USER, /etc/passwd and /etc/group of any bytes, divided by NULs: what comes out is within its limits. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "fuse-layer/init/user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct user u;
    struct err err;
    struct slice rest = {(const char *)data, size}, who = slice_cut(&rest, '\0'),
                 passwd = slice_cut(&rest, '\0');
    cleanup_free char *text = mem_strndup(who.len ? who.p : "", who.len);
    if (user_parse(text, passwd, rest, &u, &err) < 0) {
        assert(err.code == ERR_INVALID || err.code == ERR_NOT_FOUND);
        return 0;
    }
    assert(u.uid <= INT32_MAX && u.gid <= INT32_MAX);
    assert(u.groups_len >= 1 && u.groups_len <= USER_GROUPS_MAX && u.groups[0] == u.gid);
    assert(memchr(u.home, '\0', sizeof u.home) && u.home[0] && memchr(u.root_home, '\0', sizeof u.root_home));
    return 0;
}
