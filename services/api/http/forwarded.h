/*
 * Whose address counts: the connection's own, or, where that is a trusted proxy, the one that the proxy reports in
 * Forwarded (RFC 7239) or X-Forwarded-For. Pure functions, thread-safe, no allocation.
 *
 * The headers are read from the right, because that is where each proxy appends: what stands left of an address that
 * is not a trusted proxy was written by somebody who may lie, and is never looked at.
 */
#ifndef SILODNS_API_HTTP_FORWARDED_H
#define SILODNS_API_HTTP_FORWARDED_H

#include <stdbool.h>
#include <stddef.h>

#include "common/net/ipaddr.h"

#define FORWARDED_HOPS_MAX 16    /* proxies in a row; what is further left is ignored */
#define FORWARDED_ELEMENT_MAX 80 /* bytes of an element that is told, with the final NUL */

struct forwarded_trust {
	const struct cidr *proxies;
	size_t count;
	const char *header; /* the one that the proxies write: the other is the client's; NULL: they may write either */
};

/* Why a walk ended where it did. */
enum forwarded_end {
	FORWARDED_DIRECT,     /* the connection's own address is no trusted proxy, or says nothing */
	FORWARDED_UNTRUSTED,  /* reached an address that is no trusted proxy: the client */
	FORWARDED_EXHAUSTED,  /* nothing stands further left */
	FORWARDED_UNREADABLE, /* what stands further left is no address */
	FORWARDED_TOO_MANY,   /* FORWARDED_HOPS_MAX proxies in a row */
	FORWARDED_DISAGREE    /* both headers are there and lead to different addresses */
};

struct forwarded_path {
	struct ipaddr hops[FORWARDED_HOPS_MAX + 1]; /* from the connection on */
	size_t count;
	const char *header; /* which was read; NULL: none */
	enum forwarded_end end;
	char element[FORWARDED_ELEMENT_MAX]; /* FORWARDED_UNREADABLE: what was no address; printable ASCII */
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
struct ipaddr forwarded_resolve(const struct ipaddr *connection, const char *forwarded, const char *x_forwarded_for,
				const struct forwarded_trust *trust);

/* The same, and how it came about: the result is the last of `ret_path->hops`. */
void forwarded_explain(const struct ipaddr *connection, const char *forwarded, const char *x_forwarded_for,
		       const struct forwarded_trust *trust, struct forwarded_path *ret_path);

bool forwarded_is_trusted(const struct forwarded_trust *trust, const struct ipaddr *ip);
const char *forwarded_end_name(enum forwarded_end end); /* "untrusted", …: never changes */

#endif
