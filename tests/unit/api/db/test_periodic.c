/* The periodic connection: none without work, none that is kept idle; the end asks a database that is away once. */
#include "../../unit.h"

#include <stdatomic.h>

#include "api/db/periodic.h"
#include "common/base/clock.h"

#define SOON_MS 5000

/* --- the database ------------------------------------------------------------------------------------------------- */

struct db {
	int unused;
};

static struct db connection;
static atomic_uint opened, closed, steps;

int db_open(const struct db_settings *settings, const char *const *sql, struct db **ret_db, struct why *ret_why)
{
	atomic_fetch_add(&opened, 1);
	*ret_db = &connection;
	return ERR_OK;
}

void db_close(struct db *db)
{
	if (db)
		atomic_fetch_add(&closed, 1);
}

const char *db_error(const struct db *db)
{
	return "";
}

/* --- jobs --------------------------------------------------------------------------------------------------------- */

static bool is_ready(void *arg)
{
	return true;
}

static bool has_none(void *arg, bool ending)
{
	return false;
}

static bool has_some(void *arg, bool ending)
{
	return true;
}

static int do_well(void *arg, struct periodic_step *step)
{
	atomic_fetch_add(&steps, 1);
	return ERR_OK;
}

static int find_it_away_at_the_end(void *arg, struct periodic_step *step)
{
	atomic_fetch_add(&steps, 1);
	return step->ending ? ERR_UNAVAILABLE : ERR_OK;
}

static struct periodic *start(const struct periodic_job *jobs, size_t count)
{
	static const struct db_settings settings;
	struct periodic *periodic = NULL;

	atomic_store(&opened, 0);
	atomic_store(&closed, 0);
	atomic_store(&steps, 0);
	assert_int_equal(periodic_start(&settings, jobs, count, is_ready, NULL, &periodic), ERR_OK);
	return periodic;
}

static void wait_for(atomic_uint *what, unsigned count)
{
	int64_t until = clock_mono_ms() + SOON_MS;

	while (atomic_load(what) < count && clock_mono_ms() < until)
		sched_yield();
	assert_int_equal(atomic_load(what), count);
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static void test_no_connection_is_kept_while_no_step_is_near(void **state)
{
	const struct periodic_job job = {"rare", 60000, do_well, NULL, NULL};
	struct periodic *periodic = start(&job, 1);

	wait_for(&closed, 1);
	assert_int_equal(atomic_load(&steps), 1);
	periodic_stop(periodic);
	assert_int_equal(atomic_load(&opened), 1);
}

static void test_without_work_nothing_is_connected_to(void **state)
{
	const struct periodic_job jobs[] = {{"idle", 1, do_well, NULL, has_none}, {"rare", 60000, do_well, NULL, NULL}};
	struct periodic *periodic = start(jobs, 2);

	wait_for(&closed, 1);
	periodic_stop(periodic);
	assert_int_equal(atomic_load(&opened), 1);
	assert_int_equal(atomic_load(&steps), 1);
}

static void test_the_end_asks_a_database_that_is_away_once(void **state)
{
	const struct periodic_job job = {"last words", 60000, find_it_away_at_the_end, NULL, has_some};
	const struct periodic_job jobs[] = {job, job, job};
	struct periodic *periodic = start(jobs, 3);

	wait_for(&steps, 3);
	periodic_stop(periodic);
	assert_int_equal(atomic_load(&steps), 4);
}
