// SPDX-License-Identifier: Apache-2.0
#include "proxy/state/journal.h"

#include <string.h>

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/* 128 bits as 26 digits of 5 bits; the first digit has two bits to spare. */
char *journal_id(const struct journal *j, const struct journal_record *r, char out[JOURNAL_ID_LEN + 1])
{
    uint64_t high = ((uint64_t)r->made_ms & 0xffffffffffffu) << 16 | r->number >> 48;
    uint64_t low = r->number << 16 | j->salt;
    for (int i = JOURNAL_ID_LEN - 1; i >= 0; --i) {
        out[i] = alphabet[low & 31];
        low = low >> 5 | high << 59;
        high >>= 5;
    }
    out[JOURNAL_ID_LEN] = '\0';
    return out;
}

bool journal_id_number(const struct journal *j, const char *id, size_t len, uint64_t *ret)
{
    uint64_t high = 0, low = 0;
    if (len != JOURNAL_ID_LEN || id[0] > '7')
        return false;
    for (size_t i = 0; i < len; ++i) {
        const char *digit = id[i] ? strchr(alphabet, id[i]) : NULL;
        if (!digit)
            return false;
        high = high << 5 | low >> 59;
        low = low << 5 | (uint64_t)(digit - alphabet);
    }
    *ret = high << 48 | low >> 16;
    return (low & 0xffff) == j->salt;
}
