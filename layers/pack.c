// SPDX-License-Identifier: Apache-2.0
#include "layers/pack.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <sys/sysmacros.h>

#include "common/json.h"
#include "common/mem.h"
#include "layers/injection.h"
#include "layers/out_file.h"
#include "layers/progress.h"
#include "layers/tree.h"

struct packer {
    const struct pack_options *options;
    struct tree *tree;
    struct layer_sink *sink;
    struct progress progress;
    struct buf header; /* of the entry at hand */
    unsigned char chunk[262144];
};

static enum tar_type type_of(const struct tree_entry *e)
{
    if (e->link_path)
        return TAR_HARDLINK;
    switch (e->st.st_mode & S_IFMT) {
    case S_IFDIR:
        return TAR_FOLDER;
    case S_IFLNK:
        return TAR_SYMLINK;
    case S_IFCHR:
        return TAR_CHAR;
    case S_IFBLK:
        return TAR_BLOCK_DEVICE;
    case S_IFIFO:
        return TAR_FIFO;
    default:
        return TAR_FILE;
    }
}

static int write_zeros(struct packer *pk, size_t n, struct err *err)
{
    static const char zeros[512];
    return layer_sink_write(pk->sink, zeros, n, err);
}

/* Exactly the bytes that the header promised: a file that is written meanwhile cannot be packed. */
static int write_content(struct packer *pk, const struct tree_entry *e, int fd, struct err *err)
{
    uint64_t left = (uint64_t)e->st.st_size;
    while (left) {
        size_t want = left < sizeof pk->chunk ? (size_t)left : sizeof pk->chunk;
        ssize_t n = read(fd, pk->chunk, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, ERR_IO, errno, "cannot read %s", e->path);
        if (n == 0)
            return err_set(err, ERR_IO,
                           "%s became shorter while it was packed: try again when nothing writes to it",
                           e->path);
        if (layer_sink_write(pk->sink, pk->chunk, (size_t)n, err) < 0)
            return -1;
        left -= (uint64_t)n;
        progress_add(&pk->progress, (uint64_t)n);
    }
    return write_zeros(pk, tar_write_padding((uint64_t)e->st.st_size), err);
}

static int write_header(struct packer *pk, const struct tree_entry *e, const char *target, int fd,
                        struct err *err)
{
    const struct pack_options *o = pk->options;
    struct tar_xattr *xattrs = NULL;
    size_t xattr_count = 0;
    if (fd >= 0 && tree_xattrs(fd, e->path, &xattrs, &xattr_count, err) < 0)
        return -1;
    struct tar_entry entry = {
        .type = type_of(e),
        .path = e->path,
        .link = e->link_path ? e->link_path : target,
        .mode = S_ISLNK(e->st.st_mode) ? 0777 : e->st.st_mode & 07777,
        .uid = o->keep_owner ? e->st.st_uid : o->uid,
        .gid = o->keep_owner ? e->st.st_gid : o->gid,
        .mtime = o->mtime,
        .xattrs = xattrs,
        .xattr_count = xattr_count,
    };
    if (entry.type == TAR_FILE)
        entry.size = (uint64_t)e->st.st_size;
    if (entry.type == TAR_CHAR || entry.type == TAR_BLOCK_DEVICE) {
        entry.major = major(e->st.st_rdev);
        entry.minor = minor(e->st.st_rdev);
    }
    buf_reset(&pk->header);
    int rc = tar_write_header(&pk->header, &entry, err);
    tree_xattrs_free(xattrs, xattr_count);
    return rc < 0 ? rc : layer_sink_write(pk->sink, pk->header.p, pk->header.len, err);
}

static int write_entry(struct packer *pk, const struct tree_entry *e, struct err *err)
{
    enum tar_type type = type_of(e);
    cleanup_close int fd = -1;
    cleanup_free char *target = NULL;
    if ((type == TAR_FILE && !e->is_whiteout) || type == TAR_FOLDER) {
        fd = tree_open(pk->tree, e, err);
        if (fd < 0)
            return -1;
    } else if (type == TAR_SYMLINK) {
        target = tree_readlink(pk->tree, e, err);
        if (!target)
            return -1;
    }
    if (write_header(pk, e, target, fd, err) < 0)
        return -1;
    return type == TAR_FILE && fd >= 0 ? write_content(pk, e, fd, err) : 0;
}

static int write_tree(struct packer *pk, struct err *err)
{
    for (size_t i = 0; i < pk->tree->count; ++i)
        if (write_entry(pk, &pk->tree->entries[i], err) < 0)
            return -1;
    buf_reset(&pk->header);
    tar_write_end(&pk->header);
    return layer_sink_write(pk->sink, pk->header.p, pk->header.len, err);
}

static void put_str(json_t *obj, const char *key, const char *value)
{
    if (value && *value) {
        int rc = json_object_set_new(obj, key, json_string(value));
        assert(rc == 0);
    }
}

