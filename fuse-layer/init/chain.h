// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_INIT_CHAIN_H
#define RAC_INIT_CHAIN_H
/*
 * The entry chain: the image's own entry point, where a config written for Wave leaves it in the variable
 * WAVE_ENTRY_CHAIN instead of in the arguments. One word stands there as it is; several are a JSON array of
 * strings. A text is taken for an array if it starts with '[' and, after spaces, '"' or ']': so the program
 * `[` stays a word. Pure.
 */
#include "common/err.h"

#define CHAIN_WORDS_MAX 1024
#define CHAIN_BYTES_MAX ((size_t)256 << 10) /* the kernel hands over at most 128 KiB in one variable */

/* The command line: the chain's words, then the `argc` arguments, then NULL. `chain` may be NULL or empty: no
 * words. One allocation, to be free'd; the arguments in it are borrowed. NULL with ERR_INVALID (no JSON array
 * of strings, a NUL in a word) or ERR_SIZE_INVALID. */
char **chain_command(const char *chain, int argc, char **argv, struct err *err);
#endif
