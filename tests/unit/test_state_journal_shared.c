// SPDX-License-Identifier: Apache-2.0
/* The journal of one of several replicas: what it passes on, what comes, and who goes on at another one. */
#include "proxy/state/sqlite_journal_impl.h"
#include "tests/unit/journal_rig.h"

static struct journal *open_shared(const char *dir)
{
    struct err err;
    struct journal *j;
    const struct journal_limits limits = {.keep_days = 30, .sum_days = 400, .shared = true};
    if (sqlite_journal_open(dir, &limits, false, &j, &err) < 0)
        fail_msg("%s", err.msg);
    return j;
}

struct outbox {
    unsigned count, updates, gone;
    uint64_t last;
    struct journal_record r; /* of the last one; numbers only */
};

static void take_outbox(void *arg, uint64_t entry, bool is_update, const struct journal_record *r)
{
    struct outbox *o = arg;
    assert_true(entry > o->last);
    o->last = entry;
    ++o->count;
    o->updates += is_update;
    o->gone += r == NULL;
    if (r)
        o->r = *r;
}

static struct outbox outbox_of(struct journal *j, uint64_t after, uint32_t n)
{
    struct err err;
    struct outbox o = {.last = after};
    if (j->ops->outbox(j, after, n, take_outbox, &o, &err) < 0)
        fail_msg("%s", err.msg);
    return o;
}

static void arrive(struct journal *j, struct journal_arrival *a, size_t n)
{
    struct err err;
    if (j->ops->write(j, &(struct journal_batch){.arrivals = a, .arrival_count = n}, &err) < 0)
        fail_msg("%s", err.msg);
}

/* Where j goes on for who had `event`. */
static uint64_t resumed(struct journal *j, const char *event)
{
    struct err err;
    uint64_t number;
    if (j->ops->resume(j, event, strlen(event), &number, &err) < 0)
        fail_msg("%s", err.msg);
    return number;
}

static void test_what_is_passed_on(void **state)
{
    (void)state;
    struct err err;
    char *dir = scratch_new(), *alone = scratch_new();
    struct journal *j = open_shared(dir);
    struct journal_record r[3];
    for (int i = 0; i < 3; ++i)
        r[i] = record(NOON + i, JOURNAL_PULL, "n", "l", "a");
    write_records(j, r, 3);
    const struct journal_update u = {.number = 2, .bytes_sent = 77, .complete = true, .platform = "p"};
    assert_int_equal(
        j->ops->write(j, &(struct journal_batch){.updates = &u, .update_count = 1, .forwarded = 1}, &err), 0);
    struct outbox o = outbox_of(j, 0, 100);
    assert_int_equal(o.count, 3); /* two records and an update: the first was passed on */
    assert_int_equal(o.updates, 1);
    assert_int_equal(o.r.bytes_sent, 77);
    assert_int_equal(outbox_of(j, 2, 100).count, 2);
    assert_int_equal(outbox_of(j, 0, 1).count, 1);
    assert_int_equal(j->ops->write(j, &(struct journal_batch){.forwarded = o.last}, &err), 0);
    assert_int_equal(outbox_of(j, 0, 100).count, 0);
    j->ops->close(j);
    j = open_shared(dir);
    struct journal_record more = record(NOON + 9, JOURNAL_PULL, "n", "l", "a");
    write_records(j, &more, 1);
    assert_true(outbox_of(j, 0, 100).last > o.last); /* entries are never counted again */
    struct journal_record young = record(NOON + 31 * DAY_MS, JOURNAL_PULL, "n", "l", "a");
    write_records(j, &young, 1);
    const struct journal_update late = {.number = more.number, .platform = ""};
    assert_int_equal(j->ops->write(j, &(struct journal_batch){.updates = &late, .update_count = 1}, &err), 0);
    assert_int_equal(outbox_of(j, 0, 100).count, 3);
    while (j->ops->tidy(j, NOON + 31 * DAY_MS, &err) > 0)
        ;
    o = outbox_of(j, 0, 100); /* the young one, and what became of one that is forgotten */
    assert_int_equal(o.count, 2);
    assert_int_equal(o.updates, 1);
    assert_int_equal(o.gone, 1);
    j->ops->close(j);
    j = open_in(alone, 0);
    write_records(j, r, 3);
    assert_int_equal(outbox_of(j, 0, 100).count, 0); /* not shared: nobody wants it */
    j->ops->close(j);
    scratch_free(alone);
    scratch_free(dir);
}

