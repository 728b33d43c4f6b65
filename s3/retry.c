// SPDX-License-Identifier: Apache-2.0
#include "s3/retry.h"

#include <sys/random.h>

#include "common/clock.h"
#include "s3/http_wait.h"

uint32_t retry_pause_ms(unsigned used, uint32_t retry_after_s, double draw)
{
    uint32_t top = RETRY_BASE_MS;
    for (unsigned i = 1; i < used && top < RETRY_MAX_MS; ++i)
        top *= 2;
    if (top > RETRY_MAX_MS)
        top = RETRY_MAX_MS;
    uint32_t pause = top / 2 + (uint32_t)(draw * (top - top / 2));
    uint32_t asked = retry_after_s < RETRY_ASKED_MAX_MS / 1000 ? retry_after_s * 1000 : RETRY_ASKED_MAX_MS;
    return pause > asked ? pause : asked;
}

static double draw(void)
{
    uint32_t bits = 0;
    (void)!getrandom(&bits, sizeof bits, 0);
    return (double)bits / 4294967296.0;
}

bool retry_again(struct retry *r, bool at_once, uint32_t retry_after_s, struct cancel *cancel,
                 struct err *err)
{
    if (r->used >= r->max)
        return false;
    if (!at_once) {
        struct err woken = {0};
        uint64_t until = clock_mono_ms() + retry_pause_ms(r->used, retry_after_s, draw());
        if (http_wait(-1, 0, until, cancel, &woken) < 0 && woken.code != ERR_TIMEOUT) {
            if (err)
                *err = woken;
            return false;
        }
    }
    ++r->used;
    return true;
}
