// SPDX-License-Identifier: Apache-2.0
/* What is read from manifests and indexes, and what is refused. */
#include "layers_doc.h"

#define CONFIG "'config':{'mediaType':'" MEDIA_TYPE_OCI_CONFIG "','size':3,'digest':'" DIGEST_A "'}"
#define LAYER  "{'mediaType':'" MEDIA_TYPE_OCI_LAYER_GZIP "','size':4,'digest':'" DIGEST_B "'}"
#define OCI    "'schemaVersion':2,'mediaType':'" MEDIA_TYPE_OCI_MANIFEST "'"
#define INDEX  "'schemaVersion':2,'mediaType':'" MEDIA_TYPE_OCI_INDEX "'"
#define CHILD  "'mediaType':'" MEDIA_TYPE_OCI_MANIFEST "','size':4,'digest':'" DIGEST_B "'"

static void hello_world_manifest(void **state)
{
    (void)state;
    cleanup_buf struct buf b = fixture("hello-world/manifest.json");
    struct digest d = digest_of(b.p, b.len);
    assert_string_equal(d.s, "sha256:f54a58bc1aac5ea1a25d796ae155dc228b3f0e11d046ae276b39c4bf2f13d8c4");
    cleanup_manifest struct manifest *m = manifest_parse(b.p, b.len, "application/json", NULL);
    assert_non_null(m);
    const char *reason = NULL;
    assert_int_equal(manifest_kind(m), MEDIA_DOCKER_MANIFEST);
    assert_string_equal(manifest_media_type(m), MEDIA_TYPE_DOCKER_MANIFEST);
    assert_true(manifest_rewritable(m, &reason));
    assert_null(reason);
    assert_int_equal(manifest_count(m), 2);
    assert_string_equal(manifest_at(m, 0)->media_type, MEDIA_TYPE_DOCKER_CONFIG);
    assert_int_equal(manifest_at(m, 0)->size, 1469);
    assert_string_equal(manifest_at(m, 1)->digest.s,
                        "sha256:2db29710123e3e53a794f2694094b9b4338aa9ee5c40b930cb8063a1be392c54");
    assert_int_equal(manifest_at(m, 1)->size, 2479);
}

static void hello_world_index(void **state)
{
    (void)state;
    cleanup_buf struct buf b = fixture("hello-world/index.json");
    cleanup_manifest struct manifest *m = manifest_parse(b.p, b.len, NULL, NULL);
    assert_non_null(m);
    const char *reason = NULL;
    assert_true(manifest_is_index(m));
    assert_int_equal(manifest_kind(m), MEDIA_DOCKER_LIST);
    assert_int_equal(manifest_count(m), 11);
    assert_false(manifest_rewritable(m, &reason));
    assert_string_equal(reason, "index");
    const struct descriptor *d = manifest_at(m, 2);
    assert_true(d->has_platform);
    assert_string_equal(d->platform.architecture, "arm");
    assert_string_equal(d->platform.variant, "v7");
    assert_string_equal(manifest_at(m, 9)->platform.os, "windows");
    assert_int_equal(manifest_at(m, 9)->size, 1125);
}

static void schema1(void **state)
{
    (void)state;
    cleanup_buf struct buf b = fixture("schema1-manifest.json");
    cleanup_manifest struct manifest *m = manifest_parse(b.p, b.len, MEDIA_TYPE_DOCKER_SCHEMA1_SIGNED, NULL);
    assert_non_null(m);
    const char *reason = NULL;
    assert_int_equal(manifest_kind(m), MEDIA_DOCKER_SCHEMA1);
    assert_false(manifest_rewritable(m, &reason));
    assert_string_equal(reason, "schema1");
    assert_true(manifest_count(m) > 0);
    assert_int_equal(manifest_at(m, 0)->size, 0);
    assert_true(digest_is_set(&manifest_at(m, 0)->digest));
    /* No Content-Type: the signatures tell which of the two. */
    cleanup_manifest struct manifest *untyped = manifest_parse(b.p, b.len, NULL, NULL);
    assert_non_null(untyped);
    assert_string_equal(manifest_media_type(untyped), MEDIA_TYPE_DOCKER_SCHEMA1_SIGNED);
}

