// SPDX-License-Identifier: Apache-2.0
#include "proxy/app.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "proxy/app_impl.h"
#include "proxy/app_privileges.h"
#include "proxy/cache/disk.h"
#include "proxy/cache/s3_blobs.h"
#include "proxy/http/response.h"
#include "proxy/registry/blob_head.h"
#include "proxy/registry/relay.h"
#include "proxy/registry/reply.h"

#define JOB_THREADS     4
#define LINKS_IN_MEMORY 200000
#define QUIESCE_MS      5000
#define OPEN_BLOBS      1024

/* ---- each worker ---- */

static struct upstream_client *client_of(struct loop *loop)
{
    return ((struct app_worker *)loop_data(loop))->client;
}

static struct registry_worker *registry_worker_of(struct loop *loop)
{
    return ((struct app_worker *)loop_data(loop))->registry;
}

static struct registry_config *config_ref(struct app *app)
{
    pthread_mutex_lock(&app->lock);
    struct registry_config *c = registry_config_ref(app->config);
    pthread_mutex_unlock(&app->lock);
    return c;
}

static void worker_begin(struct loop *loop, void *arg)
{
    struct app_worker *w = mem_new(struct app_worker);
    struct registry_config *config = config_ref(arg);
    w->app = arg;
    w->client = upstream_client_new(loop, w->app->upstream);
    w->registry = registry_worker_new(config);
    registry_config_unref(config);
    loop_set_data(loop, w);
    if (loop_index(loop) == 0)
        tokens_start(w->app->tokens, loop);
}

/* No request is left. What still goes on for nobody (a fill, a look-up, a layer) is told to end, and its last
 * answers are waited for, so that everything is closed in order and what a fill has got stays for the next
 * start. */
static void worker_end(struct loop *loop, void *arg)
{
    struct app_worker *w = loop_data(loop);
    struct app *app = arg;
    uint64_t end = clock_mono_ms() + QUIESCE_MS;
    app->stopping = true;
    if (loop_index(loop) == 0) {
        tokens_stop(app->tokens);
        app_records_stop(app);
    }
    registry_worker_stop(w->registry);
    upstream_client_stop(w->client);
    struct metric *fills = metric_get("rac_fills_in_flight", "");
    unsigned quiet = 0;
    while (quiet < 3 && clock_mono_ms() < end) {
        loop_run_once(loop, 10);
        bool busy = metric_value(fills) || jobs_unfinished(app->jobs) || jobs_unfinished(app->layer_jobs) ||
                    app->state->writes_waiting || access_is_busy(app->access) ||
                    (app->records && records_are_busy(app->records));
        quiet = busy ? 0 : quiet + 1;
    }
    upstream_client_free(w->client);
    registry_worker_free(w->registry);
    loop_set_data(loop, NULL);
    free(w);
}

/* ---- each request ---- */

static void dispatch(struct app *app, struct request *r)
{
    struct slice path = request_path(r);
    if (slice_starts_with(path, "/v2") && (path.len == 3 || path.p[3] == '/'))
        registry_handle(&app->registry, r);
    else
        api_handle(&app->api, r);
}

static void refuse_caller(struct request *r, const struct err *err)
{
    request_set_route(r, "login");
    if (err->code == ERR_UNAUTHORIZED)
        response_header_ref(r, "WWW-Authenticate", SLICE_LIT(ACCESS_CHALLENGE));
    if (slice_starts_with(request_path(r), "/v2"))
        reply_err(r, err);
    else
        api_err(r, err);
}

static void on_identified(void *arg, struct request *r, const struct caller *caller, const struct err *err)
{
    if (err) {
        refuse_caller(r, err);
        return;
    }
    request_set_user(r, caller);
    dispatch(arg, r);
}

static void on_request(struct request *r, void *arg)
{
    struct app *app = arg;
    const struct caller *caller;
    struct err err;
    int known = access_identify(app->access, r, &caller, on_identified, app, &err);
    if (known != 0)
        on_identified(app, r, known > 0 ? caller : NULL, known > 0 ? NULL : &err);
}

