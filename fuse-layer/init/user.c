// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/init/user.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "fuse-layer/init/caps.h"

#define ID_MAX INT32_MAX /* as the engines have it */

/* name:password:uid:gid:comment:home:shell, or name:password:gid:members */
#define FIELDS 7
enum { NAME, PASSWORD, ID, PASSWD_GID, GROUP_MEMBERS = 3, PASSWD_HOME = 5 };

struct entry {
    struct slice field[FIELDS];
    uint64_t id;
};

/* The next line that is an entry: a name, and digits for its id. False at the end. */
static bool next_entry(struct slice *file, struct entry *ret)
{
    while (file->p && file->len) {
        struct slice line = slice_trim(slice_cut(file, '\n'));
        if (line.len == 0 || line.p[0] == '#')
            continue;
        *ret = (struct entry){0};
        for (size_t i = 0; i < FIELDS && line.p; ++i)
            ret->field[i] = slice_cut(&line, ':');
        if (ret->field[NAME].len && slice_to_u64(ret->field[ID], ID_MAX, &ret->id))
            return true;
    }
    return false;
}

/* Is this entry meant: by its name, or by its id in digits. */
static bool is_meant(const struct entry *e, struct slice text, bool is_id, uint64_t id)
{
    return slice_eq(e->field[NAME], text) || (is_id && e->id == id);
}

static int find_user(struct slice text, struct slice passwd, struct user *u, struct slice *ret_name,
                     struct err *err)
{
    uint64_t id = 0, gid;
    bool is_id = slice_to_u64(text, ID_MAX, &id);
    struct entry e;
    u->uid = (uid_t)id;
    while (next_entry(&passwd, &e)) {
        if (!is_meant(&e, text, is_id, id) || !slice_to_u64(e.field[PASSWD_GID], ID_MAX, &gid))
            continue;
        u->uid = (uid_t)e.id;
        u->gid = (gid_t)gid;
        *ret_name = e.field[NAME];
        struct slice home = e.field[PASSWD_HOME];
        if (home.len && home.len < sizeof u->home && !memchr(home.p, '\0', home.len)) {
            memcpy(u->home, home.p, home.len);
            u->home[home.len] = '\0';
        }
        return 0;
    }
    if (is_id)
        return 0;
    return err_set(err, ERR_NOT_FOUND,
                   "RAC_USER names user '%.*s', whom the image's /etc/passwd does not know",
                   (int)(text.len > 64 ? 64 : text.len), text.p);
}

static int find_group(struct slice text, struct slice group, struct user *u, struct err *err)
{
    uint64_t id;
    bool is_id = slice_to_u64(text, ID_MAX, &id);
    struct entry e;
    while (next_entry(&group, &e)) {
        if (is_meant(&e, text, is_id, is_id ? id : 0)) {
            u->gid = (gid_t)e.id;
            return 0;
        }
    }
    if (is_id) {
        u->gid = (gid_t)id;
        return 0;
    }
    return err_set(err, ERR_NOT_FOUND,
                   "RAC_USER names group '%.*s', which the image's /etc/group does not know",
                   (int)(text.len > 64 ? 64 : text.len), text.p);
}

static bool lists(struct slice members, struct slice name)
{
    while (members.p)
        if (slice_eq(slice_cut(&members, ','), name))
            return true;
    return false;
}

static bool add_group(struct user *u, gid_t gid)
{
    for (size_t i = 0; i < u->groups_len; ++i)
        if (u->groups[i] == gid)
            return true;
    if (u->groups_len == USER_GROUPS_MAX)
        return false;
    u->groups[u->groups_len++] = gid;
    return true;
}

static int add_memberships(struct slice name, struct slice group, struct user *u, struct err *err)
{
    struct entry e;
    while (name.len && next_entry(&group, &e))
        if (lists(e.field[GROUP_MEMBERS], name) && !add_group(u, (gid_t)e.id))
            return err_set(err, ERR_INVALID, "RAC_USER: user '%.*s' is in more than %d groups",
                           (int)(name.len > 64 ? 64 : name.len), name.p, USER_GROUPS_MAX);
    return 0;
}

static void find_root_home(struct slice passwd, struct user *u)
{
    struct user root = {.home = "/"};
    struct slice name;
    (void)find_user(SLICE_LIT("0"), passwd, &root, &name, NULL);
    memcpy(u->root_home, root.home, sizeof u->root_home);
}

