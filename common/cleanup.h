// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_COMMON_CLEANUP_H
#define RAC_COMMON_CLEANUP_H
/*
 * Scope-bound cleanup, so that functions are straight lines with early returns.
 *
 *     cleanup_free char *p = ...;      freed at the end of the scope
 *     cleanup_close int fd = open();   closed at the end of the scope, unless it is -1
 *     return steal_ptr(&p);            hands the value on and disarms the cleanup
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RAC_CLEANUP(fn) __attribute__((cleanup(fn)))

static inline void cleanup_free_fn(void *p)
{
    free(*(void **)p);
}
static inline void cleanup_close_fn(const int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}
static inline void cleanup_fclose_fn(FILE **f)
{
    if (*f)
        (void)fclose(*f);
}

#define cleanup_free   RAC_CLEANUP(cleanup_free_fn)
#define cleanup_close  RAC_CLEANUP(cleanup_close_fn)
#define cleanup_fclose RAC_CLEANUP(cleanup_fclose_fn)

static inline void *steal_ptr_fn(void *pp)
{
    void **p = pp, *v = *p;
    *p = NULL;
    return v;
}
#define steal_ptr(pp) ((__typeof__(*(pp)))steal_ptr_fn(pp))

static inline int steal_fd(int *fd)
{
    int v = *fd;
    *fd = -1;
    return v;
}
#endif
