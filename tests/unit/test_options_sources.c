// SPDX-License-Identifier: Apache-2.0
/* What is taken: values, which source wins, what a reload takes over, what gets a warning. */
#include "common/mem.h"
#include "options_rig.h"

static void test_defaults(void **state)
{
    (void)state;
    cleanup_options struct options *o = rig_options(NULL, NULL);
    assert_int_equal(o->action, OPTIONS_SERVE);
    assert_null(o->config_file);
    assert_int_equal(o->listen_count, 1);
    assert_string_equal(o->listen[0], "127.0.0.1:9090");
    assert_null(o->tls_certificate);
    assert_false(o->tls_http2);
    assert_int_equal(o->workers, 0);
    assert_int_equal(o->max_connections, 10000);
    assert_int_equal(o->idle_timeout_ms, 75000);
    assert_int_equal(o->slow_reader_timeout_ms, 60000);
    assert_int_equal(o->cache_size_bytes, 0);
    assert_int_equal(o->cache_size_percent, 80);
    assert_int_equal(o->cache_memory_bytes, 64 << 20);
    assert_int_equal(o->upstream_count, 0);
    assert_string_equal(o->default_upstream, "docker.io");
    assert_false(o->upstreams_any);
    assert_int_equal(o->fresh_ms, 60000);
    assert_int_equal(o->stale_ms, 24 * 3600000ULL);
    assert_int_equal(o->offline_ms, 7 * 24 * 3600000ULL);
    assert_int_equal(o->missing_ms, 10000);
    assert_false(o->stale_while_revalidate);
    assert_int_equal(o->connect_timeout_ms, 10000);
    assert_int_equal(o->head_timeout_ms, 30000);
    assert_int_equal(o->stall_timeout_ms, 60000);
    assert_int_equal(o->rule_count, 0);
    assert_false(o->no_inject);
    assert_false(o->pinned_refuse);
    assert_int_equal(o->max_layer_bytes, 16ULL << 30);
    assert_int_equal(o->log_level, LOG_LEVEL_INFO);
    assert_int_equal(o->log_format, LOG_FORMAT_LOGFMT);
    assert_true(o->access_log);
    assert_int_equal(o->grace_ms, 30000);
    assert_null(o->warnings[0]);
}

static void test_data_folder(void **state)
{
    (void)state;
    cleanup_options struct options *by_env = rig_options(NULL, WORDS("RAC_DATA=/somewhere"));
    assert_string_equal(by_env->data_dir, "/somewhere");
    cleanup_options struct options *by_default = rig_options(NULL, WORDS("XDG_STATE_HOME=/state"));
    assert_string_equal(by_default->data_dir, geteuid() == 0 ? "/var/lib/rac-proxy" : "/state/rac-proxy");
    cleanup_options struct options *empty = rig_options(NULL, WORDS("RAC_DATA=", "XDG_STATE_HOME=relative"));
    assert_string_equal(empty->data_dir,
                        geteuid() == 0 ? "/var/lib/rac-proxy" : "/nonexistent/.local/state/rac-proxy");
}

static void test_flag_over_environment_over_file(void **state)
{
    (void)state;
    rig_file("rac.yaml", "cache: {size: 1GiB, memory: 1MiB}\nworkers: 1\nlog.level: debug\n", 0600);
    cleanup_options struct options *o =
        rig_options(WORDS("--config", "rac.yaml", "--workers=3"),
                    WORDS("RAC_WORKERS=2", "RAC_CACHE_MEMORY=2MiB", "RAC_CACHE_SIZE="));
    assert_int_equal(o->workers, 3);
    assert_int_equal(o->cache_memory_bytes, 2 << 20);
    assert_int_equal(o->cache_size_bytes, 1 << 30); /* an empty variable is none */
    assert_int_equal(o->cache_size_percent, 0);
    assert_int_equal(o->log_level, LOG_LEVEL_DEBUG);
    assert_string_equal(o->config_file, "rac.yaml");
    cleanup_options struct options *by_env = rig_options(NULL, WORDS("RAC_CONFIG=rac.yaml"));
    assert_int_equal(by_env->workers, 1);
    cleanup_options struct options *last =
        rig_options(WORDS("--cache-size=1GiB", "--cache-size", "50%"), NULL);
    assert_int_equal(last->cache_size_bytes, 0);
    assert_int_equal(last->cache_size_percent, 50);
}

