// SPDX-License-Identifier: Apache-2.0
#include "proxy/options_table.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define MEMBER(m) .offset = offsetof(struct options, m), .size = sizeof((struct options *)NULL)->m
#define KIB       1024ULL
#define MIB       (1024ULL * KIB)
#define GIB       (1024ULL * MIB)
#define TIB       (1024ULL * GIB)
#define MS        1ULL
#define S         (1000 * MS)
#define H         (3600 * S)
#define D         (24 * H)

static const char *const level_choices[] = {"debug", "info", "warn", "error", "off", NULL};
static const char *const format_choices[] = {"logfmt", "json", NULL};
static const char *const pinned_choices[] = {"pass", "refuse", NULL};
static const char *const client_auth_choices[] = {"optional", "required", NULL};
/* The index of a choice is the value of the enum. */
_Static_assert(LOG_LEVEL_DEBUG == 0 && LOG_LEVEL_OFF == 4 && LOG_FORMAT_LOGFMT == 0 && LOG_FORMAT_JSON == 1,
               "choices and enums in the same order");

const struct option_def option_table[] = {
    {.group = "Listening",
     .name = "listen",
     .type = OPTION_LISTEN,
     MEMBER(listen),
     .initial = "127.0.0.1:9090",
     .meta = "ADDR:PORT",
     .help = "Address to listen on: 127.0.0.1:9090, [::1]:9090, :9090 (all addresses), localhost:0 (any free "
             "port). May be given several times."},
    {.group = "Listening",
     .name = "tls.certificate",
     .type = OPTION_FILE,
     MEMBER(tls_certificate),
     .help = "PEM file with the certificate and its chain. Every listener speaks TLS then. Needs tls.key. "
             "SIGHUP reads the file again."},
    {.group = "Listening",
     .name = "tls.key",
     .type = OPTION_FILE,
     MEMBER(tls_key),
     .help = "PEM file with the certificate's private key."},
    {.group = "Listening",
     .name = "tls.http2",
     .type = OPTION_BOOL,
     MEMBER(tls_http2),
     .initial = "false",
     .help =
         "Offer HTTP/2 on TLS. The engine has no defence against rapid reset: for trusted networks only."},
    {.group = "Listening",
     .name = "tls.client-ca",
     .type = OPTION_FILE,
     MEMBER(tls_client_ca),
     .help = "PEM file with the authorities of client certificates. The common name of a certificate that "
             "one of them signed names the node, or stands for an account (accounts.certificate)."},
    {.group = "Listening",
     .name = "tls.client-auth",
     .type = OPTION_ENUM,
     MEMBER(tls_client_required),
     .initial = "optional",
     .choices = client_auth_choices,
     .help = "Whether a client without a certificate is let in. One with a wrong certificate never is."},
    {.group = "Listening",
     .name = "workers",
     .type = OPTION_UINT,
     MEMBER(workers),
     .initial = "0",
     .max = 256,
     .help = "Threads that serve; 0 is one per core."},
    {.group = "Listening",
     .name = "http.max-connections",
     .type = OPTION_UINT,
     MEMBER(max_connections),
     .initial = "10000",
     .min = 1,
     .max = 1000000,
     .help = "Open connections of clients; more of them wait until one closes."},
    {.group = "Listening",
     .name = "http.idle-timeout",
     .type = OPTION_DURATION,
     MEMBER(idle_timeout_ms),
     .initial = "75s",
     .min = 1 * S,
     .max = 24 * H,
     .help = "How long a connection of a client may be idle."},
    {.group = "Listening",
     .name = "http.head-timeout",
     .type = OPTION_DURATION,
     MEMBER(request_head_timeout_ms),
     .initial = "15s",
     .min = 1 * S,
     .max = 1 * H,
     .help = "How long a client may take from the first byte of a request's head to its last."},
    {.group = "Listening",
     .name = "http.body-timeout",
     .type = OPTION_DURATION,
     MEMBER(request_body_timeout_ms),
     .initial = "30s",
     .min = 1 * S,
     .max = 1 * H,
     .help = "How long a client may take for each 8 KiB of a request's body."},
    {.group = "Listening",
     .name = "http.slow-reader-timeout",
     .type = OPTION_DURATION,
     MEMBER(slow_reader_timeout_ms),
     .initial = "60s",
     .max = 24 * H,
     .help = "A client that takes no byte of its answer for that long is cut off; 0 is never."},

    {.group = "Access",
     .name = "accounts",
     .type = OPTION_ACCOUNTS,
     .offset = offsetof(struct options, accounts),
     .size = sizeof(void *),
     .initial_text = "none",
     .flag_word = "account",
     .meta = "NAME:HASH",
     .reloads = true,
     .help = "Who may ask, besides who sends no credentials. As a flag: a line of htpasswd -nB, or NAME: and "
             "the digest of a key, with the role pull. May be given several times. See docs/access.md."},
    {.group = "Access",
     .name = "access.anonymous",
     .type = OPTION_ROLES,
     MEMBER(anonymous),
     .initial_text = "pull, request if all addresses listened on are loopback; else none",
     .meta = "ROLES",
     .reloads = true,
     .help = "What may be done without credentials: pull (images), request (container tokens, "
             "validate-creds), read-records (who pulled what), admin, or none."},
    {.group = "Access",
     .name = "open",
     .type = OPTION_BOOL,
     MEMBER(open),
     .initial = "false",
     .reloads = true,
     .help = "Let everybody pull and request, from anywhere. Needed to listen on an address that other "
             "machines reach while there are no accounts."},
    {.group = "Access",
     .name = "locations",
     .type = OPTION_LOCATIONS,
     .offset = offsetof(struct options, locations),
     .size = sizeof(void *),
     .initial_text = "none",
     .flag_word = "location",
     .meta = "NETWORK=NAME",
     .reloads = true,
     .help = "Where addresses are: 10.1.0.0/16=hospital-a. The narrowest network that holds an address "
             "counts. May be given several times."},
    {.group = "Access",
     .name = "trusted-proxies",
     .type = OPTION_NETWORKS,
     .offset = offsetof(struct options, trusted_proxies),
     .size = sizeof(void *),
     .initial_text = "none",
     .flag_word = "trusted-proxy",
     .meta = "NETWORK",
     .reloads = true,
     .help = "Addresses or networks of reverse proxies whose X-Forwarded-For is believed. May be given "
             "several times."},
    {.group = "Access",
     .name = "access.validate-rate",
     .type = OPTION_UINT,
     MEMBER(validate_rate),
     .initial = "60",
     .max = 1000000,
     .help =
         "Requests to validate-creds a minute and client address, since each is a login at a registry; more "
         "are answered 429. 0 is no limit."},
    {.group = "Access",
     .name = "pulls.trust-headers",
     .type = OPTION_BOOL,
     MEMBER(trust_headers),
     .initial = "false",
     .reloads = true,
     .help =
         "Believe clients the name of their node in X-Rac-Node (containerd) or X-Meta-Rac-Node (docker)."},

    {.group = "Store",
     .name = "data",
     .type = OPTION_FOLDER,
     MEMBER(data_dir),
     .initial_text = "/var/lib/rac-proxy as root and with user, else $XDG_STATE_HOME/rac-proxy or "
                     "~/.local/state/rac-proxy",
     .help = "Folder of everything that is kept: blobs, partial downloads, state. Made if it is not there."},
    {.group = "Store",
     .name = "cache.size",
     .type = OPTION_SIZE_OR_PERCENT,
     MEMBER(cache_size_bytes),
     .offset2 = offsetof(struct options, cache_size_percent),
     .initial = "80%",
     .min = 64 * KIB,
     .max = 8192 * TIB,
     .help = "Most that blobs may take on disk, as a size or as a percentage of the file system. The least "
             "recently used go first."},
    {.group = "Store",
     .name = "cache.memory",
     .type = OPTION_SIZE,
     MEMBER(cache_memory_bytes),
     .initial = "64MiB",
     .max = 1 * TIB,
     .help = "Most memory for manifests, which are answered from there."},

    {.group = "Upstreams",
     .name = "upstreams",
     .type = OPTION_UPSTREAMS,
     .offset = offsetof(struct options, upstreams),
     .size = sizeof(void *),
     .initial_text =
         "docker.io, ghcr.io, quay.io, gcr.io, registry.k8s.io, public.ecr.aws, mcr.microsoft.com",
     .flag_word = "upstream",
     .meta = "NAME=URL",
     .reloads = true,
     .help = "Registries to pull from, besides the known ones, or in their place if the name is the same. "
             "http:// is plain HTTP. May be given several times. Credentials stand in the file or the "
             "environment."},
    {.group = "Upstreams",
     .name = "default-upstream",
     .type = OPTION_NAME,
     MEMBER(default_upstream),
     .initial_text = "the first upstream given with a URL, else docker.io",
     .meta = "NAME",
     .reloads = true,
     .help = "Where names go that name no upstream: library/busybox."},
    {.group = "Upstreams",
     .name = "upstreams.any",
     .type = OPTION_BOOL,
     MEMBER(upstreams_any),
     .initial = "false",
     .reloads = true,
     .help =
         "Pull from any public registry that a name begins with, configured or not. Not where tenants must "
         "not read each other's images (docs/security.md)."},
    {.group = "Upstreams",
     .name = "upstream.fresh",
     .type = OPTION_DURATION,
     MEMBER(fresh_ms),
     .initial = "60s",
     .max = 365 * D,
     .reloads = true,
     .help = "A tag is looked up upstream at most once in that time, whoever asks."},
    {.group = "Upstreams",
     .name = "upstream.stale-while-revalidate",
     .type = OPTION_BOOL,
     MEMBER(stale_while_revalidate),
     .initial = "false",
     .reloads = true,
     .help = "Answer with what was known of a tag while it is looked up again. Off, since imagePullPolicy: "
             "Always means the tag as it is at that moment."},
    {.group = "Upstreams",
     .name = "upstream.stale",
     .type = OPTION_DURATION,
     MEMBER(stale_ms),
     .initial = "24h",
     .max = 3650 * D,
     .reloads = true,
     .help = "How old such an answer may be."},
    {.group = "Upstreams",
     .name = "upstream.offline",
     .type = OPTION_DURATION,
     MEMBER(offline_ms),
     .initial = "7d",
     .max = 3650 * D,
     .reloads = true,
     .help = "How old an answer may be that is given while the upstream cannot be reached, is broken or "
             "limits us."},
    {.group = "Upstreams",
     .name = "upstream.missing",
     .type = OPTION_DURATION,
     MEMBER(missing_ms),
     .initial = "10s",
     .max = 1 * D,
     .reloads = true,
     .help = "How long it is remembered that an upstream does not have something."},
    {.group = "Upstreams",
     .name = "upstream.connect-timeout",
     .type = OPTION_DURATION,
     MEMBER(connect_timeout_ms),
     .initial = "10s",
     .min = 100 * MS,
     .max = 1 * H,
     .help = "Name look-up, connection and TLS together."},
    {.group = "Upstreams",
     .name = "upstream.head-timeout",
     .type = OPTION_DURATION,
     MEMBER(head_timeout_ms),
     .initial = "30s",
     .min = 100 * MS,
     .max = 1 * H,
     .help = "From the request to the head of the answer."},
    {.group = "Upstreams",
     .name = "upstream.stall-timeout",
     .type = OPTION_DURATION,
     MEMBER(stall_timeout_ms),
     .initial = "60s",
     .min = 100 * MS,
     .max = 1 * H,
     .help = "A download that brings no byte for that long is broken off, and resumed."},

    {.group = "Injection",
     .name = "inject",
     .type = OPTION_INJECT,
     MEMBER(inject_all),
     .initial_text = "nothing is injected",
     .meta = "FILE",
     .reloads = true,
     .help = "Injection file (rac-layer pack makes one) for every image that no rule of the configuration "
             "file matches; none for no injection."},
    {.group = "Injection",
     .name = "no-inject",
     .type = OPTION_BOOL,
     MEMBER(no_inject),
     .initial = "false",
     .reloads = true,
     .help = "Inject nothing, whatever the rules say: a plain pull-through cache."},
    {.group = "Injection",
     .name = "inject.pinned",
     .type = OPTION_ENUM,
     MEMBER(pinned_refuse),
     .initial = "pass",
     .choices = pinned_choices,
     .reloads = true,
     .help = "A pull by the digest of an original that would be injected by tag: pass serves the original, "
             "refuse answers 403."},
    {.group = "Injection",
     .name = "inject.max-layer-size",
     .type = OPTION_SIZE,
     MEMBER(max_layer_bytes),
     .initial = "16GiB",
     .min = 1 * KIB,
     .max = 1 * TIB,
     .help = "Most that an injected layer may hold, unpacked."},

    {.group = "Container tokens",
     .name = "public-host",
     .type = OPTION_AUTHORITY,
     MEMBER(public_host),
     .initial_text = "the Host that the request came to",
     .meta = "HOST[:PORT]",
     .help = "What clients pull from: the beginning of targetImage in answers to requests for container "
             "tokens."},
    {.group = "Container tokens",
     .name = "tokens.ttl",
     .type = OPTION_DURATION,
     MEMBER(token_ttl_ms),
     .initial = "36h",
     .min = 1 * S,
     .max = 365 * D,
     .help = "How long a container token lives; a pull does not renew it."},
    {.group = "Container tokens",
     .name = "tokens.rate",
     .type = OPTION_UINT,
     MEMBER(token_rate),
     .initial = "600",
     .max = 1000000000,
     .help =
         "Requests for container tokens a minute and client address; more are answered 429. 0 is no limit."},
    {.group = "Container tokens",
     .name = "tokens.guesses",
     .type = OPTION_UINT,
     MEMBER(token_guesses),
     .initial = "60",
     .max = 1000000000,
     .help = "Unknown container tokens a minute and client address; more of them are answered 429. 0 is no "
             "limit."},
    {.group = "Container tokens",
     .name = "tokens.max-layers",
     .type = OPTION_UINT,
     MEMBER(token_max_layers),
     .initial = "64",
     .max = 126,
     .help = "Layers that a container token may add, those of includes counted in."},
    {.group = "Container tokens",
     .name = "tokens.max-includes",
     .type = OPTION_UINT,
     MEMBER(token_max_includes),
     .initial = "10",
     .max = 126,
     .help = "Images whose layers a container token may add (containerIncludes)."},
    {.group = "Container tokens",
     .name = "tokens.max-layer-size",
     .type = OPTION_SIZE,
     MEMBER(token_max_layer_bytes),
     .initial = "2GiB",
     .min = 1,
     .max = 1 * TIB,
     .help = "Most that one layer of a container token may have, packed."},
    {.group = "Container tokens",
     .name = "tokens.max-total-size",
     .type = OPTION_SIZE,
     MEMBER(token_max_total_bytes),
     .initial = "8GiB",
     .min = 1,
     .max = 1 * TIB,
     .help = "Most that all layers of a container token may have together, packed."},
    {.group = "Container tokens",
     .name = "tokens.max-unpacked-size",
     .type = OPTION_SIZE,
     MEMBER(token_max_unpacked_bytes),
     .initial = "4GiB",
     .min = 1 * KIB,
     .max = 1 * TIB,
     .help =
         "Most that one layer that a client sends or names may hold, unpacked: what a small body can make "
         "the proxy unpack."},
    {.group = "Container tokens",
     .name = "layers.hosts",
     .type = OPTION_HOSTS,
     MEMBER(layer_hosts),
     .initial_text = "none",
     .meta = "HOST,...",
     .help = "Hosts of https locations of layers that may have private addresses. Everything else must be "
             "public."},
    {.group = "Container tokens",
     .name = "layers.ca",
     .type = OPTION_FILE,
     MEMBER(layer_ca),
     .help = "PEM file of the authorities to trust for https locations of layers, instead of the system's."},
    {.group = "Pull records",
     .name = "pulls.record",
     .type = OPTION_BOOL,
     MEMBER(pulls_record),
     .initial = "true",
     .help =
         "Record each pull: who needs which image, and where. What was recorded is at /v1/pulls, /v1/demand "
         "and /v1/events."},
    {.group = "Pull records",
     .name = "pulls.check-window",
     .type = OPTION_DURATION,
     MEMBER(pulls_check_window_ms),
     .initial = "120s",
     .min = 100 * MS,
     .max = 1 * H,
     .help = "A question about a tag that no pull follows within that time is recorded as a check; a pull of "
             "which nothing was asked for as long is through."},
    {.group = "Pull records",
     .name = "pulls.keep",
     .type = OPTION_DURATION,
     MEMBER(pulls_keep_ms),
     .initial = "30d",
     .min = 1 * D,
     .max = 3650 * D,
     .help = "How long records are kept, in whole days."},
    {.group = "Pull records",
     .name = "pulls.keep-sums",
     .type = OPTION_DURATION,
     MEMBER(pulls_keep_sums_ms),
     .initial = "400d",
     .min = 1 * D,
     .max = 3650 * D,
     .help = "How long the sums of a day, per image and location, are kept once its records are gone."},
    {.group = "Pull records",
     .name = "pulls.size",
     .type = OPTION_SIZE,
     MEMBER(pulls_size_bytes),
     .initial = "4GiB",
     .min = 1 * MIB,
     .max = 8192 * TIB,
     .help = "Most that records may take on disk. The oldest go first."},

    {.group = "Pull records",
     .name = "notifications.endpoints",
     .type = OPTION_ENDPOINTS,
     .offset = offsetof(struct options, endpoints),
     .size = sizeof(void *),
     .initial_text = "none",
     .flag_word = "notify",
     .meta = "NAME=URL",
     .help =
         "Where each record is sent as it is written, in the envelope of the distribution project, at least "
         "once and in order. May be given several times. Headers stand in the file."},

    {.group = "Operating",
     .name = "user",
     .type = OPTION_USER,
     MEMBER(user),
     .initial_text = "whoever starts it",
     .help = "Started as root, it becomes this user once it listens, for good. What it reads again at SIGHUP "
             "must be readable for that user."},
    {.group = "Operating",
     .name = "log.level",
     .type = OPTION_ENUM,
     MEMBER(log_level),
     .initial = "info",
     .choices = level_choices,
     .reloads = true,
     .help = "Least grave event that is logged, on standard error."},
    {.group = "Operating",
     .name = "log.format",
     .type = OPTION_ENUM,
     MEMBER(log_format),
     .initial = "logfmt",
     .choices = format_choices,
     .reloads = true,
     .help = "One line per event, as key=value or as JSON."},
    {.group = "Operating",
     .name = "log.access",
     .type = OPTION_BOOL,
     MEMBER(access_log),
     .initial = "true",
     .reloads = true,
     .help = "Log a line for every request."},
    {.group = "Operating",
     .name = "shutdown.grace",
     .type = OPTION_DURATION,
     MEMBER(grace_ms),
     .initial = "30s",
     .max = 1 * H,
     .help = "How long SIGTERM lets requests that are under way finish."},
};
const size_t option_count = sizeof option_table / sizeof option_table[0];

