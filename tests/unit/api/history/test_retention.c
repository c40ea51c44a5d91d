/* Where a look at the log begins and what counts as old, whatever the clock and the database do. */
#include "../../unit.h"

#include <string.h>

#include "api/history/retention.h"

/* --- the database ------------------------------------------------------------------------------------------------- */

static const char *const *sql;
static int answer;               /* of a look at the log */
static uint64_t from, cutoff;    /* that it had */
static unsigned surplus_removed; /* statements */

void db_use(struct db *db, const char *const *table)
{
	sql = table;
}

bool db_is_cluster(const struct db *db)
{
	return true;
}

/* There is always one more full step. */
int db_query(struct db *db, unsigned statement, const struct db_value *params, size_t count, db_row_fn fn, void *arg)
{
	from = params[0].u64;
	cutoff = params[count - 1].u64;
	*(uint64_t *)arg = from + RETENTION_STEP;
	return answer;
}

int db_read_u64(void *arg, const struct db_value *row)
{
	return ERR_OK;
}

int db_exec(struct db *db, unsigned statement, const struct db_value *params, size_t count)
{
	if (strstr(sql[statement], "surplus")) {
		assert_non_null(strstr(sql[statement], "LIMIT 10000"));
		surplus_removed++;
	} else if (strstr(sql[statement], "FROM refusal")) {
		cutoff = params[0].u64;
	}
	return ERR_OK;
}

uint64_t db_affected(const struct db *db)
{
	return RETENTION_STEP;
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static int look(struct retention *retention)
{
	struct periodic_step step = {.again_ms = RETENTION_EVERY_MS};

	return retention_remove_old(retention, &step);
}

static void test_after_an_error_it_begins_anew(void **state)
{
	struct retention retention = {.age_ms = 1000};

	answer = ERR_OK;
	assert_int_equal(look(&retention), ERR_OK);
	assert_int_equal(look(&retention), ERR_OK);
	assert_int_equal(from, RETENTION_STEP);
	answer = ERR_UNAVAILABLE;
	assert_int_equal(look(&retention), ERR_UNAVAILABLE);
	answer = ERR_OK;
	assert_int_equal(look(&retention), ERR_OK);
	assert_int_equal(from, 0);
}

static void test_a_clock_near_1970_makes_nothing_old(void **state)
{
	struct retention retention = {.age_ms = INT64_MAX / 1000};

	answer = ERR_OK;
	cutoff = 1;
	assert_int_equal(look(&retention), ERR_OK);
	assert_int_equal(cutoff, 0);
}

static void test_refusals_are_bounded_amid_a_long_look_too(void **state)
{
	struct retention retention = {.age_ms = 1000};

	answer = ERR_OK;
	surplus_removed = 0;
	assert_int_equal(look(&retention), ERR_OK);
	assert_int_equal(look(&retention), ERR_OK);
	assert_int_equal(surplus_removed, 1);
	retention.refusals_due_ms = 0; /* time goes by */
	assert_int_equal(look(&retention), ERR_OK);
	assert_int_equal(surplus_removed, 2);
}
