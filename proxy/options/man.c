// SPDX-License-Identifier: Apache-2.0
/* The manual page, docs/man/rac-proxy.1, from the table of options. The file is what this prints; a test
 * compares. */
#include <string.h>

#include "common/cleanup.h"
#include "common/str.h"
#include "proxy/options/table.h"

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

static void print_term(FILE *out, const char *flag, char letter, const char *meta)
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

static void print_head(FILE *out)
{
    (void)fputs(".\\\" SPDX-License-Identifier: Apache-2.0\n"
                ".\\\" Written by `rac-proxy --print-man` from the table in proxy/options/table.c: change it "
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
        "10s, 5m, 24h, 7d.\n",
        out);
}

static void print_option(FILE *out, const struct option_def *def)
{
    char word[OPTION_NAME_MAX + 1];
    cleanup_buf struct buf value = {0};
    print_term(out, option_flag(def, word), 0, option_meta(def));
    roff(out, def->help);
    option_describe(def, &value);
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

static void print_options(FILE *out)
{
    const char *group = "";
    (void)fputs(".SH OPTIONS\n", out);
    for (size_t i = 0; i < option_count; ++i) {
        const struct option_def *def = &option_table[i];
        if (strcmp(group, def->group) != 0)
            (void)fprintf(out, ".SS %s\n", def->group);
        group = def->group;
        print_option(out, def);
    }
    (void)fputs(".SS Other\n", out);
    for (size_t i = 0; i < option_action_count; ++i) {
        const struct option_action *a = &option_actions[i];
        print_term(out, a->flag, a->letter, a->meta);
        roff(out, a->help);
        (void)fputc('\n', out);
    }
}

static void print_file(FILE *out)
{
    static const struct {
        const char *of;
        const struct option_member *members;
    } entries[] = {
        {"upstreams", option_upstream_members},
        {"inject", option_rule_members},
        {"accounts", option_account_members},
        {"locations", option_location_members},
        {"notifications.endpoints", option_endpoint_members},
    };
    (void)fputs(".SH CONFIGURATION FILE\n.nf\n", out);
    roff(out, options_example);
    (void)fputs(".fi\n", out);
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; ++i) {
        (void)fprintf(out, ".SS Members of an entry of %s\n", entries[i].of);
        for (const struct option_member *m = entries[i].members; m->name; ++m) {
            print_term(out, m->name, 0, m->meta);
            roff(out, m->help);
            (void)fputc('\n', out);
        }
    }
}

static void print_rest(FILE *out)
{
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

void options_print_man(FILE *out)
{
    print_head(out);
    print_options(out);
    print_file(out);
    print_rest(out);
}
