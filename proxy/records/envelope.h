// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_RECORDS_ENVELOPE_H
#define RAC_RECORDS_ENVELOPE_H
/* A record as an event of the distribution project (its notifications/event.go, docs "Notifications"). Pure.
 */
#include "common/str.h"
#include "proxy/state/journal.h"

#define ENVELOPE_MEDIA_TYPE "application/vnd.docker.distribution.events.v2+json"

struct envelope_source {
    const char *addr;        /* host:port of this proxy */
    const char *instance_id; /* of this run of it */
    bool tls;
};

/* {"events":[ … ]}: begin, one or more, end. */
void envelope_begin(struct buf *out);
void envelope_add(struct buf *out, const struct journal *j, const struct journal_record *r,
                  const struct envelope_source *source);
void envelope_end(struct buf *out);
/* "pull" or "check". */
const char *envelope_action(const struct journal_record *r);
#endif