static void on_finished(struct request *r, bool aborted, void *arg)
{
    struct app *app = arg;
    app_log_request(r, aborted, app->access_log);
}

static void refuse(struct request *r, int status, const char *message, void *arg)
{
    (void)arg;
    request_set_route(r, "refused");
    if (slice_starts_with(request_path(r), "/v2"))
        reply_error(r, status, status == 413 || status == 431 ? "SIZE_INVALID" : "UNSUPPORTED", message);
    else
        api_message(r, status, message);
}

/* ---- configuration ---- */

static void on_layers_checked(void *arg, const struct err *err)
{
    (void)arg, (void)err; /* logged where it happened; a pull that needs them asks again */
}

struct warm_up {
    struct app *app;
    struct loop *loop;
    struct registry_config *config;
};

/* On a worker: layers that come from elsewhere are fetched before the first pull wants them. */
static void warm_up(void *arg)
{
    struct warm_up *w = arg;
    for (size_t i = 0; i < rules_injection_count(w->config->rules); ++i) {
        struct injection *injection = rules_injection_at(w->config->rules, i);
        injected_layers_keep(w->app->layers, injection);
        injected_layers_ensure(w->app->layers, w->loop, injection, on_layers_checked, NULL);
    }
    registry_config_unref(w->config);
    free(w);
}

static void post_warm_up(struct app *app)
{
    struct warm_up *w = mem_new(struct warm_up);
    w->app = app;
    w->loop = http_server_loop(app->server, 0);
    w->config = config_ref(app);
    loop_post(w->loop, warm_up, w);
}

struct new_config {
    struct loop *loop;
    struct registry_config *config;
};

static void take_config(void *arg)
{
    struct new_config *n = arg;
    registry_worker_set_config(registry_worker_of(n->loop), n->config);
    registry_config_unref(n->config);
    free(n);
}

static int reload(struct app *app, char **ret_ignored, struct err *err)
{
    struct options *options;
    struct registry_config *config;
    if (options_reload(app->options, app->argc, app->argv, app->env_vars, &options, ret_ignored, err) < 0)
        return -1;
    if (app_config_new(options, app->state->scope_key, &config, err) < 0) {
        options_free(options);
        return -1;
    }
    if (options->tls_certificate && http_server_reload_tls(app->server, err) < 0) {
        registry_config_unref(config);
        options_free(options);
        return -1;
    }
    pthread_mutex_lock(&app->lock);
    struct registry_config *old = app->config;
    app->config = config;
    pthread_mutex_unlock(&app->lock);
    registry_config_unref(old);
    for (unsigned i = 0; i < http_server_workers(app->server); ++i) {
        struct new_config *n = mem_new(struct new_config);
        n->loop = http_server_loop(app->server, i);
        n->config = config_ref(app);
        loop_post(n->loop, take_config, n);
    }
    app_access_reload(app->access, options);
    log_start(2, options->log_level, options->log_format);
    app->access_log = options->access_log;
    options_free(options);
    post_warm_up(app);
    return 0;
}

static void on_hangup(struct app *app)
{
    struct err err;
    cleanup_free char *ignored = NULL;
    if (reload(app, &ignored, &err) < 0) {
        metric_count("rac_reloads_total", "result=\"failed\"", 1);
        log_error("configuration not reloaded: the old one stays in force", F_ERR(&err));
        return;
    }
    metric_count("rac_reloads_total", "result=\"ok\"", 1);
    if (ignored)
        log_warn("these options changed, and need a restart", F_S("options", ignored));
    log_info("configuration reloaded");
}

/* ---- from start to end ---- */

static int open_stores(struct app *app, struct err *err)
{
    const struct options *o = app->options;
    app->jobs = jobs_new(JOB_THREADS);
    if (app_state_open(app, err) < 0)
        return -1;
    struct disk_options disk = {.dir = o->data_dir,
                                .limit_bytes = o->cache_size_bytes,
                                .limit_percent = o->cache_size_percent,
                                .open_blobs = OPEN_BLOBS};
    if (disk_store_open(&disk, app->jobs, &app->store, err) < 0)
        return -1;
    struct s3_blobs_options s3 = {.url = o->blobs_url,
                                  .data_dir = o->data_dir,
                                  .store = app->store,
                                  .jobs = app->jobs,
                                  .client = client_of};
    if (o->blobs_url && s3_blobs_open(&s3, &app->s3, err) < 0)
        return -1;
    app->env = (struct cache_env){.second = app->s3 ? s3_blobs_source(app->s3) : NULL,
                                  .store = app->store,
                                  .state = app->state,
                                  .jobs = app->jobs,
                                  .client = client_of,
                                  .s3 = app->s3};
    app_peers_new(app);
    return 0;
}

