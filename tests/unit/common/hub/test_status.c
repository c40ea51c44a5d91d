/* A health check that lies in neither direction. */
#include "../../unit.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/hub/status.h"

static char dir[] = "/tmp/test_status.XXXXXX", path[64];

static int set_up(void **state)
{
	umask(022);
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/status.json", dir);
	return 0;
}

static int tear_down(void **state)
{
	unlink(path);
	return rmdir(dir); /* fails if a temporary file was left */
}

static void put_file(const char *content)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(content, file);
	fclose(file);
}

static void put_age(int64_t age_ms, bool ok)
{
	char time[CLOCK_TEXT_MAX], content[200];
	clock_format(clock_wall_us() - age_ms * 1000, time);
	snprintf(content, sizeof(content), "{\"ok\":%s,\"time\":\"%s\",\"revision\":1,\"detail\":\"d\"}",
		 ok ? "true" : "false", time);
	put_file(content);
}

static void refused(const char *part)
{
	struct why why = {0};
	assert_int_equal(status_check(path, 5000, &why), ERR_UNAVAILABLE);
	assert_non_null(strstr(why.text, part));
}

static void what_was_written_is_well(void **state)
{
	struct why why = {0};
	char content[200] = "";
	assert_int_equal(status_write(path, true, 1042, "all \"fine\""), 0);
	assert_int_equal(status_check(path, 5000, &why), 0);
	FILE *file = fopen(path, "r");
	assert_true(fread(content, 1, sizeof(content) - 1, file) > 0);
	fclose(file);
	assert_memory_equal(content, "{\"ok\":true,\"time\":\"20", strlen("{\"ok\":true,\"time\":\"20"));
	assert_non_null(strstr(content, "Z\",\"revision\":1042,\"detail\":\"all \\\"fine\\\"\"}"));
}

static void not_well_says_why(void **state)
{
	assert_int_equal(status_write(path, false, 0, "hub away"), 0);
	refused("hub away");
}

static void what_is_too_old_or_from_the_future_is_not_well(void **state)
{
	put_age(4000, true);
	assert_int_equal(status_check(path, 5000, NULL), 0);
	put_age(6000, true);
	refused("last sign of life");
	put_age(-60000, true);
	refused("last sign of life");
}

static void a_missing_file_is_not_well(void **state)
{
	unlink(path);
	refused("there is no");
	assert_int_equal(mkdir(path, 0700), 0);
	refused("");
	assert_int_equal(status_write(path, true, 1, ""), ERR_SYSTEM); /* tear_down() sees what that leaves */
	assert_int_equal(rmdir(path), 0);
}

static void garbage_is_not_well(void **state)
{
	static const char *const contents[] = {
		"",
		"{",
		"[]",
		"{\"ok\":true}",
		"{\"ok\":\"true\",\"time\":\"2026-01-01T00:00:00.000000Z\",\"detail\":\"\"}",
		"{\"ok\":true,\"time\":\"yesterday\",\"detail\":\"\"}",
		"{\"ok\":true,\"time\":\"2026-01-01T00:00:00.000000Z\",\"detail\":\"\"} x",
	};
	for (size_t i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
		put_file(contents[i]);
		refused("not a status file");
	}
}

static void a_detail_that_is_not_utf8_does_not_prevent_writing(void **state)
{
	assert_int_equal(status_write(path, true, 1, "\xff"), 0);
	assert_int_equal(status_check(path, 5000, NULL), 0);
	assert_int_equal(status_write(path, true, 1, NULL), 0);
	assert_int_equal(status_check(path, 5000, NULL), 0);
}

static void a_failed_write_keeps_the_old_file_and_leaves_nothing(void **state)
{
	struct stat st;
	char blocker[80];
	assert_int_equal(status_write(path, true, 1, "old"), 0);
	snprintf(blocker, sizeof(blocker), "%s.tmp", path);
	assert_int_equal(mkdir(blocker, 0700), 0);
	assert_int_equal(status_write(path, true, 2, "new"), ERR_SYSTEM);
	assert_int_equal(errno, EISDIR);
	assert_int_equal(rmdir(blocker), 0);
	assert_int_equal(status_check(path, 5000, NULL), 0);
	assert_int_equal(status_write("/nonexistent/status.json", true, 1, ""), ERR_SYSTEM);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0644);
}

#define GROUP_SET_UP set_up
#define GROUP_TEAR_DOWN tear_down