static void test_every_way_to_write_values(void **state)
{
    (void)state;
    cleanup_options struct options *o =
        rig_yaml("# comment\nupstream:\n  fresh: 1500ms\n  stale: 2h\n  offline: '90'\n  missing: 1.5m\n"
                 "upstream.connect-timeout: 5 s\ncache:\n  memory: 1.5 MiB\n  size: \"2TB\"\nhttp:\n"
                 "tls: {http2: false}\ninject: {pinned: refuse, max-layer-size: 1073741824}\n"
                 "log: {access: false, format: json, level: off}\nupstreams: {any: true}\n");
    assert_int_equal(o->fresh_ms, 1500);
    assert_int_equal(o->stale_ms, 7200000);
    assert_int_equal(o->offline_ms, 90000);
    assert_int_equal(o->missing_ms, 90000);
    assert_int_equal(o->connect_timeout_ms, 5000);
    assert_int_equal(o->cache_memory_bytes, 1536 * 1024);
    assert_int_equal(o->cache_size_bytes, 2000000000000ULL);
    assert_true(o->pinned_refuse);
    assert_int_equal(o->max_layer_bytes, 1 << 30);
    assert_false(o->access_log);
    assert_int_equal(o->log_format, LOG_FORMAT_JSON);
    assert_int_equal(o->log_level, LOG_LEVEL_OFF);
    assert_true(o->upstreams_any);
    cleanup_options struct options *empty = rig_yaml("");
    assert_int_equal(empty->fresh_ms, 60000);
    cleanup_options struct options *comment = rig_yaml("# nothing\n---\n...\n");
    assert_int_equal(comment->fresh_ms, 60000);
}

static void test_listen(void **state)
{
    (void)state;
    static const char *const good[] = {
        "127.0.0.1:9090",     "[::1]:9090",          "[::]:0",    ":9090", "localhost:0",
        "registry.lab:65535", "[::ffff:10.0.0.1]:1", "my_host:80"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; ++i) {
        cleanup_options struct options *o = rig_options(WORDS("--open", "--listen", good[i]), NULL);
        assert_int_equal(o->listen_count, 1);
        assert_string_equal(o->listen[0], good[i]);
    }
    cleanup_options struct options *file = rig_yaml("listen: 127.0.0.1:1\n");
    assert_int_equal(file->listen_count, 1);
    rig_file("rac.yaml", "listen: ['127.0.0.1:1', '127.0.0.1:2']\n", 0600);
    cleanup_options struct options *env =
        rig_options(WORDS("--config=rac.yaml"), WORDS("RAC_LISTEN=127.0.0.1:3, [::1]:4 ,127.0.0.1:5"));
    assert_int_equal(env->listen_count, 3);
    assert_string_equal(env->listen[1], "[::1]:4");
    cleanup_options struct options *flag =
        rig_options(WORDS("--config=rac.yaml", "--listen=127.0.0.1:0", "--listen", "127.0.0.1:0"),
                    WORDS("RAC_LISTEN=127.0.0.1:3"));
    assert_int_equal(flag->listen_count, 2);
    assert_string_equal(flag->listen[0], "127.0.0.1:0");
}

