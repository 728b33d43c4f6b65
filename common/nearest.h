// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_COMMON_NEAREST_H
#define RAC_COMMON_NEAREST_H
/*
 * "Did you mean": the known word that a mistyped one most likely stands for. Any thread.
 *
 *     struct nearest n = nearest_to("cache.sise");
 *     for (each known word) nearest_offer(&n, word);
 *     if (n.best) ... did you mean n.best
 */
#include <stddef.h>

struct nearest {
    const char *wanted, *best; /* borrowed; best is NULL while no word is close enough */
    size_t distance;           /* of best: edits, a swap of neighbours being one */
};

struct nearest nearest_to(const char *wanted);
/* Close enough is a third of the word's length in edits, or a word that goes on where `wanted` stops. Words
 * of more than NEAREST_WORD_MAX bytes are never close. */
void nearest_offer(struct nearest *n, const char *word);

#define NEAREST_WORD_MAX ((size_t)63)
#endif
