#include "traffic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "program.h"

void traffic_init(struct traffic *traffic, const char *user, const char *password)
{
	char plain[128], encoded[sizeof traffic->authorization - 6];
	int len = snprintf(plain, sizeof plain, "%s:%s", user, password);

	if (len < 0 || (size_t)len >= sizeof plain)
		program_fail("user and password are too long");
	sodium_bin2base64(encoded, sizeof encoded, (unsigned char *)plain, (size_t)len, sodium_base64_VARIANT_ORIGINAL);
	snprintf(traffic->authorization, sizeof traffic->authorization, "Basic %s", encoded);
}

static size_t checked(int len)
{
	if (len < 0 || len >= TRAFFIC_REQUEST_MAX)
		program_fail("a request is too long");
	return (size_t)len;
}

size_t traffic_get(const struct traffic *traffic, unsigned silo, uint64_t if_none_match,
		   char ret_request[static TRAFFIC_REQUEST_MAX])
{
	char condition[64] = "";

	if (if_none_match)
		snprintf(condition, sizeof condition, "If-None-Match: \"%llu\"\r\n", (unsigned long long)if_none_match);
	return checked(snprintf(ret_request, TRAFFIC_REQUEST_MAX,
				"GET /silos/s%07u HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: %s\r\n%s\r\n", silo,
				traffic->authorization, condition));
}

size_t traffic_put(const struct traffic *traffic, unsigned silo, unsigned change,
		   char ret_request[static TRAFFIC_REQUEST_MAX])
{
	char body[256];
	int len = snprintf(body, sizeof body,
			   "{\"id\":\"s%07u\",\"dnsrecords\":[{\"hostname\":\"a.example.net\",\"ip\":\"10.%u.%u.%u\"},"
			   "{\"hostname\":\"b.example.net\",\"ip\":\"192.0.2.7\"}]}",
			   silo, change >> 16 & 255, change >> 8 & 255, change & 255);

	return checked(snprintf(ret_request, TRAFFIC_REQUEST_MAX,
				"PUT /silos/s%07u HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: %s\r\n"
				"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
				silo, traffic->authorization, len, body));
}

size_t traffic_watch(const struct traffic *traffic, bool all, char ret_request[static TRAFFIC_REQUEST_MAX])
{
	return checked(snprintf(ret_request, TRAFFIC_REQUEST_MAX,
				"GET /watch%s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: %s\r\n"
				"Accept: text/event-stream\r\n\r\n",
				all ? "" : "?silo=s0000000", traffic->authorization));
}

unsigned traffic_own_silo(unsigned writer, long step, long silos, unsigned *turn)
{
	unsigned silo = writer + (unsigned)step * (*turn)++;

	if (silo < (unsigned)silos)
		return silo;
	*turn = 1;
	return writer;
}

static unsigned take_number(const char **at)
{
	unsigned number = 0;

	for (; **at >= '0' && **at <= '9'; ++*at)
		number = number * 10 + (unsigned)(**at - '0');
	return number;
}

static bool skip(const char **at, const char *text)
{
	size_t len = strlen(text);

	if (strncmp(*at, text, len) != 0)
		return false;
	*at += len;
	return true;
}

bool traffic_parse(const char *json, unsigned *ret_silo, unsigned *ret_change)
{
	const char *at = json;
	unsigned change = 0;

	if (!skip(&at, "{\"id\":\"s"))
		return false;
	unsigned silo = take_number(&at);
	if (!skip(&at, "\",\"dnsrecords\":[{\"hostname\":\"a.example.net\",\"ip\":\"10"))
		return false;
	for (int i = 0; i < 3; i++) {
		if (!skip(&at, "."))
			return false;
		change = change << 8 | take_number(&at);
	}
	*ret_silo = silo;
	*ret_change = change;
	return true;
}
