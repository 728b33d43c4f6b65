// SPDX-License-Identifier: Apache-2.0
/* Where credentials come from: files and answers as tables, and the chain against small servers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/clock.h"
#include "s3/credentials_json.h"
#include "s3/credentials_profile.h"
#include "s3/credentials_source.h"
#include "s3_server.h"
#include "scratch.h"

static const struct {
    const char *text, *name;
    bool config;
    const char *want; /* id|secret|token|region */
} profiles[] = {
    {"[default]\naws_access_key_id = A\naws_secret_access_key=S/+=\n", "default", false, "A|S/+=||"},
    {"[other]\naws_access_key_id=O\n[default]\naws_access_key_id=A\n", "default", false, "A|||"},
    {"[default]\naws_access_key_id=A\n[other]\naws_access_key_id=O\nregion=r\n", "other", false, "O|||r"},
    {"[profile p]\nregion=eu-west-1\n[p]\nregion=wrong\n", "p", true, "|||eu-west-1"},
    {"[default]\r\nregion = x \r\naws_session_token=T\r\n", "default", true, "||T|x"},
    {"\xef\xbb\xbf[default]\nregion=x", "default", true, "|||x"},
    {"[ profile \"a b\" ]\nregion=x\n", "a b", true, "|||x"},
    {"# c\n; c\n[default]\n# region=no\nregion=yes # because\n", "default", true, "|||yes"},
    {"[default]\naws_secret_access_key=a#b;c\n", "default", false, "|a#b;c||"},
    {"[default]\ns3 =\n  region = nested\nregion = top\n", "default", true, "|||top"},
    {"[default]\nregion=first\nregion=second\n", "default", true, "|||first"},
    {"[default]\nREGION=x\n", "default", true, "|||x"},
    {"[default\nregion=x\n", "default", true, "|||"},
    {"region=x\n", "default", true, "|||"},
    {"[default]\nregion\n=x\nregion =\n", "default", true, "|||"},
    {"[default]\naws_access_key_id=A\x01\n", "default", false, "|||"},
    {"[profile default]\nregion=x\n", "default", true, "|||x"},
    {"", "default", false, "|||"},
};

static void test_profiles(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof profiles / sizeof profiles[0]; ++i) {
        cleanup_profile struct profile p = {0};
        profile_parse(&p, slice_of(profiles[i].text), profiles[i].name, profiles[i].config);
        cleanup_free char *got = mem_printf("%s|%s|%s|%s", p.access_key_id ? p.access_key_id : "",
                                            p.secret_access_key ? p.secret_access_key : "",
                                            p.session_token ? p.session_token : "", p.region ? p.region : "");
        if (strcmp(got, profiles[i].want) != 0)
            fail_msg("<%s>: gave <%s>, wanted <%s>", profiles[i].text, got, profiles[i].want);
    }
}

static const struct {
    const char *doc, *want; /* of the member "k"; NULL: none */
} objects[] = {
    {"{\"k\":\"v\"}", "v"},
    {" { \"a\" : 1 , \"k\" : \"v\" } ", "v"},
    {"{\"a\":{\"k\":\"no\"},\"b\":[\"k\",{\"k\":null}],\"c\":true,\"d\":-1.5e3,\"k\":\"v\"}", "v"},
    {"{\"a\":[],\"b\":{},\"k\":\"v\"}", "v"},
    {"{\"k\":\"a\\\"b\\\\c\\/d\\n\\u0041\\u00e9\\u20ac\"}", "a\"b\\c/d\nA\xc3\xa9\xe2\x82\xac"},
    {"{\"\\u006b\":\"v\"}", "v"},
    {"{\"k\":null}", NULL},
    {"{\"k\":1}", NULL},
    {"{\"k\":\"a\\u0000b\"}", NULL},
    {"{\"k\":\"\\ud83d\\ude00\"}", NULL},
    {"{\"k\":\"a", NULL},
    {"{\"k\":\"a\\", NULL},
    {"{\"k\":\"\\x\"}", NULL},
    {"{\"k\":\"\\u00g0\"}", NULL},
    {"{\"k\" \"v\"}", NULL},
    {"{\"a\":,\"k\":\"v\"}", NULL},
    {"{\"a\":[1,\"k\":\"v\"}", NULL},
    {"{\"a\":\"b\" \"k\":\"v\"}", NULL},
    {"[\"k\",\"v\"]", NULL},
    {"{}", NULL},
    {"", NULL},
    {"{\"a\":[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]],\"k\":\"v\"}", NULL},
};

