// SPDX-License-Identifier: Apache-2.0
/* The rewriting of images and indexes: what comes out, character by character, and what must be left alone.
 */
#include "layers_doc.h"

#include "layers/config.h"

#define NAME "docker.io/library/x"

/* Rewrites `config` under a manifest of `layers` layers. */
static int try_inject(const char *config, int layers, const char *injection, struct inject_result *ret,
                      struct err *err)
{
    struct buf b = {0};
    (void)buf_printf(&b, "{'schemaVersion':2,'mediaType':'" MEDIA_TYPE_DOCKER_MANIFEST
                         "','config':{'mediaType':'" MEDIA_TYPE_DOCKER_CONFIG "','size':1,'digest':'" DIGEST_A
                         "'},'layers':[");
    for (int i = 0; i < layers; ++i)
        (void)buf_printf(
            &b, "%s{'mediaType':'" MEDIA_TYPE_DOCKER_LAYER_GZIP "','size':1,'digest':'" DIGEST_B "'}",
            i ? "," : "");
    (void)buf_add_str(&b, "]}");
    cleanup_manifest struct manifest *m = manifest_of(b.p, NULL);
    buf_free(&b);
    cleanup_injection struct injection *inj = injection_of(injection, INJECTION_FROM_CONFIGURATION);
    struct digest source = digest_lit(DIGEST_A);
    cleanup_free char *text = doc(config);
    return inject_image(m, text, strlen(text), inj, NAME, &source, ret, err);
}

#define ROOTFS     "'rootfs':{'type':'layers','diff_ids':['" DIGEST_B "']}"
#define ROOTFS_NEW "'rootfs':{'type':'layers','diff_ids':['" DIGEST_B "','" DIGEST_D "']}"
/* The labels of provenance, for the injection's digest in the result. */
#define LABELS "'rac.source':'" NAME "@" DIGEST_A "','rac.injection':'%s'"

