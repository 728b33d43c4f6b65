// SPDX-License-Identifier: Apache-2.0
#include "proxy/inject/local_check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "layers/verify.h"

#define CHUNK ((size_t)16 << 10) /* it may unpack a thousandfold, and then it is looked whether to go on */

/* A daemon that starts or reads its configuration again blocks its signals: one that asks it to end waits for
 * this thread. */
static int check_not_ended(struct err *err)
{
    sigset_t waiting;
    if (sigpending(&waiting) == 0 &&
        (sigismember(&waiting, SIGTERM) == 1 || sigismember(&waiting, SIGINT) == 1))
        return err_set(err, ERR_CANCELLED, "not checked: told to end");
    return 0;
}

static int check_file(const struct injection_layer *layer, struct layer_verifier *v, struct err *err)
{
    cleanup_free char *chunk = mem_alloc(CHUNK);
    cleanup_close int fd = open(layer->location, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot open %s", layer->location);
    for (;;) {
        ssize_t n = read(fd, chunk, CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, ERR_IO, errno, "cannot read %s", layer->location);
        if (n == 0)
            return layer_verifier_finish(v, err);
        if (check_not_ended(err) < 0 || layer_verifier_update(v, chunk, (size_t)n, err) < 0)
            return -1;
    }
}

static int check_text(const struct injection_layer *layer, struct layer_verifier *v, struct err *err)
{
    cleanup_buf struct buf bytes = {.max = layer->gzip_size + 1};
    if (injection_layer_decode(layer, layer->gzip_size + 1, &bytes, err) < 0 ||
        layer_verifier_update(v, bytes.p, bytes.len, err) < 0)
        return -1;
    return layer_verifier_finish(v, err);
}

int local_check(const struct injection *injection, uint64_t max_tar_bytes, struct err *err)
{
    for (size_t i = 0; i < injection_layer_count(injection); ++i) {
        const struct injection_layer *layer = injection_layer_at(injection, i);
        enum layer_location where;
        if (injection_layer_location(layer, &where, err) < 0)
            return -1;
        if (where == LAYER_HTTPS || where == LAYER_IMAGE)
            continue;
        cleanup_layer_verifier struct layer_verifier *v = layer_verifier_new(layer, max_tar_bytes);
        int rc = where == LAYER_FILE ? check_file(layer, v, err) : check_text(layer, v, err);
        if (rc < 0)
            return err_wrap(err, "layer %zu (%s)", i + 1, layer->name ? layer->name : layer->gzip_digest.s);
    }
    return 0;
}
