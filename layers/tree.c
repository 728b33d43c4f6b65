// SPDX-License-Identifier: Apache-2.0
#include "layers/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "common/hash.h"
#include "common/mem.h"

#define XATTR_BYTES_MAX 65536 /* the kernel's limits on a list and on a value */

static inline void cleanup_closedir_fn(DIR **d)
{
    if (*d)
        (void)closedir(*d);
}
#define cleanup_closedir RAC_CLEANUP(cleanup_closedir_fn)

static struct tree_entry *tree_push(struct tree *t, char *path)
{
    if (t->count == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 64;
        t->entries = mem_realloc(t->entries, t->cap * sizeof *t->entries);
    }
    struct tree_entry *e = &t->entries[t->count++];
    memset(e, 0, sizeof *e);
    e->path = path;
    return e;
}

static char *join(const char *dir, const char *prefix, const char *name)
{
    return mem_printf("%s%s%s%s", dir, *dir ? "/" : "", prefix, name);
}

static void tree_push_whiteout(struct tree *t, const char *dir, const struct stat *dir_st, const char *name)
{
    struct tree_entry *e = tree_push(t, join(dir, ".wh.", name));
    e->is_whiteout = true;
    e->st.st_mode = S_IFREG | 0600;
    e->st.st_uid = dir_st->st_uid;
    e->st.st_gid = dir_st->st_gid;
    e->st.st_nlink = 1;
}

static bool is_opaque(int fd)
{
    static const char *const names[] = {"trusted.overlay.opaque", "user.overlay.opaque",
                                        "user.fuseoverlayfs.opaque"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
        char v;
        if (fgetxattr(fd, names[i], &v, 1) == 1 && v == 'y')
            return true;
    }
    return false;
}

static int tree_add(struct tree *t, int dir_fd, const char *dir, const struct stat *dir_st, const char *name,
                    bool devices, struct err *err)
{
    struct stat st;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot look at %s/%s", dir, name);
    if (S_ISSOCK(st.st_mode)) {
        ++t->sockets;
        return 0;
    }
    if (S_ISCHR(st.st_mode) && st.st_rdev == 0) {
        tree_push_whiteout(t, dir, dir_st, name);
        return 0;
    }
    if ((S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) && !devices)
        return err_set(err, ERR_INVALID, "%s%s%s is a device node: remove it, or give --devices to keep such",
                       dir, *dir ? "/" : "", name);
    tree_push(t, join(dir, "", name))->st = st;
    return 0;
}

/* `dir` is relative, "" for the tree's own folder. */
static int tree_list(struct tree *t, const char *dir, bool devices, struct err *err)
{
    int fd = openat(t->fd, *dir ? dir : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot open folder %s", *dir ? dir : ".");
    cleanup_closedir DIR *d = fdopendir(fd);
    if (!d) {
        (void)close(fd);
        return err_set_errno(err, ERR_IO, errno, "cannot read folder %s", dir);
    }
    struct stat dir_st;
    if (fstat(fd, &dir_st) < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot look at %s", dir);
    if (is_opaque(fd))
        tree_push_whiteout(t, dir, &dir_st, ".wh..opq");
    for (;;) {
        errno = 0;
        const struct dirent *de = readdir(d);
        if (!de)
            return errno ? err_set_errno(err, ERR_IO, errno, "cannot read folder %s", dir) : 0;
        if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
            continue;
        if (tree_add(t, fd, dir, &dir_st, de->d_name, devices, err) < 0)
            return -1;
    }
}

static int compare_entry(const void *a, const void *b)
{
    const struct tree_entry *x = a, *y = b;
    int c = strcmp(x->path, y->path);
    return c ? c : x->is_whiteout - y->is_whiteout;
}

/* A whiteout may stand in the folder as a file already, beside overlayfs's mark: once is enough. */
static void tree_drop_doubles(struct tree *t)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->count; ++i) {
        if (kept && strcmp(t->entries[kept - 1].path, t->entries[i].path) == 0)
            free(t->entries[i].path);
        else
            t->entries[kept++] = t->entries[i];
    }
    t->count = kept;
}

struct inode {
    struct {
        dev_t dev;
        ino_t ino;
    } key;
    const char *path;
    UT_hash_handle hh;
};

