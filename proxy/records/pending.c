// SPDX-License-Identifier: Apache-2.0
/* Records as bytes: a version, two numbers, then each text with its length. */
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "proxy/records/collect.h"

#define VERSION 1
#define TEXTS   16

/* The texts of a record, digests too, in one order for all. */
static void texts_of(const struct journal_record *r, const char *ret[TEXTS])
{
    const char *text[TEXTS] = {r->node,     r->location,   r->address,    r->agent,
                               r->subject,  r->registry,   r->repository, r->reference,
                               r->platform, r->media_type, r->request_id, r->host,
                               r->method,   r->source.s,   r->served.s,   r->injection.s};
    memcpy(ret, text, sizeof text);
}

void pending_format(const struct journal_record *r, struct buf *out)
{
    const char *text[TEXTS];
    const uint64_t head[3] = {VERSION, (uint64_t)r->time_ms, r->size};
    texts_of(r, text);
    (void)buf_add(out, head, sizeof head);
    for (int i = 0; i < TEXTS; ++i) {
        uint16_t len = (uint16_t)strlen(text[i]);
        (void)buf_add(out, &len, sizeof len);
        (void)buf_add(out, text[i], len);
    }
}

static bool take_digest(const char *text, struct digest *ret)
{
    ret->s[0] = '\0';
    return !text[0] || digest_parse(slice_of(text), ret, NULL) == 0;
}

struct collected *collected_new(const struct journal_record *r)
{
    const char *text[TEXTS];
    size_t len[TEXTS], total = 0;
    texts_of(r, text);
    for (int i = 0; i < TEXTS - 3; ++i)
        total += len[i] = strlen(text[i]) + 1;
    struct collected *c = mem_zalloc(sizeof *c + total);
    c->r = *r;
    const char **to[TEXTS - 3] = {&c->r.node,     &c->r.location,   &c->r.address,    &c->r.agent,
                                  &c->r.subject,  &c->r.registry,   &c->r.repository, &c->r.reference,
                                  &c->r.platform, &c->r.media_type, &c->r.request_id, &c->r.host,
                                  &c->r.method};
    char *at = c->store;
    for (int i = 0; i < TEXTS - 3; ++i) {
        memcpy(at, text[i], len[i]);
        *to[i] = at;
        at += len[i];
    }
    return c;
}

void collected_free(struct collected *c)
{
    if (!c)
        return;
    served_unref(c->served);
    free(c);
}

struct collected *pending_read(const void *p, size_t len)
{
    uint64_t head[3];
    const char *at = p, *end = at + len;
    char copy[TEXTS][RECORDS_TEXT_MAX + 1];
    if (len < sizeof head)
        return NULL;
    memcpy(head, at, sizeof head);
    at += sizeof head;
    if (head[0] != VERSION)
        return NULL;
    for (int i = 0; i < TEXTS; ++i) {
        uint16_t n;
        if (end - at < (ptrdiff_t)sizeof n)
            return NULL;
        memcpy(&n, at, sizeof n);
        at += sizeof n;
        if (n > RECORDS_TEXT_MAX || end - at < n || memchr(at, '\0', n))
            return NULL;
        memcpy(copy[i], at, n);
        copy[i][n] = '\0';
        at += n;
    }
    struct journal_record r = {.kind = JOURNAL_CHECK,
                               .time_ms = (int64_t)head[1],
                               .size = head[2],
                               .node = copy[0],
                               .location = copy[1],
                               .address = copy[2],
                               .agent = copy[3],
                               .subject = copy[4],
                               .registry = copy[5],
                               .repository = copy[6],
                               .reference = copy[7],
                               .platform = copy[8],
                               .media_type = copy[9],
                               .request_id = copy[10],
                               .host = copy[11],
                               .method = copy[12]};
    if (!take_digest(copy[13], &r.source) || !take_digest(copy[14], &r.served) ||
        !take_digest(copy[15], &r.injection))
        return NULL;
    return collected_new(&r);
}
