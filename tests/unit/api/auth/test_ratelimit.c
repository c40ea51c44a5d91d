#include "../../unit.h"

#include <pthread.h>
#include <sodium.h>
#include <time.h>

#include "api/auth/ratelimit.h"

#define SECOND INT64_C(1000000)
#define MINUTE (60 * SECOND)

static int64_t now = 1000 * SECOND; /* the clock of these tests */
static struct cidr exempt[1];

static const struct ratelimit_settings settings = {
	.address_rate = 10,
	.address_burst = 20,
	.user_rate = 100,
	.user_burst = 30,
	.logins = 10,
	.lockout_ms = 30000,
	.lockout_max_ms = 3600000,
	.exempt = exempt,
	.exempt_count = 1,
};

static int setup(void **state)
{
	struct ratelimit *limits;

	assert_true(sodium_init() >= 0);
	assert_int_equal(cidr_parse("127.0.0.0/8", 11, &exempt[0], NULL), ERR_OK);
	assert_int_equal(ratelimit_new(&settings, &limits), ERR_OK);
	*state = limits;
	now += 1000 * MINUTE;
	return 0;
}

static int teardown(void **state)
{
	ratelimit_free(*state);
	return 0;
}

static struct ipaddr address(const char *text)
{
	struct ipaddr ip;

	assert_int_equal(ipaddr_parse(text, strlen(text), &ip, NULL), ERR_OK);
	return ip;
}

static int ask(struct ratelimit *limits, const char *from, struct ratelimit_verdict *ret_verdict)
{
	struct ipaddr ip = address(from);

	return ratelimit_take_address(limits, &ip, now, ret_verdict);
}

static int ask_often(struct ratelimit *limits, const char *from, int times)
{
	struct ratelimit_verdict verdict;
	int granted = 0;

	for (int i = 0; i < times; i++)
		granted += ask(limits, from, &verdict) == ERR_OK;
	return granted;
}

static void test_what_is_used_up_comes_back_at_the_rate(void **state)
{
	assert_int_equal(ask_often(*state, "192.0.2.1", 100), 20);
	now += SECOND / 10 - 1;
	assert_int_equal(ask_often(*state, "192.0.2.1", 1), 0);
	now += 1;
	assert_int_equal(ask_often(*state, "192.0.2.1", 2), 1);
	now += SECOND;
	assert_int_equal(ask_often(*state, "192.0.2.1", 100), 10);
	now += 1000 * SECOND;
	assert_int_equal(ask_often(*state, "192.0.2.1", 100), 20);
}

static void test_addresses_do_not_share_but_a_64_does(void **state)
{
	assert_int_equal(ask_often(*state, "192.0.2.1", 100), 20);
	assert_int_equal(ask_often(*state, "192.0.2.2", 100), 20);
	assert_int_equal(ask_often(*state, "2001:db8:1:2::1", 100), 20);
	assert_int_equal(ask_often(*state, "2001:db8:1:2:ffff::9", 100), 0);
	assert_int_equal(ask_often(*state, "2001:db8:1:3::1", 100), 20);
}

static void test_what_is_given_back_was_not_used(void **state)
{
	struct ipaddr ip = address("192.0.2.1");
	struct ratelimit_verdict verdict;

	for (int i = 0; i < 1000; i++) {
		assert_int_equal(ask(*state, "192.0.2.1", &verdict), ERR_OK);
		assert_int_equal(ratelimit_take_user(*state, 7, now, &verdict), ERR_OK);
		ratelimit_give_back(*state, &ip, 7);
	}
	assert_int_equal(ask_often(*state, "192.0.2.1", 100), 20);
}

static void test_a_rate_of_0_is_no_limit(void **state)
{
	const struct ratelimit_settings off = {.address_burst = 1, .user_burst = 1};
	struct ipaddr ip = address("192.0.2.1");
	struct ratelimit_verdict verdict;
	struct ratelimit *limits;

	assert_int_equal(ratelimit_new(&off, &limits), ERR_OK);
	for (uint64_t i = 0; i < 1000; i++) {
		assert_int_equal(ask(limits, "192.0.2.1", &verdict), ERR_OK);
		assert_int_equal(ratelimit_take_user(limits, 7, now, &verdict), ERR_OK);
		assert_false(ratelimit_login_failed(limits, &ip, "alice", i, now));
		assert_int_equal(ratelimit_login(limits, &ip, "alice", now, &verdict), LIMITS_LOGIN_OPEN);
		ratelimit_give_back(limits, &ip, 7);
	}
	ratelimit_free(limits);
}

/* --- log-ins ------------------------------------------------------------------------------------------------------ */

static enum ratelimit_login may(struct ratelimit *limits, const char *from, const char *user)
{
	struct ipaddr ip = address(from);
	struct ratelimit_verdict verdict;

	return ratelimit_login(limits, &ip, user, now, &verdict);
}

/* As many new guesses as it takes to be locked out; and for how long one then is. */
static int guess_until_locked(struct ratelimit *limits, const char *from, const char *user, unsigned long *ret_retry_s)
{
	static uint64_t guess;
	struct ipaddr ip = address(from);
	struct ratelimit_verdict verdict;
	int guesses = 0;

	do {
		ratelimit_login_failed(limits, &ip, user, ++guess, now);
		guesses++;
		assert_true(guesses < 10000);
	} while (ratelimit_login(limits, &ip, user, now, &verdict) == LIMITS_LOGIN_OPEN);
	*ret_retry_s = verdict.retry_s;
	return guesses;
}

