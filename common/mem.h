// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_COMMON_MEM_H
#define RAC_COMMON_MEM_H
/*
 * Allocation that does not return NULL. Sizes are ours (every outside length is checked against a limit
 * before it gets here), so running out of memory means the machine is out of it: we say so and stop. kill -9
 * at any moment is a normal event for the stores, and so is this.
 */
#include <stddef.h>

void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull));  /* not zeroed */
void *mem_zalloc(size_t size) __attribute__((malloc, returns_nonnull)); /* zeroed */
void *mem_realloc(void *p, size_t size) __attribute__((returns_nonnull));
char *mem_strdup(const char *s) __attribute__((malloc, returns_nonnull));
char *mem_strndup(const char *s, size_t len) __attribute__((malloc, returns_nonnull));
void *mem_dup(const void *p, size_t len) __attribute__((malloc, returns_nonnull)); /* + one NUL behind */
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2), malloc, returns_nonnull));

/* Says that there is no memory, and ends the process: for libraries that tell us, where we cannot go on. */
void mem_none(void) __attribute__((noreturn));

#define mem_new(type) ((type *)mem_zalloc(sizeof(type)))
#endif