static void test_json(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof objects / sizeof objects[0]; ++i) {
        size_t len = strlen(objects[i].doc);
        for (size_t n = 0; n <= len; ++n) {
            cleanup_free char *copy = mem_alloc(n);
            memcpy(copy, objects[i].doc, n);
            cleanup_free char *got = credentials_json_string((struct slice){copy, n}, "k");
            if (n == len && (!got != !objects[i].want || (got && strcmp(got, objects[i].want) != 0)))
                fail_msg("<%s>: gave <%s>", objects[i].doc, got ? got : "nothing");
        }
    }
}

#define STS(expiration)                                                                                      \
    "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"                \
    "<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>WEB</AccessKeyId><SecretAccessKey>WS"        \
    "</SecretAccessKey><SessionToken>WT</SessionToken><Expiration>" expiration                               \
    "</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
#define JSON(id, expiration)                                                                                 \
    "{\"Code\":\"Success\",\"AccessKeyId\":\"" id                                                            \
    "\",\"SecretAccessKey\":\"S\",\"Token\":\"T\",\"Expiration\":\"" expiration "\"}"
#define FAR "2099-01-01T00:00:00Z"

static void test_answers(void **state)
{
    (void)state;
    struct credentials *c;
    struct err err = {0};
    assert_int_equal(credentials_from_sts_xml(SLICE_LIT(STS("2019-11-09T13:34:41Z")), &c, &err), 0);
    assert_string_equal(c->session_token, "WT");
    assert_true(c->expires_ms == 1573306481000);
    credentials_put(c);
    assert_int_equal(credentials_from_sts_xml(SLICE_LIT(STS("never")), &c, &err), -1);
    assert_int_equal(credentials_from_sts_xml(SLICE_LIT("<x/>"), &c, &err), -1);
    assert_int_equal(credentials_from_json(SLICE_LIT(JSON("A", "2019-11-09T13:34:41Z")), "EC2", &c, &err), 0);
    assert_true(c->expires_ms == 1573306481000);
    credentials_put(c);
    assert_int_equal(credentials_from_json(SLICE_LIT(JSON("A", "soon")), "EC2", &c, &err), -1);
    assert_int_equal(credentials_from_json(SLICE_LIT(JSON("A\\r\\nX: y", FAR)), "EC2", &c, &err), -1);
    assert_int_equal(credentials_from_json(SLICE_LIT("{\"AccessKeyId\":\"A\"}"), "EC2", &c, &err), -1);
}

/* -- the chain -------------------------------------------------------------------------------------- */

static const char *const variables[] = {
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_STS",
};

struct world {
    struct s3_server server;
    char *dir;
    struct http *http;
    struct credentials_chain *chain;
};

static void world_begin(struct world *w, const struct served *table)
{
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; ++i)
        (void)unsetenv(variables[i]);
    w->dir = scratch_new();
    (void)setenv("HOME", w->dir, 1);
    (void)setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    server_start(&w->server, table);
    struct http_config config = {.connections_max = 4,
                                 .connect_timeout_ms = 2000,
                                 .answer_timeout_ms = 2000,
                                 .stall_timeout_ms = 2000};
    w->http = http_new(&config);
    w->chain = credentials_chain_new(w->http, "eu-west-1");
}

static void world_end(struct world *w)
{
    credentials_chain_free(w->chain);
    http_free(w->http);
    server_stop(&w->server);
    scratch_free(w->dir);
}

static char *world_file(const struct world *w, const char *name, const char *text)
{
    char *path = mem_printf("%s/%s", w->dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fputs(text, f);
    (void)fclose(f);
    return path;
}

static void set_url(const char *variable, const struct world *w, const char *path)
{
    cleanup_free char *url = mem_printf("http://127.0.0.1:%u%s", w->server.port, path);
    (void)setenv(variable, url, 1);
}

/* Asks the chain; "id/source" or the error. */
static char *ask(struct world *w)
{
    struct err err = {0};
    cleanup_credentials struct credentials *c = credentials_get_ref(w->chain, NULL, &err);
    return c ? mem_printf("%s/%s", c->access_key_id, c->source) : mem_strdup(err.msg);
}

static void expect(struct world *w, const char *want)
{
    cleanup_free char *got = ask(w);
    if (!strstr(got, want))
        fail_msg("gave <%s>, wanted <%s>", got, want);
}

static const struct served nothing[] = {{.request = NULL}};

static void test_environment(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w, nothing);
    expect(&w, "no AWS credentials");
    (void)setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
    expect(&w, "only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
    (void)setenv("AWS_SECRET_ACCESS_KEY", "s\n", 1);
    expect(&w, "not ASCII");
    (void)setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
    expect(&w, "ENV/environment");
    world_end(&w);
}

static void test_profile_files(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w, nothing);
    cleanup_free char *aws = mem_printf("%s/.aws", w.dir);
    assert_int_equal(mkdir(aws, 0700), 0);
    free(world_file(&w, ".aws/credentials", "[default]\naws_access_key_id=DEF\naws_secret_access_key=s\n"));
    free(world_file(&w, ".aws/config", "[profile p]\naws_access_key_id=PRO\naws_secret_access_key=s\n"));
    expect(&w, "DEF/profile");
    credentials_chain_free(w.chain);
    w.chain = credentials_chain_new(w.http, NULL);
    (void)setenv("AWS_PROFILE", "p", 1);
    expect(&w, "PRO/profile");
    credentials_chain_free(w.chain);
    w.chain = credentials_chain_new(w.http, NULL);
    (void)setenv("AWS_PROFILE", "absent", 1);
    expect(&w, "AWS_PROFILE names a profile without keys");
    world_end(&w);
}