const struct option_action option_actions[] = {
    {"--config", 'c', OPTION_ACTION_CONFIG, "FILE", "Read options from a YAML file. Also RAC_CONFIG."},
    {"--check-config", 0, OPTIONS_CHECK, NULL,
     "Say whether all options are valid, and what they are; serve nothing."},
    {"--scrub", 0, OPTIONS_SCRUB, NULL,
     "Read all stored blobs again, check their digests, move wrong ones away."},
    {"--backup", 0, OPTIONS_BACKUP, "FILE",
     "Copy the state (tokens, links, tags; not the blobs) to a new file, also while a rac-proxy uses it."},
    {"--export-pulls", 0, OPTIONS_EXPORT, "FILE",
     "Write the pull records to a file, one JSON object a line, compressed if its name ends with .zst; - is "
     "standard "
     "output. Also while a rac-proxy writes them."},
    {"--since", 0, OPTION_ACTION_SINCE, "TIME",
     "With --export-pulls: only records since then; a time, as 2026-01-31T12:00:00Z, or how long ago, as "
     "7d."},
    {"--hash-password", 0, OPTIONS_HASH, NULL,
     "Read a password, from the terminal or standard input, and print its hash for 'accounts'."},
    {"--make-key", 0, OPTIONS_KEY, NULL, "Print a new API key, and its digest for 'accounts'."},
    {"--print-config-doc", 0, OPTIONS_DOC, NULL, "Print the reference of all options, in Markdown."},
    {"--print-config-table", 0, OPTIONS_TABLE, NULL, "Print the options in one short table, in Markdown."},
    {"--print-metrics-doc", 0, OPTIONS_METRICS, NULL, "Print the reference of all metrics, in Markdown."},
    {"--print-man", 0, OPTIONS_MAN, NULL, "Print the manual page."},
    {"--print-bash-completion", 0, OPTIONS_BASH, NULL, "Print the completion for bash."},
    {"--print-zsh-completion", 0, OPTIONS_ZSH, NULL, "Print the completion for zsh."},
    {"--version", 'V', OPTIONS_VERSION, NULL, "Print the version."},
    {"--help", 'h', OPTIONS_HELP, NULL, "Print this help."},
};
const size_t option_action_count = sizeof option_actions / sizeof option_actions[0];