static void configs(void **state)
{
    (void)state;
    static const struct {
        const char *injection, *config, *want;
    } cases[] = {
        /* What is missing or null is made. */
        {"{" ONE_LAYER "}", "{" ROOTFS "}", "{" ROOTFS_NEW ",'config':{'Labels':{" LABELS "}}}"},
        {"{" ONE_LAYER "}", "{'config':null," ROOTFS ",'history':null}",
         "{'config':{'Labels':{" LABELS "}}," ROOTFS_NEW ",'history':null}"},
        {"{" ONE_LAYER "}", "{'config':{'Labels':null,'Env':null,'Entrypoint':null,'Cmd':null}," ROOTFS "}",
         "{'config':{'Labels':{" LABELS "},'Env':null,'Entrypoint':null,'Cmd':null}," ROOTFS_NEW "}"},
        /* History: the image's time, our name. */
        {"{'layers':[{'location':'f','name':'n','gzipDigest':'" DIGEST_C
         "','gzipSize':77,'tarDigest':'" DIGEST_D "'}]}",
         "{'created':'T','history':[{'x':1}]," ROOTFS "}",
         "{'created':'T','history':[{'x':1},{'created':'T','created_by':'rac inject " DIGEST_C
         "','comment':'n'}]," ROOTFS_NEW ",'config':{'Labels':{" LABELS "}}}"},
        {"{" ONE_LAYER "}", "{'history':[]," ROOTFS "}",
         "{'history':[{'created_by':'rac inject " DIGEST_C "'}]," ROOTFS_NEW ",'config':{'Labels':{" LABELS
         "}}}"},
        /* Entry point by arguments: in front of the image's own, Cmd kept. */
        {"{'entrypoint':['/i','-x']}", "{'config':{'Entrypoint':['/e','a'],'Cmd':['c']}," ROOTFS "}",
         "{'config':{'Entrypoint':['/i','-x','/e','a'],'Cmd':['c'],'Labels':{" LABELS "}}," ROOTFS "}"},
        {"{'entrypoint':['/i']}", "{'config':{'Entrypoint':null,'Cmd':['c']}," ROOTFS "}",
         "{'config':{'Entrypoint':['/i'],'Cmd':['c'],'Labels':{" LABELS "}}," ROOTFS "}"},
        {"{'entrypoint':['/i']}", "{'config':{'Entrypoint':'/e'}," ROOTFS "}",
         "{'config':{'Entrypoint':['/i','/e'],'Labels':{" LABELS "}}," ROOTFS "}"},
        {"{'cmd':['d']}", "{'config':{'Entrypoint':['/e'],'Cmd':['c','c2']}," ROOTFS "}",
         "{'config':{'Entrypoint':['/e'],'Cmd':['d'],'Labels':{" LABELS "}}," ROOTFS "}"},
        /* Entry point by environment: replaced; one word plain, several as a list, last in Env. */
        {"{'entrypoint':['/i'],'entrypointChain':'env','env':['Z=1']}",
         "{'config':{'Entrypoint':['/e'],'Cmd':['c'],'Env':['A=1']}," ROOTFS "}",
         "{'config':{'Entrypoint':['/i'],'Cmd':['c'],'Env':['A=1','Z=1','WAVE_ENTRY_CHAIN=/"
         "e'],'Labels':{" LABELS "}}," ROOTFS "}"},
        {"{'entrypoint':['/i'],'entrypointChain':'env'}", "{'config':{'Entrypoint':['/e','a b']}," ROOTFS "}",
         "{'config':{'Entrypoint':['/i'],'Env':['WAVE_ENTRY_CHAIN=[\\'/e\\',\\'a b\\']'],'Labels':{" LABELS
         "}}," ROOTFS "}"},
        {"{'entrypoint':['/i'],'entrypointChain':'env'}",
         "{'config':{'Entrypoint':['/e'],'Env':['WAVE_ENTRY_CHAIN=old','B=2']}," ROOTFS "}",
         "{'config':{'Entrypoint':['/i'],'Env':['B=2','WAVE_ENTRY_CHAIN=/e'],'Labels':{" LABELS "}}," ROOTFS
         "}"},
        {"{'entrypoint':['/i'],'entrypointChain':'env'}", "{'config':{'Cmd':['c']}," ROOTFS "}",
         "{'config':{'Cmd':['c'],'Entrypoint':['/i'],'Labels':{" LABELS "}}," ROOTFS "}"},
        /* Env: replaced in place, else appended; of doubles one remains, since the last would win. */
        {"{'env':['B=x','N=1','N=2']}", "{'config':{'Env':['A=1','B=2','C','B=3','BB=4']}," ROOTFS "}",
         "{'config':{'Env':['A=1','B=x','C','BB=4','N=2'],'Labels':{" LABELS "}}," ROOTFS "}"},
        {"{'env':['C=x=y']}", "{'config':{'Env':['C']}," ROOTFS "}",
         "{'config':{'Env':['C=x=y'],'Labels':{" LABELS "}}," ROOTFS "}"},
        /* Labels, WorkingDir, and what is not ours. */
        {"{'workingDir':'/w','labels':{'z':'1','a':'2'}}",
         "{'config':{'WorkingDir':'/o','Labels':{'a':'0','q':'/'},'User':'u','Volumes':{'/"
         "v':{}},'StopSignal':'X'},"
         "'unknown':[1,{'two':null}]," ROOTFS ",'os':'linux'}",
         "{'config':{'WorkingDir':'/w','Labels':{'a':'2','q':'/','z':'1'," LABELS
         "},'User':'u','Volumes':{'/v':{}},'StopSignal':'X'},'unknown':[1,{'two':null}]," ROOTFS
         ",'os':'linux'}"},
        /* User. */
        {"{'user':'root-then-drop'}", "{'config':{'User':'u:g'}," ROOTFS "}",
         "{'config':{'User':'0','Env':['RAC_USER=u:g'],'Labels':{" LABELS "}}," ROOTFS "}"},
        {"{'user':'root-then-drop'}", "{'config':{'User':'root'}," ROOTFS "}",
         "{'config':{'User':'root','Labels':{" LABELS "}}," ROOTFS "}"},
        {"{'user':'root-then-drop'}", "{'config':{'User':''}," ROOTFS "}",
         "{'config':{'User':'','Labels':{" LABELS "}}," ROOTFS "}"},
        {"{'user':'root-then-drop'}", "{'config':{}," ROOTFS "}",
         "{'config':{'Labels':{" LABELS "}}," ROOTFS "}"},
        /* Layers for other platforms stay away. */
        {"{'layers':[{'location':'f','platform':'arm64','gzipDigest':'" DIGEST_A
         "','gzipSize':7,'tarDigest':'" DIGEST_A
         "'},{'location':'f','platform':'amd64','gzipDigest':'" DIGEST_C
         "','gzipSize':77,'tarDigest':'" DIGEST_D "'}]}",
         "{'os':'linux','architecture':'amd64'," ROOTFS "}",
         "{'os':'linux','architecture':'amd64'," ROOTFS_NEW ",'config':{'Labels':{" LABELS "}}}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cleanup_inject_result struct inject_result r = {0};
        struct err err = {0};
        if (try_inject(cases[i].config, 1, cases[i].injection, &r, &err) < 0)
            fail_msg("case %zu: %s", i, err.msg);
        if (r.skipped)
            fail_msg("case %zu: skipped: %s", i, r.skipped);
        cleanup_injection struct injection *inj =
            injection_of(cases[i].injection, INJECTION_FROM_CONFIGURATION);
        cleanup_free char *pattern = doc(cases[i].want);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        cleanup_free char *want = mem_printf(pattern, injection_digest(inj)->s);
#pragma GCC diagnostic pop
        if (strcmp(r.config, want) != 0)
            fail_msg("case %zu:\n got %s\nwant %s", i, r.config, want);
        assert_int_equal(r.config_len, strlen(want));
        struct digest d = digest_of(r.config, r.config_len);
        assert_string_equal(r.config_digest.s, d.s);
    }
}

static void skipped(void **state)
{
    (void)state;
    static const struct {
        const char *injection, *config, *reason;
        int layers;
    } cases[] = {
        {"{}", "{" ROOTFS "}", "empty", 1},
        {"{" ONE_LAYER "}", "{}", "rootfs", 1},
        {"{" ONE_LAYER "}", "{'rootfs':null}", "rootfs", 0},
        {"{" ONE_LAYER "}", "{" ROOTFS "}", "diff_ids", 2},
        {"{" ONE_LAYER "}", "{" ROOTFS "}", "diff_ids", 0},
        {"{" ONE_LAYER "}", "{'rootfs':{'diff_ids':null}}", "diff_ids", 1},
        {"{" ONE_LAYER "}", "{'os':'windows'," ROOTFS "}", "platform", 1},
        {"{'env':['A=1']}", "{'os':'windows'," ROOTFS "}", "platform", 1},
        {"{" ONE_LAYER "}", "{'os':'unknown','architecture':'unknown'," ROOTFS "}", "platform", 1},
        {"{'layers':[{'location':'f','platform':'arm64','gzipDigest':'" DIGEST_A
         "','gzipSize':7,'tarDigest':'" DIGEST_A "'}],'env':['A=1']}",
         "{'os':'linux','architecture':'amd64'," ROOTFS "}", "platform", 1},
        {"{" ONE_LAYER "}", "{'x':12345678901234567890," ROOTFS "}", "number", 1},
        {"{" ONE_LAYER "}", "{'x':0.1," ROOTFS "}", "number", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cleanup_inject_result struct inject_result r = {0};
        struct err err = {0};
        if (try_inject(cases[i].config, cases[i].layers, cases[i].injection, &r, &err) < 0)
            fail_msg("case %zu: %s", i, err.msg);
        if (!r.skipped || strcmp(r.skipped, cases[i].reason) != 0)
            fail_msg("case %zu: %s", i, r.skipped ? r.skipped : "rewritten");
        assert_null(r.manifest);
        assert_null(r.config);
    }
}

static void refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "JSON"},
        {"{" ROOTFS "} {}", "JSON"},
        {"[1]", "object"},
        {"{" ROOTFS ",'Rootfs':{}}", "Rootfs"},
        {"{" ROOTFS ",'CONFIG':{}}", "CONFIG"},
        {"{" ROOTFS ",'config':{'entrypoint':[]}}", "entrypoint"},
        {"{" ROOTFS ",'config':{'env':[]}}", "env"},
        {"{" ROOTFS ",'config':{'Healthchec\xe2\x84\xaa':{}}}", "Healthcheck"},
        {"{'rootfs':{'Diff_IDs':[]}}", "Diff_IDs"},
        {"{" ROOTFS "," ROOTFS "}", "JSON"},
        {"{" ROOTFS ",'config':[]}", "'config'"},
        {"{" ROOTFS ",'config':{'Env':['A',1]}}", "'Env'"},
        {"{" ROOTFS ",'config':{'Env':'A=1'}}", "'Env'"},
        {"{" ROOTFS ",'config':{'Entrypoint':{}}}", "'Entrypoint'"},
        {"{" ROOTFS ",'config':{'Cmd':[null]}}", "'Cmd'"},
        {"{" ROOTFS ",'config':{'Labels':[]}}", "'Labels'"},
        {"{" ROOTFS ",'config':{'User':0}}", "'User'"},
        {"{" ROOTFS ",'history':{}}", "'history'"},
        {"{'rootfs':[]}", "'rootfs'"},
        {"{'rootfs':{'diff_ids':[7]}}", "'diff_ids'"},
        {"{" ROOTFS ",'os':7}", "'os'"},
        {"{" ROOTFS ",'architecture':'abcdefghijklmnopqrstuvwxyzabcdef'}", "31"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cleanup_inject_result struct inject_result r = {0};
        struct err err = {0};
        if (try_inject(cases[i][0], 1, "{" ONE_LAYER "}", &r, &err) == 0)
            fail_msg("accepted: %s", cases[i][0]);
        if (err.code != ERR_MANIFEST_INVALID || !strstr(err.msg, cases[i][1]))
            fail_msg("%s: code %s, message: %s", cases[i][0], err_code_name(err.code), err.msg);
        assert_null(r.manifest);
        assert_null(r.config);
    }
}

