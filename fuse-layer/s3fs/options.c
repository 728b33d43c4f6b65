// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/options.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "common/str.h"
#include "s3/s3_config.h"
#include "s3/s3_place.h"

#define BUCKETS_MAX 256

enum kind { BOOL, NUMBER, MODE, SIZE, DURATION, TEXT, LEVEL, BUCKETS };

static const struct option {
    const char *flag;  /* without "--" */
    const char *value; /* as --help shows it; NULL: takes none */
    const char *env;   /* NULL: none; the first of a comma-separated list that is set */
    const char *standard;
    const char *help;
    enum kind kind;
    size_t at; /* in struct options */
    uint64_t min, max;
} table[] = {
#define AT(member) offsetof(struct options, member)
    {"buckets", "LIST", "RAC_S3_BUCKETS,NXF_FUSION_BUCKETS", "",
     "buckets that must be there, comma-separated: [s3://]bucket[/prefix]; others appear when they are used",
     BUCKETS, 0, 0, 0},
    {"posix", NULL, "RAC_POSIX", "0",
     "keep mode, owner and times in the objects' metadata (one more request for each look), and symbolic "
     "links",
     BOOL, AT(posix), 0, 0},
    {"read-only", NULL, "RAC_READ_ONLY", "0", "change nothing", BOOL, AT(read_only), 0, 0},
    {"metadata-ttl", "TIME", "RAC_METADATA_TTL", "1s",
     "how old may be what stat and ls show of other clients' changes", DURATION, AT(metadata_ttl_ms), 0,
     86400000},
    {"memory", "SIZE", "RAC_MEMORY", "64MiB", "memory for contents, read ahead and not sent yet", SIZE,
     AT(memory_bytes), (uint64_t)24 << 20, (uint64_t)1 << 40},
    {"cache-dir", "FOLDER", "RAC_CACHE_DIR", "/tmp",
     "where data of files that are written out of order waits", TEXT, AT(cache_dir), 0, 0},
    {"cache-size", "SIZE", "RAC_CACHE_SIZE", "1GiB", "how much of it", SIZE, AT(cache_bytes),
     (uint64_t)16 << 20, (uint64_t)1 << 50},
    {"flush-timeout", "TIME", "RAC_FLUSH_TIMEOUT", "20s", "how long SIGTERM waits for uploads", DURATION,
     AT(flush_timeout_ms), 0, 3600000},
    {"uid", "NUMBER", "RAC_UID", NULL, "owner of all files (default: who runs this)", NUMBER, AT(uid), 0,
     UINT32_MAX},
    {"gid", "NUMBER", "RAC_GID", NULL, "group of all files (default: who runs this)", NUMBER, AT(gid), 0,
     UINT32_MAX},
    {"file-mode", "OCTAL", "RAC_FILE_MODE", "644", "permissions shown for files", MODE, AT(file_mode), 0,
     0777},
    {"dir-mode", "OCTAL", "RAC_DIR_MODE", "755", "permissions shown for folders", MODE, AT(dir_mode), 0,
     0777},
    {"threads", "NUMBER", "RAC_THREADS", "64", "file operations that may wait for S3 at the same time",
     NUMBER, AT(threads), 2, 1024},
    {"ready-fd", "NUMBER", NULL, "-1",
     "descriptor that gets one byte when the mount answers: 1, or n if it stands "
     "in a mount namespace of rac-fuse alone, for the caller to enter",
     NUMBER, AT(ready_fd), 0, 1 << 20},
    {"log-level", "LEVEL", "RAC_LOG_LEVEL", "warn", "debug, info, warn, error or off", LEVEL, AT(log_level),
     0, 0},
    {"help", NULL, NULL, NULL, "print this", BOOL, AT(help), 0, 0},
    {"version", NULL, NULL, NULL, "print the version", BOOL, AT(version), 0, 0},
#undef AT
};
#define TABLE_LEN (sizeof table / sizeof table[0])