static void test_a_lock_out_ends_and_each_further_one_is_twice_as_long_up_to_the_longest(void **state)
{
	unsigned long expected = 30, retry_s;

	for (int i = 0; i < 12; i++) {
		guess_until_locked(*state, "192.0.2.1", "alice", &retry_s);
		assert_int_equal(retry_s, expected);
		now += (int64_t)retry_s * SECOND - 1;
		assert_int_equal(may(*state, "192.0.2.1", "alice"), LIMITS_LOGIN_LOCKED);
		now += 1;
		assert_int_equal(may(*state, "192.0.2.1", "alice"), LIMITS_LOGIN_OPEN);
		expected = expected * 2 < 3600 ? expected * 2 : 3600;
	}
	assert_int_equal(retry_s, 3600);
	now += 3600 * SECOND + 1;
	assert_int_equal(guess_until_locked(*state, "192.0.2.1", "alice", &retry_s), settings.logins);
	assert_int_equal(retry_s, 30);
}

static void test_wrong_passwords_are_forgiven_in_time(void **state)
{
	struct ipaddr ip = address("192.0.2.1");
	uint64_t guess = 0;

	for (int minute = 0; minute < 500; minute++) {
		assert_false(ratelimit_login_failed(*state, &ip, "alice", ++guess, now));
		now += MINUTE;
	}
	assert_int_equal(may(*state, "192.0.2.1", "alice"), LIMITS_LOGIN_OPEN);
}

static void test_a_stranger_cannot_lock_a_user_out_elsewhere(void **state)
{
	char from[32];
	unsigned long retry_s;

	for (int i = 0; i < 1000; i++) {
		snprintf(from, sizeof from, "198.51.%d.%d", i >> 8, i & 255);
		guess_until_locked(*state, from, "alice", &retry_s);
	}
	assert_int_equal(may(*state, "192.0.2.1", "alice"), LIMITS_LOGIN_OPEN);
}

static void test_where_somebody_logged_in_is_good_for_a_day(void **state)
{
	struct ipaddr ip = address("192.0.2.1");

	assert_false(ratelimit_is_good(*state, &ip, now));
	ratelimit_login_succeeded(*state, &ip, now);
	now += 24 * 60 * MINUTE - 1;
	assert_true(ratelimit_is_good(*state, &ip, now));
	now += 1;
	assert_false(ratelimit_is_good(*state, &ip, now));
}

/* --- a million ---------------------------------------------------------------------------------------------------- */

static struct ipaddr numbered(uint32_t n)
{
	struct ipaddr ip = {.family = 6, .bytes = {0x20, 0x01, 0x0d, 0xb8}};

	memcpy(ip.bytes + 4, &n, sizeof n);
	return ip;
}

#define MANY (1u << 21) /* twice as many as there is room for */

static void test_a_crowd_makes_nobody_forgotten_who_asks_too_often_or_is_locked_out(void **state)
{
	struct ratelimit_verdict verdict;
	unsigned long retry_s;

	ask_often(*state, "192.0.2.1", 100);
	guess_until_locked(*state, "192.0.2.1", "alice", &retry_s);
	for (uint32_t n = 0; n < MANY; n++) {
		struct ipaddr ip = numbered(n);
		assert_int_equal(ratelimit_take_address(*state, &ip, now, &verdict), ERR_OK);
		if (n % 4 == 0)
			ratelimit_login_failed(*state, &ip, "alice", n, now);
	}
	assert_int_equal(ask_often(*state, "192.0.2.1", 100), 0);
	assert_int_equal(may(*state, "192.0.2.1", "alice"), LIMITS_LOGIN_LOCKED);
}

static long resident_kb(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	long size, resident = 0;

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%ld %ld", &size, &resident), 2);
	fclose(file);
	return resident * 4;
}

static void test_memory_is_bounded_and_a_request_costs_less_than_a_microsecond(void **state)
{
	struct ratelimit_verdict verdict;
	struct timespec began, ended;
	long before = resident_kb();

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &began);
	for (uint32_t n = 0; n < MANY; n++) {
		struct ipaddr ip = numbered(n);
		ratelimit_take_address(*state, &ip, now, &verdict);
	}
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ended);
	double ns = ((double)(ended.tv_sec - began.tv_sec) * 1e9 + (double)(ended.tv_nsec - began.tv_nsec)) / MANY;
	for (uint32_t n = 0; n < MANY / 2; n++) {
		struct ipaddr ip = numbered(n);
		ratelimit_login_failed(*state, &ip, "alice", n, now);
	}
	long grown = resident_kb() - before;
	print_message("%.0f ns a request, %ld kB\n", ns, grown);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	assert_true(grown < 50 << 10); /* 16 MiB and 32 MiB */
	assert_true(ns < 1000);
#endif
}

struct crowd {
	struct ratelimit *limits;
	int granted;
};

static void *crowd_main(void *arg)
{
	struct crowd *crowd = arg;
	struct ratelimit_verdict verdict;
	struct ipaddr shared = address("192.0.2.1");

	for (int i = 0; i < 1000; i++) {
		crowd->granted += ratelimit_take_address(crowd->limits, &shared, now, &verdict) == ERR_OK;
		ratelimit_login_failed(crowd->limits, &shared, "alice", (uint64_t)i, now);
		ratelimit_login(crowd->limits, &shared, "alice", now, &verdict);
	}
	return NULL;
}

static void test_threads_get_no_more_together(void **state)
{
	struct crowd crowds[4];
	pthread_t threads[4];
	int granted = 0;

	for (int i = 0; i < 4; i++) {
		crowds[i] = (struct crowd){.limits = *state};
		assert_int_equal(pthread_create(&threads[i], NULL, crowd_main, &crowds[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		granted += crowds[i].granted;
	}
	assert_int_equal(granted, 20);
}

#define SET_UP setup
#define TEAR_DOWN teardown
