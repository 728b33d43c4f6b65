// SPDX-License-Identifier: Apache-2.0
/* The table itself, and what is printed from it. */
#include "options_rig.h"

#include "proxy/options/table.h"

#define DOCS RAC_FIXTURES "/../../docs/"

static char *printed(void (*print)(FILE *))
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    print(f);
    assert_int_equal(fclose(f), 0);
    return text;
}

static char *file_text(const char *path)
{
    cleanup_fclose FILE *f = fopen(path, "re");
    if (!f)
        fail_msg("cannot read %s", path);
    char *text = calloc(1, 1 << 20);
    assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
    return text;
}

/* Shows the first line that differs: the whole of both would tell nobody anything. */
static void same(const char *path, void (*print)(FILE *), const char *flag)
{
    cleanup_free char *have = file_text(path);
    cleanup_free char *want = printed(print);
    size_t i = 0, line = 1;
    for (; have[i] && have[i] == want[i]; ++i)
        line += have[i] == '\n';
    if (have[i] != want[i])
        fail_msg("%s differs in line %zu: write it again: rac-proxy %s", path, line, flag);
}

/* The file holds the text somewhere. */
static void holds(const char *path, void (*print)(FILE *), const char *flag)
{
    cleanup_free char *have = file_text(path);
    cleanup_free char *want = printed(print);
    assert_true(strlen(want) > 0);
    if (!strstr(have, want))
        fail_msg(
            "%s does not have the table of all options as it is: put the output of rac-proxy %s in its place",
            path, flag);
}

static void test_documents_are_those_of_the_table(void **state)
{
    (void)state;
    same(DOCS "metrics.md", options_print_metrics, "--print-metrics-doc");
    holds(DOCS "../README.md", options_print_table, "--print-config-table");
    same(DOCS "config.md", options_print_doc, "--print-config-doc");
    same(DOCS "man/rac-proxy.1", options_print_man, "--print-man");
}

static void test_the_example_is_valid(void **state)
{
    (void)state;
    assert_int_equal(mkdir("secrets", 0700) | mkdir("layers", 0700), 0);
    rig_file("secrets/docker.io", "s3cr3t\n", 0600);
    rig_file("layers/fuse.json", "{}", 0644);
    cleanup_options struct options *o = rig_yaml(options_example);
    assert_int_equal(o->account_count, 1);
    assert_int_equal(o->upstream_count, 2);
    assert_int_equal(o->rule_count, 2);
    assert_int_equal(unlink("secrets/docker.io") | unlink("layers/fuse.json"), 0);
    assert_int_equal(rmdir("secrets") | rmdir("layers"), 0);
}

static void print_help(FILE *out)
{
    options_print_help(out, false);
}

static void test_everything_is_documented(void **state)
{
    (void)state;
    cleanup_free char *help = printed(print_help);
    cleanup_free char *doc = printed(options_print_doc);
    char word[OPTION_NAME_MAX + 1];
    assert_null(strchr(help, '\033'));
    for (size_t i = 0; i < option_count; ++i) {
        const struct option_def *def = &option_table[i];
        char cell[OPTION_NAME_MAX + 8];
        assert_non_null(strstr(help, option_flag(def, word)));
        (void)snprintf(cell, sizeof cell, "`%s`", option_flag(def, word));
        assert_non_null(strstr(doc, cell));
        (void)snprintf(cell, sizeof cell, "| `%s` |", def->name);
        assert_non_null(strstr(doc, cell));
        assert_non_null(strstr(doc, option_variable(def, word)));
    }
    for (size_t i = 0; i < option_action_count; ++i) {
        assert_non_null(strstr(help, option_actions[i].flag));
        assert_non_null(strstr(doc, option_actions[i].flag));
    }
    for (const char *line = help; *line;) {
        size_t len = strcspn(line, "\n");
        assert_true(len <= 100);
        line += len + (line[len] == '\n');
    }
}

