// SPDX-License-Identifier: Apache-2.0
/* docs/config.md, the table in README.md and the manual page, from the table of options; docs/metrics.md from
 * that of metrics. The files are what these print; a test compares. */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/metrics.h"
#include "common/str.h"
#include "proxy/options_value.h"

static const char example[] =
    "listen: [\"0.0.0.0:9090\"]\n"
    "accounts:                       # rac-proxy --hash-password, --make-key\n"
    "  - name: nodes\n"
    "    keys: "
    "[\"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"]\n"
    "    roles: [pull]\n"
    "data: /var/lib/rac-proxy\n"
    "cache:\n"
    "  size: 200GiB\n"
    "upstreams:\n"
    "  - name: docker.io            # known: only credentials are added\n"
    "    username: alice\n"
    "    password-file: secrets/docker.io\n"
    "  - {name: lab, url: \"http://registry.lab:5000\", inject: none}\n"
    "upstream.fresh: 5m\n"
    "inject:\n"
    "  - {match: \"quay.io/nextflow/*\", injection: layers/fuse.json}\n"
    "  - {match: \"*\", injection: none}\n"
    "inject.pinned: refuse\n";

/* What the value may be, in words. */
static void describe(const struct option_def *def, struct buf *out)
{
    switch (def->type) {
    case OPTION_BOOL:
        (void)buf_add_str(out, "true or false");
        return;
    case OPTION_UINT:
        (void)buf_printf(out, "number, %" PRIu64 " to %" PRIu64, def->min, def->max);
        return;
    case OPTION_SIZE_OR_PERCENT:
        (void)buf_add_str(out, "size, or 1% to 100%");
        return;
    case OPTION_SIZE:
        (void)buf_add_str(out, "size");
        return;
    case OPTION_DURATION:
        (void)buf_add_str(out, "duration, ");
        option_show_duration(def->min, out);
        (void)buf_add_str(out, " to ");
        option_show_duration(def->max, out);
        return;
    case OPTION_FILE:
        (void)buf_add_str(out, "file");
        return;
    case OPTION_FOLDER:
        (void)buf_add_str(out, "folder");
        return;
    case OPTION_ENUM:
        for (size_t i = 0; def->choices[i]; ++i)
            (void)buf_printf(out, "%s%s", i ? ", " : "", def->choices[i]);
        return;
    case OPTION_NAME:
        (void)buf_add_str(out, "name of an upstream");
        return;
    case OPTION_USER:
        (void)buf_add_str(out, "name, UID or UID:GID");
        return;
    case OPTION_AUTHORITY:
        (void)buf_add_str(out, "host, or host:port");
        return;
    case OPTION_HOSTS:
        (void)buf_add_str(out, "hosts, commas between them");
        return;
    case OPTION_LISTEN:
        (void)buf_add_str(out, "list of addresses");
        return;
    case OPTION_UPSTREAMS:
        (void)buf_add_str(out, "list, see below");
        return;
    case OPTION_INJECT:
        (void)buf_add_str(out, "file, none, or list of rules, see below");
        return;
    case OPTION_ACCOUNTS:
    case OPTION_LOCATIONS:
    case OPTION_ENDPOINTS:
        (void)buf_add_str(out, "list, see below");
        return;
    case OPTION_ROLES:
        (void)buf_add_str(out, "list of roles, or none");
        return;
    case OPTION_NETWORKS:
        (void)buf_add_str(out, "list of networks");
        return;
    }
}

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
        "<!-- Written by `rac-proxy --print-config-doc` from the table in proxy/options_table.c: change it "
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
        example);
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
        describe(def, &value);
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

/* Text for roff: what begins a request or an escape is made harmless, hyphens are hyphens one can search for.
 */
static void roff(FILE *out, const char *text)
{
    bool line_start = true;
    for (const char *c = text; *c; ++c) {
        if (line_start && (*c == '.' || *c == '\''))
            (void)fputs("\\&", out);
        if (*c == '\\')
            (void)fputs("\\e", out);
        else if (*c == '-')
            (void)fputs("\\-", out);
        else if (*c != '`')
            (void)fputc(*c, out);
        line_start = *c == '\n';
    }
}

static void roff_option(FILE *out, const char *flag, char letter, const char *meta)
{
    (void)fputs(".TP\n", out);
    if (letter)
        (void)fprintf(out, "\\fB\\-%c\\fR, ", letter);
    (void)fputs("\\fB", out);
    roff(out, flag);
    (void)fputs("\\fR", out);
    if (meta && *meta) {
        (void)fputs(" \\fI", out);
        roff(out, meta);
        (void)fputs("\\fR", out);
    }
    (void)fputc('\n', out);
}

