// SPDX-License-Identifier: Apache-2.0
/* Counts what malloc and its kin have given out and not got back, of a program that it is preloaded into:
 *
 *     LD_PRELOAD=heap_count.so HEAP_COUNT=FILE program
 *
 * FILE begins with the two numbers of struct count, in the machine's own order; a reader may map or read it
 * at any time. Unlike the resident memory these are exact: what malloc keeps for later, whole or in pieces,
 * is not in them, so that what leaks shows beside it. Not for sanitizers, which have a malloc of their own.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* glibc's own, by the names it exports for those who stand in front of it. */
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t count, size_t n);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t alignment, size_t n);
extern void __libc_free(void *p);

struct count {
    _Atomic int64_t bytes, blocks;
};

static struct count at_first; /* until the file is there: the loader allocates before any constructor runs */
static struct count *count = &at_first;

static void add(void *p, int64_t sign)
{
    if (!p)
        return;
    atomic_fetch_add_explicit(&count->bytes, sign * (int64_t)malloc_usable_size(p), memory_order_relaxed);
    atomic_fetch_add_explicit(&count->blocks, sign, memory_order_relaxed);
}

static void *counted(void *p)
{
    add(p, 1);
    return p;
}

void *malloc(size_t n)
{
    return counted(__libc_malloc(n));
}

void *calloc(size_t n, size_t size)
{
    return counted(__libc_calloc(n, size));
}

void *realloc(void *old, size_t n)
{
    add(old, -1); /* before: it is gone after */
    void *p = __libc_realloc(old, n);
    if (!p && n)
        add(old, 1); /* it stays */
    return counted(p);
}

void *memalign(size_t alignment, size_t n)
{
    return counted(__libc_memalign(alignment, n));
}

void *aligned_alloc(size_t alignment, size_t n)
{
    return memalign(alignment, n);
}

int posix_memalign(void **ret, size_t alignment, size_t n)
{
    void *p = memalign(alignment, n);
    if (!p)
        return ENOMEM;
    *ret = p;
    return 0;
}

void free(void *p)
{
    add(p, -1);
    __libc_free(p);
}

/* Before main(), and before any thread. */
__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("HEAP_COUNT");
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd < 0)
        return;
    void *map = MAP_FAILED;
    if (ftruncate(fd, sizeof *count) == 0)
        map = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (map == MAP_FAILED)
        return;
    memcpy(map, &at_first, sizeof at_first);
    count = map;
}
