// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_API_API_H
#define RAC_API_API_H
/* What is not the registry: health, readiness, metrics, service information. Errors are {"message":"…"}. */
#include "proxy/cache/env.h"
#include "proxy/http/request.h"

struct api {
    const struct cache_env *env;
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
