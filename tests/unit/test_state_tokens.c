// SPDX-License-Identifier: Apache-2.0
/* Container tokens in the store: what is put is what is got, also after kill -9 and from a backup. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/state/sqlite.h"
#include "tests/unit/scratch.h"

struct fixture {
    char *dir;
    struct loop *loop;
    struct state *s;
    volatile bool done;
    bool found;
    struct err err;
    struct state_token token;
    char text[6][128]; /* of the token: account, canonical, tag, image, platform, note */
    size_t count;
};

static void open_store(struct fixture *f, const char *dir)
{
    struct err err;
    if (sqlite_state_open(dir, &f->s, &err) < 0)
        fail_msg("%s", err.msg);
}

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->dir = scratch_new();
    f->loop = loop_new(0);
    loop_set_current(f->loop);
    open_store(f, f->dir);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->s)
        f->s->ops->close(f->s);
    loop_free(f->loop);
    scratch_free(f->dir);
    free(f);
    return 0;
}

static void end(struct fixture *f, const struct err *err)
{
    f->err = err ? *err : (struct err){0};
    f->done = true;
}
static void on_done(void *arg, const struct err *err)
{
    end(arg, err);
}
static void on_count(void *arg, size_t count, const struct err *err)
{
    ((struct fixture *)arg)->count = count;
    end(arg, err);
}
static void on_text(void *arg, const char *text, size_t len, const struct err *err)
{
    struct fixture *f = arg;
    if ((f->found = text != NULL))
        (void)snprintf(f->text[0], sizeof f->text[0], "%.*s", (int)len, text);
    end(f, err);
}
static void on_token(void *arg, const struct state_token *t, const struct err *err)
{
    struct fixture *f = arg;
    if ((f->found = t != NULL)) {
        const char *const text[] = {t->account, t->canonical, t->tag, t->image, t->platform, t->note};
        f->token = *t;
        for (size_t i = 0; i < 6; ++i)
            (void)snprintf(f->text[i], sizeof f->text[i], "%s", text[i] ? text[i] : "(null)");
    }
    end(f, err);
}

static void wait_for(struct fixture *f)
{
    if (!scratch_wait(f->loop, &f->done))
        fail_msg("no answer");
    f->done = false;
    assert_int_equal(f->err.code, ERR_NONE);
}

static struct digest digest_n(unsigned n)
{
    return digest_of(&n, sizeof n);
}

static struct state_token token_n(unsigned n, int64_t expires_ms)
{
    struct state_token t = {.created_ms = 1000 + n,
                            .expires_ms = expires_ms,
                            .canonical = "docker.io/library/busybox",
                            .tag = "1.36",
                            .source = digest_n(1),
                            .injection = digest_n(2),
                            .target = digest_n(3),
                            .image = "busybox:1.36"};
    memcpy(t.key, &n, sizeof n);
    t.key[31] = 7;
    return t;
}

static void put(struct fixture *f, const struct state_token *t, const char *text)
{
    f->s->ops->token_put(f->s, f->loop, t, text, text ? strlen(text) : 0, on_done, f);
    assert_false(f->done);
    wait_for(f);
}

static bool get(struct fixture *f, const struct state_token *t)
{
    f->s->ops->token_get(f->s, f->loop, t->key, on_token, f);
    wait_for(f);
    return f->found;
}

static void check_same(struct fixture *f, const struct state_token *t)
{
    assert_true(get(f, t));
    assert_memory_equal(f->token.key, t->key, sizeof t->key);
    assert_int_equal(f->token.created_ms, t->created_ms);
    assert_int_equal(f->token.expires_ms, t->expires_ms);
    const char *const text[] = {t->account, t->canonical, t->tag, t->image, t->platform, t->note};
    for (size_t i = 0; i < 6; ++i)
        assert_string_equal(f->text[i], text[i] ? text[i] : "(null)");
    assert_string_equal(f->token.source.s, t->source.s);
    assert_string_equal(f->token.injection.s, t->injection.s);
    assert_string_equal(f->token.target.s, t->target.s);
}

static void test_put_get_drop(void **state)
{
    struct fixture *f = *state;
    struct state_token plain = token_n(1, 5000), full = token_n(2, 6000);
    full.account = "ann";
    full.tag = NULL;
    full.platform = "linux/arm64";
    full.note = "{\"workflowId\":\"'; DROP TABLE token; --\"}";
    assert_false(get(f, &plain));
    put(f, &plain, "{\"cmd\":[\"x\"]}");
    put(f, &full, NULL);
    check_same(f, &plain);
    check_same(f, &full);
    f->s->ops->injection_get(f->s, f->loop, &plain.injection, on_text, f);
    wait_for(f);
    assert_string_equal(f->text[0], "{\"cmd\":[\"x\"]}"); /* and a token without the text left it alone */
    f->s->ops->token_pulled(f->s, plain.key, 3);
    f->s->ops->token_pulled(f->s, plain.key, 2);
    check_same(f, &plain);
    assert_int_equal(f->token.pulls, 5);
    f->s->ops->token_drop(f->s, f->loop, plain.key, on_done, f);
    wait_for(f);
    assert_false(get(f, &plain));
    check_same(f, &full);
    f->s->ops->token_drop(f->s, f->loop, plain.key, on_done, f);
    wait_for(f);
}

