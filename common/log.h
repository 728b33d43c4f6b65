// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_COMMON_LOG_H
#define RAC_COMMON_LOG_H
/*
 * One line per event, logfmt or JSON, to a descriptor (stderr). Callable from any thread. Lines are formatted
 * by the caller and written by one thread of the log, so that a slow terminal or a full pipe never holds up
 * an event loop; when more than LOG_BACKLOG_MAX bytes wait, lines are dropped and the next line that gets
 * through says how many.
 *
 *     log_info("blob filled", F_S("digest", d->s), F_U("bytes", n), F_S("upstream", name));
 *
 * The message is a constant; what varies is a field. No field may hold a credential: log_redact_url() cuts
 * user info and queries off URLs.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/str.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR, LOG_LEVEL_OFF };
enum log_format { LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON };

#define LOG_BACKLOG_MAX ((size_t)4 << 20)
#define LOG_LINE_MAX    ((size_t)16 << 10)

struct log_field {
    const char *key; /* NULL ends the list */
    enum { LOG_FIELD_STR, LOG_FIELD_UINT, LOG_FIELD_INT, LOG_FIELD_MS } type;
    struct slice s;
    uint64_t u;
    int64_t i;
};

#define F_S(k, v)                                                                                            \
    ((struct log_field){.key = (k), .type = LOG_FIELD_STR, .s = slice_of(v)}) /* NULL: left out */
#define F_SL(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_STR, .s = (v)})
#define F_U(k, v)  ((struct log_field){.key = (k), .type = LOG_FIELD_UINT, .u = (v)})
#define F_I(k, v)  ((struct log_field){.key = (k), .type = LOG_FIELD_INT, .i = (v)})
#define F_US(k, v)                                                                                           \
    ((struct log_field){.key = (k), .type = LOG_FIELD_MS, .u = (v)}) /* microseconds, shown as 1.234 ms */
#define F_ERR(e) F_S("error", (e)->msg)

void log_start(int fd, enum log_level level,
               enum log_format format); /* before the first thread; again: changes level and format */
void log_stop(void); /* writes what waits (for 2 s at most if nobody reads), ends the thread */
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *msg, const struct log_field *fields);
uint64_t log_dropped(void);
int log_level_parse(const char *s, enum log_level *ret, struct err *err);
int log_format_parse(const char *s, enum log_format *ret, struct err *err);
/* Scheme, host, port and path of a URL, into `out`; returns out. */
char *log_redact_url(const char *url, char *out, size_t cap);

#define log_at(level, msg, ...)                                                                              \
    do {                                                                                                     \
        if (log_enabled(level))                                                                              \
            log_write((level), (msg),                                                                        \
                      (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, )(struct log_field){0}});          \
    } while (0)
#define log_debug(msg, ...) log_at(LOG_LEVEL_DEBUG, msg __VA_OPT__(, ) __VA_ARGS__)
#define log_info(msg, ...)  log_at(LOG_LEVEL_INFO, msg __VA_OPT__(, ) __VA_ARGS__)
#define log_warn(msg, ...)  log_at(LOG_LEVEL_WARN, msg __VA_OPT__(, ) __VA_ARGS__)
#define log_error(msg, ...) log_at(LOG_LEVEL_ERROR, msg __VA_OPT__(, ) __VA_ARGS__)
#endif
