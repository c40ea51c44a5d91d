/* Addresses: whatever is accepted has one canonical text, which is accepted and stands for the same. */
#include "../lib/fuzz.h"

#include <arpa/inet.h>

#include "common/net/ipaddr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ipaddr ip = {.family = 77}, again;
	struct why why = {.text = ""};
	char text[IPADDR_TEXT_MAX];
	int err = ipaddr_parse((const char *)data, size, &ip, &why);

	if (err) {
		FUZZ_CHECK(err == ERR_INVALID && ip.family == 77 && why.text[0] && strlen(why.text) < sizeof why.text);
		return 0;
	}
	FUZZ_CHECK((ip.family == 4 || ip.family == 6) && !why.text[0]);
	ipaddr_format(&ip, text);
	FUZZ_CHECK(ipaddr_parse(text, strlen(text), &again, NULL) == ERR_OK && ipaddr_compare(&ip, &again) == 0);
	FUZZ_CHECK(ipaddr_scope_name(ipaddr_scope(&ip)));

	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	memcpy(&v4.sin_addr, ip.bytes, 4);
	memcpy(&v6.sin6_addr, ip.bytes, 16);
	const struct sockaddr *sa = ip.family == 4 ? (const struct sockaddr *)&v4 : (const struct sockaddr *)&v6;
	FUZZ_CHECK(ipaddr_from_sockaddr(sa, &again) == ERR_OK && ipaddr_compare(&ip, &again) == 0);
	return 0;
}
