// SPDX-License-Identifier: Apache-2.0
#include "layers/show.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>

#include "common/json.h"
#include "common/mem.h"
#include "layers/config.h"
#include "layers/config_impl.h"
#include "layers/injection.h"
#include "layers/manifest.h"
#include "layers/show_archive.h"

/* Foreign text on its way to a terminal. */
static void print_text(FILE *out, const char *s)
{
    cleanup_buf struct buf quoted = {0};
    (void)buf_add_json_str(&quoted, slice_of(s));
    (void)fwrite(quoted.p + 1, 1, quoted.len - 2, out);
}

static void show_strings(FILE *out, const char *title, const struct injection_string_list *list)
{
    for (size_t i = 0; i < list->n; ++i) {
        (void)fprintf(out, "%-16s", i ? "" : title);
        print_text(out, list->v[i]);
        (void)fputc('\n', out);
    }
}

static void show_location(FILE *out, const struct injection_layer *layer)
{
    enum layer_location kind;
    (void)fputs("  location      ", out);
    if (injection_layer_location(layer, &kind, NULL) == 0 && (kind == LAYER_DATA || kind == LAYER_GZIP))
        (void)fprintf(out, "%.5s (%zu characters)", layer->location, strlen(layer->location) - 5);
    else
        print_text(out, layer->location);
    (void)fputc('\n', out);
}

static void show_injection(const struct injection *inj, FILE *out)
{
    (void)fprintf(out, "injection       %s\n", injection_digest(inj)->s);
    for (size_t i = 0; i < injection_layer_count(inj); ++i) {
        const struct injection_layer *layer = injection_layer_at(inj, i);
        char platform[PLATFORM_STR_MAX];
        (void)fprintf(out, "layer           ");
        print_text(out, layer->name ? layer->name : "(no name)");
        (void)fprintf(out, "\n  platform      %s\n",
                      layer->has_platform ? platform_format(&layer->platform, platform) : "all");
        show_location(out, layer);
        (void)fprintf(out, "  gzipDigest    %s\n  gzipSize      %" PRIu64 "\n  tarDigest     %s\n",
                      layer->gzip_digest.s, layer->gzip_size, layer->tar_digest.s);
    }
    show_strings(out, "entrypoint", injection_entrypoint(inj));
    if (injection_entrypoint(inj)->n)
        (void)fprintf(out, "entrypointChain %s\n",
                      injection_chain(inj) == INJECTION_CHAIN_ENV ? "env" : "args");
    show_strings(out, "cmd", injection_cmd(inj));
    show_strings(out, "env", injection_env(inj));
    show_strings(out, "labels", injection_labels(inj));
    if (injection_working_dir(inj)) {
        (void)fputs("workingDir      ", out);
        print_text(out, injection_working_dir(inj));
        (void)fputc('\n', out);
    }
    if (injection_user(inj) == INJECTION_USER_ROOT_THEN_DROP)
        (void)fputs("user            root-then-drop\n", out);
    if (injection_is_empty(inj))
        (void)fputs("(empty: images pass through unchanged)\n", out);
}

static void show_manifest(const struct manifest *m, const struct buf *bytes, FILE *out)
{
    const char *reason = NULL;
    struct digest digest = digest_of(buf_str(bytes), bytes->len);
    (void)fprintf(out, "%-16s%s\nmediaType       ", manifest_is_index(m) ? "index" : "manifest", digest.s);
    print_text(out, manifest_media_type(m));
    (void)fputc('\n', out);
    if (!manifest_is_index(m) && !manifest_rewritable(m, &reason))
        (void)fprintf(out, "rewritable      no (%s)\n", reason);
    for (size_t i = 0; i < manifest_count(m); ++i) {
        const struct descriptor *d = manifest_at(m, i);
        char platform[PLATFORM_STR_MAX];
        (void)fprintf(out, "%s %12" PRIu64 "  ", d->digest.s, d->size);
        print_text(out, d->media_type[0] ? d->media_type : "-");
        if (d->has_platform) {
            (void)fputs("  ", out);
            print_text(out, platform_format(&d->platform, platform));
        }
        if (d->is_attestation)
            (void)fprintf(out, "  attests %s", d->attests.s);
        (void)fputc('\n', out);
    }
}