static void test_upstream_members(void **state)
{
    (void)state;
    rig_file(
        "folder/rac.yaml",
        "upstreams:\n"
        "  - {name: Docker.io, username: alice, password-file: secret}\n"
        "  - name: lab\n    url: HTTP://Registry.Lab:5000/Prefix/\n    inject: layer.json\n    fresh: 5m\n"
        "    private: true\n    realms: [Auth.Lab, '[::1]', 10.0.0.1]\n"
        "  - {name: 'localhost:5000', plain-http: true, inject: none, realms: auth.example}\n"
        "  - {name: plain, url: '10.0.0.5:5000', plain-http: true, username: bob, password: 'p: %w'}\n"
        "  - {name: quay.io, ca: ../ca.pem}\n",
        0600);
    cleanup_options struct options *o = rig_options(WORDS("--config", "folder/rac.yaml"), NULL);
    assert_int_equal(o->upstream_count, 5);
    const struct options_upstream *u = o->upstreams;
    assert_string_equal(u[0].name, "docker.io");
    assert_string_equal(u[0].url, "https://registry-1.docker.io");
    assert_false(u[0].url_given);
    assert_string_equal(u[0].username, "alice");
    assert_string_equal(u[0].password, "in-folder"); /* beside the configuration file */
    assert_true(u[0].fresh_ms == UINT64_MAX);
    assert_null(u[0].realms);
    assert_int_equal(u[0].origin.line, 2);
    assert_string_equal(u[1].url, "http://registry.lab:5000/Prefix");
    assert_true(u[1].url_given);
    assert_string_equal(u[1].inject, "folder/layer.json");
    assert_int_equal(u[1].fresh_ms, 300000);
    assert_true(u[1].private_addresses);
    assert_string_equal(u[1].realms[0], "auth.lab");
    assert_string_equal(u[1].realms[1], "[::1]");
    assert_string_equal(u[1].realms[2], "10.0.0.1");
    assert_null(u[1].realms[3]);
    assert_string_equal(u[2].url, "http://localhost:5000");
    assert_string_equal(u[2].inject, "none");
    assert_string_equal(u[2].realms[0], "auth.example");
    assert_null(u[2].realms[1]);
    assert_string_equal(u[3].url, "http://10.0.0.5:5000");
    assert_string_equal(u[3].password, "p: %w");
    assert_string_equal(u[4].url, "https://quay.io");
    assert_string_equal(u[4].ca, "folder/../ca.pem");
    assert_string_equal(o->default_upstream,
                        "lab"); /* the first with a url: credentials alone make no default */
    assert_true(rig_warns(o, "the password for 'plain' goes over plain HTTP"));
}

static void test_upstreams_of_all_sources(void **state)
{
    (void)state;
    rig_file("rac.yaml",
             "upstreams:\n- {name: a, url: 'http://file-a', username: u, password: p}\n- {name: b, url: "
             "'http://file-b'}\n"
             "- {name: c, url: 'http://file-c'}\n",
             0600);
    cleanup_options struct options *o = rig_options(
        WORDS("--config=rac.yaml", "--upstream=d=http://flag-d/", "--upstream", "a=http://flag-a"),
        WORDS("RAC_UPSTREAM=b=http://env-b,d=http://env-d,e=http://env-e"));
    assert_int_equal(o->upstream_count, 5);
    static const char *const expected[][2] = {{"d", "http://flag-d"},
                                              {"a", "http://flag-a"},
                                              {"b", "http://env-b"},
                                              {"e", "http://env-e"},
                                              {"c", "http://file-c"}};
    for (size_t i = 0; i < 5; ++i) {
        assert_string_equal(o->upstreams[i].name, expected[i][0]);
        assert_string_equal(o->upstreams[i].url, expected[i][1]);
    }
    /* credentials of the file stay with the URL of the file */
    assert_null(o->upstreams[1].username);
    assert_null(o->upstreams[1].password);
    assert_string_equal(o->default_upstream, "d");
    cleanup_options struct options *named =
        rig_options(WORDS("--config=rac.yaml", "--default-upstream", "C"), NULL);
    assert_string_equal(named->default_upstream, "c");
    cleanup_options struct options *known = rig_options(WORDS("--default-upstream=index.docker.io"), NULL);
    assert_string_equal(known->default_upstream, "docker.io");
}

