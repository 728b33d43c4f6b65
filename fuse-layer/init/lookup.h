// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_INIT_LOOKUP_H
#define RAC_INIT_LOOKUP_H
/*
 * From a command's name to its program, as the container runtime does it (runc: Go's exec.LookPath): a name
 * with a slash is a path; any other is looked for in PATH, where folders and files that may not be executed
 * are passed by. A file without "#!" that is no program is not handed to a shell.
 */
#include <limits.h>
#include <stddef.h>

#define LOOKUP_PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum { LOOKUP_NOT_EXECUTABLE = 126, LOOKUP_NOT_FOUND = 127 };

/* `path`: of the container; NULL (not set) = the default. 0 with the program in `out`; else LOOKUP_NOT_FOUND
 * or LOOKUP_NOT_EXECUTABLE with the reason in errno. */
int lookup_find(const char *name, const char *path, char out[PATH_MAX]);

/* Becomes the command, with the environment as it is. Returns only if that cannot be: the exit code, after
 * saying why. */
int lookup_exec(char **argv);
#endif
