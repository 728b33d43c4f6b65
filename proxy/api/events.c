// SPDX-License-Identifier: Apache-2.0
#include "proxy/api/events.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <utlist.h>

#include "common/mem.h"
#include "proxy/api/journal_call.h"
#include "proxy/api/params.h"
#include "proxy/http/response.h"
#include "proxy/records/feed.h"

#define PIECE_BYTES   ((size_t)64 << 10)
#define PIECE_RECORDS 200               /* of the journal, at once */
#define IDLE_BYTES    ((size_t)4 << 10) /* kept of a reader that waits */
#define HEARTBEAT_MS  15000
#define STREAMS_MAX   1000 /* of all workers */

/*
 *   SENDING ── pull ──> something new? ── yes ──> SENDING
 *                          │ no: WAITING for the feed, or the heartbeat
 *                          └ not in the feed any more: READING the journal
 */
struct events {
    struct events *prev, *next; /* of all on this thread */
    unsigned refs;              /* the request's, and a reading's */
    struct request *r;          /* NULL: gone */
    struct loop *loop;
    struct records *records;
    struct feed_reader *reader;
    uint64_t after; /* the last record that was sent */
    struct buf piece;
    bool has_begun;  /* the first piece was asked for */
    bool is_pulled;  /* the stream waits for bytes */
    bool is_reading; /* a job has the piece */
    bool is_waiting; /* the feed will call */
    bool failed;
    uint64_t read_to;
    uint64_t written; /* the youngest record when reading began: that much a read must see */
    struct err err;
    struct loop_timer heartbeat;
};

static _Thread_local struct events *streams;
static _Thread_local bool is_ending;
static _Atomic unsigned stream_count;

static void format_event(struct buf *out, const char *id, enum journal_kind kind, const char *json,
                         size_t len)
{
    (void)buf_printf(out, "id: %s\nevent: %s\ndata: ", id, kind == JOURNAL_PULL ? "pull" : "check");
    (void)buf_add(out, json, len);
    (void)buf_add_str(out, "\n\n");
}

static void events_unref(struct events *e)
{
    if (--e->refs)
        return;
    buf_free(&e->piece);
    free(e);
}

static void on_request_over(void *arg)
{
    struct events *e = arg;
    e->r = NULL;
    loop_timer_cancel(e->loop, &e->heartbeat);
    feed_close(e->reader);
    DL_DELETE(streams, e);
    atomic_fetch_sub(&stream_count, 1);
    events_unref(e);
}

/* ---- what comes next ---- */

static void on_heartbeat(void *arg);
static void send_next(struct events *e);

static void write_piece(struct events *e)
{
    e->is_pulled = false;
    loop_timer_cancel(e->loop, &e->heartbeat);
    response_write(e->r, e->piece.p, e->piece.len);
}

static bool add_record(void *arg, const struct journal_record *r)
{
    struct events *e = arg;
    struct journal *j = records_journal(e->records);
    char id[JOURNAL_EVENT_MAX];
    cleanup_buf struct buf json = {0};
    record_format_json(j, r, &json);
    format_event(&e->piece, journal_event_id(j, r, id), r->kind, json.p, json.len);
    e->read_to = r->number;
    return e->piece.len < PIECE_BYTES;
}

static void read_journal(void *arg)
{
    struct events *e = arg;
    struct journal *j = records_journal(e->records);
    const struct journal_query q = {.kind = -1,
                                    .since_ms = INT64_MIN,
                                    .until_ms = INT64_MAX,
                                    .after = e->after,
                                    .before = UINT64_MAX,
                                    .oldest_first = true,
                                    .limit = PIECE_RECORDS};
    e->read_to = e->after;
    e->failed = j->ops->read(j, &q, add_record, e, &e->err) < 0;
}

static void on_read(void *arg)
{
    struct events *e = arg;
    e->is_reading = false;
    if (e->r && e->failed) {
        response_abort(e->r); /* the client comes again, with the id it has */
    } else if (e->r) {
        /* None: what was there is forgotten by age. What came since the read is for the next one. */
        bool none = e->read_to == e->after;
        e->after = !none ? e->read_to : e->written > e->after ? e->written : e->after;
        send_next(e);
    }
    events_unref(e);
}

static void start_reading(struct events *e)
{
    ++e->refs;
    e->is_reading = true;
    e->written = feed_last(records_feed(e->records));
    jobs_submit(records_jobs(e->records), e->loop, read_journal, on_read, e);
}

static void on_feed(void *arg)
{
    struct events *e = arg;
    e->is_waiting = false;
    if (e->is_pulled && !e->is_reading)
        send_next(e);
}

/* The stream wants bytes, and the piece is ours. */
static void send_next(struct events *e)
{
    if (is_ending) {
        e->is_pulled = false;
        response_end(e->r);
        return;
    }
    if (e->piece.len == 0 &&
        !feed_read(records_feed(e->records), e->after, PIECE_BYTES, format_event, &e->piece, &e->after)) {
        start_reading(e);
        return;
    }
    if (e->piece.len) {
        write_piece(e);
        return;
    }
    if (!e->is_waiting) {
        e->is_waiting = true;
        feed_wait(e->reader, e->after);
    }
    loop_timer_arm(e->loop, &e->heartbeat, HEARTBEAT_MS, on_heartbeat, e);
}

