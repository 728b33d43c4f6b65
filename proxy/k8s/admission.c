// SPDX-License-Identifier: Apache-2.0
#include "proxy/k8s/admission.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/json.h"
#include "common/mem.h"
#include "proxy/k8s/pod.h"

#define API     "admission.k8s.io/v1"
#define UID_MAX 255

/* What counts of a request; all borrowed from the document. */
struct review {
    const char *uid, *operation, *subresource, *space, *name;
    bool is_pod;
    const json_t *object, *before;
};

const char *admission_outcome_name(enum admission_outcome outcome)
{
    static const char *const names[] = {"patched", "unchanged", "exempt", "other"};
    return names[outcome];
}

/* ---- what is asked ---- */

static int get_object(const json_t *obj, const char *key, const json_t **ret, struct err *err)
{
    const json_t *v = json_object_get(obj, key);
    if (v && !json_is_null(v) && !json_is_object(v))
        return err_set(err, ERR_INVALID, "'%s' is no object", key);
    *ret = json_is_object(v) ? v : NULL;
    return 0;
}

static int check_envelope(const json_t *doc, const json_t **ret_request, struct err *err)
{
    const char *kind, *api;
    if (!json_is_object(doc))
        return err_set(err, ERR_INVALID, "the body is no AdmissionReview: it is no object");
    if (json_get_str(doc, "kind", &kind, err) < 0 || json_get_str(doc, "apiVersion", &api, err) < 0)
        return -1;
    if (!kind || strcmp(kind, "AdmissionReview") != 0)
        return err_set(err, ERR_INVALID, "the body is no AdmissionReview: its 'kind' is %s%.60s%s",
                       kind ? "'" : "", kind ? kind : "missing", kind ? "'" : "");
    if (!api || strcmp(api, API) != 0)
        return err_set(err, ERR_INVALID,
                       "this webhook speaks " API " only, not '%.60s': see admissionReviewVersions",
                       api ? api : "");
    if (get_object(doc, "request", ret_request, err) < 0)
        return -1;
    return *ret_request ? 0 : err_set(err, ERR_INVALID, "'request' is missing");
}

static int read_kind(const json_t *request, bool *ret_is_pod, struct err *err)
{
    const json_t *kind = NULL;
    const char *group, *word;
    if (get_object(request, "kind", &kind, err) < 0)
        return -1;
    if (!kind)
        return err_set(err, ERR_INVALID, "'request.kind' is missing");
    if (json_get_str(kind, "group", &group, err) < 0 || json_get_str(kind, "kind", &word, err) < 0)
        return -1;
    *ret_is_pod = (!group || !*group) && word && strcmp(word, "Pod") == 0;
    return 0;
}

static int read_review(const json_t *doc, struct review *ret, struct err *err)
{
    const json_t *request = NULL;
    if (check_envelope(doc, &request, err) < 0 || json_get_str(request, "uid", &ret->uid, err) < 0 ||
        json_get_str(request, "operation", &ret->operation, err) < 0 ||
        json_get_str(request, "subResource", &ret->subresource, err) < 0 ||
        json_get_str(request, "namespace", &ret->space, err) < 0 ||
        json_get_str(request, "name", &ret->name, err) < 0 ||
        get_object(request, "object", &ret->object, err) < 0 ||
        get_object(request, "oldObject", &ret->before, err) < 0)
        return -1;
    if (!ret->uid || !*ret->uid || strlen(ret->uid) > UID_MAX)
        return err_set(err, ERR_INVALID, "'request.uid' is missing, or longer than %d bytes", UID_MAX);
    if (!ret->operation)
        return err_set(err, ERR_INVALID, "'request.operation' is missing");
    return read_kind(request, &ret->is_pod, err);
}

/* ---- what becomes of it ---- */

static bool is_listed(const char *list, const char *word)
{
    struct slice rest = slice_of(list);
    while (rest.p)
        if (slice_eq_str(slice_trim(slice_cut(&rest, ',')), word))
            return true;
    return false;
}

