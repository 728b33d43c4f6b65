// SPDX-License-Identifier: Apache-2.0
#include "s3/http_wait.h"

#include <errno.h>

#include "common/clock.h"

int http_wait(int fd, short events, uint64_t deadline_ms, const struct cancel *cancel, struct err *err)
{
    struct pollfd set[2] = {{.fd = fd, .events = events}, {.fd = cancel_fd(cancel), .events = POLLIN}};
    for (;;) {
        if (cancel_fired(cancel))
            return err_set(err, ERR_CANCELLED, "cancelled");
        uint64_t now = clock_mono_ms();
        uint64_t left = deadline_ms > now ? deadline_ms - now : 0;
        int n = poll(set, 2, (int)(left < 60000 ? left : 60000));
        if (n < 0 && errno != EINTR)
            return err_set_errno(err, ERR_IO, errno, "waiting for a socket");
        if (n > 0 && set[0].revents)
            return set[0].revents;
        if (n == 0 && left <= 60000 && clock_mono_ms() >= deadline_ms)
            return err_set(err, ERR_TIMEOUT, "timed out");
    }
}