static void test_credentials_of_environment(void **state)
{
    (void)state;
    cleanup_options struct options *o = rig_options(
        WORDS("--upstream=quay.io=https://quay.io", "--upstream=my-lab:5000=https://x"),
        WORDS("RAC_UPSTREAM_QUAY_IO_USERNAME=u", "RAC_UPSTREAM_QUAY_IO_PASSWORD=p=q",
              "RAC_UPSTREAM_MY_LAB_5000_USERNAME=v", "RAC_UPSTREAM_MY_LAB_5000_PASSWORD_FILE=open-secret"));
    assert_string_equal(o->upstreams[0].username, "u");
    assert_string_equal(o->upstreams[0].password, "p=q");
    assert_string_equal(o->upstreams[1].password, "s3cr3t");
    rig_file("rac.yaml", "upstreams: [{name: quay.io, username: w}]\n", 0600);
    cleanup_options struct options *halves =
        rig_options(WORDS("--config=rac.yaml"), WORDS("RAC_UPSTREAM_QUAY_IO_PASSWORD_FILE=secret"));
    assert_string_equal(halves->upstreams[0].username, "w");
    assert_string_equal(halves->upstreams[0].password, "s3cr3t");
    cleanup_options struct options *known =
        rig_options(WORDS("--upstream=lab=http://lab"), WORDS("RAC_UPSTREAM_DOCKER_IO_USERNAME=u",
                                                              "RAC_UPSTREAM_DOCKER_IO_PASSWORD_FILE=secret"));
    assert_int_equal(known->upstream_count, 2);
    assert_string_equal(known->upstreams[1].name, "docker.io");
    assert_string_equal(known->upstreams[1].url, "https://registry-1.docker.io");
    assert_string_equal(known->upstreams[1].username, "u");
    assert_string_equal(known->upstreams[1].password, "s3cr3t");
    assert_false(known->upstreams[1].url_given);
    assert_string_equal(known->default_upstream, "lab");
    assert_true(rig_warns(o, "'open-secret' may be read by everybody: chmod 0600"));
}

static void test_injection(void **state)
{
    (void)state;
    rig_file("folder/rac.yaml",
             "inject:\n- {match: 'quay.io/nextflow/*', injection: layer.json}\n- {match: 'lab/*', injection: "
             "none}\n",
             0600);
    cleanup_options struct options *o =
        rig_options(WORDS("--config=folder/rac.yaml", "--inject=layer.json", "--inject", "other.json"), NULL);
    assert_int_equal(o->rule_count, 3);
    assert_string_equal(o->rules[0].match, "quay.io/nextflow/*");
    assert_string_equal(o->rules[0].injection, "folder/layer.json");
    assert_null(o->rules[1].injection);
    assert_string_equal(o->rules[2].match, "*");
    assert_string_equal(o->rules[2].injection, "other.json");
    assert_null(o->warnings[0]);
    cleanup_options struct options *none =
        rig_options(WORDS("--config=folder/rac.yaml", "--inject=none"), WORDS("RAC_INJECT=layer.json"));
    assert_int_equal(none->rule_count, 2);
    cleanup_options struct options *single = rig_yaml("inject: layer.json\ninject.pinned: refuse\n");
    assert_int_equal(single->rule_count, 1);
    assert_true(single->pinned_refuse);
    rig_file("rac.yaml", "inject: layer.json\n", 0600);
    cleanup_options struct options *over =
        rig_options(WORDS("--config=rac.yaml"), WORDS("RAC_INJECT=other.json"));
    assert_int_equal(over->rule_count, 1);
    assert_string_equal(over->rules[0].injection, "other.json");
    /* what is not going to be read need not be there */
    cleanup_options struct options *off = rig_options(WORDS("--inject=nothing.json", "--no-inject"), NULL);
    assert_true(off->no_inject);
    cleanup_options struct options *on = rig_options(WORDS("--no-inject", "--no-inject=false"), NULL);
    assert_false(on->no_inject);
}

