// SPDX-License-Identifier: Apache-2.0
/* What every store behind proxy/state/state.h promises: each test runs against each kind. */
#include "common/log.h"
#include "tests/unit/state_redis.h"
#include "tests/unit/state_sqlite.h"

/* ---- what is put is what is got ---- */

static void test_empty(void **state)
{
    struct fixture *f = *state;
    struct digest d = digest_n("x", 1);
    assert_false(get_tag(f, &busybox, "latest"));
    assert_false(get_manifest(f, &busybox, d));
    assert_false(get_blob(f, &busybox, d));
    assert_false(get_variant(f, "docker.io/library/busybox", d, d));
    assert_false(get_target(f, "docker.io/library/busybox", d));
    assert_false(get_injection(f, d));
    begin(&f->a, f->loop);
    f->s->ops->names(f->s, f->loop, "{}", true, "", 10, on_names, &f->a);
    wait_for(&f->a);
    assert_int_equal(f->a.count, 0);
}

static void test_tags(void **state)
{
    struct fixture *f = *state;
    struct state_tag one = {digest_n("m", 1), 1000}, two = {digest_n("m", 2), 2000};
    f->s->ops->tag_put(f->s, &busybox, "latest", &one);
    assert_true(get_tag(f, &busybox, "latest"));
    assert_string_equal(f->a.tag.digest.s, one.digest.s);
    assert_int_equal(f->a.tag.checked_ms, 1000);
    assert_false(get_tag(f, &busybox, "Latest"));
    assert_false(get_tag(f, &busybox_private, "latest")); /* another's eyes */
    assert_false(get_tag(f, &alpine, "latest"));
    f->s->ops->tag_put(f->s, &busybox, "latest", &two);
    assert_true(get_tag(f, &busybox, "latest"));
    assert_string_equal(f->a.tag.digest.s, two.digest.s);
    one.checked_ms = INT64_MAX;
    f->s->ops->tag_put(f->s, &busybox, "latest", &one);
    reopen(f);
    assert_true(get_tag(f, &busybox, "latest"));
    assert_int_equal(f->a.tag.checked_ms, INT64_MAX);
    f->s->ops->tag_drop(f->s, &busybox_private, "latest");
    assert_true(get_tag(f, &busybox, "latest"));
    f->s->ops->tag_drop(f->s, &busybox, "latest");
    assert_false(get_tag(f, &busybox, "latest"));
}

static void test_links(void **state)
{
    struct fixture *f = *state;
    struct digest index = digest_n("index", 1), child = digest_n("child", 1), config = digest_n("config", 1);
    struct digest layer = digest_n("layer", 1), m2 = digest_n("m", 2), foreign;
    memset(foreign.s, 0, sizeof foreign.s);
    memcpy(foreign.s, "sha512:", 7);
    memset(foreign.s + 7, 'a', 128);
    struct state_ref children[] = {{child, 500, OCI_MANIFEST}};
    struct state_ref refs[] = {
        {config, 70, OCI_CONFIG}, {layer, (uint64_t)1 << 40, OCI_LAYER}, {foreign, 0, NULL}};
    put_link(f, &busybox, index, OCI_INDEX, children, 1);
    assert_true(get_manifest(f, &busybox, index));
    assert_string_equal(f->a.media_type, OCI_INDEX);
    assert_int_equal(f->a.manifest.size, 777);
    assert_true(get_manifest(f, &busybox, child)); /* as child, before it was served itself */
    assert_int_equal(f->a.manifest.size, 500);
    assert_false(get_manifest(f, &busybox_private, child));
    assert_false(get_blob(f, &busybox, layer));

    put_link(f, &busybox, child, OCI_MANIFEST, refs, 3);
    put_link(f, &alpine, m2, OCI_MANIFEST, refs, 2);
    assert_int_equal((get_manifest(f, &busybox, child), f->a.manifest.size),
                     777); /* its own row counts more */
    assert_true(get_blob(f, &busybox, config));
    assert_string_equal(f->a.media_type, OCI_CONFIG);
    assert_true(get_blob(f, &busybox, layer));
    assert_true(f->a.ref.size == (uint64_t)1 << 40);
    assert_true(get_blob(f, &busybox, foreign));
    assert_string_equal(f->a.media_type, "(null)");
    assert_false(get_blob(f, &alpine, foreign));
    assert_false(get_blob(f, &busybox_private, layer)); /* knowing the digest is not enough */
    assert_false(get_manifest(f, &busybox, config));    /* a config is no manifest */
    assert_false(get_blob(f, &busybox, index));         /* nothing refers to it */
    assert_false(get_manifest(f, &busybox, m2));

    f->s->ops->link_drop(f->s, &busybox, &child);
    assert_false(get_blob(f, &busybox, layer));
    assert_true(get_blob(f, &alpine, layer));
    assert_true(get_manifest(f, &busybox, child)); /* the index refers to it still */
    f->s->ops->link_drop(f->s, &busybox, &index);
    assert_false(get_manifest(f, &busybox, child));
    assert_false(get_manifest(f, &busybox, index));
    reopen(f);
    assert_true(get_manifest(f, &alpine, m2));
    assert_false(get_manifest(f, &busybox, child));
}

