#include "common/net/ipaddr.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define QUOTE_MAX 60 /* bytes of a refused value in a message */

struct scope_row {
	struct cidr net;
	enum ipaddr_scope scope;
};

#define V4(a, b, c, d, n, s)                                                                                           \
	{                                                                                                              \
		{{4, {a, b, c, d}}, n}, s                                                                              \
	}
#define V6(n, s, ...)                                                                                                  \
	{                                                                                                              \
		{{6, {__VA_ARGS__}}, n}, s                                                                             \
	}

/* The more specific row stands before the one that contains it. */
static const struct scope_row scopes[] = {
	V4(0, 0, 0, 0, 8, IPADDR_UNSPECIFIED),
	V4(10, 0, 0, 0, 8, IPADDR_PRIVATE),
	V4(100, 64, 0, 0, 10, IPADDR_CGNAT),
	V4(127, 0, 0, 0, 8, IPADDR_LOOPBACK),
	V4(169, 254, 0, 0, 16, IPADDR_LINK_LOCAL),
	V4(172, 16, 0, 0, 12, IPADDR_PRIVATE),
	V4(192, 0, 0, 0, 24, IPADDR_RESERVED), /* RFC 6890: protocol assignments */
	V4(192, 0, 2, 0, 24, IPADDR_DOCUMENTATION),
	V4(192, 88, 99, 0, 24, IPADDR_RESERVED), /* RFC 7526: former 6to4 relays */
	V4(192, 168, 0, 0, 16, IPADDR_PRIVATE),
	V4(198, 18, 0, 0, 15, IPADDR_BENCHMARK),
	V4(198, 51, 100, 0, 24, IPADDR_DOCUMENTATION),
	V4(203, 0, 113, 0, 24, IPADDR_DOCUMENTATION),
	V4(224, 0, 0, 0, 4, IPADDR_MULTICAST),
	V4(255, 255, 255, 255, 32, IPADDR_BROADCAST),
	V4(240, 0, 0, 0, 4, IPADDR_RESERVED),
	V6(128, IPADDR_UNSPECIFIED, 0),
	V6(128, IPADDR_LOOPBACK, [15] = 1),
	V6(96, IPADDR_RESERVED, [10] = 0xff, 0xff),         /* IPv4-mapped */
	V6(96, IPADDR_RESERVED, 0),                         /* IPv4-compatible, deprecated */
	V6(48, IPADDR_RESERVED, 0, 0x64, 0xff, 0x9b, 0, 1), /* RFC 8215: local NAT64 */
	V6(64, IPADDR_RESERVED, 1),                         /* RFC 6666: discard-only */
	V6(48, IPADDR_BENCHMARK, 0x20, 0x01, 0, 0x02),
	V6(32, IPADDR_DOCUMENTATION, 0x20, 0x01, 0x0d, 0xb8),
	V6(28, IPADDR_RESERVED, 0x20, 0x01, 0, 0x10), /* ORCHID, deprecated */
	V6(28, IPADDR_RESERVED, 0x20, 0x01, 0, 0x20), /* ORCHIDv2 */
	V6(20, IPADDR_DOCUMENTATION, 0x3f, 0xff),
	V6(7, IPADDR_PRIVATE, 0xfc),
	V6(10, IPADDR_LINK_LOCAL, 0xfe, 0x80),
	V6(10, IPADDR_RESERVED, 0xfe, 0xc0), /* site-local, deprecated */
	V6(8, IPADDR_MULTICAST, 0xff),
};

static const char *const scope_names[] = {
	[IPADDR_GLOBAL] = "global",
	[IPADDR_PRIVATE] = "private",
	[IPADDR_CGNAT] = "carrier-grade NAT (100.64.0.0/10)",
	[IPADDR_LINK_LOCAL] = "link-local",
	[IPADDR_LOOPBACK] = "loopback",
	[IPADDR_UNSPECIFIED] = "unspecified",
	[IPADDR_MULTICAST] = "multicast",
	[IPADDR_BROADCAST] = "broadcast",
	[IPADDR_DOCUMENTATION] = "documentation",
	[IPADDR_BENCHMARK] = "benchmarking",
	[IPADDR_RESERVED] = "reserved",
};

