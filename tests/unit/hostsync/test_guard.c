/* Another program that keeps rewriting the file is met with patience, not with an endless war at full speed. */
#include "../unit.h"

#include "hostsync/guard.h"

static void the_first_repairs_are_done_at_once(void **state)
{
	struct guard guard = {0};
	for (int i = 0; i < GUARD_FREE; i++) {
		assert_int_equal(guard_wait_ms(&guard, 5000), 0);
		guard_repaired(&guard, 5000);
	}
	assert_int_equal(guard_wait_ms(&guard, 5000), GUARD_FIRST_MS);
	assert_int_equal(guard_wait_ms(&guard, 5000 + GUARD_FIRST_MS), 0);
}

static void the_wait_doubles_up_to_its_limit(void **state)
{
	struct guard guard = {0};
	int64_t now = 5000, longest = 0;
	for (int i = 0; i < 200; i++) {
		now += guard_wait_ms(&guard, now);
		guard_repaired(&guard, now);
		int64_t wait = guard_wait_ms(&guard, now);
		assert_true(wait >= longest && wait <= GUARD_MAX_MS);
		longest = wait;
	}
	assert_int_equal(longest, GUARD_MAX_MS);
}

static void quiet_times_are_rewarded(void **state)
{
	struct guard guard = {0};
	for (int i = 0; i < 20; i++)
		guard_repaired(&guard, 5000);
	assert_int_equal(guard_repaired(&guard, 5000 + GUARD_QUIET_MS + 1), 1);
	assert_int_equal(guard_wait_ms(&guard, 5000 + GUARD_QUIET_MS + 1), 0);
}