const struct option_member option_upstream_members[] = {
    {"name", "NAME",
     "What images' names begin with: a host (`quay.io`, `registry.lab:5000`) or a word (`lab`). Required."},
    {"url", "URL",
     "`https://` or `http://`, host, port, path prefix. Without it, `https://` and the name, which is a host "
     "then: for an entry that only brings credentials."},
    {"plain-http", "true|false", "Speak plain HTTP; `url` may be without `http://` then."},
    {"username", "TEXT",
     "Needs `password` or `password-file`. `<token>`, as docker has it: the password is a refresh token "
     "(identity token)."},
    {"password", "TEXT", "Better in a file of its own: `password-file`."},
    {"password-file", "FILE", "It holds the password and nothing else. Read at start and on SIGHUP."},
    {"ca", "FILE", "PEM file of the authorities to trust instead of the system's."},
    {"realms", "[HOST, ...]",
     "Hosts of token servers outside of the upstream's own domain that may see the credentials."},
    {"inject", "FILE|none", "Injection file for all images of this upstream, before any rule."},
    {"fresh", "DURATION", "As `upstream.fresh`, for this one."},
    {"private", "true|false", "Redirects and token servers of this upstream may lead to private addresses."},
    {NULL, NULL, NULL},
};
const struct option_member option_rule_members[] = {
    {"match", "PATTERN", "Full name of images, `*` for any characters: `quay.io/nextflow/*`. Required."},
    {"injection", "FILE|none", "Injection file; `none` leaves these images as they are. Required."},
    {NULL, NULL, NULL},
};

