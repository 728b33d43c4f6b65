// SPDX-License-Identifier: Apache-2.0
#include "s3/credentials_profile.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "s3/credentials_file.h"

static const struct {
    const char *name;
    size_t at;
} settings[] = {
    {"aws_access_key_id", offsetof(struct profile, access_key_id)},
    {"aws_secret_access_key", offsetof(struct profile, secret_access_key)},
    {"aws_session_token", offsetof(struct profile, session_token)},
    {"region", offsetof(struct profile, region)},
    {"endpoint_url", offsetof(struct profile, endpoint_url)},
    {"role_arn", offsetof(struct profile, role_arn)},
    {"web_identity_token_file", offsetof(struct profile, web_identity_token_file)},
    {"role_session_name", offsetof(struct profile, role_session_name)},
};
#define SETTINGS_LEN (sizeof settings / sizeof settings[0])

static char **setting(struct profile *p, size_t i)
{
    return (char **)((char *)p + settings[i].at);
}

void profile_free(struct profile *p)
{
    for (size_t i = 0; i < SETTINGS_LEN; ++i) {
        free(*setting(p, i));
        *setting(p, i) = NULL;
    }
}

/* "[ profile x ]": whether it is ours. */
static bool is_section(struct slice line, const char *name, bool is_config)
{
    const char *end = memchr(line.p, ']', line.len);
    if (!end)
        return false;
    struct slice section = slice_trim((struct slice){line.p + 1, (size_t)(end - line.p) - 1});
    if (is_config && !slice_eq_str(section, "default")) {
        if (!slice_starts_with(section, "profile ") && !slice_starts_with(section, "profile\t"))
            return false;
        section = slice_trim((struct slice){section.p + 8, section.len - 8});
    }
    if (section.len >= 2 && section.p[0] == '"' && section.p[section.len - 1] == '"')
        section = (struct slice){section.p + 1, section.len - 2};
    return slice_eq_str(section, name);
}

/* Cuts " # comment" off. */
static struct slice without_comment(struct slice value)
{
    for (size_t i = 1; i < value.len; ++i) {
        if ((value.p[i] == '#' || value.p[i] == ';') && (value.p[i - 1] == ' ' || value.p[i - 1] == '\t'))
            return slice_trim((struct slice){value.p, i});
    }
    return value;
}

static void use_setting(struct profile *io, struct slice line)
{
    struct slice value = line, name = slice_trim(slice_cut(&value, '='));
    if (!value.p)
        return;
    value = without_comment(slice_trim(value));
    /* A control character would end up in a header. */
    for (size_t i = 0; i < value.len; ++i) {
        if ((unsigned char)value.p[i] < ' ' || value.p[i] == 0x7f)
            return;
    }
    for (size_t i = 0; i < SETTINGS_LEN; ++i) {
        if (slice_ieq_str(name, settings[i].name) && !*setting(io, i) && value.len)
            *setting(io, i) = mem_dup(value.p, value.len);
    }
}

void profile_parse(struct profile *io, struct slice text, const char *name, bool is_config)
{
    bool ours = false;
    if (slice_starts_with(text, "\xef\xbb\xbf"))
        text = (struct slice){text.p + 3, text.len - 3};
    while (text.p) {
        struct slice line = slice_cut(&text, '\n');
        if (line.len && line.p[line.len - 1] == '\r')
            --line.len;
        if (!line.len || line.p[0] == '#' || line.p[0] == ';')
            continue;
        if (line.p[0] == '[')
            ours = is_section(line, name, is_config);
        else if (ours && line.p[0] != ' ' && line.p[0] != '\t') /* indented: part of a nested setting */
            use_setting(io, line);
    }
}

static int load_file(struct profile *io, const char *variable, const char *in_home, const char *name,
                     bool is_config, struct err *err)
{
    const char *path = getenv(variable), *home = getenv("HOME");
    cleanup_free char *default_path = NULL, *text = NULL;
    if (!path || !*path) {
        if (!home || !*home)
            return 0;
        path = default_path = mem_printf("%s/%s", home, in_home);
    }
    size_t len;
    int rc = credentials_read_file(path, PROFILE_FILE_MAX, &text, &len, err);
    if (rc <= 0)
        return rc;
    profile_parse(io, (struct slice){text, len}, name, is_config);
    return 0;
}

int profile_load(struct profile *ret, struct err *err)
{
    struct profile p = {0};
    const char *name = getenv("AWS_PROFILE");
    if (!name || !*name)
        name = getenv("AWS_DEFAULT_PROFILE");
    if (!name || !*name)
        name = "default";
    if (load_file(&p, "AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials", name, false, err) < 0 ||
        load_file(&p, "AWS_CONFIG_FILE", ".aws/config", name, true, err) < 0) {
        profile_free(&p);
        return -1;
    }
    *ret = p;
    for (size_t i = 0; i < SETTINGS_LEN; ++i) {
        if (*setting(&p, i))
            return 1;
    }
    return 0;
}
