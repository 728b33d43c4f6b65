// SPDX-License-Identifier: Apache-2.0
/* Completion for bash and zsh, from the table of options: packages and `cmake --install` keep what these
 * print where the shells look. */
#include <string.h>

#include "common/str.h"
#include "proxy/options/value.h"

/* What a shell completes a value with. */
enum kind { KIND_NONE, KIND_FILE, KIND_FOLDER, KIND_WORDS, KIND_FREE };

static enum kind kind_of(const struct option_def *def)
{
    switch (def->type) {
    case OPTION_BOOL: /* a word behind it is never its value */
        return KIND_NONE;
    case OPTION_FILE:
    case OPTION_INJECT:
        return KIND_FILE;
    case OPTION_FOLDER:
        return KIND_FOLDER;
    case OPTION_ENUM:
        return def->choices ? KIND_WORDS : KIND_FREE;
    default:
        return KIND_FREE;
    }
}

/* All flags whose value is of a kind, as one pattern of `case`; none at all: nothing. */
static void print_pattern(FILE *out, enum kind kind, const char *commands)
{
    char word[OPTION_NAME_MAX + 1];
    const char *before = "    ";
    for (size_t i = 0; i < option_count; ++i) {
        if (kind_of(&option_table[i]) != kind)
            continue;
        (void)fprintf(out, "%s%s", before, option_flag(&option_table[i], word));
        before = " | ";
    }
    /* Actions with a value take a file. */
    for (size_t i = 0; kind == KIND_FILE && i < option_action_count; ++i) {
        if (option_actions[i].meta && option_actions[i].action != OPTION_ACTION_SINCE &&
            option_actions[i].action != OPTION_ACTION_OLDER) {
            (void)fprintf(out, "%s%s", before, option_actions[i].flag);
            if (option_actions[i].letter)
                (void)fprintf(out, " | -%c", option_actions[i].letter);
            before = " | ";
        }
    }
    if (before[4] == '\0')
        return;
    (void)fprintf(out, ")\n%s        return\n        ;;\n", commands);
}

void options_print_bash_completion(FILE *out)
{
    char word[OPTION_NAME_MAX + 1];
    (void)fputs("# Completion of rac-proxy for bash; written by `rac-proxy --print-bash-completion`.\n"
                "_rac_proxy() {\n"
                "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}\n"
                "    COMPREPLY=()\n"
                "    # bash takes --flag=value for three words\n"
                "    if [[ $word == = ]]; then\n"
                "        word=''\n"
                "    elif [[ $before == = ]]; then\n"
                "        before=${COMP_WORDS[COMP_CWORD - 2]}\n"
                "    fi\n"
                "    case $before in\n",
                out);
    print_pattern(out, KIND_FILE,
                  "        compopt -o filenames\n"
                  "        mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n");
    print_pattern(out, KIND_FOLDER,
                  "        compopt -o filenames\n"
                  "        mapfile -t COMPREPLY < <(compgen -d -- \"$word\")\n");
    for (size_t i = 0; i < option_count; ++i) {
        const struct option_def *def = &option_table[i];
        if (kind_of(def) != KIND_WORDS)
            continue;
        (void)fprintf(out, "    %s)\n        mapfile -t COMPREPLY < <(compgen -W '", option_flag(def, word));
        for (const char *const *c = def->choices; *c; ++c)
            (void)fprintf(out, "%s%s", c == def->choices ? "" : " ", *c);
        (void)fputs("' -- \"$word\")\n        return\n        ;;\n", out);
    }
    print_pattern(out, KIND_FREE, "");
    (void)fputs("    esac\n    mapfile -t COMPREPLY < <(compgen -W '", out);
    for (size_t i = 0; i < option_count; ++i)
        (void)fprintf(out, "%s%s", i ? " " : "", option_flag(&option_table[i], word));
    for (size_t i = 0; i < option_action_count; ++i)
        (void)fprintf(out, " %s", option_actions[i].flag);
    (void)fputs("' -- \"$word\")\n}\ncomplete -F _rac_proxy rac-proxy\n", out);
}

/* The first sentence of a help text, without what zsh's specifications and its quotes would take for theirs.
 */
static void print_brief(FILE *out, const char *text)
{
    for (const char *c = text; *c && !(c[0] == '.' && (c[1] == ' ' || !c[1])); ++c) {
        if (*c == '[' || *c == ']')
            (void)fprintf(out, "\\%c", *c);
        else if (*c == '\'')
            (void)fputs("'\\''", out);
        else if (*c != '`' && *c != '\\')
            (void)fputc(*c, out);
    }
}

static void print_zsh_value(FILE *out, const struct option_def *def)
{
    switch (kind_of(def)) {
    case KIND_NONE:
        return;
    case KIND_FILE:
        (void)fputs(":file:_files", out);
        return;
    case KIND_FOLDER:
        (void)fputs(":folder:_files -/", out);
        return;
    case KIND_WORDS:
        (void)fputs(":value:(", out);
        for (const char *const *c = def->choices; *c; ++c)
            (void)fprintf(out, "%s%s", c == def->choices ? "" : " ", *c);
        (void)fputc(')', out);
        return;
    case KIND_FREE:
        (void)fputs(":value:", out);
        return;
    }
}

void options_print_zsh_completion(FILE *out)
{
    char word[OPTION_NAME_MAX + 1];
    (void)fputs("#compdef rac-proxy\n"
                "# Completion of rac-proxy for zsh; written by `rac-proxy --print-zsh-completion`.\n"
                "_arguments -S",
                out);
    for (size_t i = 0; i < option_count; ++i) {
        const struct option_def *def = &option_table[i];
        bool has_value = kind_of(def) != KIND_NONE;
        (void)fprintf(out, " \\\n  '%s%s%s[", option_is_list(def) ? "*" : "", option_flag(def, word),
                      has_value ? "=" : "");
        print_brief(out, def->help);
        (void)fputc(']', out);
        print_zsh_value(out, def);
        (void)fputc('\'', out);
    }
    for (size_t i = 0; i < option_action_count; ++i) {
        const struct option_action *a = &option_actions[i];
        (void)fprintf(out, " \\\n  '%s%s[", a->flag, a->meta ? "=" : "");
        print_brief(out, a->help);
        (void)fprintf(out, "]%s'",
                      !a->meta                           ? ""
                      : a->action == OPTION_ACTION_SINCE ? ":time:"
                      : a->action == OPTION_ACTION_OLDER ? ":age:"
                                                         : ":file:_files");
    }
    (void)fputc('\n', out);
}
