// SPDX-License-Identifier: Apache-2.0
/*
 * The S3 client of rac-fuse on the command line, for tests: each call of s3.h is a command. Configured by the
 * environment alone, like rac-fuse. Exit code: 0, or the errno that a program would see, which is also said
 * on standard error as "ERRNAME: message".
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/mem.h"
#include "s3/s3.h"

static struct cancel *cancel; /* RAC_TOOL_CANCEL_MS fires it */

static char *read_all(const char *path, size_t *ret_len)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    struct buf b = {.max = (size_t)2 << 30};
    char chunk[65536];
    size_t n;
    if (!f) {
        perror(path);
        exit(2);
    }
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        (void)buf_add(&b, chunk, n);
    if (f != stdin)
        (void)fclose(f);
    *ret_len = b.len;
    return buf_take(&b);
}

static void print_object(const char *key, const struct s3_object *o)
{
    printf("%llu %lld %s %s\n", (unsigned long long)o->size, (long long)o->mtime_ms,
           o->etag[0] ? o->etag : "-", key);
}

static int do_head(struct s3 *s3, char **a, int n, struct err *err)
{
    (void)n;
    cleanup_s3_object struct s3_object o = {0};
    cleanup_s3_meta struct s3_meta m = {0};
    if (s3_head(s3, a[0], a[1], cancel, &o, &m, err) < 0)
        return -1;
    print_object(a[1], &o);
    printf("type %s\n", m.content_type ? m.content_type : "-");
    for (size_t i = 0; i < m.len; ++i)
        printf("meta %s=%s\n", m.entries[i].name, m.entries[i].value);
    return 0;
}

/* BUCKET KEY OFFSET LEN [ETAG]: the bytes to standard output, the object to standard error. */
static int do_get(struct s3 *s3, char **a, int n, struct err *err)
{
    size_t len = strtoull(a[3], NULL, 10), got = 0;
    cleanup_free char *buf = mem_alloc(len);
    cleanup_s3_object struct s3_object o = {0};
    if (s3_get(s3, a[0], a[1], strtoull(a[2], NULL, 10), len, n > 4 ? a[4] : NULL, cancel, buf, &got, &o,
               err) < 0)
        return -1;
    (void)fwrite(buf, 1, got, stdout);
    (void)fprintf(stderr, "%zu of %llu %s\n", got, (unsigned long long)o.size, o.etag);
    return 0;
}

/* BUCKET PREFIX DELIMITER MAX: all pages, a line each: "page", objects, "prefix ...". */
static int do_list(struct s3 *s3, char **a, int n, struct err *err)
{
    (void)n;
    cleanup_free char *next = NULL;
    do {
        cleanup_s3_page struct s3_page page = {0};
        if (s3_list(s3, a[0], a[1], a[2][0] ? a[2] : NULL, next, (unsigned)atoi(a[3]), cancel, &page, err) <
            0)
            return -1;
        printf("page\n");
        for (size_t i = 0; i < page.objects_len; ++i)
            print_object(page.objects[i].key, &page.objects[i]);
        for (size_t i = 0; i < page.prefixes_len; ++i)
            printf("prefix %s\n", page.prefixes[i]);
        free(next);
        next = steal_ptr(&page.next);
    } while (next);
    return 0;
}

static int do_check(struct s3 *s3, char **a, int n, struct err *err)
{
    return s3_bucket_check(s3, a[0], n > 1 ? a[1] : "", cancel, err);
}

static int do_buckets(struct s3 *s3, char **a, int n, struct err *err)
{
    char **names;
    size_t len;
    (void)a, (void)n;
    if (s3_list_buckets(s3, cancel, &names, &len, err) < 0)
        return -1;
    for (size_t i = 0; i < len; ++i)
        printf("%s\n", names[i]);
    s3_names_free(names, len);
    return 0;
}

/* NAME=VALUE..., "type=..." and "new" (if_none_match). */
static void read_options(char **a, int n, struct s3_meta *meta, struct s3_put_options *ret)
{
    for (int i = 0; i < n; ++i) {
        char *value = strchr(a[i], '=');
        if (strcmp(a[i], "new") == 0) {
            ret->if_none_match = true;
        } else if (value) {
            *value = '\0';
            if (strcmp(a[i], "type") == 0)
                meta->content_type = mem_strdup(value + 1);
            else
                s3_meta_set(meta, a[i], value + 1);
        }
    }
    ret->meta = meta;
}

