#include "../../unit.h"

#include "api/http/forwarded.h"

static struct cidr proxies[2];
static const struct forwarded_trust trust = {.proxies = proxies, .count = 2};

static int setup(void **state)
{
	return cidr_parse("10.0.0.0/8", 10, &proxies[0], NULL) || cidr_parse("fd00::/8", 8, &proxies[1], NULL);
}

static struct ipaddr address(const char *text)
{
	struct ipaddr ip;

	assert_int_equal(ipaddr_parse(text, strlen(text), &ip, NULL), ERR_OK);
	return ip;
}

struct sample {
	const char *connection, *forwarded, *x_forwarded_for;
	const char *seen;
	enum forwarded_end end;
};

/* What is seen, and why, is one answer. */
static void check(const struct sample *samples, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct sample *s = &samples[i];
		struct ipaddr connection = address(s->connection);
		const struct forwarded_headers headers = {s->forwarded, s->x_forwarded_for, NULL};
		struct forwarded_path path;
		char text[IPADDR_TEXT_MAX];

		forwarded_explain(&connection, &headers, &trust, &path);
		ipaddr_format(&path.hops[path.count - 1], text);
		if (strcmp(text, s->seen) != 0)
			print_error("%s, Forwarded: %s, X-Forwarded-For: %s\n", s->connection, s->forwarded,
				    s->x_forwarded_for);
		assert_string_equal(text, s->seen);
		assert_true(path.count >= 1 && path.count <= FORWARDED_HOPS_MAX + 1);
		assert_int_equal(ipaddr_compare(&path.hops[0], &connection), 0);
		assert_string_equal(forwarded_end_name(path.end), forwarded_end_name(s->end));
	}
}

#define CHECK(samples) check(samples, sizeof(samples) / sizeof((samples)[0]))

static void test_a_stranger_is_not_believed(void **state)
{
	static const struct sample samples[] = {
		{"192.0.2.1", NULL, "6.6.6.6", "192.0.2.1", FORWARDED_DIRECT},
		{"192.0.2.1", "for=6.6.6.6", NULL, "192.0.2.1", FORWARDED_DIRECT},
		{"192.0.2.1", NULL, "10.0.0.1", "192.0.2.1", FORWARDED_DIRECT},
		{"192.0.2.1", NULL, NULL, "192.0.2.1", FORWARDED_DIRECT},
		{"11.0.0.1", NULL, "6.6.6.6", "11.0.0.1", FORWARDED_DIRECT},
		{"2001:db8::1", NULL, "6.6.6.6", "2001:db8::1", FORWARDED_DIRECT},
		{"10.0.0.1", NULL, NULL, "10.0.0.1", FORWARDED_DIRECT},
	};

	CHECK(samples);
}

static void test_the_list_is_read_from_the_right_through_trusted_hops_only(void **state)
{
	static const struct sample samples[] = {
		{"10.0.0.1", NULL, "192.0.2.7", "192.0.2.7", FORWARDED_UNTRUSTED},
		{"10.0.0.1", NULL, "6.6.6.6, 192.0.2.7", "192.0.2.7", FORWARDED_UNTRUSTED},
		{"10.0.0.1", NULL, "6.6.6.6,\t192.0.2.7 , 10.0.0.2", "192.0.2.7", FORWARDED_UNTRUSTED},
		{"10.0.0.1", NULL, "10.9.9.9, 192.0.2.7", "192.0.2.7", FORWARDED_UNTRUSTED},
		{"10.0.0.1", NULL, "garbage, 192.0.2.7", "192.0.2.7", FORWARDED_UNTRUSTED},
		{"10.0.0.1", NULL, "10.0.0.3, 10.0.0.2", "10.0.0.3", FORWARDED_EXHAUSTED},
		{"fd00::1", NULL, "2001:db8::7", "2001:db8::7", FORWARDED_UNTRUSTED},
		{"fd00::1", "for=6.6.6.6, for=\"[2001:db8::7]\", for=10.0.0.2", NULL, "2001:db8::7",
		 FORWARDED_UNTRUSTED},
		{"10.0.0.1", "for=6.6.6.6, For=192.0.2.7;by=10.0.0.1;proto=https", NULL, "192.0.2.7",
		 FORWARDED_UNTRUSTED},
		{"10.0.0.1", "by=10.0.0.1;FOR=192.0.2.7", NULL, "192.0.2.7", FORWARDED_UNTRUSTED},
		{"10.0.0.1", "for=192.0.2.7;host=\"a,b;for=6.6.6.6\"", NULL, "192.0.2.7", FORWARDED_UNTRUSTED},
	};

	CHECK(samples);
}

