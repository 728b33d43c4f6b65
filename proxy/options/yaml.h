// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_PROXY_OPTIONS_YAML_H
#define RAC_PROXY_OPTIONS_YAML_H
/*
 * YAML (1.1, by libyaml) as a tree that knows its lines, and only what a configuration needs: mappings with
 * scalar keys, lists, scalars, one document. Refused, since they make a small file mean a large or a
 * surprising thing: anchors and aliases, tags, the same key twice, control characters in values, and more
 * than the limits below. Private to options_*.
 *
 * Functions begin with yaml_tree_, since libyaml exports its inner ones too: it would call a yaml_free of
 * ours.
 */
#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/err.h"

#define YAML_BYTES_MAX ((size_t)1 << 20)
#define YAML_DEPTH_MAX 16
#define YAML_NODES_MAX 20000

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_node {
    enum yaml_kind kind;
    unsigned line, column; /* from 1; of the key if it has one */
    char *key;             /* of a child of a mapping, else NULL */
    char *text;   /* of a scalar, NUL-terminated, no control characters; "" for null and for nothing */
    bool is_null; /* nothing, ~ or null, not quoted */
    struct yaml_node *children, *next; /* in the order of the file */
};

/* The tree, to be freed, with a mapping at its root (an empty one for an empty document); NULL with
 * ERR_INVALID
 * ("FILE:3:7: ...") or ERR_SIZE_INVALID. `name` is what messages call the document. */
struct yaml_node *yaml_tree_parse(const char *bytes, size_t len, const char *name, struct err *err);
void yaml_tree_free(struct yaml_node *root);              /* zeroes all texts; NULL is fine */
const char *yaml_tree_kind(const struct yaml_node *node); /* "a list"; static */

static inline void cleanup_yaml_fn(struct yaml_node **n)
{
    yaml_tree_free(*n);
}
#define cleanup_yaml RAC_CLEANUP(cleanup_yaml_fn)
#endif
