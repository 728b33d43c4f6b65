// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_RECORDS_SHARE_ENTRY_H
#define RAC_RECORDS_SHARE_ENTRY_H
/*
 * A record, or what became of one, as it stands in the stream that replicas share: one JSON object. Pure.
 *
 *     {"replica":"…","id":"…","kind":"pull", … }      all that a journal keeps of a record
 *     {"replica":"…","id":"…","kind":"update", … }    its outcome, and its platform if that came later
 *
 * Members that are not known are left out when read, so that replicas of two versions understand each other.
 */
#include "common/json.h"
#include "common/str.h"
#include "proxy/state/journal.h"

#define SHARE_ENTRY_MAX ((size_t)64 << 10) /* bytes; one of ours has 12 KiB at most */

void share_entry_format(const struct journal *j, const struct journal_record *r, bool is_update,
                        struct buf *out);

/* Into *ret, whose strings are those of the returned value: to be json_decref'd after. NULL with ERR_INVALID:
 * it is none of ours. */
json_t *share_entry_parse(const struct journal *j, struct slice bytes, struct journal_arrival *ret,
                          struct err *err);
#endif
