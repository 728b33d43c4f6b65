// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "fuse-layer/init/lookup.h"
#include "scratch.h"

static void touch(const char *path, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, mode), 0);
    assert_int_equal(close(fd), 0);
}

/* A folder with all that can be found, as the working folder. */
static int start(void **state)
{
    *state = scratch_new();
    assert_int_equal(chdir(*state), 0);
    for (const char *const *d = (const char *const[]){"a", "b", "c", "a/folder", "d", NULL}; *d; ++d)
        assert_int_equal(mkdir(*d, 0755), 0);
    touch("a/plain", 0644);
    touch("b/plain", 0755);
    touch("c/plain", 0755);
    touch("c/folder", 0755);
    touch("here", 0755);
    touch("only-plain", 0644);
    return 0;
}

static int finish(void **state)
{
    assert_int_equal(chdir("/"), 0);
    scratch_free(*state);
    return 0;
}

static void found(const char *name, const char *path, const char *expected)
{
    char out[PATH_MAX];
    assert_int_equal(lookup_find(name, path, out), 0);
    assert_string_equal(out, expected);
}

static void missing(const char *name, const char *path, int code, int error)
{
    char out[PATH_MAX];
    assert_int_equal(lookup_find(name, path, out), code);
    assert_int_equal(errno, error);
}

static void in_path(void **state)
{
    (void)state;
    found("plain", "a:b:c", "b/plain");
    found("plain", "none:c:b", "c/plain");
    found("folder", "a:b:c", "c/folder");
    found("here", "a::b", "./here");
    found("here", "a:", "./here");
    found("here", ":a", "./here");
    missing("here", "a", LOOKUP_NOT_FOUND, ENOENT);
    missing("here", "", LOOKUP_NOT_FOUND, ENOENT);
    missing("plain", "a", LOOKUP_NOT_FOUND, ENOENT);
    missing("", "a:b", LOOKUP_NOT_FOUND, ENOENT);
    found("sh", NULL, access("/usr/bin/sh", X_OK) == 0 ? "/usr/bin/sh" : "/bin/sh");
}

static void by_path(void **state)
{
    (void)state;
    found("./here", "a", "./here");
    found("b/plain", "", "b/plain");
    missing("a/plain", "b", LOOKUP_NOT_EXECUTABLE, EACCES);
    missing("a/folder", "c", LOOKUP_NOT_EXECUTABLE, EISDIR);
    missing("./none", ".", LOOKUP_NOT_FOUND, ENOENT);
    missing("here/x", ".", LOOKUP_NOT_EXECUTABLE, ENOTDIR);
}

static void long_names(void **state)
{
    (void)state;
    char name[PATH_MAX + 1], path[PATH_MAX + 3];
    memset(name, 'n', PATH_MAX);
    name[PATH_MAX] = '\0';
    missing(name, "a", LOOKUP_NOT_EXECUTABLE, ENAMETOOLONG);
    /* A folder that is too long with the name is passed by. */
    memset(path, 'p', PATH_MAX - 1);
    memcpy(path + PATH_MAX - 1, ":b", 3);
    found("plain", path, "b/plain");
    name[PATH_MAX - 1] = '\0';
    missing(name, "a", LOOKUP_NOT_FOUND, ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(in_path, start, finish),
        cmocka_unit_test_setup_teardown(by_path, start, finish),
        cmocka_unit_test_setup_teardown(long_names, start, finish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
