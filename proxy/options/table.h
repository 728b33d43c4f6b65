// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_PROXY_OPTIONS_TABLE_H
#define RAC_PROXY_OPTIONS_TABLE_H
/*
 * The table of options: one row each, and nothing about an option stands anywhere else. Private to options_*.
 *
 * A row's name is its member of the YAML file, dotted ("cache.size"); its flag is "--cache-size" and its
 * variable RAC_CACHE_SIZE unless the row says another word for them.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/str.h"
#include "proxy/options/options.h"

enum option_type {
    OPTION_BOOL,            /* bool: true | false; a flag alone is true */
    OPTION_UINT,            /* uint32_t, min..max */
    OPTION_SIZE,            /* uint64_t bytes, min..max */
    OPTION_SIZE_OR_PERCENT, /* uint64_t bytes, and the uint32_t percent at offset2; one of them is 0 */
    OPTION_DURATION,        /* uint64_t milliseconds, min..max */
    OPTION_FILE,            /* char *: a file that must be readable */
    OPTION_FOLDER,          /* char *: a folder that need not exist */
    OPTION_ENUM,            /* one of `choices`; the index goes to an enum, or to a bool */
    OPTION_NAME,            /* char *: an upstream's name */
    OPTION_USER,      /* char *: a user's name, UID or UID:GID; whether there is such a one shows later */
    OPTION_AUTHORITY, /* char *: host, or host:port */
    OPTION_PEER,      /* char *: http or https URL of a host, or host:port */
    OPTION_STATE,     /* char *: URL of a Redis; shown without what stands before its @ */
    OPTION_BLOBS,     /* char *: s3://bucket/prefix?… */
    OPTION_HOSTS,     /* char *: hosts without ports, lower case, commas between them */
    OPTION_WORDS,     /* char *: words of letters, digits and ._:-, commas between them */
    /* structured: a list in the file, words with commas between them in the environment, a flag given several
       times */
    OPTION_LISTEN,    /* listen, listen_count */
    OPTION_UPSTREAMS, /* upstreams, upstream_count */
    OPTION_INJECT,    /* rules from a list, inject_all from a single file name */
    OPTION_ACCOUNTS,  /* accounts, account_count */
    OPTION_ROLES,     /* unsigned, bits of enum access_role: words with commas in any source */
    OPTION_LOCATIONS, /* locations, location_count */
    OPTION_ENDPOINTS, /* endpoints, endpoint_count */
    OPTION_NETWORKS,  /* trusted_proxies, trusted_proxy_count */
};

struct option_def {
    const char *group;
    const char *name;
    enum option_type type;
    size_t offset, offset2, size; /* of the member(s) of struct options; size of the first */
    const char *initial;          /* the default as one would write it; NULL: unset */
    const char *initial_text;     /* what documents say about it instead */
    uint64_t min, max;
    const char *const *choices; /* NULL-terminated */
    const char *flag_word;      /* without "--"; NULL: from the name */
    const char *meta;           /* what help shows for the value; NULL: by the type */
    bool reloads;               /* SIGHUP takes a change over */
    const char *help;           /* plain sentences, one paragraph */
};

/* Flags that are no values of the configuration. */
struct option_action {
    const char *flag; /* "--help" */
    char letter;      /* 'h' for -h, 0: none */
    int action;       /* OPTIONS_HELP, or one of those below */
    const char *meta; /* NULL: takes no value */
    const char *help;
};

/* --config FILE, --since TIME, --names NAME,..., --older-than AGE, --dry-run */
enum {
    OPTION_ACTION_CONFIG = -1,
    OPTION_ACTION_SINCE = -2,
    OPTION_ACTION_NAMES = -3,
    OPTION_ACTION_OLDER = -4,
    OPTION_ACTION_DRY = -5,
};

extern const struct option_def option_table[];
extern const size_t option_count;
extern const struct option_action option_actions[];
extern const size_t option_action_count;

#define OPTION_NAME_MAX ((size_t)63)

/* Members of an entry of an option that is a list of objects, for messages and documents. */
struct option_member {
    const char *name, *meta, *help;
};
extern const struct option_member option_upstream_members[]; /* ended by name NULL */
extern const struct option_member option_rule_members[];
extern const struct option_member option_account_members[];
extern const struct option_member option_account_upstream_members[];
extern const struct option_member option_location_members[];
extern const struct option_member option_endpoint_members[];
/* A configuration file, as documents show it; tests see that it is valid. */
extern const char options_example[];

size_t option_index(const struct option_def *def);
const struct option_def *option_by_name(const char *name);     /* NULL: none */
const struct option_def *option_by_flag(const char *flag);     /* "--cache-size" */
const struct option_def *option_by_variable(const char *name); /* "RAC_CACHE_SIZE" */
/* Into `out`, OPTION_NAME_MAX + 1 bytes; returns out. */
char *option_flag(const struct option_def *def, char *out);
char *option_variable(const struct option_def *def, char *out);
const char *option_meta(const struct option_def *def); /* "SIZE", "FILE", ...; "" for a bool */
bool option_is_list(const struct option_def *def);
/* What the value may be, in words: "duration, 1s to 7d". */
void option_describe(const struct option_def *def, struct buf *out);
#endif
