// SPDX-License-Identifier: Apache-2.0
/* A stream of events beside a journal that grows just when a read of it has found nothing: that record is
 * told, too. */
#include "proxy/api/events.h"
#include "tests/unit/http_client.h"
#include "tests/unit/late_journal.h"

static void handle(struct request *r, struct site *s)
{
    events_handle(s->data, r);
}

static bool keep_id(void *arg, const struct journal_record *r)
{
    struct late *l = ((void **)arg)[0];
    (void)journal_id(&l->base, r, ((void **)arg)[1]);
    return false;
}

static void test_what_comes_after_a_read_is_told(void **state)
{
    (void)state;
    struct late l = {.forgetful = true};
    struct site s;
    struct client c;
    struct answer a;
    struct err err;
    char first[JOURNAL_ID_LEN + 1] = "", got[4096] = "";
    /* Two records of an earlier run: the client has the first, and the second is too old by the time that it
     * is looked for. */
    late_open(&l, 2);
    const struct journal_query q = {.kind = -1,
                                    .since_ms = INT64_MIN,
                                    .until_ms = INT64_MAX,
                                    .before = UINT64_MAX,
                                    .oldest_first = true,
                                    .limit = 1};
    assert_int_equal(l.real->ops->read(l.real, &q, keep_id, (void *[]){&l, first}, &err), 0);
    assert_int_equal(strlen(first), JOURNAL_ID_LEN);
    l.left = 1;
    struct api api = {.records = l.records};
    site_init(&s, handle);
    s.data = &api;
    site_start(&s);
    client_dial(&c, &s);
    char *request = mem_printf("GET /v1/events HTTP/1.1\r\nHost: a\r\nLast-Event-ID: %s\r\n\r\n", first);
    client_send(&c, request);
    free(request);
    client_head(&c, &a);
    assert_int_equal(a.status, 200);
    for (size_t n = 0; n + 1 < sizeof got && !strstr(got, "\"reference\"");) {
        const char *hello = strstr(got, ":\n\n"); /* once more: the stream has nothing to tell, and waits */
        if ((hello && strstr(hello + 1, ":\n\n")) || (c.at == c.len && !client_fill(&c)))
            fail_msg("nothing but: %s", got);
        got[n++] = c.buf[c.at++];
    }
    assert_int_equal(l.left, 0);
    client_close(&c);
    eventually(atomic_load(&s.finished) == 1);
    site_stop(&s);
    records_free(l.records);
    late_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_comes_after_a_read_is_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
