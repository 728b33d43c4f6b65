// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_INIT_SAY_H
#define RAC_INIT_SAY_H
/*
 * What rac-init says: one line a message, by one write(2), to stderr, after "rac-init: ". Stdout is the
 * command's. A reader that does not read holds up no supervisor: a line that finds no room within
 * SAY_PATIENCE_MS is dropped.
 */
#define SAY_LINE_MAX                                                                                         \
    1024 /* bytes, with the newline; less than PIPE_BUF, so that lines of two writers do not mix */
#define SAY_PATIENCE_MS 1000

enum say_level { SAY_DEBUG, SAY_INFO, SAY_WARN, SAY_ERROR, SAY_OFF };

void say_set_level(enum say_level level); /* what is below it is not said; SAY_WARN at the start */
void say(enum say_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#endif
