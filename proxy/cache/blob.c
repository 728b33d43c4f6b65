// SPDX-License-Identifier: Apache-2.0
#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/cache/blob_store.h"

struct blob *blob_ref(struct blob *b)
{
    unsigned before = __atomic_fetch_add(&b->refs, 1, __ATOMIC_RELAXED);
    assert(before > 0);
    return b;
}

void blob_unref(struct blob *b)
{
    if (!b)
        return;
    unsigned before = __atomic_fetch_sub(&b->refs, 1, __ATOMIC_ACQ_REL);
    assert(before > 0);
    if (before > 1)
        return;
    if (b->fd >= 0)
        (void)close(b->fd);
    free(b);
}
