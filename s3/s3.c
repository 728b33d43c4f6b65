// SPDX-License-Identifier: Apache-2.0
#include "s3/s3.h"

#include <assert.h>
#include <stdio.h>
#include <sys/random.h>

#include "common/mem.h"
#include "s3/s3_call.h"

static char *copy(const char *s)
{
    return s ? mem_strdup(s) : NULL;
}

struct s3 *s3_new(const struct s3_config *config, struct err *err)
{
    struct s3 *s3 = mem_new(struct s3);
    s3->config = *config;
    s3->config.endpoint = copy(config->endpoint);
    s3->config.region = copy(config->region);
    s3->config.ca_file = copy(config->ca_file);
    s3->config.sse = copy(config->sse);
    s3->config.sse_kms_key_id = copy(config->sse_kms_key_id);
    s3->config.storage_class = copy(config->storage_class);
    s3->config.tags = copy(config->tags);
    pthread_mutex_init(&s3->lock, NULL);
    struct http_config http = {.ca_file = config->ca_file,
                               .connections_max = config->connections_max,
                               .connect_timeout_ms = config->connect_timeout_ms,
                               .answer_timeout_ms = config->answer_timeout_ms,
                               .stall_timeout_ms = config->stall_timeout_ms};
    s3->places = s3_places_new(config, err);
    s3->http = s3->places ? http_new(&http) : NULL;
    if (!s3->http || (config->tags && s3_tags_parse(config->tags, &s3->tags, err) < 0)) {
        s3_free(s3);
        return NULL;
    }
    if (!config->anonymous)
        s3->credentials = credentials_chain_new(s3->http, s3->config.region);
    return s3;
}

void s3_free(struct s3 *s3)
{
    if (!s3)
        return;
    assert(!s3->uploads);
    credentials_chain_free(s3->credentials);
    http_free(s3->http);
    s3_places_free(s3->places);
    s3_tags_free(s3->tags);
    s3_config_free(&s3->config);
    pthread_mutex_destroy(&s3->lock);
    free(s3);
}

const char *s3_endpoint(const struct s3 *s3)
{
    return s3->config.endpoint;
}

void s3_object_free(struct s3_object *o)
{
    free(o->key);
    *o = (struct s3_object){0};
}

void s3_meta_free(struct s3_meta *m)
{
    for (size_t i = 0; i < m->len; ++i) {
        free(m->entries[i].name);
        free(m->entries[i].value);
    }
    free(m->entries);
    free(m->content_type);
    *m = (struct s3_meta){0};
}

const char *s3_meta_get(const struct s3_meta *m, const char *name)
{
    for (size_t i = 0; i < m->len; ++i) {
        if (strcmp(m->entries[i].name, name) == 0)
            return m->entries[i].value;
    }
    return NULL;
}

void s3_meta_set(struct s3_meta *m, const char *name, const char *value)
{
    for (size_t i = 0; i < m->len; ++i) {
        if (strcmp(m->entries[i].name, name) == 0) {
            free(m->entries[i].value);
            m->entries[i].value = mem_strdup(value);
            return;
        }
    }
    m->entries = mem_realloc(m->entries, (m->len + 1) * sizeof *m->entries);
    m->entries[m->len++] = (struct s3_meta_entry){mem_strdup(name), mem_strdup(value)};
}

void s3_meta_remove(struct s3_meta *m, const char *name)
{
    for (size_t i = 0; i < m->len; ++i) {
        if (strcmp(m->entries[i].name, name) != 0)
            continue;
        free(m->entries[i].name);
        free(m->entries[i].value);
        m->entries[i] = m->entries[--m->len];
        return;
    }
}

void s3_page_free(struct s3_page *p)
{
    for (size_t i = 0; i < p->objects_len; ++i)
        s3_object_free(&p->objects[i]);
    free(p->objects);
    s3_names_free(p->prefixes, p->prefixes_len);
    free(p->next);
    *p = (struct s3_page){0};
}

void s3_names_free(char **names, size_t len)
{
    for (size_t i = 0; i < len; ++i)
        free(names[i]);
    free(names);
}

void s3_etag_copy(struct slice value, char ret[S3_ETAG_MAX + 1])
{
    ret[0] = '\0';
    value = slice_trim(value);
    if (value.len >= 2 && value.p[0] == '"' && value.p[value.len - 1] == '"')
        value = (struct slice){value.p + 1, value.len - 2};
    /* What is left must be something that can be put into quotes again: no weak validator (W/"..."). */
    for (size_t i = 0; i < value.len; ++i) {
        if ((unsigned char)value.p[i] <= ' ' || value.p[i] == '"' || value.p[i] == 0x7f)
            return;
    }
    if (value.len > S3_ETAG_MAX || !value.len)
        return;
    memcpy(ret, value.p, value.len);
    ret[value.len] = '\0';
}

void s3_reply_object(const struct s3_reply *r, struct s3_object *ret)
{
    const struct http_head *h = &r->http.head;
    struct http_range range;
    *ret = (struct s3_object){.size = h->length};
    if (http_range_parse(http_head_get(h, "content-range"), &range))
        ret->size = range.total;
    (void)http_date_parse(http_head_get(h, "last-modified"), &ret->mtime_ms);
    s3_etag_copy(http_head_get(h, "etag"), ret->etag);
}

void s3_nonce_make(char ret[S3_NONCE_LEN + 1])
{
    unsigned char bytes[S3_NONCE_LEN / 2];
    ssize_t n = getrandom(bytes, sizeof bytes, 0);
    assert(n == sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; ++i)
        (void)snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
}
