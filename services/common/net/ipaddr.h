/*
 * IP addresses: strict text in, canonical text out, what kind of address it is, and networks (CIDR).
 * Plain values, no allocation, thread-safe.
 */
#ifndef SILODNS_NET_IPADDR_H
#define SILODNS_NET_IPADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/base/err.h"

#define IPADDR_TEXT_MAX 46 /* with the final NUL; INET6_ADDRSTRLEN */

struct ipaddr {
	uint8_t family;    /* 4 or 6; 0 = no address */
	uint8_t bytes[16]; /* network order; IPv4 uses the first four, the rest is zero */
};

/* IANA special-purpose registries (RFC 6890 and updates). The first matching, most specific row wins. */
enum ipaddr_scope {
	IPADDR_GLOBAL,
	IPADDR_PRIVATE,       /* RFC 1918; RFC 4193 fc00::/7 */
	IPADDR_CGNAT,         /* RFC 6598 100.64/10 */
	IPADDR_LINK_LOCAL,    /* 169.254/16, fe80::/10 */
	IPADDR_LOOPBACK,      /* 127/8, ::1 */
	IPADDR_UNSPECIFIED,   /* 0.0.0.0 (0/8), :: */
	IPADDR_MULTICAST,     /* 224/4, ff00::/8 */
	IPADDR_BROADCAST,     /* 255.255.255.255 */
	IPADDR_DOCUMENTATION, /* 192.0.2/24, 198.51.100/24, 203.0.113/24, 2001:db8::/32, 3fff::/20 */
	IPADDR_BENCHMARK,     /* 198.18/15, 2001:2::/48 */
	IPADDR_RESERVED       /* 240/4, 192.0.0/24, IPv4-mapped, discard-only 100::/64, site-local fec0::/10, … */
};

/*
 * Parses exactly `len` bytes (need not end in NUL). Accepts only full dotted decimal without leading zeros and RFC 4291
 * IPv6 without zone, without prefix length, not IPv4-mapped; everything else is ERR_INVALID with `ret_why` saying what
 * to write instead (for ::ffff:1.2.3.4: "write 1.2.3.4"). `ret_why->field` is left empty for the caller to fill.
 */
int ipaddr_parse(const char *text, size_t len, struct ipaddr *ret_ip, struct why *ret_why);

/* Canonical text (RFC 5952 for IPv6). An address of family 0 gives "". Returns `ret_text`. */
const char *ipaddr_format(const struct ipaddr *ip, char ret_text[static IPADDR_TEXT_MAX]);
/* The text of an address, as long as the block lasts in which it is asked for: LOG_STR("ip", IPADDR_TEXT(&ip)). */
#define IPADDR_TEXT(ip) ipaddr_format((ip), (char[IPADDR_TEXT_MAX]){0})

/* AF_INET or AF_INET6; an IPv4-mapped IPv6 peer comes out as IPv4. Other families: ERR_INVALID. */
int ipaddr_from_sockaddr(const struct sockaddr *sa, struct ipaddr *ret_ip);

/* <0, 0, >0: IPv4 before IPv6, then by value. */
int ipaddr_compare(const struct ipaddr *a, const struct ipaddr *b);

enum ipaddr_scope ipaddr_scope(const struct ipaddr *ip);
const char *ipaddr_scope_name(enum ipaddr_scope scope); /* "private", "CGNAT (RFC 6598)", … for messages */

struct cidr {
	struct ipaddr base;
	uint8_t bits;
};

/* "10.0.0.0/8", "2001:db8::/32", or a bare address (= /32, /128). Host bits that are set are refused, and `ret_why`
 * names the network that was probably meant. */
int cidr_parse(const char *text, size_t len, struct cidr *ret_cidr, struct why *ret_why);
bool cidr_contains(const struct cidr *net, const struct ipaddr *ip);
bool cidr_any_contains(const struct cidr *nets, size_t count, const struct ipaddr *ip);

#endif
