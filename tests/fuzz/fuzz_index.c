// SPDX-License-Identifier: Apache-2.0
/* An index of any bytes of which every second child is rewritten: nothing is lost but their attestations, and
 * what comes out parses. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/mem.h"
#include "layers/inject.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    struct manifest *m = manifest_parse(data, size, MEDIA_TYPE_OCI_INDEX, &err);
    if (!m || !manifest_is_index(m)) {
        assert(m || err.code != ERR_NONE);
        manifest_free(m);
        return 0;
    }
    size_t n = manifest_count(m), attestations = 0, rewritten = 0;
    struct inject_child *children = mem_zalloc((n + 1) * sizeof *children);
    for (size_t i = 0; i < n; ++i) {
        const struct descriptor *d = manifest_at(m, i);
        attestations += d->is_attestation;
        children[i] = (struct inject_child){.source = d->digest, .target = d->digest, .target_size = i};
        if (i % 2 == 0) {
            children[i].target = digest_of(d->digest.s, strlen(d->digest.s));
            ++rewritten;
        }
    }
    struct inject_result r = {0};
    int rc = inject_index(m, children, n, &r, &err);
    assert(rc == 0 || err.code == ERR_SIZE_INVALID);
    if (rc == 0 && r.skipped) {
        assert(strcmp(r.skipped, "number") == 0 || rewritten == 0);
    } else if (rc == 0) {
        struct manifest *after = manifest_parse(r.manifest, r.manifest_len, r.media_type, &err);
        assert(after && manifest_is_index(after) && manifest_kind(after) == manifest_kind(m));
        assert(manifest_count(after) <= n && manifest_count(after) + attestations >= n);
        manifest_free(after);
    }
    inject_result_free(&r);
    free(children);
    manifest_free(m);
    return 0;
}