/* Rewrites a manifest whose config is an ordinary one of `layers` layers. */
static char *manifest_after(const char *text, int layers, const char *injection)
{
    struct buf b = {0};
    (void)buf_add_str(&b, "{\"rootfs\":{\"diff_ids\":[");
    for (int i = 0; i < layers; ++i)
        (void)buf_printf(&b, "%s\"" DIGEST_B "\"", i ? "," : "");
    (void)buf_add_str(&b, "]}}");
    cleanup_manifest struct manifest *m = manifest_of(text, NULL);
    cleanup_injection struct injection *inj = injection_of(injection, INJECTION_FROM_CONFIGURATION);
    struct digest source = digest_lit(DIGEST_A);
    struct inject_result r = {0};
    struct err err = {0};
    if (inject_image(m, b.p, b.len, inj, NAME, &source, &r, &err) < 0)
        fail_msg("%s", err.msg);
    assert_null(r.skipped);
    struct digest d = digest_of(r.manifest, r.manifest_len);
    assert_string_equal(r.manifest_digest.s, d.s);
    assert_string_equal(r.media_type, manifest_media_type(m));
    free(r.config);
    buf_free(&b);
    return r.manifest;
}

static void manifests_keep_their_family_order_and_members(void **state)
{
    (void)state;
    cleanup_free char *docker =
        manifest_after("{'x':{'b':1,'a':[]},'schemaVersion':2,'mediaType':'" MEDIA_TYPE_DOCKER_MANIFEST
                       "','layers':[{'size':4,'digest':'" DIGEST_B
                       "','mediaType':'application/vnd.docker.image.rootfs.foreign.diff.tar"
                       ".gzip','urls':['https://x/']}],'config':{'y':1,'digest':'" DIGEST_A
                       "','size':3,'mediaType':'" MEDIA_TYPE_DOCKER_CONFIG
                       "','data':'e30=','urls':['https://x/']},'annotations':null}",
                       1, "{" ONE_LAYER "}");
    static const char docker_front[] =
        "{'x':{'b':1,'a':[]},'schemaVersion':2,'mediaType':'" MEDIA_TYPE_DOCKER_MANIFEST
        "','layers':[{'size':4,'digest':'" DIGEST_B
        "','mediaType':'application/vnd.docker.image.rootfs.foreign.diff.tar"
        ".gzip','urls':['https://x/']},{'mediaType':'" MEDIA_TYPE_DOCKER_LAYER_GZIP
        "','size':77,'digest':'" DIGEST_C "'}],'config':{'y':1,'digest':'sha256:";
    cleanup_free char *front = doc(docker_front);
    assert_memory_equal(docker, front, strlen(front));
    cleanup_free char *end = doc(",'mediaType':'" MEDIA_TYPE_DOCKER_CONFIG "'},'annotations':null}");
    assert_true(slice_ends_with(slice_of(docker), end));

    cleanup_free char *oci =
        manifest_after("{'schemaVersion':2,'config':{'mediaType':'" MEDIA_TYPE_OCI_CONFIG
                       "','digest':'" DIGEST_A "','size':3},"
                       "'layers':null,'artifactType':'t/t','subject':{'mediaType':'m','digest':'" DIGEST_B
                       "','size':9},'annotations':{'k':'v','org.opencontainers.image.base.name':'mine'}}",
                       0, "{" ONE_LAYER "}");
    cleanup_free char *oci_end =
        doc("'layers':[{'mediaType':'" MEDIA_TYPE_OCI_LAYER_GZIP "','size':77,'digest':'" DIGEST_C
            "'}],'artifactType':'t/t','subject':{'mediaType':'m','digest':'" DIGEST_B
            "','size':9},'annotations':{'k':'v','org.opencontainers.image.base.name':'mine',"
            "'org.opencontainers.image.base.digest':'" DIGEST_A "'}}");
    assert_true(slice_ends_with(slice_of(oci), oci_end));
    assert_null(strstr(oci, MEDIA_TYPE_OCI_MANIFEST)); /* one that has no mediaType keeps none */

    /* Nothing but members of the config: no layer, still another image. */
    cleanup_free char *no_layer =
        manifest_after("{'schemaVersion':2,'config':{'mediaType':'" MEDIA_TYPE_OCI_CONFIG
                       "','digest':'" DIGEST_A "','size':3}}",
                       0, "{'env':['A=1']}");
    assert_non_null(strstr(no_layer, "\"layers\":[]"));
    assert_non_null(strstr(no_layer, "\"org.opencontainers.image.base.name\":\"" NAME "\""));
}

