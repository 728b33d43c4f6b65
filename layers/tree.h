// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_TREE_H
#define RAC_LAYERS_TREE_H
/*
 * What is in a folder, as a layer tells it: every entry with its path, sorted by the path's bytes (so a
 * folder comes before what is in it), hard links found, and overlayfs's whiteouts as the OCI image spec
 * writes them (layer.md, "Whiteouts"). Keeps names and attributes, no content: some 200 bytes an entry.
 * Blocks.
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "layers/tar_write.h"

struct tree_entry {
    char *path;            /* relative, no leading or trailing slash, no ".." */
    struct stat st;        /* of a whiteout: an empty file, mode 0600, of the folder's owner */
    bool is_whiteout;      /* made of an overlayfs mark: there is no such file */
    const char *link_path; /* a hard link: the earlier entry it is the same file as; else NULL. Borrowed */
};

struct tree {
    int fd; /* the folder itself */
    struct tree_entry *entries;
    size_t count, cap;
    size_t sockets; /* left out: they mean nothing in an archive */
    uint64_t bytes; /* of all files, hard links counted once */
};

/* `devices`: keep device nodes; else one is ERR_INVALID naming it. NULL with *err set; to be tree_free'd. */
struct tree *tree_read(const char *dir, bool devices, struct err *err);
void tree_free(struct tree *t); /* NULL is fine */

/* Opens a file or a folder of the tree for reading, never through a symlink at its end. -1 with ERR_IO. */
int tree_open(const struct tree *t, const struct tree_entry *e, struct err *err);
/* The target of a symlink, malloc'd; NULL with ERR_IO. */
char *tree_readlink(const struct tree *t, const struct tree_entry *e, struct err *err);
/* The extended attributes that belong to a file and not to a machine, sorted by name: user.*, but
 * overlayfs's, and security.capability. ACLs and labels (system.*, security.selinux, trusted.*) stay behind.
 */
int tree_xattrs(int fd, const char *path, struct tar_xattr **ret, size_t *ret_count, struct err *err);
void tree_xattrs_free(struct tar_xattr *xattrs, size_t count);

static inline void cleanup_tree_fn(struct tree **t)
{
    tree_free(*t);
}
#define cleanup_tree RAC_CLEANUP(cleanup_tree_fn)
#endif