/* Redis is away for long: what waits for it goes with what it is of, and does not fill the file. */
static void test_what_waits_is_bounded(void **state)
{
    (void)state;
    struct err err;
    struct journal *j;
    char *dir = scratch_new();
    const struct journal_limits limits = {
        .keep_days = 30, .sum_days = 400, .max_bytes = 512 << 10, .shared = true};
    assert_int_equal(sqlite_journal_open(dir, &limits, false, &j, &err), 0);
    struct journal_record *r = mem_alloc(1000 * sizeof *r);
    for (int64_t piece = 0; piece < 12; ++piece) {
        for (int64_t i = 0; i < 1000; ++i)
            r[i] = record(NOON + piece * 1000 + i, JOURNAL_PULL, "n", "l", "a");
        write_records(j, r, 1000);
        while (j->ops->tidy(j, NOON + DAY_MS, &err) > 0)
            ;
    }
    struct got g = read_all(j, (struct journal_query){.kind = -1, .since_ms = INT64_MIN});
    /* In pieces, as it is passed on: one question may not take long, whatever else the machine does. */
    uint64_t waiting = 0;
    for (struct outbox o = {.count = 1}; o.count > 0; waiting += o.count) {
        o = outbox_of(j, o.last, 500);
        assert_int_equal(o.gone, 0);
    }
    assert_in_range(g.count, 1000, 11000);
    assert_int_equal(waiting, g.count);
    free(r);
    j->ops->close(j);
    scratch_free(dir);
}

static void test_what_comes_from_others(void **state)
{
    (void)state;
    struct err err;
    char *dir = scratch_new();
    char id[JOURNAL_ID_LEN + 1];
    struct journal *j = open_shared(dir);
    struct journal_record own = record(NOON, JOURNAL_PULL, "n", "l", "a");
    write_records(j, &own, 1);
    struct journal_arrival a[4] = {
        {.r = record(NOON - 5 * DAY_MS, JOURNAL_PULL, "m", "l", "a")},
        {.r = record(NOON, JOURNAL_PULL, "m", "l", "a")},
        {.is_own = true, .r = own},
        {.is_update = true, .r = record(0, JOURNAL_PULL, "", "", "a")},
    };
    for (uint64_t i = 0; i < 4; ++i) {
        a[i].r.id[0] = 1000;
        a[i].r.id[1] = i == 3 ? 1 : i + 1;
        a[i].r.place = 10 * (i + 1);
    }
    a[2].r.id[0] = (uint64_t)own.made_ms << 16;
    a[2].r.id[1] = own.number << 16 | j->salt;
    a[3].r.bytes_sent = 5;
    a[3].r.complete = true;
    arrive(j, a, 4);
    assert_int_equal(a[0].r.number, 2);
    assert_int_equal(a[1].r.number, 3);
    assert_int_equal(a[2].r.number, 0);
    assert_int_equal(a[3].r.number, 0);
    struct got g =
        read_all(j, (struct journal_query){.kind = -1, .since_ms = INT64_MIN, .oldest_first = true});
    assert_int_equal(g.count, 3);
    struct journal_record foreign = g.r;
    assert_int_equal(foreign.id[1], 2); /* by the id it has where it was made */
    uint64_t number;
    (void)journal_id(j, &foreign, id);
    assert_int_equal(j->ops->find(j, id, strlen(id), &number, &err), 0);
    assert_int_equal(number, 3);
    (void)journal_id(j, &own, id);
    assert_int_equal(j->ops->find(j, id, strlen(id), &number, &err), 0);
    assert_int_equal(number, 1);
    g = read_all(
        j, (struct journal_query){.kind = -1, .since_ms = INT64_MIN, .before = 3, .oldest_first = true});
    assert_int_equal(g.r.bytes_sent, 5); /* what became of it came, too */
    /* What is there already does not come again, whatever is told twice. */
    for (int i = 0; i < 4; ++i)
        a[i].r.place += 100;
    arrive(j, a, 4);
    j->ops->close(j);
    j = open_shared(dir);
    for (int i = 0; i < 4; ++i)
        a[i].r.place += 100;
    arrive(j, a, 4);
    g = read_all(j, (struct journal_query){.kind = -1, .since_ms = INT64_MIN});
    assert_int_equal(g.count, 3);
    /* In the stream's order, each at the place where it was first. */
    g = read_all(j, (struct journal_query){.by_place = true, .after = 0});
    assert_int_equal(g.count, 3);
    assert_int_equal(g.first, 2);
    assert_int_equal(g.last, 1);
    assert_int_equal(read_all(j, (struct journal_query){.by_place = true, .after = 20}).first, 1);
    /* Nothing of what came is passed on again. */
    assert_int_equal(outbox_of(j, 0, 100).count, 1);
    /* A day that only another replica knew keeps its nodes, though this one began later. */
    while (j->ops->tidy(j, NOON, &err) > 0)
        ;
    struct needs n = needs_of(j, "docker.io/a", NOON - 6 * DAY_MS);
    assert_int_equal(n.pulls, 3);
    assert_int_equal(n.with_node, 2);
    j->ops->close(j);
    scratch_free(dir);
}