/* The first path of a file, in the order of the archive, is the file; the others are links to it. */
static void tree_find_links(struct tree *t)
{
    /* Zeroed: the keys' padding is hashed too. */
    cleanup_free struct inode *pool = mem_zalloc((t->count + 1) * sizeof *pool);
    struct inode *inodes = NULL, *next = pool;
    for (size_t i = 0; i < t->count; ++i) {
        struct tree_entry *e = &t->entries[i];
        if (!S_ISREG(e->st.st_mode))
            continue;
        if (e->st.st_nlink > 1) {
            struct inode *first = NULL;
            next->key.dev = e->st.st_dev;
            next->key.ino = e->st.st_ino;
            HASH_FIND(hh, inodes, &next->key, sizeof next->key, first);
            if (first) {
                e->link_path = first->path;
                continue;
            }
            next->path = e->path;
            HASH_ADD(hh, inodes, key, sizeof next->key, next);
            ++next;
        }
        t->bytes += (uint64_t)e->st.st_size;
    }
    HASH_CLEAR(hh, inodes);
}

struct tree *tree_read(const char *dir, bool devices, struct err *err)
{
    cleanup_tree struct tree *t = mem_new(struct tree);
    t->fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (t->fd < 0) {
        (void)err_set_errno(err, ERR_IO, errno, "cannot open folder %s", dir);
        return NULL;
    }
    if (tree_list(t, "", devices, err) < 0)
        return NULL;
    /* The list grows while we walk it: what is found is what is still to be looked into. */
    for (size_t i = 0; i < t->count; ++i)
        if (S_ISDIR(t->entries[i].st.st_mode) && tree_list(t, t->entries[i].path, devices, err) < 0)
            return NULL;
    if (t->count)
        qsort(t->entries, t->count, sizeof *t->entries, compare_entry);
    tree_drop_doubles(t);
    tree_find_links(t);
    return steal_ptr(&t);
}

void tree_free(struct tree *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->count; ++i)
        free(t->entries[i].path);
    free(t->entries);
    if (t->fd >= 0)
        (void)close(t->fd);
    free(t);
}

int tree_open(const struct tree *t, const struct tree_entry *e, struct err *err)
{
    int fd = openat(t->fd, e->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    return fd >= 0 ? fd : err_set_errno(err, ERR_IO, errno, "cannot open %s", e->path);
}

char *tree_readlink(const struct tree *t, const struct tree_entry *e, struct err *err)
{
    char target[4097];
    ssize_t n = readlinkat(t->fd, e->path, target, sizeof target);
    if (n < 0) {
        (void)err_set_errno(err, ERR_IO, errno, "cannot read the link %s", e->path);
        return NULL;
    }
    return mem_strndup(target, (size_t)n);
}

static bool xattr_belongs(const char *name)
{
    if (strcmp(name, "security.capability") == 0)
        return true;
    struct slice s = slice_of(name);
    return slice_starts_with(s, "user.") && !slice_starts_with(s, "user.overlay.") &&
           !slice_starts_with(s, "user.fuseoverlayfs.");
}

static int compare_xattr(const void *a, const void *b)
{
    return strcmp(((const struct tar_xattr *)a)->name, ((const struct tar_xattr *)b)->name);
}

void tree_xattrs_free(struct tar_xattr *xattrs, size_t count)
{
    for (size_t i = 0; i < count; ++i) {
        free(xattrs[i].name);
        free(xattrs[i].value);
    }
    free(xattrs);
}

int tree_xattrs(int fd, const char *path, struct tar_xattr **ret, size_t *ret_count, struct err *err)
{
    *ret = NULL;
    *ret_count = 0;
    cleanup_free char *names = mem_alloc(XATTR_BYTES_MAX);
    ssize_t len = flistxattr(fd, names, XATTR_BYTES_MAX);
    if (len < 0)
        return errno == ENOTSUP
                   ? 0
                   : err_set_errno(err, ERR_IO, errno, "cannot list extended attributes of %s", path);
    if (len == 0)
        return 0;
    cleanup_free char *value = mem_alloc(XATTR_BYTES_MAX);
    struct tar_xattr *list = mem_alloc((size_t)len * sizeof *list); /* a name has one byte at least */
    size_t count = 0;
    for (const char *name = names; name < names + len; name += strlen(name) + 1) {
        if (!xattr_belongs(name))
            continue;
        ssize_t n = fgetxattr(fd, name, value, XATTR_BYTES_MAX);
        if (n < 0 || strchr(name, '=')) {
            tree_xattrs_free(list, count);
            return n < 0 ? err_set_errno(err, ERR_IO, errno, "cannot read attribute %s of %s", name, path)
                         : err_set(err, ERR_INVALID,
                                   "%s: attribute %s: an archive can hold no name with a '='", path, name);
        }
        list[count].name = mem_strdup(name);
        list[count].value = mem_dup(value, (size_t)n);
        list[count++].len = (size_t)n;
    }
    qsort(list, count, sizeof *list, compare_xattr);
    *ret = list;
    *ret_count = count;
    return 0;
}