static void test_web_identity(void **state)
{
    (void)state;
    static const struct served table[] = {
        {"POST /", NULL, 503, "<ErrorResponse/>", 0, 1},
        {"POST /", "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&RoleSessionName=me&WebIdentityToken=token%2F1",
         200, STS("2000-01-01T00:00:00Z"), 0, 1},
        {"POST /", "WebIdentityToken=token-2", 200, STS(FAR), 0, 0},
        {.request = NULL},
    };
    struct world w;
    world_begin(&w, table);
    cleanup_free char *file = world_file(&w, "token", "token/1\n");
    (void)setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file, 1);
    (void)setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/r", 1);
    (void)setenv("AWS_ROLE_SESSION_NAME", "me", 1);
    set_url("AWS_ENDPOINT_URL_STS", &w, "/");
    expect(&w, "WEB/web identity");
    /* They have expired: the file is read again. */
    free(world_file(&w, "token", "token-2"));
    expect(&w, "WEB/web identity");
    unsigned asked = w.server.log_len;
    expect(&w, "WEB/web identity");
    assert_int_equal(w.server.log_len, asked);
    world_end(&w);
}

static void test_web_identity_refused(void **state)
{
    (void)state;
    static const struct served table[] = {
        {"POST /", NULL, 403,
         "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not "
         "you</Message></Error>"
         "</ErrorResponse>",
         0, 0},
        {.request = NULL},
    };
    struct world w;
    world_begin(&w, table);
    cleanup_free char *file = world_file(&w, "token", "SECRET-TOKEN");
    (void)setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file, 1);
    expect(&w, "no role (AWS_ROLE_ARN)");
    (void)setenv("AWS_ROLE_ARN", "arn", 1);
    set_url("AWS_ENDPOINT_URL", &w, "");
    expect(&w, "STS answered 403 AccessDenied: Not you");
    cleanup_free char *text = ask(&w);
    assert_null(strstr(text, "SECRET-TOKEN"));
    (void)setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent/token", 1);
    expect(&w, "/nonexistent/token: no such file");
    world_end(&w);
}