static void golden_hello_world(void **state)
{
    (void)state;
    cleanup_buf struct buf mb = fixture("hello-world/manifest.json"), cb = fixture("hello-world/config.json");
    cleanup_manifest struct manifest *m = manifest_parse(mb.p, mb.len, NULL, NULL);
    cleanup_injection struct injection *inj =
        injection_of("{'layers':[{'location':'f','name':'rac','gzipDigest':'" DIGEST_C
                     "','gzipSize':77,'tarDigest':'" DIGEST_D
                     "'}],'entrypoint':['/.rac/bin/rac-init'],'env':['RAC=1'],'labels':{'l':'v'}}",
                     INJECTION_FROM_CONFIGURATION);
    struct digest source = digest_of(mb.p, mb.len);
    for (int i = 0; i < 2; ++i) {
        cleanup_inject_result struct inject_result r = {0};
        struct err err = {0};
        if (inject_image(m, cb.p, cb.len, inj, "docker.io/library/hello-world", &source, &r, &err) < 0)
            fail_msg("%s", err.msg);
        /* Computed by a few lines of Python from docs/injection.md, not by this code. For ever: other digests
         * here would be other digests of every image that was ever announced. */
        assert_string_equal(injection_digest(inj)->s,
                            "sha256:041458bb7d4abe2e5f0fea1735c7b92da0334929c3fb8b1d4d718f7c84e337cd");
        assert_string_equal(r.config_digest.s,
                            "sha256:311bd6d8c3feaeff9e869bcab3c2050cc6289bbbd1bf97386c29654a6fdd4c40");
        assert_string_equal(r.manifest_digest.s,
                            "sha256:879ea528665c6e6c72756b4340e48e1115307956d67eaa35c9bd5a369d1a140f");
        cleanup_config struct config *c = config_parse(r.config, r.config_len, &err);
        assert_non_null(c);
        assert_string_equal(config_platform(c)->architecture, "amd64");
    }
}

