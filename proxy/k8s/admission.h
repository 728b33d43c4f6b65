// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_K8S_ADMISSION_H
#define RAC_K8S_ADMISSION_H
/*
 * What a Kubernetes API server asks before it takes a pod in, and what it is told: an AdmissionReview in, an
 * AdmissionReview out (admission.k8s.io/v1), with a JSON patch (RFC 6902) that names the pod's images through
 * the proxy. Pure: no request, no clock, no state, and so nothing that a dry run could change. Any thread.
 *
 * Never says no: what it does not understand of a pod it leaves alone, since the API server checks pods
 * itself and a cluster is not to stop because of us.
 */
#include <stdbool.h>

#include "common/err.h"
#include "common/str.h"
#include "layers/injection.h"

/* A pod and the one before it, at most 3 MiB each where they come from. */
#define ADMISSION_BODY_MAX ((size_t)8 << 20)
#define ADMISSION_HOST_MAX 255

/* What the proxy makes of names. */
struct admission_images {
    /* Is what stands on `host` ("docker.io", "registry.lab:5000") to be had here? Then its name as the first
     * segment of a path goes to `ret`, NUL-terminated. */
    bool (*upstream)(void *arg, struct slice host, char ret[ADMISSION_HOST_MAX + 1]);
    /* The injection of an image by its path here, "docker.io/library/busybox"; borrowed until the review is
     * over; NULL: none. */
    struct injection *(*injection)(void *arg, struct slice path);
    void *arg;
};

struct admission_config {
    const char *proxy_name;        /* what names begin with: "registry.lab:9090" */
    bool pull_always;              /* imagePullPolicy becomes Always */
    const char *exempt_namespaces; /* commas between them; NULL: none */
    const char *architectures;     /* of nodes that a pod which says none may run on; commas between them */
};

enum admission_outcome {
    ADMISSION_PATCHED,
    ADMISSION_UNCHANGED,
    ADMISSION_EXEMPT, /* the namespace, the pod or its kind asks to be left alone */
    ADMISSION_OTHER,  /* no pod, or an operation that brings no image */
};

struct admission_result {
    enum admission_outcome outcome;
    unsigned renamed, kept; /* containers whose image was renamed; whose image stays as it is */
    unsigned commands;      /* containers whose command got the entry point in front */
    char pod[320];          /* "namespace/name", for the log; "" if it is no pod */
};

const char *admission_outcome_name(enum admission_outcome outcome); /* static */
/* Appends the answer to `out`. ERR_INVALID (ERR_SIZE_INVALID) if the body is no AdmissionReview that can be
 * answered; the message names the member. */
int admission_review(const struct admission_config *config, const struct admission_images *images,
                     const void *json, size_t len, struct buf *out, struct admission_result *ret,
                     struct err *err);
#endif