static void test_container(void **state)
{
    (void)state;
    static const struct served table[] = {
        {"GET /creds", NULL, 500, "", 0, 1},
        {"GET /creds", "authorization: Bearer abc\r\n", 200, JSON("CON", FAR), 0, 0},
        {.request = NULL},
    };
    struct world w;
    world_begin(&w, table);
    cleanup_free char *file = world_file(&w, "token", "Bearer abc\n");
    set_url("AWS_CONTAINER_CREDENTIALS_FULL_URI", &w, "/creds?x=y");
    (void)setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file, 1);
    expect(&w, "CON/container");
    (void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://10.0.0.1/creds", 1);
    credentials_chain_free(w.chain);
    w.chain = credentials_chain_new(w.http, NULL);
    expect(&w, "plain http is for loopback");
    (void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1.evil.com/creds", 1);
    expect(&w, "plain http is for loopback");
    set_url("AWS_CONTAINER_CREDENTIALS_FULL_URI", &w, "/creds");
    free(world_file(&w, "token", "abc\r\nX-Evil: 1\r\n"));
    expect(&w, "control characters");
    world_end(&w);
}

static void test_ec2(void **state)
{
    (void)state;
    static const struct served table[] = {
        {"PUT /latest/api/token", "x-aws-ec2-metadata-token-ttl-seconds: 21600", 200, "TOK", 0, 0},
        {"GET /latest/meta-data/iam/security-credentials/role", "x-aws-ec2-metadata-token: TOK", 200,
         JSON("EC2", FAR), 0, 0},
        {"GET /latest/meta-data/iam/security-credentials/", "x-aws-ec2-metadata-token: TOK", 200,
         "role\nother\n", 0, 0},
        {.request = NULL},
    };
    struct world w;
    world_begin(&w, table);
    set_url("AWS_EC2_METADATA_SERVICE_ENDPOINT", &w, "");
    expect(&w, "no AWS credentials");
    assert_int_equal(w.server.log_len, 0);
    (void)unsetenv("AWS_EC2_METADATA_DISABLED");
    expect(&w, "EC2/EC2");
    assert_int_equal(w.server.log_len, 3);
    world_end(&w);
}

/* Those that end within five minutes are renewed; if that fails, they still serve, and nobody is asked again
 * at once. */
static void test_renewal(void **state)
{
    (void)state;
    char soon[96], *table_body;
    time_t at = time(NULL) + 120;
    struct tm tm;
    gmtime_r(&at, &tm);
    (void)strftime(soon, sizeof soon, "%Y-%m-%dT%H:%M:%SZ", &tm);
    table_body =
        mem_printf("{\"AccessKeyId\":\"OLD\",\"SecretAccessKey\":\"S\",\"Expiration\":\"%s\"}", soon);
    const struct served table[] = {
        {"GET /creds", NULL, 200, table_body, 0, 1},
        {"GET /creds", NULL, 404, "", 0, 0},
        {.request = NULL},
    };
    struct world w;
    world_begin(&w, table);
    set_url("AWS_CONTAINER_CREDENTIALS_FULL_URI", &w, "/creds");
    expect(&w, "OLD/container");
    for (int i = 0; i < 5; ++i)
        expect(&w, "OLD/container");
    assert_int_equal(w.server.log_len, 1);
    world_end(&w);
    free(table_body);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct served table[] = {
        {"GET /creds", NULL, 200, JSON("ONE", FAR), 0, 1},
        {"GET /creds", NULL, 200, JSON("TWO", FAR), 0, 0},
        {.request = NULL},
    };
    struct world w;
    world_begin(&w, table);
    set_url("AWS_CONTAINER_CREDENTIALS_FULL_URI", &w, "/creds");
    struct credentials *one = credentials_get_ref(w.chain, NULL, NULL);
    assert_string_equal(one->access_key_id, "ONE");
    assert_true(credentials_refused(w.chain, one));
    expect(&w, "TWO/container");
    /* Refused by a request that was slower: the new ones stay. */
    assert_true(credentials_refused(w.chain, one));
    expect(&w, "TWO/container");
    assert_int_equal(w.server.log_len, 2);
    credentials_put(one);
    (void)setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
    (void)setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
    credentials_chain_free(w.chain);
    w.chain = credentials_chain_new(w.http, NULL);
    cleanup_credentials struct credentials *env = credentials_get_ref(w.chain, NULL, NULL);
    assert_false(credentials_refused(w.chain, env));
    world_end(&w);
}

static void *ask_in_thread(void *arg)
{
    return ask(arg);
}

/* However many ask at once, the service is asked once. */
static void test_threads(void **state)
{
    (void)state;
    static const struct served table[] = {{"GET /creds", NULL, 200, JSON("CON", FAR), 0, 0},
                                          {.request = NULL}};
    struct world w;
    pthread_t threads[16];
    world_begin(&w, table);
    set_url("AWS_CONTAINER_CREDENTIALS_FULL_URI", &w, "/creds");
    for (int i = 0; i < 16; ++i)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_in_thread, &w), 0);
    for (int i = 0; i < 16; ++i) {
        void *got;
        pthread_join(threads[i], &got);
        assert_string_equal(got, "CON/container");
        free(got);
    }
    assert_int_equal(w.server.log_len, 1);
    world_end(&w);
}

static void *fire_soon(void *arg)
{
    (void)usleep(50000);
    cancel_fire(arg);
    return NULL;
}

/* A service that takes the connection and says nothing does not hold up who is cancelled. */
static void test_cancel(void **state)
{
    (void)state;
    struct world w;
    struct err err = {0};
    pthread_t thread;
    world_begin(&w, nothing);
    int silent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    assert_int_equal(bind(silent, (struct sockaddr *)&a, sizeof a) || listen(silent, 4), 0);
    assert_int_equal(getsockname(silent, (struct sockaddr *)&a, &len), 0);
    cleanup_free char *url = mem_printf("http://127.0.0.1:%u/", ntohs(a.sin_port));
    (void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url, 1);
    cleanup_cancel struct cancel *c = cancel_new();
    uint64_t begin = clock_mono_ms();
    assert_int_equal(pthread_create(&thread, NULL, fire_soon, c), 0);
    assert_null(credentials_get_ref(w.chain, c, &err));
    assert_int_equal(err.code, ERR_CANCELLED);
    assert_true(clock_mono_ms() - begin < 1500); /* the service's own timeout is 2 s, three times */
    pthread_join(thread, NULL);
    (void)close(silent);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_profiles),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_profile_files),
        cmocka_unit_test(test_web_identity),
        cmocka_unit_test(test_web_identity_refused),
        cmocka_unit_test(test_container),
        cmocka_unit_test(test_ec2),
        cmocka_unit_test(test_renewal),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_cancel),
    };
    return cmocka_run_group_tests_name("s3 credentials", tests, NULL, NULL);
}
