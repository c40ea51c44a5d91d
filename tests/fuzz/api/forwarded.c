/*
 * Whose address counts. The first line of the input is Forwarded, the second X-Forwarded-For; an empty one is not
 * there. 10.0.0.0/8 and fd00::/8 are trusted. Nothing that stands left of an address that is not trusted makes a
 * difference, and to a stranger's connection nothing does. (No proxy writes an element with an odd number of quotation
 * marks.)
 */
#include "../lib/fuzz.h"

#include "api/http/forwarded.h"

static const struct cidr proxies[] = {
	{{.family = 4, .bytes = {10}}, 8},
	{{.family = 6, .bytes = {0xfd}}, 8},
};
static const struct forwarded_trust trust = {.proxies = proxies, .count = sizeof proxies / sizeof proxies[0]};

static bool same(struct ipaddr a, struct ipaddr b)
{
	return ipaddr_compare(&a, &b) == 0;
}

static struct ipaddr resolve(const struct ipaddr *connection, const char *forwarded, const char *x_forwarded_for)
{
	const struct forwarded_headers headers = {forwarded, x_forwarded_for, NULL};
	struct forwarded_path path;

	forwarded_explain(connection, &headers, &trust, &path);
	return path.hops[path.count - 1];
}

static bool is_balanced(const char *header)
{
	size_t quotes = 0;

	for (; header && *header; header++)
		quotes += *header == '"';
	return quotes % 2 == 0;
}

/* What a client would put before it. */
static char *prepend(const char *header)
{
	static const char lie[] = "for=203.0.113.66;by=\"x, 10.6.6.6, ";
	if (!header)
		return NULL;
	char *text = malloc(sizeof lie + strlen(header));
	FUZZ_CHECK(text);
	sprintf(text, "%s%s", lie, header);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct ipaddr stranger = {.family = 4, .bytes = {198, 51, 100, 9}},
			    proxy = {.family = 4, .bytes = {10, 1, 2, 3}};
	char *text = fuzz_string(data, size), *at = text;
	const char *forwarded = fuzz_next_line(&at), *x_forwarded_for = fuzz_next_line(&at);

	forwarded = forwarded && *forwarded ? forwarded : NULL;
	x_forwarded_for = x_forwarded_for && *x_forwarded_for ? x_forwarded_for : NULL;
	FUZZ_CHECK(same(resolve(&stranger, forwarded, x_forwarded_for), stranger));
	struct ipaddr peer = resolve(&proxy, forwarded, x_forwarded_for);
	FUZZ_CHECK(peer.family == 4 || peer.family == 6);
	if (!forwarded && !x_forwarded_for)
		FUZZ_CHECK(same(peer, proxy));

	bool trusted = cidr_contains(&proxies[0], &peer) || cidr_contains(&proxies[1], &peer);
	if (!trusted && is_balanced(forwarded) && is_balanced(x_forwarded_for)) {
		char *lie = prepend(forwarded), *x_lie = prepend(x_forwarded_for);
		FUZZ_CHECK(same(resolve(&proxy, lie, x_lie), peer));
		free(lie);
		free(x_lie);
	}
	free(text);
	return 0;
}
