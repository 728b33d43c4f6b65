// SPDX-License-Identifier: Apache-2.0
/* docs/config.md, and the table in README.md, from the table of options; docs/metrics.md from
 * that of metrics. The files are what these print; a test compares. */
#include <string.h>

#include "common/cleanup.h"
#include "common/metrics.h"
#include "common/str.h"
#include "proxy/options/value.h"

static void print_members(FILE *out, const struct option_member *m)
{
    (void)fputs("| member | value | |\n|---|---|---|\n", out);
    for (; m->name; ++m) {
        (void)fprintf(out, "| `%s` | ", m->name);
        for (const char *c = m->meta; *c; ++c)
            (void)fprintf(out, "%s%c", *c == '|' ? "\\" : "", *c);
        (void)fprintf(out, " | %s |\n", m->help);
    }
}

/* The default as both tables show it: what is no literal value stands without ticks. */
static void print_initial(FILE *out, const struct option_def *def)
{
    const char *tick = def->initial_text ? "" : "`";
    const char *initial = def->initial_text ? def->initial_text : def->initial;
    if (initial)
        (void)fprintf(out, "%s%s%s", tick, initial, tick);
}

void options_print_doc(FILE *out)
{
    char word[OPTION_NAME_MAX + 1];
    (void)fprintf(
        out,
        "<!-- Written by `rac-proxy --print-config-doc` from the table in proxy/options/table.c: change it "
        "there. -->\n"
        "# Configuration of rac-proxy\n\n"
        "An option is a member of the YAML file (`--config FILE`), a variable of the environment, and a "
        "flag: `cache.size`,\n"
        "`RAC_CACHE_SIZE`, `--cache-size`. A flag wins over the environment, the environment over the file, "
        "the file over the\n"
        "default. `--check-config` says what is wrong, with file, line and member, or what each value is and "
        "where it came from.\n\n"
        "- Members may be written nested or dotted: `cache: {size: 10GiB}` and `cache.size: 10GiB` are the "
        "same.\n"
        "- Relative paths in the file are relative to the file; those of flags and variables to the current "
        "folder.\n"
        "- Sizes are bytes or have a unit: `512MiB`, `10GiB`, `2TB`. Durations: `500ms`, `10s`, `5m`, `24h`, "
        "`7d`; a bare number is\n"
        "  seconds.\n"
        "- A flag may be `--cache-size=10GiB` or `--cache-size 10GiB`; `--no-inject` is `--no-inject=true`.\n"
        "- Lists in the environment have commas between their words: "
        "`RAC_LISTEN=127.0.0.1:9090,[::1]:9090`.\n"
        "- Members that are unknown, or there twice, are errors. YAML anchors, aliases and tags are "
        "refused.\n"
        "- SIGHUP reads everything again. Options marked in the last column take a change over; the others "
        "keep their value\n"
        "  until a restart, and the log says so. An invalid configuration is reported and the old one "
        "stays.\n\n"
        "```yaml\n%s```\n",
        options_example);
    const char *group = "";
    for (size_t i = 0; i < option_count; ++i) {
        const struct option_def *def = &option_table[i];
        if (strcmp(group, def->group) != 0)
            (void)fprintf(out,
                          "\n## %s\n| member | flag, variable | value | default | | SIGHUP "
                          "|\n|---|---|---|---|---|---|\n",
                          def->group);
        group = def->group;
        cleanup_buf struct buf value = {0};
        option_describe(def, &value);
        (void)fprintf(out, "| `%s` | `%s` ", def->name, option_flag(def, word));
        (void)fprintf(out, "`%s` | %s | ", option_variable(def, word), buf_str(&value));
        print_initial(out, def);
        (void)fprintf(out, " | %s | %s |\n", def->help, def->reloads ? "yes" : "");
    }
    (void)fputs("\n## An entry of `upstreams`\n", out);
    print_members(out, option_upstream_members);
    (void)fputs("\nCredentials may also come from the environment, for upstreams that are given and for the "
                "known ones:\n"
                "`RAC_UPSTREAM_<NAME>_USERNAME`, and `RAC_UPSTREAM_<NAME>_PASSWORD` or "
                "`RAC_UPSTREAM_<NAME>_PASSWORD_FILE`, where `<NAME>`\n"
                "is the name in upper case with `_` for all but letters and digits (`QUAY_IO`). An upstream "
                "of a flag replaces the one of\n"
                "the same name in the environment or the file whole, credentials too.\n\n"
                "## An entry of `inject`\n"
                "The first rule whose pattern matches the full name of an image "
                "(`docker.io/library/busybox`, without tag) decides; then\n"
                "`inject` as a single file, from a flag or the environment.\n\n",
                out);
    print_members(out, option_rule_members);
    (void)fputs("\n## An entry of `accounts`\nAs a flag or in the environment `NAME:HASH`, with the role "
                "`pull`. An account of a flag replaces the one of the same name\nin the environment or the "
                "file whole. How to set them up: [access.md](access.md).\n\n",
                out);
    print_members(out, option_account_members);
    (void)fputs("\nAn entry of an account's `upstreams`:\n\n", out);
    print_members(out, option_account_upstream_members);
    (void)fputs("\n## An entry of `locations`\n", out);
    print_members(out, option_location_members);
    (void)fputs("\n## An entry of `notifications.endpoints`\n", out);
    print_members(out, option_endpoint_members);
    (void)fputs("\n## Other flags\n| flag | |\n|---|---|\n", out);
    for (size_t i = 0; i < option_action_count; ++i) {
        const struct option_action *a = &option_actions[i];
        (void)fprintf(out, "| `%s%s%s` | %s |\n", a->flag, a->meta ? " " : "", a->meta ? a->meta : "",
                      a->help);
    }
}

void options_print_table(FILE *out)
{
    (void)fputs("| option | default | |\n|---|---|---|\n", out);
    for (size_t i = 0; i < option_count; ++i) {
        const struct option_def *def = &option_table[i];
        (void)fprintf(out, "| `%s` | ", def->name);
        print_initial(out, def);
        (void)fprintf(out, " | %s |\n", def->help);
    }
}

void options_print_metrics(FILE *out)
{
    cleanup_buf struct buf rows = {0};
    metrics_format_doc(&rows);
    (void)fprintf(
        out,
        "<!-- Written by `rac-proxy --print-metrics-doc` from the table in common/metrics.c: change "
        "it there. -->\n"
        "# Metrics of rac-proxy\n\n"
        "`GET /metrics`, in Prometheus' text format. A family appears with its first value; counters "
        "begin at 0 when the process\n"
        "starts. Which of them to watch: [operating.md](operating.md#metrics-worth-an-alert).\n\n"
        "| metric | type | |\n|---|---|---|\n%s",
        buf_str(&rows));
}
