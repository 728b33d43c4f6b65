// SPDX-License-Identifier: Apache-2.0
#include "proxy/cache/fill_window.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

void fill_window_open(struct fill_window *w, uint64_t at)
{
    w->ring = mem_alloc(FILL_WINDOW_MAX);
    w->begin = w->end = w->file_end = at;
}

void fill_window_close(struct fill_window *w)
{
    free(w->ring);
    w->ring = NULL;
}

size_t fill_window_room(const struct fill_window *w)
{
    return FILL_WINDOW_MAX - (size_t)(w->end - w->begin);
}

size_t fill_window_put(struct fill_window *w, const void *p, size_t len)
{
    size_t room = fill_window_room(w), n = len < room ? len : room;
    size_t at = (size_t)(w->end % FILL_WINDOW_MAX),
           first = FILL_WINDOW_MAX - at < n ? FILL_WINDOW_MAX - at : n;
    memcpy(w->ring + at, p, first);
    memcpy(w->ring, (const char *)p + first, n - first);
    w->end += n;
    return n;
}

size_t fill_window_get(const struct fill_window *w, uint64_t offset, uint64_t limit, void *out, size_t cap)
{
    assert(offset >= w->begin && offset <= w->end);
    uint64_t end = limit < w->end ? limit : w->end;
    size_t n = end > offset ? (size_t)(end - offset) : 0;
    if (n > cap)
        n = cap;
    size_t at = (size_t)(offset % FILL_WINDOW_MAX),
           first = FILL_WINDOW_MAX - at < n ? FILL_WINDOW_MAX - at : n;
    memcpy(out, w->ring + at, first);
    memcpy((char *)out + first, w->ring, n - first);
    return n;
}

void fill_window_drop(struct fill_window *w, uint64_t offset)
{
    if (offset > w->end)
        offset = w->end;
    if (offset > w->begin)
        w->begin = offset;
}
