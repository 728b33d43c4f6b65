// SPDX-License-Identifier: Apache-2.0
#include "proxy/options/options.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "proxy/options/account.h"
#include "proxy/options/args.h"
#include "proxy/options/check.h"
#include "proxy/options/endpoint.h"
#include "proxy/options/file.h"
#include "proxy/options/state.h"
#include "proxy/options/upstream.h"

static void cleanup_options_fn(struct options **o)
{
    options_free(*o);
}
#define cleanup_options RAC_CLEANUP(cleanup_options_fn)

void options_free(struct options *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->listen_count; ++i)
        free(o->listen[i]);
    for (size_t i = 0; i < o->upstream_count; ++i)
        options_upstream_clear(&o->upstreams[i]);
    for (size_t i = 0; i < o->rule_count; ++i) {
        free(o->rules[i].match);
        free(o->rules[i].injection);
    }
    for (size_t i = 0; i < o->account_count; ++i)
        options_account_clear(&o->accounts[i]);
    for (size_t i = 0; i < o->location_count; ++i)
        free(o->locations[i].name);
    for (size_t i = 0; i < o->endpoint_count; ++i)
        options_endpoint_clear(&o->endpoints[i]);
    for (size_t i = 0; o->warnings && o->warnings[i]; ++i)
        free(o->warnings[i]);
    char *const strings[] = {o->config_file,
                             o->tls_certificate,
                             o->tls_key,
                             o->data_dir,
                             o->inject_all,
                             o->default_upstream,
                             o->public_host,
                             o->k8s_proxy_name,
                             o->k8s_exempt_namespaces,
                             o->k8s_architectures,
                             o->k8s_clients,
                             o->tls_client_ca,
                             o->layer_hosts,
                             o->layer_ca,
                             o->user,
                             o->action_file,
                             o->action_since,
                             o->action_names,
                             o->state_password_file,
                             o->blobs_url,
                             o->action_older};
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; ++i)
        free(strings[i]);
    option_free_secret(o->state_url);
    option_free_secret(o->state_password);
    free(o->peer_address);
    free(o->peer_ca);
    free(o->listen);
    free(o->upstreams);
    free(o->rules);
    free(o->accounts);
    free(o->locations);
    free(o->endpoints);
    free(o->trusted_proxies);
    free(o->warnings);
    free(o->origins);
    free(o);
}

static struct options *options_new(void)
{
    struct options *o = mem_new(struct options);
    o->origins = mem_zalloc(option_count * sizeof *o->origins);
    o->warnings = mem_zalloc(sizeof *o->warnings);
    return o;
}

static void set_defaults(struct options *o)
{
    static const struct option_origin origin = {.source = OPTION_FROM_DEFAULT};
    for (size_t i = 0; i < option_count; ++i) {
        const struct option_def *def = &option_table[i];
        struct err err;
        if (!def->initial || (def->type == OPTION_LISTEN && o->listen_count))
            continue;
        /* A default that its own row refuses is a bug of the table. */
        int rc = option_is_list(def) ? option_set_list(o, def, def->initial, &origin, def->name, &err)
                                     : option_set(o, def, def->initial, NULL, def->name, &err);
        assert(rc == 0);
    }
}

static int set_default_data(struct options *o, char *const *env, struct err *err)
{
    const char *state = option_env(env, "XDG_STATE_HOME"), *home = option_env(env, "HOME");
    if (o->data_dir)
        return 0;
    if (geteuid() == 0 || o->user) /* the same before root has become that user and after */
        o->data_dir = mem_strdup("/var/lib/rac-proxy");
    else if (state && *state == '/') /* XDG base directories: a relative path is to be ignored */
        o->data_dir = mem_printf("%s/rac-proxy", state);
    else if (home && *home == '/')
        o->data_dir = mem_printf("%s/.local/state/rac-proxy", home);
    else
        return err_set(err, ERR_INVALID,
                       "data: neither HOME nor XDG_STATE_HOME is set: say where by --data DIR");
    return 0;
}

int options_read(int argc, char *const *argv, char *const *env, struct options **ret, struct err *err)
{
    cleanup_options struct options *o = options_new();
    if (option_scan_args(o, argc, argv, err) < 0)
        return -1;
    if (o->action == OPTIONS_SERVE || o->action == OPTIONS_CHECK || o->action == OPTIONS_SCRUB ||
        o->action == OPTIONS_BACKUP || o->action == OPTIONS_EXPORT || o->action == OPTIONS_GC) {
        const char *config = option_env(env, "RAC_CONFIG");
        if (!o->config_file && config && *config)
            o->config_file = mem_strdup(config);
        set_defaults(o);
        if ((o->config_file && option_read_file(o, err) < 0) || option_apply_env(o, env, err) < 0 ||
            option_apply_args(o, argc, argv, err) < 0 || option_read_credentials(o, env, err) < 0 ||
            set_default_data(o, env, err) < 0 || option_check_all(o, err) < 0)
            return -1;
    }
    *ret = steal_ptr(&o);
    return 0;
}

int options_reload(const struct options *old, int argc, char *const *argv, char *const *env,
                   struct options **ret, char **ret_ignored, struct err *err)
{
    cleanup_options struct options *o = NULL;
    cleanup_buf struct buf ignored = {0};
    if (options_read(argc, argv, env, &o, err) < 0)
        return -1;
    for (size_t i = 0; i < option_count; ++i) {
        const struct option_def *def = &option_table[i];
        if (def->reloads || option_same(old, o, def))
            continue;
        (void)buf_printf(&ignored, "%s%s", ignored.len ? ", " : "", def->name);
        option_copy(o, old, def);
    }
    /* What was decided by what is listened on is decided by what is, not by what would be. */
    if (ignored.len && option_check_access(o, err) < 0)
        return -1;
    *ret_ignored = ignored.len ? buf_take(&ignored) : NULL;
    *ret = steal_ptr(&o);
    return 0;
}
