// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_K8S_POD_H
#define RAC_K8S_POD_H
/*
 * What is changed of one pod: images, pull policies, commands; as operations of a JSON patch. Pure.
 *
 * What an API server takes depends on the moment: all of it may change in a pod that is made, and of an
 * ephemeral container that is added; later only an image may, and is looked at only if somebody changed it.
 */
#include "common/json.h"
#include "proxy/k8s/admission.h"

enum pod_moment {
    POD_MADE,
    POD_CHANGED,
    POD_DEBUGGED, /* ephemeral containers were added, by the subresource */
};

/* A pod that asks to be left alone: by a label or an annotation, or since it only mirrors what a node runs.
 */
bool pod_is_exempt(const json_t *pod);
/* `before`: the pod as it was, NULL if it is made. Appends operations to the array `patch`, and counts. A pod
 * that is none is ERR_INVALID with the member. */
int pod_rewrite(const json_t *pod, const json_t *before, enum pod_moment moment,
                const struct admission_config *config, const struct admission_images *images, json_t *patch,
                struct admission_result *ret, struct err *err);
#endif
