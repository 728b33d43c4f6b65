// SPDX-License-Identifier: Apache-2.0
/* A kept question of any bytes: refused, or a record that is written as the same bytes. Ids and times of any
 * bytes: refused, or what they mean is written as a text that means the same. */
#include <assert.h>
#include <string.h>

#include "common/timestamp.h"
#include "proxy/records/collect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct journal j = {.salt = 7};
    struct slice text = {(const char *)data, size};
    char out[TIMESTAMP_MAX], id[JOURNAL_ID_LEN + 1];
    int64_t ms, again;
    uint64_t number;
    struct collected *c = pending_read(data, size);
    if (c) {
        cleanup_buf struct buf b = {0};
        pending_format(&c->r, &b);
        assert(b.len <= size && memcmp(b.p, data, b.len) == 0);
        collected_free(c);
    }
    if (timestamp_parse(text, &ms))
        assert(timestamp_parse(slice_of(timestamp_format(ms, out)), &again) && again == ms);
    if (journal_id_number(&j, text.p, text.len, &number)) {
        const struct journal_record r = {.number = number};
        (void)journal_id(&j, &r, id);
        assert(memcmp(id + 10, text.p + 10, JOURNAL_ID_LEN - 10) == 0);
    }
    return 0;
}