static void put_list(json_t *obj, const char *key, const char *const *v, size_t n)
{
    if (n == 0)
        return;
    json_t *array = json_array();
    for (size_t i = 0; i < n; ++i)
        (void)json_array_append_new(array, json_string(v[i]));
    (void)json_object_set_new(obj, key, array);
}

static json_t *injection_of(const struct pack_options *o, const struct layer_sums *sums)
{
    json_t *root = json_object(), *layers = json_array(), *layer = json_object();
    put_str(layer, "location", "layer.tar.gz");
    put_str(layer, "gzipDigest", sums->gzip_digest.s);
    (void)json_object_set_new(layer, "gzipSize", json_integer((json_int_t)sums->gzip_size));
    put_str(layer, "tarDigest", sums->tar_digest.s);
    put_str(layer, "name", o->name);
    struct platform platform;
    char text[PLATFORM_STR_MAX];
    bool known = o->platform && platform_parse(slice_of(o->platform), &platform, NULL) == 0;
    put_str(layer, "platform", known ? platform_format(&platform, text) : o->platform);
    (void)json_array_append_new(layers, layer);
    (void)json_object_set_new(root, "layers", layers);
    put_list(root, "entrypoint", o->entrypoint, o->entrypoint_count);
    put_list(root, "env", o->env, o->env_count);
    return root;
}

/* The text of layer.json, read back as the proxy will read it: NULL where that fails. */
static char *injection_text(const struct pack_options *o, const struct layer_sums *sums, const char *out_dir,
                            struct digest *ret_digest, struct err *err)
{
    cleanup_json json_t *root = injection_of(o, sums);
    cleanup_free char *text = json_dumps(root, JSON_INDENT(2));
    assert(text);
    cleanup_injection struct injection *inj =
        injection_parse(text, strlen(text), INJECTION_FROM_CONFIGURATION, out_dir, err);
    if (!inj)
        return NULL;
    *ret_digest = *injection_digest(inj);
    return mem_printf("%s\n", text);
}

static int check_utf8(const char *s, const char *what, struct err *err)
{
    cleanup_json json_t *j = json_string(s ? s : "");
    return j ? 0 : err_set(err, ERR_INVALID, "%s is not UTF-8", what);
}

/* What would spoil layer.json is found before hours of packing. */
static int check_options(const struct pack_options *o, const char *out_dir, struct err *err)
{
    if (check_utf8(o->name, "the layer's name", err) < 0 || check_utf8(o->platform, "the platform", err) < 0)
        return -1;
    for (size_t i = 0; i < o->entrypoint_count; ++i)
        if (check_utf8(o->entrypoint[i], "the entry point", err) < 0)
            return -1;
    for (size_t i = 0; i < o->env_count; ++i)
        if (check_utf8(o->env[i], "a variable", err) < 0)
            return -1;
    struct layer_sums any = {.tar_digest = digest_of("", 0), .gzip_digest = digest_of("", 0), .gzip_size = 1};
    struct digest ignored;
    cleanup_free char *text = injection_text(o, &any, out_dir, &ignored, err);
    return text ? 0 : -1;
}

/* A layer that holds itself would never be the same twice. */
static int prepare_out_dir(const char *dir, const char *out_dir, struct err *err)
{
    bool existed = access(out_dir, F_OK) == 0;
    if (make_folders(out_dir, err) < 0)
        return -1;
    cleanup_free char *in = realpath(dir, NULL), *out = realpath(out_dir, NULL);
    if (!in || !out)
        return err_set_errno(err, ERR_IO, errno, "folder %s", in ? out_dir : dir);
    size_t n = strlen(in);
    if (strncmp(in, out, n) == 0 && (out[n] == '/' || out[n] == '\0' || n == 1)) {
        if (!existed)
            (void)rmdir(out_dir);
        return err_set(err, ERR_INVALID, "%s lies inside %s: give -o another folder", out_dir, dir);
    }
    return 0;
}

int pack_layer(const char *dir, const char *out_dir, const struct pack_options *options,
               struct pack_result *ret, struct err *err)
{
    cleanup_tree struct tree *tree = tree_read(dir, options->devices, err);
    if (!tree || prepare_out_dir(dir, out_dir, err) < 0 || check_options(options, out_dir, err) < 0)
        return -1;
    cleanup_layer_sink struct layer_sink *sink = layer_sink_new(out_dir, options->zstd, err);
    if (!sink)
        return -1;
    cleanup_free struct packer *pk = mem_new(struct packer);
    pk->options = options;
    pk->tree = tree;
    pk->sink = sink;
    progress_start(&pk->progress, "packing", tree->bytes);
    int rc = write_tree(pk, err);
    progress_end(&pk->progress);
    buf_free(&pk->header);
    struct pack_result result = {.entries = tree->count, .sockets = tree->sockets};
    if (rc < 0 || layer_sink_finish(sink, &result.sums, err) < 0)
        return -1;
    cleanup_free char *text = injection_text(options, &result.sums, out_dir, &result.injection, err);
    cleanup_free char *path = mem_printf("%s/layer.json", out_dir);
    if (!text || out_file_put(path, text, strlen(text), err) < 0)
        return -1;
    *ret = result;
    return 0;
}
