// SPDX-License-Identifier: Apache-2.0
#include "layers/layer_source.h"

#include <errno.h>
#include <fcntl.h>

#include "common/mem.h"
#include "layers/progress.h"
#include "layers/verify.h"

/* On one's own machine, on one's own file: a limit against running for ever, not against an attacker. */
#define TAR_BYTES_MAX ((uint64_t)1 << 42)

struct reader {
    struct layer_verifier *verifier;
    layer_source_sink *sink;
    void *arg;
    struct progress progress;
};

static int take(struct reader *r, const void *bytes, size_t len, struct err *err)
{
    progress_add(&r->progress, len);
    if (layer_verifier_update(r->verifier, bytes, len, err) < 0)
        return -1;
    return r->sink ? r->sink(r->arg, bytes, len, err) : 0;
}

static int read_from_file(struct reader *r, const char *path, struct err *err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot open layer %s", path);
    const size_t cap = 262144;
    cleanup_free char *chunk = mem_alloc(cap);
    for (;;) {
        ssize_t n = read(fd, chunk, cap);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, ERR_IO, errno, "cannot read layer %s", path);
        if (n == 0)
            return 0;
        if (take(r, chunk, (size_t)n, err) < 0)
            return -1;
    }
}

static int read_from_text(struct reader *r, const struct injection_layer *layer, struct err *err)
{
    cleanup_buf struct buf bytes = {0};
    if (injection_layer_decode(layer, INJECTION_BYTES_MAX, &bytes, err) < 0)
        return -1;
    return take(r, buf_str(&bytes), bytes.len, err);
}

int layer_source_read(const struct injection_layer *layer, layer_source_sink *sink, void *arg,
                      struct err *err)
{
    enum layer_location kind;
    if (injection_layer_location(layer, &kind, err) < 0)
        return -1;
    if (kind == LAYER_HTTPS)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s is not fetched by this command: download it, and name the file as location",
                       layer->location);
    if (kind == LAYER_IMAGE)
        return err_set(err, ERR_UNSUPPORTED, "%s is not fetched by this command: only the proxy does",
                       layer->location);
    cleanup_layer_verifier struct layer_verifier *v = layer_verifier_new(layer, TAR_BYTES_MAX);
    struct reader r = {.verifier = v, .sink = sink, .arg = arg};
    progress_start(&r.progress, "checking", layer->gzip_size);
    int rc = kind == LAYER_FILE ? read_from_file(&r, layer->location, err) : read_from_text(&r, layer, err);
    progress_end(&r.progress);
    return rc < 0 ? rc : layer_verifier_finish(v, err);
}
