// SPDX-License-Identifier: Apache-2.0
/* WAVE_ENTRY_CHAIN of any bytes: the words lie in one allocation, end where the arguments begin, and none is
 * longer than the text. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "fuse-layer/init/chain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *arguments[] = {"argument", NULL};
    struct err err;
    cleanup_free char *text = mem_strndup((const char *)data, size);
    cleanup_free char **words = chain_command(text, 1, arguments, &err);
    if (!words) {
        assert(err.code == ERR_INVALID || err.code == ERR_SIZE_INVALID);
        return 0;
    }
    size_t n = 0, bytes = 0;
    for (; words[n] != arguments[0]; ++n)
        bytes += strlen(words[n]) + 1;
    assert(n <= CHAIN_WORDS_MAX && bytes <= strlen(text) + 1 && !words[n + 1]);
    return 0;
}
