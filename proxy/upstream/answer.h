// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_UPSTREAM_ANSWER_H
#define RAC_UPSTREAM_ANSWER_H
/* The head of an answer, read line by line as curl hands it out. Pure. */
#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "common/str.h"
#include "proxy/upstream/challenge.h"
#include "proxy/upstream/client.h"

#define ANSWER_HEAD_MAX ((size_t)64 << 10) /* bytes of all header lines, interim answers included */

struct answer {
    struct fetch_head head;
    struct challenge challenge;
    bool challenge_malformed; /* challenge_err says how */
    struct err challenge_err;
    char *location; /* NULL if not said; freed by answer_free */
    size_t bytes;   /* of header lines so far */
    bool chunked;
    bool complete; /* the empty line of the final head was read: what follows are trailers */
};

void answer_reset(struct answer *a); /* a zeroed one, or one that was read before */
void answer_free(struct answer *a);
/* One line with its line end: the status line, a header, or the empty line. Returns 1 when the head of a
 * final answer is complete, else 0. ERR_UPSTREAM if it makes no sense: folded lines, Content-Lengths that
 * differ, over ANSWER_HEAD_MAX. */
int answer_line(struct answer *a, const char *p, size_t len, struct err *err);
#endif
