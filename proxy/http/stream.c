// SPDX-License-Identifier: Apache-2.0
/*
 * A streamed answer. stream_on_left() tells when all that was given has left; a file on plaintext HTTP/1 is
 * sent straight from the page cache to the socket, while h2o holds no byte of ours; the socket then tells
 * (on_writable). Both come to go_on(), which sends what is left of the room's last answer,
 * or asks the room for more.
 *
 * pull() is never called from inside a response_* function: a room may be walking over its readers. A room
 * that answers from inside pull() with a file that leaves at once would recurse; ask() makes a loop of that.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "common/mem.h"
#include "proxy/http/http_impl.h"

static void go_on(struct request *r);
static void on_writable(h2o_socket_t *sock, const char *err);

static size_t piece_max(const struct request *r)
{
    return r->is_plain ? HTTP_PIECE_PLAIN : r->is_http2 ? HTTP_PIECE_HTTP2 : HTTP_PIECE_TLS;
}

void stream_free(struct request *r)
{
    free(r->file_buf);
    r->file_buf = NULL;
}

static void send_bytes(struct request *r, const void *p, size_t len, enum send_how how)
{
    r->inflight = len;
    ++r->writes;
    if (r->is_http2)
        http2_send(r, p, len, how);
    else
        http1_send(r, p, len, how);
}

/* ---- endings ---- */

/* Nothing is on its way: the connection (HTTP/1) or the stream (HTTP/2) ends here, and with it the request.
 */
static void give_up(struct request *r)
{
    r->is_aborting = true;
    r->is_complete = false;
    if (r->is_http2) {
        http2_cut(r);
        return;
    }
    r->state = REQUEST_LAST;
    conn_reset(r->conn);
    http1_end(r);
}

static void on_failed(void *arg)
{
    struct request *r = arg;
    if (r->file_was_short && r->on_short) {
        bool gone = false;
        r->gone = &gone;
        r->on_short(r->on_short_arg);
        if (gone)
            return;
        r->gone = NULL;
    }
    give_up(r);
}

/* From inside a response_* function, where the request must not go away. `why`: a read's errno, 0 at the end
 * of the file. */
static void fail_soon(struct request *r, bool file_was_short, int why)
{
    if (file_was_short)
        log_warn("answer cut off: its file cannot be read", F_S("id", request_id(r)),
                 F_S("error", why ? strerrordesc_np(why) : "it is shorter than it was"));
    r->is_aborting = true;
    r->file_was_short = file_was_short;
    loop_timer_arm(r->worker->loop, &r->timer, 0, on_failed, r);
}

void response_abort(struct request *r)
{
    if (r->is_aborting)
        return;
    switch (r->state) {
    case REQUEST_READING:
    case REQUEST_WAITING:
        loop_timer_cancel(r->worker->loop, &r->timer);
        r->status = 499; /* what logs call a client that closed first */
        give_up(r);
        break;
    case REQUEST_PULLED:
        give_up(r);
        break;
    case REQUEST_SENDING:
    case REQUEST_LAST:
        /* Bytes are on their way; the cut socket makes h2o call back. An HTTP/2 stream ends at its next turn.
         */
        r->is_aborting = true;
        r->is_complete = false;
        if (!r->is_http2)
            conn_reset(r->conn);
        break;
    }
}

void response_end(struct request *r)
{
    assert(r->state == REQUEST_PULLED &&
           (r->given == r->content_length || r->content_length == RESPONSE_OPEN));
    r->state = REQUEST_LAST;
    r->is_complete = true;
    send_bytes(r, NULL, 0, SEND_LAST);
}

/* ---- memory ---- */

static void send_memory(struct request *r)
{
    size_t n = r->mem_len < piece_max(r) ? r->mem_len : piece_max(r);
    const char *p = r->mem;
    r->mem += n;
    r->mem_len -= n;
    send_bytes(r, p, n, SEND_MORE);
}

static void take(struct request *r, uint64_t len)
{
    assert(r->state == REQUEST_PULLED && len > 0 && len <= r->content_length - r->given);
    r->state = REQUEST_SENDING;
    r->given += len;
    ++r->writes;
}

void response_write(struct request *r, const void *p, size_t len)
{
    take(r, len);
    r->mem = p;
    r->mem_len = len;
    send_memory(r);
}

/* ---- files ---- */

