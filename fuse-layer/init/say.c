// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/init/say.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static enum say_level least = SAY_WARN;

void say_set_level(enum say_level level)
{
    least = level;
}

void say(enum say_level level, const char *fmt, ...)
{
    static const char prefix[] = "rac-init: ";
    if (level < least || level >= SAY_OFF)
        return;
    char line[SAY_LINE_MAX];
    int saved = errno;
    size_t len = (size_t)snprintf(line, sizeof line, "%s", prefix);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line + len, sizeof line - len, fmt, ap);
    va_end(ap);
    if (n > 0)
        len += (size_t)n;
    if (len > sizeof line - 1)
        len = sizeof line - 1;
    /* Names come from outside: none of them makes two lines of one, or writes to a terminal what it likes. */
    for (size_t i = 0; i < len; ++i)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    line[len++] = '\n';
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&p, 1, SAY_PATIENCE_MS) > 0 && (p.revents & POLLOUT)) {
        ssize_t written = write(STDERR_FILENO, line, len);
        (void)written; /* there is nobody else to tell */
    }
    errno = saved;
}