static void test_table(void **state)
{
    (void)state;
    char word[OPTION_NAME_MAX + 1], other[OPTION_NAME_MAX + 1];
    for (size_t i = 0; i < option_count; ++i) {
        const struct option_def *def = &option_table[i];
        assert_true(strspn(def->name, "abcdefghijklmnopqrstuvwxyz0123456789-.") == strlen(def->name));
        assert_ptr_equal(option_by_name(def->name), def);
        assert_ptr_equal(option_by_flag(option_flag(def, word)), def);
        assert_ptr_equal(option_by_variable(option_variable(def, word)), def);
        assert_non_null(def->group);
        assert_true(def->help[strlen(def->help) - 1] == '.');
        assert_true(def->size > 0);
        if (def->type == OPTION_DURATION || def->type == OPTION_SIZE || def->type == OPTION_UINT)
            assert_true(def->initial && def->max > def->min);
        for (size_t j = 0; j < i; ++j) {
            assert_string_not_equal(option_flag(&option_table[j], other), option_flag(def, word));
            assert_string_not_equal(option_variable(&option_table[j], other), option_variable(def, word));
            assert_true(option_table[j].offset != def->offset);
        }
        for (size_t j = 0; j < option_action_count; ++j)
            assert_string_not_equal(option_actions[j].flag, option_flag(def, word));
    }
}

static const struct options *checked;
static void print_checked(FILE *out)
{
    assert_true(options_print_action(checked, out, false));
}

static void test_check_config(void **state)
{
    (void)state;
    rig_file("rac.yaml",
             "cache.size: 10GiB\nupstreams:\n- {name: a, url: 'https://a', username: alice, password: "
             "hunter2, fresh: 1h}\n"
             "inject: [{match: 'a/*', injection: layer.json}]\n",
             0644);
    cleanup_options struct options *o =
        rig_options(WORDS("--config=rac.yaml", "--check-config", "--workers=2", "--open"),
                    WORDS("RAC_LOG_FORMAT=json", "RAC_LISTEN=:1,:2"));
    checked = o;
    cleanup_free char *text = printed(print_checked);
    static const struct {
        const char *name, *rest;
    } lines[] = {
        {"  listen ", " :1                           RAC_LISTEN\n"},
        {"  listen ", " :2                           RAC_LISTEN\n"},
        {"  workers ", " 2                            --workers\n"},
        {"  cache.size ", " 10GiB                        rac.yaml:1\n"},
        {"  cache.memory ", " 64MiB                        default\n"},
        {"  upstream a ", " https://a, credentials set, fresh 60m rac.yaml:3\n"},
        {"  inject a/* ", " layer.json                   rac.yaml:4\n"},
        {"  log.format ", " json                         RAC_LOG_FORMAT\n"},
        {"  upstream.stale ", " 24h                          default\n"},
    };
    assert_int_equal(strncmp(text, "configuration is valid\n", 23), 0);
    assert_non_null(strstr(text, "warning: rac.yaml:3:3: upstreams: holds a password"));
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; ++i) {
        char line[200];
        (void)snprintf(line, sizeof line, "%-34s%s", lines[i].name, lines[i].rest);
        if (!strstr(text, line))
            fail_msg("no line '%s' in:\n%s", line, text);
    }
    assert_null(strstr(text, "hunter2"));
    assert_null(strstr(text, "alice"));
}

static void test_other_actions(void **state)
{
    (void)state;
    static const struct {
        const char *flag, *part;
    } cases[] = {{"--help", "Usage: rac-proxy"},
                 {"--version", "rac-proxy " RAC_VERSION "\n"},
                 {"--print-config-doc", "# Configuration of rac-proxy\n"},
                 {"--print-config-table", "| `cache.size` | `80%` |"},
                 {"--print-metrics-doc", "| `rac_fills_total` | counter |"},
                 {"--print-man", ".TH RAC\\-PROXY 1"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cleanup_options struct options *o = rig_options(WORDS(cases[i].flag), NULL);
        checked = o;
        cleanup_free char *text = printed(print_checked);
        assert_non_null(strstr(text, cases[i].part));
    }
    cleanup_options struct options *serve = rig_options(NULL, NULL);
    assert_false(options_print_action(serve, stdout, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_documents_are_those_of_the_table),
        cmocka_unit_test(test_the_example_is_valid),
        cmocka_unit_test(test_everything_is_documented),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_check_config),
        cmocka_unit_test(test_other_actions),
    };
    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
