/*
 * Whose address counts: the connection's own, or, where that is a trusted proxy, the one that the proxy reports in
 * Forwarded (RFC 7239) or X-Forwarded-For. Pure functions, thread-safe, no allocation.
 *
 * The headers are read from the right, because that is where each proxy appends: what stands left of an address that
 * is not a trusted proxy was written by somebody who may lie, and is never looked at.
 */
#ifndef SILODNS_PEER_H
#define SILODNS_PEER_H

#include <stdbool.h>
#include <stddef.h>

#include "ipaddr.h"

#define PEER_HOPS_MAX 16    /* proxies in a row; what is further left is ignored */
#define PEER_ELEMENT_MAX 80 /* bytes of an element that is told, with the final NUL */

struct peer_trust {
	const struct cidr *proxies;
	size_t count;
	const char *header; /* the one that the proxies write: the other is the client's; NULL: they may write either */
};

/* Why a walk ended where it did. */
enum peer_end {
	PEER_DIRECT,     /* the connection's own address is no trusted proxy, or says nothing */
	PEER_UNTRUSTED,  /* reached an address that is no trusted proxy: the client */
	PEER_EXHAUSTED,  /* nothing stands further left */
	PEER_UNREADABLE, /* what stands further left is no address */
	PEER_TOO_MANY,   /* PEER_HOPS_MAX proxies in a row */
	PEER_DISAGREE    /* both headers are there and lead to different addresses */
};

struct peer_path {
	struct ipaddr hops[PEER_HOPS_MAX + 1]; /* from the connection on */
	size_t count;
	const char *header; /* which was read; NULL: none */
	enum peer_end end;
	char element[PEER_ELEMENT_MAX]; /* PEER_UNREADABLE: what was no address; printable ASCII */
};

/*
 * `forwarded` and `x_forwarded_for` are header values, several of one name joined by commas in their order, or NULL.
 * The walk goes left as long as the address reached so far is a trusted proxy, and ends at the last trusted one if what
 * follows is no address ("unknown", "_hidden", garbage). IPv4-mapped addresses count as IPv4; ports are ignored, and so
 * are zones of link-local IPv6 addresses.
 *
 * A proxy maintains one of the two headers and may hand on the other as the client wrote it. So where it is not known
 * which, both are there and disagree, neither is believed, and the result is `connection`.
 */
struct ipaddr peer_resolve(const struct ipaddr *connection, const char *forwarded, const char *x_forwarded_for,
			   const struct peer_trust *trust);

/* The same, and how it came about: the result is the last of `ret_path->hops`. */
void peer_explain(const struct ipaddr *connection, const char *forwarded, const char *x_forwarded_for,
		  const struct peer_trust *trust, struct peer_path *ret_path);

bool peer_is_trusted(const struct peer_trust *trust, const struct ipaddr *ip);
const char *peer_end_name(enum peer_end end); /* "untrusted", …: never changes */

#endif
