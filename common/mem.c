// SPDX-License-Identifier: Apache-2.0
#include "common/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mem_none(void)
{
    (void)fputs("rac: out of memory\n", stderr);
    abort();
}

static void *checked(void *p)
{
    if (!p)
        mem_none();
    return p;
}

void *mem_alloc(size_t size)
{
    return checked(malloc(size ? size : 1));
}

void *mem_zalloc(size_t size)
{
    return checked(calloc(1, size ? size : 1));
}

void *mem_realloc(void *p, size_t size)
{
    return checked(realloc(p, size ? size : 1));
}

char *mem_strdup(const char *s)
{
    return mem_dup(s, strlen(s));
}

char *mem_strndup(const char *s, size_t len)
{
    return mem_dup(s, strnlen(s, len));
}

void *mem_dup(const void *p, size_t len)
{
    char *copy = mem_alloc(len + 1);
    if (len)
        memcpy(copy, p, len);
    copy[len] = '\0';
    return copy;
}

char *mem_printf(const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    return checked(n < 0 ? NULL : s);
}
