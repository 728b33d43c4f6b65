// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TESTS_STATE_RIG_H
#define RAC_TESTS_STATE_RIG_H
/*
 * A store of a test's own, of any kind that stands behind proxy/state/state.h; and asking it, and waiting for
 * the answer. What all kinds promise alike is test_state_suite.c, what one kind promises besides has a
 * program of its own.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/state/state.h"
#include "tests/unit/scratch.h"

/* One kind of store. */
struct backend {
    const char *name;
    /* An empty store of one test's own, not open yet, as `place`; free takes it away. skip() where this
     * machine has not got what it takes. */
    void *(*place_new)(void);
    void (*place_free)(void *place);
    /* Fails the test if it does not open. Opened again, it has what it had. */
    struct state *(*open)(void *place);
};

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
    struct state_token token;
    char token_text[6][128]; /* account, canonical, tag, image, platform, note */
};

static inline void answer_clear(struct answer *a)
{
    free(a->text);
    memset(a, 0, sizeof *a);
}

static inline void begin(struct answer *a, struct loop *loop)
{
    answer_clear(a);
    a->loop = loop;
}

static inline void end(struct answer *a, const struct err *err)
{
    assert_ptr_equal(loop_current(), a->loop);
    assert_false(a->done);
    if (err)
        a->err = *err;
    a->done = true;
}

static inline void wait_for(struct answer *a)
{
    if (!scratch_wait(a->loop, &a->done))
        fail_msg("no answer");
}

static inline void keep_type(struct answer *a, const char *media_type)
{
    (void)snprintf(a->media_type, sizeof a->media_type, "%s", media_type ? media_type : "(null)");
}

static inline void on_done(void *arg, const struct err *err)
{
    end(arg, err);
}
static inline void on_tag(void *arg, const struct state_tag *tag, const struct err *err)
{
    struct answer *a = arg;
    if ((a->found = tag != NULL))
        a->tag = *tag;
    end(a, err);
}
static inline void on_manifest(void *arg, const struct state_manifest *m, const struct err *err)
{
    struct answer *a = arg;
    if ((a->found = m != NULL)) {
        a->manifest = *m;
        keep_type(a, m->media_type);
    }
    end(a, err);
}
static inline void on_ref(void *arg, const struct state_ref *ref, const struct err *err)
{
    struct answer *a = arg;
    if ((a->found = ref != NULL)) {
        a->ref = *ref;
        keep_type(a, ref->media_type);
    }
    end(a, err);
}
static inline void on_variant(void *arg, const struct state_variant *v, const struct err *err)
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
static inline void on_text(void *arg, const char *text, size_t len, const struct err *err)
{
    struct answer *a = arg;
    if ((a->found = text != NULL)) {
        a->text = mem_dup(text, len);
        a->len = len;
    }
    end(a, err);
}
static inline void on_names(void *arg, const char *const *names, size_t count, const struct err *err)
{
    struct answer *a = arg;
    a->count = count;
    for (size_t i = 0; i < count && i < 16; ++i)
        (void)snprintf(a->names[i], sizeof a->names[i], "%s", names[i]);
    end(a, err);
}

static inline void on_count(void *arg, size_t count, const struct err *err)
{
    ((struct answer *)arg)->count = count;
    end(arg, err);
}
static inline void on_token(void *arg, const struct state_token *t, const struct err *err)
{
    struct answer *a = arg;
    if ((a->found = t != NULL)) {
        const char *const text[] = {t->account, t->canonical, t->tag, t->image, t->platform, t->note};
        a->token = *t;
        for (size_t i = 0; i < 6; ++i)
            (void)snprintf(a->token_text[i], sizeof a->token_text[i], "%s", text[i] ? text[i] : "(null)");
    }
    end(a, err);
}

/* ---- a store, and the loop that its answers come on ---- */

struct fixture {
    const struct backend *backend;
    void *place;
    struct loop *loop;
    struct state *s;
    struct answer a;
};

static inline void close_store(struct fixture *f)
{
    if (f->s)
        f->s->ops->close(f->s);
    f->s = NULL;
}

static inline void reopen(struct fixture *f)
{
    close_store(f);
    f->s = f->backend->open(f->place);
}

/* For a setup function of cmocka: on success *state is the fixture, its store open. */
static inline int fixture_new(const struct backend *backend, void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    f->backend = backend;
    f->place = backend->place_new();
    f->loop = loop_new(0);
    loop_set_current(f->loop);
    reopen(f);
    *state = f;
    return 0;
}

static inline int fixture_free(void **state)
{
    struct fixture *f = *state;
    close_store(f);
    answer_clear(&f->a);
    loop_free(f->loop);
    f->backend->place_free(f->place);
    free(f);
    return 0;
}

static inline struct digest digest_n(const char *kind, unsigned n)
{
    char text[64];
    int len = snprintf(text, sizeof text, "%s-%u", kind, n);
    return digest_of(text, (size_t)len);
}

