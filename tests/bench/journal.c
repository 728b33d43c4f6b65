// SPDX-License-Identifier: Apache-2.0
/*
 * The journal of pull records with many in it: bench_journal FOLDER RECORDS [--keep]
 *
 * Fills it with 30 days of an estate (2,000 nodes in 50 locations, 400 images of which few are most of it, a
 * third of the records checks) up to now, then asks what the API asks, each question many times with other
 * arguments, and prints the percentiles. --keep: what is there already stays, and is only asked.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/str.h"
#include "proxy/state/sqlite_journal.h"

enum { NODES = 2000, LOCATIONS = 50, IMAGES = 400, BATCH = 2000, DAYS = 30, ROUNDS = 200 };

static uint64_t seed = 1;

static uint64_t dice(uint64_t sides)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % sides;
}

/* Few images are most of what is pulled. */
static unsigned some_image(void)
{
    return (unsigned)(dice(IMAGES) * dice(IMAGES) / IMAGES);
}

struct names {
    char node[32], location[32], address[32], repository[64], reference[32];
};

static void fill_in(struct journal_record *r, struct names *n, unsigned node, unsigned image)
{
    (void)snprintf(n->node, sizeof n->node, "node-%04u.lab", node);
    (void)snprintf(n->location, sizeof n->location, "site-%02u", node % LOCATIONS);
    (void)snprintf(n->address, sizeof n->address, "10.%u.%u.%u", node % LOCATIONS, node / 250,
                   node % 250 + 1);
    (void)snprintf(n->repository, sizeof n->repository, "team-%u/service-%u", image % 7, image);
    unsigned version = (unsigned)dice(5);
    (void)snprintf(n->reference, sizeof n->reference, "1.%u", version);
    unsigned what = image * 5 + version;
    bool check = dice(3) == 0;
    *r = (struct journal_record){.kind = check ? JOURNAL_CHECK : JOURNAL_PULL,
                                 .node = n->node,
                                 .location = n->location,
                                 .address = n->address,
                                 .agent = "containerd/1.7.13",
                                 .subject = "",
                                 .registry = "docker.io",
                                 .repository = n->repository,
                                 .reference = n->reference,
                                 .platform = "linux/amd64",
                                 .media_type = "application/vnd.oci.image.manifest.v1+json",
                                 .source = digest_of(&what, sizeof what),
                                 .size = 1800,
                                 .request_id = "01JDABCDEFGHJKMNPQRSTVWXYZ",
                                 .host = "registry.lab:9090",
                                 .method = check ? "HEAD" : "GET",
                                 .bytes_sent = dice(1u << 28),
                                 .duration_ms = dice(60000),
                                 .cache_hits = 8,
                                 .complete = !check};
    what += 1000000;
    r->served = digest_of(&what, sizeof what);
    what = 7;
    r->injection = digest_of(&what, sizeof what);
}

static int fill(struct journal *j, uint64_t count, struct err *err)
{
    static struct journal_record records[BATCH];
    static struct names names[BATCH];
    int64_t now_ms = clock_wall_ms(), begin_ms = now_ms - (int64_t)DAYS * 86400000;
    uint64_t begin_us = clock_mono_us();
    for (uint64_t done = 0; done < count; done += BATCH) {
        struct journal_batch b = {.records = records, .record_count = BATCH};
        for (uint64_t i = 0; i < BATCH; ++i) {
            int64_t at_ms =
                begin_ms + (int64_t)((double)(done + i) / (double)count * (double)(now_ms - begin_ms));
            fill_in(&records[i], &names[i], (unsigned)dice(NODES), some_image());
            records[i].time_ms = at_ms;
            records[i].made_ms = at_ms + (records[i].kind == JOURNAL_CHECK ? 120000 : 200);
        }
        if (j->ops->write(j, &b, err) < 0)
            return -1;
    }
    double s = (double)(clock_mono_us() - begin_us) / 1e6;
    (void)printf("%" PRIu64 " records written in %.0f s: %.0f a second, in transactions of %d\n", count, s,
                 (double)count / s, BATCH);
    return 0;
}

static bool count_record(void *arg, const struct journal_record *r)
{
    (void)r;
    ++*(uint64_t *)arg;
    return true;
}

