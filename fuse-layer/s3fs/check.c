// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/s3fs/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "s3/s3_url.h"

/* Asked on a thread of its own: signals are heard meanwhile. */
struct check {
    struct s3 *s3;
    const struct options *options;
    struct cancel *cancel;
    pthread_t asker;
    atomic_bool done;
    int result; /* with err, once it is done */
    struct err err;
};

static bool is_this_machine(const char *endpoint)
{
    struct s3_url u;
    return endpoint && s3_url_parse(endpoint, &u, NULL) == 0 &&
           (strcmp(u.host, "localhost") == 0 || strcmp(u.host, "::1") == 0 ||
            (u.literal && strncmp(u.host, "127.", 4) == 0));
}

/* What the message of a lower floor cannot know: that it is the first request, from a container perhaps. */
static const char *hint(const struct err *err, const char *endpoint)
{
    switch (err->code) {
    case ERR_NOT_FOUND:
        return endpoint ? "is that the bucket's name, and the S3 server that has it?"
                        : "is that the bucket's name? AWS_ENDPOINT_URL names a server that is not AWS";
    case ERR_IO:
    case ERR_TIMEOUT:
    case ERR_CANCELLED:
        if (is_this_machine(endpoint))
            return "localhost is the container itself, unless it runs with --network host: "
                   "AWS_ENDPOINT_URL needs an address that the container can reach";
        return endpoint ? "can the container reach this address (AWS_ENDPOINT_URL, --network)?"
                        : "AWS_ENDPOINT_URL names a server that is not AWS";
    default:
        return NULL;
    }
}

static int explain(const struct options_bucket *bucket, const char *endpoint, struct err *err)
{
    const char *what = hint(err, endpoint);
    const struct err plain = *err;
    return err_set(err, plain.code, "bucket %s at %.100s: %.*s%s%s", bucket->name,
                   endpoint ? endpoint : "AWS", what ? 330 : 420, plain.msg, what ? "; " : "",
                   what ? what : "");
}

static void *ask(void *arg)
{
    struct check *c = arg;
    const struct options *o = c->options;
    for (size_t i = 0; i < o->buckets_len && c->result == 0; ++i) {
        const struct options_bucket *b = &o->buckets[i];
        c->result = s3_bucket_check(c->s3, b->name, b->prefix, c->cancel, &c->err);
        if (c->result < 0)
            (void)explain(b, s3_endpoint(c->s3), &c->err);
    }
    atomic_store(&c->done, true);
    (void)pthread_kill(c->asker, SIGUSR1);
    return NULL;
}

/* The number of the signal that came meanwhile, or 0. */
static int wait_for(struct check *c, const sigset_t *signals)
{
    int number = 0, told = 0;
    while (!atomic_load(&c->done)) {
        (void)sigwait(signals, &number);
        if (number == SIGUSR1)
            continue;
        told = number;
        cancel_fire(c->cancel);
    }
    return told;
}

/* Else it would end what comes next. */
static void drop_wake(void)
{
    sigset_t wake;
    (void)sigemptyset(&wake);
    (void)sigaddset(&wake, SIGUSR1);
    (void)sigtimedwait(&wake, NULL, &(struct timespec){0});
}

int check_buckets(struct s3 *s3, const struct options *o, const sigset_t *signals, struct err *err)
{
    struct check c = {.s3 = s3, .options = o, .asker = pthread_self()};
    pthread_t thread;
    if (o->buckets_len == 0)
        return 0;
    c.cancel = cancel_new();
    if (pthread_create(&thread, NULL, ask, &c) != 0) {
        cancel_free(c.cancel);
        return err_set(err, ERR_INTERNAL, "no thread to ask for the buckets");
    }
    int told = wait_for(&c, signals);
    (void)pthread_join(thread, NULL);
    drop_wake();
    cancel_free(c.cancel);
    if (c.result < 0) {
        *err = c.err;
        return -1;
    }
    return told ? err_set(err, ERR_CANCELLED, "ended by signal %d before the mount was used", told) : 0;
}