static void types(void **state)
{
    (void)state;
    static const struct {
        const char *text, *content_type, *media_type;
    } cases[] = {
        {"{" OCI "," CONFIG ",'layers':[]}", "text/html", MEDIA_TYPE_OCI_MANIFEST},
        {"{" OCI "," CONFIG ",'layers':[]}", MEDIA_TYPE_DOCKER_MANIFEST, MEDIA_TYPE_OCI_MANIFEST},
        {"{'schemaVersion':2," CONFIG "}", MEDIA_TYPE_OCI_MANIFEST "; charset=utf-8",
         MEDIA_TYPE_OCI_MANIFEST},
        {"{'schemaVersion':2," CONFIG "}", MEDIA_TYPE_DOCKER_MANIFEST, MEDIA_TYPE_DOCKER_MANIFEST},
        {"{'schemaVersion':2," CONFIG "}", "application/json", MEDIA_TYPE_OCI_MANIFEST},
        {"{'schemaVersion':2,'mediaType':null," CONFIG ",'layers':null}", NULL, MEDIA_TYPE_OCI_MANIFEST},
        {"{'schemaVersion':2,'manifests':[]}", NULL, MEDIA_TYPE_OCI_INDEX},
        {"{'schemaVersion':2,'manifests':[]}", MEDIA_TYPE_DOCKER_LIST, MEDIA_TYPE_DOCKER_LIST},
        {"{" INDEX ",'manifests':null}", NULL, MEDIA_TYPE_OCI_INDEX},
        {"{'schemaVersion':1,'fsLayers':[]}", NULL, MEDIA_TYPE_DOCKER_SCHEMA1},
        {"{'mediaType':'application/vnd.oci.artifact.manifest.v1+json','blobs':[" LAYER "]}", NULL,
         "application/vnd.oci.artifact.manifest.v1+json"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cleanup_manifest struct manifest *m = manifest_of(cases[i].text, cases[i].content_type);
        if (strcmp(manifest_media_type(m), cases[i].media_type) != 0)
            fail_msg("case %zu: %s", i, manifest_media_type(m));
    }
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum err_code code;
        const char *says;
    } cases[] = {
        {"", ERR_MANIFEST_INVALID, "JSON"},
        {"[]", ERR_MANIFEST_INVALID, "object"},
        {"<html>", ERR_MANIFEST_INVALID, "JSON"},
        {"{}", ERR_MANIFEST_INVALID, "neither"},
        {"{'errors':[]}", ERR_MANIFEST_INVALID, "neither"},
        {"{" OCI "," CONFIG ",'layers':[]} x", ERR_MANIFEST_INVALID, "JSON"},
        {"{" OCI "," CONFIG ",'layers':[],'layers':[]}", ERR_MANIFEST_INVALID, "JSON"},
        /* Two shapes at once, even empty. */
        {"{" OCI "," CONFIG ",'layers':[],'manifests':[]}", ERR_MANIFEST_INVALID, "at once"},
        {"{" OCI "," CONFIG ",'manifests':null}", ERR_MANIFEST_INVALID, "at once"},
        {"{" INDEX ",'manifests':[],'config':null}", ERR_MANIFEST_INVALID, "at once"},
        {"{" INDEX ",'manifests':[],'layers':[]}", ERR_MANIFEST_INVALID, "at once"},
        {"{" OCI "," CONFIG ",'fsLayers':[]}", ERR_MANIFEST_INVALID, "at once"},
        {"{" OCI ",'manifests':[]}", ERR_MANIFEST_INVALID, "type"},
        {"{" INDEX "," CONFIG "}", ERR_MANIFEST_INVALID, "type"},
        {"{" INDEX "}", ERR_MANIFEST_INVALID, "type"},
        {"{" OCI ",'layers':[]}", ERR_MANIFEST_INVALID, "config"},
        {"{" OCI ",'layers':[],'config':null}", ERR_MANIFEST_INVALID, "config"},
        {"{'schemaVersion':1,'mediaType':'" MEDIA_TYPE_OCI_MANIFEST "'," CONFIG "}", ERR_MANIFEST_INVALID,
         "schema"},
        {"{'schemaVersion':'2'," CONFIG "}", ERR_MANIFEST_INVALID, "schema"},
        /* Names that Go clients would take for others. */
        {"{" OCI "," CONFIG ",'layers':[],'Layers':[]}", ERR_MANIFEST_INVALID, "Layers"},
        {"{" OCI "," CONFIG ",'MANIFESTS':[]}", ERR_MANIFEST_INVALID, "MANIFESTS"},
        {"{" OCI "," CONFIG ",'layer\xc5\xbf':[]}", ERR_MANIFEST_INVALID, "letters"},
        {"{" OCI ",'config':{'mediaType':'x','siZe':1,'size':3,'digest':'" DIGEST_A "'}}",
         ERR_MANIFEST_INVALID, "siZe"},
        {"{" INDEX ",'manifests':[{" CHILD ",'platform':{'OS':'linux','os':'linux'}}]}", ERR_MANIFEST_INVALID,
         "OS"},
        {"{'schemaVersion':1,'fsLayers':[{'blobsum':'" DIGEST_A "'}]}", ERR_MANIFEST_INVALID, "blobsum"},
        /* Descriptors. */
        {"{" OCI "," CONFIG ",'layers':[{'size':-1,'digest':'" DIGEST_B "'}]}", ERR_MANIFEST_INVALID,
         "layers[0]"},
        {"{" OCI "," CONFIG ",'layers':[" LAYER ",{'size':1.5,'digest':'" DIGEST_B "'}]}",
         ERR_MANIFEST_INVALID, "layers[1]"},
        {"{" OCI "," CONFIG ",'layers':[{'size':'1','digest':'" DIGEST_B "'}]}", ERR_MANIFEST_INVALID,
         "size"},
        {"{" OCI "," CONFIG ",'layers':[{'digest':'" DIGEST_B "'}]}", ERR_MANIFEST_INVALID, "size"},
        {"{" OCI "," CONFIG ",'layers':[{'size':1}]}", ERR_MANIFEST_INVALID, "digest"},
        {"{" OCI "," CONFIG ",'layers':[{'size':1,'digest':'sha256:zz'}]}", ERR_DIGEST_INVALID, "layers[0]"},
        {"{" OCI "," CONFIG ",'layers':[{'size':1,'digest':'sha256:../../../etc/passwd'}]}",
         ERR_DIGEST_INVALID, ""},
        {"{" OCI "," CONFIG ",'layers':[{'size':1,'digest':'SHA256:" HEX_B "'}]}", ERR_DIGEST_INVALID, ""},
        {"{" OCI "," CONFIG ",'layers':[null]}", ERR_MANIFEST_INVALID, "layers[0]"},
        {"{" OCI "," CONFIG ",'layers':{}}", ERR_MANIFEST_INVALID, "list"},
        {"{" OCI "," CONFIG ",'annotations':[]}", ERR_MANIFEST_INVALID, "annotations"},
        {"{" OCI "," CONFIG ",'subject':{'size':1}}", ERR_MANIFEST_INVALID, "subject"},
        {"{" OCI "," CONFIG ",'layers':[{'mediaType':7,'size':1,'digest':'" DIGEST_B "'}]}",
         ERR_MANIFEST_INVALID, "mediaType"},
        {"{" INDEX ",'manifests':[{" CHILD ",'platform':[]}]}", ERR_MANIFEST_INVALID, "platform"},
        {"{" INDEX ",'manifests':[{" CHILD ",'platform':{'os':'abcdefghijklmnopqrstuvwxyzabcdef'}}]}",
         ERR_MANIFEST_INVALID, "31"},
        {"{" OCI "," CONFIG ",'x':'\xff'}", ERR_MANIFEST_INVALID, "JSON"},
        {"{" OCI "," CONFIG ",'x':'\\u0000'}", ERR_MANIFEST_INVALID, "JSON"},
        {"{'mediaType':{}," CONFIG "}", ERR_MANIFEST_INVALID, "mediaType"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct err err = {0};
        cleanup_free char *s = doc(cases[i].text);
        cleanup_manifest struct manifest *m = manifest_parse(s, strlen(s), NULL, &err);
        if (m)
            fail_msg("accepted: %s", s);
        if (err.code != cases[i].code || !strstr(err.msg, cases[i].says))
            fail_msg("%s: code %s, message: %s", s, err_code_name(err.code), err.msg);
    }
}

static void limits(void **state)
{
    (void)state;
    struct err err = {0};
    for (int over = 0; over <= 1; ++over) {
        struct buf b = {0};
        cleanup_free char *child = doc("{" CHILD "}");
        (void)buf_add_str(&b, "{\"schemaVersion\":2,\"manifests\":[");
        for (int i = 0; i < MANIFEST_DESCRIPTORS_MAX + over; ++i)
            (void)buf_printf(&b, "%s%s", i ? "," : "", child);
        (void)buf_add_str(&b, "]}");
        cleanup_manifest struct manifest *m = manifest_parse(b.p, b.len, NULL, &err);
        assert_int_equal(m == NULL, over);
        buf_free(&b);
    }
    assert_int_equal(err.code, ERR_SIZE_INVALID);
    assert_non_null(strstr(err.msg, "10000"));

    /* 4 MiB is taken, a byte more is not. */
    cleanup_free char *big = mem_alloc(MANIFEST_BYTES_MAX + 1);
    cleanup_free char *text = doc("{" OCI "," CONFIG "}");
    memset(big, ' ', MANIFEST_BYTES_MAX + 1);
    memcpy(big, text, strlen(text));
    cleanup_manifest struct manifest *m = manifest_parse(big, MANIFEST_BYTES_MAX, NULL, &err);
    assert_non_null(m);
    assert_null(manifest_parse(big, MANIFEST_BYTES_MAX + 1, NULL, &err));
    assert_int_equal(err.code, ERR_SIZE_INVALID);

    /* Depth 32, the root counted, and 10,000. */
    static const int depths[] = {31, 32, 10000};
    for (size_t i = 0; i < 3; ++i) {
        struct buf b = {0};
        (void)buf_printf(&b, "{\"x\":");
        for (int k = 0; k < depths[i]; ++k)
            (void)buf_add_str(&b, "[");
        for (int k = 0; k < depths[i]; ++k)
            (void)buf_add_str(&b, "]");
        (void)buf_printf(&b, ",%s", text + 1);
        struct manifest *deep = manifest_parse(b.p, b.len, NULL, &err);
        assert_int_equal(deep != NULL, depths[i] < 32);
        manifest_free(deep);
        buf_free(&b);
    }
}

static void not_rewritable(void **state)
{
    (void)state;
#define HELM                                                                                                 \
    "'config':{'mediaType':'application/vnd.cncf.helm.config.v1+json','size':3,'digest':'" DIGEST_A "'}"
    static const char *const cases[][2] = {
        {"{" OCI "," HELM ",'layers':[]}", "artifact"},
        {"{" OCI ",'config':{'mediaType':'application/vnd.oci.empty.v1+json','size':2,'digest':'" DIGEST_A
         "'}}",
         "artifact"},
        {"{" OCI ",'config':{'size':2,'digest':'" DIGEST_A "'}}", "artifact"},
        /* cosign and BuildKit call the config an image's. */
        {"{" OCI "," CONFIG
         ",'layers':[{'mediaType':'application/vnd.in-toto+json','size':1,'digest':'" DIGEST_B "'}]}",
         "artifact"},
        {"{'mediaType':'application/vnd.oci.artifact.manifest.v1+json','blobs':[" LAYER "]}", "artifact"},
        {"{" OCI "," CONFIG ",'x':9007199254740993}", "number"},
        {"{" OCI "," CONFIG ",'x':-9007199254740993}", "number"},
        {"{" OCI "," CONFIG ",'x':99999999999999999999999}", "number"},
        {"{" OCI "," CONFIG ",'x':-99999999999999999999999}", "number"},
        {"{" OCI "," CONFIG ",'x':[1e999]}", "number"},
        {"{" OCI "," CONFIG ",'x':0.1}", "number"},
        {"{" OCI "," CONFIG ",'x':1e2}", "number"},
        {"{" OCI "," CONFIG ",'x':-0}", "number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        const char *reason = NULL;
        cleanup_manifest struct manifest *m = manifest_of(cases[i][0], NULL);
        if (manifest_rewritable(m, &reason) || strcmp(reason, cases[i][1]) != 0)
            fail_msg("case %zu: %s", i, reason ? reason : "rewritable");
    }
}

static void rewritable(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "{" OCI "," CONFIG ",'layers':[" LAYER "," LAYER "]}",
        "{" OCI "," CONFIG ",'layers':null}",
        "{" OCI "," CONFIG ",'artifactType':'x/y','subject':{'mediaType':'x','size':1,'digest':'" DIGEST_C
        "'}}",
        "{" OCI "," CONFIG
        ",'x':9007199254740992,'y':-9007199254740992,'z':1.5,'s':'9999999999999999999999','q':'a\\\"1e999'}",
        "{" OCI "," CONFIG
        ",'layers':[{'mediaType':'application/vnd.oci.image.layer.v1.tar+zstd','size':1,'digest':'" DIGEST_B
        "'}]}",
        "{" OCI "," CONFIG
        ",'layers':[{'mediaType':'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip','size':1,"
        "'digest':'" DIGEST_B "','urls':['https://x/']}]}",
        "{" OCI ",'config':{'mediaType':'" MEDIA_TYPE_DOCKER_CONFIG "','size':1,'digest':'" DIGEST_B "'}}",
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        const char *reason = NULL;
        cleanup_manifest struct manifest *m = manifest_of(cases[i], NULL);
        if (!manifest_rewritable(m, &reason))
            fail_msg("case %zu: %s", i, reason);
    }
}

static void foreign_layers_and_attestations(void **state)
{
    (void)state;
    cleanup_manifest struct manifest *m =
        manifest_of("{" OCI "," CONFIG ",'layers':[{'size':1,'digest':'" DIGEST_B
                    "','urls':['https://x/']},{'size':1,'digest':'" DIGEST_B "','urls':[]}]}",
                    NULL);
    assert_true(manifest_at(m, 1)->has_urls);
    assert_false(manifest_at(m, 2)->has_urls);
#define ATTEST ",'annotations':{'vnd.docker.reference.digest':'" DIGEST_A "'}"
    cleanup_manifest struct manifest *index = manifest_of(
        "{" INDEX ",'manifests':[{" CHILD ",'platform':{'os':'unknown','architecture':'unknown'}" ATTEST
        "},{" CHILD ",'platform':{'os':'linux','architecture':'amd64'}" ATTEST "},{" CHILD ATTEST "},{" CHILD
        ",'platform':{'os':'unknown','architecture':'unknown'},"
        "'annotations':{'vnd.docker.reference.digest':'nonsense'}}]}",
        NULL);
    assert_true(manifest_at(index, 0)->is_attestation);
    assert_string_equal(manifest_at(index, 0)->attests.s, DIGEST_A);
    assert_false(manifest_at(index, 1)->is_attestation);
    assert_false(manifest_at(index, 2)->is_attestation);
    assert_false(manifest_at(index, 3)->is_attestation);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_world_manifest),
        cmocka_unit_test(hello_world_index),
        cmocka_unit_test(schema1),
        cmocka_unit_test(types),
        cmocka_unit_test(refused),
        cmocka_unit_test(limits),
        cmocka_unit_test(not_rewritable),
        cmocka_unit_test(rewritable),
        cmocka_unit_test(foreign_layers_and_attestations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
