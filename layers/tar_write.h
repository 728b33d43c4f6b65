// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_TAR_WRITE_H
#define RAC_LAYERS_TAR_WRITE_H
/*
 * Tar headers of our own making: ustar, with a pax header before it only for what ustar cannot hold (POSIX
 * pax, "ustar Interchange Format" and "pax Extended Header"). Written here and not by a library, so that the
 * bytes, and with them every layer's digest, never change with a library's version.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/str.h"

#define TAR_WRITE_PAX_MAX ((size_t)1 << 20) /* Go's archive/tar reads no more */

enum tar_type {
    TAR_FILE = '0',
    TAR_HARDLINK = '1',
    TAR_SYMLINK = '2',
    TAR_CHAR = '3',
    TAR_BLOCK_DEVICE = '4',
    TAR_FOLDER = '5',
    TAR_FIFO = '6',
};

struct tar_xattr {
    char *name;  /* without '=' */
    char *value; /* bytes */
    size_t len;
};

struct tar_entry {
    enum tar_type type;
    const char *path; /* relative, no trailing slash */
    const char *link; /* TAR_HARDLINK: an earlier path; TAR_SYMLINK: its target; else NULL */
    unsigned mode;    /* permission, setuid, setgid and sticky bits */
    uint64_t uid, gid;
    uint64_t size; /* bytes of content to follow; 0 unless TAR_FILE */
    int64_t mtime; /* seconds */
    unsigned major, minor;
    const struct tar_xattr *xattrs; /* sorted by name */
    size_t xattr_count;
};

/* Appends the header blocks of an entry. ERR_SIZE_INVALID if its extended attributes need more than
 * TAR_WRITE_PAX_MAX bytes. */
int tar_write_header(struct buf *out, const struct tar_entry *e, struct err *err);
/* How many zero bytes follow content of this size. */
size_t tar_write_padding(uint64_t size);
/* Appends the two zero blocks. */
void tar_write_end(struct buf *out);
#endif
