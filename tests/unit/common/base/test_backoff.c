/* Clients that failed together come back apart, never too early and never later than promised. */
#include "../../unit.h"

#include "common/base/backoff.h"

#define ROUNDS 2000

static void the_ceiling_doubles_up_to_its_maximum(void **state)
{
	static const uint32_t ceilings[] = {100, 200, 400, 800, 1000, 1000, 1000};
	uint32_t longest[sizeof(ceilings) / sizeof(ceilings[0])] = {0};
	for (int round = 0; round < ROUNDS; round++) {
		struct backoff b;
		backoff_init(&b, 100, 1000);
		for (size_t i = 0; i < sizeof(ceilings) / sizeof(ceilings[0]); i++) {
			uint32_t wait = backoff_next(&b, 0);
			assert_true(wait <= ceilings[i]);
			longest[i] = wait > longest[i] ? wait : longest[i];
		}
		assert_int_equal(b.attempt, 7);
	}
	for (size_t i = 0; i < sizeof(ceilings) / sizeof(ceilings[0]); i++)
		assert_true(longest[i] > ceilings[i] * 9 / 10); /* full jitter: the whole range is used */
}

static void waits_are_spread_over_the_whole_range(void **state)
{
	struct backoff b;
	unsigned tenths[10] = {0};
	for (int round = 0; round < 10000; round++) {
		backoff_init(&b, 999, 999);
		tenths[backoff_next(&b, 0) / 100]++;
	}
	for (int i = 0; i < 10; i++)
		assert_in_range(tenths[i], 800, 1200); /* expected 1000, standard deviation 30 */
}

static void success_starts_over(void **state)
{
	struct backoff b;
	backoff_init(&b, 10, 60000);
	for (int i = 0; i < 12; i++)
		backoff_next(&b, 0);
	backoff_reset(&b);
	assert_true(backoff_next(&b, 0) <= 10);
}

static void never_sooner_than_the_hub_asked(void **state)
{
	struct backoff b;
	backoff_init(&b, 100, 100);
	for (int i = 0; i < ROUNDS; i++)
		assert_in_range(backoff_next(&b, 5000), 5000, 5100);
	assert_in_range(backoff_next(&b, UINT32_MAX), 3600000, 3600100);
}

static void many_failures_do_not_overflow(void **state)
{
	struct backoff b;
	backoff_init(&b, 3000000000u, UINT32_MAX);
	for (int i = 0; i < 100; i++)
		assert_true(backoff_next(&b, 3600000) >= 3600000);
	backoff_init(&b, 1000, 60000);
	uint32_t longest = 0;
	for (int i = 0; i < 100; i++) {
		b.attempt = 64; /* a shift by 64 is none */
		uint32_t wait = backoff_next(&b, 0);
		longest = wait > longest ? wait : longest;
	}
	assert_true(longest > 1000);
	b.attempt = UINT32_MAX;
	assert_true(backoff_next(&b, 0) <= 60000);
	assert_int_equal(b.attempt, UINT32_MAX);
}

static void intervals_drift_apart_both_ways(void **state)
{
	uint32_t least = UINT32_MAX, most = 0;
	for (int i = 0; i < ROUNDS; i++) {
		uint32_t ms = backoff_jitter(1000, 10);
		least = ms < least ? ms : least;
		most = ms > most ? ms : most;
	}
	assert_in_range(least, 900, 920);
	assert_in_range(most, 1080, 1100);
	assert_int_equal(backoff_jitter(1000, 0), 1000);
	assert_int_equal(backoff_jitter(0, 50), 0);
	assert_true(backoff_jitter(10, 1000) <= 20);
}
