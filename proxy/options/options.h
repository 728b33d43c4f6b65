// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_PROXY_OPTIONS_H
#define RAC_PROXY_OPTIONS_H
/*
 * What rac-proxy was told: one table (options_table.c) of every option's name, type, default, unit, range and
 * help, from which come the YAML file's members, the RAC_... environment, the flags, --help, docs/config.md
 * and the man page.
 *
 * Flag over environment over file over default; a reload reads all of them again. The only secrets are the
 * passwords of upstreams (an account's too): `password` or `password-file` in the file,
 * RAC_UPSTREAM_<NAME>_PASSWORD or
 * ..._PASSWORD_FILE in the environment, never a flag. They are zeroed when freed, and never printed: "set" is
 * all that is shown.
 *
 * Relative paths in the file are relative to the file; all paths here can be opened as they are.
 * Immutable once read; options_free when done. Main thread.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/err.h"
#include "common/log.h"
#include "common/network.h"

/* Where a value was given, for messages. Lines and columns count from 1; 0 if it was not the file. */
struct option_origin {
    enum { OPTION_FROM_DEFAULT, OPTION_FROM_FILE, OPTION_FROM_ENV, OPTION_FROM_FLAG } source;
    unsigned line, column;
};

struct options_upstream {
    char *
        name; /* as in "docker.io", "lab", "localhost:5000"; well-formed; its aliases are docker.io already */
    char *url;      /* well-formed, with scheme and host, no user info, no trailing slash */
    bool url_given; /* false: an entry that adds credentials to a registry; url is https://<name> */
    char *username, *password; /* both or none; password read from its file already */
    char *ca;
    char **realms; /* hosts, lower case, no port; NULL-terminated, or NULL */
    char *inject;  /* an injection file, "none", or NULL: by the rules */
    bool private_addresses;
    uint64_t fresh_ms; /* UINT64_MAX: upstream.fresh */
    struct option_origin origin;
};

/* Where pull records are sent. */
struct options_endpoint {
    char *name, *url; /* url well-formed, http or https */
    char **headers;   /* "Name: value", wiped when freed; NULL-terminated, or NULL */
    char *ca;         /* PEM file; NULL: the system's */
    uint64_t timeout_ms, backoff_ms;
    uint32_t threshold;
    char **ignore_media_types, **ignore_actions; /* NULL-terminated, or NULL */
    struct option_origin origin;
};

struct options_rule {
    char *match;     /* glob over the canonical name: "quay.io/nextflow/" and a star */
    char *injection; /* path of an injection file, NULL = none */
    struct option_origin origin;
};

struct options_account {
    char *name;
    char *password_hash;                /* bcrypt, well-formed; NULL: none */
    char **keys;                        /* SHA-256 of API keys, 64 hex digits; NULL-terminated, or NULL */
    char *certificate;                  /* CN of client certificates; NULL: none */
    unsigned roles;                     /* of enum access_role */
    struct options_upstream *upstreams; /* name and credentials only */
    size_t upstream_count;
    struct option_origin origin;
};

struct options_location {
    struct net_range network;
    char *name;
    struct option_origin origin;
};

struct options {
    char *config_file; /* NULL: none */

    /* listening */
    char **listen; /* "127.0.0.1:9090", "[::1]:9090", ":9090", "localhost:0" */
    size_t listen_count;
    char *tls_certificate, *tls_key; /* both or none */
    bool tls_http2;
    char *tls_client_ca; /* NULL: clients are not asked for certificates */
    bool tls_client_required;
    uint32_t workers; /* 0: one per core */
    uint32_t max_connections;
    uint64_t idle_timeout_ms, request_head_timeout_ms, request_body_timeout_ms, slow_reader_timeout_ms;

    /* access: accounts of all sources, no name twice */
    struct options_account *accounts;
    size_t account_count;
    unsigned anonymous; /* roles of who sends no credentials; decided, whether given or not */
    bool open;
    struct options_location *locations;
    size_t location_count;
    struct net_range *trusted_proxies;
    size_t trusted_proxy_count;
    bool trust_headers;     /* pulls.trust-headers */
    uint32_t validate_rate; /* a minute and address; 0: no limit */

    /* store */
    char *data_dir;
    char *state_url;           /* NULL: embedded */
    char *state_password_file; /* NULL: none */
    char *state_password;      /* what it says */
    char *peer_address;        /* "http://10.0.0.7:9090", without a port: that of the first listen; or NULL */
    char *peer_ca;             /* NULL: the system's */
    char *blobs_url;           /* s3://…; NULL: on disk alone */
    uint64_t blobs_redirect_bytes; /* blobs from that size on are redirected; 0: none */
    uint64_t cache_size_bytes;     /* 0: by percent */
    uint32_t cache_size_percent;   /* 1..100, of the file system */
    uint64_t cache_memory_bytes;   /* manifests kept in memory */

