/* Values mean what they say: numbers, durations, lists, addresses, secrets; anything else is refused with a reason. */
#include "conf_fixture.h"

static void lists_are_separated_by_commas_and_spaces(void **state)
{
	setenv("SILODNS_SILOS", " a,b\tc\n, d ,", 1);
	good(load(NULL));
	assert_int_equal(settings.silos.count, 4);
	assert_string_equal(settings.silos.items[3], "d");
	release(NULL);
	good(load("--silos", "x,y", "--silos=z", NULL));
	assert_int_equal(settings.silos.count, 3);
	assert_string_equal(settings.silos.items[0], "x");
	assert_string_equal(settings.silos.items[2], "z");
}

static void durations_have_units(void **state)
{
	static const struct {
		const char *text;
		long ms;
	} cases[] = {{"250ms", 250}, {"15s", 15000},    {"5m", 300000},  {"2h", 7200000},
		     {"7", 7000},    {"24h", 86400000}, {"1d", 86400000}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		good(load("--interval", cases[i].text, NULL));
		assert_int_equal(settings.interval_ms, cases[i].ms);
		release(NULL);
	}
	static const char *const wrong[] = {
		"s", "1.5s", "5 m", "-5s", "1w", "5S", "+5s", "99999999999999999999s", "9223372036854775807h"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(load("--interval", wrong[i], NULL), ERR_INVALID);
		assert_non_null(strstr(messages, "is not a duration such as 250ms, 15s, 5m, 2h or 90d\n"));
	}
	bad(load("--interval=99ms", NULL), "--interval: 99ms is out of range; it may be 100ms to 1d\n");
}

static void numbers_are_whole_and_in_range(void **state)
{
	static const char *const wrong[] = {"x", "1x", " 1", "+1", "1.0", "0x10", "-", "99999999999999999999"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(load("--threads", wrong[i], NULL), ERR_INVALID);
		assert_non_null(strstr(messages, "is not a whole number"));
	}
	bad(load("--threads", "65", NULL), "--threads: 65 is out of range; it may be 1 to 64\n");
	bad(load("--threads", "0", NULL), "--threads: 0 is out of range; it may be 1 to 64\n");
}

static void booleans_have_several_words(void **state)
{
	static const char *const yes[] = {"true", "yes", "1", "on", "TRUE"}, *const no[] = {"false", "no", "0", "off",
											    "No"};
	for (size_t i = 0; i < 5; i++) {
		setenv("SILODNS_ONCE", yes[i], 1);
		good(load(NULL));
		assert_true(settings.once);
		release(NULL);
		setenv("SILODNS_ONCE", no[i], 1);
		good(load(NULL));
		assert_false(settings.once);
		release(NULL);
	}
	setenv("SILODNS_ONCE", "maybe", 1);
	bad(load(NULL), "SILODNS_ONCE: \"maybe\" is neither true nor false\n");
	good(load("--once", NULL));
	assert_true(settings.once);
}

static void a_secret_of_4096_bytes_fits_and_one_more_does_not(void **state)
{
	char secret[4098];
	memset(secret, 's', sizeof(secret));
	secret[4096] = '\n';
	const char *path = put_file("secret", secret, 4097);
	good(load("--token-file", path, NULL));
	assert_int_equal(strlen(settings.token), 4096);
	release(NULL);
	secret[4096] = 's';
	put_file("secret", secret, 4097);
	assert_int_equal(load("--token-file", path, NULL), ERR_INVALID);
	assert_non_null(strstr(messages, "/secret is longer than 4096 bytes\n"));
	secret[4097] = '\n';
	put_file("secret", secret, 4098);
	assert_int_equal(load("--token-file", path, NULL), ERR_INVALID);
	unlink(path);
}

static void refused_file(const char *path, const char *part)
{
	char expected[256];
	snprintf(expected, sizeof(expected), "--password-file: %s %s\n", path, part);
	bad(load("--password-file", path, NULL), expected);
}

static void secret_files_that_cannot_be_meant_are_refused(void **state)
{
	refused_file("/nonexistent/secret", "cannot be read: No such file or directory");
	refused_file(dir, "cannot be read: Is a directory");
	const char *path = put_file("secret", "hun\0ter2", 8);
	refused_file(path, "contains a NUL byte");
	put_file("secret", "", 0);
	refused_file(path, "is empty");
	put_file("secret", "\n", 1);
	refused_file(path, "is empty");
	put_file("secret", "x\n", 2);
	bad(load("--password-file", path, NULL), "--password-file: shorter than 3 bytes\n");
	unlink(path);
}

static void urls_are_http_with_a_host_and_without_credentials(void **state)
{
	static const char *const fine[] = {"http://hub", "https://hub.example.net:8443/prefix/",
					   "https://[2001:db8::1]/", "http://192.0.2.7:80", "HTTPS://HUB"};
	static const struct {
		const char *url, *part;
	} wrong[] = {
		{"hub.example.net", "begins with https:// or http://"},
		{"hub.example.net:8080", "begins with https:// or http://"},
		{"", "begins with https:// or http://"},
		{"ftp://hub", "begins with https:// or http://"},
		{"file:///etc/passwd", "begins with https:// or http://"},
		{"https://", "not a URL such as"},
		{"https://user:hunter2@hub", "credentials do not belong into a URL"},
		{"https://user@hub", "credentials do not belong into a URL"},
		{"https://hub:99999", "not a URL such as"},
		{"https://hub x", "no spaces"},
		{"https://hub\n", "no spaces"},
	};
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
		assert_int_equal(conf_check_url(fine[i], NULL), 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct why why = {0};
		assert_int_equal(conf_check_url(wrong[i].url, &why), ERR_INVALID);
		assert_non_null(strstr(why.text, wrong[i].part));
		assert_null(strstr(why.text, "hunter2"));
	}
}
