// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/curl_start.h"

#include <assert.h>
#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "common/mem.h"

static void *zeroed(size_t count, size_t size)
{
    size_t all;
    if (__builtin_mul_overflow(count, size, &all))
        mem_none();
    return mem_zalloc(all);
}

/* Of its errors, no memory looks like any other: the URL that it could not copy is then one "without a
 * scheme". */
static void start(void)
{
    CURLcode rc = curl_global_init_mem(CURL_GLOBAL_DEFAULT, mem_alloc, free, mem_realloc, mem_strdup, zeroed);
    assert(rc == CURLE_OK);
    /* A TLS connection that the other end closed is written to once more when it is shut down. */
    struct sigaction now;
    if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
        (void)signal(SIGPIPE, SIG_IGN);
}

void curl_start(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start);
}
