/*
 * Whose address counts: the connection's own, or, where that is a trusted proxy, the one that the proxy reports in
 * Forwarded (RFC 7239), X-Forwarded-For or X-Real-IP. Pure functions, thread-safe, no allocation.
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
	const char *header; /* the one that the proxies write: the others are the client's; NULL: they may write either
			       of the first two */
};

/* Their values, several of one name joined by commas in their order, or NULL. */
struct forwarded_headers {
	const char *forwarded, *x_forwarded_for, *x_real_ip;
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
 * How it came about whose address counts: the last of `ret_path->hops`. The walk goes left as long as the address
 * reached so far is a trusted proxy, and ends at the last trusted one if what follows is no address ("unknown",
 * "_hidden", garbage). IPv4-mapped addresses count as IPv4; ports are ignored, and so are zones of link-local IPv6
 * addresses.
 *
 * A proxy maintains one of the headers and may hand on the other as the client wrote it. So where it is not known
 * which, Forwarded and X-Forwarded-For are there and disagree, neither is believed, and the result is `connection`.
 * X-Real-IP counts only where it is known to be the one.
 */
void forwarded_explain(const struct ipaddr *connection, const struct forwarded_headers *headers,
		       const struct forwarded_trust *trust, struct forwarded_path *ret_path);

bool forwarded_is_trusted(const struct forwarded_trust *trust, const struct ipaddr *ip);
const char *forwarded_end_name(enum forwarded_end end); /* "untrusted", …: never changes */

#endif
