// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/resource.h>

#include "common/fs.h"
#include "common/log.h"
#include "proxy/state/sqlite.h"
#include "tests/unit/scratch.h"

/* ---- asking, and waiting for the answer ---- */

struct answer {
    struct loop *loop;
    volatile bool done;
    bool found;
    struct err err;
    struct state_tag tag;
    struct state_manifest manifest;
    struct state_ref ref;
    struct state_variant variant;
    char media_type[128];
    char *text;
    size_t len;
    char names[16][64];
    size_t count;
};

static void begin(struct answer *a, struct loop *loop)
{
    free(a->text);
    memset(a, 0, sizeof *a);
    a->loop = loop;
}

static void end(struct answer *a, const struct err *err)
{
    assert_ptr_equal(loop_current(), a->loop);
    assert_false(a->done);
    if (err)
        a->err = *err;
    a->done = true;
}

static void wait_for(struct answer *a)
{
    if (!scratch_wait(a->loop, &a->done))
        fail_msg("no answer");
}

static void keep_type(struct answer *a, const char *media_type)
{
    (void)snprintf(a->media_type, sizeof a->media_type, "%s", media_type ? media_type : "(null)");
}

static void on_done(void *arg, const struct err *err)
{
    end(arg, err);
}
static void on_tag(void *arg, const struct state_tag *tag, const struct err *err)
{
    struct answer *a = arg;
    if ((a->found = tag != NULL))
        a->tag = *tag;
    end(a, err);
}
static void on_manifest(void *arg, const struct state_manifest *m, const struct err *err)
{
    struct answer *a = arg;
    if ((a->found = m != NULL)) {
        a->manifest = *m;
        keep_type(a, m->media_type);
    }
    end(a, err);
}
static void on_ref(void *arg, const struct state_ref *ref, const struct err *err)
{
    struct answer *a = arg;
    if ((a->found = ref != NULL)) {
        a->ref = *ref;
        keep_type(a, ref->media_type);
    }
    end(a, err);
}
static void on_variant(void *arg, const struct state_variant *v, const struct err *err)
{
    struct answer *a = arg;
    if ((a->found = v != NULL)) {
        a->variant = *v;
        keep_type(a, v->media_type);
        (void)snprintf(a->names[0], sizeof a->names[0], "%s",
                       v->ref_media_type ? v->ref_media_type : "(null)");
    }
    end(a, err);
}
static void on_text(void *arg, const char *text, size_t len, const struct err *err)
{
    struct answer *a = arg;
    if ((a->found = text != NULL)) {
        a->text = mem_dup(text, len);
        a->len = len;
    }
    end(a, err);
}
static void on_names(void *arg, const char *const *names, size_t count, const struct err *err)
{
    struct answer *a = arg;
    a->count = count;
    for (size_t i = 0; i < count && i < 16; ++i)
        (void)snprintf(a->names[i], sizeof a->names[i], "%s", names[i]);
    end(a, err);
}

/* ---- a store in a folder of its own ---- */

struct fixture {
    char *dir;
    struct loop *loop;
    struct state *s;
    struct answer a;
};

static void reopen(struct fixture *f)
{
    struct err err;
    if (f->s)
        f->s->ops->close(f->s);
    f->s = NULL;
    if (sqlite_state_open(f->dir, &f->s, &err) < 0)
        fail_msg("%s", err.msg);
}

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->dir = scratch_new();
    f->loop = loop_new(0);
    loop_set_current(f->loop);
    reopen(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->s)
        f->s->ops->close(f->s);
    free(f->a.text);
    loop_free(f->loop);
    scratch_free(f->dir);
    free(f);
    return 0;
}

static struct digest digest_n(const char *kind, unsigned n)
{
    char text[64];
    int len = snprintf(text, sizeof text, "%s-%u", kind, n);
    return digest_of(text, (size_t)len);
}

static const struct state_repo busybox = {"anon", "docker.io", "library/busybox"};
static const struct state_repo busybox_private = {"u:1234", "docker.io", "library/busybox"};
static const struct state_repo alpine = {"anon", "docker.io", "library/alpine"};

#define OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_INDEX    "application/vnd.oci.image.index.v1+json"
#define OCI_CONFIG   "application/vnd.oci.image.config.v1+json"
#define OCI_LAYER    "application/vnd.oci.image.layer.v1.tar+gzip"