static const unsigned char mapped_prefix[12] = {[10] = 0xff, 0xff};

static unsigned address_bits(const struct ipaddr *ip)
{
	return ip->family == 4 ? 32 : 128;
}

static bool has_leading_zero(const char *text)
{
	for (size_t i = 0; text[i]; i++)
		if (text[i] == '0' && (i == 0 || text[i - 1] == '.') && isdigit((unsigned char)text[i + 1]))
			return true;
	return false;
}

/* Why `text` is no address: the likely mistakes by name. */
static int refuse(const char *text, struct why *why)
{
	struct in6_addr v6;

	if (!text[0])
		return why_set(why, ERR_INVALID, "", "an address is missing");
	if (inet_pton(AF_INET6, text, &v6) == 1 && memcmp(&v6, mapped_prefix, sizeof mapped_prefix) == 0) {
		const unsigned char *b = v6.s6_addr + 12;
		return why_set(why, ERR_INVALID, "", "\"%.*s\" is an IPv4 address in IPv6 form: write %u.%u.%u.%u",
			       QUOTE_MAX, text, b[0], b[1], b[2], b[3]);
	}
	const char *what = strchr(text, '/')   ? "has a prefix length: write the address alone"
			   : strchr(text, '%') ? "has a zone, which means something on one machine only"
			   : has_leading_zero(text) && !strchr(text, ':')
				   ? "has a leading zero, which some programs read as octal"
				   : "is not an IPv4 or IPv6 address: write it like 192.0.2.7 or 2001:db8::7";
	return why_set(why, ERR_INVALID, "", "\"%.*s\" %s", QUOTE_MAX, text, what);
}

int ipaddr_parse(const char *text, size_t len, struct ipaddr *ret_ip, struct why *ret_why)
{
	char copy[QUOTE_MAX + 4] = "";
	struct ipaddr ip = {0};

	if (memchr(text, '\0', len))
		return why_set(ret_why, ERR_INVALID, "", "the address holds a NUL byte");
	memcpy(copy, text, len < sizeof copy ? len : sizeof copy - 1);
	if (len < IPADDR_TEXT_MAX) {
		if (inet_pton(AF_INET, copy, ip.bytes) == 1) /* refuses leading zeros, too */
			ip.family = 4;
		else if (inet_pton(AF_INET6, copy, ip.bytes) == 1 &&
			 memcmp(ip.bytes, mapped_prefix, sizeof mapped_prefix) != 0)
			ip.family = 6;
	}
	if (!ip.family)
		return refuse(copy, ret_why);
	*ret_ip = ip;
	return ERR_OK;
}

/* Without leading zeros; returns where the text ends. */
static char *format_byte(char *at, unsigned byte)
{
	if (byte >= 100)
		*at++ = (char)('0' + byte / 100);
	if (byte >= 10)
		*at++ = (char)('0' + byte / 10 % 10);
	*at++ = (char)('0' + byte % 10);
	return at;
}

/* glibc's inet_ntop() has printf do this, which takes ten times as long; each change does it half a dozen times. */
static void format_ipv4(const uint8_t bytes[static 4], char *ret_text)
{
	char *at = ret_text;

	for (int i = 0; i < 4; i++) {
		if (i)
			*at++ = '.';
		at = format_byte(at, bytes[i]);
	}
	*at = '\0';
}

const char *ipaddr_format(const struct ipaddr *ip, char ret_text[static IPADDR_TEXT_MAX])
{
	ret_text[0] = '\0';
	if (ip->family == 4)
		format_ipv4(ip->bytes, ret_text);
	else if (ip->family)
		inet_ntop(AF_INET6, ip->bytes, ret_text, IPADDR_TEXT_MAX);
	return ret_text;
}

