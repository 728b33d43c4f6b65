// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_API_ADMISSION_H
#define RAC_API_ADMISSION_H
/*
 * POST /k8s/mutate: a mutating admission webhook of Kubernetes. Answers every AdmissionReview with "allowed",
 * and pods with a patch that names their images through the proxy (k8s/admission.h). It tells nothing that is
 * secret and keeps nothing; k8s.clients makes it answer only who shows a certificate of one of these names.
 */
#include "proxy/api/api.h"

void admission_handle(struct api *api, struct request *r);
#endif
