// SPDX-License-Identifier: Apache-2.0
#include "proxy/state/journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/* 128 bits as 26 digits of 5 bits; the first digit has two bits to spare. */
char *journal_id(const struct journal *j, const struct journal_record *r, char out[JOURNAL_ID_LEN + 1])
{
    bool own = !r->id[0] && !r->id[1];
    uint64_t high = own ? ((uint64_t)r->made_ms & 0xffffffffffffu) << 16 | r->number >> 48 : r->id[0];
    uint64_t low = own ? r->number << 16 | j->salt : r->id[1];
    for (int i = JOURNAL_ID_LEN - 1; i >= 0; --i) {
        out[i] = alphabet[low & 31];
        low = low >> 5 | high << 59;
        high >>= 5;
    }
    out[JOURNAL_ID_LEN] = '\0';
    return out;
}

bool journal_id_parse(const char *id, size_t len, uint64_t ret[2])
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
    ret[0] = high;
    ret[1] = low;
    return true;
}

bool journal_id_number(const struct journal *j, const char *id, size_t len, uint64_t *ret)
{
    uint64_t halves[2];
    if (!journal_id_parse(id, len, halves))
        return false;
    *ret = halves[0] << 48 | halves[1] >> 16;
    return (halves[1] & 0xffff) == j->salt;
}

char *journal_event_id(const struct journal *j, const struct journal_record *r, char out[JOURNAL_EVENT_MAX])
{
    (void)journal_id(j, r, out);
    if (j->shared)
        (void)snprintf(out + JOURNAL_ID_LEN, JOURNAL_EVENT_MAX - JOURNAL_ID_LEN, ".%.8s.%" PRIx64, j->replica,
                       r->seen);
    return out;
}