static bool get_tag(struct fixture *f, const struct state_repo *repo, const char *tag)
{
    begin(&f->a, f->loop);
    f->s->ops->tag_get(f->s, f->loop, repo, tag, on_tag, &f->a);
    assert_false(f->a.done); /* never from inside the call */
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
    return f->a.found;
}

static bool get_manifest(struct fixture *f, const struct state_repo *repo, struct digest d)
{
    begin(&f->a, f->loop);
    f->s->ops->manifest_get(f->s, f->loop, repo, &d, on_manifest, &f->a);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
    if (f->a.found)
        assert_string_equal(f->a.manifest.digest.s, d.s);
    return f->a.found;
}

static bool get_blob(struct fixture *f, const struct state_repo *repo, struct digest d)
{
    begin(&f->a, f->loop);
    f->s->ops->blob_get(f->s, f->loop, repo, &d, on_ref, &f->a);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
    if (f->a.found)
        assert_string_equal(f->a.ref.digest.s, d.s);
    return f->a.found;
}

static bool get_variant(struct fixture *f, const char *canonical, struct digest source,
                        struct digest injection)
{
    begin(&f->a, f->loop);
    f->s->ops->variant_by_source(f->s, f->loop, canonical, &source, &injection, on_variant, &f->a);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
    return f->a.found;
}

static bool get_target(struct fixture *f, const char *canonical, struct digest target)
{
    begin(&f->a, f->loop);
    f->s->ops->variant_by_target(f->s, f->loop, canonical, &target, on_variant, &f->a);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
    return f->a.found;
}

static bool get_injection(struct fixture *f, struct digest d)
{
    begin(&f->a, f->loop);
    f->s->ops->injection_get(f->s, f->loop, &d, on_text, &f->a);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
    return f->a.found;
}

static void put_link(struct fixture *f, const struct state_repo *repo, struct digest d,
                     const char *media_type, const struct state_ref *refs, size_t count)
{
    struct state_manifest m = {.digest = d, .media_type = media_type, .size = 777};
    begin(&f->a, f->loop);
    f->s->ops->link_put(f->s, f->loop, repo, &m, refs, count, on_done, &f->a);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
}

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
    f->s->ops->injection_put(f->s, f->loop, &big, text, len, on_done, &f->a);
    wait_for(&f->a);
    f->s->ops->injection_put(f->s, f->loop, &empty, "", 0, NULL, NULL);
    assert_true(get_injection(f, big));
    assert_int_equal(f->a.len, len);
    assert_memory_equal(f->a.text, text, len);
    assert_true(get_injection(f, empty));
    assert_int_equal(f->a.len, 0);
    f->s->ops->injection_put(f->s, f->loop, &big, "{\"location\":\"elsewhere\"}", 24, NULL, NULL);
    assert_true(get_injection(f, big));
    assert_string_equal(f->a.text, "{\"location\":\"elsewhere\"}");
    free(text);
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

/* The writer is held up by somebody who has the file's lock; the queue fills. */
static void test_overload(void **state)
{
    struct fixture *f = *state;
    sqlite3 *other;
    char *path = mem_printf("%s/state.db", f->dir);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    struct state_tag tag = {digest_n("m", 1), 1};
    for (unsigned i = 0; i < 110000; ++i)
        f->s->ops->tag_put(f->s, &busybox, "latest", &tag);
    uint64_t dropped = atomic_load(&f->s->dropped);
    assert_in_range(dropped, 5000, 10000); /* a batch may be with the writer already */
    assert_int_equal(atomic_load(&f->s->writes_waiting), 100000);
    f->s->ops->tag_drop(f->s, &busybox, "latest"); /* a revocation is not lost with them */
    struct answer put = {0};
    begin(&put, f->loop);
    struct state_manifest m = {digest_n("m", 2), OCI_MANIFEST, 1};
    f->s->ops->link_put(f->s, f->loop, &busybox, &m, NULL, 0, on_done, &put);
    assert_false(put.done);
    wait_for(&put);
    assert_int_equal(put.err.code, ERR_OVERLOADED);
    assert_true(put.err.retry_after_s > 0);
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(other);
    assert_false(get_tag(f, &busybox, "latest"));
    assert_int_equal(atomic_load(&f->s->dropped), dropped);
    free(path);
}

/* ---- the file ---- */

