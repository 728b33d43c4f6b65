// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/ops.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/mem.h"
#include "fuse-layer/s3fs/reader.h"
#include "fuse-layer/s3fs/resolve.h"
#include "fuse-layer/s3fs/sweep.h"
#include "fuse-layer/s3fs/writer.h"

#define HANDLE_MAGIC 0x68646c31u
/* Descriptors looked at to find out whether a file is still open. */
#define DESCRIPTORS_MAX 4096

struct handle {
    struct ops_open open;
    uint32_t magic;
    struct inode *inode; /* pinned */
    pthread_mutex_t lock;
    struct reader *reader; /* made when the first read needs it */
    struct writer *writer; /* of handles that write */
    bool append;
    pid_t opener;
};

static struct handle *handle_of(const struct fuse_file_info *fi)
{
    struct handle *h = (struct handle *)(uintptr_t)fi->fh;
    if (!h || h->magic != HANDLE_MAGIC)
        abort();
    return h;
}

static void handle_free(struct driver *d, struct ops_open *open)
{
    struct handle *h = (struct handle *)open; /* the first member */
    reader_close(h->reader);
    if (h->writer)
        writer_close(h->writer);
    inodes_lock(&d->inodes);
    inode_unpin(&d->inodes, h->inode);
    inodes_unlock(&d->inodes);
    pthread_mutex_destroy(&h->lock);
    h->magic = 0;
    free(h);
}

static void handle_close(struct driver *d, struct handle *h)
{
    ops_open_remove(d, &h->open);
    handle_free(d, &h->open);
}

static struct handle *handle_new(fuse_req_t req, struct inode *inode, struct fuse_file_info *fi)
{
    struct driver *d = ops_driver(req);
    struct handle *h = mem_new(struct handle);
    h->magic = HANDLE_MAGIC;
    h->inode = inode;
    h->opener = fuse_req_ctx(req)->pid;
    h->append = fi->flags & O_APPEND;
    pthread_mutex_init(&h->lock, NULL);
    inodes_lock(&d->inodes);
    inode_pin(inode);
    inodes_unlock(&d->inodes);
    ops_open_add(d, &h->open, handle_free);
    fi->fh = (uint64_t)(uintptr_t)h;
    return h;
}

static unsigned writer_flags(int flags)
{
    return ((flags & O_ACCMODE) == O_RDWR ? WRITER_KEEP : 0u) | (flags & O_TRUNC ? WRITER_TRUNCATE : 0u);
}

/* May the kernel go on with the pages it has, and put what this handle reads beside them? */
static void set_caching(struct driver *d, struct handle *h, struct fuse_file_info *fi)
{
    inodes_lock(&d->inodes);
    struct inode *inode = h->inode;
    const char *etag = h->reader ? reader_etag(h->reader) : inode->attr.etag;
    bool cached = etag[0] && strcmp(etag, inode->cached_etag) == 0;
    unsigned others = inode->readers - (h->reader != NULL);
    /* A lookup that began later and came sooner knows a newer version than this handle reads: size and pages
     * that the kernel keeps are to be that one's. */
    bool older = strcmp(etag, inode->attr.etag) != 0;
    if ((others && !cached && !(fi->flags & O_TRUNC)) || older) {
        /* Other handles hold another version open under this very inode, and the pages are theirs. */
        fi->direct_io = 1;
        fi->keep_cache = 1;
    } else {
        fi->keep_cache = cached;
        memcpy(inode->cached_etag, etag, sizeof inode->cached_etag);
    }
    inodes_unlock(&d->inodes);
}

/* Opening sees the newest version: what the kernel believes of the file's size may be older. */
static void tell_kernel(struct driver *d, struct inode *inode, const struct inode_attr *before)
{
    inodes_lock(&d->inodes);
    bool changed = inode->attr.size != before->size || inode->attr.mtime_ms != before->mtime_ms;
    uint64_t id = inode->id;
    inodes_unlock(&d->inodes);
    if (changed && d->session)
        (void)fuse_lowlevel_notify_inval_inode(d->session, id, -1, 0);
}

/* A file opened for writing as it is: what is not written stays, so it has to be known. */
static int know_version(struct driver *d, struct inode *inode, struct cancel *cancel, struct err *err)
{
    inodes_lock(&d->inodes);
    struct inode *parent = inode->parent;
    cleanup_free char *name = mem_strdup(inode->name);
    bool local = inode->writer || inode->detached;
    if (!local)
        inode_pin(parent); /* the file may be moved meanwhile */
    inodes_unlock(&d->inodes);
    if (local)
        return 0;
    struct inode_attr attr;
    uint64_t fresh_us = 0;
    int result = resolve_child(d, parent, name, true, cancel, &attr, &fresh_us, err);
    inodes_lock(&d->inodes);
    if (result == 0)
        inode_refresh(inode, &attr, fresh_us);
    inode_unpin(&d->inodes, parent);
    inodes_unlock(&d->inodes);
    return result;
}

