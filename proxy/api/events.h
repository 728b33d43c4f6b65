// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_API_EVENTS_H
#define RAC_API_EVENTS_H
/*
 * GET /v1/events: each record as it is written, as a server-sent event (WHATWG HTML, section 9.2):
 *
 *     id: 01JD…            the record's id: sent back as Last-Event-ID, it resumes right behind that record
 *     event: pull          or check
 *     data: {…}            the record
 *
 * Without Last-Event-ID it begins with the next record. A comment is sent where nothing else was for a while.
 * A reader takes what it is sent at its own pace; what it has not taken waits in the journal, not in memory.
 */
#include "proxy/api/api.h"

void events_handle(struct api *api, struct request *r);

/* Ends all streams of this worker, whole, and every one that is asked for from now on: for a drain, which
 * would else wait for them. On a worker's loop. */
void events_end(void);
#endif