int user_parse(const char *text, struct slice passwd, struct slice group, struct user *ret, struct err *err)
{
    struct slice rest = slice_of(text), who = slice_cut(&rest, ':'), name = {0};
    struct user u = {.home = "/"};
    if ((!who.len && !rest.len) || memchr(text, '\n', strlen(text)) ||
        (rest.p && memchr(rest.p, ':', rest.len)))
        return err_set(err, ERR_INVALID, "RAC_USER is '%.100s': name|uid[:group|gid]", text);
    const bool has_group = rest.p && rest.len;
    /* ":group" is root with a group, as the engines have it. */
    if (find_user(who.len ? who : SLICE_LIT("0"), passwd, &u, &name, err) < 0)
        return -1;
    if (has_group && find_group(rest, group, &u, err) < 0)
        return -1;
    (void)add_group(&u, u.gid);
    if (!has_group && add_memberships(name, group, &u, err) < 0)
        return -1;
    find_root_home(passwd, &u);
    *ret = u;
    return 0;
}

/* The whole of a regular file; nothing if there is none. What an image puts there may be a pipe or without an
 * end. */
static int read_file(const char *path, struct buf *ret, struct err *err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set_errno(err, ERR_IO, errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_IO, "%s is no file", path);
    ret->max = USER_FILE_BYTES_MAX;
    for (;;) {
        char chunk[16384];
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return err_set_errno(err, ERR_IO, errno, "%s", path);
        if (n > 0 && !buf_add(ret, chunk, (size_t)n))
            return err_set(err, ERR_SIZE_INVALID, "%s has more than %zu bytes", path, USER_FILE_BYTES_MAX);
    }
}

int user_resolve(const char *text, struct user *ret, struct err *err)
{
    cleanup_buf struct buf passwd = {0};
    cleanup_buf struct buf group = {0};
    if (read_file("/etc/passwd", &passwd, err) < 0 || read_file("/etc/group", &group, err) < 0)
        return err_wrap(err, "RAC_USER");
    return user_parse(text, (struct slice){passwd.p, passwd.len}, (struct slice){group.p, group.len}, ret,
                      err);
}

static bool is_already(const struct user *user)
{
    uid_t r, e, s;
    gid_t rg, eg, sg;
    return getresuid(&r, &e, &s) == 0 && getresgid(&rg, &eg, &sg) == 0 && r == user->uid && e == user->uid &&
           s == user->uid && rg == user->gid && eg == user->gid && sg == user->gid;
}

/* As runc does for the user it starts: else /dev/stdout, which is opened anew, would be another's. What is
 * shared with the world, or refuses, stays as it is. */
static void give_stdio(const struct user *user)
{
    struct stat null, st;
    bool have_null = stat("/dev/null", &null) == 0;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
        if (fstat(fd, &st) < 0 || st.st_uid == user->uid ||
            (have_null && S_ISCHR(st.st_mode) && st.st_rdev == null.st_rdev))
            continue;
        int ignored = fchown(fd, user->uid, st.st_gid);
        (void)ignored;
    }
}

int user_become(const struct user *user, struct err *err)
{
    if (is_already(user))
        return 0;
    if (geteuid() != 0)
        return err_set(err, ERR_DENIED,
                       "RAC_USER asks for user %u, and this is user %u: only root can become another. Remove "
                       "--user (docker, "
                       "podman) or runAsUser (Kubernetes), or the rule that sets RAC_USER",
                       (unsigned)user->uid, (unsigned)geteuid());
    give_stdio(user);
    if (setgroups(user->groups_len, user->groups) < 0 || setresgid(user->gid, user->gid, user->gid) < 0 ||
        setresuid(user->uid, user->uid, user->uid) < 0)
        return err_set_errno(err, ERR_DENIED, errno,
                             "cannot become user %u:%u (capabilities SETUID and SETGID are needed for it)",
                             (unsigned)user->uid, (unsigned)user->gid);
    if (user->uid != 0 && caps_drop(err) < 0)
        return -1;
    if (!is_already(user))
        return err_set(err, ERR_DENIED, "cannot become user %u:%u", (unsigned)user->uid, (unsigned)user->gid);
    const char *home = getenv("HOME");
    if (home && strcmp(home, user->root_home) == 0)
        (void)setenv("HOME", user->home, 1);
    return 0;
}