/* Two journals, one stream; readers go from the one to the other. */
static void test_a_reader_goes_on_elsewhere(void **state)
{
    (void)state;
    struct err err;
    char *dir_a = scratch_new(), *dir_b = scratch_new(), event[JOURNAL_EVENT_MAX];
    struct journal *a = open_shared(dir_a), *b = open_shared(dir_b);
    uint64_t number;
    struct journal_record at_a = record(NOON, JOURNAL_PULL, "a", "l", "a");
    struct journal_record at_b = record(NOON, JOURNAL_PULL, "b", "l", "a");
    write_records(a, &at_a, 1);
    write_records(b, &at_b, 1);
    /* The stream has b's record, then a's; b has followed all of it, a nothing yet. */
    struct journal_arrival s[2] = {{.is_own = true, .r = at_b}, {.r = at_a}};
    s[0].r.id[0] = (uint64_t)at_b.made_ms << 16;
    s[0].r.id[1] = at_b.number << 16 | b->salt;
    s[1].r.id[0] = (uint64_t)at_a.made_ms << 16;
    s[1].r.id[1] = at_a.number << 16 | a->salt;
    s[0].r.place = 10;
    s[1].r.place = 20;
    arrive(b, s, 2);
    assert_int_equal(s[1].r.number, 2);
    /* Who had a's from a lacks b's, which stands before a's at b. */
    (void)journal_event_id(a, &at_a, event);
    assert_int_equal(resumed(b, event), 0);
    assert_int_equal(resumed(a, event), 1);
    /* Who had it from b has both. */
    struct got g =
        read_all(b, (struct journal_query){.kind = -1, .since_ms = INT64_MIN, .oldest_first = true});
    (void)journal_event_id(b, &g.r, event);
    assert_int_equal(resumed(b, event), 2);
    /* b's next one is not in the stream yet: nobody else has it. */
    struct journal_record next = record(NOON, JOURNAL_PULL, "b", "l", "a");
    write_records(b, &next, 1);
    assert_int_equal(resumed(b, event), 2);
    s[0].is_own = false;
    s[1].is_own = true;
    arrive(a, s, 2);
    g = read_all(a, (struct journal_query){.kind = -1, .since_ms = INT64_MIN, .oldest_first = true});
    (void)journal_event_id(a, &g.r, event); /* b's record, as the second one of a */
    assert_int_equal(resumed(b, event), 1); /* a's comes again, and what is new behind it */
    for (size_t i = 0; i < strlen(event); ++i)
        if (a->ops->resume(a, event, i, &number, &err) == 0)
            assert_int_equal(i, JOURNAL_ID_LEN);
    a->ops->close(a);
    b->ops->close(b);
    scratch_free(dir_a);
    scratch_free(dir_b);
}