void options_print_man(FILE *out)
{
    char word[OPTION_NAME_MAX + 1];
    (void)fputs(".\\\" SPDX-License-Identifier: Apache-2.0\n"
                ".\\\" Written by `rac-proxy --print-man` from the table in proxy/options_table.c: change it "
                "there.\n",
                out);
    (void)fprintf(out, ".TH RAC\\-PROXY 1 \"\" \"rac %s\" \"User Commands\"\n", RAC_VERSION);
    (void)fputs(
        ".SH NAME\nrac\\-proxy \\- pull\\-through registry that adds a layer to the images it hands on\n"
        ".SH SYNOPSIS\n.B rac\\-proxy\n[\\fIOPTION\\fR]...\n"
        ".SH DESCRIPTION\n"
        "Serves the pull side of the OCI distribution API. What is asked for is fetched once from its "
        "upstream registry, kept,\n"
        "and handed on to all who ask; images that a rule names come with the injected layer on top.\n"
        ".PP\n"
        "Every option is also a member of the YAML file and a variable of the environment. A flag wins over "
        "the environment,\n"
        "the environment over the file, the file over the default. Sizes: 512MiB, 10GiB. Durations: 500ms, "
        "10s, 5m, 24h, 7d.\n"
        ".SH OPTIONS\n",
        out);
    const char *group = "";
    for (size_t i = 0; i < option_count; ++i) {
        const struct option_def *def = &option_table[i];
        if (strcmp(group, def->group) != 0)
            (void)fprintf(out, ".SS %s\n", def->group);
        group = def->group;
        roff_option(out, option_flag(def, word), 0, option_meta(def));
        roff(out, def->help);
        cleanup_buf struct buf value = {0};
        describe(def, &value);
        (void)fputs("\nMember \\fB", out);
        roff(out, def->name);
        (void)fputs("\\fR, variable \\fB", out);
        roff(out, option_variable(def, word));
        (void)fputs("\\fR: ", out);
        roff(out, buf_str(&value));
        const char *initial = def->initial_text ? def->initial_text : def->initial;
        if (initial) {
            (void)fputs(". Default: ", out);
            roff(out, initial);
        }
        (void)fputs(def->reloads ? ". Taken over by SIGHUP.\n" : ".\n", out);
    }
    (void)fputs(".SS Other\n", out);
    for (size_t i = 0; i < option_action_count; ++i) {
        const struct option_action *a = &option_actions[i];
        roff_option(out, a->flag, a->letter, a->meta);
        roff(out, a->help);
        (void)fputc('\n', out);
    }
    (void)fputs(".SH CONFIGURATION FILE\n.nf\n", out);
    roff(out, example);
    (void)fputs(".fi\n.SS Members of an entry of upstreams\n", out);
    for (const struct option_member *m = option_upstream_members; m->name; ++m) {
        roff_option(out, m->name, 0, m->meta);
        roff(out, m->help);
        (void)fputc('\n', out);
    }
    (void)fputs(".SS Members of an entry of inject\n", out);
    for (const struct option_member *m = option_rule_members; m->name; ++m) {
        roff_option(out, m->name, 0, m->meta);
        roff(out, m->help);
        (void)fputc('\n', out);
    }
    (void)fputs(".SS Members of an entry of accounts\n", out);
    for (const struct option_member *m = option_account_members; m->name; ++m) {
        roff_option(out, m->name, 0, m->meta);
        roff(out, m->help);
        (void)fputc('\n', out);
    }
    (void)fputs(".SS Members of an entry of locations\n", out);
    for (const struct option_member *m = option_location_members; m->name; ++m) {
        roff_option(out, m->name, 0, m->meta);
        roff(out, m->help);
        (void)fputc('\n', out);
    }
    (void)fputs(".SS Members of an entry of notifications.endpoints\n", out);
    for (const struct option_member *m = option_endpoint_members; m->name; ++m) {
        roff_option(out, m->name, 0, m->meta);
        roff(out, m->help);
        (void)fputc('\n', out);
    }
    (void)fputs(
        ".SH ENVIRONMENT\n.TP\n\\fBRAC_CONFIG\\fR\nAs \\fB\\-\\-config\\fR.\n"
        ".TP\n\\fBRAC_UPSTREAM_\\fINAME\\fB_USERNAME\\fR, \\fBRAC_UPSTREAM_\\fINAME\\fB_PASSWORD\\fR, "
        "\\fBRAC_UPSTREAM_\\fINAME\\fB_PASSWORD_FILE\\fR\n"
        "Credentials of an upstream that is given, or known; \\fINAME\\fR is its name in upper case, with _ "
        "for all but\n"
        "letters and digits.\n"
        ".SH SIGNALS\n.TP\n\\fBSIGHUP\\fR\nReads all options and the TLS certificate again. An invalid "
        "configuration is "
        "reported, and the old one stays.\n"
        ".TP\n\\fBSIGTERM\\fR, \\fBSIGINT\\fR\nTakes no new connections, lets requests finish for "
        "shutdown.grace, ends.\n"
        ".SH EXIT STATUS\n0 after a proper end; 1 if it could not start or go on; 2 if an option is wrong.\n"
        ".SH SEE ALSO\n\\fBrac\\-layer\\fR(1)\n",
        out);
}
