/* A time is written as RFC 3339 has it, and read back to the microsecond; what is no time is refused. */
#include "../../unit.h"

#include "common/base/clock.h"

static void time_is_written_as_rfc3339(void **state)
{
	char text[CLOCK_TEXT_MAX];
	clock_format(0, text);
	assert_string_equal(text, "1970-01-01T00:00:00.000000Z");
	clock_format(1709251199000042, text);
	assert_string_equal(text, "2024-02-29T23:59:59.000042Z");
	clock_format(253402300799999999, text);
	assert_string_equal(text, "9999-12-31T23:59:59.999999Z");
}

static void what_was_before_1970_is_0(void **state)
{
	int64_t now_us = clock_wall_us();

	assert_in_range(clock_wall_ago_us(1000000), now_us - 1000000, now_us + 60000000);
	assert_int_equal(clock_wall_ago_us(now_us + 60000000), 0);
	assert_int_equal(clock_wall_ago_us(INT64_MAX), 0);
}

static void a_written_time_is_read_back(void **state)
{
	static const int64_t times[] = {0, 1, 999999, 1709251199000042, 951782400000000, 253402300799999999};
	char text[CLOCK_TEXT_MAX];
	int64_t us;
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		us = -1;
		clock_format(times[i], text);
		assert_int_equal(clock_parse(text, &us, NULL), ERR_OK);
		assert_int_equal(us, times[i]);
	}
	assert_int_equal(clock_parse("2024-03-01T00:00:00.5Z", &us, NULL), ERR_OK);
	assert_int_equal(us, 1709251200500000);
	assert_int_equal(clock_parse("2024-03-01T00:00:00.123456789Z", &us, NULL), ERR_OK);
	assert_int_equal(us, 1709251200123456);
}
