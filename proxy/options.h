// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_PROXY_OPTIONS_H
#define RAC_PROXY_OPTIONS_H
/*
 * What rac-proxy was told: one table (options.c) of every option's name, type, default, unit, range and help, from which
 * come the YAML file's members, the RAC_… environment, the flags, --help, docs/config.md and the man page.
 *
 * Flag over environment over file over default. Secrets also as …_FILE (environment) and `…-file` (YAML).
 * Immutable once read; options_free when done. Main thread.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/err.h"
#include "common/log.h"

struct options_upstream {
    char *name, *url;
    char *username, *password; /* password read from its file already */
    char *ca;
    char **realms;             /* NULL-terminated, or NULL */
    char *inject;              /* an injection file, "none", or NULL: by the rules */
    bool private_addresses;
    uint64_t fresh_ms;         /* UINT64_MAX: upstream.fresh */
};

struct options_rule {
    char *match;     /* glob over the canonical name: "quay.io/nextflow/*" */
    char *injection; /* path of an injection file (absolute, or relative to the configuration file), NULL = none */
};

struct options {
    char *config_file; /* NULL: none */
    /* listening */
    char **listen; size_t listen_count; /* "127.0.0.1:9090" */
    char *tls_certificate, *tls_key; bool tls_http2;
    uint32_t workers;                    /* 0: one per core */
    uint32_t max_connections;
    uint64_t idle_timeout_ms, slow_reader_timeout_ms;
    /* store */
    char *data_dir;
    uint64_t cache_size_bytes; uint32_t cache_size_percent; /* percent if bytes is 0 */
    uint64_t cache_memory_bytes;                             /* manifests kept in memory */
    /* upstreams */
    struct options_upstream *upstreams; size_t upstream_count;
    char *default_upstream;              /* NULL: the first given, or docker.io */
    bool upstreams_any;
    uint64_t fresh_ms, stale_ms, offline_ms, missing_ms; bool stale_while_revalidate;
    uint64_t connect_timeout_ms, head_timeout_ms, stall_timeout_ms;
    /* injection */
    struct options_rule *rules; size_t rule_count; /* first match wins; --inject FILE is {"*", FILE} at the end */
    bool no_inject;
    bool pinned_refuse;                  /* inject.pinned: pass | refuse */
    uint64_t max_layer_bytes;            /* of an injected layer, unpacked: 16 GiB */
    /* operating */
    enum log_level log_level; enum log_format log_format; bool access_log;
    uint64_t grace_ms;
    /* what to do instead of serving */
    enum { OPTIONS_SERVE, OPTIONS_HELP, OPTIONS_VERSION, OPTIONS_CHECK, OPTIONS_SCRUB, OPTIONS_DOC } action;
};

/* argv as main got it; env as environ. ERR_INVALID says file, line and member, or the flag, and what is expected. */
int options_read(int argc, char *const *argv, char *const *env, struct options **ret, struct err *err);
/* The same sources again (SIGHUP). Members that cannot change while running are compared: a change is reported in
 * *ret_ignored (malloc'd, "listen, data", or NULL) and the old value stands. */
int options_reload(const struct options *old, int argc, char *const *argv, char *const *env, struct options **ret,
                   char **ret_ignored, struct err *err);
void options_free(struct options *o);
void options_print_help(FILE *out, bool terminal);
void options_print_doc(FILE *out); /* the Markdown table of docs/config.md */
#endif