static void make_rooms(struct app *app)
{
    const struct options *o = app->options;
    struct upstream_limits limits = upstream_limits_default;
    limits.connect_timeout_ms = (uint32_t)o->connect_timeout_ms;
    limits.head_timeout_ms = (uint32_t)o->head_timeout_ms;
    limits.stall_timeout_ms = (uint32_t)o->stall_timeout_ms;
    app->access = app_access_new(o, app->state);
    app->upstream = upstream_shared_new(&limits);
    app->documents = documents_new(&app->env, o->cache_memory_bytes);
    app->links = links_new(&app->env, LINKS_IN_MEMORY);
    app->tags = tags_new(&app->env, app->documents, app->links);
    app->fills = fills_new(&app->env);
    app_layer_sources(app);
    app->layers = injected_layers_new(&app->env, &app->layer_sources, o->max_layer_bytes);
    app->variants = variants_new(&app->env, app->documents, app->links, app->layers);
    app->registry = (struct registry){.env = &app->env,
                                      .documents = app->documents,
                                      .links = app->links,
                                      .tags = app->tags,
                                      .fills = app->fills,
                                      .redirect_bytes = o->blobs_redirect_bytes,
                                      .blob_heads = blob_heads_new(&app->env),
                                      .relays = relays_new(&app->env),
                                      .layers = app->layers,
                                      .variants = app->variants,
                                      .access = app->access,
                                      .worker = registry_worker_of};
    app->api = (struct api){.env = &app->env,
                            .registry = &app->registry,
                            .access = app->access,
                            .refresh_metrics = app_metrics_refresh,
                            .arg = app};
    app_tokens_new(app);
    app->api.validations = rate_new(o->validate_rate, app->state, "validations");
    app_admission_new(app);
}

static int make_server(struct app *app, struct err *err)
{
    const struct options *o = app->options;
    cleanup_free struct http_listen *listen = mem_alloc(o->listen_count * sizeof *listen);
    for (size_t i = 0; i < o->listen_count; ++i)
        listen[i].address = o->listen[i];
    struct http_config config = {.listen = listen,
                                 .listen_count = (unsigned)o->listen_count,
                                 .workers = o->workers,
                                 .limits = http_limits_default,
                                 .tls_certificate = o->tls_certificate,
                                 .tls_key = o->tls_key,
                                 .http2 = o->tls_http2,
                                 .tls_client_ca = o->tls_client_ca,
                                 .tls_client_required = o->tls_client_required,
                                 .worker_begin = worker_begin,
                                 .worker_end = worker_end,
                                 .on_request = on_request,
                                 .on_finished = on_finished,
                                 .refuse = refuse,
                                 .arg = app};
    config.limits.max_connections = o->max_connections;
    config.limits.idle_timeout_ms = (uint32_t)o->idle_timeout_ms;
    config.limits.head_timeout_ms = (uint32_t)o->request_head_timeout_ms;
    config.limits.body_timeout_ms = (uint32_t)o->request_body_timeout_ms;
    config.limits.slow_reader_timeout_ms = (uint32_t)o->slow_reader_timeout_ms;
    app->server = http_server_new(&config, err);
    return app->server ? 0 : -1;
}

/* What a reload reads again is read again here, so that one that could not be read at night is told of now.
 */
static int drop_privileges(struct app *app, struct err *err)
{
    const struct options *o = app->options;
    struct options *again;
    if (privileges_drop(o->user, o->data_dir, err) < 0)
        return -1;
    if (!o->user)
        return 0;
    if (options_read(app->argc, app->argv, app->env_vars, &again, err) < 0)
        return err_wrap(err, "as user '%s'", o->user);
    options_free(again);
    return 0;
}