const struct option_member option_account_members[] = {
    {"name", "NAME", "Letters, digits and `. _ - @`. Required."},
    {"password-hash", "HASH", "bcrypt: `rac-proxy --hash-password` or `htpasswd -nB` makes one."},
    {"password-hash-file", "FILE", "It holds the hash and nothing else. Read at start and on SIGHUP."},
    {"keys", "[sha256:DIGEST, ...]",
     "Digests of API keys, which `rac-proxy --make-key` makes: for `Authorization: Bearer`, or as the "
     "password."},
    {"certificate", "NAME",
     "Common name of client certificates that stand for the account: `tls.client-ca`."},
    {"roles", "[ROLE, ...]",
     "`pull` (the default), `request` (container tokens, validate-creds), `read-records`, `admin` (all of "
     "it)."},
    {"upstreams", "[{name, username, password or password-file}, ...]",
     "Credentials with which this account sees an upstream, instead of the proxy's own. What is cached under "
     "them is for this account alone."},
    {NULL, NULL, NULL},
};
const struct option_member option_account_upstream_members[] = {
    {"name", "NAME", "An upstream that is configured or known. Required."},
    {"username", "TEXT", "Required."},
    {"password", "TEXT", "Better in a file of its own: `password-file`."},
    {"password-file", "FILE", "It holds the password and nothing else. Read at start and on SIGHUP."},
    {NULL, NULL, NULL},
};
const struct option_member option_location_members[] = {
    {"network", "[NETWORK, ...]",
     "`10.1.0.0/16`, `2001:db8::/32`, a single address; one or a list. Required."},
    {"name", "TEXT", "What records call it. Required."},
    {NULL, NULL, NULL},
};

