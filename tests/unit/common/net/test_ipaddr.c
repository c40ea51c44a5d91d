#include "../../unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "common/net/ipaddr.h"

static struct ipaddr parsed(const char *text)
{
	struct ipaddr ip;
	struct why why;

	assert_int_equal(ipaddr_parse(text, strlen(text), &ip, &why), ERR_OK);
	return ip;
}

static void test_exactly_len_bytes_count_and_failure_leaves_the_output_alone(void **state)
{
	struct ipaddr ip = {.family = 99};
	struct why why;

	assert_int_equal(ipaddr_parse("1.2.3.4\0", 8, &ip, &why), ERR_INVALID);
	assert_int_equal(ip.family, 99);
	assert_int_equal(ipaddr_parse("1.2.3.45", 7, &ip, &why), ERR_OK);
	assert_int_equal(ip.bytes[3], 4);
}

static void test_scopes_end_where_the_registries_say(void **state)
{
	static const struct {
		const char *first, *last;
		enum ipaddr_scope scope;
	} cases[] = {
		{"0.0.0.0", "0.255.255.255", IPADDR_UNSPECIFIED},
		{"1.0.0.0", "9.255.255.255", IPADDR_GLOBAL},
		{"10.0.0.0", "10.255.255.255", IPADDR_PRIVATE},
		{"11.0.0.0", "100.63.255.255", IPADDR_GLOBAL},
		{"100.64.0.0", "100.127.255.255", IPADDR_CGNAT},
		{"100.128.0.0", "126.255.255.255", IPADDR_GLOBAL},
		{"127.0.0.0", "127.255.255.255", IPADDR_LOOPBACK},
		{"128.0.0.0", "169.253.255.255", IPADDR_GLOBAL},
		{"169.254.0.0", "169.254.0.0", IPADDR_LINK_LOCAL},
		{"169.255.0.0", "172.15.255.255", IPADDR_GLOBAL},
		{"172.16.0.0", "172.31.255.255", IPADDR_PRIVATE},
		{"172.32.0.0", "172.32.0.0", IPADDR_GLOBAL},
		{"192.0.0.255", "192.0.0.255", IPADDR_RESERVED},
		{"192.0.1.255", "192.0.1.255", IPADDR_GLOBAL},
		{"192.0.2.0", "192.0.2.255", IPADDR_DOCUMENTATION},
		{"192.0.3.0", "192.167.255.255", IPADDR_GLOBAL},
		{"192.168.0.0", "192.168.0.0", IPADDR_PRIVATE},
		{"192.169.0.0", "198.17.255.255", IPADDR_GLOBAL},
		{"198.18.0.0", "198.19.255.255", IPADDR_BENCHMARK},
		{"198.20.0.0", "198.20.0.0", IPADDR_GLOBAL},
		{"198.51.100.1", "203.0.113.1", IPADDR_DOCUMENTATION},
		{"203.0.114.0", "223.255.255.255", IPADDR_GLOBAL},
		{"224.0.0.0", "239.255.255.255", IPADDR_MULTICAST},
		{"240.0.0.0", "255.255.255.254", IPADDR_RESERVED},
		{"255.255.255.255", "255.255.255.255", IPADDR_BROADCAST},
		{"::", "::", IPADDR_UNSPECIFIED},
		{"::1", "::1", IPADDR_LOOPBACK},
		{"::2", "::2", IPADDR_RESERVED},
		{"64:ff9b::1", "64:ff9b::1", IPADDR_GLOBAL},
		{"64:ff9b:1::1", "100::1", IPADDR_RESERVED},
		{"100:0:0:1::", "100:0:0:1::", IPADDR_GLOBAL},
		{"2001:2::1", "2001:2::1", IPADDR_BENCHMARK},
		{"2001:db7:ffff::", "2001:db7:ffff::", IPADDR_GLOBAL},
		{"2001:db8::", "2001:db8::", IPADDR_DOCUMENTATION},
		{"2001:db9::", "2606:4700::1", IPADDR_GLOBAL},
		{"3ffe::1", "3ffe::1", IPADDR_GLOBAL},
		{"3fff::", "3fff:fff:ffff::", IPADDR_DOCUMENTATION},
		{"3fff:1000::", "fbff::1", IPADDR_GLOBAL},
		{"fc00::", "fdff::1", IPADDR_PRIVATE},
		{"fe00::1", "fe00::1", IPADDR_GLOBAL},
		{"fe80::", "febf::1", IPADDR_LINK_LOCAL},
		{"fec0::1", "fec0::1", IPADDR_RESERVED},
		{"ff00::", "ff02::1", IPADDR_MULTICAST},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct ipaddr first = parsed(cases[i].first), last = parsed(cases[i].last);
		assert_string_equal(ipaddr_scope_name(ipaddr_scope(&first)), ipaddr_scope_name(cases[i].scope));
		assert_string_equal(ipaddr_scope_name(ipaddr_scope(&last)), ipaddr_scope_name(cases[i].scope));
	}
}

static void test_a_mapped_peer_comes_out_as_ipv4(void **state)
{
	struct sockaddr_in6 mapped = {.sin6_family = AF_INET6};
	struct sockaddr_in plain = {.sin_family = AF_INET};
	const struct sockaddr other = {.sa_family = AF_UNIX};
	struct ipaddr ip;
	char text[IPADDR_TEXT_MAX];

	inet_pton(AF_INET6, "::ffff:192.0.2.7", &mapped.sin6_addr);
	assert_int_equal(ipaddr_from_sockaddr((struct sockaddr *)&mapped, &ip), ERR_OK);
	ipaddr_format(&ip, text);
	assert_string_equal(text, "192.0.2.7");
	inet_pton(AF_INET6, "2001:db8::7", &mapped.sin6_addr);
	assert_int_equal(ipaddr_from_sockaddr((struct sockaddr *)&mapped, &ip), ERR_OK);
	assert_int_equal(ip.family, 6);
	inet_pton(AF_INET, "192.0.2.7", &plain.sin_addr);
	assert_int_equal(ipaddr_from_sockaddr((struct sockaddr *)&plain, &ip), ERR_OK);
	ipaddr_format(&ip, text);
	assert_string_equal(text, "192.0.2.7");
	assert_int_equal(ipaddr_from_sockaddr(&other, &ip), ERR_INVALID);
}

static void test_networks_contain_what_they_should(void **state)
{
	static const struct {
		const char *net, *in, *out;
	} cases[] = {
		{"10.0.0.0/8", "10.255.255.255", "11.0.0.0"},
		{"192.0.2.128/25", "192.0.2.128", "192.0.2.127"},
		{"192.0.2.7", "192.0.2.7", "192.0.2.8"},
		{"0.0.0.0/0", "255.1.2.3", "::1"},
		{"2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"},
		{"::/0", "ff02::1", "1.2.3.4"},
		{"::1/128", "::1", "::2"},
	};
	struct cidr net;
	struct why why;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct ipaddr in = parsed(cases[i].in), out = parsed(cases[i].out);
		assert_int_equal(cidr_parse(cases[i].net, strlen(cases[i].net), &net, &why), ERR_OK);
		assert_true(cidr_contains(&net, &in));
		assert_false(cidr_contains(&net, &out));
	}
}