/* b's record at that place of the stream, as a journal of another name gets it. */
static struct journal_arrival foreign_at(uint64_t place)
{
    struct journal_arrival a = {.r = record(NOON, JOURNAL_PULL, "b", "l", "a")};
    a.r.id[0] = 1000;
    a.r.id[1] = place;
    a.r.place = place;
    return a;
}

struct witness {
    struct journal *j;
    struct journal_stats before;
    unsigned commits;
};

static int on_commit(void *arg)
{
    struct witness *w = arg;
    struct journal_stats now;
    w->j->ops->stats(w->j, &now);
    assert_int_equal(now.place, w->before.place);
    assert_int_equal(now.outbox, w->before.outbox);
    assert_int_equal(now.last, w->before.last);
    ++w->commits;
    return 0;
}

/* Who sees a new end, reads, and finds nothing believes that it was forgotten, and goes on behind it. */
static void test_what_is_told_can_be_read(void **state)
{
    (void)state;
    char *dir = scratch_new();
    struct witness w = {.j = open_shared(dir)};
    w.j->ops->stats(w.j, &w.before);
    (void)sqlite3_commit_hook(((struct sqlite_journal *)w.j)->writer.db, on_commit, &w);
    struct err err;
    struct journal_record own = record(NOON, JOURNAL_PULL, "a", "l", "a");
    struct journal_arrival a = foreign_at(10);
    const struct journal_batch b = {.records = &own, .record_count = 1, .arrivals = &a, .arrival_count = 1};
    assert_int_equal(w.j->ops->write(w.j, &b, &err), 0);
    assert_int_equal(w.commits, 1);
    struct journal_stats after;
    w.j->ops->stats(w.j, &after);
    assert_int_equal(after.place, 10);
    assert_int_equal(after.outbox, 1);
    assert_int_equal(after.last, 2);
    w.j->ops->close(w.j);
    scratch_free(dir);
}

/* Writes when the reader begins its n-th statement. */
struct intruder {
    struct journal *j;
    unsigned statements, at;
    struct journal_arrival *a;
    size_t count;
};

static int on_statement(unsigned what, void *arg, void *p, void *x)
{
    struct intruder *i = arg;
    (void)what, (void)p, (void)x;
    if (i->statements++ == i->at)
        arrive(i->j, i->a, i->count);
    return 0;
}

/* Whenever the stream goes on while it is looked up where a reader goes on: it misses nothing. */
static void test_the_stream_goes_on_meanwhile(void **state)
{
    (void)state;
    unsigned statements = 1;
    for (unsigned n = 0; n < 2 * statements; ++n) {
        bool has_own = n % 2;
        char *dir = scratch_new(), id[JOURNAL_ID_LEN + 1], event[JOURNAL_EVENT_MAX];
        struct journal *j = open_shared(dir);
        struct journal_arrival a[2] = {{.is_own = true}, foreign_at(20)};
        a[0].r = record(NOON, JOURNAL_PULL, "a", "l", "a");
        if (has_own)
            write_records(j, &a[0].r, 1);
        a[0].r.id[0] = (uint64_t)a[0].r.made_ms << 16;
        a[0].r.id[1] = a[0].r.number << 16 | j->salt;
        a[0].r.place = 10;
        struct intruder i = {.j = j, .at = n / 2, .a = has_own ? a : a + 1, .count = has_own ? 2 : 1};
        for (int k = 0; k < JOURNAL_READERS; ++k)
            (void)sqlite3_trace_v2(((struct sqlite_journal *)j)->reader[k].db, SQLITE_TRACE_STMT,
                                   on_statement, &i);
        (void)snprintf(event, sizeof event, "%s.%s.5", journal_id(j, &a[1].r, id),
                       j->replica[0] == '0' ? "11111111" : "00000000");
        assert_int_equal(resumed(j, event), 0);
        assert_true(i.statements > 1);
        statements = i.statements;
        j->ops->close(j);
        scratch_free(dir);
    }
}

struct newest {
    struct digest source;
    bool complete;
};

static bool take_newest(void *arg, const struct journal_need *n)
{
    *(struct newest *)arg = (struct newest){n->source, n->complete};
    return true;
}

