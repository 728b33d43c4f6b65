// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_COMMON_NETWORK_H
#define RAC_COMMON_NETWORK_H
/*
 * Addresses and networks as plain data. An IPv4 address is kept in its v4-mapped form (RFC 4291 section
 * 2.5.5.2), so 10.1.2.3 and ::ffff:10.1.2.3 are one, and one comparison serves both families.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/str.h"

#define NET_TEXT_MAX 46 /* with its NUL */

struct net_address {
    uint8_t b[16]; /* network order */
};

struct net_range {
    struct net_address base; /* bits behind `bits` are zero */
    unsigned bits;           /* 0..128, of the 16 bytes: 10.0.0.0/8 has 104 */
};

/* "192.0.2.1", "2001:db8::1", also with a port behind it as HTTP writes it: "192.0.2.1:80",
 * "[2001:db8::1]:80", "[::1]". No zone, no name. */
bool net_parse_address(struct slice text, struct net_address *ret);
/* "10.0.0.0/8", "2001:db8::/32", a bare address is itself alone. ERR_INVALID says what is expected; bits set
 * behind the prefix are an error, since one of the two numbers must be a slip. */
int net_parse_range(const char *text, struct net_range *ret, struct err *err);
bool net_range_has(const struct net_range *range, const struct net_address *address);
bool net_is_ipv4(const struct net_address *a);
bool net_is_loopback(const struct net_address *a); /* 127.0.0.0/8, ::1 */
/* Into `out`: dotted if it is IPv4. Returns out. */
char *net_format(const struct net_address *a, char out[NET_TEXT_MAX]);
#endif
