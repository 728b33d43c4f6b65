// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_CACHE_PEERS_H
#define RAC_CACHE_PEERS_H
/*
 * The other replicas of this registry, as those that may have a blob: how they are asked for it, and how a
 * question of theirs is known to be one.
 *
 *     GET /v1/peer/blobs/<digest>
 *     X-Rac-Peer: <seconds since 1970> <HMAC-SHA256 of method, digest and that time, hex>
 *
 * The key is derived from the scope key, which stands in the state that replicas share: whoever can sign can
 * read that state, and so is a replica. Any thread.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/digest.h"
#include "common/str.h"

#define PEER_PATH         "/v1/peer/blobs/"
#define PEER_HEADER       "X-Rac-Peer"
#define PEER_HEADER_LOWER "x-rac-peer"
#define PEER_HEADER_MAX   128
#define PEER_WINDOW_S     300 /* clocks of two replicas may differ by that */
#define PEER_ADDRESS_MAX  ((size_t)300)
#define PEER_SILENT_MS    UINT64_C(20000)
#define PEER_SILENT_MAX   32 /* that are remembered */

struct peers;
/* address: how others reach this replica, "http://10.0.0.7:9090"; NULL: they cannot. ca_file: who vouches for
 * the certificates of https peers; NULL: the system's. Strings are copied. */
struct peers *peers_new(const char *address, const char *ca_file, const uint8_t scope_key[32]);
void peers_free(struct peers *p);                 /* NULL is fine */
const char *peers_address(const struct peers *p); /* "" for none */
const char *peers_ca_file(const struct peers *p); /* NULL: the system's */

/* Is that an http or https URL of a host alone, with or without a port? It comes from the state. */
bool peer_address_ok(const char *address);
/* It did not answer at all: for a while it is not worth a connect time-out a blob. */
void peers_note_silent(struct peers *p, const char *address);
bool peers_is_silent(struct peers *p, const char *address);
/* The value of the header, for a GET of that blob at that time (s since 1970). */
void peers_sign(const struct peers *p, const struct digest *digest, int64_t now_s, char ret[PEER_HEADER_MAX]);
/* Takes the same time whatever is wrong with the signature. */
bool peers_verify(const struct peers *p, struct slice header, const struct digest *digest, int64_t now_s);
#endif
