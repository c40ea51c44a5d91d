#include "api/http/forwarded.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#define NODE_MAX 80 /* bytes of "[address]:port" */

struct span {
	const char *at;
	size_t len;
};

bool forwarded_is_trusted(const struct forwarded_trust *trust, const struct ipaddr *ip)
{
	return cidr_any_contains(trust->proxies, trust->count, ip);
}

static struct span trim(struct span text)
{
	while (text.len && (text.at[0] == ' ' || text.at[0] == '\t')) {
		text.at++;
		text.len--;
	}
	while (text.len && (text.at[text.len - 1] == ' ' || text.at[text.len - 1] == '\t'))
		text.len--;
	return text;
}

/* The part of `text` after its last `separator` outside quotes; `text` is cut to what is before it. */
static struct span take_last(struct span *text, char separator, bool *ret_more)
{
	bool quoted = false;
	size_t i = text->len;

	while (i > 0 && (quoted || text->at[i - 1] != separator)) {
		i--;
		if (text->at[i] == '"')
			quoted = !quoted;
	}
	struct span last = {text->at + i, text->len - i};
	*ret_more = i > 0;
	text->len = i > 0 ? i - 1 : 0;
	return trim(last);
}

/* "fe80::1%eth0": a zone means something to the machine that wrote it only (RFC 4007, 11). It follows the address of
 * IPv6, and is not empty. */
static size_t without_zone(struct span text)
{
	const char *percent = memchr(text.at, '%', text.len);

	if (!percent || percent + 1 == text.at + text.len || !memchr(text.at, ':', (size_t)(percent - text.at)))
		return text.len;
	return (size_t)(percent - text.at);
}

/* Unlike a record's address, a proxy may well write an IPv4-mapped one, or one with a zone. */
static bool parse_address(struct span text, struct ipaddr *ret_ip)
{
	struct sockaddr_in6 mapped = {.sin6_family = AF_INET6};
	char copy[INET6_ADDRSTRLEN];

	text.len = without_zone(text);
	if (ipaddr_parse(text.at, text.len, ret_ip, NULL) == ERR_OK)
		return true;
	if (text.len >= sizeof copy)
		return false;
	memcpy(copy, text.at, text.len);
	copy[text.len] = '\0';
	return inet_pton(AF_INET6, copy, &mapped.sin6_addr) == 1 && IN6_IS_ADDR_V4MAPPED(&mapped.sin6_addr) &&
	       ipaddr_from_sockaddr((const struct sockaddr *)&mapped, ret_ip) == ERR_OK;
}

