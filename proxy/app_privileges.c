// SPDX-License-Identifier: Apache-2.0
#include "proxy/app_privileges.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fs.h"
#include "common/mem.h"
#include "common/str.h"

#define PASSWD_LINE_MAX ((size_t)64 << 10)
#define ID_MAX          (UINT32_MAX - 1) /* the last one means "as it is" to the kernel */

struct identity {
    uid_t uid;
    gid_t gid;
    bool is_known; /* in the user database, so that it may have more groups */
};

static int find_identity(const char *user, struct identity *ret, struct err *err)
{
    cleanup_free char *line = mem_alloc(PASSWD_LINE_MAX);
    struct passwd entry, *found = NULL;
    struct slice rest = slice_of(user);
    struct slice first = slice_cut(&rest, ':');
    uint64_t uid, gid;
    if (slice_to_u64(first, ID_MAX, &uid)) {
        if (!rest.p)
            gid = uid;
        else if (!slice_to_u64(rest, ID_MAX, &gid))
            return err_set(err, ERR_INVALID, "user '%s': a name, UID or UID:GID is expected", user);
        *ret = (struct identity){.uid = (uid_t)uid, .gid = (gid_t)gid};
    } else {
        int rc = getpwnam_r(user, &entry, line, PASSWD_LINE_MAX, &found);
        if (rc != 0)
            return err_set_errno(err, ERR_IO, rc, "user '%s': the user database cannot be asked", user);
        if (!found)
            return err_set(err, ERR_INVALID, "user '%s': there is none of that name", user);
        *ret = (struct identity){.uid = entry.pw_uid, .gid = entry.pw_gid, .is_known = true};
    }
    if (ret->uid == 0)
        return err_set(err, ERR_INVALID, "user '%s' is root, whose rights are to be given up", user);
    return 0;
}

/* Whoever it becomes could not make /var/lib/rac-proxy. One that is there belongs to whom it belongs. */
static int make_data_dir(const char *dir, const struct identity *to, struct err *err)
{
    struct stat st;
    if (lstat(dir, &st) == 0)
        return 0;
    if (fs_mkdirs(dir, 0750, err) < 0)
        return -1;
    cleanup_close int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fchown(fd, to->uid, to->gid) < 0)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot be given to its user", dir);
    return 0;
}

static int drop_capabilities(struct err *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3] = {{0}};
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &header, caps) == 0)
        return 0;
    int saved = errno;
    /* Where the call itself is forbidden (our systemd unit does it), there may be nothing to give up. */
    if (syscall(SYS_capget, &header, caps) == 0 && !caps[0].permitted && !caps[1].permitted)
        return 0;
    return err_set_errno(err, ERR_DENIED, saved, "cannot give up the capabilities of this process");
}

void privileges_fix(void)
{
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

int privileges_drop(const char *user, const char *data_dir, struct err *err)
{
    struct identity to = {0};
    if (!user)
        return geteuid() != 0 ? drop_capabilities(err) : 0;
    if (find_identity(user, &to, err) < 0)
        return -1;
    if (geteuid() != 0) {
        if (geteuid() != to.uid)
            return err_set(err, ERR_DENIED, "user '%s': only root can become another user; this is user %u",
                           user, (unsigned)geteuid());
        return drop_capabilities(err);
    }
    if (make_data_dir(data_dir, &to, err) < 0)
        return -1;
    if ((to.is_known ? initgroups(user, to.gid) : setgroups(0, NULL)) < 0 ||
        setresgid(to.gid, to.gid, to.gid) < 0 || setresuid(to.uid, to.uid, to.uid) < 0)
        return err_set_errno(err, ERR_DENIED, errno, "user '%s': cannot become that user", user);
    if (drop_capabilities(err) < 0)
        return -1;
    int back = setuid(0);
    assert(back < 0);
    return 0;
}
