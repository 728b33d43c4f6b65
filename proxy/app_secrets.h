// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_PROXY_APP_SECRETS_H
#define RAC_PROXY_APP_SECRETS_H
/* What goes into `accounts`, made on the command line. On standard output stands only what a script wants;
 * what a person should know goes to the terminal beside it. */
#include "common/err.h"

/* --hash-password: from the terminal, twice and without echo, or the one line of standard input. */
int app_hash_password(struct err *err);
/* --make-key: the key, and behind it "sha256:" and its digest, a line each. */
int app_make_key(struct err *err);
/* app_certificate.c: --make-webhook-certificate: ca.crt, tls.crt and tls.key in the folder, the caBundle on
 * standard output. names: NULL is the service of the chart. */
int app_make_certificate(const char *folder, const char *names, struct err *err);
#endif