static void test_every_form_of_an_address_is_understood(void **state)
{
	static const struct sample samples[] = {
		{"10.0.0.1", NULL, "192.0.2.7:4711", "192.0.2.7", FORWARDED_UNTRUSTED},
		{"10.0.0.1", NULL, "2001:DB8:0::7", "2001:db8::7", FORWARDED_UNTRUSTED},
		{"10.0.0.1", NULL, "[2001:db8::7]", "2001:db8::7", FORWARDED_UNTRUSTED},
		{"10.0.0.1", NULL, "[2001:db8::7]:65535", "2001:db8::7", FORWARDED_UNTRUSTED},
		{"10.0.0.1", NULL, "::ffff:192.0.2.7", "192.0.2.7", FORWARDED_UNTRUSTED},
		{"10.0.0.1", NULL, "192.0.2.7, ::ffff:10.0.0.2", "192.0.2.7", FORWARDED_UNTRUSTED},
		{"10.0.0.1", NULL, "fe80::1%eth0", "fe80::1", FORWARDED_UNTRUSTED},
		{"10.0.0.1", NULL, "[fe80::1%25eth0]:80", "fe80::1", FORWARDED_UNTRUSTED},
		{"10.0.0.1", "for=\"192.0.2.7:_port\"", NULL, "192.0.2.7", FORWARDED_UNTRUSTED},
		{"10.0.0.1", "for=\"[2001:db8::7]:4711\"", NULL, "2001:db8::7", FORWARDED_UNTRUSTED},
	};

	CHECK(samples);
}

static void test_what_is_no_address_ends_the_walk_at_the_last_trusted_hop(void **state)
{
	static const char *const garbage[] = {
		"unknown",
		"_hidden",
		"",
		" ",
		"1.2.3",
		"192.0.2.7:",
		"192.0.2.7:x",
		"192.0.2.7:_",
		"[2001:db8::7",
		"2001:db8::7]",
		"[192.0.2.7]",
		"[2001:db8::7]4711",
		"[]",
		"[",
		"]",
		"::1::",
		"192.0.2.07",
		"192.0.2.7%eth0",
		"fe80::1%",
		"%eth0",
		"\"192.0.2.7\"",
		"192.0.2.7:123456",
		"for=192.0.2.7",
		"\xff\xfe",
		"192.0.2.7/32",
		"localhost",
		"-",
		"2001:db8::7:::",
	};

	for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
		char forwarded[128], behind[128];
		snprintf(forwarded, sizeof forwarded, "for=6.6.6.6, for=%s", garbage[i]);
		snprintf(behind, sizeof behind, "6.6.6.6, %s, 10.0.0.2", garbage[i]);
		const struct sample samples[] = {
			{"10.0.0.1", NULL, garbage[i], "10.0.0.1", FORWARDED_UNREADABLE},
			{"10.0.0.1", NULL, behind, "10.0.0.2", FORWARDED_UNREADABLE},
		};
		CHECK(samples);
		/* Quoted, it is one for Forwarded. */
		if (garbage[i][0] != '"')
			check((const struct sample[]){{"10.0.0.1", forwarded, NULL, "10.0.0.1", FORWARDED_UNREADABLE}},
			      1);
	}
	static const struct sample samples[] = {
		{"10.0.0.1", "for=192.0.2.7;for=6.6.6.6", NULL, "10.0.0.1", FORWARDED_UNREADABLE},
		{"10.0.0.1", "proto=https", NULL, "10.0.0.1", FORWARDED_UNREADABLE},
		{"10.0.0.1", "192.0.2.7", NULL, "10.0.0.1", FORWARDED_UNREADABLE},
		{"10.0.0.1", "for = 192.0.2.7", NULL, "10.0.0.1", FORWARDED_UNREADABLE},
		{"10.0.0.1", "for=6.6.6.6, for=\"192.0.2.7", NULL, "10.0.0.1", FORWARDED_UNREADABLE},
		{"10.0.0.1", "", NULL, "10.0.0.1", FORWARDED_UNREADABLE},
	};
	CHECK(samples);
}

