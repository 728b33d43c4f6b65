// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/mem.h"
#include "proxy/cache/links.h"
#include "proxy/state/sqlite.h"
#include "tests/unit/scratch.h"

struct fixture {
    char *dir;
    struct loop *loop;
    struct cache_env env;
    struct links *links;
    struct repo *mine, *theirs;
};

static struct repo *make_repo(const char *name, const char *user)
{
    static const uint8_t key[32];
    struct err err;
    struct upstream_config c = {.name = "up.test", .url = "http://127.0.0.1:1", .by_hand = true};
    c.username = user;
    c.password = user ? "x" : NULL;
    struct upstream_name un = {0};
    if (upstream_new(&c, key, &un.upstream, &err) < 0)
        fail_msg("%s", err.msg);
    (void)snprintf(un.repository, sizeof un.repository, "%s", name);
    (void)snprintf(un.canonical, sizeof un.canonical, "up.test/%s", name);
    return repo_new(&un);
}

static void reopen(struct fixture *f)
{
    struct err err;
    links_free(f->links);
    if (f->env.state)
        f->env.state->ops->close(f->env.state);
    if (sqlite_state_open(f->dir, &f->env.state, &err) < 0)
        fail_msg("%s", err.msg);
    f->links = links_new(&f->env, 10000);
}

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->dir = scratch_new();
    f->loop = loop_new(0);
    f->mine = make_repo("team/mine", NULL);
    f->theirs = make_repo("team/mine", "tenant"); /* the same name, other eyes */
    reopen(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    links_free(f->links);
    f->env.state->ops->close(f->env.state);
    repo_unref(f->mine);
    repo_unref(f->theirs);
    loop_free(f->loop);
    scratch_free(f->dir);
    free(f);
    return 0;
}

static struct digest digest_n(unsigned n)
{
    return digest_of(&n, sizeof n);
}

/* A manifest that lists blobs n and n + 1. */
static struct document *make_manifest(unsigned n)
{
    struct digest config = digest_n(n), layer = digest_n(n + 1);
    struct document *d = mem_new(struct document);
    d->refs = 1;
    (void)snprintf(d->media_type, sizeof d->media_type, "application/vnd.oci.image.manifest.v1+json");
    d->bytes = mem_printf("{\"schemaVersion\":2,\"mediaType\":\"%s\",\"config\":{\"mediaType\":"
                          "\"application/vnd.oci.image.config.v1+json\",\"digest\":\"%s\",\"size\":10},"
                          "\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\","
                          "\"digest\":\"%s\",\"size\":20}]}",
                          d->media_type, config.s, layer.s);
    d->len = strlen(d->bytes);
    d->digest = digest_of(d->bytes, d->len);
    return d;
}

struct answer {
    volatile bool done;
    bool known;
    uint64_t size;
};

static void on_link(void *arg, bool known, uint64_t size, const struct err *err)
{
    assert_null(err);
    *(struct answer *)arg = (struct answer){true, known, size};
}

static bool get(struct fixture *f, struct repo *repo, struct digest d, enum document_kind kind,
                uint64_t *ret_size)
{
    struct answer a = {0};
    links_get(f->links, f->loop, repo, &d, kind, on_link, &a);
    assert_false(a.done);
    assert_true(scratch_wait(f->loop, &a.done));
    if (ret_size)
        *ret_size = a.size;
    return a.known;
}

static void on_done(void *arg, const struct err *err)
{
    assert_null(err);
    *(volatile bool *)arg = true;
}

static void add(struct fixture *f, struct repo *repo, const struct document *d)
{
    volatile bool done = false;
    links_add(f->links, f->loop, repo, d, on_done, (void *)&done);
    assert_false(done);
    assert_true(scratch_wait(f->loop, &done));
}

