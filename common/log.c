// SPDX-License-Identifier: Apache-2.0
#include "common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/mem.h"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool running, stopping;
    int fd;
    _Atomic int level, format;
    struct buf waiting; /* lines for the writer; swapped out whole */
    uint64_t dropped_since;
    _Atomic uint64_t dropped;
} logger = {
    .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .fd = 2, .level = LOG_LEVEL_INFO};

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

static void write_all(int fd, const char *p, size_t len)
{
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nobody reads our log: there is no one to tell */
        p += n;
        len -= (size_t)n;
    }
}

static void *writer(void *unused)
{
    (void)unused;
    struct buf mine = {0};
    pthread_mutex_lock(&logger.lock);
    for (;;) {
        while (!logger.waiting.len && !logger.stopping)
            pthread_cond_wait(&logger.wake, &logger.lock);
        if (!logger.waiting.len)
            break;
        struct buf swap = mine;
        mine = logger.waiting;
        logger.waiting = swap;
        pthread_mutex_unlock(&logger.lock);
        write_all(logger.fd, mine.p, mine.len);
        buf_reset(&mine);
        pthread_mutex_lock(&logger.lock);
    }
    pthread_mutex_unlock(&logger.lock);
    buf_free(&mine);
    return NULL;
}

void log_start(int fd, enum log_level level, enum log_format format)
{
    atomic_store(&logger.level, (int)level);
    atomic_store(&logger.format, (int)format);
    if (logger.running)
        return;
    logger.fd = fd;
    logger.stopping = false;
    logger.running = pthread_create(&logger.thread, NULL, writer, NULL) == 0;
}

void log_stop(void)
{
    if (!logger.running)
        return;
    pthread_mutex_lock(&logger.lock);
    logger.stopping = true;
    pthread_cond_signal(&logger.wake);
    pthread_mutex_unlock(&logger.lock);
    pthread_join(logger.thread, NULL);
    /* What other threads said since the writer looked last; whoever comes after this writes by itself. */
    pthread_mutex_lock(&logger.lock);
    logger.running = false;
    write_all(logger.fd, logger.waiting.p, logger.waiting.len);
    buf_free(&logger.waiting);
    pthread_mutex_unlock(&logger.lock);
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&logger.level, memory_order_relaxed);
}

uint64_t log_dropped(void)
{
    return atomic_load(&logger.dropped);
}

static void add_time(struct buf *b)
{
    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    (void)buf_printf(b, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                     tm.tm_hour, tm.tm_min, tm.tm_sec, ts.tv_nsec / 1000000);
}

/* logfmt: a bare word where it can be one, else a quoted string with JSON's escapes. */
static void add_logfmt_str(struct buf *b, struct slice s)
{
    bool bare = s.len > 0;
    for (size_t i = 0; bare && i < s.len; ++i) {
        unsigned char c = (unsigned char)s.p[i];
        bare = c > ' ' && c < 0x7f && c != '"' && c != '=' && c != '\\';
    }
    if (bare)
        (void)buf_add_slice(b, s);
    else
        (void)buf_add_json_str(b, s);
}

static void add_value(struct buf *b, const struct log_field *f, bool json)
{
    switch (f->type) {
    case LOG_FIELD_STR:
        (void)(json ? buf_add_json_str(b, f->s) : (add_logfmt_str(b, f->s), true));
        break;
    case LOG_FIELD_UINT:
        (void)buf_printf(b, "%" PRIu64, f->u);
        break;
    case LOG_FIELD_INT:
        (void)buf_printf(b, "%" PRId64, f->i);
        break;
    case LOG_FIELD_MS:
        (void)buf_printf(b, "%" PRIu64 ".%03u", f->u / 1000, (unsigned)(f->u % 1000));
        break;
    }
}

static void format_line(struct buf *b, enum log_level level, const char *msg, const struct log_field *fields)
{
    bool json = atomic_load_explicit(&logger.format, memory_order_relaxed) == LOG_FORMAT_JSON;
    (void)buf_add_str(b, json ? "{\"time\":\"" : "time=");
    add_time(b);
    (void)buf_printf(b, json ? "\",\"level\":\"%s\",\"msg\":" : " level=%s msg=", level_names[level]);
    add_value(b, &(struct log_field){.type = LOG_FIELD_STR, .s = slice_of(msg)}, json);
    for (const struct log_field *f = fields; f->key; ++f) {
        if (f->type == LOG_FIELD_STR && !f->s.p)
            continue;
        (void)buf_printf(b, json ? ",\"%s\":" : " %s=", f->key);
        add_value(b, f, json);
    }
    (void)buf_add_str(b, json ? "}\n" : "\n");
}

void log_write(enum log_level level, const char *msg, const struct log_field *fields)
{
    cleanup_buf struct buf line = {.max = LOG_LINE_MAX};
    format_line(&line, level, msg, fields);
    if (line.overflow) { /* a huge field: keep the message, leave the fields out */
        buf_reset(&line);
        format_line(&line, level, msg, (const struct log_field[]){F_S("note", "fields too long"), {0}});
    }
    pthread_mutex_lock(&logger.lock);
    if (!logger.running) {
        pthread_mutex_unlock(&logger.lock);
        write_all(logger.fd, line.p, line.len);
        return;
    }
    if (logger.waiting.len + line.len > LOG_BACKLOG_MAX) {
        ++logger.dropped_since;
        atomic_fetch_add(&logger.dropped, 1);
    } else {
        if (logger.dropped_since) {
            struct log_field lost[] = {F_U("lines", logger.dropped_since), {0}};
            logger.dropped_since = 0;
            format_line(&logger.waiting, LOG_LEVEL_WARN,
                        "log lines dropped: the reader of our log is too slow", lost);
        }
        bool idle = logger.waiting.len == 0;
        (void)buf_add(&logger.waiting, line.p, line.len);
        if (idle)
            pthread_cond_signal(&logger.wake);
    }
    pthread_mutex_unlock(&logger.lock);
}

int log_level_parse(const char *s, enum log_level *ret, struct err *err)
{
    for (size_t i = 0; i < sizeof level_names / sizeof level_names[0]; ++i) {
        if (strcasecmp(s, level_names[i]) == 0) {
            *ret = (enum log_level)i;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID, "'%s' is not a log level: debug, info, warn, error or off", s);
}

int log_format_parse(const char *s, enum log_format *ret, struct err *err)
{
    if (strcasecmp(s, "logfmt") == 0)
        *ret = LOG_FORMAT_LOGFMT;
    else if (strcasecmp(s, "json") == 0)
        *ret = LOG_FORMAT_JSON;
    else
        return err_set(err, ERR_INVALID, "'%s' is not a log format: logfmt or json", s);
    return 0;
}

char *log_redact_url(const char *url, char *out, size_t cap)
{
    const char *scheme_end = strstr(url, "://");
    const char *host = scheme_end ? scheme_end + 3 : url;
    size_t authority = strcspn(host, "/?#");
    const char *at = memrchr(host, '@', authority);
    const char *shown = at ? at + 1 : host;
    (void)snprintf(out, cap, "%.*s%.*s", (int)(host - url), url, (int)strcspn(shown, "?#"), shown);
    return out;
}
