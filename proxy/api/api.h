// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_API_API_H
#define RAC_API_API_H
/* What is not the registry: health, readiness, metrics, service information. Errors are {"message":"…"}. */
#include "proxy/cache/env.h"
#include "proxy/http/request.h"
#include "proxy/k8s/admission.h"
#include "proxy/records/records.h"
#include "proxy/registry/registry.h"
#include "proxy/tokens/token_request.h"

/* What the configuration says of container tokens. */
struct api_containers {
    const char *public_host; /* what targetImage begins with; NULL: the request's Host */
    struct token_request_limits limits;
};

/* What the configuration says of pods. */
struct api_admission {
    struct admission_config config; /* proxy_name NULL: off */
    const char *clients; /* common names of certificates, commas between them; NULL: who asks is not asked */
};

struct api {
    const struct cache_env *env;
    struct registry *registry;
    struct tokens *tokens;
    struct access *access;
    struct rate *validations; /* how often clients ask for validate-creds */
    const struct api_containers *containers;
    const struct api_admission *admission;
    struct records *records;            /* NULL: off */
    void (*refresh_metrics)(void *arg); /* brings gauges up to date, before they are shown; any worker */
    void *arg;
};

/* Answers every request whose path is not the registry's. */
void api_handle(struct api *api, struct request *r);
/* {"message": …} */
void api_message(struct request *r, int status, const char *message);
/* The status that an error stands for, with its message (and Retry-After). */
void api_err(struct request *r, const struct err *err);
/* 200 and the like; copied. */
void api_json(struct request *r, int status, const char *json, size_t len);
#endif
