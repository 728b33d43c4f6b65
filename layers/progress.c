// SPDX-License-Identifier: Apache-2.0
#include "layers/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "common/str.h"

#define FIRST_MS 1000
#define EACH_MS  200

static uint64_t now_ms(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void progress_start(struct progress *p, const char *label, uint64_t total)
{
    *p = (struct progress){.on = isatty(STDERR_FILENO) == 1, .label = label, .total = total};
    if (!p->on)
        return;
    p->start_ms = now_ms();
    p->next_ms = p->start_ms + FIRST_MS;
}

void progress_add(struct progress *p, uint64_t bytes)
{
    p->done += bytes;
    if (!p->on)
        return;
    uint64_t now = now_ms();
    if (now < p->next_ms)
        return;
    p->next_ms = now + EACH_MS;
    p->shown = true;
    char done[32], total[32], rate[32];
    uint64_t per_s = p->done * 1000 / (now - p->start_ms);
    str_format_size(p->done, done, sizeof done);
    str_format_size(p->total, total, sizeof total);
    str_format_size(per_s, rate, sizeof rate);
    if (p->total)
        (void)fprintf(stderr, "\r\033[K%s: %s of %s (%u%%), %s/s", p->label, done, total,
                      (unsigned)(p->done >= p->total ? 100 : p->done * 100 / p->total), rate);
    else
        (void)fprintf(stderr, "\r\033[K%s: %s, %s/s", p->label, done, rate);
}

void progress_end(struct progress *p)
{
    if (p->shown)
        (void)fputs("\r\033[K", stderr);
    p->on = p->shown = false;
}
