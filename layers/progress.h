// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_PROGRESS_H
#define RAC_LAYERS_PROGRESS_H
/*
 * One line on a terminal that tells how far a long job is. Says nothing for the first second, and nothing at
 * all where standard error is no terminal. For the rac-layer command; one thread.
 */
#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool on, shown;
    const char *label;    /* borrowed */
    uint64_t done, total; /* bytes; total 0 = not known */
    uint64_t start_ms, next_ms;
};

void progress_start(struct progress *p, const char *label, uint64_t total);
void progress_add(struct progress *p, uint64_t bytes);
void progress_end(struct progress *p); /* wipes the line */
#endif