static void a_manifest_and_what_it_lists(void **state)
{
    struct fixture *f = *state;
    struct document *m = make_manifest(1);
    struct digest layer = digest_n(2);
    uint64_t size = 0;
    assert_false(links_try(f->links, f->mine, &m->digest, NULL));
    assert_false(get(f, f->mine, layer, DOCUMENT_BLOB, NULL));
    add(f, f->mine, m);
    assert_true(links_try(f->links, f->mine, &layer, &size));
    assert_int_equal(size, 20);
    assert_true(links_try_manifest(f->links, f->mine, &m->digest));
    assert_false(links_try_manifest(f->links, f->mine, &layer));
    add(f, f->mine, m); /* at once, and still never from inside */

    /* Other eyes, and another process. */
    assert_false(links_try(f->links, f->theirs, &layer, NULL));
    assert_false(get(f, f->theirs, layer, DOCUMENT_BLOB, NULL));
    assert_false(get(f, f->theirs, m->digest, DOCUMENT_MANIFEST, NULL));
    reopen(f);
    assert_false(links_try(f->links, f->mine, &layer, NULL));
    assert_true(get(f, f->mine, layer, DOCUMENT_BLOB, &size));
    assert_int_equal(size, 20);
    assert_true(links_try(f->links, f->mine, &layer, NULL)); /* remembered from the state */
    assert_true(get(f, f->mine, m->digest, DOCUMENT_MANIFEST, NULL));
    assert_false(links_try_manifest(f->links, f->mine, &m->digest)); /* its list was not read */
    document_unref(m);
}

/* What the upstream just said holds for its time, however often it is asked for. */
static void seen_is_not_for_good(void **state)
{
    struct fixture *f = *state;
    struct digest d = digest_n(5);
    uint64_t size = 0;
    links_add_seen(f->links, f->mine, &d, 77, 300);
    assert_true(links_try(f->links, f->mine, &d, &size));
    assert_int_equal(size, 77);
    assert_true(get(f, f->mine, d, DOCUMENT_BLOB, NULL));
    assert_false(links_try(f->links, f->theirs, &d, NULL));
    (void)usleep(400000);
    assert_false(links_try(f->links, f->mine, &d, NULL));
    assert_false(get(f, f->mine, d, DOCUMENT_BLOB, NULL));
}

static void withdrawn(void **state)
{
    struct fixture *f = *state;
    struct document *m = make_manifest(10), *other = make_manifest(11); /* share blob 11 */
    struct digest own = digest_n(10), shared = digest_n(11);
    add(f, f->mine, m);
    add(f, f->mine, other);
    add(f, f->theirs, m);
    links_drop(f->links, f->mine, &m->digest);
    assert_false(links_try(f->links, f->mine, &own, NULL));
    assert_false(get(f, f->mine, own, DOCUMENT_BLOB, NULL));
    assert_false(get(f, f->mine, m->digest, DOCUMENT_MANIFEST, NULL));
    assert_true(get(f, f->mine, shared, DOCUMENT_BLOB, NULL)); /* the other manifest lists it */
    assert_true(get(f, f->theirs, own, DOCUMENT_BLOB, NULL));
    document_unref(m);
    document_unref(other);
}

/* An answer of the state that is on its way while the manifest is withdrawn is not remembered. */
static void withdrawn_meanwhile(void **state)
{
    struct fixture *f = *state;
    struct document *m = make_manifest(20);
    struct digest layer = digest_n(21);
    add(f, f->mine, m);
    reopen(f);
    struct answer a = {0};
    links_get(f->links, f->loop, f->mine, &layer, DOCUMENT_BLOB, on_link, &a);
    (void)usleep(100000); /* the state has read it, and its answer waits for the loop */
    links_drop(f->links, f->mine, &m->digest);
    assert_true(scratch_wait(f->loop, &a.done));
    assert_true(a.known); /* it was so when it was asked */
    assert_false(links_try(f->links, f->mine, &layer, NULL));
    assert_false(get(f, f->mine, layer, DOCUMENT_BLOB, NULL));
    document_unref(m);
}

static void memory_is_bounded(void **state)
{
    struct fixture *f = *state;
    links_free(f->links);
    f->links = links_new(&f->env, 160);
    size_t left = 0;
    for (unsigned i = 0; i < 5000; ++i) {
        struct digest d = digest_n(i);
        links_add_seen(f->links, f->mine, &d, 1, 60000);
    }
    for (unsigned i = 0; i < 5000; ++i) {
        struct digest d = digest_n(i);
        left += links_try(f->links, f->mine, &d, NULL);
    }
    assert_true(left > 0 && left <= 16 * 11);
    struct digest newest = digest_n(4999);
    assert_true(links_try(f->links, f->mine, &newest, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_manifest_and_what_it_lists, setup, teardown),
        cmocka_unit_test_setup_teardown(seen_is_not_for_good, setup, teardown),
        cmocka_unit_test_setup_teardown(withdrawn, setup, teardown),
        cmocka_unit_test_setup_teardown(withdrawn_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_is_bounded, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