static int add_bucket(struct options *o, struct slice s, struct err *err)
{
    if (slice_starts_with(s, "s3://"))
        s = (struct slice){s.p + 5, s.len - 5};
    struct slice rest = s, name = slice_cut(&rest, '/');
    while (rest.len && rest.p[rest.len - 1] == '/')
        --rest.len;
    cleanup_free char *bucket = mem_strndup(name.p, name.len);
    if (!s3_bucket_valid(bucket))
        return err_set(err, ERR_INVALID,
                       "'%.*s' is not [s3://]bucket[/prefix], where a bucket has 3 to 63 letters, digits, "
                       "'-', '.' or '_'; several are separated by commas",
                       (int)(s.len < 100 ? s.len : 100), s.p);
    if (o->buckets_len == BUCKETS_MAX)
        return err_set(err, ERR_INVALID, "more than %d buckets", BUCKETS_MAX);
    o->buckets = mem_realloc(o->buckets, (o->buckets_len + 1) * sizeof *o->buckets);
    o->buckets[o->buckets_len++] = (struct options_bucket){
        .name = steal_ptr(&bucket),
        .prefix = rest.len ? mem_printf("%.*s/", (int)rest.len, rest.p) : mem_strdup(""),
    };
    return 0;
}

static void drop_buckets(struct options *o)
{
    for (size_t i = 0; i < o->buckets_len; ++i) {
        free(o->buckets[i].name);
        free(o->buckets[i].prefix);
    }
    free(o->buckets);
    o->buckets = NULL;
    o->buckets_len = 0;
}

static int set_buckets(struct options *o, const char *value, struct err *err)
{
    drop_buckets(o);
    struct slice rest = slice_of(value);
    while (rest.p) {
        struct slice one = slice_trim(slice_cut(&rest, ','));
        if (one.len && add_bucket(o, one, err) < 0)
            return -1;
    }
    return 0;
}

