// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TOKENS_MEMBERS_H
#define RAC_TOKENS_MEMBERS_H
/*
 * Which digests belong to an image: what its manifest lists, and what its children list, as far as they were
 * served under that name with those credentials. A yes is remembered (it cannot become a no), bounded; a no
 * is asked again, since a child's own list becomes known when the child is served. Any worker's loop.
 */
#include "proxy/cache/repo.h"

struct members;
struct members *members_new(struct state *state);
void members_free(struct members *m); /* NULL is fine */

bool members_try(struct members *m, const struct repo *repo, const struct digest *top,
                 const struct digest *digest);
typedef void members_fn(void *arg, bool has, const struct err *err);
/* fn comes on `loop`, never from inside. */
void members_ask(struct members *m, struct loop *loop, struct repo *repo, const struct digest *top,
                 const struct digest *digest, members_fn *fn, void *arg);
#endif