static void on_heartbeat(void *arg)
{
    struct events *e = arg;
    if (!e->is_pulled || e->is_reading)
        return;
    (void)buf_add_str(&e->piece, ":\n\n");
    write_piece(e);
}

static void pull(struct request *r, void *arg)
{
    struct events *e = arg;
    (void)r;
    e->is_pulled = true;
    if (e->piece.cap > IDLE_BYTES)
        buf_free(&e->piece);
    else if (e->has_begun)
        buf_reset(&e->piece);
    e->has_begun = true;
    send_next(e);
}

/* ---- birth and end ---- */

static void begin(struct api *api, struct request *r, uint64_t after);

/* An id that the journal must be asked about. */
struct resume {
    unsigned refs;     /* the request's, and the job's */
    struct request *r; /* NULL: gone */
    struct api *api;
    size_t len;
    char id[JOURNAL_EVENT_MAX];
    uint64_t after;
    struct err err;
    bool failed;
};

static void resume_unref(struct resume *u)
{
    if (--u->refs == 0)
        free(u);
}

static void on_resume_over(void *arg)
{
    struct resume *u = arg;
    u->r = NULL;
    resume_unref(u);
}

static void refuse_id(struct request *r)
{
    api_message(r, 400, "Last-Event-ID is no id of a record here");
}

static void find_after(void *arg)
{
    struct resume *u = arg;
    struct journal *j = records_journal(u->api->records);
    u->failed = j->ops->resume(j, u->id, u->len, &u->after, &u->err) < 0;
}

static void on_found(void *arg)
{
    struct resume *u = arg;
    if (u->r && u->failed && u->err.code == ERR_NOT_FOUND)
        refuse_id(u->r);
    else if (u->r && u->failed)
        api_err(u->r, &u->err);
    else if (u->r)
        begin(u->api, u->r, u->after);
    resume_unref(u);
}

static void begin_behind(struct api *api, struct request *r, struct slice id)
{
    struct journal *j = records_journal(api->records);
    uint64_t after;
    if (!j->shared) {
        if (!journal_id_number(j, id.p, id.len, &after) || after > feed_last(records_feed(api->records)))
            refuse_id(r);
        else
            begin(api, r, after);
        return;
    }
    if (id.len >= JOURNAL_EVENT_MAX) {
        refuse_id(r);
        return;
    }
    struct resume *u = mem_new(struct resume);
    u->refs = 2;
    u->r = r;
    u->api = api;
    u->len = id.len;
    memcpy(u->id, id.p, id.len);
    request_on_dispose(r, on_resume_over, u);
    jobs_submit(records_jobs(api->records), request_loop(r), find_after, on_found, u);
}

void events_handle(struct api *api, struct request *r)
{
    static const char *const names[] = {"last-event-id", NULL};
    struct err err;
    const char *param;
    struct slice id = request_header(r, "last-event-id");
    if (!api->records) {
        api_message(r, 503, "pulls are not recorded here (pulls.record)");
        return;
    }
    if (params_check(r, names, &err) < 0 ||
        params_text(r, "last-event-id", JOURNAL_EVENT_MAX - 1, &param, &err) < 0) {
        api_err(r, &err);
        return;
    }
    if (!id.len && param) /* where a first request cannot have the header */
        id = slice_of(param);
    if (id.len)
        begin_behind(api, r, id);
    else
        begin(api, r, feed_last(records_feed(api->records)));
}

static void begin(struct api *api, struct request *r, uint64_t after)
{
    if (is_ending || atomic_fetch_add(&stream_count, 1) >= STREAMS_MAX) {
        if (!is_ending)
            atomic_fetch_sub(&stream_count, 1);
        response_header_ref(r, "Retry-After", SLICE_LIT("5"));
        api_message(r, 503, is_ending ? "the proxy is shutting down" : "too many readers of events");
        return;
    }
    struct events *e = mem_new(struct events);
    e->refs = 1;
    e->r = r;
    e->loop = request_loop(r);
    e->records = api->records;
    e->after = after;
    e->reader = feed_open(records_feed(api->records), e->loop, on_feed, e);
    DL_APPEND(streams, e);
    request_on_dispose(r, on_request_over, e);
    (void)buf_add_str(&e->piece, ":\n\n"); /* the client sees at once that it is connected */
    response_header_ref(r, "Content-Type", SLICE_LIT("text/event-stream"));
    response_header_ref(r, "Cache-Control", SLICE_LIT("no-store"));
    response_header_ref(r, "X-Accel-Buffering", SLICE_LIT("no"));
    response_begin(r, 200, RESPONSE_OPEN, (struct response_stream){pull, e});
}

void events_end(void)
{
    struct events *e, *next;
    is_ending = true;
    DL_FOREACH_SAFE (streams, e, next) {
        if (e->is_pulled && !e->is_reading) {
            e->is_pulled = false;
            response_end(e->r); /* e may be gone */
        }
    }
}