/* ESTALE makes the kernel look again, at what the name stands for now. */
static int open_handle(struct driver *d, struct handle *h, int flags, struct cancel *cancel, struct err *err)
{
    inodes_lock(&d->inodes);
    bool gone = inode_gone(h->inode);
    inodes_unlock(&d->inodes);
    if (gone)
        return err_set(err, ERR_STALE, "the file was deleted or replaced");
    if ((flags & O_ACCMODE) != O_RDONLY) {
        if (!(flags & O_TRUNC) && know_version(d, h->inode, cancel, err) < 0)
            return -1;
        h->writer = writer_open(d, h->inode, writer_flags(flags));
        return 0;
    }
    inodes_lock(&d->inodes);
    struct writer *w = writer_of(h->inode, true);
    inodes_unlock(&d->inodes);
    if (w) { /* what is read is what is being written */
        writer_close(w);
        return 0;
    }
    return reader_open(d, h->inode, cancel, &h->reader, err);
}

void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct driver *d = ops_driver(req);
    struct inode *inode = ops_inode(d, ino);
    if (d->options->read_only && (fi->flags & O_ACCMODE) != O_RDONLY) {
        (void)fuse_reply_err(req, EROFS);
        return;
    }
    struct handle *h = handle_new(req, inode, fi);
    struct err err = {0};
    inodes_lock(&d->inodes);
    struct inode_attr before = inode->attr;
    inodes_unlock(&d->inodes);
    struct cancel *cancel = ops_begin(req);
    int result = open_handle(d, h, fi->flags, cancel, &err);
    ops_end(req, cancel);
    if (result < 0) {
        handle_close(d, h);
        (void)fuse_reply_err(req, ops_errno(&err));
        return;
    }
    set_caching(d, h, fi);
    tell_kernel(d, inode, &before);
    if (fuse_reply_open(req, fi) < 0)
        handle_close(d, h);
}

void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
    struct driver *d = ops_driver(req);
    struct inode *folder = ops_inode(d, parent);
    int refused = ops_may_change(d, folder);
    struct inode_path path;
    struct inode_attr attr;
    uint64_t fresh_us = 0;
    struct err err = {0};
    inodes_lock(&d->inodes);
    if (!refused && !inode_child_path(folder, name, false, &path))
        refused = ENAMETOOLONG;
    inodes_unlock(&d->inodes);
    if (refused) {
        (void)fuse_reply_err(req, refused);
        return;
    }
    /* The kernel has not seen the name. To begin anew, or to fail at the commit, needs no second look; to go
     * on with what may be there meanwhile does. */
    bool there = false;
    if (!(fi->flags & (O_TRUNC | O_EXCL))) {
        struct cancel *cancel = ops_begin(req);
        there = resolve_child(d, folder, name, true, cancel, &attr, &fresh_us, &err) == 0;
        ops_end(req, cancel);
        /* What another client made there meanwhile and is no file: ESTALE makes the kernel look again. */
        if (there && attr.kind != INODE_FILE)
            refused = ESTALE;
        else if (!there && err.code != ERR_NOT_FOUND)
            refused = ops_errno(&err);
        if (refused) {
            (void)fuse_reply_err(req, refused);
            return;
        }
    }
    if (!there)
        ops_new_attr(req, INODE_FILE, mode, &attr);
    inodes_lock(&d->inodes);
    struct inode *inode = inode_look(&d->inodes, folder, name, &attr, clock_mono_us());
    sweep_begin(d->sweep);
    inodes_unlock(&d->inodes);
    struct handle *h = handle_new(req, inode, fi);
    unsigned flags = writer_flags(fi->flags & ~O_TRUNC) | (there ? 0u : WRITER_NEW) |
                     (fi->flags & O_EXCL && !there ? WRITER_EXCLUSIVE : 0u);
    h->writer = writer_open(d, inode, flags);
    set_caching(d, h, fi);
    struct fuse_entry_param entry;
    inodes_lock(&d->inodes);
    (void)ops_fill_entry(d, inode, &entry);
    inodes_unlock(&d->inodes);
    if (fuse_reply_create(req, &entry, fi) < 0) {
        handle_close(d, h);
        inodes_lock(&d->inodes);
        inode_forget(&d->inodes, inode, 1);
        inodes_unlock(&d->inodes);
    }
}

/* -- reading ---------------------------------------------------------------------------------------- */
static void read_from_writer(fuse_req_t req, struct writer *w, size_t size, uint64_t offset)
{
    cleanup_free char *p = mem_alloc(size ? size : 1);
    size_t len = 0;
    struct err err = {0};
    struct cancel *cancel = ops_begin(req);
    int result = writer_read(w, p, size, offset, cancel, &len, &err);
    ops_end(req, cancel);
    writer_close(w);
    if (result < 0)
        (void)fuse_reply_err(req, ops_errno(&err));
    else
        (void)fuse_reply_buf(req, p, len);
}

