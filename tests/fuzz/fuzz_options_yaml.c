// SPDX-License-Identifier: Apache-2.0
/* A configuration file of any bytes: refused with one line that says where, or taken with all that its types
 * promise. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "proxy/options/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static FILE *nowhere;
    /* A password is read at once: from no device, nor from what this process itself is. */
    if (memmem(data, size, "/dev", 4) || memmem(data, size, "/proc", 5))
        return 0;
    if (!nowhere)
        nowhere = fopen("/dev/null", "we");
    struct options *o = mem_new(struct options);
    struct err err = {0};
    o->origins = mem_zalloc(option_count * sizeof *o->origins);
    o->warnings = mem_zalloc(sizeof *o->warnings);
    o->config_file = mem_strdup("fuzz.yaml");
    if (option_read_document(o, (const char *)data, size, "/nonexistent", 0100644, &err) < 0) {
        assert(err.code != ERR_NONE && strncmp(err.msg, "fuzz.yaml:", 10) == 0);
        assert(!strchr(err.msg, '\n'));
    } else {
        for (size_t i = 0; i < o->upstream_count; ++i) {
            const struct options_upstream *u = &o->upstreams[i];
            assert(u->name && *u->name && strncmp(u->url, "http", 4) == 0 && !strpbrk(u->url, "@?# "));
        }
        for (size_t i = 0; i < o->rule_count; ++i)
            assert(o->rules[i].match && *o->rules[i].match);
        options_print_check(o, nowhere);
    }
    options_free(o);
    return 0;
}