static bool count_need(void *arg, const struct journal_need *n)
{
    (void)n;
    ++*(uint64_t *)arg;
    return true;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

enum question {
    BY_NOTHING,
    BY_NODE,
    BY_IMAGE,
    BY_LOCATION,
    BY_NODE_IMAGE,
    BY_IMAGE_LOCATION,
    BY_TIME,
    DEMAND,
    DEMAND_DAY,
    DEMAND_ALL,
    QUESTIONS
};

static const char *const titles[QUESTIONS] = {
    [BY_NOTHING] = "pulls: newest 100",
    [BY_NODE] = "pulls?node",
    [BY_IMAGE] = "pulls?image",
    [BY_LOCATION] = "pulls?location",
    [BY_NODE_IMAGE] = "pulls?node&image",
    [BY_IMAGE_LOCATION] = "pulls?image&location",
    [BY_TIME] = "pulls?since&until, an hour",
    [DEMAND] = "demand?image, 30 days",
    [DEMAND_DAY] = "demand?image&since=36h",
    [DEMAND_ALL] = "demand, all images, since=36h",
};

static int ask(struct journal *j, enum question what, uint64_t *rows, struct err *err)
{
    struct names n;
    struct journal_record r;
    char image[128];
    int64_t now_ms = clock_wall_ms(), at_ms = now_ms - (int64_t)dice((uint64_t)DAYS * 86400000);
    fill_in(&r, &n, (unsigned)dice(NODES), some_image());
    (void)snprintf(image, sizeof image, "docker.io/%s", n.repository);
    if (what == DEMAND || what == DEMAND_DAY)
        return j->ops->demand(j, image,
                              now_ms - (what == DEMAND ? INT64_C(30) * 86400000 : INT64_C(36) * 3600000),
                              count_need, rows, err);
    if (what == DEMAND_ALL)
        return j->ops->demand(j, NULL, now_ms - INT64_C(36) * 3600000, count_need, rows, err);
    struct journal_query q = {
        .kind = -1, .since_ms = INT64_MIN, .until_ms = INT64_MAX, .before = UINT64_MAX, .limit = 101};
    q.node = what == BY_NODE || what == BY_NODE_IMAGE ? n.node : NULL;
    q.image = what == BY_IMAGE || what == BY_NODE_IMAGE || what == BY_IMAGE_LOCATION ? image : NULL;
    q.location = what == BY_LOCATION || what == BY_IMAGE_LOCATION ? n.location : NULL;
    if (what == BY_TIME) {
        q.since_ms = at_ms;
        q.until_ms = at_ms + 3600000;
    }
    return j->ops->read(j, &q, count_record, rows, err);
}

static int measure(struct journal *j, struct err *err)
{
    static uint64_t us[ROUNDS];
    (void)printf("%-32s %10s %10s %10s %8s\n", "question", "p50 ms", "p99 ms", "max ms", "rows");
    for (enum question what = 0; what < QUESTIONS; ++what) {
        uint64_t rows = 0;
        int rounds = what == DEMAND_ALL ? ROUNDS / 20 : ROUNDS;
        for (int i = 0; i < rounds; ++i) {
            uint64_t begin_us = clock_mono_us();
            if (ask(j, what, &rows, err) < 0)
                return -1;
            us[i] = clock_mono_us() - begin_us;
        }
        qsort(us, (size_t)rounds, sizeof us[0], by_number);
        (void)printf("%-32s %10.2f %10.2f %10.2f %8" PRIu64 "\n", titles[what], (double)us[rounds / 2] / 1e3,
                     (double)us[rounds * 99 / 100] / 1e3, (double)us[rounds - 1] / 1e3,
                     rows / (uint64_t)rounds);
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct err err;
    struct journal *j;
    struct journal_stats stats;
    uint64_t count;
    const struct journal_limits limits = {.keep_days = 31, .sum_days = 400};
    if (argc < 3 || !slice_to_u64(slice_of(argv[2]), UINT64_C(1) << 40, &count)) {
        (void)fprintf(stderr, "usage: %s FOLDER RECORDS [--keep]\n", argv[0]);
        return 2;
    }
    bool keep = argc > 3 && strcmp(argv[3], "--keep") == 0;
    int rc = sqlite_journal_open(argv[1], &limits, false, &j, &err);
    if (rc == 0 && !keep) {
        rc = fill(j, count, &err);
        j->ops->close(j);
        if (rc == 0)
            rc = sqlite_journal_open(argv[1], &limits, false, &j, &err);
    }
    uint64_t begin_us = clock_mono_us();
    if (rc == 0) {
        j->ops->close(j);
        rc = sqlite_journal_open(argv[1], &limits, false, &j, &err);
    }
    if (rc == 0) {
        uint64_t open_us = clock_mono_us() - begin_us;
        rc = j->ops->tidy(j, clock_wall_ms(), &err);
        j->ops->stats(j, &stats);
        (void)printf("opened in %.1f ms; %" PRIu64 " records, %.0f MB, %.0f bytes each\n",
                     (double)open_us / 1e3, stats.last - stats.first + 1, (double)stats.bytes / 1e6,
                     (double)stats.bytes / (double)(stats.last - stats.first + 1));
        if (rc >= 0)
            rc = measure(j, &err);
        j->ops->close(j);
    }
    if (rc < 0)
        (void)fprintf(stderr, "%s\n", err.msg);
    return rc < 0;
}