/* What one repository says of a digest must not decide how another serves it. */
static void test_links_do_not_mix(void **state)
{
    struct fixture *f = *state;
    struct digest m = digest_n("m", 1), evil = digest_n("evil", 1);
    struct state_ref lie[] = {{m, 1, "application/x-evil.manifest"}, {evil, 5, OCI_MANIFEST}};
    put_link(f, &busybox, m, OCI_MANIFEST, NULL, 0);
    put_link(f, &alpine, evil, OCI_INDEX, lie, 2); /* refers to itself, too */
    assert_true(get_manifest(f, &busybox, m));
    assert_string_equal(f->a.media_type, OCI_MANIFEST);
    assert_int_equal(f->a.manifest.size, 777);
    assert_true(get_manifest(f, &alpine, evil));
    assert_string_equal(f->a.media_type, OCI_INDEX);
    assert_false(get_blob(f, &alpine, evil));
}

/* A HEAD first said less than the GET that follows. */
static void test_link_again_says_more(void **state)
{
    struct fixture *f = *state;
    struct digest m = digest_n("m", 1);
    struct state_ref less[] = {{digest_n("layer", 1), 0, NULL}};
    struct state_ref more[] = {{digest_n("layer", 1), 42, OCI_LAYER}, {digest_n("layer", 2), 43, OCI_LAYER}};
    put_link(f, &busybox, m, NULL, less, 1);
    assert_true(get_manifest(f, &busybox, m));
    assert_string_equal(f->a.media_type, "(null)");
    put_link(f, &busybox, m, OCI_MANIFEST, more, 2);
    assert_true(get_manifest(f, &busybox, m));
    assert_string_equal(f->a.media_type, OCI_MANIFEST);
    assert_true(get_blob(f, &busybox, more[0].digest));
    assert_int_equal(f->a.ref.size, 42);
    assert_true(get_blob(f, &busybox, more[1].digest));

    /* What kind of thing a ref is follows what was said last. */
    struct state_ref child[] = {{digest_n("child", 1), 5, OCI_LAYER}};
    for (int i = 0; i < 4; ++i) {
        child[0].media_type = i % 2 ? OCI_MANIFEST : OCI_LAYER;
        put_link(f, &busybox, m, OCI_MANIFEST, child, 1);
        assert_int_equal(get_manifest(f, &busybox, child[0].digest), i % 2);
        assert_true(get_blob(f, &busybox, child[0].digest));
        assert_string_equal(f->a.media_type, child[0].media_type);
    }
}