static void test_both_headers_must_agree(void **state)
{
	static const struct sample samples[] = {
		{"10.0.0.1", "for=192.0.2.7", "192.0.2.7", "192.0.2.7", FORWARDED_UNTRUSTED},
		{"10.0.0.1", "for=192.0.2.7", "6.6.6.6, 192.0.2.7", "192.0.2.7", FORWARDED_UNTRUSTED},
		{"10.0.0.1", "for=192.0.2.7", "192.0.2.8", "10.0.0.1", FORWARDED_DISAGREE},
		{"10.0.0.1", "for=unknown", "192.0.2.8", "10.0.0.1", FORWARDED_DISAGREE},
		{"192.0.2.1", "for=192.0.2.7", "192.0.2.8", "192.0.2.1", FORWARDED_DIRECT},
	};

	CHECK(samples);
}

/* Most proxies write one and hand on the others as a client wrote them. */
static void test_only_the_header_that_is_known_to_be_the_proxys_counts(void **state)
{
	static const struct {
		const char *chosen, *seen, *header;
	} samples[] = {
		{NULL, "10.0.0.1", NULL}, /* the first two disagree; X-Real-IP is never asked unless chosen */
		{"forwarded", "192.0.2.1", "Forwarded"},
		{"X-Forwarded-For", "192.0.2.2", "X-Forwarded-For"},
		{"x-real-ip", "192.0.2.3", "X-Real-IP"},
	};
	const struct forwarded_headers headers = {"for=192.0.2.1", "192.0.2.2", "192.0.2.3"};
	struct ipaddr proxy = address("10.0.0.1"), stranger = address("11.0.0.1");

	(void)state;
	for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
		const struct forwarded_trust one = {proxies, 2, samples[i].chosen};
		struct forwarded_path path;
		char text[IPADDR_TEXT_MAX];
		forwarded_explain(&proxy, &headers, &one, &path);
		ipaddr_format(&path.hops[path.count - 1], text);
		assert_string_equal(text, samples[i].seen);
		if (samples[i].header)
			assert_string_equal(path.header, samples[i].header);
		forwarded_explain(&stranger, &headers, &one, &path);
		assert_int_equal(path.count, 1);
	}
	struct forwarded_path path;
	forwarded_explain(&proxy, &(struct forwarded_headers){.x_real_ip = "192.0.2.3"}, &trust, &path);
	assert_int_equal(path.end, FORWARDED_DIRECT);
}

static void test_a_chain_of_proxies_ends_at_its_limit(void **state)
{
	char chain[1024] = "192.0.2.7";

	for (int i = 0; i < FORWARDED_HOPS_MAX - 1; i++)
		snprintf(chain + strlen(chain), sizeof chain - strlen(chain), ", 10.0.1.%d", i);
	check((const struct sample[]){{"10.0.0.1", NULL, chain, "192.0.2.7", FORWARDED_UNTRUSTED}}, 1);
	strcat(chain, ", 10.0.2.1");
	check((const struct sample[]){{"10.0.0.1", NULL, chain, "10.0.1.0", FORWARDED_TOO_MANY}}, 1);
}

static void test_what_was_no_address_is_told_as_printable_text_within_bounds(void **state)
{
	struct ipaddr connection = address("10.0.0.1");
	struct forwarded_path path;
	char x[200];

	memset(x, 'x', sizeof x - 1);
	x[sizeof x - 1] = '\0';
	forwarded_explain(&connection, &(struct forwarded_headers){.x_forwarded_for = x}, &trust, &path);
	assert_int_equal(strlen(path.element), FORWARDED_ELEMENT_MAX - 1);
	forwarded_explain(&connection, &(struct forwarded_headers){.x_forwarded_for = "a\xff\x1b[31m"}, &trust, &path);
	assert_string_equal(path.element, "a??[31m");
}

#define GROUP_SET_UP setup
