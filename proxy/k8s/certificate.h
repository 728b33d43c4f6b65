// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_K8S_CERTIFICATE_H
#define RAC_K8S_CERTIFICATE_H
/*
 * A certificate for an admission webhook, and an authority of its own that an API server is told to believe.
 * The authority signs this one certificate; its key is never written, and forgotten. Keys are on P-256.
 */
#include "common/err.h"
#include "common/str.h"

#define CERTIFICATE_NAMES_MAX 16
#define CERTIFICATE_DAYS      3650

struct certificate {
    struct buf authority, certificate, key; /* PEM; the key is PKCS #8 */
};

/* names: DNS names or IP addresses, commas between them, the first of them the subject. ERR_INVALID names the
 * one that is none. */
int certificate_make(const char *names, struct certificate *ret, struct err *err);
void certificate_clear(struct certificate *c); /* the key is wiped */
/* What a MutatingWebhookConfiguration has as caBundle: the authority's PEM in base64. */
void certificate_bundle(const struct certificate *c, struct buf *out);
/* ca.crt, tls.crt, tls.key (0600) in a folder, which is made if it is not there. What is there is not
 * replaced: ERR_EXISTS. */
int certificate_write(const struct certificate *c, const char *folder, struct err *err);
#endif
