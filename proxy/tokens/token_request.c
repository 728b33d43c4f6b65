// SPDX-License-Identifier: Apache-2.0
#include "proxy/tokens/token_request.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/json.h"
#include "common/mem.h"

/* A member of any type but null; NULL if absent. */
static const json_t *member(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);
    return json_is_null(v) ? NULL : v;
}

/* ---- names of images ---- */

static int check_host(struct slice host, struct err *err)
{
    for (size_t i = 0; i < host.len; ++i) {
        char c = host.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr(".:-[]", c)))
            return err_set(err, ERR_NAME_INVALID, "'%.*s' is no registry", (int)host.len, host.p);
    }
    return 0;
}

int image_name_parse(struct slice text, struct image_name *ret, struct err *err)
{
    if (text.len == 0 || slice_trim(text).len == 0)
        return err_set(err, ERR_INVALID, "is empty");
    if (text.len > TOKEN_REQUEST_IMAGE_MAX || memchr(text.p, '\0', text.len))
        return err_set(err, ERR_NAME_INVALID, "is no image: longer than %d characters, or not text",
                       TOKEN_REQUEST_IMAGE_MAX);
    struct image_name n = {.host = {NULL, 0}};
    memcpy(n.text, text.p, text.len);
    *ret = n;
    struct slice name = {ret->text, text.len}, tag = {NULL, 0}, digest = {NULL, 0};
    const char *at = memchr(name.p, '@', name.len);
    if (at) {
        digest = (struct slice){at + 1, name.len - (size_t)(at + 1 - name.p)};
        name.len = (size_t)(at - name.p);
    }
    const char *slash = name.len ? memrchr(name.p, '/', name.len) : NULL;
    const char *last = slash ? slash + 1 : name.p;
    const char *colon = memchr(last, ':', name.len - (size_t)(last - name.p));
    if (colon) {
        tag = (struct slice){colon + 1, name.len - (size_t)(colon + 1 - name.p)};
        name.len = (size_t)(colon - name.p);
        if (reference_check_tag(tag, err) < 0)
            return -1;
    }
    struct slice rest = name, first = slice_cut(&rest, '/');
    if (rest.p && memchr(first.p, ':', first.len)) {
        if (check_host(first, err) < 0)
            return -1;
        ret->host = first;
        name = rest;
    }
    ret->name = name;
    if (reference_check_name(name, err) < 0)
        return -1;
    if (at) {
        ret->reference.is_digest = true;
        return digest_parse(digest, &ret->reference.digest, err);
    }
    return reference_parse(colon ? tag : SLICE_LIT("latest"), &ret->reference, err);
}

static int parse_image(const json_t *v, struct image_name *ret, struct err *err)
{
    if (!json_is_string(v))
        return err_set(err, ERR_INVALID, "must be a string");
    return image_name_parse((struct slice){json_string_value(v), json_string_length(v)}, ret, err);
}

/* ---- what is not done here ---- */

/* What asks for nothing: null, false, "", [], {}, or the word that means "none". */
static bool asks(const json_t *v, const char *none)
{
    if (json_is_string(v))
        return *json_string_value(v) && (!none || strcmp(json_string_value(v), none) != 0);
    if (json_is_array(v))
        return json_array_size(v) > 0;
    if (json_is_object(v))
        return json_object_size(v) > 0;
    return v && !json_is_null(v) && !json_is_false(v);
}

static int refuse_unsupported(const json_t *root, struct err *err)
{
    static const struct {
        const char *name, *none;
    } members[] = {
        {"containerFile", NULL}, {"condaFile", NULL},       {"spackFile", NULL},  {"packages", NULL},
        {"buildContext", NULL},  {"buildRepository", NULL}, {"mirror", NULL},     {"mirrorRegistry", NULL},
        {"freeze", NULL},        {"format", "docker"},      {"scanMode", "none"}, {"scanLevels", NULL},
    };
    for (size_t i = 0; i < sizeof members / sizeof members[0]; ++i)
        if (asks(json_object_get(root, members[i].name), members[i].none))
            return err_set(err, ERR_INVALID, "'%s' is not supported by this server", members[i].name);
    return 0;
}

/* ---- the members ---- */

static int parse_platform(const json_t *root, struct token_request *q, struct err *err)
{
    const char *text;
    if (json_get_str(root, "containerPlatform", &text, err) < 0)
        return -1;
    if (!text || !*text)
        text = "linux/amd64";
    q->all_platforms = strcmp(text, "all") == 0;
    if (!q->all_platforms && platform_parse(slice_of(text), &q->platform, err) < 0)
        return err_wrap(err, "'containerPlatform'");
    return 0;
}

static int parse_config(const json_t *root, struct token_request *q, struct err *err)
{
    const json_t *config = member(root, "containerConfig");
    if (config && !json_is_object(config))
        return err_set(err, ERR_INVALID, "'containerConfig' must be an object");
    cleanup_json json_t *copy =
        config ? json_copy((json_t *)config) : json_object(); /* its members are shared */
    char platform[PLATFORM_STR_MAX];
    (void)json_object_del(copy, "platform"); /* containerPlatform says it */
    if (!q->all_platforms)
        (void)json_object_set_new(copy, "platform", json_string(platform_format(&q->platform, platform)));
    q->injection = injection_from_client(copy, err);
    return q->injection ? 0 : err_wrap(err, "'containerConfig'");
}

