// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_INIT_TERMINAL_H
#define RAC_INIT_TERMINAL_H
/*
 * The foreground of a terminal (credentials(7), "Job control"). The command gets a process group of its own,
 * so that what it sends to its group does not hit us and the driver; where we are in the foreground of a
 * terminal, that group takes our place there, and we take it back when the command has ended or was stopped.
 */
#include <stdbool.h>
#include <sys/types.h>

struct terminal {
    int fd; /* CLOEXEC; -1: no terminal, or not in its foreground */
};

void terminal_open(struct terminal *t);
void terminal_give(const struct terminal *t, pid_t group);
/* Only from `group`: if somebody else has the foreground by now, it stays theirs. */
void terminal_take(const struct terminal *t, pid_t group);
/* Are we in the foreground: a shell that goes on with a stopped job as its `bg` keeps that itself. */
bool terminal_is_ours(const struct terminal *t);
/* Are we the session's leader: then nobody above us does job control, and what was stopped would stay so. */
bool terminal_is_leader(void);
void terminal_close(struct terminal *t);
#endif