/* The handle's reader; made now if the file was being written when it was opened. */
static struct reader *need_reader(struct driver *d, struct handle *h, struct cancel *cancel, struct err *err)
{
    pthread_mutex_lock(&h->lock);
    if (!h->reader && reader_open(d, h->inode, cancel, &h->reader, err) < 0)
        h->reader = NULL;
    struct reader *r = h->reader;
    pthread_mutex_unlock(&h->lock);
    return r;
}

void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    (void)ino;
    struct driver *d = ops_driver(req);
    struct handle *h = handle_of(fi);
    inodes_lock(&d->inodes);
    struct writer *w = writer_of(h->inode, true);
    inodes_unlock(&d->inodes);
    if (w) {
        read_from_writer(req, w, size, (uint64_t)offset);
        return;
    }
    struct err err = {0};
    struct reader_view view = {0};
    struct cancel *cancel = ops_begin(req);
    struct reader *r = need_reader(d, h, cancel, &err);
    int result = r ? reader_read(r, (uint64_t)offset, size, cancel, &view, &err) : -1;
    ops_end(req, cancel);
    if (result < 0) {
        (void)fuse_reply_err(req, ops_errno(&err));
        return;
    }
    (void)fuse_reply_iov(req, view.iov, view.iov_len);
    reader_view_drop(r, &view);
}

/* -- writing ---------------------------------------------------------------------------------------- */
void ops_write(fuse_req_t req, fuse_ino_t ino, const char *p, size_t size, off_t offset,
               struct fuse_file_info *fi)
{
    (void)ino;
    struct handle *h = handle_of(fi);
    struct err err = {0};
    if (!h->writer)
        (void)fuse_reply_err(req, EBADF);
    else if (writer_write(h->writer, p, size, (uint64_t)offset, h->append, &err) < 0)
        (void)fuse_reply_err(req, ops_errno(&err));
    else
        (void)fuse_reply_write(req, size);
}

/* Has the process a descriptor of the inode? The kernel says which in fdinfo, without asking us. */
static bool has_open(pid_t pid, uint64_t st_ino)
{
    char path[64], line[128];
    (void)snprintf(path, sizeof path, "/proc/%d/fdinfo", (int)pid);
    DIR *dir = pid ? opendir(path) : NULL;
    if (!dir)
        return false;
    bool found = false;
    const struct dirent *entry;
    for (int i = 0; !found && i < DESCRIPTORS_MAX && (entry = readdir(dir));) {
        int fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);
        FILE *f = fd >= 0 && entry->d_name[0] != '.' ? fdopen(fd, "r") : NULL;
        if (!f) {
            if (fd >= 0)
                (void)close(fd);
            continue;
        }
        uint64_t ino = 0;
        while (fgets(line, sizeof line, f))
            if (sscanf(line, "ino: %" SCNu64, &ino) == 1)
                break;
        (void)fclose(f);
        found = ino == st_ino;
        ++i;
    }
    (void)closedir(dir);
    return found;
}

/*
 * A shell's `echo x >file` closes the file twice: once when it has moved the descriptor to 1, before anything
 * is written, and once after. Neither an empty object in between nor the half of what a pipeline writes is
 * what anybody asked for, so a close counts when neither who closes nor who opened the file has it open any
 * more.
 */
static bool last_close(fuse_req_t req, const struct handle *h)
{
    pid_t pid = fuse_req_ctx(req)->pid;
    uint64_t st_ino = ops_driver(req)->ino_base + h->inode->id;
    return !has_open(pid, st_ino) && (h->opener == pid || !has_open(h->opener, st_ino));
}

void ops_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    struct handle *h = handle_of(fi);
    struct err err = {0};
    int result = 0;
    if (h->writer && writer_dirty(h->writer) && last_close(req, h))
        result = writer_commit(h->writer, &err);
    if (result < 0 && ops_asker_is_ending(req))
        writer_untold(h->writer);
    (void)fuse_reply_err(req, result < 0 ? ops_errno(&err) : 0);
}

void ops_fsync(fuse_req_t req, fuse_ino_t ino, int only_data, struct fuse_file_info *fi)
{
    (void)ino;
    (void)only_data;
    struct handle *h = handle_of(fi);
    struct err err = {0};
    int result = h->writer ? writer_commit(h->writer, &err) : 0;
    (void)fuse_reply_err(req, result < 0 ? ops_errno(&err) : 0);
}

void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    handle_close(ops_driver(req), handle_of(fi));
    (void)fuse_reply_err(req, 0);
}
