// SPDX-License-Identifier: Apache-2.0
/*
 * What waits to be sent: <data>/upload/<hex>, a file each, so that a restart forgets none of it. The file is
 * empty, or holds the id and the part size of a multipart upload that was begun, which goes on then. A power
 * cut may lose a wish: nothing but a copy in S3 is lost with it, so nothing waits for a sync.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>

#include "common/clock.h"
#include "common/fs.h"
#include "common/log.h"
#include "common/mem.h"
#include "proxy/cache/s3_impl.h"

#define MARK_MAX     2048
#define AGAIN_MIN_MS 1000u
#define AGAIN_MAX_MS 300000u

static char *mark_path(const struct s3_blobs *s, const struct digest *digest)
{
    return mem_printf("%s/%s", s->folder, digest_hex(digest));
}

/* ---- files ---- */

int s3_queue_mark(struct s3_blobs *s, const struct s3_waiting *w, struct err *err)
{
    cleanup_free char *path = mark_path(s, &w->digest);
    cleanup_buf struct buf text = {0};
    if (w->upload_id)
        (void)buf_printf(&text, "%s\n%llu\n", w->upload_id, (unsigned long long)w->part_bytes);
    cleanup_free char *beside = mem_printf("%s.new", path);
    cleanup_close int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot make the file", beside);
    if (fs_write_all(fd, buf_str(&text), text.len, beside, err) < 0)
        return -1;
    return rename(beside, path) < 0 ? err_set_errno(err, ERR_IO, errno, "%s: cannot rename", beside) : 0;
}

/* What cannot be read says nothing, as an empty one. */
static void read_mark(const char *path, struct s3_waiting *w)
{
    cleanup_buf struct buf text = {0};
    uint64_t part_bytes;
    if (fs_read_file(path, MARK_MAX, &text, NULL) < 0)
        return;
    struct slice rest = {text.p, text.len}, id = slice_cut(&rest, '\n');
    if (!id.len || !slice_to_u64(slice_cut(&rest, '\n'), UINT64_C(5) << 30, &part_bytes) ||
        part_bytes < S3_PART)
        return;
    w->upload_id = mem_strndup(id.p, id.len);
    w->part_bytes = part_bytes;
}

static bool digest_of_name(const char *name, struct digest *ret)
{
    size_t len = strlen(name);
    if (len != 64 && len != 128)
        return false;
    cleanup_free char *text = mem_printf("%s:%s", len == 64 ? "sha256" : "sha512", name);
    return digest_parse(slice_of(text), ret, NULL) == 0;
}

/* Reads the folder; what is in memory already stays as it is. */
static int load(struct s3_blobs *s, struct err *err)
{
    DIR *folder = opendir(s->folder);
    struct digest digest;
    struct dirent *e;
    if (!folder)
        return err_set_errno(err, ERR_IO, errno, "%s: cannot read the folder", s->folder);
    s->more_on_disk = false;
    while ((e = readdir(folder)) != NULL) {
        struct s3_waiting *w = NULL;
        if (!digest_of_name(e->d_name, &digest))
            continue;
        HASH_FIND(hh, s->by_digest, digest.s, strlen(digest.s), w);
        if (w)
            continue;
        w = s3_queue_add(s, &digest);
        if (!w)
            break;
        cleanup_free char *path = mark_path(s, &digest);
        w->send = w->marked = true;
        read_mark(path, w);
    }
    (void)closedir(folder);
    return 0;
}