const struct option_member option_endpoint_members[] = {
    {"name", "NAME", "What logs, metrics and the place in the journal call it. Required."},
    {"url", "URL", "`https://` or `http://`. Private addresses are fine. Required."},
    {"headers", "{NAME: VALUE, ...}", "Sent with each request, as `Authorization: Bearer ...`. Never shown."},
    {"headers-file", "FILE", "Lines of `Name: value`, in a file of their own. Read at start."},
    {"ca", "FILE", "PEM file of the authorities to trust instead of the system's."},
    {"timeout", "DURATION", "How long an answer may take. 5s."},
    {"threshold", "NUMBER", "After so many failures one after the other it is left alone for `backoff`. 5."},
    {"backoff", "DURATION", "Longest wait after a failure: waits begin at 200 ms and double up to it. 10s."},
    {"ignore", "{mediaTypes: [...], actions: [...]}",
     "What is not sent: media types of manifests, or the actions `pull` and `check`."},
    {NULL, NULL, NULL},
};

size_t option_index(const struct option_def *def)
{
    return (size_t)(def - option_table);
}

char *option_flag(const struct option_def *def, char *out)
{
    int n = snprintf(out, OPTION_NAME_MAX + 1, "--%s", def->flag_word ? def->flag_word : def->name);
    assert(n > 0 && (size_t)n <= OPTION_NAME_MAX);
    for (char *c = out; *c; ++c)
        *c = *c == '.' ? '-' : *c;
    return out;
}