static void test_warnings(void **state)
{
    (void)state;
    cleanup_options struct options *rules =
        rig_yaml("inject:\n- {match: busybox, injection: none}\n- {match: '*', injection: none}\n- {match: "
                 "'a/*', injection: none}\n");
    assert_true(rig_warns(
        rules, "rac.yaml:2:3: inject: 'busybox' matches nothing: full names begin with the upstream"));
    assert_true(rig_warns(rules, "rac.yaml:4:3: inject: the rule for 'a/*' is never reached"));
    cleanup_options struct options *slip =
        rig_options(NULL, WORDS("RAC_CACH_SIZE=1GiB", "RAC_BIN_DIR=x", "RAC_READY_MESSAGE=x"));
    assert_non_null(slip->warnings[0]);
    assert_null(slip->warnings[1]);
    assert_true(rig_warns(slip, "RAC_CACH_SIZE means nothing here: RAC_CACHE_SIZE is meant?"));
    cleanup_options struct options *unknown =
        rig_options(NULL, WORDS("RAC_WEATHER=fine", "RAC_S3_BUCKETS=b", "RAC_MOUNT_TIMEOUT=1s",
                                "RAC_PORT=tcp://10.0.0.1:9090", "RAC_PROXY_SERVICE_HOST=10.0.0.1",
                                "RAC_PORT_9090_TCP_ADDR=10.0.0.1"));
    assert_non_null(unknown->warnings[0]);
    assert_null(unknown->warnings[1]);
    assert_true(rig_warns(unknown, "RAC_WEATHER means nothing here"));
    rig_file("rac.yaml", "upstreams: [{name: a.b, username: u, password: hunter2}]\n", 0644);
    cleanup_options struct options *open = rig_options(WORDS("--config=rac.yaml"), NULL);
    assert_true(rig_warns(open, "holds a password and may be read by everybody"));
    assert_false(rig_warns(open, "hunter2"));
    cleanup_options struct options *key =
        rig_yaml("tls: {certificate: ca.pem, key: open-key.pem, http2: true}\n");
    assert_true(rig_warns(key, "'open-key.pem' may be read by everybody"));
    cleanup_options struct options *closed = rig_yaml("tls: {certificate: ca.pem, key: key.pem}\n");
    assert_null(closed->warnings[0]);
}

static void test_actions(void **state)
{
    (void)state;
    static const struct {
        const char *flag;
        int action;
    } cases[] = {{"--help", OPTIONS_HELP},
                 {"-h", OPTIONS_HELP},
                 {"--version", OPTIONS_VERSION},
                 {"-V", OPTIONS_VERSION},
                 {"--scrub", OPTIONS_SCRUB},
                 {"--check-config", OPTIONS_CHECK},
                 {"--print-config-doc", OPTIONS_DOC},
                 {"--print-config-table", OPTIONS_TABLE},
                 {"--print-metrics-doc", OPTIONS_METRICS},
                 {"--print-man", OPTIONS_MAN}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cleanup_options struct options *o = rig_options(WORDS(cases[i].flag), NULL);
        assert_int_equal(o->action, cases[i].action);
    }
    /* help helps where the configuration is broken */
    cleanup_options struct options *help =
        rig_options(WORDS("--check-config", "--help", "--config=nothing"), NULL);
    assert_int_equal(help->action, OPTIONS_HELP);
    cleanup_options struct options *config = rig_options(WORDS("-c", "/dev/null"), NULL);
    assert_string_equal(config->config_file, "/dev/null");
}

static int reload(const struct options *old, const char *const *args, struct options **ret, char **ignored,
                  struct err *err)
{
    char *argv[8] = {(char *)(uintptr_t) "rac-proxy"};
    int argc = 1;
    for (; *args; ++args)
        argv[argc++] = (char *)(uintptr_t)*args;
    static char home[] = "HOME=/nonexistent";
    char *env[] = {home, NULL};
    return options_reload(old, argc, argv, env, ret, ignored, err);
}