static void test_variants(void **state)
{
    struct fixture *f = *state;
    const char *image = "docker.io/library/busybox";
    struct state_variant v = {image, digest_n("s", 1), digest_n("i", 1), digest_n("t", 1), OCI_MANIFEST,
                              NULL};
    begin(&f->a, f->loop);
    f->s->ops->variant_put(f->s, f->loop, &v, on_done, &f->a);
    wait_for(&f->a);
    reopen(f);
    assert_true(get_variant(f, image, v.source, v.injection));
    assert_string_equal(f->a.variant.target.s, v.target.s);
    assert_string_equal(f->a.media_type, OCI_MANIFEST);
    assert_true(get_target(f, image, v.target));
    assert_string_equal(f->a.variant.source.s, v.source.s);
    assert_string_equal(f->a.variant.injection.s, v.injection.s);
    assert_false(get_variant(f, image, v.injection, v.source));
    assert_false(get_target(f, image, v.source));
    assert_false(
        get_target(f, "docker.io/library/alpine", v.target)); /* tokens of one image used on another */
    v.target = digest_n("t", 2);
    v.media_type = NULL;
    f->s->ops->variant_put(f->s, f->loop, &v, NULL, NULL);
    assert_true(get_target(f, image, v.target));
    assert_string_equal(f->a.media_type, "(null)");
    assert_false(get_target(f, image, digest_n("t", 1)));
}

static bool get_by_ref(struct fixture *f, const struct state_repo *repo, const char *canonical,
                       struct digest d)
{
    begin(&f->a, f->loop);
    f->s->ops->variant_by_ref(f->s, f->loop, repo, canonical, &d, on_variant, &f->a);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
    return f->a.found;
}

static void test_variant_by_ref(void **state)
{
    struct fixture *f = *state;
    const char *image = "docker.io/library/busybox";
    struct state_variant v = {image, digest_n("s", 1), digest_n("i", 1), digest_n("t", 1), OCI_MANIFEST,
                              NULL};
    struct state_ref refs[] = {{digest_n("config", 1), 1, OCI_CONFIG}, {digest_n("layer", 1), 2, OCI_LAYER}};
    f->s->ops->variant_put(f->s, f->loop, &v, NULL, NULL);
    assert_false(get_by_ref(f, &busybox, image, v.target)); /* the name does not refer to it yet */
    put_link(f, &busybox, v.target, OCI_MANIFEST, refs, 2);
    put_link(f, &busybox, digest_n("other", 1), OCI_MANIFEST, refs + 1, 1);
    put_link(f, &alpine, digest_n("other", 1), OCI_MANIFEST, refs, 2);
    const struct digest asked[] = {v.target, refs[0].digest, refs[1].digest};
    static const char *const types[] = {OCI_MANIFEST, OCI_CONFIG, OCI_LAYER};
    for (int i = 0; i < 3; ++i) {
        assert_true(get_by_ref(f, &busybox, image, asked[i]));
        assert_string_equal(f->a.variant.source.s, v.source.s);
        assert_string_equal(f->a.variant.injection.s, v.injection.s);
        assert_string_equal(f->a.variant.target.s, v.target.s);
        assert_string_equal(f->a.names[0], types[i]);
        assert_false(get_by_ref(f, &busybox_private, image, asked[i]));
        assert_false(get_by_ref(f, &alpine, image, asked[i]));
        assert_false(get_by_ref(f, &busybox, "docker.io/library/alpine", asked[i]));
    }
    assert_false(get_by_ref(f, &busybox, image, digest_n("other", 1)));
    f->s->ops->link_drop(f->s, &busybox, &v.target);
    assert_false(get_by_ref(f, &busybox, image, refs[1].digest));

    /* The original's withdrawal takes along what was made of it, also of an index's children. */
    struct state_ref child = {v.source, 500, OCI_MANIFEST};
    struct digest index = digest_n("index", 1);
    put_link(f, &busybox, v.target, OCI_MANIFEST, refs, 2);
    put_link(f, &busybox, index, OCI_INDEX, &child, 1);
    put_link(f, &alpine, v.target, OCI_MANIFEST, refs, 2);
    f->s->ops->link_drop(f->s, &busybox, &index);
    assert_false(get_manifest(f, &busybox, v.source));
    assert_false(get_manifest(f, &busybox, v.target));
    assert_false(get_blob(f, &busybox, refs[0].digest) && get_by_ref(f, &busybox, image, refs[0].digest));
    assert_true(get_manifest(f, &alpine, v.target));
}

