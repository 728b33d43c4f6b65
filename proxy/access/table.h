// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_ACCESS_TABLE_H
#define RAC_ACCESS_TABLE_H
/*
 * The configuration of access in force: accounts by name, key and certificate; networks. Immutable and
 * counted: a reload makes another, who works with the old one keeps it.
 */
#include "proxy/access/access.h"

#define TABLE_KEY_BYTES 32 /* SHA-256 */

struct table;

struct table *table_new(const struct access_config *config);
struct table *table_ref(struct table *t);
void table_unref(struct table *t); /* NULL is fine */

unsigned table_anonymous(const struct table *t);
bool table_has_accounts(const struct table *t);
/* All borrowed, until the table goes; NULL: none. */
const struct access_account *table_by_name(const struct table *t, struct slice name);
const struct access_account *table_by_key(const struct table *t, const uint8_t digest[TABLE_KEY_BYTES]);
const struct access_account *table_by_certificate(const struct table *t, const char *cn);
/* The hash that a password is checked against if there is none of that name: always the same one for a name,
 * so that time tells nothing. Never NULL if any account has a password, else NULL. */
const char *table_decoy(const struct table *t, struct slice name);

const char *table_location(const struct table *t, const struct net_address *ip);
bool table_trusts_proxy(const struct table *t, const struct net_address *ip);
bool table_trusts_headers(const struct table *t);
#endif
