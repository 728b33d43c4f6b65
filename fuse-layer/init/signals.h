// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_INIT_SIGNALS_H
#define RAC_INIT_SIGNALS_H
/*
 * All signals, as a descriptor. While they are taken every signal is blocked and waits in the descriptor,
 * also those that are ignored, and also those to PID 1 whose default action the kernel would not take.
 * Whoever becomes another program restores first what was there. One object a process; one thread.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/signalfd.h>

#include "common/err.h"

struct signals {
    int fd;                 /* CLOEXEC, not blocking */
    uint64_t mask;          /* as found; bit n - 1 = signal n, as the kernel has it */
    struct sigaction child; /* SIGCHLD's disposition, as found: ignored, it would reap behind our back */
};

/* ERR_INTERNAL. */
int signals_take(struct signals *s, struct err *err);
/* Mask and dispositions as found. Safe between fork and exec. */
void signals_restore(const struct signals *s);
/* Nothing blocked, nothing ignored: for a program of ours. Safe between fork and exec. */
void signals_reset(void);
/* Is this one ignored, as we were started: then it ends nothing. */
bool signals_ignored(int sig);
/* The next one that came from outside; false if there is none. Those that this process raised itself (SIGPIPE
 * by a message that nobody reads) are dropped. */
bool signals_next(const struct signals *s, struct signalfd_siginfo *ret);
/* Hands it on, with its value if it has one. A process that is gone is fine. */
void signals_forward(const struct signalfd_siginfo *signal, pid_t to);
#endif