/* What demand says that node b has: by the sums of days, and record by record. */
static struct newest newest_of(struct journal *j)
{
    struct err err;
    struct newest d = {0}, single = {0};
    if (j->ops->demand(j, "docker.io/a", 0, take_newest, &d, &err) < 0 ||
        j->ops->demand(j, "docker.io/a", NOON - DAY_MS / 4, take_newest, &single, &err) < 0)
        fail_msg("%s", err.msg);
    assert_string_equal(d.source.s, single.source.s);
    assert_int_equal(d.complete, single.complete);
    return d;
}

/* A replica that was cut off passes on what is older than what is known: that is not what the node has. */
static void test_what_comes_late_is_not_the_last(void **state)
{
    (void)state;
    for (int i = 0; i < 4; ++i) {
        bool is_own = i % 2, is_pull = i < 2;
        char *dir = scratch_new();
        struct journal *j = open_shared(dir);
        struct journal_arrival a[3] = {foreign_at(10), foreign_at(20), foreign_at(30)};
        for (int k = 0; k < 3; ++k) {
            a[k].r.time_ms = k == 1 ? NOON - 1000 : NOON + k; /* the second one comes late */
            a[k].r.kind = is_pull ? JOURNAL_PULL : JOURNAL_CHECK;
            a[k].r.complete = is_pull && k == 0;
            a[k].r.source = digest_of(&"012"[k], 1);
        }
        struct journal_record own = a[0].r;
        own.id[0] = own.id[1] = 0;
        if (is_own)
            write_records(j, &own, 1);
        else
            arrive(j, &a[0], 1);
        arrive(j, &a[1], 1);
        assert_string_equal(newest_of(j).source.s, a[0].r.source.s);
        assert_int_equal(newest_of(j).complete, is_pull);
        arrive(j, &a[2], 1);
        assert_string_equal(newest_of(j).source.s, a[2].r.source.s);
        assert_false(newest_of(j).complete);
        /* One's own, too: a question is a check two minutes later. */
        own.time_ms = NOON - 5000;
        own.source = digest_of("3", 1);
        write_records(j, &own, 1);
        assert_string_equal(newest_of(j).source.s, a[2].r.source.s);
        j->ops->close(j);
        scratch_free(dir);
    }
}

/* Three records in every order, each of them one's own in one of the journals: all say the same of the node.
 * Two are of one millisecond. */
static void test_demand_does_not_hang_on_the_order(void **state)
{
    (void)state;
    static const int order[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    char want[DIGEST_STR_MAX + 1] = "";
    for (int i = 0; i < 6 * 4 * 2; ++i) {
        int mine = i / 6 % 4;
        bool is_pull = i / 24;
        char *dir = scratch_new();
        struct journal *j = open_shared(dir);
        for (int k = 0; k < 3; ++k) {
            int n = order[i % 6][k];
            struct journal_arrival a = foreign_at(10 + (uint64_t)n);
            a.r.kind = is_pull ? JOURNAL_PULL : JOURNAL_CHECK;
            a.r.time_ms = n == 0 ? NOON - 3000 : NOON;
            a.r.source = digest_of(&"012"[n], 1);
            if (n == mine) {
                a.r.id[0] = a.r.id[1] = 0;
                write_records(j, &a.r, 1);
            } else {
                arrive(j, &a, 1);
            }
        }
        struct newest found = newest_of(j);
        assert_string_not_equal(found.source.s, digest_of("0", 1).s);
        assert_string_equal(found.source.s, want[0] ? want : found.source.s);
        (void)snprintf(want, sizeof want, "%s", found.source.s);
        j->ops->close(j);
        scratch_free(dir);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_passed_on),
        cmocka_unit_test(test_what_waits_is_bounded),
        cmocka_unit_test(test_what_comes_from_others),
        cmocka_unit_test(test_a_reader_goes_on_elsewhere),
        cmocka_unit_test(test_what_is_told_can_be_read),
        cmocka_unit_test(test_the_stream_goes_on_meanwhile),
        cmocka_unit_test(test_what_comes_late_is_not_the_last),
        cmocka_unit_test(test_demand_does_not_hang_on_the_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
