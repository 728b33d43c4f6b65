// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_PROXY_APP_H
#define RAC_PROXY_APP_H
/* The daemon: the only place that knows all rooms. Made, run until a signal ends it, freed. Main thread. */
#include "proxy/options/options.h"

/* Serves until SIGTERM or SIGINT, then drains. Returns the exit code: 0, or 1 with the reason logged. argc,
 * argv and env are read again at SIGHUP. Takes over the options. */
int app_run(struct options *options, int argc, char *const *argv, char *const *env);
#endif
