// SPDX-License-Identifier: Apache-2.0
#include "common/nearest.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define MIN(a, b) ((a) < (b) ? (a) : (b))

/* Optimal string alignment: insert, delete, replace, and swap of two neighbours cost one each. */
static size_t edits(const char *a, size_t a_len, const char *b, size_t b_len)
{
    uint8_t row[3][NEAREST_WORD_MAX + 1];
    uint8_t *before = row[0], *last = row[1], *next = row[2];
    for (size_t j = 0; j <= b_len; ++j)
        last[j] = (uint8_t)j;
    for (size_t i = 1; i <= a_len; ++i) {
        next[0] = (uint8_t)i;
        for (size_t j = 1; j <= b_len; ++j) {
            int best = last[j - 1] + (a[i - 1] != b[j - 1]);
            best = MIN(best, last[j] + 1);
            best = MIN(best, next[j - 1] + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = MIN(best, before[j - 2] + 1);
            next[j] = (uint8_t)best;
        }
        uint8_t *free_row = before;
        before = last;
        last = next;
        next = free_row;
    }
    return last[b_len];
}

struct nearest nearest_to(const char *wanted)
{
    return (struct nearest){.wanted = wanted, .best = NULL, .distance = SIZE_MAX};
}

void nearest_offer(struct nearest *n, const char *word)
{
    size_t wanted_len = strlen(n->wanted), word_len = strlen(word);
    if (wanted_len > NEAREST_WORD_MAX || word_len > NEAREST_WORD_MAX || wanted_len == 0)
        return;
    size_t distance = edits(n->wanted, wanted_len, word, word_len);
    bool goes_on = wanted_len >= 3 && strncmp(n->wanted, word, wanted_len) == 0;
    if (!goes_on && distance > (word_len + 2) / 3)
        return;
    if (distance < n->distance) {
        n->distance = distance;
        n->best = word;
    }
}
