// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_UPSTREAM_ADDRESS_H
#define RAC_UPSTREAM_ADDRESS_H
/* What may be dialled. Pure: an address in, a verdict out. */
#include <stdbool.h>
#include <sys/socket.h>

#include "common/str.h"

/* True for what is reachable by everybody: not loopback, private (RFC 1918), link-local, CGNAT (RFC 6598),
 * this-network, benchmarking, documentation, multicast, broadcast, ULA, nor the v4-mapped, v4-compatible,
 * NAT64 (64:ff9b::/96 and 64:ff9b:1::/48), 6to4 and Teredo forms of them (RFC 6890, RFC 8190). Anything that
 * is no IPv4 or IPv6 address is not. */
bool address_is_public(const struct sockaddr *sa);
/* True if the host of a URL (IPv6 without brackets, no zone) is an IP address, not a name; *ret gets it, port
 * 0. */
bool address_parse(struct slice host, struct sockaddr_storage *ret);
/* The address as text, without a port, into out (64 bytes are enough); returns out. */
const char *address_format(const struct sockaddr *sa, char *out, size_t cap);
/* Same registrable domain: equal hosts, or the same last two labels (three below a two-letter top-level
 * domain with a short second level such as co.uk). IP addresses, single labels, and hosts below a domain
 * whose customers get names in it (amazonaws.com, azurecr.io, …) only if equal. Lower case, no port. */
bool address_same_site(struct slice host_a, struct slice host_b);
#endif
