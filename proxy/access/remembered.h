// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_ACCESS_REMEMBERED_H
#define RAC_ACCESS_REMEMBERED_H
/*
 * Passwords that were found right, so that a pull of forty requests costs one slow hash: not the password,
 * but a keyed hash of the header it came in, with the address it came from. Another address has to prove it
 * anew, or what is remembered would be a fast way to test guesses. Fixed size; where it is full, the oldest
 * goes. Not locked: the owner's lock guards it.
 */
#include "proxy/access/table.h"

#define REMEMBERED_MS  300000 /* for that long */
#define REMEMBERED_MAC 32

struct remembered;

struct remembered *remembered_new(void);
void remembered_free(struct remembered *m); /* NULL is fine */
/* Of an Authorization header; keyed by random bytes of this process. Needs no lock. */
void remembered_mac(const struct remembered *m, struct slice header, uint8_t out[REMEMBERED_MAC]);
/* NULL: not remembered. The account is the one that was put there. */
const struct access_account *remembered_find(const struct remembered *m, const uint8_t mac[REMEMBERED_MAC],
                                             const struct net_address *ip, uint64_t now_us);
void remembered_put(struct remembered *m, const uint8_t mac[REMEMBERED_MAC], const struct net_address *ip,
                    const struct access_account *account, uint64_t now_us);
void remembered_clear(struct remembered *m); /* before the accounts go */
#endif
