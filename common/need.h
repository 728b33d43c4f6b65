// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_COMMON_NEED_H
#define RAC_COMMON_NEED_H
/*
 * What a process cannot go on without and asks for when it starts only: threads, and the descriptors that
 * loops stand on. Where the system has none left, the process says which, and what limits it, and ends with
 * 1: as after kill -9, nothing that was promised is lost (docs/decisions, and common/mem.h for memory).
 */
#include <pthread.h>

/* Starts a thread that gets no signals: they are for the thread that waits for them. `what`: "a worker". */
void need_thread(pthread_t *ret, const char *what, void *(*fn)(void *), void *arg);
/* The descriptor, if it is one; else errno says why there is none. `what`: "a timer". */
int need_fd(int fd, const char *what);
#endif
