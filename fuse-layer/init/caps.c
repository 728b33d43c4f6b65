// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/init/caps.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's form: three words for capabilities 0 to 31, three for 32 to 63. */
struct words {
    struct __user_cap_header_struct head;
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
};

static uint64_t join(uint32_t low, uint32_t high)
{
    return (uint64_t)high << 32 | low;
}

void caps_read(struct caps *ret)
{
    struct words w = {.head = {.version = _LINUX_CAPABILITY_VERSION_3}};
    *ret = (struct caps){0};
    if (syscall(SYS_capget, &w.head, w.data) == 0) {
        ret->effective = join(w.data[0].effective, w.data[1].effective);
        ret->permitted = join(w.data[0].permitted, w.data[1].permitted);
        ret->inheritable = join(w.data[0].inheritable, w.data[1].inheritable);
    }
    for (int i = 0; i < 64; ++i)
        if (prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1)
            ret->bounding |= (uint64_t)1 << i;
}

static int set(uint64_t effective, uint64_t permitted, uint64_t inheritable, struct err *err)
{
    struct words w = {.head = {.version = _LINUX_CAPABILITY_VERSION_3}};
    for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; ++i) {
        w.data[i].effective = (uint32_t)(effective >> (32 * i));
        w.data[i].permitted = (uint32_t)(permitted >> (32 * i));
        w.data[i].inheritable = (uint32_t)(inheritable >> (32 * i));
    }
    if (syscall(SYS_capset, &w.head, w.data) < 0)
        return err_set_errno(err, ERR_DENIED, errno, "cannot give up capabilities");
    return 0;
}

int caps_limit(const struct caps *kept, struct err *err)
{
    struct caps have;
    caps_read(&have);
    for (int i = 0; i < 64; ++i)
        if ((have.bounding & ~kept->bounding) >> i & 1 && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
            return err_set_errno(err, ERR_DENIED, errno, "cannot give up capability %d", i);
    return set(have.effective & kept->effective, have.permitted & kept->permitted,
               have.inheritable & kept->inheritable, err);
}

int caps_drop(struct err *err)
{
    /* Ambient ones go with the permitted ones. */
    return set(0, 0, 0, err);
}