static void test_injections(void **state)
{
    struct fixture *f = *state;
    size_t len = 3 << 20;
    char *text = mem_alloc(len);
    for (size_t i = 0; i < len; ++i)
        text[i] = (char)(i * 7);
    struct digest big = digest_n("big", 1), empty = digest_n("empty", 1);
    begin(&f->a, f->loop);
    f->s->ops->injection_put(f->s, f->loop, &big, text, len, STATE_FOR_GOOD, on_done, &f->a);
    wait_for(&f->a);
    f->s->ops->injection_put(f->s, f->loop, &empty, "", 0, STATE_FOR_GOOD, NULL, NULL);
    assert_true(get_injection(f, big));
    assert_int_equal(f->a.len, len);
    assert_memory_equal(f->a.text, text, len);
    assert_true(get_injection(f, empty));
    assert_int_equal(f->a.len, 0);
    f->s->ops->injection_put(f->s, f->loop, &big, "{\"location\":\"elsewhere\"}", 24, STATE_FOR_GOOD, NULL,
                             NULL);
    assert_true(get_injection(f, big));
    assert_string_equal(f->a.text, "{\"location\":\"elsewhere\"}");
    free(text);
}

/* Where a layer is had from is the configuration's to say: a token of the same injection changes nothing. */
static void test_injection_of_two(void **state)
{
    struct fixture *f = *state;
    struct state_token t = token_n(1, clock_wall_ms() + 1000);
    put_token(f, &t, "of a token");
    assert_true(get_injection(f, t.injection));
    assert_string_equal(f->a.text, "of a token");
    put_injection(f, t.injection, "of another", state_passing_until(0));
    assert_true(get_injection(f, t.injection));
    assert_string_equal(f->a.text, "of another");
    put_injection(f, t.injection, "of the configuration", STATE_FOR_GOOD);
    t = token_n(2, clock_wall_ms() + 1000);
    put_token(f, &t, "of a token");
    put_injection(f, t.injection, "of another", state_passing_until(0));
    assert_true(get_injection(f, t.injection));
    assert_string_equal(f->a.text, "of the configuration");
    put_injection(f, t.injection, "reloaded", STATE_FOR_GOOD);
    assert_true(get_injection(f, t.injection));
    assert_string_equal(f->a.text, "reloaded");
}

static void test_names(void **state)
{
    struct fixture *f = *state;
    static const char *const repositories[] = {"b/b", "b", "B", "b-c", "a/z"};
    for (int i = 0; i < 5; ++i) {
        struct state_repo repo = {i % 2 ? "anon" : "u:1", "quay.io", repositories[i]};
        put_link(f, &repo, digest_n("m", (unsigned)i), OCI_MANIFEST, NULL, 0);
    }
    struct state_repo again = {"anon", "quay.io", "b"};
    struct state_manifest m = {digest_n("m", 9), OCI_MANIFEST, 1};
    struct state_variant v = {"quay.io/only-a-variant", m.digest, m.digest, m.digest, NULL, NULL};
    struct state_tag tag = {m.digest, 1};
    f->s->ops->variant_put(f->s, f->loop, &v, NULL, NULL);
    f->s->ops->tag_put(f->s, &alpine, "latest", &tag);
    f->s->ops->link_put(f->s, f->loop, &again, &m, NULL, 0, NULL, NULL);
    static const struct {
        const char *scopes;
        bool others_too;
        const char *after;
        size_t n;
        const char *names[4];
    } rows[] = {
        {"{\"quay.io\":\"u:1\"}", true, "", 16, {"quay.io/B", "quay.io/a/z", "quay.io/b/b"}},
        {"{\"quay.io\":\"u:1\"}", true, "quay.io/B", 1, {"quay.io/a/z"}},
        {"{\"quay.io\":\"anon\",\"docker.io\":\"u:1\"}", false, "", 16, {"quay.io/b", "quay.io/b-c"}},
        {"{\"docker.io\":\"u:1\"}", true, "", 16, {"quay.io/b", "quay.io/b-c"}},
        {"{}", true, "quay.io/b", 16, {"quay.io/b-c"}},
        {"{\"quay.io\":\"u:2\"}", true, "", 16, {NULL}},
        {"{\"docker.io\":\"anon\"}", false, "", 16, {NULL}},
        {"{}", false, "", 16, {NULL}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
        begin(&f->a, f->loop);
        f->s->ops->names(f->s, f->loop, rows[i].scopes, rows[i].others_too, rows[i].after, rows[i].n,
                         on_names, &f->a);
        wait_for(&f->a);
        size_t k = 0;
        for (; rows[i].names[k]; ++k) {
            assert_true(k < (size_t)f->a.count);
            assert_string_equal(f->a.names[k], rows[i].names[k]);
        }
        assert_int_equal(f->a.count, k);
    }
}

static void test_check(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3; ++i) {
        begin(&f->a, f->loop);
        f->s->ops->check(f->s, f->loop, on_done, &f->a);
        wait_for(&f->a);
        assert_int_equal(f->a.err.code, ERR_NONE);
    }
}