/* Members of an object have no order: it must not show in an image. */
static void order_of_labels_does_not_matter(void **state)
{
    (void)state;
    cleanup_inject_result struct inject_result one = {0}, two = {0};
    struct err err = {0};
    assert_int_equal(try_inject("{" ROOTFS "}", 1, "{'labels':{'a':'1','b':'2','c':'3'}}", &one, &err), 0);
    assert_int_equal(try_inject("{" ROOTFS "}", 1, "{'labels':{'c':'3','a':'1','b':'2'}}", &two, &err), 0);
    assert_string_equal(one.config, two.config);
    assert_string_equal(one.manifest_digest.s, two.manifest_digest.s);
}

static void layer_limit(void **state)
{
    (void)state;
    for (int layers = 1; layers <= 126; layers += layers == 1 ? 124 : 1) {
        struct buf b = {0};
        (void)buf_add_str(&b, "{'rootfs':{'diff_ids':[");
        for (int i = 0; i < layers; ++i)
            (void)buf_printf(&b, "%s'" DIGEST_B "'", i ? "," : "");
        (void)buf_add_str(&b, "]}}");
        cleanup_inject_result struct inject_result r = {0};
        struct err err = {0};
        int rc = try_inject(b.p, layers, "{" ONE_LAYER "}", &r, &err);
        if (layers < 126) {
            assert_int_equal(rc, 0);
            assert_null(r.skipped);
        } else {
            assert_int_equal(rc, -1);
            assert_int_equal(err.code, ERR_SIZE_INVALID);
            assert_non_null(strstr(err.msg, "126"));
            /* No layer to add, no limit to break. */
            assert_int_equal(try_inject(b.p, layers, "{'env':['A=1']}", &r, &err), 0);
            assert_null(r.skipped);
        }
        buf_free(&b);
    }
}