static bool set_bool(bool *ret, const char *value)
{
    static const char *const yes[] = {"1", "true", "yes", "on"}, *const no[] = {"0", "false", "no", "off"};
    for (size_t i = 0; i < 4; ++i) {
        if (strcasecmp(value, yes[i]) == 0 || strcasecmp(value, no[i]) == 0) {
            *ret = strcasecmp(value, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

static bool set_number(const struct option *x, void *at, const char *value, int base)
{
    char *end;
    if (*value < '0' || *value > '9')
        return false;
    unsigned long long n = strtoull(value, &end, base);
    if (*end || n < x->min || n > x->max)
        return false;
    *(uint64_t *)at = n;
    return true;
}

static bool set_size(const struct option *x, void *at, const char *value)
{
    uint64_t n;
    bool percent;
    if (!str_parse_size(value, &n, &percent) || percent || n < x->min || n > x->max)
        return false;
    *(uint64_t *)at = n;
    return true;
}

static bool set_duration(const struct option *x, void *at, const char *value)
{
    uint64_t n;
    if (!str_parse_duration(value, &n) || n > x->max)
        return false;
    *(uint64_t *)at = n;
    return true;
}

static int set(struct options *o, const struct option *x, const char *value, const char *source,
               struct err *err)
{
    void *at = (char *)o + x->at;
    bool ok = true;
    switch (x->kind) {
    case BOOL:
        ok = set_bool(at, value);
        break;
    case NUMBER:
        ok = set_number(x, at, value, 10);
        break;
    case MODE:
        ok = set_number(x, at, value, 8);
        break;
    case SIZE:
        ok = set_size(x, at, value);
        break;
    case DURATION:
        ok = set_duration(x, at, value);
        break;
    case TEXT:
        free(*(char **)at);
        *(char **)at = mem_strdup(value);
        ok = *value != '\0';
        break;
    case LEVEL:
        return log_level_parse(value, at, err) < 0 ? err_wrap(err, "%s", source) : 0;
    case BUCKETS:
        return set_buckets(o, value, err) < 0 ? err_wrap(err, "%s", source) : 0;
    }
    if (ok)
        return 0;
    return err_set(err, ERR_INVALID, "%s: '%s' is not possible: %s", source, value, x->help);
}

/* The first of the names that is set and not empty. */
static const char *from_environment(const char *names, char *ret_name, size_t cap)
{
    struct slice rest = slice_of(names);
    while (rest.p) {
        struct slice name = slice_cut(&rest, ',');
        (void)snprintf(ret_name, cap, "%.*s", (int)name.len, name.p);
        const char *value = getenv(ret_name);
        if (value && *value)
            return value;
    }
    return NULL;
}

static int set_defaults(struct options *o, struct err *err)
{
    o->ready_fd = -1;
    o->uid = geteuid();
    o->gid = getegid();
    for (size_t i = 0; i < TABLE_LEN; ++i) {
        const struct option *x = &table[i];
        char name[64];
        const char *value = x->env ? from_environment(x->env, name, sizeof name) : NULL;
        if (value ? set(o, x, value, name, err) < 0
                  : x->standard && x->standard[0] != '-' && set(o, x, x->standard, x->flag, err) < 0)
            return -1;
    }
    return 0;
}

static int parse_flag(struct options *o, int argc, char **argv, int *at, struct err *err)
{
    const char *arg = argv[*at] + 2, *equals = strchr(arg, '=');
    size_t len = equals ? (size_t)(equals - arg) : strlen(arg);
    for (size_t i = 0; i < TABLE_LEN; ++i) {
        const struct option *x = &table[i];
        if (strlen(x->flag) != len || memcmp(x->flag, arg, len) != 0)
            continue;
        const char *value = equals ? equals + 1 : "1";
        if (x->value && !equals) {
            if (*at + 1 >= argc)
                return err_set(err, ERR_INVALID, "--%s needs a value", x->flag);
            value = argv[++*at];
        }
        char source[64];
        (void)snprintf(source, sizeof source, "--%s", x->flag);
        return set(o, x, value, source, err);
    }
    return err_set(err, ERR_INVALID, "there is no option %s: rac-fuse --help", argv[*at]);
}

static int parse(int argc, char **argv, struct options *o, struct err *err)
{
    if (set_defaults(o, err) < 0)
        return -1;
    for (int i = 1; i < argc; ++i) {
        if (strncmp(argv[i], "--", 2) == 0 && argv[i][2]) {
            if (parse_flag(o, argc, argv, &i, err) < 0)
                return -1;
        } else if (argv[i][0] == '-') {
            return err_set(err, ERR_INVALID, "there is no option %s: rac-fuse --help", argv[i]);
        } else if (o->mountpoint) {
            return err_set(err, ERR_INVALID, "one mount point, not '%s' and '%s'", o->mountpoint, argv[i]);
        } else {
            o->mountpoint = mem_strdup(argv[i]);
        }
    }
    if (!o->mountpoint && !o->help && !o->version)
        return err_set(err, ERR_INVALID, "no mount point: rac-fuse MOUNTPOINT [options], rac-fuse --help");
    return 0;
}

int options_parse(int argc, char **argv, struct options *ret, struct err *err)
{
    struct options o = {0};
    if (parse(argc, argv, &o, err) < 0) {
        options_free(&o);
        *ret = (struct options){0};
        return -1;
    }
    *ret = o;
    return 0;
}

void options_free(struct options *o)
{
    drop_buckets(o);
    free(o->mountpoint);
    free(o->cache_dir);
}

void options_help(FILE *to)
{
    (void)fprintf(
        to, "usage: rac-fuse MOUNTPOINT [options]\n\n"
            "Shows S3 as files: MOUNTPOINT/<bucket>/<key>. Stays in the foreground; SIGTERM completes the "
            "uploads,\nunmounts and ends.\n\n");
    for (size_t i = 0; i < TABLE_LEN; ++i) {
        const struct option *x = &table[i];
        (void)fprintf(to, "  --%s%s%s\n      %s", x->flag, x->value ? " " : "", x->value ? x->value : "",
                      x->help);
        if (x->standard && *x->standard && *x->standard != '-' && x->value)
            (void)fprintf(to, " (default %s)", x->standard);
        if (x->env)
            (void)fprintf(to, " [%s]", x->env);
        (void)fputc('\n', to);
    }
    (void)fprintf(to, "\nS3, by the environment (and ~/.aws/config):\n");
    for (const struct s3_option *x = s3_options; x->names; ++x)
        (void)fprintf(to, "  %s\n      %s\n", x->names, x->help);
    (void)fprintf(
        to, "\nCredentials, the first that there are:\n"
            "  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN\n"
            "  AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN, AWS_ROLE_SESSION_NAME\n"
            "  ~/.aws/credentials and ~/.aws/config: AWS_PROFILE, AWS_SHARED_CREDENTIALS_FILE, "
            "AWS_CONFIG_FILE\n"
            "  AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, AWS_CONTAINER_CREDENTIALS_FULL_URI\n"
            "  the role of an EC2 instance, unless AWS_EC2_METADATA_DISABLED=true\n\n"
            "Exit code: 0 if everything is stored or its program was told; 1 if not, or if there was no "
            "mount.\n");
}