/* ---- tokens, and what is below a manifest ---- */

static void test_tokens(void **state)
{
    struct fixture *f = *state;
    struct state_token plain = token_n(1, 5000), full = token_n(2, INT64_MAX);
    full.account = "ann";
    full.tag = NULL;
    full.platform = "linux/arm64";
    full.note = "{\"workflowId\":\"'; DROP TABLE token; --\\r\\n\"}";
    assert_false(get_token(f, &plain));
    put_token(f, &plain, "{\"cmd\":[\"x\"]}");
    put_token(f, &full, NULL);
    check_token(f, &plain);
    check_token(f, &full);
    assert_true(get_injection(f, plain.injection));
    assert_string_equal(f->a.text, "{\"cmd\":[\"x\"]}"); /* and a token without the text left it alone */
    f->s->ops->token_pulled(f->s, plain.key, 3);
    f->s->ops->token_pulled(f->s, plain.key, 2);
    check_token(f, &plain);
    assert_int_equal(f->a.token.pulls, 5);
    reopen(f);
    check_token(f, &plain);
    assert_int_equal(f->a.token.pulls, 5);
    for (int i = 0; i < 2; ++i) { /* one that is not there is no error */
        begin(&f->a, f->loop);
        f->s->ops->token_drop(f->s, f->loop, plain.key, on_done, &f->a);
        wait_for(&f->a);
        assert_int_equal(f->a.err.code, ERR_NONE);
        assert_false(get_token(f, &plain));
    }
    f->s->ops->token_pulled(f->s, plain.key, 1); /* nor does a late count bring it back */
    assert_false(get_token(f, &plain));
    check_token(f, &full);
}

/* Two tokens are never one: the second of the same key is refused, and the first stays what it is. */
static void test_token_is_put_once(void **state)
{
    struct fixture *f = *state;
    struct state_token first = token_n(1, 5000), second = token_n(1, 6000);
    second.image = "something/else:1";
    put_token(f, &first, "{}");
    begin(&f->a, f->loop);
    f->s->ops->token_put(f->s, f->loop, &second, "{}", 2, on_done, &f->a);
    wait_for(&f->a);
    assert_int_not_equal(f->a.err.code, ERR_NONE);
    check_token(f, &first);
}

static size_t prune(struct fixture *f, int64_t before_ms, size_t n)
{
    begin(&f->a, f->loop);
    f->s->ops->token_prune(f->s, f->loop, before_ms, n, on_count, &f->a);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
    return f->a.count;
}

static void test_token_prune(void **state)
{
    struct fixture *f = *state;
    for (unsigned n = 0; n < 10; ++n) {
        struct state_token t = token_n(n, 100 + n);
        put_token(f, &t, NULL);
    }
    assert_int_equal(prune(f, 105, 4), 4); /* the oldest of those whose time is over, a batch at a time */
    for (unsigned n = 0; n < 10; ++n) {
        struct state_token t = token_n(n, 100 + n);
        assert_int_equal(get_token(f, &t), n > 3);
    }
    assert_int_equal(prune(f, 105, 4), 2);
    assert_int_equal(prune(f, 105, 4), 0);
    for (unsigned n = 0; n < 10; ++n) {
        struct state_token t = token_n(n, 100 + n);
        assert_int_equal(get_token(f, &t), n > 5);
    }
}

