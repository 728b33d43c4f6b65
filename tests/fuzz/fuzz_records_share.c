// SPDX-License-Identifier: Apache-2.0
/* An entry of the stream that replicas share, of any bytes: refused, or a record that is written as an entry
 * which is read as the same. */
#include <assert.h>
#include <string.h>

#include "proxy/records/share_entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct journal j = {.salt = 7, .shared = true, .replica = "0123456789abcdef"};
    struct journal_arrival a, again;
    struct err err;
    cleanup_buf struct buf b = {0}, c = {0};
    cleanup_json json_t *doc = share_entry_parse(&j, (struct slice){(const char *)data, size}, &a, &err);
    if (!doc)
        return 0;
    share_entry_format(&j, &a.r, a.is_update, &b);
    cleanup_json json_t *twice = share_entry_parse(&j, (struct slice){b.p, b.len}, &again, &err);
    assert(twice && again.is_own && again.is_update == a.is_update && again.r.kind == a.r.kind);
    assert(again.r.id[0] == a.r.id[0] && again.r.id[1] == a.r.id[1]);
    share_entry_format(&j, &again.r, again.is_update, &c);
    assert(b.len == c.len && memcmp(b.p, c.p, b.len) == 0);
    return 0;
}