/* ":" and digits, or ":_" and an obfuscated port (RFC 7239, 6.2), or nothing. */
static bool is_port(struct span text)
{
	static const char obfuscated[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-";
	size_t allowed = 10;
	size_t first = 1;

	if (!text.len)
		return true;
	if (text.at[0] != ':' || text.len < 2)
		return false;
	if (text.at[1] == '_') {
		allowed = sizeof obfuscated - 1;
		first = 2;
	} else if (text.len > 6) {
		return false;
	}
	for (size_t i = first; i < text.len; i++)
		if (!memchr(obfuscated, text.at[i], allowed))
			return false;
	return text.len > first;
}

/* 192.0.2.7, 192.0.2.7:4711, [2001:db8::7], [2001:db8::7]:4711, and as X-Forwarded-For has it 2001:db8::7. */
static bool parse_node(struct span node, struct ipaddr *ret_ip)
{
	const char *colon, *bracket;

	if (!node.len || node.len > NODE_MAX)
		return false;
	if (node.at[0] == '[') {
		bracket = memchr(node.at, ']', node.len);
		if (!bracket)
			return false;
		struct span inside = {node.at + 1, (size_t)(bracket - node.at) - 1};
		struct span port = {bracket + 1, node.len - inside.len - 2};
		return memchr(inside.at, ':', inside.len) && is_port(port) && parse_address(inside, ret_ip);
	}
	colon = memchr(node.at, ':', node.len);
	if (!colon || memchr(colon + 1, ':', (size_t)(node.at + node.len - colon) - 1))
		return parse_address(node, ret_ip);
	struct span address = {node.at, (size_t)(colon - node.at)};
	return is_port((struct span){colon, node.len - address.len}) && parse_address(address, ret_ip);
}

/* One element of Forwarded, 'for="[2001:db8::7]:4711";proto=https': the address of its one "for". */
static bool parse_forwarded(struct span element, struct ipaddr *ret_ip)
{
	struct span node = {NULL, 0};
	bool more = true;

	while (more) {
		struct span pair = take_last(&element, ';', &more);
		if (pair.len < 4 || strncasecmp(pair.at, "for=", 4) != 0)
			continue;
		if (node.at)
			return false;
		node = (struct span){pair.at + 4, pair.len - 4};
	}
	if (node.len >= 2 && node.at[0] == '"' && node.at[node.len - 1] == '"')
		node = (struct span){node.at + 1, node.len - 2};
	return node.at && parse_node(node, ret_ip);
}

static void tell_element(struct span element, char ret_text[static FORWARDED_ELEMENT_MAX])
{
	size_t len = element.len < FORWARDED_ELEMENT_MAX - 1 ? element.len : FORWARDED_ELEMENT_MAX - 1;

	for (size_t i = 0; i < len; i++)
		ret_text[i] = element.at[i] >= 0x20 && element.at[i] < 0x7f ? element.at[i] : '?';
	ret_text[len] = '\0';
}

typedef bool (*parse_fn)(struct span element, struct ipaddr *ret_ip);

/* `path` begins with the connection's own address, a trusted one. */
static void walk(struct forwarded_path *path, const char *name, const char *header, parse_fn parse,
		 const struct forwarded_trust *trust)
{
	struct span rest = {header, strlen(header)};
	bool more = true;

	path->header = name;
	while (forwarded_is_trusted(trust, &path->hops[path->count - 1])) {
		path->end = !more ? FORWARDED_EXHAUSTED : FORWARDED_TOO_MANY;
		if (!more || path->count > FORWARDED_HOPS_MAX)
			return;
		struct span element = take_last(&rest, ',', &more);
		if (!parse(element, &path->hops[path->count])) {
			path->end = FORWARDED_UNREADABLE;
			tell_element(element, path->element);
			return;
		}
		path->count++;
	}
	path->end = FORWARDED_UNTRUSTED;
}

/* The header's value if it may be the one that the proxies write. */
static const char *choose(const struct forwarded_trust *trust, const char *name, const char *value)
{
	return !trust->header || strcasecmp(trust->header, name) == 0 ? value : NULL;
}

void forwarded_explain(const struct ipaddr *connection, const struct forwarded_headers *headers,
		       const struct forwarded_trust *trust, struct forwarded_path *ret_path)
{
	const char *forwarded = choose(trust, "Forwarded", headers->forwarded);
	const char *x_forwarded_for = choose(trust, "X-Forwarded-For", headers->x_forwarded_for);
	const char *x_real_ip = trust->header ? choose(trust, "X-Real-IP", headers->x_real_ip) : NULL;
	struct forwarded_path direct = {.hops = {*connection}, .count = 1, .end = FORWARDED_DIRECT};
	struct forwarded_path other = direct;

	*ret_path = direct;
	if (!forwarded_is_trusted(trust, connection))
		return;
	if (x_real_ip)
		walk(ret_path, "X-Real-IP", x_real_ip, parse_node, trust);
	if (forwarded)
		walk(ret_path, "Forwarded", forwarded, parse_forwarded, trust);
	if (!x_forwarded_for)
		return;
	walk(&other, "X-Forwarded-For", x_forwarded_for, parse_node, trust);
	if (!forwarded) {
		*ret_path = other;
	} else if (ipaddr_compare(&ret_path->hops[ret_path->count - 1], &other.hops[other.count - 1]) != 0) {
		*ret_path = direct;
		ret_path->end = FORWARDED_DISAGREE;
	}
}

const char *forwarded_end_name(enum forwarded_end end)
{
	static const char *const names[] = {
		[FORWARDED_DIRECT] = "direct",       [FORWARDED_UNTRUSTED] = "untrusted",
		[FORWARDED_EXHAUSTED] = "exhausted", [FORWARDED_UNREADABLE] = "unreadable",
		[FORWARDED_TOO_MANY] = "too-many",   [FORWARDED_DISAGREE] = "disagree",
	};

	return names[end];
}
