// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_INIT_DESCRIPTORS_H
#define RAC_INIT_DESCRIPTORS_H
/* The descriptors that we were started with: they are the command's, all of them and nobody else's. */
#include <stddef.h>

/* Call it before anything is opened. Where one of stdin, stdout and stderr is closed, something stands there
 * while we run, so that nothing of ours gets its number; the command finds it closed. */
void descriptors_reserve(void);
/* All but stdio is closed by the next exec. */
void descriptors_cloexec(void);
/* When the command has started: closes all but stderr and the `n` descriptors `keep`, and stdin and stdout
 * become /dev/null. What the command closes is closed then, and its peers see that. */
void descriptors_release(const int *keep, size_t n);
#endif
