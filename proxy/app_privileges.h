// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_PROXY_APP_PRIVILEGES_H
#define RAC_PROXY_APP_PRIVILEGES_H
/*
 * Rights that are needed to listen and never after. Main thread, once, between listening and the first file
 * that is written; threads that run already lose them too.
 *
 *     root --listen--> root --privileges_drop--> `user`: no capability, no way back
 *
 * All that the proxy reads again at SIGHUP (configuration, passwords, certificates) must be readable for
 * `user`: the caller reads it again right after, so that a reload cannot fail where the start did not.
 */
#include <stdbool.h>

#include "common/err.h"

/* Nothing of this process, nor of what it may start, gets more rights than it has: before the first thread.
 */
void privileges_fix(void);
/* Becomes `user` ("rac-proxy", or numbers: "65532", "65532:100"), with the groups of that user, and gives up
 * every capability. NULL: stays who it is, and keeps no capability if that is not root. A data folder that is
 * not there is made, as the user's own, mode 0750. ERR_INVALID for a user that is not there, or is root;
 * ERR_DENIED if this process cannot become another. */
int privileges_drop(const char *user, const char *data_dir, struct err *err);
#endif
