// SPDX-License-Identifier: Apache-2.0
/* Profile files and the JSON of metadata services. */
#include <assert.h>
#include <stdint.h>

#include "common/mem.h"
#include "s3/credentials_json.h"
#include "s3/credentials_profile.h"
#include "s3/credentials_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_value(const char *value)
{
    for (; value && *value; ++value)
        assert((unsigned char)*value >= ' ' && *value != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *copy = mem_alloc(size);
    memcpy(copy, data, size);
    struct slice text = {copy, size};
    for (int config = 0; config < 2; ++config) {
        cleanup_profile struct profile p = {0};
        profile_parse(&p, text, config ? "p" : "default", config);
        use_value(p.access_key_id);
        use_value(p.secret_access_key);
        use_value(p.session_token);
        use_value(p.region);
    }
    struct credentials *c;
    if (credentials_from_json(text, "EC2", &c, NULL) == 0) {
        assert(*c->access_key_id && *c->secret_access_key && !strpbrk(c->access_key_id, " \r\n"));
        credentials_put(c);
    }
    free(credentials_json_string(text, "k"));
    return 0;
}
