// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_RECORDS_RECORDS_H
#define RAC_RECORDS_RECORDS_H
/*
 * Pull records: who needs which image, off the path of who pulls it.
 *
 *     workers           the records' thread                          readers
 *     report ──> ring ──> collect: what belongs together ──> journal <── /v1/pulls, /v1/demand
 *     report ──> ring ──┘                                       └──> feed ──> /v1/events, webhooks
 *
 * A report is a few hundred bytes in the ring of its worker: no lock, no formatting, no waiting. A ring that
 * is full (a disk that hangs, a storm) drops the report, and counts it. The thread runs at low priority,
 * takes what is in the rings in the order of time, and writes it in one transaction, several times a second
 * at most.
 *
 * The rule (docs/decisions/0010-records.md):
 *   - A GET of a runnable manifest that is answered 200 is a record of kind pull, written at once.
 *   - A question about a tag (HEAD, 304, or an index) that no such GET follows within check_window, by the
 * same node under the same name and for that very image, is a record of kind check, written when the window
 * ends (or the proxy does). Until then it is kept durably, too.
 *   - Blobs that the node asks for under that name, and that the manifest lists, belong to its youngest open
 *     pull. A pull closes when all it lists were sent, or when none was under way for check_window.
 *   - complete: nothing that was asked for was left unfinished; and where nothing was asked for, the last
 * pull of the same source by that node was complete.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/jobs.h"
#include "common/str.h"
#include "proxy/records/served.h"
#include "proxy/state/journal.h"

#define RECORDS_TEXT_MAX 255 /* bytes of a node, agent, host, …: the rest is cut */

struct records;

struct state;

struct records_config {
    struct journal *journal; /* taken over */
    struct state *state;     /* with a stream: the records are those of all replicas; else NULL */
    unsigned workers;
    uint64_t check_window_ms;
};

struct records *records_new(const struct records_config *config);
/* The workers have ended. Closes what is open, writes it, ends the thread. */
void records_free(struct records *c); /* NULL is fine */

/* Who asks, as it stands in a record. Strings are copied; NULL or empty where not known. */
struct records_who {
    const char *node, *location, *address, *subject;
    struct slice agent, host;
    const char *request_id;
};

enum records_question {
    RECORDS_GET, /* answered with the manifest */
    RECORDS_HEAD,
    RECORDS_NOT_MODIFIED, /* a GET or HEAD that was answered 304 */
};

/* All of these: any worker's loop, `worker` its number. records NULL: nothing is recorded. */

/* There is no room for a report now: it is dropped, and counted. Asked first, a report costs nothing then. */
bool records_are_full(struct records *c, unsigned worker);
uint64_t records_refused(const struct records *c); /* reports dropped; any thread */

/* Before the answer is sent, so that whatever the client asks next is reported later. */
void records_manifest(struct records *c, unsigned worker, const struct records_who *who,
                      struct served *served, struct slice reference, bool is_digest,
                      enum records_question question);

/* A GET of a blob under a name. begin before its answer, end after; the same name, node and digest. */
struct records_blob {
    const char *node, *name; /* "docker.io/library/busybox" */
    const struct digest *digest;
    uint64_t bytes; /* end: of the body, as far as they were sent */
    bool miss;      /* end: it needed an upstream */
};
void records_blob_begin(struct records *c, unsigned worker, const struct records_blob *blob);
void records_blob_end(struct records *c, unsigned worker, const struct records_blob *blob);

/* For what goes on by itself: all three on one worker's loop. Only of a journal that replicas share. */
void records_start(struct records *c, struct loop *loop);
void records_stop(struct records *c);
bool records_are_busy(struct records *c); /* something is under way that wants the loop; any thread */

/* share.h's, for the records' thread to write; done(arg) comes on the loop when it is in the journal. Both it
 * and what it points at stay until then, or until the records are freed. One of each kind at a time. */
enum records_incoming_kind { RECORDS_ARRIVED, RECORDS_FORWARDED, RECORDS_INCOMING };
struct records_incoming {
    struct journal_arrival *arrivals;
    size_t arrival_count;
    uint64_t forwarded;
    struct loop *loop;
    loop_fn *done;
    void *arg;
};
void records_give(struct records *c, enum records_incoming_kind kind, struct records_incoming *in);

/* Readers. */
struct journal *records_journal(struct records *c);
struct jobs *records_jobs(struct records *c); /* threads for what reads the journal: it blocks */
struct feed *records_feed(struct records *c);
/* Writes a cursor with the next batch. Any thread. */
void records_save_cursor(struct records *c, const char *name, uint64_t number);

/* {"id":…}, without a line's end. */
void record_format_json(const struct journal *j, const struct journal_record *r, struct buf *out);
#endif
