// SPDX-License-Identifier: Apache-2.0
#include "common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/mem.h"

#define LOG_STOP_MS    2000 /* what log_stop gives a reader that does not read */
#define LOG_LINE_USUAL 512  /* bytes */
/* How long the writer collects lines after it wrote some: under load it wakes a few hundred times a second,
 * not once for a line. A warning, an error and a backlog of that size end the pause. */
#define LOG_PAUSE_NS    4000000
#define LOG_PAUSE_BYTES (LOG_BACKLOG_MAX / 32)

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool running;
    _Atomic bool stopping;
    bool is_pausing; /* the writer: ordinary lines need not wake it */
    int fd;
    _Atomic int level, format;
    struct buf waiting; /* lines for the writer; swapped out whole */
    uint64_t dropped_since;
    _Atomic uint64_t dropped;
} logger = {
    .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .fd = 2, .level = LOG_LEVEL_INFO};

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

/* Waits until the descriptor takes bytes; once the log is being stopped, for LOG_STOP_MS at most: a pipe that
 * nobody reads must not keep the process. False: give up. */
static bool wait_writable(int fd)
{
    for (uint64_t stop_seen_ms = 0;;) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        int rc = poll(&p, 1, 100);
        if (rc > 0)
            return !(p.revents & (POLLERR | POLLNVAL));
        if (rc < 0 && errno != EINTR)
            return false;
        if (!atomic_load(&logger.stopping))
            continue;
        if (!stop_seen_ms)
            stop_seen_ms = clock_mono_ms();
        else if (clock_mono_ms() - stop_seen_ms > LOG_STOP_MS)
            return false;
    }
}

static void write_all(int fd, const char *p, size_t len)
{
    struct stat st;
    /* What poll() calls writable takes PIPE_BUF bytes without blocking; a file never blocks. */
    size_t most = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? len : PIPE_BUF;
    while (len) {
        if (!wait_writable(fd))
            return; /* nobody reads our log: there is no one to tell */
        ssize_t n = write(fd, p, len < most ? len : most);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0)
            return;
        p += n;
        len -= (size_t)n;
    }
}

/* Under the lock. */
static void pause_writer(void)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOG_PAUSE_NS;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        ++until.tv_sec;
    }
    logger.is_pausing = true;
    (void)pthread_cond_clockwait(&logger.wake, &logger.lock, CLOCK_MONOTONIC, &until);
    logger.is_pausing = false;
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
        if (mine.cap > 2 * LOG_PAUSE_BYTES) /* a burst's memory does not stay */
            buf_free(&mine);
        buf_reset(&mine);
        pthread_mutex_lock(&logger.lock);
        if (!logger.stopping)
            pause_writer();
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

static void add_digits(char *out, unsigned digits, unsigned value)
{
    for (; digits > 0; value /= 10)
        out[--digits] = (char)('0' + value % 10);
}

/* RFC 3339, in UTC. The calendar is asked once a second. */
static void add_time(struct buf *b)
{
    static _Thread_local struct {
        time_t second;
        char text[sizeof "2026-01-01T00:00:00.000Z"];
    } last;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (ts.tv_sec != last.second || !last.text[0]) {
        struct tm tm;
        gmtime_r(&ts.tv_sec, &tm);
        (void)strftime(last.text, sizeof last.text, "%Y-%m-%dT%H:%M:%S.000Z", &tm);
        last.second = ts.tv_sec;
    }
    add_digits(last.text + sizeof last.text - 5, 3, (unsigned)(ts.tv_nsec / 1000000));
    (void)buf_add(b, last.text, sizeof last.text - 1);
}

/* logfmt: a bare word where it can be one, else a quoted string with JSON's escapes. */
static void add_logfmt_str(struct buf *b, struct slice s)
{
    unsigned char special = 0;
    for (size_t i = 0; i < s.len; ++i) { /* without an early end, so that compilers use vectors */
        unsigned char c = (unsigned char)s.p[i];
        special |= (c <= ' ') | (c >= 0x7f) | (c == '"') | (c == '=') | (c == '\\');
    }
    if (s.len && !special)
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
        (void)buf_add_u64(b, f->u);
        break;
    case LOG_FIELD_INT:
        if (f->i < 0)
            (void)buf_add(b, "-", 1);
        (void)buf_add_u64(b, f->i < 0 ? -(uint64_t)f->i : (uint64_t)f->i);
        break;
    case LOG_FIELD_MS: {
        char thousandths[4] = ".";
        add_digits(thousandths + 1, 3, (unsigned)(f->u % 1000));
        (void)buf_add_u64(b, f->u / 1000);
        (void)buf_add(b, thousandths, sizeof thousandths);
        break;
    }
    }
}

/* Without printf: a line for every request is a good part of what a small answer costs. */
static void format_line(struct buf *b, enum log_level level, const char *msg, const struct log_field *fields)
{
    bool json = atomic_load_explicit(&logger.format, memory_order_relaxed) == LOG_FORMAT_JSON;
    (void)buf_add_str(b, json ? "{\"time\":\"" : "time=");
    add_time(b);
    (void)buf_add_str(b, json ? "\",\"level\":\"" : " level=");
    (void)buf_add_str(b, level_names[level]);
    (void)buf_add_str(b, json ? "\",\"msg\":" : " msg=");
    add_value(b, &(struct log_field){.type = LOG_FIELD_STR, .s = slice_of(msg)}, json);
    for (const struct log_field *f = fields; f->key; ++f) {
        if (f->type == LOG_FIELD_STR && !f->s.p)
            continue;
        (void)buf_add_str(b, json ? ",\"" : " ");
        (void)buf_add_str(b, f->key);
        (void)buf_add_str(b, json ? "\":" : "=");
        add_value(b, f, json);
    }
    (void)buf_add_str(b, json ? "}\n" : "\n");
}

void log_write(enum log_level level, const char *msg, const struct log_field *fields)
{
    cleanup_buf struct buf line = {.max = LOG_LINE_MAX};
    (void)buf_reserve(&line, LOG_LINE_USUAL);
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
        bool first = logger.waiting.len == 0;
        (void)buf_add(&logger.waiting, line.p, line.len);
        if (logger.is_pausing ? level >= LOG_LEVEL_WARN || logger.waiting.len > LOG_PAUSE_BYTES : first)
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