static void test_prune(void **state)
{
    struct fixture *f = *state;
    for (unsigned n = 0; n < 10; ++n) {
        struct state_token t = token_n(n, 100 + n);
        put(f, &t, NULL);
    }
    f->s->ops->token_prune(f->s, f->loop, 105, 4, on_count, f);
    wait_for(f);
    assert_int_equal(f->count, 4); /* the oldest of those whose time is over, a batch at a time */
    f->s->ops->token_prune(f->s, f->loop, 105, 4, on_count, f);
    wait_for(f);
    assert_int_equal(f->count, 2);
    f->s->ops->token_prune(f->s, f->loop, 105, 4, on_count, f);
    wait_for(f);
    assert_int_equal(f->count, 0);
    for (unsigned n = 0; n < 10; ++n) {
        struct state_token t = token_n(n, 100 + n);
        assert_int_equal(get(f, &t), n > 5);
    }
}

static bool below(struct fixture *f, const struct state_repo *repo, struct digest top, struct digest d)
{
    f->s->ops->link_below(f->s, f->loop, repo, &top, &d, on_count, f);
    wait_for(f);
    return f->count == 1;
}

static void test_below(void **state)
{
    struct fixture *f = *state;
    static const struct state_repo repo = {"anon", "docker.io", "library/busybox"};
    static const struct state_repo other = {"u:1", "docker.io", "library/busybox"};
    static const char index[] = "application/vnd.oci.image.index.v1+json";
    static const char manifest[] = "application/vnd.oci.image.manifest.v1+json";
    static const char layer[] = "application/vnd.oci.image.layer.v1.tar+gzip";
    struct state_manifest top = {digest_n(1), index, 1}, child = {digest_n(2), manifest, 1};
    struct state_manifest stranger = {digest_n(5), manifest, 1};
    struct state_ref children[] = {{digest_n(2), 1, manifest}, {digest_n(3), 1, manifest}};
    struct state_ref blobs[] = {{digest_n(4), 1, layer}}, others[] = {{digest_n(6), 1, layer}};
    f->s->ops->link_put(f->s, NULL, &repo, &top, children, 2, NULL, NULL);
    assert_true(below(f, &repo, digest_n(1), digest_n(2)));
    assert_true(below(f, &repo, digest_n(1), digest_n(3)));
    assert_false(below(f, &repo, digest_n(1), digest_n(4))); /* not known yet: the child was never served */
    f->s->ops->link_put(f->s, NULL, &repo, &child, blobs, 1, NULL, NULL);
    f->s->ops->link_put(f->s, NULL, &repo, &stranger, others, 1, NULL, NULL);
    assert_true(below(f, &repo, digest_n(1), digest_n(4)));
    assert_true(below(f, &repo, digest_n(2), digest_n(4)));
    assert_false(below(f, &repo, digest_n(3), digest_n(4)));
    assert_false(below(f, &repo, digest_n(1), digest_n(6))); /* of the same repository, not of this image */
    assert_false(below(f, &repo, digest_n(1), digest_n(5)));
    assert_false(below(f, &repo, digest_n(2), digest_n(1)));
    assert_false(below(f, &other, digest_n(1), digest_n(4)));
}

static void test_kill_9(void **state)
{
    struct fixture *f = *state;
    int pipe_fd[2];
    unsigned acknowledged = 0, n;
    f->s->ops->close(f->s);
    f->s = NULL;
    assert_int_equal(pipe(pipe_fd), 0);
    pid_t child = fork();
    if (child == 0) {
        open_store(f, f->dir);
        for (n = 0;; ++n) {
            struct state_token t = token_n(n, INT64_MAX);
            put(f, &t, "{}");
            if (write(pipe_fd[1], &n, sizeof n) != sizeof n)
                _exit(1);
        }
    }
    (void)close(pipe_fd[1]);
    while (acknowledged < 300 && read(pipe_fd[0], &n, sizeof n) == sizeof n)
        ++acknowledged;
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
    while (read(pipe_fd[0], &n, sizeof n) == sizeof n)
        ++acknowledged;
    (void)close(pipe_fd[0]);
    assert_true(acknowledged >= 300);
    open_store(f, f->dir);
    for (n = 0; n < acknowledged; ++n) {
        struct state_token t = token_n(n, INT64_MAX);
        assert_true(get(f, &t));
    }
}

static void test_backup(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char *there = scratch_new();
    char *to = mem_printf("%s/state.db", there);
    struct state_token one = token_n(1, 5000), two = token_n(2, 5000);
    put(f, &one, "{}");
    if (sqlite_state_backup(f->dir, to, &err) < 0) /* while it is in use */
        fail_msg("%s", err.msg);
    put(f, &two, "{}");
    assert_true(sqlite_state_backup(f->dir, to, &err) < 0);
    assert_non_null(strstr(err.msg, "is there already"));
    assert_true(sqlite_state_backup(there, "/nonexistent/x", &err) < 0);
    assert_true(sqlite_state_backup("/nonexistent", "/nonexistent/x", &err) < 0);
    f->s->ops->close(f->s);
    f->s = NULL;
    open_store(f, there);
    check_same(f, &one);
    assert_false(get(f, &two));
    f->s->ops->close(f->s);
    f->s = NULL;
    scratch_free(there);
    free(to);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_put_get_drop), T(test_prune), T(test_below), T(test_kill_9),
                                       T(test_backup)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
