// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_K8S_POD_IMAGE_H
#define RAC_K8S_POD_IMAGE_H
/* The name of an image in a pod, and the name by which the proxy has it. Pure. */
#include "proxy/k8s/admission.h"

struct pod_image {
    char *renamed;               /* malloc'd; NULL: it stays as it is */
    struct injection *injection; /* what the proxy does to it, borrowed; NULL: nothing that is known here */
    bool is_pinned;              /* by digest: the proxy serves the original */
};

/* "busybox" is what it is to a kubelet, docker.io/library/busybox:latest, whatever the proxy's default
 * upstream is. Names of the proxy, of registries that are not to be had here, and what is no name stay. */
void pod_image_read(struct slice image, const struct admission_config *config,
                    const struct admission_images *images, struct pod_image *ret);
void pod_image_clear(struct pod_image *image);
#endif
