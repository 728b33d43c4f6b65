// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_PROXY_APP_IMPL_H
#define RAC_PROXY_APP_IMPL_H
/* For app*.c only. */
#include <pthread.h>

#include "common/jobs.h"
#include "proxy/access/access.h"
#include "proxy/api/api.h"
#include "proxy/http/server.h"
#include "proxy/options/options.h"
#include "proxy/records/records.h"
#include "proxy/registry/registry.h"
#include "proxy/tokens/tokens.h"

struct app {
    struct options *options;
    int argc;
    char *const *argv, *const *env_vars;

    struct jobs *jobs, *layer_jobs;
    struct state *state;
    int data_lock; /* of the data folder, where the state is not in it; else -1 */
    struct blob_store *store;
    struct s3_blobs *s3; /* NULL: blobs are on disk alone */
    struct cache_env env;
    struct access *access;
    struct upstream_shared *upstream;
    struct documents *documents;
    struct links *links;
    struct tags *tags;
    struct fills *fills;
    struct layer_sources layer_sources;
    _Atomic bool stopping; /* no request is left */
    char **layer_hosts;    /* of layer_sources */
    struct injected_layers *layers;
    struct variants *variants;
    struct tokens *tokens;
    struct api_containers containers;
    struct api_admission admission;
    struct records *records; /* NULL: nothing is recorded */
    struct webhook **webhooks;
    size_t webhook_count;
    struct registry registry;
    struct api api;
    struct http_server *server;

    _Atomic bool access_log; /* in force; a reload may change it */
    pthread_mutex_t lock;    /* guards config */
    struct registry_config *config;
};

/* What hangs on each worker's loop. */
struct app_worker {
    struct app *app;
    struct upstream_client *client;
    struct registry_worker *registry;
};

/* app_config.c: options -> what requests go by. Loads injection files and checks their local layers. */
int app_config_new(const struct options *o, const uint8_t scope_key[32], struct registry_config **ret,
                   struct err *err);
/* app_state.c: the state that the options ask for; the data folder is ours alone then. */
int app_state_open(struct app *app, struct err *err);
void app_state_close(struct app *app);
/* The same file: the other replicas on that state, if there may be any. After the server was made. */
void app_peers_new(struct app *app);
/* app_access.c: the part of the options that access goes by. */
struct access *app_access_new(const struct options *o, struct state *state);
void app_access_reload(struct access *a, const struct options *o);
/* app_tokens.c: what stands for container tokens; after the other rooms. */
void app_layer_sources(struct app *app); /* before injected_layers_new */
void app_tokens_new(struct app *app);
void app_tokens_free(struct app *app);
/* app_admission.c: what pods are told. */
void app_admission_new(struct app *app);
/* app_log.c: one line and the metrics of each request. */
void app_log_request(struct request *r, bool aborted, bool access_log);
/* app_export.c: --export-pulls. Blocks; main thread. */
int app_export_pulls(const struct options *o, struct err *err);
/* app_gc.c: --gc-s3. Blocks; main thread. */
int app_gc_s3(const struct options *o, struct err *err);
/* app_records.c: the records, unless they are off; a store that cannot be opened is said, and does not keep
 * anybody from pulling. -1 only if it was made by a newer version. After the server was made. */
int app_records_open(struct app *app, struct err *err);
/* Webhooks, which are on the first worker: after the server was started; on that worker, before its client
 * ends; after the records ended. */
void app_records_start(struct app *app);
void app_records_stop(struct app *app);
void app_records_free(struct app *app);
void app_records_drain(struct app *app); /* streams that have no end of their own end now */
/* app_metrics.c: gauges and counters that are kept elsewhere. */
void app_metrics_refresh(void *app);
#endif
