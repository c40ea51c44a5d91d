/*
 * Whose address counts: the connection's own, or, where that is a trusted proxy, the one that the proxy reports in
 * Forwarded (RFC 7239) or X-Forwarded-For. Pure functions, thread-safe, no allocation.
 *
 * The headers are read from the right, because that is where each proxy appends: what stands left of an address that
 * is not a trusted proxy was written by somebody who may lie, and is never looked at.
 */
#ifndef SILODNS_PEER_H
#define SILODNS_PEER_H

#include <stddef.h>

#include "ipaddr.h"

#define PEER_HOPS_MAX 16 /* proxies in a row; what is further left is ignored */

struct peer_trust {
	const struct cidr *proxies;
	size_t count;
};

/*
 * `forwarded` and `x_forwarded_for` are header values, several of one name joined by commas in their order, or NULL.
 * The walk goes left as long as the address reached so far is a trusted proxy, and ends at the last trusted one if what
 * follows is no address ("unknown", "_hidden", garbage). IPv4-mapped addresses count as IPv4; ports are ignored.
 *
 * A proxy maintains one of the two headers and may hand on the other as the client wrote it. So where both are there
 * and disagree, neither is believed, and the result is `connection`.
 */
struct ipaddr peer_resolve(const struct ipaddr *connection, const char *forwarded, const char *x_forwarded_for,
			   const struct peer_trust *trust);

#endif
