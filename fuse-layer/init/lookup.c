// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/init/lookup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/str.h"
#include "fuse-layer/init/say.h"

/* 0, or an errno. */
static int check(const char *file)
{
    struct stat st;
    if (stat(file, &st) < 0)
        return errno;
    if (S_ISDIR(st.st_mode))
        return EISDIR;
    if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111))
        return EACCES;
    return faccessat(AT_FDCWD, file, X_OK, AT_EACCESS) < 0 && errno != ENOSYS ? errno : 0;
}

static int code_of(int error)
{
    return error == ENOENT ? LOOKUP_NOT_FOUND : LOOKUP_NOT_EXECUTABLE;
}

int lookup_find(const char *name, const char *path, char out[PATH_MAX])
{
    size_t len = strlen(name);
    if (len >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return LOOKUP_NOT_EXECUTABLE;
    }
    if (strchr(name, '/')) {
        errno = check(name);
        if (errno)
            return code_of(errno);
        memcpy(out, name, len + 1);
        return 0;
    }
    struct slice rest = slice_of(path ? path : LOOKUP_PATH_DEFAULT);
    bool more = len && rest.len;
    while (more) {
        struct slice dir = slice_cut(&rest, ':');
        more = rest.p != NULL;
        if (dir.len == 0)
            dir = SLICE_LIT(".");
        if (dir.len + 1 + len >= PATH_MAX)
            continue;
        memcpy(out, dir.p, dir.len);
        out[dir.len] = '/';
        memcpy(out + dir.len + 1, name, len + 1);
        if (check(out) == 0)
            return 0;
    }
    errno = ENOENT;
    return LOOKUP_NOT_FOUND;
}

/* What helps, where the errno does not: a script's interpreter, a program's loader or its processor. */
static const char *hint(int error)
{
    if (error == ENOENT)
        return " (the program is there: what its first line or its ELF header asks for to run it is not)";
    if (error == ENOEXEC)
        return " (made for another processor, or a script without #! in its first line)";
    return "";
}

int lookup_exec(char **argv)
{
    char file[PATH_MAX], reason[128];
    int code = lookup_find(argv[0], getenv("PATH"), file);
    if (code) {
        if (code == LOOKUP_NOT_FOUND && !strchr(argv[0], '/'))
            say(SAY_ERROR, "%s: not found in PATH", argv[0]);
        else
            say(SAY_ERROR, "%s: %s", argv[0], strerror_r(errno, reason, sizeof reason));
        return code;
    }
    extern char **environ;
    (void)execve(file, argv, environ);
    int error = errno;
    say(SAY_ERROR, "%s: %s%s", file, strerror_r(error, reason, sizeof reason), hint(error));
    return code_of(error);
}
