// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_RECORDS_REPORT_H
#define RAC_RECORDS_REPORT_H
/* A report as it lies in a ring: what stands first, then its texts, each with its NUL. For records*.c and
 * collect*.c only. */
#include "proxy/records/records.h"

enum report_kind { REPORT_MANIFEST, REPORT_BLOB_BEGIN, REPORT_BLOB_END };

enum report_text {
    REPORT_NODE,
    REPORT_NAME,   /* of blobs */
    REPORT_DIGEST, /* of blobs */
    REPORT_LOCATION,
    REPORT_ADDRESS,
    REPORT_SUBJECT,
    REPORT_AGENT,
    REPORT_HOST,
    REPORT_REFERENCE,
    REPORT_REQUEST,
    REPORT_TEXTS
};

struct report {
    enum report_kind kind;
    enum records_question question;
    bool is_digest; /* the reference is one */
    bool miss;
    uint16_t at[REPORT_TEXTS]; /* where each text begins in `text`; 0: "" */
    uint64_t stamp_us;         /* monotonic */
    int64_t time_ms;           /* wall clock */
    struct served *served;     /* REPORT_MANIFEST: a reference */
    uint64_t bytes;
    char text[]; /* its first byte is a NUL */
};

static inline const char *report_text(const struct report *r, enum report_text which)
{
    return r->text + r->at[which];
}
#endif