/* A page that is not in memory would block the loop: ask for it a window before it is needed. */
static void read_ahead(struct request *r)
{
    uint64_t end = r->file_offset + r->file_left, want = r->file_offset + HTTP_READ_AHEAD;
    if (r->file_advised >= end || r->file_advised > want)
        return;
    uint64_t from = r->file_advised > r->file_offset ? r->file_advised : r->file_offset;
    uint64_t to = want + HTTP_READ_AHEAD < end ? want + HTTP_READ_AHEAD : end;
    (void)posix_fadvise(r->file_fd, (off_t)from, (off_t)(to - from), POSIX_FADV_WILLNEED);
    r->file_advised = to;
}

static void file_advance(struct request *r, size_t n)
{
    r->file_offset += n;
    r->file_left -= n;
}

static void copy_file(struct request *r)
{
    if (!r->file_buf)
        r->file_buf = mem_alloc(piece_max(r));
    size_t want = r->file_left < piece_max(r) ? (size_t)r->file_left : piece_max(r);
    read_ahead(r);
    ssize_t n;
    do {
        n = pread(r->file_fd, r->file_buf, want, (off_t)r->file_offset);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        fail_soon(r, true, n < 0 ? errno : 0);
        return;
    }
    file_advance(r, (size_t)n);
    send_bytes(r, r->file_buf, (size_t)n, SEND_MORE);
}

static void send_file(struct request *r)
{
    int fd = h2o_socket_get_fd(r->conn->sock);
    while (r->file_left > 0 && r->turn_left > 0) {
        read_ahead(r);
        size_t want = r->file_left < r->turn_left ? (size_t)r->file_left : r->turn_left;
        off_t offset = (off_t)r->file_offset;
        ssize_t n = sendfile(fd, r->file_fd, &offset, want);
        if (n > 0) {
            file_advance(r, (size_t)n);
            r->turn_left -= (size_t)n;
            r->sent += (size_t)n;
            ++r->writes;
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else if (n < 0 && errno == EAGAIN) {
            break;
        } else {
            /* A socket that died says EPIPE, ECONNRESET or ETIMEDOUT; what else is wrong is wrong with the
             * file. */
            int why = n < 0 ? errno : 0;
            fail_soon(r, n == 0 || why == EIO || why == EINVAL || why == EBADF || why == EISDIR, why);
            return;
        }
    }
    if (r->file_left == 0 && r->turn_left > 0 && r->in_pull) {
        r->state = REQUEST_PULLED;
        r->pull_again = true;
        return;
    }
    /* More to send, or nothing left but not inside pull(): go on when the socket is ready, in a turn of its
     * own. */
    h2o_socket_notify_write(r->conn->sock, on_writable);
}

static void file_turn(struct request *r)
{
    if (r->is_plain && !r->is_chunked)
        send_file(r);
    else
        copy_file(r);
}

void response_write_file(struct request *r, int fd, uint64_t offset, uint64_t len,
                         void (*on_short)(void *arg), void *arg)
{
    take(r, len);
    if (fd != r->file_fd || offset != r->file_offset)
        r->file_advised = 0;
    r->file_fd = fd;
    r->file_offset = offset;
    r->file_left = len;
    r->on_short = on_short;
    r->on_short_arg = arg;
    if (!r->in_pull)
        r->turn_left = HTTP_TURN_BYTES;
    file_turn(r);
}

/* ---- turns ---- */

static void ask(struct request *r)
{
    bool gone = false;
    r->gone = &gone;
    do {
        r->pull_again = false;
        r->state = REQUEST_PULLED;
        r->in_pull = true;
        r->stream.pull(r, r->stream.arg);
        if (gone)
            return;
        r->in_pull = false;
    } while (r->pull_again);
    r->gone = NULL;
    if (r->state == REQUEST_PULLED)
        stream_free(r); /* the answer may be long in coming */
}

static void go_on(struct request *r)
{
    r->turn_left = HTTP_TURN_BYTES;
    if (r->is_aborting)
        give_up(r);
    else if (r->mem_len > 0)
        send_memory(r);
    else if (r->file_left > 0)
        file_turn(r);
    else
        ask(r);
}

static void on_writable(h2o_socket_t *sock, const char *err)
{
    struct request *r = conn_of_socket(sock)->current;
    assert(r && r->magic == REQUEST_MAGIC);
    if (err)
        r->is_aborting = true;
    go_on(r);
}

void stream_on_left(struct request *r)
{
    r->sent += r->inflight;
    r->inflight = 0;
    ++r->writes;
    go_on(r);
}

static void begin_later(void *arg)
{
    go_on(arg);
}

void stream_begin(struct request *r)
{
    r->state = REQUEST_SENDING;
    ++r->writes;
    if (r->is_http2) /* its headers leave with the first bytes: h2o waits for some */
        loop_timer_arm(r->worker->loop, &r->timer, 0, begin_later, r);
    else
        send_bytes(r, NULL, 0, SEND_MORE);
}
