// SPDX-License-Identifier: Apache-2.0
/* Injections: what is read, what is refused, what identifies one, where layers come from. */
#include "layers_doc.h"

#include <sys/stat.h>
#include <zlib.h>

#define SUMS "'gzipDigest':'" DIGEST_C "','gzipSize':77,'tarDigest':'" DIGEST_D "'"

static void canonical_form(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum injection_trust trust;
        const char *canonical;
    } cases[] = {
        {"{}", INJECTION_FROM_CONFIGURATION, "{}"},
        {"{'layers':[],'entrypoint':[],'cmd':null,'env':[],'workingDir':'','labels':{},'user':'keep',"
         "'entrypointChain':'args'}",
         INJECTION_FROM_CONFIGURATION, "{}"},
        {"{'layers':[{'tarDigest':'" DIGEST_D "','skipHashing':true,'name':'n','location':'f','gzipSize':77,"
         "'gzipDigest':'" DIGEST_C "','platform':'x86_64'}]}",
         INJECTION_FROM_CONFIGURATION,
         "{'layers':[{'gzipDigest':'" DIGEST_C
         "','gzipSize':77,'name':'n','platform':'linux/amd64','tarDigest':'" DIGEST_D "'}]}"},
        {"{" ONE_LAYER "}", INJECTION_FROM_CLIENT,
         "{'layers':[{'gzipDigest':'" DIGEST_C "','gzipSize':77,'tarDigest':'" DIGEST_D "'}]}"},
        {"{'workingDir':'/w','labels':{'b':'2','a':'1'},'env':['B=1','A=2'],'cmd':['x'],'entrypoint':['e']}",
         INJECTION_FROM_CONFIGURATION,
         "{'cmd':['x'],'entrypoint':['e'],'env':['B=1','A=2'],'labels':{'a':'1','b':'2'},'workingDir':'/w'}"},
        {"{'user':'root-then-drop','entrypointChain':'env','entrypoint':['e']}", INJECTION_FROM_CONFIGURATION,
         "{'entrypoint':['e'],'entrypointChain':'env','user':'root-then-drop'}"},
        /* A client's default, and a chain without an entry point, which does nothing. */
        {"{'entrypoint':['e']}", INJECTION_FROM_CLIENT, "{'entrypoint':['e'],'entrypointChain':'env'}"},
        {"{'entrypoint':['e'],'entrypointChain':'args'}", INJECTION_FROM_CLIENT, "{'entrypoint':['e']}"},
        {"{'env':['A=1'],'entrypointChain':'env'}", INJECTION_FROM_CONFIGURATION, "{'env':['A=1']}"},
        {"{'env':['A=1'],'fusionVersion':'2','whatever':{}}", INJECTION_FROM_CLIENT, "{'env':['A=1']}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cleanup_injection struct injection *inj = injection_of(cases[i].text, cases[i].trust);
        cleanup_free char *want = doc(cases[i].canonical);
        size_t len;
        assert_string_equal(injection_canonical(inj, &len), want);
        assert_int_equal(len, strlen(want));
        struct digest d = digest_of(want, len);
        assert_string_equal(injection_digest(inj)->s, d.s);
        /* What is stored makes the same injection again, whoever sent it. */
        const char *json = injection_json(inj);
        cleanup_injection struct injection *again =
            injection_parse(json, strlen(json), INJECTION_FROM_CONFIGURATION, "/", NULL);
        assert_non_null(again);
        assert_string_equal(injection_canonical(again, NULL), want);
        assert_string_equal(injection_json(again), json);
        assert_int_equal(injection_chain(again), injection_chain(inj));
    }
}

