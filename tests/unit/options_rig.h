// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TESTS_OPTIONS_RIG_H
#define RAC_TESTS_OPTIONS_RIG_H
/* A folder with the files that configurations of the tests name, as the current folder; and short ways to
 * read options. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "proxy/options/options.h"

static inline void cleanup_options_fn(struct options **o)
{
    options_free(*o);
}
#define cleanup_options RAC_CLEANUP(cleanup_options_fn)

static inline void rig_write(const char *path, const char *text, size_t len, mode_t mode)
{
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    assert_int_equal(fchmod(fd, mode), 0);
}
#define rig_file(path, text, mode) rig_write(path, text, sizeof(text) - 1, mode)

static char rig_folder[] = "/tmp/rac-options-XXXXXX";

static inline int rig_setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(rig_folder));
    assert_int_equal(chdir(rig_folder), 0);
    rig_file("secret", "s3cr3t\n", 0600);
    rig_file("open-secret", "s3cr3t\r\n", 0644);
    rig_file("empty", "", 0600);
    rig_file("newline", "\n", 0600);
    rig_file("two-lines", "one\ntwo\n", 0600);
    rig_file("layer.json", "{}", 0644);
    rig_file("other.json", "{}", 0644);
    rig_file("ca.pem", "-", 0644);
    rig_file("key.pem", "-", 0600);
    rig_file("open-key.pem", "-", 0644);
    assert_int_equal(mkdir("folder", 0755), 0);
    rig_file("folder/layer.json", "{}", 0644);
    rig_file("folder/secret", "in-folder", 0600);
    return 0;
}

static inline int rig_teardown(void **state)
{
    (void)state;
    static const char *const names[] = {"secret",
                                        "open-secret",
                                        "empty",
                                        "newline",
                                        "two-lines",
                                        "layer.json",
                                        "other.json",
                                        "ca.pem",
                                        "key.pem",
                                        "open-key.pem",
                                        "rac.yaml",
                                        "folder/rac.yaml",
                                        "folder/layer.json",
                                        "folder/secret",
                                        "long"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i)
        (void)unlink(names[i]);
    (void)rmdir("folder");
    assert_int_equal(chdir("/"), 0);
    return rmdir(rig_folder); /* a file that a test left behind fails here */
}

/* NULL-terminated lists of words; argv gets the program's name in front. */
static inline int rig_read(const char *const *args, const char *const *env, struct options **ret,
                           struct err *err)
{
    char *argv[32] = {(char *)(uintptr_t) "rac-proxy"};
    int argc = 1;
    for (; args && *args; ++args)
        argv[argc++] = (char *)(uintptr_t)*args;
    assert_true(argc < 32);
    static char home[] = "HOME=/nonexistent";
    char *envp[32] = {home};
    for (size_t i = 0; env && env[i]; ++i)
        envp[i + 1] = (char *)(uintptr_t)env[i];
    return options_read(argc, argv, envp, ret, err);
}
#define WORDS(...) ((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static inline struct options *rig_options(const char *const *args, const char *const *env)
{
    struct options *o = NULL;
    struct err err = {0};
    if (rig_read(args, env, &o, &err) < 0)
        fail_msg("%s", err.msg);
    return o;
}

/* The document as rac.yaml, nothing else. */
static inline struct options *rig_yaml(const char *text)
{
    rig_write("rac.yaml", text, strlen(text), 0600);
    return rig_options(WORDS("--config", "rac.yaml"), NULL);
}

static inline bool rig_warns(const struct options *o, const char *part)
{
    for (size_t i = 0; o->warnings[i]; ++i)
        if (strstr(o->warnings[i], part))
            return true;
    return false;
}
#endif
