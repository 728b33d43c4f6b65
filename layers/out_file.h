// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_LAYERS_OUT_FILE_H
#define RAC_LAYERS_OUT_FILE_H
/*
 * Files of the rac-layer command. An out_file appears under its name whole or not at all: it is written
 * beside it and renamed. Blocks; one thread.
 */
#include <stddef.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/str.h"

struct out_file;

struct out_file *out_file_new(const char *path, struct err *err); /* NULL with ERR_IO */
void out_file_free(struct out_file *f); /* removes it if it was not finished; NULL is fine */
int out_file_write(struct out_file *f, const void *bytes, size_t len, struct err *err);
int out_file_finish(struct out_file *f, struct err *err);

/* A whole small file at once. */
int out_file_put(const char *path, const void *bytes, size_t len, struct err *err);
/* Reads a whole file into `ret`; ERR_SIZE_INVALID past `max` bytes. */
int in_file_read(const char *path, size_t max, struct buf *ret, struct err *err);
/* Makes a folder and those above it; one that is there is fine. */
int make_folders(const char *path, struct err *err);

static inline void cleanup_out_file_fn(struct out_file **f)
{
    out_file_free(*f);
}
#define cleanup_out_file RAC_CLEANUP(cleanup_out_file_fn)
#endif
