// SPDX-License-Identifier: Apache-2.0
/* Where the bytes of a fill go: gathered, so that the file grows in large pieces (which its readers' sendfile
 * is faster from), then into the file, or through the window once the disk is full. All on the fill's loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "proxy/cache/fill_impl.h"

#define ROOM_MIN ((uint64_t)1 << 20) /* asked for where the size is not known */
/* With less room than this in the window the download pauses: what is gathered, and what is on its way, still
 * fits. */
#define WINDOW_LOW (FILL_GATHER + ((size_t)64 << 10))

/* Returns the bytes written at f->written + done so far; fewer than len: *err says why. */
static size_t write_file(struct fill *f, const char *p, size_t len, struct err *err)
{
    size_t done = 0;
    err->code = ERR_NONE;
    while (done < len) {
        ssize_t n = pwrite(f->partial->fd, p + done, len - done, (off_t)(f->written + done));
        if (n > 0) {
            done += (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            (void)err_set_errno(err, ERR_IO, n < 0 ? errno : ENOSPC, "cannot write %s", f->what);
            break;
        }
    }
    return done;
}

/* Under f->lock. The window's bytes to the file, now that there is room; false if there is none after all. */
static bool window_to_file(struct fill *f)
{
    char *copy = mem_alloc(FILL_WINDOW_MAX);
    size_t len = fill_window_get(&f->window, f->window.begin, UINT64_MAX, copy, FILL_WINDOW_MAX);
    uint64_t end = f->written;
    struct err err;
    f->written = f->window.begin;
    bool all = write_file(f, copy, len, &err) == len;
    f->written = end;
    free(copy);
    if (all)
        fill_window_close(&f->window);
    return all;
}

static void on_room(void *arg, const struct err *err)
{
    struct fill *f = arg;
    pthread_mutex_lock(&f->lock);
    f->making_room = false;
    bool on_disk = f->partial && !err && window_to_file(f);
    f->paused = false;
    pthread_mutex_unlock(&f->lock);
    if (!on_disk)
        log_warn("no room on disk: streaming through memory, the blob will not be kept", F_S("blob", f->what),
                 F_S("error", err ? err->msg : NULL));
    fill_download_room(f);
    fill_unref(f);
}

/* The disk took the bytes before `at`: the rest goes through the window. Room helps a full disk, not one that
 * is broken. */
static void open_window(struct fill *f, uint64_t at, const struct err *err)
{
    const struct cache_env *env = f->table->env;
    pthread_mutex_lock(&f->lock);
    fill_window_open(&f->window, at);
    bool ask_room = !f->room_asked && err->code == ERR_NO_SPACE;
    f->room_asked = true;
    f->making_room = f->paused = ask_room;
    pthread_mutex_unlock(&f->lock);
    if (err->code != ERR_NO_SPACE)
        log_warn("disk fails: streaming through memory, the blob will not be kept", F_S("blob", f->what),
                 F_ERR(err));
    if (!ask_room)
        return;
    fill_ref(f);
    if (f->fetch)
        fetch_pause(f->fetch);
    env->store->ops->make_room(env->store, f->loop, f->size_known ? f->size - at : ROOM_MIN, on_room, f);
}

static int put_window(struct fill *f, const char *p, size_t len, struct err *err)
{
    pthread_mutex_lock(&f->lock);
    bool all = fill_window_put(&f->window, p, len) == len;
    bool pause = fill_window_room(&f->window) < WINDOW_LOW && !f->paused;
    bool unread = !f->readers && !f->making_room;
    f->paused |= pause;
    pthread_mutex_unlock(&f->lock);
    if (!all)
        return err_set(err, ERR_INTERNAL, "window overrun: %s", f->what);
    if (unread)
        return err_set(err, ERR_NO_SPACE, "no room on disk to keep %s, which nobody reads", f->what);
    if (pause && !f->size_known) /* readers get nothing before the size is known: it would never drain */
        return err_set(err, ERR_NO_SPACE, "no room on disk for %s, and %s does not say how long it is",
                       f->what, f->repo->upstream->name);
    if (pause && f->fetch)
        fetch_pause(f->fetch);
    return 0;
}

static int take(struct fill *f, const char *p, size_t len, struct err *err)
{
    size_t done = 0;
    if (!fill_window_in_use(&f->window)) {
        done = write_file(f, p, len, err);
        if (done == len)
            return 0;
        open_window(f, f->written + done, err);
    }
    return put_window(f, p + done, len - done, err);
}

int fill_flush(struct fill *f, struct err *err)
{
    size_t len = f->gathered;
    f->gathered = 0;
    if (len && take(f, f->gather, len, err) < 0)
        return -1;
    f->written += len;
    return 0;
}

int fill_gather(struct fill *f, const char *p, size_t len, struct err *err)
{
    if (!f->gather)
        f->gather = mem_alloc(FILL_GATHER);
    while (len) {
        size_t n = FILL_GATHER - f->gathered < len ? FILL_GATHER - f->gathered : len;
        memcpy(f->gather + f->gathered, p, n);
        f->gathered += n;
        p += n;
        len -= n;
        if (f->gathered == FILL_GATHER && fill_flush(f, err) < 0)
            return -1;
    }
    return 0;
}