int ipaddr_from_sockaddr(const struct sockaddr *sa, struct ipaddr *ret_ip)
{
	struct ipaddr ip = {0};
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	if (sa->sa_family == AF_INET) {
		memcpy(&v4, sa, sizeof v4);
		ip.family = 4;
		memcpy(ip.bytes, &v4.sin_addr, 4);
	} else if (sa->sa_family == AF_INET6) {
		memcpy(&v6, sa, sizeof v6);
		bool mapped = memcmp(&v6.sin6_addr, mapped_prefix, sizeof mapped_prefix) == 0;
		ip.family = mapped ? 4 : 6;
		memcpy(ip.bytes, v6.sin6_addr.s6_addr + (mapped ? 12 : 0), mapped ? 4 : 16);
	} else {
		return ERR_INVALID;
	}
	*ret_ip = ip;
	return ERR_OK;
}

int ipaddr_compare(const struct ipaddr *a, const struct ipaddr *b)
{
	return a->family != b->family ? a->family - b->family : memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

enum ipaddr_scope ipaddr_scope(const struct ipaddr *ip)
{
	for (size_t i = 0; i < sizeof scopes / sizeof scopes[0]; i++)
		if (cidr_contains(&scopes[i].net, ip))
			return scopes[i].scope;
	return ip->family ? IPADDR_GLOBAL : IPADDR_UNSPECIFIED;
}

const char *ipaddr_scope_name(enum ipaddr_scope scope)
{
	return scope_names[scope];
}

/* Clears what is right of the prefix. */
static void mask(struct ipaddr *ip, unsigned bits)
{
	for (unsigned i = 0; i < sizeof ip->bytes; i++) {
		if (i >= bits / 8 + (bits % 8 != 0))
			ip->bytes[i] = 0;
		else if (i == bits / 8)
			ip->bytes[i] &= (uint8_t)(0xff00 >> (bits % 8));
	}
}

bool cidr_contains(const struct cidr *net, const struct ipaddr *ip)
{
	struct ipaddr masked = *ip;

	if (!ip->family || ip->family != net->base.family)
		return false;
	mask(&masked, net->bits);
	return memcmp(masked.bytes, net->base.bytes, sizeof masked.bytes) == 0;
}

bool cidr_any_contains(const struct cidr *nets, size_t count, const struct ipaddr *ip)
{
	for (size_t i = 0; i < count; i++)
		if (cidr_contains(&nets[i], ip))
			return true;
	return false;
}

static int parse_bits(const char *text, size_t len, unsigned max, unsigned *ret_bits)
{
	unsigned bits = 0;

	if (len < 1 || len > 3 || (len > 1 && text[0] == '0'))
		return ERR_INVALID;
	for (size_t i = 0; i < len; i++) {
		if (!isdigit((unsigned char)text[i]))
			return ERR_INVALID;
		bits = bits * 10 + (unsigned)(text[i] - '0');
	}
	if (bits > max)
		return ERR_INVALID;
	*ret_bits = bits;
	return ERR_OK;
}

int cidr_parse(const char *text, size_t len, struct cidr *ret_cidr, struct why *ret_why)
{
	const char *slash = memchr(text, '/', len);
	struct cidr net = {0};
	char name[IPADDR_TEXT_MAX];
	int err = ipaddr_parse(text, slash ? (size_t)(slash - text) : len, &net.base, ret_why);

	if (err)
		return err;
	unsigned bits = address_bits(&net.base);
	if (slash && parse_bits(slash + 1, len - (size_t)(slash + 1 - text), bits, &bits))
		return why_set(ret_why, ERR_INVALID, "", "\"%.*s\" has no prefix length from 0 to %u behind the slash",
			       (int)(len < QUOTE_MAX ? len : QUOTE_MAX), text, bits);
	struct ipaddr base = net.base;
	mask(&base, bits);
	if (ipaddr_compare(&base, &net.base) != 0) {
		ipaddr_format(&base, name);
		return why_set(ret_why, ERR_INVALID, "", "\"%.*s\" has bits set behind the prefix: is %s/%u meant?",
			       (int)(len < QUOTE_MAX ? len : QUOTE_MAX), text, name, bits);
	}
	net.bits = (uint8_t)bits;
	*ret_cidr = net;
	return ERR_OK;
}