static bool below(struct fixture *f, const struct state_repo *repo, struct digest top, struct digest d)
{
    begin(&f->a, f->loop);
    f->s->ops->link_below(f->s, f->loop, repo, &top, &d, on_count, &f->a);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
    return f->a.count == 1;
}

static void test_below(void **state)
{
    struct fixture *f = *state;
    struct digest index = digest_n("index", 1), child = digest_n("child", 1), other = digest_n("child", 2);
    struct digest layer = digest_n("layer", 1), stranger = digest_n("m", 5), theirs = digest_n("layer", 6);
    struct state_ref children[] = {{child, 1, OCI_MANIFEST}, {other, 1, OCI_MANIFEST}};
    struct state_ref blobs[] = {{layer, 1, OCI_LAYER}}, others[] = {{theirs, 1, OCI_LAYER}};
    put_link(f, &busybox, index, OCI_INDEX, children, 2);
    assert_true(below(f, &busybox, index, child));
    assert_true(below(f, &busybox, index, other));
    assert_false(below(f, &busybox, index, layer)); /* not known yet: the child was never served */
    put_link(f, &busybox, child, OCI_MANIFEST, blobs, 1);
    put_link(f, &busybox, stranger, OCI_MANIFEST, others, 1);
    assert_true(below(f, &busybox, index, layer));
    assert_true(below(f, &busybox, child, layer));
    assert_false(below(f, &busybox, other, layer));
    assert_false(below(f, &busybox, index, theirs)); /* of the same repository, not of this image */
    assert_false(below(f, &busybox, index, stranger));
    assert_false(below(f, &busybox, child, index));
    assert_false(below(f, &busybox_private, index, layer));
}

/* ---- many at once ---- */

/* Without a loop the callback comes on a thread of the store. */
static pthread_t called_on;
static _Atomic int called;
static void on_tag_no_loop(void *arg, const struct state_tag *tag, const struct err *err)
{
    (void)arg;
    called_on = pthread_self();
    atomic_store(&called, tag && !err ? 1 : 2);
}

static void test_no_loop(void **state)
{
    struct fixture *f = *state;
    struct state_tag tag = {digest_n("m", 1), 1};
    atomic_store(&called, 0);
    f->s->ops->tag_put(f->s, &busybox, "latest", &tag);
    f->s->ops->tag_get(f->s, NULL, &busybox, "latest", on_tag_no_loop, NULL);
    for (int i = 0; i < 2000 && !atomic_load(&called); ++i)
        (void)usleep(10000);
    assert_int_equal(atomic_load(&called), 1);
    assert_false(pthread_equal(called_on, pthread_self()));
}

#define THREADS 4
#define ROUNDS  300

struct worker {
    struct state *s;
    unsigned index;
    int wrong;
};

/* Puts and gets right behind, under one name that all threads share and one of its own. */
static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct loop *loop = loop_new(w->index);
    loop_set_current(loop);
    struct answer a = {0};
    char own[32];
    (void)snprintf(own, sizeof own, "own-%u", w->index);
    struct state_repo repo = {"anon", "docker.io", own};
    for (unsigned i = 0; i < ROUNDS; ++i) {
        struct state_tag tag = {digest_n(own, i), (int64_t)i};
        struct state_manifest m = {digest_n(own, i), OCI_MANIFEST, i};
        struct state_ref ref = {digest_n("layer", w->index * ROUNDS + i), i, OCI_LAYER};
        w->s->ops->tag_put(w->s, &busybox, "shared", &tag);
        w->s->ops->tag_put(w->s, &repo, "latest", &tag);
        w->s->ops->link_put(w->s, loop, &repo, &m, &ref, 1, NULL, NULL);
        begin(&a, loop);
        w->s->ops->tag_get(w->s, loop, &repo, "latest", on_tag, &a);
        wait_for(&a);
        w->wrong += !a.found || a.tag.checked_ms != (int64_t)i || !digest_eq(&a.tag.digest, &tag.digest);
        begin(&a, loop);
        w->s->ops->blob_get(w->s, loop, &repo, &ref.digest, on_ref, &a);
        wait_for(&a);
        w->wrong += !a.found || a.ref.size != i;
        if (i % 2) {
            w->s->ops->link_drop(w->s, &repo, &m.digest);
            begin(&a, loop);
            w->s->ops->manifest_get(w->s, loop, &repo, &m.digest, on_manifest, &a);
            wait_for(&a);
            w->wrong += a.found;
        }
    }
    loop_free(loop);
    return NULL;
}