    /* upstreams: those of the flags first, then of the environment, then of the file; no name twice */
    struct options_upstream *upstreams;
    size_t upstream_count;
    char *default_upstream; /* never NULL: as given, else the first given with a url, else docker.io */
    bool upstreams_any;
    uint64_t fresh_ms, stale_ms, offline_ms, missing_ms;
    bool stale_while_revalidate;
    uint64_t connect_timeout_ms, head_timeout_ms, stall_timeout_ms;

    /* injection */
    struct options_rule *rules; /* first match wins; inject_all is {"*", FILE} at the end */
    size_t rule_count;
    char *inject_all;         /* --inject FILE; NULL: none */
    bool no_inject;           /* whatever the rules say */
    bool pinned_refuse;       /* inject.pinned: pass | refuse */
    uint64_t max_layer_bytes; /* of an injected layer, unpacked */

    /* container tokens */
    char *public_host; /* NULL: the request's Host */
    uint64_t token_ttl_ms;
    uint32_t token_rate, token_guesses; /* a minute and address; 0: no limit */
    uint32_t token_max_layers, token_max_includes;
    uint64_t token_max_layer_bytes, token_max_total_bytes, token_max_unpacked_bytes;
    char *layer_hosts; /* lower case, commas between them; NULL: none */
    char *layer_ca;
    /* pull records */
    bool pulls_record;
    uint64_t pulls_check_window_ms, pulls_keep_ms, pulls_keep_sums_ms;
    uint64_t pulls_size_bytes;
    struct options_endpoint *endpoints; /* no name twice */
    size_t endpoint_count;

    /* Kubernetes */
    char *k8s_proxy_name;                                          /* NULL: public_host */
    bool k8s_pull_always;                                          /* k8s.pull-policy: keep | always */
    char *k8s_exempt_namespaces, *k8s_architectures, *k8s_clients; /* commas between them; may be NULL */

    /* operating */
    char *user; /* whom root becomes; NULL: nobody else */
    enum log_level log_level;
    enum log_format log_format;
    bool access_log;
    uint64_t grace_ms;

    /* what to do instead of serving */
    enum {
        OPTIONS_SERVE,
        OPTIONS_HELP,
        OPTIONS_VERSION,
        OPTIONS_CHECK,
        OPTIONS_SCRUB,
        OPTIONS_GC,          /* --gc-s3 */
        OPTIONS_BACKUP,      /* --backup, to action_file */
        OPTIONS_EXPORT,      /* --export-pulls, to action_file */
        OPTIONS_HASH,        /* --hash-password */
        OPTIONS_KEY,         /* --make-key */
        OPTIONS_CERTIFICATE, /* --make-webhook-certificate, to the folder action_file */
        OPTIONS_DOC,         /* --print-config-doc: docs/config.md */
        OPTIONS_TABLE,       /* --print-config-table: the table in README.md */
        OPTIONS_METRICS,     /* --print-metrics-doc: docs/metrics.md */
        OPTIONS_MAN,         /* --print-man: docs/man/rac-proxy.1 */
        OPTIONS_BASH,        /* --print-bash-completion */
        OPTIONS_ZSH,         /* --print-zsh-completion */
    } action;
    char *action_file;  /* of an action that takes one */
    char *action_since; /* --since, of --export-pulls; NULL: all */
    char *action_older; /* --older-than, of --gc-s3; NULL: not given */
    bool action_dry;    /* --dry-run, of --gc-s3 */
    char *action_names; /* --names, of --make-webhook-certificate; NULL: those of the chart */

    char **
        warnings; /* what is allowed, and not wise: one line each, for the log; NULL-terminated, never NULL */

    struct option_origin *origins; /* one per row of the table */
};

/* argv as main got it; env as environ. ERR_INVALID (ERR_IO for a file that cannot be read) says file, line
 * and member, or the flag, or the variable, and what is expected. For help, version and documents nothing but
 * the flags is read. */
int options_read(int argc, char *const *argv, char *const *env, struct options **ret, struct err *err);
/* The same sources again (SIGHUP). Members that cannot change while running are compared: a change is
 * reported in *ret_ignored (malloc'd, "listen, data", or NULL) and the old value stands. */
int options_reload(const struct options *old, int argc, char *const *argv, char *const *env,
                   struct options **ret, char **ret_ignored, struct err *err);
void options_free(struct options *o); /* NULL is fine */

void options_print_help(FILE *out, bool terminal);
void options_print_doc(FILE *out);     /* docs/config.md */
void options_print_table(FILE *out);   /* the table in README.md */
void options_print_metrics(FILE *out); /* docs/metrics.md */
void options_print_man(FILE *out);     /* docs/man/rac-proxy.1 */
void options_print_bash_completion(FILE *out);
void options_print_zsh_completion(FILE *out);
/* --check-config: "configuration is valid", then each value with where it came from; credentials as "set". */
void options_print_check(const struct options *o, FILE *out);
/* Does what `action` asks for if that is printing only (all but serve and scrub); false if it is not. */
bool options_print_action(const struct options *o, FILE *out, bool terminal);
#endif
