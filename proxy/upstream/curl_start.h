// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_PROXY_UPSTREAM_CURL_START_H
#define RAC_PROXY_UPSTREAM_CURL_START_H

/* Before the first use of curl, its parser of URLs included: any thread, any number of times. */
void curl_start(void);
#endif
