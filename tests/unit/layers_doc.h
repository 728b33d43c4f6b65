// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TESTS_LAYERS_DOC_H
#define RAC_TESTS_LAYERS_DOC_H
/* Documents for the tests of layers/. Text with ' for " reads better in C. Everything returned is malloc'd.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/mem.h"
#include "layers/inject.h"
#include "layers/out_file.h"

#define HEX_A    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define HEX_C    "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define HEX_D    "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
#define DIGEST_A "sha256:" HEX_A
#define DIGEST_B "sha256:" HEX_B
#define DIGEST_C "sha256:" HEX_C
#define DIGEST_D "sha256:" HEX_D

/* A layer that goes everywhere: gzip C, tar D, 77 bytes. */
#define ONE_LAYER                                                                                            \
    "'layers':[{'location':'https://l/x','gzipDigest':'" DIGEST_C "','gzipSize':77,'tarDigest':'" DIGEST_D   \
    "'}]"

static inline char *doc(const char *text)
{
    char *s = mem_strdup(text);
    for (char *p = s; *p; ++p)
        if (*p == '\'')
            *p = '"';
    return s;
}

static inline struct digest digest_lit(const char *text)
{
    struct digest d;
    struct err err;
    if (digest_parse(slice_of(text), &d, &err) < 0)
        fail_msg("%s", err.msg);
    return d;
}

static inline struct buf fixture(const char *name)
{
    struct buf b = {0};
    struct err err;
    char *path = mem_printf("%s/%s", RAC_FIXTURES, name);
    if (in_file_read(path, 1 << 20, &b, &err) < 0)
        fail_msg("%s", err.msg);
    free(path);
    return b;
}

static inline struct manifest *manifest_of(const char *text, const char *content_type)
{
    struct err err;
    char *s = doc(text);
    struct manifest *m = manifest_parse(s, strlen(s), content_type, &err);
    if (!m)
        fail_msg("%s: %s", s, err.msg);
    free(s);
    return m;
}

static inline struct injection *injection_of(const char *text, enum injection_trust trust)
{
    struct err err;
    char *s = doc(text);
    struct injection *inj = injection_parse(s, strlen(s), trust, "/", &err);
    if (!inj)
        fail_msg("%s: %s", s, err.msg);
    free(s);
    return inj;
}
#endif