static void test_own_writes_are_seen(void **state)
{
    struct fixture *f = *state;
    pthread_t thread[THREADS];
    struct worker w[THREADS];
    for (unsigned i = 0; i < THREADS; ++i) {
        w[i] = (struct worker){f->s, i, 0};
        assert_int_equal(pthread_create(&thread[i], NULL, worker_main, &w[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; ++i) {
        pthread_join(thread[i], NULL);
        assert_int_equal(w[i].wrong, 0);
    }
    assert_int_equal(atomic_load(&f->s->errors), 0);
    assert_int_equal(atomic_load(&f->s->dropped), 0);
    assert_int_equal(atomic_load(&f->s->writes), THREADS * (ROUNDS * 3 + ROUNDS / 2));
}
static void test_close_writes_what_waits(void **state)
{
    struct fixture *f = *state;
    char tag[16];
    for (unsigned i = 0; i < 5000; ++i) {
        struct state_tag value = {digest_n("m", i), (int64_t)i};
        (void)snprintf(tag, sizeof tag, "t%u", i);
        f->s->ops->tag_put(f->s, &busybox, tag, &value);
    }
    begin(&f->a, f->loop);
    f->s->ops->tag_get(f->s, f->loop, &busybox, "t4999", on_tag, &f->a); /* its answer comes, too */
    reopen(f);
    wait_for(&f->a);
    assert_true(f->a.found);
    for (unsigned i = 0; i < 5000; i += 499) {
        (void)snprintf(tag, sizeof tag, "t%u", i);
        assert_true(get_tag(f, &busybox, tag));
        assert_int_equal(f->a.tag.checked_ms, (int64_t)i);
    }
}

static void test_scope_key_stays(void **state)
{
    struct fixture *f = *state;
    static const uint8_t zero[32];
    uint8_t key[32];
    memcpy(key, f->s->scope_key, 32);
    assert_memory_not_equal(key, zero, 32);
    reopen(f);
    assert_memory_equal(key, f->s->scope_key, 32);
}

/* ---- each against each ---- */

static int setup_sqlite(void **state)
{
    return fixture_new(&sqlite_backend, state);
}

static int setup_redis(void **state)
{
    return fixture_new(&redis_backend, state);
}

#define SUITE(X)                                                                                             \
    X(test_empty)                                                                                            \
    X(test_tags)                                                                                             \
    X(test_links)                                                                                            \
    X(test_links_do_not_mix)                                                                                 \
    X(test_link_again_says_more)                                                                             \
    X(test_variants)                                                                                         \
    X(test_variant_by_ref)                                                                                   \
    X(test_injections)                                                                                       \
    X(test_injection_of_two)                                                                                 \
    X(test_names)                                                                                            \
    X(test_check)                                                                                            \
    X(test_tokens)                                                                                           \
    X(test_token_is_put_once)                                                                                \
    X(test_token_prune)                                                                                      \
    X(test_below)                                                                                            \
    X(test_no_loop)                                                                                          \
    X(test_own_writes_are_seen)                                                                              \
    X(test_close_writes_what_waits)                                                                          \
    X(test_scope_key_stays)

#define ON_SQLITE(name) {"sqlite: " #name, name, setup_sqlite, fixture_free, NULL},
#define ON_REDIS(name)  {"redis: " #name, name, setup_redis, fixture_free, NULL},

int main(void)
{
    log_start(2, LOG_LEVEL_OFF, LOG_FORMAT_LOGFMT);
    const struct CMUnitTest tests[] = {SUITE(ON_SQLITE) SUITE(ON_REDIS)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
