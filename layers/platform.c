// SPDX-License-Identifier: Apache-2.0
#include "layers/platform.h"

#include <stdio.h>

static const struct {
    const char *alias, *architecture, *variant;
} aliases[] = {
    {"x86_64", "amd64", ""},  {"x86-64", "amd64", ""},  {"i386", "386", ""},      {"i686", "386", ""},
    {"aarch64", "arm64", ""}, {"arm64v8", "arm64", ""}, {"arm32v5", "arm", "v5"}, {"arm32v6", "arm", "v6"},
    {"armel", "arm", "v6"},   {"arm32v7", "arm", "v7"}, {"armhf", "arm", "v7"},
};

/* A platform of one word is an architecture; these words would be a slip of the pen. */
static const char *const systems[] = {"linux", "windows", "darwin", "freebsd"};

static bool part_ok(struct slice s)
{
    if (s.len == 0 || s.len >= PLATFORM_PART_MAX)
        return false;
    for (size_t i = 0; i < s.len; ++i) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-'))
            return false;
    }
    return true;
}

static void part_set(char out[PLATFORM_PART_MAX], struct slice s)
{
    memcpy(out, s.p, s.len);
    out[s.len] = '\0';
}

/* The variant that an architecture has when none is said. */
static const char *default_variant(const char *architecture)
{
    if (strcmp(architecture, "arm64") == 0)
        return "v8";
    if (strcmp(architecture, "amd64") == 0)
        return "v1";
    return strcmp(architecture, "arm") == 0 ? "v7" : "";
}

static int platform_refuse(struct slice text, struct err *err)
{
    return err_set(err, ERR_INVALID, "'%.*s' is not a platform: [os/]architecture[/variant], as linux/amd64",
                   (int)(text.len > 100 ? 100 : text.len), text.len ? text.p : "");
}

int platform_parse(struct slice text, struct platform *ret, struct err *err)
{
    struct slice rest = text, part[4];
    size_t n = 0;
    do {
        part[n++] = slice_cut(&rest, '/');
    } while (rest.p && n < 4);
    if (n == 4)
        return platform_refuse(text, err);
    for (size_t i = 0; i < n; ++i)
        if (!part_ok(part[i]))
            return platform_refuse(text, err);
    /* "arm/v7" has no system; "linux/arm" has one. */
    bool os_left_out = n == 1 || (n == 2 && part[1].p[0] == 'v' && part[1].len <= 3 && part[0].p[0] == 'a');
    if (n == 1)
        for (size_t i = 0; i < sizeof systems / sizeof systems[0]; ++i)
            if (slice_eq_str(part[0], systems[i]))
                return platform_refuse(text, err);
    struct slice architecture = part[os_left_out ? 0 : 1];
    struct slice variant = {0};
    if (n == 3 || (n == 2 && os_left_out))
        variant = part[n - 1];

    struct platform p = {.os = "linux"};
    if (!os_left_out)
        part_set(p.os, part[0]);
    part_set(p.architecture, architecture);
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; ++i) {
        if (slice_eq_str(architecture, aliases[i].alias)) {
            part_set(p.architecture, slice_of(aliases[i].architecture));
            part_set(p.variant, slice_of(aliases[i].variant));
        }
    }
    if (variant.len)
        part_set(p.variant, variant);
    /* arm64/v8 and arm64 are one thing, and so are amd64/v1 and amd64: one spelling, so that digests agree.
     */
    if (strcmp(p.architecture, "arm") != 0 && strcmp(p.variant, default_variant(p.architecture)) == 0)
        p.variant[0] = '\0';
    *ret = p;
    return 0;
}

bool platform_matches(const struct platform *wanted, const struct platform *have)
{
    if (strcmp(wanted->os, have->os) != 0 || strcmp(wanted->architecture, have->architecture) != 0)
        return false;
    if (!wanted->variant[0])
        return true;
    const char *variant = have->variant[0] ? have->variant : default_variant(have->architecture);
    return strcmp(wanted->variant, variant) == 0;
}

const char *platform_format(const struct platform *p, char out[PLATFORM_STR_MAX])
{
    (void)snprintf(out, PLATFORM_STR_MAX, "%s/%s%s%s", p->os, p->architecture, p->variant[0] ? "/" : "",
                   p->variant);
    return out;
}