/* BUCKET KEY FILE [OPTION...] */
static int do_put(struct s3 *s3, char **a, int n, struct err *err)
{
    size_t len;
    cleanup_free char *bytes = read_all(a[2], &len);
    cleanup_s3_meta struct s3_meta meta = {0};
    struct s3_put_options options = {0};
    char etag[S3_ETAG_MAX + 1];
    read_options(a + 3, n - 3, &meta, &options);
    /* In three slices, so that slices are tried. */
    struct iovec iov[3] = {{bytes, len / 3}, {bytes + len / 3, 0}, {bytes + len / 3, len - len / 3}};
    if (s3_put(s3, a[0], a[1], iov, 3, &options, cancel, etag, err) < 0)
        return -1;
    printf("%s\n", etag);
    return 0;
}

/* What the threads of an upload share. */
struct uploading {
    struct s3_upload *upload;
    const char *bytes;
    size_t len, part, next; /* next: bytes handed out */
    pthread_mutex_t lock;
    struct err err;
    bool failed;
};

static void *upload_parts(void *arg)
{
    struct uploading *u = arg;
    for (;;) {
        pthread_mutex_lock(&u->lock);
        size_t at = u->next;
        u->next += u->part;
        bool done = u->failed || at >= u->len;
        pthread_mutex_unlock(&u->lock);
        if (done)
            return NULL;
        struct err err = {0};
        struct iovec iov = {(void *)(uintptr_t)(u->bytes + at),
                            u->len - at < u->part ? u->len - at : u->part};
        if (s3_upload_part(u->upload, (unsigned)(at / u->part) + 1, &iov, 1, cancel, &err) < 0) {
            pthread_mutex_lock(&u->lock);
            u->failed = true;
            u->err = err;
            pthread_mutex_unlock(&u->lock);
        }
    }
}

/* BUCKET KEY FILE PART_BYTES [OPTION...]: four threads. */
static int do_upload(struct s3 *s3, char **a, int n, struct err *err)
{
    struct uploading u = {.part = strtoull(a[3], NULL, 10), .lock = PTHREAD_MUTEX_INITIALIZER};
    cleanup_free char *bytes = read_all(a[2], &u.len);
    cleanup_s3_meta struct s3_meta meta = {0};
    struct s3_put_options options = {0};
    char etag[S3_ETAG_MAX + 1];
    pthread_t threads[4];
    u.bytes = bytes;
    read_options(a + 4, n - 4, &meta, &options);
    if (s3_upload_begin(s3, a[0], a[1], &options, cancel, &u.upload, err) < 0)
        return -1;
    for (int i = 0; i < 4; ++i)
        if (pthread_create(&threads[i], NULL, upload_parts, &u) != 0)
            abort();
    for (int i = 0; i < 4; ++i)
        pthread_join(threads[i], NULL);
    int rc = u.failed ? -1 : s3_upload_complete(u.upload, cancel, etag, err);
    if (u.failed)
        *err = u.err;
    if (rc < 0)
        (void)s3_upload_abort(u.upload, NULL, NULL);
    else
        printf("%s\n", etag);
    s3_upload_free(u.upload);
    return rc;
}

/* BUCKET KEY SOURCE_KEY SPLIT FILE: the first SPLIT bytes from the source, then FILE. */
static int do_splice(struct s3 *s3, char **a, int n, struct err *err)
{
    (void)n;
    size_t len;
    cleanup_free char *bytes = read_all(a[4], &len);
    struct s3_upload *upload;
    struct iovec iov = {bytes, len};
    cleanup_s3_object struct s3_object o = {0};
    if (s3_head(s3, a[0], a[2], cancel, &o, NULL, err) < 0 ||
        s3_upload_begin(s3, a[0], a[1], NULL, cancel, &upload, err) < 0)
        return -1;
    int rc = s3_upload_copy_part(upload, 1, a[0], a[2], 0, strtoull(a[3], NULL, 10), o.etag, cancel, err);
    if (rc == 0)
        rc = s3_upload_part(upload, 2, &iov, 1, cancel, err);
    if (rc == 0)
        rc = s3_upload_complete(upload, cancel, NULL, err);
    if (rc < 0)
        (void)s3_upload_abort(upload, NULL, NULL);
    s3_upload_free(upload);
    return rc;
}

