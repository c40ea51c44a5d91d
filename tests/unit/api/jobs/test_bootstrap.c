/* Bootstrap is tried again after what may pass, and only then. */
#include "../../unit.h"

#include "api/jobs/bootstrap.h"

/* --- the store, the database -------------------------------------------------------------------------------------- */

static int answer;

int store_users(struct store *store, struct user **ret_users, size_t *ret_count)
{
	*ret_users = NULL;
	*ret_count = 0;
	return answer;
}

void db_use(struct db *db, const char *const *sql)
{
}

const char *db_error(const struct db *db)
{
	return "";
}

int db_exec(struct db *db, unsigned statement, const struct db_value *params, size_t count)
{
	return ERR_INTERNAL;
}

int db_query(struct db *db, unsigned statement, const struct db_value *params, size_t count, db_row_fn fn, void *arg)
{
	return ERR_INTERNAL;
}

int db_read_u64(void *arg, const struct db_value *row)
{
	return ERR_INTERNAL;
}

int store_token(struct store *store, const unsigned char hash[static TOKEN_HASH_BYTES], struct token **ret_token)
{
	return ERR_NOT_FOUND;
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static int make(int of_store, int64_t *ret_again_ms)
{
	char secret[] = "secret";
	struct settings settings = {.updater_token = secret};
	struct bootstrap bootstrap = {.settings = &settings, .has_admin = true};
	struct periodic_step step = {.again_ms = BOOTSTRAP_EVERY_MS};

	answer = of_store;
	int err = bootstrap_make(&bootstrap, &step);
	*ret_again_ms = step.again_ms;
	return err;
}

static void test_without_memory_for_the_users_it_is_tried_again(void **state)
{
	int64_t again_ms;

	assert_int_equal(make(ERR_NOMEM, &again_ms), ERR_UNAVAILABLE);
	assert_int_equal(again_ms, BOOTSTRAP_EVERY_MS);
}

static void test_without_an_admin_it_is_given_up(void **state)
{
	int64_t again_ms;

	assert_int_equal(make(ERR_OK, &again_ms), ERR_OK);
	assert_int_equal(again_ms, PERIODIC_NEVER);
}
