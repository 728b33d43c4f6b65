// SPDX-License-Identifier: Apache-2.0
#include "s3/s3_config.h"

#include <strings.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/str.h"
#include "s3/credentials_profile.h"
#include "s3/s3_tags.h"
#include "s3/s3_url.h"

static void replace(char **at, const char *value)
{
    free(*at);
    *at = mem_strdup(value);
}

static int header_value(const char *value, struct err *err)
{
    for (const char *p = value; *p; ++p) {
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            return err_set(err, ERR_INVALID, "control characters in it");
    }
    return 0;
}

static int set_endpoint(struct s3_config *c, const char *value, struct err *err)
{
    struct s3_url u;
    if (s3_url_parse(value, &u, err) < 0)
        return -1;
    if (strchr(u.target, '?'))
        return err_set(err, ERR_INVALID, "an endpoint has no query");
    replace(&c->endpoint, value);
    return 0;
}

static int set_region(struct s3_config *c, const char *value, struct err *err)
{
    /* It becomes part of a host name. */
    if (strlen(value) > 63 ||
        value[strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")])
        return err_set(err, ERR_INVALID, "'%.80s' is not the name of a region", value);
    replace(&c->region, value);
    return 0;
}

static int set_ca(struct s3_config *c, const char *value, struct err *err)
{
    (void)err;
    replace(&c->ca_file, value);
    return 0;
}

/* Set in many images, for other programs; some of them lack the file. */
static int set_ca_if_there(struct s3_config *c, const char *value, struct err *err)
{
    (void)err;
    if (!c->ca_file && access(value, R_OK) == 0)
        replace(&c->ca_file, value);
    return 0;
}

static int set_addressing(struct s3_config *c, const char *value, struct err *err)
{
    static const char *const names[] = {"auto", "path", "virtual"};
    for (size_t i = 0; i < 3; ++i) {
        if (strcmp(value, names[i]) == 0) {
            c->addressing = (enum s3_addressing)i;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID, "'%.40s' is none of auto, path, virtual", value);
}

static int set_sse(struct s3_config *c, const char *value, struct err *err)
{
    static const char *const known[] = {"AES256", "aws:kms", "aws:kms:dsse"};
    for (size_t i = 0; i < 3; ++i) {
        if (strcmp(value, known[i]) == 0) {
            replace(&c->sse, value);
            return 0;
        }
    }
    return err_set(err, ERR_INVALID, "'%.40s' is none of AES256, aws:kms, aws:kms:dsse", value);
}

static int set_kms_key(struct s3_config *c, const char *value, struct err *err)
{
    if (header_value(value, err) < 0)
        return -1;
    replace(&c->sse_kms_key_id, value);
    return 0;
}

static int set_storage_class(struct s3_config *c, const char *value, struct err *err)
{
    if (header_value(value, err) < 0)
        return -1;
    replace(&c->storage_class, value);
    return 0;
}

static int set_tags(struct s3_config *c, const char *value, struct err *err)
{
    struct s3_tags *t = NULL;
    if (s3_tags_parse(value, &t, err) < 0)
        return -1;
    if (t)
        replace(&c->tags, value);
    s3_tags_free(t);
    return 0;
}

static int parse_bool(const char *value, bool *ret, struct err *err)
{
    static const char *const yes[] = {"1", "true", "yes", "on", "requester"};
    static const char *const no[] = {"0", "false", "no", "off"};
    for (size_t i = 0; i < 5; ++i) {
        if (strcasecmp(value, yes[i]) == 0 || (i < 4 && strcasecmp(value, no[i]) == 0)) {
            *ret = strcasecmp(value, yes[i]) == 0;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID, "'%.40s' is neither true nor false", value);
}

static int set_requester_pays(struct s3_config *c, const char *value, struct err *err)
{
    return parse_bool(value, &c->requester_pays, err);
}

static int set_anonymous(struct s3_config *c, const char *value, struct err *err)
{
    return parse_bool(value, &c->anonymous, err);
}

static int set_checksums(struct s3_config *c, const char *value, struct err *err)
{
    return parse_bool(value, &c->checksums, err);
}

static int parse_count(const char *value, unsigned max, unsigned *ret, struct err *err)
{
    uint64_t n;
    if (!slice_to_u64(slice_of(value), max, &n) || n == 0)
        return err_set(err, ERR_INVALID, "'%.40s' is not a number from 1 to %u", value, max);
    *ret = (unsigned)n;
    return 0;
}

static int set_copy_max(struct s3_config *c, const char *value, struct err *err)
{
    uint64_t bytes;
    bool percent = false;
    if (!str_parse_size(value, &bytes, &percent) || percent || bytes < (uint64_t)5 << 20 ||
        bytes > (uint64_t)5 << 30)
        return err_set(err, ERR_INVALID, "'%.40s' is not a size from 5MiB to 5GiB", value);
    c->copy_max_bytes = bytes;
    return 0;
}

static int set_connections(struct s3_config *c, const char *value, struct err *err)
{
    return parse_count(value, 1024, &c->connections_max, err);
}

static int set_tries(struct s3_config *c, const char *value, struct err *err)
{
    return parse_count(value, 100, &c->tries_max, err);
}

static int parse_timeout(const char *value, uint32_t *ret, struct err *err)
{
    uint64_t ms;
    if (!str_parse_duration(value, &ms) || ms == 0 || ms > 3600000)
        return err_set(err, ERR_INVALID, "'%.40s' is not a time from 1ms to 1h", value);
    *ret = (uint32_t)ms;
    return 0;
}

static int set_connect_timeout(struct s3_config *c, const char *value, struct err *err)
{
    return parse_timeout(value, &c->connect_timeout_ms, err);
}

static int set_answer_timeout(struct s3_config *c, const char *value, struct err *err)
{
    return parse_timeout(value, &c->answer_timeout_ms, err);
}

static int set_stall_timeout(struct s3_config *c, const char *value, struct err *err)
{
    return parse_timeout(value, &c->stall_timeout_ms, err);
}

const struct s3_option s3_options[] = {
    {"AWS_ENDPOINT_URL_S3,AWS_ENDPOINT_URL,AWS_S3_ENDPOINT",
     "URL of an S3 server that is not AWS; also endpoint_url of the profile", set_endpoint},
    {"AWS_REGION,AWS_DEFAULT_REGION,FUSION_AWS_REGION",
     "region; also that of the profile; else what the server says", set_region},
    {"RAC_S3_ADDRESSING",
     "auto, path or virtual: how a bucket stands in a URL; auto: virtual hosts at AWS only", set_addressing},
    {"AWS_CA_BUNDLE", "file of CA certificates", set_ca},
    {"SSL_CERT_FILE", "the same, if it is there; else the image's own bundle, then RAC's", set_ca_if_there},
    {"FUSION_AWS_SERVER_SIDE_ENCRYPTION,RAC_S3_SSE",
     "encryption of what is written: AES256, aws:kms, aws:kms:dsse", set_sse},
    {"FUSION_AWS_SSEKMS_KEY_ID,RAC_S3_SSE_KMS_KEY_ID", "KMS key for it", set_kms_key},
    {"RAC_S3_STORAGE_CLASS", "storage class of what is written", set_storage_class},
    {"FUSION_TAGS", "tags of what is written: [PATTERN|PATTERN](NAME=VALUE),...", set_tags},
    {"RAC_S3_REQUESTER_PAYS", "true: our account pays for requests to others' buckets", set_requester_pays},
    {"RAC_S3_ANONYMOUS", "true: requests are not signed, for public buckets", set_anonymous},
    {"RAC_S3_CHECKSUMS", "false: no CRC32C with parts, for servers that refuse it", set_checksums},
    {"RAC_S3_COPY_MAX", "objects longer than that are copied in parts (5GiB)", set_copy_max},
    {"RAC_S3_CONNECTIONS", "connections to one server, at most (32)", set_connections},
    {"RAC_S3_TRIES,AWS_MAX_ATTEMPTS", "how often a request is tried, at most (10)", set_tries},
    {"RAC_S3_CONNECT_TIMEOUT", "for a connection and its TLS (10s)", set_connect_timeout},
    {"RAC_S3_ANSWER_TIMEOUT", "from a request's end to its answer (60s)", set_answer_timeout},
    {"RAC_S3_STALL_TIMEOUT", "without a byte, within a body (30s)", set_stall_timeout},
    {NULL, NULL, NULL},
};

void s3_config_defaults(struct s3_config *ret)
{
    *ret = (struct s3_config){
        .agent = "rac-fuse",
        .checksums = true,
        .copy_max_bytes = (uint64_t)5 << 30,
        .connections_max = 32,
        .tries_max = 10,
        .connect_timeout_ms = 10000,
        .answer_timeout_ms = 60000,
        .stall_timeout_ms = 30000,
    };
}

void s3_config_free(struct s3_config *c)
{
    free(c->endpoint);
    free(c->region);
    free(c->ca_file);
    free(c->sse);
    free(c->sse_kms_key_id);
    free(c->storage_class);
    free(c->tags);
    *c = (struct s3_config){0};
}

static int load_option(struct s3_config *c, const struct s3_option *o, struct err *err)
{
    struct slice rest = slice_of(o->names);
    while (rest.p) {
        struct slice one = slice_cut(&rest, ',');
        cleanup_free char *name = mem_dup(one.p, one.len);
        const char *value = getenv(name);
        if (value && *value)
            return o->set(c, value, err) < 0 ? err_wrap(err, "%s", name) : 0;
    }
    return 0;
}

static int load_profile(struct s3_config *c, struct err *err)
{
    if (c->endpoint && c->region)
        return 0;
    cleanup_profile struct profile p = {0};
    if (profile_load(&p, err) < 0)
        return -1;
    if (!c->endpoint && p.endpoint_url && set_endpoint(c, p.endpoint_url, err) < 0)
        return err_wrap(err, "endpoint_url of the AWS profile");
    if (!c->region && p.region && set_region(c, p.region, err) < 0)
        return err_wrap(err, "region of the AWS profile");
    return 0;
}

int s3_config_load(struct s3_config *ret, struct err *err)
{
    s3_config_defaults(ret);
    for (const struct s3_option *o = s3_options; o->names; ++o) {
        if (load_option(ret, o, err) < 0) {
            s3_config_free(ret);
            return -1;
        }
    }
    if (load_profile(ret, err) < 0) {
        s3_config_free(ret);
        return -1;
    }
    return 0;
}
