// SPDX-License-Identifier: Apache-2.0
#include "s3/s3_place.h"

#include <pthread.h>
#include <stdio.h>

#include "common/mem.h"
#define uthash_malloc(size) mem_alloc(size) /* by itself it ends without a word */
#include <uthash.h>

#include "s3/s3.h"

#define LEARNED_MAX 1024 /* buckets; then all are forgotten, and learned again when they are used */

struct learned {
    char bucket[64];
    char region[64];
    UT_hash_handle hh;
};

struct s3_places {
    bool aws;
    struct s3_url endpoint; /* of a server that is not AWS */
    enum s3_addressing addressing;
    char region[64]; /* configured or default */
    pthread_mutex_t lock;
    struct learned *learned;
};

struct s3_places *s3_places_new(const struct s3_config *config, struct err *err)
{
    struct s3_url endpoint = {0};
    if (config->endpoint && s3_url_parse(config->endpoint, &endpoint, err) < 0) {
        (void)err_wrap(err, "S3 endpoint %s", config->endpoint);
        return NULL;
    }
    struct s3_places *p = mem_new(struct s3_places);
    p->aws = !config->endpoint;
    p->endpoint = endpoint;
    /* "http://host/" and "http://host" are the same. */
    for (size_t n = strlen(p->endpoint.target); n && p->endpoint.target[n - 1] == '/'; --n)
        p->endpoint.target[n - 1] = '\0';
    p->addressing = config->addressing;
    (void)snprintf(p->region, sizeof p->region, "%s", config->region ? config->region : S3_REGION_DEFAULT);
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

static void forget_all(struct s3_places *p)
{
    struct learned *l, *after;
    HASH_ITER (hh, p->learned, l, after) {
        HASH_DEL(p->learned, l);
        free(l);
    }
}

void s3_places_free(struct s3_places *p)
{
    if (!p)
        return;
    forget_all(p);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void s3_place_free(struct s3_place *p)
{
    free(p->path);
    p->path = NULL;
}

static void find_region(struct s3_places *p, const char *bucket, char ret[64])
{
    struct learned *l = NULL;
    pthread_mutex_lock(&p->lock);
    if (bucket)
        HASH_FIND_STR(p->learned, bucket, l);
    memcpy(ret, l ? l->region : p->region, 64);
    pthread_mutex_unlock(&p->lock);
}

bool s3_place_learn(struct s3_places *p, const char *bucket, const char *region, const char *asked_region)
{
    struct learned *l = NULL;
    if (!bucket || !*region || strcmp(region, asked_region) == 0)
        return false;
    pthread_mutex_lock(&p->lock);
    HASH_FIND_STR(p->learned, bucket, l);
    if (!l) {
        if (HASH_COUNT(p->learned) >= LEARNED_MAX)
            forget_all(p);
        l = mem_new(struct learned);
        (void)snprintf(l->bucket, sizeof l->bucket, "%s", bucket);
        HASH_ADD_STR(p->learned, bucket, l);
    }
    (void)snprintf(l->region, sizeof l->region, "%s", region);
    pthread_mutex_unlock(&p->lock);
    return true;
}

/* 3 to 63 of these, as old buckets and other servers have them; new ones at AWS are stricter. */
bool s3_bucket_valid(const char *bucket)
{
    size_t n = strlen(bucket);
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    return n >= 3 && n <= 63 && strspn(bucket, allowed) == n && bucket[0] != '.' && !strstr(bucket, "..");
}

/* Can it stand in a host name below a certificate's wildcard? */
static bool host_label(const char *bucket)
{
    size_t n = strlen(bucket);
    return strspn(bucket, "abcdefghijklmnopqrstuvwxyz0123456789-") == n && bucket[0] != '-' &&
           bucket[n - 1] != '-';
}

static int find_server(const struct s3_places *p, const char *bucket, bool virtual, struct s3_place *place,
                       struct err *err)
{
    const char *label = virtual ? bucket : "", *dot = virtual ? "." : "";
    if (p->aws) {
        cleanup_free char *url = mem_printf("https://%s%ss3.%s.amazonaws.com%s", label, dot, place->region,
                                            strncmp(place->region, "cn-", 3) == 0 ? ".cn" : "");
        return s3_url_parse(url, &place->server, err);
    }
    place->server = p->endpoint;
    int n = snprintf(place->server.host, sizeof place->server.host, "%s%s%s", label, dot, p->endpoint.host);
    if (n < 0 || (size_t)n >= sizeof place->server.host)
        return err_set(err, ERR_INVALID, "the host of bucket %s is too long", bucket);
    return 0;
}

int s3_place_find(struct s3_places *p, const char *bucket, const char *key, struct s3_place *ret,
                  struct err *err)
{
    struct s3_place place = {0};
    if (bucket && !s3_bucket_valid(bucket))
        return err_set(err, ERR_INVALID, "'%.80s' is not the name of a bucket", bucket);
    if (key && (!*key || strlen(key) > S3_KEY_MAX))
        return err_set(err, ERR_INVALID, "a key has 1 to %d bytes", S3_KEY_MAX);
    bool virtual = bucket && host_label(bucket) && !p->endpoint.literal &&
                   (p->addressing == S3_ADDRESSING_VIRTUAL ||
                    (p->addressing == S3_ADDRESSING_AUTO && p->aws));
    find_region(p, bucket, place.region);
    if (find_server(p, bucket, virtual, &place, err) < 0)
        return -1;
    cleanup_buf struct buf path = {0};
    (void)s3_url_add_escaped(&path, place.server.target, true);
    (void)buf_add_str(&path, "/");
    if (bucket && !virtual) {
        (void)buf_add_str(&path, bucket);
        (void)buf_add_str(&path, key ? "/" : "");
    }
    if (key)
        (void)s3_url_add_escaped(&path, key, true);
    place.path = buf_take(&path);
    *ret = place;
    return 0;
}
