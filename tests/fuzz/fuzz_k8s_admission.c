// SPDX-License-Identifier: Apache-2.0
/* An AdmissionReview: whatever the bytes, it is refused with a reason, or answered with a review that lets
 * the pod in, whose patch names images through the proxy and changes nothing but image, pull policy, command
 * and environment of containers that are there. */
#include <assert.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/mem.h"
#include "proxy/k8s/admission.h"

#define NAME "registry.lab:9090"

static struct injection *injection;

static bool upstream(void *arg, struct slice host, char ret[ADMISSION_HOST_MAX + 1])
{
    (void)arg;
    if (slice_eq_str(host, "nowhere.test") || host.len > ADMISSION_HOST_MAX)
        return false;
    memcpy(ret, host.p, host.len);
    ret[host.len] = '\0';
    return true;
}

static struct injection *injection_of(void *arg, struct slice path)
{
    (void)arg;
    return slice_ends_with(path, "plain") ? NULL : injection;
}

static void check_operation(const json_t *operation)
{
    const char *op = json_string_value(json_object_get(operation, "op")),
               *path = json_string_value(json_object_get(operation, "path"));
    const json_t *value = json_object_get(operation, "value");
    assert(json_object_size(operation) == 3 && (strcmp(op, "add") == 0 || strcmp(op, "replace") == 0) &&
           value);
    assert(strncmp(path, "/spec/", 6) == 0);
    struct slice s = slice_of(path);
    if (slice_ends_with(s, "/image"))
        assert(strncmp(json_string_value(value), NAME "/", sizeof NAME) == 0);
    else
        assert(slice_ends_with(s, "/imagePullPolicy") || slice_ends_with(s, "/command") ||
               slice_ends_with(s, "/env") || slice_ends_with(s, "/env/-"));
}

static void check_patch(const char *text)
{
    size_t len = strlen(text), i;
    cleanup_free unsigned char *plain = mem_alloc(len + 1);
    int n = EVP_DecodeBlock(plain, (const unsigned char *)text, (int)len);
    assert(n > 0);
    /* It counts the padding as bytes. */
    while (n > 0 && plain[n - 1] == '\0')
        --n;
    cleanup_json json_t *patch = json_parse(plain, (size_t)n, ADMISSION_BODY_MAX * 2, NULL);
    assert(json_array_size(patch) > 0);
    json_t *operation;
    json_array_foreach (patch, i, operation)
        check_operation(operation);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char ours[] = "{\"entrypoint\":[\"/.rac/bin/wrapper\"],\"entrypointChain\":\"env\"}";
    static const struct admission_config config = {.proxy_name = NAME,
                                                   .pull_always = true,
                                                   .exempt_namespaces = "kube-system",
                                                   .architectures = "amd64,arm64"};
    const struct admission_images images = {.upstream = upstream, .injection = injection_of};
    struct admission_result result;
    struct err err = {0};
    cleanup_buf struct buf out = {0};
    if (!injection)
        injection = injection_parse(ours, sizeof ours - 1, INJECTION_FROM_CONFIGURATION, "/", &err);
    assert(injection);
    if (admission_review(&config, &images, data, size, &out, &result, &err) < 0) {
        assert(out.len == 0 && err.code != ERR_NONE && err.msg[0]);
        return 0;
    }
    cleanup_json json_t *answer = json_parse(out.p, out.len, out.len, &err);
    const json_t *response = json_object_get(answer, "response");
    assert(json_is_true(json_object_get(response, "allowed")));
    assert(json_string_length(json_object_get(response, "uid")) > 0);
    const char *patch = json_string_value(json_object_get(response, "patch"));
    assert(!patch == (result.outcome != ADMISSION_PATCHED));
    if (patch)
        check_patch(patch);
    return 0;
}