static void the_empty_injection_has_a_known_digest(void **state)
{
    (void)state;
    cleanup_injection struct injection *inj = injection_of("{}", INJECTION_FROM_CONFIGURATION);
    assert_true(injection_is_empty(inj));
    /* printf '{}' | sha256sum */
    assert_string_equal(injection_digest(inj)->s,
                        "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum injection_trust trust;
        const char *says;
    } cases[] = {
        {"", INJECTION_FROM_CLIENT, "JSON"},
        {"[]", INJECTION_FROM_CLIENT, "object"},
        {"{'a':1,'a':2}", INJECTION_FROM_CLIENT, "JSON"},
        {"{'Layers':[]}", INJECTION_FROM_CONFIGURATION, "'Layers'"},
        {"{'layer':[]}", INJECTION_FROM_CONFIGURATION, "'layer'"},
        {"{'layers':[{'location':'f'," SUMS ",'size':1}]}", INJECTION_FROM_CONFIGURATION,
         "layers[0]: unknown member 'size'"},
        {"{'layers':{}}", INJECTION_FROM_CLIENT, "'layers' must be a list"},
        {"{'layers':[7]}", INJECTION_FROM_CLIENT, "layers[0]"},
        {"{'layers':[{'location':'f'," SUMS "}]}", INJECTION_FROM_CLIENT, "https://"},
        {"{'layers':[{'location':'/etc/shadow'," SUMS "}]}", INJECTION_FROM_CLIENT, "https://"},
        {"{'layers':[{'location':'file:///etc/shadow'," SUMS "}]}", INJECTION_FROM_CLIENT, "file:"},
        {"{'layers':[{'location':'http://x/y'," SUMS "}]}", INJECTION_FROM_CONFIGURATION, "use https"},
        {"{'layers':[{'location':'ftp://x/y'," SUMS "}]}", INJECTION_FROM_CONFIGURATION, "ftp:"},
        {"{'layers':[{'location':'HTTPS://x/y'," SUMS "}]}", INJECTION_FROM_CONFIGURATION, "HTTPS:"},
        {"{'layers':[{'location':'https:///y'," SUMS "}]}", INJECTION_FROM_CONFIGURATION, "host"},
        {"{'layers':[{'location':'https://x/a b'," SUMS "}]}", INJECTION_FROM_CLIENT, "%XX"},
        {"{'layers':[{'location':'https://x/a\\r\\nHost: y'," SUMS "}]}", INJECTION_FROM_CLIENT, "%XX"},
        {"{'layers':[{'location':7," SUMS "}]}", INJECTION_FROM_CLIENT, "'location' must be a string"},
        {"{'layers':[{" SUMS "}]}", INJECTION_FROM_CLIENT, "'location' is missing"},
        {"{'layers':[{'location':'https://x/y','gzipSize':1,'tarDigest':'" DIGEST_D "'}]}",
         INJECTION_FROM_CLIENT, "'gzipDigest' is missing"},
        {"{'layers':[{'location':'https://x/y','gzipSize':1,'gzipDigest':'" DIGEST_D "'}]}",
         INJECTION_FROM_CLIENT, "'tarDigest' is missing"},
        {"{'layers':[{'location':'https://x/y','gzipDigest':'" DIGEST_C "','tarDigest':'" DIGEST_D "'}]}",
         INJECTION_FROM_CLIENT, "'gzipSize' is missing"},
        {"{'layers':[{'location':'https://x/y','gzipSize':0,'gzipDigest':'" DIGEST_C
         "','tarDigest':'" DIGEST_D "'}]}",
         INJECTION_FROM_CLIENT, "'gzipSize' must be"},
        {"{'layers':[{'location':'https://x/y','gzipSize':-1,'gzipDigest':'" DIGEST_C
         "','tarDigest':'" DIGEST_D "'}]}",
         INJECTION_FROM_CLIENT, "'gzipSize' must be"},
        {"{'layers':[{'location':'https://x/y','gzipSize':'1','gzipDigest':'" DIGEST_C
         "','tarDigest':'" DIGEST_D "'}]}",
         INJECTION_FROM_CLIENT, "'gzipSize' must be"},
        {"{'layers':[{'location':'https://x/y','gzipSize':1,'gzipDigest':'sha256:x','tarDigest':'" DIGEST_D
         "'}]}",
         INJECTION_FROM_CLIENT, "'gzipDigest'"},
        {"{'layers':[{'location':'https://x/y'," SUMS ",'platform':'linux'}]}", INJECTION_FROM_CLIENT,
         "'platform'"},
        {"{'layers':[{'location':'https://x/y'," SUMS ",'skipHashing':'yes'}]}", INJECTION_FROM_CLIENT,
         "'skipHashing'"},
        {"{'layers':[{'location':'https://x/y'," SUMS "},{'location':'https://x/y'}]}", INJECTION_FROM_CLIENT,
         "layers[1]"},
        {"{'entrypoint':'x'}", INJECTION_FROM_CLIENT, "'entrypoint' must be a list"},
        {"{'cmd':[1]}", INJECTION_FROM_CLIENT, "'cmd' must be a list of strings: entry 0"},
        {"{'env':['A=1','B']}", INJECTION_FROM_CLIENT, "'env' entry 1"},
        {"{'env':['=1']}", INJECTION_FROM_CLIENT, "'env' entry 0"},
        {"{'env':{'A':'1'}}", INJECTION_FROM_CLIENT, "'env' must be a list"},
        {"{'labels':{'a':1}}", INJECTION_FROM_CLIENT, "label 'a'"},
        {"{'labels':[]}", INJECTION_FROM_CLIENT, "'labels' must be an object"},
        {"{'workingDir':[]}", INJECTION_FROM_CLIENT, "'workingDir' must be a string"},
        {"{'user':'root'}", INJECTION_FROM_CLIENT, "'user' must be 'keep' or 'root-then-drop', not 'root'"},
        {"{'entrypointChain':true}", INJECTION_FROM_CLIENT, "'entrypointChain' must be a string"},
        {"{'entrypointChain':'both'}", INJECTION_FROM_CLIENT, "'args' or 'env'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct err err = {0};
        cleanup_free char *s = doc(cases[i].text);
        cleanup_injection struct injection *inj = injection_parse(s, strlen(s), cases[i].trust, "/", &err);
        if (inj)
            fail_msg("accepted: %s", s);
        if (err.code != ERR_INVALID || !strstr(err.msg, cases[i].says))
            fail_msg("%s: code %s, message: %s", s, err_code_name(err.code), err.msg);
    }
}

static void layers_over_the_limit(void **state)
{
    (void)state;
    for (int n = INJECTION_LAYERS_MAX; n <= INJECTION_LAYERS_MAX + 1; ++n) {
        struct buf b = {0};
        cleanup_free char *layer = doc("{'location':'https://x/y'," SUMS "}");
        (void)buf_add_str(&b, "{\"layers\":[");
        for (int i = 0; i < n; ++i)
            (void)buf_printf(&b, "%s%s", i ? "," : "", layer);
        (void)buf_add_str(&b, "]}");
        struct err err = {0};
        cleanup_injection struct injection *inj =
            injection_parse(b.p, b.len, INJECTION_FROM_CLIENT, NULL, &err);
        assert_int_equal(inj != NULL, n == INJECTION_LAYERS_MAX);
        buf_free(&b);
    }
}

static void locations(void **state)
{
    (void)state;
    static const struct {
        const char *location;
        enum layer_location kind;
        const char *becomes;
    } cases[] = {
        {"layer.tar.gz", LAYER_FILE, "/usr/lib/layer.tar.gz"},
        {"../x/layer.tar.gz", LAYER_FILE, "/usr/lib/../x/layer.tar.gz"},
        {"/abs/layer", LAYER_FILE, "/abs/layer"},
        {"./a:b", LAYER_FILE, "/usr/lib/./a:b"},
        {"https://h:1/p?q=%20", LAYER_HTTPS, "https://h:1/p?q=%20"},
        {"data:AAAA", LAYER_DATA, "data:AAAA"},
        {"gzip:AAAA", LAYER_GZIP, "gzip:AAAA"},
        {"image:quay.io/nextflow/bash#ann", LAYER_IMAGE, "image:quay.io/nextflow/bash#ann"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        char text[512];
        (void)snprintf(text, sizeof text, "{'layers':[{'location':'%s'," SUMS "}]}", cases[i].location);
        cleanup_free char *s = doc(text);
        struct err err = {0};
        cleanup_injection struct injection *inj =
            injection_parse(s, strlen(s), INJECTION_FROM_CONFIGURATION, "/usr/lib/../lib", &err);
        if (!inj)
            fail_msg("%s", err.msg);
        enum layer_location kind;
        assert_int_equal(injection_layer_location(injection_layer_at(inj, 0), &kind, &err), 0);
        assert_int_equal(kind, cases[i].kind);
        assert_string_equal(injection_layer_at(inj, 0)->location, cases[i].becomes);
    }
}

static struct injection_layer at(const char *location)
{
    return (struct injection_layer){.location = location, .gzip_size = 1};
}

static void data_decodes(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"data:", ""},
        {"data:Zg==", "f"},
        {"data:Zg", "f"},
        {"data:Zm8=", "fo"},
        {"data:Zm8", "fo"},
        {"data:Zm9v", "foo"},
        {"data:Zm9vYg==", "foob"},
        {"data:+/+/", "\xfb\xff\xbf"},
        {"data:Zg=", NULL},
        {"data:Z", NULL},
        {"data:Zm9vY", NULL},
        {"data:====", NULL},
        {"data:Z===", NULL},
        {"data:Zm 9", NULL},
        {"data:Zm9v\n", NULL},
        {"data:-_-_", NULL},
        {"data:Zg==Zg==", NULL},
        {"data:;base64,Zg==", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct injection_layer layer = at(cases[i][0]);
        cleanup_buf struct buf b = {0};
        struct err err = {0};
        int rc = injection_layer_decode(&layer, 100, &b, &err);
        if ((rc == 0) != (cases[i][1] != NULL))
            fail_msg("'%s': %s", cases[i][0], rc == 0 ? "accepted" : err.msg);
        if (rc == 0)
            assert_string_equal(buf_str(&b), cases[i][1]);
    }
    struct injection_layer layer = at("data:Zm9v");
    cleanup_buf struct buf b = {0};
    struct err err = {0};
    assert_int_equal(injection_layer_decode(&layer, 3, &b, &err), 0);
    assert_int_equal(injection_layer_decode(&layer, 2, &b, &err), -1);
    assert_int_equal(err.code, ERR_SIZE_INVALID);
    struct injection_layer file = at("/etc/passwd");
    assert_int_equal(injection_layer_decode(&file, 100, &b, &err), -1);
}

static char *base64(const unsigned char *p, size_t len)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct buf b = {0};
    for (size_t i = 0; i < len; i += 3) {
        unsigned v =
            (unsigned)p[i] << 16 | (i + 1 < len ? (unsigned)p[i + 1] << 8 : 0) | (i + 2 < len ? p[i + 2] : 0);
        char out[4] = {set[v >> 18], set[v >> 12 & 63], i + 1 < len ? set[v >> 6 & 63] : '=',
                       i + 2 < len ? set[v & 63] : '='};
        (void)buf_add(&b, out, 4);
    }
    return buf_take(&b);
}

