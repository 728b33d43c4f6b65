// SPDX-License-Identifier: Apache-2.0
/* Names, tags, digests and platforms of any bytes: what passes is harmless in a path, a URL and a log line.
 */
#include <assert.h>
#include <stdint.h>

#include "layers/media_type.h"
#include "layers/platform.h"
#include "layers/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_printable(const char *s)
{
    for (; *s; ++s)
        assert(*s >= 0x20);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    struct err err;
    struct reference r;
    struct platform p, again;
    char out[PLATFORM_STR_MAX];
    if (reference_check_name(text, &err) == 0) {
        assert(size && size <= REFERENCE_NAME_MAX && !memmem(data, size, "..", 2) &&
               !memmem(data, size, "//", 2));
        assert(!memchr(data, '%', size) && !memchr(data, '\0', size) && !memchr(data, ':', size));
        assert(data[0] != '/' && data[size - 1] != '/');
    } else {
        assert(err.code == ERR_NAME_INVALID);
        check_printable(err.msg);
    }
    if (reference_parse(text, &r, &err) == 0) {
        const char *s = r.is_digest ? r.digest.s : r.tag;
        assert(strlen(s) == size && memcmp(s, data, size) == 0 && !strpbrk(s, "/%?#\\ "));
    }
    if (platform_parse(text, &p, &err) == 0) {
        /* What is written reads as the same. */
        assert(platform_parse(slice_of(platform_format(&p, out)), &again, &err) == 0);
        assert(strcmp(p.os, again.os) == 0 && strcmp(p.architecture, again.architecture) == 0);
        assert(strcmp(p.variant, again.variant) == 0 && platform_matches(&p, &p));
    }
    assert(media_type_bare(text).len <= size);
    (void)media_type_kind(text);
    return 0;
}