/* What is listened on stays, so it decides who may ask, whatever the file says by now; webhooks stay too. */
static void test_reload_of_lists(void **state)
{
    (void)state;
    static const char account[] = "accounts: [{name: a, keys: 'sha256:"
                                  "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'}]\n";
    const char *const *args = WORDS("--config=rac.yaml");
    cleanup_free char *before = mem_printf(
        "%slisten: ':1'\nnotifications.endpoints: [{name: x, url: 'http://x', headers: {A: b}}]\n", account);
    cleanup_free char *after = mem_printf(
        "%slisten: '127.0.0.1:1'\nnotifications.endpoints: [{name: x, url: 'http://x', headers: {A: c}}]\n",
        account);
    cleanup_options struct options *old = rig_yaml(before);
    cleanup_options struct options *o = NULL;
    cleanup_free char *none = NULL;
    cleanup_free char *ignored = NULL;
    struct err err = {0};
    assert_int_equal(old->anonymous, 0);
    assert_int_equal(reload(old, args, &o, &none, &err), 0);
    assert_null(none);
    options_free(o);
    o = NULL;
    rig_write("rac.yaml", after, strlen(after), 0600);
    assert_int_equal(reload(old, args, &o, &ignored, &err), 0);
    assert_string_equal(ignored, "listen, notifications.endpoints");
    assert_int_equal(o->anonymous, 0);
    assert_string_equal(o->endpoints[0].headers[0], old->endpoints[0].headers[0]);
    assert_ptr_not_equal(o->endpoints[0].headers[0], old->endpoints[0].headers[0]);
}

static void test_reload(void **state)
{
    (void)state;
    const char *const *args = WORDS("--config=rac.yaml", "--data=/d");
    rig_file("rac.yaml",
             "listen: ['127.0.0.1:1', '127.0.0.1:2']\ncache.size: 1GiB\nworkers: 2\nupstream.fresh: 1m\n"
             "upstreams: [{name: a, url: 'http://a'}]\ninject: layer.json\n",
             0600);
    cleanup_options struct options *old = rig_options(args, NULL);
    struct options *o = NULL;
    char *ignored = NULL;
    struct err err = {0};

    assert_int_equal(reload(old, args, &o, &ignored, &err), 0); /* nothing changed */
    assert_null(ignored);
    options_free(o);

    rig_file(
        "rac.yaml",
        "listen: ['127.0.0.1:3']\ncache.size: 50%\nworkers: 2\nupstream.fresh: 5m\nlog.level: debug\n"
        "tls: {certificate: ca.pem, key: key.pem}\n"
        "upstreams: [{name: b, url: 'http://b', username: u, password-file: secret}]\ninject: other.json\n",
        0600);
    assert_int_equal(reload(old, args, &o, &ignored, &err), 0);
    assert_string_equal(ignored, "listen, tls.certificate, tls.key, cache.size");
    free(ignored);
    assert_int_equal(o->listen_count, 2);
    assert_string_equal(o->listen[1], "127.0.0.1:2");
    assert_null(o->tls_key);
    assert_int_equal(o->cache_size_bytes, 1 << 30);
    assert_int_equal(o->cache_size_percent, 0);
    assert_int_equal(o->fresh_ms, 300000);
    assert_int_equal(o->log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(o->upstream_count, 1);
    assert_string_equal(o->upstreams[0].name, "b");
    assert_string_equal(o->upstreams[0].password, "s3cr3t");
    assert_string_equal(o->default_upstream, "b");
    assert_string_equal(o->rules[0].injection, "other.json");

    /* the value that stands is what the next reload compares with */
    struct options *again = NULL;
    assert_int_equal(reload(o, args, &again, &ignored, &err), 0);
    assert_string_equal(ignored, "listen, tls.certificate, tls.key, cache.size");
    free(ignored);
    options_free(again);
    options_free(o);

    rig_file("rac.yaml", "workers: x\n", 0600);
    o = NULL;
    assert_int_equal(reload(old, args, &o, &ignored, &err), -1);
    assert_null(o);
    assert_non_null(strstr(err.msg, "rac.yaml:1:1: workers"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_data_folder),
        cmocka_unit_test(test_flag_over_environment_over_file),
        cmocka_unit_test(test_every_way_to_write_values),
        cmocka_unit_test(test_listen),
        cmocka_unit_test(test_upstream_members),
        cmocka_unit_test(test_upstreams_of_all_sources),
        cmocka_unit_test(test_credentials_of_environment),
        cmocka_unit_test(test_injection),
        cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_actions),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_reload_of_lists),
    };
    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