/* BUCKET KEY TO_BUCKET TO_KEY [keep | OPTION...]; ETAG in RAC_TOOL_ETAG replaces the one found. */
static int do_copy(struct s3 *s3, char **a, int n, struct err *err)
{
    cleanup_s3_object struct s3_object o = {0};
    cleanup_s3_meta struct s3_meta meta = {0};
    struct s3_put_options options = {0};
    char etag[S3_ETAG_MAX + 1];
    const char *forced = getenv("RAC_TOOL_ETAG");
    if (s3_head(s3, a[0], a[1], cancel, &o, NULL, err) < 0)
        return -1;
    o.key = mem_strdup(a[1]);
    if (forced)
        (void)snprintf(o.etag, sizeof o.etag, "%s", forced);
    bool keep = n > 4 && strcmp(a[4], "keep") == 0;
    read_options(a + 4, n - 4, &meta, &options);
    if (s3_copy(s3, a[0], &o, a[2], a[3], keep ? NULL : &meta, cancel, etag, err) < 0)
        return -1;
    printf("%s\n", etag);
    return 0;
}

static int do_delete(struct s3 *s3, char **a, int n, struct err *err)
{
    (void)n;
    return s3_delete(s3, a[0], a[1], cancel, err);
}

static int do_delete_many(struct s3 *s3, char **a, int n, struct err *err)
{
    int rc = s3_delete_many(s3, a[0], (const char *const *)(a + 1), (size_t)n - 1, cancel, err);
    if (rc >= 0)
        printf("%d not deleted\n", rc);
    return rc < 0 ? -1 : 0;
}

static const struct command {
    const char *name;
    int least;
    int (*run)(struct s3 *s3, char **args, int n, struct err *err);
} commands[] = {
    {"head", 2, do_head},
    {"get", 4, do_get},
    {"list", 4, do_list},
    {"check", 1, do_check},
    {"buckets", 0, do_buckets},
    {"put", 3, do_put},
    {"upload", 4, do_upload},
    {"splice", 5, do_splice},
    {"copy", 4, do_copy},
    {"delete", 2, do_delete},
    {"delete-many", 2, do_delete_many},
};

static void *fire_later(void *arg)
{
    struct timespec ts = {.tv_sec = atoi(arg) / 1000, .tv_nsec = (long)(atoi(arg) % 1000) * 1000000};
    (void)nanosleep(&ts, NULL);
    cancel_fire(cancel);
    return NULL;
}

static int run(const struct command *c, char **args, int n)
{
    cleanup_s3_config struct s3_config config = {0};
    struct err err = {0};
    struct s3 *s3 = s3_config_load(&config, &err) == 0 ? s3_new(&config, &err) : NULL;
    int rc = s3 ? c->run(s3, args, n, &err) : -1;
    s3_free(s3);
    if (rc == 0)
        return 0;
    (void)fprintf(stderr, "%s: %s\n", strerrorname_np(s3_errno(&err)), err.msg);
    return s3_errno(&err);
}

int main(int argc, char **argv)
{
    const char *cancel_ms = getenv("RAC_TOOL_CANCEL_MS");
    pthread_t thread;
    log_start(2, LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    if (cancel_ms) {
        cancel = cancel_new();
        if (pthread_create(&thread, NULL, fire_later, (void *)(uintptr_t)cancel_ms) != 0)
            abort();
    }
    int rc = 2;
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof commands[0]; ++i) {
        if (strcmp(argv[1], commands[i].name) == 0 && argc - 2 >= commands[i].least)
            rc = run(&commands[i], argv + 2, argc - 2);
    }
    if (cancel_ms) {
        pthread_join(thread, NULL);
        cancel_free(cancel);
    }
    log_stop();
    return rc;
}