static int parse_includes(const json_t *root, const struct token_request_limits *limits,
                          struct token_request *q, struct err *err)
{
    const json_t *list = member(root, "containerIncludes");
    if (!list)
        return 0;
    if (!json_is_array(list))
        return err_set(err, ERR_INVALID, "'containerIncludes' must be a list of images");
    size_t n = json_array_size(list);
    if (n > limits->includes)
        return err_set(err, ERR_INVALID,
                       "'containerIncludes' has %zu images: the limit is %u (tokens.max-includes)", n,
                       limits->includes);
    if (n && q->all_platforms)
        return err_set(err, ERR_INVALID,
                       "'containerIncludes' needs one 'containerPlatform': layers are made for a platform");
    q->includes = mem_zalloc((n + 1) * sizeof *q->includes);
    for (size_t i = 0; i < n; ++i, ++q->include_count)
        if (parse_image(json_array_get(list, i), &q->includes[i], err) < 0)
            return err_wrap(err, "containerIncludes[%zu]", i);
    return 0;
}

/* What is kept to tell where a token came from. Never towerAccessToken or towerRefreshToken: they are secrets
 * of another service, and nothing here needs them. */
static int take_note(const json_t *root, struct token_request *q, struct err *err)
{
    static const char *const names[] = {"fingerprint", "timestamp", "towerEndpoint", "towerWorkspaceId",
                                        "workflowId"};
    static const char *const secrets[] = {"towerAccessToken", "towerRefreshToken"};
    cleanup_json json_t *note = json_object();
    const char *ignored;
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; ++i)
        if (json_get_str(root, secrets[i], &ignored, err) < 0)
            return -1;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
        const json_t *v = member(root, names[i]);
        if (!v)
            continue;
        if (!json_is_string(v) && !json_is_integer(v))
            return err_set(err, ERR_INVALID, "'%s' must be a string or a whole number", names[i]);
        if (json_is_string(v) && json_string_length(v) > TOKEN_REQUEST_NOTE_MAX)
            return err_set(err, ERR_INVALID, "'%s' is longer than %d bytes", names[i],
                           TOKEN_REQUEST_NOTE_MAX);
        (void)json_object_set(note, names[i], (json_t *)v);
    }
    cleanup_json json_t *includes = json_array();
    for (size_t i = 0; i < q->include_count; ++i)
        (void)json_array_append_new(includes, json_string(q->includes[i].text));
    if (q->include_count)
        (void)json_object_set(note, "containerIncludes", includes);
    if (json_object_size(note))
        q->note = json_format(note, NULL);
    return 0;
}

int token_request_check_layers(const struct injection *inj, const struct token_request_limits *limits,
                               struct err *err)
{
    uint64_t total = 0;
    size_t n = injection_layer_count(inj);
    if (n > limits->layers)
        return err_set(err, ERR_INVALID, "%zu layers: the limit is %u (tokens.max-layers)", n,
                       limits->layers);
    for (size_t i = 0; i < n; ++i) {
        const struct injection_layer *layer = injection_layer_at(inj, i);
        if (layer->gzip_size > limits->layer_bytes)
            return err_set(err, ERR_SIZE_INVALID,
                           "layers[%zu]: gzipSize is %" PRIu64 ": the limit is %" PRIu64
                           " (tokens.max-layer-size)",
                           i, layer->gzip_size, limits->layer_bytes);
        total += layer->gzip_size;
        if (total > limits->total_bytes)
            return err_set(err, ERR_SIZE_INVALID,
                           "layers have more than %" PRIu64 " bytes together (tokens.max-total-size)",
                           limits->total_bytes);
    }
    return 0;
}

static int parse_members(const json_t *root, const struct token_request_limits *limits,
                         struct token_request *q, struct err *err)
{
    if (!json_is_object(root))
        return err_set(err, ERR_INVALID, "the body must be a JSON object");
    if (refuse_unsupported(root, err) < 0)
        return -1;
    const json_t *image = member(root, "containerImage");
    if (!image)
        return err_set(err, ERR_INVALID, "'containerImage' is missing: the image that is asked for");
    if (parse_image(image, &q->image, err) < 0)
        return err_wrap(err, "'containerImage'");
    if (parse_platform(root, q, err) < 0 || parse_config(root, q, err) < 0 ||
        token_request_check_layers(q->injection, limits, err) < 0 || parse_includes(root, limits, q, err) < 0)
        return -1;
    return take_note(root, q, err);
}

int token_request_parse(const void *json, size_t len, const struct token_request_limits *limits,
                        struct token_request **ret, struct err *err)
{
    if (len == 0)
        return err_set(err, ERR_INVALID, "the request has no body: a JSON object is expected");
    cleanup_json json_t *root = json_parse(json, len, INJECTION_BYTES_MAX, err);
    if (!root)
        return err_wrap(err, "the body is not the JSON that is expected");
    struct token_request *q = mem_new(struct token_request);
    if (parse_members(root, limits, q, err) < 0) {
        token_request_free(q);
        return -1;
    }
    *ret = q;
    return 0;
}

void token_request_free(struct token_request *q)
{
    if (!q)
        return;
    injection_unref(q->injection);
    free(q->includes);
    free(q->note);
    free(q);
}
