// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_INIT_USER_H
#define RAC_INIT_USER_H
/*
 * RAC_USER: who the image meant to run as, where a rule "user": "root-then-drop" starts it as root. Read as
 * the engines read an image's User: name|uid[:group|gid], against the image's own /etc/passwd and /etc/group.
 * A name that is all digits is looked for as a name and as an id, and needs no entry. Without a group it is
 * the user's own (0 for an id without an entry), and the groups that name the user as a member come along.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/str.h"

#define USER_GROUPS_MAX     256
#define USER_HOME_MAX       1024 /* bytes, with the NUL */
#define USER_FILE_BYTES_MAX ((size_t)4 << 20)

struct user {
    uid_t uid;
    gid_t gid;
    gid_t groups[USER_GROUPS_MAX]; /* supplementary: gid first, no doubles */
    size_t groups_len;
    char home[USER_HOME_MAX];      /* "/" where no entry says */
    char root_home[USER_HOME_MAX]; /* of uid 0 */
};

/* Pure: `passwd` and `group` are the files' bytes, empty if there is no such file. ERR_INVALID (malformed,
 * over a limit), ERR_NOT_FOUND (a name without an entry). */
int user_parse(const char *text, struct slice passwd, struct slice group, struct user *ret, struct err *err);
/* user_parse against the files of this root. Also ERR_IO, ERR_SIZE_INVALID. */
int user_resolve(const char *text, struct user *ret, struct err *err);

/* Becomes that user, for good: stdio is given to it, groups and ids are set, and all capabilities are dropped
 * unless it is uid 0. HOME follows, where it is the one that the runtime took from root's entry. Nothing to
 * do for who is that user already. Call it between fork and exec, or right before exec. ERR_DENIED with what
 * is missing. */
int user_become(const struct user *user, struct err *err);
#endif
