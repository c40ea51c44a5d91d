#include "../unit.h"

#include "updater/detect.h"
#include "updater/extract.h"

static struct ipaddr ip(const char *text)
{
	struct ipaddr parsed;

	assert_int_equal(ipaddr_parse(text, strlen(text), &parsed, NULL), ERR_OK);
	return parsed;
}

static void test_an_address_is_found_in_text_and_json(void **state)
{
	static const struct {
		const char *text;
		int family;
		const char *found; /* NULL: none; "": several */
	} cases[] = {
		{"9.9.9.9", 4, "9.9.9.9"},
		{"Current IP Address: 9.9.9.9</body>", 4, "9.9.9.9"},
		{"Your address is 9.9.9.9.\n", 4, "9.9.9.9"},
		{"9.9.9.9\n9.9.9.9\n", 4, "9.9.9.9"},
		{"9.9.9.9 and 8.8.8.8", 4, ""},
		{"9.9.9.9 2606:4700::1", 4, "9.9.9.9"},
		{"9.9.9.9 2606:4700::1", 6, "2606:4700::1"},
		{"address 2606:4700::1.", 6, "2606:4700::1"},
		{"at 12:30:45 on 3.4.2026", 4, NULL},
		{"version 1.2.3.4.5", 4, NULL},
		{"v1.2.3.4", 4, NULL},
		{"1.2.3.4/24", 4, NULL},
		{"fe80::1%eth0", 6, NULL},
		{"cafe::beefy", 6, NULL},
		{"", 4, NULL},
		{"999.9.9.9", 4, NULL},
		{"{\"ip\":\"9.9.9.9\"}", 4, "9.9.9.9"},
		{"[{\"a\":[\"x\",{\"b\":\"9.9.9.9\"}]}]", 4, "9.9.9.9"},
		{"{\"9.9.9.9\":\"x\"}", 4, NULL},
		{"{\"a\":\"9.9.9.9\",\"b\":\"8.8.8.8\"}", 4, ""},
		{"{\"a\":\"it is 9.9.9.9\"}", 4, NULL},
		{"{\"v4\":\"9.9.9.9\",\"v6\":\"2606:4700::1\"}", 6, "2606:4700::1"},
	};
	struct why why;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct ipaddr found = {0};
		int err = extract_address(cases[i].text, strlen(cases[i].text), cases[i].family, &found, &why);
		int expected = !cases[i].found ? ERR_DETECT : !cases[i].found[0] ? ERR_DOUBTFUL : ERR_OK;
		if (err != expected)
			fail_msg("%s: %s", cases[i].text, err_name(err));
		if (!err) {
			const struct ipaddr wanted = ip(cases[i].found);
			assert_int_equal(ipaddr_compare(&found, &wanted), 0);
		}
	}
}

static void test_only_addresses_that_others_can_use_are_published(void **state)
{
	static const char *const never[] = {
		"127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "169.254.1.1", "192.0.2.1",  "198.18.0.1",
		"240.0.0.1", "::",      "::1",       "ff02::1",         "fe80::1",     "2001:db8::1"};
	static const char *const private[] = {"10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "fd00::1"};
	struct why why;

	for (size_t i = 0; i < sizeof never / sizeof never[0]; i++) {
		const struct ipaddr bad = ip(never[i]);
		assert_int_equal(detect_judge(&bad, true, &why), ERR_DOUBTFUL);
	}
	for (size_t i = 0; i < sizeof private / sizeof private[0]; i++) {
		const struct ipaddr inner = ip(private[i]);
		assert_int_equal(detect_judge(&inner, false, &why), ERR_DOUBTFUL);
		assert_non_null(strstr(why.text, "SILODNS_ALLOW_PRIVATE"));
		assert_int_equal(detect_judge(&inner, true, &why), ERR_OK);
	}
	const struct ipaddr good = ip("9.9.9.9"), good6 = ip("2606:4700::1");
	assert_int_equal(detect_judge(&good, false, &why), ERR_OK);
	assert_int_equal(detect_judge(&good6, false, &why), ERR_OK);
}