static int start(struct app *app, struct err *err)
{
    /* Listening first: root may be needed for it, and for nothing behind it. */
    if (make_server(app, err) < 0 || drop_privileges(app, err) < 0 || open_stores(app, err) < 0 ||
        app_config_new(app->options, app->state->scope_key, &app->config, err) < 0)
        return -1;
    make_rooms(app);
    if (app_records_open(app, err) < 0)
        return -1;
    return http_server_start(app->server, err);
}

static void say_ready(struct app *app)
{
    cleanup_buf struct buf addresses = {0};
    for (size_t i = 0; i < app->options->listen_count; ++i)
        (void)buf_printf(&addresses, "%s%s", i ? "," : "", http_server_address(app->server, (unsigned)i));
    log_info("ready", F_S("listen", addresses.p), F_S("tls", app->options->tls_certificate ? "yes" : "no"),
             F_S("data", app->options->data_dir), F_S("default_upstream", app->options->default_upstream),
             F_U("injections", rules_injection_count(app->config->rules)), F_S("version", RAC_VERSION));
    metric_set(metric_get("rac_start_time_seconds", ""), (uint64_t)time(NULL));
    const char *message = getenv("RAC_READY_MESSAGE");
    if (message) {
        (void)fputs(message, stdout);
        (void)fflush(stdout);
    }
}

static void serve(struct app *app, const sigset_t *signals)
{
    for (;;) {
        int s = sigwaitinfo(signals, NULL);
        if (s == SIGHUP) {
            on_hangup(app);
        } else if (s == SIGTERM || s == SIGINT) {
            log_info("draining", F_S("signal", s == SIGTERM ? "SIGTERM" : "SIGINT"),
                     F_U("grace_ms", app->options->grace_ms));
            app_records_drain(app);
            unsigned cut = http_server_drain(app->server, (uint32_t)app->options->grace_ms);
            log_info("drained", F_U("requests_cut_off", cut));
            return;
        }
    }
}

static void end(struct app *app)
{
    s3_blobs_stop(app->s3);
    fills_free(app->fills);
    app_records_free(app);
    jobs_free(app->layer_jobs);
    jobs_free(app->jobs); /* runs what is queued: the stores must still be there */
    s3_blobs_free(app->s3);
    if (app->store)
        app->store->ops->close(app->store);
    app_state_close(app);
    app_tokens_free(app);
    rate_free(app->api.validations);
    variants_free(app->variants);
    injected_layers_free(app->layers);
    tags_free(app->tags);
    blob_heads_free(app->registry.blob_heads);
    relays_free(app->registry.relays);
    links_free(app->links);
    documents_free(app->documents);
    upstream_shared_free(app->upstream);
    peers_free(app->env.peers);
    access_free(app->access);
    http_server_free(app->server);
    registry_config_unref(app->config);
    options_free(app->options);
    pthread_mutex_destroy(&app->lock);
}

int app_run(struct options *options, int argc, char *const *argv, char *const *env)
{
    struct app app = {
        .options = options, .argc = argc, .argv = argv, .env_vars = env, .access_log = options->access_log};
    struct err err;
    sigset_t signals;
    pthread_mutex_init(&app.lock, NULL);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* before the first thread: all of them inherit it */
    (void)signal(SIGPIPE, SIG_IGN);
    privileges_fix();
    (void)umask(027); /* images may be private, and the state knows who may read what */
    log_start(2, options->log_level, options->log_format);
    for (char **w = options->warnings; *w; ++w)
        log_warn("configuration", F_S("warning", *w));
    bool ok = start(&app, &err) == 0;
    bool told_to_end = !ok && err.code == ERR_CANCELLED;
    if (ok) {
        say_ready(&app);
        post_warm_up(&app);
        app_records_start(&app);
        serve(&app, &signals);
    } else if (told_to_end) {
        log_info("ended before it was ready", F_ERR(&err));
    } else {
        log_error("cannot start", F_ERR(&err));
    }
    end(&app);
    log_stop();
    return ok || told_to_end ? 0 : 1;
}
