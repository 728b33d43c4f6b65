// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_COMMON_FS_H
#define RAC_COMMON_FS_H
/*
 * Files that must be right after a crash. Everything here blocks: main thread at start, or a thread of jobs.
 *
 * Errors are ERR_IO or ERR_NO_SPACE (a full disk or quota) with the path and the system's reason.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/str.h"

/* Makes the folder and those above it; one that is there is fine, whatever its mode. */
int fs_mkdirs(const char *path, mode_t mode, struct err *err);
/* fsync of a folder: names made, renamed or removed in it are durable after. */
int fs_sync_dir(const char *path, struct err *err);
/* Writes all of it at the file's offset. `path` is for the message only. */
int fs_write_all(int fd, const void *p, size_t len, const char *path, struct err *err);
/* Reads until `len` bytes or the end of the file; returns the bytes read, or -1 with errno set. */
ssize_t fs_pread_all(int fd, void *p, size_t len, uint64_t offset);
/* Replaces the file as a whole, or leaves the old one: write beside it, fdatasync, rename, fsync of the
 * folder. */
int fs_write_file(const char *path, const void *p, size_t len, mode_t mode, struct err *err);
/* Appends the whole file to `ret`. ERR_SIZE_INVALID past max_bytes; ERR_NOT_FOUND if there is none. */
int fs_read_file(const char *path, size_t max_bytes, struct buf *ret, struct err *err);
/* Gives a file its final name, keeping a file that has it already: *ret_there says so, and `from` is removed
 * then. The target never is half there. The folder is not synced. */
int fs_rename_new(const char *from, const char *to, bool *ret_there, struct err *err);
/* Takes the lock file `path` (flock; its text is the owner's pid) until *ret_fd is closed or the process
 * ends, however it ends. ERR_OVERLOADED naming the pid that has it; `what` says in the message what is in
 * use: "/var/lib/rac". */
int fs_lock(const char *path, const char *what, int *ret_fd, struct err *err);
/* Total bytes of the file system that `path` is on, and those an unprivileged process may still write. */
int fs_space(const char *path, uint64_t *ret_total, uint64_t *ret_free, struct err *err);
#endif