static void test_second_is_refused(void **state)
{
    struct fixture *f = *state;
    struct state *second = NULL;
    struct err err;
    char pid[32];
    assert_true(sqlite_state_open(f->dir, &second, &err) < 0);
    (void)snprintf(pid, sizeof pid, "pid %d", (int)getpid());
    assert_non_null(strstr(err.msg, pid));
    assert_non_null(strstr(err.msg, f->dir));
    assert_null(second);
    assert_false(get_tag(f, &busybox, "latest")); /* the first goes on */
}

static int pragma_int(sqlite3 *db, const char *text)
{
    sqlite3_stmt *s = NULL;
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    int value = sqlite3_column_int(s, 0);
    (void)sqlite3_finalize(s);
    return value;
}

static void test_newer_schema_is_refused(void **state)
{
    struct fixture *f = *state;
    sqlite3 *db;
    struct err err;
    uint8_t key[32];
    char *path = mem_printf("%s/state.db", f->dir);
    memcpy(key, f->s->scope_key, 32);
    f->s->ops->close(f->s);
    f->s = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    int ours = pragma_int(db, "PRAGMA user_version");
    assert_true(ours > 0);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(db);
    assert_true(sqlite_state_open(f->dir, &f->s, &err) < 0);
    assert_non_null(strstr(err.msg, "newer rac-proxy (schema 99"));
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    char *back = mem_printf("PRAGMA user_version = %d", ours);
    assert_int_equal(sqlite3_exec(db, back, NULL, NULL, NULL), SQLITE_OK);
    free(back);
    (void)sqlite3_close(db);
    reopen(f); /* nothing was lost, and the lock not kept */
    assert_memory_equal(key, f->s->scope_key, 32);
    free(path);
}

static unsigned files_like(const char *dir, const char *pattern)
{
    char command[512], line[32] = "";
    (void)snprintf(command, sizeof command, "ls -d '%s'/%s 2>/dev/null | wc -l", dir, pattern);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    assert_non_null(fgets(line, sizeof line, p));
    (void)pclose(p);
    return (unsigned)atoi(line);
}

/* Overwrites a part of the closed file; size 0 cuts it off there. */
static void damage(const char *path, long offset, size_t size)
{
    char junk[8192];
    memset(junk, 0x5a, sizeof junk);
    assert_true(size <= sizeof junk);
    if (size == 0) {
        assert_int_equal(truncate(path, offset), 0);
        return;
    }
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, offset, SEEK_SET), 0);
    assert_int_equal(fwrite(junk, 1, size, file), size);
    (void)fclose(file);
}

static void test_damaged_file_is_moved_aside(void **state)
{
    struct fixture *f = *state;
    static const struct {
        long offset;
        size_t size;
    } cases[] = {{0, 100}, {100, 4000}, {8192, 8192}, {3 * 4096, 0}, {5000, 0}};
    char *path = mem_printf("%s/state.db", f->dir);
    uint8_t key[32];
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct state_ref refs[200];
        for (unsigned r = 0; r < 200; ++r)
            refs[r] = (struct state_ref){digest_n("layer", r), r, OCI_LAYER};
        put_link(f, &busybox, digest_n("m", 1), OCI_MANIFEST, refs, 200);
        memcpy(key, f->s->scope_key, 32);
        f->s->ops->close(f->s);
        f->s = NULL;
        damage(path, cases[i].offset, cases[i].size);
        reopen(f);
        assert_memory_not_equal(key, f->s->scope_key, 32);
        assert_false(get_manifest(f, &busybox, digest_n("m", 1)));
        assert_int_equal(files_like(f->dir, "state.db.corrupt-*"), i + 1);
        (void)usleep(2000); /* the name has milliseconds */
    }
    free(path);
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

static void test_no_permission(void **state)
{
    struct fixture *f = *state;
    struct state *s = NULL;
    struct err err;
    char *file = mem_printf("%s/a-file", f->dir), *below = mem_printf("%s/a-file/x", f->dir);
    assert_int_equal(fs_write_file(file, "x", 1, 0600, &err), 0);
    assert_true(sqlite_state_open(below, &s, &err) < 0);
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.msg, file));
    free(file);
    free(below);
}

/* ---- a disk that fails; in a child ---- */

#define CHECK(what)                                                                                          \
    do {                                                                                                     \
        if (!(what)) {                                                                                       \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                                 \
            return 1;                                                                                        \
        }                                                                                                    \
    } while (0)