static const struct state_repo busybox __attribute__((unused)) = {"anon", "docker.io", "library/busybox"};
static const struct state_repo busybox_private
    __attribute__((unused)) = {"u:1234", "docker.io", "library/busybox"};
static const struct state_repo alpine __attribute__((unused)) = {"anon", "docker.io", "library/alpine"};

#define OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_INDEX    "application/vnd.oci.image.index.v1+json"
#define OCI_CONFIG   "application/vnd.oci.image.config.v1+json"
#define OCI_LAYER    "application/vnd.oci.image.layer.v1.tar+gzip"

static inline bool get_tag(struct fixture *f, const struct state_repo *repo, const char *tag)
{
    begin(&f->a, f->loop);
    f->s->ops->tag_get(f->s, f->loop, repo, tag, on_tag, &f->a);
    assert_false(f->a.done); /* never from inside the call */
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
    return f->a.found;
}

static inline bool get_manifest(struct fixture *f, const struct state_repo *repo, struct digest d)
{
    begin(&f->a, f->loop);
    f->s->ops->manifest_get(f->s, f->loop, repo, &d, on_manifest, &f->a);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
    if (f->a.found)
        assert_string_equal(f->a.manifest.digest.s, d.s);
    return f->a.found;
}

static inline bool get_blob(struct fixture *f, const struct state_repo *repo, struct digest d)
{
    begin(&f->a, f->loop);
    f->s->ops->blob_get(f->s, f->loop, repo, &d, on_ref, &f->a);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
    if (f->a.found)
        assert_string_equal(f->a.ref.digest.s, d.s);
    return f->a.found;
}

static inline bool get_variant(struct fixture *f, const char *canonical, struct digest source,
                               struct digest injection)
{
    begin(&f->a, f->loop);
    f->s->ops->variant_by_source(f->s, f->loop, canonical, &source, &injection, on_variant, &f->a);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
    return f->a.found;
}

static inline bool get_target(struct fixture *f, const char *canonical, struct digest target)
{
    begin(&f->a, f->loop);
    f->s->ops->variant_by_target(f->s, f->loop, canonical, &target, on_variant, &f->a);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
    return f->a.found;
}

static inline bool get_injection(struct fixture *f, struct digest d)
{
    begin(&f->a, f->loop);
    f->s->ops->injection_get(f->s, f->loop, &d, on_text, &f->a);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
    return f->a.found;
}

static inline void put_injection(struct fixture *f, struct digest d, const char *text, int64_t until_ms)
{
    begin(&f->a, f->loop);
    f->s->ops->injection_put(f->s, f->loop, &d, text, strlen(text), until_ms, on_done, &f->a);
    assert_false(f->a.done);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
}

static inline void put_link(struct fixture *f, const struct state_repo *repo, struct digest d,
                            const char *media_type, const struct state_ref *refs, size_t count)
{
    struct state_manifest m = {.digest = d, .media_type = media_type, .size = 777};
    begin(&f->a, f->loop);
    f->s->ops->link_put(f->s, f->loop, repo, &m, refs, count, on_done, &f->a);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
}

static inline struct state_token token_n(unsigned n, int64_t expires_ms)
{
    struct state_token t = {.created_ms = 1000 + n,
                            .expires_ms = expires_ms,
                            .canonical = "docker.io/library/busybox",
                            .tag = "1.36",
                            .source = digest_n("s", 1),
                            .injection = digest_n("i", 1),
                            .target = digest_n("t", 1),
                            .image = "busybox:1.36"};
    memcpy(t.key, &n, sizeof n);
    t.key[31] = 7;
    return t;
}

static inline void put_token(struct fixture *f, const struct state_token *t, const char *text)
{
    begin(&f->a, f->loop);
    f->s->ops->token_put(f->s, f->loop, t, text, text ? strlen(text) : 0, on_done, &f->a);
    assert_false(f->a.done);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
}

static inline bool get_token(struct fixture *f, const struct state_token *t)
{
    begin(&f->a, f->loop);
    f->s->ops->token_get(f->s, f->loop, t->key, on_token, &f->a);
    wait_for(&f->a);
    assert_int_equal(f->a.err.code, ERR_NONE);
    return f->a.found;
}

static inline void check_token(struct fixture *f, const struct state_token *t)
{
    assert_true(get_token(f, t));
    assert_memory_equal(f->a.token.key, t->key, sizeof t->key);
    assert_int_equal(f->a.token.created_ms, t->created_ms);
    assert_int_equal(f->a.token.expires_ms, t->expires_ms);
    const char *const text[] = {t->account, t->canonical, t->tag, t->image, t->platform, t->note};
    for (size_t i = 0; i < 6; ++i)
        assert_string_equal(f->a.token_text[i], text[i] ? text[i] : "(null)");
    assert_string_equal(f->a.token.source.s, t->source.s);
    assert_string_equal(f->a.token.injection.s, t->injection.s);
    assert_string_equal(f->a.token.target.s, t->target.s);
}
#endif