static void size_limit(void **state)
{
    (void)state;
    /* A manifest just under 4 MiB, to which a layer is too much. */
    struct buf b = {0};
    (void)buf_add_str(&b, "{'schemaVersion':2,'config':{'mediaType':'" MEDIA_TYPE_OCI_CONFIG
                          "','digest':'" DIGEST_A "','size':3},'layers':[],'x':'");
    for (size_t n = MANIFEST_BYTES_MAX - 100 - b.len; n--;)
        (void)buf_add(&b, "x", 1);
    (void)buf_add_str(&b, "'}");
    cleanup_manifest struct manifest *m = manifest_of(b.p, NULL);
    buf_free(&b);
    cleanup_injection struct injection *inj = injection_of("{" ONE_LAYER "}", INJECTION_FROM_CONFIGURATION);
    struct digest source = digest_lit(DIGEST_A);
    struct inject_result r = {0};
    struct err err = {0};
    static const char config[] = "{\"rootfs\":{}}";
    assert_int_equal(inject_image(m, config, sizeof config - 1, inj, NAME, &source, &r, &err), -1);
    assert_int_equal(err.code, ERR_SIZE_INVALID);
    assert_non_null(strstr(err.msg, "4194304"));
}

static void index_is_rewritten(void **state)
{
    (void)state;
    cleanup_buf struct buf b = fixture("hello-world/index.json");
    cleanup_manifest struct manifest *m = manifest_parse(b.p, b.len, NULL, NULL);
    struct inject_child children[] = {
        {manifest_at(m, 0)->digest, digest_lit(DIGEST_A), 1000},
        {manifest_at(m, 3)->digest, digest_lit(DIGEST_B), 2000},
        {manifest_at(m, 9)->digest, manifest_at(m, 9)->digest, 1125}, /* Windows: as it was */
    };
    cleanup_inject_result struct inject_result r = {0};
    struct err err = {0};
    assert_int_equal(inject_index(m, children, 3, &r, &err), 0);
    assert_null(r.skipped);
    assert_string_equal(r.media_type, MEDIA_TYPE_DOCKER_LIST);
    assert_string_equal(r.manifest_digest.s,
                        "sha256:35975b10abbbc89efb13bef52c548565235437fe6a4e6302275760c81fae8c5b");
    cleanup_manifest struct manifest *after = manifest_parse(r.manifest, r.manifest_len, NULL, &err);
    assert_non_null(after);
    assert_int_equal(manifest_count(after), 11);
    for (size_t i = 0; i < 11; ++i) {
        const struct descriptor *was = manifest_at(m, i), *is = manifest_at(after, i);
        bool changed = i == 0 || i == 3;
        assert_string_equal(is->digest.s, i == 0 ? DIGEST_A : i == 3 ? DIGEST_B : was->digest.s);
        assert_int_equal(is->size, i == 0 ? 1000 : i == 3 ? 2000 : was->size);
        assert_int_equal(changed, !digest_eq(&is->digest, &was->digest));
        assert_memory_equal(&is->platform, &was->platform, sizeof is->platform);
    }
    /* Nothing listed, or nothing changed: the bytes of the source are the answer. */
    struct inject_result same = {0};
    assert_int_equal(inject_index(m, NULL, 0, &same, &err), 0);
    assert_string_equal(same.skipped, "unchanged");
    assert_int_equal(inject_index(m, children + 2, 1, &same, &err), 0);
    assert_string_equal(same.skipped, "unchanged");
}