/* Fills the disk by puts until one is refused; then there is room again. */
static int fill_disk(const char *dir, enum err_code expected, bool by_limit)
{
    struct state *s = NULL;
    struct err err;
    struct answer a = {0};
    struct loop *loop = loop_new(0);
    loop_set_current(loop);
    CHECK(sqlite_state_open(dir, &s, &err) == 0);
    struct state_tag tag = {digest_n("first", 1), 1};
    s->ops->tag_put(s, &busybox, "first", &tag);
    begin(&a, loop);
    s->ops->tag_get(s, loop, &busybox, "first", on_tag, &a);
    CHECK(scratch_wait(loop, &a.done) && a.found);
    if (by_limit) {
        struct rlimit limit = {4 << 20, RLIM_INFINITY};
        (void)signal(SIGXFSZ, SIG_IGN);
        CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    }
    size_t len = 100000;
    char *text = mem_zalloc(len);
    unsigned n = 0;
    for (bool failed = false; !failed; ++n) {
        CHECK(n < 1000);
        struct digest d = digest_n("fat", n);
        begin(&a, loop);
        s->ops->injection_put(s, loop, &d, text, len, on_done, &a);
        CHECK(scratch_wait(loop, &a.done));
        failed = a.err.code != ERR_NONE;
    }
    CHECK(a.err.code == expected);
    CHECK(n > 5);
    begin(&a, loop);
    s->ops->check(s, loop, on_done, &a);
    CHECK(scratch_wait(loop, &a.done));
    /* What is there can be read, and what was acknowledged is there. */
    struct digest last = digest_n("fat", n - 2);
    begin(&a, loop);
    s->ops->tag_get(s, loop, &busybox, "first", on_tag, &a);
    CHECK(scratch_wait(loop, &a.done) && a.found);
    begin(&a, loop);
    s->ops->injection_get(s, loop, &last, on_text, &a);
    CHECK(scratch_wait(loop, &a.done) && a.found && a.len == len);
    CHECK(atomic_load(&s->errors) > 0);
    if (by_limit) {
        struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
        CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    } else {
        char *ballast = mem_printf("%s/ballast", dir);
        CHECK(unlink(ballast) == 0);
        free(ballast);
    }
    begin(&a, loop);
    s->ops->injection_put(s, loop, &last, "small", 5, on_done, &a);
    CHECK(scratch_wait(loop, &a.done) && a.err.code == ERR_NONE);
    s->ops->close(s);
    loop_free(loop);
    free(a.text);
    free(text);
    return 0;
}

static int full_disk(const char *dir)
{
    char *ballast = mem_printf("%s/ballast", dir);
    char *bytes = mem_zalloc(2 << 20);
    CHECK(fs_write_file(ballast, bytes, 2 << 20, 0600, NULL) == 0);
    free(bytes);
    free(ballast);
    log_start(2, LOG_LEVEL_OFF, LOG_FORMAT_LOGFMT);
    return fill_disk(dir, ERR_NO_SPACE, false);
}

static int failing_disk(const char *dir)
{
    log_start(2, LOG_LEVEL_OFF, LOG_FORMAT_LOGFMT);
    return fill_disk(dir, ERR_IO, true);
}

static void test_full_disk(void **state)
{
    (void)state;
    char *dir = scratch_new();
    int rc = scratch_child(dir, 6 << 20, full_disk);
    scratch_free(dir);
    if (rc == -1)
        skip(); /* no file system of our own here */
    assert_int_equal(rc, 0);
}

static void test_failing_disk(void **state)
{
    (void)state;
    char *dir = scratch_new();
    int rc = scratch_child(dir, 0, failing_disk);
    scratch_free(dir);
    if (rc == -1)
        skip(); /* no threads in children here */
    assert_int_equal(rc, 0);
}

/* ---- kill -9 ---- */

#define KILLS     40
#define IN_FLIGHT 24

static struct {
    struct state *s;
    struct loop *loop;
    int pipe;
    uint32_t next;
} writer;

struct put {
    uint32_t number;
};

static void put_next(void);
static void on_put(void *arg, const struct err *err)
{
    struct put *put = arg;
    if (!err && write(writer.pipe, &put->number, sizeof put->number) != (ssize_t)sizeof put->number)
        _exit(3);
    free(put);
    put_next();
}