static void gzip_inflates(void **state)
{
    (void)state;
    cleanup_free unsigned char *plain = mem_zalloc(1 << 20), *packed = mem_alloc(1 << 16);
    uLongf len = 1 << 16;
    memcpy(plain, "hello", 5);
    assert_int_equal(compress(packed, &len, plain, 1 << 20), Z_OK);
    cleanup_free char *text = base64(packed, len), *cut = base64(packed, len - 5), *more = NULL;
    packed[len] = 7;
    more = base64(packed, len + 1);
    struct err err = {0};
    for (int i = 0; i < 4; ++i) {
        cleanup_free char *location = mem_printf("gzip:%s", i == 1 ? cut : i == 2 ? more : text);
        struct injection_layer layer = at(location);
        cleanup_buf struct buf b = {0};
        int rc = injection_layer_decode(&layer, i == 3 ? (1 << 20) - 1 : 1 << 20, &b, &err);
        assert_int_equal(rc, i == 0 ? 0 : -1);
        if (i == 0) {
            assert_int_equal(b.len, 1 << 20);
            assert_memory_equal(b.p, plain, b.len);
        }
        if (i == 3)
            assert_int_equal(err.code, ERR_SIZE_INVALID); /* a bomb stops at the limit */
    }
}

static void applies(void **state)
{
    (void)state;
    static const struct platform amd64 = {"linux", "amd64", ""}, arm = {"linux", "arm64", "v8"},
                                 windows = {"windows", "amd64", ""}, unknown = {"unknown", "unknown", ""};
    static const struct {
        const char *text;
        bool amd64, arm, windows;
    } cases[] = {
        {"{}", false, false, false},
        {"{" ONE_LAYER "}", true, true, false},
        {"{'env':['A=1']}", true, true, false},
        {"{'user':'root-then-drop'}", true, true, false},
        {"{'layers':[{'location':'f','platform':'amd64'," SUMS "}],'env':['A=1']}", true, false, false},
        {"{'layers':[{'location':'f','platform':'amd64'," SUMS "},{'location':'f','platform':'arm64'," SUMS
         "}]}",
         true, true, false},
        {"{'layers':[{'location':'f','platform':'windows/amd64'," SUMS "}]}", false, false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cleanup_injection struct injection *inj = injection_of(cases[i].text, INJECTION_FROM_CONFIGURATION);
        if (injection_applies(inj, &amd64) != cases[i].amd64 ||
            injection_applies(inj, &arm) != cases[i].arm ||
            injection_applies(inj, &windows) != cases[i].windows || injection_applies(inj, &unknown))
            fail_msg("case %zu", i);
    }
}

static void loads_from_a_file(void **state)
{
    (void)state;
    char dir[] = "/tmp/rac-injection-XXXXXX";
    assert_non_null(mkdtemp(dir));
    cleanup_free char *path = mem_printf("%s/layer.json", dir), *want = mem_printf("%s/layer.tar.gz", dir);
    cleanup_free char *text = doc("{'layers':[{'location':'layer.tar.gz'," SUMS "}]}");
    struct err err = {0};
    assert_int_equal(out_file_put(path, text, strlen(text), &err), 0);
    cleanup_injection struct injection *inj = injection_load(path, &err);
    assert_non_null(inj);
    assert_string_equal(injection_layer_at(inj, 0)->location, want);
    assert_int_equal(out_file_put(path, "{\"no\":1}", 8, &err), 0);
    assert_null(injection_load(path, &err));
    assert_non_null(strstr(err.msg, path));
    assert_non_null(strstr(err.msg, "'no'"));
    (void)unlink(path);
    (void)rmdir(dir);
    assert_null(injection_load(path, &err));
    assert_int_equal(err.code, ERR_IO);
}

static void references_are_counted(void **state)
{
    (void)state;
    struct injection *inj = injection_of("{" ONE_LAYER "}", INJECTION_FROM_CLIENT);
    assert_ptr_equal(injection_ref(inj), inj);
    injection_unref(inj);
    assert_int_equal(injection_layer_count(inj), 1); /* still there, says the address sanitizer */
    injection_unref(inj);
    injection_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(canonical_form),    cmocka_unit_test(the_empty_injection_has_a_known_digest),
        cmocka_unit_test(refused),           cmocka_unit_test(layers_over_the_limit),
        cmocka_unit_test(locations),         cmocka_unit_test(data_decodes),
        cmocka_unit_test(gzip_inflates),     cmocka_unit_test(applies),
        cmocka_unit_test(loads_from_a_file), cmocka_unit_test(references_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