int s3_queue_load(struct s3_blobs *s, struct err *err)
{
    if (fs_mkdirs(s->folder, 0750, err) < 0)
        return -1;
    pthread_mutex_lock(&s->lock);
    int rc = load(s, err);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* ---- memory ---- */

static void pin(struct s3_blobs *s, struct s3_waiting *w, bool on)
{
    if (w->pinned == on || (on && !w->send))
        return;
    w->pinned = on;
    s->store->ops->pin(s->store, &w->digest, on);
}

void s3_queue_pin(struct s3_blobs *s, bool on)
{
    struct s3_waiting *w;
    s->pinning = on;
    DL_FOREACH (s->order, w)
        pin(s, w, on);
}

struct s3_waiting *s3_queue_add(struct s3_blobs *s, const struct digest *digest)
{
    struct s3_waiting *w = NULL;
    HASH_FIND(hh, s->by_digest, digest->s, strlen(digest->s), w);
    if (w)
        return w;
    if (s->waiting >= S3_WAITING_MAX) {
        s->more_on_disk = true;
        return NULL;
    }
    w = mem_new(struct s3_waiting);
    w->digest = *digest;
    HASH_ADD_KEYPTR(hh, s->by_digest, w->digest.s, strlen(w->digest.s), w);
    DL_APPEND(s->order, w);
    metric_set(s->waiting_gauge, ++s->waiting);
    return w;
}

struct s3_waiting *s3_queue_take(struct s3_blobs *s, uint64_t *ret_wait_ms)
{
    uint64_t now = clock_mono_ms(), wait = UINT64_MAX, pause = s3_blobs_pause(s);
    struct s3_waiting *w;
    DL_FOREACH (s->order, w) {
        uint64_t left = w->not_before_ms > now ? w->not_before_ms - now : 0;
        if (w->busy)
            continue;
        left = left > pause ? left : pause;
        if (left == 0) {
            w->busy = true;
            return w;
        }
        wait = left < wait ? left : wait;
    }
    *ret_wait_ms = wait;
    return NULL;
}

static void drop(struct s3_blobs *s, struct s3_waiting *w)
{
    pin(s, w, false);
    HASH_DEL(s->by_digest, w);
    DL_DELETE(s->order, w);
    metric_set(s->waiting_gauge, --s->waiting);
    free(w->upload_id);
    free(w);
}

void s3_queue_done(struct s3_blobs *s, struct s3_waiting *w)
{
    if (w->again) {
        w->busy = false;
        return;
    }
    if (w->marked) {
        cleanup_free char *path = mark_path(s, &w->digest);
        (void)unlink(path);
    }
    drop(s, w);
    if (!s->waiting && s->more_on_disk)
        (void)load(s, NULL);
}

void s3_queue_again(struct s3_blobs *s, struct s3_waiting *w)
{
    unsigned shift = w->tries < 9 ? w->tries : 9;
    uint64_t pause = (uint64_t)AGAIN_MIN_MS << shift;
    pause = pause < AGAIN_MAX_MS ? pause : AGAIN_MAX_MS;
    ++w->tries;
    w->busy = false;
    w->not_before_ms = clock_mono_ms() + pause / 2 + (uint64_t)rand_r(&s->random) % (pause / 2);
    DL_DELETE(s->order, w);
    DL_APPEND(s->order, w);
}

void s3_queue_free(struct s3_blobs *s)
{
    while (s->order)
        drop(s, s->order);
}

void s3_queue_wish(struct s3_blobs *s, const struct digest *digest, bool send, bool wrong)
{
    struct err err;
    struct s3_waiting only = {.digest = *digest}, *w = NULL;
    pthread_mutex_lock(&s->lock);
    HASH_FIND(hh, s->by_digest, digest->s, strlen(digest->s), w);
    bool has_file = w && w->marked; /* which may hold an upload's id */
    pthread_mutex_unlock(&s->lock);
    bool mark = send && !has_file;
    if (mark && s3_queue_mark(s, &only, &err) < 0) {
        log_warn("blob may not be sent to S3 after a restart", F_S("digest", digest->s), F_ERR(&err));
        mark = false;
    }
    pthread_mutex_lock(&s->lock);
    w = s->stopping ? NULL : s3_queue_add(s, digest);
    if (w) {
        w->marked |= mark;
        w->send |= send;
        w->wrong |= wrong;
        w->again = w->busy;
        if (s->pinning)
            pin(s, w, true);
        pthread_cond_broadcast(&s->wake); /* the keeper of credentials waits there, too */
    }
    pthread_mutex_unlock(&s->lock);
}