static void put_next(void)
{
    struct put *put = mem_new(struct put);
    uint32_t n = put->number = writer.next++;
    struct state_variant v = {"docker.io/x",    digest_n("s", n), digest_n("i", n),
                              digest_n("t", n), OCI_MANIFEST,     NULL};
    struct state_manifest m = {digest_n("m", n), OCI_MANIFEST, n};
    struct state_ref refs[3] = {
        {digest_n("l", n), n, OCI_LAYER}, {digest_n("l", n + 1), n, NULL}, {digest_n("c", n), n, OCI_CONFIG}};
    struct digest d = digest_n("inj", n);
    if (n % 3 == 0)
        writer.s->ops->variant_put(writer.s, writer.loop, &v, on_put, put);
    else if (n % 3 == 1)
        writer.s->ops->link_put(writer.s, writer.loop, &busybox, &m, refs, 3, on_put, put);
    else
        writer.s->ops->injection_put(writer.s, writer.loop, &d, "text", 4, on_put, put);
}

static void writer_child(const char *dir, uint32_t first, int fd)
{
    struct err err;
    writer.loop = loop_new(0);
    writer.pipe = fd;
    writer.next = first;
    if (sqlite_state_open(dir, &writer.s, &err) < 0) {
        (void)fprintf(stderr, "%s\n", err.msg);
        _exit(2);
    }
    for (int i = 0; i < IN_FLIGHT; ++i)
        put_next();
    for (;;)
        loop_run_once(writer.loop, 1000);
}

static bool is_there(struct fixture *f, uint32_t n)
{
    if (n % 3 == 0)
        return get_variant(f, "docker.io/x", digest_n("s", n), digest_n("i", n));
    if (n % 3 == 1)
        return get_manifest(f, &busybox, digest_n("m", n)) && get_blob(f, &busybox, digest_n("l", n)) &&
               get_blob(f, &busybox, digest_n("c", n));
    return get_injection(f, digest_n("inj", n));
}

static void test_kill_9(void **state)
{
    struct fixture *f = *state;
    uint32_t *acked = NULL, count = 0, first = 0, killed_busy = 0;
    unsigned seed = (unsigned)clock_mono_us();
    print_message("seed %u\n", seed);
    f->s->ops->close(f->s);
    f->s = NULL;
    for (int kill_number = 0; kill_number < KILLS; ++kill_number) {
        int fd[2];
        assert_int_equal(pipe(fd), 0);
        (void)fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            (void)close(fd[0]);
            writer_child(f->dir, first, fd[1]);
        }
        (void)close(fd[1]);
        uint32_t n, before = count, stop = (uint32_t)rand_r(&seed) % 400;
        ssize_t got;
        bool killed = false;
        /* After so many answers, at some moment of what follows; then all that it said before it died. */
        while ((got = read(fd[0], &n, sizeof n)) == (ssize_t)sizeof n) {
            acked = mem_realloc(acked, (count + 1) * sizeof *acked);
            acked[count++] = n;
            first = n >= first ? n + IN_FLIGHT + 1 : first;
            if (!killed && count - before > stop) {
                (void)usleep((unsigned)rand_r(&seed) % 2000);
                assert_int_equal(kill(pid, SIGKILL), 0);
                killed = true;
            }
        }
        (void)close(fd[0]);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        killed_busy += count > before;
        if (kill_number % 10 == 9 || kill_number == 0) {
            reopen(f);
            for (uint32_t i = 0; i < count; ++i)
                if (!is_there(f, acked[i]))
                    fail_msg("put %u was acknowledged and is gone after kill %d (seed %u)", acked[i],
                             kill_number, seed);
            f->s->ops->close(f->s);
            f->s = NULL;
        }
    }
    assert_int_equal(killed_busy, KILLS);
    assert_true(count > 1000);
    assert_int_equal(files_like(f->dir, "state.db.corrupt-*"), 0);
    free(acked);
}

int main(void)
{
    log_start(2, LOG_LEVEL_OFF, LOG_FORMAT_LOGFMT);
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_empty),
        T(test_tags),
        T(test_links),
        T(test_links_do_not_mix),
        T(test_link_again_says_more),
        T(test_variants),
        T(test_variant_by_ref),
        T(test_injections),
        T(test_names),
        T(test_check),
        T(test_no_loop),
        T(test_own_writes_are_seen),
        T(test_close_writes_what_waits),
        T(test_overload),
        T(test_second_is_refused),
        T(test_newer_schema_is_refused),
        T(test_damaged_file_is_moved_aside),
        T(test_scope_key_stays),
        T(test_no_permission),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_failing_disk),
        T(test_kill_9),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
