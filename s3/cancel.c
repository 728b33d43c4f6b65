// SPDX-License-Identifier: Apache-2.0
#include "s3/cancel.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/mem.h"

struct cancel {
    atomic_bool fired;
    int fd;
};

struct cancel *cancel_new(void)
{
    struct cancel *c = mem_new(struct cancel);
    c->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert(c->fd >= 0);
    return c;
}

void cancel_free(struct cancel *c)
{
    if (!c)
        return;
    (void)close(c->fd);
    free(c);
}

void cancel_fire(struct cancel *c)
{
    if (atomic_exchange(&c->fired, true))
        return;
    uint64_t one = 1;
    ssize_t n = write(c->fd, &one, sizeof one);
    assert(n == sizeof one);
}

bool cancel_fired(const struct cancel *c)
{
    return c && atomic_load_explicit(&c->fired, memory_order_acquire);
}

int cancel_fd(const struct cancel *c)
{
    return c ? c->fd : -1;
}
