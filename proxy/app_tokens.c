// SPDX-License-Identifier: Apache-2.0
/* Container tokens: put together of the options and the rooms. */
#include <stdlib.h>

#include "common/mem.h"
#include "proxy/app_impl.h"
#include "proxy/registry/blob_ensure.h"

#define LAYER_THREADS 2

void app_layer_sources(struct app *app)
{
    const struct options *o = app->options;
    struct slice rest = slice_of(o->layer_hosts);
    size_t n = 0;
    app->layer_jobs = jobs_new(LAYER_THREADS);
    while (rest.p) {
        struct slice one = slice_cut(&rest, ',');
        app->layer_hosts = mem_realloc(app->layer_hosts, (n + 2) * sizeof *app->layer_hosts);
        app->layer_hosts[n++] = mem_strndup(one.p, one.len);
        app->layer_hosts[n] = NULL;
    }
    app->layer_sources = (struct layer_sources){.hosts = (const char *const *)app->layer_hosts,
                                                .stopping = &app->stopping,
                                                .ca_file = o->layer_ca,
                                                .jobs = app->layer_jobs,
                                                .image_blob = blob_ensure,
                                                .arg = &app->registry};
}

void app_tokens_new(struct app *app)
{
    const struct options *o = app->options;
    app->tokens = tokens_new(&(struct tokens_config){
        .state = app->state, .ttl_ms = o->token_ttl_ms, .makes = o->token_rate, .guesses = o->token_guesses});
    app->containers = (struct api_containers){.public_host = o->public_host,
                                              .limits = {.layers = o->token_max_layers,
                                                         .includes = o->token_max_includes,
                                                         .layer_bytes = o->token_max_layer_bytes,
                                                         .total_bytes = o->token_max_total_bytes,
                                                         .unpacked_bytes = o->token_max_unpacked_bytes}};
    app->registry.tokens = app->tokens;
    app->registry.layer_jobs = app->layer_jobs;
    app->api.tokens = app->tokens;
    app->api.containers = &app->containers;
}

void app_tokens_free(struct app *app)
{
    tokens_free(app->tokens);
    for (size_t i = 0; app->layer_hosts && app->layer_hosts[i]; ++i)
        free(app->layer_hosts[i]);
    free(app->layer_hosts);
}
