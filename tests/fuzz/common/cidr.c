/* Networks: what is accepted, printed and read again is the same, and holds its own first and last address and no more.
 */
#include "../lib/fuzz.h"

#include "common/net/ipaddr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cidr net, again;
	struct why why = {.text = ""};
	char base[IPADDR_TEXT_MAX], text[IPADDR_TEXT_MAX + 8];
	int err = cidr_parse((const char *)data, size, &net, &why);

	if (err) {
		FUZZ_CHECK(err == ERR_INVALID && why.text[0]);
		return 0;
	}
	unsigned max = net.base.family == 4 ? 32 : 128;
	FUZZ_CHECK(net.bits <= max);
	ipaddr_format(&net.base, base);
	snprintf(text, sizeof text, "%s/%u", base, net.bits);
	FUZZ_CHECK(cidr_parse(text, strlen(text), &again, NULL) == ERR_OK);
	FUZZ_CHECK(again.bits == net.bits && ipaddr_compare(&again.base, &net.base) == 0);

	struct ipaddr last = net.base;
	for (unsigned bit = net.bits; bit < max; bit++)
		last.bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	FUZZ_CHECK(cidr_contains(&net, &net.base) && cidr_contains(&net, &last));
	if (net.bits) {
		last.bytes[(net.bits - 1) / 8] ^= (uint8_t)(0x80 >> (net.bits - 1) % 8);
		FUZZ_CHECK(!cidr_contains(&net, &last));
	}
	return 0;
}
