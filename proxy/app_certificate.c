// SPDX-License-Identifier: Apache-2.0
/* --make-webhook-certificate: files for a Secret, and on standard output what the webhook's configuration
 * wants. */
#include <stdio.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "proxy/app_secrets.h"
#include "proxy/k8s/certificate.h"

#define NAMES "rac-proxy-webhook.rac.svc"

int app_make_certificate(const char *folder, const char *names, struct err *err)
{
    struct certificate c;
    cleanup_buf struct buf bundle = {0};
    if (certificate_make(names ? names : NAMES, &c, err) < 0)
        return names ? err_wrap(err, "--names") : -1;
    int rc = certificate_write(&c, folder, err);
    if (rc == 0)
        certificate_bundle(&c, &bundle);
    certificate_clear(&c);
    if (rc < 0)
        return -1;
    (void)printf("%s\n", buf_str(&bundle));
    if (isatty(STDOUT_FILENO))
        (void)fprintf(stderr,
                      "The line above is the caBundle of the webhook's configuration. %s has tls.crt and "
                      "tls.key, for tls.certificate and tls.key:\n  kubectl create secret tls "
                      "rac-proxy-webhook --cert %s/tls.crt --key %s/tls.key\n",
                      folder, folder, folder);
    return 0;
}
