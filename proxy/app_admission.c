// SPDX-License-Identifier: Apache-2.0
/* The admission webhook: put together of the options. */
#include <sys/utsname.h>

#include "layers/platform.h"
#include "proxy/app_impl.h"

/* In Go's words, which are those of kubernetes.io/arch. */
static const char *own_architecture(void)
{
    static struct platform platform;
    struct utsname system;
    if (uname(&system) < 0 || platform_parse(slice_of(system.machine), &platform, NULL) < 0)
        return "";
    return platform.architecture;
}

void app_admission_new(struct app *app)
{
    const struct options *o = app->options;
    app->admission = (struct api_admission){
        .config = {.proxy_name = o->k8s_proxy_name ? o->k8s_proxy_name : o->public_host,
                   .pull_always = o->k8s_pull_always,
                   .exempt_namespaces = o->k8s_exempt_namespaces,
                   .architectures = o->k8s_architectures ? o->k8s_architectures : own_architecture()},
        .clients = o->k8s_clients};
    app->api.admission = &app->admission;
}
