// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_ACCESS_CHECKS_H
#define RAC_ACCESS_CHECKS_H
/*
 * Passwords against their hashes, off the loops: each costs tens of milliseconds on purpose. Two threads of
 * their own, so that guessing holds up neither requests nor the disk; a bounded queue. Who sends what is
 * being checked already joins that check: a client that begins with twenty requests costs one.
 */
#include "common/err.h"
#include "common/loop.h"
#include "proxy/access/remembered.h"

#define CHECKS_MAX 256 /* waiting or under way; about six seconds of them */

struct checks;

struct checks *checks_new(void);
void checks_free(struct checks *c); /* NULL is fine; waits for what is under way */
/* Answers are due on loops. Any thread. */
bool checks_busy(const struct checks *c);

/* fn comes once, on `loop`, never from inside. mac: of the header (remembered_mac). Copies what it needs.
 * 1: begun; 0: joined one that was under way; -1: ERR_OVERLOADED, and fn does not come. Any thread. */
typedef void checks_fn(void *arg, bool right);
int checks_submit(struct checks *c, struct loop *loop, const uint8_t mac[REMEMBERED_MAC],
                  struct slice password, const char *hash, checks_fn *fn, void *arg, struct err *err);
#endif