/* False: that moment brings no image. */
static bool moment_of(const struct review *v, enum pod_moment *ret)
{
    bool whole = !v->subresource || !*v->subresource;
    if (whole && strcmp(v->operation, "CREATE") == 0)
        *ret = POD_MADE;
    else if (whole && strcmp(v->operation, "UPDATE") == 0)
        *ret = POD_CHANGED;
    else if (!whole && strcmp(v->subresource, "ephemeralcontainers") == 0 &&
             strcmp(v->operation, "UPDATE") == 0)
        *ret = POD_DEBUGGED;
    else
        return false;
    return true;
}

static void name_pod(const struct review *v, struct admission_result *ret)
{
    const json_t *metadata = json_object_get(v->object, "metadata");
    const char *name = v->name && *v->name ? v->name : json_string_value(json_object_get(metadata, "name"));
    if (!name || !*name)
        name = json_string_value(json_object_get(metadata, "generateName"));
    (void)snprintf(ret->pod, sizeof ret->pod, "%.63s/%.253s", v->space ? v->space : "", name ? name : "");
}

static int rewrite(const struct review *v, const struct admission_config *config,
                   const struct admission_images *images, json_t *patch, struct admission_result *ret,
                   struct err *err)
{
    enum pod_moment moment;
    ret->outcome = ADMISSION_OTHER;
    if (!v->is_pod || !moment_of(v, &moment))
        return 0;
    name_pod(v, ret);
    if (!v->object)
        return err_set(err, ERR_INVALID, "'request.object' is missing, which %s has", v->operation);
    if (moment != POD_MADE && !v->before)
        return err_set(err, ERR_INVALID, "'request.oldObject' is missing, which UPDATE has");
    ret->outcome = ADMISSION_EXEMPT;
    if ((v->space && config->exempt_namespaces && is_listed(config->exempt_namespaces, v->space)) ||
        pod_is_exempt(v->object))
        return 0;
    if (pod_rewrite(v->object, moment == POD_MADE ? NULL : v->before, moment, config, images, patch, ret,
                    err) < 0)
        return -1;
    ret->outcome = json_array_size(patch) ? ADMISSION_PATCHED : ADMISSION_UNCHANGED;
    return 0;
}

static void answer(const struct review *v, const json_t *patch, struct buf *out)
{
    (void)buf_add_str(out, "{\"apiVersion\":\"" API "\",\"kind\":\"AdmissionReview\",\"response\":{\"uid\":");
    (void)buf_add_json_str(out, slice_of(v->uid));
    (void)buf_add_str(out, ",\"allowed\":true");
    if (json_array_size(patch)) {
        size_t len;
        cleanup_free char *text = json_format(patch, &len);
        cleanup_free unsigned char *base64 = mem_alloc((len + 2) / 3 * 4 + 1);
        int n = EVP_EncodeBlock(base64, (const unsigned char *)text, (int)len);
        (void)buf_add_str(out, ",\"patchType\":\"JSONPatch\",\"patch\":\"");
        (void)buf_add(out, base64, (size_t)n);
        (void)buf_add_str(out, "\"");
    }
    (void)buf_add_str(out, "}}\n");
}

int admission_review(const struct admission_config *config, const struct admission_images *images,
                     const void *json, size_t len, struct buf *out, struct admission_result *ret,
                     struct err *err)
{
    struct review v = {0};
    *ret = (struct admission_result){0};
    if (!len)
        return err_set(err, ERR_INVALID, "the body is empty: expected an AdmissionReview");
    cleanup_json json_t *doc = json_parse(json, len, ADMISSION_BODY_MAX, err);
    if (!doc)
        return err_wrap(err, "the body");
    cleanup_json json_t *patch = json_array();
    if (read_review(doc, &v, err) < 0 || rewrite(&v, config, images, patch, ret, err) < 0)
        return -1;
    answer(&v, patch, out);
    return out->overflow ? err_set(err, ERR_INTERNAL, "the patch is too large") : 0;
}
