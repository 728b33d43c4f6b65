// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_INJECT_LOCAL_CHECK_H
#define RAC_INJECT_LOCAL_CHECK_H
/* The layers of an injection that need no network to be checked: at the start and by --check-config, so that
 * a wrong digest is told to who configured it, not to who pulls. Blocking; ERR_CANCELLED once SIGTERM or
 * SIGINT is blocked and waits. */
#include "layers/injection.h"

int local_check(const struct injection *injection, uint64_t max_tar_bytes, struct err *err);
#endif