static void attestations_go_with_their_image(void **state)
{
    (void)state;
#define CHILD(digest, more)                                                                                  \
    "{'mediaType':'" MEDIA_TYPE_OCI_MANIFEST "','digest':'" digest "','size':1" more "}"
#define ATTESTS(digest)                                                                                      \
    ",'annotations':{'vnd.docker.reference.digest':'" digest                                                 \
    "'},'platform':{'os':'unknown','architecture':'unknown'}"
    cleanup_manifest struct manifest *m = manifest_of(
        "{'schemaVersion':2,'mediaType':'" MEDIA_TYPE_OCI_INDEX
        "','manifests':[" CHILD("sha256:" HEX_A, ",'data':'e30=','urls':['https://x/'],'z':[1]") "," CHILD(
            "sha256:" HEX_B,
            "") "," CHILD("sha256:" HEX_C,
                          ATTESTS(
                              DIGEST_A)) "," CHILD("sha256:" HEX_D,
                                                   ATTESTS(
                                                       DIGEST_B)) "," CHILD("sha256:" HEX_A,
                                                                            "") "],'annotations':{'k':'v'}}",
        NULL);
    struct inject_child child = {digest_lit(DIGEST_A), digest_lit("sha512:" HEX_A HEX_B), 5};
    cleanup_inject_result struct inject_result r = {0};
    struct err err = {0};
    assert_int_equal(inject_index(m, &child, 1, &r, &err), 0);
    cleanup_free char *want =
        doc("{'schemaVersion':2,'mediaType':'" MEDIA_TYPE_OCI_INDEX
            "','manifests':[{'mediaType':'" MEDIA_TYPE_OCI_MANIFEST "','digest':'sha512:" HEX_A HEX_B
            "','size':5,'z':[1]}," CHILD("sha256:" HEX_B, "") "," CHILD(
                "sha256:" HEX_D, ATTESTS(DIGEST_B)) ",{'mediaType':'" MEDIA_TYPE_OCI_MANIFEST
                                                    "','digest':'sha512:" HEX_A HEX_B
                                                    "','size':5}],'annotations':{'k':'v'}}");
    assert_string_equal(r.manifest, want);
    /* A number that we could not write again: unchanged. */
    cleanup_manifest struct manifest *odd =
        manifest_of("{'schemaVersion':2,'manifests':[" CHILD("sha256:" HEX_A, ",'x':1e99") "]}", NULL);
    struct inject_result skipped_one = {0};
    assert_int_equal(inject_index(odd, &child, 1, &skipped_one, &err), 0);
    assert_string_equal(skipped_one.skipped, "number");
}