static void show_member(const json_t *obj, const char *key, FILE *out)
{
    const json_t *v = json_object_get(obj, key);
    if (!v || json_is_null(v))
        return;
    cleanup_free char *text = json_format(v, NULL);
    (void)fprintf(out, "%-16s%s\n", key, text);
}

static void show_config(const struct config *c, const struct buf *bytes, FILE *out)
{
    char platform[PLATFORM_STR_MAX];
    static const char *const keys[] = {"User", "Env", "Entrypoint", "Cmd", "WorkingDir", "Labels"};
    struct digest digest = digest_of(buf_str(bytes), bytes->len);
    (void)fprintf(out, "image config    %s\nplatform        ", digest.s);
    print_text(out, platform_format(config_platform(c), platform));
    (void)fputc('\n', out);
    show_member(config_tree(c), "created", out);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; ++i)
        show_member(json_object_get(config_tree(c), "config"), keys[i], out);
    const json_t *diff_ids = json_object_get(json_object_get(config_tree(c), "rootfs"), "diff_ids");
    for (size_t i = 0; i < json_array_size(diff_ids); ++i) {
        (void)fprintf(out, "%-16s", i ? "" : "diff_ids");
        print_text(out, json_string_value(json_array_get(diff_ids, i)));
        (void)fputc('\n', out);
    }
}

static int show_json(const struct buf *bytes, const char *dir, FILE *out, struct err *err)
{
    cleanup_json json_t *root = json_parse(buf_str(bytes), bytes->len, INJECTION_BYTES_MAX, err);
    if (!root)
        return -1;
    if (json_object_get(root, "rootfs")) {
        cleanup_config struct config *c = config_parse(buf_str(bytes), bytes->len, err);
        if (c)
            show_config(c, bytes, out);
        return c ? 0 : -1;
    }
    if (json_object_get(root, "schemaVersion") || json_object_get(root, "mediaType")) {
        cleanup_manifest struct manifest *m = manifest_parse(buf_str(bytes), bytes->len, NULL, err);
        if (m)
            show_manifest(m, bytes, out);
        return m ? 0 : -1;
    }
    cleanup_injection struct injection *inj =
        injection_parse(buf_str(bytes), bytes->len, INJECTION_FROM_CONFIGURATION, dir, err);
    if (!inj)
        return err_wrap(err, "neither manifest nor config, and no injection");
    show_injection(inj, out);
    return 0;
}

/* Reads until `ret` holds its maximum, or the file ends. */
static int read_some(int fd, struct buf *ret, size_t max, struct err *err)
{
    char chunk[16384];
    ret->max = max;
    while (ret->len < max) {
        size_t want = max - ret->len < sizeof chunk ? max - ret->len : sizeof chunk;
        ssize_t n = read(fd, chunk, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, ERR_IO, errno, "cannot read");
        if (n == 0)
            return 0;
        (void)buf_add(ret, chunk, (size_t)n);
    }
    return 0;
}

static bool looks_like_json(const struct buf *head)
{
    size_t i = 0;
    while (i < head->len && strchr(" \t\r\n", head->p[i]) && head->p[i])
        ++i;
    return i < head->len && head->p[i] == '{';
}

int show_file(const char *path, FILE *out, struct err *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    cleanup_close int opened = is_stdin ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (!is_stdin && opened < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot open %s", path);
    int fd = is_stdin ? STDIN_FILENO : opened;
    cleanup_buf struct buf head = {0};
    cleanup_free char *copy = mem_strdup(path);
    int rc = read_some(fd, &head, 512, err);
    if (rc == 0 && looks_like_json(&head)) {
        rc = read_some(fd, &head, INJECTION_BYTES_MAX + 1, err);
        if (rc == 0)
            rc = show_json(&head, is_stdin ? "." : dirname(copy), out, err);
    } else if (rc == 0) {
        rc = show_archive(fd, (struct slice){buf_str(&head), head.len}, out, err);
    }
    if (rc < 0)
        return err_wrap(err, "%s", is_stdin ? "standard input" : path);
    return fflush(out) == 0 && !ferror(out) ? 0
                                            : err_set_errno(err, ERR_IO, errno, "cannot write the listing");
}
