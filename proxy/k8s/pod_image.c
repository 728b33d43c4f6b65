// SPDX-License-Identifier: Apache-2.0
#include "proxy/k8s/pod_image.h"

#include <stdlib.h>

#include "common/mem.h"
#include "proxy/tokens/token_request.h"
#include "proxy/upstream/names.h"

/* The host that an image is on, and its repository there, as engines read names. */
static struct slice cut_host(const struct image_name *name, struct slice *ret_repository)
{
    *ret_repository = name->name;
    if (name->host.p)
        return name->host;
    struct slice rest = name->name, first = slice_cut(&rest, '/');
    if (!rest.p || !names_is_host(first))
        return SLICE_LIT("docker.io");
    *ret_repository = rest;
    return names_canonical(first);
}

/* What stands behind the proxy's name, if the image begins with it. */
static bool behind_proxy(struct slice image, const char *proxy_name, struct slice *ret)
{
    size_t len = strlen(proxy_name);
    if (image.len <= len || image.p[len] != '/' || !slice_starts_with(image, proxy_name))
        return false;
    *ret = (struct slice){image.p + len + 1, image.len - len - 1};
    return true;
}

void pod_image_read(struct slice image, const struct admission_config *config,
                    const struct admission_images *images, struct pod_image *ret)
{
    struct image_name name;
    struct slice repository, path;
    char upstream[ADMISSION_HOST_MAX + 1];
    *ret = (struct pod_image){0};
    if (behind_proxy(image, config->proxy_name, &path)) {
        /* A container token's image is as its token says, which is not known here. */
        if (slice_starts_with(path, "wt/") || image_name_parse(path, &name, NULL) < 0 || name.host.p)
            return;
        ret->is_pinned = name.reference.is_digest;
        ret->injection = images->injection(images->arg, name.name);
        return;
    }
    if (image_name_parse(image, &name, NULL) < 0)
        return;
    struct slice host = cut_host(&name, &repository);
    if (!images->upstream(images->arg, host, upstream))
        return;
    bool library = strcmp(upstream, "docker.io") == 0 && !memchr(repository.p, '/', repository.len);
    cleanup_free char *there =
        mem_printf("%s/%s%.*s", upstream, library ? "library/" : "", (int)repository.len, repository.p);
    /* An upstream whose name has a port cannot stand in a path. */
    if (reference_check_name(slice_of(there), NULL) < 0)
        return;
    const char *suffix = name.name.p + name.name.len;
    ret->is_pinned = name.reference.is_digest;
    ret->injection = images->injection(images->arg, slice_of(there));
    ret->renamed = mem_printf("%s/%s%s", config->proxy_name, there, *suffix ? suffix : ":latest");
}

void pod_image_clear(struct pod_image *image)
{
    free(image->renamed);
    *image = (struct pod_image){0};
}