static void children_worth_looking_at(void **state)
{
    (void)state;
    static const struct {
        const char *injection, *child;
        bool may;
    } cases[] = {
        {"{" ONE_LAYER "}", "'mediaType':'" MEDIA_TYPE_OCI_MANIFEST "'", true},
        {"{" ONE_LAYER "}", "'mediaType':'" MEDIA_TYPE_DOCKER_MANIFEST "'", true},
        {"{" ONE_LAYER "}", "'mediaType':'" MEDIA_TYPE_OCI_INDEX "'", true},
        {"{" ONE_LAYER "}", "'mediaType':'" MEDIA_TYPE_DOCKER_LIST "','platform':{'os':'windows'}", true},
        {"{" ONE_LAYER "}", "'mediaType':'" MEDIA_TYPE_DOCKER_SCHEMA1 "'", false},
        {"{" ONE_LAYER "}", "'mediaType':'application/x'", false},
        {"{" ONE_LAYER "}", "'x':1", false},
        {"{" ONE_LAYER "}",
         "'mediaType':'" MEDIA_TYPE_OCI_MANIFEST "','platform':{'os':'windows','architecture':'amd64'}",
         false},
        {"{" ONE_LAYER "}",
         "'mediaType':'" MEDIA_TYPE_OCI_MANIFEST "','platform':{'os':'unknown','architecture':'unknown'}"
         ",'annotations':{'vnd.docker.reference.digest':'" DIGEST_A "'}",
         false},
        {"{'layers':[{'location':'f','platform':'arm64','gzipDigest':'" DIGEST_A
         "','gzipSize':7,'tarDigest':'" DIGEST_A "'}]}",
         "'mediaType':'" MEDIA_TYPE_OCI_MANIFEST
         "','platform':{'os':'linux','architecture':'arm64','variant':'v8'}",
         true},
        {"{'layers':[{'location':'f','platform':'arm64','gzipDigest':'" DIGEST_A
         "','gzipSize':7,'tarDigest':'" DIGEST_A "'}]}",
         "'mediaType':'" MEDIA_TYPE_OCI_MANIFEST "','platform':{'os':'linux','architecture':'amd64'}", false},
        {"{}", "'mediaType':'" MEDIA_TYPE_OCI_MANIFEST "'", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cleanup_free char *text = mem_printf(
            "{'schemaVersion':2,'manifests':[{'size':1,'digest':'" DIGEST_B "',%s}]}", cases[i].child);
        cleanup_manifest struct manifest *m = manifest_of(text, NULL);
        cleanup_injection struct injection *inj =
            injection_of(cases[i].injection, INJECTION_FROM_CONFIGURATION);
        if (inject_child_may_change(manifest_at(m, 0), inj) != cases[i].may)
            fail_msg("case %zu", i);
    }
}

static void artifacts_and_schema1_pass(void **state)
{
    (void)state;
    cleanup_buf struct buf b = fixture("schema1-manifest.json");
    cleanup_manifest struct manifest *m = manifest_parse(b.p, b.len, MEDIA_TYPE_DOCKER_SCHEMA1_SIGNED, NULL);
    cleanup_injection struct injection *inj = injection_of("{" ONE_LAYER "}", INJECTION_FROM_CONFIGURATION);
    struct digest source = digest_lit(DIGEST_A);
    struct inject_result r = {0};
    assert_int_equal(inject_image(m, "", 0, inj, NAME, &source, &r, NULL), 0);
    assert_string_equal(r.skipped, "schema1");
}

static void names_must_be_text(void **state)
{
    (void)state;
    cleanup_manifest struct manifest *m =
        manifest_of("{'schemaVersion':2,'config':{'mediaType':'" MEDIA_TYPE_OCI_CONFIG "','digest':'" DIGEST_A
                    "','size':3}}",
                    NULL);
    cleanup_injection struct injection *inj = injection_of("{" ONE_LAYER "}", INJECTION_FROM_CONFIGURATION);
    struct digest source = digest_lit(DIGEST_A);
    struct inject_result r = {0};
    struct err err = {0};
    static const char config[] = "{\"rootfs\":{}}";
    assert_int_equal(inject_image(m, config, sizeof config - 1, inj, "\xff", &source, &r, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    char name[256];
    memset(name, 'n', 255);
    name[255] = '\0';
    cleanup_inject_result struct inject_result long_one = {0};
    assert_int_equal(inject_image(m, config, sizeof config - 1, inj, name, &source, &long_one, &err), 0);
    assert_non_null(strstr(long_one.config, name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configs),
        cmocka_unit_test(skipped),
        cmocka_unit_test(refused),
        cmocka_unit_test(manifests_keep_their_family_order_and_members),
        cmocka_unit_test(golden_hello_world),
        cmocka_unit_test(order_of_labels_does_not_matter),
        cmocka_unit_test(layer_limit),
        cmocka_unit_test(size_limit),
        cmocka_unit_test(index_is_rewritten),
        cmocka_unit_test(attestations_go_with_their_image),
        cmocka_unit_test(children_worth_looking_at),
        cmocka_unit_test(artifacts_and_schema1_pass),
        cmocka_unit_test(names_must_be_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
