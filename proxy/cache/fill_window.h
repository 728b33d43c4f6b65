// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_FILL_WINDOW_H
#define RAC_CACHE_FILL_WINDOW_H
/*
 * The bytes of a fill that found no place on disk: a ring of FILL_WINDOW_MAX bytes over [begin, end) of the
 * blob. Bytes leave it when every reader is past them; while it is full the download pauses. Not thread-safe:
 * under the fill's lock.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FILL_WINDOW_MAX ((size_t)4 << 20)

struct fill_window {
    char *ring; /* NULL: not in use */
    uint64_t begin, end;
    uint64_t file_end; /* bytes before it are in the file */
};

void fill_window_open(struct fill_window *w, uint64_t at);
void fill_window_close(struct fill_window *w);
static inline bool fill_window_in_use(const struct fill_window *w)
{
    return w->ring != NULL;
}
size_t fill_window_room(const struct fill_window *w);
/* Takes up to `len` bytes, returns how many. */
size_t fill_window_put(struct fill_window *w, const void *p, size_t len);
/* Copies up to `cap` bytes from `offset`, which must be in [begin, end]; returns how many. */
size_t fill_window_get(const struct fill_window *w, uint64_t offset, uint64_t limit, void *out, size_t cap);
/* Nobody wants what is before `offset`. */
void fill_window_drop(struct fill_window *w, uint64_t offset);
#endif