char *option_variable(const struct option_def *def, char *out)
{
    int n = snprintf(out, OPTION_NAME_MAX + 1, "RAC_%s", def->flag_word ? def->flag_word : def->name);
    assert(n > 0 && (size_t)n <= OPTION_NAME_MAX);
    for (char *c = out; *c; ++c)
        *c = *c == '.' || *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    return out;
}

const struct option_def *option_by_name(const char *name)
{
    for (size_t i = 0; i < option_count; ++i)
        if (strcmp(option_table[i].name, name) == 0)
            return &option_table[i];
    return NULL;
}

const struct option_def *option_by_flag(const char *flag)
{
    char text[OPTION_NAME_MAX + 1];
    for (size_t i = 0; i < option_count; ++i)
        if (strcmp(option_flag(&option_table[i], text), flag) == 0)
            return &option_table[i];
    return NULL;
}

const struct option_def *option_by_variable(const char *name)
{
    char text[OPTION_NAME_MAX + 1];
    for (size_t i = 0; i < option_count; ++i)
        if (strcmp(option_variable(&option_table[i], text), name) == 0)
            return &option_table[i];
    return NULL;
}

const char *option_meta(const struct option_def *def)
{
    if (def->meta)
        return def->meta;
    switch (def->type) {
    case OPTION_UINT:
        return "N";
    case OPTION_SIZE:
    case OPTION_SIZE_OR_PERCENT:
        return "SIZE";
    case OPTION_DURATION:
        return "DURATION";
    case OPTION_FILE:
        return "FILE";
    case OPTION_FOLDER:
        return "DIR";
    case OPTION_ENUM:
        return "WORD";
    case OPTION_USER:
        return "USER";
    case OPTION_BOOL:
    case OPTION_NAME:
    case OPTION_AUTHORITY:
    case OPTION_HOSTS:
    case OPTION_LISTEN:
    case OPTION_UPSTREAMS:
    case OPTION_INJECT:
    case OPTION_ACCOUNTS:
    case OPTION_ROLES:
    case OPTION_LOCATIONS:
    case OPTION_ENDPOINTS:
    case OPTION_NETWORKS:
        break;
    }
    return "";
}

bool option_is_list(const struct option_def *def)
{
    switch (def->type) {
    case OPTION_LISTEN:
    case OPTION_UPSTREAMS:
    case OPTION_INJECT:
    case OPTION_ACCOUNTS:
    case OPTION_LOCATIONS:
    case OPTION_ENDPOINTS:
    case OPTION_NETWORKS:
        return true;
    default:
        return false;
    }
}
